//! Devices say where they are, and members who never heard of each other in another way meet there.

use std::time::Duration;

use peerbase::group::MemberDevice;
use peerbase::sim::{Net, Peer};
use peerbase::{Group, GroupId, InviteOptions, Node, Role};

use crate::support::{group, task, tasks, titles, until};

/// No step over real sockets takes longer, in real time.
const DEADLINE: Duration = Duration::from_secs(30);

/// Three who are apart; ben and cid, as Writers or Readers, come with a ticket of ada's.
async fn invited(net: &mut Net, roles: [Role; 2]) -> ([Peer; 3], GroupId) {
    let [ada, ben, cid] = net.nodes_apart(["ada", "ben", "cid"]).await;
    net.cut(&ben, &cid);
    let home = ada.node().create_group("home").await.unwrap();
    for (peer, role) in [&ben, &cid].into_iter().zip(roles) {
        let ticket = home.invite(role).await.unwrap();
        peer.node().join(&ticket).await.unwrap();
    }
    let home = home.id();
    let everybody = ["memory://ada", "memory://ben", "memory://cid"];
    for peer in [&ada, &ben, &cid] {
        until(net, "everybody knows where all are", || places(&group(peer, home)) == everybody).await;
    }
    ([ada, ben, cid], home)
}

fn sorted(devices: impl Iterator<Item = MemberDevice>) -> Vec<String> {
    let mut places: Vec<String> = devices.flat_map(|device| device.addresses).collect();
    places.sort();
    places
}

/// Where the members' devices are.
fn places(group: &Group) -> Vec<String> {
    sorted(group.devices().into_iter())
}

/// Where one member's devices are.
fn places_of(group: &Group, node: &Node) -> Vec<String> {
    sorted(group.devices().into_iter().filter(|device| device.user == node.user_id()))
}

