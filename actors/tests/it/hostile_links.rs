//! Floods of sockets and links against one node, over the loopback and in real time. Each test ends by itself
//! and prints its figures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use actors::clock::Clock;
use actors::transport::websocket::WebSockets;
use peerbase_actors as actors;
use schema::device::DeviceIdentity;
use schema::key::{AgreementKey, SigningKey};
use schema::limits::{HALF_OPEN_MAX, LINKS_MAX, STRANGER_LINKS_MAX, USER_LINKS_MAX};
use testkit::link::HandmadeLink;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::support::{Peer, identity};

/// Time in which an honest dial must succeed.
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// Dials of one flood in the suite; `PEERBASE_FLOOD_DIALS=100` is the full run (docs/testing.md).
const DIALS: usize = 10;
/// Sockets that the flood holds: more than the node does.
const HELD_MAX: usize = 200;
/// Connects in progress, so that a listener that lags does not use up the files of the process.
const CONNECTS_MAX: usize = 200;

/// New silent sockets in quick succession, until it is dropped.
struct Flood {
    is_over: Arc<AtomicBool>,
    connected: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Opens `rate` sockets a second from as many networks of the loopback.
    fn start(target: SocketAddr, rate: u64, prefixes: u64) -> Self {
        let (is_over, connected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (is_over.clone(), connected.clone());
        // A runtime of its own: the node is not slowed down by waiting behind the flood's tasks.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(flood(target, rate, prefixes, &over, &count));
        });
        Self { is_over, connected, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn flood(
    target: SocketAddr,
    rate: u64,
    prefixes: u64,
    is_over: &AtomicBool,
    connected: &Arc<AtomicU64>,
) {
    let clock = Clock::real();
    let (began, connects) = (clock.instant(), Arc::new(Semaphore::new(CONNECTS_MAX)));
    let held: Arc<std::sync::Mutex<VecDeque<TcpStream>>> = Arc::default();
    let mut opened = 0_u64;
    while !is_over.load(Ordering::SeqCst) {
        let due = (clock.instant() - began).as_micros() as u64 * rate / 1_000_000;
        while opened < due {
            let Ok(permit) = connects.clone().try_acquire_owned() else { break };
            let (prefix, host) = (opened % prefixes, opened / prefixes % 254);
            opened += 1;
            let (held, connected, clock_of_task) = (held.clone(), connected.clone(), clock.clone());
            clock.spawn(async move {
                let connect = connect(target, [127, 1, prefix as u8, host as u8 + 1]);
                if let Ok(Ok(socket)) = clock_of_task.timeout(Duration::from_secs(1), connect).await {
                    connected.fetch_add(1, Ordering::Relaxed);
                    let mut held = held.lock().unwrap();
                    held.push_back(socket);
                    let surplus = held.len().saturating_sub(HELD_MAX);
                    held.drain(..surplus);
                }
                drop(permit);
            });
        }
        clock.sleep(Duration::from_millis(1)).await;
    }
}

async fn connect(target: SocketAddr, from: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(target).await
}

fn target(peer: &Peer) -> SocketAddr {
    peer.address().strip_prefix("ws://").unwrap().parse().unwrap()
}

async fn start(name: &'static str, seed: u8) -> Peer {
    let clock = Clock::real();
    Peer::over(Arc::new(WebSockets::new(clock.clone())), &clock, name, seed, "127.0.0.1:0").await
}

/// The duration of one dial; none if it failed or took too long.
async fn dial(ben: &Peer, ada: &Peer) -> Option<Duration> {
    let began = ben.clock.instant();
    let outcome = ben.clock.timeout(DIAL_WITHIN, ben.manager.connect(ada.address())).await;
    let lasted = ben.clock.instant() - began;
    ben.manager.disconnect(ada.address()).await.unwrap();
    matches!(outcome, Ok(Ok(_))).then_some(lasted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(target_os = "linux"), ignore = "needs the whole of 127.0.0.0/8")]
async fn an_honest_dial_succeeds_within_five_seconds_of_a_flood_of_half_open_sockets() {
    let dials = std::env::var("PEERBASE_FLOOD_DIALS").map_or(DIALS, |dials| dials.parse().unwrap());
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    for rate in [12, 1_000, 10_000] {
        for prefixes in [1, 60] {
            let flood = Flood::start(target(&ada), rate, prefixes);
            let (began, dropped) = (ada.clock.instant(), ada.meters.dropped_half_open.get());
            // Until the flood holds all it can: five seconds at its slowest.
            let warm_up = Duration::from_millis(if rate < 100 { 5_500 } else { 1_000 });
            ada.clock.sleep(warm_up).await;
            let mut lasted = Vec::new();
            for _ in 0..dials {
                lasted.extend(dial(&ben, &ada).await);
                ada.clock.sleep(Duration::from_millis(20)).await;
            }
            let seconds = (ada.clock.instant() - began).as_secs_f64();
            let connected = flood.connected.load(Ordering::Relaxed);
            drop(flood);
            lasted.sort_unstable();
            println!(
                "{rate} sockets/s from {prefixes} networks: {} of {dials} dials succeeded, \
                 median {:?}, worst {:?}; reached {:.0} sockets/s, {} dropped",
                lasted.len(),
                lasted.get(lasted.len() / 2),
                lasted.last(),
                connected as f64 / seconds,
                ada.meters.dropped_half_open.get() - dropped,
            );
            assert!(lasted.len() * 100 >= dials * 95 - 50, "{rate} a second from {prefixes} networks");
            assert!(
                rate < 100 || ada.meters.dropped_half_open.get() > dropped,
                "the flood did not fill the node"
            );
        }
    }
    ada.stop().await;
    ben.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_leave_room_for_an_honest_dial() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    let mut silent = Vec::new();
    for _ in 0..240 {
        silent.push(TcpStream::connect(target(&ada)).await.unwrap());
    }
    ada.until(|| async { ada.meters.dropped_half_open.get() as usize >= 240 - HALF_OPEN_MAX }).await;
    let lasted = dial(&ben, &ada).await;
    println!("beside 240 silent connections a dial took {lasted:?}");
    assert!(lasted.is_some());
    ada.stop().await;
    ben.stop().await;
}

/// A device of user `user`, with a number.
fn device(user: u8, number: u8) -> DeviceIdentity {
    let key = |what, seed: &[u8]| SigningKey::from_seed(schema::id::hash(what, &[seed]));
    let agreement = AgreementKey::from_seed(schema::id::hash("agreement", &[&[user, number]]));
    DeviceIdentity::certify(&key("user", &[user]), key("device", &[user, number]), agreement, "laptop")
}

/// Opens links to `ada` with these identities, one after the other.
async fn crowd(ada: &Peer, identities: impl Iterator<Item = DeviceIdentity>) -> Vec<HandmadeLink> {
    let over = WebSockets::new(ada.clock.clone());
    let mut crowd = Vec::new();
    for identity in identities {
        crowd.push(HandmadeLink::dial(&over, ada.address(), identity).await);
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_devices_of_one_reader_leave_room_for_others() {
    let ada = start("ada", 1).await;
    let reader = crowd(&ada, (0..40).map(|number| device(9, number))).await;
    ada.clock.sleep(Duration::from_millis(500)).await;
    assert_eq!(ada.linked().await.len(), USER_LINKS_MAX);
    let others = (LINKS_MAX - USER_LINKS_MAX) as u8;
    let crowd = crowd(&ada, (0..others).map(|number| identity(100 + number))).await;
    ada.until(|| async { ada.linked().await.len() == LINKS_MAX }).await;
    let ben = start("ben", 2).await;
    let lasted = dial(&ben, &ada).await;
    println!("beside forty devices of one Reader {others} others have links, and a dial took {lasted:?}");
    assert!(lasted.is_some(), "in a full node the Reader gives way");
    drop((reader, crowd));
    ada.stop().await;
    ben.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_fresh_keys_leave_room_for_others() {
    let ada = start("ada", 1).await;
    (100..160).for_each(|seed| ada.board.estrange(identity(seed).user()));
    let strangers = crowd(&ada, (100..160).map(identity)).await;
    ada.clock.sleep(Duration::from_millis(500)).await;
    assert_eq!(ada.linked().await.len(), STRANGER_LINKS_MAX);
    let members = crowd(&ada, (10..10 + LINKS_MAX as u8).map(identity)).await;
    ada.until(|| async { ada.linked().await.len() == LINKS_MAX }).await;
    let linked = ada.linked().await;
    let of_members =
        (10..10 + LINKS_MAX as u8).filter(|seed| linked.contains(&identity(*seed).device())).count();
    println!("beside sixty fresh keys {of_members} of {LINKS_MAX} links are those of members");
    assert_eq!(of_members, LINKS_MAX, "the strangers gave way");
    drop((strangers, members));
    ada.stop().await;
}
