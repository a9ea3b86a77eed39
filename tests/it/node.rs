//! One device's database: it opens, restarts what fails, and closes.
#![allow(clippy::disallowed_methods, reason = "a test is no actor: its tasks are its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::identity::IdentityError;
use actors::node::store::faulty::{Faults, FaultyEngine};
use actors::node::store::sled::SledEngine;
use actors::node::store::{Batch, OpenError as StoreOpenError, SledOptions, StoreHandle};
use peerbase::engine::{Engine, MemoryDisk, OpenEngine};
use peerbase::node::Branch;
use peerbase::sim::{Net, faults};
use peerbase::{ErrorKind, Event, GroupError, Node, NodeEnd, OpenError, Role};
use tokio::sync::broadcast::error::RecvError;

use crate::support::{TASKS, group, task, tasks, titles};

const A_WHILE: Duration = Duration::from_secs(120);
/// The environment variable that names the task and the folder of a child process of the test.
const CHILD: &str = "PEERBASE_TEST_CHILD";

/// Runs a task in a child process and returns its output.
fn in_a_child(what: &str, folder: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["node::the_child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{what} {}", folder.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().find_map(|line| line.split_once("child: ")).unwrap().1.to_owned()
}

/// The task that `in_a_child` runs; without the environment variable it does nothing.
#[tokio::test]
async fn the_child_process() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (what, folder) = task.split_once(' ').unwrap();
    match what {
        "open" => {
            let opened = Node::builder(folder).open().await;
            println!("\nchild: {}", opened.unwrap_err());
        }
        "threads" => {
            let node = Node::builder(folder).open().await.unwrap();
            node.create_group("home").await.unwrap();
            let open = threads();
            node.close().await;
            println!("\nchild: {open:?} then {:?}", threads());
        }
        other => panic!("{other}?"),
    }
}

/// The names of the store's threads in this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("peerbase")).collect()
}

/// Every file below a folder with its contents, except for the empty lock files.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// A folder with a closed database of one group and one row.
async fn closed_home() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::builder(folder.path()).open().await.unwrap();
    let home = node.create_group("home").await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    node.close().await;
    folder
}

async fn open(folder: &Path) -> Result<Node, OpenError> {
    Node::builder(folder).open().await
}

#[tokio::test]
async fn the_first_open_makes_an_identity_and_the_personal_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("ada");

    let node = open(&path).await.unwrap();

    assert!(path.join("identity.key").is_file());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path.join("identity.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let personal = node.personal().unwrap();
    assert_eq!(personal.members().iter().map(|member| member.user).collect::<Vec<_>>(), [node.user_id()]);
    assert_eq!(node.groups(), [], "the personal group is not among them");
    node.close().await;
}

#[tokio::test]
async fn the_next_open_finds_the_same_device_and_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let who = (node.user_id(), node.device_id());
    let home = node.create_group("home").await.unwrap();
    for count in 0..100 {
        home.table(TASKS).put(&format!("{count:02}"), &task("basil")).await.unwrap();
        home.table(TASKS).update(&format!("{count:02}"), |task| task.done = true).await.unwrap();
    }
    home.table(TASKS).put("large", &task(&"x".repeat(1 << 20))).await.unwrap();
    let (rows, groups) = (home.table(TASKS).list().unwrap(), node.groups());
    node.close().await;

    for _ in 0..2 {
        let node = open(folder.path()).await.unwrap();
        assert_eq!((node.user_id(), node.device_id()), who);
        assert_eq!(node.groups(), groups);
        let home = node.group(home.id()).unwrap();
        assert_eq!(home.table(TASKS).list().unwrap(), rows);
        home.table(TASKS).update("00", |_| ()).await.unwrap();
        assert!(home.status().await.unwrap().quarantined.is_empty());
        node.close().await;
    }
}

