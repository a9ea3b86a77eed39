//! The cost of removing a member who wrote all rows of a group, on the remover's device and on another. It
//! prints the figures.
//!
//! Three nodes of one process on sled and the loopback. Mia writes every row, ada and ben receive them; ada
//! removes mia, ben receives the removal. In the second case ben has 1 000 more of mia's rows, which ada has
//! not: they are purged. An argument sets the number of rows; `--quick` takes 2 000, and 100 beyond the cut.

#![allow(clippy::disallowed_methods, reason = "a bench measures by the clock on the wall")]

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actors::node::store::SledOptions;
use actors::node::store::StoreHandle;
use peerbase::{Event, Group, GroupId, Node, Role, TableName};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::broadcast;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Airport {
    name: String,
    city: String,
    state: String,
    latitude: f64,
    longitude: f64,
}

const AIRPORTS: TableName<Airport> = TableName::new("airports");
const PATIENCE: Duration = Duration::from_secs(400);

fn airport(number: usize) -> Airport {
    Airport {
        name: format!("Airport {number}"),
        city: "Bay Springs".into(),
        state: "MS".into(),
        latitude: number as f64 / 100.0,
        longitude: -89.23,
    }
}

/// A node in a folder of its own, with its address.
struct Peer {
    folder: TempDir,
    node: Node,
    address: String,
}

impl Peer {
    async fn open(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("the system has a disk");
        // Unlisted: a node that must not receive something yet dials no one by itself.
        let node = Node::builder(folder.path()).name(name).unlisted().open().await.expect("a fresh folder");
        let address = node.listen("127.0.0.1:0").await.expect("the loopback has ports");
        Self { folder, node, address }
    }

    fn group(&self, id: GroupId) -> Group {
        self.node.group(id).expect("it is a member")
    }
}

/// Mia writes rows, a thousand at once.
async fn write(mia: &Group, numbers: std::ops::Range<usize>) {
    let rows: Vec<_> = numbers.map(airport).collect();
    for batch in rows.chunks(1_000) {
        mia.table(AIRPORTS).insert_many(batch).await.expect("a writer may write");
    }
}

async fn has(group: &Group, rows: usize) {
    let began = Instant::now();
    while group.status().await.expect("the group answers").documents != rows {
        assert!(began.elapsed() < PATIENCE, "no {rows} rows");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rejudged(events: &mut broadcast::Receiver<Event>, id: GroupId) -> (u64, u64) {
    let wait = async {
        loop {
            let event = events.recv().await.expect("few events, and the node is open");
            if let Event::Rejudged { group, rejudged } = event
                && group == id
                && rejudged.documents > 0
            {
                return (rejudged.documents, rejudged.changed);
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the documents are re-judged")
}

/// Asks a group again and again until it is stopped; returns the longest wait for an answer.
fn ask_on(group: Group) -> (tokio::task::JoinHandle<Duration>, tokio::sync::oneshot::Sender<()>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while stopped.try_recv().is_err() {
            let began = Instant::now();
            group.explain("airports", "none").await.expect("the group answers");
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        longest
    });
    (asking, stop)
}

async fn remove(rows: usize, beyond: usize) {
    let (ada, ben, mia) = (Peer::open("ada").await, Peer::open("ben").await, Peer::open("mia").await);
    let here = ada.node.create_group("airports").await.expect("creating a group needs no link");
    let id = here.id();
    for other in [&ben, &mia] {
        here.add_member(other.node.user_id(), Role::Writer).await.expect("founders admit");
        other.node.request_group(id).await.expect("a request needs no link");
    }
    mia.node.connect(&ada.address).await.expect("ada listens");
    mia.node.connect(&ben.address).await.expect("ben listens");
    tokio::time::timeout(PATIENCE, async {
        while mia.node.group(id).is_err() || mia.group(id).info().role != Role::Writer {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("mia is a member");
    let began = Instant::now();
    write(&mia.group(id), 0..rows).await;
    has(&here, rows).await;
    has(&ben.group(id), rows).await;
    println!(
        "{rows} rows of one member at two others ({:.0} s to write and to pass on)",
        began.elapsed().as_secs_f64()
    );
    mia.node.disconnect(&ada.address).await.expect("it was dialled");
    if beyond > 0 {
        write(&mia.group(id), rows..rows + beyond).await;
        has(&ben.group(id), rows + beyond).await;
        println!("  and {beyond} more at one of them");
    }
    let user = mia.node.user_id();
    mia.node.close().await;

    let (mut of_ada, mut of_ben) = (ada.node.events(), ben.node.events());
    if beyond == 0 {
        ben.node.connect(&ada.address).await.expect("ada listens");
    }
    let (at_ada, stop_ada) = ask_on(here.clone());
    let (at_ben, stop_ben) = ask_on(ben.group(id));
    let heard = Mutex::new(None);
    let began = Instant::now();
    here.remove_member(user)
        .on_progress(|_| *heard.lock().expect("no thread panics") = Some(began.elapsed()))
        .await
        .expect("founders remove");
    let durable = began.elapsed();
    let cut = heard.into_inner().expect("no thread panics").unwrap_or_default();
    println!("  cut made after {cut:.1?}; removal durable after {durable:.1?}");
    let judged = async {
        let of_ada = rejudged(&mut of_ada, id).await;
        (of_ada, began.elapsed())
    };
    let followed = async {
        let linked = Instant::now();
        if beyond > 0 {
            ben.node.connect(&ada.address).await.expect("ada listens");
        }
        let of_ben = rejudged(&mut of_ben, id).await;
        let since = if beyond > 0 { linked.elapsed() } else { began.elapsed() };
        (of_ben, since)
    };
    let (((looked_at, _), judged), ((followed_at, changed), followed)) = tokio::join!(judged, followed);
    println!("  ada re-judged {looked_at} documents, done {judged:.1?} after she began");
    let since = if beyond > 0 { "he was linked with her" } else { "ada began" };
    println!("  ben re-judged {followed_at} documents, {changed} changed, done {followed:.1?} after {since}");
    has(&ben.group(id), rows).await;
    let (_, _) = (stop_ada.send(()), stop_ben.send(()));
    let (at_ada, at_ben) = (at_ada.await.expect("it stops"), at_ben.await.expect("it stops"));
    println!("  a question to the group meanwhile: at most {at_ada:.1?} at ada, {at_ben:.1?} at ben");
    here.synced(PATIENCE).await.expect("they agree");

    ada.node.close().await;
    ben.node.close().await;
    let (pages, bytes) = manifest(ada.folder.path(), id);
    println!("  manifest: {pages} pages, {:.1} MiB", bytes as f64 / f64::from(1 << 20));
}

/// Counts the pages and bytes of the manifest of the removal.
fn manifest(folder: &Path, id: GroupId) -> (usize, usize) {
    let store = StoreHandle::open(&folder.join("db"), &SledOptions::default()).expect("the node is closed");
    let names = store.spaces().expect("the store is open");
    let name = names.iter().find(|name| name.ends_with(&id.0)).expect("the group has a space");
    let space = store.space(name).expect("the store is open");
    let pages = space.read(|view| view.prefix(b"g").collect::<Result<Vec<_>, _>>());
    let pages = pages.expect("the store is open").expect("the store is whole");
    (pages.len(), pages.iter().map(|(_, page)| page.len()).sum())
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let named = std::env::args().find_map(|argument| argument.parse().ok());
    let (rows, beyond) = if is_quick { (2_000, 100) } else { (named.unwrap_or(200_000), 1_000) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        remove(rows, 0).await;
        remove(rows, beyond).await;
    });
}
