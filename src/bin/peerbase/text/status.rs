//! The state of a node and of a row as text.

use std::error::Error;
use std::fmt::Write;

use peerbase::control::reply::Ended;
use peerbase::group::{Explanation, Flood, GroupStatus, PeerStatus, Refusal, RowState, Unmaterialised};
use peerbase::node::{Backup, GroupReport, LinkStatus, NodeStatus, StuckActor};
use peerbase::{DocumentId, GroupInfo, GroupState, UserId};

use super::{date_of, line_of_revision, of_role, of_state, remedy_of_unmaterialised, safe};

/// Ended links that are shown; `--json` has them all.
const ENDED_MAX: usize = 5;
/// Damaged documents, and refusals, of a group that are shown.
const PROBLEMS_MAX: usize = 10;

pub(super) fn of(status: &NodeStatus, ended: &[Ended]) -> String {
    let mut text = format!("device    {}", status.device);
    if !status.label.is_empty() {
        let _ = write!(text, " {}", safe(&status.label));
    }
    let _ = writeln!(text, "\nuser      {}", status.user);
    let _ = writeln!(text, "listening {}", list(&status.listening, "nowhere"));
    let _ = writeln!(text, "dialled   {}", list(&status.dialled, "no address"));
    let recovery = match status.recovery {
        Some(user) => user.to_string(),
        None => "none; `peerbase recovery make` makes one".to_owned(),
    };
    let _ = writeln!(text, "recovery  {recovery}");
    for user in &status.blocked {
        let _ = writeln!(text, "blocked   user {user}");
    }
    for stuck in &status.stuck {
        let _ = writeln!(text, "stuck     {}", of_stuck(stuck));
    }
    for LinkStatus { device, user, address, latency, since } in &status.links {
        let (device, user, since) = (device.short(), user.short(), date_of(*since));
        let from = address.as_ref().map_or("it dialled".into(), |address| safe(address));
        let latency = latency.map_or(String::new(), |time| format!(", {} ms", time.as_millis()));
        let _ = writeln!(text, "link      {device} of user {user}, {from}, since {since}{latency}");
    }
    for Ended { at_ms, address, device, causes, .. } in &ended[ended.len().saturating_sub(ENDED_MAX)..] {
        let device = device.map_or(String::new(), |device| format!(" ({})", device.short()));
        let (at, address, causes) = (date_of(*at_ms), safe(address), causes.join(": "));
        let _ = writeln!(text, "ended     {address}{device} at {at}: {}", safe(&causes));
    }
    for group in &status.groups {
        of_group(&mut text, group);
    }
    text.truncate(text.trim_end().len());
    text
}

fn of_group(text: &mut String, report: &GroupReport) {
    let GroupReport { info, members, recovery, declined, peers, silent, floods, status } = report;
    let (id, name, role) = (info.id, safe(&info.name), of_role(info.role));
    if let Some(by) = info.offered_by {
        let _ = writeln!(
            text,
            "offered   {id} {name}: {role}, by user {by}; `peerbase group request ID` accepts it"
        );
        return;
    }
    let rows = status.as_ref().map_or("no answer".to_owned(), |status| format!("rows {}", status.documents));
    let (id, state) = (id.short(), of_state(info.state));
    let _ = writeln!(text, "group     {id} {name}: {state}, {role}, members {members}, {rows}");
    if let Some(declined) = declined {
        let (reason, at) = (declined.reason, date_of(declined.at));
        let _ = writeln!(
            text,
            "  declined {reason}, at {at}: ask an admin for a new ticket, or to admit you by id"
        );
    }
    if info.state == GroupState::Active && recovery.is_none() {
        let _ = writeln!(
            text,
            "  founded without a recovery key: stolen keys of its founder cannot be overruled"
        );
    }
    for peer in peers {
        let _ = writeln!(text, "  with    {}", of_peer(peer));
    }
    if !silent.is_empty() {
        let devices = silent.iter().map(|silent| silent.device.short()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "  silent  {devices}: connected, and do not announce this group");
        if peers.is_empty() {
            let _ = writeln!(
                text,
                "          you may have been removed; an admin can admit you again with `peerbase group add`"
            );
        }
    }
    for Flood { user, records } in floods {
        let _ = writeln!(
            text,
            "  flood   user {user} signed {records} records within an hour; \
             `peerbase group remove {user} --group {id}` removes them"
        );
    }
    if let Some(status) = status {
        of_documents(text, info, status);
    }
}

