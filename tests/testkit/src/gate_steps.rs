//! Arbitrary inputs step one gate, and every step is held to the rules. The fuzz target `gate_steps` runs it
//! too.

use std::collections::{BTreeMap, BTreeSet};

use schema::gate::{Answer, Effect, GroupState, Input, LinkId, Peer, Presented, StoredRecord, Terms};
use schema::handshake::LinkRole;
use schema::key::Signature;
use schema::ledger::{Ledger, Role};
use schema::signed::Envelope;
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::ledger::{LedgerFrame, Pull};
use schema::wire::link::{DeclineReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId};

use crate::gate::Device;

const LINKS: u8 = 4;
const ROLES: [Role; 4] = [Role::None, Role::Reader, Role::Writer, Role::Admin];

/// Steps a gate with what the bytes say, four a step.
///
/// # Panics
/// When a step breaks a rule.
pub fn run(bytes: &[u8]) {
    let mut world = Arbitrary::new();
    for step in bytes.as_chunks::<4>().0.iter().take(400) {
        world.step(*step);
    }
}

struct Arbitrary {
    ada: Device,
    groups: [GroupId; 3],
    /// Users and devices of three peers; the first is an Admin of the first group.
    peers: [(UserId, DeviceId); 3],
    /// Ops that the peers may push, and records beside them.
    ops: Vec<Envelope>,
    records: Vec<Envelope>,
    /// The batches that are not durable yet, by group.
    storing: BTreeMap<GroupId, Batch>,
    /// The digests and hashes that durable ledgers had, after each record.
    states: BTreeSet<[u8; 32]>,
    /// The groups as a node would load them.
    durable: BTreeMap<GroupId, Ledger>,
    /// The payloads of records that are durable, or were until others replaced them.
    payloads: BTreeSet<Vec<u8>>,
    opened: BTreeSet<(LinkId, u32)>,
    closed: BTreeSet<(LinkId, u32)>,
    links: u64,
    /// The peer of each link.
    linked: BTreeMap<LinkId, (UserId, DeviceId)>,
    /// The number of requests so far, as the gate counts them.
    requests: u64,
    /// The devices of the requests to revoke one, by number.
    revoked: BTreeMap<u64, DeviceId>,
    has_failed: bool,
}

impl Arbitrary {
    fn new() -> Self {
        let mut ada = Device::new(1, 11);
        let (garden, orchard) = (ada.create("garden"), ada.create("orchard"));
        let mut others = [Device::new(2, 12), Device::new(3, 13), Device::new(1, 21)];
        let peers = [0, 1, 2].map(|at: usize| (others[at].user, others[at].device));
        ada.set_role(garden, peers[0].0, Role::Admin);
        let [ben, ..] = &mut others;
        ben.want(garden);
        crate::gate::connect(&mut ada, ben, 1_000);
        for role in ROLES.into_iter().chain([Role::Reader, Role::None]) {
            let change = ben.role_change(garden, peers[1].0, role);
            let _ = ben.submit(garden, change);
        }
        let (mut ops, mut records) = (Vec::new(), Vec::new());
        for effect in &ben.log {
            let Effect::Store { records: stored, .. } = effect else { continue };
            for record in stored {
                match record {
                    StoredRecord::Op { envelope, .. } => ops.push(envelope.clone()),
                    StoredRecord::Certificate(envelope) | StoredRecord::Revocation(envelope) => {
                        records.push(envelope.clone());
                    }
                    _ => {}
                }
            }
        }
        ada.step(Input::LinkDown { link: LinkId(1_000), reason: String::new() });
        let (mut durable, mut payloads, mut states) = Default::default();
        for effect in &ada.log {
            if let Effect::Store { number, group, records } = effect {
                let batch = Batch { number: *number, group: *group, records: records.clone() };
                batch.store(&mut durable, &mut payloads, &mut states);
            }
        }
        let groups = [garden, orchard, GroupId([9; 32])];
        let (opened, closed) = (BTreeSet::new(), BTreeSet::new());
        let (linked, revoked) = Default::default();
        let answered = ada.log.iter().filter(|effect| matches!(effect, Effect::Answer { .. })).count();
        let requests = answered as u64;
        let (storing, links, has_failed) = (BTreeMap::new(), 0, false);
        Self {
            ada,
            groups,
            peers,
            ops,
            records,
            storing,
            states,
            durable,
            payloads,
            opened,
            closed,
            links,
            linked,
            requests,
            revoked,
            has_failed,
        }
    }

    /// Steps one input, or the end of one of the batches.
    fn step(&mut self, [kind, a, b, c]: [u8; 4]) {
        let stored = self.storing.keys().nth(usize::from(kind) % 4).copied();
        if let Some(batch) = stored.and_then(|group| self.storing.remove(&group)) {
            let (number, is_durable) = (batch.number, (kind, a) != (1, 1));
            match is_durable {
                true => batch.store(&mut self.durable, &mut self.payloads, &mut self.states),
                false => self.has_failed = true,
            }
            self.decide(Input::Stored { number, is_durable }, !is_durable);
            return;
        }
        let input = self.input(kind, a, b, c);
        let is_request = matches!(
            input,
            Input::Submit { .. } | Input::Invite { .. } | Input::StoreTicket(_) | Input::RevokeDevice(_)
        );
        self.requests += u64::from(is_request);
        self.decide(input, self.has_failed);
    }

