//! One document as one pure machine: which of its changes are accepted, applied, kept, set aside and sent.
//!
//! A document is what is accepted of all that is known of it. This module is the only place of that rule: the
//! actors step it over Automerge and a disk, the machine world over headers and maps.
//!
//! * [`admission`] — C1 to C8: judges a batch of changes over an [`Index`] of accepted ones.
//! * [`Judge`] — the roster, the manifests of cuts and the keys by which one document is judged.
//! * [`ChangeSet`] — changes with the tips that vouch for them, read from messages and stores.
//! * [`Intake`] — a unit that a peer sent, with verified tips.
//! * [`Merge`] — such a unit, or a change of this device, judged on top of what is accepted.
//! * [`Rebuild`] — the document judged by everything known: accepted, set aside and received changes.
//! * [`Rejudging`] — the passes over the documents of authors that a new roster judges differently.
//! * [`SetAside`], [`Awaited`] — changes that are no longer accepted, and what could bring them back.
//! * [`ChainTips`], [`SharedCheckpoint`] — the tips that are kept of each chain.
//! * [`UnitBuilder`] — the changes of one unit for a peer.
//! * [`Rules`] — the rules themselves, with a [`Defect`] where a test sets one.
//!
//! [`Merge`] and [`Rebuild`] are stepped with an [`Input`] and return an [`Effect`]. Applying changes to
//! Automerge is an effect, because a change can pass every check and still not be applicable: its outcome
//! comes back as an input. There is no I/O here but for look-ups in manifests, no clock and no randomness.

pub mod admission;
mod attempt;
mod change_set;
mod intake;
mod judge;
mod merge;
mod name;
mod rebuild;
mod refusal;
mod rejudge;
mod rules;
mod set_aside;
mod standing;
mod supply;
mod tips;

pub use self::admission::{Bound, Index, Verdict, vet, vet_everything};
pub use self::attempt::Admitted;
pub use self::change_set::{Change, ChangeSet, EncodedChange};
pub use self::intake::Intake;
pub use self::judge::{DocumentRef, Judge, Manifests, Signer};
pub use self::merge::{Merge, Merged, Standing};
pub use self::name::{NameError, check_place, check_table};
pub use self::rebuild::{Everything, Rebuild, Rebuilt, Replacement};
pub use self::refusal::Refusal;
pub use self::rejudge::{
    Examined, JudgedAuthor, RejudgeEffect, RejudgeInput, Rejudged, Rejudging, Slice, WrittenKey,
};
pub use self::rules::{Defect, Rules};
pub use self::set_aside::{Awaited, SetAside};
pub use self::standing::ChainEnd;
pub use self::supply::{Span, UnitBuilder, UnitChanges};
pub use self::tips::{ChainTips, KeptTip, SharedCheckpoint, TipPolicy};

/// One step's occasion, for [`Merge`] and [`Rebuild`] alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The machine begins.
    Start,
    /// The changes of the last effect were applied.
    Applied,
    /// The document cannot hold the changes of the last effect.
    Inapplicable {
        /// The reason that the document gave.
        what: String,
    },
}

/// The next act of the shell, for [`Merge`] and [`Rebuild`] alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<D> {
    /// Apply the machine's changes to the document.
    Apply,
    /// Apply the machine's changes to a copy of the document as it was before, and drop the copy.
    Try,
    /// The machine has ended.
    Done(D),
}
