//! Rows of one group: the promise of each call.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use std::collections::{BTreeMap, BTreeSet};

use peerbase::sim::Net;
use peerbase::table::PutMany;
use peerbase::{Counter, ErrorKind, Group, Node, RowChange, Table, TableName, Text, Watch, WriteError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{TASKS, Task, home, task, tasks, titles};

async fn table() -> (Node, Table<Task>) {
    let (node, group) = home().await;
    (node, group.table(TASKS))
}

fn keys(table: &Table<Task>, range: impl std::ops::RangeBounds<&'static str>) -> Vec<String> {
    table.iter().range(range).map(|row| row.unwrap().key().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_inserted_row_is_read_back_and_its_keys_sort_by_time() {
    let mut net = Net::seeded(1);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    let tasks = tasks(&ada, home);

    let mut made = Vec::new();
    for title in ["basil", "rope", "soap"] {
        made.push(tasks.insert(&task(title)).await.unwrap());
        net.sleep(std::time::Duration::from_millis(1)).await; // keys count milliseconds
    }

    assert_eq!(tasks.get(&made[1]).unwrap(), Some(task("rope")));
    assert_eq!(tasks.list().unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), made);
    assert_eq!(titles(&tasks), ["basil", "rope", "soap"]);
}

#[tokio::test(start_paused = true)]
async fn put_makes_or_replaces_and_put_if_absent_only_makes() {
    let (_node, tasks) = table().await;

    tasks.put("a", &task("basil")).await.unwrap();
    tasks.put("a", &task("rope")).await.unwrap();
    assert_eq!(tasks.get("a").unwrap(), Some(task("rope")));

    assert!(!tasks.put_if_absent("a", &task("soap")).await.unwrap());
    assert!(tasks.put_if_absent("b", &task("soap")).await.unwrap());
    assert_eq!(titles(&tasks), ["rope", "soap"]);
}

#[tokio::test(start_paused = true)]
async fn one_of_many_concurrent_put_if_absent_succeeds() {
    let (_node, tasks) = table().await;

    let racers = (0..20).map(|racer| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.put_if_absent("a", &task(&racer.to_string())).await.unwrap() })
    });
    let mut won = Vec::new();
    for (racer, joined) in racers.collect::<Vec<_>>().into_iter().enumerate() {
        if joined.await.unwrap() {
            won.push(racer.to_string());
        }
    }

    assert_eq!(titles(&tasks), won);
    assert_eq!(tasks.history("a").await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn update_changes_what_is_there_and_a_missing_row_is_not_found() {
    let (_node, tasks) = table().await;
    tasks.put("a", &task("basil")).await.unwrap();

    tasks.update("a", |task| task.done = true).await.unwrap();
    let missing = tasks.update("b", |task| task.done = true).await;

    assert!(tasks.get("a").unwrap().unwrap().done);
    assert!(matches!(missing, Err(WriteError::NotFound { ref key, .. }) if key == "b"), "{missing:?}");
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    let edited = tasks.edit("b", |row| row.put("title", "rope")).await;
    assert!(matches!(edited, Err(WriteError::NotFound { .. })), "{edited:?}");
    assert_eq!(titles(&tasks), ["basil"]);
}

#[tokio::test(start_paused = true)]
async fn updates_from_many_tasks_all_land() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tally {
        count: u64,
        names: BTreeMap<String, u64>,
    }
    const TALLIES: TableName<Tally> = TableName::new("tallies");
    let (_node, group) = home().await;
    let tallies = group.table(TALLIES);
    tallies.put("a", &Tally { count: 0, names: BTreeMap::new() }).await.unwrap();

    let writers = (0..20_u64).map(|writer| {
        let tallies = tallies.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let add = |tally: &mut Tally| {
                    tally.count += 1;
                    *tally.names.entry(writer.to_string()).or_default() += 1;
                };
                tallies.update("a", add).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }

    let tally = tallies.get("a").unwrap().unwrap();
    assert_eq!(tally.count, 100);
    assert_eq!(tally.names.into_values().collect::<Vec<_>>(), [5; 20]);
}

#[tokio::test(start_paused = true)]
async fn update_if_refuses_a_row_that_moved() {
    let (_node, tasks) = table().await;
    tasks.put("a", &task("basil")).await.unwrap();
    let seen = tasks.get_row("a").unwrap().unwrap();

    tasks.update("a", |task| task.title = "rope".into()).await.unwrap();
    let late = tasks.update_if("a", seen.heads(), |task| task.done = true).await;

    assert!(matches!(late, Err(WriteError::Moved { .. })), "{late:?}");
    assert_eq!(tasks.get("a").unwrap(), Some(task("rope")));
    let now = tasks.get_row("a").unwrap().unwrap();
    tasks.update_if("a", now.heads(), |task| task.done = true).await.unwrap();
    assert!(tasks.get("a").unwrap().unwrap().done);
    let missing = tasks.update_if("b", now.heads(), |task| task.done = true).await;
    assert!(matches!(missing, Err(WriteError::NotFound { .. })), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_row_is_gone_and_a_later_put_brings_it_back() {
    let (_node, tasks) = table().await;
    tasks.put("a", &Task { title: "basil".into(), done: true }).await.unwrap();

    assert!(tasks.remove("a").await.unwrap());
    assert!(!tasks.remove("a").await.unwrap());
    assert!(!tasks.remove("b").await.unwrap());

    assert_eq!(tasks.get("a").unwrap(), None);
    assert!(tasks.get_row("a").unwrap().is_none());
    assert_eq!(tasks.list().unwrap(), []);
    assert_eq!(tasks.iter().count(), 0);
    let gone = tasks.update("a", |task| task.done = true).await;
    assert!(matches!(gone, Err(WriteError::NotFound { .. })), "{gone:?}");
    assert!(tasks.put_if_absent("a", &task("rope")).await.unwrap());
    assert_eq!(tasks.get("a").unwrap(), Some(task("rope")));
}

#[tokio::test(start_paused = true)]
async fn insert_many_is_all_or_nothing() {
    let (_node, group) = home().await;
    let tasks = group.table(TASKS);

    let keys = tasks.insert_many(&[task("basil"), task("rope")]).await.unwrap();
    assert_eq!(tasks.get(&keys[1]).unwrap(), Some(task("rope")));

    let before = group.status().await.unwrap();

    let huge = task(&"x".repeat(5 << 20));
    let refused = tasks.insert_many(&[task("soap"), huge, task("salt")]).await;

    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tasks.list().unwrap().len(), 2);
    let after = group.status().await.unwrap();
    assert_eq!((after.documents, after.root), (before.documents, before.root));
    assert_eq!(tasks.insert_many(&[]).await.unwrap(), Vec::<String>::new());
}

fn rows(titles: &[(&str, &str)]) -> Vec<(String, Task)> {
    titles.iter().map(|(key, title)| ((*key).to_owned(), task(title))).collect()
}

#[tokio::test(start_paused = true)]
async fn put_many_writes_only_differences_and_the_later_of_two_rows_with_one_key() {
    let (_node, tasks) = table().await;
    tasks.put("a", &task("basil")).await.unwrap();
    tasks.put("gone", &task("soap")).await.unwrap();
    tasks.remove("gone").await.unwrap();
    let batch = rows(&[("b", "first"), ("a", "basil"), ("b", "rope"), ("gone", "soap")]);

    let first = tasks.put_many(&batch).await.unwrap();
    let mut watch = tasks.watch();
    let again = tasks.put_many(&batch).await.unwrap();

    assert_eq!((first.written, first.unchanged), (2, 1));
    assert_eq!((again.written, again.unchanged), (0, 3));
    assert_eq!(titles(&tasks), ["basil", "rope", "soap"]);
    assert_eq!(tasks.history("a").await.unwrap().len(), 1, "what is equal is not written");
    assert_eq!(tasks.history("b").await.unwrap().len(), 1, "a row is written once");
    assert_eq!(tasks.put_many(&[]).await.unwrap(), PutMany::default());
    tasks.put("c", &task("tea")).await.unwrap();
    assert_eq!(follow(&mut watch, 1).await, ["c=tea"], "what is equal is not told");
}

#[tokio::test(start_paused = true)]
async fn put_many_is_all_or_nothing() {
    let (_node, tasks) = table().await;
    tasks.put("a", &task("basil")).await.unwrap();

    let long = tasks.put_many(&rows(&[("a", "rope"), (&"k".repeat(513), "soap")])).await.unwrap_err();
    let large = tasks.put_many(&rows(&[("a", "rope"), ("b", &"x".repeat(5 << 20))])).await.unwrap_err();

    assert_eq!([long.kind(), large.kind()], [ErrorKind::Invalid; 2]);
    assert_eq!(titles(&tasks), ["basil"]);
    assert_eq!(tasks.put_many(&rows(&[("b", "rope"), ("a", "soap")])).await.unwrap().written, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_put_many_of_the_same_rows_in_other_orders_all_succeed() {
    let (_node, tasks) = table().await;

    let writers = (0..16).map(|writer| {
        let tasks = tasks.clone();
        let row = |number| (format!("{number:02}"), task(&format!("writer {writer}")));
        let mut batch: Vec<_> = (0..20).map(row).collect();
        if writer % 2 == 0 {
            batch.reverse();
        }
        tokio::spawn(async move {
            for _ in 0..5 {
                tasks.put_many(&batch).await.unwrap();
                tasks.put("07", &task("alone")).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        tokio::time::timeout(std::time::Duration::from_secs(60), writer).await.unwrap().unwrap();
    }

    // A commit is whole: the last one wrote every row, except for the row that was put by itself after it.
    let mut titles = titles(&tasks);
    assert_eq!(titles.remove(7), "alone");
    assert_eq!(titles, vec![titles[0].clone(); 19]);
}

#[tokio::test(start_paused = true)]
async fn put_many_goes_on_when_a_peer_moves_its_rows() {
    let mut net = Net::seeded(11).latency_ms(1..4);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let numbers = |start: usize| -> Vec<(String, Task)> {
        (0..30).map(|at| (format!("{at:02}"), task(&format!("{}", start + at)))).collect()
    };

    for round in 0..20 {
        let (of_ada, of_ben) = (numbers(round), numbers(round + 1000));
        let (table_of_ada, table_of_ben) = (tasks(&ada, home), tasks(&ben, home));
        let (one, other) = tokio::join!(table_of_ada.put_many(&of_ada), table_of_ben.put_many(&of_ben));
        one.unwrap();
        other.unwrap();
    }
    net.settle().await;

    net.assert_converged();
    assert_eq!(titles(&tasks(&ada, home)).len(), 30);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_table_named_at_run_time_is_the_one_of_that_name() {
    let (_node, group) = home().await;
    group.table(TASKS).put("a", &task("basil")).await.unwrap();

    let named = group.table_named::<Task>(&["ta", "sks"].concat()).unwrap();

    assert_eq!(named.name(), "tasks");
    assert_eq!(titles(&named), ["basil"]);
    let mut watch = named.watch();
    group.table(TASKS).put("b", &task("rope")).await.unwrap();
    assert_eq!(follow(&mut watch, 1).await, ["b=rope"]);
    for wrong in ["", "$groups", "a\0b", &"t".repeat(65)] {
        let refused = group.table_named::<Task>(wrong).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{wrong:?}");
    }
    group.table_named::<Task>(&"t".repeat(64)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn tables_are_listed_with_the_rows_that_are_there() {
    let (node, group) = home().await;
    let many: Vec<(String, Task)> = (0..700).map(|at| (format!("{at}"), task("tea"))).collect();
    group.table(TASKS).put_many(&many).await.unwrap();
    group.table_named("a\u{10ffff}").unwrap().put("k", &task("rope")).await.unwrap();
    group.table_named("tasks2").unwrap().put_many(&many[..256]).await.unwrap();
    let emptied = group.table_named::<Task>("emptied").unwrap();
    emptied.put("k", &task("soap")).await.unwrap();
    emptied.remove("k").await.unwrap();
    group.table(TASKS).remove("0").await.unwrap();

    let tables = group.tables().unwrap();

    let expected = [("a\u{10ffff}", 1), ("tasks", 699), ("tasks2", 256)];
    assert_eq!(tables, expected.map(|(name, rows)| (name.to_owned(), rows)));
    assert_eq!(node.personal().unwrap().tables().unwrap(), [], "its own tables are left out");
}

#[tokio::test(start_paused = true)]
async fn readers_never_see_half_of_an_insert_many() {
    let (node, group) = home().await;
    let tasks = group.table(TASKS);
    let mut watch = tasks.watch();

    let writer = tokio::spawn({
        let tasks = tasks.clone();
        async move {
            for batch in 0..20 {
                let rows: Vec<_> = (0..7).map(|row| task(&format!("{batch} {row}"))).collect();
                tasks.insert_many(&rows).await.unwrap();
            }
        }
    });
    for _ in 0..20 {
        watch.next().await.unwrap();
        assert_eq!(tasks.list().unwrap().len() % 7, 0);
        for _ in 1..7 {
            watch.next().await.unwrap();
        }
    }
    writer.await.unwrap();

    assert_eq!(tasks.list().unwrap().len(), 140);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn iter_goes_through_a_range_of_keys_in_order() {
    let (_node, tasks) = table().await;
    for key in ["2026-02", "2025-12", "2026-01", "2027-01", "é"] {
        tasks.put(key, &task(key)).await.unwrap();
    }
    tasks.remove("2026-01").await.unwrap();

    assert_eq!(keys(&tasks, ..), ["2025-12", "2026-02", "2027-01", "é"]);
    assert_eq!(keys(&tasks, "2026-".."2027-"), ["2026-02"]);
    assert_eq!(keys(&tasks, "2026-02"..="2027-01"), ["2026-02", "2027-01"]);
    assert_eq!(keys(&tasks, ..="2025-12"), ["2025-12"]);
    assert_eq!(keys(&tasks, "3".."1"), Vec::<String>::new());
    assert_eq!(keys(&tasks, "2026-02".."2026-02"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn iter_turns_pages() {
    let (_node, tasks) = table().await;
    let rows: Vec<_> = (0..1_000).map(|row| task(&row.to_string())).collect();
    let made = tasks.insert_many(&rows).await.unwrap();

    let mut expected = made;
    expected.sort();
    assert_eq!(tasks.iter().map(|row| row.unwrap().key().to_owned()).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn tables_and_groups_are_apart() {
    const OTHER: TableName<Task> = TableName::new("task");
    let (node, group) = home().await;
    group.table(TASKS).put("a", &task("basil")).await.unwrap();

    assert_eq!(titles(&group.table(OTHER)), Vec::<String>::new());
    let work = node.create_group("work").await.unwrap();
    assert_eq!(titles(&work.table(TASKS)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn edit_works_below_the_fields() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        body: Text,
        likes: Counter,
        tags: Vec<String>,
    }
    const NOTES: TableName<Note> = TableName::new("notes");
    let (_node, group) = home().await;
    let notes = group.table(NOTES);
    let note = Note { body: "wörld".into(), likes: 1.into(), tags: vec!["a".into()] };
    notes.put("a", &note).await.unwrap();

    let edit = |row: &mut peerbase::RowEdit| {
        row.splice_text("body", 0, 1, "hello w");
        row.increment("likes", 2);
        row.insert("tags", 1, "b");
    };
    notes.edit("a", edit).await.unwrap();
    let behind_the_end = notes.edit("a", |row| row.splice_text("body", 99, 0, "!")).await;
    let no_longer_a_note = notes.edit("a", |row| row.put("likes", "many")).await;

    let note = Note { body: "hello wörld".into(), likes: 3.into(), tags: vec!["a".into(), "b".into()] };
    assert_eq!(notes.get("a").unwrap(), Some(note));
    assert!(matches!(behind_the_end, Err(WriteError::Value { .. })), "{behind_the_end:?}");
    assert!(matches!(no_longer_a_note, Err(WriteError::Value { .. })), "{no_longer_a_note:?}");
}

#[tokio::test(start_paused = true)]
async fn history_names_author_device_and_heads_of_each_revision() {
    let mut net = Net::seeded(1).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    tasks(&ben, home).update("a", |task| task.done = true).await.unwrap();
    net.settle().await;

    let history = tasks(&ada, home).history("a").await.unwrap();

    let authors: Vec<_> = history.iter().map(|revision| (revision.author, revision.device)).collect();
    let of = |peer: &peerbase::sim::Peer| (Some(peer.node().user_id()), Some(peer.node().device_id()));
    assert_eq!(authors, [of(&ada), of(&ben)]);
    assert!(history[0].time_ms < history[1].time_ms);
    assert_eq!(history[1].heads, tasks(&ada, home).get_row("a").unwrap().unwrap().heads());
    assert_eq!(tasks(&ada, home).history("b").await.unwrap(), []);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn put_writes_only_the_fields_that_differ() {
    let mut net = Net::seeded(2).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    let seen = tasks(&ada, home).history("a").await.unwrap().len();

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    assert_eq!(
        tasks(&ada, home).history("a").await.unwrap().len(),
        seen,
        "nothing differs, nothing is written"
    );
    net.partition(&[&[&ada], &[&ben]]);
    tasks(&ada, home).put("a", &task("rope")).await.unwrap();
    tasks(&ben, home).put("a", &Task { title: "basil".into(), done: true }).await.unwrap();
    net.heal();
    net.settle().await;

    net.assert_converged();
    assert_eq!(tasks(&ada, home).get("a").unwrap(), Some(Task { title: "rope".into(), done: true }));
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_field_of_a_newer_app_survives_an_older_apps_update() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct NewTask {
        title: String,
        done: bool,
        place: Option<String>,
    }
    const NEW_TASKS: TableName<NewTask> = TableName::new("tasks");
    let (_node, group) = home().await;
    let new = NewTask { title: "basil".into(), done: false, place: Some("balcony".into()) };
    group.table(NEW_TASKS).put("a", &new).await.unwrap();

    group.table(TASKS).update("a", |task| task.done = true).await.unwrap();
    assert_eq!(group.table(NEW_TASKS).get("a").unwrap(), Some(NewTask { done: true, ..new.clone() }));
    group.table(TASKS).put("a", &task("rope")).await.unwrap();
    assert_eq!(
        group.table(NEW_TASKS).get("a").unwrap(),
        Some(NewTask { title: "rope".into(), ..new.clone() })
    );

    group.table(NEW_TASKS).update("a", |task| task.place = None).await.unwrap();
    assert_eq!(group.table(NEW_TASKS).get("a").unwrap().unwrap().place, None);
}

#[tokio::test(start_paused = true)]
async fn a_removal_wins_over_concurrent_edits_and_a_later_put_revives() {
    let mut net = Net::seeded(3).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;

    net.partition(&[&[&ada], &[&ben]]);
    tasks(&ada, home).remove("a").await.unwrap();
    tasks(&ben, home).update("a", |task| task.done = true).await.unwrap();
    tasks(&ben, home).put("a", &task("rope")).await.unwrap();
    net.heal();
    net.settle().await;
    net.assert_converged();
    assert_eq!(tasks(&ada, home).get("a").unwrap(), None);
    assert_eq!(tasks(&ben, home).get("a").unwrap(), None);

    tasks(&ben, home).put("a", &task("soap")).await.unwrap();
    net.settle().await;
    net.assert_converged();
    assert_eq!(tasks(&ada, home).get("a").unwrap(), Some(task("soap")));
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn texts_and_counters_merge_and_the_same_key_made_twice_is_one_row() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        body: Text,
        likes: Counter,
    }
    const NOTES: TableName<Note> = TableName::new("notes");
    let mut net = Net::seeded(4).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let notes = |peer: &peerbase::sim::Peer| crate::support::group(peer, home).table(NOTES);
    notes(&ada).put("a", &Note { body: "water the herbs".into(), likes: 1.into() }).await.unwrap();
    net.settle().await;

    net.partition(&[&[&ada], &[&ben]]);
    let of_ada = |note: &mut Note| {
        note.body.splice(0, 5, "Water");
        note.likes.increment(2);
    };
    let of_ben = |note: &mut Note| {
        note.body.push_str(", please");
        note.likes.increment(-4);
    };
    notes(&ada).update("a", of_ada).await.unwrap();
    notes(&ben).update("a", of_ben).await.unwrap();
    tasks(&ada, home).put("pinned", &task("basil")).await.unwrap();
    tasks(&ben, home).put("pinned", &task("rope")).await.unwrap();
    net.heal();
    net.settle().await;

    net.assert_converged();
    let merged = Note { body: "Water the herbs, please".into(), likes: (-1).into() };
    assert_eq!(notes(&ada).get("a").unwrap(), Some(merged));
    let pinned = titles(&tasks(&ada, home));
    assert!(pinned == ["basil"] || pinned == ["rope"], "{pinned:?}");
    net.close().await;
}

/// The table in the documentation of `peerbase::table`: two devices change each kind of field of one row.
#[tokio::test(start_paused = true)]
async fn each_kind_of_field_merges_as_the_documentation_lists() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Circle { radius: i64, colour: i64 },
    }
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Size {
        width: i64,
        height: i64,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        string: String,
        bytes: Vec<u8>,
        text: Text,
        counter: Counter,
        size: Size,
        map: BTreeMap<String, i64>,
        list: Vec<String>,
        elements: Vec<Size>,
        set: BTreeSet<String>,
        pair: (i64, i64),
        shape: Shape,
        note: Option<Text>,
    }
    const ROWS: TableName<Row> = TableName::new("rows");
    let mut net = Net::seeded(5).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let rows = |peer: &peerbase::sim::Peer| crate::support::group(peer, home).table(ROWS);
    let row = Row {
        string: String::new(),
        bytes: vec![0, 0],
        text: "middle".into(),
        counter: 0.into(),
        size: Size::default(),
        map: BTreeMap::new(),
        list: vec!["old".to_owned()],
        elements: vec![Size::default()],
        set: ["old".to_owned()].into(),
        pair: (0, 0),
        shape: Shape::Circle { radius: 0, colour: 0 },
        note: Some("middle".into()),
    };
    rows(&ada).put("a", &row).await.unwrap();
    net.settle().await;

    net.partition(&[&[&ada], &[&ben]]);
    let of_ada = |row: &mut Row| {
        row.string = "ada".to_owned();
        row.bytes[0] = 1;
        row.text.splice(0, 0, "front ");
        row.counter.increment(1);
        row.size.width = 1;
        row.map.insert("ada".to_owned(), 1);
        row.list.insert(0, "ada".to_owned());
        row.elements[0].width = 1;
        row.set.insert("ada".to_owned());
        row.pair.0 = 1;
        row.shape = Shape::Circle { radius: 1, colour: 0 };
        row.note.as_mut().unwrap().splice(0, 0, "front ");
    };
    let of_ben = |row: &mut Row| {
        row.string = "ben".to_owned();
        row.bytes[1] = 1;
        row.text.push_str(" back");
        row.counter.increment(1);
        row.size.height = 1;
        row.map.insert("ben".to_owned(), 1);
        row.list.push("ben".to_owned());
        row.elements[0].height = 1;
        row.set.insert("ben".to_owned());
        row.pair.1 = 1;
        row.shape = Shape::Circle { radius: 0, colour: 1 };
        row.note.as_mut().unwrap().push_str(" back");
    };
    rows(&ada).update("a", of_ada).await.unwrap();
    rows(&ben).update("a", of_ben).await.unwrap();
    net.heal();
    net.settle().await;

    net.assert_converged();
    let merged = rows(&ada).get("a").unwrap().unwrap();
    let [mut with_ada, mut with_ben] = [row.clone(), row.clone()];
    of_ada(&mut with_ada);
    of_ben(&mut with_ben);
    // Of each register the value of one of them stays whole, of either of them.
    assert!([&with_ada.string, &with_ben.string].contains(&&merged.string));
    assert!([&with_ada.bytes, &with_ben.bytes].contains(&&merged.bytes));
    assert!([with_ada.pair, with_ben.pair].contains(&merged.pair));
    assert!([&with_ada.shape, &with_ben.shape].contains(&&merged.shape));
    let size = Size { width: 1, height: 1 };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = Row {
        text: "front middle back".into(),
        counter: 2.into(),
        size: size.clone(),
        map: [("ada".to_owned(), 1), ("ben".to_owned(), 1)].into(),
        list: names(&["ada", "old", "ben"]),
        elements: vec![size],
        set: names(&["ada", "ben", "old"]).into_iter().collect(),
        note: Some("front middle back".into()),
        ..merged.clone()
    };
    assert_eq!(merged, expected);
    net.close().await;
}

/// Asserts that a row is refused with the kind `Invalid` and that nothing is written.
async fn assert_refused<T: Serialize + DeserializeOwned>(
    group: &Group,
    name: TableName<T>,
    key: &str,
    row: T,
) {
    let table = group.table(name);
    let before = group.status().await.unwrap();

    let refused = table.put(key, &row).await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused:?}");
    let after = group.status().await.unwrap();
    assert_eq!((before.documents, before.root), (after.documents, after.root), "{refused:?}");
    assert_eq!(table.iter().count() + table.unreadable().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_stored_is_refused_and_nothing_is_written() {
    const WIDE: TableName<BTreeMap<String, u128>> = TableName::new("wide");
    const MAPS: TableName<BTreeMap<(u8, u8), u8>> = TableName::new("maps");
    const DOLLARS: TableName<BTreeMap<String, u8>> = TableName::new("dollars");
    let (_node, group) = home().await;

    assert_refused(&group, TASKS, &"k".repeat(513), task("basil")).await;
    assert_refused(&group, TASKS, "", task("basil")).await;
    assert_refused(&group, TASKS, "a", task(&"x".repeat((4 << 20) + 1))).await;
    assert_refused(&group, WIDE, "a", BTreeMap::from([("n".into(), u128::MAX)])).await;
    assert_refused(&group, WIDE, "a", BTreeMap::from([("n".into(), 1 << 64)])).await;
    assert_refused(&group, MAPS, "a", BTreeMap::from([((1, 2), 3)])).await;
    assert_refused(&group, DOLLARS, "a", BTreeMap::from([("$removed".into(), 1)])).await;

    let tasks = group.table(TASKS);
    let longest = "k".repeat(512);
    tasks.put(&longest, &task(&"x".repeat(3 << 20))).await.unwrap();
    assert_eq!(tasks.get(&longest).unwrap().unwrap().title.len(), 3 << 20);
    assert_eq!(tasks.get("").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tasks.remove(&"k".repeat(513)).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tasks.history("").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn an_invalid_table_name_is_refused() {
    const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";
    for name in ["", "$groups", "a\0b", &LONG[..65]] {
        assert!(std::panic::catch_unwind(|| TableName::<Task>::new(name)).is_err(), "{name:?}");
    }
    TableName::<Task>::new(&LONG[..64]);
}

#[tokio::test(start_paused = true)]
async fn a_row_of_another_type_is_an_error_of_that_row_alone() {
    const NUMBERS: TableName<u64> = TableName::new("tasks");
    let (_node, group) = home().await;
    let tasks = group.table(TASKS);
    tasks.put("a", &task("basil")).await.unwrap();
    group.table(NUMBERS).put("b", &7).await.unwrap();
    tasks.put("c", &task("rope")).await.unwrap();

    assert_eq!(titles(&tasks), ["basil", "rope"]);
    assert_eq!(tasks.get("b").unwrap_err().kind(), ErrorKind::Damaged);
    let unreadable = tasks.unreadable().unwrap();
    assert!(
        matches!(&unreadable[..], [peerbase::ReadError::Row { key, .. }] if key == "b"),
        "{unreadable:?}"
    );
    let seen: Vec<_> = tasks.iter().map(|row| row.unwrap().value().is_ok()).collect();
    assert_eq!(seen, [true, false, true]);
    let updated = tasks.update("b", |task| task.done = true).await;
    assert_eq!(updated.unwrap_err().kind(), ErrorKind::Damaged);
    tasks.put("b", &task("soap")).await.unwrap();
    assert_eq!(titles(&tasks), ["basil", "soap", "rope"]);
}

/// Formats the next `count` changes.
async fn follow(watch: &mut Watch<Task>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(match watch.next().await.unwrap() {
            RowChange::Put(row) => format!("{}={}", row.key(), row.value().unwrap().title),
            RowChange::Removed { key } => format!("-{key}"),
            RowChange::Reset(rows) => format!("reset {}", rows.len()),
        });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn watch_sees_local_and_remote_changes_in_order() {
    let mut net = Net::seeded(5).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let (mut of_ada, mut of_ben) = (tasks(&ada, home).watch(), tasks(&ben, home).watch());

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    tasks(&ada, home).update("a", |task| task.title = "herbs".into()).await.unwrap();
    tasks(&ada, home).remove("b").await.unwrap();

    assert_eq!(follow(&mut of_ada, 4).await, ["a=basil", "b=rope", "a=herbs", "-b"]);
    net.settle().await;
    tasks(&ben, home).put("c", &task("soap")).await.unwrap();
    assert_eq!(follow(&mut of_ada, 1).await, ["c=soap"]);
    // Changes to one row that arrive together are one change to a watcher.
    let mut last = BTreeMap::new();
    while last.len() < 3 {
        let change = follow(&mut of_ben, 1).await.remove(0);
        let key = change.trim_start_matches('-')[..1].to_owned();
        last.insert(key, change);
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_watched_change_can_be_read() {
    let (_node, tasks) = table().await;
    let mut watch = tasks.watch();

    let writer = tokio::spawn({
        let tasks = tasks.clone();
        async move {
            for count in 0..50 {
                tasks.put(&format!("{count:02}"), &task("basil")).await.unwrap();
            }
        }
    });

    for count in 0..50 {
        let RowChange::Put(row) = watch.next().await.unwrap() else { panic!("only puts") };
        assert_eq!(row.key(), format!("{count:02}"));
        assert_eq!(tasks.get(row.key()).unwrap(), Some(row.value().unwrap()));
    }
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_gets_one_reset_with_everything_and_goes_on_from_there() {
    let (_node, tasks) = table().await;
    let mut watch = tasks.watch();

    for count in 0..600 {
        tasks.put(&format!("{:02}", count % 50), &task(&count.to_string())).await.unwrap();
    }
    let RowChange::Reset(rows) = watch.next().await.unwrap() else {
        panic!("600 batches are too many to keep")
    };
    assert_eq!(rows, tasks.list().unwrap());

    tasks.put("a", &task("basil")).await.unwrap();
    assert_eq!(follow(&mut watch, 1).await, ["a=basil"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_the_node_is_closed() {
    let (node, tasks) = table().await;
    let mut watch = tasks.watch();
    tasks.put("a", &task("basil")).await.unwrap();

    node.close().await;

    assert_eq!(follow(&mut watch, 1).await, ["a=basil"]);
    let rest = tokio::time::timeout(std::time::Duration::from_secs(1), watch.next()).await;
    assert!(matches!(rest, Ok(None)), "{rest:?}");
}
