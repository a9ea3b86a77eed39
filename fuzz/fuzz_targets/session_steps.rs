//! Any order of writes, cuts, links and deliveries ends with everybody equal and knowing it.

#![no_main]

use peerbase::sim::machines::World;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut world = World::seeded(7, 3);
    for step in bytes.chunks_exact(2).take(200) {
        let (one, other) = (usize::from(step[1] % 3), usize::from(step[1] / 3 % 3));
        match step[0] % 8 {
            0..=3 => assert!(world.write(one, &(step[1] % 5).to_string()), "everybody may write"),
            4 => world.cut(one, other),
            5 => world.link(one, other),
            _ => world.run(u64::from(step[1] % 16)),
        }
    }
    world.heal();
    world.settle();
    assert_eq!(world.examine(), Ok(()));
    assert!(world.is_converged() && world.is_synced());
});
