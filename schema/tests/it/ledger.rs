//! A ledger of signed ops: order does not matter, invalid ops are refused, equal ops give equal rosters.

use std::collections::{BTreeMap, BTreeSet};

use peerbase_schema::id::hash;
use peerbase_schema::key::Signature;
use peerbase_schema::ledger::{
    Body, By, CertificateOutcome, Cut, Invalid, InviteProof, Ledger, MERGE, ManifestRef, NAME, NotAccepted,
    Op, OpOutcome, OpStatus, Refusal, RevocationOutcome, Role, Roster, SideRefusal,
};
use peerbase_schema::limits::DEVICE_REVOCATIONS_MAX;
use peerbase_schema::signed::{Envelope, Record, Signed};
use peerbase_schema::tip::Author;
use peerbase_schema::wire::device::{DeviceCert, UserDeviceRevocation};
use peerbase_schema::{ChangeHash, GroupId, OpId, UserId};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::world::{CUT, World, certificate, device, key, set_role, user};

impl World {
    fn clause(&mut self, author: &str, body: Body, parents: &[&str]) -> u8 {
        match self.ledger.admit(self.signed(author, body, parents)) {
            Err(Refusal::Invalid { why, .. }) => why.clause(),
            other => panic!("{other:?}"),
        }
    }

    /// Admits an op that `author` drafts and signs with a device.
    fn by_device(&mut self, author: &str, device: &str, body: Body) -> Result<OpOutcome, Refusal> {
        let draft = self.ledger.draft(user(author), By::Device(certificate(author, device)), body)?;
        self.ledger.admit(Signed::sign(draft, &key(device)).envelope().clone())
    }
}

fn revoke(target: &str, phone: &str, cut: Option<ManifestRef>) -> Body {
    Body::RevokeDevice { user: user(target), device: device(phone), cut }
}

fn user_revocation(user_name: &str, phone: &str) -> Envelope {
    let record = UserDeviceRevocation { version: 1, user: user(user_name), device: device(phone) };
    Signed::sign(record, &key(user_name)).envelope().clone()
}

fn removal(target: &str, cut: Option<ManifestRef>) -> Body {
    Body::SetRole { user: user(target), role: Role::None, cut, via: None }
}

fn meta(key: &str, value: &str) -> Body {
    Body::SetMeta { key: key.into(), value: value.into() }
}

/// Ada founds; ben is an Admin with a phone, cid and dan write.
fn garden() -> World {
    let mut world =
        World::with(&["ada"], &[("ben", Role::Admin), ("cid", Role::Writer), ("dan", Role::Writer)]);
    world.by_device("ben", "ben's phone", meta("motto", "grow")).unwrap();
    world.names.insert("base", world.ledger.heads()[0]);
    world
}

#[test]
fn a_personal_group_follows_from_the_user_key() {
    let (laptop, create) = Ledger::personal(&key("ada"));
    let (phone, _) = Ledger::personal(&key("ada"));
    let (other, _) = Ledger::personal(&key("ben"));

    assert_eq!(laptop.group(), Ledger::personal_id(user("ada")));
    assert_eq!(laptop.group(), phone.group());
    assert_eq!(laptop.hash(), phone.hash());
    assert_ne!(laptop.group(), other.group());
    assert_eq!(laptop.group(), GroupId(create.id()));
    assert_eq!(laptop.roster().role(user("ada")), Role::Founder);
    assert_eq!(laptop.roster().name(), "");
}

#[test]
fn a_joiner_who_knows_the_group_id_learns_the_rest_from_ops() {
    let garden = garden();
    let mut joiner = Ledger::new(garden.ledger.group());
    assert_eq!(joiner.roster().members().count(), 0);
    let envelopes: Vec<Envelope> = garden.ledger.envelopes().cloned().collect();

    for envelope in envelopes.iter().skip(1).rev() {
        let early = joiner.admit(envelope.clone());
        assert!(
            matches!(early, Err(Refusal::MissingParents { ref missing, .. }) if missing.len() == 1),
            "{early:?}"
        );
    }
    for envelope in envelopes {
        joiner.admit(envelope).unwrap();
    }

    assert_eq!(joiner.hash(), garden.ledger.hash());
    assert_eq!(joiner.roster().state_digest(), garden.ledger.roster().state_digest());
    assert_eq!(joiner.roster().name(), "garden");
    assert!(joiner.roster().is_certified(user("ben"), device("ben's phone")));
}

#[test]
fn a_ledger_and_its_roster_are_send_and_sync() {
    fn holds<T: Send + Sync + 'static>() {}
    holds::<Ledger>();
    holds::<peerbase_schema::ledger::Roster>();
}

#[test]
fn the_create_of_another_group_is_refused() {
    let other = World::founded(&["ben"]);
    let mut joiner = Ledger::new(garden().ledger.group());
    let create = other.ledger.envelopes().next().unwrap().clone();
    let refused = joiner.admit(create);
    assert!(matches!(refused, Err(Refusal::Invalid { why: Invalid::Group { .. }, .. })), "{refused:?}");
    assert!(joiner.is_empty());
}

#[test]
fn the_ops_beyond_another_ledgers_landmarks_complete_it() {
    let garden = garden();
    let mut behind = Ledger::new(garden.ledger.group());
    for envelope in garden.ledger.envelopes().take(2) {
        behind.admit(envelope.clone()).unwrap();
    }

    let lacking = |behind: &Ledger| -> Vec<Envelope> {
        let lacking = garden.ledger.ops_beyond(&behind.landmarks(), 0);
        lacking.map(|(_, envelope)| envelope.clone()).collect()
    };
    let missing = lacking(&behind);

    assert_eq!(missing.len(), garden.ledger.len() - 2);
    for envelope in missing {
        assert!(matches!(behind.admit(envelope), Ok(OpOutcome::New(_))));
    }
    assert_eq!(behind.heads(), garden.ledger.heads());
    assert!(lacking(&behind).is_empty());
}

