//! Replies as text for people.

pub(crate) mod advice;
mod members;
mod status;

use std::borrow::Cow;
use std::fmt::Write as _;

use peerbase::control::Reply;
use peerbase::control::reply::{Change, Done, Progress, Row};
use peerbase::table::Revision;
use peerbase::{GroupId, GroupInfo, GroupState, Role, Timestamp, UserId};

/// Renders a reply as one line, or a few.
pub(crate) fn of(reply: &Reply) -> String {
    match reply {
        Reply::Identity { user, device } => format!("user   {user}\ndevice {device}"),
        Reply::Group(group) => line_of_group(group),
        Reply::Member { member, is_me } => members::of_member(member, *is_me),
        Reply::Device(device) => members::of_device(device),
        Reply::RecoveryKey { words: Some(words), .. } => words.text().to_owned(),
        Reply::RecoveryKey { user: Some(user), .. } => {
            format!("recovery user {user}; the words are on paper only")
        }
        Reply::RecoveryKey { .. } => "no recovery key; `peerbase recovery make` makes one".to_owned(),
        Reply::MemberOp(op) => members::of_op(op),
        Reply::Ticket { ticket, .. } => ticket.text().to_owned(),
        Reply::Invitation(invitation) => members::of_invitation(invitation),
        Reply::Connected { device, address } => format!("connected with {device} at {}", safe(address)),
        Reply::Synced(synced) => {
            let devices: Vec<String> = synced.with.iter().map(ToString::to_string).collect();
            let mut text = format!("in sync with {}", devices.join(", "));
            if !synced.unmaterialised.is_empty() {
                let _ = writeln!(text, "; {} rows not materialised here:", synced.unmaterialised.len());
                status::of_unmaterialised(&mut text, &synced.unmaterialised, "  ", |_| {
                    "`peerbase status` has the remedy".to_owned()
                });
                text.truncate(text.trim_end().len());
            }
            text
        }
        Reply::Row(Row { key, row, .. }) => format!("{}\t{}", safe(key), json(row)),
        Reply::Fields(fields) => json(fields),
        Reply::Table { table, rows } => format!("{}\t{rows}", safe(table)),
        Reply::Change(change) => line_of_change(change),
        Reply::Revision(revision) => line_of_revision(revision),
        Reply::Written(done) => format!("{} written, {} unchanged", done.written, done.unchanged),
        Reply::Status { node, ended } => status::of(node, ended),
        Reply::Explanation(explanation) => status::of_explanation(explanation),
        Reply::Backup(backup) => status::of_backup(backup),
        Reply::Done(done) => of_done(done),
        Reply::Progress(progress) => of_progress(progress),
    }
}

