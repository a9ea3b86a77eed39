//! The gate: who gets what of a group, which inviters are dialled, and a gate that starts again.

use std::collections::BTreeSet;

use peerbase_schema::gate::{Effect, GroupState, Input, LinkId, Peer, Presented, StoredRecord};
use peerbase_schema::handshake::LinkRole;
use peerbase_schema::ledger::Role;
use peerbase_schema::wire::hello::{self, Hello, HelloGroup};
use peerbase_schema::wire::ledger::{LedgerFrame, Pull};
use peerbase_schema::wire::link::ByeReason;
use peerbase_schema::wire::ticket::Ticket;
use peerbase_schema::{GroupId, OpId, UserId};
use testkit::gate::{Device, connect, exchange};

use crate::gate::{LINK, ada, admit, ben, cid, connected, leave, set_role};

const DAN: UserId = UserId([9; 32]);

/// A device of `peer` links up and announces a group; the effects.
fn announces(here: &mut Device, peer: &Device, group: GroupId, link: LinkId) -> Vec<Effect> {
    let (h, role) = ([link.0.to_be_bytes()[7]; 32], LinkRole::Responder);
    let up = Input::LinkUp { link, peer: Peer { user: peer.user, device: peer.device, h, role } };
    let groups = vec![HelloGroup { token: hello::token(group, &h, role.peer()), hash: [0; 32] }];
    let mut effects = here.step(up);
    effects.extend(here.step(Input::Hello { link, hello: Hello { groups } }));
    effects
}

/// The frames that effects send on a link, as bytes or text.
fn sent(effects: &[Effect], on: LinkId) -> Vec<String> {
    let frame = |effect: &Effect| match effect {
        Effect::Send { link, frame } if *link == on => Some(format!("{:?}", frame.encode())),
        Effect::SendLedger { channel, frame } if channel.link == on => Some(format!("{frame:?}")),
        _ => None,
    };
    effects.iter().filter_map(frame).collect()
}

fn opens_session(effect: &Effect) -> bool {
    matches!(effect, Effect::OpenSession { .. })
}

fn forgotten(effects: &[Effect]) -> Vec<&str> {
    let addresses = effects.iter().filter_map(|effect| match effect {
        Effect::Forget { address, .. } => Some(address.as_str()),
        _ => None,
    });
    addresses.collect()
}

fn remembered(effects: &[Effect]) -> Vec<&str> {
    let addresses = effects.iter().filter_map(|effect| match effect {
        Effect::Remember { address, .. } => Some(address.as_str()),
        _ => None,
    });
    addresses.collect()
}

/// A ticket of an invitation that no ledger here has.
fn ticket(group: GroupId, number: u8, address: &str) -> Ticket {
    let invite = OpId([number; 32]);
    Ticket::new(group, invite, [number; 16], ada().device, invite, vec![address.to_owned()]).unwrap()
}

#[test]
fn a_pending_user_sends_a_stranger_what_a_device_without_a_ledger_sends() {
    let (stranger, second) = (LinkId(70), LinkId(71));
    let (mut ada, mut old, garden) = connected(Role::Admin);
    leave(&mut old, garden);
    ada.set_role(garden, DAN, Role::Reader);
    let news: Vec<_> = ada.gate.ledger(garden).unwrap().envelopes().cloned().collect();
    let ticket = ada.ticket(garden);
    let mut new = ben();
    new.want(garden);
    let push = LedgerFrame::Push {
        ops: news,
        certificates: Vec::new(),
        revocations: Vec::new(),
        records: Vec::new(),
        last: false,
    };
    let frames = |ben: &mut Device, news: &LedgerFrame| {
        ben.step(Input::StoreTicket(ticket.clone()));
        assert_eq!(ben.views[&garden].info.state, GroupState::Pending);
        let mut effects = announces(ben, &cid(), garden, stranger);
        assert_eq!(ben.open_on(stranger), [garden], "Cid may be a member, by a newer ledger");
        for frame in [
            LedgerFrame::Summary { hash: [3; 32] },
            LedgerFrame::Pull(Pull::default()),
            LedgerFrame::WantPages { root: [4; 32] },
            LedgerFrame::WantPage { page: [5; 32] },
        ] {
            effects.extend(ben.step(Input::Ledger { link: stranger, group: garden, frame }));
        }
        announces(ben, &ada, garden, second);
        effects.extend(ben.step(Input::Ledger { link: second, group: garden, frame: news.clone() }));
        sent(&effects, stranger)
    };

    let of_old = frames(&mut old, &push);

    assert!(old.gate.ledger(garden).unwrap().roster().grant(DAN).is_some(), "it gained an op");
    let nothing = LedgerFrame::Lacking { name: [6; 32] };
    assert_eq!(of_old, frames(&mut new, &nothing));
    assert!(of_old.len() >= 6, "{of_old:?}");
}

