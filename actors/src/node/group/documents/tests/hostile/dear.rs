//! Changes that are as dear as they may be: each is accepted and applied, whatever it is.
//!
//! `SEED` is the seed, or the first one. The full run goes over all shapes and `UNITS` units; docs/testing.md
//! has its command. Milliseconds are of this thread's processor time, MiB what the process had at most beside
//! what it had before; both are read from Linux' `/proc` and are zero elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schema::limits::{CHANGE_CHARGE_MAX, UNIT_CHARGE_MAX};
use testkit::dear::{self, Change, Random, SHAPES};

use super::*;
use crate::node::group::replica::Replica;

/// The number in a variable of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Milliseconds of processor time of this thread.
fn processor() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    times.split(' ').next().and_then(|time| time.parse::<f64>().ok()).unwrap_or_default() / 1e6
}

/// MiB of this process, by the name of a line of its status.
fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1_024.
}

/// The cost of some work: CPU of this thread, and memory at its peak.
#[derive(Clone, Copy, Default)]
struct Cost {
    ms: f64,
    mib: f64,
}

fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    drop(std::fs::write("/proc/self/clear_refs", "5")); // resets the peak
    let (before, begin) = (memory("VmRSS"), processor());
    let value = work();
    let ms = processor() - begin;
    (value, Cost { ms, mib: memory("VmHWM") - before })
}

/// One unit that was accepted.
struct Measured {
    name: String,
    changes: usize,
    bytes: usize,
    charge: u64,
    /// All that a device does with it until the batch for the store is ready.
    whole: Cost,
    /// Automerge's part on an empty document; nothing for later units of a document.
    automerge: Option<Cost>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, changes, bytes, charge, whole, automerge } = self;
        let mib = f64::from(u32::try_from(charge >> 10).unwrap()) / 1_024.;
        let of_mib = whole.ms / mib;
        let Cost { ms, mib: peak } = whole;
        write!(f, "{name}: {changes} changes, {bytes} bytes, {mib:.2} MiB of charge, ")?;
        write!(f, "{ms:.0} ms ({of_mib:.1} a MiB of charge), {peak:.0} MiB")?;
        match automerge {
            Some(Cost { ms, mib }) => write!(f, "; Automerge alone {ms:.0} ms, {mib:.0} MiB"),
            None => write!(f, "; upon the units before"),
        }
    }
}

impl Home {
    fn rope(&self) -> DocumentId {
        DocumentId::of(self.ledger.group(), "tasks", "rope")
    }

    fn author_of_chain(&self, chain: usize) -> Author {
        let grant = self.ledger.roster().grant(user(BEN)).unwrap();
        Author { device: schema::DeviceId(device(BEN).public()), grant, incarnation: chain as u64 }
    }

    fn replica_of_chain(&self, chain: usize) -> ReplicaId {
        let Author { device, grant, incarnation } = self.author_of_chain(chain);
        ReplicaId::of(self.ledger.group(), self.rope(), device, grant, incarnation)
    }

    /// Changes of ben's chains as one unit, with the newest tip of each chain.
    fn unit_of(&self, changes: &[Change]) -> Units {
        let (group, document) = (self.ledger.group(), self.rope());
        let newest: BTreeMap<_, _> = changes.iter().map(|change| (change.chain, change)).collect();
        let key = device(BEN);
        let tip = |change: &Change| {
            let author = self.author_of_chain(change.chain);
            let signature = Tip::sign(group, document, author, change.seq, change.hash, &key).signature;
            UnitTip { author: 0, incarnation: author.incarnation, seq: change.seq, signature }
        };
        let tips = newest.into_values().map(tip).collect();
        let changes = changes.iter().map(|change| change.chunk.clone()).collect();
        let message = SyncMessage { changes, ..SyncMessage::default() }.encode();
        let Author { device, grant, .. } = self.author_of_chain(0);
        let units = vec![Unit { document, table: "tasks".into(), key: "rope".into(), tips, message }];
        Units { number: 1, state: [0; 32], authors: vec![(device, grant)], units }
    }

