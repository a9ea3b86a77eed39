//! A change is in the database if and only if its author was allowed to write it, whoever carried it, and a removal
//! ends that for good: the cases of the rules, by name, over real nodes. Each ends with everybody equal who is in.
//!
//! `SEED=7 cargo test --test it revocation` tells the same stories in other worlds.

mod eve;
mod forged;
mod interrupted;
mod returns;
mod scenarios;
mod whatever;

use peerbase::Role::{Admin, None as Out, Reader, Writer};

use crate::support::village::Village;

#[tokio::test(start_paused = true)]
async fn p1_what_a_removed_member_wrote_before_stays_and_nothing_is_added() {
    let mut village = Village::of(1, [("ben", Admin), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    village.removes("ada", "mia").await;
    village.settle().await;
    village.writes("mia", "rope", "too late").await;

    village.meet().await;
    village.have(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!((village.kept("ada").await, village.kept("ben").await), (0, 0), "nobody ever had it");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p2_what_the_remover_had_not_seen_is_taken_from_who_had() {
    let mut village = Village::of(2, [("ben", Admin), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    village.part(&[&["ben", "mia"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    village.have(&["ben"], [("basil", "water it twice"), ("rope", "buy it")]);
    village.removes("ada", "mia").await;

    village.meet().await;
    village.have(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!(village.kept("ben").await, 2, "what was taken is kept for a while");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p3_what_is_written_after_a_removal_is_taken_from_the_uninformed_once_they_hear() {
    let mut village = Village::of(3, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    village.part(&[&["ada", "ben"], &["cid", "mia"]]);
    village.removes("ada", "mia").await;
    village.settle().await;
    village.writes("mia", "basil", "drown it").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    village.have(&["cid"], [("basil", "drown it"), ("rope", "buy it")]);

    village.meet().await;
    village.have(&["ada", "ben", "cid"], [("basil", "water it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p3_who_is_made_a_reader_reads_on_and_has_nothing_beyond_the_cut_either() {
    let mut village = Village::of(103, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    village.part(&[&["ada", "ben"], &["cid", "mia"]]);
    village.says("ben", "mia", Reader).await;
    village.writes("mia", "basil", "drown it").await;
    village.writes("mia", "rope", "buy it").await;
    village.writes("ben", "soap", "make it").await;
    village.settle().await;

    village.meet().await;
    village.have(&["ada", "ben", "cid", "mia"], [("basil", "water it"), ("soap", "make it")]);
    assert_eq!((village.kept("mia").await, village.kept("cid").await), (2, 2));
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p6_of_two_removals_with_two_cuts_the_lower_holds() {
    let people = [("ben", Admin), ("dan", Admin), ("cid", Writer), ("mia", Writer)];
    let mut village = Village::of(6, people).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ben", "cid", "mia"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.settle().await;

    village.part(&[&["ben", "cid"]]);
    village.removes("ben", "mia").await;
    village.settle().await;
    village.have(&["ben", "cid"], [("basil", "water it twice")]);
    village.removes("dan", "mia").await;

    village.meet().await;
    village.have(&["ada", "ben", "cid", "dan"], [("basil", "water it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p7_what_a_removal_took_comes_back_from_what_was_kept_when_the_removal_is_void() {
    let mut village = Village::of(7, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["cid", "mia"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    village.crash("mia").await;

    village.part(&[&["ben", "cid"]]);
    village.removes("ben", "mia").await;
    village.settle().await;
    village.have(&["ben", "cid"], [("basil", "water it")]);
    assert_eq!((village.kept("ben").await, village.kept("cid").await), (0, 2));
    village.removes("ada", "ben").await;

    // Mia's own device is not there to give it again: cid alone has kept it.
    village.meet().await;
    village.have(&["ada", "cid"], [("basil", "water it twice"), ("rope", "buy it")]);
    assert_eq!(village.kept("cid").await, 0, "what is accepted is kept as everything else is");
    village.restart("mia").await;
    village.meet().await;
    village.writes("mia", "rope", "coil it").await;
    village.meet().await;
    village.have(&["ada", "cid", "mia"], [("basil", "water it twice"), ("rope", "coil it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p8_who_is_let_in_again_writes_anew_and_nothing_old_comes_back() {
    let mut village = Village::of(8, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ada", "ben"], &["cid", "mia"]]);
    village.writes("mia", "basil", "drown it").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;

    village.removes("ada", "mia").await;
    village.says("ada", "mia", Writer).await;
    village.meet().await;
    village.have(&["ada", "ben", "cid", "mia"], [("basil", "water it")]);

    village.writes("mia", "basil", "water it twice").await;
    village.writes("mia", "soap", "make it").await;
    village.meet().await;
    village.have(&["ada", "ben", "cid", "mia"], [("basil", "water it twice"), ("soap", "make it")]);
    assert_eq!((village.kept("cid").await, village.kept("mia").await), (2, 2));
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p8_who_is_lowered_further_or_let_in_as_a_reader_loses_nothing_more() {
    let mut village = Village::of(81, [("ben", Admin), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    for role in [Reader, Out, Reader, Writer, Out, Reader] {
        village.says("ben", "mia", role).await;
        village.meet().await;
        village.have(&["ada", "ben"], [("basil", "water it")]);
    }
    assert_eq!(village.kept("ada").await, 0);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p10_what_was_written_under_a_grant_that_turns_out_void_is_taken_back() {
    let mut village = Village::of(10, [("ben", Admin), ("cid", Writer), ("mia", Reader)]).await;
    village.writes("cid", "basil", "water it").await;
    village.meet().await;

    village.part(&[&["ben", "cid", "mia"]]);
    village.says("ben", "mia", Writer).await;
    village.settle().await;
    village.writes("mia", "basil", "drown it").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    village.have(&["cid"], [("basil", "drown it"), ("rope", "buy it")]);
    // By somebody stronger, who has not heard of it.
    village.says("ada", "ben", Writer).await;

    village.meet().await;
    village.have(&["ada", "ben", "cid", "mia"], [("basil", "water it")]);
    village.ends().await;
}
