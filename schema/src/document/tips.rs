//! The tips that are kept of each chain: enough to prove its end, to cut it back, and to send it in parts.
//!
//! Changes that are accepted together are a *step*: behind it every chain ends in a tip. Kept are the newest
//! tip of each chain, some before it, since a cut mostly ends a chain not far back, and *checkpoints* for
//! good. Before the steps since the last shared checkpoint would exceed [`TipPolicy::checkpoint_charge`], the
//! newest tip of every chain becomes a checkpoint. So between two places where all chains end in kept tips
//! lies no more charge than that or one step, and a document is sent from place to place in
//! [units](super::UnitBuilder) no larger than those that arrived.

use bincode::{Decode, Encode};

use super::Rules;
use crate::key::Signature;
use crate::limits::{CHECKPOINT_CHARGE, CHECKPOINT_SEQ, RECENT_TIPS_MAX};
use crate::tip::Tip;

/// The number of tips that are kept of each chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TipPolicy {
    /// A tip whose sequence number is a multiple of this is a checkpoint, so that long chains can be sent in
    /// parts.
    pub checkpoint_seq: u64,
    /// A tip that closes this much charge of its chain, bytes, is a checkpoint; so are the newest of all
    /// chains together, about as often.
    pub checkpoint_charge: u64,
    /// Tips that are kept before the newest.
    pub recent: usize,
}

impl TipPolicy {
    /// The policy of a node.
    pub const NODE: Self = Self {
        checkpoint_seq: CHECKPOINT_SEQ,
        checkpoint_charge: CHECKPOINT_CHARGE,
        recent: RECENT_TIPS_MAX,
    };
}

/// A tip without the facts that its chain and its change tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct KeptTip {
    /// The sequence number of its change.
    pub seq: u64,
    /// The signature of the chain's device.
    pub signature: Signature,
    /// It is kept for good.
    is_checkpoint: bool,
}

impl From<&Tip> for KeptTip {
    fn from(tip: &Tip) -> Self {
        Self { seq: tip.seq, signature: tip.signature, is_checkpoint: false }
    }
}

/// The kept tips of one chain, ascending: checkpoints, recent ones, the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct ChainTips {
    /// The charge of the chain behind its last checkpoint, bytes.
    open_charge: u64,
    tips: Vec<KeptTip>,
}

impl ChainTips {
    /// Counts the charge of a change that was added to the chain.
    pub fn add_charge(&mut self, charge: u64) {
        self.open_charge += charge;
    }

    /// Keeps the tip over a change that was added to the chain.
    pub fn keep(&mut self, tip: KeptTip, policy: TipPolicy, rules: Rules) {
        if !rules.replaces_tips() && !self.tips.is_empty() {
            return;
        }
        if self.newest().is_some_and(|newest| newest.seq >= tip.seq) {
            return;
        }
        let is_checkpoint =
            tip.seq.is_multiple_of(policy.checkpoint_seq) || self.open_charge >= policy.checkpoint_charge;
        if is_checkpoint {
            self.open_charge = 0;
        }
        self.tips.push(KeptTip { is_checkpoint, ..tip });
        if let Some(oldest) = self.tips.len().checked_sub(policy.recent + 2)
            && !self.tips[oldest].is_checkpoint
        {
            self.tips.remove(oldest);
        }
    }

    /// The tips, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &KeptTip> {
        self.tips.iter()
    }

    /// The newest tip.
    pub fn newest(&self) -> Option<&KeptTip> {
        self.tips.last()
    }

    /// Returns true if a tip over this change is kept.
    pub fn contains(&self, seq: u64) -> bool {
        self.tips.binary_search_by_key(&seq, |tip| tip.seq).is_ok()
    }
}

/// The charge of what was accepted of one document since all its chains last had a checkpoint together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct SharedCheckpoint {
    open_charge: u64,
}

impl SharedCheckpoint {
    /// Counts a step of so much charge; where it would exceed the policy, the newest tip of every chain is
    /// kept for good.
    pub fn before_step<'a>(
        &mut self,
        charge: u64,
        chains: impl Iterator<Item = &'a mut ChainTips>,
        policy: TipPolicy,
    ) {
        if self.open_charge + charge > policy.checkpoint_charge {
            self.open_charge = 0;
            for tip in chains.filter_map(|chain| chain.tips.last_mut()) {
                tip.is_checkpoint = true;
            }
        }
        self.open_charge += charge;
    }
}
