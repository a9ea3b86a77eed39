//! The source of time, randomness, tasks and off-loaded work, real or simulated.
//!
//! Everything that varies between two runs enters here, so that a simulation with one seed is repeatable.

#![allow(clippy::disallowed_methods, reason = "the file that wraps the disallowed methods for all others")]

mod workers;

use std::future::Future;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::{ChaCha20Rng, SysRng};
use rand::{Rng, RngExt, SeedableRng, TryRng};
use schema::{Moment, Timestamp};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

pub use workers::{Lane, WorkQueue};

/// The beginning of simulated time: 2026-01-01T00:00:00Z.
pub const SIMULATED_EPOCH: Timestamp = Timestamp(1_767_225_600_000);

/// A source of time, randomness, tasks and off-loaded work. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    kind: Kind,
    /// The virtual time that a slice of simulated work takes.
    slice: Duration,
}

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Simulated(Simulation),
}

#[derive(Clone, Debug)]
struct Simulation {
    random: Arc<Mutex<Random>>,
    wall: Arc<Mutex<Wall>>,
}

impl Simulation {
    fn new(seed: u64, wall: Wall) -> Self {
        Self { random: Arc::new(Mutex::new(Random::seeded(seed))), wall: Arc::new(Mutex::new(wall)) }
    }

    fn wall(&self) -> MutexGuard<'_, Wall> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A date of a simulated wall clock, and the moment at which it showed it.
#[derive(Clone, Copy, Debug)]
struct Wall {
    date: Timestamp,
    at: Moment,
}

impl Clock {
    /// The system's time and randomness; off-loaded work runs on other threads.
    pub fn real() -> Self {
        Self { origin: Instant::now(), kind: Kind::Real, slice: Duration::ZERO }
    }

    /// Virtual time that begins at [`SIMULATED_EPOCH`], and randomness that follows from `seed`.
    ///
    /// For a paused current-thread runtime; on any other runtime time is real and the order is not
    /// repeatable.
    pub fn simulated(seed: u64) -> Self {
        let wall = Wall { date: SIMULATED_EPOCH, at: Moment::default() };
        Self {
            origin: Instant::now(),
            kind: Kind::Simulated(Simulation::new(seed, wall)),
            slice: Duration::ZERO,
        }
    }

    /// The same time with other randomness, and a wall clock that is set apart from now on; a real clock is
    /// unchanged.
    #[must_use]
    pub fn reseeded(&self, seed: u64) -> Self {
        let kind = match &self.kind {
            Kind::Real => Kind::Real,
            Kind::Simulated(simulation) => {
                let wall = *simulation.wall();
                Kind::Simulated(Simulation::new(seed, wall))
            }
        };
        Self { origin: self.origin, kind, slice: self.slice }
    }

    /// The same time, in which a slice of simulated work takes so long; a real clock is unchanged.
    #[must_use]
    pub fn with_slow_work(self, slice: Duration) -> Self {
        Self { slice, ..self }
    }

    /// Sets the wall clock of a simulation, as a person or a time server does; a real clock is unchanged.
    pub fn set_wall(&self, date: Timestamp) {
        if let Kind::Simulated(simulation) = &self.kind {
            *simulation.wall() = Wall { date, at: self.moment() };
        }
    }

    /// Wall-clock time, which may jump forward and back.
    pub fn now(&self) -> Timestamp {
        match &self.kind {
            Kind::Real => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::default() + since
            }
            Kind::Simulated(simulation) => {
                let wall = *simulation.wall();
                wall.date + self.moment().since(wall.at)
            }
        }
    }

    /// Time since this clock was made. Monotonic: for measuring and for scheduling.
    pub fn instant(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The same as a moment, by which machines measure deadlines.
    pub fn moment(&self) -> Moment {
        Moment(self.instant())
    }

    /// Fills `bytes` with cryptographic randomness.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.kind {
            Kind::Real => SysRng.try_fill_bytes(bytes).expect("the system has randomness"),
            Kind::Simulated(simulation) => {
                simulation.random.lock().unwrap_or_else(PoisonError::into_inner).0.fill_bytes(bytes);
            }
        }
    }

    /// N random bytes, for a nonce or the seed of a key.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        u64::from_le_bytes(self.random_bytes())
    }

    /// `duration` ± 25 %, in whole milliseconds, so that devices do not act at the same moments.
    pub fn jitter(&self, duration: Duration) -> Duration {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let quarter = millis / 4;
        Duration::from_millis(millis - quarter + self.random_u64() % (2 * quarter + 1))
    }

    /// A new UUIDv7 (RFC 9562 §5.7) as text; its text sorts by the millisecond of its creation.
    pub fn uuid_v7(&self) -> String {
        let mut bytes: [u8; 16] = self.random_bytes();
        bytes[..6].copy_from_slice(&self.now().as_millis().to_be_bytes()[2..]);
        bytes[6] = bytes[6] & 0x0f | 0x70;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let number = u128::from_be_bytes(bytes);
        let part = |shift: u32, digits: u32| number >> shift & ((1 << (4 * digits)) - 1);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }

    /// Spawns a task. It outlives the handle: abort it, or spawn it into a `JoinSet` with [`Self::spawn_in`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(task)
    }

    /// Spawns a task into `tasks`; it is aborted when the set is dropped.
    pub fn spawn_in<F>(&self, tasks: &mut JoinSet<()>, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tasks.spawn(task)
    }

    /// Runs blocking work on another thread; in a simulation on this one. A panic of the work becomes a panic
    /// of the waiting task.
    pub async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.kind {
            Kind::Simulated(_) => work(),
            Kind::Real => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // Cancelled because the runtime shuts down: this task is not polled again.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }

    /// Runs a slice of long work on one of the threads of the queue's lane; in a simulation on this one,
    /// after the time that a slice takes. Queues of a lane take turns.
    ///
    /// All nodes of a process share these threads. Each lane has one at least; on three cores or more, one
    /// core stays free for the runtime.
    pub async fn work<T: Send + 'static>(
        &self,
        queue: WorkQueue,
        slice: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self.kind {
            Kind::Simulated(_) if self.slice.is_zero() => {
                tokio::task::yield_now().await;
                slice()
            }
            Kind::Simulated(_) => {
                self.sleep(self.slice).await;
                slice()
            }
            Kind::Real => {
                let worker = queue.acquire().await;
                self.offload(move || {
                    // A task that gives up does not free the thread.
                    let _worker = worker;
                    slice()
                })
                .await
            }
        }
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until [`Self::instant`] reaches `instant`.
    pub async fn sleep_until(&self, instant: Duration) {
        tokio::time::sleep_until(self.origin + instant).await;
    }

    /// Waits for `future`, at most `duration`.
    ///
    /// # Errors
    /// [`Elapsed`] after `duration`; the future is then dropped.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await
    }
}

