//! Reads intents and contacts from the rows of the personal group.

use std::collections::BTreeSet;

use ractor::ActorProcessingErr;
use schema::gate::Input;
use schema::value::Value;
use schema::{GroupId, UserId};

use super::State;
use crate::node::group::rows::{self, RowRecord};
use crate::node::group::{BLOCKED_FIELD, CONTACTS_TABLE, INTENTS_TABLE};
use crate::node::store::{SpaceHandle, StoreError};

impl State {
    /// Steps the gate with an intent as it is stored now: news of it may come late, or twice. A damaged row
    /// changes nothing.
    pub(super) fn reload_intent(&mut self, group: GroupId) -> Result<(), ActorProcessingErr> {
        let row = row(self.personal(), INTENTS_TABLE, &group.to_string())?;
        let Some(row) = row else { return Ok(()) };
        let is_wanted = row.is_some_and(|row| !row.removed);
        Ok(self.step(Input::Intent { group, is_wanted })?)
    }

    /// Steps the gate with a contact as it is stored now. A damaged row changes nothing.
    pub(super) fn reload_contact(&mut self, user: UserId) -> Result<(), ActorProcessingErr> {
        let row = row(self.personal(), CONTACTS_TABLE, &user.to_string())?;
        let Some(row) = row else { return Ok(()) };
        let is_blocked = row.is_some_and(|row| blocks(&row));
        Ok(self.step(Input::Contact { user, is_blocked })?)
    }

    /// Reads every intent and contact again: while membership was down, news of them were lost.
    pub(super) fn reload_all(&mut self) -> Result<(), ActorProcessingErr> {
        let blocked = blocked(self.personal())?.into_iter().chain(self.gate.blocked());
        for user in blocked.collect::<BTreeSet<_>>() {
            self.reload_contact(user)?;
        }
        let groups = wanted(self.personal())?.into_iter().chain(self.gate.wanted_groups());
        for group in groups.collect::<BTreeSet<_>>() {
            self.reload_intent(group)?;
        }
        Ok(())
    }

    fn personal(&self) -> &SpaceHandle {
        &self.spaces[&self.arguments.personal]
    }
}

/// A row of the personal group; the outer `None` stands for a damaged one.
fn row(personal: &SpaceHandle, table: &str, key: &str) -> Result<Option<Option<RowRecord>>, StoreError> {
    let row = match personal.get(&rows::row_key(table, key)) {
        Ok(row) => row.map(|row| RowRecord::decode(&row)).transpose(),
        Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(row.inspect_err(|error| tracing::error!(%error, table, "a row of the personal group is damaged")).ok())
}

/// The readable rows of a table of the personal group, by key.
fn table(personal: &SpaceHandle, table: &str) -> Result<Vec<(String, RowRecord)>, StoreError> {
    let rows: Vec<Result<_, StoreError>> =
        personal.read(|view| view.prefix(&rows::table_prefix(table)).collect())?;
    let row = |row: Result<(Vec<u8>, Vec<u8>), StoreError>| {
        let (key, value) = row.ok()?;
        let key = rows::decode_key(table, &key).ok()?.to_owned();
        let row = RowRecord::decode(&value);
        Some((key, row.inspect_err(|error| tracing::error!(%error, table, "a row is damaged")).ok()?))
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// The groups in which the user takes part. A damaged row is one group that is not asked for, not a node that
/// does not open.
pub(super) fn wanted(personal: &SpaceHandle) -> Result<Vec<GroupId>, StoreError> {
    let wanted = table(personal, INTENTS_TABLE)?.into_iter().filter(|(_, row)| !row.removed);
    Ok(wanted.filter_map(|(key, _)| key.parse().ok()).collect())
}

/// The users that this user blocked. A damaged row blocks nobody.
pub(super) fn blocked(personal: &SpaceHandle) -> Result<BTreeSet<UserId>, StoreError> {
    let blocked = table(personal, CONTACTS_TABLE)?.into_iter().filter(|(_, row)| blocks(row));
    Ok(blocked.filter_map(|(key, _)| key.parse().ok()).collect())
}

fn blocks(row: &RowRecord) -> bool {
    !row.removed && row.value.field(BLOCKED_FIELD) == Some(&Value::Bool(true))
}
