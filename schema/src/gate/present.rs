//! Presents: the ops by which a peer shows that it is a member, and what is believed of them (authority 3.9).
//!
//! A peer that knows the group's id may present, also a former member with a fresh key and with ops that are
//! valid by a past of their choice. So a stranger's ops are judged apart, on a copy of the ledger; and a copy
//! is made only where a member in charge here has signed that the stranger is admitted. Ops by which the peer
//! is no member leave no trace.
//!
//! Of two Admins who remove each other while disconnected the senior stays, whichever of them is met first
//! (authority 4.2, 1). So a removed user may show a few ops too: if they were a member with these, they are.

use std::collections::{BTreeMap, BTreeSet};

use super::access::Access;
use super::delta::LedgerDelta;
use super::group::{Group, Groups, op_id};
use super::input::Presented;
use super::links::Links;
use super::record::StoredRecord;
use super::sessions::Pages;
use super::{Gate, LinkId, Step};
use crate::codec;
use crate::ledger::manifest::{Fetch, page_hash, root};
use crate::ledger::{Body, Ledger, ManifestRef, Op, Role};
use crate::limits::{
    CONTESTING_OPS_MAX, PRESENT_BYTES_MAX, PRESENT_MANIFESTS_BYTES_MAX, PRESENTED_MAX,
    PRESENTS_WITHOUT_EFFECT_MAX,
};
use crate::session::ledger::ManifestStore;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::link::LinkFrame;
use crate::{DeviceId, GroupId, OpId, UserId};

/// The user and device that present ops.
#[derive(Clone, Copy)]
struct Presenter {
    user: UserId,
    device: DeviceId,
}

/// The judgement of presented ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// They make the peer a member.
    Member,
    /// They do not.
    Stranger {
        /// Ops that no honest device shows.
        faults: usize,
    },
}

impl Gate {
    pub(super) fn on_present(&mut self, step: &mut Step, link: LinkId, id: GroupId, presented: Presented) {
        if self.damaged.contains(&id) {
            return; // its ledger is damaged; it is no offer
        }
        let Presented { ops, manifests } = presented;
        let is_known = |group: &&Group| group.is_wanted || !group.ledger.is_empty();
        let Some(group) = self.groups.get(&id).filter(is_known) else {
            return self.on_offer(step, link, id, ops);
        };
        let presenter = self.links.presenter(step, link, id, group);
        let Some(presenter) = presenter.filter(|_| group.is_wanted) else { return };
        let manifests = named_manifests(&ops, manifests);
        match group.judge(step, presenter, &ops, &manifests) {
            Verdict::Member => {
                self.store_manifests(step, id, manifests);
                let outcome = self.admit(step, id, LedgerDelta::of_ops(ops), Some(link));
                self.links.score(step, link, outcome.faults);
            }
            Verdict::Stranger { faults } => {
                self.links.links.get_mut(&link).into_iter().for_each(|state| state.idle_presents += 1);
                self.links.score(step, link, faults);
            }
        }
    }

    /// Stores manifests that came with ops which are about to be admitted.
    fn store_manifests(&mut self, step: &mut Step, id: GroupId, manifests: Manifests) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut records = Vec::new();
        for (manifest, pages) in manifests {
            let list: Vec<[u8; 32]> = pages.iter().map(|page| page_hash(page)).collect();
            let stored = list.iter().zip(pages);
            records.extend(stored.map(|(hash, bytes)| StoredRecord::ManifestPage { hash: *hash, bytes }));
            records.push(StoredRecord::ManifestList { root: manifest.root, pages: list });
            group.attach(manifest);
        }
        step.outbox.store(id, records);
    }
}

