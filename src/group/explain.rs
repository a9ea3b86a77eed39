//! Why a row is there, or is not: everything that this device knows of it.

use actors::node::group::PeerStatus;
use actors::node::group::documents::Snapshot;
use actors::node::group::rows::{self, RowRecord};
use actors::node::store::StoreError;
use schema::admission::Refusal;
use schema::{ChangeHash, DocumentId};

use super::Group;
use crate::GroupInfo;
use crate::error::ReadError;
use crate::table::history::Revision;

/// What this device knows of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Explanation {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The row's document: what refusals and damage are about.
    pub document: DocumentId,
    /// The group, and whether this user is in it.
    pub group: GroupInfo,
    /// Whether the row can be read.
    pub row: RowState,
    /// Something in the row is nested too deeply to be read.
    pub too_deep: bool,
    /// The heads of the row's document, sorted; several: changes that do not know of each other were merged.
    pub heads: Vec<ChangeHash>,
    /// How many changes made it what it is.
    pub revisions: usize,
    /// The newest of them.
    pub last: Option<Revision>,
    /// Why the document is set aside: it is damaged on the disk, and fetched again from the next peer that has it.
    pub quarantined: Option<String>,
    /// Changes of the row that were accepted once, and are kept for a while.
    pub kept: Option<Snapshot>,
    /// Changes of the row that were refused here lately, and why, oldest first. Also those that had been accepted, until
    /// their author was removed or lowered.
    pub refusals: Vec<Refusal>,
    /// What peers refused of it lately, and why, as they say; oldest first.
    pub refused_by_peers: Vec<Refusal>,
    /// The connected devices of the group, and which of them have all that this one has; the others may know of
    /// changes that are not here yet. Empty: nobody is connected.
    pub peers: Vec<PeerStatus>,
}

/// Whether a row can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum RowState {
    /// It is there.
    Present,
    /// It was removed; its history is there.
    Removed,
    /// No change of it has come here.
    Absent,
    /// What is stored of it is damaged.
    Damaged,
}

impl Group {
    /// Everything that this device knows of a row: what to read when a row is there, or missing, against expectation.
    /// Also rows of the database's own tables are explained.
    ///
    /// # Errors
    /// [`ReadError`] for a name or key that cannot be one, or when the group does not answer.
    pub async fn explain(&self, table: &str, key: &str) -> Result<Explanation, ReadError> {
        rows::check_place(table, key)?;
        // Reading the history loads the document, and finds out what is damaged of it.
        let mut revisions = self.handle.history(table.to_owned(), key.to_owned()).await??;
        let status = self.handle.status().await?;
        let record = match self.handle.space().get(&rows::row_key(table, key)) {
            Ok(record) => record.map(|record| RowRecord::decode(&record)).transpose().map_err(drop),
            Err(StoreError::Damaged { .. }) => Err(()),
            Err(error) => return Err(error.into()),
        };
        let row = match &record {
            Ok(Some(row)) if row.removed => RowState::Removed,
            Ok(Some(_)) => RowState::Present,
            Ok(None) => RowState::Absent,
            Err(()) => RowState::Damaged,
        };
        let document = DocumentId::of(self.id(), table, key);
        let record = record.ok().flatten();
        let kept = self.handle.kept(document).await?;
        let mut refusals = of(document, status.refusals);
        // The reason is kept with what fell; the list of refusals begins anew with the node.
        let why = kept.as_ref().and_then(|kept| kept.why()).filter(|why| !refusals.contains(why));
        refusals.splice(0..0, why.cloned());
        let roster = self.node.handle().membership().roster(self.id());
        Ok(Explanation {
            table: table.to_owned(),
            key: key.to_owned(),
            document,
            group: self.info(),
            row,
            too_deep: record.as_ref().is_some_and(|row| row.too_deep),
            heads: record.map(|row| row.heads).unwrap_or_default(),
            revisions: revisions.len(),
            last: revisions.pop().map(|last| Revision::of(last, roster.as_deref())),
            quarantined: status.quarantined.into_iter().find(|(id, _)| *id == document).map(|(_, what)| what),
            kept,
            refusals,
            refused_by_peers: of(document, status.refused_by_peers),
            peers: self.handle.peers().borrow().clone(),
        })
    }
}

fn of(document: DocumentId, refusals: Vec<(DocumentId, Refusal)>) -> Vec<Refusal> {
    refusals.into_iter().filter(|(id, _)| *id == document).map(|(_, why)| why).collect()
}
