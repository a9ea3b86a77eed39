//! The tasks of a connection: meeting the peer, reading from it, writing to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schema::DeviceId;
use schema::device::DeviceIdentity;
use schema::frame::LinkFrame;
use schema::handshake::{Established, HANDSHAKE_BYTES_MAX, Handshake, Step};
use schema::limits::{DIAL_TIMEOUT, FRAME_BYTES_MAX, HANDSHAKE_TIMEOUT};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::mpsc;

use super::link::{Link, LinkEnd, Outgoing};
use crate::admission::{Admission, Permit};
use crate::clock::Clock;
use crate::transport::framing::{flush, read_body, read_length, write_frame};
use crate::transport::{Stream, Transport};

const BUFFER_BYTES: usize = 64 << 10;
/// What a waiting frame costs besides its bytes; without it, a flood of tiny frames would pass the bound.
const FRAME_OVERHEAD_BYTES: usize = 256;

pub(super) type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
pub(super) type Writer = BufWriter<Box<dyn AsyncWrite + Send + Unpin>>;

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
    let nonce = clock.random_bytes();
    let (stream, mut machine, first, _half_open) = match origin {
        Origin::Dial { address, expected } => {
            let dialled = clock.timeout(DIAL_TIMEOUT, transport.dial(&address)).await;
            let stream = dialled.map_err(|_| LinkEnd::DialTimeout)?.map_err(LinkEnd::Dial)?;
            let (machine, first) = Handshake::initiator(identity, nonce, expected);
            (stream, machine, Some(first), None)
        }
        Origin::Accepted { stream, half_open } => {
            (stream, Handshake::responder(identity, nonce), None, Some(half_open))
        }
    };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream.reader);
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, stream.writer);
    let talk = shake_hands(&mut machine, first, &mut reader, &mut writer);
    let established =
        clock.timeout(HANDSHAKE_TIMEOUT, talk).await.map_err(|_| LinkEnd::HandshakeTimeout)??;
    Ok(Met { established, reader, writer })
}

async fn shake_hands(
    machine: &mut Handshake,
    first: Option<Vec<u8>>,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<Established, LinkEnd> {
    let mut step = Step { send: first.into_iter().collect(), established: None };
    loop {
        for message in &step.send {
            write_frame(writer, message).await.map_err(LinkEnd::Stream)?;
        }
        flush(writer).await.map_err(LinkEnd::Stream)?;
        if let Some(established) = step.established {
            return Ok(established);
        }
        let length = read_length(reader, HANDSHAKE_BYTES_MAX).await.map_err(LinkEnd::Stream)?;
        let message = read_body(reader, length, || ()).await.map_err(LinkEnd::Stream)?;
        step = machine.step(&message).map_err(LinkEnd::Handshake)?;
    }
}

/// Reads frames and hands them on, until the stream or the peer fails. Room is found before a frame is read.
pub(super) async fn read(
    mut reader: Reader,
    link: Link,
    mailbox: Admission,
    deliver: impl Fn(LinkFrame, Permit),
) -> LinkEnd {
    loop {
        let length = match read_length(&mut reader, FRAME_BYTES_MAX).await {
            Ok(length) => length,
            Err(error) => return LinkEnd::Stream(error),
        };
        let permit = mailbox.admit(length + FRAME_OVERHEAD_BYTES).await;
        let bytes = match read_body(&mut reader, length, || link.hear()).await {
            Ok(bytes) => bytes,
            Err(error) => return LinkEnd::Stream(error),
        };
        link.hear();
        match LinkFrame::decode(&bytes) {
            Ok(frame) => deliver(frame, permit),
            Err(error) => return LinkEnd::Frame(error),
        }
    }
}

/// Writes what is queued, together what is queued together, up to and with a Bye.
pub(super) async fn write(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Outgoing>,
    queued: Arc<AtomicUsize>,
) -> Result<(), LinkEnd> {
    let mut next = queue.recv().await;
    while let Some(outgoing) = next {
        match outgoing {
            Outgoing::Frame(bytes) => {
                write_frame(&mut writer, &bytes).await.map_err(LinkEnd::Stream)?;
                queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            Outgoing::While(allowed, bytes) => {
                if allowed() {
                    write_frame(&mut writer, &bytes).await.map_err(LinkEnd::Stream)?;
                }
                queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            Outgoing::Bye(bytes) => {
                write_frame(&mut writer, &bytes).await.map_err(LinkEnd::Stream)?;
                break;
            }
        }
        next = match queue.try_recv() {
            Ok(more) => Some(more),
            Err(_) => {
                flush(&mut writer).await.map_err(LinkEnd::Stream)?;
                queue.recv().await
            }
        };
    }
    flush(&mut writer).await.map_err(LinkEnd::Stream)?;
    // The peer has closed first: then it knows.
    let _ = writer.shutdown().await;
    Ok(())
}
