//! Numbered scenarios of the authority rules that honest nodes can play: harm comes from members who are
//! uninformed or who use rights they have.

use peerbase::Role::{Admin, Owner, Reader, Writer};
use peerbase::{ErrorKind, RowChange};

use crate::support::scenario::Scenario;
use crate::support::{TASKS, task, tasks};

#[tokio::test(start_paused = true)]
async fn scenario_11_an_uninformed_peer_relays_no_removed_changes_to_informed_ones() {
    let mut scenario = Scenario::new(11, [("ben", Writer), ("carol", Writer), ("mia", Writer)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;

    scenario.partition(&[&["ada", "ben"], &["carol", "mia"]]);
    scenario.remove("ada", "mia").await;
    scenario.settle().await;
    scenario.write("mia", "basil", "drown it").await;
    scenario.write("mia", "rope", "buy it").await;
    scenario.settle().await;
    let mut of_ben = scenario.group("ben").table(TASKS).watch();
    scenario.partition(&[&["ben", "carol"]]);
    scenario.settle().await;

    scenario.assert_rows(&["ben", "carol"], [("basil", "water it")]);
    assert_eq!((scenario.set_aside("ben").await, scenario.set_aside("carol").await), (0, 2));
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "carol"], [("basil", "water it")]);
    for name in ["ada", "ben", "carol"] {
        assert_eq!(scenario.group(name).explain("tasks", "rope").await.unwrap().revisions, 0, "at {name}");
    }
    scenario.write("ben", "soap", "make it").await;
    let next = of_ben.next().await;
    assert!(
        matches!(&next, Some(RowChange::Put(row)) if row.key() == "soap"),
        "the removed rows never appeared: {next:?}"
    );
    scenario.close().await;
}

/// Two Admins remove mia concurrently; each has seen more than the other of one of mia's two devices.
async fn two_removers(seed: u64, order: [&'static str; 2]) {
    let people = [("ben", Admin), ("dan", Admin), ("cid", Writer), ("mia", Writer)];
    let mut scenario = Scenario::new(seed, people).await;
    scenario.add_device("mia", "phone").await;
    scenario.write("mia", "basil", "water it").await;
    scenario.write("phone", "rope", "buy it").await;
    scenario.converge().await;
    scenario.partition(&[&["ben", "mia"], &["dan", "phone"]]);
    scenario.write("mia", "basil", "water it twice").await;
    scenario.write("phone", "rope", "coil it").await;
    scenario.settle().await;
    scenario.partition(&[]);
    scenario.remove("ben", "mia").await;
    scenario.remove("dan", "mia").await;

    for remover in order {
        scenario.partition(&[&[remover, "cid"]]);
        scenario.settle().await;
    }

    scenario.assert_rows(&["cid"], [("basil", "water it"), ("rope", "buy it")]);
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "dan"], [("basil", "water it"), ("rope", "buy it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_14_changes_below_both_of_two_cuts_stay_in_either_order() {
    two_removers(14, ["ben", "dan"]).await;
    two_removers(14, ["dan", "ben"]).await;
}

#[tokio::test(start_paused = true)]
async fn scenario_15_changes_purged_by_a_vandal_return_once_the_vandal_is_removed_as_of_earlier() {
    let people = [("oda", Owner), ("vera", Admin), ("ben", Writer), ("xan", Writer)];
    let mut scenario = Scenario::new(15, people).await;
    // Vera has none of xan's changes, so her cut is empty.
    scenario.partition(&[&["ada", "oda", "ben", "xan"]]);
    scenario.write("xan", "basil", "water it").await;
    scenario.write("xan", "basil", "water it twice").await;
    scenario.settle().await;
    scenario.write("ben", "basil", "water it thrice").await;
    scenario.write("xan", "rope", "buy it").await;
    scenario.settle().await;
    let before = scenario.rows("oda");
    let heads = scenario.group("oda").explain("tasks", "basil").await.unwrap().heads;
    let removal = scenario.remove("vera", "xan").await;
    scenario.crash("xan").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "oda", "ben", "vera"], []);

    let vera = scenario.user("vera");
    scenario.group("oda").remove_member(vera).as_of(&[removal]).await.unwrap();

    scenario.converge().await;
    for name in ["ada", "oda", "ben"] {
        assert_eq!(scenario.rows(name), before, "at {name}");
        assert_eq!(scenario.group(name).explain("tasks", "basil").await.unwrap().heads, heads, "at {name}");
        assert_eq!(scenario.set_aside(name).await, 0, "at {name}");
    }
    scenario.restart("xan").await;
    scenario.converge().await;
    assert_eq!(scenario.rows("xan"), before);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writer_who_revokes_their_own_device_disconnects_it_and_purges_nothing() {
    let mut scenario = Scenario::new(16, [("ben", Writer), ("wil", Writer)]).await;
    scenario.add_device("wil", "phone").await;
    scenario.write("phone", "basil", "water it").await;
    scenario.converge().await;

    let phone = scenario.peers["phone"].node().device_id();
    scenario.peers["wil"].node().revoke_device(phone).await.unwrap();
    scenario.settle().await;
    scenario.write("phone", "rope", "buy it").await;

    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "wil"], [("basil", "water it")]);
    scenario.write("ben", "soap", "make it").await;
    scenario.converge().await;
    scenario.assert_rows(&["phone"], [("basil", "water it"), ("rope", "buy it")]);
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_22_a_readmitted_member_regains_no_purged_change_and_no_former_role() {
    let mut scenario =
        Scenario::new(22, [("ben", Writer), ("cid", Writer), ("mia", Admin), ("sam", Reader)]).await;
    scenario.write("mia", "basil", "water it").await;
    scenario.converge().await;
    // Mia makes sam an Admin while only sam can reach her.
    scenario.partition(&[&["ada", "ben", "cid"], &["mia", "sam"]]);
    scenario.write("mia", "basil", "drown it").await;
    scenario.set_role("mia", "sam", Admin).await;
    scenario.settle().await;

    scenario.remove("ada", "mia").await;
    scenario.settle().await;
    scenario.set_role("ada", "mia", Reader).await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "sam", "mia"], [("basil", "water it")]);
    let roles = |name: &str| {
        let members = scenario.group(name).members();
        ["mia", "sam"].map(|name| members.iter().find(|m| m.user == scenario.user(name)).unwrap().role)
    };
    for name in ["ada", "ben", "sam", "mia"] {
        assert_eq!(roles(name), [Reader, Reader], "at {name}");
    }
    let refused = tasks(&scenario.peers["mia"], scenario.id).put("rope", &task("buy it")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);

    scenario.set_role("ada", "mia", Writer).await;
    scenario.converge().await;
    scenario.write("mia", "basil", "water it twice").await;
    scenario.converge().await;
    scenario.assert_rows(&["ada", "ben", "cid", "sam", "mia"], [("basil", "water it twice")]);
    scenario.close().await;
}
