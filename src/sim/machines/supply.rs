//! What a peer of the machine world tells and sends its sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use schema::DocumentId;
use schema::change::ChangeHeader;
use schema::digest::{Mark, Page};
use schema::session::{Documents, Supply, Wanted};
use schema::wire::session::Unit;

use super::store::Store;
use super::wire::{self, TABLE};

impl Documents for Store {
    type Error = Infallible;

    fn root(&mut self) -> Result<[u8; 32], Infallible> {
        Ok(self.digest.root())
    }

    fn state(&mut self) -> [u8; 32] {
        self.state
    }

    fn page(&mut self, after: Option<DocumentId>, count: usize) -> Result<Page, Infallible> {
        Ok(self.digest.page(after, count))
    }

    fn differing(&mut self, page: &Page) -> Result<Vec<DocumentId>, Infallible> {
        Ok(self.digest.differing(page))
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        Ok(self.marks_of(document))
    }

    fn marks_for_peer(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        Ok(self.undecided_as_missing(document))
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, Infallible> {
        let (mut supply, mut wanted) = (Supply::default(), VecDeque::from(wanted));
        let mut used = 0;
        while let Some(next) = wanted.pop_front() {
            if used >= bytes {
                supply.later.push(next);
                continue;
            }
            let Some(held) = self.documents.get(&next.document) else { continue };
            let decided = next.have.iter().filter(|mark| !mark.is_undecided());
            let have: BTreeMap<_, _> = decided.map(|mark| (mark.replica, mark.seq)).collect();
            let have = |header: &ChangeHeader| have.get(&header.replica).copied().unwrap_or(0);
            let headers: Vec<_> = held.accepted.headers.iter().filter(|h| h.seq > have(h)).collect();
            if headers.is_empty() {
                continue;
            }
            let mut tips = Vec::new();
            for replica in headers.iter().map(|header| header.replica).collect::<BTreeSet<_>>() {
                let of_replica =
                    held.accepted.tips.get(&replica).into_iter().flat_map(BTreeMap::values).flatten();
                tips.extend(of_replica.map(|tip| wire::unit_tip(tip, &mut supply.authors)));
            }
            let message = wire::message(headers);
            used += message.len();
            let (document, key) = (next.document, held.key.clone());
            supply.units.push(Unit { document, table: TABLE.to_owned(), key, tips, message });
        }
        Ok(supply)
    }
}
