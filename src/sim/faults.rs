//! Faults of a running node: branches that fail or stand still, and a wall clock that jumps, so that tests
//! can check that the rest goes on.

use std::panic::resume_unwind;
use std::time::Duration;

use schema::wire::link::LinkFrame;
use schema::{GroupId, Timestamp};

use crate::Node;

/// Makes a group's actor fail, if it is running.
pub fn fail_group(node: &Node, group: GroupId) {
    if let Some(handle) = node.handle().group(group) {
        handle.fail_for_test();
    }
}

/// Makes the membership actor fail.
pub fn fail_membership(node: &Node) {
    node.handle().membership().fail_for_test();
}

/// Makes membership, the connection manager and a group's actor stand still.
pub fn stall(node: &Node, group: GroupId, pause: Duration) {
    if let Some(handle) = node.handle().group(group) {
        handle.stall_for_test(pause);
    }
    node.handle().membership().stall_for_test(pause);
    node.handle().connections().stall_for_test(pause);
}

/// Sets the wall clock of a node, as a person or a time server does.
pub fn set_wall(node: &Node, change: impl FnOnce(Timestamp) -> Timestamp) {
    let clock = node.clock();
    clock.set_wall(change(clock.now()));
}

/// Makes every connection panic at its next send; returns the number of connections.
pub async fn panic_connections(node: &Node) -> usize {
    let links = node.handle().connections().links().await.unwrap_or_default();
    for link in &links {
        // A closed link ignores this. `resume_unwind` skips the panic hook, which would print a trace.
        let _ = link.send_while(|| resume_unwind(Box::new("on request")), LinkFrame::Ping { nonce: 0 });
    }
    links.len()
}
