//! Devices publish their addresses in device records; members link to each other through these records alone.

use std::time::Duration;

use peerbase::group::MemberDevice;
use peerbase::sim::{Net, Peer};
use peerbase::{Group, GroupId, InviteOptions, Node, Role};

use crate::support::{group, soon, task, tasks, titles, until};

/// Ada's group, which ben and cid join by ticket; ben and cid cannot reach each other. All know all
/// addresses.
async fn joined_by_ticket(net: &mut Net, roles: [Role; 2]) -> ([Peer; 3], GroupId) {
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    net.cut(&ben, &cid);
    let home = ada.node().create_group("home").await.unwrap();
    for (peer, role) in [&ben, &cid].into_iter().zip(roles) {
        let ticket = home.invite(role).await.unwrap();
        peer.node().join(&ticket).await.unwrap();
    }
    let home = home.id();
    let all = ["memory://ada", "memory://ben", "memory://cid"];
    for peer in [&ada, &ben, &cid] {
        until(net, "every member knows every address", || addresses(&group(peer, home)) == all).await;
    }
    ([ada, ben, cid], home)
}

fn sorted(devices: impl Iterator<Item = MemberDevice>) -> Vec<String> {
    let mut addresses: Vec<String> = devices.flat_map(|device| device.addresses).collect();
    addresses.sort();
    addresses
}

/// The addresses of all members' devices.
fn addresses(group: &Group) -> Vec<String> {
    sorted(group.devices().into_iter())
}

/// The addresses of one member's devices.
fn addresses_of(group: &Group, node: &Node) -> Vec<String> {
    sorted(group.devices().into_iter().filter(|device| device.user == node.user_id()))
}

