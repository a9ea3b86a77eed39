//! Members send ledger frames as fast as their links carry them: commands of every group still answer soon.

use std::fmt::Display;
use std::time::Duration;

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::{Event, Group, Node, Role};
use schema::limits::FLOOD_RECORDS_MAX;
use testkit::hostile::Frame;
use testkit::hostile::ledger::{records, revocations};
use tokio::task::JoinSet;

use crate::support::handmade::{HandmadeMember, HandmadePeer, identity, user_key};
use crate::support::soon;

/// Time of a flood before the first command, in which its frames fill every queue.
const LEAD: Duration = Duration::from_secs(2);

/// Runs a command and prints the time that it took.
async fn timed<T, E: Display>(clock: &Clock, what: &str, command: impl IntoFuture<Output = Result<T, E>>) {
    let begin = clock.instant();
    let answer = command.await;
    eprintln!("{what}: {} ms", (clock.instant() - begin).as_millis());
    if let Err(error) = answer {
        panic!("{what}: {error}");
    }
}

fn role(group: &Group, user: peerbase::UserId) -> Role {
    group.members().iter().find(|member| member.user == user).map_or(Role::None, |member| member.role)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_ledger_frames_keeps_no_command_of_any_group_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    let network = MemoryNetwork::seeded(clock.clone(), 1);
    let ada = Node::builder(folder.path().join("ada")).network(&network, "ada").open().await.unwrap();
    ada.listen("memory://ada").await.unwrap();
    let [home, club] = [ada.create_group("home").await.unwrap(), ada.create_group("club").await.unwrap()];
    let [mia, wes, rob] = [1, 2, 3].map(identity);
    for group in [&home, &club] {
        group.add_member(rob.user(), Role::Reader).await.unwrap();
    }
    for (flooder, role) in [(&mia, Role::Reader), (&wes, Role::Writer)] {
        home.add_member(flooder.user(), role).await.unwrap();
    }
    let (mut floods, mut events) = (JoinSet::new(), ada.events());
    for (seed, flooder) in [(1, &mia), (2, &wes)] {
        let peer = HandmadePeer::dial(&network, &clock, flooder.clone(), "memory://ada").await;
        let member = HandmadeMember::open_without_ledger(peer, home.id()).await;
        let frames = records(flooder.clone(), home.id());
        floods.spawn(
            member.flood(revocations(&user_key(&[seed]), 2_000).chain(frames).map(Frame::Ledger), || ()),
        );
    }
    tokio::time::sleep(LEAD).await;

    for (name, group) in [("home", &home), ("club", &club)] {
        timed(&clock, &format!("invite to {name}"), group.invite(Role::Writer)).await;
        timed(&clock, &format!("remove from {name}"), group.remove_member(rob.user())).await;
    }
    let status = ada.status().await.unwrap();
    let of_home = status.groups.iter().find(|group| group.info.id == home.id()).unwrap();
    let mut named = vec![of_home.floods[0].user, of_home.floods[1].user];
    while !named.is_empty() {
        if let Event::Flood { group, user, records } = events.recv().await.unwrap() {
            assert!(group == home.id() && records > FLOOD_RECORDS_MAX);
            named.retain(|named| *named != user);
        }
    }
    timed(&clock, "block", ada.block(rob.user())).await;
    assert_eq!((role(&home, rob.user()), role(&club, rob.user())), (Role::None, Role::None));
    for flooder in [&mia, &wes] {
        timed(&clock, "remove a flooder", home.remove_member(flooder.user())).await;
    }

    soon("the links of the flooders end", async || ada.status().await.unwrap().links.is_empty()).await;
    floods.join_all().await;
    assert_eq!((role(&home, mia.user()), role(&home, wes.user())), (Role::None, Role::None));
    ada.close().await;
}
