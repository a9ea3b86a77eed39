//! Removals during transfers and restorations, and nodes that crash during a purge or a manifest fetch.

use std::time::Duration;

use peerbase::Role::{Admin, Writer};
use peerbase::group::Refusal;
use peerbase::node::{EndedLink, LinkEnd};
use schema::wire::link::ByeReason;

use crate::support::scenario::Scenario;
use crate::support::{Task, task, tasks, until};

/// Longer than any frame is under way.
const FLIGHT: Duration = Duration::from_millis(200);
/// Long enough for every retry of a dial and for idle links to close.
const A_WHILE: Duration = Duration::from_secs(180);

/// `count` tasks of 1 KiB each.
fn many(count: usize) -> Vec<Task> {
    (0..count).map(|number| task(&format!("task {number}{:1024}", ""))).collect()
}

impl Scenario {
    async fn write_many(&self, name: &str, count: usize) {
        for some in many(count).chunks(500) {
            tasks(&self.peers[name], self.id).insert_many(some).await.unwrap();
        }
    }

    fn count(&self, name: &str) -> usize {
        tasks(&self.peers[name], self.id).list().unwrap().len()
    }
}

/// Cuts ben's power `flushes` flushes after he can learn that ada removed mia. Returns true if he had stored
/// the op.
async fn power_cut_after_flushes(seed: u64, flushes: u64) -> bool {
    const ROWS: usize = 200;
    let mut scenario = Scenario::new(seed, [("ben", Admin), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["ben", "mia"]]);
    scenario.write("mia", "basil", "drown it").await;
    scenario.write_many("mia", ROWS).await;
    scenario.settle().await;
    scenario.remove("ada", "mia").await;
    scenario.crash("mia").await;

    scenario.peers["ben"].disk().crash_after_flush(flushes);
    scenario.partition(&[&["ada", "ben"]]);
    scenario.net.sleep(A_WHILE).await;
    scenario.crash("ben").await;
    scenario.partition(&[]);
    scenario.restart("ben").await;

    // No waiting: these are the rows that a program sees right after opening its database.
    let (rows, log) = (scenario.rows("ben"), scenario.group("ben").log().await.unwrap());
    let is_informed = log.len() == 3;
    if is_informed {
        assert_eq!(rows, crate::support::scenario::rows([("basil", "water it")]), "after {flushes} flushes");
    } else {
        assert_eq!(rows.len(), 1 + ROWS, "after {flushes} flushes");
    }
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben"], [("basil", "water it")]);
    assert_eq!(scenario.set_aside("ben").await, 1 + ROWS);
    scenario.close().await;
    is_informed
}

