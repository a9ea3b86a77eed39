//! Members, devices, ops and invitations as text.

use actors::clock::Clock;
use peerbase::Member;
use peerbase::group::{Invitation, InviteStatus, MemberDevice, MemberOp, OpAction, OpStatus};
use peerbase::node::Device;

use super::{date_of, of_role, safe};

pub(super) fn of_member(member: &Member, is_me: bool) -> String {
    let Member { user, role, since, devices, contestable, .. } = member;
    let labelled = |MemberDevice { device, label, .. }: &MemberDevice| match label.as_str() {
        "" => device.short(),
        label => format!("{} {}", device.short(), safe(label)),
    };
    let devices: Vec<String> = devices.iter().map(labelled).collect();
    let devices = match &devices[..] {
        [] => "no device yet".to_owned(),
        [one] => format!("device {one}"),
        some => format!("devices {}", some.join(", ")),
    };
    let since = since.map(|time| format!("since {}", date_of(time))).unwrap_or_default();
    let contestable = contestable.map(|op| format!("\tmay be contested: {}", op.op)).unwrap_or_default();
    format!("{user}\t{}\t{since}\t{devices}{}{contestable}", of_role(*role), if is_me { "\tyou" } else { "" })
}

pub(super) fn of_device(device: &Device) -> String {
    let Device { id, label, is_revoked, is_this } = device;
    let state = match (is_revoked, is_this) {
        (true, _) => "revoked",
        (false, true) => "this device",
        (false, false) => "",
    };
    format!("{id}\t{state}\t{}", safe(label))
}

pub(super) fn of_op(op: &MemberOp) -> String {
    let action = match op.action {
        OpAction::SetRole { user, role } => format!("sets {} to {}", user.short(), of_role(role)),
        OpAction::RevokeDevice { user, device } => {
            format!("revokes device {} of {}", device.short(), user.short())
        }
        OpAction::Other => "neither sets a role nor revokes a device".to_owned(),
    };
    let status = match op.status {
        OpStatus::Counts => "counts",
        OpStatus::Superseded => "superseded",
        OpStatus::Void => "void",
    };
    format!("{}\t{status}\tby {}\t{action}", op.op, op.author.short())
}

pub(super) fn of_invitation(invitation: &Invitation) -> String {
    let Invitation { id, author, role, uses, used, expires, status } = invitation;
    let status = match status {
        InviteStatus::Open { .. } if Clock::real().now() > *expires => "expired",
        InviteStatus::Open { .. } => "open",
        InviteStatus::Closed => "closed",
        InviteStatus::UsedUp => "used up",
    };
    let more = if *used > usize::from(*uses) { ", more often than allowed" } else { "" };
    let (role, expires, author) = (of_role(*role), date_of(*expires), author.short());
    format!("{id}\t{status}\t{role}\tused {used} of {uses}{more}\tuntil {expires}\tby {author}")
}
