//! What this user wants: which groups to take part in, from the rows of the personal group.

use std::collections::BTreeMap;

use ractor::ActorProcessingErr;
use schema::GroupId;

use super::State;
use crate::node::group::rows::RowRecord;
use crate::node::group::{INTENTS_TABLE, rows};
use crate::node::store::{SpaceHandle, StoreError};

impl State {
    pub(super) async fn reload_intents(&mut self) -> Result<(), ActorProcessingErr> {
        let mut groups = intents(&self.entries[&self.arguments.personal].space)?;
        groups.extend(self.entries.iter().filter(|(_, entry)| entry.wanted).map(|(group, _)| *group));
        for group in groups {
            self.intent_changed(group).await?;
        }
        Ok(())
    }

    /// Does as the intent says that is stored now: what tells of it may come late, and one that was written and taken
    /// back is told of twice.
    pub(super) async fn intent_changed(&mut self, group: GroupId) -> Result<(), ActorProcessingErr> {
        let personal = self.arguments.personal;
        if group == personal {
            return Ok(());
        }
        let Some(wanted) = intent(&self.entries[&personal].space, group)? else { return Ok(()) };
        if !wanted && !self.entries.contains_key(&group) {
            self.handle.publish().remove(&group);
            self.handle.roster_moved(group);
            return Ok(());
        }
        let Some(entry) = self.entry_or_failed(group)? else {
            self.publish_failed(group);
            return Ok(());
        };
        if std::mem::replace(&mut entry.wanted, wanted) == wanted {
            return Ok(());
        }
        if wanted {
            self.handle.offers().remove(&group);
            self.publish(group);
            self.arguments.supervisor.start_group(group);
            self.redial_known();
            self.links.consider(group, &self.entries);
            self.arm();
        } else {
            self.links.close_all(group);
            self.handle.publish().remove(&group);
            self.arguments.connections.set_recorded(group, BTreeMap::new());
            self.handle.roster_moved(group);
            self.arguments.supervisor.stop_group(group);
            self.drop_tickets(group).await?;
        }
        Ok(())
    }
}

/// Whether the user takes part in a group, from the rows of the personal group; unknown where the row is damaged.
fn intent(personal: &SpaceHandle, group: GroupId) -> Result<Option<bool>, StoreError> {
    let row = match personal.get(&rows::row_key(INTENTS_TABLE, &group.to_string())) {
        Ok(row) => row.map(|row| RowRecord::decode(&row)).transpose(),
        Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(row.ok().map(|row| row.is_some_and(|row| !row.removed)))
}

/// The groups that the user takes part in, from the rows of the personal group.
pub(super) fn intents(personal: &SpaceHandle) -> Result<Vec<GroupId>, ActorProcessingErr> {
    let mut wanted = Vec::new();
    let rows: Vec<Result<_, StoreError>> =
        personal.read(|view| view.prefix(&rows::table_prefix(INTENTS_TABLE)).collect())?;
    for row in rows {
        // An intent that cannot be read is one group that is not asked for, not a node that does not open.
        let intent = row.ok().and_then(|(key, value)| {
            let group = rows::decode_key(INTENTS_TABLE, &key).ok()?.parse().ok()?;
            Some((group, RowRecord::decode(&value).ok()?))
        });
        match intent {
            Some((group, row)) if !row.removed => wanted.push(group),
            Some(_) => {}
            None => tracing::error!("an intent is damaged"),
        }
    }
    Ok(wanted)
}