#[tokio::test(start_paused = true)]
async fn whom_ada_invited_meet_each_other_when_she_is_away() {
    let mut net = Net::seeded(41).latency_ms(5..40);
    let ([ada, ben, cid], home) = invited(&mut net, [Role::Writer, Role::Writer]).await;

    net.crash(&ada).await;
    net.heal();
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();

    for peer in [&ben, &cid] {
        until(&net, "they meet", || titles(&tasks(peer, home)) == ["basil", "rope"]).await;
    }
    let links = ben.node().status().await.unwrap().links;
    assert_eq!(links.len(), 1, "one link, whoever dialled: {links:?}");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn where_devices_are_survives_a_restart() {
    let mut net = Net::seeded(42).latency_ms(5..40);
    let ([ada, ben, cid], home) = invited(&mut net, [Role::Writer, Role::Reader]).await;

    for peer in [&ada, &ben, &cid] {
        net.crash(peer).await;
    }
    net.heal();
    net.restart(&ben).await;
    let known = places(&group(&ben, home));
    net.restart(&cid).await;
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();

    assert_eq!(known, ["memory://ada", "memory://ben", "memory://cid"]);
    until(&net, "they meet without ada", || titles(&tasks(&cid, home)) == ["basil"]).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_is_nowhere_any_more_and_is_found_again_once_let_in_again() {
    let mut net = Net::seeded(43).latency_ms(5..40);
    let ([ada, ben, cid], home) = invited(&mut net, [Role::Reader, Role::Writer]).await;
    let [of_ada, of_cid] = [&ada, &cid].map(|peer| group(peer, home));

    of_ada.remove_member(ben.node().user_id()).await.unwrap();
    for group in [&of_ada, &of_cid] {
        until(&net, "ben is gone", || places(group) == ["memory://ada", "memory://cid"]).await;
    }
    net.crash(&cid).await;
    net.restart(&cid).await;
    assert_eq!(places(&group(&cid, home)), ["memory://ada", "memory://cid"], "nor is it stored");

    of_ada.add_member(ben.node().user_id(), Role::Reader).await.unwrap();
    let again = || places_of(&group(&cid, home), &ben.node()) == ["memory://ben"];
    until(&net, "ben is back", again).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_taken_back_is_nowhere_any_more() {
    let mut net = Net::seeded(44).latency_ms(5..40);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let phone = net.device_of(&ben, "phone").await;
    let home = net.group("home", &[&ada, &ben]).await;
    phone.node().request_group(home).await.unwrap();
    let of_ben = || places_of(&group(&ada, home), &ben.node());
    until(&net, "both are known", || of_ben() == ["memory://ben", "memory://phone"]).await;
    let labels: Vec<_> = group(&ada, home).devices().into_iter().map(|device| device.label).collect();
    assert!(labels.contains(&"phone".to_owned()), "{labels:?}");

    ben.node().revoke_device(phone.node().device_id()).await.unwrap();

    until(&net, "the phone is gone", || of_ben() == ["memory://ben"]).await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_passes_on_what_others_write() {
    let mut net = Net::seeded(45).latency_ms(5..40);
    let ([ada, ben, cid], home) = invited(&mut net, [Role::Reader, Role::Writer]).await;
    net.heal();
    net.cut(&ada, &cid);
    net.sleep(Duration::from_secs(60)).await;

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    until(&net, "ben tells cid", || titles(&tasks(&cid, home)) == ["basil"]).await;
    tasks(&cid, home).put("b", &task("rope")).await.unwrap();
    until(&net, "ben tells ada", || titles(&tasks(&ada, home)) == ["basil", "rope"]).await;
    assert!(tasks(&ben, home).put("c", &task("stones")).await.is_err(), "and writes nothing");
    net.close().await;
}

async fn open(folder: &tempfile::TempDir, name: &str) -> Node {
    Node::builder(folder.path().join(name)).name(name).open().await.unwrap()
}

async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "not in time: {what}");
}

/// Cid does not listen: there is no other way to a link between the two than that cid dials where ben says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_says_where_it_is_and_others_dial_it() {
    let folder = tempfile::tempdir().unwrap();
    let [ada, ben, cid] =
        [open(&folder, "ada").await, open(&folder, "ben").await, open(&folder, "cid").await];
    ada.listen("127.0.0.1:0").await.unwrap();
    let at_ben = ben.listen("127.0.0.1:0").await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    ben.join(&home.invite(Role::Reader).await.unwrap()).await.unwrap();
    let of_cid = cid.join(&home.invite(Role::Writer).await.unwrap()).await.unwrap();
    soon("ben is known", || places_of(&of_cid, &ben) == [at_ben.clone()]).await;
    assert_eq!(places_of(&of_cid, &cid), [""; 0], "who does not listen says nothing");

    ada.close().await;
    of_cid.table(crate::support::TASKS).put("a", &task("basil")).await.unwrap();

    let of_ben = ben.group(home.id()).unwrap().table(crate::support::TASKS);
    soon("ben reads", || titles(&of_ben) == ["basil"]).await;
    let links = cid.status().await.unwrap().links;
    assert_eq!(links.iter().map(|link| link.address.clone()).collect::<Vec<_>>(), [Some(at_ben)]);
    ben.close().await;
    cid.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_moved_says_so_and_who_does_not_want_to_be_found_says_nothing() {
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
    soon("ada knows where ben is", || places_of(&home, &ben) == [first.clone()]).await;

    let (user, device) = (ben.user_id(), ben.device_id());
    ben.close().await;
    let moved = Node::builder(folder.path().join("ben")).advertise("ws://127.0.0.1:1").open().await.unwrap();
    let second = moved.listen("127.0.0.1:0").await.unwrap();

    let expected = ["ws://127.0.0.1:1".to_owned(), second];
    let of_ben = || home.devices().into_iter().find(|known| (known.user, known.device) == (user, device));
    soon("ada hears of it", || of_ben().is_some_and(|known| known.addresses == expected)).await;
    assert_eq!(places_of(&home, &cid), [""; 0]);
    ada.close().await;
    moved.close().await;
    cid.close().await;
}

/// Ben says that he is where cid is: whoever looks for him there finds cid, once, and him at his other address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_somebody_else_answers_nobody_is_looked_for_again() {
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
    soon("dan knows where ben says he is", || places_of(&of_dan, &ben).len() == 2).await;

    // From here on dan looks for ben at both addresses.
    ben.close().await;
    let ends = async |address: &str| {
        let ended = dan.status().await.unwrap().ended;
        ended.iter().filter(|end| end.address == address && end.device.is_none()).count()
    };
    let looking = async {
        while ends(&right).await < 3 || ends(&wrong).await < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looking).await.is_ok(), "ben is looked for");

    assert_eq!(ends(&wrong).await, 1);
    for node in [ada, cid, dan] {
        node.close().await;
    }
}