fn of_documents(text: &mut String, info: &GroupInfo, status: &GroupStatus) {
    if let Some(rejudged) = status.rejudging {
        let (documents, changed) = (rejudged.documents, rejudged.changed);
        let _ = writeln!(
            text,
            "  re-judging, as the roster changed: {documents} documents read, {changed} changed"
        );
    }
    if let Some(since) = status.set_aside.since {
        let kept = status.set_aside;
        let (changes, bytes, documents, since) = (kept.changes, kept.bytes, kept.documents, date_of(since));
        let _ = writeln!(
            text,
            "  set aside: {changes} changes of {documents} documents, {bytes} bytes, since {since}"
        );
    }
    if status.materialising > 0 {
        let _ = writeln!(text, "  {} rows are being read; their changes are here", status.materialising);
    }
    of_unmaterialised(text, &status.unmaterialised, "  not materialised ", |user| {
        remedy_of_unmaterialised(user, info.id, info.role)
    });
    for (document, damage) in status.quarantined.iter().take(PROBLEMS_MAX) {
        let _ = writeln!(text, "  damaged {document}: {}", safe(damage));
    }
    let refused_here = status.refusals.iter().map(|(document, why)| (document, whole(why)));
    let by_peers = status.refused_by_peers.iter().map(|(document, why)| (document, by_a_peer(why)));
    let refused: Vec<(&DocumentId, String)> = by_peers.chain(refused_here).collect();
    for (document, why) in refused.iter().rev().take(PROBLEMS_MAX) {
        let _ = writeln!(text, "  refused {document}: {}", safe(why));
    }
    if let Some(more) = refused.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "  refused {more} more, the oldest; `--json` shows them too");
    }
}

/// Lists rows that are not materialised, each with what `remedy` says of the user who made it so.
pub(super) fn of_unmaterialised(
    text: &mut String,
    rows: &[Unmaterialised],
    before: &str,
    remedy: impl Fn(UserId) -> String,
) {
    for Unmaterialised { table, key, why, user, device } in rows.iter().take(PROBLEMS_MAX) {
        let _ = write!(text, "{before}{}/{}: {}", safe(table), safe(key), safe(&why.to_string()));
        if let (Some(user), Some(device)) = (user, device) {
            let remedy = remedy(*user);
            let _ = write!(text, "; mostly by device {} of user {user}; {remedy}", device.short());
        }
        text.push('\n');
    }
    if let Some(more) = rows.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "{before}{more} more; `--json` shows them too");
    }
}

fn of_stuck(stuck: &StuckActor) -> String {
    let StuckActor { actor, group, device, doing, lasted } = stuck;
    let of_group = if actor == "group" { "" } else { "of group " };
    let group = group.map_or(String::new(), |group| format!(" {of_group}{}", group.short()));
    let device = device.map_or(String::new(), |device| format!(" to device {}", device.short()));
    format!("{}{group}{device}: {}, for {} s", safe(actor), safe(doing), lasted.as_secs())
}

fn of_peer(peer: &PeerStatus) -> String {
    format!("{}: {}", peer.device.short(), if peer.synced { "in sync" } else { "behind" })
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { safe(&items.join(", ")).into_owned() }
}

