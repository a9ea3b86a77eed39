//! Members, ops and invitations as people read them.

use peerbase::control::reply::{InviteLine, MemberLine, MemberOpLine};

use super::time;

pub(super) fn of_member(member: &MemberLine) -> String {
    let MemberLine { user, role, me, devices, contestable, .. } = member;
    let devices = match &devices[..] {
        [] => "no device yet".to_owned(),
        [one] => format!("device {}", one.short()),
        some => {
            let short: Vec<String> = some.iter().map(|device| device.short()).collect();
            format!("devices {}", short.join(" "))
        }
    };
    let contestable = contestable.map(|op| format!("\tmay be contested: {op}")).unwrap_or_default();
    format!("{user}\t{role}\t{devices}{}{contestable}", if *me { "\tyou" } else { "" })
}

pub(super) fn of_op(op: &MemberOpLine) -> String {
    let user = op.user.map_or("?".to_owned(), |user| user.short());
    let what = match (&op.role, &op.device) {
        (Some(role), _) => format!("{user} is {role}"),
        (None, Some(device)) => format!("device {} of {user} is shut out", device.short()),
        (None, None) => user,
    };
    format!("{}\t{}\t{} said\t{what}", op.op, op.standing, op.author.short())
}

pub(super) fn of_invite(invite: &InviteLine) -> String {
    let InviteLine { invite: id, author, role, uses, used, expires_ms, standing } = invite;
    let standing = standing.replace('_', " ");
    let more = if *used > usize::from(*uses) { ", more than it was for" } else { "" };
    let expires = time(i64::try_from(*expires_ms).unwrap_or(i64::MAX));
    format!("{id}\t{standing}\t{role}\tused {used} of {uses}{more}\tuntil {expires}\tby {}", author.short())
}
