//! The scenarios of authority 4.2 in which everybody runs an honest node, and is apart from others for a while.

use peerbase::node::{EndedLink, LinkEnd};
use schema::wire::link::ByeReason;

use super::*;

fn person(number: u8) -> UserId {
    UserId([100 + number; 32])
}

impl Village {
    /// Several sides, each of which is together.
    fn sides(&mut self, sides: &[&[&str]]) {
        let sides: Vec<Vec<&Peer>> =
            sides.iter().map(|side| side.iter().map(|name| &self.people[name]).collect()).collect();
        let sides: Vec<&[&Peer]> = sides.iter().map(Vec::as_slice).collect();
        self.net.partition(&sides);
    }

    /// The roles, on which everybody agrees.
    fn agreed<const N: usize>(&self, names: [&str; N]) -> [Role; N] {
        let seen: Vec<_> = self.people.keys().map(|by| self.roles(by, names)).collect();
        assert!(seen.iter().all(|roles| *roles == seen[0]), "{:?} see {seen:?}", self.people.keys());
        seen[0]
    }
}

#[tokio::test(start_paused = true)]
async fn scenario_1_of_two_admins_against_each_other_the_senior_stays_in_both_orders() {
    let people = [("ada", Admin), ("ben", Admin), ("cid", Reader), ("dan", Reader)];
    let mut village = village(people).await;
    village.part(&[]);
    village.says("ada", "ben", Writer).await;
    village.says("ben", "ada", Writer).await;

    // Cid hears of the one first, dan of the other.
    village.sides(&[&["ada", "cid"], &["ben", "dan"], &["fay"]]);
    village.net.settle().await;
    assert_eq!(village.roles("cid", ["ada", "ben"]), [Admin, Writer]);
    assert_eq!(village.roles("dan", ["ada", "ben"]), [Writer, Admin]);
    village.meet().await;

    assert_eq!(village.agreed(["ada", "ben"]), [Admin, Writer]);
    village.ends().await;
}

