//! The recovery key: a user who ranks above a group's founder, and whose secret key exists only on paper.

use schema::UserId;
use schema::key::{Signature, verify};
use schema::mnemonic::Mnemonic;
use serde::{Deserialize, Serialize};

use super::{Node, NodeBuilder};
use crate::error::{GroupError, ReadError};
use crate::table::{Table, TableName};

/// The row of the personal group that names the recovery user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recovery {
    /// The recovery user's id as text: its public half.
    user: String,
    /// Milliseconds since the Unix epoch, by this device's clock.
    made_ms: u64,
    /// The user key's signature over the recovery user's id: a device key alone, perhaps a thief's, cannot
    /// set it.
    signature: Vec<u8>,
}

impl Recovery {
    /// Returns the recovery user if the signature is by `user`.
    fn of(&self, user: UserId) -> Option<UserId> {
        let recovery: UserId = self.user.parse().ok()?;
        let signature = Signature(self.signature.as_slice().try_into().ok()?);
        verify(KIND, &recovery.0, &user.0, &signature).ok().map(|()| recovery)
    }
}

/// The kind of this signature, which separates it from all others by the same key.
const KIND: &str = "recovery";

const RECOVERY: TableName<Recovery> = TableName::reserved("$recovery");
/// The key of the only row: a user has one recovery key. Of two that are made on devices apart, one is kept.
const KEY: &str = "key";

impl Node {
    /// Makes this user's recovery key and returns it, this once, as 24 words to write on paper. The secret is
    /// stored nowhere.
    ///
    /// In every group that this user creates from now on, on any of their devices, the recovery user is the
    /// first founder: no member can remove or lower it, and it can lower the founder if their keys are
    /// stolen. Existing groups do not change. [`NodeBuilder::restore_user`] opens a node from the words.
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
    /// let founders = club.members().into_iter().filter(|member| member.role == Role::Founder);
    /// assert!(founders.map(|member| member.user).any(|user| user == words.user()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GroupError::HasRecovery`] if there is one already; [`Node::replace_recovery`] replaces it. Else as
    /// there.
    pub async fn make_recovery(&self) -> Result<Mnemonic, GroupError> {
        match self.recovery()? {
            Some(user) => Err(GroupError::HasRecovery { user }),
            None => self.replace_recovery().await,
        }
    }

    /// Replaces the recovery key for the groups that are created from now on. Existing groups keep the key
    /// that they were created with: keep its words.
    ///
    /// # Errors
    /// [`GroupError::Intent`] if it was not stored.
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

    /// Returns the recovery user, the first founder of the groups that this user creates, if there is one.
    ///
    /// # Errors
    /// [`GroupError::Recovery`] if it cannot be read, [`GroupError::RecoveryUser`] if this user did not sign
    /// it.
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
    /// Makes this a device of the recovery user with these words. The folder must be new; later opens need no
    /// words.
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
    async fn a_recovery_key_that_the_user_did_not_sign_is_refused() {
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
