//! Arbitrary inputs step one gate, and every step is held to the rules. The fuzz target `gate_steps` runs it
//! too.

use std::collections::BTreeSet;

use schema::gate::{Effect, Input, LinkId, MembershipChange, Peer, Presented, StoredRecord, Terms};
use schema::handshake::LinkRole;
use schema::key::Signature;
use schema::ledger::Role;
use schema::signed::Envelope;
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::ledger::{LedgerFrame, Pull};
use schema::wire::link::{DeclineReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, UserId};

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
    /// Batches that are not durable, and what they hold.
    storing: Option<(u64, Vec<Envelope>)>,
    durable: BTreeSet<Vec<u8>>,
    opened: BTreeSet<(LinkId, u32)>,
    closed: BTreeSet<(LinkId, u32)>,
    links: u64,
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
        let mut durable = BTreeSet::new();
        note(&ada.log, &mut durable);
        crate::gate::connect(&mut ada, ben, 1_000);
        for role in ROLES.into_iter().chain([Role::Reader, Role::None]) {
            let change = MembershipChange::SetRole { user: peers[1].0, role, before: BTreeSet::new() };
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
        note(&ada.log, &mut durable);
        ada.step(Input::LinkDown { link: LinkId(1_000), reason: String::new() });
        let groups = [garden, orchard, GroupId([9; 32])];
        let (opened, closed) = (BTreeSet::new(), BTreeSet::new());
        let (storing, links, has_failed) = (None, 0, false);
        Self { ada, groups, peers, ops, records, storing, durable, opened, closed, links, has_failed }
    }

    fn step(&mut self, [kind, a, b, c]: [u8; 4]) {
        if let Some((number, envelopes)) = self.storing.take_if(|_| kind % 3 != 0) {
            let is_durable = (kind, a, b) != (1, 1, 1);
            if is_durable {
                self.durable.extend(envelopes.into_iter().map(|envelope| envelope.payload));
            }
            self.decide(Input::Stored { number, is_durable }, !is_durable);
            self.has_failed |= !is_durable;
            return;
        }
        let input = self.input(kind, a, b, c);
        self.decide(input, false);
    }

    fn decide(&mut self, input: Input, is_failure: bool) {
        let was_storing = self.storing.is_some();
        let effects = self.ada.decide(input);
        let is_handed_back = matches!(effects[..], [Effect::StepLater(_)]);
        assert!(
            !was_storing || effects.is_empty() || is_handed_back,
            "effects before the batch is durable: {effects:?}"
        );
        assert!(!self.has_failed || effects.is_empty(), "effects after a failure: {effects:?}");
        let mut is_closing = true;
        for (at, effect) in effects.iter().enumerate() {
            match effect {
                Effect::CloseCell { link, number } => {
                    assert!(
                        is_closing || self.storing.is_none(),
                        "a closing after other effects: {effects:?}"
                    );
                    self.closed.insert((*link, *number));
                    continue;
                }
                Effect::OpenCell { link, number, .. } => {
                    assert!(self.opened.insert((*link, *number)), "a number is used twice");
                    assert!(!self.closed.contains(&(*link, *number)), "a closed cell opens again");
                }
                Effect::Store { number, records, .. } => {
                    assert_eq!(at + 1, effects.len(), "effects behind a batch: {effects:?}");
                    self.storing = Some((*number, records.iter().filter_map(envelope).cloned().collect()));
                }
                Effect::Send { frame: LinkFrame::Present { ops, .. }, .. } => self.is_durable(ops),
                Effect::SendLedger {
                    frame: LedgerFrame::Push { ops, certificates, revocations, records, .. },
                    ..
                } => {
                    [ops, certificates, revocations, records]
                        .into_iter()
                        .for_each(|sent| self.is_durable(sent));
                }
                _ => {}
            }
            is_closing = false;
            assert!(!is_failure, "{effects:?}");
        }
        effects.iter().for_each(|effect| self.ada.perform(effect));
    }

    fn is_durable(&self, sent: &[Envelope]) {
        let is_stored = |envelope: &Envelope| self.durable.contains(&envelope.payload);
        assert!(sent.iter().all(is_stored), "a frame carries what is not durable");
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
                let change = MembershipChange::SetRole {
                    user,
                    role: ROLES[usize::from(b) % 4],
                    before: BTreeSet::new(),
                };
                let cut = self.ada.cut(group, &change).ok().flatten();
                Input::Submit { group, change, cut }
            }
            19 => Input::RevokeDevice(device),
            20 => {
                let terms = Terms { role: ROLES[usize::from(b) % 4], uses: 1, expires_ms: u64::MAX };
                Input::Invite { group, terms, seed: [c; 16] }
            }
            21 => {
                let invite = schema::OpId([b; 32]);
                let ticket = Ticket::new(group, invite, [c; 16], device, invite, vec![format!("ws://{c}")]);
                Input::StoreTicket(ticket.expect("one short address fits"))
            }
            22 => Input::Addresses(vec![format!("ws://{c}"); usize::from(b % 3)]),
            _ => {
                self.ada.pass(u64::from(a) * u64::from(b));
                match c % 5 {
                    0 => Input::Wake,
                    1 => Input::ShowTickets(None),
                    2 => Input::GroupStarted(group),
                    3 => Input::Accepted { group, devices: vec![device] },
                    _ => Input::Resume { link, group },
                }
            }
        }
    }
}

/// Notes the records of durable batches.
fn note(log: &[Effect], durable: &mut BTreeSet<Vec<u8>>) {
    for effect in log {
        if let Effect::Store { records, .. } = effect {
            durable.extend(records.iter().filter_map(envelope).map(|envelope| envelope.payload.clone()));
        }
    }
}

fn envelope(record: &StoredRecord) -> Option<&Envelope> {
    match record {
        StoredRecord::Op { envelope, .. }
        | StoredRecord::Certificate(envelope)
        | StoredRecord::Revocation(envelope)
        | StoredRecord::DeviceRecord { envelope, .. } => Some(envelope),
        _ => None,
    }
}
