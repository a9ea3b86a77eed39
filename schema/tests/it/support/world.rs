//! One ledger and the users who sign for it, by name.

use std::collections::BTreeMap;

use peerbase_schema::key::SigningKey;
use peerbase_schema::ledger::{
    Body, By, Invalid, Ledger, ManifestRef, Op, OpOutcome, OpStatus, Refusal, Role,
};
use peerbase_schema::signed::{Envelope, Signed};
use peerbase_schema::wire::device::DeviceCert;
use peerbase_schema::{DeviceId, OpId, UserId};

pub(crate) fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(peerbase_schema::id::hash("test", &[name.as_bytes()]))
}

pub(crate) fn user(name: &str) -> UserId {
    UserId(key(name).public())
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId(key(name).public())
}

/// The certificate of a device by its user.
pub(crate) fn certificate(user_name: &str, device_name: &str) -> Envelope {
    let record = DeviceCert {
        version: 1,
        user: user(user_name),
        device: device(device_name),
        agreement: [7; 32],
        label: device_name.into(),
    };
    Signed::sign(record, &key(user_name)).envelope().clone()
}

/// A manifest; the ledger never reads its pages.
pub(crate) const CUT: ManifestRef = ManifestRef { root: [9; 32], entries: 1 };

pub(crate) fn set_role(target: &str, role: Role) -> Body {
    Body::SetRole { user: user(target), role, cut: None, via: None }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) names: BTreeMap<&'static str, OpId>,
}

impl World {
    /// A group of these founders; its Create is named `G`.
    pub(crate) fn founded(founders: &[&str]) -> Self {
        let users = founders.iter().map(|name| user(name)).collect();
        let author = founders[0];
        let founded = Ledger::create([5; 32], users, "garden", user(author), By::User, &key(author));
        let (ledger, create) = founded.expect("founders and name fit");
        Self { ledger, names: BTreeMap::from([("G", OpId(create.id()))]) }
    }

    /// A group of these founders, in which the first founder then admits the members one after the other.
    pub(crate) fn with(founders: &[&str], members: &[(&str, Role)]) -> Self {
        let mut world = Self::founded(founders);
        for (member, role) in members {
            world.admit_now("grant", founders[0], set_role(member, *role)).expect("founders may");
        }
        world.names.insert("base", world.ledger.heads()[0]);
        world
    }

    /// Signs an op of `author` on top of the named parents.
    pub(crate) fn signed(&self, author: &str, body: Body, parents: &[&str]) -> Envelope {
        let mut parents: Vec<OpId> = parents.iter().map(|parent| self.names[parent]).collect();
        parents.sort();
        let op =
            Op { version: 1, group: self.ledger.group(), parents, author: user(author), by: By::User, body };
        Signed::sign(op, &key(author)).envelope().clone()
    }

    /// Admits an op of `author` on top of the named parents; a lowering gets the cut that it needs.
    pub(crate) fn admit_on(
        &mut self,
        name: &'static str,
        author: &str,
        body: Body,
        parents: &[&str],
    ) -> Result<OpId, Refusal> {
        let first = self.signed(author, body.clone(), parents);
        let admitted = match (self.ledger.admit(first), body) {
            (
                Err(Refusal::Invalid { why: Invalid::Cut { needed: true, clause: 3 }, .. }),
                Body::SetRole { user, role, via, .. },
            ) => {
                let body = Body::SetRole { user, role, cut: Some(CUT), via };
                self.ledger.admit(self.signed(author, body, parents))
            }
            (admitted, _) => admitted,
        };
        let OpOutcome::New(id) = admitted? else { panic!("{name} was known before") };
        self.names.insert(name, id);
        Ok(id)
    }

    /// Admits an op of `author` on top of the living heads; a lowering gets the cut that it needs.
    pub(crate) fn admit_now(
        &mut self,
        name: &'static str,
        author: &str,
        body: Body,
    ) -> Result<OpId, Refusal> {
        let drafted = match (self.ledger.draft(user(author), By::User, body.clone()), body) {
            (
                Err(Refusal::Invalid { why: Invalid::Cut { needed: true, clause: 3 }, .. }),
                Body::SetRole { user: target, role, via, .. },
            ) => {
                let body = Body::SetRole { user: target, role, cut: Some(CUT), via };
                self.ledger.draft(user(author), By::User, body)
            }
            (drafted, _) => drafted,
        };
        let OpOutcome::New(id) =
            self.ledger.admit(Signed::sign(drafted?, &key(author)).envelope().clone())?
        else {
            panic!("{name} was known before")
        };
        self.names.insert(name, id);
        Ok(id)
    }

    pub(crate) fn role(&self, name: &str) -> Role {
        self.ledger.roster().role(user(name))
    }

    pub(crate) fn status(&self, name: &str) -> OpStatus {
        self.ledger.status(self.names[name]).expect("the op is known")
    }
}