#[tokio::test(start_paused = true)]
async fn two_members_invited_by_a_third_link_while_the_third_is_offline() {
    let mut net = Net::seeded(41).latency_ms(5..40);
    let ([ada, ben, cid], home) = joined_by_ticket(&mut net, [Role::Writer, Role::Writer]).await;

    net.crash(&ada).await;
    net.heal();
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();

    for peer in [&ben, &cid] {
        until(&net, "the two sync", || titles(&tasks(peer, home)) == ["basil", "rope"]).await;
    }
    let links = ben.node().status().await.unwrap().links;
    assert_eq!(links.len(), 1, "both dialled, one link remains: {links:?}");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn known_addresses_survive_a_restart() {
    let mut net = Net::seeded(42).latency_ms(5..40);
    let ([ada, ben, cid], home) = joined_by_ticket(&mut net, [Role::Writer, Role::Reader]).await;

    for peer in [&ada, &ben, &cid] {
        net.crash(peer).await;
    }
    net.heal();
    net.restart(&ben).await;
    let known = addresses(&group(&ben, home));
    net.restart(&cid).await;
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();

    assert_eq!(known, ["memory://ada", "memory://ben", "memory://cid"]);
    until(&net, "they sync without ada", || titles(&tasks(&cid, home)) == ["basil"]).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_members_addresses_are_forgotten_until_they_are_admitted_again() {
    let mut net = Net::seeded(43).latency_ms(5..40);
    let ([ada, ben, cid], home) = joined_by_ticket(&mut net, [Role::Reader, Role::Writer]).await;
    let [of_ada, of_cid] = [&ada, &cid].map(|peer| group(peer, home));

    of_ada.remove_member(ben.node().user_id()).await.unwrap();
    for group in [&of_ada, &of_cid] {
        until(&net, "ben's address is forgotten", || addresses(group) == ["memory://ada", "memory://cid"])
            .await;
    }
    net.crash(&cid).await;
    net.restart(&cid).await;
    assert_eq!(addresses(&group(&cid, home)), ["memory://ada", "memory://cid"], "it is not stored either");

    of_ada.add_member(ben.node().user_id(), Role::Reader).await.unwrap();
    let again = || addresses_of(&group(&cid, home), &ben.node()) == ["memory://ben"];
    until(&net, "ben's address is known again", again).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_devices_address_is_forgotten() {
    let mut net = Net::seeded(44).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let phone = net.device_of(&ben, "phone").await;
    let home = net.group("home", &[&ada, &ben]).await;
    phone.node().request_group(home).await.unwrap();
    let of_ben = || addresses_of(&group(&ada, home), &ben.node());
    until(&net, "both devices are known", || of_ben() == ["memory://ben", "memory://phone"]).await;
    let labels: Vec<_> = group(&ada, home).devices().into_iter().map(|device| device.label).collect();
    assert!(labels.contains(&"phone".to_owned()), "{labels:?}");

    ben.node().revoke_device(phone.node().device_id()).await.unwrap();

    until(&net, "the phone's address is forgotten", || of_ben() == ["memory://ben"]).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_relays_the_changes_of_writers() {
    let mut net = Net::seeded(45).latency_ms(5..40);
    let ([ada, ben, cid], home) = joined_by_ticket(&mut net, [Role::Reader, Role::Writer]).await;
    net.heal();
    net.cut(&ada, &cid);
    net.sleep(Duration::from_secs(60)).await;

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    until(&net, "ben relays to cid", || titles(&tasks(&cid, home)) == ["basil"]).await;
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();
    until(&net, "ben relays to ada", || titles(&tasks(&ada, home)) == ["basil", "rope"]).await;
    assert!(tasks(&ben, home).put("c", &task("stones")).await.is_err(), "a reader cannot write");
    net.close().await;
}

async fn open(folder: &tempfile::TempDir, name: &str) -> Node {
    Node::builder(folder.path().join(name)).name(name).open().await.unwrap()
}

/// Cid does not listen, so a link between the two can only come from cid dialling the address that ben
/// published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_a_reader_publishes_is_dialled_by_other_members() {
    let folder = tempfile::tempdir().unwrap();
    let [ada, ben, cid] =
        [open(&folder, "ada").await, open(&folder, "ben").await, open(&folder, "cid").await];
    ada.listen("127.0.0.1:0").await.unwrap();
    let at_ben = ben.listen("127.0.0.1:0").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    ben.join(&home.invite(Role::Reader).await.unwrap()).await.unwrap();
    let of_cid = cid.join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();
    soon("ben's address is known", async || addresses_of(&of_cid, &ben) == [at_ben.clone()]).await;
    assert_eq!(addresses_of(&of_cid, &cid), [""; 0], "a device that does not listen publishes nothing");

    ada.close().await;
    of_cid.table(crate::support::TASKS).put("a", &task("basil")).await.unwrap();

    let of_ben = ben.group(home.id()).unwrap().table(crate::support::TASKS);
    soon("ben receives the row", async || titles(&of_ben) == ["basil"]).await;
    let links = cid.status().await.unwrap().links;
    assert_eq!(links.iter().map(|link| link.address.clone()).collect::<Vec<_>>(), [Some(at_ben)]);
    ben.close().await;
    cid.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_device_publishes_its_new_address_and_an_unadvertised_one_publishes_none() {
    let folder = tempfile::tempdir().unwrap();
    let ada = open(&folder, "ada").await;
    ada.listen("127.0.0.1:0").await.unwrap();
    let ben = open(&folder, "ben").await;
    let first = ben.listen("127.0.0.1:0").await.unwrap();
    let cid = Node::builder(folder.path().join("cid")).unlisted().open().await.unwrap();
    cid.listen("127.0.0.1:0").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    let ticket = home.invite_with(InviteOptions::new(Role::Writer).uses(2)).await.unwrap();
    for node in [&ben, &cid] {
        node.join(&ticket).await.unwrap();
    }
    soon("ada knows ben's address", async || addresses_of(&home, &ben) == [first.clone()]).await;

    let (user, device) = (ben.user_id(), ben.device_id());
    ben.close().await;
    let moved = Node::builder(folder.path().join("ben")).advertise("ws://127.0.0.1:1").open().await.unwrap();
    let second = moved.listen("127.0.0.1:0").await.unwrap();

    let expected = ["ws://127.0.0.1:1".to_owned(), second];
    let of_ben = || home.devices().into_iter().find(|known| (known.user, known.device) == (user, device));
    soon("ada receives the new record", async || of_ben().is_some_and(|known| known.addresses == expected))
        .await;
    assert_eq!(addresses_of(&home, &cid), [""; 0]);
    ada.close().await;
    moved.close().await;
    cid.close().await;
}

/// Ben publishes cid's address beside his own: dan dials the wrong one once and keeps dialling the right one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_at_which_another_device_answers_is_not_dialled_again() {
    let folder = tempfile::tempdir().unwrap();
    let [ada, cid, dan] =
        [open(&folder, "ada").await, open(&folder, "cid").await, open(&folder, "dan").await];
    ada.listen("127.0.0.1:0").await.unwrap();
    let wrong = cid.listen("127.0.0.1:0").await.unwrap();
    let ben = Node::builder(folder.path().join("ben")).advertise(&wrong).open().await.unwrap();
    let right = ben.listen("127.0.0.1:0").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    let ticket = home.invite_with(InviteOptions::new(Role::Writer).uses(2)).await.unwrap();
    ben.join(&ticket).await.unwrap();
    let of_dan = dan.join(&ticket).await.unwrap();
    soon("dan has ben's record", async || addresses_of(&of_dan, &ben).len() == 2).await;

    // From here on dan dials ben at both addresses.
    ben.close().await;
    let ends = async |address: &str| {
        let ended = dan.status().await.unwrap().ended;
        ended.iter().filter(|end| end.address == address && end.device.is_none()).count()
    };
    soon("dan dials both addresses", async || ends(&right).await >= 3 && ends(&wrong).await >= 1).await;

    assert_eq!(ends(&wrong).await, 1);
    for node in [ada, cid, dan] {
        node.close().await;
    }
}
