//! Tickets: who is admitted by one, who is declined and why, and how little a stranger who redeems one
//! learns.

use std::time::Duration;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::error::Waiting;
use peerbase::group::{DeclineReason, InviteStatus};
use peerbase::sim::{Net, Peer};
use peerbase::{
    ErrorKind, Event, Group, GroupError, GroupId, GroupState, InviteOptions, JoinError, Node, Role, Ticket,
};
use schema::handshake::LinkRole;
use schema::ledger::InviteProof;
use schema::wire::hello::{self, Hello};
use schema::wire::link::{ByeReason, Join, LinkFrame};

use crate::support::handmade::{HandmadePeer, identity};
use crate::support::{group, task, tasks, titles};

/// Long enough for every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Ada's group with one row.
async fn create_home(ada: &Peer) -> Group {
    let home = ada.node().create_group("home").await.unwrap();
    tasks(ada, home.id()).put("a", &task("basil")).await.unwrap();
    home
}

async fn declined(peer: &Peer, ticket: &Ticket) -> DeclineReason {
    match peer.node().join(ticket).await {
        Err(JoinError::Declined { group, reason }) if group == ticket.group() => reason,
        other => panic!("{other:?}"),
    }
}

fn state(peer: &Peer, id: GroupId) -> Option<(GroupState, Role)> {
    let info = peer.node().groups().into_iter().find(|info| info.id == id)?;
    Some((info.state, info.role))
}

