//! Everything by which one document is judged: its group's roster, the manifests of cuts, the keys of
//! devices.

use crate::document::{Bound, Refusal, Rules};
use crate::id::{ChangeHash, DeviceId, DocumentId, GroupId, ReplicaId};
use crate::key::SigningKey;
use crate::ledger::manifest::Entry;
use crate::ledger::{ManifestRef, NotAccepted, Roster};
use crate::tip::{Author, Tip, VerifiedTip};

/// The id of a document with that of its group: replica ids and tips are bound to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentRef {
    /// The group.
    pub group: GroupId,
    /// The document.
    pub document: DocumentId,
}

impl DocumentRef {
    /// The replica that an author writes here.
    pub fn replica(&self, author: &Author) -> ReplicaId {
        ReplicaId::of(self.group, self.document, author.device, author.grant, author.incarnation)
    }
}

/// Look-up of what a cut leaves of one replica: on disk in a node, in memory in the machine world.
pub trait Manifests {
    /// The reason for which a look-up may fail.
    type Error;

    /// Finds the entry of one replica in a manifest.
    ///
    /// # Errors
    /// When a page cannot be read.
    fn entry(
        &mut self,
        manifest: &ManifestRef,
        author: &Author,
        document: DocumentId,
    ) -> Result<Option<Entry>, Self::Error>;
}

/// Signatures of tips: Ed25519 in a node, keyed hashes in the machine world.
pub trait Signer {
    /// The device whose key this is.
    fn device(&self) -> DeviceId;

    /// Signs a change of this device; `author.device` is [`device`](Self::device).
    fn sign(&self, document: DocumentRef, author: Author, seq: u64, change: ChangeHash) -> Tip;

    /// Verifies the signature of any device; `None`: it is not by the tip's device over this document.
    fn verify(&self, document: DocumentRef, tip: &Tip) -> Option<VerifiedTip>;
}

impl Signer for SigningKey {
    fn device(&self) -> DeviceId {
        DeviceId(self.public())
    }

    fn sign(&self, document: DocumentRef, author: Author, seq: u64, change: ChangeHash) -> Tip {
        Tip::sign(document.group, document.document, author, seq, change, self)
    }

    fn verify(&self, document: DocumentRef, tip: &Tip) -> Option<VerifiedTip> {
        tip.verify(document.group, document.document).ok()
    }
}

/// The roster, the look-up of manifests and the keys by which one document is judged.
pub struct Judge<'a, M, S> {
    /// The rules of admission.
    pub rules: Rules,
    /// The document.
    pub document: DocumentRef,
    /// The roster of its group.
    pub roster: &'a Roster,
    /// The manifests of its group's cuts.
    pub manifests: &'a mut M,
    /// This device's key.
    pub signer: &'a S,
}

/// The bounds of an author's changes, and the tips by which cuts name the ends of the chain.
pub(super) struct Authority {
    pub(super) bounds: Result<Vec<Bound>, Refusal>,
    /// Not verified yet.
    pub(super) tips: Vec<Tip>,
}

impl<M: Manifests, S: Signer> Judge<'_, M, S> {
    /// C8: looks up how far an author's changes are accepted.
    ///
    /// # Errors
    /// Those of the manifests.
    pub(super) fn authority(&mut self, author: &Author) -> Result<Authority, M::Error> {
        let (manifests, document) = (&mut *self.manifests, self.document.document);
        let mut tips = Vec::new();
        let bounds = self.roster.bounds(author, |manifest| {
            let entry = manifests.entry(manifest, author, document)?;
            tips.extend(entry.map(|entry| entry.tip(*author)));
            Ok(entry.map(|entry| (entry.seq, entry.change)))
        })?;
        let bounds = bounds.map_err(|cause| Refusal::of_author(author, &cause));
        Ok(Authority { bounds: self.rules.bounds(bounds), tips })
    }

    /// C8: the bounds within which an author's changes are accepted.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn bounds(&mut self, author: &Author) -> Result<Result<Vec<Bound>, Refusal>, M::Error> {
        Ok(self.authority(author)?.bounds)
    }

    /// The reason for which nothing that an author writes is accepted, as far as the roster alone tells.
    pub(super) fn bar(&self, author: &Author) -> Option<Refusal> {
        let refused = self.roster.accepts(author.device, author.grant).err();
        self.rules.bar(refused.map(|cause| Refusal::of_author(author, &cause)))
    }

    pub(super) fn verify(&self, tip: &Tip) -> Option<VerifiedTip> {
        if self.rules.verifies_tips() {
            self.signer.verify(self.document, tip)
        } else {
            Some(tip.trust_stored(self.document.group, self.document.document))
        }
    }

    pub(super) fn sign(&self, author: Author, seq: u64, change: ChangeHash) -> VerifiedTip {
        let tip = self.signer.sign(self.document, author, seq, change);
        tip.trust_stored(self.document.group, self.document.document)
    }
}

impl Refusal {
    /// The refusal of an author that the roster does not accept.
    pub fn of_author(author: &Author, cause: &NotAccepted) -> Self {
        match cause {
            NotAccepted::UnknownGrant { .. } | NotAccepted::NotCertified { .. } => {
                Self::UnknownAuthor { author: *author }
            }
            _ => Self::NotAllowed { author: *author },
        }
    }
}
