//! Resolves two links to one device into one (pure).
//!
//! Each side decides by itself, and both must keep the same link.

use std::time::Duration;

use schema::DeviceId;
use schema::handshake::LinkRole;
use schema::limits::{DIAL_TIMEOUT, HANDSHAKE_TIMEOUT};

/// The facts of a link that decide whether it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    /// This side's role.
    pub(super) role: LinkRole,
    pub(super) is_closed: bool,
}

/// Returns true if the new link replaces the old one, which is `age` old.
///
/// If the two devices dialled each other at the same time, the link survives whose initiator has the smaller
/// device id. Otherwise the dialler does not know of a living link, so the old one is dead on its side.
pub(super) fn replaces(us: DeviceId, peer: DeviceId, old: LinkState, new: LinkState, age: Duration) -> bool {
    let dials_crossed = old.role != new.role && age <= DIAL_TIMEOUT + HANDSHAKE_TIMEOUT;
    let ours_survives = us < peer;
    old.is_closed || !dials_crossed || (new.role == LinkRole::Initiator) == ours_survives
}

#[cfg(test)]
mod tests {
    use LinkRole::{Initiator, Responder};

    use super::*;

    const ADA: DeviceId = DeviceId([1; 32]);
    const BEN: DeviceId = DeviceId([2; 32]);

    fn link(role: LinkRole) -> LinkState {
        LinkState { role, is_closed: false }
    }

    #[test]
    fn when_dials_cross_both_sides_keep_the_link_of_the_smaller_device() {
        let at_once = Duration::from_millis(100);
        // In either order of arrival both keep the link that ada dialled.
        assert!(!replaces(ADA, BEN, link(Initiator), link(Responder), at_once));
        assert!(replaces(ADA, BEN, link(Responder), link(Initiator), at_once));
        assert!(replaces(BEN, ADA, link(Initiator), link(Responder), at_once));
        assert!(!replaces(BEN, ADA, link(Responder), link(Initiator), at_once));
    }

    #[test]
    fn a_device_that_dials_again_replaces_its_earlier_link() {
        for (us, peer) in [(ADA, BEN), (BEN, ADA)] {
            for role in [Initiator, Responder] {
                assert!(replaces(us, peer, link(role), link(role), Duration::ZERO), "same side");
                assert!(
                    replaces(us, peer, link(role), link(role.peer()), Duration::from_secs(11)),
                    "too late to have crossed"
                );
                let closed = LinkState { role, is_closed: true };
                assert!(replaces(us, peer, closed, link(role.peer()), Duration::ZERO), "closed before");
            }
        }
    }
}
