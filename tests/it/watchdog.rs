//! The watchdog: actors that stand still show in the status, which answers meanwhile.

use std::time::Duration;

use peerbase::Node;
use peerbase::sim::{Net, faults};

/// The stuck actors by name, with their activity and for how many seconds.
async fn stuck(node: &Node) -> Vec<(String, String, u64)> {
    let stuck = node.status().await.unwrap().stuck;
    let mut stuck: Vec<_> =
        stuck.into_iter().map(|stuck| (stuck.actor, stuck.doing, stuck.lasted.as_secs())).collect();
    stuck.sort();
    stuck
}

fn standing_still(seconds: u64) -> Vec<(String, String, u64)> {
    let actors = ["connection_manager", "group", "membership"];
    actors.map(|actor| (actor.to_owned(), "stand still on request".to_owned(), seconds)).into()
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_stands_still_shows_in_status_with_what_it_is_doing() {
    let mut net = Net::seeded(61).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    net.sleep(Duration::from_secs(60)).await;
    assert_eq!(stuck(&ada.node()).await, [], "idle actors");

    faults::stall(&ada.node(), home, Duration::from_secs(60));
    net.sleep(Duration::from_secs(10)).await;
    let asked = net.clock().instant();
    let status = ada.node().status().await.unwrap();

    assert_eq!(net.clock().instant() - asked, Duration::from_secs(2), "status does not wait for them");
    assert_eq!(stuck(&ada.node()).await, standing_still(14));
    assert_eq!(status.stuck.iter().find_map(|stuck| stuck.group), Some(home));
    assert_eq!((status.links.len(), status.groups.len(), status.meters["actors_stuck"]), (0, 1, 3));
    assert_eq!((status.groups[0].members, &status.groups[0].status), (2, &None));

    net.sleep(Duration::from_secs(60)).await;
    let status = ada.node().status().await.unwrap();
    assert_eq!((&status.stuck[..], status.links.len(), status.meters["actors_stuck"]), (&[][..], 1, 0));
    assert!(status.groups[0].status.is_some());
    net.settle().await;
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_did_not_answer_shows_in_status_before_it_is_stuck() {
    let mut net = Net::seeded(62);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    faults::stall(&ada.node(), home, Duration::from_secs(4));

    let asked = stuck(&ada.node()).await;

    assert_eq!(asked, standing_still(2));
    net.sleep(Duration::from_secs(3)).await;
    assert_eq!(stuck(&ada.node()).await, []);
    net.close().await;
}
