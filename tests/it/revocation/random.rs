//! Random removals, role changes, writes, partitions and crashes: all members end equal.

use actors::clock::Clock;
use peerbase::Role::{self, Admin, None as Out, Reader, Writer};

use crate::support::scenario::{Scenario, seeded};

const PEOPLE: [&str; 5] = ["ada", "ben", "cid", "dan", "mia"];

/// Draws the next step.
struct Chance(Clock);

impl Chance {
    fn below(&self, end: usize) -> usize {
        usize::try_from(self.0.random_u64() % end as u64).unwrap()
    }

    fn of<T: Copy>(&self, some: &[T]) -> T {
        some[self.below(some.len())]
    }
}

async fn play_history(seed: u64) {
    let people = [("ben", Admin), ("cid", Admin), ("dan", Writer), ("mia", Writer)];
    let mut scenario = Scenario::new(seed, people).await;
    let chance = Chance(Clock::simulated(seeded(seed)));
    let mut down: Option<&str> = None;
    for step in 0..40 {
        let name = chance.of(&PEOPLE);
        let is_up = down != Some(name);
        match chance.below(10) {
            0..5 if is_up => {
                // A member who may not write is refused; that is expected.
                let key = format!("row {}", chance.below(4));
                let _ = scenario.try_write(name, &key, &format!("{name} in step {step}")).await;
            }
            5 | 6 if is_up => {
                let target = chance.of(&PEOPLE[1..]);
                let role: Role = chance.of(&[Out, Reader, Writer, Writer, Admin]);
                // Most of these are refused; that is expected.
                let _ = scenario.try_set_role(name, target, role).await;
            }
            7 => {
                let side: Vec<&str> = PEOPLE.into_iter().filter(|_| chance.below(2) == 0).collect();
                let other: Vec<&str> = PEOPLE.into_iter().filter(|name| !side.contains(name)).collect();
                scenario.partition(&[&side, &other]);
            }
            8 => match down.take() {
                Some(name) => scenario.restart(name).await,
                None => {
                    scenario.crash(name).await;
                    down = Some(name);
                }
            },
            _ => scenario.net.sleep(std::time::Duration::from_secs(2)).await,
        }
        scenario.net.sleep(std::time::Duration::from_millis(20)).await;
    }
    if let Some(name) = down {
        scenario.restart(name).await;
    }
    scenario.converge().await;
    scenario.write("ada", "row 0", "the last word").await;
    scenario.close().await;
}

#[tokio::test(start_paused = true)]
async fn members_end_equal_after_random_removals_and_writes() {
    for seed in 50..60 {
        play_history(seed).await;
    }
}
