//! The gate: what opens on which link, what is sent, and what waits for the disk.

use std::collections::{BTreeMap, BTreeSet};

use peerbase_schema::device::DeviceIdentity;
use peerbase_schema::gate::{
    Answer, ChangeRefusal, Effect, GroupState, Input, LinkId, MembershipChange, Notice, Peer, Silent,
    StoredRecord,
};
use peerbase_schema::handshake::LinkRole;
use peerbase_schema::id::hash;
use peerbase_schema::key::{AgreementKey, SigningKey};
use peerbase_schema::ledger::manifest::Writer as ManifestWriter;
use peerbase_schema::ledger::{Body, By, Op, OpAction, Role};
use peerbase_schema::limits::{DEVICE_REVOCATIONS_MAX, DEVICES_MAX};
use peerbase_schema::signed::{Envelope, Signed};
use peerbase_schema::wire::device::UserDeviceRevocation;
use peerbase_schema::wire::hello::{self, Hello, HelloGroup};
use peerbase_schema::wire::ledger::{LedgerFrame, Pull};
use peerbase_schema::wire::link::{ByeReason, DeclineReason};
use peerbase_schema::{DeviceId, GroupId, Moment, Timestamp, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use testkit::gate::{Device, connect, exchange};
use testkit::gate_steps;

pub(crate) fn ada() -> Device {
    Device::new(1, 11)
}

pub(crate) fn ben() -> Device {
    Device::new(2, 12)
}

pub(crate) fn cid() -> Device {
    Device::new(3, 13)
}

pub(crate) fn admit(user: UserId, role: Role) -> MembershipChange {
    MembershipChange::Admit { user, role }
}

pub(crate) fn set_role(user: UserId, role: Role) -> MembershipChange {
    MembershipChange::SetRole { user, role, before: BTreeSet::new() }
}

/// Ada and Ben, connected in Ada's group, to which she admitted him.
pub(crate) fn connected(role: Role) -> (Device, Device, GroupId) {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ada.set_role(garden, ben.user, role);
    ben.want(garden);
    connect(&mut ada, &mut ben, 1);
    (ada, ben, garden)
}

pub(crate) const LINK: LinkId = LinkId(1);

/// Ada, and two devices of a Writer in her group; the first is connected to her.
fn writer_with_two_devices() -> (Device, [Device; 2], GroupId) {
    let (mut ada, mut devices) = (ada(), [12, 22].map(|device| Device::new(2, device)));
    let garden = ada.create("garden");
    ada.set_role(garden, devices[0].user, Role::Writer);
    devices.iter_mut().for_each(|device| drop(device.want(garden)));
    connect(&mut devices[0], &mut ada, 1);
    (ada, devices, garden)
}

pub(crate) fn position(effects: &[Effect], of: impl Fn(&Effect) -> bool) -> Option<usize> {
    effects.iter().position(of)
}

#[test]
fn nothing_of_a_change_leaves_before_it_is_durable() {
    let (mut ada, ben, garden) = connected(Role::Writer);

    let effects =
        ada.decide(Input::Submit { group: garden, change: set_role(ben.user, Role::Admin), cut: None });

    assert!(effects.iter().all(|effect| !effect.is_disclosure()), "{effects:?}");
    let Some(Effect::Store { number, records, .. }) = effects.last() else { panic!("{effects:?}") };
    assert!(matches!(records[..], [StoredRecord::Op { .. }]), "{records:?}");
    let effects = ada.decide(Input::Stored { number: *number, is_durable: true });
    for disclosure in ["Publish", "SendLedger", "Answer"] {
        let is_there = |effect: &Effect| format!("{effect:?}").starts_with(disclosure);
        assert!(position(&effects, is_there).is_some(), "{disclosure} in {effects:?}");
    }
}

/// Steps Ada's request for a change of a group; the batch that is handed out.
fn submit(ada: &mut Device, group: GroupId, change: MembershipChange) -> Option<u64> {
    let effects = ada.decide(Input::Submit { group, change, cut: None });
    assert!(effects.iter().all(|effect| !effect.is_disclosure()), "{effects:?}");
    effects.iter().find_map(|effect| match effect {
        Effect::Store { number, group: of, .. } if *of == group => Some(*number),
        _ => None,
    })
}

fn answers(effects: &[Effect]) -> Vec<u64> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Answer { request, answer: Answer::Submitted(Ok(_)) } => Some(*request),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_group_whose_batch_is_not_durable_keeps_no_other_waiting() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let orchard = ada.create("orchard");
    let stuck = submit(&mut ada, garden, set_role(ben.user, Role::Admin)).unwrap();

    let other = submit(&mut ada, orchard, admit(ben.user, Role::Reader))
        .expect("the batch of another group is handed out");
    let rest = ada.decide(Input::Stored { number: other, is_durable: true });

    let publishes =
        |id: GroupId| move |effect: &Effect| matches!(effect, Effect::Publish(view) if view.info.id == id);
    assert!(position(&rest, publishes(orchard)).is_some() && position(&rest, publishes(garden)).is_none());
    let [second] = answers(&rest)[..] else { panic!("{rest:?}") };
    let is_settled = |ada: &Device, group| ada.gate.is_settled(group, ada.gate.mark());
    assert!(is_settled(&ada, Some(orchard)) && !is_settled(&ada, Some(garden)) && !is_settled(&ada, None));
    let rest = ada.decide(Input::Stored { number: stuck, is_durable: true });
    assert_eq!(answers(&rest), [second - 1], "by its number, though it is later");
    assert!(!ada.gate.is_storing() && is_settled(&ada, None));
}

