//! The cost of a ledger as it grows: one more op, and resolving from nothing.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerbase_schema::id::hash;
use peerbase_schema::key::SigningKey;
use peerbase_schema::ledger::{Body, By, Ledger, ManifestRef, Op, OpAction, Proposal, Resolver, Role};
use peerbase_schema::signed::{Envelope, Signed};
use peerbase_schema::wire::device::DeviceCert;
use peerbase_schema::{DeviceId, OpId, UserId};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Ops side by side.
const SIBLINGS: usize = 4_000;
/// Users whose roles are set in turn.
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

/// A resolver with `width` heads, in which one founder sets roles.
fn resolver(ops: usize, width: usize) -> Resolver {
    let mut resolver = Resolver::new(id(0), vec![user(0)]);
    for number in 1..ops {
        let parents = vec![id(number.saturating_sub(width))];
        let action = OpAction::SetRole { user: user(1 + number % USERS), role: role(number) };
        let proposal = Proposal { parents, author: user(0), device: None, action };
        resolver.admit(id(number), &proposal).expect("founders may");
    }
    resolver
}

/// Many ops on one parent: a flood.
fn admit_siblings(resolver: &mut Resolver) {
    let end = resolver.facts().last().expect("it has a Create").id;
    for number in 0..SIBLINGS {
        let action = OpAction::RevokeDevice {
            user: user(0),
            device: DeviceId(hash("bench", &[&number.to_be_bytes()])),
        };
        let proposal = Proposal { parents: vec![end], author: user(0), device: None, action };
        resolver
            .admit(OpId(hash("bench-sibling", &[&number.to_be_bytes()])), &proposal)
            .expect("founders may");
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
            // The first op after a clone also pays for copying the shared roster and vectors.
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
            let resolver = resolver(ops, width);
            group.throughput(Throughput::Elements(ops as u64));
            group.bench_function(BenchmarkId::new(format!("resolve a {shape}"), ops), |bencher| {
                let forget = || {
                    let mut resolver = resolver.clone();
                    resolver.forget_states();
                    resolver
                };
                let resolve = |resolver: Resolver| {
                    black_box(resolver.role(user(0)));
                    resolver
                };
                bencher.iter_batched(forget, resolve, BatchSize::PerIteration);
            });
        }
    }
    let line = resolver(2_000, 1);
    group.throughput(Throughput::Elements(SIBLINGS as u64));
    group.bench_function(BenchmarkId::new("admit siblings on a line of 2000", SIBLINGS), |bencher| {
        let admit = |mut resolver: Resolver| {
            admit_siblings(&mut resolver);
            resolver
        };
        bencher.iter_batched(|| line.clone(), admit, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
