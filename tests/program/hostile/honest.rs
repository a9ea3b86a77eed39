//! The honest side of an attack: a member who writes, a watcher and a prober at the control socket of the
//! node, and a member who dials.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use actors::transport::websocket::WebSockets;
use peerbase::control::client::{Client, Next};
use peerbase::control::request::InGroup;
use peerbase::control::{Reply, Request};
use peerbase::{Node, Table, TableName};
use serde::{Deserialize, Serialize};
use testkit::handmade::HandmadePeer;
use testkit::identity::identity;
use tokio::task::JoinSet;

use super::victim::{CID, Victim};
use crate::process::DEADLINE;

/// The time between two rows of the writer: 100 a second.
const ROW_EVERY: Duration = Duration::from_millis(10);
/// The time between two questions of the prober.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The longest wait of the member who dials.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: i64,
    place: String,
}

const READINGS: &str = "readings";

/// The service that honest members got.
pub(super) struct Served {
    /// Rows of the writer that became readable at the node.
    pub(super) rows_per_s: f64,
    /// The longest time without such a row.
    pub(super) silence: Duration,
    /// The longest wait for an answer of the control socket.
    pub(super) answer: Duration,
    /// The time that a dial took, with its handshake; none if it failed.
    pub(super) dial: Option<Duration>,
}

/// A node in this process that is a member of the victim's group.
pub(super) struct Honest {
    clock: Clock,
    node: Node,
    readings: Table<Reading>,
    folder: PathBuf,
    address: String,
    /// The times at which rows became readable at the victim.
    arrived: Arc<Mutex<Vec<Duration>>>,
    watcher: JoinSet<()>,
}

impl Honest {
    /// Joins the group and waits until a row of its own is readable at the victim.
    pub(super) async fn join(victim: &Victim, clock: &Clock) -> Self {
        let node = Node::in_memory_builder().name("ben").open().await.unwrap();
        victim.admit(node.user_id(), "writer");
        let group = node.request_group(victim.group).await.unwrap();
        node.connect(&victim.address).await.unwrap();
        let (folder, address) = (victim.home.path().to_owned(), victim.address.clone());
        let arrived: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let mut watcher = JoinSet::new();
        clock.spawn_in(&mut watcher, watch(clock.clone(), folder.clone(), arrived.clone()));
        let readings = group.table(TableName::new(READINGS));
        let clock = clock.clone();
        let honest = Self { clock, node, readings, folder, address, arrived, watcher };
        let first = async {
            while honest.put(0).await.is_none() || honest.arrived.lock().unwrap().is_empty() {
                honest.clock.sleep(ROW_EVERY).await;
            }
        };
        honest.clock.timeout(DEADLINE, first).await.expect("the first row arrives");
        honest
    }

    /// Writes a row; none before this node is a member.
    async fn put(&self, number: u64) -> Option<()> {
        let celsius = i64::try_from(number).unwrap();
        let reading = Reading { celsius, place: "greenhouse".to_owned() };
        self.readings.put(&format!("{number:06}"), &reading).await.ok()
    }

    /// Writes at a steady rate for a while, and reports how that went.
    pub(super) async fn write_for(&self, window: Duration) -> Served {
        self.arrived.lock().unwrap().clear();
        let begun = self.clock.instant();
        let end = begun + window;
        let (answer, dial, ()) =
            tokio::join!(self.probe(end), self.dial(begun + window / 2), self.write(end));
        let arrived = self.arrived.lock().unwrap().clone();
        let counted: Vec<_> = arrived.into_iter().filter(|at| *at <= end).collect();
        let begins = [begun].into_iter().chain(counted.iter().copied());
        let gaps = begins.zip(counted.iter().copied().chain([end])).map(|(from, to)| to - from);
        let silence = gaps.max().unwrap();
        let rows = u32::try_from(counted.len()).unwrap();
        Served { rows_per_s: f64::from(rows) / window.as_secs_f64(), silence, answer, dial }
    }

    async fn write(&self, end: Duration) {
        let begun = self.clock.instant();
        for number in 1_u32.. {
            // A write that took longer than its share is followed by the next at once.
            self.clock.sleep_until(begun + ROW_EVERY * number).await;
            if self.clock.instant() >= end {
                return;
            }
            self.put(number.into()).await;
        }
    }

    /// The longest wait for an answer.
    async fn probe(&self, end: Duration) -> Duration {
        let mut longest = Duration::ZERO;
        while self.clock.instant() < end {
            let asked = self.clock.instant();
            let answered = self.clock.timeout(DEADLINE, status(&self.folder)).await;
            answered.expect("the control socket answers");
            longest = longest.max(self.clock.instant() - asked);
            self.clock.sleep(ASK_EVERY).await;
        }
        longest
    }

    async fn dial(&self, at: Duration) -> Option<Duration> {
        self.clock.sleep_until(at).await;
        let sockets = WebSockets::new(self.clock.clone());
        let dial = HandmadePeer::try_dial(&sockets, &self.clock, identity(CID), &self.address);
        let dialled = self.clock.timeout(DIAL_WITHIN, dial).await;
        let took = self.clock.instant() - at;
        dialled.ok().flatten().map(|_| took)
    }

    pub(super) async fn close(mut self) {
        self.watcher.abort_all();
        self.node.close().await;
    }
}

/// Asks for the status of a node.
async fn status(folder: &Path) {
    let mut client = Client::connect(folder).await.unwrap();
    client.ask(&Request::Status).await.unwrap();
    while !matches!(client.next().await.unwrap(), Next::Done) {}
}

/// Notes the time of each row of the writer.
async fn watch(clock: Clock, folder: PathBuf, arrived: Arc<Mutex<Vec<Duration>>>) {
    let mut client = Client::connect(&folder).await.unwrap();
    let (table, group) = (READINGS.to_owned(), InGroup::default());
    client.ask(&Request::Watch { table, group }).await.unwrap();
    while let Ok(next) = client.next().await {
        if matches!(next, Next::Reply(Reply::Change(_))) {
            arrived.lock().unwrap().push(clock.instant());
        }
    }
}
