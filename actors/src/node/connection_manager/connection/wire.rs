//! The tasks of a connection: the handshake, reading, writing.

use schema::DeviceId;
use schema::device::DeviceIdentity;
use schema::handshake::{Established, Handshake, RecordError, Records, Step, Terms};
use schema::limits::{
    DIAL_TIMEOUT, FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES, HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT,
};
use schema::wire::link::LinkFrame;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

use super::fair_queue::{Next, QueuedFrame};
use super::link::{Link, LinkEnd, Queue};
use crate::clock::Clock;
use crate::meter::LinkMeters;
use crate::permits::{Permit, Permits};
use crate::transport::framing::{FrameReader, FrameWriter, StreamError, read_message, write_messages};
use crate::transport::{Stream, Transport};

/// Buffer of the reader, bytes: the length of a record does not cost a read of its own.
const BUFFER_BYTES: usize = 64 << 10;

type Incoming = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
type Outgoing = Box<dyn AsyncWrite + Send + Unpin>;
pub(super) type Reader = FrameReader<Incoming>;
pub(super) type Writer = FrameWriter<Outgoing>;

/// The source of a connection's stream.
pub(in crate::node::connection_manager) enum Origin {
    /// This side dials.
    Dial {
        address: String,
        /// The device that must answer, if only one will do.
        expected: Option<DeviceId>,
    },
    /// A listener accepted the peer's stream.
    Accepted(Stream),
}

/// A stream after its handshake: the peer has proven its identity.
pub(in crate::node::connection_manager) struct AuthenticatedStream {
    pub(super) established: Established,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Dials if need be and runs the handshake.
pub(in crate::node::connection_manager) async fn authenticate(
    clock: &Clock,
    transport: &dyn Transport,
    identity: DeviceIdentity,
    origin: Origin,
) -> Result<AuthenticatedStream, LinkEnd> {
    let terms = Terms::default();
    let (stream, handshake) = match origin {
        Origin::Dial { address, expected } => {
            let dialled = clock.timeout(DIAL_TIMEOUT, transport.dial(&address)).await;
            let stream = dialled.map_err(|_| LinkEnd::DialTimeout)?.map_err(LinkEnd::Dial)?;
            (
                stream,
                Some(Handshake::initiator(identity.clone(), terms.clone(), clock.random_bytes(), expected)),
            )
        }
        Origin::Accepted(stream) => (stream, None),
    };
    let Stream { mut reader, mut writer, .. } = stream;
    let handshake = async {
        let (mut machine, step) = match handshake {
            Some((machine, first)) => (machine, Step { send: vec![first], established: None }),
            None => {
                // A silent socket costs neither a key nor a buffer.
                let first = read_message(&mut reader, HANDSHAKE_BYTES_MAX).await.map_err(LinkEnd::Stream)?;
                let mut machine = Handshake::responder(identity, terms, clock.random_bytes());
                let step = machine.step(&first).map_err(LinkEnd::Handshake)?;
                (machine, step)
            }
        };
        run_handshake(&mut machine, step, &mut reader, &mut writer).await
    };
    let (established, Records { send, receive }) =
        clock.timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| LinkEnd::HandshakeTimeout)??;
    let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let (reader, writer) = (FrameReader::new(reader, receive), FrameWriter::new(writer, send));
    Ok(AuthenticatedStream { established, reader, writer })
}

async fn run_handshake(
    machine: &mut Handshake,
    mut step: Step,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut Outgoing,
) -> Result<(Established, Records), LinkEnd> {
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

/// Reads frames and delivers each with its permit, until the stream or the peer fails. A permit is acquired
/// before the frame is read.
pub(super) async fn read(
    mut reader: Reader,
    link: Link,
    mailbox: Permits,
    meters: &LinkMeters,
    deliver: impl Fn(LinkFrame, Permit),
) -> LinkEnd {
    loop {
        let length = match reader.read_length(FRAME_BYTES_MAX).await {
            Ok(length) => length,
            Err(error) => return end_of_stream(error),
        };
        let permit = mailbox.acquire(length + FRAME_OVERHEAD_BYTES).await;
        let bytes = match reader.read_body(length, || link.count_received()).await {
            Ok(bytes) => bytes,
            Err(error) => return end_of_stream(error),
        };
        link.count_received();
        meters.received_frames.increment();
        meters.received_bytes.add(length);
        match LinkFrame::decode(&bytes) {
            Ok(frame) => deliver(frame, permit),
            Err(error) => return LinkEnd::Frame(error),
        }
    }
}

/// Writes queued frames, up to and with a Bye. Frames that are queued together are flushed together.
pub(super) async fn write(mut writer: Writer, queue: &Queue, meters: &LinkMeters) -> Result<(), LinkEnd> {
    loop {
        let next = match queue.try_next() {
            Some(next) => next,
            None => {
                writer.flush().await.map_err(end_of_stream)?;
                queue.next().await
            }
        };
        let (bytes, is_last) = match next {
            Next::Frame(QueuedFrame { condition: Some(condition), .. }) if !condition() => continue,
            Next::Frame(QueuedFrame { bytes, .. }) => (bytes, false),
            Next::Bye(bytes) => (bytes, true),
        };
        writer.write(&bytes).await.map_err(end_of_stream)?;
        meters.sent_frames.increment();
        meters.sent_bytes.add(bytes.len());
        if is_last {
            break;
        }
    }
    writer.flush().await.map_err(end_of_stream)?;
    // Fails only if the peer has closed the stream first.
    let _ = writer.shutdown().await;
    Ok(())
}

fn end_of_stream(error: StreamError) -> LinkEnd {
    match error {
        StreamError::Record(RecordError::Worn) => LinkEnd::Worn,
        error => LinkEnd::Stream(error),
    }
}
