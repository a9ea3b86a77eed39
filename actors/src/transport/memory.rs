//! A network in memory: named hosts, latency, loss, partitions and crashes from one seed, and a trace of
//! every event.
//!
//! A stream is two pipes; each has one pump task, which delivers in order. Every order follows from the seed,
//! so under a paused runtime equal seeds give equal traces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::clock::{Clock, Random};
use crate::transport::{BoxFuture, Listener, Source, Stream, Transport, TransportError};

mod pipe;
mod trace;

use pipe::{Backlog, Next, PipeReader, PipeWriter, Wire};
use trace::Trace;

const SCHEME: &str = "memory://";
/// Bytes of one direction of a stream, in flight and unread, above which its writer waits.
pub const PIPE_BYTES_MAX: usize = 256 << 10;
/// Streams that a listener has not accepted yet; with more, dials fail.
const BACKLOG_MAX: usize = 128;

/// A network in the memory of one process. Hosts have addresses of the form `memory://HOST`; clones share the
/// network.
#[derive(Clone)]
pub struct MemoryNetwork {
    clock: Clock,
    world: Arc<Mutex<World>>,
}

struct World {
    seed: u64,
    random: Random,
    latency: Range<u64>,
    loss: f64,
    /// The side of the partition of each named host; all other hosts form one more side.
    sides: BTreeMap<String, usize>,
    cuts: BTreeSet<(String, String)>,
    listeners: BTreeMap<String, Backlog>,
    listeners_made: u64,
    wires: BTreeMap<u64, Wire>,
    wires_made: u64,
    bytes_delivered: u64,
    trace: Trace,
}

impl MemoryNetwork {
    /// Returns an empty network in real time, without latency or loss.
    #[expect(clippy::new_without_default, reason = "an empty network is no default of anything")]
    pub fn new() -> Self {
        Self::seeded(Clock::real(), 0)
    }

    /// The clock of the network.
    #[doc(hidden)]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns an empty network on this clock, without latency or loss.
    #[doc(hidden)]
    pub fn seeded(clock: Clock, seed: u64) -> Self {
        let world = World {
            seed,
            random: Random::seeded(seed),
            latency: 0..1,
            loss: 0.0,
            sides: BTreeMap::new(),
            cuts: BTreeSet::new(),
            listeners: BTreeMap::new(),
            listeners_made: 0,
            wires: BTreeMap::new(),
            wires_made: 0,
            bytes_delivered: 0,
            trace: Trace::default(),
        };
        Self { clock, world: Arc::new(Mutex::new(world)) }
    }

    /// Sets the latency of a chunk in one direction, ms; drawn for each chunk.
    #[must_use]
    pub fn latency_ms(self, range: Range<u64>) -> Self {
        self.world().latency = range;
        self
    }

    /// Sets the probability that a chunk is lost (0 to 1). A lost chunk arrives after a retransmission, and
    /// later chunks wait for it.
    #[must_use]
    pub fn loss(self, probability: f64) -> Self {
        self.world().loss = probability;
        self
    }

    /// Also keeps every event as a line of text, to compare traces that differ.
    #[must_use]
    pub fn recorded(self) -> Self {
        self.world().trace.record();
        self
    }

    /// The transport of the host `name`. Its addresses are `memory://name` and `memory://name/…`.
    #[doc(hidden)]
    pub fn host(&self, name: &str) -> MemoryHost {
        MemoryHost { network: self.clone(), name: name.to_owned() }
    }

    /// Partitions the network: hosts reach only those of their own group, and unnamed hosts form one more
    /// group. Streams between groups break. Replaces an earlier partition.
    pub fn partition(&self, groups: &[&[&str]]) {
        let mut world = self.world();
        let named = |(side, group): (usize, &&[&str])| {
            group.iter().map(move |host| ((*host).to_owned(), side)).collect::<Vec<_>>()
        };
        world.sides = groups.iter().enumerate().flat_map(named).collect();
        self.sever(&mut world);
    }

    /// Cuts the connection between two hosts; streams between them break.
    pub fn cut(&self, one: &str, other: &str) {
        let mut world = self.world();
        world.cuts.insert(pair(one, other));
        self.sever(&mut world);
    }

    /// Ends every partition and cut. Broken streams stay broken.
    pub fn heal(&self) {
        let mut world = self.world();
        world.sides.clear();
        world.cuts.clear();
    }

    /// Returns true if two hosts can reach each other now.
    pub fn reaches(&self, one: &str, other: &str) -> bool {
        self.world().joined(one, other)
    }

    /// Breaks every stream and ends every listener of a host, as a crash would.
    pub fn crash(&self, host: &str) {
        self.close_listeners(host);
        self.break_wires(&mut self.world(), |wire, _| wire.ends.iter().any(|end| end == host));
    }

