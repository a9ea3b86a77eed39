//! Real nodes on a virtual network write while they are partitioned and are equal after the network heals.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use std::collections::BTreeMap;
use std::time::Duration;

use actors::clock::Random;
use actors::node::store::engine::Engine;
use peerbase::sim::{Net, Peer, faults};
use peerbase::{Counter, ErrorKind, GroupId, Role, Table, TableName};
use proptest::prelude::*;
use schema::DocumentId;
use serde::{Deserialize, Serialize};

use crate::support::{TASKS, Task, group, task, tasks};

/// Long enough for every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);

fn titles(peer: &Peer, group: GroupId) -> Vec<String> {
    crate::support::titles(&tasks(peer, group))
}

#[tokio::test(start_paused = true)]
async fn three_partitioned_nodes_that_write_are_equal_after_healing() {
    let mut net = Net::seeded(7).latency_ms(5..80).loss(0.02);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    tasks(&ada, home).put("basil", &task("water the basil")).await.unwrap();
    net.settle().await;

    net.partition(&[&[&ada, &ben], &[&cid]]);
    tasks(&ada, home).put("rope", &task("buy rope")).await.unwrap();
    tasks(&ben, home).update("basil", |task| task.title = "water all herbs".into()).await.unwrap();
    tasks(&cid, home).update("basil", |task| task.done = true).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&cid, home), ["water the basil"]);
    net.heal();
    net.settle().await;

    net.assert_converged();
    let basil = Task { title: "water all herbs".into(), done: true };
    assert_eq!(tasks(&cid, home).get("basil").unwrap(), Some(basil));
    assert_eq!(titles(&cid, home), ["water all herbs", "buy rope"]);
    net.close().await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tally {
    count: Counter,
}

const TALLIES: TableName<Tally> = TableName::new("tallies");

fn tallies(peer: &Peer, home: GroupId) -> Table<Tally> {
    group(peer, home).table(TALLIES)
}

/// Real nodes under random faults, and every write that they acknowledged.
struct World {
    net: Net,
    random: Random,
    peers: Vec<Peer>,
    up: Vec<bool>,
    home: GroupId,
    /// The last acknowledged title of each row; `None` once its removal was acknowledged.
    rows: BTreeMap<String, Option<String>>,
    counted: i64,
    /// Injected branch failures so far; bounded, because too many put a branch out of service.
    failures: u32,
}

impl World {
    async fn seeded(seed: u64, count: usize) -> Self {
        let mut net = Net::seeded(seed).latency_ms(1..120).loss(0.03);
        let all: Vec<_> = match count {
            3 => net.nodes(["ada", "ben", "cid"]).await.to_vec(),
            4 => net.nodes(["ada", "ben", "cid", "dan"]).await.to_vec(),
            _ => net.nodes(["ada", "ben", "cid", "dan", "eve"]).await.to_vec(),
        };
        let home = net.group("home", &all.iter().collect::<Vec<_>>()).await;
        tallies(&all[0], home).put("all", &Tally { count: 0.into() }).await.unwrap();
        net.settle().await;
        let (random, up) = (Random::seeded(seed), vec![true; all.len()]);
        Self { net, random, peers: all, up, home, rows: BTreeMap::new(), counted: 0, failures: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.within(0..=bound as u64 - 1)).unwrap()
    }

