//! Scenarios that real nodes play: whoever misbehaves in them has merely not heard yet, or may do what they do.

use peerbase::Role::{Admin, Owner, Reader, Writer};
use peerbase::{ErrorKind, RowChange};

use crate::support::village::Village;
use crate::support::{TASKS, task, tasks};

#[tokio::test(start_paused = true)]
async fn scenario_11_a_third_who_has_not_heard_carries_nothing_to_those_who_have() {
    let mut village = Village::of(11, [("ben", Writer), ("carol", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;

    village.part(&[&["ada", "ben"], &["carol", "mia"]]);
    village.removes("ada", "mia").await;
    village.settle().await;
    village.writes("mia", "basil", "drown it").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    let mut of_ben = village.group("ben").table(TASKS).watch();
    village.part(&[&["ben", "carol"]]);
    village.settle().await;

    village.have(&["ben", "carol"], [("basil", "water it")]);
    assert_eq!((village.kept("ben").await, village.kept("carol").await), (0, 2));
    village.meet().await;
    village.have(&["ada", "ben", "carol"], [("basil", "water it")]);
    for name in ["ada", "ben", "carol"] {
        assert_eq!(village.group(name).explain("tasks", "rope").await.unwrap().revisions, 0, "at {name}");
    }
    village.writes("ben", "soap", "make it").await;
    let next = of_ben.next().await;
    assert!(
        matches!(&next, Some(RowChange::Put(row)) if row.key() == "soap"),
        "not even for a moment: {next:?}"
    );
    village.ends().await;
}

/// Two removers, who each know more than the other of what one of mia's devices wrote.
async fn two_removers(seed: u64, order: [&'static str; 2]) {
    let people = [("ben", Admin), ("dan", Admin), ("cid", Writer), ("mia", Writer)];
    let mut village = Village::of(seed, people).await;
    village.device("mia", "phone").await;
    village.writes("mia", "basil", "water it").await;
    village.writes("phone", "rope", "buy it").await;
    village.meet().await;
    village.part(&[&["ben", "mia"], &["dan", "phone"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.writes("phone", "rope", "coil it").await;
    village.settle().await;
    village.part(&[]);
    village.removes("ben", "mia").await;
    village.removes("dan", "mia").await;

    for remover in order {
        village.part(&[&[remover, "cid"]]);
        village.settle().await;
    }

    village.have(&["cid"], [("basil", "water it"), ("rope", "buy it")]);
    village.meet().await;
    village.have(&["ada", "ben", "cid", "dan"], [("basil", "water it"), ("rope", "buy it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_14_of_two_cuts_what_both_name_stays_whichever_is_heard_of_first() {
    two_removers(14, ["ben", "dan"]).await;
    two_removers(14, ["dan", "ben"]).await;
}

#[tokio::test(start_paused = true)]
async fn scenario_15_what_a_vandals_cut_took_is_back_once_the_vandal_is_removed_as_of_before() {
    let people = [("oda", Owner), ("vera", Admin), ("ben", Writer), ("xan", Writer)];
    let mut village = Village::of(15, people).await;
    // Vera has seen nothing of what xan wrote, so her cut is empty.
    village.part(&[&["ada", "oda", "ben", "xan"]]);
    village.writes("xan", "basil", "water it").await;
    village.writes("xan", "basil", "water it twice").await;
    village.settle().await;
    village.writes("ben", "basil", "water it thrice").await;
    village.writes("xan", "rope", "buy it").await;
    village.settle().await;
    let before = village.rows("oda");
    let heads = village.group("oda").explain("tasks", "basil").await.unwrap().heads;
    let removal = village.removes("vera", "xan").await;
    village.crash("xan").await;
    village.meet().await;
    village.have(&["ada", "oda", "ben", "vera"], []);

    let vera = village.user("vera");
    village.group("oda").remove_member(vera).as_of(&[removal]).await.unwrap();

    village.meet().await;
    for name in ["ada", "oda", "ben"] {
        assert_eq!(village.rows(name), before, "at {name}");
        assert_eq!(village.group(name).explain("tasks", "basil").await.unwrap().heads, heads, "at {name}");
        assert_eq!(village.kept(name).await, 0, "at {name}");
    }
    village.restart("xan").await;
    village.meet().await;
    assert_eq!(village.rows("xan"), before);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writer_who_revokes_their_own_device_gates_it_and_destroys_nothing() {
    let mut village = Village::of(16, [("ben", Writer), ("wil", Writer)]).await;
    village.device("wil", "phone").await;
    village.writes("phone", "basil", "water it").await;
    village.meet().await;

    let phone = village.people["phone"].node().device_id();
    village.people["wil"].node().revoke_device(phone).await.unwrap();
    village.settle().await;
    village.writes("phone", "rope", "buy it").await;

    village.meet().await;
    village.have(&["ada", "ben", "wil"], [("basil", "water it")]);
    village.writes("ben", "soap", "make it").await;
    village.meet().await;
    village.have(&["phone"], [("basil", "water it"), ("rope", "buy it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_22_old_writes_and_old_power_are_nothing_to_who_is_let_in_again() {
    let mut village =
        Village::of(22, [("ben", Writer), ("cid", Writer), ("mia", Admin), ("sam", Reader)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    // Alone with sam, whom she makes an Admin.
    village.part(&[&["ada", "ben", "cid"], &["mia", "sam"]]);
    village.writes("mia", "basil", "drown it").await;
    village.says("mia", "sam", Admin).await;
    village.settle().await;

    village.removes("ada", "mia").await;
    village.settle().await;
    village.says("ada", "mia", Reader).await;
    village.meet().await;
    village.have(&["ada", "ben", "cid", "sam", "mia"], [("basil", "water it")]);
    let roles = |name: &str| {
        let members = village.group(name).members();
        ["mia", "sam"].map(|whom| members.iter().find(|m| m.user == village.user(whom)).unwrap().role)
    };
    for name in ["ada", "ben", "sam", "mia"] {
        assert_eq!(roles(name), [Reader, Reader], "at {name}");
    }
    let refused = tasks(&village.people["mia"], village.id).put("rope", &task("buy it")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);

    village.says("ada", "mia", Writer).await;
    village.meet().await;
    village.writes("mia", "basil", "water it twice").await;
    village.meet().await;
    village.have(&["ada", "ben", "cid", "sam", "mia"], [("basil", "water it twice")]);
    village.ends().await;
}
