//! Ops that this user signs: the Create, drafts with their parents, merging ops. A draft that others would
//! refuse is refused here.

use std::collections::BTreeSet;

use crate::id::{GroupId, OpId, UserId};
use crate::key::SigningKey;
use crate::ledger::Role;
use crate::ledger::admit::proposal;
use crate::ledger::op::{Body, By, Op};
use crate::ledger::op_set::OpSet;
use crate::ledger::refusal::{Invalid, Refusal};
use crate::ledger::resolve::Resolution;
use crate::ledger::state::{Ledger, NAME};
use crate::ledger::validity;
use crate::limits::OP_PARENTS_MAX;
use crate::signed::{Record, Signed};

/// The key of SetMetas that only join heads.
pub const MERGE: &str = "merge";

impl Ledger {
    /// Founds a group. `founders` are one to four users, the most senior first; `author` is one of them.
    /// `nonce` is 32 random bytes.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if the founders, the name or the key do not fit.
    pub fn create(
        nonce: [u8; 32],
        founders: Vec<UserId>,
        name: &str,
        author: UserId,
        by: By,
        key: &SigningKey,
    ) -> Result<(Self, Signed<Op>), Refusal> {
        let signed = Signed::sign(create_op(nonce, founders, name, author, by), key);
        let mut ledger = Self::new(GroupId(signed.id()));
        ledger.admit(signed.envelope().clone())?;
        Ok((ledger, signed))
    }

    /// Founds a user's personal group. Its id follows from the user key, so that all devices of the user find
    /// it.
    pub fn personal(user: &SigningKey) -> (Self, Signed<Op>) {
        let id = UserId(user.public());
        Self::create([0; 32], vec![id], "", id, By::User, user).expect("one founder and an empty name fit")
    }

    /// The id of a user's personal group.
    pub fn personal_id(user: UserId) -> GroupId {
        GroupId(create_op([0; 32], vec![user], "", user, By::User).id().0)
    }

    /// The op that `author` would sign now: it builds on the newest living ops.
    ///
    /// # Errors
    /// [`Refusal`] if other devices would refuse the op, or if it would have no effect.
    pub fn draft(&self, author: UserId, by: By, body: Body) -> Result<Op, Refusal> {
        self.draft_without(&BTreeSet::new(), author, by, body)
    }

    /// The op that `author` would sign as of before `rejected`: it builds on the newest living ops that
    /// neither are among them nor build on them. So a stronger member undoes the acts of an insider after all
    /// devices have seen them (authority 3.4, W11b).
    ///
    /// # Errors
    /// As [`draft`](Self::draft).
    pub fn draft_without(
        &self,
        rejected: &BTreeSet<OpId>,
        author: UserId,
        by: By,
        body: Body,
    ) -> Result<Op, Refusal> {
        let (graph, now) = (self.resolver.graph(), self.resolver.state());
        let op = Op {
            version: 1,
            group: self.group,
            parents: self.parents_without(rejected, author, &body)?,
            author,
            by,
            body,
        };
        let id = op.id();
        let invalid = |why| Refusal::Invalid { op: id, why };
        op.signer().map_err(|cause| invalid(Invalid::Envelope(cause)))?;
        let past = graph.past_of(id, &op.parents)?;
        let resolved;
        let state = if now.is_of(&past) {
            now
        } else {
            resolved = Resolution::of(graph, past.clone());
            &resolved
        };
        let node = validity::judge(graph, state, id, &proposal(&op), past)?;
        self.check_references(&op, &node, state).map_err(invalid)?;
        let number = graph.len();
        if now.is_alive(graph, &node, number) && now.counts(graph, &node, number) {
            Ok(op)
        } else {
            Err(Refusal::NoEffect { op: id })
        }
    }

    /// The newest living ops that neither are among `rejected` nor build on them, sorted by id.
    fn parents_without(
        &self,
        rejected: &BTreeSet<OpId>,
        author: UserId,
        body: &Body,
    ) -> Result<Vec<OpId>, Refusal> {
        let (graph, now) = (self.resolver.graph(), self.resolver.state());
        let mut heads = graph.newest(self.living_without(rejected));
        let is_merge = matches!(body, Body::SetMeta { key, .. } if key == MERGE);
        if heads.len() > OP_PARENTS_MAX && !is_merge {
            return Err(Refusal::TooManyHeads { got: heads.len(), max: OP_PARENTS_MAX });
        }
        // The heads above the author's grant are kept first, then the strongest.
        let grant = now.winner(author).unwrap_or_default();
        let is_above_grant = |head: usize| head == grant || graph.node(head).past.contains(grant);
        heads.sort_by_cached_key(|head| (!is_above_grant(*head), graph.node(*head).facts.resolve_order()));
        heads.truncate(OP_PARENTS_MAX);
        let mut parents: Vec<OpId> = heads.iter().map(|head| graph.node(*head).facts.id).collect();
        parents.sort_unstable();
        Ok(parents)
    }

    /// The role of a user as of before `rejected`.
    pub fn role_without(&self, rejected: &BTreeSet<OpId>, user: UserId) -> Role {
        let graph = self.resolver.graph();
        let mut past = OpSet::default();
        for number in self.living_without(rejected) {
            past.union(&graph.node(number).past);
            past.insert(number);
        }
        Resolution::of(graph, past).role(user)
    }

    /// The living ops that neither are among `rejected` nor build on them.
    fn living_without(&self, rejected: &BTreeSet<OpId>) -> Vec<usize> {
        let (graph, now) = (self.resolver.graph(), self.resolver.state());
        let mut excluded = OpSet::default();
        rejected.iter().filter_map(|op| graph.number(*op)).for_each(|number| excluded.insert(number));
        let is_left =
            |number: &usize| !excluded.contains(*number) && !graph.node(*number).past.intersects(&excluded);
        now.alive.iter().filter(is_left).collect()
    }

    /// The merging ops that `author` signs so that the next op can name all heads; none if it can already.
    ///
    /// # Errors
    /// As [`draft`](Self::draft): a user who may not merge is refused by the rule that forbids it.
    pub fn merges(
        &self,
        rejected: &BTreeSet<OpId>,
        author: UserId,
        by: &By,
        key: &SigningKey,
    ) -> Result<Vec<Signed<Op>>, Refusal> {
        let (mut ledger, mut merges) = (self.clone(), Vec::new());
        let plain = || Body::SetMeta { key: NAME.into(), value: Vec::new() };
        while let Err(Refusal::TooManyHeads { .. }) =
            ledger.draft_without(rejected, author, by.clone(), plain())
        {
            let body = Body::SetMeta { key: MERGE.into(), value: Vec::new() };
            let merge = Signed::sign(ledger.draft_without(rejected, author, by.clone(), body)?, key);
            ledger.admit(merge.envelope().clone())?;
            merges.push(merge);
        }
        Ok(merges)
    }
}

fn create_op(nonce: [u8; 32], founders: Vec<UserId>, name: &str, author: UserId, by: By) -> Op {
    let body = Body::Create { nonce, founders, name: name.into() };
    Op { version: 1, group: GroupId([0; 32]), parents: Vec::new(), author, by, body }
}
