//! Hostile peers, one kind a file: iterators of frames, keys or bytes, which send nothing themselves.
//!
//! A peer made by hand sends them to a node; the fuzz targets draw from them.

pub mod chains;
pub mod crowd;
pub mod dearest;
pub mod endless;
pub mod heads;
pub mod inserts;
pub mod ledger;
pub mod older_tips;
pub mod repeats;
pub mod requests;
pub mod silence;

use std::collections::BTreeMap;

use schema::key::SigningKey;
use schema::tip::{Author, Tip};
use schema::wire::group::Part;
use schema::wire::ledger::LedgerFrame;
use schema::wire::session::{SessionFrame, Unit, UnitTip, Units};
use schema::wire::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, GroupId, OpId, ReplicaId};

use crate::dear::Change;

/// The table of every hostile row.
pub const TABLE: &str = "hostile";

/// A frame of a flood.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A frame of the ledger session.
    Ledger(LedgerFrame),
    /// A part of a session frame.
    Part(Part),
    /// A whole session frame with units.
    Units(Units),
    /// Another whole session frame.
    Session(SessionFrame),
}

/// A device with a grant to write in a group.
#[derive(Clone)]
pub struct Writer {
    /// The group.
    pub group: GroupId,
    /// The op that gave the device's user the role.
    pub grant: OpId,
    /// The device's key.
    pub signing: SigningKey,
}

impl Writer {
    fn author(&self, chain: usize) -> Author {
        let device = DeviceId(self.signing.public());
        Author { device, grant: self.grant, incarnation: chain as u64 }
    }

    /// The document of a hostile row.
    pub fn document(&self, key: &str) -> DocumentId {
        DocumentId::of(self.group, TABLE, key)
    }

    /// The replica of a chain in a row: each chain is an incarnation of the device.
    pub fn replica(&self, document: DocumentId, chain: usize) -> ReplicaId {
        let Author { device, grant, incarnation } = self.author(chain);
        ReplicaId::of(self.group, document, device, grant, incarnation)
    }

    /// A frame with changes of one row, and the newest tip of each chain.
    pub fn frame(&self, number: u64, key: &str, changes: &[Change]) -> Units {
        let document = self.document(key);
        let newest: BTreeMap<_, _> = changes.iter().map(|change| (change.chain, change)).collect();
        let tip = |change: &Change| {
            let author = self.author(change.chain);
            let tip = Tip::sign(self.group, document, author, change.seq, change.hash, &self.signing);
            UnitTip { author: 0, incarnation: author.incarnation, seq: change.seq, signature: tip.signature }
        };
        let tips = newest.into_values().map(tip).collect();
        let changes = changes.iter().map(|change| change.chunk.clone()).collect();
        let message = SyncMessage { changes, ..SyncMessage::default() }.encode();
        let unit = Unit { document, table: TABLE.to_owned(), key: key.to_owned(), tips, message };
        let Author { device, grant, .. } = self.author(0);
        Units { number, state: [0; 32], authors: vec![(device, grant)], units: vec![unit] }
    }
}

/// Changes of each kind of hostile Writer, few enough for a fuzz target.
pub fn changes(writer: &Writer) -> Vec<Vec<u8>> {
    let mut frames = inserts::Inserts::of(10_000).frames(writer.clone()).take(1).collect::<Vec<_>>();
    frames.extend(dearest::frames(writer).take(1));
    frames.extend(chains::frames(writer, "chains", 2));
    frames.extend(heads::frames(writer, "heads", 2));
    let units = frames.into_iter().flat_map(|frame| frame.units);
    units.flat_map(|unit| SyncMessage::decode(&unit.message).unwrap().changes).collect()
}

/// Cuts changes into units, each within its bound.
fn units(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut units, mut charge) = (Vec::new(), u64::MAX);
    for change in changes {
        if charge.saturating_add(change.charge) > schema::limits::UNIT_CHARGE_MAX {
            units.push(Vec::new());
            charge = 0;
        }
        charge += change.charge;
        units.last_mut().unwrap().push(change);
    }
    units
}

/// Units of one row, in which each of `count` chains has one change.
fn one_change_each(writer: &Writer, key: &str, count: usize, ops: &[crate::dear::Op]) -> Vec<Units> {
    let document = writer.document(key);
    let replica = |chain| writer.replica(document, chain);
    let mut crafter = crate::dear::Crafter::new(&replica);
    for chain in 0..count {
        crafter.write(chain, &[], ops);
    }
    let units = units(crafter.into_changes());
    units.iter().zip(1..).map(|(changes, number)| writer.frame(number, key, changes)).collect()
}