    fn decide(&mut self, input: Input, is_failure: bool) {
        let is_stored = matches!(input, Input::Stored { .. });
        let effects = self.ada.decide(input);
        let closings = effects.iter().take_while(|effect| matches!(effect, Effect::CloseCell { .. })).count();
        assert!(!is_failure || effects.len() == closings, "effects after a failure: {effects:?}");
        assert!(!is_stored || is_failure || closings == 0, "a closing waited for the store: {effects:?}");
        for (at, effect) in effects.iter().enumerate() {
            match effect {
                Effect::CloseCell { link, number } => {
                    assert!(at < closings, "a closing after other effects: {effects:?}");
                    self.closed.insert((*link, *number));
                }
                Effect::OpenCell { link, number, .. } => {
                    assert!(self.opened.insert((*link, *number)), "a number is used twice");
                    assert!(!self.closed.contains(&(*link, *number)), "a closed cell opens again");
                }
                Effect::Store { number, group, records } => {
                    let batch = Batch { number: *number, group: *group, records: records.clone() };
                    assert!(self.storing.insert(*group, batch).is_none(), "two batches of one group");
                }
                effect => assert!(self.is_durable(effect), "it discloses what is not durable: {effect:?}"),
            }
            self.ada.perform(effect);
        }
    }

    /// Returns true if everything of a ledger that an effect discloses is durable.
    fn is_durable(&self, effect: &Effect) -> bool {
        let stored = |id: &GroupId| self.durable.get(id);
        let has_op = |op: &OpId| self.durable.values().any(|ledger| ledger.contains(*op));
        match effect {
            Effect::Publish(view) => match view.info.state {
                GroupState::Active | GroupState::Removed => stored(&view.info.id).is_some_and(|ledger| {
                    let (roster, published) = (ledger.roster(), view.roster.state_digest());
                    let devices = view.details.devices.iter();
                    let mut devices =
                        devices.flat_map(|(user, all)| all.iter().map(move |one| (*user, one.device)));
                    (roster.state_digest() == published || self.states.contains(&published))
                        && devices.all(|(user, device)| roster.is_certified(user, device))
                        && view.addresses.iter().all(|(device, known)| {
                            ledger.record(*device).is_some_and(|record| record.counter >= known.counter)
                        })
                }),
                _ => view.roster.members().next().is_none(),
            },
            Effect::Send { frame: LinkFrame::Present { group, ops, .. }, .. } => {
                stored(group).is_some_and(|ledger| ops.iter().all(|op| is_in(op, ledger.envelopes())))
            }
            Effect::SendLedger { channel, frame } => {
                let Some(id) = self.ada.cells.get(&(channel.link, channel.ours)) else { return true };
                let unknown = Ledger::new(*id);
                let ledger = stored(id).unwrap_or(&unknown);
                match frame {
                    LedgerFrame::Summary { hash } => {
                        [ledger.hash(), unknown.hash()].contains(hash) || self.states.contains(hash)
                    }
                    LedgerFrame::Pull(pull) => pull.have.iter().all(|op| ledger.contains(*op)),
                    LedgerFrame::Push { ops, certificates, revocations, records, .. } => {
                        let mut beside = certificates.iter().chain(revocations).chain(records);
                        ops.iter().all(|op| is_in(op, ledger.envelopes()))
                            && beside.all(|record| self.payloads.contains(&record.payload))
                    }
                    _ => true,
                }
            }
            Effect::OpenSession { channel, group, .. } => {
                let peer = self.linked.get(&channel.link);
                let roster = stored(group).map(Ledger::roster);
                // A later step may have closed the cell, without which no session opens.
                !self.ada.cells.contains_key(&(channel.link, channel.ours))
                    || peer.zip(roster).is_some_and(|(peer, roster)| roster.may_read(peer.0, peer.1))
            }
            Effect::Answer { request, answer } => match answer {
                Answer::Created(Ok(group)) => stored(group).is_some(),
                Answer::Submitted(Ok(op)) | Answer::Invited(Ok(op)) => has_op(op),
                Answer::Revoked(Ok(_)) => self.revoked.get(request).is_some_and(|device| {
                    self.durable.values().any(|of| of.roster().is_revoked_by_user(self.ada.user, *device))
                }),
                _ => true,
            },
            _ => true,
        }
    }