impl Links {
    /// The user and device that present ops, if these are examined: within the bounds of a link, seldom for a
    /// removed user, and never for a revoked device.
    fn presenter(&mut self, step: &Step, link: LinkId, id: GroupId, group: &Group) -> Option<Presenter> {
        let state = self.links.get_mut(&link)?;
        state.presents += 1;
        let roster = group.ledger.roster();
        let (user, device) = (state.peer.user, state.peer.device);
        if roster.is_device_revoked(user, device)
            || state.presents > PRESENTED_MAX
            || state.idle_presents >= PRESENTS_WITHOUT_EFFECT_MAX
            || roster.was_removed(user) && !self.contests.try_begin(id, user, step.now.instant)
        {
            return None;
        }
        Some(Presenter { user, device })
    }

    /// Presents our ops to a peer that does not announce a group which admits both sides.
    pub(super) fn present(&mut self, step: &mut Step, link: LinkId, id: GroupId, groups: &Groups) {
        let Some(state) = self.links.get_mut(&link).filter(|state| state.has_greeted) else { return };
        if state.open.contains_key(&id) {
            return;
        }
        let Some(group) = groups.get(&id) else { return };
        let access = state.access(step, id, group);
        let Some(announced) = state.ours.iter_mut().find(|announced| announced.group == Some(id)) else {
            return;
        };
        if access < Access::Documents || announced.is_presented {
            return;
        }
        announced.is_presented = true;
        let mut bytes = 0;
        let fits = |envelope: &&Envelope| {
            bytes += envelope.payload.len() + 80;
            bytes < PRESENT_BYTES_MAX
        };
        let ops: Vec<_> = group.ledger.envelopes().take_while(fits).cloned().collect();
        let pages = Pages { group: id, outbox: &step.outbox, lookup: step.lookup };
        let manifests = group.manifests_to_present(ops.len(), pages);
        step.outbox.send(link, LinkFrame::Present { group: id, ops, manifests });
    }
}

/// Manifests that a peer brought along, each checked as a whole, with their pages.
type Manifests = BTreeMap<ManifestRef, Vec<Vec<u8>>>;

/// Those of some manifests that the ops name.
fn named_manifests(ops: &[Envelope], manifests: Vec<Vec<Vec<u8>>>) -> Manifests {
    let mut by_root: BTreeMap<[u8; 32], Vec<Vec<u8>>> = BTreeMap::new();
    for pages in manifests {
        let list: Vec<[u8; 32]> = pages.iter().map(|page| page_hash(page)).collect();
        by_root.insert(root(&list), pages);
    }
    let mut named = Manifests::new();
    if by_root.is_empty() {
        return named;
    }
    for envelope in ops {
        let op = codec::decode::<Op>(&envelope.payload, Op::BYTES_MAX).ok();
        let Some(manifest) = op.and_then(|op| op.manifest().copied()) else { continue };
        if let Some(pages) = by_root.get(&manifest.root)
            && is_whole(manifest, pages)
        {
            named.insert(manifest, pages.clone());
        }
    }
    named
}

fn is_whole(manifest: ManifestRef, pages: &[Vec<u8>]) -> bool {
    let mut fetch = Fetch::new(manifest);
    let listed = fetch.list(pages.iter().map(|page| page_hash(page)).collect());
    let are_pages = pages.iter().all(|page| fetch.page(page) == Ok(true));
    listed == Ok(true) && are_pages && fetch.is_complete() == Ok(true)
}

impl Group {
    /// The manifests that the first `ops` ops name, the newest first, as far as they are small.
    fn manifests_to_present(&self, ops: usize, mut pages: Pages<'_>) -> Vec<Vec<Vec<u8>>> {
        let (mut manifests, mut bytes) = (Vec::new(), 0);
        let ids: Vec<OpId> = self.ledger.ids().take(ops).collect();
        for op in ids.iter().rev().filter_map(|id| self.ledger.op(*id)) {
            let Some(manifest) = op.record().manifest() else { continue };
            let room = PRESENT_MANIFESTS_BYTES_MAX - bytes;
            let Some(pages) = pages_within(&mut pages, manifest, room) else { break };
            bytes += pages.iter().map(Vec::len).sum::<usize>();
            manifests.push(pages);
        }
        manifests
    }