#[tokio::test]
async fn a_node_and_its_backup_open_with_the_chosen_engine() {
    /// Counts the databases that it opens.
    struct Counting(Arc<AtomicUsize>);
    impl OpenEngine for Counting {
        fn open_in(&self, folder: &Path) -> Result<Box<dyn Engine>, StoreOpenError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            SledOptions::default().open_in(folder)
        }
        fn exists_in(&self, folder: &Path) -> bool {
            SledOptions::default().exists_in(folder)
        }
    }
    let (folder, opened) = (tempfile::tempdir().unwrap(), Arc::<AtomicUsize>::default());

    let node =
        Node::builder(folder.path().join("ada")).engine(Counting(opened.clone())).open().await.unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    node.backup(folder.path().join("backup")).await.unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    node.close().await;
}

#[tokio::test]
async fn an_engine_in_memory_keeps_its_database_while_the_process_runs() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let open = async || Node::builder(folder.path()).engine(disk.clone()).open().await.unwrap();
    let node = open().await;
    let home = node.create_group("home").await.unwrap().id();
    node.close().await;

    let node = open().await;

    assert_eq!(node.group(home).unwrap().info().name, "home");
    assert!(!folder.path().join("db").exists(), "no database on the disk");
    node.close().await;
}

#[tokio::test]
async fn a_second_open_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let home = node.create_group("home").await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    let before = contents(folder.path());

    let second = open(folder.path()).await.unwrap_err();
    let other_process = in_a_child("open", folder.path());

    let OpenError::Store(StoreOpenError::Locked { path }) = &second else { panic!("{second:?}") };
    assert!(path.starts_with(folder.path()), "{path:?}");
    assert_eq!(second.kind(), ErrorKind::Busy);
    assert_eq!(other_process, second.to_string());
    assert!(other_process.contains(&folder.path().display().to_string()));
    assert_eq!(contents(folder.path()), before);
    home.table(TASKS).put("b", &task("rope")).await.unwrap();
    node.close().await;
    open(folder.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_identity_is_named_and_left_alone() {
    let folder = closed_home().await;
    let path = folder.path().join("identity.key");
    let good = std::fs::read(&path).unwrap();
    let before = contents(folder.path());

    for bad in [vec![], good[..good.len() - 1].to_vec(), {
        let mut bad = good.clone();
        bad[40] ^= 1;
        bad
    }] {
        std::fs::write(&path, &bad).unwrap();
        let opened = open(folder.path()).await;
        assert!(
            matches!(opened, Err(OpenError::Identity(IdentityError::Damaged { .. }))),
            "{} bytes: {opened:?}",
            bad.len()
        );
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(std::fs::read(&path).unwrap(), bad);
    }

    std::fs::write(&path, &good).unwrap();
    assert_eq!(contents(folder.path()).len(), before.len());
    let node = open(folder.path()).await.unwrap();
    assert_eq!(node.groups().len(), 1);
    node.close().await;
}

#[tokio::test]
async fn a_database_without_its_identity_is_not_given_another() {
    let folder = closed_home().await;
    let (path, aside) = (folder.path().join("identity.key"), folder.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();

    for _ in 0..2 {
        let opened = open(folder.path()).await;
        assert!(matches!(opened, Err(OpenError::Identity(IdentityError::Missing { .. }))), "{opened:?}");
        assert!(!path.exists());
    }

    std::fs::rename(&aside, &path).unwrap();
    let node = open(folder.path()).await.unwrap();
    assert_eq!(node.groups().len(), 1);
    node.close().await;
}

#[tokio::test]
async fn a_damaged_database_reports_the_damage_and_never_shows_wrong_rows() {
    let folder = closed_home().await;
    open(folder.path()).await.unwrap().close().await;
    let good = contents(&folder.path().join("db"));
    let log = folder.path().join("db").join("db");
    let bytes = std::fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;

    let mut refused = 0;
    for step in 0..24 {
        let at = used * step / 24;
        let mut bad = bytes.clone();
        if step % 2 == 0 {
            bad[at] ^= 0x40;
        } else {
            bad.truncate(at);
        }
        std::fs::write(&log, &bad).unwrap();
        match open(folder.path()).await {
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error:?}");
            }
            Ok(node) => {
                // A damaged row is missing or in quarantine; every row shown was written.
                for group in node.groups().into_iter().filter_map(|info| node.group(info.id).ok()) {
                    for row in group.table(TASKS).list().unwrap_or_default() {
                        assert_eq!(row, ("a".to_owned(), task("basil")), "byte {at}");
                    }
                }
                node.close().await;
            }
        }
        std::fs::remove_dir_all(folder.path().join("db")).unwrap();
        std::fs::create_dir_all(folder.path().join("db").join("blobs")).unwrap();
        for (path, bytes) in &good {
            std::fs::write(path, bytes).unwrap();
        }
    }

    assert!(refused > 6, "{refused} of 24 refused");
}