    async fn step(&mut self, number: usize) {
        let chosen = self.below(self.peers.len());
        let peer = self.peers[chosen].clone();
        match self.below(20) {
            0..=6 if self.up[chosen] => self.write(&peer, number).await,
            7..=9 if self.up[chosen] => {
                tallies(&peer, self.home).update("all", |tally| tally.count.increment(1)).await.unwrap();
                self.counted += 1;
            }
            10 if self.up[chosen] => self.remove(&peer).await,
            11..=12 => {
                let (one, other): (Vec<&Peer>, Vec<&Peer>) =
                    self.peers.iter().partition(|_| self.random.chance(0.5));
                self.net.partition(&[&one, &other]);
            }
            13 => {
                let other = self.below(self.peers.len());
                if other != chosen {
                    self.net.cut(&peer, &self.peers[other]);
                }
            }
            14..=15 => self.net.heal(),
            16 if self.up[chosen] => {
                self.net.crash(&peer).await;
                self.up[chosen] = false;
            }
            16..=17 if !self.up[chosen] => {
                self.net.restart(&peer).await;
                self.up[chosen] = true;
            }
            18 if self.up[chosen] => drop(faults::panic_connections(&peer.node()).await),
            19 if self.up[chosen] && self.failures < 3 => {
                self.failures += 1;
                match self.below(2) {
                    0 => faults::fail_group(&peer.node(), self.home),
                    _ => faults::fail_membership(&peer.node()),
                }
                self.net.sleep(Duration::from_secs(1)).await;
            }
            _ => {
                let millis = self.random.within(1..=3_000);
                self.net.sleep(Duration::from_millis(millis)).await;
            }
        }
    }

    /// Inserts a row or changes the title of an existing one.
    async fn write(&mut self, peer: &Peer, number: usize) {
        let table = tasks(peer, self.home);
        let title = number.to_string();
        let here: Vec<_> = table.list().unwrap().into_iter().map(|(key, _)| key).collect();
        if !here.is_empty() && self.random.chance(0.4) {
            let key = here[self.below(here.len())].clone();
            // Another device may write the same register concurrently: only this device's last write is
            // known.
            table.update(&key, |task| task.done = true).await.unwrap();
        } else if self.random.chance(0.3) {
            let rows: Vec<_> = (0..5).map(|row| task(&format!("{title} {row}"))).collect();
            for (key, row) in table.insert_many(&rows).await.unwrap().into_iter().zip(rows) {
                self.rows.insert(key, Some(row.title));
            }
        } else {
            let key = table.insert(&task(&title)).await.unwrap();
            self.rows.insert(key, Some(title));
        }
    }

    async fn remove(&mut self, peer: &Peer) {
        let table = tasks(peer, self.home);
        let here = table.list().unwrap();
        if !here.is_empty() {
            let key = here[self.below(here.len())].0.clone();
            assert!(table.remove(&key).await.unwrap());
            self.rows.insert(key, None);
        }
    }

    /// Restarts every node and heals the network.
    async fn end(&mut self) {
        for (peer, up) in self.peers.iter().zip(&mut self.up) {
            if !std::mem::replace(up, true) {
                self.net.restart(peer).await;
            }
        }
        self.net.heal();
        self.net.settle().await;
    }

    fn assert_nothing_is_lost(&self) {
        let expected: BTreeMap<_, _> =
            self.rows.iter().filter_map(|(key, title)| Some((key.clone(), title.clone()?))).collect();
        for peer in &self.peers {
            let rows = tasks(peer, self.home).list().unwrap();
            let found: BTreeMap<_, _> = rows.into_iter().map(|(key, task)| (key, task.title)).collect();
            assert_eq!(found, expected, "{}", peer.name());
            let tally = tallies(peer, self.home).get("all").unwrap().unwrap();
            assert_eq!(tally.count.value(), self.counted, "{}", peer.name());
        }
    }
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// 20 cases, or as many as `PROPTEST_CASES` asks for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nodes_end_equal_and_lose_no_acknowledged_write_after_random_faults(
        seed in 0..1_000_000_u64,
        peers in 3..6_usize,
        steps in 20..120_usize,
    ) {
        in_virtual_time(async {
            let mut world = World::seeded(seed, peers).await;
            for number in 0..steps {
                world.step(number).await;
            }
            world.end().await;
            world.net.assert_converged();
            world.assert_nothing_is_lost();
            world.net.close().await;
        });
    }
}