#[test]
fn a_peer_that_a_newer_ledger_admits_gets_what_was_withheld_from_it() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    leave(&mut ben, garden);
    let mut cid = cid();
    ada.set_role(garden, cid.user, Role::Admin);
    let ticket = ada.ticket(garden);
    cid.want(garden);
    connect(&mut ada, &mut cid, 2);
    ben.step(Input::StoreTicket(ticket));
    assert_eq!(cid.role(garden, ben.user), Role::Admin, "no member knows that Ben left");

    connect(&mut ben, &mut cid, 3);

    assert_eq!(ben.role(garden, cid.user), Role::Admin);
    assert_eq!(cid.role(garden, ben.user), Role::None);
}

#[test]
fn documents_that_start_again_get_no_session_while_this_user_is_pending() {
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    leave(&mut ben, garden);
    let ticket = ada.ticket(garden);
    ben.step(Input::StoreTicket(ticket));
    let link = LinkId(70);
    announces(&mut ben, &ada, garden, link);
    let hash = ben.gate.ledger(garden).unwrap().hash();
    let effects = ben.step(Input::Ledger { link, group: garden, frame: LedgerFrame::Summary { hash } });
    assert!(!effects.iter().any(opens_session), "{effects:?}");

    let effects = ben.step(Input::GroupStarted(garden));

    assert!(!effects.iter().any(opens_session), "{effects:?}");
}

#[test]
fn documents_close_once_this_user_awaits_another_invitation() {
    let link = LinkId(70);
    let (mut ada, mut ben, garden) = connected(Role::Admin);
    let ticket = ada.ticket(garden);
    leave(&mut ben, garden);
    let mut effects = announces(&mut ben, &ada, garden, link);
    let frame = LedgerFrame::Summary { hash: ben.gate.ledger(garden).unwrap().hash() };
    effects.extend(ben.step(Input::Ledger { link, group: garden, frame }));
    assert!(effects.iter().any(opens_session), "Ada has not seen that Ben left: {effects:?}");

    let effects = ben.step(Input::StoreTicket(ticket));

    assert_eq!(ben.views[&garden].info.state, GroupState::Pending);
    let closes = |effect: &Effect| matches!(effect, Effect::CloseSession { link: on, .. } if *on == link);
    assert!(effects.iter().any(closes), "rows wait for a ledger that counts: {effects:?}");
}

#[test]
fn documents_that_start_again_get_one_session_on_each_link() {
    let (mut ada, _, garden) = connected(Role::Writer);

    let effects = ada.step(Input::GroupStarted(garden));

    assert_eq!(effects.iter().filter(|effect| opens_session(effect)).count(), 1, "{effects:?}");
}

#[test]
fn a_damaged_group_is_no_offer() {
    let (ada, mut ben, garden) = connected(Role::Writer);
    let ops: Vec<_> = ada.gate.ledger(garden).unwrap().envelopes().cloned().collect();
    ben.restart(vec![garden], BTreeSet::from([garden]));
    let link = LinkId(70);
    announces(&mut ben, &ada, garden, link);

    let presented = Presented { ops, manifests: Vec::new() };
    let effects = ben.step(Input::Present { link, group: garden, presented });

    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ListOffer(_))), "{effects:?}");
}

#[test]
fn an_inviter_is_dialled_until_no_ticket_names_it() {
    let (mut ada, mut ben) = (ada(), ben());
    let groups = ["garden", "orchard"].map(|name| ada.create(name));
    let [garden, orchard] = groups;
    for group in groups {
        ben.want(group);
        let ticket = ada.ticket_at(group, vec!["ws://ada".to_owned()]);
        let effects = ben.step(Input::StoreTicket(ticket));
        assert_eq!(remembered(&effects), ["ws://ada"]);
    }

    let effects = ben.step(Input::Intent { group: garden, is_wanted: false });
    assert!(forgotten(&effects).is_empty(), "the orchard's ticket names her too: {effects:?}");

    let moved = ada.ticket_at(orchard, vec!["ws://ada:2".to_owned()]);
    ben.step(Input::StoreTicket(moved));
    let effects = ben.step(Input::Intent { group: orchard, is_wanted: false });
    assert_eq!(forgotten(&effects), ["ws://ada", "ws://ada:2"]);
}

#[test]
fn an_evicted_ticket_ends_the_dialling_of_its_inviter() {
    let (mut ada, mut ben) = (ada(), ben());
    let garden = ada.create("garden");
    ben.want(garden);
    let mut forgot = Vec::new();
    for number in 0..9_u8 {
        let ticket = ticket(garden, number, &format!("ws://ada:{number}"));
        let effects = ben.step(Input::StoreTicket(ticket));
        forgot.extend(forgotten(&effects).into_iter().map(str::to_owned));
    }

    assert_eq!(forgot, ["ws://ada:0"], "eight tickets are stored");
}