#[test]
fn an_op_with_a_bad_signature_does_not_block_the_good_one() {
    let mut garden = garden();
    let good = garden.signed("ada", set_role("eve", Role::Reader), &["base"]);
    let mut bad = good.clone();
    bad.signature.0[7] ^= 1;

    assert!(matches!(garden.ledger.admit(bad), Err(Refusal::Invalid { why: Invalid::Envelope(_), .. })));
    assert!(matches!(garden.ledger.admit(good.clone()), Ok(OpOutcome::New(_))));
    assert_eq!(garden.ledger.admit(good), Ok(OpOutcome::Known));
}

#[test]
fn clause_1_requires_a_well_formed_op_by_a_device_that_is_not_revoked() {
    let mut garden = garden();
    let body = || meta("motto", "x");
    assert_eq!(garden.clause("ada", body(), &["G", "base"]), 1);
    assert_eq!(garden.clause("ada", meta(&"k".repeat(65), ""), &["base"]), 1);
    assert_eq!(garden.clause("ada", meta("k", &"v".repeat(4097)), &["base"]), 1);

    let draft = garden.ledger.draft(user("ben"), By::User, body()).unwrap();
    let stolen = Op { by: By::Device(certificate("cid", "ben's phone")), ..draft.clone() };
    let foreign = Op { group: GroupId([1; 32]), ..draft.clone() };
    let repeated = Op { parents: [draft.parents.clone(), draft.parents.clone()].concat(), ..draft.clone() };
    let orphan = Op { parents: Vec::new(), ..draft.clone() };
    for (odd, signer) in [(stolen, "ben's phone"), (foreign, "ben"), (repeated, "ben"), (orphan, "ben")] {
        let refused = garden.ledger.admit(Signed::sign(odd, &key(signer)).envelope().clone());
        assert!(matches!(&refused, Err(Refusal::Invalid { why, .. }) if why.clause() == 1), "{refused:?}");
    }

    garden.admit_now("revoke", "ben", revoke("ben", "ben's phone", None)).unwrap();
    let refused = garden.by_device("ben", "ben's phone", body());
    assert!(matches!(refused, Err(Refusal::Invalid { why: Invalid::DeviceRevoked, .. })), "{refused:?}");
    assert!(matches!(garden.by_device("ben", "ben's laptop", body()), Ok(OpOutcome::New(_))));
}

#[test]
fn clause_2_requires_an_admin_for_every_op() {
    let mut garden = garden();
    assert_eq!(garden.clause("cid", set_role("eve", Role::Reader), &["base"]), 2);
    assert_eq!(garden.clause("eve", meta(NAME, "mine"), &["base"]), 2);
    assert_eq!(garden.clause("eve", revoke("eve", "phone", None), &["base"]), 2);
    assert_eq!(garden.clause("cid", revoke("cid", "cid's phone", None), &["base"]), 2);
    assert_eq!(garden.clause("cid", revoke("cid", "cid's phone", Some(CUT)), &["base"]), 2);
}

#[test]
fn clause_3_lets_nobody_act_above_themselves() {
    let mut garden = garden();
    assert_eq!(garden.clause("ben", set_role("eve", Role::Owner), &["base"]), 3);
    assert_eq!(garden.clause("ben", removal("ada", Some(CUT)), &["base"]), 3);
    assert_eq!(garden.clause("ben", set_role("ben", Role::Owner), &["base"]), 3);
    assert_eq!(garden.clause("ben", set_role("ben", Role::Admin), &["base"]), 3);
    assert_eq!(garden.clause("ben", set_role("cid", Role::Writer), &["base"]), 3);
}

#[test]
fn clause_3_requires_a_cut_exactly_where_writing_ends() {
    let mut garden = garden();
    assert_eq!(garden.clause("ben", removal("cid", None), &["base"]), 3);
    let reader = |cut| Body::SetRole { user: user("eve"), role: Role::Reader, cut, via: None };
    assert_eq!(garden.clause("ben", reader(Some(CUT)), &["base"]), 3);
    garden.admit_on("removal", "ben", removal("cid", Some(CUT)), &["base"]).unwrap();
    garden.admit_on("reader", "ben", reader(None), &["base"]).unwrap();
}

#[test]
fn clause_4_requires_a_cut_for_the_device_of_another_user() {
    let mut garden = garden();
    assert_eq!(garden.clause("ben", revoke("cid", "cid's phone", None), &["base"]), 4);
    let by_itself = garden.by_device("ben", "ben's phone", revoke("ben", "ben's phone", None));
    assert!(matches!(by_itself, Err(Refusal::Invalid { why: Invalid::OwnDevice, .. })), "{by_itself:?}");
    garden.admit_on("answer", "ben", revoke("cid", "cid's phone", Some(CUT)), &["base"]).unwrap();
    garden.admit_on("own", "ben", revoke("ben", "ben's phone", Some(CUT)), &["base"]).unwrap();
}

