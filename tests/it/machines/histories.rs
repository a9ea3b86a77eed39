//! Random histories of the machine world, one a seed.

use peerbase::sim::machines::{Say, World};
use schema::ledger::Role;

/// Writes, cuts and links at random, then heals.
pub(crate) fn history(seed: u64, peers: usize, steps: u64) -> World {
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

/// A random membership change by a random member about another.
fn say(world: &mut World) -> Say {
    const ROLES: [Role; 6] = [Role::None, Role::None, Role::Reader, Role::Writer, Role::Writer, Role::Admin];
    // Most changes are about the malicious member.
    let about = [5, 5, 5, 1, 2, 3, 4][world.pick(7)];
    let role = ROLES[world.pick(6)];
    match world.below(10) {
        0..=4 => Say::Role(about, role),
        5 => Say::AsOf(about, role, world.pick(4)),
        6 => Say::Backdated(about, role, world.pick(4)),
        7 => Say::Revoke(about),
        _ => Say::Amnesty(world.pick(3)),
    }
}

/// A history in which members come and go, and one of them does as it pleases.
pub(crate) fn malicious_history(mut world: World, steps: u64, is_star: bool) -> World {
    for _ in 0..steps {
        let bound = world.peers();
        let (one, other) = (world.pick(bound), world.pick(bound));
        match world.below(20) {
            0..=7 => {
                let key = world.below(4).to_string();
                world.write(one, &key);
            }
            8..=9 => world.cut(one, other),
            10 => (0..bound).for_each(|other| world.cut(one, other)),
            11..=12 => world.link(one, other),
            13 => world.restart(one),
            14 => {
                let what = say(&mut world);
                world.say(one, what);
            }
            15..=16 => world.slip(bound - 1 - one % 2, other),
            _ => {
                let events = world.below(30);
                world.run(events);
            }
        }
    }
    // Most forks are decided in the end.
    if world.below(4) > 0 {
        world.say(0, Say::Role(5, Role::None));
    }
    let bound = world.peers();
    for one in 1..bound {
        (one + 1..bound).filter(|_| is_star).for_each(|other| world.cut(one, other));
        world.link(0, one);
    }
    if !is_star {
        world.heal();
    }
    world.settle();
    // Every peer that may write does.
    for peer in 0..bound {
        world.write(peer, "last");
    }
    world.settle();
    world
}

/// Cuts, links, writes and invitations at random, of three members and a joiner.
pub(crate) fn joining_history(seed: u64, steps: u64) -> World {
    let mut world = World::with_joiner(seed, 3);
    for _ in 0..steps {
        let (one, other) = (world.pick(4), world.pick(4));
        match world.below(8) {
            0..=2 => {
                let key = world.below(3).to_string();
                world.write(one, &key);
            }
            3 => world.cut(one, other),
            4 => world.link(one, other),
            5 => drop(world.invite(one)),
            _ => {
                let events = world.below(20);
                world.run(events);
            }
        }
    }
    world.invite(0);
    world.heal();
    world.settle();
    world
}
