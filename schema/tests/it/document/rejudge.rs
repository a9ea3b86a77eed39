//! The passes after a change of the roster, step by step: authors are numbers, and the index is a list.

use peerbase_schema::DocumentId;
use peerbase_schema::document::RejudgeEffect::{self, Judge, List, Pause, Store};
use peerbase_schema::document::RejudgeInput::{self, Judged, Listed, Start, Stored};
use peerbase_schema::document::{JudgedAuthor, Rejudging, Rules, Slice, WrittenKey};

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];
const NEWER: [u8; 32] = [3; 32];
const ADA: u32 = 0;
const BEN: u32 = 1;

fn document(number: u8) -> DocumentId {
    DocumentId([number; 32])
}

fn key(number: u8) -> WrittenKey {
    (7, document(number))
}

fn author(author: u32, judged: [u8; 32], judgement: [u8; 32]) -> JudgedAuthor<u32> {
    JudgedAuthor { author, judged, judgement }
}

fn rejudging(examined: usize, changed: usize) -> Rejudging<u32> {
    Rejudging::new(Slice { examined, changed }, Rules::default())
}

fn list(author: u32, after: Option<WrittenKey>, count: usize) -> RejudgeEffect<u32> {
    List { author, after, count }
}

fn check_steps(passes: &mut Rejudging<u32>, steps: Vec<(RejudgeInput, RejudgeEffect<u32>)>) {
    for (number, (input, effect)) in steps.into_iter().enumerate() {
        assert_eq!(passes.step(input), effect, "step {number}");
    }
}

#[test]
fn a_roster_that_judges_every_author_alike_begins_no_pass() {
    let mut passes = rejudging(9, 9);

    passes.on_roster([author(ADA, OLD, OLD)], |_| [document(1)], [document(2)]);

    assert!(!passes.is_under_way());
    assert!(!passes.concerns(document(1), [(ADA, 7)]));
    check_steps(&mut passes, vec![(Start, Pause)]);
}

#[test]
fn a_pass_takes_documents_outside_the_index_first_and_stores_the_judgement_last() {
    let mut passes = rejudging(9, 9);

    passes.on_roster(
        [author(ADA, OLD, OLD), author(BEN, OLD, NEW)],
        |stale| {
            assert!(stale.contains(&BEN) && !stale.contains(&ADA));
            [document(9)]
        },
        [],
    );

    assert!(passes.concerns(document(9), []) && passes.concerns(document(1), [(BEN, 7)]));
    assert!(!passes.concerns(document(1), [(ADA, 7)]));
    check_steps(
        &mut passes,
        vec![
            (Start, Judge(document(9))),
            (Judged, list(BEN, None, 9)),
            (Listed(vec![key(1), key(2)]), Judge(document(1))),
            (Judged, Judge(document(2))),
            (Judged, Store { author: BEN, judgement: NEW }),
            (Stored, Pause),
        ],
    );
    assert!(!passes.is_under_way());
    assert_eq!(passes.progress().documents, 3);
}

#[test]
fn the_next_slice_goes_on_behind_the_last_document_of_the_one_before() {
    let mut passes = rejudging(2, 9);

    passes.on_roster([author(BEN, OLD, NEW)], |_| [], []);

    check_steps(
        &mut passes,
        vec![
            (Start, list(BEN, None, 2)),
            (Listed(vec![key(1), key(2)]), Judge(document(1))),
            (Judged, Judge(document(2))),
            (Judged, Pause),
            (Start, list(BEN, Some(key(2)), 2)),
            (Listed(vec![key(3)]), Judge(document(3))),
            (Judged, Store { author: BEN, judgement: NEW }),
            (Stored, Pause),
        ],
    );
    assert!(!passes.concerns(document(3), [(BEN, 7)]));
}

#[test]
fn a_slice_ends_early_once_enough_documents_changed() {
    let mut passes = rejudging(9, 1);

    passes.on_roster([author(BEN, OLD, NEW)], |_| [], []);

    check_steps(
        &mut passes,
        vec![(Start, list(BEN, None, 9)), (Listed(vec![key(1), key(2)]), Judge(document(1)))],
    );
    passes.count_changed();
    check_steps(&mut passes, vec![(Judged, Pause), (Start, list(BEN, Some(key(1)), 9))]);
    assert!(!passes.concerns(document(1), [(BEN, 7)]) && passes.concerns(document(2), [(BEN, 7)]));
}

/// The store may not have the newest batch of the document yet.
#[test]
fn a_slice_that_the_shell_leaves_begins_with_the_same_document() {
    let mut passes = rejudging(9, 9);

    passes.on_roster([author(BEN, OLD, NEW)], |_| [], [document(5)]);

    check_steps(&mut passes, vec![(Start, Judge(document(5))), (Start, Judge(document(5)))]);
}

#[test]
fn a_roster_during_a_pass_restarts_only_the_authors_that_it_judges_differently() {
    let mut passes = rejudging(1, 9);
    passes.on_roster([author(ADA, OLD, NEW), author(BEN, OLD, NEW)], |_| [], []);
    check_steps(
        &mut passes,
        vec![(Start, list(ADA, None, 1)), (Listed(vec![key(1)]), Judge(document(1))), (Judged, Pause)],
    );

    // The stored judgement of both is still the old one.
    passes.on_roster(
        [author(ADA, OLD, NEW), author(BEN, OLD, NEWER)],
        |stale| {
            assert!(stale.iter().eq([&BEN]));
            []
        },
        [],
    );

    check_steps(
        &mut passes,
        vec![
            (Start, list(ADA, Some(key(1)), 1)),
            (Listed(vec![]), Store { author: ADA, judgement: NEW }),
            (Stored, list(BEN, None, 1)),
            (Listed(vec![]), Store { author: BEN, judgement: NEWER }),
            (Stored, Pause),
        ],
    );
}
