//! Canaries: every honest peer breaks one rule, and the examination must name the promise that this breaks.

use peerbase::sim::machines::{Mutant, World};

use super::malicious_history;

/// Histories within which a broken promise must show.
const HISTORIES: u64 = 2_000;
const STEPS: u64 = 60;

/// Runs histories until an examination fails, and asserts that it names this promise.
fn breaks(mutant: Mutant, promise: &str) {
    let found = (0..HISTORIES).find_map(|seed| {
        let world = World::with_malice(seed).with_mutants(mutant);
        let broken = malicious_history(world, STEPS, seed % 2 == 0).examine().err()?;
        Some((seed, broken.to_string()))
    });
    let Some((seed, broken)) = found else { panic!("{mutant:?} breaks nothing in {HISTORIES} histories") };
    println!("seed {seed}: {mutant:?} breaks {broken}");
    assert!(broken.starts_with(&format!("{promise}: ")), "seed {seed}: {broken}");
}

#[test]
fn d1_fails_if_peers_keep_the_first_branch_instead_of_the_one_that_a_cut_names() {
    breaks(Mutant::KeepsBranch, "D1");
}

#[test]
fn d2_fails_if_peers_forget_cuts() {
    breaks(Mutant::ForgetsCuts, "D2");
}

#[test]
fn d2_fails_if_peers_do_not_rejudge_after_a_removal() {
    breaks(Mutant::KeepsFallen, "D2");
}

#[test]
fn d3_fails_if_peers_delete_changes_instead_of_setting_them_aside() {
    breaks(Mutant::DropsKept, "D3");
}

#[test]
fn d4_fails_if_peers_write_under_an_old_grant() {
    breaks(Mutant::KeepsGrant, "D4");
}

#[test]
fn d5_fails_if_peers_accept_chains_with_gaps() {
    breaks(Mutant::SkipsGaps, "D5");
}

#[test]
fn d5_fails_if_peers_do_not_require_the_previous_change() {
    breaks(Mutant::SkipsPrevious, "D5");
}

#[test]
fn d5_fails_if_peers_accept_both_branches_of_a_fork() {
    breaks(Mutant::TakesForks, "D5");
}

#[test]
fn d5_fails_if_peers_do_not_check_the_first_op_counter() {
    breaks(Mutant::SkipsStartOp, "D5");
}

#[test]
fn d6_fails_if_peers_trust_unverified_tips() {
    breaks(Mutant::BelievesTips, "D6");
}

#[test]
fn d6_fails_if_peers_store_the_first_tip_instead_of_the_last() {
    breaks(Mutant::KeepsFirstTip, "D6");
}

#[test]
fn d7_fails_if_peers_accept_changes_without_their_dependencies() {
    breaks(Mutant::TakesOrphans, "D7");
}

#[test]
fn c8_fails_if_peers_accept_writes_of_every_author() {
    breaks(Mutant::TakesAnybody, "C8");
}

#[test]
fn d9_fails_if_peers_store_refused_changes() {
    breaks(Mutant::RemembersRefused, "D9");
}

#[test]
fn d9_fails_if_peers_keep_set_aside_changes_that_are_accepted_again() {
    breaks(Mutant::NeverLetsGo, "D9");
}
