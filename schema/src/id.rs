//! User, device, group, document, replica and op ids: 32 bytes each, never interchangeable.
//!
//! As text an id is 64 lower-case hex digits; ids are ordered by their bytes.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

/// `H(kind, parts) = SHA-256("peerbase v1 " ‖ kind ‖ 0x00 ‖ parts…)`: the only hash in use (authority 3.0).
pub fn hash(kind: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(b"peerbase v1 ");
    sha.update(kind.as_bytes());
    sha.update([0]);
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

/// The error for a text that is not 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} expected as 64 hex digits, got {got:?}")]
pub struct ParseIdError {
    /// The kind of id that was expected.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub got: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// All 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hex digits, for logs and tables.
            pub fn short(&self) -> String {
                HEXLOWER_PERMISSIVE.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let wrong = || ParseIdError { kind: $kind, got: text.chars().take(80).collect() };
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
                Ok(Self(bytes.try_into().map_err(|_| wrong())?))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A user: the user's Ed25519 verifying key.
    UserId "user id";
    /// A device: its Ed25519 verifying key.
    DeviceId "device id";
    /// A group: the id of its Create op.
    GroupId "group id";
    /// The document behind a row: hash of group, table and key.
    DocumentId "document id";
    /// Automerge's actor id: one chain of changes of one device in one document.
    ReplicaId "replica id";
    /// A membership op: hash of its payload, without the signature.
    OpId "op id";
    /// An Automerge change: SHA-256 of its chunk.
    ChangeHash "change hash";
}

impl DocumentId {
    /// Derives the document behind `key` of `table`, so that devices which create the same key apart write
    /// one document.
    pub fn of(group: GroupId, table: &str, key: &str) -> Self {
        Self(hash("document", &[&group.0, table.as_bytes(), &[0], key.as_bytes()]))
    }
}

impl ReplicaId {
    /// Derives the replica id, which binds a chain of changes to its document, device, grant and incarnation.
    pub fn of(group: GroupId, document: DocumentId, device: DeviceId, grant: OpId, incarnation: u64) -> Self {
        let incarnation = incarnation.to_be_bytes();
        Self(hash("replica", &[&group.0, &document.0, &device.0, &grant.0, &incarnation]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_from_its_text() {
        let id = UserId(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<UserId>(), Err(ParseIdError { kind: "user id", got: "xyz".into() }));
    }

    #[test]
    fn two_pairs_of_table_and_key_give_two_documents() {
        let group = GroupId([7; 32]);
        assert_ne!(DocumentId::of(group, "a", "bc"), DocumentId::of(group, "ab", "c"));
    }
}
