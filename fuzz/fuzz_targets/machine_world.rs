//! The machine world keeps its promises (D1 to D9) for arbitrary acts of its members, also malicious ones.
//!
//! The world steps the same document machine, sessions and ledgers as a node.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peerbase::sim::machines::{Say, World};
use schema::ledger::Role;

const ROLES: [Role; 4] = [Role::None, Role::Reader, Role::Writer, Role::Admin];

fuzz_target!(|input: &[u8]| {
    let Some((seed, steps)) = input.split_first() else { return };
    let mut world = World::with_malice(u64::from(*seed));
    let peers = world.peers();
    for step in steps.chunks_exact(3).take(80) {
        let (one, other) = (usize::from(step[1]) % peers, usize::from(step[2]) % peers);
        match step[0] % 10 {
            0 | 1 => {
                world.write(one, &(step[2] % 4).to_string());
            }
            2 => world.cut(one, other),
            3 => world.link(one, other),
            4 => world.restart(one),
            5 => {
                world.say(one, say(step[0] / 10, other, step[2]));
            }
            6 | 7 => world.slip(peers - 1 - one % 2, other),
            _ => world.run(u64::from(step[2] % 32)),
        }
    }
    world.heal();
    world.settle();
    world.examine().expect("the promises hold");
});

fn say(kind: u8, person: usize, detail: u8) -> Say {
    let (role, count) = (ROLES[usize::from(detail / 8) % ROLES.len()], usize::from(detail % 4));
    match kind % 5 {
        0 => Say::Role(person, role),
        1 => Say::AsOf(person, role, count),
        2 => Say::Backdated(person, role, count),
        3 => Say::Revoke(person),
        _ => Say::Amnesty(count),
    }
}
