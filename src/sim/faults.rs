//! Makes one branch of a running node fail, so that tests can check that the others go on.

use std::panic::resume_unwind;

use schema::GroupId;
use schema::wire::link::LinkFrame;

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

/// Makes every connection panic at its next send; returns the number of connections.
pub async fn panic_connections(node: &Node) -> usize {
    let links = node.handle().connections().links().await.unwrap_or_default();
    for link in &links {
        // A closed link ignores this. `resume_unwind` skips the panic hook, which would print a trace.
        let _ = link.send_while(|| resume_unwind(Box::new("on request")), LinkFrame::Ping { nonce: 0 });
    }
    links.len()
}