#[test]
fn records_of_a_group_whose_batch_is_not_durable_are_joined_in_the_next() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let first = submit(&mut ada, garden, set_role(ben.user, Role::Admin)).unwrap();
    for user in [7, 8, 9] {
        let admission = admit(UserId([user; 32]), Role::Reader);
        assert_eq!(submit(&mut ada, garden, admission), None, "it waits for the first batch");
    }
    assert!(ada.decide(Input::Stored { number: 999, is_durable: true }).is_empty(), "no batch of this gate");

    let effects = ada.decide(Input::Stored { number: first, is_durable: true });

    assert_eq!(answers(&effects).len(), 1, "{effects:?}");
    let Some(Effect::Store { number, records, .. }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(records.len(), 3);
    let effects = ada.decide(Input::Stored { number: *number, is_durable: true });
    assert_eq!(answers(&effects).len(), 3, "{effects:?}");
}

#[test]
fn a_gate_whose_store_failed_closes_every_cell_and_does_nothing_more() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let cells: Vec<_> = ada.cells.keys().copied().collect();
    let effects =
        ada.decide(Input::Submit { group: garden, change: set_role(ben.user, Role::Admin), cut: None });
    let Some(Effect::Store { number, .. }) = effects.last() else { panic!("{effects:?}") };

    let effects = ada.decide(Input::Stored { number: *number, is_durable: false });

    assert!(!cells.is_empty());
    for (link, number) in cells {
        let closes =
            |e: &Effect| matches!(e, Effect::CloseCell { link: l, number: n } if (*l, *n) == (link, number));
        assert!(position(&effects, closes).is_some(), "{effects:?}");
    }
    assert!(effects.iter().all(|effect| matches!(effect, Effect::CloseCell { .. })), "{effects:?}");
    assert!(ada.decide(Input::Intent { group: garden, is_wanted: false }).is_empty());
}

#[test]
fn a_group_opens_once_both_sides_announced_it() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ada.set_role(garden, ben.user, Role::Writer);
    connect(&mut ada, &mut ben, 1);
    assert_eq!(ada.open_on(LINK), [garden], "announced");
    assert!(ben.open_on(LINK).is_empty() && ada.sessions.is_empty());

    exchange(&mut ben, &mut ada, Input::Intent { group: garden, is_wanted: true });

    assert_eq!(ben.open_on(LINK), [garden]);
    assert!(ada.sessions.contains(&(LINK, garden)) && ben.sessions.contains(&(LINK, garden)));
    assert_eq!(ben.views[&garden].info.state, GroupState::Active);
    assert_eq!(ben.role(garden, ben.user), Role::Writer);
}