#[test]
fn clause_5_requires_the_rank_of_the_revocation_for_an_amnesty() {
    let mut garden = garden();
    garden.admit_now("removal", "ada", removal("cid", Some(CUT))).unwrap();
    let manifest = ManifestRef { root: [8; 32], entries: 4 };
    let amnesty = |revocation| Body::Amnesty { revocation, manifest };
    let removal = garden.names["removal"];
    assert_eq!(garden.clause("ben", amnesty(removal), &["removal"]), 5);
    assert_eq!(garden.clause("ada", amnesty(removal), &["base"]), 5);
    assert_eq!(garden.clause("ada", amnesty(garden.names["base"]), &["removal"]), 5);

    let before = garden.ledger.roster().state_digest();
    garden.admit_now("amnesty", "ada", amnesty(removal)).unwrap();

    let roster = garden.ledger.roster();
    let cuts: Vec<_> = roster.cuts(user("cid"), device("cid's phone"), garden.names["G"]).collect();
    assert_eq!(cuts.len(), 1);
    assert_eq!((cuts[0].revocation, cuts[0].manifest), (removal, Some(CUT)));
    assert_eq!(cuts[0].amnesties, [(garden.names["amnesty"], manifest)]);
    assert_ne!(roster.state_digest(), before);
}

#[test]
fn clause_5_admits_as_many_users_as_the_invitation_has_uses() {
    let mut garden = garden();
    let open =
        |max_role, uses| Body::OpenInvite { key: key("secret").public(), max_role, uses, hint_expiry: 0 };
    assert_eq!(garden.clause("ben", open(Role::Admin, 1), &["base"]), 5);
    let invite = garden.admit_now("invite", "ben", open(Role::Writer, 1)).unwrap();
    let group = garden.ledger.group();
    let redeem = |joiner: &str, secret: &str, role| {
        let proof = InviteProof::sign(&key(secret), group, invite, user(joiner), device("phone"));
        Body::SetRole { user: user(joiner), role, cut: None, via: Some(proof) }
    };

    assert_eq!(garden.clause("ben", redeem("eve", "guess", Role::Writer), &["invite"]), 5);
    assert_eq!(garden.clause("ben", redeem("eve", "secret", Role::Admin), &["invite"]), 5);
    assert_eq!(garden.clause("ben", redeem("eve", "secret", Role::Writer), &["base"]), 5);
    let Body::SetRole { via, .. } = redeem("eve", "secret", Role::Writer) else { unreachable!() };
    let captured = Body::SetRole { user: user("mallory"), role: Role::Writer, cut: None, via };
    assert_eq!(garden.clause("ben", captured, &["invite"]), 5);
    garden.admit_now("eve", "ben", redeem("eve", "secret", Role::Writer)).unwrap();
    assert_eq!(garden.clause("ben", redeem("fay", "secret", Role::Writer), &["eve"]), 5);

    // Two Admins who had not seen each other's ops: both joiners are members.
    garden.admit_on("gil", "ada", redeem("gil", "secret", Role::Writer), &["invite"]).unwrap();
    assert_eq!([garden.role("eve"), garden.role("gil")], [Role::Writer; 2]);
}

#[test]
fn clause_5_refuses_a_closed_invitation_where_the_closing_is_in_the_past() {
    let mut garden = garden();
    let open =
        Body::OpenInvite { key: key("secret").public(), max_role: Role::Reader, uses: 9, hint_expiry: 0 };
    let invite = garden.admit_now("invite", "ben", open).unwrap();
    assert_eq!(garden.clause("ben", Body::CloseInvite { invite: garden.names["base"] }, &["invite"]), 5);
    garden.admit_now("close", "ada", Body::CloseInvite { invite }).unwrap();
    let proof =
        InviteProof::sign(&key("secret"), garden.ledger.group(), invite, user("eve"), device("phone"));
    let eve = Body::SetRole { user: user("eve"), role: Role::Reader, cut: None, via: Some(proof) };
    assert_eq!(garden.clause("ben", eve.clone(), &["close"]), 5);
    garden.admit_on("unaware", "ben", eve, &["invite"]).unwrap();
    assert_eq!(garden.role("eve"), Role::Reader);
}

#[test]
fn a_lowered_founder_who_certifies_anothers_device_does_not_become_its_author() {
    let mut world = World::founded(&["ada", "ben"]);
    world.ledger.admit_certificate(certificate("ada", "ada's phone")).unwrap();
    world.ledger.admit_certificate(certificate("ben", "ben's phone")).unwrap();
    let (create, phone) = (world.names["G"], device("ben's phone"));
    world.admit_now("steps down", "ada", set_role("ada", Role::Writer)).unwrap();

    world.ledger.admit_certificate(certificate("ada", "ben's phone")).unwrap();
    world.admit_now("out", "ben", removal("ada", Some(CUT))).unwrap();

    let roster = world.ledger.roster();
    assert_eq!(roster.accepts(phone, create), Ok(user("ben")));
    assert_eq!(roster.user_of(phone, create), Some(user("ben")));
    let author = Author { device: phone, grant: create, incarnation: 1 };
    let bounds = roster.bounds(&author, |_| Ok::<_, ()>(None)).unwrap();
    assert_eq!(bounds, Ok(Vec::new()), "no cut of hers bounds it");
    // Her own device's changes under the Create stay hers.
    assert_eq!(roster.user_of(device("ada's phone"), create), Some(user("ada")));
    assert_eq!(roster.user_of(phone, OpId([1; 32])), None, "no user, for an unknown grant");
}

