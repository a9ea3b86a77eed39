//! Where time and randomness enter, real or simulated.
//!
//! Tasks and off-loaded work enter here too, so that one seed tells one story.

#![allow(clippy::disallowed_methods, reason = "this is the file that the others are sent to")]

use std::future::Future;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::{ChaCha20Rng, SysRng};
use rand::{Rng, RngExt, SeedableRng, TryRng};
use schema::Timestamp;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// When simulated time begins: 2026-01-01T00:00:00Z.
pub const SIMULATED_EPOCH: Timestamp = Timestamp(1_767_225_600_000);

/// A source of time, randomness, tasks and off-loaded work. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Simulated(Arc<Mutex<Random>>),
}

impl Clock {
    /// The system's time and randomness, and a thread for what is off-loaded.
    pub fn real() -> Self {
        Self { origin: Instant::now(), kind: Kind::Real }
    }

    /// Virtual time that begins at [`SIMULATED_EPOCH`], and randomness that follows from `seed`.
    ///
    /// For a current-thread runtime that is paused; elsewhere time is real and order is not repeatable.
    pub fn simulated(seed: u64) -> Self {
        let random = Arc::new(Mutex::new(Random::seeded(seed)));
        Self { origin: Instant::now(), kind: Kind::Simulated(random) }
    }

    /// The same time with other randomness, in a simulation.
    #[must_use]
    pub fn reseeded(&self, seed: u64) -> Self {
        let kind = match self.kind {
            Kind::Real => Kind::Real,
            Kind::Simulated(_) => Kind::Simulated(Arc::new(Mutex::new(Random::seeded(seed)))),
        };
        Self { origin: self.origin, kind }
    }

    /// Wall time: it may be put forward and back.
    pub fn now(&self) -> Timestamp {
        match self.kind {
            Kind::Real => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::default() + since
            }
            Kind::Simulated(_) => SIMULATED_EPOCH + self.instant(),
        }
    }

    /// Time since this clock was made, which never goes back: for measuring and for scheduling.
    pub fn instant(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Fills `bytes` with randomness that is fit for keys.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.kind {
            Kind::Real => SysRng.try_fill_bytes(bytes).expect("the system has randomness"),
            Kind::Simulated(random) => {
                random.lock().unwrap_or_else(PoisonError::into_inner).0.fill_bytes(bytes);
            }
        }
    }

    /// N random bytes: a nonce, a seed of a key.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Any number.
    pub fn random_u64(&self) -> u64 {
        u64::from_le_bytes(self.random_bytes())
    }

    /// `duration`, a quarter shorter to a quarter longer, in whole milliseconds: keeps devices from marching in step.
    pub fn jitter(&self, duration: Duration) -> Duration {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let quarter = millis / 4;
        Duration::from_millis(millis - quarter + self.random_u64() % (2 * quarter + 1))
    }

    /// A new UUIDv7 (RFC 9562 §5.7) as text: sorts by the millisecond in which it was made.
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

    /// Runs a task. It outlives the handle: abort it, or keep it in a `JoinSet` ([`Self::spawn_in`]).
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(task)
    }

    /// Runs a task that ends with `tasks` at the latest.
    pub fn spawn_in<F>(&self, tasks: &mut JoinSet<()>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tasks.spawn(task);
    }

    /// Does work that would hold up an actor: on a thread of its own, in the simulator in place. A panic of the
    /// work is a panic of the waiting task.
    pub async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.kind {
            Kind::Simulated(_) => work(),
            Kind::Real => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // Cancelled: the runtime shuts down, and nobody will poll this task again.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until [`Self::instant`] has reached `instant`.
    pub async fn sleep_until(&self, instant: Duration) {
        tokio::time::sleep_until(self.origin + instant).await;
    }

    /// Waits for `future`, but no longer than `duration`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over; the future is then dropped.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await
    }
}

/// Randomness that follows from a seed: `ChaCha20`, for simulations.
#[derive(Debug)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// The same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A number in `range`, each as likely as the others.
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
    async fn one_seed_tells_one_story() {
        let (one, same, other) = (Clock::simulated(7), Clock::simulated(7), Clock::simulated(8));
        let story = |clock: &Clock| (clock.random_u64(), clock.uuid_v7(), clock.random_bytes::<32>());
        let told = story(&one);
        assert_eq!(told, story(&same));
        assert_ne!(told, story(&other));
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
    async fn a_uuid_tells_its_version_variant_and_time() {
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
    async fn real_time_is_the_systems_and_randomness_does_not_repeat() {
        let clock = Clock::real();
        assert!(clock.now() > Timestamp(1_700_000_000_000));
        assert_ne!(clock.random_bytes::<32>(), clock.random_bytes::<32>());
        assert_eq!(clock.offload(|| 6 * 7).await, 42);
    }

    #[tokio::test]
    #[should_panic(expected = "the work failed")]
    async fn a_panic_of_offloaded_work_is_the_callers() {
        Clock::real().offload(|| panic!("the work failed")).await
    }
}
