//! Who may do what to whom, on real nodes: the worked examples of the rules by name, and in `membership/` the
//! adversarial scenarios by number.
//!
//! Whoever reads along in the rules: seniority goes by the order in which the people of a village are named. Where an
//! example removes somebody who may write, which needs a cut of what they wrote, they are made a Writer instead: an
//! Admin no more, by the same rule.

mod rogues;
mod scenarios;

use std::collections::BTreeMap;
use std::time::Duration;

use peerbase::error::Waiting;
use peerbase::group::{DeclineReason, InviteStatus, MemberDevice, MemberOp, OpAction, OpStatus};
use peerbase::sim::{Net, Peer};
use peerbase::{ErrorKind, Event, Group, GroupError, GroupId, InviteOptions, JoinError, OpId, Role, UserId};
use tokio::sync::broadcast::Receiver;

use Role::{Admin, Founder, None as Out, Owner, Reader, Writer};

use crate::support::{group, task, tasks, titles, until};

/// Long enough for every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);
/// Somebody who never comes.
const PIA: UserId = UserId([9; 32]);

/// A founder's group and its people, each with a node.
struct Village {
    net: Net,
    home: GroupId,
    people: BTreeMap<&'static str, Peer>,
    users: BTreeMap<&'static str, UserId>,
}

