//! A change is in the database if and only if its author was allowed to write it, whoever carried it, and a removal
//! ends that for good: the scenarios of the rules, over real nodes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use peerbase::sim::{Net, Peer};
use peerbase::{ErrorKind, Group, GroupId, Role};
use support::{group, task, tasks};

use Role::{Admin, Owner, Reader, Writer};

/// Ada founds a group, ben is an Admin, cid and mia write; everybody is in sync.
struct Home {
    net: Net,
    id: GroupId,
    people: BTreeMap<&'static str, Peer>,
}

async fn home<const N: usize>(seed: u64, others: [(&'static str, Role); N]) -> Home {
    let mut net = Net::seeded(seed).latency_ms(5..40);
    let [ada] = net.nodes(["ada"]).await;
    let id = ada.node().create_group("home").await.unwrap().id();
    let mut home = Home { net, id, people: BTreeMap::from([("ada", ada)]) };
    for (name, role) in others {
        let [peer] = home.net.nodes([name]).await;
        home.group("ada").add_member(peer.node().user_id(), role).await.unwrap();
        peer.node().request_group(id).await.unwrap();
        home.people.insert(name, peer);
    }
    home.meet().await;
    home
}

impl Home {
    fn group(&self, name: &str) -> Group {
        group(&self.people[name], self.id)
    }

    async fn writes(&self, name: &str, key: &str, title: &str) {
        tasks(&self.people[name], self.id).put(key, &task(title)).await.unwrap();
    }

    async fn removes(&self, by: &str, whom: &str) {
        self.group(by).remove_member(self.people[whom].node().user_id()).await.unwrap();
    }

    fn rows(&self, name: &str) -> BTreeMap<String, String> {
        let rows = tasks(&self.people[name], self.id).list().unwrap();
        rows.into_iter().map(|(key, task)| (key, task.title)).collect()
    }

    fn parts(&mut self, sides: &[&[&str]]) {
        let sides: Vec<Vec<&Peer>> =
            sides.iter().map(|side| side.iter().map(|name| &self.people[name]).collect()).collect();
        let sides: Vec<&[&Peer]> = sides.iter().map(|side| &side[..]).collect();
        self.net.partition(&sides);
    }

    async fn settles(&mut self) {
        self.net.settle().await;
    }

    async fn meet(&mut self) {
        self.net.heal();
        self.net.settle().await;
        self.net.assert_converged();
    }

    /// Nobody tells the removed that they are, so their node would go on waiting: it goes.
    async fn without(&mut self, name: &str) {
        let peer = self.people.remove(name).unwrap();
        self.net.crash(&peer).await;
    }

    async fn ends(mut self) {
        self.meet().await;
        self.net.close().await;
    }
}

fn rows<const N: usize>(rows: [(&str, &str); N]) -> BTreeMap<String, String> {
    rows.into_iter().map(|(key, title)| (key.to_owned(), title.to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn p1_what_a_removed_member_wrote_before_stays_and_nothing_is_added() {
    let mut home = home(1, [("ben", Admin), ("mia", Writer)]).await;
    home.writes("mia", "basil", "water it").await;
    home.meet().await;

    home.removes("ada", "mia").await;
    home.settles().await;
    home.writes("mia", "rope", "too late").await;
    home.settles().await;

    home.without("mia").await;
    home.meet().await;
    for name in ["ada", "ben"] {
        assert_eq!(home.rows(name), rows([("basil", "water it")]), "{name}");
    }
    home.ends().await;
}

#[tokio::test(start_paused = true)]
async fn p2_what_the_remover_had_not_seen_is_taken_from_who_had() {
    let mut home = home(2, [("ben", Admin), ("mia", Writer)]).await;
    home.writes("mia", "basil", "water it").await;
    home.meet().await;

    home.parts(&[&["ada"], &["ben", "mia"]]);
    home.writes("mia", "basil", "water it twice").await;
    home.writes("mia", "rope", "buy it").await;
    home.settles().await;
    assert_eq!(home.rows("ben"), rows([("basil", "water it twice"), ("rope", "buy it")]));
    home.removes("ada", "mia").await;
    home.without("mia").await;
    home.meet().await;

    for name in ["ada", "ben"] {
        assert_eq!(home.rows(name), rows([("basil", "water it")]), "{name}");
    }
    let kept = home.group("ben").status().await.unwrap().snapshots;
    assert_eq!(kept.len(), 2, "what was taken is kept for a while");
    home.ends().await;
}
