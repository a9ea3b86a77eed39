//! What a peer shows for itself: ops that say that it is a member. Who is none by them leaves no trace (AUTHORITY 3.9;
//! stepped by `membership`).
//!
//! Anybody who knows the group's id may present, whoever was a member once among them, with a fresh key and with ops that
//! are valid by the past that they chose. So a stranger's ops are judged apart first, on a copy of the ledger; and a copy
//! is made only where somebody who is in charge here has signed that the stranger is let in.

use std::collections::BTreeSet;

use schema::id::hash;
use schema::ledger::{Body, Ledger, Op, Role};
use schema::signed::{Envelope, Record, Signed};
use schema::{DeviceId, GroupId, OpId, UserId, codec};

use super::admit::Gained;
use super::links::PRESENT_BYTES_MAX;
use super::{Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::store::StoreError;

/// What presented ops say of who presents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// They are a member by them.
    Member,
    /// They are none; so many of the ops no honest device would show.
    Nobody { invalid: usize },
}

impl State {
    pub(super) async fn present(
        &mut self,
        link: LinkId,
        group: GroupId,
        ops: Vec<Envelope>,
    ) -> Result<(), StoreError> {
        // Nobody is asked for a manifest before the group is open.
        let is_known = |entry: &&Entry| entry.wanted || !entry.ledger.is_empty();
        let Some(entry) = self.entries.get(&group).filter(is_known) else {
            self.offered(link, group, ops);
            return Ok(());
        };
        let Some((user, device)) = self.links.presenter(link, group, entry).filter(|_| entry.wanted) else {
            return Ok(());
        };
        match entry.shown(user, device, &ops) {
            Shown::Member => {
                let verdict = self.admit(group, Gained { ops, ..Gained::default() }, Some(link)).await?;
                self.links.score(link, verdict.invalid);
            }
            Shown::Nobody { invalid } => {
                tracing::debug!(group = %group.short(), user = %user.short(), "who presents themselves is no member");
                self.links.presented_in_vain(link);
                self.links.score(link, invalid);
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Whether `user`, with `device`, is a member, if need be by these ops.
    fn shown(&self, user: UserId, device: DeviceId, ops: &[Envelope]) -> Shown {
        if self.ledger.roster().may_read(user, device) {
            return Shown::Member;
        }
        let bytes: usize = ops.iter().map(|envelope| envelope.payload.len()).sum();
        if bytes > PRESENT_BYTES_MAX {
            return Shown::Nobody { invalid: 0 };
        }
        match is_let_in(&self.ledger, user, ops) {
            Err(invalid) => return Shown::Nobody { invalid },
            Ok(false) => return Shown::Nobody { invalid: 0 },
            Ok(true) => {}
        }
        let mut ledger = self.ledger.clone();
        for envelope in ops {
            // What is refused is refused, and scored, when the others are taken.
            let _ = ledger.admit_with(envelope.clone(), |manifest| self.attached.contains(manifest));
        }
        if ledger.roster().may_read(user, device) { Shown::Member } else { Shown::Nobody { invalid: 0 } }
    }
}

/// Whether whoever is in charge here, or somebody whom they put in charge, has signed that `user` is let in; an op that
/// is not by whom it names is an error. That costs a hash for each op that is here, and a signature for each of those in
/// charge that is not: who has none of those costs next to nothing.
fn is_let_in(ledger: &Ledger, user: UserId, ops: &[Envelope]) -> Result<bool, usize> {
    let now = ledger.roster().members().filter(|(_, member)| member.role() >= Role::Admin);
    let mut in_charge: BTreeSet<UserId> = now.map(|(user, _)| user).collect();
    let mut is_let_in = false;
    for envelope in ops {
        let Ok(op) = codec::decode::<Op>(&envelope.payload, Op::BYTES_MAX) else { return Err(1) };
        let id = OpId(hash(Op::KIND, &[&envelope.payload]));
        if ledger.contains(id) {
            continue;
        }
        match op.body {
            // Its hash is the group's id.
            Body::Create { ref founders, .. } if id.0 == ledger.group().0 => {
                in_charge.extend(founders);
                is_let_in |= founders.contains(&user);
            }
            Body::SetRole { user: target, role, .. } if in_charge.contains(&op.author) => {
                if Signed::<Op>::verify(envelope.clone()).is_err() {
                    return Err(1);
                }
                is_let_in |= target == user && role > Role::None;
                if role >= Role::Admin {
                    in_charge.insert(target);
                }
            }
            _ => {}
        }
    }
    Ok(is_let_in)
}