    /// Judges whether the presenter is a member, if need be by these ops.
    fn judge(&self, step: &Step, presenter: Presenter, ops: &[Envelope], manifests: &Manifests) -> Verdict {
        let Presenter { user, device } = presenter;
        if self.ledger.roster().may_read(user, device) {
            return Verdict::Member;
        }
        let bytes: usize = ops.iter().map(|envelope| envelope.payload.len()).sum();
        if bytes > PRESENT_BYTES_MAX {
            return Verdict::Stranger { faults: 0 };
        }
        let is_plausible = match self.ledger.roster().was_removed(user) {
            true => contests_removal(&self.ledger, user, ops),
            false => is_admitted(&self.ledger, user, ops),
        };
        match is_plausible {
            Err(faults) => return Verdict::Stranger { faults },
            Ok(false) => return Verdict::Stranger { faults: 0 },
            Ok(true) => {}
        }
        let mut ledger = self.ledger.clone();
        for envelope in ops {
            // A refused op is refused again, and scored, when the others are admitted.
            let has = |manifest: &ManifestRef| manifests.contains_key(manifest) || self.holds(step, manifest);
            let _ = ledger.admit_with(envelope.clone(), has);
        }
        match ledger.roster().may_read(user, device) {
            true => Verdict::Member,
            false => Verdict::Stranger { faults: 0 },
        }
    }
}

/// The pages of a manifest; none of one that is larger than `bytes_max`, or not whole here.
fn pages_within(pages: &mut Pages<'_>, manifest: &ManifestRef, bytes_max: usize) -> Option<Vec<Vec<u8>>> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    let Ok(list) = pages.list(&manifest.root);
    for hash in list? {
        let Ok(page) = pages.page(&hash);
        let page = page?;
        bytes += page.len();
        if bytes > bytes_max {
            return None;
        }
        all.push(page);
    }
    Some(all)
}

/// Returns true if a removed user shows ops about members that they signed and that are not here: a few at
/// most, so that examining them costs little. The error counts faults.
fn contests_removal(ledger: &Ledger, user: UserId, ops: &[Envelope]) -> Result<bool, usize> {
    let is_new = |envelope: &&Envelope| !ledger.contains(op_id(envelope));
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

/// Returns true if a member in charge here, or one that these put in charge, has signed that `user` is
/// admitted; the error counts ops that are not by their author. It costs a hash for each op that is here, and
/// a signature for each op of a member in charge that is not: a stranger without such ops costs next to
/// nothing.
fn is_admitted(ledger: &Ledger, user: UserId, ops: &[Envelope]) -> Result<bool, usize> {
    let now = ledger.roster().members().filter(|(_, member)| member.role() >= Role::Admin);
    let mut in_charge: BTreeSet<UserId> = now.map(|(user, _)| user).collect();
    let mut is_admitted = false;
    for envelope in ops {
        let Ok(op) = codec::decode::<Op>(&envelope.payload, Op::BYTES_MAX) else { return Err(1) };
        let id = op_id(envelope);
        if ledger.contains(id) {
            continue;
        }
        match op.body {
            // Its hash is the group's id.
            Body::Create { ref founders, .. } if id.0 == ledger.group().0 => {
                in_charge.extend(founders);
                is_admitted |= founders.contains(&user);
            }
            Body::SetRole { user: target, role, .. } if in_charge.contains(&op.author) => {
                if Signed::<Op>::verify(envelope.clone()).is_err() {
                    return Err(1);
                }
                is_admitted |= target == user && role > Role::None;
                if role >= Role::Admin {
                    in_charge.insert(target);
                }
            }
            Body::Create { .. }
            | Body::SetRole { .. }
            | Body::RevokeDevice { .. }
            | Body::Amnesty { .. }
            | Body::OpenInvite { .. }
            | Body::CloseInvite { .. }
            | Body::SetMeta { .. } => {}
        }
    }
    Ok(is_admitted)
}