    /// Makes the listeners of a host fail; its streams stay.
    pub fn close_listeners(&self, host: &str) {
        let (gone, kept) = std::mem::take(&mut self.world().listeners)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(address, _)| host_of(address) == host);
        self.world().listeners.extend(kept);
        // Dropping the streams in the backlog locks the world.
        gone.into_values().for_each(Backlog::close);
    }

    /// A hash over every delivery, dial and break so far, with time, hosts, length and bytes.
    pub fn trace_hash(&self) -> [u8; 32] {
        self.world().trace.hash()
    }

    /// The events so far, if they are [recorded](Self::recorded).
    pub fn trace_lines(&self) -> Vec<String> {
        self.world().trace.lines().to_vec()
    }

    /// Bytes delivered so far, between all hosts.
    pub fn bytes_delivered(&self) -> u64 {
        self.world().bytes_delivered
    }

    /// Number of streams of which an end exists.
    pub fn open_streams(&self) -> usize {
        self.world().wires.len()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sever(&self, world: &mut World) {
        self.break_wires(world, |wire, world| !world.joined(&wire.ends[0], &wire.ends[1]));
    }

    fn break_wires(&self, world: &mut World, which: impl Fn(&Wire, &World) -> bool) {
        let broken: Vec<u64> = world
            .wires
            .iter()
            .filter(|(_, wire)| !wire.broken && which(wire, world))
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            let wire = world.wires.get_mut(&id).expect("just found");
            wire.sever();
            world.trace.event(self.clock.instant(), "break", &wire.ends[0], &wire.ends[1], &[]);
        }
    }

    async fn dial(&self, from: &str, address: &str) -> Result<Stream, TransportError> {
        let to = host_of(address);
        if !address.starts_with(SCHEME) || to.is_empty() {
            return Err(TransportError::Address { address: address.to_owned() });
        }
        let latency = self.world().draw_latency();
        // One round trip, as in TCP's handshake.
        self.clock.sleep(2 * latency).await;

        let mut guard = self.world();
        let world = &mut *guard;
        let joined = world.joined(from, to);
        let backlog = world.listeners.get_mut(address).filter(|b| joined && b.len() < BACKLOG_MAX);
        let Some(backlog) = backlog else {
            world.trace.event(self.clock.instant(), "refuse", from, to, &[]);
            return Err(TransportError::Unreachable { address: address.to_owned() });
        };
        let id = world.wires_made;
        world.wires_made += 1;
        let wire = Wire::new(from, to, |way| Random::seeded(world.seed ^ (2 * id + way + 1).rotate_left(32)));
        let pumps = wire.pumps();
        world.wires.insert(id, wire);
        world.trace.event(self.clock.instant(), "dial", from, to, &[]);
        backlog.push(self.end(id, 1, format!("{SCHEME}{from}")));
        let dialled = self.end(id, 0, address.to_owned());
        drop(guard);

        for (way, pump) in pumps.into_iter().enumerate() {
            let network = self.clone();
            self.clock.spawn(async move {
                loop {
                    match network.deliver(id, way) {
                        Next::At(due) => network.clock.sleep_until(due).await,
                        Next::Wait => pump.notified().await,
                        Next::Never => return,
                    }
                }
            });
        }
        Ok(dialled)
    }

    /// Delivers what is due in one direction of a wire.
    fn deliver(&self, wire: u64, way: usize) -> Next {
        let now = self.clock.instant();
        let mut guard = self.world();
        let world = &mut *guard;
        let Some(wire) = world.wires.get_mut(&wire) else { return Next::Never };
        let (from, to) = (wire.ends[way].clone(), wire.ends[1 - way].clone());
        wire.deliver(way, now, |chunk| {
            world.bytes_delivered += u64::try_from(chunk.len()).expect("a chunk is short");
            world.trace.event(now, "bytes", &from, &to, chunk);
        })
    }

    fn end(&self, wire: u64, end: usize, peer: String) -> Stream {
        Stream {
            reader: Box::new(PipeReader { network: self.clone(), wire, way: 1 - end }),
            writer: Box::new(PipeWriter { network: self.clone(), wire, way: end }),
            source: Source::named(peer),
        }
    }
}

impl World {
    fn joined(&self, one: &str, other: &str) -> bool {
        self.sides.get(one) == self.sides.get(other) && !self.cuts.contains(&pair(one, other))
    }

    fn draw_latency(&mut self) -> Duration {
        Duration::from_millis(draw(&mut self.random, &self.latency))
    }
}

fn draw(random: &mut Random, range: &Range<u64>) -> u64 {
    random.within(range.start..=range.end.saturating_sub(1).max(range.start))
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.min(other).to_owned(), one.max(other).to_owned())
}

/// `memory://ada/2` → `ada`
fn host_of(address: &str) -> &str {
    let rest = address.strip_prefix(SCHEME).unwrap_or("");
    rest.split('/').next().unwrap_or("")
}

/// A host on a [`MemoryNetwork`].
#[derive(Clone)]
pub struct MemoryHost {
    network: MemoryNetwork,
    name: String,
}

impl Transport for MemoryHost {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(self.network.dial(&self.name, address))
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        let listen = move || {
            if host_of(address) != self.name {
                return Err(TransportError::Address { address: address.to_owned() });
            }
            let mut world = self.network.world();
            if world.listeners.contains_key(address) {
                return Err(TransportError::InUse { address: address.to_owned() });
            }
            let id = world.listeners_made;
            world.listeners_made += 1;
            world.listeners.insert(address.to_owned(), Backlog::new(id));
            let (network, address) = (self.network.clone(), address.to_owned());
            Ok(Box::new(MemoryListener { network, address, id }) as Box<dyn Listener>)
        };
        Box::pin(std::future::ready(listen()))
    }
}

struct MemoryListener {
    network: MemoryNetwork,
    address: String,
    /// Distinguishes it from a later listener at the same address.
    id: u64,
}

impl MemoryListener {
    fn backlog<'a>(&self, world: &'a mut World) -> Option<&'a mut Backlog> {
        world.listeners.get_mut(&self.address).filter(|backlog| backlog.id == self.id)
    }
}

impl Listener for MemoryListener {
    fn address(&self) -> &str {
        &self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(std::future::poll_fn(|context| match self.backlog(&mut self.network.world()) {
            Some(backlog) => backlog.poll_pop(context).map(Ok),
            None => Poll::Ready(Err(TransportError::Closed)),
        }))
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let mut world = self.network.world();
        let gone = self.backlog(&mut world).is_some().then(|| world.listeners.remove(&self.address));
        drop(world);
        // Dropping the streams in the backlog locks the world.
        drop(gone);
    }
}

#[cfg(test)]
mod tests;