/// Randomness from a seed (`ChaCha20`), for simulations.
#[derive(Debug)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// Equal seeds give equal numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A uniformly distributed number in `range`.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// True with `probability` (0 to 1).
    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn equal_seeds_give_equal_randomness() {
        let (one, same, other) = (Clock::simulated(7), Clock::simulated(7), Clock::simulated(8));
        let draw = |clock: &Clock| (clock.random_u64(), clock.uuid_v7(), clock.random_bytes::<32>());
        let drawn = draw(&one);
        assert_eq!(drawn, draw(&same));
        assert_ne!(drawn, draw(&other));
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_is_virtual() {
        let clock = Clock::simulated(1);
        assert_eq!(clock.now(), SIMULATED_EPOCH);

        clock.sleep(Duration::from_secs(3_600)).await;

        assert_eq!(clock.now(), SIMULATED_EPOCH + Duration::from_secs(3_600));
        assert_eq!(clock.instant(), Duration::from_secs(3_600));
        assert!(clock.timeout(Duration::from_secs(1), std::future::pending::<()>()).await.is_err());
        assert_eq!(clock.instant(), Duration::from_secs(3_601));
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_wall_clock_moves_dates_and_no_moment() {
        let clock = Clock::simulated(1);
        clock.sleep(Duration::from_secs(5)).await;
        for date in [Timestamp(7), SIMULATED_EPOCH + Duration::from_secs(86_400)] {
            let (moment, other) = (clock.moment(), clock.reseeded(2));
            let before = other.now();

            clock.set_wall(date);
            clock.sleep(Duration::from_secs(1)).await;

            assert_eq!(clock.now(), date + Duration::from_secs(1));
            assert_eq!(other.now(), before + Duration::from_secs(1), "the wall clock of another device");
            assert_eq!(clock.moment(), moment + Duration::from_secs(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_uuid_carries_its_version_variant_and_time() {
        let clock = Clock::simulated(1);
        clock.sleep(Duration::from_millis(5)).await;
        let uuid = clock.uuid_v7();

        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        let millis = u64::from_str_radix(&uuid[..13].replace('-', ""), 16).unwrap();
        assert_eq!(Timestamp(millis), clock.now());
        assert_eq!(&uuid[14..15], "7");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        clock.sleep(Duration::from_millis(1)).await;
        assert!(clock.uuid_v7() > uuid);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_stays_within_a_quarter() {
        let clock = Clock::simulated(1);
        let drawn: Vec<Duration> = (0..1_000).map(|_| clock.jitter(Duration::from_secs(1))).collect();
        assert!(drawn.iter().all(|d| (750..=1_250).contains(&d.as_millis())));
        assert!(
            drawn.iter().min().unwrap().as_millis() < 800 && drawn.iter().max().unwrap().as_millis() > 1_200
        );
        assert_eq!(clock.jitter(Duration::ZERO), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_real_clock_has_the_systems_time_and_different_randomness_each_time() {
        let clock = Clock::real();
        assert!(clock.now() > Timestamp(1_700_000_000_000));
        assert_ne!(clock.random_bytes::<32>(), clock.random_bytes::<32>());
        assert_eq!(clock.offload(|| 6 * 7).await, 42);
    }

    /// Rows that came from peers once waited for each slice of every dear row.
    #[tokio::test]
    async fn reading_waits_for_no_work_of_automerge() {
        let clock = Clock::real();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let works = clock.clone();
        let long = clock.spawn(async move {
            let wait = move || (begin.send(()), ended.recv().is_err());
            works.work(WorkQueue::new(Lane::Automerge), wait).await
        });
        begun.await.unwrap();

        assert_eq!(clock.work(WorkQueue::new(Lane::Reading), || 6 * 7).await, 42);

        drop(end);
        assert!(long.await.unwrap().1);
    }

    #[tokio::test]
    #[should_panic(expected = "the work failed")]
    async fn a_panic_of_offloaded_work_reaches_the_caller() {
        Clock::real().offload(|| panic!("the work failed")).await
    }
}
