//! A lost device is revoked: at once, in all groups, for good.

use std::time::Duration;

use peerbase::group::{MemberOp, OpAction};
use peerbase::node::{Device, EndedLink, LinkEnd};
use peerbase::sim::{Net, Peer};
use peerbase::{ErrorKind, GroupError, GroupId, JoinError, Node, Role};
use schema::wire::link::ByeReason;

use crate::support::{group, task, tasks, titles, until};

/// Long enough for every retry of a dial, and for links without a common group to end.
const A_WHILE: Duration = Duration::from_secs(180);

fn has(peer: &Peer, id: GroupId, count: usize) -> bool {
    peer.node().group(id).is_ok() && titles(&tasks(peer, id)).len() == count
}

async fn write(peer: &Peer, id: GroupId, key: &str) {
    tasks(peer, id).put(key, &task(key)).await.unwrap();
}

async fn devices(peer: &Peer) -> Vec<Device> {
    peer.node().devices().await.unwrap()
}

/// Returns true if a peer is linked to a device and shares groups with it.
async fn shares_with(peer: &Peer, other: &Peer) -> bool {
    let status = peer.node().status().await.unwrap();
    status.groups.iter().any(|report| report.peers.iter().any(|peer| peer.device == other.node().device_id()))
}

/// Ada's laptop, tablet and phone, and ben, in two groups with one row each.
async fn household(net: &mut Net) -> ([Peer; 4], [GroupId; 2]) {
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let phone = net.device_of(&ada, "phone").await;
    let tablet = net.device_of(&ada, "tablet").await;
    let home = net.group("home", &[&ada, &ben]).await;
    let club = net.group("club", &[&ben, &ada]).await;
    for id in [home, club] {
        write(&ada, id, "before").await;
        for peer in [&ben, &phone, &tablet] {
            until(net, "everybody has the first row", || has(peer, id, 1)).await;
        }
    }
    ([ada, ben, phone, tablet], [home, club])
}

