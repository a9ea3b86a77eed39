//! Judges an op against its own past, once and for ever: clauses 1 to 4 of authority 3.2.

use crate::id::OpId;
use crate::ledger::facts::{Class, Facts, OpAction, Proposal};
use crate::ledger::graph::{Graph, Node};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;
use crate::ledger::refusal::{Invalid, Refusal};
use crate::ledger::resolve::Resolution;

/// Judges an op against `state`, the resolution of `past`, which is the op's past.
///
/// # Errors
/// [`Refusal::Invalid`]
pub(crate) fn judge(
    graph: &Graph,
    state: &Resolution,
    id: OpId,
    proposal: &Proposal,
    past: OpSet,
) -> Result<Node, Refusal> {
    let depth = graph.depth_below(&proposal.parents);
    match facts(graph, state, id, depth, proposal) {
        Ok((facts, grant)) => Ok(Node { facts, grant, past }),
        Err(why) => Err(Refusal::Invalid { op: id, why }),
    }
}

/// Returns the op's facts and the number of its author's grant.
fn facts(
    graph: &Graph,
    state: &Resolution,
    id: OpId,
    depth: u32,
    proposal: &Proposal,
) -> Result<(Facts, usize), Invalid> {
    let &Proposal { author, device, action, .. } = proposal;
    let rank = state.role(author);
    let own_device = matches!(action, OpAction::RevokeDevice { user, .. } if user == author);

    // 1
    if device.is_some_and(|device| state.is_revoked(author, device)) {
        return Err(Invalid::DeviceRevoked);
    }
    // 2
    if rank < Role::Admin {
        return Err(Invalid::Rank { rank });
    }
    let grant = state.winner(author).expect("a role above None has a winner");
    let strength = graph.strength(rank, grant, author);
    match action {
        // 3
        OpAction::SetRole { user, role } => {
            let old_role = state.role(user);
            if user == author && role >= rank {
                return Err(Invalid::SelfRaise);
            }
            if user != author && (rank < old_role || rank < role) {
                return Err(Invalid::AboveAuthor { rank, target: old_role.max(role) });
            }
            if user != author && old_role == Role::Founder {
                let other = state.winner(user).expect("a founder has a winner");
                if strength >= graph.strength(old_role, other, user) {
                    return Err(Invalid::NotSenior);
                }
            }
            if role == old_role {
                // Only a stronger re-assertion, or a junior could reset a senior's seniority with an op that
                // changes nothing.
                let confirms = |winner| winner != 0 && strength < graph.node(winner).facts.strength;
                if role >= Role::Admin || !state.winner(user).is_some_and(confirms) {
                    return Err(Invalid::Unchanged { role });
                }
            }
        }
        // 4
        OpAction::RevokeDevice { user, .. } => {
            if own_device && device.is_some() {
                return Err(Invalid::OwnDevice);
            }
            let target = state.role(user);
            if !own_device && rank < target {
                return Err(Invalid::AboveAuthor { rank, target });
            }
        }
        OpAction::Other => {}
    }
    let class = match action {
        OpAction::RevokeDevice { .. } if own_device => Class::OwnDevice,
        OpAction::SetRole { user, .. } if user == author => Class::SelfLowering,
        _ => Class::Rest,
    };
    let old_role = action.target().map_or(Role::None, |user| state.role(user));
    // A lowering from above cannot be contested, nor can one of oneself.
    let contestable = match action {
        OpAction::SetRole { user, role } if user != author && role < old_role && rank == old_role => {
            state.winner(user).is_some_and(|other| graph.strength(old_role, other, user) < strength)
        }
        _ => false,
    };
    Ok((Facts { id, author, device, action, old_role, contestable, depth, strength, class }, grant))
}
