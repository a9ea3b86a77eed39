//! One cell per group and link: open while membership allows, checked before every frame in both directions.
//!
//! `membership` closes a cell in the handler that admits the op; frames already queued do not pass a closed one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bincode::{Decode, Encode};
use schema::frame::{ByeReason, LinkFrame};
use schema::limits::{FRAME_BYTES_MAX, SYNC_MESSAGE_BYTES_MAX};
use schema::session::frame::SessionFrame;
use schema::session::ledger::LedgerFrame;
use schema::{GroupId, codec};

use crate::admission::Permit;
use crate::node::connection_manager::{Link, LinkEnd, LinkId, Switchboard};
use crate::node::group::Groups;
use schema::gate::{Input, Presented};

use crate::node::membership::MembershipHandle;

/// A session frame may take this many bytes, over many link frames.
const SESSION_FRAME_BYTES_MAX: usize = SYNC_MESSAGE_BYTES_MAX + (2 << 20);
/// What one link frame carries of it.
const PART_BYTES: usize = FRAME_BYTES_MAX - 256;

/// Whether one group may be spoken of on one link. Closed for good once closed.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    open: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn opened() -> Self {
        Self { open: Arc::new(AtomicBool::new(true)) }
    }

    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
}

/// The body of a group frame on a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum GroupFrame {
    Ledger(LedgerFrame),
    /// A stretch of an encoded session frame.
    Part {
        more: bool,
        bytes: Vec<u8>,
    },
}

/// One group's end of one link.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) link: Link,
    pub(crate) gate: Gate,
    /// The peer's number for the group.
    pub(crate) number: u32,
}

impl Channel {
    pub(crate) fn send_ledger(&self, frame: LedgerFrame) {
        self.send(GroupFrame::Ledger(frame));
    }

    pub(crate) fn send_session(&self, frame: &SessionFrame) {
        let bytes = codec::encode(frame);
        let mut parts = bytes.chunks(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            self.send(GroupFrame::Part { more: parts.peek().is_some(), bytes: part.to_vec() });
        }
    }

    fn send(&self, frame: GroupFrame) {
        let frame = LinkFrame::Group { channel: self.number, body: codec::encode(&frame) };
        // A closed link is told of by the connection; sync repairs what was not sent.
        let gate = self.gate.clone();
        let _ = self.link.send_while(move || gate.is_open(), frame);
    }
}

/// Puts the parts of session frames together again.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes a part; the frame, when it is whole.
    pub(crate) fn take(&mut self, part: Part) -> Result<Option<SessionFrame>, codec::DecodeError> {
        let len = self.bytes.len() + part.bytes.len();
        if len > SESSION_FRAME_BYTES_MAX {
            return Err(codec::DecodeError::TooLong { got: len, max: SESSION_FRAME_BYTES_MAX });
        }
        if part.more {
            self.bytes.extend(part.bytes);
            return Ok(None);
        }
        let mut whole = std::mem::take(&mut self.bytes);
        whole.extend(part.bytes);
        codec::decode(&whole, SESSION_FRAME_BYTES_MAX).map(Some)
    }
}

/// A stretch of a session frame, holding its share of the mailbox.
pub(crate) struct Part {
    pub(crate) more: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) _permit: Permit,
}

/// Where the frames of every link go: our number for a group → its gate and its group.
#[derive(Clone)]
pub(crate) struct Routes {
    table: Arc<Mutex<BTreeMap<LinkId, LinkRoutes>>>,
    membership: MembershipHandle,
    groups: Groups,
}

struct LinkRoutes {
    link: Link,
    groups: BTreeMap<u32, (GroupId, Gate)>,
}

impl Routes {
    pub(crate) fn new(membership: MembershipHandle, groups: Groups) -> Self {
        Self { table: Arc::default(), membership, groups }
    }

    /// Lets frames under our `number` reach the group while the gate is open.
    pub(crate) fn put(&self, link: LinkId, number: u32, group: GroupId, gate: Gate) {
        if let Some(routes) = self.lock().get_mut(&link) {
            routes.groups.insert(number, (group, gate));
        }
    }

    /// Every link is closed: whoever decided about them forgot.
    pub(crate) fn close_all(&self) {
        for routes in self.lock().values() {
            for (_, gate) in routes.groups.values() {
                gate.close();
            }
            routes.link.close(ByeReason::Shutdown);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<LinkId, LinkRoutes>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switchboard for Routes {
    fn up(&self, link: Link) {
        self.lock().insert(link.id(), LinkRoutes { link: link.clone(), groups: BTreeMap::new() });
        self.membership.link_up(link);
    }

    fn frame(&self, link: &Link, frame: LinkFrame, permit: Permit) {
        let id = link.id();
        let input = match frame {
            LinkFrame::Hello(hello) => Input::Hello { link: id, hello },
            LinkFrame::Present { group, ops, manifests } => {
                Input::Present { link: id, group, presented: Presented { ops, manifests } }
            }
            LinkFrame::Join(join) => Input::Join { link: id, join },
            LinkFrame::Declined { token, invite, reason } => {
                Input::Declined { link: id, token, invite, reason }
            }
            LinkFrame::Group { channel, body } => {
                let route = self.lock().get(&id).and_then(|r| r.groups.get(&channel).cloned());
                // Frames may be under way while a gate closes: they are not read.
                let Some((group, gate)) = route else { return };
                if !gate.is_open() {
                    return;
                }
                match codec::decode(&body, FRAME_BYTES_MAX) {
                    Ok(GroupFrame::Ledger(frame)) => Input::Ledger { link: id, group, frame },
                    Ok(GroupFrame::Part { more, bytes }) => {
                        if let Some(handle) = self.groups.get(group) {
                            handle.frame(id, Part { more, bytes, _permit: permit });
                        }
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "peer sent a group frame that is none");
                        link.close(ByeReason::Protocol);
                        return;
                    }
                }
            }
            // The connection passes on nothing else.
            _ => {
                link.close(ByeReason::Protocol);
                return;
            }
        };
        self.membership.step(input, Some(permit));
    }

    fn down(&self, link: LinkId, reason: &LinkEnd) {
        let routes = self.lock().remove(&link);
        // Membership tells the groups; one that was restarted meanwhile does not know the link.
        for (group, gate) in routes.iter().flat_map(|routes| routes.groups.values()) {
            gate.close();
            if let Some(handle) = self.groups.get(*group) {
                handle.close(link);
            }
        }
        self.membership.link_down(link, reason.to_string());
    }
}