#[test]
fn changes_are_accepted_under_a_living_grant_of_the_devices_own_user() {
    let mut garden = garden();
    garden.admit_now("eve", "ada", set_role("eve", Role::Reader)).unwrap();
    garden.admit_now("fay", "ben", set_role("fay", Role::Writer)).unwrap();
    garden.ledger.admit_certificate(certificate("fay", "fay's phone")).unwrap();
    garden.ledger.admit_certificate(certificate("eve", "eve's phone")).unwrap();
    garden.ledger.admit_certificate(certificate("ada", "ada's phone")).unwrap();
    let [create, eve, fay] = ["G", "eve", "fay"].map(|name| garden.names[name]);
    let (phone, ghost) = (device("fay's phone"), OpId([1; 32]));

    let roster = garden.ledger.roster();
    assert_eq!(roster.accepts(phone, fay), Ok(user("fay")));
    assert_eq!(roster.accepts(device("ada's phone"), create), Ok(user("ada")));
    assert_eq!(
        roster.accepts(device("eve's phone"), fay),
        Err(NotAccepted::NotCertified { device: device("eve's phone"), grant: fay })
    );
    let reader = NotAccepted::NotAWriter { grant: eve, role: Role::Reader };
    assert_eq!(roster.accepts(device("eve's phone"), eve), Err(reader));
    assert_eq!(
        roster.accepts(phone, create),
        Err(NotAccepted::NotCertified { device: phone, grant: create })
    );
    assert_eq!(roster.accepts(phone, ghost), Err(NotAccepted::UnknownGrant { grant: ghost }));

    garden.admit_on("unaware of fay", "ada", removal("ben", Some(CUT)), &["eve"]).unwrap();
    let roster = garden.ledger.roster();
    assert_eq!(roster.accepts(phone, fay), Err(NotAccepted::VoidGrant { grant: fay }));
    assert!(!roster.may_read(user("fay"), phone));
}

#[test]
fn older_cuts_bound_the_old_grant_and_not_a_new_one() {
    let mut garden = garden();
    let phone = device("cid's phone");
    let first = garden.ledger.roster().grant(user("cid")).unwrap();
    garden.admit_now("removal", "ben", removal("cid", Some(CUT))).unwrap();
    garden.admit_now("again", "ben", set_role("cid", Role::Writer)).unwrap();

    let roster = garden.ledger.roster();
    let cuts = |grant| roster.cuts(user("cid"), phone, grant).map(|cut| cut.revocation).collect::<Vec<_>>();
    assert_eq!(cuts(first), [garden.names["removal"]]);
    assert_eq!(cuts(garden.names["again"]), []);
}

#[test]
fn a_superseded_cut_bounds_nothing() {
    let mut garden = garden();
    garden.admit_on("promoted", "ada", set_role("cid", Role::Owner), &["base"]).unwrap();
    garden.admit_on("removed", "ben", removal("cid", Some(CUT)), &["base"]).unwrap();
    let roster = garden.ledger.roster();
    let grant = roster.grant(user("cid")).unwrap();
    assert_eq!(roster.cuts(user("cid"), device("cid's phone"), grant).count(), 0);
}

#[test]
fn the_cuts_of_two_removers_of_one_rank_both_hold() {
    let mut world =
        World::with(&["ada"], &[("ben", Role::Admin), ("cid", Role::Admin), ("dan", Role::Writer)]);
    let grant = world.ledger.roster().grant(user("dan")).unwrap();
    world.admit_on("ben's", "ben", removal("dan", Some(CUT)), &["base"]).unwrap();
    world.admit_on("cid's", "cid", removal("dan", Some(CUT)), &["base"]).unwrap();
    let cuts = |world: &World| -> BTreeSet<OpId> {
        let roster = world.ledger.roster().clone();
        roster.cuts(user("dan"), device("phone"), grant).map(|cut| cut.revocation).collect()
    };
    assert_eq!(cuts(&world), BTreeSet::from([world.names["ben's"], world.names["cid's"]]));

    // An op of a higher role supersedes them.
    world.admit_on("ada's", "ada", removal("dan", Some(CUT)), &["base"]).unwrap();
    assert_eq!(cuts(&world), BTreeSet::from([world.names["ada's"]]));
}

/// The bounds of dan's phone under a grant, by revocation: [`CUT`] leaves seven changes, [`AMNESTY`] nine.
fn bounds(world: &World, grant: OpId) -> BTreeMap<OpId, Option<(u64, ChangeHash)>> {
    let author = Author { device: device("phone"), grant, incarnation: 1 };
    let end = |manifest: &ManifestRef| {
        let seq =
            [(CUT, 7), (AMNESTY, 9)].into_iter().find(|(known, _)| known == manifest).map(|(_, seq)| seq);
        Ok::<_, ()>(seq.map(|seq| (seq, ChangeHash([7; 32]))))
    };
    let bounds = world.ledger.roster().bounds(&author, end).unwrap().unwrap();
    bounds.into_iter().map(|bound| (bound.revocation, bound.end)).collect()
}

const AMNESTY: ManifestRef = ManifestRef { root: [8; 32], entries: 4 };

#[test]
fn an_amnesty_also_holds_for_the_next_lowering() {
    let mut world = World::with(&["ada"], &[("dan", Role::Writer)]);
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.admit_now("lowered", "ada", reader).unwrap();
    world.admit_now("removed", "ada", removal("dan", None)).unwrap();
    world.admit_now("once more", "ada", set_role("dan", Role::Reader)).unwrap();
    let names = ["lowered", "removed", "once more"].map(|name| world.names[name]);
    let all_at = |seq| names.map(|name| (name, Some((seq, ChangeHash([7; 32]))))).into_iter().collect();
    assert_eq!(bounds(&world, old), all_at(7));

    let amnesty = Body::Amnesty { revocation: world.names["lowered"], manifest: AMNESTY };
    world.admit_now("amnesty", "ada", amnesty).unwrap();

    assert_eq!(bounds(&world, old), all_at(9));
}

