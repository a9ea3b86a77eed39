//! The wall clock jumps: only dates move with it.

use std::time::Duration;

use peerbase::sim::{Net, Peer, faults};
use peerbase::{Event, Timestamp};

use crate::support::{task, tasks, titles};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Sets a peer's wall clock forward or back by a day.
fn jump(peer: &Peer, is_forward: bool) {
    let millis = u64::try_from(DAY.as_millis()).unwrap();
    let jumped = |now: Timestamp| Timestamp(if is_forward { now.0 + millis } else { now.0 - millis });
    faults::set_wall(&peer.node(), jumped);
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_ends_no_session() {
    for is_forward in [true, false] {
        // Ada always waits for an acknowledgement.
        let mut net = Net::seeded(11).latency_ms(1_000..1_500);
        let [ada, ben] = net.nodes(["ada", "ben"]).await;
        let home = net.group("home", &[&ada, &ben]).await;
        let mut events = ada.node().events();

        for second in 0..300 {
            tasks(&ada, home).put("a", &task(&second.to_string())).await.unwrap();
            for _ in 0..20 {
                jump(&ada, is_forward);
                net.sleep(Duration::from_millis(50)).await;
            }
        }
        net.sleep(Duration::from_secs(10)).await;

        assert_eq!(titles(&tasks(&ben, home)), ["299"]);
        let status = ada.node().status().await.unwrap();
        assert!(status.groups[0].peers[0].synced, "{:?}", status.groups[0].peers);
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, Event::PeerDown { .. } | Event::SessionLost { .. }), "{event:?}");
        }
        net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_uses_up_no_restarts() {
    for is_forward in [true, false] {
        let mut net = Net::seeded(12);
        let [ada] = net.nodes(["ada"]).await;
        let home = net.group("home", &[&ada]).await;

        for count in 0..12 {
            faults::fail_group(&ada.node(), home);
            net.sleep(Duration::from_secs(8)).await;
            jump(&ada, is_forward);
            net.sleep(Duration::from_secs(8)).await;
            tasks(&ada, home).put("a", &task(&count.to_string())).await.unwrap();
        }
        net.close().await;
    }
}