/// Returns the notes that are printed beside a reply, on standard error.
pub(crate) fn notes(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Ticket { addresses, reachable, .. } => {
            let mut notes: Vec<String> =
                addresses.iter().map(|address| format!("address in the ticket: {address}")).collect();
            if addresses.is_empty() {
                notes.push(
                    "warning: the ticket has no address, because no node listens here; run `peerbase serve` \
                    first"
                        .to_owned(),
                );
            } else if !reachable {
                notes.push(
                    "warning: another machine cannot reach these addresses; listen on another one, or set \
                     `advertise` in config.toml"
                        .to_owned(),
                );
            }
            notes
        }
        Reply::RecoveryKey { words: Some(_), .. } => vec![
            "write these words on paper and lock them away: they are not stored and cannot be shown again. \
             `peerbase init --restore` makes a device from them"
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

fn of_done(done: &Done) -> String {
    match done {
        Done::RoleSet { name, user, role, damaged_left_out, .. } => {
            let name = safe(name);
            let done = match role {
                Role::None => format!("{user} is no longer a member of {name}"),
                role => format!("{user} is {} of {name}", of_role(*role)),
            };
            match damaged_left_out {
                0 => done,
                n => format!(
                    "{done}; {n} damaged documents were left out: all that they wrote to those is purged"
                ),
            }
        }
        Done::Transferred { name, to, .. } => {
            format!("{to} has your former role in {}; you are an admin of it", safe(name))
        }
        Done::Confirmed { user, role: Role::None, .. } => {
            format!("the removal of {user} can no longer be contested")
        }
        Done::Confirmed { user, role, .. } => {
            format!("the role of {user}, {}, can no longer be contested", of_role(*role))
        }
        Done::Reissued { op } => format!("re-issued as op {op}"),
        Done::InvitationClosed { invite } => format!("invitation {invite} is closed"),
        Done::DeviceRevoked { device } => format!(
            "device {device} is revoked for ever: every device that receives this serves it no longer. It \
             keeps the rows that it has"
        ),
        Done::Blocked { user } => format!(
            "{user} is blocked on all your devices; in groups that you share they stay members, and other \
             members still pass on what you both write"
        ),
        Done::Unblocked { user, was_blocked: true } => format!("{user} is no longer blocked"),
        Done::Unblocked { user, was_blocked: false } => format!("{user} was not blocked"),
        Done::Left { name, .. } => format!(
            "left {} on all your devices; other members still list you until an admin removes you, and the \
             rows stay on this disk",
            safe(name)
        ),
    }
}

pub(crate) fn of_progress(progress: &Progress) -> String {
    match progress {
        Progress::Dialling { addresses } if addresses.is_empty() => {
            "the ticket has no address; waiting for a link with an admin's device".to_owned()
        }
        Progress::Dialling { addresses } => format!("dialling {}", addresses.join(", ")),
        Progress::Receiving { group } => format!("joined {group}; receiving its rows"),
        Progress::Syncing { group } => format!("waiting for the devices of {group}"),
        Progress::Watching { table } => format!("watching {table:?}"),
        Progress::Copying { folder } => format!("copying into {}", folder.display()),
        Progress::Documents { read } => format!("{read} documents read"),
    }
}

/// Renders JSON in one line, with sorted names.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it was parsed from JSON")
}

/// Escapes control characters in text from elsewhere, so that it cannot control a terminal or break a line.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter.is_control() {
            true => escaped.extend(letter.escape_default()),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// The remedy for rows that a user made too dear, for a device with this role.
pub(crate) fn remedy_of_unmaterialised(user: UserId, group: GroupId, role: Role) -> String {
    if role < Role::Admin {
        return format!("ask an admin to remove user {user}");
    }
    let group = group.short();
    format!(
        "`peerbase group remove {user} --group {group} --without-unmaterialised` removes them and what \
         cannot be read here"
    )
}

fn of_role(role: Role) -> &'static str {
    match role {
        Role::None => "none",
        Role::Reader => "reader",
        Role::Writer => "writer",
        Role::Admin => "admin",
        Role::Owner => "owner",
        Role::Founder => "founder",
    }
}

fn of_state(state: GroupState) -> &'static str {
    match state {
        GroupState::Active => "active",
        GroupState::Pending => "pending",
        GroupState::Removed => "removed",
        GroupState::Failed => "failed",
        GroupState::Offered => "offered",
    }
}

fn line_of_group(group: &GroupInfo) -> String {
    let GroupInfo { id, name, state, role, offered_by } = group;
    let by = offered_by.map(|user| format!("\tby {user}")).unwrap_or_default();
    format!("{id}\t{}\t{}\t{}{by}", of_state(*state), of_role(*role), safe(name))
}

fn line_of_change(change: &Change) -> String {
    match change {
        Change::Put { key, row } => format!("{}\t{}", safe(key), json(row)),
        Change::Unreadable { key, error } => {
            format!("{}\tunreadable: {}", safe(key), safe(&error.one_line()))
        }
        Change::Removed { key } => format!("{}\tremoved", safe(key)),
        Change::Reset => "some changes were missed; all rows follow".to_owned(),
    }
}

fn line_of_revision(revision: &Revision) -> String {
    let Revision { author, device, time_ms, heads } = revision;
    let author = author.map_or("?".to_owned(), |author| author.short());
    let device = device.map_or("?".to_owned(), |device| device.short());
    let heads: Vec<String> = heads.iter().map(|head| head.short()).collect();
    format!("{}\tuser {author}\tdevice {device}\tchange {}", date(*time_ms), heads.join(" "))
}

fn date_of(time: Timestamp) -> String {
    date(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// Renders milliseconds since the Unix epoch as `2026-11-22T19:24:04Z`, by Howard Hinnant's
/// `civil_from_days`.
fn date(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    // The calendar repeats every 400 years.
    let (cycle, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(1_795_375_444_123), "2026-11-22T19:24:04Z");
        assert_eq!(date(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(date(-1), "1969-12-31T23:59:59Z");
        assert!(!date(i64::MIN).is_empty() && !date(i64::MAX).is_empty());
    }

    #[test]
    fn text_from_elsewhere_cannot_control_a_terminal() {
        assert_eq!(safe("Müller's \"ß\""), "Müller's \"ß\"");
        assert_eq!(safe("a\u{1b}[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
    }
}
