//! Routes the frames of every link: to membership, or through an open gate cell to a group's documents.

use schema::gate::Input;
use schema::handshake::PeerIdentity;
use schema::wire::group::GroupFrame;
use schema::wire::link::{ByeReason, LinkFrame};

use crate::node::connection_manager::{Link, LinkEnd, LinkId, LinkOwner, Standing};
use crate::node::gate::{GateCells, IncomingPart};
use crate::node::group::Groups;
use crate::node::membership::MembershipHandle;
use crate::permits::Permit;

/// The owner of the node's links.
#[derive(Clone)]
pub(crate) struct Router {
    pub(crate) cells: GateCells,
    pub(crate) membership: MembershipHandle,
    pub(crate) groups: Groups,
}

impl Router {
    /// Routes a frame of a group, unless its cell closed while the frame was under way.
    fn group_frame(&self, link: &Link, number: u32, body: &[u8], permit: Permit) {
        let id = link.id();
        let Some(group) = self.cells.group(id, number) else { return };
        match GroupFrame::decode(body) {
            Ok(GroupFrame::Ledger(frame)) => {
                self.membership.step(Input::Ledger { link: id, group, frame }, Some(permit));
            }
            Ok(GroupFrame::Part(part)) => {
                if let Some(handle) = self.groups.get(group) {
                    handle.frame(id, IncomingPart { part, _permit: permit });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "peer sent a malformed group frame");
                link.close(ByeReason::Protocol);
            }
        }
    }
}

impl LinkOwner for Router {
    fn standing(&self, peer: &PeerIdentity) -> Standing {
        self.membership.standing(peer.user, peer.device)
    }

    fn on_up(&self, link: Link) {
        self.cells.add(link.clone());
        self.membership.link_up(&link);
    }

    fn on_frame(&self, link: &Link, frame: LinkFrame, permit: Permit) {
        match Input::of_frame(link.id(), frame) {
            Ok(input) => self.membership.step(input, Some(permit)),
            Err(LinkFrame::Group { channel, body }) => self.group_frame(link, channel, &body, permit),
            // The connection handles the others itself.
            Err(_) => link.close(ByeReason::Protocol),
        }
    }

    fn on_down(&self, link: LinkId, reason: &LinkEnd) {
        // Membership closes the sessions too; one that was restarted meanwhile does not know the link.
        for group in self.cells.remove(link) {
            self.groups.get(group).into_iter().for_each(|handle| handle.close(link));
        }
        self.membership.link_down(link, reason.to_string());
    }
}
