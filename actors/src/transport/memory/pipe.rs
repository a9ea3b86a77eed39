//! One stream of the memory network: two pipes, their ends, and the backlog of a listener.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::{MemoryNetwork, PIPE_BYTES_MAX, draw};
use crate::clock::Random;
use crate::transport::Stream;

/// Longest chunk that one write sends, bytes.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Delay of a lost chunk; it doubles with each further loss of the chunk.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Losses of one chunk after which it arrives in any case.
const LOSSES_MAX: u32 = 6;

/// Streams that a listener has not accepted yet.
pub(super) struct Backlog {
    pub(super) id: u64,
    streams: VecDeque<Stream>,
    waker: Option<Waker>,
}

impl Backlog {
    pub(super) fn new(id: u64) -> Self {
        Self { id, streams: VecDeque::new(), waker: None }
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn push(&mut self, stream: Stream) {
        self.streams.push_back(stream);
        wake(&mut self.waker);
    }

    pub(super) fn poll_pop(&mut self, context: &Context<'_>) -> Poll<Stream> {
        match self.streams.pop_front() {
            Some(stream) => Poll::Ready(stream),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Wakes the listener, which finds that it has ended; the streams are dropped.
    pub(super) fn close(mut self) {
        wake(&mut self.waker);
    }
}

/// The next step of a pump.
pub(super) enum Next {
    /// The next chunk is due at this time.
    At(Duration),
    /// No chunk is in flight.
    Wait,
    /// No chunk will follow.
    Never,
}

/// Both directions of a stream: the first from the dialler to the listener.
pub(super) struct Wire {
    /// The dialler's host and the listener's.
    pub(super) ends: [String; 2],
    pub(super) broken: bool,
    pipes: [Pipe; 2],
    /// Half-streams that exist, of four.
    held: u8,
}

struct Pipe {
    random: Random,
    /// Chunks with their arrival times; an empty chunk is the end of the stream.
    in_flight: VecDeque<(Duration, Vec<u8>)>,
    last_due: Duration,
    arrived: VecDeque<u8>,
    /// Bytes in flight and arrived.
    bytes: usize,
    writer_done: bool,
    reader_gone: bool,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    pump: Arc<Notify>,
}

impl Wire {
    pub(super) fn new(from: &str, to: &str, random: impl Fn(u64) -> Random) -> Self {
        let pipe = |way| Pipe {
            random: random(way),
            in_flight: VecDeque::new(),
            last_due: Duration::ZERO,
            arrived: VecDeque::new(),
            bytes: 0,
            writer_done: false,
            reader_gone: false,
            ended: false,
            reader: None,
            writer: None,
            pump: Arc::default(),
        };
        let ends = [from.to_owned(), to.to_owned()];
        Self { ends, broken: false, pipes: [pipe(0), pipe(1)], held: 4 }
    }

    /// The notifications that wake the pump of each direction.
    pub(super) fn pumps(&self) -> [Arc<Notify>; 2] {
        [self.pipes[0].pump.clone(), self.pipes[1].pump.clone()]
    }

    /// Breaks the stream at both ends; chunks in flight are lost.
    pub(super) fn sever(&mut self) {
        self.broken = true;
        for pipe in &mut self.pipes {
            pipe.in_flight.clear();
            pipe.wake_all();
        }
    }

    /// Moves the chunks that are due to the reader.
    pub(super) fn deliver(&mut self, way: usize, now: Duration, mut seen: impl FnMut(&[u8])) -> Next {
        let pipe = &mut self.pipes[way];
        if self.broken {
            return Next::Never;
        }
        while let Some((due, _)) = pipe.in_flight.front() {
            if *due > now {
                return Next::At(*due);
            }
            let (_, chunk) = pipe.in_flight.pop_front().expect("just seen");
            seen(&chunk);
            if chunk.is_empty() {
                pipe.ended = true;
            } else if pipe.reader_gone {
                pipe.bytes -= chunk.len();
            } else {
                pipe.arrived.extend(chunk);
            }
            wake(&mut pipe.reader);
        }
        if pipe.ended { Next::Never } else { Next::Wait }
    }
}

impl Pipe {
    /// Sends a chunk. It arrives after the one before, since the stream is ordered.
    fn send(&mut self, chunk: Vec<u8>, now: Duration, latency: &Range<u64>, loss: f64) {
        let mut due = now + Duration::from_millis(draw(&mut self.random, latency));
        let mut losses = 0;
        while losses < LOSSES_MAX && self.random.chance(loss) {
            due += RETRANSMISSION * (1 << losses);
            losses += 1;
        }
        self.last_due = self.last_due.max(due);
        self.bytes += chunk.len();
        self.in_flight.push_back((self.last_due, chunk));
        self.pump.notify_one();
    }

    fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
        self.pump.notify_one();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

/// Releases one of the four half-streams; the last one removes the wire.
fn release(network: &MemoryNetwork, wire: u64, mut leave: impl FnMut(&mut Wire)) {
    let mut world = network.world();
    let Some(found) = world.wires.get_mut(&wire) else { return };
    leave(found);
    found.held -= 1;
    if found.held == 0 {
        found.pipes.iter_mut().for_each(Pipe::wake_all);
        world.wires.remove(&wire);
    }
}

/// The reading end of direction `way`.
pub(super) struct PipeReader {
    pub(super) network: MemoryNetwork,
    pub(super) wire: u64,
    pub(super) way: usize,
}

impl AsyncRead for PipeReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut world = self.network.world();
        let Some(wire) = world.wires.get_mut(&self.wire) else { return reset() };
        if wire.broken {
            return reset();
        }
        let pipe = &mut wire.pipes[self.way];
        if pipe.arrived.is_empty() {
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (first, _) = pipe.arrived.as_slices();
        let taken = first.len().min(buffer.remaining());
        buffer.put_slice(&first[..taken]);
        pipe.arrived.drain(..taken);
        pipe.bytes -= taken;
        wake(&mut pipe.writer);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        release(&self.network, self.wire, |wire| {
            let pipe = &mut wire.pipes[self.way];
            pipe.reader_gone = true;
            pipe.bytes -= pipe.arrived.len();
            pipe.arrived.clear();
            wake(&mut pipe.writer);
        });
    }
}

/// The writing end of direction `way`.
pub(super) struct PipeWriter {
    pub(super) network: MemoryNetwork,
    pub(super) wire: u64,
    pub(super) way: usize,
}

impl PipeWriter {
    fn finish(&self, wire: &mut Wire, now: Duration, latency: &Range<u64>) {
        let pipe = &mut wire.pipes[self.way];
        if !wire.broken && !pipe.writer_done {
            pipe.writer_done = true;
            pipe.send(Vec::new(), now, latency, 0.0);
        }
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.network.clock.instant();
        let mut guard = self.network.world();
        let world = &mut *guard;
        let Some(wire) = world.wires.get_mut(&self.wire) else { return reset() };
        if wire.broken {
            return reset();
        }
        let pipe = &mut wire.pipes[self.way];
        if pipe.reader_gone || pipe.writer_done {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = PIPE_BYTES_MAX - pipe.bytes;
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(room).min(CHUNK_BYTES_MAX);
        if taken > 0 {
            pipe.send(bytes[..taken].to_vec(), now, &world.latency, world.loss);
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.network.clock.instant();
        let mut guard = self.network.world();
        let world = &mut *guard;
        if let Some(wire) = world.wires.get_mut(&self.wire) {
            self.finish(wire, now, &world.latency);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let now = self.network.clock.instant();
        let latency = self.network.world().latency.clone();
        release(&self.network, self.wire, |wire| self.finish(wire, now, &latency));
    }
}
