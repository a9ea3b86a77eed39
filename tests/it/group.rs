//! Groups and their members: admission, refusal, removal, and the events of each.

use std::time::Duration;

use peerbase::group::{PeerStatus, RowState};
use peerbase::sim::{Net, Peer};
use peerbase::{DocumentId, ErrorKind, Event, GroupError, GroupId, GroupState, Node, Role, SyncError};
use tokio::sync::broadcast::Receiver;

use crate::support::{TASKS, group, home, task, tasks, titles};

/// Long enough for every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);

fn state(peer: &Peer, id: GroupId) -> Option<(GroupState, Role)> {
    let info = peer.node().groups().into_iter().find(|info| info.id == id)?;
    Some((info.state, info.role))
}

fn heard(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// Ada's group with one row.
async fn found(ada: &Peer) -> GroupId {
    let home = ada.node().create_group("home").await.unwrap().id();
    tasks(ada, home).put("a", &task("basil")).await.unwrap();
    home
}

#[tokio::test(start_paused = true)]
async fn a_founder_is_a_member_at_once() {
    let (node, home) = home().await;

    let info = home.info();

    assert_eq!(
        (info.name.as_str(), info.state, info.role),
        ("home", GroupState::Active, home.members()[0].role)
    );
    assert_eq!(home.members().iter().map(|member| member.user).collect::<Vec<_>>(), [node.user_id()]);
    assert!(home.members()[0].role > Role::Admin);
    assert_eq!(node.groups(), [info]);
    assert_eq!(home.synced(Duration::from_secs(1)).await, Err(SyncError::NobodyConnected));
}

#[tokio::test(start_paused = true)]
async fn admission_and_request_meet_in_either_order() {
    for request_first in [true, false] {
        let mut net = Net::seeded(1).latency_ms(5..40);
        let [ada, ben] = net.nodes(["ada", "ben"]).await;
        net.partition(&[&[&ada], &[&ben]]);
        let home = found(&ada).await;
        let (mut of_ada, mut of_ben) = (ada.node().events(), ben.node().events());

        // Each side acts while it is alone; they are linked in between.
        for requests in [request_first, !request_first] {
            if requests {
                ben.node().request_group(home).await.unwrap();
                assert_eq!(state(&ben, home), Some((GroupState::Pending, Role::None)));
            } else {
                group(&ada, home).add_member(ben.node().user_id(), Role::Writer).await.unwrap();
            }
            net.heal();
            net.sleep(A_WHILE).await;
            net.partition(&[&[&ada], &[&ben]]);
        }
        net.heal();
        net.settle().await;

        assert_eq!(state(&ben, home), Some((GroupState::Active, Role::Writer)));
        assert_eq!(titles(&tasks(&ben, home)), ["basil"]);
        tasks(&ben, home).put("b", &task("rope")).await.unwrap();
        net.settle().await;
        net.assert_converged();
        assert_eq!(titles(&tasks(&ada, home)), ["basil", "rope"]);
        let admitted = Event::RoleChanged { group: home, user: ben.node().user_id(), role: Role::Writer };
        assert!(heard(&mut of_ada).contains(&admitted));
        assert!(heard(&mut of_ben).contains(&Event::Joined { group: home, role: Role::Writer }));
        net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pending_group_is_shown_and_never_served() {
    let mut net = Net::seeded(2).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = found(&ada).await;

    let pending = ben.node().request_group(home).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    net.sleep(A_WHILE).await;

    let info = pending.info();
    assert_eq!((info.name.as_str(), info.state, info.role), ("", GroupState::Pending, Role::None));
    let refused = pending.table(TASKS).put("b", &task("rope")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);
    assert_eq!(pending.synced(Duration::from_secs(1)).await, Err(SyncError::NobodyConnected));
    assert_eq!(pending.status().await.unwrap().documents, 0);
    assert_eq!(pending.members(), []);
    let unknown = pending.add_member(cid.node().user_id(), Role::Writer).await.unwrap_err();
    assert!(matches!(unknown.kind(), ErrorKind::NotFound | ErrorKind::NotAllowed), "{unknown:?}");
    assert_eq!(ben.node().groups().len(), 1);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_knows_the_groups_id_gets_nothing() {
    let mut net = Net::seeded(3).latency_ms(5..40);
    let [ada, ben, mallory] = net.nodes(["ada", "ben", "mallory"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();

    let guessed = mallory.node().request_group(home).await.unwrap();
    net.settle().await;
    tasks(&ben, home).put("b", &task("rope")).await.unwrap();
    net.sleep(A_WHILE).await;

    assert_eq!(state(&mallory, home), Some((GroupState::Pending, Role::None)));
    assert_eq!(guessed.members(), []);
    assert_eq!(guessed.info().name, "");
    assert_eq!(guessed.status().await.unwrap().documents, 0);
    assert_eq!(guessed.table(TASKS).list().unwrap(), []);
    assert_eq!(ada.node().groups().len(), 1);
    assert_eq!(group(&ada, home).synced(A_WHILE).await.unwrap().with, [ben.node().device_id()]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_readers_write_is_refused_at_once() {
    let mut net = Net::seeded(4).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = found(&ada).await;
    group(&ada, home).add_member(ben.node().user_id(), Role::Reader).await.unwrap();
    ben.node().request_group(home).await.unwrap();
    net.settle().await;
    let of_ben = tasks(&ben, home);

    let refused = [
        of_ben.put("a", &task("rope")).await.unwrap_err().kind(),
        of_ben.insert(&task("rope")).await.unwrap_err().kind(),
        of_ben.insert_many(&[task("rope")]).await.unwrap_err().kind(),
        of_ben.update("a", |task| task.done = true).await.unwrap_err().kind(),
        of_ben.edit("a", |row| row.put("done", true)).await.unwrap_err().kind(),
        of_ben.remove("a").await.unwrap_err().kind(),
    ];
    let admits = group(&ben, home).add_member(peerbase::UserId([9; 32]), Role::Reader).await.unwrap_err();

    assert_eq!(refused, [ErrorKind::NotAllowed; 6]);
    assert_eq!(admits.kind(), ErrorKind::NotAllowed);
    assert_eq!(titles(&of_ben), ["basil"]);
    group(&ada, home).add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    net.settle().await;
    of_ben.put("a", &task("rope")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&ada, home)), ["rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_third_device_passes_the_ledger_on() {
    let mut net = Net::seeded(5).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    net.cut(&ada, &cid);
    let home = found(&ada).await;
    for peer in [&ben, &cid] {
        group(&ada, home).add_member(peer.node().user_id(), Role::Writer).await.unwrap();
        peer.node().request_group(home).await.unwrap();
    }
    net.settle().await;

    assert_eq!(state(&cid, home), Some((GroupState::Active, Role::Writer)));
    assert_eq!(titles(&tasks(&cid, home)), ["basil"]);
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();
    net.settle().await;
    net.assert_converged();
    assert_eq!(titles(&tasks(&ada, home)), ["basil", "rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_presents_the_grant_to_a_device_that_lacks_it() {
    let mut net = Net::seeded(6).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;

    net.partition(&[&[&ada, &cid], &[&ben]]);
    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    net.settle().await;
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();
    assert_eq!(group(&ben, home).members().len(), 2, "ben does not know cid as a member");
    net.partition(&[&[&ada], &[&ben, &cid]]);
    net.sleep(A_WHILE).await;

    assert_eq!(group(&ben, home).members().len(), 3);
    assert_eq!(titles(&tasks(&ben, home)), ["basil", "rope"]);
    tasks(&ben, home).put("c", &task("soap")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&cid, home)), ["basil", "rope", "soap"]);
    net.heal();
    net.settle().await;
    net.assert_converged();
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn groups_and_their_states_survive_a_restart() {
    let mut net = Net::seeded(7).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let wished = ada.node().create_group("work").await.unwrap().id();
    ben.node().request_group(wished).await.unwrap();
    let before = (ada.node().groups(), ben.node().groups());

    for peer in [&ada, &ben] {
        net.crash(peer).await;
        net.restart(peer).await;
    }

    assert_eq!((ada.node().groups(), ben.node().groups()), before);
    assert_eq!(state(&ben, home), Some((GroupState::Active, Role::Writer)));
    assert_eq!(state(&ben, wished), Some((GroupState::Pending, Role::None)));
    net.settle().await;
    net.assert_converged();
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_has_many_groups_and_keeps_them_apart() {
    let mut net = Net::seeded(8).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let mut homes = Vec::new();
    for number in 0..20 {
        let home = ada.node().create_group(&format!("group {number}")).await.unwrap();
        home.table(TASKS).put("a", &task(&number.to_string())).await.unwrap();
        if number % 2 == 0 {
            home.add_member(ben.node().user_id(), Role::Writer).await.unwrap();
            ben.node().request_group(home.id()).await.unwrap();
        }
        homes.push(home.id());
    }
    net.settle().await;

    net.assert_converged();
    assert_eq!((ada.node().groups().len(), ben.node().groups().len()), (20, 10));
    for (number, home) in homes.into_iter().enumerate().step_by(2) {
        assert_eq!(titles(&tasks(&ben, home)), [number.to_string()]);
        assert_eq!(group(&ben, home).info().name, format!("group {number}"));
    }
    net.close().await;
}

/// Counts the links that come up in so many minutes of virtual time.
async fn links_in(net: &Net, events: &mut Receiver<Event>, minutes: u64) -> usize {
    let _before = heard(events);
    net.sleep(Duration::from_secs(60 * minutes)).await;
    heard(events).iter().filter(|event| matches!(event, Event::PeerUp { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn devices_that_share_no_group_part_and_dial_each_other_seldom() {
    let mut net = Net::seeded(12).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let mut events = ada.node().events();

    links_in(&net, &mut events, 5).await;
    let later = links_in(&net, &mut events, 10).await;

    // 10 s a link, and 30 to 60 s between two.
    assert!((8..=16).contains(&later), "{later} links in ten minutes");
    let mut of_ben = ben.node().events();
    let home = net.group("home", &[&ada, &ben]).await;
    net.sleep(Duration::from_secs(600)).await;
    assert!(!heard(&mut of_ben).iter().any(|event| matches!(event, Event::PeerDown { .. })), "now it stays");
    assert_eq!(group(&ada, home).synced(A_WHILE).await.unwrap().with, [ben.node().device_id()]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_who_requested_a_group_joins_within_a_minute_of_being_added() {
    let mut net = Net::seeded(13).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = found(&ada).await;
    ben.node().request_group(home).await.unwrap();
    let mut events = ben.node().events();
    let tried = links_in(&net, &mut events, 20).await;
    assert!(tried >= 16, "{tried} links in twenty minutes");

    // It is ben who dials.
    group(&ada, home).add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    net.sleep(Duration::from_secs(62)).await;

    assert_eq!(titles(&tasks(&ben, home)), ["basil"]);
    net.sleep(Duration::from_secs(600)).await;
    let _before = heard(&mut events);
    assert_eq!(links_in(&net, &mut events, 10).await, 0, "the link stays");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn requesting_a_group_or_adding_a_member_dials_at_once() {
    let mut net = Net::seeded(14).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    net.sleep(Duration::from_secs(600)).await;
    let home = found(&ada).await;
    group(&ada, home).add_member(ben.node().user_id(), Role::Writer).await.unwrap();

    ben.node().request_group(home).await.unwrap();
    net.sleep(Duration::from_secs(2)).await;

    assert_eq!(titles(&tasks(&ben, home)), ["basil"], "strangers until now");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_members_link_ends_and_comes_back_where_another_group_is_shared() {
    for shared in [true, false] {
        let mut net = Net::seeded(15).latency_ms(5..40);
        let [ada, ben] = net.nodes(["ada", "ben"]).await;
        let home = found(&ada).await;
        group(&ada, home).add_member(ben.node().user_id(), Role::Reader).await.unwrap();
        ben.node().request_group(home).await.unwrap();
        if shared {
            net.group("work", &[&ada, &ben]).await;
        }
        net.settle().await;
        let mut events = ada.node().events();

        group(&ada, home).set_role(ben.node().user_id(), Role::None).await.unwrap();
        net.sleep(Duration::from_secs(30)).await;

        let heard = heard(&mut events);
        let ends = heard.iter().filter(|event| matches!(event, Event::PeerDown { .. })).count();
        assert!(ends > 0, "the removed would go on waiting");
        // A link without a common group ends each time that it comes up.
        assert_eq!(ends == 1, shared, "another group: {shared}, {heard:?}");
        net.close().await;
    }
}

/// A link that carries half a mebibyte a second: a pipe of 256 KiB, half a second long.
#[tokio::test(start_paused = true)]
async fn a_small_write_does_not_wait_for_another_groups_bulk() {
    let mut net = Net::seeded(11).latency_ms(500..501);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let library = net.group("library", &[&ada, &ben]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    // All of it within the window of the session: it is queued at once.
    let books: Vec<_> = (0..48).map(|book: u32| task(&noise(book, 64 << 10))).collect();
    tasks(&ada, library).insert_many(&books).await.unwrap();
    net.sleep(Duration::from_secs(1)).await;

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    let mut waited = Duration::ZERO;
    while tasks(&ben, home).get("a").unwrap().is_none() {
        net.sleep(Duration::from_millis(50)).await;
        waited += Duration::from_millis(50);
        assert!(waited < A_WHILE, "the write never arrived");
    }

    let arrived = tasks(&ben, library).list().unwrap().len();
    assert!(arrived < books.len() * 3 / 4, "{arrived} of {} books came before, {waited:?}", books.len());
    net.settle().await;
    net.assert_converged();
    assert_eq!(tasks(&ben, library).list().unwrap().len(), books.len());
    net.close().await;
}

/// Returns text that does not compress.
fn noise(seed: u32, length: usize) -> String {
    let mut state = seed.wrapping_add(1);
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b'0' + u8::try_from(state % 75).unwrap())
    };
    (0..length).map(|_| letter()).collect()
}

#[tokio::test(start_paused = true)]
async fn requesting_twice_is_requesting_once() {
    let (node, home) = home().await;

    let again = node.request_group(home.id()).await.unwrap();

    assert_eq!(again.id(), home.id());
    assert_eq!(again.info().name, "home");
    assert_eq!(node.groups().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_group_or_an_invalid_name_is_refused() {
    let (node, home) = home().await;
    let stranger = Node::in_memory().await.unwrap();

    let long = node.create_group(&"x".repeat(257)).await;
    assert!(matches!(long, Err(GroupError::Name { bytes: 257, max: 256 })));
    node.create_group(&"x".repeat(256)).await.unwrap();
    let unknown = stranger.group(home.id());
    assert!(matches!(unknown, Err(GroupError::Unknown(id)) if id == home.id()));
    let own = home.add_member(node.user_id(), Role::Reader).await;
    assert_eq!(own.unwrap_err().kind(), ErrorKind::Invalid, "they are a Founder");
}

#[tokio::test(start_paused = true)]
async fn events_report_members_and_links() {
    let mut net = Net::seeded(9).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let mut events = ada.node().events();
    let (user, device) = (ben.node().user_id(), ben.node().device_id());

    net.crash(&ben).await;
    net.sleep(A_WHILE).await;
    let down = heard(&mut events);
    net.restart(&ben).await;
    net.sleep(A_WHILE).await;
    let up = heard(&mut events);

    let (lost, gone) = (Event::SessionLost { group: home, device }, &down[1..]);
    assert_eq!(down[0], lost);
    assert!(matches!(gone, [Event::PeerDown { device: gone, .. }] if *gone == device), "{down:?}");
    assert_eq!(up, [Event::PeerUp { user, device }]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_member_gets_nothing_more_from_the_remover() {
    let mut net = Net::seeded(10).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    group(&ada, home).add_member(cid.node().user_id(), Role::Reader).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&cid, home)), ["basil"]);
    let mut events = ada.node().events();

    group(&ada, home).set_role(cid.node().user_id(), Role::None).await.unwrap();
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    net.sleep(A_WHILE).await;
    tasks(&ada, home).put("c", &task("soap")).await.unwrap();
    net.sleep(A_WHILE).await;

    assert_eq!(titles(&tasks(&cid, home)), ["basil"]);
    assert_eq!(titles(&tasks(&ben, home)), ["basil", "rope", "soap"]);
    assert_eq!(group(&ada, home).synced(A_WHILE).await.unwrap().with, [ben.node().device_id()]);
    assert_eq!(group(&ben, home).synced(A_WHILE).await.unwrap().with, [ada.node().device_id()]);
    let removed = Event::RoleChanged { group: home, user: cid.node().user_id(), role: Role::None };
    assert!(heard(&mut events).contains(&removed));
    assert_eq!(group(&ada, home).members().len(), 2);

    // A new link does not change that, nor does a restart.
    net.crash(&cid).await;
    net.restart(&cid).await;
    net.crash(&ada).await;
    net.restart(&ada).await;
    net.sleep(A_WHILE).await;
    assert_eq!(titles(&tasks(&cid, home)), ["basil"]);
    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&cid, home)), ["basil", "rope", "soap"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_left_is_served_no_more_and_comes_back_when_asked_for() {
    let mut net = Net::seeded(20).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    let work = net.group("work", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    let (left, mut watch) = (group(&ben, home), tasks(&ben, home).watch());

    left.leave().await.unwrap();

    assert!(matches!(ben.node().group(home), Err(GroupError::Unknown(id)) if id == home));
    assert_eq!(state(&ben, home), None);
    assert!(matches!(left.leave().await, Err(GroupError::Unknown(id)) if id == home));
    assert_eq!(left.table(TASKS).put("b", &task("rope")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(left.add_member(ada.node().user_id(), Role::Reader).await.is_err());
    assert_eq!(titles(&left.table(TASKS)), ["basil"], "what was received stays");
    while watch.next().await.is_some() {}
    // The others go on and do not wait for it; its other groups go on with it.
    net.sleep(Duration::from_secs(5)).await;
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    let soon = Duration::from_secs(5);
    assert_eq!(group(&ada, home).synced(soon).await.unwrap().with, [cid.node().device_id()]);
    assert_eq!(group(&cid, home).synced(soon).await.unwrap().with, [ada.node().device_id()]);
    net.sleep(A_WHILE).await;
    assert_eq!(titles(&left.table(TASKS)), ["basil"]);
    tasks(&ben, work).put("a", &task("report")).await.unwrap();
    net.sleep(A_WHILE).await;
    assert_eq!(titles(&tasks(&ada, work)), ["report"]);

    // A restart does not make it take part again.
    net.crash(&ben).await;
    net.restart(&ben).await;
    net.sleep(A_WHILE).await;
    assert_eq!(state(&ben, home), None);

    let back = ben.node().request_group(home).await.unwrap();
    assert_eq!((back.info().state, back.info().role), (GroupState::Active, Role::Writer), "still a member");
    assert_eq!(titles(&tasks(&ben, home))[..1], ["basil"], "and all that was there is");
    net.settle().await;
    net.assert_converged();
    tasks(&ben, home).put("c", &task("soap")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&cid, home)), ["basil", "rope", "soap"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_who_leaves_and_requests_again_is_a_member() {
    let mut net = Net::seeded(21).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;

    for count in 0..10 {
        group(&ben, home).leave().await.unwrap();
        let back = ben.node().request_group(home).await.unwrap();
        back.table(TASKS).put("a", &task(&count.to_string())).await.unwrap();
    }
    net.settle().await;

    net.assert_converged();
    assert_eq!(titles(&tasks(&ada, home)), ["9"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_group_can_be_left_and_the_personal_group_cannot() {
    let (node, home) = home().await;
    let ben = Node::in_memory().await.unwrap();

    let pending = ben.request_group(home.id()).await.unwrap();
    pending.leave().await.unwrap();

    assert_eq!(ben.groups(), []);
    let personal = node.personal().unwrap().leave().await;
    assert!(matches!(personal, Err(GroupError::Personal)), "{personal:?}");
    assert_eq!(personal.unwrap_err().kind(), ErrorKind::Invalid);
    node.personal().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_row_is_explained() {
    let mut net = Net::seeded(22).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let of_ben = tasks(&ben, home);
    of_ben.put("a", &task("basil")).await.unwrap();
    net.settle().await;
    tasks(&ada, home).update("a", |task| task.done = true).await.unwrap();
    of_ben.put("gone", &task("rope")).await.unwrap();
    of_ben.remove("gone").await.unwrap();
    net.settle().await;

    let there = group(&ben, home).explain("tasks", "a").await.unwrap();
    let gone = group(&ben, home).explain("tasks", "gone").await.unwrap();
    let never = group(&ben, home).explain("tasks", "never").await.unwrap();

    assert_eq!(
        (there.row, there.revisions, there.heads.len(), there.too_deep),
        (RowState::Present, 2, 1, false)
    );
    assert_eq!(there.last.unwrap().author, Some(ada.node().user_id()));
    assert_eq!(there.peers, [PeerStatus { device: ada.node().device_id(), synced: true }]);
    assert_eq!((there.quarantined, there.refusals), (None, vec![]));
    assert_eq!(there.group, group(&ben, home).info());
    assert_eq!((gone.row, gone.revisions), (RowState::Removed, 2));
    assert_eq!((never.row, never.revisions, never.heads.len()), (RowState::Absent, 0, 0));
    assert!(never.last.is_none());
    let refused = group(&ben, home).explain("tasks", "").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);

    net.partition(&[&[&ada], &[&ben]]);
    net.sleep(A_WHILE).await;
    assert_eq!(group(&ben, home).explain("tasks", "a").await.unwrap().peers, []);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn damage_and_refusals_are_explained() {
    let mut net = Net::seeded(23).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    for key in ["a", "b"] {
        tasks(&ada, home).put(key, &task("basil")).await.unwrap();
    }
    net.settle().await;
    net.partition(&[&[&ada], &[&ben]]);
    net.crash(&ben).await;
    let space = [b"g", &home.0[..]].concat();
    let document = DocumentId::of(home, "tasks", "a");
    assert!(ben.disk().damage(&space, &[b"d", &document.0[..]].concat()));
    assert!(ben.disk().damage(&space, b"rtasks\0\0b\0\0"));
    net.restart(&ben).await;

    let set_aside = group(&ben, home).explain("tasks", "a").await.unwrap();
    let damaged = group(&ben, home).explain("tasks", "b").await.unwrap();

    assert_eq!(set_aside.quarantined.as_deref(), Some("record is damaged"));
    assert_eq!((set_aside.document, set_aside.revisions), (document, 0));
    assert_eq!((damaged.row, damaged.revisions), (RowState::Damaged, 1), "its history is whole");
    net.heal();
    net.settle().await;
    let healed = group(&ben, home).explain("tasks", "a").await.unwrap();
    assert_eq!((healed.row, healed.quarantined, healed.revisions), (RowState::Present, None, 1));
    net.close().await;
}
