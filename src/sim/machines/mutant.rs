//! Worlds whose honest peers break one rule: the canaries, each of which the examination must find.

use schema::document::{Defect, Rules};

use super::World;

/// The rule that every honest peer of a world breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A rule of documents.
    Document(Defect),
    /// Peers go on writing under the first grant that they ever had.
    WritesUnderOldGrants,
    /// Peers go on storing device revocations that were evicted.
    KeepsEvicted,
}

impl World {
    /// The same world, in which every honest peer breaks this rule.
    pub fn with_mutants(mut self, mutant: Mutant) -> Self {
        for peer in self.peers.iter_mut().filter(|peer| !peer.store.is_malicious) {
            match mutant {
                Mutant::Document(defect) => peer.store.rules = Rules::with_defect(defect),
                Mutant::WritesUnderOldGrants => peer.keeps_grant = true,
                Mutant::KeepsEvicted => peer.member.keeps_evicted = true,
            }
        }
        self
    }
}
