//! Bounds on links: records, frames, handshakes, heartbeats, addresses, faults.

use std::time::Duration;

/// One frame on a link, bytes: larger messages are split over frames.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// One record on a link, bytes of ciphertext: Noise's own limit.
pub const RECORD_BYTES_MAX: usize = 65_535;
/// One message or frame of a WebSocket, bytes; it is held in memory whole before it is read.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 128 << 10;
const _: () =
    assert!(WEBSOCKET_MESSAGE_BYTES_MAX > RECORD_BYTES_MAX + 2, "a record with its length fits a message");
/// Records of one direction after which its key is replaced.
pub const REKEY_RECORDS: u64 = 65_536;
/// Bytes of one direction after which a link is dialled again with fresh keys.
pub const LINK_BYTES_MAX: u64 = 64 << 30;
/// Age at which a link is dialled again with fresh keys.
pub const LINK_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// One message of a handshake, bytes: an Auth with the longest certificate, sealed.
pub const HANDSHAKE_BYTES_MAX: usize = 1024;
/// Duration of a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Duration of dialling before the handshake begins.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Lifetime of a link over which no group is open: time to present oneself, or to redeem a ticket.
pub const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
const _: () = assert!(STRANGER_TIMEOUT.as_secs() >= HANDSHAKE_TIMEOUT.as_secs());
/// Accepted sockets before Auth. With one more the oldest socket of the fullest /24 or /64 is dropped, so
/// that a flood from fewer networks than this displaces its own sockets only.
pub const HALF_OPEN_MAX: usize = 64;
/// Accepted sockets that wait for the connection manager to count them: back-pressure on a listener.
pub const ACCEPTED_WAITING_MAX: usize = 64;
/// Interval of pings.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// Missed pings that end a link.
pub const MISSED_PINGS_MAX: u32 = 3;

/// Links of a node.
pub const LINKS_MAX: usize = 30;
/// Links that this user's other devices can always have: a link of another user gives way to them.
pub const OWN_LINKS: usize = 8;
/// Links that this node can always have by dialling: an accepted link gives way to them, so that dialling out
/// does not starve because others dialled in.
pub const DIALLED_LINKS: usize = 6;
const _: () = assert!(OWN_LINKS + DIALLED_LINKS < LINKS_MAX, "others have a share");
/// Links of one other user, over all its devices: a quarter of those that are not kept for own devices, so
/// that a few users cannot hold all links.
pub const USER_LINKS_MAX: usize = (LINKS_MAX - OWN_LINKS) / 4;
const _: () = assert!(USER_LINKS_MAX >= 3, "a user's phone, laptop and server have a link each");
/// Accepted links of devices that share no group: enough to redeem tickets.
pub const STRANGER_LINKS_MAX: usize = 4;
const _: () = assert!(
    STRANGER_LINKS_MAX < LINKS_MAX - OWN_LINKS - DIALLED_LINKS,
    "strangers alone do not fill what is left to others"
);
/// Links of a node from which on it does not dial addresses that only device records name, so that incoming
/// links find a free slot.
pub const LINKS_CONTENT: usize = 15;
const _: () = assert!(LINKS_CONTENT < LINKS_MAX, "incoming links find a free slot");
const _: () = assert!(DIALLED_LINKS < LINKS_CONTENT, "accepted links count towards it");
/// Bytes of one peer that wait in our mailboxes.
pub const MAILBOX_BYTES_MAX: usize = 8 << 20;
const _: () = assert!(MAILBOX_BYTES_MAX >= FRAME_BYTES_MAX, "a larger frame would wait for ever");
/// The charge of a waiting frame beside its bytes, so that a flood of tiny frames stays within the bound,
/// bytes.
pub const FRAME_OVERHEAD_BYTES: usize = 256;
/// Bytes that wait to be sent on one link; above that it closes, since a new session repairs everything.
pub const OUTBOUND_BYTES_MAX: usize = 64 << 20;
/// Frames that wait to be sent on one link: small ones cost more than their bytes.
pub const OUTBOUND_FRAMES_MAX: usize = 65_536;

/// Address of a node, bytes of UTF-8: a host name has at most 253.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// Addresses in a ticket: two families on a few networks, in a text that still fits a message.
pub const TICKET_ADDRESSES_MAX: usize = 8;
/// Addresses in a device record: those of a ticket.
pub const DEVICE_ADDRESSES_MAX: usize = TICKET_ADDRESSES_MAX;

/// One device record, bytes: the fixed fields, and each address with its length.
pub const DEVICE_RECORD_BYTES_MAX: usize = 96 + DEVICE_ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 3);
/// The record in a ticket, bytes: the fixed fields, and each address with its length.
pub const TICKET_RECORD_BYTES_MAX: usize = 256 + TICKET_ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 3);

/// Faults of a device within [`FAULTS_WINDOW`] that end its links for [`FAULTY_DEVICE_PAUSE`] (authority
/// 3.8).
pub const FAULTS_MAX: usize = 3;
/// The span in which faults are counted.
pub const FAULTS_WINDOW: Duration = Duration::from_secs(10 * 60);
/// The span in which a faulty device gets no link.
pub const FAULTY_DEVICE_PAUSE: Duration = Duration::from_secs(60 * 60);
const _: () =
    assert!(FAULTY_DEVICE_PAUSE.as_secs() > FAULTS_WINDOW.as_secs(), "a pause outlasts what caused it");
/// Devices whose faults are remembered: a user can make any number of devices, so the oldest are forgotten.
pub const SCORED_DEVICES_MAX: usize = 1_024;
