//! What a peer shows for itself: ops that say that it is a member. Who is none by them leaves no trace (AUTHORITY 3.9;
//! stepped by `membership`).
//!
//! Anybody who knows the group's id may present, whoever was a member once among them, with a fresh key and with ops that
//! are valid by the past that they chose. So a stranger's ops are judged apart first, on a copy of the ledger; and a copy
//! is made only where somebody who is in charge here has signed that the stranger is let in.
//!
//! Of two Admins who remove each other apart the senior stays, whichever of the two is met first (AUTHORITY 4.2, 1). So
//! also who was removed may show a few ops of theirs: if they were a member with these, they are.

use std::collections::{BTreeMap, BTreeSet};

use schema::id::hash;
use schema::ledger::manifest::{Fetch, page_hash, root};
use schema::ledger::{Body, Ledger, ManifestRef, Op, Role};
use schema::limits::{
    CONTESTED_EVERY, CONTESTING_OPS_MAX, PRESENT_BYTES_MAX, PRESENT_MANIFESTS_BYTES_MAX, PRESENTED_MAX,
    PRESENTS_WITHOUT_EFFECT_MAX,
};
use schema::session::ledger::ManifestStore;
use schema::signed::{Envelope, Record, Signed};
use schema::{DeviceId, GroupId, OpId, UserId, codec};

use super::admit::LedgerDelta;
use super::links::Links;
use super::{Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::keys;
use crate::node::store::{Batch, StoreError};

/// What somebody shows for themselves.
#[derive(Debug)]
pub(crate) struct Presented {
    /// In causal order.
    pub(crate) ops: Vec<Envelope>,
    /// The pages of manifests that they name.
    pub(crate) manifests: Vec<Vec<Vec<u8>>>,
}

/// What presented ops say of who presents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// They are a member by them.
    Member,
    /// They are none; so many of the ops no honest device would show.
    Nobody { invalid: usize },
}

impl Links {
    /// Who shows ops for themselves, where they are looked at: not without end, from who was removed seldom, and not from
    /// a device that is shut out.
    fn presenter(&mut self, link: LinkId, group: GroupId, entry: &Entry) -> Option<(UserId, DeviceId)> {
        let now = self.arguments.clock.instant();
        let state = self.links.get_mut(&link)?;
        state.presented += 1;
        let roster = entry.ledger.roster();
        let (user, device) = (state.link.peer().user, state.link.peer().device);
        if roster.is_device_revoked(user, device) {
            tracing::debug!(group = %group.short(), "a device that is shut out presents itself");
            return None;
        }
        if state.presented > PRESENTED_MAX || state.presented_in_vain >= PRESENTS_WITHOUT_EFFECT_MAX {
            return None;
        }
        if roster.was_removed(user) {
            let last = self.contested.get(&(group, user));
            if last.is_some_and(|last| now.saturating_sub(*last) < CONTESTED_EVERY) {
                return None;
            }
            self.contested.insert((group, user), now);
        }
        Some((user, device))
    }

    /// What a peer showed for itself led to nothing.
    fn presented_in_vain(&mut self, link: LinkId) {
        self.links.get_mut(&link).into_iter().for_each(|state| state.presented_in_vain += 1);
    }
}