#[tokio::test(start_paused = true)]
async fn a_node_interrupted_during_a_purge_shows_no_purged_change_after_reopening() {
    let mut heard = Vec::new();
    for flushes in 1..=8 {
        heard.push(power_cut_after_flushes(31, flushes).await);
    }
    // Flushes: the cut's page and list, then the op, then the purge with 32 documents each.
    let first = heard.iter().position(|heard| *heard);
    assert!(first.is_some_and(|first| first + 3 < heard.len()), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_received_beyond_a_cut_is_refused_and_explained() {
    let mut scenario = Scenario::new(34, [("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    let (ada, mia) = (scenario.peers["ada"].clone(), scenario.peers["mia"].clone());
    scenario.net.cut(&ada, &mia);
    scenario.write("mia", "basil", "drown it").await;
    // The change is under way from cid to ada when ada removes mia.
    while scenario.rows("cid")["basil"] != "drown it" {
        scenario.net.sleep(Duration::from_millis(1)).await;
    }
    let removal = scenario.remove("ada", "mia").await;
    scenario.settle().await;

    let explained = scenario.group("ada").explain("tasks", "basil").await.unwrap();
    let why = |refusal: &Refusal| match refusal {
        Refusal::BeyondCut { revocation, seq: 1, got: 2, .. } => *revocation == removal,
        _ => false,
    };
    assert!(explained.refusals.iter().any(why), "{:?}", explained.refusals);
    let refused = scenario.group("ada").status().await.unwrap().refusals;
    assert!(refused.iter().any(|(_, refusal)| why(refusal)), "{refused:?}");
    scenario.converge().await;
    scenario.assert_rows(&["ada", "cid"], [("basil", "water it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_build_on_purged_ones_are_set_aside_with_them() {
    let mut scenario = Scenario::new(35, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("cid", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["cid", "mia"]]);
    scenario.write("mia", "basil", "drown it").await;
    scenario.settle().await;
    scenario.write("cid", "basil", "drown it twice").await;
    scenario.write("cid", "soap", "make it").await;
    scenario.settle().await;
    scenario.remove("ada", "mia").await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid"], [("basil", "water it"), ("soap", "make it")]);
    let kept = scenario.group("cid").explain("tasks", "basil").await.unwrap().kept.unwrap();
    assert_eq!(
        (kept.changes, scenario.set_aside("cid").await),
        (2, 1),
        "mia's change and cid's change that builds on it"
    );
    // Cid's replica was truncated, so cid continues under a new one.
    scenario.write("cid", "basil", "water it twice").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid"], [("basil", "water it twice"), ("soap", "make it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_25_a_removal_stops_a_running_transfer_and_an_uninformed_peer_stops_once_informed() {
    const ROWS: usize = 3_000;
    let mut scenario = Scenario::new(25, [("carol", Writer), ("mia", Writer)]).await;
    scenario.partition(&[&["ada", "carol"]]);
    scenario.write_many("ada", ROWS).await;
    scenario.settle().await;

    // Mia fetches from ada alone; ada removes her half-way.
    scenario.partition(&[&["ada", "mia"]]);
    while scenario.count("mia") == 0 {
        scenario.net.sleep(Duration::from_millis(5)).await;
    }
    scenario.remove("ada", "mia").await;
    scenario.net.sleep(FLIGHT).await;
    let had = scenario.count("mia");
    scenario.net.sleep(A_WHILE).await;
    assert_eq!(scenario.count("mia"), had, "only frames already under way arrived");
    assert!(had < ROWS, "{had} rows");

    // Carol does not know of the removal and serves mia until she learns of it.
    scenario.partition(&[&["carol", "mia"]]);
    until(&scenario.net, "carol serves on", || scenario.count("mia") == ROWS).await;
    scenario.partition(&[&["ada", "carol", "mia"]]);
    scenario.settle().await;
    scenario.write("ada", "soap", "make it").await;
    scenario.write("carol", "rope", "coil it").await;
    scenario.write("mia", "basil", "water it").await;
    scenario.net.sleep(A_WHILE).await;

    assert_eq!(scenario.count("mia"), ROWS + 1, "her own");
    let log = scenario.group("mia").log().await.unwrap();
    assert_eq!(log.len(), 2, "a removed member is not notified: {log:?}");
    let ended = scenario.peers["mia"].node().status().await.unwrap().ended;
    for name in ["ada", "carol"] {
        let device = scenario.peers[name].node().device_id();
        let farewell = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
        let is_it = |link: &EndedLink| link.device == Some(device) && link.end == farewell;
        assert!(ended.iter().any(is_it), "by {name}: {ended:?}");
    }
    scenario.converge().await;
    assert_eq!((scenario.count("ada"), scenario.count("carol")), (ROWS + 2, ROWS + 2));
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_25_a_revoked_device_stays_revoked_after_its_user_is_removed_and_readmitted() {
    let mut scenario = Scenario::new(26, [("ben", Admin), ("mia", Writer)]).await;
    scenario.add_device("mia", "phone").await;
    scenario.write("phone", "basil", "water it").await;
    scenario.converge().await;
    let phone = scenario.peers["phone"].node().device_id();
    scenario.peers["mia"].node().revoke_device(phone).await.unwrap();
    scenario.settle().await;

    scenario.remove("ben", "mia").await;
    scenario.settle().await;
    scenario.set_role("ada", "mia", Writer).await;
    scenario.converge().await;
    scenario.write("phone", "rope", "by the thief").await;
    scenario.write("mia", "soap", "make it").await;
    scenario.net.sleep(A_WHILE).await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "mia"], [("basil", "water it"), ("soap", "make it")]);
    assert!(!scenario.rows("phone").contains_key("soap"));
    scenario.close().await;
}

/// Eight thousand rows make a cut of three pages. Ben crashes after the first page and does not fetch it
/// again.
#[tokio::test(start_paused = true)]
async fn a_node_interrupted_while_fetching_a_manifest_resumes_with_the_next_page() {
    const ROWS: usize = 8_000;
    const PAGE: u64 = 512 << 10;
    let mut scenario = Scenario::new(36, [("ben", Admin), ("mia", Writer)]).await;
    for some in (0..ROWS).map(|number| task(&number.to_string())).collect::<Vec<_>>().chunks(1_000) {
        tasks(&scenario.peers["mia"], scenario.id).insert_many(some).await.unwrap();
    }
    scenario.converge().await;
    scenario.crash("mia").await;
    scenario.partition(&[]);
    scenario.remove("ada", "mia").await;

    let delivered = |scenario: &Scenario| scenario.net.network().bytes_delivered();
    let begun = delivered(&scenario);
    scenario.partition(&[&["ada", "ben"]]);
    while delivered(&scenario) - begun < PAGE + PAGE / 2 {
        scenario.net.sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(scenario.group("ben").log().await.unwrap().len(), 2, "ben lacks a page");
    scenario.crash("ben").await;
    let first = delivered(&scenario) - begun;
    scenario.restart("ben").await;
    scenario.converge().await;

    assert_eq!(scenario.group("ben").log().await.unwrap().len(), 3);
    let (all, pages) = (delivered(&scenario) - begun, 140 * ROWS as u64);
    assert!(
        first > PAGE && all + PAGE / 2 < first + pages,
        "{all} bytes for {pages}, {first} of them at first"
    );
    assert_eq!(scenario.count("ben"), ROWS);
    scenario.close().await;
}

/// Ben has seen one row of mia's and removes her; ada voids that removal while much else is being judged.
/// When ada then removes mia at once, her cut covers every change that will be restored, not only those
/// restored so far.
#[tokio::test(start_paused = true)]
async fn a_removal_during_a_restoration_keeps_every_restored_change() {
    const ROWS: usize = 100;
    const OTHERS: usize = 1_000;
    let mut scenario = Scenario::new(37, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    scenario.partition(&[&["ada", "cid", "mia"]]);
    scenario.write_many("mia", ROWS).await;
    scenario.settle().await;
    let removal = scenario.remove("ben", "mia").await;
    scenario.crash("mia").await;
    scenario.converge().await;
    assert_eq!((scenario.count("ada"), scenario.set_aside("ada").await), (1, ROWS));

    let ada = scenario.group("ada");
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..OTHERS {
        let table = tasks(&scenario.peers["ada"], scenario.id);
        writes.spawn(async move { table.put(&format!("other {number}"), &task("to do")).await.unwrap() });
    }
    tokio::task::yield_now().await;
    ada.set_role(scenario.user("ben"), Writer).as_of(&[removal]).await.unwrap();
    let has_come_back = |(key, _): &(String, String)| key != "basil" && !key.starts_with("other");
    assert_eq!(scenario.rows("ada").into_iter().filter(has_come_back).count(), 0, "nothing is restored yet");
    let progress = std::sync::Mutex::new(Vec::new());
    let record = |documents| progress.lock().unwrap().push(documents);
    ada.remove_member(scenario.user("mia")).on_progress(record).await.unwrap();

    while writes.join_next().await.is_some() {}
    scenario.converge().await;
    for name in ["ada", "ben", "cid"] {
        assert_eq!(scenario.count(name), 1 + ROWS + OTHERS, "at {name}");
    }
    assert_eq!(progress.into_inner().unwrap().last(), Some(&(1 + ROWS as u64)));
    scenario.close().await;
}

/// An Admin who removes themselves sends the op and its manifest to the linked peers before the group closes.
#[tokio::test(start_paused = true)]
async fn linked_peers_learn_at_once_that_an_admin_removed_themselves() {
    for seed in 38..42 {
        let mut scenario = Scenario::new(seed, [("mia", Admin), ("ben", Writer), ("cid", Writer)]).await;
        scenario.write("mia", "basil", "water it").await;
        scenario.converge().await;
        scenario.partition(&[&["ben", "mia"]]);
        scenario.settle().await;

        scenario.remove("mia", "mia").await;
        // Enough for a new announcement, a comparison, and the cut's list and page.
        scenario.net.sleep(2 * FLIGHT).await;

        let is_in =
            |name: &str| scenario.group(name).members().iter().any(|m| m.user == scenario.user("mia"));
        assert_eq!((is_in("ben"), is_in("mia"), is_in("cid")), (false, false, true));
        scenario.write("ben", "soap", "make it").await;
        scenario.net.sleep(A_WHILE).await;
        scenario.assert_rows(&["mia"], [("basil", "water it")]);
        scenario.crash("mia").await;
        scenario.converge().await;
        scenario.assert_rows(&["ada", "ben", "cid"], [("basil", "water it"), ("soap", "make it")]);
        scenario.close().await;
    }
}
