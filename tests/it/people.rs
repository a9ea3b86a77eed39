//! The table of members, offered groups and blocked users.

use std::time::Duration;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::group::{MemberChange, MembersTable};
use peerbase::node::LinkEnd;
use peerbase::sim::{Net, Peer};
use peerbase::{ErrorKind, Event, GroupError, GroupId, GroupState, Member, Node, Role, UserId};
use schema::device::DeviceIdentity;
use schema::ledger::{Body, By, Ledger};
use schema::signed::{Envelope, Signed};
use schema::wire::device::DeviceCert;
use schema::wire::group::GroupFrame;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, LinkFrame};
use tokio::sync::broadcast::Receiver;

use crate::support::handmade::{HandmadeMember, HandmadePeer, identity, user_key};
use crate::support::{TASKS, group, home, task, tasks, titles, until};

/// Longer than every retry of a dial and than the delay before an unused link is closed.
const A_WHILE: Duration = Duration::from_secs(180);

fn state(peer: &Peer, id: GroupId) -> Option<(String, GroupState, Role)> {
    let info = peer.node().groups().into_iter().find(|info| info.id == id)?;
    Some((info.name, info.state, info.role))
}

fn received(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

async fn is_linked(peer: &Peer, other: &Peer) -> bool {
    let links = peer.node().status().await.unwrap().links;
    links.iter().any(|link| link.device == other.node().device_id())
}

async fn write(peer: &Peer, id: GroupId, key: &str) {
    tasks(peer, id).put(key, &task(key)).await.unwrap();
}

fn role_in(change: Option<MemberChange>) -> (UserId, Role) {
    match change {
        Some(MemberChange::Put(member)) => (member.user, member.role),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_members_are_a_table_that_is_read_and_followed() {
    let (node, home) = home().await;
    let other = Node::in_memory().await.unwrap().user_id();
    let members: MembersTable = home.members_table();
    let mut changes = members.watch();
    assert_eq!((members.list(), members.get(other)), (home.members(), None));

    home.add_member(other, Role::Reader).await.unwrap();
    assert_eq!(role_in(changes.next().await), (other, Role::Reader));
    node.create_group("another").await.unwrap().add_member(other, Role::Reader).await.unwrap();
    home.set_role(other, Role::Admin).await.unwrap();
    assert_eq!(role_in(changes.next().await), (other, Role::Admin), "of this group alone");
    assert_eq!(members.get(other).unwrap().granted_by, Some(node.user_id()));

    home.set_role(other, Role::Writer).await.unwrap();
    let reader = Node::in_memory().await.unwrap().user_id();
    home.add_member(reader, Role::Reader).await.unwrap();
    home.remove_member(reader).await.unwrap();
    assert_eq!(
        role_in(changes.next().await),
        (other, Role::Writer),
        "changes that come together are one change"
    );
    node.close().await;
    assert_eq!(changes.next().await, None, "it ends with the node");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_the_members_shows_devices_and_removals() {
    let mut net = Net::seeded(1).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let id = ada.node().create_group("home").await.unwrap().id();
    let mut changes = group(&ada, id).members_table().watch();
    let user = ben.node().user_id();

    group(&ada, id).add_member(user, Role::Reader).await.unwrap();
    ben.node().request_group(id).await.unwrap();
    let mut labels = Vec::new();
    while labels.is_empty() {
        let change = tokio::time::timeout(A_WHILE, changes.next()).await.unwrap();
        let Some(MemberChange::Put(Member { user: who, devices, .. })) = change else { panic!("{change:?}") };
        assert_eq!(who, user);
        labels = devices.into_iter().map(|device| device.label).collect();
    }
    assert_eq!(labels, ["ben"], "ben's device has sent its certificate");

    group(&ada, id).remove_member(user).await.unwrap();
    assert_eq!(changes.next().await, Some(MemberChange::Removed { user }));
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_of_the_members_is_reset_to_the_whole_table() {
    let (_node, home) = home().await;
    let other = Node::in_memory().await.unwrap().user_id();
    home.add_member(other, Role::Reader).await.unwrap();
    let mut changes = home.members_table().watch();

    for _ in 0..200 {
        home.set_role(other, Role::Admin).await.unwrap();
        home.set_role(other, Role::Writer).await.unwrap();
    }

    assert_eq!(changes.next().await, Some(MemberChange::Reset(home.members())));
    home.set_role(other, Role::Admin).await.unwrap();
    assert_eq!(role_in(changes.next().await), (other, Role::Admin), "further changes follow");
}

#[tokio::test(start_paused = true)]
async fn a_member_is_shown_since_the_time_at_which_this_device_received_the_op() {
    let mut net = Net::seeded(2).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let user = ben.node().user_id();
    let since = |peer: &Peer, id| group(peer, id).members_table().get(user).unwrap().since.unwrap();
    let id = ada.node().create_group("home").await.unwrap().id();
    let founded = group(&ada, id).members()[0].since.unwrap();
    net.partition(&[&[&ada], &[&ben]]);
    net.sleep(Duration::from_secs(10)).await;
    group(&ada, id).add_member(user, Role::Writer).await.unwrap();
    let admitted = since(&ada, id);
    assert!(admitted.since(founded) >= Duration::from_secs(10), "{founded:?} {admitted:?}");

    net.sleep(Duration::from_secs(60)).await;
    ben.node().request_group(id).await.unwrap();
    net.heal();
    net.settle().await;
    let received = since(&ben, id);
    assert!(received.since(admitted) >= Duration::from_secs(60), "ben was offline when the op was signed");

    net.crash(&ben).await;
    net.restart(&ben).await;
    assert_eq!((since(&ada, id), since(&ben, id)), (admitted, received), "it is stored");
    group(&ada, id).set_role(user, Role::Admin).await.unwrap();
    assert!(since(&ada, id) > admitted, "a new role has a new time");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_admits_a_user_unasked_is_offered_to_them() {
    let mut net = Net::seeded(3).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let mut events = ben.node().events();
    let id = ada.node().create_group("home").await.unwrap().id();
    write(&ada, id, "basil").await;
    group(&ada, id).add_member(ben.node().user_id(), Role::Writer).await.unwrap();

    until(&net, "the group is offered to ben", || state(&ben, id).is_some()).await;
    assert_eq!(state(&ben, id), Some(("home".into(), GroupState::Offered, Role::Writer)));
    let offered = Event::Offered { group: id, role: Role::Writer, by: ada.node().user_id() };
    assert_eq!(received(&mut events).into_iter().filter(|event| *event == offered).count(), 1);
    assert!(matches!(ben.node().group(id), Err(GroupError::Unknown(_))), "an offered group is not open");
    net.sleep(A_WHILE).await;
    assert!(group(&ada, id).status().await.is_ok());
    assert!(ada.node().status().await.unwrap().groups[0].peers.is_empty(), "no session with ben");
    net.crash(&ben).await;
    net.restart(&ben).await;
    net.sleep(A_WHILE).await;
    assert_eq!(state(&ben, id).unwrap().1, GroupState::Offered, "offered again by ada after the restart");

    ben.node().request_group(id).await.unwrap();
    until(&net, "the group is active", || state(&ben, id).unwrap().1 == GroupState::Active).await;
    net.settle().await;
    assert_eq!(titles(&tasks(&ben, id)), ["basil"]);
    assert_eq!(ben.node().groups().len(), 1, "listed once");

    group(&ben, id).leave().await.unwrap();
    net.sleep(A_WHILE).await;
    assert_eq!(state(&ben, id), None, "what was left is not offered");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn groups_offered_by_strangers_are_bounded() {
    let mut net = Net::seeded(4);
    let [ben] = net.nodes(["ben"]).await;
    let user = ben.node().user_id();
    // Each stranger offers more than one link may, and together they fill all places for offers.
    for name in ["eve", "mal", "max", "mia", "rob", "zoe"] {
        let [stranger] = net.nodes([name]).await;
        for number in 0..10 {
            let group = stranger.node().create_group(&format!("{name} {number}")).await.unwrap();
            group.add_member(user, Role::Writer).await.unwrap();
        }
        net.sleep(Duration::from_secs(10)).await;
        let theirs = ben.node().groups().into_iter().filter(|info| info.name.starts_with(name)).count();
        assert!(theirs <= 8, "{theirs} of {name}");
    }
    assert_eq!(ben.node().groups().len(), 32);

    // An offer of a user who shares a group with ben still finds a place.
    let [ada] = net.nodes(["ada"]).await;
    net.group("known", &[&ada, &ben]).await;
    let second = ada.node().create_group("second").await.unwrap();
    second.add_member(user, Role::Reader).await.unwrap();
    until(&net, "ada's group is offered", || state(&ben, second.id()).is_some()).await;
    net.close().await;
}

/// The ledger of a group that `founder` created, with these users as Writers.
fn ledger(founder: &DeviceIdentity, users: &[UserId]) -> (GroupId, Vec<Envelope>) {
    let by = || By::Device(founder.certificate.envelope().clone());
    let author = founder.user();
    let created = Ledger::create([7; 32], vec![author], "trap", author, by(), &founder.signing);
    let mut ledger = created.unwrap().0;
    for user in users {
        let body = Body::SetRole { user: *user, role: Role::Writer, cut: None, via: None };
        let op = Signed::sign(ledger.draft(author, by(), body).unwrap(), &founder.signing);
        ledger.admit(op.envelope().clone()).unwrap();
    }
    (ledger.group(), ledger.envelopes().cloned().collect())
}

/// Ben's node, and a function that links a handmade peer to it.
async fn listening() -> (Node, impl AsyncFn() -> HandmadePeer) {
    let clock = Clock::simulated(1);
    let network = MemoryNetwork::seeded(clock.clone(), 1).latency_ms(1..20);
    let ben = Node::in_memory_builder().network(&network, "ben").open().await.unwrap();
    ben.listen("memory://ben").await.unwrap();
    (ben, async move || HandmadePeer::dial(&network, &clock, identity(4), "memory://ben").await)
}

#[tokio::test(start_paused = true)]
async fn an_offer_needs_valid_ops_and_a_sender_who_is_a_member() {
    let (ben, dial) = listening().await;
    let mut stranger = dial().await;
    let (own, other) = (stranger.identity.clone(), identity(5));
    let (anothers, ops_of_another) = ledger(&other, &[ben.user_id()]);
    let (without, ops_without) = ledger(&own, &[other.user()]);
    let (id, ops) = ledger(&own, &[ben.user_id()]);
    let mut forged = ops.clone();
    forged[1].payload[10] ^= 1;
    let orphan = vec![ops[1].clone()];
    for (group, ops) in [
        (anothers, ops_of_another),
        (without, ops_without),
        (id, forged),
        (id, orphan),
        (anothers, ops.clone()),
        (id, Vec::new()),
    ] {
        stranger.send(&LinkFrame::Present { group, ops, manifests: Vec::new() }).await;
    }
    let mut events = ben.events();
    stranger.send(&LinkFrame::Present { group: id, ops, manifests: Vec::new() }).await;
    let offered = Event::Offered { group: id, role: Role::Writer, by: own.user() };
    while events.recv().await.unwrap() != offered {}
    let info: Vec<_> = ben.groups().into_iter().map(|info| (info.id, info.name, info.offered_by)).collect();
    assert_eq!(info, [(id, "trap".to_owned(), Some(own.user()))], "only the valid offer");

    ben.block(own.user()).await.unwrap();
    assert_eq!(ben.groups(), [], "the offer of a blocked user is dropped");
    ben.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_device_receives_only_a_bye() {
    let (ben, dial) = listening().await;
    let mut before = dial().await;
    let user = before.identity.user();
    let home = ben.create_group("home").await.unwrap();
    home.add_member(user, Role::Writer).await.unwrap();
    let is_announced = |frame| matches!(frame, LinkFrame::Hello(hello) if hello.groups.len() == 1);
    while !is_announced(before.receive().await.unwrap()) {}
    let bye = LinkFrame::Bye { reason: ByeReason::NotAuthorized };

    ben.block(user).await.unwrap();
    assert_eq!(before.frames_until_silence().await.last(), Some(&bye), "on the open link");
    let mut again = dial().await;
    again.announce(home.id()).await;
    assert_eq!(again.frames_until_silence().await, [bye], "on the next link, although a member");

    ben.unblock(user).await.unwrap();
    assert!(is_announced(dial().await.receive().await.unwrap()));
    ben.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_user_receives_nothing_until_unblocked() {
    let mut net = Net::seeded(5).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    write(&ada, home, "before").await;
    net.settle().await;
    let user = ben.node().user_id();

    ada.node().block(user).await.unwrap();
    write(&ada, home, "while blocked").await;
    write(&ben, home, "to nobody").await;
    net.sleep(A_WHILE).await;

    assert_eq!(ada.node().blocked().unwrap(), [user]);
    assert_eq!(ada.node().status().await.unwrap().blocked, [user]);
    assert!(!is_linked(&ada, &ben).await);
    assert_eq!(titles(&tasks(&ben, home)), ["before", "to nobody"]);
    assert_eq!(titles(&tasks(&ada, home)), ["before", "while blocked"]);
    let ends = ben.node().status().await.unwrap().ended;
    let bye = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
    assert!(ends.iter().any(|ended| ended.end == bye), "the reason that strangers receive: {ends:?}");
    let mut events = ada.node().events();
    net.sleep(A_WHILE).await;
    assert_eq!(received(&mut events), [], "dials of a blocked user raise no event");

    net.crash(&ada).await;
    net.restart(&ada).await;
    net.sleep(A_WHILE).await;
    assert_eq!(ada.node().blocked().unwrap(), [user], "the block is stored");
    assert_eq!(titles(&tasks(&ben, home)), ["before", "to nobody"]);

    ada.node().unblock(user).await.unwrap();
    until(&net, "they have synced", || titles(&tasks(&ben, home)).len() == 3).await;
    net.settle().await;
    net.assert_converged();
    assert_eq!(ada.node().blocked().unwrap(), []);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_is_blocked_on_all_devices_and_remains_in_the_groups() {
    let mut net = Net::seeded(6).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let phone = net.device_of(&ada, "phone").await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    until(&net, "the phone has opened the group", || {
        state(&phone, home).is_some_and(|state| state.1 == GroupState::Active)
    })
    .await;
    net.settle().await;

    phone.node().block(ben.node().user_id()).await.unwrap();
    until(&net, "the laptop receives the block", || !ada.node().blocked().unwrap().is_empty()).await;
    net.sleep(A_WHILE).await;
    for device in [&ada, &phone] {
        assert!(!is_linked(device, &ben).await && is_linked(device, &cid).await, "{}", device.name());
    }

    write(&ada, home, "from ada").await;
    until(&net, "cid relays the row", || titles(&tasks(&ben, home)) == ["from ada"]).await;
    net.close().await;
}

#[tokio::test]
async fn blocking_oneself_is_refused_and_unblocking_an_unblocked_user_does_nothing() {
    let (node, _) = home().await;
    let other = Node::in_memory().await.unwrap().user_id();
    let refused = node.block(node.user_id()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused:?}");
    node.unblock(other).await.unwrap();
    assert_eq!(node.blocked().unwrap(), []);
    node.close().await;
}

/// A rate limit per device would not bound a stranger who comes back under new keys, so strangers share one.
#[tokio::test(start_paused = true)]
async fn strangers_under_new_keys_share_one_rate_limit() {
    let clock = Clock::simulated(2);
    let network = MemoryNetwork::seeded(clock.clone(), 2);
    let ben = Node::in_memory_builder().network(&network, "ben").open().await.unwrap();
    ben.listen("memory://ben").await.unwrap();
    for seed in 10..34 {
        let mut mal = HandmadePeer::dial(&network, &clock, identity(seed), "memory://ben").await;
        let (group, ops) = ledger(&mal.identity, &[ben.user_id()]);
        mal.send(&LinkFrame::Present { group, ops, manifests: Vec::new() }).await;
        mal.patience = Duration::from_millis(1);
        mal.frames_until_silence().await;
    }
    assert!(clock.instant() < Duration::from_secs(1));
    assert_eq!(ben.groups().len(), 8);
    ben.close().await;
}

/// Every user can sign a certificate for any device key, and mal's role here is higher than ben's.
#[tokio::test(start_paused = true)]
async fn a_certificate_for_the_device_of_another_user_does_not_change_authors() {
    let (ben, dial) = listening().await;
    let home = ben.create_group("home").await.unwrap();
    home.table(TASKS).put("basil", &task("sow it")).await.unwrap();
    let mal = dial().await;
    let user = mal.identity.user();
    home.add_member(user, Role::Founder).await.unwrap();
    home.set_role(ben.user_id(), Role::Admin).await.unwrap();
    home.table(TASKS).put("basil", &task("water it")).await.unwrap();

    let mut mal = HandmadeMember::open(mal, home.id()).await;
    let (device, label) = (ben.device_id(), "mine".to_owned());
    let claim = DeviceCert { version: 1, user, device, agreement: [7; 32], label };
    let certificates = vec![Signed::sign(claim, &user_key(&[4])).envelope().clone()];
    let (ops, revocations, records, last) = (Vec::new(), Vec::new(), Vec::new(), false);
    mal.send(GroupFrame::Ledger(LedgerFrame::Push { ops, certificates, revocations, records, last })).await;
    mal.run().await;
    let claims =
        home.members().into_iter().filter(|member| member.devices.iter().any(|it| it.device == device));
    assert_eq!(claims.count(), 2);

    let history = home.table(TASKS).history("basil").await.unwrap();
    let authors: Vec<_> = history.iter().map(|revision| (revision.author, revision.device)).collect();
    assert_eq!(authors, [(Some(ben.user_id()), Some(device)); 2]);
    ben.close().await;
}
