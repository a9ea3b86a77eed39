//! The machine world: whatever is cut and healed, everybody ends equal; one seed tells one story.

use peerbase::sim::machines::World;
use proptest::prelude::*;

/// Writes, cuts and links at random, then heals.
fn history(seed: u64, peers: usize, steps: u64) -> World {
    let mut world = World::seeded(seed, peers);
    for _ in 0..steps {
        let bound = world.peers() as u64;
        let [one, other] =
            [(); 2].map(|()| usize::try_from(world.below(bound)).expect("a world has few peers"));
        match world.below(10) {
            0..=4 => {
                let key = world.below(6).to_string();
                world.write(one, &key);
            }
            5 => world.cut(one, other),
            6 => world.link(one, other),
            7 => world.restart(one),
            _ => {
                let events = world.below(20);
                world.run(events);
            }
        }
    }
    world.heal();
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn everybody_ends_equal_after_any_partition(seed: u64, peers in 2usize..6, steps in 1u64..120) {
        let mut world = history(seed, peers, steps);
        prop_assert!(world.is_converged(), "seed {seed}: documents differ");
        prop_assert!(world.is_synced(), "seed {seed}: a session does not know that it is in sync");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(history(42, 4, 200).trace(), history(42, 4, 200).trace());
    assert_ne!(history(42, 4, 200).trace(), history(43, 4, 200).trace());
}

#[test]
fn a_third_peer_passes_on_what_two_cannot_tell_each_other() {
    let mut world = World::seeded(7, 3);
    world.cut(0, 2);
    world.write(0, "basil");
    world.settle();
    assert_eq!(world.changes(2), 1);
}

#[test]
fn ten_thousand_documents_cross_in_pages() {
    let mut world = World::seeded(7, 2);
    world.cut(0, 1);
    for row in 0..10_000 {
        world.write(0, &row.to_string());
    }
    world.link(0, 1);
    world.settle();
    assert_eq!(world.changes(1), 10_000);
    assert!(world.is_synced());
}
