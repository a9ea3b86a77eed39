//! Explains a row: its state, its changes, and the reasons for what is missing.

use actors::node::group::PeerStatus;
use actors::node::group::documents::SetAside;
use actors::node::group::rows::{self, RowRecord};
use actors::node::store::StoreError;
use schema::document::Refusal;
use schema::{ChangeHash, DocumentId};

use super::{Group, GroupInfo};
use crate::error::ReadError;
use crate::table::history::Revision;

/// All that this device knows about one row, from [`Group::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Explanation {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The row's document, by which refusals and damage are reported.
    pub document: DocumentId,
    /// The group, its state, and this user's role.
    pub group: GroupInfo,
    /// Present, removed, absent or damaged.
    pub row: RowState,
    /// True if part of the row is nested too deeply to be read.
    pub too_deep: bool,
    /// The heads of the row's document, sorted; several if concurrent changes were merged.
    pub heads: Vec<ChangeHash>,
    /// Number of changes in its history.
    pub revisions: usize,
    /// The newest change.
    pub last: Option<Revision>,
    /// The damage, if the document is in quarantine: its stored bytes are damaged until a peer heals it.
    pub quarantined: Option<String>,
    /// Changes of the row that were accepted once and are set aside.
    pub set_aside: Option<SetAside>,
    /// The reasons for which changes of the row were refused here lately, oldest first; also for changes that
    /// were accepted until their author was removed or lowered.
    pub refusals: Vec<Refusal>,
    /// The reasons for which peers refused changes of the row lately, as they report them; oldest first.
    pub refused_by_peers: Vec<Refusal>,
    /// The connected devices of the group; each is in sync with this one, or may have changes that are not
    /// here yet.
    pub peers: Vec<PeerStatus>,
}

/// The state of a row on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum RowState {
    /// The row exists.
    Present,
    /// The row was removed; its history stays.
    Removed,
    /// No change of the row has been accepted here.
    Absent,
    /// The stored row is damaged.
    Damaged,
}

impl Group {
    /// Explains a row that is unexpectedly present, missing or old; also a row of the database's own tables.
    ///
    /// It loads the row's document and so takes longer than a read.
    ///
    /// ```
    /// # use peerbase::{Node, TableName, group::RowState};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let garden = Node::in_memory().await?.create_group("Garden club").await?;
    /// garden.table(TableName::<String>::new("plants")).put("basil", &"thirsty".to_owned()).await?;
    /// let explanation = garden.explain("plants", "basil").await?;
    /// assert_eq!(explanation.row, RowState::Present);
    /// assert_eq!(explanation.last.and_then(|revision| revision.author), Some(garden.members()[0].user));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] for an invalid name or key, or if the group does not answer.
    pub async fn explain(&self, table: &str, key: &str) -> Result<Explanation, ReadError> {
        rows::check_place(table, key)?;
        // Reading the history loads the document, which detects damage.
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
        let set_aside = self.handle.set_aside(document).await?;
        let mut refusals = of(document, status.refusals);
        // The reason is stored with the changes set aside; the list of refusals is only in memory.
        let why = set_aside.as_ref().and_then(SetAside::why).filter(|why| !refusals.contains(why));
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
            set_aside,
            refusals,
            refused_by_peers: of(document, status.refused_by_peers),
            peers: self.handle.peers().borrow().clone(),
        })
    }
}

fn of(document: DocumentId, refusals: Vec<(DocumentId, Refusal)>) -> Vec<Refusal> {
    refusals.into_iter().filter(|(id, _)| *id == document).map(|(_, why)| why).collect()
}
