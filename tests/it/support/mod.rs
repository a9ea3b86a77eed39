//! The test kit: a row type, shorthands for groups and tables, and a [`scenario`].

pub(crate) mod merging;
pub(crate) mod scenario;

pub(crate) use testkit::handmade;

use std::time::Duration;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::sim::{Net, Peer};
use peerbase::{Group, GroupId, Node, Table, TableName};
use serde::{Deserialize, Serialize};

/// The row type of most tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) title: String,
    pub(crate) done: bool,
}

pub(crate) const TASKS: TableName<Task> = TableName::new("tasks");

pub(crate) fn task(title: &str) -> Task {
    Task { title: title.to_owned(), done: false }
}

/// An in-memory node with one group, in virtual time: the real workers are shared with tests beside it, and
/// paused time does not wait for them.
pub(crate) async fn home() -> (Node, Group) {
    let network = MemoryNetwork::seeded(Clock::simulated(1), 1);
    let node = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
    let group = node.create_group("home").await.unwrap();
    (node, group)
}

pub(crate) fn group(peer: &Peer, group: GroupId) -> Group {
    peer.node().group(group).unwrap()
}

pub(crate) fn tasks(peer: &Peer, id: GroupId) -> Table<Task> {
    group(peer, id).table(TASKS)
}

/// The titles of all rows, in the order of their keys.
pub(crate) fn titles(table: &Table<Task>) -> Vec<String> {
    table.list().unwrap().into_iter().map(|(_, task)| task.title).collect()
}

/// Lets virtual time pass until `condition` holds, for two minutes at most.
pub(crate) async fn until(net: &Net, what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if condition() {
            return;
        }
        net.sleep(Duration::from_millis(100)).await;
    }
    panic!("not within two minutes: {what}");
}

/// The longest that a step of nodes on real sockets or disks may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits in real time until `condition` holds, for [`DEADLINE`] at most: real sockets and disks keep no
/// virtual time.
pub(crate) async fn soon(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "not in time: {what}");
}
