//! What people see of a removal: how far it is, what fell with it and why, what is kept.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use peerbase::control::{self, Failure, FailureKind, Reply, Request};
use peerbase::group::{Refusal, RowState};
use peerbase::sim::{Net, Peer};
use peerbase::{DocumentId, ErrorKind, Event, GroupId, Node, Role, SyncError, UserId};
use tokio::sync::mpsc;

use crate::support::{group, task, tasks};

/// Ada, ben and cid, who wrote a row before they were parted from ada.
async fn parted(seed: u64) -> (Net, [Peer; 3], GroupId) {
    let mut net = Net::seeded(seed).latency_ms(5..20);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    tasks(&cid, home).put("basil", &task("water it")).await.unwrap();
    net.settle().await;
    net.partition(&[&[&ada], &[&ben, &cid]]);
    (net, [ada, ben, cid], home)
}

fn set_role(user: UserId, role: Role, anyway: bool) -> Request {
    Request::SetRole { group: None, user: user.to_string(), role, as_of: Vec::new(), anyway }
}

/// What `request` was answered with, the last word or the failure.
async fn asked(node: &Node, request: Request) -> Result<String, Failure> {
    let (sender, mut replies) = mpsc::channel(64);
    control::execute(node, request, sender).await?;
    let last = std::iter::from_fn(|| replies.try_recv().ok()).last();
    let Some(Reply::Done(done)) = last else { panic!("{last:?}") };
    Ok(done.done)
}

