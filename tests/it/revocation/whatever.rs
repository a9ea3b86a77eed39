//! Removals, lowerings and people who come back, at random, among writes, partitions and crashes: whoever is in ends
//! equal.

use actors::clock::Clock;
use peerbase::Role::{self, Admin, None as Out, Reader, Writer};

use crate::support::village::{Village, seeded};

const PEOPLE: [&str; 5] = ["ada", "ben", "cid", "dan", "mia"];

/// What somebody does next.
struct Chance(Clock);

impl Chance {
    fn below(&self, end: usize) -> usize {
        usize::try_from(self.0.random_u64() % end as u64).unwrap()
    }

    fn of<T: Copy>(&self, some: &[T]) -> T {
        some[self.below(some.len())]
    }
}

async fn a_history(seed: u64) {
    let people = [("ben", Admin), ("cid", Admin), ("dan", Writer), ("mia", Writer)];
    let mut village = Village::of(seed, people).await;
    let chance = Chance(Clock::simulated(seeded(seed)));
    let mut down: Option<&str> = None;
    for step in 0..40 {
        let name = chance.of(&PEOPLE);
        let is_up = down != Some(name);
        match chance.below(10) {
            0..5 if is_up => {
                // Whoever knows to be no writer is refused: that is as it should be.
                let key = format!("row {}", chance.below(4));
                let _ = village.tries_to_write(name, &key, &format!("{name} in step {step}")).await;
            }
            5 | 6 if is_up => {
                let whom = chance.of(&PEOPLE[1..]);
                let role: Role = chance.of(&[Out, Reader, Writer, Writer, Admin]);
                // The rules forbid most of it to most of them.
                let _ = village.group(name).set_role(village.user(whom), role).await;
            }
            7 => {
                let side: Vec<&str> = PEOPLE.into_iter().filter(|_| chance.below(2) == 0).collect();
                let other: Vec<&str> = PEOPLE.into_iter().filter(|name| !side.contains(name)).collect();
                village.part(&[&side, &other]);
            }
            8 => match down.take() {
                Some(name) => village.restart(name).await,
                None => {
                    village.crash(name).await;
                    down = Some(name);
                }
            },
            _ => village.net.sleep(std::time::Duration::from_secs(2)).await,
        }
        village.net.sleep(std::time::Duration::from_millis(20)).await;
    }
    if let Some(name) = down {
        village.restart(name).await;
    }
    village.meet().await;
    village.writes("ada", "row 0", "the last word").await;
    village.ends().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_is_said_and_written_whoever_is_in_ends_equal() {
    for seed in 50..60 {
        a_history(seed).await;
    }
}
