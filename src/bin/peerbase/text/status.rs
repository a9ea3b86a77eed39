//! Whole nodes and single rows, explained to people.

use std::fmt::Write;

use peerbase::control::reply::{
    Backup, DeclinedLine, EndedLine, Explanation, GroupStatus, KeptLine, LinkLine, PeerLine, RejudgingLine,
    Status,
};

use super::{line_of_revision, safe, time};

/// Ends of links that are shown; `--json` has them all.
const ENDED_MAX: usize = 5;
/// Damages and refusals of a group that are shown.
const TROUBLES_MAX: usize = 10;

pub(super) fn of(status: &Status) -> String {
    let Status { user, device, name, listening, dialled, links, ended, recovery, blocked, groups } = status;
    let mut text = format!("device    {device}");
    if !name.is_empty() {
        let _ = write!(text, " {}", safe(name));
    }
    let _ = writeln!(text, "\nuser      {user}");
    let _ = writeln!(text, "listening {}", list(listening, "nowhere"));
    let _ = writeln!(text, "dialled   {}", list(dialled, "nobody"));
    let recovery =
        recovery.map_or("none; `peerbase recovery make` makes one".to_owned(), |user| user.to_string());
    let _ = writeln!(text, "recovery  {recovery}");
    for user in blocked {
        let _ = writeln!(text, "blocked   user {user}");
    }
    for LinkLine { device, user, address, latency_ms, since_ms } in links {
        let way = address.as_ref().map_or("it dialled".to_owned(), |address| safe(address).into_owned());
        let latency = latency_ms.map_or(String::new(), |ms| format!(", {ms} ms"));
        let since = time(i64::try_from(*since_ms).unwrap_or(i64::MAX));
        let _ = writeln!(
            text,
            "link      {} of user {}, {way}, since {since}{latency}",
            device.short(),
            user.short()
        );
    }
    for EndedLine { at_ms, address, device, why } in ended.iter().skip(ended.len().saturating_sub(ENDED_MAX))
    {
        let who = device.map_or(String::new(), |device| format!(" ({})", device.short()));
        let at = time(i64::try_from(*at_ms).unwrap_or(i64::MAX));
        let _ = writeln!(text, "ended     {}{who} at {at}: {}", safe(address), safe(why));
    }
    for group in groups {
        of_group(&mut text, group);
    }
    text.truncate(text.trim_end().len());
    text
}

fn of_group(text: &mut String, state: &GroupStatus) {
    let GroupStatus {
        group,
        members,
        recovery,
        declined,
        rows,
        peers,
        silent,
        damaged,
        refused,
        rejudging,
        kept,
    } = state;
    if let Some(by) = group.offered_by {
        let (id, name, role) = (group.id, safe(&group.name), &group.role);
        let _ = writeln!(
            text,
            "offered   {id} {name}: {role}, by user {by}; `peerbase group request ID` accepts"
        );
        return;
    }
    let rows = rows.map_or("no answer".to_owned(), |rows| format!("rows {rows}"));
    let (id, name) = (group.id.short(), safe(&group.name));
    let _ =
        writeln!(text, "group     {id} {name}: {}, {}, members {members}, {rows}", group.state, group.role);
    if let Some(DeclinedLine { at_ms, why }) = declined {
        let at = time(i64::try_from(*at_ms).unwrap_or(i64::MAX));
        let _ = writeln!(text, "  declined {why}, at {at}: a new ticket or an admin lets you in");
    }
    if group.state == "active" && recovery.is_none() {
        let _ = writeln!(
            text,
            "  founded without a recovery key: stolen keys of its founder cannot be overruled"
        );
    }
    for peer in peers {
        let _ = writeln!(text, "  with    {}", of_peer(peer));
    }
    if !silent.is_empty() {
        let silent = silent.iter().map(|device| device.short()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "  silent  {silent}: met, and do not speak of this group");
        if peers.is_empty() {
            let _ = writeln!(
                text,
                "          you may be out of it; an admin's `peerbase group add` lets you in again"
            );
        }
    }
    if let Some(RejudgingLine { documents, changed }) = rejudging {
        let _ =
            writeln!(text, "  anew    {documents} documents judged by the members of now, {changed} changed");
    }
    if let Some(kept) = kept {
        let _ = writeln!(text, "  aside   {} of documents {}", of_kept(kept), kept.documents);
    }
    for line in damaged.iter().take(TROUBLES_MAX) {
        let _ = writeln!(text, "  damaged {}: {}", line.document, safe(&line.why));
    }
    for line in refused.iter().rev().take(TROUBLES_MAX) {
        let _ = writeln!(text, "  refused {}: {}", line.document, safe(&line.why));
    }
    if let Some(more) = refused.len().checked_sub(TROUBLES_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "  refused {more} more, the oldest; `--json` shows all that is remembered");
    }
}

/// What is not accepted any more, and may be again.
fn of_kept(KeptLine { changes, bytes, since_ms, .. }: &KeptLine) -> String {
    let since = time(i64::try_from(*since_ms).unwrap_or(i64::MAX));
    format!("changes {changes}, bytes {bytes}, since {since}")
}

fn of_peer(peer: &PeerLine) -> String {
    format!("{}: {}", peer.device.short(), if peer.synced { "in sync" } else { "behind" })
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { safe(&items.join(", ")).into_owned() }
}

pub(super) fn of_explanation(explanation: &Explanation) -> String {
    let Explanation { table, key, document, row, too_deep, group, .. } = explanation;
    let mut text = format!("row       {} of {}: {row}\n", safe(key), safe(table));
    let _ = writeln!(text, "document  {document}");
    let _ = writeln!(
        text,
        "group     {} {}: {}, {}",
        group.id.short(),
        safe(&group.name),
        group.state,
        group.role
    );
    let _ = writeln!(text, "changes   {}", explanation.revisions);
    if let Some(last) = &explanation.last {
        let _ = writeln!(text, "last      {}", line_of_revision(last));
    }
    let heads: Vec<String> = explanation.heads.iter().map(|head| head.short()).collect();
    let _ = writeln!(text, "heads     {}", list(&heads, "none"));
    if *too_deep {
        let _ = writeln!(text, "too deep  something in it is nested too deeply to be read");
    }
    if let Some(why) = &explanation.quarantined {
        let _ = writeln!(text, "set aside {}; the next device that has it hands it back", safe(why));
    }
    if let Some(kept) = &explanation.kept {
        let _ = writeln!(text, "aside     {}: accepted once, and kept for a while", of_kept(kept));
    }
    for why in &explanation.refused {
        let _ = writeln!(text, "refused   {}", safe(why));
    }
    for peer in &explanation.peers {
        let _ = writeln!(text, "with      {}", of_peer(peer));
    }
    if explanation.peers.is_empty() {
        let _ = writeln!(text, "with      nobody is connected");
    }
    text.truncate(text.trim_end().len());
    text
}

pub(super) fn of_backup(backup: &Backup) -> String {
    let Backup { groups, rows, bytes, damaged } = backup;
    let damaged = if *damaged == 0 { String::new() } else { format!(", {damaged} damaged entries") };
    format!("groups {groups}, rows {rows}, bytes {bytes}{damaged}")
}
