//! The scenarios of authority 4.2 in which partitioned honest nodes make conflicting changes.

use peerbase::node::{EndedLink, LinkEnd};
use schema::wire::link::ByeReason;

use super::*;

fn person(number: u8) -> UserId {
    UserId([100 + number; 32])
}

impl Scenario {
    /// The roles of `names`; asserts that every device has the same.
    fn agreed<const N: usize>(&self, names: [&str; N]) -> [Role; N] {
        let seen: Vec<_> = self.peers.keys().map(|by| self.roles(by, names)).collect();
        assert!(seen.iter().all(|roles| *roles == seen[0]), "{:?} see {seen:?}", self.peers.keys());
        seen[0]
    }
}

#[tokio::test(start_paused = true)]
async fn scenario_1_the_senior_of_two_conflicting_admins_stays_in_either_order() {
    let people = [("ada", Admin), ("ben", Admin), ("cid", Reader), ("dan", Reader)];
    let mut scenario = scenario(people).await;
    scenario.partition(&[]);
    scenario.set_role("ada", "ben", Writer).await;
    scenario.set_role("ben", "ada", Writer).await;

    // Cid learns of one op first, dan of the other.
    scenario.partition(&[&["ada", "cid"], &["ben", "dan"], &["fay"]]);
    scenario.net.settle().await;
    assert_eq!(scenario.roles("cid", ["ada", "ben"]), [Admin, Writer]);
    assert_eq!(scenario.roles("dan", ["ada", "ben"]), [Writer, Admin]);
    scenario.converge().await;

    assert_eq!(scenario.agreed(["ada", "ben"]), [Admin, Writer]);
    scenario.close().await;
}

