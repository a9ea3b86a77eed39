//! Ledger sessions: steps them, and does what they ask for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;

use super::access::Access;
use super::delta::LedgerDelta;
use super::effect::{Effect, Warning};
use super::group::{Group, Groups};
use super::links::{Links, Open};
use super::outbox::Outbox;
use super::record::StoredRecord;
use super::{Gate, LinkId, Lookup, Step};
use crate::GroupId;
use crate::ledger::{Ledger, ManifestRef};
use crate::session::ledger::{AdmitOutcome, LedgerEffect, LedgerSession, ManifestStore};
use crate::session::{SessionFault, StepError};
use crate::time::Moment;
use crate::wire::ledger::LedgerFrame;
use crate::wire::link::ByeReason;

/// The reads of one step of a session.
struct Reading<'r> {
    now: Moment,
    ledger: &'r Ledger,
    pages: Pages<'r>,
}

/// The effects of a session's step; it reads through [`Pages`], which never fail.
type Stepped = Result<Vec<LedgerEffect>, StepError<Infallible>>;

impl Gate {
    pub(super) fn on_ledger(&mut self, step: &mut Step, link: LinkId, group: GroupId, frame: LedgerFrame) {
        let state = self.links.links.get(&link).zip(self.groups.get(&group));
        let access = state.map_or(Access::None, |(state, of)| state.access(step, group, of));
        match frame {
            LedgerFrame::WantPages { root: name } | LedgerFrame::WantPage { page: name }
                if access < Access::Ledger =>
            {
                let lacking = LedgerEffect::Send(LedgerFrame::Lacking { name });
                self.links.perform(step, link, group, lacking, &self.groups);
            }
            frame => self.step_session(step, link, group, |session, reading| {
                session.handle_frame(reading.now, frame, reading.ledger, &mut reading.pages)
            }),
        }
    }

    pub(super) fn on_resume(&mut self, step: &mut Step, link: LinkId, group: GroupId) {
        self.step_session(step, link, group, |session, reading| {
            session.handle_resume(reading.now, reading.ledger, &mut reading.pages)
        });
    }