#[tokio::test(start_paused = true)]
async fn what_fell_with_a_removal_is_explained_and_shown() {
    let (mut net, [ada, ben, cid], home) = parted(1).await;
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
    let status = control::reply::Status::from(ben.node().status().await.unwrap());

    assert_eq!((stays.row, stays.revisions, gone.row), (RowState::Present, 1, RowState::Absent));
    let beyond = |refusal: &Refusal, stay, number| {
        matches!(refusal, Refusal::BeyondCut { author, seq, got, .. }
            if author.device == device && (*seq, *got) == (stay, number))
    };
    assert!(stays.refusals.iter().any(|refusal| beyond(refusal, 1, 2)), "{:?}", stays.refusals);
    assert!(gone.refusals.iter().any(|refusal| beyond(refusal, 0, 1)), "{:?}", gone.refusals);
    let (of_stays, of_gone) = (stays.kept.unwrap(), gone.kept.unwrap());
    assert_eq!((of_stays.changes, of_gone.changes), (1, 1));
    let shown = &status.groups[0];
    let kept = shown.kept.unwrap();
    assert_eq!((kept.documents, kept.changes, kept.bytes), (2, 2, of_stays.bytes + of_gone.bytes));
    assert_eq!((kept.since_ms, shown.rejudging), (of_stays.since().min(of_gone.since()).as_millis(), None));
    let judged = std::iter::from_fn(|| events.try_recv().ok()).filter_map(|event| match event {
        Event::Rejudged { group, rejudged } if group == home => Some((rejudged.documents, rejudged.changed)),
        _ => None,
    });
    assert_eq!(
        judged.collect::<Vec<_>>(),
        [(2, 2)],
        "once, and not for changes of membership that concern no row"
    );

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    ben.node().backup(&copy).await.unwrap();
    let restored = Node::builder(&copy).open().await.unwrap();
    let of_copy = restored.group(home).unwrap().status().await.unwrap();
    assert_eq!(of_copy.kept.documents, 2, "a backup is the whole database");
    let of_copy_gone = restored.group(home).unwrap().explain("tasks", "rope").await.unwrap();
    assert!(
        of_copy_gone.refusals.iter().any(|refusal| beyond(refusal, 0, 1)),
        "the reason outlasts the node"
    );
    assert_eq!(of_copy.root, group(&ben, home).status().await.unwrap().root);
    restored.close().await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_says_how_far_it_is() {
    let (mut net, [ada, ben, cid], home) = parted(2).await;
    net.heal();
    let new: Vec<_> = (0..600).map(|number| task(&number.to_string())).collect();
    tasks(&cid, home).insert_many(&new).await.unwrap();
    tasks(&ben, home).insert_many(&new[..10]).await.unwrap();
    net.settle().await;

    let heard = Mutex::new(Vec::new());
    let listen = |documents| heard.lock().unwrap().push(documents);
    group(&ada, home).remove_member(cid.node().user_id()).on_progress(listen).await.unwrap();
    let (sender, mut replies) = mpsc::channel(64);
    let request = set_role(ben.node().user_id(), Role::Reader, false);
    control::execute(&ada.node(), request, sender).await.unwrap();

    let heard = heard.into_inner().unwrap();
    assert!(heard.len() > 1 && heard.is_sorted(), "{heard:?}");
    assert_eq!(heard.last(), Some(&601));
    let told = std::iter::from_fn(|| replies.try_recv().ok()).collect::<Vec<_>>();
    let (done, how_far) = told.split_last().unwrap();
    assert!(matches!(done, Reply::Done(done) if done.done.contains("reader of home")), "{told:?}");
    assert!(!how_far.is_empty() && how_far.iter().all(|reply| *reply == Reply::GoneThrough(10)), "{told:?}");
    for peer in [ben, cid] {
        net.crash(&peer).await;
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_nobody_waits_for_any_more_was_said_or_was_not() {
    let (mut net, [ada, ben, cid], home) = parted(3).await;
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

/// Ada, whose disk has lost what she knew of two of cid's three rows, and ben, who has them.
async fn damaged(seed: u64) -> (Net, [Peer; 2], GroupId, UserId) {
    let (mut net, [ada, ben, cid], home) = parted(seed).await;
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
    // Of this one the row is damaged too; its key is not.
    assert!(ada.disk().damage(&space, b"rtasks\0\0soap\0\0"));
    net.restart(&ada).await;
    (net, [ada, ben], home, user)
}

#[tokio::test(start_paused = true)]
async fn a_removal_does_not_take_what_is_merely_damaged_and_says_what_is() {
    let (mut net, [ada, ben], home, user) = damaged(4).await;
    let here = group(&ada, home);

    let refused = here.remove_member(user).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    let failure = asked(&ada.node(), set_role(user, Role::None, false)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Damaged);
    let why = format!("{failure:?}");
    for said in ["2 documents", "tasks/rope", "tasks/soap", "next peer that has them", "anyway"] {
        assert!(why.contains(said), "{said}: {why}");
    }
    assert_eq!(here.members().len(), 3, "nothing was said");

    net.heal();
    net.settle().await;
    here.remove_member(user).await.unwrap();
    net.settle().await;
    for peer in [&ada, &ben] {
        assert_eq!(tasks(peer, home).list().unwrap().len(), 3, "all came back from ben, and stays");
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_removes_anyway_hears_how_much_that_leaves_out() {
    let (mut net, [ada, ben], home, user) = damaged(5).await;

    let done = asked(&ada.node(), set_role(user, Role::None, true)).await.unwrap();

    assert!(done.contains("2 damaged documents were left out"), "{done}");
    net.heal();
    net.settle().await;
    let homes = [&ada, &ben].map(|peer| group(peer, home));
    let [of_ada, of_ben] = [homes[0].status().await.unwrap(), homes[1].status().await.unwrap()];
    assert_eq!([homes[0].members().len(), homes[1].members().len()], [2, 2]);
    assert_eq!((of_ada.documents, of_ben.documents, of_ada.root == of_ben.root), (1, 1, true));
    assert_eq!((of_ada.kept.documents, of_ben.kept.documents), (0, 2), "where it was it is kept for a while");
    let rows = tasks(&ben, home).list().unwrap();
    assert_eq!(rows, [("basil".to_owned(), task("water it"))]);
}

/// Nobody tells whoever was removed that they are: they go on as if nothing had happened, and can see that nobody answers.
#[tokio::test(start_paused = true)]
async fn whoever_was_removed_can_see_that_the_others_do_not_speak_of_the_group() {
    let (mut net, [ada, ben, cid], home) = parted(3).await;
    net.heal();
    // Of another group they go on to speak.
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
    assert_eq!(silent(&ada, home).await, BTreeSet::new(), "who is out is not missed");
    let waited = group(&cid, home).synced(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(waited, SyncError::Silent { with: others.into_iter().collect() });

    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    net.settle().await;
    net.sleep(Duration::from_secs(90)).await;
    net.settle().await;
    assert_eq!(silent(&cid, home).await, BTreeSet::new(), "and is heard again once in again");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_is_named_by_a_few_digits_or_by_what_a_device_of_theirs_is_called() {
    let (mut net, [ada, _, cid], home) = parted(7).await;
    net.heal();
    net.settle().await;
    let say = async |user: &str, role: Role| {
        let request =
            Request::SetRole { group: None, user: user.to_owned(), role, as_of: Vec::new(), anyway: false };
        asked(&ada.node(), request).await
    };
    let id = cid.node().user_id().to_string();

    say(&id[..8], Role::Reader).await.unwrap();
    say("ben", Role::Reader).await.unwrap();
    let device = say(&cid.node().device_id().to_string(), Role::None).await.unwrap_err();
    let nobody = say("dan", Role::None).await.unwrap_err();
    say(&id[..4], Role::None).await.unwrap();
    let again = say(&id, Role::Writer).await.unwrap_err();

    assert!(device.message.contains(&format!("is a device of user {id}")), "{device:?}");
    assert!(nobody.message.contains("no member \"dan\""), "{nobody:?}");
    assert!(again.message.contains("is no member of home"), "nobody is let in again by a slip: {again:?}");
    let roles: Vec<Role> = group(&ada, home).members().iter().map(|member| member.role).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&Role::Founder) && roles.contains(&Role::Reader));
    net.close().await;
}
