//! The error of membership changes.

use schema::gate::ChangeRefusal;
use schema::ledger::Refusal;
use schema::{DeviceId, GroupId, UserId};

use super::advice::advice;
use crate::call::CallError;
use crate::node::group::cut::DamagedDocument;
use crate::node::store::StoreError;

/// The reason for which a membership change was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A rule of the ledger forbids it: the message says what to do, the cause names the rule.
    #[error("{}", advice(.0))]
    Refused(#[source] Refusal),
    /// It makes no sense now; nothing was signed.
    #[error(transparent)]
    Change(ChangeRefusal),
    /// It needs a cut, and the documents from which that is made are not running.
    #[error(
        "ending what user {user} writes needs a cut, and the rows from which it is made are not available"
    )]
    NeedsCut {
        /// The user who writes.
        user: UserId,
        /// One device of theirs; `None`: all of them.
        device: Option<DeviceId>,
    },
    /// Documents were re-judged all the time, or the target of the cut changed while it was made: try again.
    #[error("group {0} is still being re-judged, or keeps changing; try again in a moment")]
    Unsettled(GroupId),
    /// Documents to which the target wrote are damaged: wait until a peer brings them back, or leave them
    /// out.
    #[error(
        "{count} documents that user {user} wrote to are damaged here, and what they wrote to them would be \
         lost to everybody: {}; they come back from the next peer that has them: connect to one first, or \
         leave them out",
        listed(.documents, *.count)
    )]
    Damaged {
        /// The user who wrote.
        user: UserId,
        /// The first of the documents.
        documents: Vec<DamagedDocument>,
        /// The number of documents.
        count: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No answer arrived in time; the change may or may not have happened.
    #[error("membership did not answer")]
    Call(#[from] CallError),
}

impl From<ChangeRefusal> for ChangeError {
    fn from(refusal: ChangeRefusal) -> Self {
        match refusal {
            ChangeRefusal::Refused(refusal) => Self::Refused(refusal),
            refusal => Self::Change(refusal),
        }
    }
}

/// Damaged documents for people.
fn listed(documents: &[DamagedDocument], count: u64) -> String {
    let names: Vec<String> = documents.iter().map(DamagedDocument::to_string).collect();
    let more = if count > names.len() as u64 { ", …" } else { "" };
    names.join(", ") + more
}