#[test]
fn a_stranger_is_told_of_no_group() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ben.want(garden);

    connect(&mut ada, &mut ben, 1);

    let hello = |effect: &Effect| matches!(effect, Effect::Send { frame, .. } if frame.kind() == "hello");
    let hellos: Vec<_> = ada.log.iter().filter(|effect| hello(effect)).collect();
    assert_eq!(format!("{hellos:?}"), "[Send { link: LinkId(1), frame: Hello(0 groups) }]");
    assert!(ada.open_on(LINK).is_empty());
    assert_eq!(ben.views[&garden].info.state, GroupState::Pending);
}

#[test]
fn the_cell_of_a_removed_member_closes_before_anything_else_of_the_step() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let change = set_role(ben.user, Role::None);
    let cut = ada.cut(garden, &change).unwrap();

    let effects = ada.decide(Input::Submit { group: garden, change, cut });

    assert!(matches!(effects[..], [Effect::CloseCell { .. }, .., Effect::Store { .. }]), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::CloseLink { .. })), "{effects:?}");
}

#[test]
fn a_removed_member_gets_a_bye_without_a_reason_and_another_link_where_more_is_shared() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    ada.set_role(garden, ben.user, Role::None);
    assert_eq!(ada.ended.get(&LINK), Some(&ByeReason::NotAuthorized));

    let (mut ada, mut ben, garden) = connected(Role::Writer);
    let orchard = ada.create("orchard");
    ada.set_role(orchard, ben.user, Role::Writer);
    ben.want(orchard);
    connect(&mut ada, &mut ben, 2);
    ada.set_role(garden, ben.user, Role::None);
    assert_eq!(ada.ended.get(&peerbase_schema::gate::LinkId(2)), Some(&ByeReason::Renew));
}

#[test]
fn an_op_is_pushed_to_other_peers_and_not_back_to_its_source() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    let cid = cid();
    ada.log.clear();

    let change = admit(cid.user, Role::Reader);
    exchange(&mut ben, &mut ada, Input::Submit { group: garden, change, cut: None });

    assert_eq!(ada.role(garden, cid.user), Role::Reader);
    assert!(position(&ada.log, |effect| matches!(effect, Effect::SendLedger { .. })).is_none());
    ada.set_role(garden, cid.user, Role::Writer);
    assert!(position(&ada.log, |effect| matches!(effect, Effect::SendLedger { .. })).is_some());
}

#[test]
fn a_change_that_ends_writing_asks_for_a_cut_first() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let change = set_role(ben.user, Role::None);
    let target = ada.gate.cut_target(garden, &change).unwrap().unwrap();
    assert_eq!((target.user, target.device), (ben.user, None));
    assert_eq!(ada.gate.cut_target(garden, &set_role(ben.user, Role::Admin)), Ok(None));

    let refusal = ada.submit_with(garden, change, None).unwrap_err();

    assert_eq!(refusal, ChangeRefusal::CutOutdated(target));
}

#[test]
fn a_cut_stays_good_while_its_target_stands_as_it_did() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let cid = cid();
    let change = set_role(ben.user, Role::Reader);

    let cut = ada.cut(garden, &change).unwrap();
    ada.set_role(garden, cid.user, Role::Writer);
    assert!(ada.submit_with(garden, change, cut).is_ok(), "another member joined meanwhile");

    let (mut ada, ben, garden) = connected(Role::Writer);
    let change = set_role(ben.user, Role::Reader);
    let cut = ada.cut(garden, &change).unwrap();
    ada.set_role(garden, ben.user, Role::Admin);
    let refusal = ada.submit_with(garden, change, cut).unwrap_err();
    assert!(matches!(refusal, ChangeRefusal::CutOutdated(_)), "{refusal}");
}

/// The revocation of an own device by the user whose key has this seed, and its id.
fn revocation(user: u8, number: u16) -> ([u8; 32], Envelope) {
    let key = SigningKey::from_seed([user; 32]);
    let device = DeviceId(hash("device", &[&number.to_be_bytes()]));
    let record = UserDeviceRevocation { version: 1, user: UserId(key.public()), device };
    let signed = Signed::sign(record, &key);
    (signed.id(), signed.envelope().clone())
}

