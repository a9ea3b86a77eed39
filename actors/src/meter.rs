//! Meters: counters and gauges of a node by noun, which `status` reads.
//!
//! Meters are plain atomics without locks: to count costs one relaxed addition. A part of the node holds the
//! meters of its own noun beside its clock. Counters start at zero when the node is opened and survive
//! restarts of actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows while the node runs.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that grows and shrinks: the amount that exists at the moment.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `amount`.
    pub fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Relaxed);
    }

    /// Subtracts `amount`, which must have been added before.
    pub fn subtract(&self, amount: usize) {
        self.0.fetch_sub(amount as u64, Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: usize) {
        self.0.store(value as u64, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The kind of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterKind {
    /// Only grows while the node runs; starts at zero.
    Counter,
    /// The amount that exists at the moment.
    Gauge,
}

/// One meter as `status` read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterReading {
    /// Noun, then measure: `store_written_bytes`.
    pub name: &'static str,
    /// The unit of the value: `bytes`, or the noun that is counted.
    pub unit: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MeterKind,
    /// The value.
    pub value: u64,
}

/// Defines the meters of one noun: a struct of them, and a function that reads them all.
macro_rules! meters {
    ($(#[doc = $about:literal])* $noun:ident as $prefix:literal {
        $(#[doc = $help:literal] $meter:ident: $kind:ident of $unit:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Default)]
        pub struct $noun {
            $(#[doc = $help] pub $meter: $kind,)*
        }

        impl $noun {
            fn read(&self, readings: &mut Vec<MeterReading>) {
                $(readings.push(MeterReading {
                    name: concat!($prefix, "_", stringify!($meter)),
                    unit: $unit,
                    help: $help.trim_ascii(),
                    kind: MeterKind::$kind,
                    value: self.$meter.get(),
                });)*
            }
        }
    };
}

meters! {
    /// Meters of the store's writer.
    StoreMeters as "store" {
        /// Batches that the engine applied; neighbours of one space count as one.
        written_batches: Counter of "batches",
        /// Keys and values that the engine applied.
        written_bytes: Counter of "bytes",
        /// Batches that failed or were refused.
        refused_batches: Counter of "batches",
        /// Barriers that made writes durable.
        barriers: Counter of "barriers",
        /// Keys and values of batches that are not answered yet.
        queued_bytes: Gauge of "bytes",
    }
}

meters! {
    /// Meters of links.
    LinkMeters as "links" {
        /// Links that exist now.
        open: Gauge of "links",
        /// Links whose handshake passed and that were kept.
        opened: Counter of "links",
        /// Links that ended because another one needed the room.
        displaced: Counter of "links",
        /// Accepted sockets that were dropped before their handshake, because others needed the room.
        dropped_half_open: Counter of "sockets",
        /// Frames received.
        received_frames: Counter of "frames",
        /// Bytes of frames received, without their encryption.
        received_bytes: Counter of "bytes",
        /// Frames sent.
        sent_frames: Counter of "frames",
        /// Bytes of frames sent, without their encryption.
        sent_bytes: Counter of "bytes",
        /// Connections that ended because the peer was not reached.
        ended_unreached: Counter of "connections",
        /// Connections that ended because the peer did not prove its identity.
        ended_handshake: Counter of "connections",
        /// Connections whose stream ended or broke.
        ended_stream: Counter of "connections",
        /// Connections that ended because the peer broke the protocol.
        ended_protocol: Counter of "connections",
        /// Connections that ended because the peer missed its pings.
        ended_silent: Counter of "connections",
        /// Connections that ended because no group was shared.
        ended_stranger: Counter of "connections",
        /// Connections that ended because the peer read too slowly.
        ended_overflow: Counter of "connections",
        /// Connections that ended for fresh keys.
        ended_renewal: Counter of "connections",
        /// Connections that this side closed.
        ended_closed: Counter of "connections",
        /// Connections that the peer closed.
        ended_by_peer: Counter of "connections",
        /// Connections that ended by a fault of this node; the log tells where.
        ended_crashed: Counter of "connections",
    }
}

meters! {
    /// Meters of sessions, one per group and link.
    SessionMeters as "sessions" {
        /// Sessions that exist now.
        open: Gauge of "sessions",
        /// Bytes of frames whose last part has not arrived.
        assembly_bytes: Gauge of "bytes",
        /// Units received.
        received_units: Counter of "units",
        /// Units sent.
        sent_units: Counter of "units",
    }
}

meters! {
    /// Meters of documents.
    DocumentMeters as "documents" {
        /// Units from peers whose changes were accepted.
        accepted_units: Counter of "units",
        /// Units from peers of which a change was refused.
        refused_units: Counter of "units",
        /// Rows that this node's own writers committed.
        committed_rows: Counter of "rows",
        /// Documents that were re-judged after a roster changed.
        rejudged: Counter of "documents",
        /// Documents in the cache.
        cached: Gauge of "documents",
        /// Memory of the documents in the cache, estimated.
        cached_bytes: Gauge of "bytes",
        /// Uses of a document that found it in the cache.
        cache_hits: Counter of "uses",
        /// Uses of a document that loaded it from the store.
        cache_misses: Counter of "uses",
    }
}

meters! {
    /// Meters of ledgers.
    LedgerMeters as "ledgers" {
        /// Ops that were admitted.
        admitted_ops: Counter of "ops",
        /// Ops that were refused.
        refused_ops: Counter of "ops",
    }
}

meters! {
    /// Meters of actors.
    ActorMeters as "actors" {
        /// Actors that have had one message in hand for five seconds or longer; `status` names them.
        stuck: Gauge of "actors",
    }
}

/// Counts a session as open until it is dropped.
#[derive(Debug)]
pub struct OpenSession(Arc<SessionMeters>);

impl OpenSession {
    /// Adds the session to the gauge.
    pub fn new(meters: Arc<SessionMeters>) -> Self {
        meters.open.add(1);
        Self(meters)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.open.subtract(1);
    }
}

/// The meters of one node. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    /// Meters of the store's writer.
    pub store: Arc<StoreMeters>,
    /// Meters of links.
    pub links: Arc<LinkMeters>,
    /// Meters of sessions.
    pub sessions: Arc<SessionMeters>,
    /// Meters of documents.
    pub documents: Arc<DocumentMeters>,
    /// Meters of ledgers.
    pub ledgers: Arc<LedgerMeters>,
    /// Meters of actors.
    pub actors: Arc<ActorMeters>,
}

impl Meters {
    /// The meters of a node over a store, which has been counting since it was opened.
    pub fn of_node(store: Arc<StoreMeters>) -> Self {
        Self { store, ..Self::default() }
    }

    /// Reads every meter, each by itself: a sum over several may be off by what happens meanwhile.
    pub fn read(&self) -> Vec<MeterReading> {
        let mut readings = Vec::new();
        self.store.read(&mut readings);
        self.links.read(&mut readings);
        self.sessions.read(&mut readings);
        self.documents.read(&mut readings);
        self.ledgers.read(&mut readings);
        self.actors.read(&mut readings);
        readings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_reading_carries_name_unit_help_kind_and_value() {
        let meters = Meters::default();
        meters.store.written_bytes.add(7);
        meters.store.written_bytes.add(5);
        meters.links.open.add(3);
        meters.links.open.subtract(1);

        let readings = meters.clone().read();

        let expected = MeterReading {
            name: "store_written_bytes",
            unit: "bytes",
            help: "Keys and values that the engine applied.",
            kind: MeterKind::Counter,
            value: 12,
        };
        assert!(readings.contains(&expected), "{readings:?}");
        let open = readings.iter().find(|reading| reading.name == "links_open").unwrap();
        assert_eq!((open.kind, open.value), (MeterKind::Gauge, 2));
    }

    #[test]
    fn names_are_unique_and_a_name_in_bytes_has_the_unit_bytes() {
        let readings = Meters::default().read();
        let names: BTreeSet<_> = readings.iter().map(|reading| reading.name).collect();
        assert_eq!(names.len(), readings.len());
        for reading in readings {
            assert_eq!(reading.name.ends_with("_bytes"), reading.unit == "bytes", "{}", reading.name);
            assert!(reading.help.ends_with('.'), "{}", reading.name);
        }
    }
}
