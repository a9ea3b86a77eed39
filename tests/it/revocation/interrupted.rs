//! Removals in the middle of something, and nodes that end in the middle of a removal.

use std::time::Duration;

use peerbase::Role::{Admin, Writer};
use peerbase::group::Refusal;
use peerbase::node::{EndedLink, LinkEnd};
use schema::wire::link::ByeReason;

use crate::support::village::Village;
use crate::support::{Task, task, tasks, until};

/// Longer than anything takes on the way.
const FLIGHT: Duration = Duration::from_millis(200);
/// Long enough for every retry of a dial, and for links to be let go.
const A_WHILE: Duration = Duration::from_secs(180);

/// Tasks of a KiB each.
fn many(count: usize) -> Vec<Task> {
    (0..count).map(|number| task(&format!("task {number}{:1024}", ""))).collect()
}

impl Village {
    async fn writes_many(&self, name: &str, count: usize) {
        for some in many(count).chunks(500) {
            tasks(&self.people[name], self.id).insert_many(some).await.unwrap();
        }
    }

    fn count(&self, name: &str) -> usize {
        tasks(&self.people[name], self.id).list().unwrap().len()
    }
}

/// The power goes at ben's after so many flushes from when he can hear that ada removed mia. Whether he had heard.
async fn ends_after_flushes(seed: u64, flushes: u64) -> bool {
    const ROWS: usize = 200;
    let mut village = Village::of(seed, [("ben", Admin), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ben", "mia"]]);
    village.writes("mia", "basil", "drown it").await;
    village.writes_many("mia", ROWS).await;
    village.settle().await;
    village.removes("ada", "mia").await;
    village.crash("mia").await;

    village.people["ben"].disk().crash_after_flush(flushes);
    village.part(&[&["ada", "ben"]]);
    village.net.sleep(A_WHILE).await;
    village.crash("ben").await;
    village.part(&[]);
    village.restart("ben").await;

    // Nothing was waited for: what a program sees that has just opened its database.
    let (rows, log) = (village.rows("ben"), village.group("ben").log().await.unwrap());
    let has_heard = log.len() == 3;
    if has_heard {
        assert_eq!(rows, crate::support::village::rows([("basil", "water it")]), "after {flushes} flushes");
    } else {
        assert_eq!(rows.len(), 1 + ROWS, "after {flushes} flushes");
    }
    village.meet().await;
    village.have(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!(village.kept("ben").await, 1 + ROWS);
    village.ends().await;
    has_heard
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_while_it_takes_things_away_shows_nothing_of_them_once_it_is_open_again() {
    let mut heard = Vec::new();
    for flushes in 1..=8 {
        heard.push(ends_after_flushes(31, flushes).await);
    }
    // The cut's page and list, then the op, then what is taken, 32 documents a flush.
    let first = heard.iter().position(|heard| *heard);
    assert!(first.is_some_and(|first| first + 3 < heard.len()), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_beyond_a_cut_is_refused_with_its_reason_shown() {
    let mut village = Village::of(34, [("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    let (ada, mia) = (village.people["ada"].clone(), village.people["mia"].clone());
    village.net.cut(&ada, &mia);
    village.writes("mia", "basil", "drown it").await;
    // On its way from cid to ada when ada removes mia.
    while village.rows("cid")["basil"] != "drown it" {
        village.net.sleep(Duration::from_millis(1)).await;
    }
    let removal = village.removes("ada", "mia").await;
    village.settle().await;

    let explained = village.group("ada").explain("tasks", "basil").await.unwrap();
    let why = |refusal: &Refusal| matches!(refusal, Refusal::BeyondCut { revocation, seq: 1, got: 2, .. } if *revocation == removal);
    assert!(explained.refusals.iter().any(why), "{:?}", explained.refusals);
    let refused = village.group("ada").status().await.unwrap().refusals;
    assert!(refused.iter().any(|(_, refusal)| why(refusal)), "{refused:?}");
    village.meet().await;
    village.have(&["ada", "cid"], [("basil", "water it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_on_top_of_what_was_taken_goes_with_it_and_is_kept_until_it_can_be_rebased() {
    let mut village = Village::of(35, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("cid", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["cid", "mia"]]);
    village.writes("mia", "basil", "drown it").await;
    village.settle().await;
    village.writes("cid", "basil", "drown it twice").await;
    village.writes("cid", "soap", "make it").await;
    village.settle().await;
    village.removes("ada", "mia").await;

    village.meet().await;
    village.have(&["ada", "ben", "cid"], [("basil", "water it"), ("soap", "make it")]);
    let kept = village.group("cid").explain("tasks", "basil").await.unwrap().kept.unwrap();
    assert_eq!((kept.changes, village.kept("cid").await), (2, 1), "mia's, and cid's on top");
    // Cid's replica was cut short, and goes on as another.
    village.writes("cid", "basil", "water it twice").await;
    village.meet().await;
    village.have(&["ada", "ben", "cid"], [("basil", "water it twice"), ("soap", "make it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_25_a_removal_stops_a_transfer_half_way_and_a_stale_third_stops_when_it_hears() {
    const ROWS: usize = 3_000;
    let mut village = Village::of(25, [("carol", Writer), ("mia", Writer)]).await;
    village.part(&[&["ada", "carol"]]);
    village.writes_many("ada", ROWS).await;
    village.settle().await;

    // Mia fetches from ada alone, who removes her half-way.
    village.part(&[&["ada", "mia"]]);
    while village.count("mia") == 0 {
        village.net.sleep(Duration::from_millis(5)).await;
    }
    village.removes("ada", "mia").await;
    village.net.sleep(FLIGHT).await;
    let had = village.count("mia");
    village.net.sleep(A_WHILE).await;
    assert_eq!(village.count("mia"), had, "nothing came but what was on its way");
    assert!(had < ROWS, "{had} rows");

    // Carol has not heard, and goes on serving her, until she hears.
    village.part(&[&["carol", "mia"]]);
    until(&village.net, "carol serves on", || village.count("mia") == ROWS).await;
    village.part(&[&["ada", "carol", "mia"]]);
    village.settle().await;
    village.writes("ada", "soap", "make it").await;
    village.writes("carol", "rope", "coil it").await;
    village.writes("mia", "basil", "water it").await;
    village.net.sleep(A_WHILE).await;

    assert_eq!(village.count("mia"), ROWS + 1, "her own");
    let log = village.group("mia").log().await.unwrap();
    assert_eq!(log.len(), 2, "nobody tells her that she is out: {log:?}");
    let ended = village.people["mia"].node().status().await.unwrap().ended;
    for name in ["ada", "carol"] {
        let device = village.people[name].node().device_id();
        let farewell = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
        let is_it = |link: &EndedLink| link.device == Some(device) && link.end == farewell;
        assert!(ended.iter().any(is_it), "by {name}: {ended:?}");
    }
    village.meet().await;
    assert_eq!((village.count("ada"), village.count("carol")), (ROWS + 2, ROWS + 2));
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_25_a_stolen_device_stays_dead_after_its_user_was_removed_and_let_in_again() {
    let mut village = Village::of(26, [("ben", Admin), ("mia", Writer)]).await;
    village.device("mia", "phone").await;
    village.writes("phone", "basil", "water it").await;
    village.meet().await;
    let phone = village.people["phone"].node().device_id();
    village.people["mia"].node().revoke_device(phone).await.unwrap();
    village.settle().await;

    village.removes("ben", "mia").await;
    village.settle().await;
    village.says("ada", "mia", Writer).await;
    village.meet().await;
    village.writes("phone", "rope", "by the thief").await;
    village.writes("mia", "soap", "make it").await;
    village.net.sleep(A_WHILE).await;

    village.meet().await;
    village.have(&["ada", "ben", "mia"], [("basil", "water it"), ("soap", "make it")]);
    assert!(!village.rows("phone").contains_key("soap"));
    village.ends().await;
}

/// Eight thousand rows make three pages of ada's cut: ben ends when he has one of them, and does not fetch it again.
#[tokio::test(start_paused = true)]
async fn a_node_that_ends_while_it_fetches_a_manifest_goes_on_where_it_was() {
    const ROWS: usize = 8_000;
    const PAGE: u64 = 512 << 10;
    let mut village = Village::of(36, [("ben", Admin), ("mia", Writer)]).await;
    for some in (0..ROWS).map(|number| task(&number.to_string())).collect::<Vec<_>>().chunks(1_000) {
        tasks(&village.people["mia"], village.id).insert_many(some).await.unwrap();
    }
    village.meet().await;
    village.crash("mia").await;
    village.part(&[]);
    village.removes("ada", "mia").await;

    let delivered = |village: &Village| village.net.network().bytes_delivered();
    let begun = delivered(&village);
    village.part(&[&["ada", "ben"]]);
    while delivered(&village) - begun < PAGE + PAGE / 2 {
        village.net.sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(village.group("ben").log().await.unwrap().len(), 2, "he has not all of it");
    village.crash("ben").await;
    let first = delivered(&village) - begun;
    village.restart("ben").await;
    village.meet().await;

    assert_eq!(village.group("ben").log().await.unwrap().len(), 3);
    let (all, pages) = (delivered(&village) - begun, 140 * ROWS as u64);
    assert!(
        first > PAGE && all + PAGE / 2 < first + pages,
        "{all} bytes for {pages}, {first} of them at first"
    );
    assert_eq!(village.count("ben"), ROWS);
    village.ends().await;
}

/// Ben, who has seen only one row of mia's, removes her, and ada undoes that, in the midst of much else. When she removes
/// mia herself in that very moment, what stays is all that comes back, and not what is back so far.
#[tokio::test(start_paused = true)]
async fn a_removal_right_after_one_that_turned_out_void_leaves_all_that_comes_back() {
    const ROWS: usize = 100;
    const OTHERS: usize = 1_000;
    let mut village = Village::of(37, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ada", "cid", "mia"]]);
    village.writes_many("mia", ROWS).await;
    village.settle().await;
    let removal = village.removes("ben", "mia").await;
    village.crash("mia").await;
    village.meet().await;
    assert_eq!((village.count("ada"), village.kept("ada").await), (1, ROWS));

    let ada = village.group("ada");
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..OTHERS {
        let table = tasks(&village.people["ada"], village.id);
        writes.spawn(async move { table.put(&format!("other {number}"), &task("to do")).await.unwrap() });
    }
    tokio::task::yield_now().await;
    ada.set_role(village.user("ben"), Writer).as_of(&[removal]).await.unwrap();
    let has_come_back = |(key, _): &(String, String)| key != "basil" && !key.starts_with("other");
    assert_eq!(village.rows("ada").into_iter().filter(has_come_back).count(), 0, "nothing to be seen here");
    let heard = std::sync::Mutex::new(Vec::new());
    let listen = |documents| heard.lock().unwrap().push(documents);
    ada.remove_member(village.user("mia")).on_progress(listen).await.unwrap();

    while writes.join_next().await.is_some() {}
    village.meet().await;
    for name in ["ada", "ben", "cid"] {
        assert_eq!(village.count(name), 1 + ROWS + OTHERS, "at {name}");
    }
    assert_eq!(heard.into_inner().unwrap().last(), Some(&(1 + ROWS as u64)));
    village.ends().await;
}

/// An Admin who leaves is heard by those who are there, also what the rest of the group needs to take the op: up to
/// where what they wrote stays.
#[tokio::test(start_paused = true)]
async fn an_admin_who_removes_themselves_is_heard_at_once_by_whoever_is_linked() {
    for seed in 38..42 {
        let mut village = Village::of(seed, [("mia", Admin), ("ben", Writer), ("cid", Writer)]).await;
        village.writes("mia", "basil", "water it").await;
        village.meet().await;
        village.part(&[&["ben", "mia"]]);
        village.settle().await;

        village.removes("mia", "mia").await;
        // Announced anew, compared, and the cut's list and page fetched.
        village.net.sleep(2 * FLIGHT).await;

        let is_in = |name: &str| village.group(name).members().iter().any(|m| m.user == village.user("mia"));
        assert_eq!((is_in("ben"), is_in("mia"), is_in("cid")), (false, false, true));
        village.writes("ben", "soap", "make it").await;
        village.net.sleep(A_WHILE).await;
        village.have(&["mia"], [("basil", "water it")]);
        village.crash("mia").await;
        village.meet().await;
        village.have(&["ada", "ben", "cid"], [("basil", "water it"), ("soap", "make it")]);
        village.ends().await;
    }
}
