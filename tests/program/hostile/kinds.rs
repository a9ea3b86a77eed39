//! The kinds of attack, in the order of the table; `testkit::hostile` crafts what they send.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use testkit::hostile::inserts::{INSERTS, Inserts};
use testkit::hostile::{
    self, Frame, chains, crowd, dearest, endless, heads, older_tips, repeats, requests, silence,
};
use testkit::identity::{identity, user_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::attack::{Target, Work};
use super::victim::EVE;

/// A kind of attack.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The attacker's role; none for strangers.
    pub(super) role: Option<&'static str>,
    pub(super) prepare: fn(Target) -> Pin<Box<dyn Future<Output = Work>>>,
}

macro_rules! kind {
    ($name:literal, $role:expr, $prepare:path) => {
        Kind { name: $name, role: $role, prepare: |target| Box::pin($prepare(target)) }
    };
}

/// All kinds.
pub(super) const KINDS: &[Kind] = &[
    kind!("units of 10^6 inserts", Some("writer"), too_many_inserts),
    kind!("the dearest changes", Some("writer"), dearest_changes),
    kind!("44 000 chains", Some("writer"), many_chains),
    kind!("65 600 heads", Some("writer"), many_heads),
    kind!("one row in 2 048 units", Some("writer"), repeated_units),
    kind!("one row requested 16 384 x", Some("writer"), repeated_requests),
    kind!("requests of 16 384 rows", Some("writer"), many_requests),
    kind!("forged older tips", Some("writer"), forged_older_tips),
    kind!("revocations and records", Some("reader"), ledger_records),
    kind!("frames that never end", Some("reader"), endless_frames),
    kind!("40 devices of a Reader", Some("reader"), many_devices),
    kind!("60 strangers", None, strangers),
    kind!("240 silent sockets", None, silent_sockets),
];

/// Prepared units of the dearest kind: more than a node judges within the time of one attack.
const DEAREST: usize = 32;
/// Devices that send endless frames: as many links as one user has.
const ENDLESS: usize = schema::limits::USER_LINKS_MAX;

/// A device whose units are a fault gets no link for an hour: the next device goes on.
async fn too_many_inserts(target: Target) -> Work {
    let device = identity(EVE);
    let grant = target.writer(&device).await.grant;
    let columns = Inserts::of(INSERTS);
    Box::pin(async move {
        for device in crowd::devices(EVE, 0) {
            let writer = hostile::Writer { group: target.group, grant, signing: device.signing.clone() };
            target.flood(&device, &mut columns.clone().frames(writer).map(Frame::Units)).await;
        }
    })
}

/// Sends prepared frames over one link after another.
fn send(target: Target, frames: Vec<Frame>) -> Work {
    Box::pin(async move {
        let mut frames = frames.into_iter();
        while frames.len() > 0 {
            target.flood(&identity(EVE), &mut frames).await;
        }
    })
}

async fn dearest_changes(target: Target) -> Work {
    let writer = target.writer(&identity(EVE)).await;
    let frames = dearest::frames(&writer).take(DEAREST).map(Frame::Units).collect();
    send(target, frames)
}

async fn many_chains(target: Target) -> Work {
    let writer = target.writer(&identity(EVE)).await;
    let frames = chains::frames(&writer, "chains", 44_000).into_iter().map(Frame::Units).collect();
    send(target, frames)
}

async fn many_heads(target: Target) -> Work {
    let writer = target.writer(&identity(EVE)).await;
    let frames = heads::frames(&writer, "heads", 65_600).into_iter().map(Frame::Units).collect();
    send(target, frames)
}

/// Chains of a row that frames name again and again.
const CHAINS: usize = 8_000;
/// The time in which a node accepts it.
const ROW_TIME: Duration = Duration::from_secs(5);

/// Has the node judge a row of many chains.
async fn write_row(target: &Target) -> hostile::Writer {
    let device = identity(EVE);
    let writer = target.writer(&device).await;
    let mut row = repeats::row(&writer, "row", CHAINS).into_iter().map(Frame::Units);
    tokio::select! {
        () = target.flood(&device, &mut row) => {}
        () = target.clock.sleep(ROW_TIME) => {}
    }
    writer
}

