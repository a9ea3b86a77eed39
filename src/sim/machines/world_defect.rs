//! Worlds whose honest peers break one rule, each of which the examination must find.

use schema::document::{Defect, Rules};

use super::World;

/// The rule that every honest peer of a world breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldDefect {
    /// A rule of documents.
    Document(Defect),
    /// Peers go on writing under the first grant that they ever had.
    WritesUnderOldGrants,
    /// Peers go on storing device revocations that were evicted.
    KeepsEvicted,
}

impl World {
    /// The same world, in which every honest peer breaks this rule.
    pub fn with_defect(mut self, defect: WorldDefect) -> Self {
        for peer in self.peers.iter_mut().filter(|peer| !peer.store.is_malicious) {
            match defect {
                WorldDefect::Document(defect) => peer.store.rules = Rules::with_defect(defect),
                WorldDefect::WritesUnderOldGrants => peer.keeps_grant = true,
                WorldDefect::KeepsEvicted => peer.member.keeps_evicted = true,
            }
        }
        self
    }
}