/// The certificate of a device that never existed, with the longest label, and its id.
fn certificate(user: u8, number: u16) -> ([u8; 32], Envelope) {
    let key = SigningKey::from_seed([user; 32]);
    let seed = hash("device", &[&number.to_be_bytes()]);
    let (signing, agreement) = (SigningKey::from_seed(seed), AgreementKey::from_seed(seed));
    let certificate = DeviceIdentity::certify(&key, signing, agreement, &"x".repeat(64)).certificate;
    (certificate.id(), certificate.envelope().clone())
}

/// A frame of records beside the ops.
fn push(certificates: &[Envelope], revocations: &[Envelope]) -> LedgerFrame {
    LedgerFrame::Push {
        ops: Vec::new(),
        certificates: certificates.to_vec(),
        revocations: revocations.to_vec(),
        records: Vec::new(),
        last: false,
    }
}

/// Records in an order in which each has a smaller id than all before, so that a full set takes it.
fn descending(records: impl Iterator<Item = ([u8; 32], Envelope)>) -> Vec<Envelope> {
    let sorted: BTreeMap<_, _> = records.collect();
    sorted.into_values().rev().collect()
}

#[test]
fn a_readers_flood_beside_the_ops_adds_at_most_64_kib_to_a_store() {
    let (mut ada, ben, garden) = connected(Role::Reader);
    let orchard = ada.create("orchard");
    ada.set_role(orchard, ben.user, Role::Reader);
    let ops = ada.gate.ledger(garden).unwrap().len();
    let before = [garden, orchard].map(|group| ada.side_bytes(group));
    let revocations = descending((0..1_200).map(|number| revocation(2, number)));
    let certificates = descending((0..200).map(|number| certificate(2, number)));

    let frames = revocations.chunks(100).map(|part| push(&[], part));
    for frame in frames.chain(certificates.chunks(100).map(|part| push(part, &[]))) {
        ada.step(Input::Ledger { link: LINK, group: garden, frame });
    }

    let ledger = ada.gate.ledger(garden).unwrap();
    assert_eq!((ledger.len(), ledger.revocations().count()), (ops, DEVICE_REVOCATIONS_MAX));
    assert_eq!(ledger.certificates().count(), DEVICES_MAX);
    for (group, before) in [garden, orchard].into_iter().zip(before) {
        let bytes = ada.side_bytes(group) - before;
        assert!((40 * 1024..=64 * 1024).contains(&bytes), "{bytes} bytes");
    }
    ada.set_role(garden, ben.user, Role::None);
    assert_eq!(ada.role(garden, ben.user), Role::None);
}

#[test]
fn a_member_who_revokes_devices_does_not_outdate_a_cut_of_their_changes() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let change = set_role(ben.user, Role::Reader);
    let cut = ada.cut(garden, &change).unwrap();

    let (_, envelope) = revocation(2, 1);
    let frame = push(&[], &[envelope]);
    ada.step(Input::Ledger { link: LINK, group: garden, frame });

    assert_eq!(ada.gate.ledger(garden).unwrap().revocations().count(), 1);
    assert!(ada.submit_with(garden, change, cut).is_ok());
}

#[test]
fn an_op_of_a_user_below_admin_is_a_fault_whatever_it_revokes() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let ledger = ada.gate.ledger(garden).unwrap();
    let (before, parents) = (ledger.len(), ledger.heads());
    let body = Body::RevokeDevice { user: ben.user, device: ben.device, cut: None };
    let op = Op { version: 1, group: garden, parents, author: ben.user, by: By::User, body };
    let op = Signed::sign(op, &SigningKey::from_seed([2; 32])).envelope().clone();

    let LedgerFrame::Push { certificates, revocations, records, last, .. } = push(&[], &[]) else {
        unreachable!()
    };
    let frame = LedgerFrame::Push { ops: vec![op], certificates, revocations, records, last };
    let effects = ada.step(Input::Ledger { link: LINK, group: garden, frame });

    assert!(effects.iter().any(|effect| matches!(effect, Effect::Warn(_))), "{effects:?}");
    assert_eq!(ada.gate.ledger(garden).unwrap().len(), before);
}

