//! The recovery key: a user who stands above the founder, and whose secret is on paper alone.

use schema::UserId;
use schema::key::{Signature, verify};
use schema::mnemonic::Mnemonic;
use serde::{Deserialize, Serialize};

use super::{Node, NodeBuilder};
use crate::error::{GroupError, ReadError};
use crate::table::{Table, TableName};

/// What the personal group remembers of the recovery key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recovery {
    /// The recovery user's id as text: its public half.
    user: String,
    /// Milliseconds since the Unix epoch, by this device's clock.
    made_ms: u64,
    /// By the user key, over the recovery user's id: a device alone, which may be a thief's, puts nobody above its user.
    signature: Vec<u8>,
}

impl Recovery {
    /// The recovery user, if `user` said so.
    fn of(&self, user: UserId) -> Option<UserId> {
        let recovery: UserId = self.user.parse().ok()?;
        let signature = Signature(self.signature.as_slice().try_into().ok()?);
        verify(KIND, &recovery.0, &user.0, &signature).ok().map(|()| recovery)
    }
}

/// What a user signs, to tell it from everything else that they sign.
const KIND: &str = "recovery";

const RECOVERY: TableName<Recovery> = TableName::reserved("$recovery");
/// There is one a user, so the table has one row. Of two that are made on devices which do not know of each other, one
/// is remembered.
const KEY: &str = "key";

impl Node {
    /// Makes this user's recovery key, and shows it this once: 24 words, to be written on paper and locked away. Their
    /// secret is stored nowhere.
    ///
    /// In every group that this user founds from now on, on any of their devices, the recovery key is the first
    /// founder. Nobody can remove it or lower it, and it can lower the founder, whose keys may have been stolen. Groups
    /// that there are already are not changed. [`NodeBuilder::restore_user`] makes a node of the words.
    ///
    /// ```
    /// # use peerbase::{Node, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::in_memory().await?;
    /// let words = node.make_recovery().await?;
    /// println!("write this down: {words}");
    ///
    /// let club = node.create_group("Garden club").await?;
    /// assert!(club.members().iter().any(|member| member.user == words.user() && member.role == Role::Founder));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GroupError::HasRecovery`] when there is one; [`Node::replace_recovery`] makes another nevertheless.
    pub async fn make_recovery(&self) -> Result<Mnemonic, GroupError> {
        match self.recovery()? {
            Some(user) => Err(GroupError::HasRecovery { user }),
            None => self.replace_recovery().await,
        }
    }

    /// Makes a recovery key in the place of the one that there is, for the groups that are founded from now on. Those
    /// that were founded with the one before keep it: keep its words.
    ///
    /// # Errors
    /// [`GroupError::Intent`] when it was not remembered; the words are of no use then.
    pub async fn replace_recovery(&self) -> Result<Mnemonic, GroupError> {
        let words = Mnemonic::generate(&mut |bits: &mut [u8]| self.clock().fill(bits));
        let user = words.user();
        let row = Recovery {
            user: user.to_string(),
            made_ms: self.clock().now().as_millis(),
            signature: self.identity.user.sign(KIND, &user.0).0.to_vec(),
        };
        self.recoveries()?.put(KEY, &row).await?;
        Ok(words)
    }

    /// The recovery user, if there is one: the first founder of the groups that this user founds.
    ///
    /// # Errors
    /// [`GroupError::Recovery`] when what is remembered of it cannot be read, [`GroupError::RecoveryUser`] when this user
    /// did not sign it.
    pub fn recovery(&self) -> Result<Option<UserId>, GroupError> {
        let unreadable = |error: ReadError| GroupError::Recovery(Box::new(error));
        let Some(row) = self.recoveries()?.get(KEY).map_err(unreadable)? else { return Ok(None) };
        match row.of(self.user_id()) {
            Some(user) => Ok(Some(user)),
            None => Err(GroupError::RecoveryUser { user: row.user }),
        }
    }

    fn recoveries(&self) -> Result<Table<Recovery>, GroupError> {
        Ok(self.personal()?.table_reserved(RECOVERY))
    }
}

impl NodeBuilder {
    /// Makes this a device of the recovery user whose words these are. The folder must be a new one; opened again later
    /// it needs no words.
    ///
    /// ```
    /// # use peerbase::Node;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ada = Node::in_memory().await?;
    /// # let written = ada.make_recovery().await?.to_string();
    /// # let club = ada.create_group("Garden club").await?.id();
    /// let words = written.parse()?;
    /// let node = Node::in_memory_builder().restore_user(&words).open().await?;
    /// node.request_group(club).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn restore_user(mut self, words: &Mnemonic) -> Self {
        self.restored = Some(words.key());
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn nobody_but_the_user_puts_a_recovery_key_above_them() {
        let [ada, eve] = [Node::in_memory().await.unwrap(), Node::in_memory().await.unwrap()];
        let words = ada.make_recovery().await.unwrap();
        eve.make_recovery().await.unwrap();
        let of_eve = eve.recoveries().unwrap().get(KEY).unwrap().unwrap();

        let swapped = |row: &mut Recovery| row.user.clone_from(&of_eve.user);
        let replaced = |row: &mut Recovery| *row = of_eve.clone();
        let cut = |row: &mut Recovery| row.signature.truncate(63);
        for forge in [&swapped as &dyn Fn(&mut Recovery), &replaced, &cut] {
            ada.recoveries().unwrap().update(KEY, forge).await.unwrap();
            let refused = ada.create_group("home").await.unwrap_err();
            assert!(matches!(refused, GroupError::RecoveryUser { .. }), "{refused:?}");
            assert_eq!(refused.kind(), ErrorKind::Damaged);
        }
        assert!(ada.groups().is_empty());

        let again = ada.replace_recovery().await.unwrap();
        assert_ne!(again.user(), words.user());
        assert_eq!(ada.recovery().unwrap(), Some(again.user()));
    }
}
