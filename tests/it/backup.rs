//! A backup is made while the database is in use, and opens as a database.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actors::node::store::{SledOptions, StoreHandle};
use peerbase::sim::Net;
use peerbase::{BackupError, Counter, DocumentId, ErrorKind, GroupId, GroupState, Node, Role, TableName};
use serde::{Deserialize, Serialize};

use crate::support::{DEADLINE, TASKS, group, home, soon, task, tasks, titles};

async fn open(folder: &Path) -> Node {
    Node::builder(folder).name("ada").open().await.unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The incarnation under which the closed database in a folder writes to a group.
async fn incarnation(folder: &Path, group: GroupId) -> Vec<u8> {
    let store = StoreHandle::open(&folder.join("db"), &SledOptions::default()).unwrap();
    let space = store.space(&[b"g", &group.0[..]].concat()).unwrap();
    let incarnation = space.get(b"mincarnation").unwrap().unwrap();
    store.close(DEADLINE).await.unwrap();
    incarnation
}

#[tokio::test]
async fn a_backup_opens_as_the_database_that_it_was_taken_of() {
    let folder = tempfile::tempdir().unwrap();
    let ada = open(&folder.path().join("ada")).await;
    let home = ada.create_group("home").await.unwrap();
    let long = "x".repeat(300_000);
    home.table(TASKS)
        .put_many(&(0..600).map(|at| (format!("{at:03}"), task("tea"))).collect::<Vec<_>>())
        .await
        .unwrap();
    home.table(TASKS).put("long", &task(&long)).await.unwrap();
    home.table(TASKS).remove("000").await.unwrap();
    let left = ada.create_group("left").await.unwrap();
    left.leave().await.unwrap();
    let wished = Node::in_memory().await.unwrap().create_group("ben's").await.unwrap().id();
    ada.request_group(wished).await.unwrap();
    let copy = folder.path().join("deep").join("monday");

    let backup = ada.backup(&copy).await.unwrap();
    home.table(TASKS).put("later", &task("rope")).await.unwrap();
    let (before, user, device) = (home.table(TASKS).list().unwrap(), ada.user_id(), ada.device_id());
    let groups = ada.groups();
    ada.close().await;

    assert_eq!((backup.groups, backup.rows, backup.damaged), (3, 601, 0));
    assert!(backup.bytes > 300_000);
    assert_eq!(names(copy.parent().unwrap()), ["monday"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(copy.join("identity.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let restored = open(&copy).await;
    assert_eq!((restored.user_id(), restored.device_id()), (user, device));
    assert_eq!(restored.groups(), groups);
    let rows = restored.group(home.id()).unwrap().table(TASKS);
    assert_eq!(
        rows.list().unwrap(),
        before.into_iter().filter(|(key, _)| key != "later").collect::<Vec<_>>()
    );
    assert_eq!(rows.history("000").await.unwrap().len(), 2);
    rows.update("long", |task| task.done = true).await.unwrap();
    assert_eq!(restored.group(wished).unwrap().info().state, GroupState::Pending);
    assert_eq!(restored.request_group(left.id()).await.unwrap().info().name, "left");
    restored.close().await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tally {
    count: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_shows_each_group_as_of_one_moment_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let ada = open(&folder.path().join("ada")).await;
    let home = ada.create_group("home").await.unwrap();
    let tallies = home.table(TableName::<Tally>::new("tallies"));
    let all = |count| (0..200).map(|at| (format!("{at}"), Tally { count })).collect::<Vec<_>>();
    tallies.put_many(&all(0)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (tallies, done) = (tallies.clone(), done.clone());
        async move {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                tallies.put_many(&all(count)).await.unwrap();
            }
            count
        }
    });

    let mut seen = vec![0];
    for number in 0..5 {
        soon("the writer goes on", async || tallies.get("0").unwrap().unwrap().count > seen[number]).await;
        ada.backup(folder.path().join(format!("copy {number}"))).await.unwrap();
        seen.push(tallies.get("0").unwrap().unwrap().count);
    }
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    ada.close().await;

    for (number, seen) in seen.windows(2).enumerate() {
        let copy = open(&folder.path().join(format!("copy {number}"))).await;
        let rows = copy.group(home.id()).unwrap().table(TableName::<Tally>::new("tallies")).list().unwrap();
        let count = rows[0].1.count;
        assert_eq!(rows.len(), 200);
        assert!(rows.iter().all(|(_, row)| row.count == count), "half of a commit: {rows:?}");
        assert!(count > seen[0] && count <= seen[1], "{count} is not of its time: {seen:?}");
        copy.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_copy_writes_under_a_new_incarnation_and_agrees_with_the_peers_of_the_original() {
    const SEEDS: TableName<(String, Counter)> = TableName::new("seeds");
    let folder = tempfile::tempdir().unwrap();
    let (original, copy) = (folder.path().join("ada"), folder.path().join("copy"));
    let ada = open(&original).await;
    let ben = Node::in_memory().await.unwrap();
    let home = ada.create_group("home").await.unwrap();
    home.add_member(ben.user_id(), Role::Writer).await.unwrap();
    let of_ben = ben.request_group(home.id()).await.unwrap();
    let address = ben.listen("127.0.0.1:0").await.unwrap();
    ada.connect(&address).await.unwrap();
    let (of_ada, seeds) = (home.table(TASKS), of_ben.table(TASKS));
    of_ada.put("a", &task("basil")).await.unwrap();
    home.table(SEEDS).put("peas", &("peas".into(), 1.into())).await.unwrap();
    soon("the copy receives a row of a peer", async || seeds.get("a").unwrap().is_some()).await;

    // After the backup the original writes once more, under the numbers that the copy would use next.
    ada.backup(&copy).await.unwrap();
    of_ada.update("a", |task| task.title = "thyme".into()).await.unwrap();
    of_ada.put("b", &task("rope")).await.unwrap();
    soon("the copy receives both rows", async || titles(&seeds) == ["thyme", "rope"]).await;
    ada.close().await;
    let ada = open(&copy).await;
    let home = ada.group(home.id()).unwrap();
    assert_eq!(titles(&home.table(TASKS)), ["basil"], "the copy is older");
    home.table(TASKS).update("a", |task| task.done = true).await.unwrap();
    home.table(TASKS).put("b", &task("soap")).await.unwrap();
    home.table(TASKS).put("c", &task("tea")).await.unwrap();
    ada.connect(&address).await.unwrap();

    soon("both have all three rows", async || {
        titles(&seeds).len() == 3 && titles(&seeds) == titles(&home.table(TASKS))
    })
    .await;
    home.synced(DEADLINE).await.unwrap();
    assert_eq!(
        seeds.get("a").unwrap(),
        Some(crate::support::Task { done: true, ..task("thyme") }),
        "both changes count"
    );
    assert_eq!(home.table(TASKS).history("a").await.unwrap().len(), 3);
    for group in [&home, &of_ben] {
        let status = group.status().await.unwrap();
        assert_eq!(
            (status.refusals.len() + status.refused_by_peers.len(), status.quarantined.len()),
            (0, 0),
            "{status:?}"
        );
    }
    ada.close().await;
    ben.close().await;
    assert_ne!(incarnation(&original, home.id()).await, incarnation(&copy, home.id()).await);
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_whose_files_were_copied_writes_under_a_new_incarnation_and_one_that_was_moved_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [first, moved, copy] = ["first", "moved", "copy"].map(|name| folder.path().join(name));
    let ada = open(&first).await;
    let home = ada.create_group("home").await.unwrap().id();
    ada.close().await;
    let before = incarnation(&first, home).await;

    std::fs::rename(&first, &moved).unwrap();
    open(&moved).await.close().await;
    assert_eq!(incarnation(&moved, home).await, before);

    copy_folder(&moved, &copy);
    open(&copy).await.close().await;
    assert_ne!(incarnation(&copy, home).await, before);
    assert_eq!(incarnation(&moved, home).await, before);
}

#[cfg(unix)]
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy_folder(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_that_holds_something_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ada = open(&folder.path().join("ada")).await;
    let full = folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), b"dear ben").unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();

    let refused = [
        ada.backup(&full).await.unwrap_err(),
        ada.backup(folder.path().join("ada")).await.unwrap_err(),
        ada.backup(&file).await.unwrap_err(),
        ada.backup(file.join("below")).await.unwrap_err(),
        ada.backup("/").await.unwrap_err(),
    ];

    assert!(matches!(&refused[0], BackupError::NotEmpty { path } if *path == full), "{refused:?}");
    assert!(matches!(refused[1], BackupError::NotEmpty { .. }), "{refused:?}");
    assert!(matches!(refused[2], BackupError::Folder { .. }), "{refused:?}");
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Invalid), "{refused:?}");
    assert_eq!(std::fs::read(full.join("letter")).unwrap(), b"dear ben");
    assert_eq!(std::fs::read(&file).unwrap(), b"no folder");
    ada.backup(&empty).await.unwrap();
    assert_eq!(names(folder.path()), ["ada", "empty", "file", "full"]);
    assert_eq!(names(&empty), ["db", "identity.key"]);
    ada.close().await;
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let ada = open(&folder.path().join("ada")).await;
    ada.close().await;

    let failed = ada.backup(folder.path().join("copy")).await.unwrap_err();

    assert_eq!(failed.kind(), ErrorKind::Closed, "{failed:?}");
    assert_eq!(names(folder.path()), ["ada"]);
}

#[tokio::test]
async fn a_database_in_memory_is_backed_up_too() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let (node, home) = home().await;
    home.table(TASKS).put("a", &task("basil")).await.unwrap();

    node.backup(&copy).await.unwrap();

    let restored = open(&copy).await;
    assert_eq!(restored.device_id(), node.device_id());
    assert_eq!(titles(&restored.group(home.id()).unwrap().table(TASKS)), ["basil"]);
    restored.close().await;
}

#[tokio::test]
async fn damage_is_copied_into_the_backup_and_harms_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::seeded(1);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    for key in ["a", "b"] {
        tasks(&ada, home).put(key, &task("basil")).await.unwrap();
    }
    net.crash(&ada).await;
    let document = DocumentId::of(home, "tasks", "a");
    assert!(ada.disk().damage(&[b"g", &home.0[..]].concat(), &[b"d", &document.0[..]].concat()));
    net.restart(&ada).await;

    let backup = ada.node().backup(folder.path().join("copy")).await.unwrap();

    assert_eq!(backup.damaged, 1);
    let original = group(&ada, home).status().await.unwrap().quarantined;
    let restored = open(&folder.path().join("copy")).await;
    let copied = restored.group(home).unwrap();
    assert_eq!(copied.status().await.unwrap().quarantined, original);
    let refused = copied.table(TASKS).put("a", &task("rope")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused:?}");
    copied.table(TASKS).put("b", &task("rope")).await.unwrap();
    restored.close().await;
    net.close().await;
}
