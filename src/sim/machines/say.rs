//! Membership changes of the machine world: roles, removals with cuts from what a peer holds, as of before,
//! amnesties, invitations.

use std::collections::{BTreeMap, BTreeSet};

use schema::gate::{Answer, FreshCut, Input, MembershipChange, Terms, target_digest};
use schema::ledger::manifest::{Entry, Page, Writer};
use schema::ledger::{Body, By, Op, Role};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, DocumentId, OpId, UserId};

use super::World;
use super::people::{self, PEOPLE_MAX, Written, group};
use super::store::Store;

/// A membership change that a member signs.
#[derive(Clone, Copy, Debug)]
pub enum Say {
    /// A person has this role from now on.
    Role(usize, Role),
    /// The same, as of before the newest op but so many: neither that op nor its descendants count.
    AsOf(usize, Role, usize),
    /// The same on an old parent, the newest op but so many; the manifest of a cut is empty.
    Backdated(usize, Role, usize),
    /// The device of this person is revoked, with a cut of its changes.
    Revoke(usize),
    /// An amnesty for the newest cut but so many.
    Amnesty(usize),
}

impl World {
    /// One peer signs a membership change. Returns false if its gate refuses.
    pub fn say(&mut self, peer: usize, what: Say) -> bool {
        let ledger = self.peers[peer].member.ledger();
        let ids: Vec<OpId> = ledger.ids().collect();
        let newest_but = |count: usize| ids[ids.len() - 1 - count % ids.len()];
        let user = |person: usize| people::user(person % PEOPLE_MAX);
        let change = match what {
            Say::Role(person, role)
                if role > Role::None && ledger.roster().role(user(person)) == Role::None =>
            {
                MembershipChange::Admit { user: user(person), role }
            }
            Say::Role(person, role) => {
                MembershipChange::SetRole { user: user(person), role, before: BTreeSet::new() }
            }
            Say::AsOf(person, role, count) => {
                let before = BTreeSet::from([newest_but(count)]);
                MembershipChange::SetRole { user: user(person), role, before }
            }
            Say::Revoke(person) => MembershipChange::RevokeDevice {
                user: user(person),
                device: people::device(person % PEOPLE_MAX),
                before: BTreeSet::new(),
            },
            Say::Backdated(person, role, count) => {
                let (user, parents) = (user(person), vec![newest_but(count)]);
                return self.backdate_op(peer, user, role, parents);
            }
            Say::Amnesty(count) => return self.amnesty(peer, count),
        };
        self.submit(peer, change)
    }

    /// One peer invites the person outside the group and gives them the ticket. Returns false if its gate
    /// refuses.
    pub fn invite(&mut self, peer: usize) -> bool {
        let (mut seed, number) = ([0; 16], self.below(u64::MAX));
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let terms = Terms { role: Role::Writer, uses: 1, expires_ms: u64::MAX };
        let answer = self.step_gate(peer, Input::Invite { group: group(), terms, seed });
        let Some(Answer::Invited(Ok(invite))) = answer else { return false };
        let inviter = people::device(self.peers[peer].member.person);
        let ticket = Ticket::new(group(), invite, seed, inviter, invite, Vec::new());
        let ticket = ticket.expect("it has no address");
        for joiner in 0..self.peers.len() {
            if self.peers[joiner].member.person == people::JOINER {
                self.step_gate(joiner, Input::StoreTicket(ticket.clone()));
            }
        }
        true
    }

    fn submit(&mut self, peer: usize, change: MembershipChange) -> bool {
        let (store, member) = (&self.peers[peer].store, &self.peers[peer].member);
        let Ok(target) = member.gate().cut_target(group(), &change) else { return false };
        let cut = target.map(|target| {
            let whose = target.device.map_or(Whose::User(target.user), Whose::Device);
            let written = store.manifest(|author| whose.is(store, author), false);
            let target_digest = target_digest(member.ledger().roster(), target);
            (FreshCut { manifest: written.manifest, target_digest }, written)
        });
        if let Some((_, written)) = &cut {
            self.peers[peer].member.store(written);
        }
        let cut = cut.map(|(cut, _)| cut);
        // Counted before the gate steps: peers may judge by the op at once.
        let now = self.tick();
        let answer = self.step_gate(peer, Input::Submit { group: group(), change, cut });
        let Some(Answer::Submitted(Ok(op))) = answer else { return false };
        self.signed.entry(op).or_insert(now);
        true
    }

    /// Signs a SetRole on old parents, as a device that was offline for long may do.
    fn backdate_op(&mut self, peer: usize, user: UserId, role: Role, parents: Vec<OpId>) -> bool {
        let (store, member) = (&self.peers[peer].store, &self.peers[peer].member);
        let written = (role < Role::Writer).then(|| store.manifest(|_| false, false));
        let cut = written.as_ref().map(|written| written.manifest);
        let body = Body::SetRole { user, role, cut, via: None };
        let author = people::user(member.person);
        let op = Op { version: 1, group: store.group, parents, author, by: By::User, body };
        self.present_op(peer, op, written)
    }

    fn amnesty(&mut self, peer: usize, count: usize) -> bool {
        let (store, member) = (&self.peers[peer].store, &self.peers[peer].member);
        let ledger = member.ledger();
        let of_cut = |id: OpId| match &ledger.op(id)?.record().body {
            Body::SetRole { user, cut: Some(_), .. } => Some((id, Whose::User(*user))),
            Body::RevokeDevice { device, cut: Some(_), .. } => Some((id, Whose::Device(*device))),
            _ => None,
        };
        let cuts: Vec<_> = ledger.ids().filter_map(of_cut).collect();
        let Some((revocation, whose)) = cuts.iter().rev().cycle().nth(count).filter(|_| !cuts.is_empty())
        else {
            return false;
        };
        let written = store.manifest(|author| whose.is(store, author), true);
        let body = Body::Amnesty { revocation: *revocation, manifest: written.manifest };
        let Ok(op) = ledger.draft(people::user(member.person), By::User, body) else { return false };
        self.present_op(peer, op, Some(written))
    }

    /// Passes an op that another device of a peer's user signed to the peer's gate. Returns true if it was
    /// new and admitted.
    fn present_op(&mut self, peer: usize, op: Op, written: Option<Written>) -> bool {
        let (id, input) = self.peers[peer].member.presented(op, written.as_ref());
        let now = self.tick();
        let is_new = !self.peers[peer].member.ledger().contains(id);
        self.step_gate(peer, input);
        let is_admitted = is_new && self.peers[peer].member.ledger().contains(id);
        if is_admitted {
            self.signed.insert(id, now);
        }
        is_admitted
    }
}

/// The author of the changes that a cut covers.
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
    /// Lists all accepted changes of these authors as a manifest; on demand, also what is set aside of
    /// theirs.
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
        Written { manifest, pages }
    }
}
