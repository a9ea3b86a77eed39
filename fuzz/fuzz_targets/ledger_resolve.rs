//! Any list of ops, backdated at will: admitting never panics, and no order of arrival changes the state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::ledger::{OpAction, Proposal, Resolver, Role};
use schema::{DeviceId, OpId, UserId};

fn op(number: usize) -> OpId {
    OpId(schema::id::hash("fuzz", &[&number.to_be_bytes()]))
}

/// Six bytes an op: author, target, what, two parents, device.
fn proposal(bytes: &[u8], number: usize) -> Proposal {
    let user = |byte: u8| UserId([byte % 6; 32]);
    let device = |byte: u8| DeviceId([byte % 2; 32]);
    let action = match bytes[2] % 10 {
        what @ 0..6 => OpAction::SetRole { user: user(bytes[1]), role: Role::ALL[usize::from(what)] },
        6..9 => OpAction::RevokeDevice { user: user(bytes[1]), device: device(bytes[2] / 10) },
        _ => OpAction::Other,
    };
    let back = |byte: u8| op(number.saturating_sub(1 + usize::from(byte)));
    let mut parents = vec![back(bytes[3] % 8), back(bytes[4] / 8)];
    parents.sort_unstable();
    parents.dedup();
    Proposal { parents, author: user(bytes[0]), device: (bytes[5] > 99).then(|| device(bytes[5])), action }
}

fuzz_target!(|bytes: &[u8]| {
    let mut resolver = Resolver::new(op(0), vec![UserId([0; 32]), UserId([1; 32])]);
    let mut taken = Vec::new();
    for (number, bytes) in bytes.chunks_exact(6).take(64).enumerate() {
        let (id, proposal) = (op(number + 1), proposal(bytes, number + 1));
        if resolver.admit(id, &proposal).is_ok() {
            taken.push((id, proposal));
        }
    }
    // The last op that can come goes first: branch by branch instead of side by side.
    let mut other = Resolver::new(op(0), vec![UserId([0; 32]), UserId([1; 32])]);
    while !taken.is_empty() {
        let next = taken.iter().rposition(|(id, proposal)| other.admit(*id, proposal).is_ok());
        taken.remove(next.expect("what was valid is valid in any order"));
    }
    let roles = |resolver: &Resolver| {
        resolver.users().map(|user| (user, resolver.role(user), resolver.winner(user))).collect::<Vec<_>>()
    };
    assert_eq!(roles(&resolver), roles(&other));
    for facts in resolver.facts() {
        assert_eq!(resolver.status(facts.id), other.status(facts.id));
    }
});
