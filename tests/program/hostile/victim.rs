//! The node under attack: `peerbase serve` with a folder and a loopback WebSocket, read through `/proc`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use peerbase::{GroupId, UserId};
use testkit::identity::identity;

use crate::process::{Home, Process};

/// Seeds of the attacker's user, and of a member who dials in the middle of the attack.
pub(super) const EVE: u8 = 66;
pub(super) const CID: u8 = 67;

/// The clock ticks of `/proc`, on every Linux.
const TICKS_PER_S: u64 = 100;

/// A served database with one group.
pub(super) struct Victim {
    pub(super) home: Home,
    process: Process,
    pub(super) address: String,
    pub(super) group: GroupId,
}

impl Victim {
    /// Starts a node; the attacker is a member if it has a role.
    pub(super) async fn start(role: Option<&str>) -> Self {
        let home = Home::with_group("Garden");
        let group = home.run(&["--json", "group", "list"]).json()["id"].as_str().unwrap().parse().unwrap();
        let (process, address) = home.serve(&[]);
        let victim = Self { home, process, address, group };
        victim.admit(identity(CID).user(), "reader");
        role.into_iter().for_each(|role| victim.admit(identity(EVE).user(), role));
        victim
    }

    pub(super) fn admit(&self, user: UserId, role: &str) {
        self.home.run(&["group", "add", &user.to_string(), "--role", role]).ok();
    }

    /// True where `/proc` tells what a process costs.
    pub(super) fn can_be_measured() -> bool {
        Path::new("/proc/self/status").exists() && Path::new("/proc/self/stat").exists()
    }

    pub(super) fn lives(&self) -> bool {
        rss_mib(self.process.id()).is_some()
    }

    /// Measures the process from now on.
    pub(super) fn meter(&self) -> Meter {
        let id = self.process.id();
        let (rest_mib, cpu) = (rss_mib(id).unwrap(), cpu(id));
        let (peak, is_over) = (Arc::new(AtomicU64::new(rest_mib)), Arc::new(AtomicBool::new(false)));
        let (highest, over) = (peak.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                highest.fetch_max(rss_mib(id).unwrap_or_default(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Meter { id, rest_mib, cpu, peak, is_over, thread: Some(thread) }
    }
}

/// Memory and processor time of a process.
pub(super) struct Cost {
    pub(super) rest_mib: u64,
    pub(super) peak_mib: u64,
    pub(super) cpu: Duration,
}

/// A measurement under way.
pub(super) struct Meter {
    id: u32,
    rest_mib: u64,
    cpu: Duration,
    peak: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    pub(super) fn end(mut self) -> Cost {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let (rest_mib, peak_mib) = (self.rest_mib, self.peak.load(Ordering::SeqCst));
        Cost { rest_mib, peak_mib, cpu: cpu(self.id).saturating_sub(self.cpu) }
    }
}

fn rss_mib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib >> 10)
}

/// Processor time of all threads of a process.
fn cpu(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS_PER_S)
}
