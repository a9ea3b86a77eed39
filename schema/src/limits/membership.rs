//! Bounds on groups, presenting, tickets and offers.

use std::time::Duration;

use super::ledger::OP_BYTES_MAX;
use super::link::FRAME_BYTES_MAX;

/// Groups of a node.
pub const GROUPS_MAX: usize = 1_000;
/// Members of a group: the admission of one more is refused locally.
pub const MEMBERS_MAX: usize = 10_000;
/// Announcements of one side of a link: every group, and each again a few times after its gate closed.
pub const ANNOUNCED_MAX: usize = 4 * GROUPS_MAX;

/// Ops that a Present carries, bytes: the rest follows once the session is open.
pub const PRESENT_BYTES_MAX: usize = 512 << 10;
/// Pages that a Present carries beside its ops, bytes: a cut of some 3 000 documents.
pub const PRESENT_MANIFESTS_BYTES_MAX: usize = 384 << 10;
const _: () = assert!(PRESENT_BYTES_MAX >= OP_BYTES_MAX, "a Present carries an op of any size");
const _: () =
    assert!(PRESENT_BYTES_MAX + PRESENT_MANIFESTS_BYTES_MAX < FRAME_BYTES_MAX, "a Present fits a link frame");
/// Presents that are read on one link.
pub const PRESENTED_MAX: usize = GROUPS_MAX;
/// Presents on one link that did not show their sender to be a member. One alone is no fault: the member who
/// admitted the sender may have been removed meanwhile.
pub const PRESENTS_WITHOUT_EFFECT_MAX: usize = 8;
/// Unknown ops in the Present of a removed user.
pub const CONTESTING_OPS_MAX: usize = 64;
/// Interval at which the Present of a removed user is read (authority 3.9).
pub const CONTESTED_EVERY: Duration = Duration::from_secs(10);

/// Ops, certificates, device revocations and device records that a user signs within [`FLOOD_WINDOW`]; more
/// are a flood, of which applications are told (authority 3.8). No person invites or removes so many.
pub const FLOOD_RECORDS_MAX: usize = 200;
/// The span in which the records of a user are counted.
pub const FLOOD_WINDOW: Duration = Duration::from_secs(3_600);

/// Tickets that a peer may redeem on one link within [`REDEEMED_IN`].
pub const REDEEMED_MAX: usize = 64;
/// The span in which redeemed tickets are counted.
pub const REDEEMED_IN: Duration = Duration::from_secs(60);
/// Tickets that are stored for one group; the oldest is dropped.
pub const TICKETS_MAX: usize = 8;

/// Offers that are stored at once.
pub const OFFERS_MAX: usize = 64;
/// Offers among them by users who share no group with this one: a user can make any number of others.
pub const OFFERS_BY_STRANGERS_MAX: usize = 32;
const _: () = assert!(OFFERS_BY_STRANGERS_MAX < OFFERS_MAX, "strangers leave room");
/// Offers that are judged on one link: each may cost a thousand signature checks.
pub const OFFERED_MAX: usize = 8;
/// Offers by strangers that the node judges at once, before [`STRANGERS_EVERY`] limits the rate.
pub const STRANGERS_AT_ONCE: u32 = 8;
/// Interval at which the node judges one more offer by a stranger; others are repeated on the next link.
pub const STRANGERS_EVERY: Duration = Duration::from_secs(1);
