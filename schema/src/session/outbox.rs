//! Documents that a peer lacks something of, with what it has of each, until they are sent.

use std::collections::{BTreeMap, VecDeque};

use super::port::Wanted;
use crate::DocumentId;
use crate::digest::Mark;

/// Marks that are kept for one peer. What it has of a document beyond that is forgotten: then all of it is sent.
const MARKS_KEPT: usize = 4 * crate::wire::session::MARKS_MAX;
/// Documents that wait before no more are looked for.
const DOCUMENTS: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    order: VecDeque<DocumentId>,
    have: BTreeMap<DocumentId, Vec<Mark>>,
    /// Of all `have`.
    marks: usize,
}

impl Outbox {
    /// Puts a document at the end; of one that waits already, what was said last is better.
    pub(super) fn put(&mut self, Wanted { document, have }: Wanted) {
        let before = self.have.get(&document).map_or(0, Vec::len);
        let have = if self.marks - before + have.len() > MARKS_KEPT { Vec::new() } else { have };
        self.marks = self.marks - before + have.len();
        if self.have.insert(document, have).is_none() {
            self.order.push_back(document);
        }
    }

    /// The first ones.
    pub(super) fn take(&mut self, count: usize) -> Vec<Wanted> {
        let first = self.order.drain(..count.min(self.order.len()));
        let wanted = first.map(|document| {
            let have = self.have.remove(&document).unwrap_or_default();
            Wanted { document, have }
        });
        let wanted: Vec<_> = wanted.collect();
        self.marks -= wanted.iter().map(|wanted| wanted.have.len()).sum::<usize>();
        wanted
    }

    /// Puts back first what was taken. Of these nothing is forgotten, or a long document would begin anew for ever.
    pub(super) fn put_back(&mut self, wanted: Vec<Wanted>) {
        for Wanted { document, have } in wanted.into_iter().rev() {
            self.marks += have.len();
            self.order.push_front(document);
            self.have.insert(document, have);
        }
    }

    pub(super) fn contains(&self, document: &DocumentId) -> bool {
        self.have.contains_key(document)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// There is enough to send before more is looked for.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= DOCUMENTS || self.marks >= MARKS_KEPT / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeHash, ReplicaId};

    #[test]
    fn what_a_peer_says_that_it_has_is_kept_within_bounds() {
        let mark = Mark { replica: ReplicaId([1; 32]), seq: 1, change: ChangeHash([2; 32]) };
        let wanted = |document: u8, marks: usize| Wanted {
            document: DocumentId([document; 32]),
            have: vec![mark; marks],
        };
        let mut outbox = Outbox::default();
        for document in 0..=u8::MAX {
            outbox.put(wanted(document, MARKS_KEPT / 8));
        }
        assert_eq!(outbox.have.values().map(Vec::len).sum::<usize>(), MARKS_KEPT);
        assert_eq!((outbox.len(), outbox.is_full()), (256, true));

        let mut taken = outbox.take(9);
        assert_eq!(outbox.marks, 0);
        assert_eq!((taken[0].have.len(), taken[8].have.len()), (MARKS_KEPT / 8, 0));
        taken[8].have = vec![mark; 2];
        outbox.put_back(taken.split_off(8));
        assert_eq!(outbox.marks, 2);
        outbox.put(wanted(8, 1));
        assert_eq!((outbox.marks, outbox.len()), (1, 248));
    }
}
