//! Crowds of links against a node with groups: who shares a group finds room.

use std::time::Duration;

use peerbase::Role;
use peerbase::sim::Net;
use schema::limits::{STRANGER_LINKS_MAX, USER_LINKS_MAX};
use schema::wire::link::{ByeReason, LinkFrame};

use crate::support::handmade::{HandmadePeer, device_of, identity};

/// Time to decide about a link: shorter than that of a stranger.
const A_MOMENT: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn strangers_and_the_devices_of_one_reader_leave_room_for_members() {
    let mut net = Net::seeded(5);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let eve = device_of(&[200], &[0]).user();
    ada.node().group(home).unwrap().add_member(eve, Role::Reader).await.unwrap();
    let (network, clock) = (net.network().clone(), net.clock().clone());
    let links = async || ada.node().status().await.unwrap().links;

    // The Reader's devices come first, and then the strangers.
    let mut crowd = Vec::new();
    for number in 0..40 {
        let device = device_of(&[200], &[number + 1]);
        crowd.push(HandmadePeer::dial(&network, &clock, device, "memory://ada").await);
    }
    net.sleep(A_MOMENT).await;
    assert_eq!(links().await.iter().filter(|link| link.user == eve).count(), USER_LINKS_MAX);
    for number in 100..160 {
        crowd.push(HandmadePeer::dial(&network, &clock, identity(number), "memory://ada").await);
    }
    net.sleep(A_MOMENT).await;
    let kept = links().await;
    assert_eq!(kept.len(), 1 + USER_LINKS_MAX + STRANGER_LINKS_MAX, "ben, the Reader, strangers");
    assert!(kept.iter().any(|link| link.device == ben.node().device_id()));
    let displaced = crowd[40].frames_until_silence().await;
    assert!(displaced.contains(&LinkFrame::Bye { reason: ByeReason::Displaced }), "{displaced:?}");

    // A stranger who is admitted counts as a member from then on.
    let newest = identity(159).user();
    ada.node().group(home).unwrap().add_member(newest, Role::Reader).await.unwrap();
    for number in 160..160 + u8::try_from(STRANGER_LINKS_MAX).unwrap() {
        crowd.push(HandmadePeer::dial(&network, &clock, identity(number), "memory://ada").await);
    }
    net.sleep(A_MOMENT).await;
    let kept = links().await;
    assert!(kept.iter().any(|link| link.user == newest));
    assert_eq!(kept.len(), 2 + USER_LINKS_MAX + STRANGER_LINKS_MAX);
    net.close().await;
}
