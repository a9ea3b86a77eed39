//! Makes one branch of a running node fail, so that tests can see the others go on.

use std::panic::resume_unwind;

use schema::GroupId;
use schema::wire::link::LinkFrame;

use crate::Node;

/// Makes a group's actor fail; nothing happens when it is not running.
pub fn fail_group(node: &Node, group: GroupId) {
    if let Some(handle) = node.handle().group(group) {
        handle.fail_for_test();
    }
}

/// Makes the membership actor fail.
pub fn fail_membership(node: &Node) {
    node.handle().membership().fail_for_test();
}

/// Makes every connection panic at what it sends next. Says how many there are.
pub async fn panic_connections(node: &Node) -> usize {
    let links = node.handle().connections().links().await.unwrap_or_default();
    for link in &links {
        // A link that is closed has nothing left to panic. Past the panic hook, which would print a trace of it.
        let _ = link.send_while(|| resume_unwind(Box::new("on request")), LinkFrame::Ping { nonce: 0 });
    }
    links.len()
}
