//! The histories of the machine world a second, on one thread: how many stories a property test can afford.

#[path = "../tests/it/machines/histories.rs"]
mod histories;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use histories::{history, joining_history, malicious_history};
use peerbase::sim::machines::World;

/// Steps of a history, the mean of the property tests.
const STEPS: u64 = 60;

fn histories(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histories");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    let mut seed = 0;
    let mut next = || {
        seed += 1;
        seed
    };
    group.bench_function("malicious", |bencher| {
        bencher.iter(|| {
            let seed = next();
            malicious_history(World::with_malice(seed), STEPS, seed % 2 == 0)
        });
    });
    group.bench_function("partitions", |bencher| bencher.iter(|| history(next(), 4, STEPS)));
    group.bench_function("joining", |bencher| bencher.iter(|| joining_history(next(), STEPS)));
    group.finish();
}

criterion_group!(benches, histories);
criterion_main!(benches);
