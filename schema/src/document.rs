//! One document as one pure machine: which of its changes are accepted, applied, kept, set aside and sent.
//!
//! A document is what is accepted of all that is known of it. This module is the only place of that rule: the
//! actors step it over Automerge and a disk, the machine world over headers and maps.
//!
//! * [`admission`] — C1 to C8: judges a batch of changes over an [`Index`] of accepted ones.
//! * [`Judge`] — the roster, the manifests of cuts and the keys by which one document is judged.
//! * [`ChangeSet`] — changes with the tips that vouch for them, read from messages and stores.
//! * [`Intake`] — a unit that a peer sent, with verified tips.
//! * [`Judge::merge`] — such a unit, judged on top of what is accepted; [`Judge::merge_own`] — a change of
//!   this device.
//! * [`Judge::rebuild`] — the document judged by everything known: accepted, set aside and received changes.
//! * [`Blocked`] — the accepted changes that no reader sees yet, and what each of them waits for.
//! * [`Rejudging`] — the passes over the documents of authors that a new roster judges differently.
//! * [`SetAside`], [`Awaited`] — changes that are no longer accepted, and what could bring them back.
//! * [`ChainTips`], [`SharedCheckpoint`] — the tips that are kept of each chain.
//! * [`UnitBuilder`] — the changes of one unit for a peer.
//! * [`Rules`] — the rules themselves, with a [`Defect`] where a test sets one.
//!
//! Acceptance is a function of headers, tips, roster and manifests: Automerge has no part in it, so that
//! every device accepts the same, whether it reads the document or not. What Automerge cannot apply is
//! accepted, and reads as nothing. There is no I/O here but for look-ups in manifests, no clock and no
//! randomness.

pub mod admission;
mod blocked;
mod candidates;
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
pub use self::blocked::Blocked;
pub use self::candidates::Admitted;
pub use self::change_set::{Change, ChangeSet, EncodedChange};
pub use self::intake::Intake;
pub use self::judge::{DocumentRef, Judge, Manifests, Signer};
pub use self::merge::{Merged, Standing};
pub use self::name::{NameError, check_place, check_table};
pub use self::rebuild::{Everything, Rebuilt, Replacement};
pub use self::refusal::Refusal;
pub use self::rejudge::{
    Examined, JudgedAuthor, RejudgeEffect, RejudgeInput, Rejudged, Rejudging, Slice, WrittenKey,
};
pub use self::rules::{Defect, Rules};
pub use self::set_aside::{Awaited, SetAside};
pub use self::standing::ChainEnd;
pub use self::supply::{Span, UnitBuilder, UnitChanges};
pub use self::tips::{ChainTips, KeptTip, SharedCheckpoint, TipPolicy};