#[test]
fn one_seed_tells_one_story() {
    let story = |seed| {
        in_virtual_time(async move {
            let mut world = World::seeded(seed, 4).await;
            for number in 0..60 {
                world.step(number).await;
            }
            world.end().await;
            world.net.trace_hash()
        })
    };
    assert_eq!(story(42), story(42));
    assert_ne!(story(42), story(43));
}

#[tokio::test(start_paused = true)]
async fn a_write_at_one_end_of_a_chain_of_nodes_reaches_the_other_end() {
    let mut net = Net::seeded(1).latency_ms(5..80);
    let [ada, ben, cid, dan] = net.nodes(["ada", "ben", "cid", "dan"]).await;
    for (one, other) in [(&ada, &cid), (&ada, &dan), (&ben, &dan)] {
        net.cut(one, other);
    }

    let home = net.group("home", &[&ada, &ben, &cid, &dan]).await;
    net.sleep(A_WHILE).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    tasks(&dan, home).put("b", &task("rope")).await.unwrap();
    net.settle().await;
    net.sleep(A_WHILE).await;

    net.assert_converged();
    for peer in [&ada, &ben, &cid, &dan] {
        assert_eq!(titles(peer, home), ["basil", "rope"], "{}", peer.name());
    }
    tasks(&dan, home).update("a", |task| task.done = true).await.unwrap();
    net.sleep(Duration::from_secs(2)).await;
    assert!(tasks(&ada, home).get("a").unwrap().unwrap().done, "three hops take less than two seconds");
    net.close().await;
}

