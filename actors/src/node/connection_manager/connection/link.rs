//! The handle of a link, the reasons for its end, and the trait of its owner.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use schema::codec::DecodeError;
pub use schema::gate::LinkId;
use schema::handshake::{Established, HandshakeError, LinkRole, PeerIdentity};
use schema::limits::{DIAL_TIMEOUT, FRAME_BYTES_MAX, HANDSHAKE_TIMEOUT, STRANGER_TIMEOUT};
use schema::wire::link::{ByeReason, LinkFrame};
use tokio::sync::{Notify, watch};

use super::super::places::Standing;
use super::fair_queue::{Condition, FairQueue, Lane, Next, Overflow, QueuedFrame};
use crate::clock::Clock;
use crate::meter::LinkMeters;
use crate::permits::Permit;
use crate::transport::TransportError;
use crate::transport::framing::StreamError;

/// The owner of links: receives their frames, their beginning and their end.
///
/// Calls must not block. For one link they come one after the other, `on_up` first, `on_down` last. A panic
/// in a call ends that link alone.
pub trait LinkOwner: Send + Sync + 'static {
    /// The relation of a peer to this node as it is known now. It decides which links stay when there are
    /// more than a node may have.
    fn standing(&self, peer: &PeerIdentity) -> Standing;
    /// A link is open: both sides have proven their identity, and the connection manager keeps the link.
    fn on_up(&self, link: Link);
    /// The peer sent a frame. Hold the permit until the frame is handled: dropping it lets the peer send as
    /// many bytes again.
    fn on_frame(&self, link: &Link, frame: LinkFrame, permit: Permit);
    /// The link has ended; no other call follows for it.
    fn on_down(&self, link: LinkId, reason: &LinkEnd);
}

/// The reason why a link ended or was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The peer was not reached; dialled again later.
    #[error("peer was not reached")]
    Dial(#[source] TransportError),
    /// The peer was not reached within `DIAL_TIMEOUT`; dialled again later.
    #[error("no answer within {DIAL_TIMEOUT:?}; is a node there, and does a firewall let it through?")]
    DialTimeout,
    /// The peer did not prove its identity.
    #[error("peer did not prove its identity")]
    Handshake(#[source] HandshakeError),
    /// The peer did not prove its identity within `HANDSHAKE_TIMEOUT`.
    #[error(
        "peer did not prove its identity within {HANDSHAKE_TIMEOUT:?}; \
         is it a node, and the line fast enough?"
    )]
    HandshakeTimeout,
    /// The stream ended or broke, or carried malformed records.
    #[error("stream from the peer failed")]
    Stream(#[source] StreamError),
    /// The peer sent a malformed frame.
    #[error("peer sent a malformed frame; do both sides run the same version?")]
    Frame(#[source] DecodeError),
    /// The peer sent a frame that is not allowed after the handshake.
    #[error("peer sent {kind} after the handshake; do both sides run the same version?")]
    UnexpectedFrame {
        /// The kind of the frame.
        kind: &'static str,
    },
    /// The peer has missed three pings; dialled again later.
    #[error("peer is silent: it missed three pings")]
    Silent,
    /// No group was shared with the peer for `STRANGER_TIMEOUT` (authority 3.9).
    #[error(
        "no group in common for {STRANGER_TIMEOUT:?}; an Admin of the group must add the other side first"
    )]
    Stranger,
    /// The peer reads too slowly, and its queue is full; sync resumes over the next link.
    #[error("peer reads too slowly: {queued} bytes were queued for it")]
    Overflow {
        /// Bytes in the queue.
        queued: usize,
    },
    /// This node tried to send a frame above `FRAME_BYTES_MAX`; a bug.
    #[error("outbound frame of {got} bytes where at most {max} are allowed")]
    Oversized {
        /// Length of the frame, bytes.
        got: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The link's keys have carried `LINK_BYTES_MAX` or lasted `LINK_AGE_MAX`; dialled again for fresh ones.
    #[error("keys of the link have expired; it is dialled again")]
    Worn,
    /// This side closed the link.
    #[error("closed here: {}", explain(*reason))]
    Closed {
        /// The reason that the peer was sent.
        reason: ByeReason,
    },
    /// The peer closed the link.
    #[error("closed by the peer: {}", explain(*reason))]
    ClosedByPeer {
        /// The reason that the peer sent.
        reason: ByeReason,
    },
    /// A task or a callback of this link panicked; a bug, shown in the log.
    #[error("connection crashed; the log says where")]
    Crashed,
}