#[tokio::test(start_paused = true)]
async fn a_ticket_admits_a_stranger_with_the_role_it_names() {
    for role in [Role::Reader, Role::Writer] {
        let mut net = Net::seeded(1).latency_ms(5..40);
        let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
        let home = create_home(&ada).await;
        let mut of_ada = ada.node().events();

        let ticket: Ticket = home.invite(role).await.unwrap().to_string().parse().unwrap();
        assert_eq!(ticket.addresses(), ["memory://ada"]);
        let joined = ben.node().join(&ticket).await.unwrap();

        assert_eq!((joined.info().name.as_str(), joined.info().role), ("home", role));
        joined.synced(A_WHILE).await.unwrap();
        assert_eq!(titles(&tasks(&ben, home.id())), ["basil"]);
        let writes = tasks(&ben, home.id()).put("b", &task("rope")).await;
        assert_eq!(writes.is_ok(), role == Role::Writer);
        net.sleep(A_WHILE).await;
        net.assert_converged();
        let admitted = Event::RoleChanged { group: home.id(), user: ben.node().user_id(), role };
        assert!(std::iter::from_fn(|| of_ada.try_recv().ok()).any(|event| event == admitted));
        // For a member the ticket changes nothing.
        assert_eq!(ben.node().join(&ticket).await.unwrap().id(), home.id());
        assert_eq!(ada.node().join(&ticket).await.unwrap().id(), home.id());
        net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_admits_no_more_users_than_it_has_uses() {
    let mut net = Net::seeded(2).latency_ms(5..40);
    let [ada, ben, cid, dan] = net.nodes_apart(["ada", "ben", "cid", "dan"]).await;
    let home = create_home(&ada).await;
    let ticket = home.invite_with(InviteOptions::new(Role::Writer).uses(2)).await.unwrap();

    ben.node().join(&ticket).await.unwrap();
    cid.node().join(&ticket).await.unwrap();

    assert_eq!(declined(&dan, &ticket).await, DeclineReason::UsedUp);
    assert_eq!(state(&dan, home.id()), None, "a declined join leaves no group behind");
    assert_eq!(home.members().len(), 3);
    net.sleep(A_WHILE).await;
    net.assert_converged();
    assert_eq!(titles(&tasks(&cid, home.id())), ["basil"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_ticket_expires_by_the_clock_of_the_admitting_device() {
    let mut net = Net::seeded(3).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    let home = create_home(&ada).await;
    let hour = Duration::from_secs(3_600);
    let short = home.invite_with(InviteOptions::new(Role::Reader).valid_for(hour)).await.unwrap();
    let usual = home.invite_with(InviteOptions::new(Role::Reader).uses(2)).await.unwrap();

    let pass_time = async |net: &mut Net, time: Duration| {
        // All nodes are stopped meanwhile: a week of pings would take long even in virtual time.
        net.crash(&ada).await;
        net.sleep(time).await;
        net.restart(&ada).await;
    };
    pass_time(&mut net, hour + Duration::from_secs(1)).await;
    assert_eq!(declined(&ben, &short).await, DeclineReason::Expired);
    ben.node().join(&usual).await.unwrap();
    net.crash(&ben).await;
    pass_time(&mut net, WEEK).await;
    assert_eq!(declined(&cid, &usual).await, DeclineReason::Expired);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_join_without_a_reachable_member_is_pending_and_succeeds_later() {
    let mut net = Net::seeded(5).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    let ticket = home.invite(Role::Writer).await.unwrap();
    net.crash(&ada).await;

    let pending = ben.node().join(&ticket).await.unwrap_err();
    assert!(
        matches!(pending, JoinError::Pending { group, why: Waiting::NotReached } if group == home.id()),
        "{pending:?}"
    );
    assert_eq!(pending.kind(), ErrorKind::Busy);
    assert_eq!(state(&ben, home.id()), Some((GroupState::Pending, Role::None)));

    // The intent and the ticket's addresses survive a restart of the joiner.
    net.crash(&ben).await;
    net.restart(&ben).await;
    assert_eq!(state(&ben, home.id()), Some((GroupState::Pending, Role::None)));
    let mut of_ben = ben.node().events();
    net.restart(&ada).await;
    net.sleep(A_WHILE).await;

    assert_eq!(state(&ben, home.id()), Some((GroupState::Active, Role::Writer)));
    assert_eq!(titles(&tasks(&ben, home.id())), ["basil"]);
    let joined = Event::Joined { group: home.id(), role: Role::Writer };
    assert!(std::iter::from_fn(|| of_ben.try_recv().ok()).any(|event| event == joined));

    // After the join, the inviter's address is known.
    net.crash(&ben).await;
    tasks(&ada, home.id()).put("b", &task("rope")).await.unwrap();
    net.restart(&ben).await;
    group(&ben, home.id()).synced(A_WHILE).await.unwrap();
    assert_eq!(titles(&tasks(&ben, home.id())), ["basil", "rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn any_admins_device_admits_the_holder_of_another_admins_ticket() {
    let mut net = Net::seeded(6).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    let home = create_home(&ada).await;
    ben.node().join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();
    let ticket = home.invite(Role::Writer).await.unwrap();
    net.sleep(A_WHILE).await;
    net.crash(&ada).await;

    // A Writer's device knows the invitation but may not admit.
    cid.node().connect("memory://ben").await.unwrap();
    let short = Duration::from_secs(10);
    assert!(matches!(cid.node().join_within(&ticket, short).await, Err(JoinError::Pending { .. })));
    net.restart(&ada).await;
    net.sleep(A_WHILE).await;
    assert_eq!(state(&cid, home.id()), Some((GroupState::Active, Role::Writer)));

    let home = group(&ada, home.id());
    home.add_member(ben.node().user_id(), Role::Admin).await.unwrap();
    let ticket = home.invite(Role::Reader).await.unwrap();
    net.sleep(A_WHILE).await;
    net.crash(&ada).await;
    let [dan] = net.nodes_apart(["dan"]).await;
    dan.node().connect("memory://ben").await.unwrap();
    dan.node().join(&ticket).await.unwrap();
    dan.node().group(home.id()).unwrap().synced(A_WHILE).await.unwrap();
    assert_eq!(titles(&tasks(&dan, home.id())), ["basil"]);
    net.close().await;
}

/// Ada's group with ben as a second Admin, and a single-use ticket whose invitation both know.
async fn two_admins(net: &mut Net) -> (Group, [Peer; 4], Ticket) {
    let peers = net.nodes_apart(["ada", "ben", "cid", "dan"]).await;
    let [ada, ben, ..] = &peers;
    let home = create_home(ada).await;
    ben.node().join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();
    home.set_role(ben.node().user_id(), Role::Admin).await.unwrap();
    let ticket = home.invite(Role::Writer).await.unwrap();
    net.sleep(A_WHILE).await;
    (home, peers, ticket)
}

#[tokio::test(start_paused = true)]
async fn status_shows_a_decline_that_arrived_after_the_join_call_returned() {
    let mut net = Net::seeded(12).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    let ticket = home.invite(Role::Writer).await.unwrap();
    net.partition(&[&[&ada], &[&ben]]);
    ben.node().join(&ticket).await.unwrap_err();
    let declined_status =
        async |ben: &Peer| ben.node().status().await.unwrap().groups.pop().unwrap().declined;
    assert_eq!(declined_status(&ben).await, None);

    home.close_invite(ticket.invite()).await.unwrap();
    net.heal();
    net.sleep(A_WHILE).await;
    let status = declined_status(&ben).await.unwrap();
    assert_eq!(status.reason, DeclineReason::Closed);
    assert_eq!(state(&ben, home.id()), Some((GroupState::Pending, Role::None)));
    net.crash(&ben).await;
    net.restart(&ben).await;
    assert_eq!(declined_status(&ben).await, Some(status), "after a restart too");

    let another = home.invite(Role::Writer).await.unwrap();
    ben.node().join(&another).await.unwrap();
    assert_eq!(declined_status(&ben).await, None);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_ticket_admits_nobody_on_devices_that_know_it_is_closed() {
    let mut net = Net::seeded(9).latency_ms(5..40);
    let (home, [ada, ben, cid, dan], ticket) = two_admins(&mut net).await;
    net.partition(&[&[&ada, &cid], &[&ben, &dan]]);

    home.close_invite(ticket.invite()).await.unwrap();
    home.close_invite(ticket.invite()).await.unwrap();
    assert_eq!(declined(&cid, &ticket).await, DeclineReason::Closed);
    assert_eq!(state(&cid, home.id()), None);
    // Ben's device does not know that the ticket is closed and admits dan. The admission stands and is shown.
    dan.node().connect("memory://ben").await.unwrap();
    dan.node().join(&ticket).await.unwrap();
    net.heal();
    net.sleep(A_WHILE).await;

    net.assert_converged();
    assert_eq!(group(&dan, home.id()).info().role, Role::Writer);
    for peer in [&ada, &ben, &dan] {
        let invites = group(peer, home.id()).invites().await.unwrap();
        let [used_up, closed] = invites[..] else { panic!("{invites:?}") };
        assert_eq!((used_up.status, used_up.used), (InviteStatus::UsedUp, 1));
        assert_eq!((closed.id, closed.author), (ticket.invite(), ada.node().user_id()));
        assert_eq!((closed.status, closed.used, closed.uses), (InviteStatus::Closed, 1, 1));
        assert_eq!(closed.role, Role::Writer);
    }
    let unknown = home.close_invite(schema::OpId([7; 32])).await.unwrap_err();
    let by_writer = group(&dan, home.id()).close_invite(ticket.invite()).await;
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(by_writer.is_ok(), "closing a closed ticket succeeds and signs nothing");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn partitioned_admins_can_each_admit_with_one_single_use_ticket_and_all_see_two_uses() {
    let mut net = Net::seeded(10).latency_ms(5..40);
    let (home, [ada, ben, cid, dan], ticket) = two_admins(&mut net).await;
    net.partition(&[&[&ada, &cid], &[&ben, &dan]]);

    cid.node().join(&ticket).await.unwrap();
    dan.node().connect("memory://ben").await.unwrap();
    dan.node().join(&ticket).await.unwrap();
    net.heal();
    net.sleep(A_WHILE).await;

    net.assert_converged();
    for peer in [&ada, &ben, &cid, &dan] {
        let home = group(peer, home.id());
        assert_eq!(home.members().len(), 4, "as {} sees it", peer.name());
        let invites = home.invites().await.unwrap();
        let twice = invites.iter().find(|invite| invite.id == ticket.invite()).unwrap();
        assert_eq!((twice.status, twice.used, twice.uses), (InviteStatus::UsedUp, 2, 1));
    }
    tasks(&dan, home.id()).put("d", &task("rope")).await.unwrap();
    tasks(&cid, home.id()).put("c", &task("hose")).await.unwrap();
    net.sleep(A_WHILE).await;
    net.assert_converged();
    assert_eq!(titles(&tasks(&ada, home.id())), ["basil", "hose", "rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_joiner_does_not_accept_a_ledger_older_than_its_ticket() {
    let mut net = Net::seeded(7).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    let home = create_home(&ada).await;
    ben.node().join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();
    home.add_member(ben.node().user_id(), Role::Admin).await.unwrap();
    net.sleep(A_WHILE).await;
    net.partition(&[&[&ada], &[&ben, &cid]]);
    let ticket = home.invite(Role::Writer).await.unwrap();

    // Ben does not know of the invitation and adds cid directly.
    group(&ben, home.id()).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().connect("memory://ben").await.unwrap();
    let pending = cid.node().join(&ticket).await.unwrap_err();

    assert!(matches!(pending, JoinError::Pending { why: Waiting::OldLedger, .. }), "{pending:?}");
    assert_eq!(state(&cid, home.id()).unwrap().0, GroupState::Pending);
    assert_eq!(
        titles(&tasks(&cid, home.id())),
        Vec::<String>::new(),
        "no row is shown from a ledger older than the ticket"
    );
    assert!(tasks(&cid, home.id()).put("b", &task("rope")).await.is_err());

    net.heal();
    net.sleep(A_WHILE).await;
    assert_eq!(state(&cid, home.id()).unwrap().0, GroupState::Active);
    assert_eq!(titles(&tasks(&cid, home.id())), ["basil"]);
    tasks(&cid, home.id()).put("b", &task("rope")).await.unwrap();
    net.sleep(A_WHILE).await;
    net.assert_converged();
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_used_up_ticket_does_not_block_a_second_valid_one() {
    let mut net = Net::seeded(10).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    let home = create_home(&ada).await;
    let good = home.invite(Role::Writer).await.unwrap();
    let used = home.invite(Role::Reader).await.unwrap();
    cid.node().join(&used).await.unwrap();
    net.crash(&ada).await;

    for ticket in [&good, &used] {
        assert!(matches!(ben.node().join(ticket).await, Err(JoinError::Pending { .. })));
    }
    net.restart(&ada).await;
    net.sleep(A_WHILE).await;

    assert_eq!(state(&ben, home.id()), Some((GroupState::Active, Role::Writer)));
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_ticket_blocks_neither_admission_nor_membership() {
    let mut net = Net::seeded(11).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    let (unknown, id) = (schema::OpId([7; 32]), home.id());
    let bogus = Ticket::new(id, unknown, [7; 16], ada.node().device_id(), unknown, Vec::new()).unwrap();

    assert!(matches!(ben.node().join(&bogus).await, Err(JoinError::Pending { .. })));
    ben.node().group(id).unwrap().leave().await.unwrap();
    ben.node().request_group(id).await.unwrap();
    home.add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    net.sleep(A_WHILE).await;

    assert_eq!(state(&ben, id), Some((GroupState::Active, Role::Writer)));
    assert_eq!(titles(&tasks(&ben, id)), ["basil"]);
    // An unknown ticket does not end an existing membership either.
    assert!(matches!(ben.node().join(&bogus).await, Err(JoinError::Pending { .. })));
    assert_eq!(state(&ben, id), Some((GroupState::Active, Role::Writer)));
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_join_is_retried_over_an_existing_link() {
    let mut net = Net::seeded(12).latency_ms(5..40);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    group(&ada, home).add_member(ben.node().user_id(), Role::Admin).await.unwrap();
    net.group("other", &[&ben, &cid]).await;
    net.partition(&[&[&ada], &[&ben, &cid]]);
    let ticket = group(&ada, home).invite(Role::Writer).await.unwrap();

    // Cid is linked to ben only, who does not know the invitation yet.
    assert!(matches!(cid.node().join(&ticket).await, Err(JoinError::Pending { .. })));
    let since = async || cid.node().status().await.unwrap().links[0].since;
    let linked = since().await;
    net.heal();
    net.cut(&ada, &cid);
    net.sleep(A_WHILE).await;

    assert_eq!(state(&cid, home), Some((GroupState::Active, Role::Writer)));
    assert_eq!(since().await, linked, "the existing link was used");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_unaware_of_their_removal_learns_it_by_presenting_a_ticket() {
    let mut net = Net::seeded(13).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    ben.node().join(&home.invite(Role::Reader).await.unwrap()).await.unwrap();
    let user = ben.node().user_id();
    net.crash(&ben).await;
    home.set_role(user, Role::None).await.unwrap();
    let ticket = home.invite(Role::Reader).await.unwrap();
    net.restart(&ben).await;

    assert_eq!(declined(&ben, &ticket).await, DeclineReason::Removed);
    net.close().await;
}

/// Ben has a ticket of ada, whose node is off.
async fn inviter_offline(seed: u64) -> (Net, Peer, Ticket) {
    let mut net = Net::seeded(seed).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let ticket = create_home(&ada).await.invite(Role::Writer).await.unwrap();
    net.crash(&ada).await;
    (net, ben, ticket)
}

#[tokio::test(start_paused = true)]
async fn leaving_the_group_ends_a_pending_join() {
    let (net, ben, ticket) = inviter_offline(14).await;
    let node = ben.node();

    let (joined, ()) = tokio::join!(node.join_within(&ticket, A_WHILE), async {
        net.sleep(Duration::from_secs(1)).await;
        node.group(ticket.group()).unwrap().leave().await.unwrap();
    });

    assert!(matches!(joined, Err(JoinError::Left { group }) if group == ticket.group()), "{joined:?}");
    assert_eq!(state(&ben, ticket.group()), None);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_node_ends_a_pending_join() {
    let (net, ben, ticket) = inviter_offline(9).await;
    let node = ben.node();

    let (joined, ()) = tokio::join!(node.join_within(&ticket, A_WHILE), async {
        net.sleep(Duration::from_secs(1)).await;
        node.close().await;
    });

    assert!(matches!(joined, Err(JoinError::Closed)), "{joined:?}");
}

#[tokio::test(start_paused = true)]
async fn inviting_without_the_right_to_fails_with_not_allowed() {
    let mut net = Net::seeded(8).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    let joined = ben.node().join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();

    let by_writer = joined.invite(Role::Reader).await.unwrap_err();
    let to_admin = home.invite(Role::Admin).await.unwrap_err();
    let to_nothing = home.invite(Role::None).await.unwrap_err();
    let for_nobody = home.invite_with(InviteOptions::new(Role::Reader).uses(0)).await.unwrap_err();

    assert_eq!((by_writer.kind(), to_admin.kind()), (ErrorKind::NotAllowed, ErrorKind::NotAllowed));
    let open = home.invite(Role::Reader).await.unwrap().invite();
    net.sleep(A_WHILE).await;
    assert_eq!(joined.close_invite(open).await.unwrap_err().kind(), ErrorKind::NotAllowed);
    assert!(matches!((to_nothing, for_nobody), (GroupError::Invitation, GroupError::Invitation)));
    net.close().await;
}

/// Ada's node, her group, and a hand-made peer that is linked to her.
async fn mallory() -> (Node, Group, HandmadePeer) {
    let (network, clock, ada, home) = listening_ada().await;
    let mallory = HandmadePeer::dial(&network, &clock, identity(4), "memory://ada").await;
    (ada, home, mallory)
}

/// Ada listens and has a group.
async fn listening_ada() -> (MemoryNetwork, Clock, Node, Group) {
    let clock = Clock::simulated(1);
    let network = MemoryNetwork::seeded(clock.clone(), 1).latency_ms(1..20);
    let ada = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
    ada.listen("memory://ada").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    (network, clock, ada, home)
}

/// Every frame from the node until the link ends or stays silent.
async fn all_frames(stranger: &mut HandmadePeer) -> Vec<LinkFrame> {
    let mut heard = Vec::new();
    while let Some(frame) = stranger.receive().await {
        heard.push(frame);
    }
    heard
}

/// The last frame to a peer that shares no group.
const FAREWELL: LinkFrame = LinkFrame::Bye { reason: ByeReason::NotAuthorized };

#[tokio::test(start_paused = true)]
async fn an_overheard_or_forged_invite_proof_gets_no_answer() {
    let (_ada, home, mut mallory) = mallory().await;
    let ticket = home.invite(Role::Writer).await.unwrap();
    let (id, invite, ben, own) = (home.id(), ticket.invite(), identity(2), mallory.identity.clone());
    let key = Ticket::key_of(&ticket.seed(), id);
    let of_ben = InviteProof::sign(&key, id, invite, ben.user(), ben.device());
    let guessed = Ticket::key_of(&[0; 16], id);

    let good = InviteProof::sign(&key, id, invite, own.user(), own.device());
    for (proof, group, named) in [
        (of_ben, id, invite),
        (InviteProof::sign(&key, id, invite, own.user(), ben.device()), id, invite),
        (InviteProof::sign(&guessed, id, invite, own.user(), own.device()), id, invite),
        (good, id, schema::OpId([7; 32])),
        (good, GroupId([7; 32]), invite),
    ] {
        let h = mallory.link.established.h;
        let token = hello::token(group, &h, LinkRole::Initiator);
        let invite = hello::invite_token(named, &h);
        mallory.send(&LinkFrame::Join(Join { token, invite, signature: proof.signature })).await;
    }

    assert_eq!(all_frames(&mut mallory).await, [LinkFrame::Hello(Hello::default()), FAREWELL]);
    assert_eq!(home.members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_who_presents_a_ticket_is_declined_as_removed() {
    let (network, clock, _ada, home) = listening_ada().await;
    let user = identity(4).user();
    home.add_member(user, Role::Reader).await.unwrap();
    home.set_role(user, Role::None).await.unwrap();
    let mut ben = HandmadePeer::dial(&network, &clock, identity(4), "memory://ada").await;
    let ticket = home.invite(Role::Reader).await.unwrap();
    let (id, h) = (home.id(), ben.link.established.h);
    let key = Ticket::key_of(&ticket.seed(), id);
    let proof = InviteProof::sign(&key, id, ticket.invite(), user, ben.identity.device());

    let (token, invite) =
        (hello::token(id, &h, LinkRole::Initiator), hello::invite_token(ticket.invite(), &h));
    ben.send(&LinkFrame::Join(Join { token, invite, signature: proof.signature })).await;

    let token = hello::token(id, &h, LinkRole::Responder);
    let declined = LinkFrame::Declined { token, invite, reason: DeclineReason::Removed };
    let heard = all_frames(&mut ben).await;
    assert!(heard.ends_with(&[declined, FAREWELL]), "{heard:?}");
    assert!(home.members().iter().all(|member| member.user != user));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_copies_of_one_join_admit_its_sender_once() {
    let (_ada, home, mut mallory) = mallory().await;
    let ticket = home.invite(Role::Reader).await.unwrap();
    let own = mallory.identity.clone();
    let key = Ticket::key_of(&ticket.seed(), home.id());
    let proof = InviteProof::sign(&key, home.id(), ticket.invite(), own.user(), own.device());
    let token = hello::token(home.id(), &mallory.link.established.h, LinkRole::Initiator);

    let invite = hello::invite_token(ticket.invite(), &mallory.link.established.h);
    for _ in 0..200 {
        mallory.send(&LinkFrame::Join(Join { token, invite, signature: proof.signature })).await;
    }

    let heard = all_frames(&mut mallory).await;
    let announced =
        heard.iter().filter(|frame| matches!(frame, LinkFrame::Hello(hello) if hello.groups.len() == 1));
    assert_eq!(announced.count(), 1, "{heard:?}");
    assert_eq!(home.members().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_redeems_a_writer_ticket_is_told_they_stay_a_reader() {
    let mut net = Net::seeded(15).latency_ms(5..40);
    let [ada, ben] = net.nodes_apart(["ada", "ben"]).await;
    let home = create_home(&ada).await;
    ben.node().join(&home.invite(Role::Reader).await.unwrap()).await.unwrap();
    let ticket = home.invite(Role::Writer).await.unwrap();
    net.sleep(A_WHILE).await;

    let joined = ben.node().join(&ticket).await;

    let is_told = |error: &JoinError| {
        matches!(error, JoinError::AlreadyIn { role: Role::Reader, ticket: Role::Writer, .. })
    };
    assert!(joined.as_ref().is_err_and(is_told), "{joined:?}");
    home.set_role(ben.node().user_id(), Role::Writer).await.unwrap();
    net.sleep(A_WHILE).await;
    assert!(ben.node().join(&ticket).await.is_ok(), "no more than they have");
    net.close().await;
}
