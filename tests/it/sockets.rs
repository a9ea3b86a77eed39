//! Real nodes over real sockets: what one writes the other reads, also after one was away.

use peerbase::{GroupId, Node, Role, TableName};

use crate::support::{DEADLINE, soon};

const TASKS: TableName<String> = TableName::new("tasks");

/// Waits until `node` reads `title` at `key`.
async fn until_read(node: &Node, group: GroupId, key: &str, title: &str) {
    let tasks = node.group(group).unwrap().table(TASKS);
    soon(&format!("{key} is {title:?}"), async || tasks.get(key).unwrap().as_deref() == Some(title)).await;
}

async fn put(node: &Node, group: GroupId, key: &str, title: &str) {
    node.group(group).unwrap().table(TASKS).put(key, &title.to_owned()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_meet_over_the_loopback_and_one_that_was_away_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let ada = Node::builder(folder.path().join("ada")).name("ada").open().await.unwrap();
    let ben = Node::builder(folder.path().join("ben")).name("ben").open().await.unwrap();
    let garden = ada.create_group("Garden club").await.unwrap();
    garden.add_member(ben.user_id(), Role::Writer).await.unwrap();
    ben.request_group(garden.id()).await.unwrap();
    let garden = garden.id();

    let address = ben.listen("127.0.0.1:0").await.unwrap();
    assert!(address.starts_with("ws://127.0.0.1:"), "{address}");
    assert_eq!(ada.connect(&address).await.unwrap(), ben.device_id());
    put(&ada, garden, "basil", "water the basil").await;
    until_read(&ben, garden, "basil", "water the basil").await;
    put(&ben, garden, "rope", "buy rope").await;
    until_read(&ada, garden, "rope", "buy rope").await;

    ben.close().await;
    put(&ada, garden, "basil", "water all herbs").await;
    let ben = Node::builder(folder.path().join("ben")).name("ben").open().await.unwrap();
    let port = address.strip_prefix("ws://").unwrap();
    assert_eq!(ben.listen(port).await.unwrap(), address, "the port is free again");

    until_read(&ben, garden, "basil", "water all herbs").await;
    put(&ben, garden, "rope", "the rope is bought").await;
    until_read(&ada, garden, "rope", "the rope is bought").await;
    ada.close().await;
    ben.close().await;
}

/// On the loopback the actor of a group often starts only after the peer's first frame, which is then lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_asked_for_over_a_link_that_is_up_gets_in_sync_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ada = Node::builder(folder.path().join("ada")).name("ada").open().await.unwrap();
    let ben = Node::builder(folder.path().join("ben")).name("ben").open().await.unwrap();
    let address = ada.listen("127.0.0.1:0").await.unwrap();
    ben.connect(&address).await.unwrap();

    for round in 0..10 {
        let here = ada.create_group("Garden club").await.unwrap();
        here.add_member(ben.user_id(), Role::Writer).await.unwrap();
        let there = ben.request_group(here.id()).await.unwrap();
        here.table(TASKS).put("basil", &"water the basil".to_owned()).await.unwrap();
        until_read(&ben, here.id(), "basil", "water the basil").await;
        for group in [&here, &there] {
            group.synced(DEADLINE).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    ada.close().await;
    ben.close().await;
}
