//! Replies as people read them.

mod people;
mod status;

use std::borrow::Cow;

use peerbase::control::Reply;
use peerbase::control::reply::{ChangeLine, GroupLine, RevisionLine, RowLine};

/// A reply as a line, or as a few.
pub(crate) fn of(reply: &Reply) -> String {
    match reply {
        Reply::Identity(identity) => format!("user   {}\ndevice {}", identity.user, identity.device),
        Reply::Group(group) => line_of_group(group),
        Reply::Member(member) => people::of_member(member),
        Reply::Device(device) => people::of_device(device),
        Reply::Recovery(recovery) => people::of_recovery(recovery),
        Reply::MemberOp(op) => people::of_op(op),
        Reply::Invite(invite) => people::of_invite(invite),
        Reply::Invitation(invitation) => invitation.ticket.text().to_owned(),
        Reply::Connected(connected) => {
            format!("connected with {} at {}", connected.device, safe(&connected.address))
        }
        Reply::Synced(synced) => {
            let devices: Vec<String> = synced.with.iter().map(ToString::to_string).collect();
            format!("in sync with {}", devices.join(", "))
        }
        Reply::Row(RowLine { key, row, .. }) => format!("{}\t{}", safe(key), json(row)),
        Reply::Table(table) => format!("{}\t{}", safe(&table.table), table.rows),
        Reply::Change(change) => line_of_change(change),
        Reply::Revision(revision) => line_of_revision(revision),
        Reply::Written(written) => format!("{} written, {} unchanged", written.written, written.unchanged),
        Reply::Status(status) => status::of(status),
        Reply::Explanation(explanation) => status::of_explanation(explanation),
        Reply::Backup(backup) => status::of_backup(backup),
        Reply::Done(done) => safe(&done.done).into_owned(),
        Reply::Progress(what) => safe(what).into_owned(),
        Reply::GoneThrough(documents) => format!("{documents} documents gone through"),
    }
}

/// JSON in one line, the names in order.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("what came as JSON goes as JSON")
}

/// Text from elsewhere, made harmless: no control character reaches a terminal or breaks a line in two.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let escaped = text.chars().flat_map(|letter| {
            let harmless = (!letter.is_control()).then_some(letter);
            harmless
                .into_iter()
                .chain((letter.is_control()).then(|| letter.escape_default()).into_iter().flatten())
        });
        Cow::Owned(escaped.collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn line_of_group(group: &GroupLine) -> String {
    let GroupLine { id, name, state, role, offered_by } = group;
    let by = offered_by.map(|user| format!("\tby {user}")).unwrap_or_default();
    format!("{id}\t{state}\t{role}\t{}{by}", safe(name))
}

fn line_of_change(change: &ChangeLine) -> String {
    match change {
        ChangeLine::Put { key, row } => format!("{}\t{}", safe(key), json(row)),
        ChangeLine::Unreadable { key, why } => format!("{}\tunreadable: {}", safe(key), safe(why)),
        ChangeLine::Removed { key } => format!("{}\tremoved", safe(key)),
        ChangeLine::Reset => "some changes were missed; all rows follow".to_owned(),
    }
}

fn line_of_revision(revision: &RevisionLine) -> String {
    let RevisionLine { author, device, time_ms, heads } = revision;
    let author = author.map_or("?".to_owned(), |author| author.short());
    let device = device.map_or("?".to_owned(), |device| device.short());
    let heads: Vec<String> = heads.iter().map(|head| head.short()).collect();
    format!("{}\tuser {author}\tdevice {device}\tchange {}", time(*time_ms), heads.join(" "))
}

/// Milliseconds since the Unix epoch as `2026-11-22T19:24:04Z` (the algorithm is Howard Hinnant's `civil_from_days`).
fn time(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_375_444_123), "2026-11-22T19:24:04Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59Z");
        assert!(!time(i64::MIN).is_empty() && !time(i64::MAX).is_empty());
    }

    #[test]
    fn text_from_elsewhere_commands_no_terminal() {
        assert_eq!(safe("Müller's \"ß\""), "Müller's \"ß\"");
        assert_eq!(safe("a\u{1b}[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
    }
}