#[test]
fn an_op_that_a_revoked_device_signs_under_its_users_next_role_is_void_although_its_user_has_seen_it() {
    let (mut ada, [mut laptop, mut phone], garden) = writer_with_two_devices();
    connect(&mut phone, &mut ada, 2);
    connect(&mut laptop, &mut phone, 3);
    let down = |link| Input::LinkDown { link: LinkId(link), reason: "cut".into() };
    laptop.step(down(1));
    laptop.step(down(3));
    ada.step(down(1));
    phone.step(down(3));
    laptop.step(Input::RevokeDevice(phone.device));
    assert!(laptop.gate.log(garden).iter().all(|op| !matches!(op.action, OpAction::RevokeDevice { .. })));

    // Nobody but the laptop knows of the revocation while Ada promotes the user and the thief uses that.
    let (mal, promotion) = (UserId([9; 32]), set_role(laptop.user, Role::Admin));
    exchange(&mut ada, &mut phone, Input::Submit { group: garden, change: promotion, cut: None });
    exchange(
        &mut phone,
        &mut ada,
        Input::Submit { group: garden, change: admit(mal, Role::Writer), cut: None },
    );
    assert_eq!(ada.role(garden, mal), Role::Writer);
    connect(&mut laptop, &mut ada, 4);

    for device in [&laptop, &ada] {
        assert_eq!(device.role(garden, laptop.user), Role::Admin);
        assert_eq!(device.role(garden, mal), Role::None, "the op came with the role");
    }
    exchange(
        &mut laptop,
        &mut ada,
        Input::Submit { group: garden, change: admit(mal, Role::Reader), cut: None },
    );
    assert_eq!(ada.role(garden, mal), Role::Reader, "the user's other devices sign on");
}

#[test]
fn a_user_below_admin_revokes_a_device_in_all_groups_and_not_in_one() {
    let (mut ada, [mut laptop, mut phone], garden) = writer_with_two_devices();
    connect(&mut laptop, &mut phone, 2);
    let ops = laptop.gate.ledger(garden).unwrap().len();

    let change =
        MembershipChange::RevokeDevice { user: laptop.user, device: phone.device, before: BTreeSet::new() };
    let refusal = laptop.submit_with(garden, change, None).unwrap_err();
    exchange(&mut laptop, &mut ada, Input::RevokeDevice(phone.device));

    assert_eq!(refusal, ChangeRefusal::RevokesInAllGroups { role: Role::Writer });
    for device in [&laptop, &ada] {
        let ledger = device.gate.ledger(garden).unwrap();
        assert!(ledger.roster().is_device_revoked(laptop.user, phone.device));
        assert_eq!(ledger.len(), ops, "no op arose");
    }
}

/// A removal that has just arrived is not undone by a role that was meant for a member.
#[test]
fn a_role_is_given_to_members_alone_and_as_of_before_a_removal_to_who_was_one() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    let cid = cid().user;
    for change in [admit(cid, Role::Reader), set_role(cid, Role::None)] {
        exchange(&mut ben, &mut ada, Input::Submit { group: garden, change, cut: None });
    }
    let removal = ada.gate.log(garden).last().unwrap().op;

    let refused = ada.submit(garden, set_role(cid, Role::Writer));
    assert_eq!(refused, Err(ChangeRefusal::NotAMember(cid)));
    assert_eq!(ada.submit(garden, set_role(cid, Role::None)), refused);

    let before = BTreeSet::from([removal]);
    let stranger = UserId([9; 32]);
    let admission = MembershipChange::SetRole { user: stranger, role: Role::Writer, before: before.clone() };
    assert_eq!(ada.submit(garden, admission), Err(ChangeRefusal::NotAMember(stranger)));
    let undone = MembershipChange::SetRole { user: cid, role: Role::Writer, before };
    ada.submit(garden, undone).unwrap();
    assert_eq!(ada.role(garden, cid), Role::Writer, "a founder overrules the removal of an Admin");
}

