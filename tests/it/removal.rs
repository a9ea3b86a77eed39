//! The view of a removal for users: its progress, the changes it set aside and why, and how long these are
//! kept.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peerbase::control::advice::Advice;
use peerbase::control::reply::{Done, Progress};
use peerbase::control::request::{GroupRequest, InGroup, RoleOptions};
use peerbase::control::{self, Failure, FailureKind, Reply, Request};
use peerbase::group::{Refusal, RowState};
use peerbase::sim::{Net, Peer, faults};
use peerbase::{DocumentId, ErrorKind, Event, GroupId, Node, Role, SyncError, UserId};
use tokio::sync::mpsc;

use crate::support::{group, task, tasks};

/// Ada, ben and cid share a row of cid's; then ada is partitioned from the other two.
async fn partitioned(seed: u64) -> (Net, [Peer; 3], GroupId) {
    let mut net = Net::seeded(seed).latency_ms(5..20);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    tasks(&cid, home).put("basil", &task("water it")).await.unwrap();
    net.settle().await;
    net.partition(&[&[&ada], &[&ben, &cid]]);
    (net, [ada, ben, cid], home)
}

fn set_role(user: impl ToString, role: Role, without_damaged: bool) -> Request {
    let options = RoleOptions { without_damaged, ..RoleOptions::default() };
    Request::Group(GroupRequest::Role { user: user.to_string(), role, group: InGroup::default(), options })
}

/// Carries out a request that sets a role, as the control socket does; returns the role that the user has
/// then and the number of damaged documents left out.
async fn execute(node: &Node, request: Request) -> Result<(Role, u64), Failure> {
    let (sender, mut replies) = mpsc::channel(64);
    control::execute(node, request, sender).await?;
    let last = std::iter::from_fn(|| replies.try_recv().ok()).last();
    let Some(Reply::Done(Done::RoleSet { role, damaged_left_out, .. })) = last else { panic!("{last:?}") };
    Ok((role, damaged_left_out))
}

