//! One cell per group and link: open while membership allows, checked before every frame in both directions.
//!
//! `membership` closes a cell in the handler that admits the op; frames already queued do not pass a closed one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schema::GroupId;
use schema::wire::group::{self, GroupFrame, Part};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, LinkFrame};
use schema::wire::session::SessionFrame;

use crate::node::connection_manager::{Link, LinkEnd, LinkId, LinkOwner};
use crate::node::group::Groups;
use crate::node::membership::{MembershipHandle, Presented};
use crate::permits::Permit;

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
        for part in group::parts(frame) {
            self.send(GroupFrame::Part(part));
        }
    }

    fn send(&self, frame: GroupFrame) {
        let frame = LinkFrame::Group { channel: self.number, body: frame.encode() };
        // A closed link is told of by the connection; sync repairs what was not sent.
        let gate = self.gate.clone();
        let _ = self.link.send_while(move || gate.is_open(), frame);
    }
}

/// A part of a session frame with its share of the mailbox.
pub(crate) struct IncomingPart {
    pub(crate) part: Part,
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

impl LinkOwner for Routes {
    fn on_up(&self, link: Link) {
        self.lock().insert(link.id(), LinkRoutes { link: link.clone(), groups: BTreeMap::new() });
        self.membership.link_up(link);
    }

    fn on_frame(&self, link: &Link, frame: LinkFrame, permit: Permit) {
        match frame {
            LinkFrame::Hello(hello) => self.membership.hello(link.id(), hello, permit),
            LinkFrame::Present { group, ops, manifests } => {
                self.membership.present(link.id(), group, Presented { ops, manifests }, permit);
            }
            LinkFrame::Group { channel, body } => {
                let route = self.lock().get(&link.id()).and_then(|r| r.groups.get(&channel).cloned());
                // Frames may be under way while a gate closes: they are not read.
                let Some((group, gate)) = route else { return };
                if !gate.is_open() {
                    return;
                }
                match GroupFrame::decode(&body) {
                    Ok(GroupFrame::Ledger(frame)) => self.membership.ledger(link.id(), group, frame, permit),
                    Ok(GroupFrame::Part(part)) => {
                        if let Some(handle) = self.groups.get(group) {
                            handle.frame(link.id(), IncomingPart { part, _permit: permit });
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "peer sent a group frame that is none");
                        link.close(ByeReason::Protocol);
                    }
                }
            }
            LinkFrame::Join(join) => self.membership.redeem(link.id(), join, permit),
            LinkFrame::Declined { token, invite, reason } => {
                self.membership.declined(link.id(), (token, invite), reason, permit);
            }
            // The connection handles these itself and never passes them on.
            LinkFrame::Auth(_) | LinkFrame::Ping { .. } | LinkFrame::Pong { .. } | LinkFrame::Bye { .. } => {
                link.close(ByeReason::Protocol);
            }
        }
    }

    fn on_down(&self, link: LinkId, reason: &LinkEnd) {
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