#[test]
fn a_cut_is_outdated_once_the_removal_of_another_writer_is_void() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    let (cid, dan) = (cid().user, UserId([9; 32]));
    for user in [cid, dan] {
        let change = admit(user, Role::Writer);
        exchange(&mut ada, &mut ben, Input::Submit { group: garden, change, cut: None });
    }
    let removal = set_role(cid, Role::None);
    let cut = ben.cut(garden, &removal).unwrap();
    exchange(&mut ben, &mut ada, Input::Submit { group: garden, change: removal, cut });
    assert_eq!(ada.role(garden, cid), Role::None);
    let change = set_role(dan, Role::Reader);
    let cut = ada.cut(garden, &change).unwrap();

    let before = BTreeSet::from([ada.gate.log(garden).last().unwrap().op]);
    let lowering = MembershipChange::SetRole { user: ben.user, role: Role::Writer, before };
    ada.submit(garden, lowering).unwrap();

    assert_eq!(ada.role(garden, cid), Role::Writer, "what Dan wrote on top of Cid's changes counts again");
    let refusal = ada.submit_with(garden, change, cut).unwrap_err();
    assert!(matches!(refusal, ChangeRefusal::CutOutdated(_)), "{refusal}");
}

#[test]
fn a_cut_whose_pages_were_deleted_is_made_again() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let change = set_role(ben.user, Role::Reader);
    let cut = ada.cut(garden, &change).unwrap();
    ada.delete_manifests();

    let refusal = ada.submit_with(garden, change.clone(), cut).unwrap_err();

    assert!(matches!(refusal, ChangeRefusal::CutOutdated(_)), "{refusal}");
    ada.submit(garden, change).unwrap();
}

/// A device of `peer` links up and announces a group, as a stranger does who knows its id; the effects.
fn announces(here: &mut Device, peer: &Device, group: GroupId) -> Vec<Effect> {
    let (h, role, hash) = ([7; 32], LinkRole::Responder, [0; 32]);
    let peer = Peer { user: peer.user, device: peer.device, h, role };
    here.step(Input::LinkUp { link: STRANGE, peer });
    let groups = vec![HelloGroup { token: hello::token(group, &h, role.peer()), hash }];
    here.step(Input::Hello { link: STRANGE, hello: Hello { groups } })
}

const STRANGE: LinkId = LinkId(70);

/// An Admin removes themselves.
pub(crate) fn leave(peer: &mut Device, group: GroupId) {
    let change = set_role(peer.user, Role::None);
    let cut = peer.cut(group, &change).unwrap();
    peer.submit_with(group, change, cut).unwrap();
}

#[test]
fn a_user_who_left_answers_members_and_no_stranger_who_knows_the_group() {
    let (ada, mut ben, garden) = connected(Role::Admin);
    leave(&mut ben, garden);

    let effects = announces(&mut ben, &cid(), garden);
    assert!(ben.open_on(STRANGE).is_empty());
    assert!(!effects.iter().any(Effect::is_disclosure), "{effects:?}");

    ben.step(Input::LinkDown { link: STRANGE, reason: "end".into() });
    announces(&mut ben, &ada, garden);
    assert_eq!(ben.open_on(STRANGE), [garden]);
}

#[test]
fn a_pending_user_gives_a_stranger_nothing_of_an_old_ledger() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    leave(&mut ben, garden);
    let ticket = ada.ticket(garden);
    ben.step(Input::StoreTicket(ticket));
    assert_eq!(ben.views[&garden].info.state, GroupState::Pending);

    announces(&mut ben, &cid(), garden);
    assert_eq!(ben.open_on(STRANGE), [garden], "Cid may be a member that this ledger does not admit yet");
    let mut answer = |frame| {
        let effects = ben.step(Input::Ledger { link: STRANGE, group: garden, frame });
        let sent = effects.into_iter().filter_map(|effect| match effect {
            Effect::SendLedger { frame, .. } => Some(frame),
            _ => None,
        });
        sent.collect::<Vec<_>>()
    };

    for frame in answer(LedgerFrame::Pull(Pull::default())) {
        let LedgerFrame::Push { ops, certificates, revocations, records, .. } = frame else { continue };
        let all = [ops, certificates, revocations, records];
        assert!(all.iter().all(Vec::is_empty), "{all:?}");
    }
    let root = ManifestWriter::default().finish().1.root;
    assert_eq!(answer(LedgerFrame::WantPages { root }), [LedgerFrame::Lacking { name: root }]);
}