#[tokio::test(start_paused = true)]
async fn explain_and_status_show_what_a_removal_set_aside() {
    let (mut net, [ada, ben, cid], home) = partitioned(1).await;
    tasks(&cid, home).put("basil", &task("let it dry")).await.unwrap();
    tasks(&cid, home).put("rope", &task("too late")).await.unwrap();
    net.settle().await;
    let (mut events, device) = (ben.node().events(), cid.node().device_id());
    group(&ada, home).remove_member(cid.node().user_id()).await.unwrap();
    net.crash(&cid).await;
    net.heal();
    net.settle().await;

    let stays = group(&ben, home).explain("tasks", "basil").await.unwrap();
    let gone = group(&ben, home).explain("tasks", "rope").await.unwrap();
    let status = ben.node().status().await.unwrap();

    assert_eq!((stays.row, stays.revisions, gone.row), (RowState::Present, 1, RowState::Absent));
    let beyond = |refusal: &Refusal, stay, number| {
        matches!(refusal, Refusal::BeyondCut { author, seq, got, .. }
            if author.device == device && (*seq, *got) == (stay, number))
    };
    assert!(stays.refusals.iter().any(|refusal| beyond(refusal, 1, 2)), "{:?}", stays.refusals);
    assert!(gone.refusals.iter().any(|refusal| beyond(refusal, 0, 1)), "{:?}", gone.refusals);
    let (of_stays, of_gone) = (stays.set_aside.unwrap(), gone.set_aside.unwrap());
    assert_eq!((of_stays.changes, of_gone.changes), (1, 1));
    let shown = status.groups[0].status.as_ref().unwrap();
    let kept = shown.set_aside;
    assert_eq!((kept.documents, kept.changes, kept.bytes), (2, 2, of_stays.bytes + of_gone.bytes));
    assert_eq!((kept.since, shown.rejudging), (Some(of_stays.since().min(of_gone.since())), None));
    let judged = std::iter::from_fn(|| events.try_recv().ok()).filter_map(|event| match event {
        Event::Rejudged { group, rejudged } if group == home => Some((rejudged.documents, rejudged.changed)),
        _ => None,
    });
    assert_eq!(
        judged.collect::<Vec<_>>(),
        [(2, 2)],
        "once, and not for membership changes that concern no row"
    );

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    ben.node().backup(&copy).await.unwrap();
    let restored = Node::builder(&copy).open().await.unwrap();
    let of_copy = restored.group(home).unwrap().status().await.unwrap();
    assert_eq!(of_copy.set_aside.documents, 2, "a backup is the whole database");
    let of_copy_gone = restored.group(home).unwrap().explain("tasks", "rope").await.unwrap();
    assert!(
        of_copy_gone.refusals.iter().any(|refusal| beyond(refusal, 0, 1)),
        "the reason survives in a backup"
    );
    assert_eq!(of_copy.root, group(&ben, home).status().await.unwrap().root);
    restored.close().await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_reports_its_progress() {
    let (mut net, [ada, ben, cid], home) = partitioned(2).await;
    net.heal();
    let new: Vec<_> = (0..600).map(|number| task(&number.to_string())).collect();
    tasks(&cid, home).insert_many(&new).await.unwrap();
    tasks(&ben, home).insert_many(&new[..10]).await.unwrap();
    net.settle().await;

    let progress = Mutex::new(Vec::new());
    let record = |documents| progress.lock().unwrap().push(documents);
    group(&ada, home).remove_member(cid.node().user_id()).on_progress(record).await.unwrap();
    let (sender, mut replies) = mpsc::channel(64);
    let request = set_role(ben.node().user_id(), Role::Reader, false);
    control::execute(&ada.node(), request, sender).await.unwrap();

    let progress = progress.into_inner().unwrap();
    assert!(progress.len() > 1 && progress.is_sorted(), "{progress:?}");
    assert_eq!(progress.last(), Some(&601));
    let replies = std::iter::from_fn(|| replies.try_recv().ok()).collect::<Vec<_>>();
    let (done, progress) = replies.split_last().unwrap();
    assert!(matches!(done, Reply::Done(Done::RoleSet { role: Role::Reader, .. })), "{replies:?}");
    let read = Reply::Progress(Progress::Documents { read: 10 });
    assert!(!progress.is_empty() && progress.iter().all(|reply| *reply == read), "{replies:?}");
    for peer in [ben, cid] {
        net.crash(&peer).await;
    }
    net.close().await;
}

/// The cut is read outside the group, which fails just then: what the group knows after its restart may be
/// more than the pages list.
#[tokio::test(start_paused = true)]
async fn a_cut_is_written_again_if_its_group_restarts_meanwhile() {
    const ROWS: u64 = 20;
    // A cut reports its last rows twice: after their page, and after the empty page behind it.
    const REPORTS: u64 = 2;
    for (failures, expected) in [(0, REPORTS), (1, 2 * REPORTS)] {
        let (mut net, [ada, _, cid], home) = partitioned(3).await;
        net.heal();
        let new: Vec<_> = (1..ROWS).map(|number| task(&number.to_string())).collect();
        tasks(&cid, home).insert_many(&new).await.unwrap();
        net.settle().await;
        let rows = tasks(&ada, home).list().unwrap().len();

        let (node, reports) = (ada.node(), AtomicU64::new(0));
        let fail_once = |documents| {
            if documents == ROWS && reports.fetch_add(1, Ordering::Relaxed) < failures {
                faults::fail_group(&node, home);
            }
        };
        group(&ada, home).remove_member(cid.node().user_id()).on_progress(fail_once).await.unwrap();

        assert_eq!(reports.into_inner(), expected, "where the group fails {failures} times");
        assert_eq!(tasks(&ada, home).list().unwrap().len(), rows, "the cut leaves every row");
        net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_removal_is_either_complete_or_absent() {
    let (mut net, [ada, ben, cid], home) = partitioned(3).await;
    let (here, user) = (group(&ada, home), cid.node().user_id());
    net.heal();
    net.settle().await;

    for polls in 1..12 {
        let mut removal = here.remove_member(user).into_future();
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut removal => break,
                () = tokio::task::yield_now() => {}
            }
        }
        drop(removal);
        net.sleep(Duration::from_secs(10)).await;
        let roles = [&ada, &ben].map(|peer| group(peer, home).members().len());
        assert_eq!(roles[0], roles[1], "after {polls} polls");
        if roles[0] == 2 {
            break;
        }
    }
    let _ = here.remove_member(user).await;
    net.crash(&cid).await;
    net.settle().await;
    net.assert_converged();
    assert_eq!(group(&ben, home).members().len(), 2);
    assert_eq!(tasks(&ben, home).get("basil").unwrap(), Some(task("water it")));
    net.close().await;
}

/// Ada's disk has lost two of cid's three documents; ben still has all three, but is partitioned from ada.
async fn damaged(seed: u64) -> (Net, [Peer; 2], GroupId, UserId) {
    let (mut net, [ada, ben, cid], home) = partitioned(seed).await;
    net.heal();
    for key in ["rope", "soap"] {
        tasks(&cid, home).put(key, &task("buy it")).await.unwrap();
    }
    net.settle().await;
    let user = cid.node().user_id();
    net.crash(&cid).await;
    net.partition(&[&[&ada], &[&ben]]);
    net.crash(&ada).await;
    let space = [b"g", &home.0[..]].concat();
    for key in ["rope", "soap"] {
        let document = DocumentId::of(home, "tasks", key);
        assert!(ada.disk().damage(&space, &[b"d", &document.0[..]].concat()));
    }
    // The stored row of this document is damaged too, but not its key.
    assert!(ada.disk().damage(&space, b"rtasks\0\0soap\0\0"));
    net.restart(&ada).await;
    (net, [ada, ben], home, user)
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_refused_while_the_members_documents_are_damaged() {
    let (mut net, [ada, ben], home, user) = damaged(4).await;
    let here = group(&ada, home);

    let refused = here.remove_member(user).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    let failure = execute(&ada.node(), set_role(user, Role::None, false)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Damaged);
    let why = format!("{failure:?}");
    for said in ["2 documents", "tasks/rope", "tasks/soap", "next peer that has them", "leave them out"] {
        assert!(why.contains(said), "{said}: {why}");
    }
    assert_eq!(here.members().len(), 3, "no op was signed");

    net.heal();
    net.settle().await;
    here.remove_member(user).await.unwrap();
    net.settle().await;
    for peer in [&ada, &ben] {
        assert_eq!(tasks(peer, home).list().unwrap().len(), 3, "ben healed the documents and they stay");
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_without_damaged_documents_reports_how_many_it_left_out() {
    let (mut net, [ada, ben], home, user) = damaged(5).await;

    let done = execute(&ada.node(), set_role(user, Role::None, true)).await.unwrap();

    assert_eq!(done, (Role::None, 2));
    net.heal();
    net.settle().await;
    let homes = [&ada, &ben].map(|peer| group(peer, home));
    let [of_ada, of_ben] = [homes[0].status().await.unwrap(), homes[1].status().await.unwrap()];
    assert_eq!([homes[0].members().len(), homes[1].members().len()], [2, 2]);
    assert_eq!((of_ada.documents, of_ben.documents, of_ada.root == of_ben.root), (1, 1, true));
    assert_eq!(
        (of_ada.set_aside.documents, of_ben.set_aside.documents),
        (0, 2),
        "the member that had the documents sets them aside"
    );
    let rows = tasks(&ben, home).list().unwrap();
    assert_eq!(rows, [("basil".to_owned(), task("water it"))]);
}

/// A removed member is not notified: their node keeps serving the group, and only `status` shows that no peer
/// announces it.
#[tokio::test(start_paused = true)]
async fn a_removed_member_sees_in_status_that_peers_do_not_announce_the_group() {
    let (mut net, [ada, ben, cid], home) = partitioned(3).await;
    net.heal();
    // All of them keep another group in common.
    let club = ada.node().create_group("club").await.unwrap();
    club.add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().request_group(club.id()).await.unwrap();
    net.settle().await;
    let silent = async |peer: &Peer, of: GroupId| {
        let report = peer.node().status().await.unwrap().groups.into_iter().find(|group| group.info.id == of);
        report.unwrap().silent.into_iter().map(|silent| silent.device).collect::<BTreeSet<_>>()
    };
    assert_eq!(silent(&cid, home).await, BTreeSet::new());

    group(&ada, home).remove_member(cid.node().user_id()).await.unwrap();
    net.settle().await;
    net.sleep(Duration::from_secs(20)).await;

    let others = BTreeSet::from([ada.node().device_id(), ben.node().device_id()]);
    assert_eq!(silent(&cid, home).await, others);
    assert_eq!(silent(&cid, club.id()).await, BTreeSet::new());
    assert_eq!(silent(&ada, home).await, BTreeSet::new(), "a removed member is not expected to announce");
    let waited = group(&cid, home).synced(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(waited, SyncError::Silent { with: others.into_iter().collect() });

    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    net.settle().await;
    net.sleep(Duration::from_secs(90)).await;
    net.settle().await;
    assert_eq!(silent(&cid, home).await, BTreeSet::new(), "peers announce the group again after readmission");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_can_be_named_by_an_id_prefix_or_by_a_device_label() {
    let (mut net, [ada, _, cid], home) = partitioned(7).await;
    net.heal();
    net.settle().await;
    let set_role = async |user: &str, role: Role| execute(&ada.node(), set_role(user, role, false)).await;
    let id = cid.node().user_id().to_string();

    set_role(&id[..8], Role::Reader).await.unwrap();
    set_role("ben", Role::Reader).await.unwrap();
    let device = set_role(&cid.node().device_id().to_string(), Role::None).await.unwrap_err();
    let nobody = set_role("dan", Role::None).await.unwrap_err();
    set_role(&id[..4], Role::None).await.unwrap();
    let again = set_role(&id, Role::Writer).await.unwrap_err();

    assert_eq!(device.advice, Some(Advice::NameUser { users: vec![cid.node().user_id()] }), "{device:?}");
    assert!(nobody.message.contains("no member \"dan\""), "{nobody:?}");
    let add = Some(Advice::AddMember { user: cid.node().user_id() });
    assert_eq!(again.advice, add, "setting a role does not readmit by accident: {again:?}");
    let roles: Vec<Role> = group(&ada, home).members().iter().map(|member| member.role).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&Role::Founder) && roles.contains(&Role::Reader));
    net.close().await;
}