    fn input(&mut self, kind: u8, a: u8, b: u8, c: u8) -> Input {
        let group = self.groups[usize::from(a) % 3];
        let link = LinkId(self.links.saturating_sub(u64::from(b % LINKS)));
        let (user, device) = self.peers[usize::from(c) % 3];
        let h = |link: LinkId| schema::id::hash("h", &[&link.0.to_be_bytes()]);
        match kind % 24 {
            0 | 1 => {
                self.links += 1;
                let (link, role) = (LinkId(self.links), LinkRole::Initiator);
                self.linked.insert(link, (user, device));
                Input::LinkUp { link, peer: Peer { user, device, h: h(link), role } }
            }
            2 => Input::LinkDown { link, reason: String::new() },
            3..=6 => {
                let token = hello::token(group, &h(link), LinkRole::Responder);
                Input::Hello { link, hello: Hello { groups: vec![HelloGroup { token, hash: [c; 32] }] } }
            }
            7 => {
                let ops = self.ops.iter().skip(usize::from(c) % 4).cloned().collect();
                Input::Present { link, group, presented: Presented { ops, manifests: vec![vec![vec![c]]] } }
            }
            8 | 9 => Input::Ledger { link, group, frame: LedgerFrame::Summary { hash: [c; 32] } },
            10 => Input::Ledger { link, group, frame: LedgerFrame::Pull(Pull::default()) },
            11 | 12 => {
                let ops = self.ops.iter().skip(usize::from(c) % self.ops.len()).cloned().collect();
                let (certificates, last) = (self.records.clone(), c.is_multiple_of(2));
                let (revocations, records) = (Vec::new(), Vec::new());
                let frame = LedgerFrame::Push { ops, certificates, revocations, records, last };
                Input::Ledger { link, group, frame }
            }
            13 => {
                let frame = match c % 4 {
                    0 => LedgerFrame::WantPages { root: [c; 32] },
                    1 => LedgerFrame::WantPage { page: [c; 32] },
                    2 => LedgerFrame::Page { bytes: vec![c] },
                    _ => LedgerFrame::Lacking { name: [c; 32] },
                };
                Input::Ledger { link, group, frame }
            }
            14 => {
                let token = hello::token(group, &h(link), LinkRole::Responder);
                Input::Join { link, join: Join { token, invite: [c; 32], signature: Signature([c; 64]) } }
            }
            15 => Input::Declined { link, token: [a; 32], invite: [c; 32], reason: DeclineReason::Closed },
            16 => Input::Intent { group, is_wanted: !c.is_multiple_of(3) },
            17 => Input::Contact { user, is_blocked: a.is_multiple_of(2) },
            18 => {
                let change = self.ada.role_change(group, user, ROLES[usize::from(b) % 4]);
                let cut = self.ada.cut(group, &change).ok().flatten();
                Input::Submit { group, change, cut }
            }
            19 => {
                self.revoked.insert(self.requests, device);
                Input::RevokeDevice(device)
            }
            20 => {
                let terms = Terms { role: ROLES[usize::from(b) % 4], uses: 1, expires_ms: u64::MAX };
                Input::Invite { group, terms, seed: [c; 16] }
            }
            21 => {
                let invite = OpId([b; 32]);
                let ticket = Ticket::new(group, invite, [c; 16], device, invite, vec![format!("ws://{c}")]);
                Input::StoreTicket(ticket.expect("one short address fits"))
            }
            22 => Input::Addresses(vec![format!("ws://{c}"); usize::from(b % 3)]),
            _ => {
                self.ada.pass(u64::from(a) * u64::from(b));
                match c % 6 {
                    5 => Input::PeerFault(device),
                    0 => Input::Wake,
                    1 => Input::RedeemTickets(None),
                    2 => Input::GroupStarted(group),
                    3 => Input::Accepted { group, devices: vec![device] },
                    _ => Input::Resume { link, group },
                }
            }
        }
    }
}

/// A batch of records.
struct Batch {
    number: u64,
    group: GroupId,
    records: Vec<StoredRecord>,
}

impl Batch {
    /// Stores the batch: the ledger has its records from now on.
    fn store(
        self,
        durable: &mut BTreeMap<GroupId, Ledger>,
        payloads: &mut BTreeSet<Vec<u8>>,
        states: &mut BTreeSet<[u8; 32]>,
    ) {
        let ledger = durable.entry(self.group).or_insert_with(|| Ledger::new(self.group));
        for record in self.records {
            if let StoredRecord::Certificate(envelope)
            | StoredRecord::Revocation(envelope)
            | StoredRecord::DeviceRecord { envelope, .. } = &record
            {
                payloads.insert(envelope.payload.clone());
            }
            match record {
                StoredRecord::Op { envelope, .. } => {
                    ledger.admit_with(envelope, |_| true).expect("parents are stored before children");
                }
                StoredRecord::Certificate(envelope) => drop(ledger.admit_certificate(envelope)),
                StoredRecord::Revocation(envelope) => drop(ledger.admit_revocation(envelope)),
                StoredRecord::DeviceRecord { envelope, .. } => drop(ledger.admit_record(envelope)),
                _ => {}
            }
            states.extend([ledger.hash(), ledger.roster().state_digest()]);
        }
    }
}

fn is_in<'e>(envelope: &Envelope, mut stored: impl Iterator<Item = &'e Envelope>) -> bool {
    stored.any(|one| one.payload == envelope.payload)
}
