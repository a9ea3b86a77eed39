//! Checks that stories about nodes share: rows in columns, journeys, exports, disks, refusals.

use std::time::Duration;

use peerbase::ErrorKind;
use peerbase::TableName;
use peerbase::group::{GroupStatus, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::nodes::{Nodes, Who, export};
use super::waits::Route;
use super::{Stage, millis, sha256};
use crate::command::demo::ActError;

/// The longest journey of a row that counts as live; a busy machine breaks no promise.
const LIVE_MAX: Duration = Duration::from_secs(1);

impl Nodes {
    /// Returns the nodes that have a row.
    pub(crate) fn holders<T>(&self, table: TableName<T>, key: &str) -> Result<Vec<Who>, ActError>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut holders = Vec::new();
        for (who, table) in Who::ALL.into_iter().zip(self.tables(table)?) {
            holders.extend(table.get(key)?.map(|_| who));
        }
        Ok(holders)
    }

    /// Returns the state of the group at each member's node.
    pub(crate) async fn statuses(&self) -> Result<Vec<GroupStatus>, ActError> {
        let mut statuses = Vec::new();
        for who in self.members() {
            statuses.push(self.group(who)?.status().await?);
        }
        Ok(statuses)
    }
}

/// The table and key of a row.
pub(crate) struct RowAt<T> {
    pub(crate) table: TableName<T>,
    pub(crate) key: &'static str,
}

impl Stage<Nodes> {
    /// Waits until the nodes are in sync, then shows the cables.
    pub(crate) async fn settle_and_show_cables(&mut self) -> Result<(), ActError> {
        self.cast.settle().await?;
        self.screen.links(&self.cast.links());
        Ok(())
    }

    /// Waits until the nodes are in sync, then shows the cables and the rows of each node.
    pub(crate) async fn settle_and_show(&mut self) -> Result<(), ActError> {
        self.settle_and_show_cables().await?;
        self.screen.grid(self.cast.grid()?);
        Ok(())
    }

    /// Promises that all three nodes have one row, the same, and that it is as expected; the detail shows it
    /// once, or of each node where they differ.
    pub(crate) fn promise_row<T>(
        &mut self,
        promise: &str,
        row: RowAt<T>,
        is_expected: impl Fn(Option<&T>) -> bool,
    ) -> Result<(), ActError>
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Display,
    {
        let RowAt { table, key } = row;
        let mut rows = Vec::new();
        for table in self.cast.tables(table)? {
            rows.push(table.get(key)?);
        }
        let text = |row: &Option<T>| row.as_ref().map_or_else(|| "gone".to_owned(), T::to_string);
        let is_equal = rows.iter().all(|row| *row == rows[0]);
        let detail = if is_equal {
            text(&rows[0])
        } else {
            let each =
                Who::ALL.iter().zip(&rows).map(|(who, row)| format!("{} has {}", who.name(), text(row)));
            each.collect::<Vec<_>>().join(", ")
        };
        self.promise(promise, is_equal && is_expected(rows[0].as_ref()), format!("{key}: {detail}"));
        Ok(())
    }