/// The first of two conflicting removals once won for good: a device ignored the senior after it had removed
/// them.
#[tokio::test(start_paused = true)]
async fn scenario_1_the_senior_of_two_admins_who_remove_each_other_stays_whichever_syncs_first() {
    for first in ["ada", "ben"] {
        let people = [("ada", Admin), ("ben", Admin), ("cid", Reader), ("dan", Reader)];
        let mut scenario = scenario(people).await;
        scenario.partition(&[]);
        scenario.set_role("ada", "ben", Out).await;
        scenario.set_role("ben", "ada", Out).await;

        scenario.partition(&[&["fay", "cid", "dan", first]]);
        scenario.net.settle().await;
        let second = if first == "ada" { "ben" } else { "ada" };
        assert_eq!(scenario.roles("dan", [first, second]), [Admin, Out]);
        scenario.partition(&[&["fay", "cid", "dan", second]]);
        scenario.net.settle().await;
        assert_eq!(scenario.roles("dan", ["ada", "ben"]), [Admin, Out], "synced with {first} first");

        scenario.converge().await;
        for name in ["fay", "ada", "cid", "dan"] {
            assert_eq!(scenario.roles(name, ["ada", "ben"]), [Admin, Out], "as {name} sees it");
        }
        scenario.net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn scenario_2_in_a_cycle_of_admins_the_one_whose_opponent_is_lowered_stays() {
    let mut scenario = scenario([("ada", Admin), ("ben", Admin), ("cid", Admin), ("dan", Reader)]).await;
    scenario.partition(&[]);
    for (author, target) in [("ada", "ben"), ("ben", "cid"), ("cid", "ada")] {
        scenario.set_role(author, target, Writer).await;
    }

    // Dan syncs with one after the other and relays.
    for (name, roles) in
        [("ben", [Admin, Admin, Writer]), ("cid", [Admin, Admin, Writer]), ("ada", [Writer, Writer, Admin])]
    {
        scenario.partition(&[&["dan", name]]);
        scenario.net.settle().await;
        assert_eq!(scenario.roles("dan", ["ada", "ben", "cid"]), roles, "after {name}");
    }
    scenario.converge().await;

    assert_eq!(scenario.agreed(["ada", "ben", "cid"]), [Writer, Writer, Admin]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_4_a_contested_lowering_resolves_alike_everywhere_and_is_final_once_confirmed() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("ben", Admin)]).await;
    scenario.partition(&[&["oda", "ben"]]);
    let lowering = scenario.set_role("ben", "ada", Writer).await;
    scenario.net.settle().await;
    let contest = scenario.set_role("ada", "ben", Writer).await;

    // Oda knows only the lowering; the devices that know both ops agree without her.
    scenario.partition(&[&["fay", "ada", "ben"]]);
    scenario.net.settle().await;
    for name in ["fay", "ada", "ben"] {
        assert_eq!(scenario.roles(name, ["ada", "ben"]), [Admin, Writer], "as {name} sees it");
    }
    scenario.group("oda").confirm(lowering).await.unwrap();
    scenario.converge().await;

    assert_eq!(scenario.agreed(["ada", "ben"]), [Writer, Admin]);
    assert_eq!(scenario.op_status(contest).await, OpStatus::Void);
    assert_eq!(scenario.group("fay").contestable(), []);
    scenario.close().await;
}

/// One device of a founder lowers the other founder, a second device lowers its own user: the second op voids
/// the first.
#[tokio::test(start_paused = true)]
async fn scenario_6_an_op_that_builds_on_a_void_lowering_does_not_lower_a_founder() {
    let mut scenario = scenario([("gil", Founder), ("oda", Owner)]).await;
    let phone = scenario.net.device_of(&scenario.peers["fay"], "phone").await;
    scenario.insert("phone", phone);
    scenario.converge().await;
    scenario.partition(&[&["fay", "oda"]]);
    let void = scenario.set_role("fay", "gil", Writer).await;
    scenario.net.settle().await;
    let laundered = scenario.set_role("oda", "gil", Owner).await;
    scenario.set_role("phone", "phone", Admin).await;

    scenario.converge().await;

    assert_eq!(scenario.agreed(["fay", "gil", "oda"]), [Admin, Founder, Owner]);
    assert_eq!(scenario.op_status(void).await, OpStatus::Void);
    assert_ne!(scenario.op_status(laundered).await, OpStatus::Counts);
    scenario.close().await;
}

/// Ada admits 20 users; mia does not know of them when she lowers ada. Meanwhile oda repeats the first grant.
async fn erased(people: [(&'static str, Role); 3]) -> (Scenario, OpId) {
    let mut scenario = scenario(people).await;
    scenario.partition(&[&["fay", "oda", "ada"]]);
    for number in 0..20 {
        scenario.group("ada").add_member(person(number), Reader).await.unwrap();
    }
    scenario.net.settle().await;
    scenario.group("oda").set_role(person(0), Reader).await.unwrap();
    let erasure = scenario.set_role("mia", "ada", Writer).await;
    scenario.converge().await;
    (scenario, erasure)
}

fn count_of_twenty(scenario: &Scenario, by: &str) -> usize {
    let members = scenario.group(by).members();
    (0..20).filter(|number| members.iter().any(|member| member.user == person(*number))).count()
}

#[tokio::test(start_paused = true)]
async fn scenario_7_an_owner_restores_grants_that_a_senior_admin_erased_by_backdating() {
    let (mut scenario, erasure) = erased([("oda", Owner), ("mia", Admin), ("ada", Admin)]).await;
    assert_eq!(scenario.agreed(["mia", "ada"]), [Admin, Writer]);
    assert_eq!(count_of_twenty(&scenario, "oda"), 1, "the grant that an Owner repeated");

    scenario.group("oda").set_role(scenario.user("mia"), Writer).as_of(&[erasure]).await.unwrap();
    scenario.converge().await;

    assert_eq!(scenario.agreed(["mia", "ada"]), [Writer, Admin]);
    for name in ["fay", "oda", "mia", "ada"] {
        assert_eq!(count_of_twenty(&scenario, name), 20, "as {name} sees it");
    }
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_7_a_junior_admin_erases_no_grants_by_backdating() {
    let (scenario, _) = erased([("oda", Owner), ("ada", Admin), ("mia", Admin)]).await;
    assert_eq!(scenario.agreed(["mia", "ada"]), [Admin, Writer], "the lowering can still be contested");
    for name in ["fay", "oda", "mia", "ada"] {
        assert_eq!(count_of_twenty(&scenario, name), 20, "as {name} sees it");
    }
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_8_a_puppet_admin_is_junior_to_its_maker_and_loses_its_role_with_them() {
    let mut scenario = scenario([("oda", Owner), ("ada", Admin), ("mia", Admin), ("sam", Reader)]).await;
    scenario.partition(&[&["ada", "mia", "sam"]]);
    scenario.set_role("oda", "mia", Writer).await;
    scenario.set_role("mia", "sam", Admin).await;
    scenario.net.settle().await;
    scenario.partition(&[]);
    scenario.set_role("ada", "sam", Writer).await;
    let duel = scenario.set_role("sam", "ada", Writer).await;

    scenario.partition(&[&["ada", "mia", "sam"]]);
    scenario.net.settle().await;
    assert_eq!(scenario.roles("mia", ["ada", "mia", "sam"]), [Admin, Admin, Writer], "the senior wins");
    scenario.converge().await;

    assert_eq!(scenario.agreed(["ada", "mia", "sam"])[..2], [Admin, Writer]);
    assert_eq!(scenario.op_status(duel).await, OpStatus::Void);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_9_a_voided_removal_is_listed_for_its_voider_who_can_reissue_it() {
    let mut scenario = scenario([("ada", Admin), ("yan", Reader), ("zoe", Reader)]).await;
    scenario.partition(&[&["ada"]]);
    let of_yan = scenario.group("ada").remove_member(scenario.user("yan")).await.unwrap().op;
    let of_zoe = scenario.group("ada").remove_member(scenario.user("zoe")).await.unwrap().op;
    scenario.set_role("fay", "ada", Writer).await;
    scenario.converge().await;
    assert_eq!(scenario.agreed(["ada", "yan", "zoe"]), [Writer, Reader, Reader]);

    let voided = scenario.group("fay").voided().await.unwrap();
    assert_eq!(voided.iter().map(|op| op.op).collect::<Vec<_>>(), [of_yan, of_zoe]);
    scenario.group("fay").reissue(of_zoe).await.unwrap();
    scenario.retire("zoe").await;
    scenario.converge().await;

    assert_eq!(scenario.agreed(["ada", "yan", "zoe"]), [Writer, Reader, Out]);
    let voided = scenario.group("fay").voided().await.unwrap();
    assert_eq!(
        voided.iter().map(|op| op.op).collect::<Vec<_>>(),
        [of_yan],
        "only ops whose result does not hold"
    );
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_ticket_used_twice_in_a_partition_admits_both_and_shows_it() {
    let mut scenario = scenario([("ada", Admin)]).await;
    let ticket = scenario.group("fay").invite(Reader).await.unwrap();
    scenario.net.settle().await;
    let [cid, dan] = scenario.net.nodes_apart(["cid", "dan"]).await;
    scenario.insert("cid", cid);
    scenario.insert("dan", dan);
    scenario.partition(&[&["fay", "cid"], &["ada", "dan"]]);
    scenario.peers["cid"].node().join(&ticket).await.unwrap();
    scenario.peers["dan"].node().connect("memory://ada").await.unwrap();
    scenario.peers["dan"].node().join(&ticket).await.unwrap();

    scenario.net.heal();
    scenario.net.sleep(A_WHILE).await;

    assert_eq!(scenario.agreed(["cid", "dan"]), [Reader, Reader]);
    let invites = scenario.group("ada").invites().await.unwrap();
    assert_eq!((invites[0].used, invites[0].uses), (2, 1));
    scenario.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_closed_ticket_admits_only_where_the_closing_is_unknown_and_shows_it() {
    let mut scenario = scenario([("ada", Admin)]).await;
    let ticket = scenario.group("fay").invite_with(InviteOptions::new(Reader).uses(5)).await.unwrap();
    scenario.net.settle().await;
    let [cid, dan] = scenario.net.nodes_apart(["cid", "dan"]).await;
    scenario.insert("cid", cid);
    scenario.insert("dan", dan);
    scenario.partition(&[&["fay", "cid"], &["ada", "dan"]]);
    scenario.group("fay").close_invite(ticket.invite()).await.unwrap();

    let late = scenario.peers["cid"].node().join(&ticket).await.unwrap_err();
    assert!(matches!(late, JoinError::Declined { reason: DeclineReason::Closed, .. }), "{late:?}");
    scenario.peers["dan"].node().connect("memory://ada").await.unwrap();
    scenario.peers["dan"].node().join(&ticket).await.unwrap();
    scenario.net.heal();
    scenario.net.sleep(A_WHILE).await;

    assert_eq!(scenario.roles("fay", ["cid", "dan"]), [Out, Reader]);
    let invites = scenario.group("fay").invites().await.unwrap();
    assert_eq!((invites[0].status, invites[0].used), (InviteStatus::Closed, 1));
    scenario.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_an_expired_ticket_is_refused_by_the_clock_of_the_admitting_device() {
    let mut scenario = scenario([]).await;
    let hour = Duration::from_secs(3_600);
    let options = InviteOptions::new(Reader).valid_for(hour);
    let ticket = scenario.group("fay").invite_with(options).await.unwrap();
    let [cid] = scenario.net.nodes_apart(["cid"]).await;
    // All nodes are stopped meanwhile: an hour of pings would take long even in virtual time.
    let fay = scenario.peers["fay"].clone();
    scenario.net.crash(&fay).await;
    scenario.net.sleep(hour + Duration::from_secs(1)).await;
    scenario.net.restart(&fay).await;

    let late = cid.node().join(&ticket).await.unwrap_err();

    assert!(matches!(late, JoinError::Declined { reason: DeclineReason::Expired, .. }), "{late:?}");
    assert_eq!(scenario.group("fay").members().len(), 1);
    scenario.net.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_joiner_accepts_no_ledger_older_than_the_ticket() {
    let mut scenario = scenario([("ada", Admin)]).await;
    let [cid] = scenario.net.nodes_apart(["cid"]).await;
    scenario.insert("cid", cid);
    scenario.partition(&[&["fay"], &["ada", "cid"]]);
    let ticket = scenario.group("fay").invite(Writer).await.unwrap();
    tasks(&scenario.peers["ada"], scenario.id).put("a", &task("from an older ledger")).await.unwrap();
    scenario.set_role("ada", "cid", Reader).await;

    scenario.peers["cid"].node().connect("memory://ada").await.unwrap();
    let pending = scenario.peers["cid"].node().join(&ticket).await.unwrap_err();

    assert!(matches!(pending, JoinError::Pending { why: Waiting::OldLedger, .. }), "{pending:?}");
    assert_eq!(titles(&tasks(&scenario.peers["cid"], scenario.id)), Vec::<String>::new());
    scenario.net.close().await;
}

/// The ends of all past links from `peer` to `other`.
async fn ends_of(peer: &Peer, other: &Peer) -> Vec<LinkEnd> {
    let device = other.node().device_id();
    let ended = peer.node().status().await.unwrap().ended;
    ended.into_iter().filter(|end: &EndedLink| end.device == Some(device)).map(|end| end.end).collect()
}

#[tokio::test(start_paused = true)]
async fn scenario_25_each_informed_device_stops_a_running_transfer_to_a_removed_member() {
    let mut scenario = scenario([("carol", Writer), ("mia", Reader)]).await;
    let (home, mia) = (scenario.id, scenario.peers["mia"].clone());
    let row = |letter: &str| task(&letter.repeat(3 << 20));
    scenario.partition(&[&["fay", "mia"], &["carol"]]);
    scenario.net.settle().await;

    // The rows are under way: latency delays a record by 5 to 40 ms.
    for key in ["a", "b", "c"] {
        tasks(&scenario.peers["fay"], home).put(key, &row(key)).await.unwrap();
    }
    scenario.net.sleep(Duration::from_millis(100)).await;
    let removal = scenario.group("fay").remove_member(scenario.user("mia")).await.unwrap().op;
    scenario.net.sleep(A_WHILE).await;
    assert!(titles(&tasks(&mia, home)).len() < 3, "the transfer stopped");

    // Carol does not know of the removal and serves mia until she learns of it.
    scenario.partition(&[&["carol", "mia"], &["fay"]]);
    tasks(&scenario.peers["carol"], home).put("d", &task("by the uninformed")).await.unwrap();
    until(&scenario.net, "mia receives carol's row", || {
        titles(&tasks(&mia, home)).contains(&"by the uninformed".to_owned())
    })
    .await;
    scenario.net.heal();
    until(&scenario.net, "carol learns of the removal", || scenario.roles("carol", ["mia"]) == [Out]).await;
    tasks(&scenario.peers["carol"], home).put("e", &task("by the informed")).await.unwrap();
    scenario.net.sleep(A_WHILE).await;

    let titles = titles(&tasks(&mia, home));
    assert!(!titles.contains(&"by the informed".to_owned()));
    assert!(
        mia.node().group(home).unwrap().log().await.unwrap().iter().all(|op| op.op != removal),
        "mia does not get the op of her removal"
    );
    for name in ["fay", "carol"] {
        let ends = ends_of(&mia, &scenario.peers[name]).await;
        let refused = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
        assert!(ends.contains(&refused), "{ends:?} from {name}");
    }
    scenario.net.close().await;
}

/// Cid revokes ada's device and is lowered before any other device receives the op.
#[tokio::test(start_paused = true)]
async fn reissuing_an_op_follows_the_rules_for_its_new_author() {
    let mut scenario = scenario([("ada", Admin), ("dan", Admin), ("cid", Admin)]).await;
    scenario.partition(&[]);
    let device = scenario.peers["ada"].node().device_id();
    let revocation = scenario.group("cid").revoke_device(device).await.unwrap().op;
    scenario.set_role("fay", "cid", Writer).await;
    scenario.converge().await;
    assert_eq!(scenario.op_status(revocation).await, OpStatus::Void);

    let own = scenario.group("ada").reissue(revocation).await;
    assert!(matches!(own, Err(GroupError::OwnDevice)), "{own:?}");
    scenario.retire("ada").await;
    scenario.group("dan").reissue(revocation).await.unwrap();
    scenario.net.settle().await;
    assert_eq!(
        scenario.group("fay").voided().await.unwrap(),
        [],
        "an op whose result already holds is not listed"
    );
    let again = scenario.group("fay").reissue(revocation).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
    scenario.close().await;
}
