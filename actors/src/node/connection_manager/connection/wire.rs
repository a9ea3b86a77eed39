//! The tasks of a connection: meeting the peer, reading from it, writing to it.

use schema::DeviceId;
use schema::device::DeviceIdentity;
use schema::handshake::{Established, HANDSHAKE_BYTES_MAX, Handshake, RecordError, Records, Step, Terms};
use schema::limits::{DIAL_TIMEOUT, FRAME_BYTES_MAX, HANDSHAKE_TIMEOUT};
use schema::wire::link::LinkFrame;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

use super::link::{Link, LinkEnd, Queue};
use super::outbound::{Next, Waiting};
use crate::clock::Clock;
use crate::permits::{Permit, Permits};
use crate::transport::framing::{FrameReader, FrameWriter, StreamError, read_message, write_messages};
use crate::transport::{Stream, Transport};

/// So that a record's length does not cost a look at the stream of its own.
const BUFFER_BYTES: usize = 64 << 10;
/// What a waiting frame costs besides its bytes; without it, a flood of tiny frames would pass the bound.
const FRAME_OVERHEAD_BYTES: usize = 256;

type Incoming = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
type Outbound = Box<dyn AsyncWrite + Send + Unpin>;
pub(super) type Reader = FrameReader<Incoming>;
pub(super) type Writer = FrameWriter<Outbound>;

/// Where a connection gets its stream.
pub(in crate::node::connection_manager) enum Origin {
    /// It dials.
    Dial {
        /// Where.
        address: String,
        /// Whom, if that is known.
        expected: Option<DeviceId>,
    },
    /// It was dialled.
    Accepted {
        /// The peer's stream.
        stream: Stream,
        /// Its share of the half-open handshakes.
        half_open: Permit,
    },
}

/// A stream with a peer that has proven who it is.
pub(super) struct Met {
    pub(super) established: Established,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Gets a stream and runs the handshake on it.
pub(super) async fn meet(
    clock: &Clock,
    transport: &dyn Transport,
    identity: DeviceIdentity,
    origin: Origin,
) -> Result<Met, LinkEnd> {
    let (ephemeral, terms) = (clock.random_bytes(), Terms::default());
    let (stream, mut machine, first, _half_open) = match origin {
        Origin::Dial { address, expected } => {
            let dialled = clock.timeout(DIAL_TIMEOUT, transport.dial(&address)).await;
            let stream = dialled.map_err(|_| LinkEnd::DialTimeout)?.map_err(LinkEnd::Dial)?;
            let (machine, first) = Handshake::initiator(identity, terms, ephemeral, expected);
            (stream, machine, Some(first), None)
        }
        Origin::Accepted { stream, half_open } => {
            (stream, Handshake::responder(identity, terms, ephemeral), None, Some(half_open))
        }
    };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream.reader);
    let mut writer = stream.writer;
    let talk = shake_hands(&mut machine, first, &mut reader, &mut writer);
    let (established, Records { send, receive }) =
        clock.timeout(HANDSHAKE_TIMEOUT, talk).await.map_err(|_| LinkEnd::HandshakeTimeout)??;
    Ok(Met { established, reader: FrameReader::new(reader, receive), writer: FrameWriter::new(writer, send) })
}

async fn shake_hands(
    machine: &mut Handshake,
    first: Option<Vec<u8>>,
    reader: &mut Incoming,
    writer: &mut Outbound,
) -> Result<(Established, Records), LinkEnd> {
    let mut step = Step { send: first.into_iter().collect(), established: None };
    loop {
        if !step.send.is_empty() {
            write_messages(writer, &step.send).await.map_err(LinkEnd::Stream)?;
        }
        if let Some(established) = step.established {
            return Ok(established);
        }
        let message = read_message(reader, HANDSHAKE_BYTES_MAX).await.map_err(LinkEnd::Stream)?;
        step = machine.step(&message).map_err(LinkEnd::Handshake)?;
    }
}

/// Reads frames and hands them on, until the stream or the peer fails. Room is found before a frame is read.
pub(super) async fn read(
    mut reader: Reader,
    link: Link,
    mailbox: Permits,
    deliver: impl Fn(LinkFrame, Permit),
) -> LinkEnd {
    loop {
        let length = match reader.read_length(FRAME_BYTES_MAX).await {
            Ok(length) => length,
            Err(error) => return stream_end(error),
        };
        let permit = mailbox.acquire(length + FRAME_OVERHEAD_BYTES).await;
        let bytes = match reader.read_body(length, || link.hear()).await {
            Ok(bytes) => bytes,
            Err(error) => return stream_end(error),
        };
        link.hear();
        match LinkFrame::decode(&bytes) {
            Ok(frame) => deliver(frame, permit),
            Err(error) => return LinkEnd::Frame(error),
        }
    }
}

/// Writes what is queued, together what is queued together, up to and with a Bye.
pub(super) async fn write(mut writer: Writer, queue: &Queue) -> Result<(), LinkEnd> {
    loop {
        let next = match queue.try_next() {
            Some(next) => next,
            None => {
                writer.flush().await.map_err(stream_end)?;
                queue.next().await
            }
        };
        match next {
            Next::Frame(Waiting { bytes, allowed }) => {
                if allowed.is_none_or(|allowed| allowed()) {
                    writer.write(&bytes).await.map_err(stream_end)?;
                }
            }
            Next::Bye(bytes) => {
                writer.write(&bytes).await.map_err(stream_end)?;
                break;
            }
        }
    }
    writer.flush().await.map_err(stream_end)?;
    // The peer has closed first: then it knows.
    let _ = writer.shutdown().await;
    Ok(())
}

fn stream_end(error: StreamError) -> LinkEnd {
    match error {
        StreamError::Record(RecordError::Worn) => LinkEnd::Worn,
        error => LinkEnd::Stream(error),
    }
}
