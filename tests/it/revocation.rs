//! Removals over real nodes: a change is in the database if and only if its author may write it, no matter
//! which peer relays it. Every test ends by asserting that all members are equal.
//!
//! Prefixes `p1` to `p10` and `scenario_11` to `scenario_25` are the numbered cases of the authority rules.
//! `SEED=7 cargo test --test it revocation` runs the same tests on other schedules.

mod eve;
mod forged;
mod interrupted;
mod random;
mod returns;
mod scenarios;

use peerbase::Role::{Admin, None as Out, Reader, Writer};

use crate::support::scenario::Scenario;

#[tokio::test(start_paused = true)]
async fn p1_a_removed_members_earlier_writes_stay_and_later_ones_are_refused() {
    let mut scenario = Scenario::new(1, [("ben", Admin), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    scenario.remove("ada", "mia").await;
    scenario.settle().await;
    scenario.write("mia", "rope", "too late").await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!(
        (scenario.set_aside("ada").await, scenario.set_aside("ben").await),
        (0, 0),
        "no member ever had the later write"
    );
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p2_changes_the_remover_had_not_seen_are_purged_from_members_who_had_them() {
    let mut scenario = Scenario::new(2, [("ben", Admin), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    scenario.partition(&[&["ben", "mia"]]);
    scenario.write("mia", "basil", "water it twice").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;
    scenario.assert_rows(&["ben"], [("basil", "water it twice"), ("rope", "buy it")]);
    scenario.remove("ada", "mia").await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!(scenario.set_aside("ben").await, 2, "purged changes are set aside");
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p3_changes_written_after_a_removal_are_purged_once_a_member_learns_of_it() {
    let mut scenario = Scenario::new(3, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    scenario.partition(&[&["ada", "ben"], &["cid", "mia"]]);
    scenario.remove("ada", "mia").await;
    scenario.settle().await;
    scenario.write("mia", "basil", "drown it").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;
    scenario.assert_rows(&["cid"], [("basil", "drown it"), ("rope", "buy it")]);

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid"], [("basil", "water it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_writer_lowered_to_reader_keeps_reading_and_loses_changes_beyond_the_cut() {
    let mut scenario = Scenario::new(103, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    scenario.partition(&[&["ada", "ben"], &["cid", "mia"]]);
    scenario.set_role("ben", "mia", Reader).await;
    scenario.write("mia", "basil", "drown it").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.write("ben", "soap", "make it").await;
    scenario.settle().await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "mia"], [("basil", "water it"), ("soap", "make it")]);
    assert_eq!((scenario.set_aside("mia").await, scenario.set_aside("cid").await), (2, 2));
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p6_the_lower_of_two_concurrent_cuts_holds() {
    let people = [("ben", Admin), ("dan", Admin), ("cid", Writer), ("mia", Writer)];
    let mut scenario = Scenario::new(6, people).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["ben", "cid", "mia"]]);
    scenario.write("mia", "basil", "water it twice").await;
    scenario.settle().await;

    scenario.partition(&[&["ben", "cid"]]);
    scenario.remove("ben", "mia").await;
    scenario.settle().await;
    scenario.assert_rows(&["ben", "cid"], [("basil", "water it twice")]);
    scenario.remove("dan", "mia").await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "dan"], [("basil", "water it")]);
    scenario.close().await;
}

/// A group from which ben removed mia without two of her changes, which cid has set aside. Mia's device is
/// off, ada has not received the removal.
pub(super) async fn with_changes_set_aside(seed: u64) -> Scenario {
    let mut scenario = Scenario::new(seed, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["cid", "mia"]]);
    scenario.write("mia", "basil", "water it twice").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;
    scenario.crash("mia").await;
    scenario.partition(&[&["ben", "cid"]]);
    scenario.remove("ben", "mia").await;
    scenario.settle().await;
    assert_eq!(scenario.set_aside("cid").await, 2);
    scenario
}

#[tokio::test(start_paused = true)]
async fn p7_changes_set_aside_by_a_removal_are_restored_when_the_removal_is_void() {
    let mut scenario = with_changes_set_aside(7).await;
    scenario.assert_rows(&["ben", "cid"], [("basil", "water it")]);
    assert_eq!((scenario.set_aside("ben").await, scenario.set_aside("cid").await), (0, 2));
    scenario.remove("ada", "ben").await;

    // Mia's own device is offline: only cid has the changes, set aside.
    scenario.converge().await;
    scenario.assert_rows(&["ada", "cid"], [("basil", "water it twice"), ("rope", "buy it")]);
    assert_eq!(scenario.set_aside("cid").await, 0, "restored changes are no longer set aside");
    scenario.restart("mia").await;
    scenario.converge().await;
    scenario.write("mia", "rope", "coil it").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "cid", "mia"], [("basil", "water it twice"), ("rope", "coil it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_readmitted_member_writes_again_and_no_purged_change_returns() {
    let mut scenario = Scenario::new(8, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["ada", "ben"], &["cid", "mia"]]);
    scenario.write("mia", "basil", "drown it").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;

    scenario.remove("ada", "mia").await;
    scenario.set_role("ada", "mia", Writer).await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "mia"], [("basil", "water it")]);

    scenario.write("mia", "basil", "water it twice").await;
    scenario.write("mia", "soap", "make it").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "mia"], [("basil", "water it twice"), ("soap", "make it")]);
    assert_eq!((scenario.set_aside("cid").await, scenario.set_aside("mia").await), (2, 2));
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_second_lowering_or_readmission_as_reader_purges_nothing_more() {
    let mut scenario = Scenario::new(81, [("ben", Admin), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    for role in [Reader, Out, Reader, Writer, Out, Reader] {
        scenario.set_role("ben", "mia", role).await;
        scenario.converge().await;
        scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    }
    assert_eq!(scenario.set_aside("ada").await, 0);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn p10_changes_written_under_a_grant_that_becomes_void_are_purged() {
    let mut scenario = Scenario::new(10, [("ben", Admin), ("cid", Writer), ("mia", Reader)]).await;
    scenario.write("cid", "basil", "water it").await;
    scenario.converge().await;

    scenario.partition(&[&["ben", "cid", "mia"]]);
    scenario.set_role("ben", "mia", Writer).await;
    scenario.settle().await;
    scenario.write("mia", "basil", "drown it").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;
    scenario.assert_rows(&["cid"], [("basil", "drown it"), ("rope", "buy it")]);
    // A stronger member who does not know of the grant yet.
    scenario.set_role("ada", "ben", Writer).await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "mia"], [("basil", "water it")]);
    scenario.close().await;
}