/// A lowering of a user who may not write any more has no manifest. Under grants that its author had not seen
/// nothing stays; under the others it inherits the cuts that its author had seen.
#[test]
fn a_second_lowering_leaves_the_changes_that_the_first_left() {
    let mut world = World::with(&["ada"], &[("ben", Role::Admin), ("dan", Role::Writer)]);
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.admit_now("lowered", "ada", reader).unwrap();
    world.admit_now("removed", "ada", removal("dan", None)).unwrap();

    let end = Some((7, ChangeHash([7; 32])));
    let [lowered, removed] = ["lowered", "removed"].map(|name| world.names[name]);
    assert_eq!(bounds(&world, old), BTreeMap::from([(lowered, end), (removed, end)]));

    // Ben had not seen the removal when he made dan a Writer again.
    let writer = Body::SetRole { user: user("dan"), role: Role::Writer, cut: None, via: None };
    world.admit_on("again", "ben", writer, &["lowered"]).unwrap();
    assert_eq!(bounds(&world, world.names["again"]), BTreeMap::from([(removed, None)]));
    assert_eq!(bounds(&world, old), BTreeMap::from([(lowered, end), (removed, end)]));
}

/// Ben's lowering, which leaves nothing, was superseded by ada's before she removed dan. So no later removal
/// inherits its cut.
#[test]
fn a_second_lowering_takes_nothing_by_a_lowering_that_never_counted() {
    const NOTHING: ManifestRef = ManifestRef { root: [1; 32], entries: 0 };
    let reader = |cut| Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(cut), via: None };
    let mut world = World::with(&["ada"], &[("ben", Role::Admin), ("dan", Role::Writer)]);
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    world.admit_on("superseded", "ben", reader(NOTHING), &["base"]).unwrap();
    world.admit_on("lowered", "ada", reader(CUT), &["base"]).unwrap();
    assert_eq!(world.status("superseded"), OpStatus::Superseded);
    world.admit_on("removed", "ada", removal("dan", None), &["superseded", "lowered"]).unwrap();
    world.admit_now("as a reader", "ben", set_role("dan", Role::Reader)).unwrap();
    world.admit_now("again", "ada", removal("dan", None)).unwrap();

    let end = Some((7, ChangeHash([7; 32])));
    let names = ["lowered", "removed", "as a reader", "again"];
    let expected: BTreeMap<_, _> = names.into_iter().map(|name| (world.names[name], end)).collect();
    let bounds = |ledger: &Ledger| {
        let author = Author { device: device("phone"), grant: old, incarnation: 1 };
        let end =
            |manifest: &ManifestRef| Ok::<_, ()>((*manifest == CUT).then_some((7, ChangeHash([7; 32]))));
        let bounds = ledger.roster().bounds(&author, end).unwrap().unwrap();
        bounds.into_iter().map(|bound| (bound.revocation, bound.end)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(bounds(&world.ledger), expected);

    // The same on another device that receives the ops in another order.
    let mut envelopes: Vec<Envelope> = world.ledger.envelopes().cloned().collect();
    let superseded = envelopes.iter().position(|envelope| {
        envelope.payload == world.ledger.op(world.names["superseded"]).unwrap().envelope().payload
    });
    envelopes.swap(superseded.unwrap(), superseded.unwrap() + 1);
    let mut other = Ledger::new(world.ledger.group());
    for envelope in envelopes {
        other.admit_with(envelope, |_| true).unwrap();
        let _ = other.roster();
    }
    other.admit_certificate(certificate("dan", "phone")).unwrap();
    assert_eq!(bounds(&other), expected);
    assert_eq!(other.roster().state_digest(), world.ledger.roster().state_digest());
}

#[test]
fn a_user_who_certifies_and_revokes_anothers_device_has_no_effect_on_it() {
    let mut garden = garden();
    garden.ledger.admit_certificate(certificate("cid", "ben's phone")).unwrap();
    let roster = garden.ledger.roster();
    assert!(roster.is_certified(user("cid"), device("ben's phone")));

    garden.admit_now("revoke", "ben", revoke("cid", "ben's phone", Some(CUT))).unwrap();
    assert!(!garden.ledger.roster().is_device_revoked(user("ben"), device("ben's phone")));
    garden.by_device("ben", "ben's phone", meta("motto", "still here")).unwrap();
}

#[test]
fn a_device_that_its_user_revoked_may_neither_read_nor_write() {
    let mut garden = garden();
    let phone = device("ben's phone");
    assert!(garden.ledger.roster().may_write(user("ben"), phone));

    let new = RevocationOutcome::New { evicted: None };
    assert_eq!(garden.ledger.admit_revocation(user_revocation("ben", "ben's phone")), Ok(new));
    let known = RevocationOutcome::Known;
    assert_eq!(garden.ledger.admit_revocation(user_revocation("ben", "ben's phone")), Ok(known));

    let roster = garden.ledger.roster();
    assert!(!roster.may_read(user("ben"), phone) && !roster.may_write(user("ben"), phone));
    assert!(roster.may_read(user("ben"), device("ben's laptop")));
    assert_eq!(roster.devices(user("ben")).count(), 0);
}

#[test]
fn a_device_revocation_that_does_not_fit_is_evicted_and_named() {
    let mut garden = garden();
    let id = |envelope: &Envelope| hash(UserDeviceRevocation::KIND, &[&envelope.payload]);
    let mut flood: Vec<_> = (0..400).map(|number| user_revocation("cid", &number.to_string())).collect();
    flood.sort_by_key(|envelope| std::cmp::Reverse(id(envelope)));
    let mut other = garden.ledger.clone();
    let mut stored = BTreeSet::new();

    for envelope in &flood {
        let RevocationOutcome::New { evicted } = garden.ledger.admit_revocation(envelope.clone()).unwrap()
        else {
            panic!("each has a smaller id than all before")
        };
        stored.insert(envelope.payload.clone());
        evicted.iter().for_each(|evicted| assert!(stored.remove(&evicted.payload)));
    }
    for envelope in flood.iter().rev() {
        other.admit_revocation(envelope.clone()).unwrap();
    }

    let held = |ledger: &Ledger| ledger.revocations().map(|known| known.payload.clone()).collect();
    assert_eq!(stored.len(), DEVICE_REVOCATIONS_MAX);
    assert_eq!((&stored, &stored), (&held(&garden.ledger), &held(&other)));
    assert_eq!(garden.ledger.hash(), other.hash());
    let revoked = |ledger: &Ledger| ledger.roster().revoked_by_user(user("cid")).collect::<BTreeSet<_>>();
    assert_eq!(revoked(&garden.ledger), revoked(&other));
}

#[test]
fn certificates_of_known_users_are_held_up_to_a_bound() {
    let mut garden = garden();
    let stranger = SideRefusal::Stranger { user: user("eve") };
    assert_eq!(garden.ledger.admit_certificate(certificate("eve", "phone")), Err(stranger));
    assert_eq!(
        garden.ledger.admit_certificate(certificate("ben", "ben's phone")),
        Ok(CertificateOutcome::Known),
        "an op carries it"
    );

    let mut other = garden.ledger.clone();
    let names: Vec<String> = (0..70).map(|n| format!("cid's {n}")).collect();
    for (name, reverse) in names.iter().zip(names.iter().rev()) {
        garden.ledger.admit_certificate(certificate("cid", name)).unwrap();
        other.admit_certificate(certificate("cid", reverse)).unwrap();
    }

    assert_eq!(garden.ledger.certificates().count(), 64);
    assert_eq!(garden.ledger.hash(), other.hash());
    assert_eq!(garden.ledger.roster().devices(user("cid")).count(), 70, "six are remembered");
}

/// Certificates of cid for more devices than a ledger holds, all with smaller ids than that of the phone.
fn certificates_before_the_phone() -> (Envelope, Vec<Envelope>) {
    let id = |envelope: &Envelope| hash(DeviceCert::KIND, &[&envelope.payload]);
    let phone = certificate("cid", "phone");
    let many = (0..1_000).map(|number| certificate("cid", &format!("cid's {number}")));
    let before: Vec<_> = many.filter(|other| id(other) < id(&phone)).take(130).collect();
    assert_eq!(before.len(), 130);
    (phone, before)
}

#[test]
fn the_certificate_of_a_device_that_wrote_is_never_evicted() {
    let mut garden = garden();
    let grant = garden.ledger.roster().grant(user("cid")).unwrap();
    let (phone, before) = certificates_before_the_phone();
    let accepts = |ledger: &Ledger| ledger.roster().accepts(device("phone"), grant).is_ok();
    let mut other = garden.ledger.clone();

    // The phone wrote an accepted change on one device, and none on the other.
    garden.ledger.admit_certificate(phone.clone()).unwrap();
    other.admit_certificate(phone.clone()).unwrap();
    assert!(garden.ledger.pin_certificates(device("phone")).is_empty(), "it is in the bounded set");
    for envelope in &before {
        garden.ledger.admit_certificate(envelope.clone()).unwrap();
        other.admit_certificate(envelope.clone()).unwrap();
        assert!(accepts(&garden.ledger));
    }
    assert!(!accepts(&other), "it is not pinned");
    assert!(garden.ledger.certificates().all(|kept| *kept != phone));
    assert_eq!(garden.ledger.hash(), other.hash());
    assert_eq!(garden.ledger.pinned_certificates().collect::<Vec<_>>(), [&phone]);
    let known = garden.ledger.certified().filter(|known| known.user == user("cid")).count();
    assert_eq!(known, 64 + 1 + 64, "no more than these are remembered");

    // A device that receives the certificate later accepts such a change, and keeps it from then on.
    assert_eq!(other.admit_certificate(phone.clone()), Ok(CertificateOutcome::Surplus));
    assert!(accepts(&other));
    assert_eq!(other.pin_certificates(device("phone")), std::slice::from_ref(&phone));
    assert_eq!(other.admit_certificate(phone), Ok(CertificateOutcome::Known));
    for number in 0..200 {
        other.admit_certificate(certificate("cid", &format!("late {number}"))).unwrap();
        garden.ledger.admit_certificate(certificate("cid", &format!("late {number}"))).unwrap();
    }
    assert!(accepts(&other) && accepts(&garden.ledger));
    assert_eq!(garden.ledger.hash(), other.hash());
}

#[test]
fn a_record_that_changes_nothing_costs_no_signature_check() {
    let mut garden = garden();
    let (phone, before) = certificates_before_the_phone();
    let forged = |envelope: &Envelope| Envelope { signature: Signature([7; 64]), ..envelope.clone() };
    let new = garden.ledger.admit_certificate(forged(&phone));
    assert!(matches!(new, Err(SideRefusal::Envelope(_))), "{new:?}");
    for envelope in before.iter().chain([&phone]) {
        garden.ledger.admit_certificate(envelope.clone()).unwrap();
    }
    let kept = garden.ledger.certificates().cloned();
    for known in kept.chain([phone, certificate("ben", "ben's phone")]).collect::<Vec<_>>() {
        assert_eq!(garden.ledger.admit_certificate(forged(&known)), Ok(CertificateOutcome::Known));
    }

    let revocations: Vec<_> =
        (0..300).map(|number| user_revocation("cid", &format!("phone {number}"))).collect();
    for envelope in &revocations {
        garden.ledger.admit_revocation(envelope.clone()).unwrap();
    }
    for envelope in &revocations {
        assert_eq!(garden.ledger.admit_revocation(forged(envelope)), Ok(RevocationOutcome::Known));
    }
    let new = garden.ledger.admit_revocation(forged(&user_revocation("ben", "ben's phone")));
    assert!(matches!(new, Err(SideRefusal::Envelope(_))), "{new:?}");
}

#[test]
fn the_strongest_set_meta_names_the_group() {
    let mut garden = garden();
    garden.admit_now("name", "ben", meta(NAME, "orchard")).unwrap();
    assert_eq!(garden.ledger.roster().name(), "orchard");
    garden.admit_on("ada's", "ada", meta(NAME, "meadow"), &["base"]).unwrap();
    assert_eq!(garden.ledger.roster().name(), "meadow");
    garden.admit_now("later", "ben", meta(NAME, "forest")).unwrap();
    assert_eq!(garden.ledger.roster().name(), "forest");
    garden.admit_now("too long", "ben", meta(NAME, &"x".repeat(257))).unwrap();
    assert_eq!(garden.ledger.roster().name(), "garden");
    assert_eq!(garden.ledger.meta("motto"), Some(&b"grow"[..]));
}

#[test]
fn a_draft_that_other_devices_would_refuse_is_refused() {
    let garden = garden();
    let refused = |author: &str, body| garden.ledger.draft(user(author), By::User, body).unwrap_err();
    let clause = |refusal| match refusal {
        Refusal::Invalid { why, .. } => why.clause(),
        other => panic!("{other:?}"),
    };
    assert_eq!(clause(refused("ada", meta(&"k".repeat(65), ""))), 1);
    assert_eq!(clause(refused("cid", meta("k", ""))), 2);
    assert_eq!(clause(refused("ben", removal("ada", Some(CUT)))), 3);
    assert_eq!(clause(refused("ben", revoke("cid", "phone", None))), 4);
    assert_eq!(clause(refused("ben", Body::CloseInvite { invite: OpId([1; 32]) })), 5);
    let empty = Ledger::new(GroupId([3; 32]));
    assert_eq!(clause(empty.draft(user("ada"), By::User, meta("k", "")).unwrap_err()), 1);
}

#[test]
fn a_draft_builds_on_living_ops_alone() {
    let mut garden = garden();
    garden.admit_on("removal", "ada", removal("ben", Some(CUT)), &["base"]).unwrap();
    garden.admit_on("void", "ben", set_role("eve", Role::Reader), &["base"]).unwrap();

    let draft = garden.ledger.draft(user("ada"), By::User, meta("k", "")).unwrap();

    assert_eq!(draft.parents, [garden.names["removal"]]);
    assert_eq!(garden.ledger.heads().len(), 2);
}

#[test]
fn more_heads_than_parents_are_joined_by_merging_ops() {
    let mut garden = garden();
    let aside: Vec<Envelope> =
        (0..300).map(|n| garden.signed("ada", meta("k", &n.to_string()), &["base"])).collect();
    for envelope in aside {
        garden.ledger.admit(envelope).unwrap();
    }

    let refused = garden.ledger.draft(user("ada"), By::User, meta("k", "v"));
    assert_eq!(refused, Err(Refusal::TooManyHeads { got: 300, max: 256 }));

    garden.admit_now("merge", "ada", meta(MERGE, "")).unwrap();
    garden.admit_now("then", "ada", meta("k", "v")).unwrap();
    assert_eq!(garden.ledger.heads().len(), 1);
}

/// An Admin revokes many unknown devices of her own, each on top of her grant.
fn flooded_garden(heads: usize) -> World {
    let members = [("eve", Role::Admin), ("cid", Role::Reader), ("ben", Role::Admin)];
    let mut garden = World::with(&["ada"], &members);
    garden.names.insert("eve", garden.ledger.roster().grant(user("eve")).unwrap());
    let flood: Vec<Envelope> = (0..heads)
        .map(|n| garden.signed("eve", revoke("eve", &format!("phone {n}"), None), &["eve"]))
        .collect();
    for envelope in flood {
        garden.ledger.admit(envelope).unwrap();
    }
    garden
}

#[test]
fn an_admin_merges_a_flood_of_heads_and_goes_on() {
    let mut garden = flooded_garden(600);
    let none = BTreeSet::new();
    let merges = |garden: &World, name: &str| {
        garden.ledger.merges(&none, user(name), &By::User, &key(name)).map(|merges| merges.len())
    };
    assert!(matches!(
        garden.ledger.draft(user("ben"), By::User, set_role("cid", Role::Writer)),
        Err(Refusal::TooManyHeads { got: 601, max: 256 })
    ));
    assert!(matches!(
        merges(&garden, "cid"),
        Err(Refusal::Invalid { why: Invalid::Rank { rank: Role::Reader }, .. })
    ));

    // None of her ops has ben's grant in its past, and his merging ops still rest on it.
    for merge in garden.ledger.merges(&none, user("ben"), &By::User, &key("ben")).unwrap() {
        garden.ledger.admit(merge.envelope().clone()).unwrap();
    }
    garden.admit_now("removal", "ben", removal("eve", Some(CUT))).unwrap();
    assert_eq!((garden.role("eve"), garden.ledger.heads().len()), (Role::None, 1));
    assert_eq!(merges(&garden, "ben"), Ok(0));
}

/// A ledger with void ops, branches, devices, invitations and amnesties.
fn eventful() -> World {
    let mut world = garden();
    let open =
        Body::OpenInvite { key: key("secret").public(), max_role: Role::Writer, uses: 2, hint_expiry: 0 };
    let invite = world.admit_now("invite", "ben", open).unwrap();
    let proof = InviteProof::sign(&key("secret"), world.ledger.group(), invite, user("eve"), device("phone"));
    let eve = Body::SetRole { user: user("eve"), role: Role::Writer, cut: None, via: Some(proof) };
    world.admit_now("eve", "ben", eve).unwrap();
    world.admit_on("owner", "ada", set_role("fay", Role::Owner), &["base"]).unwrap();
    world.admit_on("void", "ben", set_role("gil", Role::Admin), &["eve"]).unwrap();
    world.admit_on("deeper", "gil", set_role("hal", Role::Reader), &["void"]).unwrap();
    world.admit_on("demotion", "fay", removal("ben", Some(CUT)), &["eve", "owner"]).unwrap();
    world.admit_on("cid", "fay", removal("cid", Some(CUT)), &["owner"]).unwrap();
    let manifest = ManifestRef { root: [8; 32], entries: 4 };
    world.admit_now("amnesty", "ada", Body::Amnesty { revocation: world.names["cid"], manifest }).unwrap();
    world.admit_on("unseen", "ben", removal("dan", Some(CUT)), &["base"]).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.admit_on("reader", "ada", reader, &["base"]).unwrap();
    world.admit_on("removed", "ada", removal("dan", None), &["reader", "unseen"]).unwrap();
    world.admit_on("device", "ada", revoke("dan", "dan's phone", Some(CUT)), &["owner"]).unwrap();
    world.admit_now("name", "fay", meta(NAME, "orchard")).unwrap();
    // Lowerings of a user who may not write any more, by authors who saw different lowerings.
    let reader = |target, manifest| Body::SetRole {
        user: user(target),
        role: Role::Reader,
        cut: Some(manifest),
        via: None,
    };
    let nothing = ManifestRef { root: [1; 32], entries: 0 };
    world.admit_on("vic", "ada", set_role("vic", Role::Writer), &["owner"]).unwrap();
    world.admit_on("vic by fay", "fay", reader("vic", nothing), &["vic"]).unwrap();
    world.admit_on("vic by ada", "ada", reader("vic", CUT), &["vic"]).unwrap();
    world.admit_on("vic removed by fay", "fay", removal("vic", None), &["vic by fay"]).unwrap();
    world.admit_on("vic removed by ada", "ada", removal("vic", None), &["vic by ada", "vic by fay"]).unwrap();
    world.admit_now("vic readmitted", "ada", set_role("vic", Role::Reader)).unwrap();
    world
}

proptest! {
    /// Signed ops, certificates and revocations in any order, with repeats: equal hashes, rosters and heads.
    #[test]
    fn ledgers_agree_in_any_order(
        order in proptest::collection::vec(any::<Index>(), 60..120),
        read_between: bool,
    ) {
        let mut world = eventful();
        let side = [certificate("eve", "eve's phone"), certificate("dan", "dan's phone")];
        let revocation = user_revocation("eve", "eve's phone");
        for envelope in &side {
            world.ledger.admit_certificate(envelope.clone()).unwrap();
        }
        world.ledger.admit_revocation(revocation.clone()).unwrap();
        let envelopes: Vec<Envelope> = world.ledger.envelopes().cloned().collect();

        let mut other = Ledger::new(world.ledger.group());
        let chaos = order.iter().map(|pick| pick.index(envelopes.len()));
        for number in chaos.chain(0..envelopes.len()) {
            let admitted = other.admit(envelopes[number].clone());
            prop_assert!(matches!(admitted, Ok(_) | Err(Refusal::MissingParents { .. })), "{:?}", admitted);
            if read_between {
                // A roster that was computed before is updated op by op.
                prop_assert_eq!(other.roster().group(), other.group());
                let _ = other.admit_certificate(side[number % 2].clone());
            }
        }
        for envelope in side.iter().rev() {
            other.admit_certificate(envelope.clone()).unwrap();
        }
        other.admit_revocation(revocation).unwrap();

        prop_assert_eq!(other.hash(), world.ledger.hash());
        prop_assert_eq!(other.heads(), world.ledger.heads());
        let (a, b) = (other.roster(), world.ledger.roster());
        prop_assert_eq!(a.state_digest(), b.state_digest());
        // Without the numbers of ops, which follow the order of arrival.
        let content =
            |cut: &Cut| (cut.revocation, cut.manifest, cut.inherited.clone(), cut.amnesties.clone());
        let of_dan = |roster: &Roster| {
            let cuts = roster.cuts(user("dan"), device("phone"), OpId([0; 32]));
            cuts.map(content).collect::<Vec<_>>()
        };
        prop_assert_eq!(of_dan(a), of_dan(b));
        prop_assert!(of_dan(a).iter().any(|(.., inherited, _)| inherited.len() == 1), "one inherits");
        prop_assert_eq!(a.name(), b.name());
        for (user, phone) in [("vic", "phone"), ("cid", "cid's phone"), ("dan", "dan's phone")] {
            for grant in other.ids() {
                let cuts = |roster: &Roster| -> Vec<_> {
                    let cuts = roster.cuts(self::user(user), device(phone), grant);
                    cuts.map(content).collect()
                };
                prop_assert_eq!(cuts(a), cuts(b));
            }
        }
        let members = |ledger: &Ledger| -> BTreeSet<(UserId, Role, OpId)> {
            ledger.roster().members().map(|(user, member)| (user, member.role(), member.grant())).collect()
        };
        prop_assert_eq!(members(&other), members(&world.ledger));
    }

    /// M3 for bytes (authority 4.1).
    #[test]
    fn m3_a_corrupt_envelope_changes_nothing_unless_it_is_admitted(
        flips in proptest::collection::vec((any::<Index>(), 1..=255u8), 1..4),
        resign: bool,
    ) {
        let world = garden();
        let good = world.signed("ada", set_role("eve", Role::Reader), &["base"]);
        let mut odd = good.clone();
        for (place, flip) in flips {
            let place = place.index(odd.payload.len());
            odd.payload[place] ^= flip;
        }
        if resign {
            odd.signature = key("ada").sign("op", &odd.payload);
        }
        let (mut ledger, before) = (world.ledger.clone(), world.ledger.hash());
        let admitted = matches!(ledger.admit(odd), Ok(OpOutcome::New(_)));
        prop_assert!(admitted != (ledger.hash() == before));
    }
}