#[tokio::test]
async fn a_node_that_does_not_start_names_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let personal = node.personal().unwrap().id();
    node.close().await;
    let store = StoreHandle::open(&folder.path().join("db"), &SledOptions::default()).unwrap();
    let space = store.space(&[b"g", &personal.0[..]].concat()).unwrap();
    let mut batch = Batch::default();
    batch.put([b"o", &0_u64.to_be_bytes()[..]].concat(), *b"no op");
    store.write(&space, batch).await.unwrap();
    store.close(A_WHILE).await.unwrap();

    let error = open(folder.path()).await.unwrap_err();

    assert!(matches!(error, OpenError::Start(_)), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Failed);
    let mut causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    assert!(causes.any(|cause| cause.is::<schema::codec::DecodeError>()), "{error:?}");
}

#[tokio::test]
async fn a_file_in_the_way_is_a_folder_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();

    let opened = open(&file).await;

    assert!(matches!(opened, Err(OpenError::Folder { .. })), "{opened:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"no folder");
}

#[tokio::test]
async fn calls_after_close_return_closed_and_the_folder_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let home = node.create_group("home").await.unwrap();
    let tasks = home.table(TASKS);
    tasks.put("a", &task("basil")).await.unwrap();

    node.close().await;
    let again = open(folder.path()).await.unwrap();
    node.close().await;

    let closed = [
        tasks.get("a").unwrap_err().kind(),
        tasks.list().unwrap_err().kind(),
        tasks.iter().next().unwrap().unwrap_err().kind(),
        tasks.history("a").await.unwrap_err().kind(),
        tasks.put("a", &task("rope")).await.unwrap_err().kind(),
        tasks.insert(&task("rope")).await.unwrap_err().kind(),
        tasks.insert_many(&[task("rope")]).await.unwrap_err().kind(),
        tasks.update("a", |task| task.done = true).await.unwrap_err().kind(),
        tasks.remove("a").await.unwrap_err().kind(),
        home.add_member(node.user_id(), Role::Writer).await.unwrap_err().kind(),
        home.status().await.unwrap_err().kind(),
        node.create_group("work").await.unwrap_err().kind(),
        node.tree().await.unwrap_err().kind(),
    ];
    assert_eq!(closed, [ErrorKind::Closed; 13]);
    assert!(node.listen("memory://alone").await.is_err());
    assert!(node.connect("memory://alone").await.is_err());
    assert_eq!(again.group(home.id()).unwrap().table(TASKS).get("a").unwrap(), Some(task("basil")));
    again.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_after_close() {
    let running = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut net = Net::seeded(1).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    let two = running();
    let (of_ada, of_ben) = (ada.node(), ben.node());

    of_ada.close().await;
    tokio::join!(of_ada.close(), of_ada.close());
    let one = running();
    of_ben.close().await;
    net.sleep(A_WHILE).await;

    assert!(one < two, "{one} of {two} tasks");
    assert_eq!(running(), 0);
    assert_eq!(tasks(&ada, home).get("a").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn the_stores_thread_ends_with_close() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(in_a_child("threads", folder.path()), r#"["peerbase-store"] then []"#);
}

#[tokio::test]
async fn dropping_a_node_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let path = folder.path().to_owned();
    let home = runtime
        .spawn(async move {
            let node = open(&path).await.unwrap();
            let home = node.create_group("home").await.unwrap();
            home.table(TASKS).put("a", &task("basil")).await.unwrap();
            home.id()
        })
        .await
        .unwrap();
    runtime.shutdown_background();

    // The store closes behind the last handle, on its own thread.
    let node = loop {
        match open(folder.path()).await {
            Ok(node) => break node,
            Err(OpenError::Store(StoreOpenError::Locked { .. })) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(node.group(home).unwrap().table(TASKS).get("a").unwrap(), Some(task("basil")));
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_fails_is_started_again_while_another_goes_on() {
    let mut net = Net::seeded(2).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let work = net.group("work", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    let mut watch = tasks(&ada, home).watch();

    faults::fail_group(&ada.node(), home);
    tasks(&ada, work).put("a", &task("report")).await.unwrap();
    assert_eq!(tasks(&ada, home).get("a").unwrap(), Some(task("basil")), "reads need no actor");
    net.settle().await;

    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    tasks(&ben, home).put("c", &task("soap")).await.unwrap();
    net.settle().await;
    net.assert_converged();
    assert_eq!(titles(&tasks(&ben, home)), ["basil", "rope", "soap"]);
    assert_eq!(titles(&tasks(&ben, work)), ["report"]);
    // A watch outlives its actor, and gets a reset because it may have missed changes.
    let Some(peerbase::RowChange::Reset(rows)) = watch.next().await else { panic!("no reset") };
    assert_eq!(rows.len(), 3);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_keeps_failing_is_put_out_of_service_alone() {
    let mut net = Net::seeded(3).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let work = net.group("work", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    let (mut events, mut watch) = (ada.node().events(), tasks(&ada, home).watch());

    for _ in 0..5 {
        faults::fail_group(&ada.node(), home);
        net.sleep(Duration::from_secs(5)).await;
    }

    let failed = std::iter::from_fn(|| events.try_recv().ok()).find_map(|event| {
        if let Event::GroupFailed { group, reason } = event { Some((group, reason)) } else { None }
    });
    assert_eq!(failed.map(|(group, _)| group), Some(home));
    assert!(matches!(ada.node().group(home), Err(GroupError::Failed(id)) if id == home));
    while let Some(change) = watch.next().await {
        assert!(matches!(change, peerbase::RowChange::Reset(_)), "{change:?}");
    }
    tasks(&ada, work).put("a", &task("report")).await.unwrap();
    tasks(&ben, home).put("b", &task("rope")).await.unwrap();
    net.sleep(A_WHILE).await;
    assert_eq!(titles(&tasks(&ben, work)), ["report"]);

    net.crash(&ada).await;
    net.restart(&ada).await;
    net.settle().await;
    assert_eq!(titles(&tasks(&ada, home)), ["basil", "rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_fails_four_times_a_minute_is_restarted_every_time() {
    let mut net = Net::seeded(7);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    for count in 0..12 {
        faults::fail_group(&ada.node(), home);
        net.sleep(Duration::from_secs(16)).await;
        tasks(&ada, home).put("a", &task(&count.to_string())).await.unwrap();
    }
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn membership_that_fails_is_started_again_and_links_come_back() {
    let mut net = Net::seeded(4).latency_ms(5..20);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let mut events = ada.node().events();

    faults::fail_membership(&ada.node());
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.sleep(A_WHILE).await;

    let heard: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    let up = Event::PeerUp { user: ben.node().user_id(), device: ben.node().device_id() };
    assert!(heard.contains(&up), "{heard:?}");
    net.settle().await;
    group(&ada, home).add_member(cid.node().user_id(), Role::Writer).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    tasks(&ben, home).put("b", &task("rope")).await.unwrap();
    net.settle().await;
    net.assert_converged();
    assert_eq!(titles(&tasks(&cid, home)), ["basil", "rope"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_requested_while_membership_is_down_opens_once_it_runs_again() {
    let mut net = Net::seeded(9).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada]).await;
    group(&ada, home).add_member(ben.node().user_id(), Role::Writer).await.unwrap();
    // The restart after the second failure waits for 100 ms.
    for _ in 0..2 {
        faults::fail_membership(&ben.node());
        net.sleep(Duration::from_millis(10)).await;
    }

    let asked = ben.node().request_group(home).await;
    assert!(asked.is_err(), "the intent is stored, and nobody takes note of it");
    net.sleep(A_WHILE).await;

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    assert_eq!(titles(&tasks(&ben, home)), ["basil"]);
    net.close().await;
}

#[tokio::test]
async fn membership_that_keeps_failing_stops_the_node_and_the_folder_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let home = node.create_group("home").await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();

    while node.tree().await.is_ok() {
        faults::fail_membership(&node);
        tokio::task::yield_now().await;
    }

    let end = node.closed().await;
    assert!(matches!(end, NodeEnd::Failed { branch: "membership", .. }), "{end:?}");
    let write = home.table(TASKS).put("b", &task("rope")).await;
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Closed);
    let again = open(folder.path()).await.unwrap();
    assert_eq!(titles(&again.group(home.id()).unwrap().table(TASKS)), ["basil"]);
    again.close().await;
}

/// Sled with a script of faults.
struct FaultySled(Faults);

impl OpenEngine for FaultySled {
    fn open_in(&self, folder: &Path) -> Result<Box<dyn Engine>, StoreOpenError> {
        let engine = SledEngine::open(folder, &SledOptions::default())?;
        Ok(Box::new(FaultyEngine::new(engine, self.0.clone())))
    }

    fn exists_in(&self, folder: &Path) -> bool {
        SledOptions::default().exists_in(folder)
    }
}

#[tokio::test]
async fn a_node_whose_store_fails_ends_closed_and_events_resolve_and_its_folder_opens_again() {
    let (folder, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let node = Node::builder(folder.path()).engine(FaultySled(faults.clone())).open().await.unwrap();
    let home = node.create_group("home").await.unwrap();
    let tasks = home.table(TASKS);
    tasks.put("a", &task("basil")).await.unwrap();
    let mut events = node.events();
    faults.fail_flush(1);

    let refused = tasks.put("a", &task("rope")).await.unwrap_err();
    let read = tasks.get("a");

    assert!(matches!(refused.kind(), ErrorKind::Failed | ErrorKind::Closed), "{refused:?}");
    assert!(read.is_err(), "a refused write can be read: {read:?}");
    let end = node.closed().await;
    assert!(matches!(end, NodeEnd::Failed { branch: "store", .. }), "{end:?}");
    while events.recv().await != Err(RecvError::Closed) {}
    assert_eq!(node.events().recv().await, Err(RecvError::Closed));
    // The handle of the ended node is still held.
    let again = open(folder.path()).await.unwrap();
    assert_eq!(node.closed().await, end);
    again.close().await;
    assert_eq!(again.closed().await, NodeEnd::Closed);
}

#[tokio::test]
async fn writes_during_close_get_closed() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path()).await.unwrap();
    let tasks = node.create_group("home").await.unwrap().table(TASKS);
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let tasks = tasks.clone();
            tokio::spawn(async move {
                let mut written = 0;
                loop {
                    match tasks.put(&format!("{writer}"), &task(&written.to_string())).await {
                        Ok(_) => written += 1,
                        Err(error) => return (written, error.kind()),
                    }
                }
            })
        })
        .collect();
    for _ in 0..50 {
        tasks.put("x", &task("rope")).await.unwrap();
    }

    node.close().await;

    let again = open(folder.path()).await.unwrap();
    let tasks = again.groups()[0].id;
    let tasks = again.group(tasks).unwrap().table(TASKS);
    for (writer, ended) in writers.into_iter().enumerate() {
        let (written, kind) = ended.await.unwrap();
        assert_eq!(kind, ErrorKind::Closed, "writer {writer} after {written} writes");
        let last: u64 = tasks.get(&format!("{writer}")).unwrap().unwrap().title.parse().unwrap();
        assert!(last + 1 >= written, "writer {writer} lost an acknowledged write");
    }
    again.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_ends_alone() {
    let mut net = Net::seeded(5).latency_ms(5..20);
    let [ada, ben, cid] = net.nodes(["ada", "ben", "cid"]).await;
    let home = net.group("home", &[&ada, &ben, &cid]).await;
    let before = ben.node().tree().await.unwrap();

    assert_eq!(faults::panic_connections(&ada.node()).await, 2);
    tasks(&ben, home).put("a", &task("basil")).await.unwrap();
    net.sleep(A_WHILE).await;
    net.settle().await;
    tasks(&ada, home).put("b", &task("rope")).await.unwrap();
    net.settle().await;

    net.assert_converged();
    assert_eq!(titles(&tasks(&cid, home)), ["basil", "rope"]);
    assert_eq!(ben.node().tree().await.unwrap(), before);
    net.close().await;
}

fn names(branch: &Branch, into: &mut BTreeSet<String>) {
    into.insert(branch.name.to_owned());
    branch.children.iter().for_each(|child| names(child, into));
}

#[tokio::test(start_paused = true)]
async fn the_folders_are_the_supervision_tree() {
    let mut net = Net::seeded(6).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    net.group("home", &[&ada, &ben]).await;

    let tree = ada.node().tree().await.unwrap();

    let mut running = BTreeSet::new();
    names(&tree, &mut running);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/src/node");
    let mut actors = BTreeSet::from(["node".to_owned()]);
    for (path, text) in contents(&source) {
        let name = path.strip_prefix(&source).unwrap().with_extension("").display().to_string();
        if String::from_utf8_lossy(&text).contains("impl Actor for") && !name.contains("tests") {
            actors.insert(name);
        }
    }
    assert_eq!(running, actors);
    assert_eq!(tree.name, "node");
    let groups = tree.children.iter().filter(|branch| branch.name == "group").count();
    assert_eq!(groups, 2, "home and the personal group");
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn status_lists_addresses_links_and_groups() {
    let mut net = Net::seeded(8).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;
    let wished = ben.node().create_group("work").await.unwrap().id();
    ada.node().request_group(wished).await.unwrap();
    net.sleep(A_WHILE).await;

    let status = ada.node().status().await.unwrap();
    let of_ben = ben.node().status().await.unwrap();

    let (ben_id, device) = (ben.node().user_id(), ben.node().device_id());
    assert_eq!((status.user, status.device), (ada.node().user_id(), ada.node().device_id()));
    assert_eq!((status.label.as_str(), &status.listening[..]), ("ada", &["memory://ada".to_owned()][..]));
    let [link] = &status.links[..] else { panic!("{:?}", status.links) };
    assert_eq!((link.user, link.device), (ben_id, device));
    assert!(link.latency.is_some_and(|latency| latency >= Duration::from_millis(10)), "{link:?}");
    // The nodes of a simulation are started in order, and the later one dials.
    assert_eq!((link.address.as_deref(), status.dialled.len()), (None, 0));
    assert_eq!(of_ben.links[0].address.as_deref(), Some("memory://ada"));
    assert_eq!(of_ben.dialled, ["memory://ada"]);
    assert!(link.since < of_ben.links[0].since + A_WHILE && link.since.as_millis() > 0);
    let mut groups = status.groups.iter().map(|group| (group.info.name.as_str(), group)).collect::<Vec<_>>();
    groups.sort_by_key(|(name, _)| *name);
    let [("", pending), ("home", shared)] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((pending.members, pending.peers.len()), (0, 0));
    assert_eq!(shared.members, 2);
    assert_eq!(shared.peers, [peerbase::group::PeerStatus { device, synced: true }]);
    assert_eq!(shared.status.as_ref().unwrap().documents, 1);

    net.crash(&ben).await;
    net.sleep(A_WHILE).await;
    let alone = ada.node().status().await.unwrap();
    assert_eq!(alone.links, []);
    assert!(alone.ended.iter().any(|ended| ended.device == Some(device)), "{:?}", alone.ended);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn meters_move_with_the_work_of_a_node() {
    let mut net = Net::seeded(8).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    let home = net.group("home", &[&ada, &ben]).await;
    let read = |node: &Node| {
        let readings = node.meters().into_iter().map(|meter| (meter.name, meter.value));
        readings.collect::<BTreeMap<&str, u64>>()
    };
    net.settle().await;
    let (ada_before, ben_before) = (read(&ada.node()), read(&ben.node()));

    tasks(&ada, home).put("a", &task("basil")).await.unwrap();
    net.settle().await;

    let (ada_after, ben_after) = (read(&ada.node()), read(&ben.node()));
    for meter in ["store_written_bytes", "store_barriers", "documents_committed_rows", "sessions_sent_units"]
    {
        assert!(ada_after[meter] > ada_before[meter], "{meter}: {ada_after:?}");
    }
    for meter in ["links_received_bytes", "sessions_received_units", "documents_accepted_units"] {
        assert!(ben_after[meter] > ben_before[meter], "{meter}: {ben_after:?}");
    }
    assert!(ben_after["ledgers_admitted_ops"] > 0, "{ben_after:?}");
    assert_eq!((ben_after["links_open"], ben_after["sessions_open"]), (1, 1));
    assert_eq!(ben_after["documents_refused_units"], 0);
    let status = ben.node().status().await.unwrap();
    assert_eq!(status.meters["documents_accepted_units"], ben_after["documents_accepted_units"]);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_group_is_part_of_the_status() {
    let mut net = Net::seeded(9);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    net.group("work", &[&ada]).await;
    for _ in 0..5 {
        faults::fail_group(&ada.node(), home);
        net.sleep(Duration::from_secs(5)).await;
    }

    let status = ada.node().status().await.unwrap();

    let answers = status.groups.iter().map(|group| (group.info.id == home, group.status.is_some()));
    assert_eq!(answers.collect::<BTreeSet<_>>(), [(true, false), (false, true)].into());
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_address_is_dialled_no_more() {
    let mut net = Net::seeded(10).latency_ms(5..20);
    let [ada, ben] = net.nodes(["ada", "ben"]).await;
    net.group("home", &[&ada, &ben]).await;

    ben.node().disconnect("memory://nobody").await.unwrap();
    assert_eq!(ben.node().status().await.unwrap().links.len(), 1);
    ben.node().disconnect("memory://ada").await.unwrap();
    net.sleep(A_WHILE).await;

    let status = ben.node().status().await.unwrap();
    assert_eq!((status.links.len(), status.dialled.len()), (0, 0));
    ben.node().connect("memory://ada").await.unwrap();
    assert_eq!(ben.node().status().await.unwrap().links.len(), 1);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_being_started_again_is_busy_and_not_closed() {
    let mut net = Net::seeded(11);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    let tasks = tasks(&ada, home);
    tasks.put("a", &task("basil")).await.unwrap();

    // The second failure in a while is followed by a pause.
    for _ in 0..2 {
        faults::fail_group(&ada.node(), home);
        net.sleep(Duration::from_millis(20)).await;
    }
    let busy = [
        tasks.put("a", &task("rope")).await.unwrap_err().kind(),
        tasks.history("a").await.unwrap_err().kind(),
        group(&ada, home).status().await.unwrap_err().kind(),
    ];
    net.sleep(Duration::from_secs(5)).await;

    assert_eq!(busy, [ErrorKind::Busy; 3]);
    tasks.put("a", &task("rope")).await.unwrap();
    ada.node().close().await;
    assert_eq!(tasks.put("a", &task("soap")).await.unwrap_err().kind(), ErrorKind::Closed);
    net.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_connecting_has_the_kind_of_its_cause() {
    let node = Node::in_memory().await.unwrap();

    let wrong = node.connect("garden").await.unwrap_err();
    let nobody = node.connect("ws://127.0.0.1:1").await.unwrap_err();
    let elsewhere = node.listen("garden").await.unwrap_err();

    let kinds = [wrong, nobody, elsewhere].map(|error| peerbase::Error::from(error).kind());
    assert_eq!(kinds, [ErrorKind::Invalid, ErrorKind::Busy, ErrorKind::Invalid]);
    node.close().await;
    assert_eq!(node.connect("ws://127.0.0.1:1").await.unwrap_err().kind(), ErrorKind::Closed);
}
