//! The views of a ledger: contestable removals, ops without effect, invitations.

use peerbase_schema::OpId;
use peerbase_schema::ledger::Role::{Admin, None, Owner, Writer};
use peerbase_schema::ledger::{Body, InviteProof, InviteStatus, OpStatus};

use crate::support::world::{World, device, key, set_role, user};

/// The names of the contestable ops.
fn contestable(world: &World) -> Vec<&'static str> {
    world.ledger.contestable().iter().map(|contestable| name_of(world, contestable.op)).collect()
}

fn without_effect(world: &World) -> Vec<(&'static str, OpStatus)> {
    let status = |op| world.ledger.status(op).unwrap();
    world.ledger.without_effect().map(|facts| (name_of(world, facts.id), status(facts.id))).collect()
}

fn name_of(world: &World, op: OpId) -> &'static str {
    world.names.iter().find(|(_, id)| **id == op).map(|(name, _)| *name).unwrap()
}

/// authority 3.4, W5
#[test]
fn a_juniors_removal_of_an_equal_is_contestable_until_a_stronger_member_confirms_it() {
    let mut world = World::with(&["F"], &[("O", Owner), ("A", Admin), ("B", Admin)]);

    world.admit_on("b removes a", "B", set_role("A", None), &["base"]).unwrap();
    assert_eq!(contestable(&world), ["b removes a"]);
    let open = world.ledger.contestable()[0];
    assert_eq!((open.author, open.user, open.role), (user("B"), user("A"), None));
    let may_confirm = ["F", "O", "A", "B", "nobody"].map(|name| world.ledger.confirms(&open, user(name)));
    assert_eq!(may_confirm, [true, true, false, false, false]);

    let mut contested = world.clone();
    contested.admit_on("a contests", "A", set_role("B", None), &["base"]).unwrap();
    assert_eq!(contestable(&contested), Vec::<&str>::new(), "a senior's removal is not contestable");
    assert_eq!(without_effect(&contested), [("b removes a", OpStatus::Void)]);

    world.admit_on("confirm", "O", set_role("A", None), &["b removes a"]).unwrap();
    assert_eq!(contestable(&world), Vec::<&str>::new());
    world.admit_on("a contests", "A", set_role("B", None), &["base"]).unwrap();
    assert_eq!(without_effect(&world), [("a contests", OpStatus::Void)], "too late");
}

#[test]
fn a_seniors_or_superiors_removal_is_not_contestable() {
    for (author, target) in [("A", "B"), ("O", "A"), ("F", "O")] {
        let mut world = World::with(&["F"], &[("O", Owner), ("A", Admin), ("B", Admin)]);
        world.admit_on("removal", author, set_role(target, None), &["base"]).unwrap();
        assert_eq!(contestable(&world), Vec::<&str>::new(), "{author} removes {target}");
    }
}

/// authority 3.4, W10 and W4
#[test]
fn ops_without_effect_are_listed_with_their_status() {
    let mut world = World::with(&["F"], &[("A", Admin), ("Z", Writer)]);
    world.admit_on("a removes z", "A", set_role("Z", None), &["base"]).unwrap();
    world.admit_on("f removes a", "F", set_role("A", None), &["base"]).unwrap();
    assert_eq!(without_effect(&world), [("a removes z", OpStatus::Void)]);

    let mut world = World::with(&["F"], &[("A", Admin), ("Z", Writer)]);
    world.admit_on("f promotes z", "F", set_role("Z", Owner), &["base"]).unwrap();
    world.admit_on("a removes z", "A", set_role("Z", None), &["base"]).unwrap();
    assert_eq!(without_effect(&world), [("a removes z", OpStatus::Superseded)]);
}

#[test]
fn an_invitation_is_open_until_it_is_used_up_or_closed() {
    let mut world = World::with(&["F"], &[("A", Admin)]);
    let open = |seed| Body::OpenInvite { key: key(seed).public(), max_role: Writer, uses: 2, hint_expiry: 7 };
    let first = world.admit_now("first", "A", open("first")).unwrap();
    let second = world.admit_now("second", "F", open("second")).unwrap();
    let statuses = |world: &World| -> Vec<_> {
        world.ledger.invites().map(|(op, author, invite)| (op, author, invite.status)).collect()
    };
    let unused = InviteStatus::Open { left: 2 };
    assert_eq!(statuses(&world), [(first, user("A"), unused), (second, user("F"), unused)]);

    let redeem = |name: &str| {
        let group = world.ledger.group();
        let via = Some(InviteProof::sign(&key("first"), group, first, user(name), device(name)));
        Body::SetRole { user: user(name), role: Writer, cut: Option::None, via }
    };
    let (ben, cid, dan) = (redeem("ben"), redeem("cid"), redeem("dan"));
    world.admit_now("ben joins", "A", ben).unwrap();
    assert_eq!(statuses(&world)[0].2, InviteStatus::Open { left: 1 });
    world.admit_now("cid joins", "F", cid).unwrap();
    assert_eq!(statuses(&world)[0].2, InviteStatus::UsedUp);
    world.admit_now("dan joins", "F", dan).unwrap_err();

    world.admit_now("close", "A", Body::CloseInvite { invite: second }).unwrap();
    assert_eq!(statuses(&world)[1].2, InviteStatus::Closed);
    // The invitation's author is removed by an op that has seen its uses.
    world.admit_now("a leaves", "F", set_role("A", None)).unwrap();
    assert_eq!(statuses(&world)[0].2, InviteStatus::UsedUp, "the uses in the past stand");
}