#[tokio::test(start_paused = true)]
async fn the_devices_of_a_user_are_listed_by_what_they_are_called() {
    let mut net = Net::seeded(1);
    let ([ada, ben, phone, tablet], _) = household(&mut net).await;

    for peer in [&ada, &phone, &tablet] {
        let listed = devices(peer).await;
        for (device, label) in [(&ada, "ada"), (&phone, "phone"), (&tablet, "tablet")] {
            let expected = Device {
                id: device.node().device_id(),
                label: label.into(),
                is_revoked: false,
                is_this: device.name() == peer.name(),
            };
            assert!(listed.contains(&expected), "{listed:?} at {}", peer.name());
        }
        assert_eq!(listed.len(), 3);
    }
    assert_eq!(devices(&ben).await.len(), 1, "nobody else's are among them");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_gets_no_rows_from_a_device_that_has_the_revocation() {
    let mut net = Net::seeded(2).latency_ms(5..40);
    let ([ada, ben, phone, tablet], groups) = household(&mut net).await;
    assert!(shares_with(&ada, &phone).await && shares_with(&ben, &phone).await);

    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    assert!(!shares_with(&ada, &phone).await, "at once");
    net.sleep(A_WHILE).await;
    assert!(!shares_with(&ben, &phone).await && !shares_with(&tablet, &phone).await);
    for (peer, key) in [(&ada, "by ada"), (&ben, "by ben"), (&tablet, "by her tablet")] {
        for id in groups {
            write(peer, id, key).await;
        }
    }
    net.sleep(A_WHILE).await;

    for id in groups {
        assert!([&ada, &ben, &tablet].iter().all(|peer| has(peer, id, 4)), "all others go on");
        assert_eq!(titles(&tasks(&phone, id)), ["before"]);
    }
    for peer in [&ada, &tablet] {
        let out: Vec<_> = devices(peer).await.into_iter().filter(|device| device.is_revoked).collect();
        assert_eq!(out.iter().map(|device| device.label.as_str()).collect::<Vec<_>>(), ["phone"]);
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_devices_links_end_with_the_reason_that_a_stranger_gets() {
    let mut net = Net::seeded(3);
    let ([ada, ben, phone, tablet], _) = household(&mut net).await;
    let farewell = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };

    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    net.sleep(A_WHILE).await;

    let status = phone.node().status().await.unwrap();
    for peer in [&ada, &ben, &tablet] {
        let of_peer = |ended: &&EndedLink| ended.device == Some(peer.node().device_id());
        let ends: Vec<_> = status.ended.iter().filter(of_peer).map(|ended| &ended.end).collect();
        assert!(ends.contains(&&farewell), "{ends:?} from {}", peer.name());
        // The phone itself ends links to devices with which it shares no group.
        let says_nothing_else = |end: &&&LinkEnd| **end == &farewell || ***end == LinkEnd::Stranger;
        assert_eq!(ends.iter().filter(says_nothing_else).count(), ends.len(), "{ends:?}");
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_revoked_device_are_refused_where_the_revocation_is_known() {
    let mut net = Net::seeded(4);
    let ([ada, ben, phone, tablet], [home, _]) = household(&mut net).await;

    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    net.sleep(A_WHILE).await;
    // The phone was not notified, and still lists itself as a member.
    write(&phone, home, "by the thief").await;
    let friend = group(&phone, home).add_member(ben.node().user_id(), Role::Admin).await;
    assert!(friend.is_ok(), "{friend:?}");
    net.sleep(A_WHILE).await;

    for peer in [&ada, &ben, &tablet] {
        assert_eq!(titles(&tasks(peer, home)), ["before"], "at {}", peer.name());
        let members = group(peer, home).members();
        assert!(members.iter().all(|member| member.role != Role::Admin), "at {}", peer.name());
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_away_receives_the_revocation_before_it_serves_the_revoked_device() {
    let mut net = Net::seeded(5);
    let ([ada, ben, phone, tablet], [home, _]) = household(&mut net).await;

    net.partition(&[&[&ada], &[&ben, &tablet, &phone]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    write(&ben, home, "nobody has heard").await;
    until(&net, "the phone reads what the uninformed write", || has(&phone, home, 2)).await;
    net.partition(&[&[&ada, &tablet], &[&ben, &phone]]);
    until(&net, "the tablet has the revocation", || has(&ada, home, 2)).await;
    net.partition(&[&[&ada], &[&ben, &tablet, &phone]]);
    net.sleep(A_WHILE).await;
    write(&ben, home, "the tablet has told").await;
    net.sleep(A_WHILE).await;

    assert!(has(&tablet, home, 3));
    assert_eq!(titles(&tasks(&phone, home)), ["before", "nobody has heard"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_is_gated_in_groups_that_the_revoker_does_not_know() {
    let mut net = Net::seeded(10);
    let ([ada, ben, phone, tablet], _) = household(&mut net).await;
    net.partition(&[&[&ada, &tablet], &[&ben, &phone]]);
    let secret = ben.node().create_group("secret").await.unwrap().id();
    group(&ben, secret).add_member(ada.node().user_id(), Role::Writer).await.unwrap();
    phone.node().request_group(secret).await.unwrap();
    write(&ben, secret, "before").await;
    until(&net, "the phone is in", || has(&phone, secret, 1)).await;

    net.partition(&[&[&ada, &tablet], &[&ben], &[&phone]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    net.partition(&[&[&ada, &tablet, &ben], &[&phone]]);
    net.sleep(A_WHILE).await;
    net.heal();
    net.sleep(A_WHILE).await;
    write(&ben, secret, "after").await;
    net.sleep(A_WHILE).await;

    assert!(ada.node().group(secret).is_err(), "only the phone has told of it");
    assert_eq!(titles(&tasks(&phone, secret)), ["before"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_cannot_redeem_a_ticket() {
    let mut net = Net::seeded(11);
    let ([ada, ben, phone, _], _) = household(&mut net).await;
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    net.sleep(A_WHILE).await;
    let secret = ben.node().create_group("secret").await.unwrap();
    let ticket = secret.invite(Role::Writer).await.unwrap();

    let joined = phone.node().join(&ticket).await;

    assert!(matches!(joined, Err(JoinError::Pending { .. })), "{joined:?}");
    assert_eq!(secret.members().len(), 1);
    ada.node().join(&ticket).await.unwrap();
    net.close().await;
}

/// Scenario 25, last clause, with every node restarted in between.
#[tokio::test(start_paused = true)]
async fn a_revoked_device_stays_revoked_after_its_user_is_removed_and_admitted_again() {
    let mut net = Net::seeded(25);
    let [ben, ada] = net.nodes(["ben", "ada"]).await;
    let phone = net.device_of(&ada, "phone").await;
    let club = ben.node().create_group("club").await.unwrap().id();
    group(&ben, club).add_member(ada.node().user_id(), Role::Reader).await.unwrap();
    ada.node().request_group(club).await.unwrap();
    write(&ben, club, "before").await;
    for peer in [&ada, &phone] {
        until(&net, "ada reads on both", || has(peer, club, 1)).await;
    }

    net.partition(&[&[&ada], &[&ben, &phone]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    group(&ben, club).set_role(ada.node().user_id(), Role::None).await.unwrap();
    net.sleep(A_WHILE).await;
    net.partition(&[&[&ben], &[&ada], &[&phone]]);
    group(&ben, club).add_member(ada.node().user_id(), Role::Writer).await.unwrap();
    net.partition(&[&[&ben, &ada], &[&phone]]);
    until(&net, "ada is a member again", || group(&ada, club).info().role == Role::Writer).await;
    net.sleep(A_WHILE).await;
    for peer in [&ben, &ada] {
        net.crash(peer).await;
        net.restart(peer).await;
    }
    net.heal();
    write(&ben, club, "after").await;
    until(&net, "ada reads on", || has(&ada, club, 2)).await;
    net.sleep(A_WHILE).await;

    assert_eq!(titles(&tasks(&phone, club)), ["before"]);
    assert!(!shares_with(&ben, &phone).await && !shares_with(&ada, &phone).await);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_stays_revoked_in_groups_that_its_user_joins_later() {
    let mut net = Net::seeded(6);
    let ([ada, _, phone, _], _) = household(&mut net).await;
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    net.sleep(A_WHILE).await;

    let [cid] = net.nodes(["cid"]).await;
    let (founder, joiner) = (ada.node(), cid.node());
    let founded = founder.create_group("founded").await.unwrap().id();
    group(&ada, founded).add_member(joiner.user_id(), Role::Writer).await.unwrap();
    joiner.request_group(founded).await.unwrap();
    let joined = joiner.create_group("joined").await.unwrap().id();
    group(&cid, joined).add_member(founder.user_id(), Role::Writer).await.unwrap();
    founder.request_group(joined).await.unwrap();
    until(&net, "ada and cid have met in both", || {
        [&ada, &cid]
            .iter()
            .all(|peer| [founded, joined].iter().all(|id| group(peer, *id).members().len() == 2))
    })
    .await;
    for id in [founded, joined] {
        phone.node().request_group(id).await.unwrap();
    }
    net.sleep(A_WHILE).await;
    for id in [founded, joined] {
        write(&cid, id, "for members").await;
    }
    net.sleep(A_WHILE).await;

    for id in [founded, joined] {
        assert!(has(&ada, id, 1));
        assert!(titles(&tasks(&phone, id)).is_empty());
    }
    net.close().await;
}

fn is_member(peer: &Peer, id: GroupId, other: &Peer) -> bool {
    group(peer, id).members().iter().any(|member| member.user == other.node().user_id())
}

#[tokio::test(start_paused = true)]
async fn ops_of_a_revoked_device_become_void_where_the_revocation_arrives() {
    let mut net = Net::seeded(8);
    let ([ada, ben, phone, _], [home, _]) = household(&mut net).await;
    let [cid, mal] = net.nodes(["cid", "mal"]).await;
    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    until(&net, "cid is in", || has(&cid, home, 1)).await;

    net.partition(&[&[&ada, &ben], &[&phone, &cid]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    group(&phone, home).add_member(mal.node().user_id(), Role::Admin).await.unwrap();
    until(&net, "cid believes the thief", || is_member(&cid, home, &mal)).await;
    net.heal();
    until(&net, "cid has the op", || !is_member(&cid, home, &mal)).await;
    net.sleep(A_WHILE).await;

    assert!(![&ada, &ben, &cid].iter().any(|peer| is_member(peer, home, &mal)));
    net.close().await;
}

/// Authority 3.5: a user who is an Admin cuts the changes of the device without waiting for another Admin.
#[tokio::test(start_paused = true)]
async fn a_user_who_is_an_admin_cuts_the_rows_of_their_revoked_device() {
    let mut net = Net::seeded(12);
    let ([ada, ben, phone, _], [home, _]) = household(&mut net).await;
    let [cid] = net.nodes(["cid"]).await;
    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    write(&phone, home, "known").await;
    for peer in [&ada, &ben, &cid] {
        until(&net, "everybody has the phone's row", || has(peer, home, 2)).await;
    }

    net.partition(&[&[&ada, &ben], &[&phone, &cid]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    write(&phone, home, "later").await;
    until(&net, "cid believes the thief", || has(&cid, home, 3)).await;
    net.heal();
    until(&net, "cid has the op", || has(&cid, home, 2)).await;
    net.sleep(A_WHILE).await;

    for peer in [&ada, &ben, &cid] {
        assert_eq!(titles(&tasks(peer, home)), ["before", "known"], "at {}", peer.name());
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_admin_revokes_the_device_of_another_member_and_its_rows_stay() {
    let mut net = Net::seeded(13);
    let ([ada, ben, phone, tablet], [_, club]) = household(&mut net).await;
    write(&phone, club, "known").await;
    for peer in [&ada, &ben, &tablet] {
        until(&net, "everybody has the phone's row", || has(peer, club, 2)).await;
    }
    let lost = phone.node().device_id();
    let unknown = group(&ben, club).revoke_device(lost).of(ben.node().user_id()).await.unwrap_err();
    assert!(matches!(unknown, GroupError::UnknownDevice(device) if device == lost), "{unknown:?}");
    let own = group(&ben, club).revoke_device(ben.node().device_id()).await.unwrap_err();
    assert!(matches!(own, GroupError::OwnDevice), "{own:?}");
    let above = group(&ada, club).revoke_device(ben.node().device_id()).await.unwrap_err();
    assert_eq!(above.kind(), ErrorKind::NotAllowed);

    group(&ben, club).revoke_device(lost).await.unwrap();
    let is_revoked =
        || group(&ada, club).members().iter().all(|member| member.devices.iter().all(|it| it.device != lost));
    until(&net, "ada has the revocation", is_revoked).await;
    write(&ada, club, "after").await;
    until(&net, "ben has what ada wrote", || has(&ben, club, 3)).await;
    net.sleep(A_WHILE).await;

    assert_eq!(titles(&tasks(&ben, club)), ["after", "before", "known"]);
    assert!(has(&phone, club, 2));
    net.close().await;
}

/// Authority 3.5: the revocation is re-issued when the user is admitted again, or it would be void with the
/// role before.
#[tokio::test(start_paused = true)]
async fn ops_of_a_revoked_device_stay_void_under_its_users_next_role() {
    let mut net = Net::seeded(9);
    let [ben, cid, mal, ada] = net.nodes(["ben", "cid", "mal", "ada"]).await;
    let phone = net.device_of(&ada, "phone").await;
    let club = ben.node().create_group("club").await.unwrap().id();
    for (peer, role) in [(&cid, Role::Writer), (&ada, Role::Reader)] {
        group(&ben, club).add_member(peer.node().user_id(), role).await.unwrap();
        peer.node().request_group(club).await.unwrap();
    }
    write(&ben, club, "before").await;
    for peer in [&cid, &ada, &phone] {
        until(&net, "everybody is in", || has(peer, club, 1)).await;
    }

    // Ben does not have the revocation while he removes ada and admits her with a higher role.
    net.partition(&[&[&ada], &[&ben, &cid, &phone]]);
    ada.node().revoke_device(phone.node().device_id()).await.unwrap();
    group(&ben, club).set_role(ada.node().user_id(), Role::None).await.unwrap();
    group(&ben, club).add_member(ada.node().user_id(), Role::Admin).await.unwrap();
    until(&net, "the phone has the op", || group(&phone, club).info().role == Role::Admin).await;
    net.partition(&[&[&ada, &ben], &[&cid, &phone]]);
    group(&phone, club).add_member(mal.node().user_id(), Role::Writer).await.unwrap();
    until(&net, "cid believes the thief", || is_member(&cid, club, &mal)).await;
    until(&net, "ada is a member again", || group(&ada, club).info().role == Role::Admin).await;
    net.sleep(A_WHILE).await;
    net.heal();
    until(&net, "cid has the op", || !is_member(&cid, club, &mal)).await;
    net.sleep(A_WHILE).await;

    assert!(![&ada, &ben, &cid].iter().any(|peer| is_member(peer, club, &mal)));
    net.close().await;
}

#[tokio::test]
async fn a_device_that_cannot_be_revoked_is_refused_with_the_reason() {
    let [ada, ben] = [Node::in_memory().await.unwrap(), Node::in_memory().await.unwrap()];

    let own = ada.revoke_device(ada.device_id()).await.unwrap_err();
    assert!(matches!(own, GroupError::OwnDevice), "{own:?}");
    assert_eq!(own.kind(), ErrorKind::Invalid);
    let others = ada.revoke_device(ben.device_id()).await.unwrap_err();
    assert!(matches!(others, GroupError::UnknownDevice(device) if device == ben.device_id()), "{others:?}");
    assert_eq!(others.kind(), ErrorKind::NotFound);

    for node in [ada, ben] {
        node.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn revoking_a_device_twice_changes_nothing() {
    let mut net = Net::seeded(7);
    let ([ada, _, phone, tablet], _) = household(&mut net).await;
    let lost = phone.node().device_id();

    ada.node().revoke_device(lost).await.unwrap();
    net.sleep(A_WHILE).await;
    let before = devices(&ada).await;
    ada.node().revoke_device(lost).await.unwrap();
    tablet.node().revoke_device(lost).await.unwrap();

    assert_eq!(devices(&ada).await, before);
    net.close().await;
}

/// Crashes ada's node after so many flushes while she revokes her phone. Returns whether her node then knows
/// the revocation, and whether the call had returned.
async fn crash_while_revoking(flushes: u64) -> (bool, bool) {
    let mut net = Net::seeded(7);
    let ([ada, _, phone, _], groups) = household(&mut net).await;
    net.settle().await;
    net.partition(&[]);
    let device = phone.node().device_id();
    ada.disk().crash_after_flush(flushes);
    let said = ada.node().revoke_device(device).await.is_ok();
    net.crash(&ada).await;
    net.restart(&ada).await;

    let is_revoked = devices(&ada).await.iter().any(|known| known.id == device && known.is_revoked);
    for id in groups {
        let group = group(&ada, id);
        let members = group.members();
        let is_known = members.iter().any(|member| member.devices.iter().any(|known| known.device == device));
        assert_eq!(is_known, !is_revoked, "after {flushes} flushes");
        let is_it =
            |op: &MemberOp| matches!(op.action, OpAction::RevokeDevice { device: it, .. } if it == device);
        let has_op = group.log().await.unwrap().iter().any(is_it);
        // In the club Ada is a Writer, who signs no ops.
        assert_eq!(has_op, is_revoked && group.info().role >= Role::Admin, "after {flushes} flushes");
    }
    net.close().await;
    (is_revoked, said)
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_a_crash_interrupts_is_finished_at_the_next_open() {
    let mut ended = Vec::new();
    for flushes in 1..=4 {
        ended.push(crash_while_revoking(flushes).await);
    }
    assert!(ended.contains(&(true, false)), "{ended:?}");
}
