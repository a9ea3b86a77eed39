//! The cost of the store above sled: checksums, split values, the queue and its one writer thread, revocable
//! handles.
//!
//! Beside each stands a bare sled with the same options that moves the same entries.

mod support;

use std::time::Duration;

use actors::node::store::SledOptions;
use actors::node::store::{Batch, SpaceHandle, StoreHandle};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{Entry, Raw, text};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of a value.
const SIZES: [usize; 3] = [100, 1 << 10, 10 << 10];
/// Entries that are there to be read.
const ENTRIES: u64 = 1_000;
/// Batches under way at once.
const WINDOW: u64 = 100;

fn entry(number: u64, bytes: usize) -> Entry {
    (format!("{number:048}").into_bytes(), text(number % 64, bytes).into_bytes())
}

fn open() -> (TempDir, StoreHandle, SpaceHandle) {
    let folder = tempfile::tempdir().expect("the system has a disk");
    let store =
        StoreHandle::open(&folder.path().join("db"), &SledOptions::default()).expect("a fresh folder");
    let space = store.space(b"bench").expect("a name that is free");
    (folder, store, space)
}

fn open_raw() -> (TempDir, Raw) {
    let folder = tempfile::tempdir().expect("the system has a disk");
    let raw = Raw::open(folder.path());
    (folder, raw)
}

fn batch((key, value): Entry) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

async fn write_at_once(store: &StoreHandle, space: &SpaceHandle, batches: Vec<Batch>) {
    let mut writes = JoinSet::new();
    for batch in batches {
        let (store, space) = (store.clone(), space.clone());
        writes.spawn(async move { store.write(&space, batch).await.expect("the disk works") });
    }
    writes.join_all().await;
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable write");
    let runtime = Runtime::new().expect("the system has threads");
    for bytes in SIZES {
        let (_folder, store, space) = open();
        let (_raw_folder, raw) = open_raw();
        let mut number = 0;
        let mut next = || {
            number += 1;
            entry(number, bytes)
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("one by one", bytes), |bench| {
            bench.iter(|| runtime.block_on(store.write(&space, batch(next()))).expect("the disk works"));
        });
        group.bench_function(BenchmarkId::new("one by one, sled", bytes), |bench| {
            bench.iter(|| {
                raw.apply(&[next()]);
                raw.barrier();
            });
        });
        group.throughput(Throughput::Elements(WINDOW));
        group.bench_function(BenchmarkId::new("100 under way", bytes), |bench| {
            bench.iter(|| {
                let batches = (0..WINDOW).map(|_| batch(next())).collect();
                runtime.block_on(write_at_once(&store, &space, batches));
            });
        });
        group.bench_function(BenchmarkId::new("100 under way, sled", bytes), |bench| {
            bench.iter(|| {
                (0..WINDOW).for_each(|_| raw.apply(&[next()]));
                raw.barrier();
            });
        });
        runtime.block_on(store.close(Duration::from_secs(60))).expect("the disk works");
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let runtime = Runtime::new().expect("the system has threads");
    for bytes in SIZES {
        let (_folder, store, space) = open();
        let (_raw_folder, raw) = open_raw();
        let entries: Vec<_> = (0..ENTRIES).map(|number| entry(number, bytes)).collect();
        raw.apply(&entries);
        runtime.block_on(write_at_once(&store, &space, entries.iter().cloned().map(batch).collect()));
        let mut number = 0;
        let mut next = || {
            number = (number + 7_919) % entries.len();
            &entries[number].0
        };

        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("get", bytes), |bench| {
            bench.iter(|| space.get(next()).expect("it is there"));
        });
        group.bench_function(BenchmarkId::new("get, sled", bytes), |bench| {
            bench.iter(|| raw.tree.get(next()).expect("it is there"));
        });
        group.throughput(Throughput::Elements(ENTRIES));
        group.bench_function(BenchmarkId::new("scan 1000", bytes), |bench| {
            let scan = || space.read(|view| view.prefix(b"").filter(Result::is_ok).count());
            bench.iter(|| scan().expect("the store is open"));
        });
        group.bench_function(BenchmarkId::new("scan 1000, sled", bytes), |bench| {
            bench.iter(|| raw.tree.iter().filter(Result::is_ok).count());
        });
        runtime.block_on(store.close(Duration::from_secs(60))).expect("the disk works");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = write, read
}
criterion_main!(benches);
