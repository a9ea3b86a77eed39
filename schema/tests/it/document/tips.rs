//! Step tables of the tips that are kept of one chain.

use peerbase_schema::document::{ChainTips, KeptTip, Rules, SharedCheckpoint, TipPolicy};

use crate::support::row::Row;

const POLICY: TipPolicy = TipPolicy { checkpoint_seq: 4, checkpoint_charge: 100, recent: 1 };

/// A chain of changes of so much charge each, with a tip over each.
fn keep(tips: &mut ChainTips, seqs: std::ops::RangeInclusive<u64>, charge: u64) {
    let row = Row::new();
    let change = row.change("a1", &[]);
    for seq in seqs {
        tips.add_charge(charge);
        let mut tip = KeptTip::from(&row.tip(&change));
        tip.seq = seq;
        tips.keep(tip, POLICY, Rules::default());
    }
}

fn seqs(tips: &ChainTips) -> Vec<u64> {
    tips.iter().map(|tip| tip.seq).collect()
}

#[test]
fn the_newest_tip_some_before_it_and_every_checkpoint_are_kept() {
    let mut tips = ChainTips::default();

    let table = [(1, vec![1]), (2, vec![1, 2]), (3, vec![2, 3]), (4, vec![3, 4]), (5, vec![4, 5])];
    for (seq, kept) in table {
        keep(&mut tips, seq..=seq, 1);
        assert_eq!(seqs(&tips), kept, "after tip {seq}");
    }
    keep(&mut tips, 6..=10, 1);
    assert_eq!(seqs(&tips), [4, 8, 9, 10], "each fourth is a checkpoint");
    assert!(tips.contains(8) && !tips.contains(7));
}

#[test]
fn a_tip_no_newer_than_the_newest_is_not_kept() {
    let mut tips = ChainTips::default();
    keep(&mut tips, 3..=3, 1);

    keep(&mut tips, 2..=3, 1);

    assert_eq!((seqs(&tips), tips.newest().unwrap().seq), (vec![3], 3));
}

#[test]
fn a_tip_that_closes_much_charge_of_its_chain_is_a_checkpoint() {
    let mut tips = ChainTips::default();
    keep(&mut tips, 1..=1, 100);
    keep(&mut tips, 2..=3, 1);
    assert_eq!(seqs(&tips), [1, 2, 3], "the first stays for good");

    keep(&mut tips, 5..=7, 1);
    assert_eq!(seqs(&tips), [1, 6, 7]);
}

#[test]
fn before_a_step_that_exceeds_the_charge_of_all_chains_each_newest_tip_becomes_a_checkpoint() {
    let (mut ada, mut ben) = (ChainTips::default(), ChainTips::default());
    let mut shared = SharedCheckpoint::default();
    let mut step = |charge, ada: &mut ChainTips, ben: &mut ChainTips| {
        shared.before_step(charge, [ada, ben].into_iter(), POLICY);
    };

    step(60, &mut ada, &mut ben);
    keep(&mut ada, 1..=1, 1);
    keep(&mut ben, 1..=1, 1);
    step(40, &mut ada, &mut ben);
    keep(&mut ada, 2..=2, 1);
    step(1, &mut ada, &mut ben);
    keep(&mut ada, 3..=3, 1);
    keep(&mut ada, 5..=7, 1);
    keep(&mut ben, 2..=3, 1);

    assert_eq!(seqs(&ada), [2, 6, 7], "the newest when the hundredth byte was exceeded");
    assert_eq!(seqs(&ben), [1, 2, 3]);
}