impl State {
    pub(super) async fn present(
        &mut self,
        link: LinkId,
        group: GroupId,
        Presented { ops, manifests }: Presented,
    ) -> Result<(), StoreError> {
        let is_known = |entry: &&Entry| entry.wanted || !entry.ledger.is_empty();
        let Some(entry) = self.entries.get(&group).filter(is_known) else {
            self.offered(link, group, ops);
            return Ok(());
        };
        let Some((user, device)) = self.links.presenter(link, group, entry).filter(|_| entry.wanted) else {
            return Ok(());
        };
        let brought = brought(&ops, manifests);
        match entry.shown(user, device, &ops, &brought) {
            Shown::Member => {
                self.keep_manifests(group, brought).await?;
                let verdict =
                    self.admit(group, LedgerDelta { ops, ..LedgerDelta::default() }, Some(link)).await?;
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

impl State {
    /// Keeps the manifests that came with ops which are about to be taken in.
    async fn keep_manifests(&mut self, group: GroupId, brought: Brought) -> Result<(), StoreError> {
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(()) };
        let mut batch = Batch::default();
        for (manifest, pages) in &brought {
            let list: Vec<[u8; 32]> = pages.iter().map(|page| page_hash(page)).collect();
            list.iter().zip(pages).for_each(|(hash, page)| batch.put(keys::page(hash), page.as_slice()));
            batch.put(keys::manifest(&manifest.root), codec::encode(&list));
        }
        if !batch.is_empty() {
            self.arguments.store.write(&entry.space, batch).await?;
            brought.into_keys().for_each(|manifest| entry.attach(manifest));
        }
        Ok(())
    }
}

/// Manifests that a peer brought along, each checked as a whole: their pages.
type Brought = BTreeMap<ManifestRef, Vec<Vec<u8>>>;

/// Those of the manifests that the ops name.
fn brought(ops: &[Envelope], manifests: Vec<Vec<Vec<u8>>>) -> Brought {
    let mut by_root: BTreeMap<[u8; 32], Vec<Vec<u8>>> = BTreeMap::new();
    for pages in manifests {
        let list: Vec<[u8; 32]> = pages.iter().map(|page| page_hash(page)).collect();
        by_root.insert(root(&list), pages);
    }
    let mut brought = Brought::new();
    if by_root.is_empty() {
        return brought;
    }
    for envelope in ops {
        let op = codec::decode::<Op>(&envelope.payload, Op::BYTES_MAX).ok();
        let Some(manifest) = op.and_then(|op| op.manifest().copied()) else { continue };
        if let Some(pages) = by_root.get(&manifest.root)
            && is_whole(manifest, pages)
        {
            brought.insert(manifest, pages.clone());
        }
    }
    brought
}

fn is_whole(manifest: ManifestRef, pages: &[Vec<u8>]) -> bool {
    let mut fetch = Fetch::new(manifest);
    let listed = fetch.list(pages.iter().map(|page| page_hash(page)).collect());
    let are_pages = pages.iter().all(|page| fetch.page(page) == Ok(true));
    listed == Ok(true) && are_pages && fetch.is_complete() == Ok(true)
}

impl Entry {
    /// The manifests that the first so many ops name, the newest first, as far as they are small.
    pub(super) fn manifests_to_present(&self, ops: usize) -> Vec<Vec<Vec<u8>>> {
        let (mut manifests, mut bytes) = (Vec::new(), 0);
        let ids: Vec<OpId> = self.ledger.ids().take(ops).collect();
        for op in ids.iter().rev().filter_map(|id| self.ledger.op(*id)) {
            let Some(manifest) = op.record().manifest() else { continue };
            let Some(pages) = self.pages_of(manifest, PRESENT_MANIFESTS_BYTES_MAX - bytes) else { break };
            bytes += pages.iter().map(Vec::len).sum::<usize>();
            manifests.push(pages);
        }
        manifests
    }

    /// The pages of a manifest; none of one that is larger, or cannot be read.
    fn pages_of(&self, manifest: &ManifestRef, bytes_max: usize) -> Option<Vec<Vec<u8>>> {
        let mut shelf = self.shelf();
        let (mut pages, mut bytes) = (Vec::new(), 0);
        for hash in shelf.list(&manifest.root).ok()?? {
            let page = shelf.page(&hash).ok()??;
            bytes += page.len();
            if bytes > bytes_max {
                return None;
            }
            pages.push(page);
        }
        Some(pages)
    }

    /// Whether `user`, with `device`, is a member, if need be by these ops.
    fn shown(&self, user: UserId, device: DeviceId, ops: &[Envelope], brought: &Brought) -> Shown {
        if self.ledger.roster().may_read(user, device) {
            return Shown::Member;
        }
        let bytes: usize = ops.iter().map(|envelope| envelope.payload.len()).sum();
        if bytes > PRESENT_BYTES_MAX {
            return Shown::Nobody { invalid: 0 };
        }
        let shown = match self.ledger.roster().was_removed(user) {
            true => contests(&self.ledger, user, ops),
            false => is_let_in(&self.ledger, user, ops),
        };
        match shown {
            Err(invalid) => return Shown::Nobody { invalid },
            Ok(false) => return Shown::Nobody { invalid: 0 },
            Ok(true) => {}
        }
        let mut ledger = self.ledger.clone();
        for envelope in ops {
            // What is refused is refused, and scored, when the others are taken.
            let has =
                |manifest: &ManifestRef| self.attached.contains(manifest) || brought.contains_key(manifest);
            let _ = ledger.admit_with(envelope.clone(), has);
        }
        if ledger.roster().may_read(user, device) { Shown::Member } else { Shown::Nobody { invalid: 0 } }
    }
}

/// Whether somebody who was removed shows ops about members which they signed and which are not here: a few at most, so
/// that looking at them costs little.
fn contests(ledger: &Ledger, user: UserId, ops: &[Envelope]) -> Result<bool, usize> {
    let is_new = |envelope: &&Envelope| !ledger.contains(OpId(hash(Op::KIND, &[&envelope.payload])));
    let new: Vec<&Envelope> = ops.iter().filter(is_new).take(CONTESTING_OPS_MAX + 1).collect();
    if new.len() > CONTESTING_OPS_MAX {
        return Ok(false);
    }
    let mut contests = false;
    for envelope in new {
        let Ok(op) = codec::decode::<Op>(&envelope.payload, Op::BYTES_MAX) else { return Err(1) };
        if op.author == user && matches!(op.body, Body::SetRole { .. }) {
            if Signed::<Op>::verify(envelope.clone()).is_err() {
                return Err(1);
            }
            contests = true;
        }
    }
    Ok(contests)
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
