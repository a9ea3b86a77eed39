//! What a ledger of signed ops promises: order does not matter, what breaks a rule stays out, the roster is the same.

use std::collections::{BTreeMap, BTreeSet};

use peerbase_schema::id::hash;
use peerbase_schema::key::Signature;
use peerbase_schema::ledger::{
    Body, By, CertificateOutcome, Invalid, InviteProof, Ledger, MERGE, ManifestRef, NAME, NotAccepted, Op,
    OpOutcome, OpStatus, Refusal, Role, Roster, SideRefusal,
};
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

    /// What `author` drafts and signs with a device.
    fn by_device(&mut self, author: &str, device: &str, body: Body) -> Result<OpOutcome, Refusal> {
        let draft = self.ledger.draft(user(author), By::Device(certificate(author, device)), body)?;
        self.ledger.admit(Signed::sign(draft, &key(device)).envelope().clone())
    }
}

fn revoke(target: &str, phone: &str, cut: Option<ManifestRef>) -> Body {
    Body::RevokeDevice { user: user(target), device: device(phone), cut }
}

fn withdrawal(user_name: &str, phone: &str) -> Envelope {
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
fn a_ledger_and_its_roster_may_change_threads() {
    fn holds<T: Send + Sync + 'static>() {}
    holds::<Ledger>();
    holds::<peerbase_schema::ledger::Roster>();
}

#[test]
fn another_groups_create_founds_nothing_here() {
    let other = World::founded(&["ben"]);
    let mut joiner = Ledger::new(garden().ledger.group());
    let create = other.ledger.envelopes().next().unwrap().clone();
    let refused = joiner.admit(create);
    assert!(matches!(refused, Err(Refusal::Invalid { why: Invalid::Group { .. }, .. })), "{refused:?}");
    assert!(joiner.is_empty());
}

#[test]
fn what_one_lacks_is_what_the_other_has() {
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
fn a_bad_signature_does_not_shadow_the_good_one() {
    let mut garden = garden();
    let good = garden.signed("ada", set_role("eve", Role::Reader), &["base"]);
    let mut bad = good.clone();
    bad.signature.0[7] ^= 1;

    assert!(matches!(garden.ledger.admit(bad), Err(Refusal::Invalid { why: Invalid::Envelope(_), .. })));
    assert!(matches!(garden.ledger.admit(good.clone()), Ok(OpOutcome::New(_))));
    assert_eq!(garden.ledger.admit(good), Ok(OpOutcome::Known));
}

#[test]
fn clause_1_wants_a_well_formed_op_by_a_device_in_good_standing() {
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

    garden.now("revoke", "ben", revoke("ben", "ben's phone", None)).unwrap();
    let refused = garden.by_device("ben", "ben's phone", body());
    assert!(matches!(refused, Err(Refusal::Invalid { why: Invalid::DeviceRevoked, .. })), "{refused:?}");
    assert!(matches!(garden.by_device("ben", "ben's laptop", body()), Ok(OpOutcome::New(_))));
}

#[test]
fn clause_2_wants_an_admin_except_for_ones_own_device() {
    let mut garden = garden();
    assert_eq!(garden.clause("cid", set_role("eve", Role::Reader), &["base"]), 2);
    assert_eq!(garden.clause("eve", meta(NAME, "mine"), &["base"]), 2);
    assert_eq!(garden.clause("eve", revoke("eve", "phone", None), &["base"]), 2);
    garden.say("own", "cid", revoke("cid", "cid's phone", None), &["base"]).unwrap();
    assert!(garden.ledger.roster().is_device_revoked(user("cid"), device("cid's phone")));
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
fn clause_3_wants_a_cut_exactly_where_writing_ends() {
    let mut garden = garden();
    assert_eq!(garden.clause("ben", removal("cid", None), &["base"]), 3);
    let reader = |cut| Body::SetRole { user: user("eve"), role: Role::Reader, cut, via: None };
    assert_eq!(garden.clause("ben", reader(Some(CUT)), &["base"]), 3);
    garden.say("removal", "ben", removal("cid", Some(CUT)), &["base"]).unwrap();
    garden.say("reader", "ben", reader(None), &["base"]).unwrap();
}

#[test]
fn clause_4_keeps_a_writer_from_cutting_history() {
    let mut garden = garden();
    assert_eq!(garden.clause("cid", revoke("cid", "cid's phone", Some(CUT)), &["base"]), 4);
    assert_eq!(garden.clause("ben", revoke("cid", "cid's phone", None), &["base"]), 4);
    let by_itself = garden.by_device("ben", "ben's phone", revoke("ben", "ben's phone", None));
    assert!(matches!(by_itself, Err(Refusal::Invalid { why: Invalid::OwnDevice, .. })), "{by_itself:?}");
    garden.say("answer", "ben", revoke("cid", "cid's phone", Some(CUT)), &["base"]).unwrap();
    garden.say("own", "ben", revoke("ben", "ben's phone", Some(CUT)), &["base"]).unwrap();
}

#[test]
fn clause_5_wants_an_amnesty_from_the_revokers_rank() {
    let mut garden = garden();
    garden.now("removal", "ada", removal("cid", Some(CUT))).unwrap();
    let manifest = ManifestRef { root: [8; 32], entries: 4 };
    let amnesty = |revocation| Body::Amnesty { revocation, manifest };
    let removal = garden.names["removal"];
    assert_eq!(garden.clause("ben", amnesty(removal), &["removal"]), 5);
    assert_eq!(garden.clause("ada", amnesty(removal), &["base"]), 5);
    assert_eq!(garden.clause("ada", amnesty(garden.names["base"]), &["removal"]), 5);

    let before = garden.ledger.roster().state_digest();
    garden.now("amnesty", "ada", amnesty(removal)).unwrap();

    let roster = garden.ledger.roster();
    let cuts: Vec<_> = roster.cuts(user("cid"), device("cid's phone"), garden.names["G"]).collect();
    assert_eq!(cuts.len(), 1);
    assert_eq!((cuts[0].revocation, cuts[0].manifest), (removal, Some(CUT)));
    assert_eq!(cuts[0].amnesties, [(garden.names["amnesty"], manifest)]);
    assert_ne!(roster.state_digest(), before);
}

#[test]
fn clause_5_opens_an_invitation_to_as_many_as_it_says() {
    let mut garden = garden();
    let open =
        |max_role, uses| Body::OpenInvite { key: key("secret").public(), max_role, uses, hint_expiry: 0 };
    assert_eq!(garden.clause("ben", open(Role::Admin, 1), &["base"]), 5);
    let invite = garden.now("invite", "ben", open(Role::Writer, 1)).unwrap();
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
    garden.now("eve", "ben", redeem("eve", "secret", Role::Writer)).unwrap();
    assert_eq!(garden.clause("ben", redeem("fay", "secret", Role::Writer), &["eve"]), 5);

    // Two Admins who did not know of each other: both joiners are in.
    garden.say("gil", "ada", redeem("gil", "secret", Role::Writer), &["invite"]).unwrap();
    assert_eq!([garden.role("eve"), garden.role("gil")], [Role::Writer; 2]);
}

#[test]
fn clause_5_closes_an_invitation_for_those_who_have_seen_it() {
    let mut garden = garden();
    let open =
        Body::OpenInvite { key: key("secret").public(), max_role: Role::Reader, uses: 9, hint_expiry: 0 };
    let invite = garden.now("invite", "ben", open).unwrap();
    assert_eq!(garden.clause("ben", Body::CloseInvite { invite: garden.names["base"] }, &["invite"]), 5);
    garden.now("close", "ada", Body::CloseInvite { invite }).unwrap();
    let proof =
        InviteProof::sign(&key("secret"), garden.ledger.group(), invite, user("eve"), device("phone"));
    let eve = Body::SetRole { user: user("eve"), role: Role::Reader, cut: None, via: Some(proof) };
    assert_eq!(garden.clause("ben", eve.clone(), &["close"]), 5);
    garden.say("unaware", "ben", eve, &["invite"]).unwrap();
    assert_eq!(garden.role("eve"), Role::Reader);
}

#[test]
fn what_a_founder_wrote_is_not_a_lowered_founders_who_certifies_the_device() {
    let mut world = World::founded(&["ada", "ben"]);
    world.ledger.admit_certificate(certificate("ada", "ada's phone")).unwrap();
    world.ledger.admit_certificate(certificate("ben", "ben's phone")).unwrap();
    let (create, phone) = (world.names["G"], device("ben's phone"));
    world.now("steps down", "ada", set_role("ada", Role::Writer)).unwrap();

    world.ledger.admit_certificate(certificate("ada", "ben's phone")).unwrap();
    world.now("out", "ben", removal("ada", Some(CUT))).unwrap();

    let roster = world.ledger.roster();
    assert_eq!(roster.accepts(phone, create), Ok(user("ben")));
    assert_eq!(roster.user_of(phone, create), Some(user("ben")));
    let author = Author { device: phone, grant: create, incarnation: 1 };
    let bounds = roster.bounds(&author, |_| Ok::<_, ()>(None)).unwrap();
    assert_eq!(bounds, Ok(Vec::new()), "it does not fall with her");
    // What she wrote as a founder is hers.
    assert_eq!(roster.user_of(device("ada's phone"), create), Some(user("ada")));
    assert_eq!(roster.user_of(phone, OpId([1; 32])), None, "nobody's, where the grant is unknown");
}

#[test]
fn changes_are_accepted_under_a_living_grant_of_the_devices_own_user() {
    let mut garden = garden();
    garden.now("eve", "ada", set_role("eve", Role::Reader)).unwrap();
    garden.now("fay", "ben", set_role("fay", Role::Writer)).unwrap();
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

    garden.say("unaware of fay", "ada", removal("ben", Some(CUT)), &["eve"]).unwrap();
    let roster = garden.ledger.roster();
    assert_eq!(roster.accepts(phone, fay), Err(NotAccepted::VoidGrant { grant: fay }));
    assert!(!roster.may_read(user("fay"), phone));
}

#[test]
fn a_new_grant_is_clean_of_older_cuts_and_an_old_one_never() {
    let mut garden = garden();
    let phone = device("cid's phone");
    let first = garden.ledger.roster().grant(user("cid")).unwrap();
    garden.now("removal", "ben", removal("cid", Some(CUT))).unwrap();
    garden.now("again", "ben", set_role("cid", Role::Writer)).unwrap();

    let roster = garden.ledger.roster();
    let cuts = |grant| roster.cuts(user("cid"), phone, grant).map(|cut| cut.revocation).collect::<Vec<_>>();
    assert_eq!(cuts(first), [garden.names["removal"]]);
    assert_eq!(cuts(garden.names["again"]), []);
}

#[test]
fn a_cut_that_somebody_stronger_overruled_bounds_nothing() {
    let mut garden = garden();
    garden.say("promoted", "ada", set_role("cid", Role::Owner), &["base"]).unwrap();
    garden.say("removed", "ben", removal("cid", Some(CUT)), &["base"]).unwrap();
    let roster = garden.ledger.roster();
    let grant = roster.grant(user("cid")).unwrap();
    assert_eq!(roster.cuts(user("cid"), device("cid's phone"), grant).count(), 0);
}

#[test]
fn two_removers_of_one_rank_cut_both() {
    let mut world =
        World::with(&["ada"], &[("ben", Role::Admin), ("cid", Role::Admin), ("dan", Role::Writer)]);
    let grant = world.ledger.roster().grant(user("dan")).unwrap();
    world.say("ben's", "ben", removal("dan", Some(CUT)), &["base"]).unwrap();
    world.say("cid's", "cid", removal("dan", Some(CUT)), &["base"]).unwrap();
    let cuts = |world: &World| -> BTreeSet<OpId> {
        let roster = world.ledger.roster().clone();
        roster.cuts(user("dan"), device("phone"), grant).map(|cut| cut.revocation).collect()
    };
    assert_eq!(cuts(&world), BTreeSet::from([world.names["ben's"], world.names["cid's"]]));

    // The higher role's supersedes them.
    world.say("ada's", "ada", removal("dan", Some(CUT)), &["base"]).unwrap();
    assert_eq!(cuts(&world), BTreeSet::from([world.names["ada's"]]));
}

/// Up to where what dan's phone wrote under a grant stays, by revocation: [`CUT`] leaves seven changes, [`AMNESTY`] nine.
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
fn what_an_amnesty_brings_back_is_not_taken_by_the_next_lowering() {
    let mut world = World::with(&["ada"], &[("dan", Role::Writer)]);
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.now("lowered", "ada", reader).unwrap();
    world.now("removed", "ada", removal("dan", None)).unwrap();
    world.now("once more", "ada", set_role("dan", Role::Reader)).unwrap();
    let names = ["lowered", "removed", "once more"].map(|name| world.names[name]);
    let all_at = |seq| names.map(|name| (name, Some((seq, ChangeHash([7; 32]))))).into_iter().collect();
    assert_eq!(bounds(&world, old), all_at(7));

    let amnesty = Body::Amnesty { revocation: world.names["lowered"], manifest: AMNESTY };
    world.now("amnesty", "ada", amnesty).unwrap();

    assert_eq!(bounds(&world, old), all_at(9));
}

/// A lowering of somebody who does not write any more has no manifest. It takes what was written under grants that its
/// author had not seen, and leaves of the others what the lowerings left that its author saw.
#[test]
fn whoever_is_lowered_again_keeps_what_they_kept_before() {
    let mut world = World::with(&["ada"], &[("ben", Role::Admin), ("dan", Role::Writer)]);
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.now("lowered", "ada", reader).unwrap();
    world.now("removed", "ada", removal("dan", None)).unwrap();

    let end = Some((7, ChangeHash([7; 32])));
    let [lowered, removed] = ["lowered", "removed"].map(|name| world.names[name]);
    assert_eq!(bounds(&world, old), BTreeMap::from([(lowered, end), (removed, end)]));

    // Ben had not heard of the removal when he let dan write again.
    let writer = Body::SetRole { user: user("dan"), role: Role::Writer, cut: None, via: None };
    world.say("again", "ben", writer, &["lowered"]).unwrap();
    assert_eq!(bounds(&world, world.names["again"]), BTreeMap::from([(removed, None)]));
    assert_eq!(bounds(&world, old), BTreeMap::from([(lowered, end), (removed, end)]));
}

/// Ben's lowering, which leaves nothing, was overruled by ada's before she removed dan. So it took nothing, and takes
/// nothing by the removal either, however often that is said.
#[test]
fn whoever_is_lowered_again_loses_nothing_to_a_lowering_that_never_counted() {
    const NOTHING: ManifestRef = ManifestRef { root: [1; 32], entries: 0 };
    let reader = |cut| Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(cut), via: None };
    let mut world = World::with(&["ada"], &[("ben", Role::Admin), ("dan", Role::Writer)]);
    let old = world.ledger.roster().grant(user("dan")).unwrap();
    world.ledger.admit_certificate(certificate("dan", "phone")).unwrap();
    world.say("overruled", "ben", reader(NOTHING), &["base"]).unwrap();
    world.say("lowered", "ada", reader(CUT), &["base"]).unwrap();
    assert_eq!(world.standing("overruled"), OpStatus::Superseded);
    world.say("removed", "ada", removal("dan", None), &["overruled", "lowered"]).unwrap();
    world.now("as a reader", "ben", set_role("dan", Role::Reader)).unwrap();
    world.now("again", "ada", removal("dan", None)).unwrap();

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

    // As another device hears it, and as this one reads it back.
    let mut envelopes: Vec<Envelope> = world.ledger.envelopes().cloned().collect();
    let overruled = envelopes.iter().position(|envelope| {
        envelope.payload == world.ledger.op(world.names["overruled"]).unwrap().envelope().payload
    });
    envelopes.swap(overruled.unwrap(), overruled.unwrap() + 1);
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
fn a_weaker_member_does_not_get_hold_of_anothers_device() {
    let mut garden = garden();
    garden.ledger.admit_certificate(certificate("cid", "ben's phone")).unwrap();
    let roster = garden.ledger.roster();
    assert!(roster.is_certified(user("cid"), device("ben's phone")));

    garden.now("revoke", "ben", revoke("cid", "ben's phone", Some(CUT))).unwrap();
    assert!(!garden.ledger.roster().is_device_revoked(user("ben"), device("ben's phone")));
    garden.by_device("ben", "ben's phone", meta("motto", "still here")).unwrap();
}

#[test]
fn a_withdrawn_device_is_neither_read_nor_written() {
    let mut garden = garden();
    let phone = device("ben's phone");
    assert!(garden.ledger.roster().may_write(user("ben"), phone));

    assert_eq!(garden.ledger.admit_revocation(withdrawal("ben", "ben's phone")), Ok(true));
    assert_eq!(garden.ledger.admit_revocation(withdrawal("ben", "ben's phone")), Ok(false));

    let roster = garden.ledger.roster();
    assert!(!roster.may_read(user("ben"), phone) && !roster.may_write(user("ben"), phone));
    assert!(roster.may_read(user("ben"), device("ben's laptop")));
    assert_eq!(roster.devices(user("ben")).count(), 0);
}

#[test]
fn certificates_are_kept_for_known_users_and_in_numbers() {
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

/// Cid vouches for more devices than have a place, most of them before the phone.
fn vouchers_before_the_phone() -> (Envelope, Vec<Envelope>) {
    let id = |envelope: &Envelope| hash(DeviceCert::KIND, &[&envelope.payload]);
    let phone = certificate("cid", "phone");
    let many = (0..1_000).map(|number| certificate("cid", &format!("cid's {number}")));
    let before: Vec<_> = many.filter(|other| id(other) < id(&phone)).take(130).collect();
    assert_eq!(before.len(), 130);
    (phone, before)
}

#[test]
fn what_vouches_for_a_device_that_wrote_stays_whatever_else_its_user_signs() {
    let mut garden = garden();
    let grant = garden.ledger.roster().grant(user("cid")).unwrap();
    let (phone, before) = vouchers_before_the_phone();
    let accepts = |ledger: &Ledger| ledger.roster().accepts(device("phone"), grant).is_ok();
    let mut other = garden.ledger.clone();

    // Here the phone wrote something, there not.
    garden.ledger.admit_certificate(phone.clone()).unwrap();
    other.admit_certificate(phone.clone()).unwrap();
    assert!(garden.ledger.pin_certificates(device("phone")).is_empty(), "it has its place");
    for envelope in &before {
        garden.ledger.admit_certificate(envelope.clone()).unwrap();
        other.admit_certificate(envelope.clone()).unwrap();
        assert!(accepts(&garden.ledger));
    }
    assert!(!accepts(&other), "nothing rested on it");
    assert!(garden.ledger.certificates().all(|kept| *kept != phone));
    assert_eq!(garden.ledger.hash(), other.hash());
    assert_eq!(garden.ledger.pinned_certificates().collect::<Vec<_>>(), [&phone]);
    let known = garden.ledger.certified().filter(|known| known.user == user("cid")).count();
    assert_eq!(known, 64 + 1 + 64, "no more than these are remembered");

    // Whoever hears of it may take what was written, and keeps it from then on.
    assert_eq!(other.admit_certificate(phone.clone()), Ok(CertificateOutcome::Spare));
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
fn what_is_known_or_has_no_place_costs_no_signature() {
    let mut garden = garden();
    let (phone, before) = vouchers_before_the_phone();
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

    let withdrawals: Vec<_> = (0..300).map(|number| withdrawal("cid", &format!("phone {number}"))).collect();
    for envelope in &withdrawals {
        garden.ledger.admit_revocation(envelope.clone()).unwrap();
    }
    for envelope in &withdrawals {
        assert_eq!(garden.ledger.admit_revocation(forged(envelope)), Ok(false));
    }
    let new = garden.ledger.admit_revocation(forged(&withdrawal("ben", "ben's phone")));
    assert!(matches!(new, Err(SideRefusal::Envelope(_))), "{new:?}");
}

#[test]
fn the_group_is_called_what_the_strongest_says() {
    let mut garden = garden();
    garden.now("name", "ben", meta(NAME, "orchard")).unwrap();
    assert_eq!(garden.ledger.roster().name(), "orchard");
    garden.say("ada's", "ada", meta(NAME, "meadow"), &["base"]).unwrap();
    assert_eq!(garden.ledger.roster().name(), "meadow");
    garden.now("later", "ben", meta(NAME, "forest")).unwrap();
    assert_eq!(garden.ledger.roster().name(), "forest");
    garden.now("too long", "ben", meta(NAME, &"x".repeat(257))).unwrap();
    assert_eq!(garden.ledger.roster().name(), "garden");
    assert_eq!(garden.ledger.meta("motto"), Some(&b"grow"[..]));
}

#[test]
fn a_draft_that_nobody_would_take_is_refused_at_home() {
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
fn an_honest_op_builds_on_what_lives_alone() {
    let mut garden = garden();
    garden.say("removal", "ada", removal("ben", Some(CUT)), &["base"]).unwrap();
    garden.say("void", "ben", set_role("eve", Role::Reader), &["base"]).unwrap();

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

    garden.now("merge", "ada", meta(MERGE, "")).unwrap();
    garden.now("then", "ada", meta("k", "v")).unwrap();
    assert_eq!(garden.ledger.heads().len(), 1);
}

/// A Reader takes so many devices back that nobody has ever seen, on top of what let her in.
fn flooded_garden(heads: usize) -> World {
    let mut garden = World::with(&["ada"], &[("eve", Role::Reader), ("ben", Role::Admin)]);
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
fn a_readers_flood_of_heads_is_merged_by_who_may_and_stops_nobody() {
    let mut garden = flooded_garden(600);
    let nobody = BTreeSet::new();
    let merges = |garden: &World, name: &str| {
        garden.ledger.merges(&nobody, user(name), &By::User, &key(name)).map(|merges| merges.len())
    };
    assert!(matches!(
        garden.ledger.draft(user("ben"), By::User, set_role("cid", Role::Writer)),
        Err(Refusal::TooManyHeads { got: 601, max: 256 })
    ));
    assert!(matches!(
        merges(&garden, "eve"),
        Err(Refusal::Invalid { why: Invalid::Rank { needed: Role::Admin, .. }, .. })
    ));

    // Her own device goes all the same: who may not merge has nothing of hers to miss.
    garden.now("phone", "eve", revoke("eve", "eve's phone", None)).unwrap();
    assert!(garden.ledger.roster().is_device_revoked(user("eve"), device("eve's phone")));

    // Nothing that she built on knows of ben, and his merging ops are his all the same.
    for merge in garden.ledger.merges(&nobody, user("ben"), &By::User, &key("ben")).unwrap() {
        garden.ledger.admit(merge.envelope().clone()).unwrap();
    }
    garden.now("removal", "ben", removal("eve", None)).unwrap();
    assert_eq!((garden.role("eve"), garden.ledger.heads().len()), (Role::None, 1));
    assert_eq!(merges(&garden, "ben"), Ok(0));
}

/// Void ops, branches, devices, invitations, amnesties: whatever a ledger can hold.
fn eventful() -> World {
    let mut world = garden();
    let open =
        Body::OpenInvite { key: key("secret").public(), max_role: Role::Writer, uses: 2, hint_expiry: 0 };
    let invite = world.now("invite", "ben", open).unwrap();
    let proof = InviteProof::sign(&key("secret"), world.ledger.group(), invite, user("eve"), device("phone"));
    let eve = Body::SetRole { user: user("eve"), role: Role::Writer, cut: None, via: Some(proof) };
    world.now("eve", "ben", eve).unwrap();
    world.say("owner", "ada", set_role("fay", Role::Owner), &["base"]).unwrap();
    world.say("void", "ben", set_role("gil", Role::Admin), &["eve"]).unwrap();
    world.say("deeper", "gil", set_role("hal", Role::Reader), &["void"]).unwrap();
    world.say("demotion", "fay", removal("ben", Some(CUT)), &["eve", "owner"]).unwrap();
    world.say("cid", "fay", removal("cid", Some(CUT)), &["owner"]).unwrap();
    let manifest = ManifestRef { root: [8; 32], entries: 4 };
    world.now("amnesty", "ada", Body::Amnesty { revocation: world.names["cid"], manifest }).unwrap();
    world.say("unheard", "ben", removal("dan", Some(CUT)), &["base"]).unwrap();
    let reader = Body::SetRole { user: user("dan"), role: Role::Reader, cut: Some(CUT), via: None };
    world.say("reader", "ada", reader, &["base"]).unwrap();
    world.say("and out", "ada", removal("dan", None), &["reader", "unheard"]).unwrap();
    world.say("device", "ada", revoke("dan", "dan's phone", Some(CUT)), &["owner"]).unwrap();
    world.now("name", "fay", meta(NAME, "orchard")).unwrap();
    // Lowerings of one who writes no more, by people who saw different lowerings.
    let reader = |target, manifest| Body::SetRole {
        user: user(target),
        role: Role::Reader,
        cut: Some(manifest),
        via: None,
    };
    let nothing = ManifestRef { root: [1; 32], entries: 0 };
    world.say("vic", "ada", set_role("vic", Role::Writer), &["owner"]).unwrap();
    world.say("vic by fay", "fay", reader("vic", nothing), &["vic"]).unwrap();
    world.say("vic by ada", "ada", reader("vic", CUT), &["vic"]).unwrap();
    world.say("vic out", "fay", removal("vic", None), &["vic by fay"]).unwrap();
    world.say("vic out too", "ada", removal("vic", None), &["vic by ada", "vic by fay"]).unwrap();
    world.now("vic in", "ada", set_role("vic", Role::Reader)).unwrap();
    world
}

proptest! {
    /// Signed ops, certificates and revocations in any order, with repeats: equal hashes, rosters and heads.
    #[test]
    fn ledgers_agree_in_any_order(order in proptest::collection::vec(any::<Index>(), 60..120), ask: bool) {
        let mut world = eventful();
        let side = [certificate("eve", "eve's phone"), certificate("dan", "dan's phone")];
        let withdrawn = withdrawal("eve", "eve's phone");
        for envelope in &side {
            world.ledger.admit_certificate(envelope.clone()).unwrap();
        }
        world.ledger.admit_revocation(withdrawn.clone()).unwrap();
        let envelopes: Vec<Envelope> = world.ledger.envelopes().cloned().collect();

        let mut other = Ledger::new(world.ledger.group());
        let chaos = order.iter().map(|pick| pick.index(envelopes.len()));
        for number in chaos.chain(0..envelopes.len()) {
            let admitted = other.admit(envelopes[number].clone());
            prop_assert!(matches!(admitted, Ok(_) | Err(Refusal::MissingParents { .. })), "{:?}", admitted);
            if ask {
                // Whoever asks in between has a roster that is brought up to date op by op.
                prop_assert_eq!(other.roster().group(), other.group());
                let _ = other.admit_certificate(side[number % 2].clone());
            }
        }
        for envelope in side.iter().rev() {
            other.admit_certificate(envelope.clone()).unwrap();
        }
        other.admit_revocation(withdrawn).unwrap();

        prop_assert_eq!(other.hash(), world.ledger.hash());
        prop_assert_eq!(other.heads(), world.ledger.heads());
        let (a, b) = (other.roster(), world.ledger.roster());
        prop_assert_eq!(a.state_digest(), b.state_digest());
        let of_dan = |roster: &Roster| {
            let cuts = roster.cuts(user("dan"), device("phone"), OpId([0; 32])).cloned();
            cuts.map(|cut| (cut.revocation, cut.manifest, cut.seen, cut.amnesties)).collect::<Vec<_>>()
        };
        prop_assert_eq!(of_dan(a), of_dan(b));
        prop_assert!(of_dan(a).iter().any(|(.., seen, _)| seen.len() == 1), "one inherits");
        prop_assert_eq!(a.name(), b.name());
        for (user, phone) in [("vic", "phone"), ("cid", "cid's phone"), ("dan", "dan's phone")] {
            for grant in other.ids() {
                let cuts = |roster: &Roster| -> Vec<_> {
                    let cuts = roster.cuts(self::user(user), device(phone), grant);
                    cuts.map(|cut| (cut.revocation, cut.manifest, cut.seen.clone(), cut.amnesties.clone())).collect()
                };
                prop_assert_eq!(cuts(a), cuts(b));
            }
        }
        let members = |ledger: &Ledger| -> BTreeSet<(UserId, Role, OpId)> {
            ledger.roster().members().map(|(user, member)| (user, member.role(), member.grant())).collect()
        };
        prop_assert_eq!(members(&other), members(&world.ledger));
    }

    /// M3 over bytes: whatever arrives is answered, and the ledger stays as it was unless it was taken.
    #[test]
    fn no_envelope_is_too_odd(flips in proptest::collection::vec((any::<Index>(), 1..=255u8), 1..4), resign: bool) {
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
        let taken = matches!(ledger.admit(odd), Ok(OpOutcome::New(_)));
        prop_assert!(taken != (ledger.hash() == before));
    }
}
