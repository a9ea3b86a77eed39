//! Every wait of the demo; each has an end.

use std::collections::BTreeSet;
use std::time::Duration;

use peerbase::{DeviceId, Node, RowChange, SyncError};

use super::{Trouble, Who, World};
use crate::command::demo::story::lists::Task;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a condition that has no stream of its own is looked at.
const TICK: Duration = Duration::from_millis(1);

/// How long a row took from its writer's call on.
pub(in crate::command::demo::story) struct Journey {
    /// Until it was durable where it was written.
    pub(in crate::command::demo::story) written: Duration,
    /// Until it was durable at the other end.
    pub(in crate::command::demo::story) arrived: Duration,
}

impl World {
    /// Waits until everybody who can reach each other is linked and in sync, and nobody else is.
    pub(in crate::command::demo::story) async fn settle(&self) -> Result<(), Trouble> {
        let deadline = self.clock.instant() + PATIENCE;
        while let Some(amiss) = self.amiss().await? {
            if self.clock.instant() >= deadline {
                return Err(amiss.into());
            }
            self.clock.sleep(TICK).await;
        }
        Ok(())
    }

    /// Waits until all members have the same rows.
    pub(in crate::command::demo::story) async fn agree(&self) -> Result<(), Trouble> {
        let deadline = self.clock.instant() + PATIENCE;
        while !self.is_equal()? {
            if self.clock.instant() >= deadline {
                return Err(format!("the lists still differ after {PATIENCE:?}").into());
            }
            self.clock.sleep(TICK).await;
        }
        Ok(())
    }

    async fn amiss(&self) -> Result<Option<String>, Trouble> {
        for who in self.members().filter(|who| self.nodes[*who as usize].is_some()) {
            let mut expected = BTreeSet::new();
            for other in self.members().filter(|other| *other != who && self.reaches(who, *other)) {
                expected.extend(self.nodes[other as usize].as_ref().map(Node::device_id));
            }
            let (linked, why) = match self.at(who)?.group.synced(TICK).await {
                Ok(synced) => (synced.with.into_iter().collect(), String::new()),
                Err(error @ SyncError::NobodyConnected) => (BTreeSet::new(), format!(": {error}")),
                Err(error) => return Ok(Some(format!("{} has not settled: {error}", who.name()))),
            };
            if linked != expected {
                let (linked, expected) = (linked.len(), expected.len());
                return Ok(Some(format!("{} is in sync with {linked} of {expected}{why}", who.name())));
            }
        }
        Ok(None)
    }

    /// Whom a node's group has a session with, once all of them are in sync.
    pub(in crate::command::demo::story) async fn peers_of(&self, who: Who) -> Result<Vec<DeviceId>, Trouble> {
        Ok(self.at(who)?.group.synced(PATIENCE).await?.with)
    }

    /// Writes a task at one node and follows it to another.
    pub(in crate::command::demo::story) async fn send(
        &self,
        from: Who,
        to: Who,
        key: &str,
        task: &Task,
    ) -> Result<Journey, Trouble> {
        let (here, there) = (self.at(from)?, self.at(to)?);
        let mut changes = there.tasks.watch();
        let start = self.clock.instant();
        here.tasks.put(key, task).await?;
        let written = self.clock.instant() - start;
        let arrival = async {
            while let Some(change) = changes.next().await {
                match change {
                    RowChange::Put(row) if row.key() == key && row.value()? == *task => return Ok(()),
                    RowChange::Reset(rows) if rows.iter().any(|row| row.0 == key && row.1 == *task) => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
            Err(Trouble::from(format!("{} was closed", to.name())))
        };
        match self.clock.timeout(PATIENCE, arrival).await {
            Ok(end) => end?,
            Err(_) => return Err(format!("{key} did not reach {} within {PATIENCE:?}", to.name()).into()),
        }
        Ok(Journey { written, arrived: self.clock.instant() - start })
    }
}