#[test]
fn another_device_at_a_forgotten_address_is_dialled() {
    let (mut ada, mut cid, mut ben) = (ada(), cid(), ben());
    let (garden, orchard) = (ada.create("garden"), cid.create("orchard"));
    for (inviter, group) in [(&mut ada, garden), (&mut cid, orchard)] {
        ben.want(group);
        let ticket = inviter.ticket_at(group, vec!["ws://relay".to_owned()]);
        ben.step(Input::StoreTicket(ticket));
    }

    let effects = ben.step(Input::Intent { group: garden, is_wanted: false });

    assert_eq!((forgotten(&effects), remembered(&effects)), (vec!["ws://relay"], vec!["ws://relay"]));
}

#[test]
fn a_gate_that_starts_again_starts_what_is_wanted_and_stops_what_was_left_meanwhile() {
    let mut ada = ada();
    let (garden, orchard, pond) = (ada.create("garden"), ada.create("orchard"), GroupId([7; 32]));
    ada.step(Input::StoreTicket(ticket(orchard, 1, "ws://nobody")));

    let effects = ada.restart(vec![garden, pond], BTreeSet::new());

    let has = |wanted: &str| effects.iter().any(|effect| format!("{effect:?}") == wanted);
    for group in [garden, pond] {
        assert!(has(&format!("{:?}", Effect::StartGroup(group))), "{effects:?}");
    }
    for effect in [Effect::Unpublish(orchard), Effect::StopGroup(orchard)] {
        assert!(has(&format!("{effect:?}")), "{effects:?}");
    }
    assert_eq!(forgotten(&effects), ["ws://nobody"]);
    assert!(!ada.tickets.contains_key(&orchard), "its secret is deleted");
}

#[test]
fn a_ticket_that_is_spent_without_a_new_op_is_stored_without_its_seed() {
    let (mut ada, mut ben, garden) = connected(Role::Writer);
    let ticket = ada.ticket(garden);
    connect(&mut ada, &mut ben, 2);
    ben.step(Input::Addresses(vec!["ws://ben".to_owned()]));
    ben.step(Input::Intent { group: garden, is_wanted: false });
    ben.step(Input::StoreTicket(ticket));
    ben.want(garden);

    let effects = ben.step(Input::GroupStarted(garden));

    assert_eq!(ben.gate.open_tickets(garden), 0);
    let stores_tickets = |effect: &Effect| match effect {
        Effect::Store { records, .. } => {
            records.iter().any(|record| matches!(record, StoredRecord::Tickets(_)))
        }
        _ => false,
    };
    assert!(effects.iter().any(stores_tickets), "{effects:?}");
}

#[test]
fn a_device_at_fault_in_the_documents_of_a_group_loses_every_link_and_gets_no_other() {
    let (mut ada, mut ben, _) = connected(Role::Writer);
    connect(&mut ada, &mut ben, 2);
    for _ in 0..3 {
        assert!(ada.ended.is_empty());
        ada.step(Input::PeerFault(ben.device));
    }

    let links = [LINK, LinkId(2)];
    assert!(links.iter().all(|link| ada.ended.get(link) == Some(&ByeReason::Protocol)), "{:?}", ada.ended);
    assert!(ada.cells.is_empty(), "{:?}", ada.cells);
    let queued = ada.step(Input::Hello { link: LINK, hello: Hello::default() });
    assert!(queued.is_empty(), "{queued:?}");
    connect(&mut ada, &mut ben, 3);
    assert_eq!(ada.ended.get(&LinkId(3)), Some(&ByeReason::Protocol));
}

#[test]
fn a_peer_that_announces_too_much_is_handled_no_more() {
    let (mut ada, _, garden) = connected(Role::Writer);
    let groups = vec![HelloGroup { token: [1; 32], hash: [0; 32] }; 4_001];
    ada.step(Input::Hello { link: LINK, hello: Hello { groups } });
    assert_eq!(ada.ended.get(&LINK), Some(&ByeReason::Protocol));
    assert!(ada.open_on(LINK).is_empty(), "its cells are closed");

    let frame = LedgerFrame::Pull(Pull::default());
    let queued = ada.step(Input::Ledger { link: LINK, group: garden, frame });

    assert!(queued.is_empty(), "{queued:?}");
}

#[test]
fn only_an_admission_dials_known_addresses_again() {
    let (mut ada, mut ben, garden) = connected(Role::Writer);
    let mut redials = |change| {
        ada.log.clear();
        exchange(&mut ada, &mut ben, Input::Submit { group: garden, change, cut: None });
        ada.log.iter().any(|effect| matches!(effect, Effect::RedialKnown))
    };

    assert!(redials(admit(DAN, Role::Reader)));
    assert!(!redials(set_role(DAN, Role::Writer)));
}
