//! The cost of a row above the store: to write, read, list and replicate it.
//!
//! Each figure stands beside a bare sled with the same options that moves the same bytes: for a commit the
//! document record and the row, applied as one batch and forced to the disk. Replication runs in memory:
//! dial, handshake, ledger, comparison and every row, with each signature verified. The cost of attestation
//! in a commit stands beside the same work without it.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time, on tasks of its own")]

mod support;

use std::time::{Duration, Instant};

use actors::clock::Clock;
use actors::node::store::SledOptions;
use actors::node::store::StoreHandle;
use actors::transport::memory::MemoryNetwork;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerbase::{Node, Role, Table, TableName};
use schema::id::hash;
use serde::{Deserialize, Serialize};
use support::attestation::{CHANGES, Writer};
use support::{Entry, Raw, text};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of a row's text.
const SIZES: [usize; 3] = [100, 1 << 10, 10 << 10];
/// Rows of the tables that are read, listed and replicated.
const ROWS: u64 = 1_000;
/// Numbers of concurrent writers.
const CALLERS: u64 = 8;
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Message {
    author: String,
    body: String,
    sent_at: u64,
}

const MESSAGES: TableName<Message> = TableName::new("messages");

fn message(number: u64, bytes: usize) -> Message {
    Message { author: "ada".into(), body: text(number, bytes), sent_at: number }
}

/// A node on a disk with one group.
struct World {
    runtime: Runtime,
    node: Node,
    table: Table<Message>,
    keys: Vec<String>,
    folder: TempDir,
}

impl World {
    /// Opens a node with `rows` rows of `bytes` bytes, written in one commit.
    fn with_rows(rows: u64, bytes: usize) -> Self {
        let runtime = Runtime::new().expect("the system has threads");
        let folder = tempfile::tempdir().expect("the system has a disk");
        let new: Vec<_> = (0..rows).map(|number| message(number, bytes)).collect();
        let (node, table, keys) = runtime.block_on(async {
            let node = Node::builder(folder.path()).open().await.expect("a fresh folder");
            let table =
                node.create_group("bench").await.expect("creating a group needs no link").table(MESSAGES);
            let keys = table.insert_many(&new).await.expect("a founder may write");
            (node, table, keys)
        });
        Self { runtime, node, table, keys, folder }
    }

    /// Closes the node and returns the stored bytes of each row: the document record and the row.
    fn into_stored(self) -> Vec<[Entry; 2]> {
        let id = self.node.groups()[0].id;
        self.runtime.block_on(self.node.close());
        let folder = self.folder.path().join("db");
        let store = StoreHandle::open(&folder, &SledOptions::default()).expect("the node is closed");
        let names = store.spaces().expect("the store is open");
        let name = names.iter().find(|name| name.ends_with(&id.0)).expect("the group has a space");
        let space = store.space(name).expect("the store is open");
        let tagged = |tag: &[u8]| -> Vec<Entry> {
            let entries = space.read(|view| view.prefix(tag).collect::<Result<_, _>>());
            entries.expect("the store is open").expect("the store is whole")
        };
        let (documents, rows) = (tagged(b"d"), tagged(b"r"));
        assert_eq!(documents.len(), rows.len(), "a document for each row");
        documents.into_iter().zip(rows).map(<[Entry; 2]>::from).collect()
    }
}

/// The entries that a commit stores, under new keys: documents in the order of a hash, rows in the order of
/// keys.
fn fresh(stored: &[[Entry; 2]], number: usize) -> [Entry; 2] {
    let [mut document, mut row] = stored[number % stored.len()].clone();
    document.0[1..].copy_from_slice(&hash("bench", &[&number.to_be_bytes()]));
    let at = row.0.len() - 2 - 16;
    row.0[at..][..16].copy_from_slice(format!("{number:016}").as_bytes());
    [document, row]
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    for bytes in SIZES {
        let world = World::with_rows(100, bytes);
        let row = message(0, bytes);
        let insert = || world.runtime.block_on(world.table.insert(&row)).expect("a founder may write");
        group.bench_function(BenchmarkId::new("one caller", bytes), |bench| bench.iter(insert));
        group.bench_function(BenchmarkId::new("eight callers", bytes), |bench| {
            bench.iter_custom(|rows| world.runtime.block_on(insert_at_once(&world.table, &row, rows)));
        });

        let stored = world.into_stored();
        let folder = tempfile::tempdir().expect("the system has a disk");
        let raw = Raw::open(folder.path());
        let mut number = 0;
        let mut apply = || {
            number += 1;
            raw.apply(&fresh(&stored, number));
        };
        group.bench_function(BenchmarkId::new("one caller, sled", bytes), |bench| {
            bench.iter(|| {
                apply();
                raw.barrier();
            });
        });
        group.bench_function(BenchmarkId::new("eight callers, sled", bytes), |bench| {
            bench.iter_custom(|rows| {
                let start = Instant::now();
                for row in 1..=rows {
                    apply();
                    if row % CALLERS == 0 || row == rows {
                        raw.barrier();
                    }
                }
                start.elapsed()
            });
        });
    }
    group.finish();
}

