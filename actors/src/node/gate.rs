//! Gate cells: one for each group and link, open while the gate allows, and checked before every frame in
//! both directions.
//!
//! `membership` opens and closes them as the [gate](schema::gate) asks. A frame that is queued already does
//! not pass a closed cell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schema::GroupId;
use schema::gate::Channel as ChannelId;
use schema::wire::group::{self, GroupFrame, Part};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, LinkFrame};
use schema::wire::session::SessionFrame;

use crate::node::connection_manager::{Link, LinkId};
use crate::permits::Permit;

/// Lets frames of one group pass on one link, until it is closed for good.
#[derive(Clone, Debug)]
pub(crate) struct GateCell {
    open: Arc<AtomicBool>,
}

impl GateCell {
    fn opened() -> Self {
        Self { open: Arc::new(AtomicBool::new(true)) }
    }

    fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
}

/// One group's end of one link.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) link: Link,
    cell: GateCell,
    /// The peer's number for the group.
    number: u32,
}

impl Channel {
    /// Returns true if frames of the group pass.
    pub(crate) fn is_open(&self) -> bool {
        self.cell.is_open()
    }

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
        // A closed link is reported by its connection; sync repairs what was not sent.
        let cell = self.cell.clone();
        let _ = self.link.send_while(move || cell.is_open(), frame);
    }
}

/// A part of a session frame with its share of the mailbox.
pub(crate) struct IncomingPart {
    pub(crate) part: Part,
    pub(crate) _permit: Permit,
}

/// The gate cells of every link, by our numbers for the groups. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct GateCells {
    links: Arc<Mutex<BTreeMap<LinkId, LinkCells>>>,
}

struct LinkCells {
    link: Link,
    cells: BTreeMap<u32, (GroupId, GateCell)>,
}

impl GateCells {
    /// Adds a link, on which no cell is open.
    pub(crate) fn add(&self, link: Link) {
        self.lock().insert(link.id(), LinkCells { link, cells: BTreeMap::new() });
    }

    /// Closes the cells of a link that ended; their groups.
    pub(crate) fn remove(&self, link: LinkId) -> Vec<GroupId> {
        let removed = self.lock().remove(&link);
        let cells = removed.into_iter().flat_map(|link| link.cells.into_values());
        cells.map(|(group, cell)| (cell.close(), group).1).collect()
    }

    /// Opens a gate cell: frames under our `number` belong to `group` from now on.
    pub(crate) fn open(&self, link: LinkId, number: u32, group: GroupId) {
        if let Some(link) = self.lock().get_mut(&link) {
            link.cells.insert(number, (group, GateCell::opened()));
        }
    }

    /// Closes a gate cell for good: frames of its group no longer pass on that link.
    pub(crate) fn close(&self, link: LinkId, number: u32) {
        if let Some((_, cell)) = self.lock().get(&link).and_then(|link| link.cells.get(&number)) {
            cell.close();
        }
    }

    /// Closes every cell and link: the gate that decided about them is lost.
    pub(crate) fn close_all(&self) {
        for LinkCells { link, cells } in self.lock().values() {
            cells.values().for_each(|(_, cell)| cell.close());
            link.close(ByeReason::Shutdown);
        }
    }

    /// A link that has not ended.
    pub(crate) fn link(&self, link: LinkId) -> Option<Link> {
        self.lock().get(&link).map(|link| link.link.clone())
    }

    /// The group of a cell, if that is open.
    pub(crate) fn group(&self, link: LinkId, number: u32) -> Option<GroupId> {
        let links = self.lock();
        let (group, cell) = links.get(&link)?.cells.get(&number)?;
        cell.is_open().then_some(*group)
    }

    /// A channel, if its link has not ended.
    pub(crate) fn channel(&self, id: ChannelId) -> Option<Channel> {
        let links = self.lock();
        let LinkCells { link, cells } = links.get(&id.link)?;
        let (_, cell) = cells.get(&id.ours)?;
        Some(Channel { link: link.clone(), cell: cell.clone(), number: id.theirs })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, LinkCells>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