/// Fay's group with these people in it, the most senior first, all in sync.
async fn village<const N: usize>(people: [(&'static str, Role); N]) -> Village {
    let mut net = Net::seeded(N as u64).latency_ms(5..40);
    let [fay] = net.nodes(["fay"]).await;
    let group = fay.node().create_group("home").await.unwrap();
    let mut village =
        Village { net, home: group.id(), people: BTreeMap::new(), users: BTreeMap::from([("pia", PIA)]) };
    village.comes("fay", fay);
    for (name, role) in people {
        let [peer] = village.net.nodes([name]).await;
        village.comes(name, peer);
        village.says("fay", name, role).await;
        village.asks(name).await;
    }
    village.meet().await;
    village
}

impl Village {
    fn comes(&mut self, name: &'static str, peer: Peer) {
        self.users.insert(name, peer.node().user_id());
        self.people.insert(name, peer);
    }

    /// Nobody tells the removed that they are, so their node would go on waiting: it goes.
    async fn goes(&mut self, name: &str) {
        let peer = self.people.remove(name).unwrap();
        self.net.crash(&peer).await;
    }

    fn group(&self, name: &str) -> Group {
        group(&self.people[name], self.home)
    }

    fn user(&self, name: &str) -> UserId {
        self.users[name]
    }

    async fn asks(&self, name: &str) {
        self.people[name].node().request_group(self.home).await.unwrap();
    }

    async fn says(&self, author: &str, about: &str, role: Role) -> OpId {
        self.group(author).set_role(self.user(about), role).await.unwrap().op
    }

    async fn may_not_say(&self, author: &str, about: &str, role: Role) -> GroupError {
        self.group(author).set_role(self.user(about), role).await.unwrap_err()
    }

    /// Only people who are named together reach each other; the others are alone.
    fn part(&mut self, together: &[&str]) {
        let together: Vec<&Peer> = together.iter().map(|name| &self.people[name]).collect();
        let alone = self.people.values().filter(|peer| together.iter().all(|it| it.name() != peer.name()));
        let alone: Vec<Vec<&Peer>> = alone.map(|peer| vec![peer]).collect();
        let sides: Vec<&[&Peer]> =
            [&together[..]].into_iter().chain(alone.iter().map(|side| &side[..])).collect();
        self.net.partition(&sides);
    }

    /// Everybody meets everybody and knows the same.
    async fn meet(&mut self) {
        self.net.heal();
        self.net.settle().await;
        self.net.assert_converged();
    }

    /// The roles as `by` sees them.
    fn roles<const N: usize>(&self, by: &str, names: [&str; N]) -> [Role; N] {
        let members = self.group(by).members();
        let role = |user| members.iter().find(|member| member.user == user).map_or(Out, |member| member.role);
        names.map(|name| role(self.user(name)))
    }

    /// How an op stands, for whoever is in the group.
    async fn standing(&self, op: OpId) -> OpStatus {
        let log = self.group("fay").log().await.unwrap();
        log.iter().find(|entry| entry.op == op).unwrap().standing
    }

    async fn ends(mut self) {
        self.meet().await;
        self.net.close().await;
    }
}

fn heard(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn w1_of_two_admins_who_lower_each_other_the_senior_stays() {
    let mut village = village([("ada", Admin), ("ben", Admin)]).await;
    village.part(&[]);
    let by_ada = village.says("ada", "ben", Writer).await;
    let by_ben = village.says("ben", "ada", Writer).await;
    let mut of_ben = village.people["ben"].node().events();

    village.meet().await;

    for name in ["fay", "ada", "ben"] {
        assert_eq!(village.roles(name, ["ada", "ben"]), [Admin, Writer], "as {name} sees it");
    }
    assert_eq!(village.standing(by_ada).await, OpStatus::Counts);
    assert_eq!(village.standing(by_ben).await, OpStatus::Void);
    let told = heard(&mut of_ben);
    assert!(told.contains(&Event::Voided { group: village.home, op: by_ben }), "{told:?}");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w2_a_circle_of_lowerings_is_cut_where_the_strongest_began() {
    let mut village = village([("ada", Admin), ("ben", Admin), ("cid", Admin)]).await;
    village.part(&[]);
    village.says("ada", "ben", Writer).await;
    village.says("ben", "cid", Writer).await;
    village.says("cid", "ada", Writer).await;

    village.meet().await;

    assert_eq!(village.roles("fay", ["ada", "ben", "cid"]), [Writer, Writer, Admin]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w3_whom_a_lowered_admin_let_in_meanwhile_was_never_in() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("quin", Reader)]).await;
    village.part(&["ada", "quin"]);
    village.says("oda", "ada", Writer).await;
    village.says("ada", "quin", Admin).await;
    village.net.settle().await;
    village.says("quin", "pia", Reader).await;
    village.net.settle().await;
    assert_eq!(village.roles("ada", ["ada", "quin", "pia"]), [Admin, Admin, Reader]);

    village.meet().await;

    assert_eq!(village.roles("quin", ["ada", "quin", "pia"]), [Writer, Reader, Out]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w3b_what_the_remover_had_seen_stands() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("quin", Reader)]).await;
    village.says("ada", "quin", Admin).await;
    village.meet().await;
    village.says("quin", "pia", Reader).await;
    village.meet().await;

    village.says("oda", "ada", Writer).await;
    village.meet().await;

    assert_eq!(village.roles("quin", ["ada", "quin", "pia"]), [Writer, Admin, Reader]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w4_the_higher_role_speaks_over_the_lower() {
    let mut village = village([("ada", Admin), ("zoe", Reader)]).await;
    village.part(&[]);
    village.says("fay", "zoe", Owner).await;
    let removal = village.group("ada").remove_member(village.user("zoe")).await.unwrap().op;

    village.meet().await;

    assert_eq!(village.roles("ada", ["ada", "zoe"]), [Admin, Owner]);
    assert_eq!(village.standing(removal).await, OpStatus::Superseded);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w4b_of_two_who_are_equal_the_lowest_result_holds() {
    let mut village = village([("ada", Admin), ("ben", Admin), ("zoe", Reader)]).await;
    village.part(&[]);
    village.says("ada", "zoe", Writer).await;
    village.group("ben").remove_member(village.user("zoe")).await.unwrap();
    village.goes("zoe").await;

    village.meet().await;

    assert_eq!(village.roles("fay", ["ada", "ben", "zoe"]), [Admin, Admin, Out]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w5_a_junior_may_be_contested_until_somebody_stronger_confirms() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    let mut of_oda = village.people["oda"].node().events();
    village.part(&["fay", "oda", "ben"]);
    let lowering = village.says("ben", "ada", Writer).await;
    village.net.settle().await;

    let oda = village.group("oda");
    let [contestable] = oda.contestable()[..] else { panic!("{:?}", oda.contestable()) };
    assert_eq!((contestable.op, contestable.author), (lowering, village.user("ben")));
    let member = oda.members().into_iter().find(|member| member.user == village.user("ada")).unwrap();
    assert_eq!((member.role, member.contestable), (Writer, Some(contestable)));
    let told = heard(&mut of_oda);
    let open = |event: &Event| matches!(event, Event::Contestable { op, .. } if *op == lowering);
    assert!(told.iter().any(open), "{told:?}");
    let weak = village.group("ben").confirm(lowering).await.unwrap_err();
    assert_eq!(weak.kind(), ErrorKind::NotAllowed);

    // Ada, who has not heard of anything, does the same to ben; oda confirms.
    let contest = village.says("ada", "ben", Writer).await;
    oda.confirm(lowering).await.unwrap();
    assert_eq!(oda.confirm(lowering).await.unwrap_err().kind(), ErrorKind::NotFound);
    village.meet().await;

    assert_eq!(village.roles("fay", ["ada", "ben"]), [Writer, Admin]);
    assert_eq!(village.standing(contest).await, OpStatus::Void);
    assert_eq!(village.group("ada").contestable(), []);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w5_what_nobody_confirmed_is_contested_and_all_agree() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    village.part(&[]);
    let lowering = village.says("ben", "ada", Writer).await;
    let contest = village.says("ada", "ben", Writer).await;

    village.meet().await;

    assert_eq!(village.roles("ben", ["ada", "ben"]), [Admin, Writer]);
    let gone = village.group("oda").confirm(lowering).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "nothing is left to confirm");

    // Oda would have had it the other way, and says so as of before the contest.
    let as_of = village.group("oda").set_role(village.user("ada"), Writer).as_of(&[contest]).await;
    as_of.unwrap();
    village.meet().await;
    assert_eq!(village.roles("ben", ["ada", "ben"]), [Writer, Admin]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w6_whoever_was_lowered_by_somebody_stronger_changes_nothing_any_more() {
    let mut village =
        village([("oda", Owner), ("mia", Admin), ("ben", Admin), ("sam", Reader), ("zoe", Reader)]).await;
    village.part(&["mia", "sam"]);
    village.says("oda", "mia", Writer).await;
    let vandalism = village.says("mia", "ben", Writer).await;
    village.says("mia", "sam", Admin).await;
    village.net.settle().await;
    village.group("sam").remove_member(village.user("zoe")).await.unwrap();
    let above = village.may_not_say("mia", "oda", Writer).await;
    assert_eq!(above.kind(), ErrorKind::NotAllowed);

    village.meet().await;

    let people = ["oda", "mia", "ben", "sam", "zoe"];
    assert_eq!(village.roles("mia", people), [Owner, Writer, Admin, Reader, Reader]);
    assert_eq!(village.standing(vandalism).await, OpStatus::Void);
    assert_eq!(village.may_not_say("mia", "zoe", Writer).await.kind(), ErrorKind::NotAllowed);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w7_an_admin_who_missed_a_promotion_does_not_undo_it() {
    let mut village = village([("mia", Admin), ("zoe", Reader)]).await;
    village.part(&["fay", "zoe"]);
    village.says("fay", "zoe", Owner).await;
    village.net.settle().await;
    village.says("zoe", "pia", Reader).await;
    village.group("mia").remove_member(village.user("zoe")).await.unwrap();

    village.meet().await;

    assert_eq!(village.roles("mia", ["mia", "zoe", "pia"]), [Admin, Owner, Reader]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w8_a_junior_founders_stolen_key_is_taken_back_by_the_senior_founder() {
    let mut village = village([("gil", Founder), ("ada", Admin)]).await;
    village.part(&[]);
    village.says("gil", "ada", Writer).await;
    village.says("gil", "pia", Owner).await;
    let senior = village.may_not_say("gil", "fay", Writer).await;
    assert_eq!(senior.kind(), ErrorKind::NotAllowed);
    village.says("fay", "gil", Writer).await;

    village.meet().await;

    assert_eq!(village.roles("gil", ["fay", "gil", "ada", "pia"]), [Founder, Writer, Admin, Out]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w9_a_new_grant_does_not_revive_what_was_said_under_the_old_one() {
    let mut village = village([("ada", Admin), ("mia", Admin)]).await;
    village.part(&[]);
    village.says("fay", "mia", Writer).await;
    village.says("fay", "mia", Admin).await;
    let old = village.says("mia", "ada", Writer).await;
    let older = village.says("mia", "pia", Reader).await;

    village.meet().await;
    assert_eq!(village.standing(old).await, OpStatus::Void);
    assert_eq!(village.standing(older).await, OpStatus::Void);
    village.says("mia", "pia", Writer).await;
    village.meet().await;

    assert_eq!(village.roles("ada", ["ada", "mia", "pia"]), [Admin, Admin, Writer]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w10_a_voided_removal_is_shown_and_said_again() {
    let mut village = village([("ada", Admin), ("zoe", Reader)]).await;
    village.part(&[]);
    let removal = village.group("ada").remove_member(village.user("zoe")).await.unwrap().op;
    village.says("fay", "ada", Writer).await;

    village.meet().await;

    assert_eq!(village.roles("zoe", ["ada", "zoe"]), [Writer, Reader], "zoe is still in");
    let fay = village.group("fay");
    let voided = fay.voided().await.unwrap();
    let act = OpAction::SetRole { user: village.user("zoe"), role: Out };
    let author = village.user("ada");
    assert_eq!(voided, [MemberOp { op: removal, author, act, standing: OpStatus::Void }]);
    assert_eq!(village.group("ada").reissue(removal).await.unwrap_err().kind(), ErrorKind::NotAllowed);

    village.goes("zoe").await;
    let again = fay.reissue(removal).await.unwrap();
    village.meet().await;
    assert_eq!(village.roles("ada", ["zoe"]), [Out]);
    assert_eq!(fay.voided().await.unwrap(), [], "it is so all the same");
    assert_eq!(fay.reissue(again).await.unwrap_err().kind(), ErrorKind::NotFound, "it has an effect");
    village.ends().await;
}

/// Ada admits pia; mia, who is her senior and has not heard of it, lowers ada; everybody has seen both.
async fn vandalised() -> (Village, OpId) {
    let mut village = village([("oda", Owner), ("mia", Admin), ("ada", Admin)]).await;
    village.part(&[]);
    village.says("ada", "pia", Reader).await;
    let vandalism = village.says("mia", "ada", Writer).await;
    village.meet().await;
    assert_eq!(village.roles("oda", ["mia", "ada", "pia"]), [Admin, Writer, Out]);
    (village, vandalism)
}

#[tokio::test(start_paused = true)]
async fn w11_what_the_remover_had_seen_is_not_undone_by_a_removal() {
    let (mut village, vandalism) = vandalised().await;

    village.says("oda", "mia", Writer).await;
    village.meet().await;

    assert_eq!(village.roles("ada", ["mia", "ada", "pia"]), [Writer, Writer, Out]);
    assert_eq!(village.standing(vandalism).await, OpStatus::Counts);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn w11b_as_of_before_it_vandalism_is_undone_on_every_device() {
    let (mut village, vandalism) = vandalised().await;
    let (oda, mia) = (village.group("oda"), village.user("mia"));
    let unknown = oda.set_role(mia, Writer).as_of(&[OpId([7; 32])]).await.unwrap_err();
    let founding = oda.set_role(mia, Writer).as_of(&[OpId(village.home.0)]).await.unwrap_err();
    assert_eq!((unknown.kind(), founding.kind()), (ErrorKind::NotFound, ErrorKind::NotFound));

    oda.set_role(mia, Writer).as_of(&[vandalism]).await.unwrap();
    village.meet().await;

    assert_eq!(village.roles("ada", ["mia", "ada", "pia"]), [Writer, Admin, Reader]);
    assert_eq!(village.standing(vandalism).await, OpStatus::Void);
    village.says("ada", "pia", Writer).await;
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_may_write_is_lowered_and_removed_and_what_they_wrote_stays() {
    let mut village = village([("ada", Admin), ("ben", Writer), ("rob", Reader)]).await;
    tasks(&village.people["ben"], village.home).put("a", &task("basil")).await.unwrap();
    village.meet().await;
    let fay = village.group("fay");

    // Not as of before ben could write, which would take everything that he wrote.
    let log = fay.log().await.unwrap();
    let granted = log.iter().find(|said| said.act.target() == Some(village.user("ben"))).unwrap();
    let as_of = fay.remove_member(village.user("ben")).as_of(&[granted.op]).await.unwrap_err();
    assert_eq!(as_of.kind(), ErrorKind::NotAllowed);
    assert_eq!(fay.remove_member(PIA).await.unwrap_err().kind(), ErrorKind::NotFound);

    for (ada, ben) in [(Admin, Reader), (Admin, Writer), (Reader, Reader), (Writer, Writer)] {
        for (name, role) in [("ada", ada), ("ben", ben)] {
            if village.roles("fay", [name]) != [role] {
                village.says("fay", name, role).await;
            }
        }
        village.meet().await;
        assert_eq!(village.roles("rob", ["ada", "ben"]), [ada, ben]);
        assert_eq!(titles(&tasks(&village.people["rob"], village.home)), ["basil"]);
    }
    village.goes("ben").await;
    fay.remove_member(village.user("ben")).await.unwrap();
    village.meet().await;
    assert_eq!(village.roles("rob", ["ben"]), [Out]);
    assert_eq!(titles(&tasks(&village.people["rob"], village.home)), ["basil"]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_reader_gets_no_more_rows_and_is_let_in_again_by_a_person() {
    let mut village = village([("ben", Writer), ("rob", Reader)]).await;
    tasks(&village.people["ben"], village.home).put("a", &task("basil")).await.unwrap();
    village.meet().await;
    village.group("fay").remove_member(village.user("rob")).await.unwrap();
    village.net.sleep(A_WHILE).await;
    assert_eq!(village.roles("ben", ["rob"]), [Out]);

    tasks(&village.people["ben"], village.home).put("b", &task("rope")).await.unwrap();
    village.net.sleep(A_WHILE).await;
    assert_eq!(titles(&tasks(&village.people["rob"], village.home)), ["basil"]);

    village.says("fay", "rob", Reader).await;
    village.meet().await;
    assert_eq!(titles(&tasks(&village.people["rob"], village.home)), ["basil", "rope"]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_handed_over_to_a_member_who_is_there() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("rob", Reader)]).await;
    let oda = village.group("oda");
    village.says("fay", "pia", Writer).await;
    village.meet().await;
    for (by, to) in [("oda", "oda"), ("oda", "pia"), ("ada", "rob")] {
        let refused = village.group(by).transfer_ownership(village.user(to)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAllowed, "{by} to {to}");
    }
    assert_eq!(village.roles("fay", ["oda", "ada"]), [Owner, Admin], "nothing was said by halves");

    oda.transfer_ownership(village.user("ada")).await.unwrap();
    village.meet().await;
    assert_eq!(village.roles("fay", ["oda", "ada", "rob"]), [Admin, Owner, Reader]);

    village.group("fay").transfer_ownership(village.user("rob")).await.unwrap();
    village.meet().await;
    assert_eq!(village.roles("ada", ["fay", "rob"]), [Admin, Founder]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_who_is_in_charge_does_not_step_down() {
    let mut village = village([("ben", Writer)]).await;
    let alone = village.may_not_say("fay", "fay", Writer).await;
    let GroupError::Change(cause) = alone else { panic!("{alone:?}") };
    assert!(cause.to_string().contains("nobody would be in charge"), "{cause}");

    village.says("fay", "ben", Admin).await;
    village.says("fay", "fay", Writer).await;
    village.meet().await;
    assert_eq!(village.roles("ben", ["fay", "ben"]), [Writer, Admin]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn members_are_shown_with_their_devices_and_who_let_them_in() {
    let village = village([("ada", Admin), ("ben", Writer)]).await;
    village.says("ada", "pia", Reader).await;
    let (fay, ada) = (village.user("fay"), village.user("ada"));
    let members = village.group("ada").members();
    let of = |name: &str| members.iter().find(|member| member.user == village.user(name)).unwrap();

    assert_eq!((of("fay").role, of("fay").granted_by), (Founder, None));
    assert_eq!((of("ada").role, of("ada").granted_by), (Admin, Some(fay)));
    assert_eq!((of("pia").granted_by, &of("pia").devices), (Some(ada), &vec![]));
    for name in ["fay", "ada", "ben"] {
        let device = village.people[name].node().device_id();
        let (user, label, addresses) =
            (village.user(name), name.to_owned(), of(name).devices[0].addresses.clone());
        assert_eq!(of(name).devices, [MemberDevice { user, device, label, addresses }], "{name}");
    }
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_let_in_once_more_is_neither_lowered_nor_removed() {
    let village = village([("ben", Writer)]).await;
    let (fay, ben) = (village.group("fay"), village.user("ben"));
    let given = fay.log().await.unwrap().last().unwrap().op;

    assert_eq!(fay.add_member(ben, Writer).await.unwrap(), given, "so it is already");
    for role in [Reader, Out] {
        let lower = fay.add_member(ben, role).await.unwrap_err();
        assert_eq!(lower.kind(), ErrorKind::Invalid, "{lower:?}");
        let GroupError::Change(cause) = lower else { panic!("{lower:?}") };
        assert!(cause.to_string().contains("set their role, or remove them"), "{cause}");
    }
    assert_eq!(village.roles("fay", ["ben"]), [Writer]);
    assert_ne!(fay.add_member(ben, Admin).await.unwrap(), given);
    assert_eq!(village.roles("fay", ["ben"]), [Admin]);
    village.ends().await;
}

/// What a person reads says what to do; the number of a rule is for the log.
#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_what_to_do() {
    let village = village([("oda", Owner), ("ada", Admin), ("ben", Writer)]).await;
    let said = [
        ("ben", "pia", Reader, "that takes Admin: ask a member who is"),
        ("ada", "oda", Writer, "the role is Owner: ask a member who is no less"),
        ("ada", "ada", Owner, "nobody raises themselves"),
        ("fay", "ben", Writer, "the role is Writer already"),
    ];
    for (by, whom, role, words) in said {
        let refused = village.group(by).set_role(village.user(whom), role).await.unwrap_err();
        let GroupError::Change(cause) = refused else { panic!("{refused:?}") };
        assert!(cause.to_string().contains(words), "{cause}");
    }
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lowering_to_admin_is_said_to_be_nothing_to_confirm() {
    let mut village = village([("oda", Owner), ("una", Owner)]).await;
    let lowering = village.says("una", "oda", Admin).await;
    village.meet().await;
    assert_eq!(village.group("fay").contestable()[0].op, lowering);

    let refused = village.group("fay").confirm(lowering).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);
    let GroupError::Change(cause) = refused else { panic!("{refused:?}") };
    assert!(cause.to_string().contains("only a role below Admin is confirmed"), "{cause}");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_who_is_in_charge_does_not_leave_the_others_alone() {
    let village = village([("ben", Writer)]).await;
    let fay = village.group("fay");
    // Somebody who never came in is nobody to look after others.
    fay.add_member(PIA, Admin).await.unwrap();
    let GroupError::Change(cause) = fay.leave().await.unwrap_err() else { panic!("of another kind") };
    assert!(cause.to_string().contains("one who has come in with a device"), "{cause}");

    village.says("fay", "ben", Admin).await;
    fay.leave().await.unwrap();
    village.ends().await;
}
