//! Hostile peers at full speed against `peerbase serve`: each kind prints the cost, and the speed at which an
//! honest member is still served. docs/testing.md explains the table.

mod attack;
mod disk;
mod honest;
mod kinds;
mod victim;

use std::time::Duration;

use actors::clock::Clock;

use self::attack::Attack;
use self::honest::{Honest, Served};
use self::kinds::{KINDS, Kind};
use self::victim::{Cost, Victim};

/// The time of each attack that is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// The longest silence that the test accepts: far above the aim, since other tests use the cores too.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The figures of one run.
struct Run {
    cost: Cost,
    served: Served,
    /// Frames, links or sockets of the attack.
    sent: u64,
}

impl Run {
    fn print(&self, name: &str, alone: &Served) {
        let Self { cost: Cost { rest_mib, peak_mib, cpu }, served, sent } = self;
        let (rows, ratio) = (served.rows_per_s, served.rows_per_s / alone.rows_per_s);
        let [silence, answer] = [served.silence, served.answer].map(|wait| wait.as_millis());
        let dial = served.dial.map_or("none".to_owned(), |dial| dial.as_millis().to_string());
        println!(
            "{name:<28} {rest_mib:>5} {peak_mib:>5} {:>6.1} {silence:>8} {answer:>7} {dial:>6} {rows:>7.1} \
             {ratio:>6.2} {sent:>8}",
            cpu.as_secs_f64()
        );
    }
}

/// Serves an honest writer for a while, beside an attack or without one.
fn run(kind: Option<&Kind>) -> Run {
    let clock = Clock::real();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let victim = Victim::start(kind.and_then(|kind| kind.role)).await;
        let honest = Honest::join(&victim, &clock).await;
        let mut attack = kind.map(|kind| Attack::prepare(kind, &victim));
        let meter = victim.meter();
        if let Some(attack) = &mut attack {
            attack.begin();
        }
        let served = honest.write_for(WINDOW).await;
        let cost = meter.end();
        let sent = attack.map_or(0, Attack::end);
        assert!(victim.lives(), "the node ended");
        honest.close().await;
        Run { cost, served, sent }
    })
}

#[test]
fn each_kind_of_hostile_peer_leaves_an_honest_member_served() {
    if !Victim::can_be_measured() {
        return println!("SKIPPED: without /proc nothing of the table can be measured");
    }
    println!(
        "{:<28} {:>5} {:>5} {:>6} {:>8} {:>7} {:>6} {:>7} {:>6} {:>8}",
        "kind", "rest", "peak", "cpu s", "silence", "answer", "dial", "rows/s", "ratio", "sent"
    );
    let alone = run(None);
    alone.print("nobody", &alone.served);
    let only = std::env::var("KIND").unwrap_or_default();
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&only)) {
        let beside = run(Some(kind));
        beside.print(kind.name, &alone.served);
        assert!(beside.sent > 0, "{}: the attack never began", kind.name);
        assert!(beside.served.rows_per_s > 0., "{}: no row arrived", kind.name);
        let longest = beside.served.silence.max(beside.served.answer);
        assert!(longest < SILENCE_MAX, "{}: a silence of {longest:?}", kind.name);
        assert!(beside.served.dial.is_some(), "{}: an honest dial failed", kind.name);
    }
}
