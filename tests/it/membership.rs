//! Membership rules on real nodes: the worked examples `w1` to `w11b` of the authority rules, and in
//! `membership/` the numbered adversarial scenarios.
//!
//! Members are named in the order of their seniority. Where an example removes an Admin, the test lowers them
//! to Writer: the same rule applies, and no cut is needed.

mod rogues;
mod scenarios;

use std::time::Duration;

use peerbase::error::Waiting;
use peerbase::group::{DeclineReason, InviteStatus, MemberDevice, MemberOp, OpAction, OpStatus};
use peerbase::sim::Peer;
use peerbase::{
    ErrorKind, Event, Group, GroupError, InviteOptions, JoinError, Member, Node, OpId, Role, UserId,
};
use tokio::sync::broadcast::Receiver;

use Role::{Admin, Founder, None as Out, Owner, Reader, Writer};

use crate::support::scenario::Scenario;
use crate::support::{home, task, tasks, titles, until};

/// Longer than every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);
/// A user without a node.
const PIA: UserId = UserId([9; 32]);

/// Fay's group with these members, the most senior first, all in sync.
async fn scenario<const N: usize>(members: [(&'static str, Role); N]) -> Scenario {
    let mut scenario = Scenario::founded_by("fay", N as u64, members).await;
    scenario.add_user("pia", PIA);
    scenario
}

impl Scenario {
    /// Stops a removed member's node for good: it would wait for its peers forever.
    async fn retire(&mut self, name: &str) {
        let peer = self.peers.remove(name).unwrap();
        self.net.crash(&peer).await;
    }

    async fn refused_role(&self, author: &str, target: &str, role: Role) -> GroupError {
        self.try_set_role(author, target, role).await.unwrap_err()
    }

    /// The roles of `names` in the roster of `viewer`.
    fn roles<const N: usize>(&self, viewer: &str, names: [&str; N]) -> [Role; N] {
        let members = self.group(viewer).members();
        let role = |user| members.iter().find(|member| member.user == user).map_or(Out, |member| member.role);
        names.map(|name| role(self.user(name)))
    }

    /// The status of an op in the ledger of the founder.
    async fn op_status(&self, op: OpId) -> OpStatus {
        let log = self.group("fay").log().await.unwrap();
        log.iter().find(|entry| entry.op == op).unwrap().status
    }
}

fn received(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// The rule stood in the program alone, so the library admitted a user whose role was set.
#[tokio::test]
async fn setting_the_role_of_a_user_who_is_no_member_admits_nobody() {
    let (_node, home) = home().await;
    let ben = Node::in_memory().await.unwrap().user_id();

    let refused = home.set_role(ben, Writer).await.unwrap_err();

    assert!(matches!(refused, GroupError::NotMember { user, group } if (user, group) == (ben, home.id())));
    assert_eq!((refused.kind(), home.members().len()), (ErrorKind::NotFound, 1));
    home.add_member(ben, Reader).await.unwrap();
    home.set_role(ben, Writer).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn w1_the_senior_of_two_admins_who_lower_each_other_stays() {
    let mut scenario = scenario([("ada", Admin), ("ben", Admin)]).await;
    scenario.partition(&[]);
    let by_ada = scenario.set_role("ada", "ben", Writer).await;
    let by_ben = scenario.set_role("ben", "ada", Writer).await;
    let mut of_ben = scenario.peers["ben"].node().events();

    scenario.converge().await;

    for name in ["fay", "ada", "ben"] {
        assert_eq!(scenario.roles(name, ["ada", "ben"]), [Admin, Writer], "as {name} sees it");
    }
    assert_eq!(scenario.op_status(by_ada).await, OpStatus::Counts);
    assert_eq!(scenario.op_status(by_ben).await, OpStatus::Void);
    let events = received(&mut of_ben);
    assert!(events.contains(&Event::Voided { group: scenario.id, op: by_ben }), "{events:?}");
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w2_a_cycle_of_lowerings_breaks_at_the_strongest_author() {
    let mut scenario = scenario([("ada", Admin), ("ben", Admin), ("cid", Admin)]).await;
    scenario.partition(&[]);
    scenario.set_role("ada", "ben", Writer).await;
    scenario.set_role("ben", "cid", Writer).await;
    scenario.set_role("cid", "ada", Writer).await;

    scenario.converge().await;

    assert_eq!(scenario.roles("fay", ["ada", "ben", "cid"]), [Writer, Writer, Admin]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w3_grants_by_an_admin_concurrent_with_their_lowering_are_void() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("quin", Reader)]).await;
    scenario.partition(&[&["ada", "quin"]]);
    scenario.set_role("oda", "ada", Writer).await;
    scenario.set_role("ada", "quin", Admin).await;
    scenario.net.settle().await;
    scenario.set_role("quin", "pia", Reader).await;
    scenario.net.settle().await;
    assert_eq!(scenario.roles("ada", ["ada", "quin", "pia"]), [Admin, Admin, Reader]);

    scenario.converge().await;

    assert_eq!(scenario.roles("quin", ["ada", "quin", "pia"]), [Writer, Reader, Out]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w3b_grants_that_the_remover_had_seen_stand() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("quin", Reader)]).await;
    scenario.set_role("ada", "quin", Admin).await;
    scenario.converge().await;
    scenario.set_role("quin", "pia", Reader).await;
    scenario.converge().await;

    scenario.set_role("oda", "ada", Writer).await;
    scenario.converge().await;

    assert_eq!(scenario.roles("quin", ["ada", "quin", "pia"]), [Writer, Admin, Reader]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w4_an_op_of_a_higher_role_supersedes_one_of_a_lower_role() {
    let mut scenario = scenario([("ada", Admin), ("zoe", Reader)]).await;
    scenario.partition(&[]);
    scenario.set_role("fay", "zoe", Owner).await;
    let removal = scenario.group("ada").remove_member(scenario.user("zoe")).await.unwrap().op;

    scenario.converge().await;

    assert_eq!(scenario.roles("ada", ["ada", "zoe"]), [Admin, Owner]);
    assert_eq!(scenario.op_status(removal).await, OpStatus::Superseded);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w4b_the_lowest_result_of_two_equal_authors_holds() {
    let mut scenario = scenario([("ada", Admin), ("ben", Admin), ("zoe", Reader)]).await;
    scenario.partition(&[]);
    scenario.set_role("ada", "zoe", Writer).await;
    scenario.group("ben").remove_member(scenario.user("zoe")).await.unwrap();
    scenario.retire("zoe").await;

    scenario.converge().await;

    assert_eq!(scenario.roles("fay", ["ada", "ben", "zoe"]), [Admin, Admin, Out]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w5_a_juniors_lowering_can_be_contested_until_a_stronger_member_confirms_it() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    let mut of_oda = scenario.peers["oda"].node().events();
    scenario.partition(&[&["fay", "oda", "ben"]]);
    let lowering = scenario.set_role("ben", "ada", Writer).await;
    scenario.net.settle().await;

    let oda = scenario.group("oda");
    let [contestable] = oda.contestable()[..] else { panic!("{:?}", oda.contestable()) };
    assert_eq!((contestable.op, contestable.author), (lowering, scenario.user("ben")));
    let member = oda.members().into_iter().find(|member| member.user == scenario.user("ada")).unwrap();
    assert_eq!((member.role, member.contestable), (Writer, Some(contestable)));
    let events = received(&mut of_oda);
    let open = |event: &Event| matches!(event, Event::Contestable { op, .. } if *op == lowering);
    assert!(events.iter().any(open), "{events:?}");
    let weak = scenario.group("ben").confirm(lowering).await.unwrap_err();
    assert_eq!(weak.kind(), ErrorKind::NotAllowed);

    // Ada does not know of it and lowers ben; oda confirms the first lowering.
    let contest = scenario.set_role("ada", "ben", Writer).await;
    oda.confirm(lowering).await.unwrap();
    assert_eq!(oda.confirm(lowering).await.unwrap_err().kind(), ErrorKind::NotFound);
    scenario.converge().await;

    assert_eq!(scenario.roles("fay", ["ada", "ben"]), [Writer, Admin]);
    assert_eq!(scenario.op_status(contest).await, OpStatus::Void);
    assert_eq!(scenario.group("ada").contestable(), []);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w5_an_unconfirmed_lowering_is_voided_by_its_contest_on_every_device() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    scenario.partition(&[]);
    let lowering = scenario.set_role("ben", "ada", Writer).await;
    let contest = scenario.set_role("ada", "ben", Writer).await;

    scenario.converge().await;

    assert_eq!(scenario.roles("ben", ["ada", "ben"]), [Admin, Writer]);
    let gone = scenario.group("oda").confirm(lowering).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "nothing is left to confirm");

    // Oda decides otherwise and lowers ada as of before the contest.
    let as_of = scenario.group("oda").set_role(scenario.user("ada"), Writer).as_of(&[contest]).await;
    as_of.unwrap();
    scenario.converge().await;
    assert_eq!(scenario.roles("ben", ["ada", "ben"]), [Writer, Admin]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w6_a_member_lowered_by_a_stronger_one_changes_nothing_afterwards() {
    let mut scenario =
        scenario([("oda", Owner), ("mia", Admin), ("ben", Admin), ("sam", Reader), ("zoe", Reader)]).await;
    scenario.partition(&[&["mia", "sam"]]);
    scenario.set_role("oda", "mia", Writer).await;
    let vandalism = scenario.set_role("mia", "ben", Writer).await;
    scenario.set_role("mia", "sam", Admin).await;
    scenario.net.settle().await;
    scenario.group("sam").remove_member(scenario.user("zoe")).await.unwrap();
    let above = scenario.refused_role("mia", "oda", Writer).await;
    assert_eq!(above.kind(), ErrorKind::NotAllowed);

    scenario.converge().await;

    let people = ["oda", "mia", "ben", "sam", "zoe"];
    assert_eq!(scenario.roles("mia", people), [Owner, Writer, Admin, Reader, Reader]);
    assert_eq!(scenario.op_status(vandalism).await, OpStatus::Void);
    assert_eq!(scenario.refused_role("mia", "zoe", Writer).await.kind(), ErrorKind::NotAllowed);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w7_an_admin_who_missed_a_promotion_does_not_undo_it() {
    let mut scenario = scenario([("mia", Admin), ("zoe", Reader)]).await;
    scenario.partition(&[&["fay", "zoe"]]);
    scenario.set_role("fay", "zoe", Owner).await;
    scenario.net.settle().await;
    scenario.set_role("zoe", "pia", Reader).await;
    scenario.group("mia").remove_member(scenario.user("zoe")).await.unwrap();

    scenario.converge().await;

    assert_eq!(scenario.roles("mia", ["mia", "zoe", "pia"]), [Admin, Owner, Reader]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w8_the_senior_founder_voids_the_ops_of_a_junior_founders_stolen_key() {
    let mut scenario = scenario([("gil", Founder), ("ada", Admin)]).await;
    scenario.partition(&[]);
    scenario.set_role("gil", "ada", Writer).await;
    scenario.set_role("gil", "pia", Owner).await;
    let senior = scenario.refused_role("gil", "fay", Writer).await;
    assert_eq!(senior.kind(), ErrorKind::NotAllowed);
    scenario.set_role("fay", "gil", Writer).await;

    scenario.converge().await;

    assert_eq!(scenario.roles("gil", ["fay", "gil", "ada", "pia"]), [Founder, Writer, Admin, Out]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w9_a_new_grant_does_not_revive_ops_signed_under_the_old_one() {
    let mut scenario = scenario([("ada", Admin), ("mia", Admin)]).await;
    scenario.partition(&[]);
    scenario.set_role("fay", "mia", Writer).await;
    scenario.set_role("fay", "mia", Admin).await;
    let old = scenario.set_role("mia", "ada", Writer).await;
    let older = scenario.set_role("mia", "pia", Reader).await;

    scenario.converge().await;
    assert_eq!(scenario.op_status(old).await, OpStatus::Void);
    assert_eq!(scenario.op_status(older).await, OpStatus::Void);
    scenario.set_role("mia", "pia", Writer).await;
    scenario.converge().await;

    assert_eq!(scenario.roles("ada", ["ada", "mia", "pia"]), [Admin, Admin, Writer]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w10_a_voided_removal_is_listed_and_can_be_reissued() {
    let mut scenario = scenario([("ada", Admin), ("zoe", Reader)]).await;
    scenario.partition(&[]);
    let removal = scenario.group("ada").remove_member(scenario.user("zoe")).await.unwrap().op;
    scenario.set_role("fay", "ada", Writer).await;

    scenario.converge().await;

    assert_eq!(scenario.roles("zoe", ["ada", "zoe"]), [Writer, Reader], "zoe is still a member");
    let fay = scenario.group("fay");
    let voided = fay.voided().await.unwrap();
    let action = OpAction::SetRole { user: scenario.user("zoe"), role: Out };
    let author = scenario.user("ada");
    assert_eq!(voided, [MemberOp { op: removal, author, action, status: OpStatus::Void }]);
    assert_eq!(scenario.group("ada").reissue(removal).await.unwrap_err().kind(), ErrorKind::NotAllowed);

    scenario.retire("zoe").await;
    let again = fay.reissue(removal).await.unwrap();
    scenario.converge().await;
    assert_eq!(scenario.roles("ada", ["zoe"]), [Out]);
    assert_eq!(fay.voided().await.unwrap(), [], "an op whose result already holds is not listed");
    assert_eq!(
        fay.reissue(again).await.unwrap_err().kind(),
        ErrorKind::NotFound,
        "an op with effect cannot be reissued"
    );
    scenario.close().await;
}

/// Ada admits pia while mia, her senior, lowers ada without knowing of it. All devices have both ops.
async fn vandalised() -> (Scenario, OpId) {
    let mut scenario = scenario([("oda", Owner), ("mia", Admin), ("ada", Admin)]).await;
    scenario.partition(&[]);
    scenario.set_role("ada", "pia", Reader).await;
    let vandalism = scenario.set_role("mia", "ada", Writer).await;
    scenario.converge().await;
    assert_eq!(scenario.roles("oda", ["mia", "ada", "pia"]), [Admin, Writer, Out]);
    (scenario, vandalism)
}

#[tokio::test(start_paused = true)]
async fn w11_a_removal_does_not_undo_ops_that_the_remover_had_seen() {
    let (mut scenario, vandalism) = vandalised().await;

    scenario.set_role("oda", "mia", Writer).await;
    scenario.converge().await;

    assert_eq!(scenario.roles("ada", ["mia", "ada", "pia"]), [Writer, Writer, Out]);
    assert_eq!(scenario.op_status(vandalism).await, OpStatus::Counts);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn w11b_a_lowering_as_of_before_the_vandalism_undoes_it_on_every_device() {
    let (mut scenario, vandalism) = vandalised().await;
    let (oda, mia) = (scenario.group("oda"), scenario.user("mia"));
    let unknown = oda.set_role(mia, Writer).as_of(&[OpId([7; 32])]).await.unwrap_err();
    let founding = oda.set_role(mia, Writer).as_of(&[OpId(scenario.id.0)]).await.unwrap_err();
    assert_eq!((unknown.kind(), founding.kind()), (ErrorKind::NotFound, ErrorKind::NotFound));

    oda.set_role(mia, Writer).as_of(&[vandalism]).await.unwrap();
    scenario.converge().await;

    assert_eq!(scenario.roles("ada", ["mia", "ada", "pia"]), [Writer, Admin, Reader]);
    assert_eq!(scenario.op_status(vandalism).await, OpStatus::Void);
    scenario.set_role("ada", "pia", Writer).await;
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_of_a_device_as_of_before_its_vandalism_undoes_it_on_every_device() {
    for is_as_of in [false, true] {
        let (mut scenario, vandalism) = vandalised().await;
        let (oda, device) = (scenario.group("oda"), scenario.peers["mia"].node().device_id());
        let unknown = oda.revoke_device(device).as_of(&[OpId([7; 32])]).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);

        let rejected = if is_as_of { &[vandalism][..] } else { &[] };
        oda.revoke_device(device).as_of(rejected).await.unwrap();
        scenario.retire("mia").await;
        scenario.converge().await;

        let (role, pia, status) = match is_as_of {
            true => (Admin, Reader, OpStatus::Void),
            false => (Writer, Out, OpStatus::Counts),
        };
        assert_eq!(scenario.roles("ada", ["mia", "ada", "pia"]), [Admin, role, pia], "as of: {is_as_of}");
        assert_eq!(scenario.op_status(vandalism).await, status, "as of: {is_as_of}");
        let is_revoked = |member: Member| member.devices.iter().all(|it| it.device != device);
        assert!(scenario.group("ada").members().into_iter().all(is_revoked), "as of: {is_as_of}");
        scenario.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_can_be_lowered_and_removed_and_their_rows_stay() {
    let mut scenario = scenario([("ada", Admin), ("ben", Writer), ("rob", Reader)]).await;
    tasks(&scenario.peers["ben"], scenario.id).put("a", &task("basil")).await.unwrap();
    scenario.converge().await;
    let fay = scenario.group("fay");

    // As of before ben could write is refused: it would purge everything that he wrote.
    let log = fay.log().await.unwrap();
    let granted = log.iter().find(|op| op.action.target() == Some(scenario.user("ben"))).unwrap();
    let as_of = fay.remove_member(scenario.user("ben")).as_of(&[granted.op]).await.unwrap_err();
    assert_eq!(as_of.kind(), ErrorKind::NotAllowed);
    assert_eq!(fay.remove_member(PIA).await.unwrap_err().kind(), ErrorKind::NotFound);

    for (ada, ben) in [(Admin, Reader), (Admin, Writer), (Reader, Reader), (Writer, Writer)] {
        for (name, role) in [("ada", ada), ("ben", ben)] {
            if scenario.roles("fay", [name]) != [role] {
                scenario.set_role("fay", name, role).await;
            }
        }
        scenario.converge().await;
        assert_eq!(scenario.roles("rob", ["ada", "ben"]), [ada, ben]);
        assert_eq!(titles(&tasks(&scenario.peers["rob"], scenario.id)), ["basil"]);
    }
    scenario.retire("ben").await;
    fay.remove_member(scenario.user("ben")).await.unwrap();
    scenario.converge().await;
    assert_eq!(scenario.roles("rob", ["ben"]), [Out]);
    assert_eq!(titles(&tasks(&scenario.peers["rob"], scenario.id)), ["basil"]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_reader_gets_no_rows_until_readmitted() {
    let mut scenario = scenario([("ben", Writer), ("rob", Reader)]).await;
    tasks(&scenario.peers["ben"], scenario.id).put("a", &task("basil")).await.unwrap();
    scenario.converge().await;
    scenario.group("fay").remove_member(scenario.user("rob")).await.unwrap();
    scenario.net.sleep(A_WHILE).await;
    assert_eq!(scenario.roles("ben", ["rob"]), [Out]);

    tasks(&scenario.peers["ben"], scenario.id).put("b", &task("rope")).await.unwrap();
    scenario.net.sleep(A_WHILE).await;
    assert_eq!(titles(&tasks(&scenario.peers["rob"], scenario.id)), ["basil"]);

    scenario.set_role("fay", "rob", Reader).await;
    scenario.converge().await;
    assert_eq!(titles(&tasks(&scenario.peers["rob"], scenario.id)), ["basil", "rope"]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn ownership_passes_only_to_a_member_with_a_device() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("rob", Reader)]).await;
    let oda = scenario.group("oda");
    scenario.set_role("fay", "pia", Writer).await;
    scenario.converge().await;
    for (by, to) in [("oda", "oda"), ("oda", "pia"), ("ada", "rob")] {
        let refused = scenario.group(by).transfer_ownership(scenario.user(to)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAllowed, "{by} to {to}");
    }
    assert_eq!(scenario.roles("fay", ["oda", "ada"]), [Owner, Admin], "a refused transfer signs no op");

    oda.transfer_ownership(scenario.user("ada")).await.unwrap();
    scenario.converge().await;
    assert_eq!(scenario.roles("fay", ["oda", "ada", "rob"]), [Admin, Owner, Reader]);

    scenario.group("fay").transfer_ownership(scenario.user("rob")).await.unwrap();
    scenario.converge().await;
    assert_eq!(scenario.roles("ada", ["fay", "rob"]), [Admin, Founder]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_admin_cannot_lower_themselves() {
    let mut scenario = scenario([("ben", Writer)]).await;
    let alone = scenario.refused_role("fay", "fay", Writer).await;
    let GroupError::Change(cause) = alone else { panic!("{alone:?}") };
    assert!(cause.to_string().contains("nobody would be in charge"), "{cause}");

    scenario.set_role("fay", "ben", Admin).await;
    scenario.set_role("fay", "fay", Writer).await;
    scenario.converge().await;
    assert_eq!(scenario.roles("ben", ["fay", "ben"]), [Writer, Admin]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn members_are_listed_with_their_devices_and_the_user_who_granted_their_role() {
    let scenario = scenario([("ada", Admin), ("ben", Writer)]).await;
    scenario.set_role("ada", "pia", Reader).await;
    let (fay, ada) = (scenario.user("fay"), scenario.user("ada"));
    let members = scenario.group("ada").members();
    let of = |name: &str| members.iter().find(|member| member.user == scenario.user(name)).unwrap();

    assert_eq!((of("fay").role, of("fay").granted_by), (Founder, None));
    assert_eq!((of("ada").role, of("ada").granted_by), (Admin, Some(fay)));
    assert_eq!((of("pia").granted_by, &of("pia").devices), (Some(ada), &vec![]));
    for name in ["fay", "ada", "ben"] {
        let device = scenario.peers[name].node().device_id();
        let (user, label, addresses) =
            (scenario.user(name), name.to_owned(), of(name).devices[0].addresses.clone());
        assert_eq!(of(name).devices, [MemberDevice { user, device, label, addresses }], "{name}");
    }
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn add_member_never_lowers_or_removes_a_member() {
    let scenario = scenario([("ben", Writer)]).await;
    let (fay, ben) = (scenario.group("fay"), scenario.user("ben"));
    let given = fay.log().await.unwrap().last().unwrap().op;

    assert_eq!(fay.add_member(ben, Writer).await.unwrap(), given, "the role already holds");
    for role in [Reader, Out] {
        let lower = fay.add_member(ben, role).await.unwrap_err();
        assert_eq!(lower.kind(), ErrorKind::Invalid, "{lower:?}");
        let GroupError::Change(cause) = lower else { panic!("{lower:?}") };
        assert!(cause.to_string().contains("set their role, or remove them"), "{cause}");
    }
    assert_eq!(scenario.roles("fay", ["ben"]), [Writer]);
    assert_ne!(fay.add_member(ben, Admin).await.unwrap(), given);
    assert_eq!(scenario.roles("fay", ["ben"]), [Admin]);
    scenario.close().await;
}

/// Messages name the remedy; rule numbers appear in logs only.
#[tokio::test(start_paused = true)]
async fn a_refused_membership_change_explains_what_is_needed() {
    let scenario = scenario([("oda", Owner), ("ada", Admin), ("ben", Writer)]).await;
    let refusals = [
        ("ben", "ada", Reader, "that takes Admin: ask a member who is"),
        ("ada", "oda", Writer, "the role is Owner: ask a member who is no less"),
        ("ada", "ada", Owner, "nobody raises themselves"),
        ("fay", "ben", Writer, "the role is Writer already"),
    ];
    for (author, target, role, words) in refusals {
        let refused = scenario.group(author).set_role(scenario.user(target), role).await.unwrap_err();
        let GroupError::Change(cause) = refused else { panic!("{refused:?}") };
        assert!(cause.to_string().contains(words), "{cause}");
    }
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lowering_to_admin_cannot_be_confirmed() {
    let mut scenario = scenario([("oda", Owner), ("una", Owner)]).await;
    let lowering = scenario.set_role("una", "oda", Admin).await;
    scenario.converge().await;
    assert_eq!(scenario.group("fay").contestable()[0].op, lowering);

    let refused = scenario.group("fay").confirm(lowering).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);
    let GroupError::Change(cause) = refused else { panic!("{refused:?}") };
    assert!(cause.to_string().contains("only a role below Admin is confirmed"), "{cause}");
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_admin_cannot_leave_other_members_without_one() {
    let scenario = scenario([("ben", Writer)]).await;
    let fay = scenario.group("fay");
    // An Admin without a device does not count.
    fay.add_member(PIA, Admin).await.unwrap();
    let GroupError::Change(cause) = fay.leave().await.unwrap_err() else { panic!("another kind of error") };
    assert!(cause.to_string().contains("one who has come in with a device"), "{cause}");

    scenario.set_role("fay", "ben", Admin).await;
    fay.leave().await.unwrap();
    scenario.close().await;
}
