//! Real nodes on a virtual network: cut apart, they write; healed, they are equal.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use peerbase::sim::{Net, Peer};
use peerbase::{GroupId, Table, TableName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    title: String,
    done: bool,
}

const TASKS: TableName<Task> = TableName::new("tasks");

fn task(title: &str) -> Task {
    Task { title: title.to_owned(), done: false }
}

fn tasks(peer: &Peer, group: GroupId) -> Table<Task> {
    peer.node().group(group).unwrap().table(TASKS)
}

fn titles(peer: &Peer, group: GroupId) -> Vec<String> {
    tasks(peer, group).list().unwrap().into_iter().map(|(_, task)| task.title).collect()
}

#[tokio::test(start_paused = true)]
async fn three_nodes_cut_apart_write_heal_and_become_equal() {
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
