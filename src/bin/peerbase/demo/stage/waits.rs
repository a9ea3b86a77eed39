//! The waits of a story about nodes; each has a limit.

use std::collections::BTreeSet;
use std::time::Duration;

use peerbase::{DeviceId, Node, RowChange, SyncError, TableName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::nodes::{Nodes, Who};
use crate::command::demo::ActError;

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The pause between two looks at a condition that has no stream of its own.
const TICK: Duration = Duration::from_millis(1);

/// The way of a row.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    /// The node that writes it.
    pub(crate) from: Who,
    /// The node that is to receive it.
    pub(crate) to: Who,
}

/// The times that a row took, from its writer's call on.
pub(crate) struct Journey {
    /// Until it was durable where it was written.
    pub(crate) written: Duration,
    /// Until it was durable at the other end.
    pub(crate) arrived: Duration,
}

impl Nodes {
    /// Pulls both cables of a node, and waits until the others know it.
    pub(crate) async fn cut_off(&self, who: Who) -> Result<(), ActError> {
        for other in Who::ALL.into_iter().filter(|other| *other != who) {
            self.pull(who, other);
        }
        self.settle().await
    }

    /// Plugs every cable in and waits until all members have the same rows; returns the time that they took.
    pub(crate) async fn heal(&self) -> Result<Duration, ActError> {
        let start = self.clock.instant();
        self.plug_in().await;
        self.agree().await?;
        Ok(self.clock.instant() - start)
    }

    /// Waits until members with a cable between them are linked and in sync, and no others are linked.
    pub(crate) async fn settle(&self) -> Result<(), ActError> {
        let deadline = self.clock.instant() + WAIT_MAX;
        while let Some(unsettled) = self.unsettled().await? {
            if self.clock.instant() >= deadline {
                return Err(unsettled.into());
            }
            self.clock.sleep(TICK).await;
        }
        Ok(())
    }

    /// Waits until all members have the same rows.
    pub(crate) async fn agree(&self) -> Result<(), ActError> {
        let deadline = self.clock.instant() + WAIT_MAX;
        while !self.is_equal()? {
            if self.clock.instant() >= deadline {
                return Err(format!("the rows still differ after {WAIT_MAX:?}").into());
            }
            self.clock.sleep(TICK).await;
        }
        Ok(())
    }

    async fn unsettled(&self) -> Result<Option<String>, ActError> {
        for who in self.members().filter(|who| self.nodes[*who as usize].is_some()) {
            let mut expected = BTreeSet::new();
            for other in self.members().filter(|other| *other != who && self.is_plugged_in(who, *other)) {
                expected.extend(self.nodes[other as usize].as_ref().map(Node::device_id));
            }
            let (linked, why) = match self.group(who)?.synced(TICK).await {
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

    /// Waits until a node is in sync, and returns the peers of its group.
    pub(crate) async fn peers_of(&self, who: Who) -> Result<Vec<DeviceId>, ActError> {
        Ok(self.group(who)?.synced(WAIT_MAX).await?.with)
    }

    /// Writes a row at one node and waits until another has it.
    pub(crate) async fn send<T>(
        &self,
        route: Route,
        table: TableName<T>,
        key: &str,
        row: &T,
    ) -> Result<Journey, ActError>
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        let Route { from, to } = route;
        let (here, there) = (self.group(from)?.table(table), self.group(to)?.table(table));
        let mut changes = there.watch();
        let start = self.clock.instant();
        here.put(key, row).await?;
        let written = self.clock.instant() - start;
        let arrival = async {
            while let Some(change) = changes.next().await {
                let has_arrived = match change {
                    RowChange::Put(put) => put.key() == key && put.value()? == *row,
                    RowChange::Reset(rows) => rows.iter().any(|(at, reset)| at == key && reset == row),
                    RowChange::Removed { .. } => false,
                };
                if has_arrived {
                    return Ok(());
                }
            }
            Err(ActError::from(format!("{} was closed", to.name())))
        };
        match self.clock.timeout(WAIT_MAX, arrival).await {
            Ok(arrived) => arrived?,
            Err(_) => return Err(format!("{key} did not reach {} within {WAIT_MAX:?}", to.name()).into()),
        }
        Ok(Journey { written, arrived: self.clock.instant() - start })
    }
}
