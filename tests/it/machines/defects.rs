//! A property that cannot fail proves nothing: where every honest peer deviates from the rules in one place,
//! the examination names the promise that this breaks.

use peerbase::sim::machines::WorldDefect::{Document, KeepsEvicted, WritesUnderOldGrants};
use peerbase::sim::machines::{BrokenPromise, World, WorldDefect};
use schema::document::Defect;
use schema::limits::DEVICE_REVOCATIONS_MAX;

use super::flooded;
use super::histories::malicious_history;

/// Histories within which a broken promise must show.
const HISTORIES: u64 = 2_000;
const STEPS: u64 = 60;

/// Tells histories until the examination finds something, which must be this promise.
fn breaks(defect: WorldDefect, promise: &str) {
    let found = (0..HISTORIES).find_map(|seed| {
        let world = World::with_malice(seed).with_defect(defect);
        let broken = malicious_history(world, STEPS, seed % 2 == 0).examine().err()?;
        Some((seed, broken.to_string()))
    });
    let Some((seed, broken)) = found else { panic!("{defect:?} breaks nothing in {HISTORIES} histories") };
    println!("seed {seed}: {defect:?} breaks {broken}");
    assert!(broken.starts_with(&format!("{promise}: ")), "seed {seed}: {broken}");
}

#[test]
fn d1_a_peer_that_keeps_the_first_branch_of_a_fork_differs_from_one_with_the_branch_of_the_cut() {
    breaks(Document(Defect::KeepsFirstBranch), "D1");
}

#[test]
fn d2_a_peer_that_ignores_cuts_holds_what_they_cut() {
    breaks(Document(Defect::IgnoresCuts), "D2");
}

#[test]
fn d2_a_peer_that_never_rejudges_keeps_what_a_removal_cuts() {
    breaks(Document(Defect::NeverRejudges), "D2");
}

#[test]
fn d2_a_peer_that_ends_a_pass_after_one_page_keeps_what_a_removal_cuts() {
    breaks(Document(Defect::RejudgesOnePage), "D2");
}

#[test]
fn d3_a_peer_that_deletes_what_a_removal_took_loses_it_when_the_removal_is_void() {
    breaks(Document(Defect::DropsSetAside), "D3");
}

#[test]
fn d4_a_peer_that_writes_under_an_old_grant_refuses_its_own_changes() {
    breaks(WritesUnderOldGrants, "D4");
}

#[test]
fn d5_a_peer_that_waives_the_sequence_has_a_chain_with_a_gap() {
    breaks(Document(Defect::WaivesSequence), "D5");
}

#[test]
fn d5_a_peer_that_waives_the_previous_change_has_a_chain_in_pieces() {
    breaks(Document(Defect::WaivesPrevious), "D5");
}

#[test]
fn d5_a_peer_that_waives_forks_has_two_changes_at_one_place() {
    breaks(Document(Defect::WaivesForks), "D5");
}

#[test]
fn d5_a_peer_that_waives_the_first_op_has_counters_with_a_gap() {
    breaks(Document(Defect::WaivesStartOp), "D5");
}

#[test]
fn d6_a_peer_that_believes_every_tip_holds_changes_that_nobody_made() {
    breaks(Document(Defect::BelievesTips), "D6");
}

#[test]
fn d6_a_peer_that_keeps_the_first_tip_of_a_chain_cannot_prove_its_end() {
    breaks(Document(Defect::KeepsFirstTip), "D6");
}

#[test]
fn d7_a_peer_that_waives_dependencies_makes_automerge_queue_changes() {
    breaks(Document(Defect::WaivesDependencies), "D7");
}

#[test]
fn c8_a_peer_that_accepts_non_writers_holds_changes_whose_authors_may_not_write() {
    breaks(Document(Defect::AcceptsNonWriters), "C8");
}

#[test]
fn d2_a_peer_that_accepts_every_author_holds_what_a_removed_member_writes() {
    breaks(Document(Defect::AcceptsEveryAuthor), "D2");
}

#[test]
fn d9_a_peer_that_sets_refused_changes_aside_stores_what_it_never_accepted() {
    breaks(Document(Defect::SetsRefusedAside), "D9");
}

#[test]
fn d9_a_peer_that_never_restores_has_a_change_twice() {
    breaks(Document(Defect::NeverRestores), "D9");
}

#[test]
fn d9_a_peer_that_keeps_evicted_revocations_stores_more_than_its_ledger_holds() {
    let broken = flooded(World::with_malice(1).with_defect(KeepsEvicted)).examine();
    let Err(BrokenPromise::Records { stored, held, .. }) = broken else { panic!("{broken:?}") };
    assert!(held == DEVICE_REVOCATIONS_MAX && stored > held, "{stored} of {held}");
}
