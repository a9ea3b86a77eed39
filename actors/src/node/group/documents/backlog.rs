//! The documents of a group that wait for a worker, and those that have one (pure).
//!
//! Users whose changes wait take turns, so that the dear rows of one member delay no other member's. The
//! author counts, not the peer that sent the change: honest peers pass on everything.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use schema::{DocumentId, UserId};

/// Documents of one group that workers materialise at a time: enough that a worker never waits for the
/// group.
const RUNNING_MAX: usize = 8;
/// The same, for the turns of one user: workers go from one to the next of those that they have, so this is
/// the share of a flood.
const RUNNING_OF_A_USER_MAX: usize = 2;

/// An author; `None`: which user it was is no longer known.
pub(super) type Writer = Option<UserId>;

/// What waits, and what runs.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The documents of each writer, in the order in which they came.
    queues: BTreeMap<Writer, BTreeMap<u64, DocumentId>>,
    /// The places of each document: one in the queue of each writer whose changes wait in it.
    places: BTreeMap<DocumentId, BTreeMap<Writer, u64>>,
    next_place: u64,
    /// The writer who had a turn last.
    last: Option<Writer>,
    /// The work that runs, with the writer whose turn it was.
    running: BTreeMap<u64, Writer>,
}

impl Backlog {
    /// Enters a document for these writers; it keeps the places that it has.
    pub(super) fn push(&mut self, document: DocumentId, writers: impl IntoIterator<Item = Writer>) {
        let places = self.places.entry(document).or_default();
        for writer in writers {
            if places.contains_key(&writer) {
                continue;
            }
            self.next_place += 1;
            places.insert(writer, self.next_place);
            self.queues.entry(writer).or_default().insert(self.next_place, document);
        }
        if places.is_empty() {
            self.places.remove(&document);
        }
    }

    /// A document waits no longer.
    pub(super) fn remove(&mut self, document: DocumentId) {
        for (writer, place) in self.places.remove(&document).unwrap_or_default() {
            if let Some(queue) = self.queues.get_mut(&writer) {
                queue.remove(&place);
                if queue.is_empty() {
                    self.queues.remove(&writer);
                }
            }
        }
    }

    /// The next document that may run, and whose turn it is.
    pub(super) fn next(&mut self) -> Option<(DocumentId, Writer)> {
        if self.running.len() >= RUNNING_MAX {
            return None;
        }
        let after = self.last.map_or(Unbounded, Excluded);
        let later = self.queues.range((after, Unbounded));
        let (writer, queue) = later.chain(&self.queues).find(|(writer, _)| self.has_room(**writer))?;
        let (writer, document) = (*writer, *queue.values().next()?);
        self.last = Some(writer);
        self.remove(document);
        Some((document, writer))
    }

    /// A worker has work on a document in the turn of this writer.
    pub(super) fn begin(&mut self, work: u64, writer: Writer) {
        self.running.insert(work, writer);
    }

    /// A worker is done.
    pub(super) fn end(&mut self, work: u64) {
        self.running.remove(&work);
    }

    /// The number of documents that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    fn has_room(&self, writer: Writer) -> bool {
        self.running.values().filter(|running| **running == writer).count() < RUNNING_OF_A_USER_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Writer = Some(UserId([1; 32]));
    const BEN: Writer = Some(UserId([2; 32]));

    fn document(number: u8) -> DocumentId {
        DocumentId([number; 32])
    }

    #[test]
    fn a_writer_of_many_dear_rows_delays_no_row_of_another() {
        let mut backlog = Backlog::default();
        (0..100).for_each(|number| backlog.push(document(number), [ADA]));
        backlog.push(document(200), [BEN]);

        for work in 0..2 {
            assert_eq!(backlog.next().unwrap().1, [ADA, BEN][work]);
            backlog.begin(work as u64, [ADA, BEN][work]);
        }
        let (next, writer) = backlog.next().unwrap();
        backlog.begin(2, writer);
        assert_eq!((next, writer), (document(1), ADA));
        assert_eq!(backlog.next(), None, "a writer has two rows with workers");
        backlog.push(document(201), [BEN]);
        assert_eq!(backlog.next(), Some((document(201), BEN)));
        backlog.end(0);
        assert_eq!(backlog.next(), Some((document(2), ADA)));
    }

    #[test]
    fn a_row_in_which_changes_of_several_writers_wait_is_one_and_has_the_first_turn_of_any() {
        let mut backlog = Backlog::default();
        (0..3).for_each(|number| backlog.push(document(number), [ADA]));
        backlog.push(document(2), [BEN, ADA]);
        assert_eq!(backlog.len(), 3);

        let order: Vec<_> = std::iter::from_fn(|| backlog.next()).collect();

        assert_eq!(order, [(document(0), ADA), (document(2), BEN), (document(1), ADA)]);
        assert_eq!(backlog.len(), 0);
    }

    #[test]
    fn a_group_has_a_bounded_number_of_rows_with_workers() {
        let mut backlog = Backlog::default();
        for number in 0..100 {
            backlog.push(document(number), [Some(UserId([number; 32]))]);
        }
        let running = std::iter::from_fn(|| {
            let (document, writer) = backlog.next()?;
            backlog.begin(u64::from(document.0[0]), writer);
            Some(document)
        });
        assert_eq!(running.count(), RUNNING_MAX);
    }
}
