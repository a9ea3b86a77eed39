//! Members, ops and invitations as people read them.

use peerbase::control::reply::{
    DeviceLine, InviteLine, MemberDevice, MemberLine, MemberOpLine, RecoveryLine,
};

use super::{safe, time};

pub(super) fn of_member(member: &MemberLine) -> String {
    let MemberLine { user, role, me, since_ms, devices, contestable, .. } = member;
    let called = |MemberDevice { device, label }: &MemberDevice| match label.as_str() {
        "" => device.short(),
        label => format!("{} {}", device.short(), safe(label)),
    };
    let devices: Vec<String> = devices.iter().map(called).collect();
    let devices = match &devices[..] {
        [] => "no device yet".to_owned(),
        [one] => format!("device {one}"),
        some => format!("devices {}", some.join(", ")),
    };
    let since = since_ms.map(|ms| format!("since {}", moment(ms))).unwrap_or_default();
    let contestable = contestable.map(|op| format!("\tmay be contested: {op}")).unwrap_or_default();
    format!("{user}\t{role}\t{since}\t{devices}{}{contestable}", if *me { "\tyou" } else { "" })
}

pub(super) fn of_device(device: &DeviceLine) -> String {
    let DeviceLine { device, label, revoked, this } = device;
    let state = match (revoked, this) {
        (true, _) => "revoked",
        (false, true) => "this device",
        (false, false) => "",
    };
    format!("{device}\t{state}\t{}", safe(label))
}

pub(super) fn of_recovery(recovery: &RecoveryLine) -> String {
    match (&recovery.user, &recovery.words) {
        (_, Some(words)) => words.text().to_owned(),
        (Some(user), None) => format!("recovery key of user {user}; its words are on paper"),
        (None, None) => "no recovery key; `peerbase recovery make` makes one".to_owned(),
    }
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
    let expires = moment(*expires_ms);
    format!("{id}\t{standing}\t{role}\tused {used} of {uses}{more}\tuntil {expires}\tby {}", author.short())
}

fn moment(ms: u64) -> String {
    time(i64::try_from(ms).unwrap_or(i64::MAX))
}
