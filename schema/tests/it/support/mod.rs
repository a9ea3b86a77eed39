//! Inputs of the tests: random documents, random ledgers, ledgers of named users, the model's vectors.

pub(crate) mod altered;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod row;
pub(crate) mod vectors;
pub(crate) mod world;

use peerbase_schema::ChangeHash;

pub(crate) fn from_automerge(hash: automerge::ChangeHash) -> ChangeHash {
    ChangeHash(hash.0)
}
