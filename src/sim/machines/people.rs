//! Who lives in the machine world, and the ledger that they all begin with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use schema::document::Manifests;
use schema::id::hash;
use schema::key::SigningKey;
use schema::ledger::manifest::{Entry, Page};
use schema::ledger::{Body, By, Ledger, ManifestRef, Op, OpOutcome, Role};
use schema::signed::Signed;
use schema::tip::Author;
use schema::wire::device::DeviceCert;
use schema::{DeviceId, DocumentId, OpId, UserId};

use super::wire::Said;

/// The first of them founded the group, each other was let in by the one named.
const PEOPLE: [(Role, usize); 6] = [
    (Role::Founder, 0),
    (Role::Admin, 0),
    (Role::Admin, 1),
    (Role::Writer, 1),
    (Role::Writer, 2),
    (Role::Writer, 2),
];

/// How many people there are at most.
pub(super) const PEOPLE_MAX: usize = PEOPLE.len();

static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    let seed = |person: usize| hash("world-user", &[&person.to_be_bytes()]);
    (0..PEOPLE_MAX).map(|person| SigningKey::from_seed(seed(person))).collect()
});

/// Everybody is in, and has a device that all know.
static GROUP: LazyLock<Ledger> = LazyLock::new(|| {
    let (mut ledger, _) =
        Ledger::create([7; 32], vec![user(0)], "world", user(0), By::User, key(0)).expect("a founder may");
    for (person, (role, by)) in PEOPLE.into_iter().enumerate() {
        if person > 0 {
            let body = Body::SetRole { user: user(person), role, cut: None, via: None };
            let op = ledger.draft(user(by), By::User, body).expect("an Admin may");
            ledger.admit(Signed::sign(op, key(by)).envelope().clone()).expect("it was drafted");
        }
        let record = DeviceCert {
            version: 1,
            user: user(person),
            device: device(person),
            agreement: [7; 32],
            label: String::new(),
        };
        let certificate = Signed::sign(record, key(person)).envelope().clone();
        ledger.admit_certificate(certificate).expect("its user is known");
    }
    ledger.roster();
    ledger
});

pub(super) fn key(person: usize) -> &'static SigningKey {
    &KEYS[person]
}

pub(super) fn user(person: usize) -> UserId {
    UserId(key(person).public())
}

pub(super) fn device(person: usize) -> DeviceId {
    DeviceId(hash("world-device", &[&person.to_be_bytes()]))
}

/// What one peer knows of the membership.
pub(super) struct Member {
    pub(super) person: usize,
    pub(super) ledger: Ledger,
    pub(super) pages: Pages,
}

impl Member {
    pub(super) fn new(person: usize) -> Self {
        Self { person, ledger: GROUP.clone(), pages: Pages::default() }
    }

    /// Ops that everybody began with.
    pub(super) fn first() -> usize {
        GROUP.len()
    }

    /// Whether a person is let in.
    pub(super) fn admits(&self, person: usize) -> bool {
        self.ledger.roster().may_read(user(person), device(person))
    }

    /// Takes an op in; whether it is new.
    pub(super) fn take(&mut self, said: &Said) -> bool {
        if let Some((manifest, pages)) = &said.pages {
            self.pages.0.insert(manifest.root, pages.clone());
        }
        let pages = &self.pages.0;
        let admitted =
            self.ledger.admit_with(said.envelope.clone(), |manifest| pages.contains_key(&manifest.root));
        matches!(admitted, Ok(OpOutcome::New(_)))
    }

    /// Signs and takes in an op of this member.
    pub(super) fn sign(&mut self, op: Op, pages: Option<(ManifestRef, Arc<Vec<Page>>)>) -> Option<OpId> {
        let id = op.id();
        let envelope = Signed::sign(op, key(self.person)).envelope().clone();
        self.take(&Said { envelope, pages }).then_some(id)
    }

    /// The ops behind the first `handed`, with what they name.
    pub(super) fn beyond(&self, handed: usize) -> Vec<Said> {
        let said = |(id, envelope): (OpId, &schema::signed::Envelope)| {
            let manifest = self.ledger.op(id).and_then(|op| op.record().manifest().copied());
            let pages = manifest.map(|manifest| (manifest, self.pages.0[&manifest.root].clone()));
            Said { envelope: envelope.clone(), pages }
        };
        self.ledger.ids().zip(self.ledger.envelopes()).skip(handed).map(said).collect()
    }
}

/// The pages of all manifests that a peer has, by root.
#[derive(Clone, Default)]
pub(super) struct Pages(pub(super) BTreeMap<[u8; 32], Arc<Vec<Page>>>);

impl Manifests for &Pages {
    type Error = Infallible;

    fn entry(
        &mut self,
        manifest: &ManifestRef,
        author: &Author,
        document: DocumentId,
    ) -> Result<Option<Entry>, Infallible> {
        Ok(self.0[&manifest.root].iter().find_map(|page| page.entry(author, document)))
    }
}