/// Sends one frame over one link after another, each of which it ends.
fn send_again(target: Target, frame: Frame) -> Work {
    Box::pin(async move {
        loop {
            target.flood(&identity(EVE), &mut std::iter::once(frame.clone())).await;
        }
    })
}

async fn repeated_units(target: Target) -> Work {
    let writer = write_row(&target).await;
    send_again(target, Frame::Units(repeats::units(&writer, "row")))
}

async fn repeated_requests(target: Target) -> Work {
    let writer = write_row(&target).await;
    send_again(target, Frame::Session(repeats::request(&writer, "row")))
}

async fn many_requests(target: Target) -> Work {
    let row = write_row(&target).await.document("row");
    Box::pin(async move {
        let mut frames = requests::frames(target.group, vec![row]).map(Frame::Session);
        loop {
            target.flood(&identity(EVE), &mut frames).await;
        }
    })
}

/// Three of these frames end the links of their sender for an hour: one device after another sends them.
async fn forged_older_tips(target: Target) -> Work {
    let frame = older_tips::frame(&target.writer(&identity(EVE)).await, "row");
    Box::pin(async move {
        for device in crowd::devices(EVE, 0) {
            let again = |number| Frame::Units(schema::wire::session::Units { number, ..frame.clone() });
            target.flood(&device, &mut (1..).map(again)).await;
        }
    })
}

async fn ledger_records(target: Target) -> Work {
    let revocations: Vec<_> = hostile::ledger::revocations(&user_key(&[EVE]), 20_000).collect();
    Box::pin(async move {
        let records = hostile::ledger::records(identity(EVE), target.group);
        let mut frames = records.zip(revocations).flat_map(|(one, other)| [one, other]).map(Frame::Ledger);
        loop {
            target.flood(&identity(EVE), &mut frames).await;
        }
    })
}

/// Does the same with several devices side by side.
fn side_by_side<W: Future<Output = ()> + Send + 'static>(
    target: &Target,
    count: usize,
    work: impl Fn(usize, Target) -> W + Send + 'static,
) -> Work {
    let target = target.clone();
    Box::pin(async move {
        let mut tasks = JoinSet::new();
        for number in 0..count {
            target.clock.spawn_in(&mut tasks, work(number, target.clone()));
        }
        tasks.join_all().await;
    })
}

async fn endless_frames(target: Target) -> Work {
    let devices: Vec<_> = crowd::devices(EVE, 0).take(ENDLESS).collect();
    side_by_side(&target, ENDLESS, move |number, target| {
        let device = devices[number].clone();
        async move {
            loop {
                target.flood(&device, &mut endless::parts().map(Frame::Part)).await;
            }
        }
    })
}

async fn many_devices(target: Target) -> Work {
    let devices: Vec<_> = crowd::devices(EVE, 0).take(40).collect();
    side_by_side(&target, devices.len(), move |number, target| {
        let device = devices[number].clone();
        async move {
            loop {
                let mut peer = target.dial(&device).await;
                target.count();
                while peer.link.receive().await.is_some() {}
            }
        }
    })
}

async fn strangers(target: Target) -> Work {
    side_by_side(&target, 60, |number, target| async move {
        for device in crowd::strangers().skip(number).step_by(60) {
            let mut peer = target.dial(&device).await;
            target.count();
            while peer.link.receive().await.is_some() {}
        }
    })
}

async fn silent_sockets(target: Target) -> Work {
    side_by_side(&target, 240, |number, target| async move {
        let address = target.address.strip_prefix("ws://").unwrap().parse().unwrap();
        loop {
            // From another network than honest members, as in life.
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 1, 0, 1], 0).into()).unwrap();
            let Ok(mut socket) = socket.connect(address).await else { continue };
            target.count();
            let opening = silence::OPENINGS[number % silence::OPENINGS.len()];
            if socket.write_all(opening).await.is_ok() {
                while socket.read(&mut [0; 512]).await.is_ok_and(|got| got > 0) {}
            }
        }
    })
}
