//! Rows that cost more than others, in real time: nobody else waits for them.

use std::time::Duration;

use actors::clock::Clock;
use peerbase::{Node, TableName, Text};
use serde::{Deserialize, Serialize};

use crate::support::{TASKS, task};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Page {
    text: Text,
}

const PAGES: TableName<Page> = TableName::new("pages");

/// Automerge once worked inside the actors of groups, on the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_under_work_keeps_no_other_row_group_or_question_waiting() {
    let node = Node::in_memory().await.unwrap();
    let [home, garden] = ["home", "garden"];
    let (home, garden) = (node.create_group(home).await.unwrap(), node.create_group(garden).await.unwrap());
    let page = Page { text: Text::from("x".repeat(60_000)) };
    let pages = home.table(PAGES);
    let clock = Clock::real();
    let begun = clock.instant();
    let write = clock.spawn(async move { pages.put("dear", &page).await });

    let (mut asked, mut longest) = (0, [Duration::ZERO; 3]);
    while !write.is_finished() {
        let at = clock.instant();
        home.table(TASKS).put("rope", &task(&asked.to_string())).await.unwrap();
        let row = clock.instant();
        garden.table(TASKS).put("rope", &task(&asked.to_string())).await.unwrap();
        let group = clock.instant();
        node.status().await.unwrap();
        let waits = [row - at, group - row, clock.instant() - group];
        longest = std::array::from_fn(|of| longest[of].max(waits[of]));
        asked += 1;
    }
    write.await.unwrap().unwrap();

    let [row, group, status] = longest;
    println!(
        "a write of {:?}: {asked} rounds beside it; longest waits: another row {row:?}, another group \
         {group:?}, status {status:?}",
        clock.instant() - begun
    );
    assert!(asked > 1, "others were answered before the dear write was done");
    assert_eq!(home.table(PAGES).get("dear").unwrap().unwrap().text.as_str().len(), 60_000);
    node.close().await;
}
