//! A link as those above it hold it, why it ends, and what they must offer it.

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

use super::outbound::{Condition, Lane, Next, Outbound, Overflow, Waiting};
use crate::clock::Clock;
use crate::permits::Permit;
use crate::transport::TransportError;
use crate::transport::framing::StreamError;

/// What a link meets above it. Calls must not block; for one link they come one after the other, `up` first, `down`
/// last. A panic in them ends that link alone.
pub trait Switchboard: Send + Sync + 'static {
    /// Both sides have proven who they are.
    fn up(&self, link: Link);
    /// A Hello, Present or Group frame. Dropping the permit lets the peer send as many bytes again: keep it until the
    /// frame is dealt with.
    fn frame(&self, link: &Link, frame: LinkFrame, permit: Permit);
    /// The link is over; nothing more comes of it.
    fn down(&self, link: LinkId, reason: &LinkEnd);
}

/// Why a link is over, or never was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The peer was not reached; dialled again later.
    #[error("peer was not reached")]
    Dial(#[source] TransportError),
    /// The peer was not reached within `DIAL_TIMEOUT`; dialled again later.
    #[error("nobody answered within {DIAL_TIMEOUT:?}; is a node there, and does a firewall let it through?")]
    DialTimeout,
    /// The peer did not prove who it is.
    #[error("peer did not prove who it is")]
    Handshake(#[source] HandshakeError),
    /// The peer did not prove who it is within `HANDSHAKE_TIMEOUT`.
    #[error(
        "peer did not prove who it is within {HANDSHAKE_TIMEOUT:?}; is it a node, and the line fast enough?"
    )]
    HandshakeTimeout,
    /// The stream ended or broke, or carried what is no frame.
    #[error("stream from the peer failed")]
    Stream(#[source] StreamError),
    /// The peer sent a malformed frame.
    #[error("peer sent a malformed frame; do both sides run the same version?")]
    Frame(#[source] DecodeError),
    /// The peer sent a frame that has no place after the handshake.
    #[error("peer sent {kind} out of place; do both sides run the same version?")]
    OutOfPlace {
        /// Which.
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
    /// The peer reads too slowly for what is sent to it; sync repairs that over the next link.
    #[error("peer reads too slowly: {queued} bytes waited for it")]
    Overflow {
        /// Bytes that were waiting.
        queued: usize,
    },
    /// Somebody here tried to send a frame above `FRAME_BYTES_MAX`: a fault of ours.
    #[error("outbound frame of {got} bytes where at most {max} are allowed")]
    Oversized {
        /// Its bytes.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The link's keys have carried `LINK_BYTES_MAX` or lasted `LINK_AGE_MAX`; dialled again for fresh ones.
    #[error("keys of the link are worn; it is made anew")]
    Worn,
    /// This side ended it.
    #[error("closed here: {}", words(*reason))]
    Closed {
        /// Why.
        reason: ByeReason,
    },
    /// The peer ended it.
    #[error("closed by the peer: {}", words(*reason))]
    ClosedByPeer {
        /// Why.
        reason: ByeReason,
    },
    /// Something here failed while dealing with this link: a fault of ours, shown in the log.
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
            Self::OutOfPlace { .. } => "out_of_place",
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

/// A farewell in words, and what to do about it.
fn words(reason: ByeReason) -> &'static str {
    match reason {
        ByeReason::Duplicate => "another link to the same device is kept",
        ByeReason::Shutdown => "the node stops",
        ByeReason::Full => "the node has as many links as it may; try again later",
        ByeReason::Protocol => "the other side broke the protocol; do both run the same version?",
        ByeReason::NotAuthorized => "no group in common; an Admin of the group must add the other side first",
        ByeReason::Disconnected => "its address was taken back",
        ByeReason::Renew => "its keys have lasted long enough; it is made anew",
    }
}

/// The link has ended: nothing can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("link is closed")]
pub struct LinkClosed;

/// Why a link is over, written once, by whoever ends it first.
pub(in crate::node::connection_manager) type Fate = Arc<OnceLock<LinkEnd>>;

/// What waits to be written: filled from anywhere, emptied by the link's writer.
#[derive(Default)]
pub(super) struct Queue {
    outbound: Mutex<Outbound>,
    news: Notify,
}

impl Queue {
    /// Takes the next frame, if one waits; the one before has been written.
    pub(super) fn try_next(&self) -> Option<Next> {
        self.lock().next()
    }

    /// Waits for the next frame; the one before has been written. For the writer alone.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One device, reached. Cheap to clone; outlives what it stands for.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    id: LinkId,
    established: Established,
    fate: Fate,
    queue: Arc<Queue>,
    heard: AtomicU64,
    latency: Mutex<Option<Duration>>,
    acquainted: watch::Sender<bool>,
    /// Tells the connection to look at the link's fate.
    ended: Box<dyn Fn() + Send + Sync>,
}

impl Link {
    /// A link and the queue that its writer empties.
    pub(super) fn new(
        id: LinkId,
        established: Established,
        fate: Fate,
        ended: impl Fn() + Send + Sync + 'static,
    ) -> (Self, Arc<Queue>) {
        let queue = Arc::<Queue>::default();
        let inner = Inner {
            id,
            established,
            fate,
            queue: queue.clone(),
            heard: AtomicU64::new(0),
            latency: Mutex::new(None),
            acquainted: watch::Sender::new(true),
            ended: Box::new(ended),
        };
        (Self { inner: Arc::new(inner) }, queue)
    }

    /// Which link this is.
    pub fn id(&self) -> LinkId {
        self.inner.id
    }

    /// Who is at the other side.
    pub fn peer(&self) -> &PeerIdentity {
        &self.inner.established.peer
    }

    /// The handshake's hash: the same on both sides, different on every link.
    pub fn h(&self) -> &[u8; 32] {
        &self.inner.established.h
    }

    /// Which side we are.
    pub fn role(&self) -> LinkRole {
        self.inner.established.role
    }

    /// Queues a frame for the peer, behind what its group has queued before and whatever Hello was queued before.
    /// Never waits.
    ///
    /// # Errors
    /// [`LinkClosed`], also when this frame has filled the queue and so ended the link.
    pub fn send(&self, frame: LinkFrame) -> Result<(), LinkClosed> {
        self.enqueue(&frame, None)
    }

    /// Queues a frame that is dropped, queued as it is, once `allowed` no longer holds. Never waits.
    ///
    /// # Errors
    /// [`LinkClosed`], also when this frame has filled the queue and so ended the link.
    pub fn send_while(
        &self,
        allowed: impl Fn() -> bool + Send + Sync + 'static,
        frame: LinkFrame,
    ) -> Result<(), LinkClosed> {
        self.enqueue(&frame, Some(Box::new(allowed)))
    }

    fn enqueue(&self, frame: &LinkFrame, allowed: Option<Condition>) -> Result<(), LinkClosed> {
        if self.is_closed() {
            return Err(LinkClosed);
        }
        let (lane, bytes) = (Lane::of(frame), frame.encode());
        let got = bytes.len();
        if got > FRAME_BYTES_MAX {
            self.end(LinkEnd::Oversized { got, max: FRAME_BYTES_MAX });
            return Err(LinkClosed);
        }
        let pushed = self.inner.queue.lock().push(lane, Waiting { bytes, allowed });
        match pushed {
            Ok(()) => {
                self.inner.queue.news.notify_one();
                Ok(())
            }
            Err(Overflow { queued }) => {
                self.end(LinkEnd::Overflow { queued });
                Err(LinkClosed)
            }
        }
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.inner.queue.lock().bytes()
    }

    /// The median of the last ten round trips; none before the first.
    pub fn latency(&self) -> Option<Duration> {
        *self.inner.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether this node has any business with the peer: without any for `STRANGER_TIMEOUT`, the link ends as
    /// [`LinkEnd::Stranger`]. Until this is first said, it has. Never waits; saying the same again changes nothing.
    pub fn acquainted(&self, acquainted: bool) {
        self.inner.acquainted.send_if_modified(|before| std::mem::replace(before, acquainted) != acquainted);
    }

    /// Ends the link and tells the peer why. The first reason counts.
    pub fn close(&self, reason: ByeReason) {
        self.end(LinkEnd::Closed { reason });
    }

    /// Whether the link is over.
    pub fn is_closed(&self) -> bool {
        self.inner.fate.get().is_some()
    }

    pub(super) fn end(&self, end: LinkEnd) {
        if self.inner.fate.set(end).is_ok() {
            (self.inner.ended)();
        }
    }

    /// Queues the last frame, however full the queue is.
    pub(super) fn say_bye(&self, reason: ByeReason) {
        self.inner.queue.lock().say_bye(LinkFrame::Bye { reason }.encode());
        self.inner.queue.news.notify_one();
    }

    pub(super) fn fate(&self) -> &Fate {
        &self.inner.fate
    }

    pub(super) fn hear(&self) {
        self.inner.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> u64 {
        self.inner.heard.load(Ordering::Relaxed)
    }

    pub(super) fn set_latency(&self, latency: Option<Duration>) {
        *self.inner.latency.lock().unwrap_or_else(PoisonError::into_inner) = latency;
    }
}

/// Ends the link of a peer with whom nothing is shared for too long.
pub(super) async fn let_strangers_go(clock: Clock, link: Link) {
    let mut acquainted = link.inner.acquainted.subscribe();
    // The link, which is held here, keeps the sender.
    while acquainted.wait_for(|acquainted| !acquainted).await.is_ok() {
        let met = acquainted.wait_for(|acquainted| *acquainted);
        if clock.timeout(STRANGER_TIMEOUT, met).await.is_err() {
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
