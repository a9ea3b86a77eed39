//! Devices that come back after long, with what nobody else has, and what a removal leaves alone.

use std::time::Duration;

use peerbase::Role::{Admin, Writer};
use peerbase::group::Refusal;
use schema::limits::SNAPSHOT_AGE_MAX;

use crate::support::village::{Village, rows};
use crate::support::{task, tasks};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Long enough for every retry of a dial, and for links to be let go.
const A_WHILE: Duration = Duration::from_secs(180);

#[tokio::test(start_paused = true)]
async fn p7_what_is_kept_no_longer_comes_back_from_its_authors_device_when_the_removal_is_void() {
    let mut village = Village::of(71, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["cid", "mia"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.writes("mia", "rope", "buy it").await;
    village.settle().await;
    village.crash("mia").await;
    village.part(&[&["ben", "cid"]]);
    village.removes("ben", "mia").await;
    village.settle().await;
    assert_eq!(village.kept("cid").await, 2);

    for name in ["ada", "ben", "cid"] {
        village.crash(name).await;
    }
    village.net.sleep(SNAPSHOT_AGE_MAX + DAY).await;
    for name in ["ada", "ben", "cid"] {
        village.restart(name).await;
    }
    // Something is written: what is too old goes with it.
    village.writes("cid", "soap", "make it").await;
    village.settle().await;
    assert_eq!(village.kept("cid").await, 0, "a month is over");
    village.removes("ada", "ben").await;
    village.meet().await;
    village.have(&["ada", "cid"], [("basil", "water it"), ("soap", "make it")]);

    village.restart("mia").await;
    village.meet().await;
    let all = [("basil", "water it twice"), ("rope", "buy it"), ("soap", "make it")];
    village.have(&["ada", "cid", "mia"], all);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p7_what_its_author_alone_ever_had_comes_when_the_removal_is_void() {
    let mut village = Village::of(72, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ben", "cid"]]);
    village.writes("mia", "basil", "water it twice").await;
    village.writes("mia", "rope", "buy it").await;
    village.removes("ben", "mia").await;
    village.settle().await;
    village.removes("ada", "ben").await;

    village.meet().await;
    village.have(&["ada", "cid", "mia"], [("basil", "water it twice"), ("rope", "buy it")]);
    assert_eq!(village.kept("mia").await, 0);
    village.writes("mia", "rope", "coil it").await;
    village.meet().await;
    village.have(&["ada", "cid", "mia"], [("basil", "water it twice"), ("rope", "coil it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_members_device_that_was_away_all_the_time_leaves_nothing_and_alarms_nobody() {
    let mut village = Village::of(73, [("ben", Admin), ("cid", Writer), ("mia", Writer)]).await;
    village.device("mia", "phone").await;
    village.writes("mia", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["ada", "ben", "cid", "mia"]]);
    village.writes("phone", "basil", "from the phone, before").await;
    village.removes("ada", "mia").await;
    village.settle().await;
    village.writes("phone", "rope", "from the phone, after").await;
    let log = village.group("ada").log().await.unwrap();

    village.net.heal();
    village.net.sleep(A_WHILE).await;
    village.meet().await;

    for name in ["ada", "ben", "cid"] {
        village.have(&[name], [("basil", "water it")]);
        let status = village.group(name).status().await.unwrap();
        assert_eq!((status.documents, status.kept.documents), (1, 0), "nothing is left at {name}");
        assert!(status.refusals.is_empty() && status.quarantined.is_empty(), "at {name}: {status:?}");
        assert_eq!(village.group(name).log().await.unwrap(), log, "at {name}");
    }
    village.have(&["phone"], [("basil", "from the phone, before"), ("rope", "from the phone, after")]);
    // Nobody holds it against the device once its user is in again.
    village.says("ada", "mia", Writer).await;
    village.meet().await;
    village.writes("phone", "soap", "make it").await;
    village.meet().await;
    let people = ["ada", "ben", "cid", "mia", "phone"];
    village.have(&people, [("basil", "water it"), ("soap", "make it")]);
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_from_one_group_leaves_another_group_of_the_same_people_as_it_is() {
    let mut village = Village::of(74, [("ben", Admin), ("mia", Writer)]).await;
    let people = ["ada", "ben", "mia"].map(|name| village.people[name].clone());
    let club = village.net.group("club", &people.each_ref()).await;
    let club_of = |village: &Village, name: &str| tasks(&village.people[name], club);
    village.writes("mia", "basil", "water it").await;
    club_of(&village, "mia").put("song", &task("sing it")).await.unwrap();
    village.meet().await;

    village.removes("ada", "mia").await;
    village.settle().await;
    village.writes("ada", "soap", "make it").await;
    club_of(&village, "mia").put("song", &task("sing it again")).await.unwrap();
    club_of(&village, "ada").put("dance", &task("learn it")).await.unwrap();
    village.meet().await;

    for name in ["ada", "ben", "mia"] {
        let rows: Vec<_> = club_of(&village, name).list().unwrap();
        let titles: Vec<_> = rows.iter().map(|(_, task)| task.title.as_str()).collect();
        assert_eq!(titles, ["learn it", "sing it again"], "at {name}");
        let members = village.people[name].node().group(club).unwrap().members();
        assert_eq!(members.len(), 3, "at {name}");
    }
    let mia = village.people["mia"].node().device_id();
    for name in ["ada", "ben"] {
        let links = village.people[name].node().status().await.unwrap().links;
        assert!(links.iter().any(|link| link.device == mia), "{name} is linked to mia: {links:?}");
    }
    village.have(&["ada", "ben"], [("basil", "water it"), ("soap", "make it")]);
    assert_eq!(village.rows("mia"), rows([("basil", "water it")]));
    village.ends().await;
}

/// What P4 and P5 would have rebased: until then it is kept, explained, and back with what it was written upon.
#[tokio::test(start_paused = true)]
async fn p4_p5_without_rebase_what_others_wrote_upon_what_fell_is_kept_and_explained_and_comes_back_with_it()
{
    let mut village = Village::of(75, [("ben", Admin), ("carol", Writer), ("mia", Writer)]).await;
    village.writes("carol", "basil", "water it").await;
    village.meet().await;
    village.part(&[&["carol", "mia"]]);
    village.writes("mia", "basil", "drown it").await;
    village.settle().await;
    village.writes("carol", "basil", "drown it twice").await;
    village.settle().await;
    let mia = village.people["mia"].node().device_id();
    let before = village.group("carol").explain("tasks", "basil").await.unwrap();
    village.crash("mia").await;

    village.part(&[&["ben", "carol"]]);
    let removal = village.removes("ben", "mia").await;
    village.settle().await;
    village.have(&["ben", "carol"], [("basil", "water it")]);
    let explained = village.group("carol").explain("tasks", "basil").await.unwrap();
    assert_eq!((before.revisions, explained.revisions, explained.kept.unwrap().changes), (3, 1, 2));
    // The reason of all that fell: carol's own change has no other than mia's, below it.
    let is_why = |why: &Refusal| match why {
        Refusal::BeyondCut { author, revocation, seq: 0, got: 1 } => {
            (author.device, *revocation) == (mia, removal)
        }
        _ => false,
    };
    assert!(matches!(&explained.refusals[..], [why] if is_why(why)), "{:?}", explained.refusals);
    // P5: nobody but carol's device has kept it, and it writes nothing again by itself.
    village.removes("ada", "ben").await;
    village.meet().await;

    village.have(&["ada", "carol"], [("basil", "drown it twice")]);
    let explained = village.group("ada").explain("tasks", "basil").await.unwrap();
    assert_eq!((explained.heads, explained.revisions), (before.heads, 3));
    assert_eq!(village.kept("carol").await, 0);
    village.restart("mia").await;
    village.meet().await;
    village.have(&["ada", "carol", "mia"], [("basil", "drown it twice")]);
    village.ends().await;
}
