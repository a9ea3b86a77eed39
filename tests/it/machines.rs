//! The machine world: whatever is cut and healed, everybody ends equal; one seed tells one story.

mod defects;
mod histories;

use peerbase::sim::machines::{Say, World};
use proptest::prelude::*;
use schema::ledger::Role;

use self::histories::{history, joining_history, malicious_history};

/// Floods the ledger of a world whose last member is a Reader by then, from both devices of that member, and
/// then removes the member.
fn flooded(mut world: World) -> World {
    world.settle();
    world.say(0, Say::Role(5, Role::Reader));
    world.settle();
    let bound = world.peers();
    for (peer, to, devices) in [(bound - 1, 0, 0..400), (bound - 2, 2, 200..600)] {
        world.flood_ledger(peer, to, devices);
        world.settle();
    }
    world.say(0, Say::Role(5, Role::None));
    world.settle();
    world
}

#[test]
fn a_readers_flood_of_device_revocations_ends_alike_everywhere_and_within_its_bound() {
    assert_eq!(flooded(World::with_malice(1)).examine(), Ok(()));
}

// `examine` asks for D1 to D7 and D9 of authority 4.1, and each of them can break: see `defects`.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_malicious_member_divides_nobody_and_writes_nothing_after_their_removal(
        seed: u64,
        steps in 20u64..100,
    ) {
        let world = malicious_history(World::with_malice(seed), steps, false);
        prop_assert_eq!(world.examine(), Ok(()), "seed {}, {} steps", seed, steps);
    }

    #[test]
    fn nor_where_everybody_meets_the_founder_alone(seed: u64, steps in 20u64..100) {
        let world = malicious_history(World::with_malice(seed), steps, true);
        prop_assert_eq!(world.examine(), Ok(()), "seed {}, {} steps", seed, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn everybody_ends_equal_after_any_partition(seed: u64, peers in 2usize..6, steps in 1u64..120) {
        let mut world = history(seed, peers, steps);
        prop_assert_eq!(world.examine(), Ok(()), "seed {}", seed);
        prop_assert!(world.is_converged(), "seed {seed}: documents differ");
        prop_assert!(world.is_synced(), "seed {seed}: a session does not know that it is in sync");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_invited_joiner_ends_equal_to_the_members_after_any_partition(seed: u64, steps in 1u64..80) {
        let mut world = joining_history(seed, steps);
        prop_assert!(world.write(3, "last"), "seed {}: the joiner may not write", seed);
        world.settle();
        prop_assert_eq!(world.examine(), Ok(()), "seed {}", seed);
        prop_assert!((0..3).all(|peer| world.are_equal(peer, 3)), "seed {}: documents differ", seed);
    }
}

#[test]
fn a_joiner_holds_and_writes_nothing_before_an_invitation_and_everything_after() {
    let mut world = World::with_joiner(7, 3);
    world.write(0, "basil");
    world.settle();
    assert!(!world.write(3, "chives"));
    assert_eq!(world.changes(3), 0);

    assert!(world.invite(1));
    world.settle();
    assert!(world.write(3, "chives"));
    world.settle();
    assert_eq!([0, 1, 2, 3].map(|peer| world.changes(peer)), [2; 4]);
    assert_eq!(world.examine(), Ok(()));
}

#[test]
fn a_member_who_did_not_invite_admits_the_joiner_by_the_ticket() {
    let mut world = World::with_joiner(7, 3);
    (0..3).for_each(|member| world.cut(member, 3));
    assert!(world.invite(1));
    world.settle();
    world.link(2, 3);
    world.settle();
    assert!(world.write(3, "chives"));
}

#[test]
fn a_writer_cannot_invite() {
    let mut world = World::with_joiner(7, 4);
    assert!(!world.invite(3));
}

/// A removed user is not told: the invitation counts for the inviter and the joiner alone.
#[test]
fn writes_of_a_joiner_invited_by_a_removed_admin_reach_no_member() {
    let mut world = World::with_joiner(7, 4);
    world.settle();
    assert!(world.say(0, Say::Role(2, Role::None)));
    world.settle();
    assert!(world.invite(2));
    world.settle();
    assert!(world.write(4, "chives"));
    world.settle();
    assert_eq!([0, 1, 3].map(|peer| world.changes(peer)), [0; 3]);
    assert_eq!(world.examine(), Ok(()));
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

/// Nobody is linked.
fn apart(world: &mut World) {
    for one in 0..world.peers() {
        (0..one).for_each(|other| world.cut(one, other));
    }
}

/// The initiator compared its own mark as if it were decided, and never asked for a branch of equal length.
#[test]
fn the_branch_that_a_cut_names_is_fetched_whichever_side_begins() {
    for seed in 0..8 {
        let mut world = World::with_malice(seed);
        apart(&mut world);
        for (malicious, honest) in [(5, 0), (6, 2)] {
            world.write(malicious, "basil");
            world.link(malicious, honest);
        }
        world.settle();
        apart(&mut world);
        assert!(!world.are_equal(0, 2), "seed {seed}: no fork");

        assert!(world.say(0, Say::Role(5, Role::None)));
        // The number of earlier events decides which peer begins.
        for _ in 0..seed {
            world.write(3, "chives");
        }
        world.link(0, 2);
        world.settle();

        assert!(world.are_equal(0, 2), "seed {seed}");
    }
}

/// authority 3.7.2 P6 with a fork: each of two removers has another branch, and their cuts contradict each
/// other. Both together would leave nothing, but only who has seen both branches could tell, since what
/// nobody accepts is not handed on: so the lower cut holds, with its branch, everywhere.
#[test]
fn of_two_cuts_that_name_two_branches_the_lower_holds_everywhere() {
    for seed in 0..8 {
        let mut world = World::with_malice(seed);
        apart(&mut world);
        for (malicious, remover, length) in [(5, 1, 2), (6, 2, 3)] {
            (0..length).for_each(|_| assert!(world.write(malicious, "basil")));
            world.link(malicious, remover);
        }
        world.settle();
        apart(&mut world);
        assert!(world.say(1, Say::Role(5, Role::None)));
        assert!(world.say(2, Say::Role(5, Role::None)));
        // The founder receives one of them first.
        world.link(0, 1 + usize::from(seed % 2 == 1));
        world.settle();
        world.heal();
        world.settle();

        assert_eq!(world.examine(), Ok(()), "seed {seed}");
        let held: Vec<usize> = (0..5).map(|peer| world.changes(peer)).collect();
        assert_eq!(held, [2; 5], "seed {seed}");

        // The founder removes the second remover as of before one of the two removals: the newer one here in
        // half of the worlds, the older one in the others.
        let newest_but = usize::from(seed % 4 >= 2);
        assert!(world.say(0, Say::AsOf(2, Role::None, newest_but)), "seed {seed}");
        world.settle();
        assert_eq!(world.examine(), Ok(()), "seed {seed}");
        assert!([1, 3, 4].iter().all(|peer| world.are_equal(0, *peer)), "seed {seed}");
    }
}