    /// Writes a row at one node and promises that it reaches another within a second.
    pub(crate) async fn promise_journey<T>(
        &mut self,
        promise: &str,
        route: Route,
        at: RowAt<T>,
        row: &T,
    ) -> Result<(), ActError>
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        let journey = self.cast.send(route, at.table, at.key, row).await?;
        self.settle_and_show().await?;
        let Route { from, to } = route;
        let (written, arrived) = (millis(journey.written), millis(journey.arrived));
        let detail = format!("durable at {} after {written}, at {} after {arrived}", from.name(), to.name());
        self.promise(promise, journey.arrived < LIVE_MAX, detail);
        Ok(())
    }

    /// Promises that both of these nodes are linked to one node and to no other.
    pub(crate) async fn promise_only_peer(
        &mut self,
        promise: &str,
        nodes: [Who; 2],
        peer: Who,
    ) -> Result<(), ActError> {
        let device = self.cast.node(peer)?.device_id();
        let mut is_kept = true;
        for who in nodes {
            is_kept &= self.cast.peers_of(who).await? == [device];
        }
        self.promise(promise, is_kept, format!("both are linked to {} and to no other", peer.name()));
        Ok(())
    }

    /// Promises that a copy of a running node's folder has every row.
    pub(crate) async fn promise_on_disk(&mut self, promise: &str, who: Who) -> Result<(), ActError> {
        let is_kept = self.cast.export_of_copy(who).await? == export(&self.cast.group(who)?)?;
        let detail = format!("a copy of {}'s open folder opens with every row", who.name());
        self.promise(promise, is_kept, detail);
        Ok(())
    }

    /// Promises that the folder of an open node cannot be opened, and that the error names it.
    pub(crate) async fn promise_locked(&mut self, promise: &str, who: Who) {
        let folder = self.cast.folder(who).display().to_string();
        let (is_kept, detail) = match self.cast.open_twice(who).await {
            Ok(()) => (false, "it opened twice".to_owned()),
            Err(error) => {
                let detail = error.to_string();
                (error.kind() == ErrorKind::Busy && detail.contains(&folder), detail)
            }
        };
        self.promise(promise, is_kept, detail);
    }

    /// Shows the export of each node with its hash, and promises that all are equal.
    pub(crate) fn promise_equal_exports(&mut self, promise: &str) -> Result<(), ActError> {
        let mut notes = Vec::new();
        for (who, group) in Who::ALL.into_iter().zip(self.cast.groups()?) {
            let export = export(&group)?;
            if notes.is_empty() {
                notes.push(format!("{} lines, such as", export.lines().count()));
                notes.extend(export.lines().next().map(str::to_owned));
            }
            notes.push(format!("{}  {} bytes  sha-256 {}", who.name(), export.len(), sha256(&export)));
        }
        self.screen.notes(&notes);
        let (is_kept, bytes) = (self.cast.is_equal()?, export(&self.cast.group(Who::Ada)?)?.len());
        self.promise(promise, is_kept, format!("{bytes} bytes each"));
        Ok(())
    }

    /// Promises that no member's node refuses or lacks anything, and that all have the same documents.
    pub(crate) async fn promise_sound(&mut self, promise: &str) -> Result<(), ActError> {
        let statuses = self.cast.statuses().await?;
        let problems = |status: &GroupStatus| {
            status.quarantined.len() + status.refusals.len() + status.refused_by_peers.len()
        };
        let problems: usize = statuses.iter().map(problems).sum();
        let detail = format!("{} documents, {problems} problems, equal digests", statuses[0].documents);
        self.promise(promise, problems == 0 && have_same_documents(&statuses), detail);
        Ok(())
    }

    /// Promises that all members have the same documents, and shows how many a node has set aside.
    pub(crate) async fn promise_same_documents(&mut self, promise: &str, who: Who) -> Result<(), ActError> {
        let statuses = self.cast.statuses().await?;
        let status = self.cast.group(who)?.status().await?;
        let (documents, aside, name) = (status.documents, status.set_aside.documents, who.name());
        let detail = format!("{documents} documents; at {name} changes of {aside} are set aside for 30 days");
        self.promise(promise, have_same_documents(&statuses), detail);
        Ok(())
    }

    /// Promises that a node refuses a row because a removal cuts its author off, and names the cut.
    pub(crate) async fn promise_cut<T>(
        &mut self,
        promise: &str,
        who: Who,
        row: RowAt<T>,
    ) -> Result<(), ActError> {
        let refusals = self.cast.group(who)?.explain(row.table.name(), row.key).await?.refusals;
        let cut = refusals.iter().find_map(|refusal| match refusal {
            Refusal::BeyondCut { author, revocation, seq, got } => {
                let (device, op) = (author.device.short(), revocation.short());
                Some(format!("BeyondCut: change {got} of device {device}, where {seq} stay since op {op}"))
            }
            _ => None,
        });
        let is_kept = cut.is_some();
        self.promise(promise, is_kept, cut.unwrap_or_else(|| "nothing was refused".to_owned()));
        Ok(())
    }
}

fn have_same_documents(statuses: &[GroupStatus]) -> bool {
    statuses.iter().all(|status| (status.documents, status.root) == (statuses[0].documents, statuses[0].root))
}
