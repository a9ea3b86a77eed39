//! What membership costs as a ledger grows: one more op, and the whole state from nothing.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerbase_schema::id::hash;
use peerbase_schema::key::SigningKey;
use peerbase_schema::ledger::{Body, By, Graph, Ledger, ManifestRef, Op, OpAction, Proposal, Role};
use peerbase_schema::signed::{Envelope, Signed};
use peerbase_schema::wire::device::DeviceCert;
use peerbase_schema::{DeviceId, OpId, UserId};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Ops side by side.
const SIBLINGS: usize = 4_000;
/// Users who are given and lose roles in turn.
const USERS: usize = 500;

fn user(number: usize) -> UserId {
    UserId(hash("bench", &[&number.to_be_bytes()]))
}

fn role(number: usize) -> Role {
    [Role::Reader, Role::Writer, Role::None, Role::Admin][number / USERS % 4]
}

fn id(number: usize) -> OpId {
    OpId(hash("bench-op", &[&number.to_be_bytes()]))
}

/// One founder sets roles; every op builds on the heads, of which there are `width`.
fn graph(ops: usize, width: usize) -> Graph {
    let mut graph = Graph::new(id(0), vec![user(0)]);
    for number in 1..ops {
        let parents = vec![id(number.saturating_sub(width))];
        let act = OpAction::SetRole { user: user(1 + number % USERS), role: role(number) };
        let proposal = Proposal { parents, author: user(0), device: None, act };
        graph.admit(id(number), &proposal).expect("founders may");
    }
    graph
}

/// Many ops on the end of a line: what somebody who floods a group says.
fn admit_siblings(graph: &mut Graph) {
    let end = graph.ops().last().expect("it has a Create").id;
    for number in 0..SIBLINGS {
        let act = OpAction::RevokeDevice {
            user: user(0),
            device: DeviceId(hash("bench", &[&number.to_be_bytes()])),
        };
        let proposal = Proposal { parents: vec![end], author: user(0), device: None, act };
        graph.admit(OpId(hash("bench-sibling", &[&number.to_be_bytes()])), &proposal).expect("founders may");
    }
}

struct Ada {
    key: SigningKey,
    device: SigningKey,
}

impl Ada {
    fn user(&self) -> UserId {
        UserId(self.key.public())
    }

    fn by(&self) -> By {
        let (user, device) = (self.user(), DeviceId(self.device.public()));
        let record = DeviceCert { version: 1, user, device, agreement: [7; 32], label: "laptop".into() };
        By::Device(Signed::sign(record, &self.key).envelope().clone())
    }

    /// The next op of this ledger, signed by a device.
    fn next(&self, ledger: &Ledger) -> Envelope {
        let number = ledger.len();
        let (role, before) = (role(number), ledger.roster().role(user(number % USERS)));
        let ends = role < Role::Writer && before >= Role::Writer;
        let cut = ends.then_some(ManifestRef { root: [1; 32], entries: 1 });
        let body = Body::SetRole { user: user(number % USERS), role, cut, via: None };
        let op: Op = ledger.draft(self.user(), self.by(), body).expect("founders may");
        Signed::sign(op, &self.device).envelope().clone()
    }

    fn ledger(&self, ops: usize) -> Ledger {
        let founders = vec![self.user()];
        let founded = Ledger::create([5; 32], founders, "bench", self.user(), self.by(), &self.device);
        let (mut ledger, _) = founded.expect("a group can be founded");
        while ledger.len() < ops {
            ledger.admit(self.next(&ledger)).expect("the op was drafted here");
        }
        ledger
    }
}

fn ledger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(20);
    let ada = Ada { key: SigningKey::from_seed([1; 32]), device: SigningKey::from_seed([2; 32]) };
    for ops in SIZES {
        group.throughput(Throughput::Elements(1));
        let before = ada.ledger(ops);
        before.roster();
        let first = ada.next(&before);
        let mut after = before.clone();
        after.admit(first.clone()).expect("the op was drafted here");
        let second = ada.next(&after);
        group.bench_function(BenchmarkId::new("admit a signed op on the heads", ops), |bencher| {
            // The first op after a clone pays for what both share: the roster, and vectors without room.
            let own = || {
                let mut ledger = before.clone();
                ledger.admit(first.clone()).expect("the op was drafted here");
                ledger
            };
            let admit = |mut ledger: Ledger| {
                ledger.admit(second.clone()).expect("the op was drafted here");
                black_box(ledger.roster().role(ada.user()));
                ledger
            };
            bencher.iter_batched(own, admit, BatchSize::PerIteration);
        });
    }
    for (shape, width) in [("line", 1), ("two branches", 2)] {
        for ops in SIZES {
            let graph = graph(ops, width);
            group.throughput(Throughput::Elements(ops as u64));
            group.bench_function(BenchmarkId::new(format!("resolve a {shape}"), ops), |bencher| {
                let forget = || {
                    let mut graph = graph.clone();
                    graph.forget_states();
                    graph
                };
                let resolve = |graph: Graph| {
                    black_box(graph.role(user(0)));
                    graph
                };
                bencher.iter_batched(forget, resolve, BatchSize::PerIteration);
            });
        }
    }
    let line = graph(2_000, 1);
    group.throughput(Throughput::Elements(SIBLINGS as u64));
    group.bench_function(BenchmarkId::new("admit siblings on a line of 2000", SIBLINGS), |bencher| {
        let admit = |mut graph: Graph| {
            admit_siblings(&mut graph);
            graph
        };
        bencher.iter_batched(|| line.clone(), admit, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