/// The last incarnation under which a stopped node has written.
fn incarnation(peer: &Peer, home: GroupId) -> Vec<u8> {
    let engine = peer.disk().open().unwrap();
    let space = engine.open_space(&[b"g", &home.0[..]].concat()).unwrap();
    space.get(b"mincarnation").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_loses_no_acknowledged_write_and_starts_no_new_chain() {
    let mut net = Net::seeded(2).latency_ms(5..80);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    net.partition(&[&[&ada], &[&ben]]);
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();

    net.crash(&ada).await;
    let first = incarnation(&ada, home);
    net.restart(&ada).await;
    assert_eq!(titles(&ada, home), ["basil"]);
    tasks(&ada, home).update("a", |task| task.done = true).await.unwrap();
    ada.node().close().await;
    let second = incarnation(&ada, home);
    net.restart(&ada).await;
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    ada.node().close().await;
    let third = incarnation(&ada, home);
    net.restart(&ada).await;

    assert_eq!(first, second, "after a power cut: nothing was lost");
    assert_eq!(second, third, "after a close");
    net.heal();
    net.settle().await;
    net.assert_converged();
    assert_eq!(titles(&ben, home), ["basil", "rope"]);
    assert!(tasks(&ben, home).get("a").unwrap().unwrap().done);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_interrupted_by_a_power_cut_is_whole_or_absent() {
    for wait in 0..12 {
        let mut net = Net::seeded(wait).latency_ms(1..5);
        let [ada, ben] = net.nodes(["ada", "ben"]).await;
        let home = net.group("home", &[&ada, &ben]).await;
        let rows: Vec<_> = (0..10).map(|row| task(&row.to_string())).collect();

        let table = tasks(&ada, home);
        let write = tokio::spawn(async move { table.insert_many(&rows).await });
        for _ in 0..wait {
            tokio::task::yield_now().await;
        }
        net.crash(&ada).await;
        let acknowledged = write.await.unwrap().is_ok();
        net.restart(&ada).await;
        net.settle().await;

        net.assert_converged();
        let rows = titles(&ada, home).len();
        assert!(rows == 10 || (rows == 0 && !acknowledged), "{rows} rows, acknowledged: {acknowledged}");
        net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_member_receives_two_thousand_rows() {
    let mut net = Net::seeded(3).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = ada.node().create_group("home").await.unwrap();
    let rows: Vec<_> = (0..2_000).map(|row| task(&row.to_string())).collect();
    home.table(TASKS).insert_many(&rows).await.unwrap();

    home.add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    ben.node().request_group(home.id()).await.unwrap();
    net.settle().await;

    net.assert_converged();
    assert_eq!(tasks(&ben, home.id()).list().unwrap(), tasks(&ada, home.id()).list().unwrap());
    assert_eq!(group(&ben, home.id()).status().await.unwrap().documents, 2_000);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_member_receives_a_row_of_three_thousand_changes() {
    let mut net = Net::seeded(4).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = ada.node().create_group("home").await.unwrap();
    for count in 0..3_000 {
        home.table(TASKS).put("a", &task(&count.to_string())).await.unwrap();
    }

    home.add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    ben.node().request_group(home.id()).await.unwrap();
    net.settle().await;

    net.assert_converged();
    assert_eq!(titles(&ben, home.id()), ["2999"]);
    assert_eq!(tasks(&ben, home.id()).history("a").await.unwrap().len(), 3_000);
    tasks(&ben, home.id()).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&ada, home.id()), ["basil"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_value_of_three_mebibytes_reaches_a_peer() {
    let mut net = Net::seeded(5).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let large = task(&"x".repeat(3 << 20));

    tasks(&ada, home).put("a", &large).await.unwrap();
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    net.settle().await;

    net.assert_converged();
    assert_eq!(tasks(&ben, home).get("a").unwrap(), Some(large));
    net.close().await;
}

/// The store keys of a row and of its document, and the document's id.
fn record(home: GroupId, key: &str) -> (Vec<u8>, Vec<u8>, DocumentId) {
    let document = DocumentId::of(home, "tasks", key);
    ([b"g", &home.0[..]].concat(), [b"d", &document.0[..]].concat(), document)
}

#[tokio::test(start_paused = true)]
async fn a_document_damaged_on_disk_is_quarantined_and_healed_by_a_peer() {
    let mut net = Net::seeded(6).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    for key in ["a", "b", "c"] {
        tasks(&ada, home).put(key, &task(key)).await.unwrap();
    }
    net.settle().await;
    net.partition(&[&[&ada], &[&ben]]);
    let (space, key, document) = record(home, "b");

    net.crash(&ben).await;
    assert!(ben.disk().damage(&space, &key));
    net.restart(&ben).await;

    let status = group(&ben, home).status().await.unwrap();
    assert_eq!(status.quarantined.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [document]);
    let refused = tasks(&ben, home).update("b", |task| task.done = true).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused:?}");
    tasks(&ben, home).update("c", |task| task.done = true).await.unwrap();
    net.heal();
    net.settle().await;
    net.assert_converged();
    assert_eq!(titles(&ben, home), ["a", "b", "c"]);
    assert!(group(&ben, home).status().await.unwrap().quarantined.is_empty());
    tasks(&ben, home).update("b", |task| task.done = true).await.unwrap();

    net.crash(&ben).await;
    net.restart(&ben).await;
    net.settle().await;
    net.assert_converged();
    assert!(tasks(&ada, home).get("b").unwrap().unwrap().done);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_value_fails_reads_of_that_row_only() {
    let mut net = Net::seeded(7).latency_ms(5..20);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    for key in ["a", "b", "c"] {
        tasks(&ada, home).put(key, &task(key)).await.unwrap();
    }
    let row = actors::node::group::rows::row_key("tasks", "b");

    net.crash(&ada).await;
    assert!(ada.disk().damage(&[b"g", &home.0[..]].concat(), &row));
    net.restart(&ada).await;

    assert_eq!(titles(&ada, home), ["a", "c"]);
    assert_eq!(tasks(&ada, home).get("b").unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(tasks(&ada, home).unreadable().unwrap().len(), 1);
    let seen: Vec<_> = tasks(&ada, home).iter().map(|row| row.is_ok()).collect();
    assert_eq!(seen, [true, false, true]);
    net.close().await;
}