#[test]
fn a_ticket_admits_its_holder_and_is_secret_no_longer() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    let ticket = ada.ticket(garden);
    ben.want(garden);
    assert!(matches!(ben.ask(Input::StoreTicket(ticket.clone())), Answer::TicketStored(Ok(false))));
    assert_eq!(ben.gate.open_tickets(garden), 1);

    connect(&mut ada, &mut ben, 1);

    assert_eq!(ben.views[&garden].info.state, GroupState::Active);
    assert_eq!(ada.role(garden, ben.user), Role::Writer);
    assert_eq!(ben.gate.open_tickets(garden), 0);
    assert!(matches!(ben.ask(Input::StoreTicket(ticket)), Answer::TicketStored(Ok(true))));
}

#[test]
fn a_used_up_ticket_is_declined_and_deleted() {
    let (mut ada, mut ben, mut cid) = (ada(), ben(), cid());
    let garden = ada.create("garden");
    let ticket = ada.ticket(garden);
    for (number, joiner) in [(1, &mut ben), (2, &mut cid)] {
        joiner.want(garden);
        joiner.ask(Input::StoreTicket(ticket.clone()));
        connect(&mut ada, joiner, number);
    }

    let declined = cid.views[&garden].details.declined.map(|declined| declined.reason);
    assert_eq!(declined, Some(DeclineReason::UsedUp));
    assert_eq!((cid.gate.open_tickets(garden), ada.role(garden, cid.user)), (0, Role::None));
    let is_notice = |effect: &Effect| matches!(effect, Effect::Notify(Notice::JoinDeclined { .. }));
    assert!(position(&cid.log, is_notice).is_some());
}

#[test]
fn a_peer_that_shows_too_many_tickets_is_ignored() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    let ticket = ada.ticket(garden);
    ben.want(garden);
    connect(&mut ada, &mut ben, 1);
    let join = peerbase_schema::wire::link::Join {
        token: [7; 32],
        invite: [7; 32],
        signature: peerbase_schema::key::Signature([0; 64]),
    };
    for _ in 0..64 {
        assert!(ada.step(Input::Join { link: LINK, join }).is_empty());
    }

    exchange(&mut ben, &mut ada, Input::StoreTicket(ticket));
    assert_eq!(ada.role(garden, ben.user), Role::None);

    ada.pass(60);
    exchange(&mut ben, &mut ada, Input::RedeemTickets(None));
    assert_eq!(ada.role(garden, ben.user), Role::Writer, "a minute later");
}

#[test]
fn a_member_unknown_to_a_peer_presents_its_grant() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    let mut cid = cid();
    exchange(&mut ben, &mut ada, Input::LinkDown { link: LINK, reason: "cut".into() });
    ada.step(Input::LinkDown { link: LINK, reason: "cut".into() });
    // Ben admits Cid while Ada is away, and Cid's device learns of it from him.
    ben.set_role(garden, cid.user, Role::Writer);
    cid.want(garden);
    connect(&mut ben, &mut cid, 2);
    assert_eq!(ada.role(garden, cid.user), Role::None);

    connect(&mut ada, &mut cid, 3);

    assert_eq!(ada.role(garden, cid.user), Role::Writer);
    assert!(ada.sessions.contains(&(peerbase_schema::gate::LinkId(3), garden)));
}

#[test]
fn a_step_that_publishes_a_new_role_tells_it_once_and_a_first_view_tells_the_joining_alone() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let joined = Notice::Joined { group: garden, role: Role::Writer };
    assert_eq!(ben.views[&garden].notices_since(None, ben.user), [joined]);

    for role in [Role::Admin, Role::Writer] {
        let before = ada.views[&garden].clone();
        ada.set_role(garden, ben.user, role);
        let after = &ada.views[&garden];

        let changed = Notice::RoleChanged { group: garden, user: ben.user, role };
        assert_eq!(after.notices_since(Some(&before), ada.user), [changed]);
        assert_eq!(after.notices_since(Some(after), ada.user), []);
    }
}

#[test]
fn an_unasked_admission_is_offered_and_nothing_of_it_is_stored() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ada.set_role(garden, ben.user, Role::Reader);
    connect(&mut ada, &mut ben, 1);

    let by = ada.user;
    let offered = Notice::Offered { group: garden, role: Role::Reader, by };
    assert!(ben.log.iter().any(|effect| matches!(effect, Effect::Notify(notice) if *notice == offered)));
    assert!(ben.gate.ledger(garden).is_none());
    let stored = |effect: &Effect| matches!(effect, Effect::Store { group, .. } if *group == garden);
    assert!(position(&ben.log, stored).is_none());

    let effects = ben.want(garden);
    assert!(position(&effects, |effect| matches!(effect, Effect::UnlistOffer(_))).is_some(), "accepted");
}

