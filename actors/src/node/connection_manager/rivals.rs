//! Which of two links to one device is kept (pure).
//!
//! Both sides decide by themselves and must keep the same one.

use std::time::Duration;

use schema::DeviceId;
use schema::handshake::LinkRole;
use schema::limits::{DIAL_TIMEOUT, HANDSHAKE_TIMEOUT};

/// What counts of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    /// Our side of it.
    pub(super) role: LinkRole,
    /// Whether it is over already.
    pub(super) closed: bool,
}

/// Whether the new link takes the place of the old one, which is `age` old.
///
/// Dials that crossed: the link whose initiator has the smaller device id survives. Else whoever dials does not know
/// of a living link, so the old one is dead at that side.
pub(super) fn keeps_the_new(us: DeviceId, peer: DeviceId, old: Rival, new: Rival, age: Duration) -> bool {
    let crossed = old.role != new.role && age <= DIAL_TIMEOUT + HANDSHAKE_TIMEOUT;
    let ours_survives = us < peer;
    old.closed || !crossed || (new.role == LinkRole::Initiator) == ours_survives
}

#[cfg(test)]
mod tests {
    use LinkRole::{Initiator, Responder};

    use super::*;

    const ADA: DeviceId = DeviceId([1; 32]);
    const BEN: DeviceId = DeviceId([2; 32]);

    fn link(role: LinkRole) -> Rival {
        Rival { role, closed: false }
    }

    #[test]
    fn of_dials_that_crossed_both_sides_keep_the_one_of_the_smaller_device() {
        let at_once = Duration::from_millis(100);
        // Whichever comes first, ada keeps what she dialled and ben what she dialled.
        assert!(!keeps_the_new(ADA, BEN, link(Initiator), link(Responder), at_once));
        assert!(keeps_the_new(ADA, BEN, link(Responder), link(Initiator), at_once));
        assert!(keeps_the_new(BEN, ADA, link(Initiator), link(Responder), at_once));
        assert!(!keeps_the_new(BEN, ADA, link(Responder), link(Initiator), at_once));
    }

    #[test]
    fn a_device_that_dials_again_has_lost_the_link_before() {
        for (us, peer) in [(ADA, BEN), (BEN, ADA)] {
            for role in [Initiator, Responder] {
                assert!(keeps_the_new(us, peer, link(role), link(role), Duration::ZERO), "same side");
                assert!(
                    keeps_the_new(us, peer, link(role), link(role.peer()), Duration::from_secs(11)),
                    "too late to have crossed"
                );
                let dead = Rival { role, closed: true };
                assert!(keeps_the_new(us, peer, dead, link(role.peer()), Duration::ZERO), "known to be dead");
            }
        }
    }
}