    /// Steps a ledger session and does what it asks for.
    fn step_session(
        &mut self,
        step: &mut Step,
        link: LinkId,
        id: GroupId,
        first: impl FnOnce(&mut LedgerSession, &mut Reading<'_>) -> Stepped,
    ) {
        let mut effects = VecDeque::from(self.links.step(step, link, id, &self.groups, first));
        while let Some(effect) = effects.pop_front() {
            match effect {
                LedgerEffect::Admit { ops, certificates, revocations, records, last } => {
                    let delta = LedgerDelta { ops, certificates, revocations, records };
                    let outcome = self.admit(step, id, delta, Some(link));
                    self.links.score(step, link, outcome.faults);
                    let pending = outcome.pending;
                    let next = self.links.step(step, link, id, &self.groups, |session, reading| {
                        let outcome = AdmitOutcome { last, pending };
                        session.handle_admitted(reading.now, outcome, reading.ledger, &mut reading.pages)
                    });
                    effects.extend(next);
                }
                LedgerEffect::StoreList { root, pages } => {
                    step.outbox.store(id, vec![StoredRecord::ManifestList { root, pages }]);
                }
                LedgerEffect::StorePage { page: hash, bytes } => {
                    step.outbox.store(id, vec![StoredRecord::ManifestPage { hash, bytes }]);
                }
                LedgerEffect::Attach { manifest } => {
                    self.groups.get_mut(&id).into_iter().for_each(|group| group.attach(manifest));
                }
                LedgerEffect::ScheduleResume => step.outbox.push(Effect::Resume { link, group: id }),
                LedgerEffect::Send(_) | LedgerEffect::OpenDocuments { .. } => {
                    self.links.perform(step, link, id, effect, &self.groups);
                }
            }
        }
    }

    /// Returns true if pages of a group's manifests are fetched over some link.
    pub fn is_fetching(&self, group: GroupId) -> bool {
        let mut open = self.links.links.values().filter_map(|state| state.open.get(&group));
        open.any(|open| open.session.is_fetching())
    }

    /// The time for [`Input::Wake`](super::Input::Wake), by the monotonic clock: a peer will have owed an
    /// answer for too long.
    pub fn wake_at(&self) -> Option<Moment> {
        let open = self.links.links.values().flat_map(|state| state.open.values());
        open.filter_map(|open| open.session.wake_at()).min()
    }
}

impl Links {
    /// Steps a ledger session with the ledger that the peer sees; ends the link of a peer at fault.
    fn step(
        &mut self,
        step: &mut Step,
        link: LinkId,
        id: GroupId,
        groups: &Groups,
        act: impl FnOnce(&mut LedgerSession, &mut Reading<'_>) -> Stepped,
    ) -> Vec<LedgerEffect> {
        let (Some(state), Some(group)) = (self.links.get_mut(&link), groups.get(&id)) else {
            return Vec::new();
        };
        let ledger = group.visible_ledger(state.access(step, id, group));
        let Some(open) = state.open.get_mut(&id) else { return Vec::new() };
        let pages = Pages { group: id, outbox: &step.outbox, lookup: step.lookup };
        match act(&mut open.session, &mut Reading { now: step.now.moment(), ledger: &ledger, pages }) {
            Ok(effects) => effects,
            Err(StepError::Fault(fault)) => {
                self.on_fault(step, link, id, fault);
                Vec::new()
            }
        }
    }

    /// Closes the links of peers that owe an answer for too long.
    pub(super) fn on_wake(&mut self, step: &mut Step) {
        let now = step.now.moment();
        let stalled = self.links.iter().flat_map(|(link, state)| {
            let fault =
                |(id, open): (&GroupId, &Open)| Some((*link, *id, open.session.handle_wake(now).err()?));
            state.open.iter().filter_map(fault)
        });
        for (link, id, fault) in stalled.collect::<Vec<_>>() {
            self.on_fault(step, link, id, fault);
        }
    }

    fn on_fault(&mut self, step: &mut Step, link: LinkId, id: GroupId, fault: SessionFault) {
        if self.links.contains_key(&link) {
            let cause = fault.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let warning = Warning::LedgerSession { group: id, fault: format!("{fault}{cause}") };
            step.outbox.push(Effect::Warn(warning));
            self.end(step, link, ByeReason::Protocol, "a ledger session failed");
        }
    }

    /// Turns an effect of a ledger session into effects of the gate: a frame to send, or the document session
    /// to open because both ledgers agree.
    pub(super) fn perform(
        &self,
        step: &mut Step,
        link: LinkId,
        id: GroupId,
        effect: LedgerEffect,
        groups: &Groups,
    ) {
        let Some(state) = self.links.get(&link) else { return };
        let Some(channel) = state.open.get(&id).map(|open| open.channel) else { return };
        match effect {
            LedgerEffect::Send(frame) => step.outbox.push(Effect::SendLedger { channel, frame }),
            LedgerEffect::OpenDocuments { in_sync } => {
                // A group that gives the peer access later opens its sessions then.
                let has_access = |group: &Group| state.access(step, id, group) == Access::Documents;
                if groups.get(&id).is_some_and(has_access) {
                    step.outbox.push(Effect::OpenSession { channel, group: id, in_sync });
                }
            }
            _ => unreachable!("the gate itself performs the others"),
        }
    }
}

/// The pages of a group's manifests: those that are stored, and those that are about to be.
pub(super) struct Pages<'p> {
    pub(super) group: GroupId,
    pub(super) outbox: &'p Outbox,
    pub(super) lookup: &'p dyn Lookup,
}

impl Step<'_> {
    /// Returns true if the list of a manifest is stored, or about to be. Lists that no op names may be
    /// deleted, their pages with them.
    pub(super) fn has_list(&self, group: GroupId, manifest: &ManifestRef) -> bool {
        let mut pages = Pages { group, outbox: &self.outbox, lookup: self.lookup };
        let Ok(list) = pages.list(&manifest.root);
        list.is_some()
    }
}

impl ManifestStore for Pages<'_> {
    type Error = Infallible;

    fn list(&mut self, wanted: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        let unstored = self.outbox.unstored(self.group).find_map(|record| match record {
            StoredRecord::ManifestList { root, pages } if root == wanted => Some(pages.clone()),
            _ => None,
        });
        Ok(unstored.or_else(|| self.lookup.list(self.group, wanted)))
    }

    fn page(&mut self, wanted: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        let unstored = self.outbox.unstored(self.group).find_map(|record| match record {
            StoredRecord::ManifestPage { hash, bytes } if hash == wanted => Some(bytes.clone()),
            _ => None,
        });
        Ok(unstored.or_else(|| self.lookup.page(self.group, wanted)))
    }
}