pub(super) fn of_explanation(explanation: &Explanation) -> String {
    let Explanation { table, key, document, row, too_deep, group, .. } = explanation;
    let row = match row {
        RowState::Present => "present",
        RowState::Removed => "removed",
        RowState::Absent => "absent",
        RowState::Damaged => "damaged",
        _ => "unknown",
    };
    let mut text = format!("row       {} of {}: {row}\n", safe(key), safe(table));
    let _ = writeln!(text, "document  {document}");
    let (id, name, state, role) =
        (group.id.short(), safe(&group.name), of_state(group.state), of_role(group.role));
    let _ = writeln!(text, "group     {id} {name}: {state}, {role}");
    let _ = writeln!(text, "changes   {}", explanation.revisions);
    if let Some(last) = &explanation.last {
        let _ = writeln!(text, "last      {}", line_of_revision(last));
    }
    let heads: Vec<String> = explanation.heads.iter().map(|head| head.short()).collect();
    let _ = writeln!(text, "heads     {}", list(&heads, "none"));
    if *too_deep {
        let _ = writeln!(text, "too deep  a value is nested too deeply to be read");
    }
    if let Some(damage) = &explanation.quarantined {
        let _ = writeln!(text, "damaged   {}; the next peer that has the row repairs it", safe(damage));
    }
    if let Some(kept) = &explanation.set_aside {
        let (changes, bytes, since) = (kept.changes, kept.bytes, date_of(kept.since()));
        let _ = writeln!(
            text,
            "set aside {changes} changes, {bytes} bytes, since {since}; deleted after 30 days"
        );
    }
    for why in &explanation.refused_by_peers {
        let _ = writeln!(text, "refused   {}", safe(&by_a_peer(why)));
    }
    for why in &explanation.refusals {
        let _ = writeln!(text, "refused   {}", safe(&whole(why)));
    }
    for peer in &explanation.peers {
        let _ = writeln!(text, "with      {}", of_peer(peer));
    }
    if explanation.peers.is_empty() {
        let _ = writeln!(text, "with      no device is connected");
    }
    text.truncate(text.trim_end().len());
    text
}

pub(super) fn of_backup(backup: &Backup) -> String {
    let Backup { groups, rows, bytes, damaged } = backup;
    let damaged = if *damaged == 0 { String::new() } else { format!(", {damaged} damaged entries") };
    format!("groups {groups}, rows {rows}, bytes {bytes}{damaged}")
}

fn by_a_peer(refusal: &Refusal) -> String {
    format!("by a peer: {}", whole(refusal))
}

/// Renders an error and its causes in one line.
fn whole(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerbase::group::UnmaterialisedReason;
    use peerbase::{DeviceId, GroupId, Node, Role};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stuck_actor_is_a_line_with_what_it_is_doing_and_for_how_long() {
        let node = Node::in_memory().await.unwrap();
        let mut status = node.status().await.unwrap();
        assert!(!of(&status, &[]).contains("stuck"));
        let (group, device) = (GroupId([7; 32]), DeviceId([9; 32]));
        let stuck = |actor: &str, group, device, doing: &str| {
            let (actor, doing, lasted) = (actor.to_owned(), doing.to_owned(), Duration::from_millis(7_900));
            StuckActor { actor, group, device, doing, lasted }
        };
        status.stuck = vec![
            stuck("store", None, None, "write and flush"),
            stuck("group", Some(group), None, "write rows"),
            stuck("worker", Some(group), None, "load document ab12"),
            stuck("connection", None, Some(device), "pass on a frame"),
        ];

        let text = of(&status, &[]);

        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("stuck")).collect();
        let (group, device) = (group.short(), device.short());
        let expected = [
            "stuck     store: write and flush, for 7 s".to_owned(),
            format!("stuck     group {group}: write rows, for 7 s"),
            format!("stuck     worker of group {group}: load document ab12, for 7 s"),
            format!("stuck     connection to device {device}: pass on a frame, for 7 s"),
        ];
        assert_eq!(lines, expected);
        node.close().await;
    }

    #[test]
    fn a_row_that_is_not_materialised_names_its_user_and_the_command_for_admins() {
        let why = UnmaterialisedReason::TooDear { bytes: 9, max: 8 };
        let (user, device) = (UserId([3; 32]), DeviceId([9; 32]));
        let (table, key) = ("tasks".to_owned(), "rope".to_owned());
        let row = Unmaterialised { table, key, why, user: Some(user), device: Some(device) };
        let group = GroupId([7; 32]);
        let text_for = |role| {
            let mut text = String::new();
            of_unmaterialised(&mut text, std::slice::from_ref(&row), "", |user| {
                remedy_of_unmaterialised(user, group, role)
            });
            text
        };

        let command =
            format!("`peerbase group remove {user} --group {} --without-unmaterialised`", group.short());
        assert!(text_for(Role::Admin).contains(&command), "{}", text_for(Role::Admin));
        let other = text_for(Role::Writer);
        assert!(!other.contains("peerbase") && other.contains("ask an admin"), "{other}");
        assert!(other.contains(&user.to_string()), "{other}");
    }
}
