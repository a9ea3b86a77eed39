//! Blocks users, on all devices of this user.

use actors::node::group::CONTACTS_TABLE;
use schema::UserId;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::error::{GroupError, ReadError};
use crate::table::{Table, TableName};

/// A row of the personal group about another user. Fields that a newer version adds stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contact {
    /// The membership actor reads this field by its name.
    blocked: bool,
    /// The time of the decision, milliseconds since the Unix epoch, by the clock of the device that recorded
    /// it.
    moved_ms: u64,
}

const CONTACTS: TableName<Contact> = TableName::reserved(CONTACTS_TABLE);

impl Node {
    /// Blocks a user, on all devices of this one, until [`unblock`](Self::unblock): links to their devices
    /// end at once, later ones as soon as the handshake proves their user. They receive the same reason as a
    /// stranger. Blocking twice changes nothing.
    ///
    /// Only this user is affected. In groups of both the other remains a member, and rows of one reach the
    /// other through third members; [`Group::remove_member`](crate::Group::remove_member) ends that.
    ///
    /// # Errors
    /// [`GroupError::BlockSelf`] for this user; [`GroupError::Intent`] if the decision was not stored.
    pub async fn block(&self, user: UserId) -> Result<(), GroupError> {
        if user == self.user_id() {
            return Err(GroupError::BlockSelf);
        }
        self.remember(user, true).await
    }

    /// Unblocks a user; one who is not [blocked](Self::block) is no error.
    ///
    /// # Errors
    /// [`GroupError::Intent`] if the decision was not stored.
    pub async fn unblock(&self, user: UserId) -> Result<(), GroupError> {
        if self.blocked()?.contains(&user) {
            self.remember(user, false).await?;
        }
        Ok(())
    }

    /// Lists the blocked users, by id.
    ///
    /// # Errors
    /// [`GroupError::Contacts`] if the list cannot be read.
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
