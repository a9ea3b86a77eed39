//! What members of the machine world say of members: roles, removals with cuts from what they hold, as of before, amnesties.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::ledger::manifest::{Entry, Page, Writer};
use schema::ledger::{Body, By, ManifestRef, Op, Role};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{DeviceId, DocumentId, OpId, UserId};

use super::World;
use super::people::{self, PEOPLE_MAX};
use super::store::Store;

/// What a member says.
#[derive(Clone, Copy, Debug)]
pub enum Say {
    /// Somebody has this role from now on.
    Role(usize, Role),
    /// The same, as of before the newest op but so many: that one and what builds on it is not taken into account.
    AsOf(usize, Role, usize),
    /// The same on parents of long ago, the newest op but so many; a cut leaves nothing.
    Backdated(usize, Role, usize),
    /// The device of this person is out, and what it wrote is cut.
    Revoke(usize),
    /// The newest cut but so many took too much.
    Amnesty(usize),
}

/// A manifest with its pages.
type Written = (ManifestRef, Arc<Vec<Page>>);

impl World {
    /// One peer says something of others; `false` when nobody would listen.
    pub fn say(&mut self, peer: usize, what: Say) -> bool {
        let said = self.draft(peer, what);
        let id = said.and_then(|(op, pages)| self.peers[peer].member.sign(op, pages));
        let Some(id) = id else { return false };
        let now = self.tick();
        self.said.insert(id, now);
        self.membership_moved(peer);
        true
    }

    fn draft(&self, peer: usize, what: Say) -> Option<(Op, Option<Written>)> {
        let (store, member) = (&self.peers[peer].store, &self.peers[peer].member);
        let ledger = &member.ledger;
        let author = people::user(member.person);
        let ids: Vec<OpId> = ledger.ids().collect();
        let newest_but = |count: usize| ids[ids.len() - 1 - count % ids.len()];
        let set_role = |person: usize, role, cut: &Option<Written>| {
            let cut = cut.as_ref().map(|(manifest, _)| *manifest);
            Body::SetRole { user: people::user(person % PEOPLE_MAX), role, cut, via: None }
        };
        let written = |person: usize| {
            let user = people::user(person % PEOPLE_MAX);
            let is_meant = |author: &Author| store.roster.user_of(author.device, author.grant) == Some(user);
            Some(store.manifest(is_meant, false))
        };
        match what {
            Say::Role(person, role) => {
                let first = ledger.draft(author, By::User, set_role(person, role, &None));
                first.map(|op| (op, None)).ok().or_else(|| {
                    let cut = written(person);
                    Some((ledger.draft(author, By::User, set_role(person, role, &cut)).ok()?, cut))
                })
            }
            Say::AsOf(person, role, count) => {
                let rejected = BTreeSet::from([newest_but(count)]);
                let draft = |cut: &Option<Written>| {
                    ledger.draft_without(&rejected, author, By::User, set_role(person, role, cut))
                };
                draft(&None).map(|op| (op, None)).ok().or_else(|| {
                    let cut = written(person);
                    Some((draft(&cut).ok()?, cut))
                })
            }
            Say::Backdated(person, role, count) => {
                let cut = (role < Role::Writer).then(|| store.manifest(|_| false, false));
                let body = set_role(person, role, &cut);
                let parents = vec![newest_but(count)];
                let op = Op { version: 1, group: store.group, parents, author, by: By::User, body };
                Some((op, cut))
            }
            Say::Revoke(person) => {
                let (user, device) = (people::user(person % PEOPLE_MAX), people::device(person % PEOPLE_MAX));
                let cut = store.manifest(|author| author.device == device, false);
                let body = Body::RevokeDevice { user, device, cut: Some(cut.0) };
                Some((ledger.draft(author, By::User, body).ok()?, Some(cut)))
            }
            Say::Amnesty(count) => {
                let of_cut = |id: &&OpId| match &ledger.op(**id)?.record().body {
                    Body::SetRole { user, cut: Some(_), .. } => Some((**id, Whose::User(*user))),
                    Body::RevokeDevice { device, cut: Some(_), .. } => Some((**id, Whose::Device(*device))),
                    _ => None,
                };
                let cuts: Vec<_> = ids.iter().filter_map(|id| of_cut(&id)).collect();
                let (revocation, whose) =
                    *cuts.iter().rev().cycle().nth(count).filter(|_| !cuts.is_empty())?;
                let written = store.manifest(|author| whose.is(store, author), true);
                let body = Body::Amnesty { revocation, manifest: written.0 };
                Some((ledger.draft(author, By::User, body).ok()?, Some(written)))
            }
        }
    }
}

/// Whose writes a cut is about.
#[derive(Clone, Copy)]
enum Whose {
    User(UserId),
    Device(DeviceId),
}

impl Whose {
    fn is(self, store: &Store, author: &Author) -> bool {
        match self {
            Self::User(user) => store.roster.user_of(author.device, author.grant) == Some(user),
            Self::Device(device) => author.device == device,
        }
    }
}

impl Store {
    /// Lists all accepted changes of these authors as a manifest; on demand, also what is set aside of theirs.
    fn manifest(&self, is_meant: impl Fn(&Author) -> bool, with_set_aside: bool) -> Written {
        let mut ends: BTreeMap<(Author, DocumentId), Tip> = BTreeMap::new();
        for (document, held) in &self.documents {
            let accepted = held.change_set(self.reference(*document));
            let set_aside = held.set_aside.iter().flat_map(|set_aside| &set_aside.tips);
            let all = accepted.tips().iter().chain(set_aside.filter(|_| with_set_aside));
            for tip in all.map(VerifiedTip::tip).filter(|tip| is_meant(&tip.author)) {
                let end = ends.entry((tip.author, *document)).or_insert(*tip);
                if end.seq < tip.seq {
                    *end = *tip;
                }
            }
        }
        let mut writer = Writer::default();
        let mut pages = Vec::new();
        for ((author, document), tip) in ends {
            let entry = Entry { document, seq: tip.seq, change: tip.change, signature: tip.signature };
            pages.extend(writer.push(author, entry));
        }
        let (last, manifest, _) = writer.finish();
        pages.extend(last);
        let pages = pages.iter().map(|page| Page::decode(page).expect("just written")).collect();
        (manifest, Arc::new(pages))
    }
}