    /// A document of these units is accepted, applied, given back, saved and loaded.
    async fn accepts(&self, name: &str, units: &[Vec<Change>]) -> Vec<Measured> {
        let mut ada = self.desk(ADA);
        let mut replica = Replica::new();
        let mut measured = Vec::new();
        for (number, changes) in units.iter().enumerate() {
            let dearest = changes.iter().map(|change| change.charge).max();
            assert!(dearest <= Some(CHANGE_CHARGE_MAX), "{name}");
            let charge = dear::charge(changes);
            assert!(charge <= UNIT_CHARGE_MAX, "{name}");

            let unit = self.unit_of(changes);
            let (heard, whole) = measure(|| ada.hears(unit));
            assert_eq!(heard.1.refused, [], "{name}");
            ada.stores(heard).await;
            let document = ada.documents.load(self.rope()).unwrap().unwrap();
            assert!(changes.iter().all(|change| document.index.contains(&change.hash)), "{name}");

            let chunks: Vec<_> = changes.iter().map(|change| &change.chunk[..]).collect();
            let (applied, automerge) = measure(|| replica.apply(&chunks));
            assert_eq!(applied, Ok(()), "{name}");
            measured.push(Measured {
                name: name.to_owned(),
                changes: changes.len(),
                bytes: chunks.iter().map(|chunk| chunk.len()).sum(),
                charge,
                whole,
                automerge: (number == 0).then_some(automerge),
            });
        }

        let given: BTreeSet<_> = units.iter().flatten().map(|change| change.chunk.clone()).collect();
        assert!(given == replica.changes_since(&[]).into_iter().collect(), "{name}");
        let saved = replica.save();
        let loaded = Replica::load(&[&saved], &replica.heads()).map(|loaded| loaded.heads());
        assert_eq!(loaded, Ok(replica.heads()), "{name}: the saved document is loaded");
        measured
    }

    /// A document of a seed; each fourth has several units.
    async fn accepts_mixed(&self, seed: u64) -> Vec<Measured> {
        let count = if seed.is_multiple_of(4) { 1 + Random(seed).below(3) } else { 1 };
        let units = dear::mixed(seed, count, &|chain| self.replica_of_chain(chain));
        self.accepts(&format!("seed {seed}"), &units).await
    }

    async fn accepts_shape(&self, shape: &dear::Shape) -> Vec<Measured> {
        let unit = dear::unit(shape, &|chain| self.replica_of_chain(chain));
        self.accepts(shape.name(), &[unit]).await
    }
}

/// Sorts by time, the dearest first.
fn sort(measured: &mut [Measured]) {
    measured.sort_by(|one, other| other.whole.ms.total_cmp(&one.whole.ms));
}

#[tokio::test]
async fn the_dearest_units_are_accepted_and_applied_whatever_they_are() {
    let seed = number("SEED").unwrap_or(11);
    println!("SEED={seed}");
    let home = Home::new();
    let first = Random(seed).below(4);

    let mut measured = Vec::new();
    for shape in SHAPES.iter().skip(first).step_by(4) {
        measured.extend(home.accepts_shape(shape).await);
    }
    for number in 0..6 {
        measured.extend(home.accepts_mixed(seed + number).await);
    }

    sort(&mut measured);
    println!("{} units, the dearest: {}", measured.len(), measured[0]);
    let spare = measured.iter().filter(|unit| unit.charge < UNIT_CHARGE_MAX / 10 * 9).count();
    assert!(spare <= measured.len() / 2, "the generator fills {spare} of {} units badly", measured.len());
}

#[tokio::test]
#[ignore = "takes an hour or two in release: docs/testing.md"]
async fn the_full_run_over_the_dearest_units() {
    let (first, count) = (number("SEED").unwrap_or(0), number("UNITS").unwrap_or(10_000));
    let home = Home::new();

    let mut measured = Vec::new();
    for shape in SHAPES {
        for unit in home.accepts_shape(shape).await {
            println!("{unit}");
            measured.push(unit);
        }
    }
    let shapes = measured.len();
    let mut seed = first;
    while ((measured.len() - shapes) as u64) < count {
        for unit in home.accepts_mixed(seed).await {
            let dearer = |other: &Measured| other.whole.ms >= unit.whole.ms;
            if !measured[shapes..].iter().any(dearer) {
                println!("{unit}");
            }
            measured.push(unit);
        }
        seed += 1;
        if seed.is_multiple_of(100) {
            println!("… {} units, seeds {first} to {}", measured.len(), seed - 1);
        }
    }

    println!("{shapes} shapes and {} units, seeds {first} to {}", measured.len() - shapes, seed - 1);
    let empty = |unit: &&Measured| unit.automerge.is_some();
    let slow = measured.iter().filter(empty).filter(|unit| unit.whole.ms > 250.).count();
    let large = measured.iter().filter(empty).filter(|unit| unit.whole.mib > 128.).count();
    println!("on an empty document {slow} take more than 250 ms, {large} more than 128 MiB");
    sort(&mut measured);
    println!("the slowest:");
    measured.iter().take(12).for_each(|unit| println!("  {unit}"));
    measured.sort_by(|one, other| other.whole.mib.total_cmp(&one.whole.mib));
    println!("the largest:");
    measured.iter().take(12).for_each(|unit| println!("  {unit}"));
}