impl LinkEnd {
    /// The variant in snake case: what a program that reads a status compares with.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dial(_) => "dial",
            Self::DialTimeout => "dial_timeout",
            Self::Handshake(_) => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Stream(_) => "stream",
            Self::Frame(_) => "frame",
            Self::UnexpectedFrame { .. } => "unexpected_frame",
            Self::Silent => "silent",
            Self::Stranger => "stranger",
            Self::Overflow { .. } => "overflow",
            Self::Oversized { .. } => "oversized",
            Self::Worn => "worn",
            Self::Closed { .. } => "closed",
            Self::ClosedByPeer { .. } => "closed_by_peer",
            Self::Crashed => "crashed",
        }
    }
}

impl LinkEnd {
    /// Counts this end in the meters.
    pub(in crate::node::connection_manager) fn count(&self, meters: &LinkMeters) {
        let counter = match self {
            Self::Dial(_) | Self::DialTimeout => &meters.ended_unreached,
            Self::Handshake(_) | Self::HandshakeTimeout => &meters.ended_handshake,
            Self::Stream(_) => &meters.ended_stream,
            Self::Frame(_) | Self::UnexpectedFrame { .. } => &meters.ended_protocol,
            Self::Silent => &meters.ended_silent,
            Self::Stranger => &meters.ended_stranger,
            Self::Overflow { .. } => &meters.ended_overflow,
            Self::Worn => &meters.ended_renewal,
            Self::Closed { .. } => &meters.ended_closed,
            Self::ClosedByPeer { .. } => &meters.ended_by_peer,
            Self::Oversized { .. } | Self::Crashed => &meters.ended_crashed,
        };
        counter.increment();
    }
}

/// The reason of a Bye in words, with advice.
fn explain(reason: ByeReason) -> &'static str {
    match reason {
        ByeReason::Duplicate => "another link to the same device is kept",
        ByeReason::Shutdown => "the node stops",
        ByeReason::Full => "the node has as many links as it may; try again later",
        ByeReason::Protocol => "the other side broke the protocol; do both run the same version?",
        ByeReason::NotAuthorized => "no group in common; an Admin of the group must add the other side first",
        ByeReason::Disconnected => "its address was forgotten",
        ByeReason::Renew => "its keys have expired; it is dialled again",
        ByeReason::Displaced => "the node has as many links as it may, and another one needed the room",
    }
}

/// The link has ended; no frame can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("link is closed")]
pub struct LinkClosed;

/// The reason for the end of a link, set once: the first reason counts.
pub(super) type EndReason = Arc<OnceLock<LinkEnd>>;

/// The outbound frames: any thread pushes, the link's writer takes.
#[derive(Default)]
pub(super) struct Queue {
    frames: Mutex<FairQueue>,
    pushed: Notify,
}

impl Queue {
    /// Takes the next frame, if there is one. The caller has written the one before.
    pub(super) fn try_next(&self) -> Option<Next> {
        self.lock().next()
    }

    /// Waits for the next frame. The caller, the one writer, has written the one before.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.pushed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link to one device. Cheap to clone; a clone may outlive the link.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    id: LinkId,
    established: Established,
    end_reason: EndReason,
    queue: Arc<Queue>,
    /// Number of reads that received bytes.
    received: AtomicU64,
    latency: Mutex<Option<Duration>>,
    shares_group: watch::Sender<bool>,
    /// Called once the end reason is set.
    on_end: Box<dyn Fn() + Send + Sync>,
}

impl Link {
    /// Creates a link and the queue for its writer. `on_end` is called once the link is ended through its
    /// handle.
    pub(super) fn new(
        id: LinkId,
        established: Established,
        end_reason: EndReason,
        on_end: impl Fn() + Send + Sync + 'static,
    ) -> (Self, Arc<Queue>) {
        let queue = Arc::<Queue>::default();
        let inner = Inner {
            id,
            established,
            end_reason,
            queue: queue.clone(),
            received: AtomicU64::new(0),
            latency: Mutex::new(None),
            shares_group: watch::Sender::new(true),
            on_end: Box::new(on_end),
        };
        (Self { inner: Arc::new(inner) }, queue)
    }

    /// The number of the link.
    pub fn id(&self) -> LinkId {
        self.inner.id
    }

    /// The device at the other end.
    pub fn peer(&self) -> &PeerIdentity {
        &self.inner.established.peer
    }

    /// The hash of the handshake: equal on both sides, different on every link.
    pub fn h(&self) -> &[u8; 32] {
        &self.inner.established.h
    }

