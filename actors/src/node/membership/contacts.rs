//! Whom this user has blocked, from the rows of the personal group (AUTHORITY 3.9, trust; stepped by `membership`).
//!
//! It is each user's own affair: nobody else hears of it, and it only takes away. A device of somebody who is blocked is
//! let go right after it has proven whose it is, in the words that a stranger hears.

use std::collections::BTreeSet;

use ractor::ActorProcessingErr;
use schema::UserId;
use schema::value::Value;

use super::State;
use super::links::Links;
use crate::node::group::rows::RowRecord;
use crate::node::group::{BLOCKED_FIELD, CONTACTS_TABLE, rows};
use crate::node::store::{SpaceHandle, StoreError};

impl State {
    /// Does as the row says that is stored now. One that is damaged changes nothing.
    pub(super) fn contact_changed(&mut self, user: UserId) -> Result<(), ActorProcessingErr> {
        let row = match self.personal_space().get(&rows::row_key(CONTACTS_TABLE, &user.to_string())) {
            Ok(row) => row,
            Err(StoreError::Damaged { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match row.map(|row| RowRecord::decode(&row)).transpose() {
            Ok(row) => self.block(user, row.is_some_and(|row| blocks(&row))),
            Err(error) => tracing::error!(%error, "a contact is damaged"),
        }
        Ok(())
    }

    /// What was told of as the predecessor failed was told to nobody.
    pub(super) fn reload_contacts(&mut self) -> Result<(), ActorProcessingErr> {
        let blocked = blocked(self.personal_space())?;
        for user in blocked.union(&self.links.blocked).copied().collect::<Vec<_>>() {
            self.contact_changed(user)?;
        }
        Ok(())
    }

    fn block(&mut self, user: UserId, is_blocked: bool) {
        if user == self.user() {
            return; // nobody is a stranger to themselves
        }
        if is_blocked && self.links.blocked.insert(user) {
            self.links.let_go(user);
            self.forget_offers(user);
        } else if !is_blocked && self.links.blocked.remove(&user) {
            self.redial_known();
        }
    }

    fn personal_space(&self) -> &SpaceHandle {
        &self.entries[&self.arguments.personal].space
    }
}

impl Links {
    /// Ends every link with a user's devices; nothing more is read of them.
    fn let_go(&mut self, user: UserId) {
        let theirs = self.links.iter().filter(|(_, state)| state.link.peer().user == user);
        for (id, link) in theirs.map(|(id, state)| (*id, state.link.clone())).collect::<Vec<_>>() {
            self.down(id, "the user was blocked");
            link.close(schema::wire::link::ByeReason::NotAuthorized);
        }
    }
}

/// Whom the rows of the personal group block; those that cannot be read block nobody.
pub(super) fn blocked(personal: &SpaceHandle) -> Result<BTreeSet<UserId>, StoreError> {
    let rows: Vec<Result<_, StoreError>> =
        personal.read(|view| view.prefix(&rows::table_prefix(CONTACTS_TABLE)).collect())?;
    let blocked = rows.into_iter().filter_map(|row| {
        let (key, value) = row.ok()?;
        let user = rows::decode_key(CONTACTS_TABLE, &key).ok()?.parse().ok()?;
        RowRecord::decode(&value).is_ok_and(|row| blocks(&row)).then_some(user)
    });
    Ok(blocked.collect())
}

fn blocks(row: &RowRecord) -> bool {
    !row.removed && row.value.field(BLOCKED_FIELD) == Some(&Value::Bool(true))
}