#[test]
fn a_blocked_user_is_disconnected_like_a_stranger() {
    let (mut ada, ben, _) = connected(Role::Writer);
    ada.step(Input::Contact { user: ben.user, is_blocked: true });
    assert_eq!(ada.ended.get(&LINK), Some(&ByeReason::NotAuthorized));
    assert!(ada.open_on(LINK).is_empty());

    let (mut ada, mut ben) = (ada, ben);
    let link = connect(&mut ada, &mut ben, 9);
    assert_eq!(ada.ended.get(&link), Some(&ByeReason::NotAuthorized));

    let effects = ada.step(Input::Contact { user: ben.user, is_blocked: false });
    assert!(position(&effects, |effect| matches!(effect, Effect::RedialKnown)).is_some());
}

#[test]
fn a_group_that_the_user_leaves_closes_on_every_link() {
    let (mut ada, _, garden) = connected(Role::Admin);

    let effects = ada.step(Input::Intent { group: garden, is_wanted: false });

    assert!(matches!(effects.first(), Some(Effect::CloseCell { .. })), "{effects:?}");
    assert!(ada.open_on(LINK).is_empty());
    assert_eq!(ada.ended.get(&LINK), Some(&ByeReason::Renew));
    assert!(!ada.views.contains_key(&garden));
}

#[test]
fn a_revoked_device_loses_every_group_before_the_first_batch_is_durable() {
    let (mut laptop, mut phone) = (Device::new(1, 11), Device::new(1, 21));
    let groups = ["garden", "orchard"].map(|name| laptop.create(name));
    groups.iter().for_each(|group| drop(phone.want(*group)));
    connect(&mut laptop, &mut phone, 1);
    assert_eq!(laptop.open_on(LINK).len(), 3, "and the personal group");

    let effects = laptop.decide(Input::RevokeDevice(phone.device));

    let closed = effects.iter().filter(|effect| matches!(effect, Effect::CloseCell { .. })).count();
    assert_eq!(closed, 3, "{effects:?}");
    assert!(effects.iter().all(|effect| !effect.is_disclosure()), "{effects:?}");
}

#[test]
fn a_member_who_does_not_announce_a_group_is_silent_after_five_seconds() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ada.set_role(garden, ben.user, Role::Writer);
    ben.want(garden);
    connect(&mut ada, &mut ben, 1);
    ben.step(Input::Intent { group: garden, is_wanted: false });
    ada.step(Input::LinkDown { link: LINK, reason: "renewed".into() });
    ben.step(Input::LinkDown { link: LINK, reason: "renewed".into() });
    connect(&mut ada, &mut ben, 2);
    let since = ada.now.wall;
    assert!(ada.gate.silent(garden, Moment(ada.now.instant)).is_empty());

    ada.now.wall = Timestamp(0);
    ada.pass(5);

    assert_eq!(ada.gate.silent(garden, Moment(ada.now.instant)), [Silent { device: ben.device, since }]);
}

#[test]
fn a_founder_alone_in_charge_neither_leaves_nor_lowers_themselves() {
    let (mut ada, ben, garden) = connected(Role::Writer);
    let me = ada.user;
    assert_eq!(ada.submit(garden, set_role(me, Role::Reader)), Err(ChangeRefusal::NobodyInCharge));
    assert_eq!(
        ada.submit(garden, MembershipChange::Transfer { to: UserId([9; 32]) }),
        Err(ChangeRefusal::NoHeir(UserId([9; 32])))
    );

    ada.submit(garden, MembershipChange::Transfer { to: ben.user }).unwrap();

    assert_eq!((ada.role(garden, ada.user), ada.role(garden, ben.user)), (Role::Admin, Role::Founder));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_inputs_keep_the_rules(bytes in vec(any::<u8>(), 0..1_600)) {
        gate_steps::run(&bytes);
    }
}
