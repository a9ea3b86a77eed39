//! The roster, rules and manifests by which the documents of one group are judged, and this device's key.
//!
//! The only place where the actors look up who may write what: everything else asks the [`Judge`] that it
//! makes.

use std::sync::Arc;

use schema::document::{DocumentRef, Judge, Rules};
use schema::key::SigningKey;
use schema::ledger::Roster;
use schema::tip::Author;
use schema::{DeviceId, DocumentId, GroupId, OpId, UserId};

use crate::node::group::manifests::Manifests;

/// Everything by which the changes of a group are judged.
pub(super) struct Authority {
    pub(super) group: GroupId,
    pub(super) user: UserId,
    pub(super) device: SigningKey,
    pub(super) roster: Arc<Roster>,
    pub(super) manifests: Manifests,
    pub(super) rules: Rules,
}

impl Authority {
    pub(super) fn document(&self, document: DocumentId) -> DocumentRef {
        DocumentRef { group: self.group, document }
    }

    pub(super) fn device(&self) -> DeviceId {
        DeviceId(self.device.public())
    }

    /// Everything by which one document is judged.
    pub(super) fn judge(&mut self, document: DocumentId) -> Judge<'_, Manifests, SigningKey> {
        Judge {
            rules: self.rules,
            document: self.document(document),
            roster: &self.roster,
            manifests: &mut self.manifests,
            signer: &self.device,
        }
    }

    /// The judgement under which an author's documents are judged now.
    pub(super) fn judgement(&self, device: DeviceId, grant: OpId) -> [u8; 32] {
        self.rules.judgement(self.roster.judgement(device, grant))
    }

    /// The author as which this device may write under an incarnation; `None`: it may not write.
    pub(super) fn author(&self, incarnation: u64) -> Option<Author> {
        let device = self.device();
        let grant = self.roster.grant_to_write(self.user, device)?;
        Some(Author { device, grant, incarnation })
    }

    /// The user that a device writes for under a grant, as far as this roster knows.
    pub(super) fn user_of(&self, device: DeviceId, grant: OpId) -> Option<UserId> {
        match self.roster.grant_by_id(grant) {
            Some(grant) => Some(grant.user),
            None => self.roster.certifiers(device).next(),
        }
    }
}
