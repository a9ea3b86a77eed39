//! Records that the gate has stored, as values: the shell maps each to a key of the group's space.

use std::collections::BTreeMap;

use super::tickets::Tickets;
use crate::ledger::Ledger;
use crate::signed::Envelope;
use crate::{DeviceId, OpId, Timestamp};

/// One record to be put or removed.
#[derive(Clone, Debug)]
pub enum StoredRecord {
    /// Put an op.
    Op {
        /// Its position in the ledger; parents come before children.
        position: usize,
        /// The op.
        envelope: Envelope,
        /// The time at which this device admitted it.
        received_at: Timestamp,
    },
    /// Put a device certificate.
    Certificate(Envelope),
    /// Remove a device certificate that was evicted.
    NoCertificate(Envelope),
    /// Put a device revocation by its user.
    Revocation(Envelope),
    /// Remove a device revocation that was evicted.
    NoRevocation(Envelope),
    /// Put the newest record of a device.
    DeviceRecord {
        /// The device.
        device: DeviceId,
        /// The record.
        envelope: Envelope,
    },
    /// Remove the record of a device that no member vouches for any more.
    NoDeviceRecord(DeviceId),
    /// Put the tickets of the group.
    Tickets(Tickets),
    /// Remove the tickets of the group.
    NoTickets,
    /// Put the hashes of a manifest's pages.
    ManifestList {
        /// The manifest's root.
        root: [u8; 32],
        /// The hashes, in order.
        pages: Vec<[u8; 32]>,
    },
    /// Put a page of a manifest.
    ManifestPage {
        /// The hash of the page.
        hash: [u8; 32],
        /// The page.
        bytes: Vec<u8>,
    },
}

/// The time at which this device admitted each op, by its own clock: shown to people, decides nothing.
pub type ReceivedAt = BTreeMap<OpId, Timestamp>;

/// One group as a shell has read it back.
#[derive(Debug)]
pub struct StoredGroup {
    /// Its ledger, with certificates, revocations and device records.
    pub ledger: Ledger,
    /// The times at which its ops were admitted.
    pub received_at: ReceivedAt,
    /// The group's tickets.
    pub tickets: Tickets,
}
