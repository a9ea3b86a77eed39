//! Whom this user wants nothing to do with.

use actors::node::group::CONTACTS_TABLE;
use schema::UserId;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::error::{GroupError, ReadError};
use crate::table::{Table, TableName};

/// What the personal group remembers of somebody. Fields that a newer version adds stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contact {
    /// The gate reads it by this name.
    blocked: bool,
    /// When that was said, milliseconds since the Unix epoch, by the clock of who said it.
    moved_ms: u64,
}

const CONTACTS: TableName<Contact> = TableName::reserved(CONTACTS_TABLE);

impl Node {
    /// Has nothing more to do with a user, on all devices of this one: links with their devices end at once, and later
    /// ones as soon as they have proven whose they are, in the words that strangers hear. It holds until it is
    /// [taken back](Self::unblock); a second time changes nothing.
    ///
    /// It is this user's own affair. In groups that both are in the other remains a member, and what one of them writes
    /// reaches the other through the rest: [`Group::remove_member`](crate::Group::remove_member) is for that.
    ///
    /// # Errors
    /// [`GroupError::BlockSelf`] for this user; [`GroupError::Intent`] when it was not remembered.
    pub async fn block(&self, user: UserId) -> Result<(), GroupError> {
        if user == self.user_id() {
            return Err(GroupError::BlockSelf);
        }
        self.remember(user, true).await
    }

    /// Takes back that a user is [blocked](Self::block); of one who is not it says nothing.
    ///
    /// # Errors
    /// [`GroupError::Intent`] when it was not remembered.
    pub async fn unblock(&self, user: UserId) -> Result<(), GroupError> {
        if self.blocked()?.contains(&user) {
            self.remember(user, false).await?;
        }
        Ok(())
    }

    /// The users who are blocked, by id.
    ///
    /// # Errors
    /// [`GroupError::Contacts`] when what is remembered of them cannot be read.
    pub fn blocked(&self) -> Result<Vec<UserId>, GroupError> {
        let unreadable = |error: ReadError| GroupError::Contacts(Box::new(error));
        let contacts = self.contacts()?.list().map_err(unreadable)?;
        let blocked = contacts.into_iter().filter(|(_, contact)| contact.blocked);
        Ok(blocked.filter_map(|(user, _)| user.parse().ok()).collect())
    }

    async fn remember(&self, user: UserId, blocked: bool) -> Result<(), GroupError> {
        let contact = Contact { blocked, moved_ms: self.clock().now().as_millis() };
        self.contacts()?.put(&user.to_string(), &contact).await?;
        Ok(self.handle().membership().contact_changed(user).await?)
    }

    fn contacts(&self) -> Result<Table<Contact>, GroupError> {
        Ok(self.personal()?.table_reserved(CONTACTS))
    }
}
