//! The outbox: documents of which the peer lacks changes, each with the peer's version vector, until they are
//! sent.

use std::collections::{BTreeMap, VecDeque};

use super::port::Wanted;
use crate::DocumentId;
use crate::digest::Mark;
use crate::limits::MARKS_STORED_MAX;

/// Documents in the outbox from which on no more are searched for.
const DOCUMENTS: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    order: VecDeque<DocumentId>,
    have: BTreeMap<DocumentId, Vec<Mark>>,
    /// The number of marks in `have`.
    marks: usize,
}

impl Outbox {
    /// Appends a document, or replaces the marks of one that is queued already.
    pub(super) fn push(&mut self, Wanted { document, have }: Wanted) {
        let before = self.have.get(&document).map_or(0, Vec::len);
        let have = if self.marks - before + have.len() > MARKS_STORED_MAX { Vec::new() } else { have };
        self.marks = self.marks - before + have.len();
        if self.have.insert(document, have).is_none() {
            self.order.push_back(document);
        }
    }

    /// Removes and returns the first `count` documents.
    pub(super) fn pop(&mut self, count: usize) -> Vec<Wanted> {
        let first = self.order.drain(..count.min(self.order.len()));
        let wanted = first.map(|document| {
            let have = self.have.remove(&document).unwrap_or_default();
            Wanted { document, have }
        });
        let wanted: Vec<_> = wanted.collect();
        self.marks -= wanted.iter().map(|wanted| wanted.have.len()).sum::<usize>();
        wanted
    }

    /// Puts documents back at the front. Their marks are never dropped, or a long document would restart for
    /// ever.
    pub(super) fn unpop(&mut self, wanted: Vec<Wanted>) {
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

    /// Returns true if there is enough to send before the walk goes on.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= DOCUMENTS || self.marks >= MARKS_STORED_MAX / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeHash, ReplicaId};

    #[test]
    fn the_marks_of_a_peer_are_stored_within_a_bound() {
        let mark = Mark { replica: ReplicaId([1; 32]), seq: 1, change: ChangeHash([2; 32]) };
        let wanted = |document: u8, marks: usize| Wanted {
            document: DocumentId([document; 32]),
            have: vec![mark; marks],
        };
        let mut outbox = Outbox::default();
        for document in 0..=u8::MAX {
            outbox.push(wanted(document, MARKS_STORED_MAX / 8));
        }
        assert_eq!(outbox.have.values().map(Vec::len).sum::<usize>(), MARKS_STORED_MAX);
        assert_eq!((outbox.len(), outbox.is_full()), (256, true));

        let mut first = outbox.pop(9);
        assert_eq!(outbox.marks, 0);
        assert_eq!((first[0].have.len(), first[8].have.len()), (MARKS_STORED_MAX / 8, 0));
        first[8].have = vec![mark; 2];
        outbox.unpop(first.split_off(8));
        assert_eq!(outbox.marks, 2);
        outbox.push(wanted(8, 1));
        assert_eq!((outbox.marks, outbox.len()), (1, 248));
    }
}
