//! Every bug that was found, as a test that fails while it is there.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use peerbase::sim::Net;
use peerbase::{ErrorKind, GroupError, GroupState, RowChange, TableName};

use crate::support::{TASKS, group, home, task, tasks, titles};

/// `list` and `unreadable` showed removed rows: only `iter` left them out, and the tests asked `iter` alone.
/// What a page holds is now filtered by everyone who reads pages.
#[tokio::test(start_paused = true)]
async fn removed_rows_are_neither_listed_nor_unreadable() {
    const NUMBERS: TableName<u64> = TableName::new("tasks");
    let (_node, group) = home().await;
    group.table(TASKS).put("a", &task("basil")).await.unwrap();
    group.table(TASKS).remove("a").await.unwrap();

    assert_eq!(group.table(TASKS).list().unwrap(), []);
    assert!(group.table(NUMBERS).unreadable().unwrap().is_empty());
}

/// A commit whose second row was refused left the first in memory, to be served to peers and never stored, and forgot
/// that the author's number was never stored: later rows were unreadable after a restart. Memory is taken back now.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_half_way_leaves_nothing_in_memory() {
    let mut net = Net::seeded(1);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;

    let huge = task(&"x".repeat(5 << 20));
    tasks(&ada, home).insert_many(&[task("soap"), huge]).await.unwrap_err();
    net.settle().await;
    assert_eq!(group(&ben, home).status().await.unwrap().documents, 0);

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.crash(&ada).await;
    net.restart(&ada).await;
    net.settle().await;
    net.assert_converged();
    assert!(group(&ada, home).status().await.unwrap().quarantined.is_empty());
    assert_eq!(titles(&tasks(&ben, home)), ["basil"]);
    net.close().await;
}

/// Who read and wrote a row that others wrote too was sent back until it gave up: the writer that had just won was the
/// first to read again. Local writers of one row now take turns.
#[tokio::test(start_paused = true)]
async fn nobody_starves_at_a_row_that_many_write() {
    let (_node, group) = home().await;
    let tasks = group.table(TASKS);
    tasks.put("a", &task("")).await.unwrap();

    let writers = (0..100).map(|_| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.update("a", |task| task.title.push('x')).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }

    assert_eq!(tasks.get("a").unwrap().unwrap().title.len(), 100);
}

/// After a reset a reader that had lagged was given the older changes that were still queued: rows went back in time.
/// The queue is now left behind together with the reset.
#[tokio::test(start_paused = true)]
async fn nothing_older_follows_a_reset() {
    let (_node, group) = home().await;
    let tasks = group.table(TASKS);
    let mut watch = tasks.watch();
    for count in 0..600 {
        tasks.put("a", &task(&count.to_string())).await.unwrap();
    }
    assert!(matches!(watch.next().await, Some(RowChange::Reset(rows)) if rows[0].1 == task("599")));

    tasks.remove("a").await.unwrap();
    assert!(matches!(watch.next().await, Some(RowChange::Removed { .. })));
}

/// A watch held the sender of its own events through its table, so it never ended, and loops over it hung at the end.
/// A group that ends takes its sender away.
#[tokio::test(start_paused = true)]
async fn a_watch_does_not_keep_itself_waiting() {
    let (node, group) = home().await;
    let mut before = group.table(TASKS).watch();
    node.close().await;
    let mut after = group.table(TASKS).watch();

    let ends = async { (before.next().await.is_none(), after.next().await.is_none()) };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(1), ends).await, Ok((true, true)));
}

/// Ledgers were read back certificates first, and one of a member is refused while the op that admits them is not in:
/// no node of a group with another member opened again. Ops now come first, from the disk and from peers.
#[tokio::test(start_paused = true)]
async fn a_node_opens_again_after_others_joined() {
    let mut net = Net::seeded(2);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;

    for peer in [&ada, &ben] {
        net.crash(peer).await;
        net.restart(peer).await;
    }
    net.settle().await;

    net.assert_converged();
    assert_eq!(titles(&tasks(&ada, home)), ["basil"]);
    net.close().await;
}

/// One group in 256 could not be founded: its id began with NUL, and names of spaces that do are the store's own.
/// A group's space now has a name of its own, `g` and the id.
#[tokio::test(start_paused = true)]
async fn groups_can_be_founded_whatever_their_ids_begin_with() {
    let mut net = Net::seeded(10);
    let [ada] = net.nodes(["ada"]).await;
    let nul = loop {
        let home = ada.node().create_group("home").await.unwrap();
        home.table(TASKS).put("a", &task("basil")).await.unwrap();
        if home.id().0[0] == 0 {
            break home.id();
        }
    };

    net.crash(&ada).await;
    net.restart(&ada).await;

    assert_eq!(titles(&tasks(&ada, nul)), ["basil"]);
    net.close().await;
}

