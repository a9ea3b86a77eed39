//! The cost of encryption: a handshake, both sides on one core, and records of three sizes, sealed and
//! opened.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerbase_schema::device::DeviceIdentity;
use peerbase_schema::handshake::{Handshake, Records, Terms};
use peerbase_schema::key::{AgreementKey, SigningKey};

fn device(seed: u8) -> DeviceIdentity {
    let key = |add| SigningKey::from_seed([seed + add; 32]);
    DeviceIdentity::certify(&key(0), key(50), AgreementKey::from_seed([seed + 99; 32]), "laptop")
}

/// From the first message until both know each other.
fn meet(ada: &DeviceIdentity, ben: &DeviceIdentity) -> (Records, Records) {
    let (mut ada, first) = Handshake::initiator(ada.clone(), Terms::default(), [1; 32], None);
    let mut ben = Handshake::responder(ben.clone(), Terms::default(), [2; 32]);
    let second = ben.step(&first).unwrap().send.remove(0);
    let third = ada.step(&second).unwrap().send;
    ben.step(&third[0]).unwrap();
    let last = ben.step(&third[1]).unwrap();
    let at_ada = ada.step(&last.send[0]).unwrap();
    (at_ada.established.unwrap().1, last.established.unwrap().1)
}

fn handshakes(criterion: &mut Criterion) {
    let (ada, ben) = (device(1), device(2));
    criterion.bench_function("handshake/both sides", |bench| bench.iter(|| black_box(meet(&ada, &ben))));
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record/seal and open");
    for bytes in [100_usize, 1 << 10, (64 << 10) - 18] {
        group.throughput(Throughput::Bytes(u64::try_from(bytes).unwrap()));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &bytes, |bench, &bytes| {
            let mut ends = meet(&device(1), &device(2));
            let (mut record, mut sealed) = (vec![7; bytes + 16], 0);
            bench.iter(|| {
                // Below 64 GiB, where a link is dialled again with fresh keys.
                sealed += bytes;
                if sealed > 60 << 30 {
                    (ends, sealed) = (meet(&device(1), &device(2)), bytes);
                }
                let tag = ends.0.send.seal(&mut record[..bytes]).unwrap();
                record[bytes..].copy_from_slice(&tag);
                black_box(ends.1.receive.open(&mut record).unwrap());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, handshakes, records);
criterion_main!(benches);
