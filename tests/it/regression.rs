//! Bugs of the past: each comment tells the cause and the cure, each test fails if the bug returns.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use peerbase::sim::Net;
use peerbase::{ErrorKind, GroupError, GroupState, RowChange, TableName};

use crate::support::{TASKS, group, home, task, tasks, titles};

/// `list` and `unreadable` returned removed rows: only `iter` filtered them, and the tests used `iter` alone.
/// Every reader of a page now filters tombstones.
#[tokio::test(start_paused = true)]
async fn list_and_unreadable_omit_removed_rows() {
    const NUMBERS: TableName<u64> = TableName::new("tasks");
    let (_node, group) = home().await;
    group.table(TASKS).put("a", &task("basil")).await.unwrap();
    group.table(TASKS).remove("a").await.unwrap();

    assert_eq!(group.table(TASKS).list().unwrap(), []);
    assert!(group.table(NUMBERS).unreadable().unwrap().is_empty());
}

/// A commit whose second row was refused left the first in memory: it was served to peers but never stored,
/// and the author's number was used without being stored, so later rows were unreadable after a restart. A
/// refused commit is now undone in memory.
#[tokio::test(start_paused = true)]
async fn a_commit_refused_at_its_second_row_leaves_nothing_in_memory() {
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

/// With optimistic retries alone, a writer of a contended row lost every race until it gave up: the last
/// winner was the first to read again. Local writers of one row now queue for its row lock.
#[tokio::test(start_paused = true)]
async fn no_local_writer_starves_on_a_contended_row() {
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

/// After a reset, a lagging watch still received the older changes in its queue, so rows went back in time. A
/// reset now discards the queue.
#[tokio::test(start_paused = true)]
async fn a_lagging_watch_gets_no_older_change_after_a_reset() {
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

/// A watch held the sender of its own events through its table, so it never ended and loops over it hung. A
/// group that closes now drops the sender.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_group_ends() {
    let (node, group) = home().await;
    let mut before = group.table(TASKS).watch();
    node.close().await;
    let mut after = group.table(TASKS).watch();

    let ends = async { (before.next().await.is_none(), after.next().await.is_none()) };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(1), ends).await, Ok((true, true)));
}

/// Ledgers were loaded certificates first, and a certificate is refused before the op that admits its user:
/// no node of a group with a second member reopened. Ops now come first, from the disk and from peers.
#[tokio::test(start_paused = true)]
async fn a_node_reopens_after_another_member_joined() {
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

/// One group in 256 could not be created: its id began with NUL, a prefix that the store reserves for its own
/// spaces. A group's space is now named `g` and the id.
#[tokio::test(start_paused = true)]
async fn a_group_can_be_created_whatever_byte_its_id_begins_with() {
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

/// A peer that announced a group before its admission was known was forgotten at the next op, and had no
/// reason to announce again. An announcement now holds until the peer replaces it.
#[test]
fn a_member_admitted_after_announcing_syncs_with_every_peer() {
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

/// `remove` did not read the document: over damaged changes it wrote a new first change, under a number that
/// peers had seen before. Every commit now detects the damage first, and a document healed by a peer
/// continues under a new incarnation.
#[tokio::test(start_paused = true)]
async fn a_write_to_a_document_with_a_damaged_history_is_refused() {
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

/// One damaged op in one group's ledger kept the whole node from opening. Now that group is shown as failed
/// and the others work.
#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_takes_only_its_own_group_out_of_service() {
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

/// One damaged certificate, revocation or device record put its group out of service; in the personal group
/// it kept the node from opening, and so did a damaged op there. Damaged records are now skipped until a peer
/// sends them, and the personal group opens with the ops before the damage.
#[tokio::test(start_paused = true)]
async fn a_damaged_certificate_or_device_record_is_skipped_until_a_peer_sends_it() {
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
    let revocation_is_known = async || {
        let known = ada.node().devices().await.unwrap();
        (known.len(), known.iter().any(|known| known.id == device && known.is_revoked))
    };
    assert_eq!(revocation_is_known().await, (3, true));

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
        assert_eq!(revocation_is_known().await, (3, true), "{tags:?} of {group:?}");
    }
    // The healed records are stored.
    net.crash(&ben).await;
    net.crash(&phone).await;
    net.crash(&ada).await;
    net.restart(&ada).await;
    assert_eq!(revocation_is_known().await, (3, true));
    net.close().await;
}