/// A peer that announced a group before it was known as a member was forgotten when the next op came in, and had no
/// reason to announce it again. What peers announced now stays until they announce it anew.
#[test]
fn whoever_is_admitted_last_is_spoken_to_by_everybody() {
    for seed in 0..30 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
            let mut net = Net::seeded(seed).latency_ms(1..120).loss(0.03);
            let [ada, ben, cid, dan, eve] = net.nodes(["ada", "ben", "cid", "dan", "eve"]).await;
            net.group("home", &[&ada, &ben, &cid, &dan, &eve]).await;
            net.assert_converged();
        });
    }
}

/// `remove` never read the document: where its changes were damaged, it wrote a first change over a history of many,
/// under a number that peers had seen before. Every commit now finds the damage first, and who gets a document back
/// from a peer goes on under a new incarnation.
#[tokio::test(start_paused = true)]
async fn a_damaged_history_is_not_written_over() {
    let mut net = Net::seeded(4);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    for step in 0..30 {
        tasks(&ada, home).put("a", &task(&format!("step {step}"))).await.unwrap();
    }
    net.settle().await;
    net.partition(&[&[&ada], &[&ben]]);
    net.crash(&ada).await;
    let document = schema::DocumentId::of(home, "tasks", "a");
    let run = [b"c", &document.0[..], &0_u32.to_be_bytes()].concat();
    assert!(ada.disk().damage(&[b"g", &home.0[..]].concat(), &run));
    net.restart(&ada).await;

    let refused = tasks(&ada, home).remove("a").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused:?}");
    net.heal();
    net.settle().await;
    tasks(&ada, home).update("a", |task| task.done = true).await.unwrap();
    net.settle().await;

    net.assert_converged();
    assert!(tasks(&ben, home).get("a").unwrap().unwrap().done);
    assert!(group(&ben, home).status().await.unwrap().refusals.is_empty());
    assert_eq!(tasks(&ben, home).history("a").await.unwrap().len(), 31);
    net.close().await;
}

/// One damaged op in one group's ledger kept the whole node from opening. The group is now shown as failed, and the
/// others go on.
#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_fails_its_group_alone() {
    let mut net = Net::seeded(5);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    let work = net.group("work", &[&ada]).await;
    tasks(&ada, work).put("a", &task("report")).await.unwrap();

    net.crash(&ada).await;
    assert!(ada.disk().damage(&[b"g", &home.0[..]].concat(), &[b"o", &0_u64.to_be_bytes()[..]].concat()));
    net.restart(&ada).await;

    assert_eq!(titles(&tasks(&ada, work)), ["report"]);
    assert!(matches!(ada.node().group(home), Err(GroupError::Failed(id)) if id == home));
    let failed: Vec<_> = ada.node().groups().into_iter().filter(|g| g.state == GroupState::Failed).collect();
    assert_eq!(failed.iter().map(|info| info.id).collect::<Vec<_>>(), [home]);
    net.close().await;
}

/// One damaged certificate, revocation or device record kept its whole group out of service, and the node from opening
/// where it was in the personal group, as one damaged op there did. What stands beside the ops is done without until a
/// peer brings it, and of the personal group's ops those before the damage are enough.
#[tokio::test(start_paused = true)]
async fn what_is_damaged_beside_the_ops_is_done_without_until_a_peer_brings_it() {
    let mut net = Net::seeded(6);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let [phone, lost] = [net.device_of(&ada, "phone").await, net.device_of(&ada, "lost").await];
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    let device = lost.node().device_id();
    ada.node().revoke_device(device).await.unwrap();
    net.crash(&lost).await;
    net.settle().await;
    let personal = ada.node().personal().unwrap().id();
    let is_out = async || {
        let known = ada.node().devices().await.unwrap();
        (known.len(), known.iter().any(|known| known.id == device && known.is_revoked))
    };
    assert_eq!(is_out().await, (3, true));

    let damages: [(_, &[&[u8]]); 4] =
        [(home, &[b"p", b"v", b"w"]), (personal, &[b"p", b"v", b"w"]), (personal, &[b"o"]), (home, &[b"p"])];
    for (group, tags) in damages {
        net.partition(&[&[&ada], &[&ben, &phone]]);
        net.crash(&ada).await;
        let space = [b"g", &group.0[..]].concat();
        let damaged: usize = tags.iter().map(|tag| ada.disk().damage_all(&space, tag)).sum();
        assert!(damaged > 0);
        net.restart(&ada).await;
        let known = ada.node().devices().await.unwrap();
        assert!(known.iter().all(|known| known.id != device || known.is_revoked), "{tags:?} of {group:?}");
        tasks(&ada, home).put("a", &task(&format!("basil, {damaged}"))).await.unwrap();
        net.heal();
        net.settle().await;
        net.assert_converged();
        assert_eq!(is_out().await, (3, true), "{tags:?} of {group:?}");
    }
    // What was brought is stored.
    net.crash(&ben).await;
    net.crash(&phone).await;
    net.crash(&ada).await;
    net.restart(&ada).await;
    assert_eq!(is_out().await, (3, true));
    net.close().await;
}