/// Whoever was met first once had the last word: nobody listened to the senior any more, who had been removed.
#[tokio::test(start_paused = true)]
async fn scenario_1_of_two_admins_who_remove_each_other_the_senior_stays_whoever_is_met_first() {
    for first in ["ada", "ben"] {
        let people = [("ada", Admin), ("ben", Admin), ("cid", Reader), ("dan", Reader)];
        let mut village = village(people).await;
        village.part(&[]);
        village.says("ada", "ben", Out).await;
        village.says("ben", "ada", Out).await;

        village.part(&["fay", "cid", "dan", first]);
        village.net.settle().await;
        let second = if first == "ada" { "ben" } else { "ada" };
        assert_eq!(village.roles("dan", [first, second]), [Admin, Out]);
        // Who has a way to somebody again is told so, and dials at once.
        village.net.heal();
        village.part(&["fay", "cid", "dan", second]);
        village.net.settle().await;
        assert_eq!(village.roles("dan", ["ada", "ben"]), [Admin, Out], "{first} was met first");

        village.meet().await;
        for name in ["fay", "ada", "cid", "dan"] {
            assert_eq!(village.roles(name, ["ada", "ben"]), [Admin, Out], "as {name} sees it");
        }
        village.net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn scenario_2_a_cycle_of_admins_leaves_the_one_whose_opponent_fell() {
    let mut village = village([("ada", Admin), ("ben", Admin), ("cid", Admin), ("dan", Reader)]).await;
    village.part(&[]);
    for (author, target) in [("ada", "ben"), ("ben", "cid"), ("cid", "ada")] {
        village.says(author, target, Writer).await;
    }

    // Dan meets them one by one, and the others through him.
    for (name, roles) in
        [("ben", [Admin, Admin, Writer]), ("cid", [Admin, Admin, Writer]), ("ada", [Writer, Writer, Admin])]
    {
        village.part(&["dan", name]);
        village.net.settle().await;
        assert_eq!(village.roles("dan", ["ada", "ben", "cid"]), roles, "after {name}");
    }
    village.meet().await;

    assert_eq!(village.agreed(["ada", "ben", "cid"]), [Writer, Writer, Admin]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_4_a_contested_lowering_is_the_same_for_all_and_final_once_confirmed() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    village.part(&["oda", "ben"]);
    let lowering = village.says("ben", "ada", Writer).await;
    village.net.settle().await;
    let contest = village.says("ada", "ben", Writer).await;

    // Oda has heard of the lowering alone; those who heard of both agree without her.
    village.part(&["fay", "ada", "ben"]);
    village.net.settle().await;
    for name in ["fay", "ada", "ben"] {
        assert_eq!(village.roles(name, ["ada", "ben"]), [Admin, Writer], "as {name} sees it");
    }
    village.group("oda").confirm(lowering).await.unwrap();
    village.meet().await;

    assert_eq!(village.agreed(["ada", "ben"]), [Writer, Admin]);
    assert_eq!(village.standing(contest).await, OpStatus::Void);
    assert_eq!(village.group("fay").contestable(), []);
    village.ends().await;
}

/// Of a founder's two devices, one lowers the other founder, and one lowers their user: the second voids the first.
#[tokio::test(start_paused = true)]
async fn scenario_6_whoever_cites_a_void_lowering_does_not_lift_a_founder_down() {
    let mut village = village([("gil", Founder), ("oda", Owner)]).await;
    let phone = village.net.device_of(&village.people["fay"], "phone").await;
    village.people.insert("phone", phone);
    village.users.insert("phone", village.user("fay"));
    village.meet().await;
    village.part(&["fay", "oda"]);
    let void = village.says("fay", "gil", Writer).await;
    village.net.settle().await;
    let laundered = village.says("oda", "gil", Owner).await;
    village.says("phone", "phone", Admin).await;

    village.meet().await;

    assert_eq!(village.agreed(["fay", "gil", "oda"]), [Admin, Founder, Owner]);
    assert_eq!(village.standing(void).await, OpStatus::Void);
    assert_ne!(village.standing(laundered).await, OpStatus::Counts);
    village.ends().await;
}

/// Ada admits 20 people of whom mia does not know when she lowers ada; oda restated the first of them meanwhile.
async fn erased(people: [(&'static str, Role); 3]) -> (Village, OpId) {
    let mut village = village(people).await;
    village.part(&["fay", "oda", "ada"]);
    for number in 0..20 {
        village.group("ada").set_role(person(number), Reader).await.unwrap();
    }
    village.net.settle().await;
    village.group("oda").set_role(person(0), Reader).await.unwrap();
    let erasure = village.says("mia", "ada", Writer).await;
    village.meet().await;
    (village, erasure)
}

fn of_the_twenty(village: &Village, by: &str) -> usize {
    let members = village.group(by).members();
    (0..20).filter(|number| members.iter().any(|member| member.user == person(*number))).count()
}

#[tokio::test(start_paused = true)]
async fn scenario_7_what_a_senior_admin_erases_in_the_past_an_owner_restores() {
    let (mut village, erasure) = erased([("oda", Owner), ("mia", Admin), ("ada", Admin)]).await;
    assert_eq!(village.agreed(["mia", "ada"]), [Admin, Writer]);
    assert_eq!(of_the_twenty(&village, "oda"), 1, "the one that an Owner stands by");

    village.group("oda").set_role(village.user("mia"), Writer).as_of(&[erasure]).await.unwrap();
    village.meet().await;

    assert_eq!(village.agreed(["mia", "ada"]), [Writer, Admin]);
    for name in ["fay", "oda", "mia", "ada"] {
        assert_eq!(of_the_twenty(&village, name), 20, "as {name} sees it");
    }
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_7_a_junior_admin_erases_nothing_in_the_past() {
    let (village, _) = erased([("oda", Owner), ("ada", Admin), ("mia", Admin)]).await;
    assert_eq!(village.agreed(["mia", "ada"]), [Admin, Writer], "which may be contested");
    for name in ["fay", "oda", "mia", "ada"] {
        assert_eq!(of_the_twenty(&village, name), 20, "as {name} sees it");
    }
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_8_a_puppet_is_junior_to_its_maker_and_falls_with_them() {
    let mut village = village([("oda", Owner), ("ada", Admin), ("mia", Admin), ("sam", Reader)]).await;
    village.part(&["ada", "mia", "sam"]);
    village.says("oda", "mia", Writer).await;
    village.says("mia", "sam", Admin).await;
    village.net.settle().await;
    village.part(&[]);
    village.says("ada", "sam", Writer).await;
    let duel = village.says("sam", "ada", Writer).await;

    village.part(&["ada", "mia", "sam"]);
    village.net.settle().await;
    assert_eq!(village.roles("mia", ["ada", "mia", "sam"]), [Admin, Admin, Writer], "the elder wins");
    village.meet().await;

    assert_eq!(village.agreed(["ada", "mia", "sam"])[..2], [Admin, Writer]);
    assert_eq!(village.standing(duel).await, OpStatus::Void);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_9_a_voided_removal_is_listed_for_who_voided_it_and_one_tap_repeats_it() {
    let mut village = village([("ada", Admin), ("yan", Reader), ("zoe", Reader)]).await;
    village.part(&["ada"]);
    let of_yan = village.group("ada").remove_member(village.user("yan")).await.unwrap().op;
    let of_zoe = village.group("ada").remove_member(village.user("zoe")).await.unwrap().op;
    village.says("fay", "ada", Writer).await;
    village.meet().await;
    assert_eq!(village.agreed(["ada", "yan", "zoe"]), [Writer, Reader, Reader]);

    let voided = village.group("fay").voided().await.unwrap();
    assert_eq!(voided.iter().map(|said| said.op).collect::<Vec<_>>(), [of_yan, of_zoe]);
    village.group("fay").reissue(of_zoe).await.unwrap();
    village.goes("zoe").await;
    village.meet().await;

    assert_eq!(village.agreed(["ada", "yan", "zoe"]), [Writer, Reader, Out]);
    let voided = village.group("fay").voided().await.unwrap();
    assert_eq!(voided.iter().map(|said| said.op).collect::<Vec<_>>(), [of_yan], "only what is not so");
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_ticket_used_twice_apart_lets_both_in_and_shows_it() {
    let mut village = village([("ada", Admin)]).await;
    let ticket = village.group("fay").invite(Reader).await.unwrap();
    village.net.settle().await;
    let [cid, dan] = village.net.nodes_apart(["cid", "dan"]).await;
    village.comes("cid", cid);
    village.comes("dan", dan);
    village.sides(&[&["fay", "cid"], &["ada", "dan"]]);
    village.people["cid"].node().join(&ticket).await.unwrap();
    village.people["dan"].node().connect("memory://ada").await.unwrap();
    village.people["dan"].node().join(&ticket).await.unwrap();

    village.net.heal();
    village.net.sleep(A_WHILE).await;

    assert_eq!(village.agreed(["cid", "dan"]), [Reader, Reader]);
    let invites = village.group("ada").invites().await.unwrap();
    assert_eq!((invites[0].used, invites[0].uses), (2, 1));
    village.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_closed_ticket_lets_in_only_where_the_closing_is_unknown_and_shows_it() {
    let mut village = village([("ada", Admin)]).await;
    let ticket = village.group("fay").invite_with(InviteOptions::new(Reader).uses(5)).await.unwrap();
    village.net.settle().await;
    let [cid, dan] = village.net.nodes_apart(["cid", "dan"]).await;
    village.comes("cid", cid);
    village.comes("dan", dan);
    village.sides(&[&["fay", "cid"], &["ada", "dan"]]);
    village.group("fay").close_invite(ticket.invite()).await.unwrap();

    let late = village.people["cid"].node().join(&ticket).await.unwrap_err();
    assert!(matches!(late, JoinError::Declined { reason: DeclineReason::Closed, .. }), "{late:?}");
    village.people["dan"].node().connect("memory://ada").await.unwrap();
    village.people["dan"].node().join(&ticket).await.unwrap();
    village.net.heal();
    village.net.sleep(A_WHILE).await;

    assert_eq!(village.roles("fay", ["cid", "dan"]), [Out, Reader]);
    let invites = village.group("fay").invites().await.unwrap();
    assert_eq!((invites[0].standing, invites[0].used), (InviteStatus::Closed, 1));
    village.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_an_expired_ticket_is_refused_by_the_clock_of_who_is_asked() {
    let mut village = village([]).await;
    let hour = Duration::from_secs(3_600);
    let options = InviteOptions::new(Reader).valid_for(hour);
    let ticket = village.group("fay").invite_with(options).await.unwrap();
    let [cid] = village.net.nodes_apart(["cid"]).await;
    // Nobody is awake meanwhile: an hour of pings would take its time, virtual or not.
    let fay = village.people["fay"].clone();
    village.net.crash(&fay).await;
    village.net.sleep(hour + Duration::from_secs(1)).await;
    village.net.restart(&fay).await;

    let late = cid.node().join(&ticket).await.unwrap_err();

    assert!(matches!(late, JoinError::Declined { reason: DeclineReason::Expired, .. }), "{late:?}");
    assert_eq!(village.group("fay").members().len(), 1);
    village.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_joiner_believes_no_log_older_than_the_ticket() {
    let mut village = village([("ada", Admin)]).await;
    let [cid] = village.net.nodes_apart(["cid"]).await;
    village.comes("cid", cid);
    village.sides(&[&["fay"], &["ada", "cid"]]);
    let ticket = village.group("fay").invite(Writer).await.unwrap();
    tasks(&village.people["ada"], village.home).put("a", &task("of an old world")).await.unwrap();
    village.says("ada", "cid", Reader).await;

    village.people["cid"].node().connect("memory://ada").await.unwrap();
    let pending = village.people["cid"].node().join(&ticket).await.unwrap_err();

    assert!(matches!(pending, JoinError::Pending { why: Waiting::OldLedger, .. }), "{pending:?}");
    assert_eq!(titles(&tasks(&village.people["cid"], village.home)), Vec::<String>::new());
    village.net.close().await;
}

/// How the links of one to another have ended.
async fn ends_of(peer: &Peer, other: &Peer) -> Vec<LinkEnd> {
    let device = other.node().device_id();
    let ended = peer.node().status().await.unwrap().ended;
    ended.into_iter().filter(|end: &EndedLink| end.device == Some(device)).map(|end| end.end).collect()
}

#[tokio::test(start_paused = true)]
async fn scenario_25_a_removed_member_is_cut_off_in_mid_transfer_by_each_who_hears_of_it() {
    let mut village = village([("carol", Writer), ("mia", Reader)]).await;
    let (home, mia) = (village.home, village.people["mia"].clone());
    let row = |letter: &str| task(&letter.repeat(3 << 20));
    village.sides(&[&["fay", "mia"], &["carol"]]);
    village.net.settle().await;

    // While the rows are on the way; latency holds a record for 5 to 40 ms.
    for key in ["a", "b", "c"] {
        tasks(&village.people["fay"], home).put(key, &row(key)).await.unwrap();
    }
    village.net.sleep(Duration::from_millis(100)).await;
    let removal = village.group("fay").remove_member(village.user("mia")).await.unwrap().op;
    village.net.sleep(A_WHILE).await;
    assert!(titles(&tasks(&mia, home)).len() < 3, "the rest never came");

    // Carol has not heard of it, and serves her; until she does.
    village.sides(&[&["carol", "mia"], &["fay"]]);
    tasks(&village.people["carol"], home).put("d", &task("by the uninformed")).await.unwrap();
    until(&village.net, "mia reads what carol writes", || {
        titles(&tasks(&mia, home)).contains(&"by the uninformed".to_owned())
    })
    .await;
    village.net.heal();
    until(&village.net, "carol hears of it", || village.roles("carol", ["mia"]) == [Out]).await;
    tasks(&village.people["carol"], home).put("e", &task("by the informed")).await.unwrap();
    village.net.sleep(A_WHILE).await;

    let titles = titles(&tasks(&mia, home));
    assert!(!titles.contains(&"by the informed".to_owned()));
    assert!(group(&mia, home).log().await.unwrap().iter().all(|said| said.op != removal), "not the op");
    for name in ["fay", "carol"] {
        let ends = ends_of(&mia, &village.people[name]).await;
        let refused = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
        assert!(ends.contains(&refused), "{ends:?} from {name}");
    }
    village.net.close().await;
}

/// Cid says that ada's device is out, and falls before anybody has heard.
#[tokio::test(start_paused = true)]
async fn what_is_said_again_is_held_to_the_rules_for_who_says_it() {
    let mut village = village([("ada", Admin), ("dan", Admin), ("cid", Admin)]).await;
    village.part(&[]);
    let device = village.people["ada"].node().device_id();
    let said = village.group("cid").revoke_device(device).await.unwrap().op;
    village.says("fay", "cid", Writer).await;
    village.meet().await;
    assert_eq!(village.standing(said).await, OpStatus::Void);

    let own = village.group("ada").reissue(said).await;
    assert!(matches!(own, Err(GroupError::OwnDevice)), "{own:?}");
    village.goes("ada").await;
    village.group("dan").reissue(said).await.unwrap();
    village.net.settle().await;
    assert_eq!(village.group("fay").voided().await.unwrap(), [], "it is so all the same");
    let again = village.group("fay").reissue(said).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
    village.ends().await;
}
