//! A unit of a peer before it is judged: the row that it names, its tips, and this device's own changes.

use super::{Change, ChangeSet, Index, Refusal, name};
use crate::id::{DeviceId, DocumentId, GroupId};
use crate::wire::session::Unit;

/// The changes of a unit with their tips, to be [merged](super::Judge::merge).
#[derive(Debug)]
pub struct Intake<C> {
    /// The changes, with the tips that vouch for them.
    pub received: ChangeSet<C>,
    /// A peer has changes of this device that are not here, accepted or not: this device has to write under
    /// a new incarnation, so that no sequence number is used twice.
    pub needs_incarnation: bool,
}

impl<C: Change> Intake<C> {
    /// Takes the changes of a unit whose tips were [verified](ChangeSet::add_unit_tips). `index` has the
    /// accepted changes of the document, `incarnation` is that under which `device`, this one, writes.
    pub fn new(mut received: ChangeSet<C>, index: &Index, device: DeviceId, incarnation: u64) -> Self {
        received.drop_known_tips(index);
        let needs_incarnation = received.has_tip_of(device, incarnation);
        Self { received, needs_incarnation }
    }
}

impl Unit {
    /// Checks that the document is that of the row which the unit names.
    ///
    /// # Errors
    /// [`Refusal::Misplaced`].
    pub fn check_place(&self, group: GroupId) -> Result<(), Refusal> {
        let is_here = self.document == DocumentId::of(group, &self.table, &self.key);
        let is_row = name::check_place(&self.table, &self.key).is_ok();
        if is_here && is_row { Ok(()) } else { Err(Refusal::Misplaced) }
    }
}
