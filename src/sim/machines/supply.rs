//! The documents of a peer of the machine world, as its sessions read them.

use std::collections::VecDeque;
use std::convert::Infallible;

use schema::DocumentId;
use schema::digest::{Digest, Mark};
use schema::document::UnitBuilder;
use schema::session::{Documents, Supply, Wanted};
use schema::tip::Tip;
use schema::wire::session::Unit;

use super::store::Store;
use super::wire::{self, TABLE};

impl Documents for Store {
    type Error = Infallible;

    fn digest(&mut self) -> &mut Digest {
        &mut self.digest
    }

    fn state(&mut self) -> [u8; 32] {
        self.state
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        Ok(self.marks_of(document))
    }

    fn marks_for_peer(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        let Some(held) = self.documents.get(&document) else { return Ok(Vec::new()) };
        Ok(self.judged(document, |judge| held.ends().map(|end| judge.shown_mark(end)).collect()))
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
            let mut unit = UnitBuilder::new(next.have);
            for header in &held.accepted {
                let has_tip = held.chains[&header.replica].1.contains(header.seq);
                if !unit.offer(header, has_tip, || header) {
                    break;
                }
            }
            let Some(unit) = unit.finish() else { continue };
            let places = unit.changes.iter().map(|header| ((header.replica, header.seq), header.hash));
            let mut tips = Vec::new();
            for ((replica, seq), change) in places {
                let (author, kept) = &held.chains[&replica];
                let kept = kept.iter().find(|kept| kept.seq == seq);
                let tip = kept.map(|kept| Tip { author: *author, seq, change, signature: kept.signature });
                tips.extend(tip.map(|tip| wire::unit_tip(&tip, &mut supply.authors)));
            }
            let message = wire::message(unit.changes);
            used += message.len();
            let (document, key) = (next.document, held.key.clone());
            supply.units.push(Unit { document, table: TABLE.to_owned(), key, tips, message });
            supply.later.extend(unit.rest.map(|have| Wanted { document, have }));
        }
        Ok(supply)
    }
}
