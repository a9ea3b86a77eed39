//! The time until two nodes are equal: first replication, live changes, the cost of attestation. It prints
//! the figures.
//!
//! Two in-memory nodes in one process use the in-memory network without latency, on two threads. The cost of
//! admitting the changes of a peer stands beside the same work without it, both on a bare sled.

#![allow(clippy::disallowed_methods, reason = "a bench measures by the clock on the wall")]

mod support;

use std::time::{Duration, Instant};

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::{Group, Node, Role, TableName};
use serde::{Deserialize, Serialize};
use support::Raw;
use support::attestation::{CHANGES, Writer, apply};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Airport {
    name: String,
    city: String,
    state: String,
    latitude: f64,
    longitude: f64,
}

const AIRPORTS: TableName<Airport> = TableName::new("airports");
const PATIENCE: Duration = Duration::from_secs(120);

fn airport(number: usize) -> Airport {
    Airport {
        name: format!("Airport {number}"),
        city: "Bay Springs".into(),
        state: "MS".into(),
        latitude: number as f64 / 100.0,
        longitude: -89.23,
    }
}

async fn node(network: &MemoryNetwork, name: &str) -> Node {
    Node::in_memory_builder().name(name).network(network, name).open().await.expect("memory opens")
}

/// Two nodes that are members of one group; ada listens.
async fn pair() -> (MemoryNetwork, Node, Node, Group, Group) {
    let network = MemoryNetwork::seeded(Clock::real(), 7);
    let (ada, ben) = (node(&network, "ada").await, node(&network, "ben").await);
    let here = ada.create_group("airports").await.expect("creating a group needs no link");
    here.add_member(ben.user_id(), Role::Writer).await.expect("founders admit");
    let there = ben.request_group(here.id()).await.expect("a request needs no link");
    ada.listen("memory://ada").await.expect("the address is free");
    (network, ada, ben, here, there)
}

async fn first_replication(rows: usize) {
    let (_network, ada, ben, here, there) = pair().await;
    let all: Vec<_> = (0..rows).map(airport).collect();
    let began = Instant::now();
    for batch in all.chunks(1_000) {
        here.table(AIRPORTS).insert_many(batch).await.expect("rows are written");
    }
    let written = began.elapsed();
    let began = Instant::now();
    ben.connect("memory://ada").await.expect("ada listens");
    arrived(&there, rows).await;
    let took = began.elapsed();
    println!(
        "first replication of {rows} rows: {:.0} rows/s (writing them: {:.0} rows/s)",
        rows as f64 / took.as_secs_f64(),
        rows as f64 / written.as_secs_f64(),
    );

    let began = Instant::now();
    there.synced(PATIENCE).await.expect("in sync");
    println!("  and both sides knew it {:?} later", began.elapsed());
    ada.close().await;
    ben.close().await;
}

async fn arrived(group: &Group, rows: usize) {
    let began = Instant::now();
    loop {
        let status = group.status().await.expect("the group answers");
        if status.documents >= rows {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {rows} rows arrived", status.documents);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn live(changes: usize) {
    let (_network, ada, ben, here, there) = pair().await;
    here.table(AIRPORTS).put("a", &airport(0)).await.expect("written");
    ben.connect("memory://ada").await.expect("ada listens");
    arrived(&there, 1).await;
    there.synced(PATIENCE).await.expect("in sync");
    let mut watch = there.table(AIRPORTS).watch();
    let mut times = Vec::with_capacity(changes);
    for number in 1..=changes {
        let began = Instant::now();
        here.table(AIRPORTS).put("a", &airport(number)).await.expect("written");
        watch.next().await.expect("the change arrives");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "a change by ada seen by ben: p50 {:?}, p99 {:?}",
        times[changes / 2],
        times[changes * 99 / 100]
    );
    ada.close().await;
    ben.close().await;
}

/// The cost of attestation in an apply: medians with and without it; see `attestation`.
fn attested() {
    let writer = Writer::new();
    for changes in CHANGES {
        let runs = if changes > 1_000 { 5 } else { 51 };
        let folders = [0; 2].map(|_| tempfile::tempdir().expect("the system has a disk"));
        let raw = folders.each_ref().map(|folder| Raw::open(folder.path()));
        // Alternating, so that other load of the machine affects both.
        let mut times = [Vec::new(), Vec::new()];
        for run in 0..runs {
            let sent = writer.send(run * changes..(run + 1) * changes);
            for attested in [false, true] {
                times[usize::from(attested)].push(apply(&raw[usize::from(attested)], &sent, attested));
            }
        }
        let [without, with] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        println!(
            "applying {changes} changes : {without:.2?} without attestation, {with:.2?} with it, × {:.2}",
            with.as_secs_f64() / without.as_secs_f64(),
        );
    }
}

fn main() {
    attested();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for rows in [1_000, 10_000] {
            first_replication(rows).await;
        }
        live(1_000).await;
    });
}
