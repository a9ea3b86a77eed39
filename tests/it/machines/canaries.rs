//! A property that cannot fail is a defect: where every honest peer deviates from the rules in one place, the
//! examination names the promise that this breaks.

use peerbase::sim::machines::{Mutant, World};

use super::malicious_history;

/// Histories within which a broken promise must show.
const HISTORIES: u64 = 2_000;
const STEPS: u64 = 60;

/// Tells histories until the examination finds something, which must be this promise.
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
fn d1_who_stays_with_the_branch_that_came_first_ends_otherwise_than_who_has_the_one_that_a_cut_names() {
    breaks(Mutant::KeepsBranch, "D1");
}

#[test]
fn d2_who_forgets_cuts_has_what_they_cut() {
    breaks(Mutant::ForgetsCuts, "D2");
}

#[test]
fn d2_who_does_not_judge_anew_keeps_what_a_removal_cuts() {
    breaks(Mutant::KeepsFallen, "D2");
}

#[test]
fn d3_who_throws_away_what_a_removal_took_loses_it_when_the_removal_is_void() {
    breaks(Mutant::DropsKept, "D3");
}

#[test]
fn d4_who_writes_on_under_an_old_grant_cannot_write() {
    breaks(Mutant::KeepsGrant, "D4");
}

#[test]
fn d5_who_takes_a_chain_with_a_gap_has_one() {
    breaks(Mutant::SkipsGaps, "D5");
}

#[test]
fn d5_who_does_not_ask_for_the_change_before_has_a_chain_in_pieces() {
    breaks(Mutant::SkipsPrevious, "D5");
}

#[test]
fn d5_who_takes_both_branches_of_a_fork_has_two_changes_at_one_place() {
    breaks(Mutant::TakesForks, "D5");
}

#[test]
fn d5_who_does_not_look_where_ops_begin_has_counters_with_a_gap() {
    breaks(Mutant::SkipsStartOp, "D5");
}

#[test]
fn d6_who_believes_every_tip_holds_what_nobody_made() {
    breaks(Mutant::BelievesTips, "D6");
}

#[test]
fn d6_who_keeps_the_first_tip_of_a_chain_cannot_prove_its_end() {
    breaks(Mutant::KeepsFirstTip, "D6");
}

#[test]
fn d7_who_takes_orphans_lets_automerge_wait() {
    breaks(Mutant::TakesOrphans, "D7");
}

#[test]
fn c8_who_takes_anybodys_writes_holds_what_its_author_may_not_write() {
    breaks(Mutant::TakesAnybody, "C8");
}

#[test]
fn d9_who_keeps_what_they_refused_is_filled_by_a_flood() {
    breaks(Mutant::RemembersRefused, "D9");
}

#[test]
fn d9_who_never_lets_go_of_what_was_kept_has_it_twice() {
    breaks(Mutant::NeverLetsGo, "D9");
}