async fn insert_at_once(table: &Table<Message>, row: &Message, rows: u64) -> Duration {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (table, row) = (table.clone(), row.clone());
        callers.spawn(async move {
            for _ in (caller..rows).step_by(8) {
                table.insert(&row).await.expect("a founder may write");
            }
        });
    }
    callers.join_all().await;
    start.elapsed()
}

/// The cost of attestation in a commit: without it, with it, and by a whole node; see `attestation`.
fn attested(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit, attested");
    let writer = Writer::new();
    for changes in CHANGES {
        group.throughput(Throughput::Elements(changes));
        for (name, attested) in [("without", false), ("with", true)] {
            let folder = tempfile::tempdir().expect("the system has a disk");
            let raw = Raw::open(folder.path());
            let mut next = 0;
            group.bench_function(BenchmarkId::new(name, changes), |bench| {
                bench.iter_custom(|times| {
                    let batches = (0..times).map(|_| {
                        next += changes;
                        writer.commit(&raw, next - changes..next, attested)
                    });
                    batches.sum()
                });
            });
        }
        let world = World::with_rows(1, 100);
        let rows: Vec<_> = (0..changes).map(|number| message(number, 100)).collect();
        group.bench_function(BenchmarkId::new("a whole node", changes), |bench| {
            bench.iter(|| {
                world.runtime.block_on(world.table.insert_many(&rows)).expect("a founder may write")
            });
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    for bytes in SIZES {
        let world = World::with_rows(ROWS, bytes);
        let mut number = 0;
        let mut next = |keys: &[Vec<u8>]| {
            number = (number + 7_919) % keys.len();
            number
        };
        let keys: Vec<_> = world.keys.iter().map(|key| key.as_bytes().to_vec()).collect();

        let mut get = criterion.benchmark_group("get");
        get.throughput(Throughput::Elements(1));
        get.bench_function(BenchmarkId::new("one row", bytes), |bench| {
            bench.iter(|| world.table.get(&world.keys[next(&keys)]).expect("it is there"));
        });
        get.finish();
        let mut list = criterion.benchmark_group("list");
        list.throughput(Throughput::Elements(ROWS));
        list.bench_function(BenchmarkId::new("1000 rows", bytes), |bench| {
            bench.iter(|| world.table.list().expect("they are there"));
        });
        list.finish();

        let folder = tempfile::tempdir().expect("the system has a disk");
        let raw = Raw::open(folder.path());
        let stored = world.into_stored();
        stored.iter().for_each(|entries| raw.apply(entries));
        raw.barrier();
        let keys: Vec<_> = stored.into_iter().map(|[_, (key, _)]| key).collect();

        let mut get = criterion.benchmark_group("get");
        get.throughput(Throughput::Elements(1));
        get.bench_function(BenchmarkId::new("one row, sled", bytes), |bench| {
            bench.iter(|| raw.tree.get(&keys[next(&keys)]).expect("it is there"));
        });
        get.finish();
        let mut list = criterion.benchmark_group("list");
        list.throughput(Throughput::Elements(ROWS));
        list.bench_function(BenchmarkId::new("1000 rows, sled", bytes), |bench| {
            bench.iter(|| raw.tree.scan_prefix(b"r").filter(Result::is_ok).count());
        });
        list.finish();
    }
}

/// Replicates all rows to an empty device, from the dial to the last row.
async fn take_over(rows: &[Message]) -> Duration {
    let network = MemoryNetwork::seeded(Clock::real(), 7);
    let open = |name: &'static str| Node::in_memory_builder().network(&network, name).open();
    let (ada, ben) = (open("ada").await.expect("memory"), open("ben").await.expect("memory"));
    let group = ada.create_group("bench").await.expect("creating a group needs no link");
    group.table(MESSAGES).insert_many(rows).await.expect("a founder may write");
    group.add_member(ben.user_id(), Role::Reader).await.expect("a founder may admit");
    let joined = ben.request_group(group.id()).await.expect("a request needs no link");
    ada.listen("memory://ada").await.expect("the address is free");

    let start = Instant::now();
    ben.connect("memory://ada").await.expect("ada listens");
    joined.synced(SOON).await.expect("the link is up");
    let took = start.elapsed();

    assert_eq!(joined.table(MESSAGES).list().expect("memory").len(), rows.len());
    ben.close().await;
    ada.close().await;
    took
}

fn remote(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("take over");
    group.throughput(Throughput::Elements(ROWS));
    let runtime = Runtime::new().expect("the system has threads");
    for bytes in SIZES {
        let rows: Vec<_> = (0..ROWS).map(|number| message(number, bytes)).collect();
        group.bench_function(BenchmarkId::new("1000 rows", bytes), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| runtime.block_on(take_over(&rows))).sum());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = commit, attested, read, remote
}
criterion_main!(benches);