    /// This side's role in the handshake.
    pub fn role(&self) -> LinkRole {
        self.inner.established.role
    }

    /// Queues a frame for the peer, behind earlier frames of its group and every earlier Hello. Never waits.
    ///
    /// # Errors
    /// [`LinkClosed`], also if this frame overfilled the queue and so ended the link.
    pub fn send(&self, frame: LinkFrame) -> Result<(), LinkClosed> {
        self.enqueue(&frame, None)
    }

    /// Like [`send`](Self::send), but the frame is dropped if `condition` returns false at its turn.
    ///
    /// # Errors
    /// [`LinkClosed`], also if this frame overfilled the queue and so ended the link.
    pub fn send_while(
        &self,
        condition: impl Fn() -> bool + Send + Sync + 'static,
        frame: LinkFrame,
    ) -> Result<(), LinkClosed> {
        self.enqueue(&frame, Some(Box::new(condition)))
    }

    fn enqueue(&self, frame: &LinkFrame, condition: Option<Condition>) -> Result<(), LinkClosed> {
        if self.is_closed() {
            return Err(LinkClosed);
        }
        let (lane, bytes) = (Lane::of(frame), frame.encode());
        let got = bytes.len();
        if got > FRAME_BYTES_MAX {
            self.end(LinkEnd::Oversized { got, max: FRAME_BYTES_MAX });
            return Err(LinkClosed);
        }
        let pushed = self.inner.queue.lock().push(lane, QueuedFrame { bytes, condition });
        match pushed {
            Ok(()) => {
                self.inner.queue.pushed.notify_one();
                Ok(())
            }
            Err(Overflow { queued }) => {
                self.end(LinkEnd::Overflow { queued });
                Err(LinkClosed)
            }
        }
    }

    /// Bytes of frames that are queued or being written.
    pub fn queued_bytes(&self) -> usize {
        self.inner.queue.lock().bytes()
    }

    /// The median of the last ten round trips; none before the first.
    pub fn latency(&self) -> Option<Duration> {
        *self.inner.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the link whether the two sides share a group. After `STRANGER_TIMEOUT` without one the link ends
    /// as [`LinkEnd::Stranger`]. True until first called. Never waits; an equal value changes nothing.
    pub fn set_shares_group(&self, shares: bool) {
        self.inner.shares_group.send_if_modified(|before| std::mem::replace(before, shares) != shares);
    }

    /// Ends the link and sends the peer the reason. The first reason counts.
    pub fn close(&self, reason: ByeReason) {
        self.end(LinkEnd::Closed { reason });
    }

    /// Returns true if the link has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.end_reason.get().is_some()
    }

    pub(super) fn end(&self, end: LinkEnd) {
        if self.inner.end_reason.set(end).is_ok() {
            (self.inner.on_end)();
        }
    }

    /// Queues the last frame, also in a full queue.
    pub(super) fn push_bye(&self, reason: ByeReason) {
        self.inner.queue.lock().push_bye(LinkFrame::Bye { reason }.encode());
        self.inner.queue.pushed.notify_one();
    }

    pub(super) fn end_reason(&self) -> &EndReason {
        &self.inner.end_reason
    }

    /// The reason of a link whose connection has ended.
    pub(in crate::node::connection_manager) fn final_end(&self) -> LinkEnd {
        self.inner.end_reason.get_or_init(|| LinkEnd::Crashed).clone()
    }

    /// Counts a read that received bytes.
    pub(super) fn count_received(&self) {
        self.inner.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of reads that received bytes.
    pub(super) fn received(&self) -> u64 {
        self.inner.received.load(Ordering::Relaxed)
    }

    pub(super) fn set_latency(&self, latency: Option<Duration>) {
        *self.inner.latency.lock().unwrap_or_else(PoisonError::into_inner) = latency;
    }
}

/// Ends the link once the two sides have shared no group for `STRANGER_TIMEOUT`.
pub(super) async fn end_if_stranger(clock: Clock, link: Link) {
    let mut shares_group = link.inner.shares_group.subscribe();
    // Never an error: `link` owns the sender.
    while shares_group.wait_for(|shares| !shares).await.is_ok() {
        let shares_again = shares_group.wait_for(|shares| *shares);
        if clock.timeout(STRANGER_TIMEOUT, shares_again).await.is_err() {
            link.end(LinkEnd::Stranger);
            return;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} to {})", self.inner.id.0, self.peer().device.short())
    }
}
