//! Pending ops, and the fetch of the manifests that they name, one manifest at a time (authority 3.0, 3.8).

use std::collections::{BTreeSet, VecDeque};

use super::{LedgerEffect, ManifestStore};
use crate::id::{OpId, hash};
use crate::ledger::manifest::{BadManifest, Fetch, page_hash};
use crate::ledger::{ManifestRef, Op};
use crate::limits::{
    ANSWER_TIMEOUT, MANIFEST_PAGES_IN_FLIGHT_MAX, MANIFEST_READS_MAX, ORPHAN_PAGES_BYTES_MAX,
    PENDING_OPS_BYTES_MAX, PENDING_OPS_MAX,
};
use crate::session::{SessionFault, StepError};
use crate::signed::{Envelope, Record};
use crate::time::Moment;
use crate::wire::ledger::LedgerFrame;

/// An op that cannot be admitted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOp {
    /// The op.
    pub envelope: Envelope,
    /// The manifest whose pages are missing; `None`: a parent is missing.
    pub manifest: Option<ManifestRef>,
}

/// The pending ops of one peer, and the manifest that is fetched for the first of them that names one.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    pending: VecDeque<PendingOp>,
    /// The bytes of `pending`.
    bytes: usize,
    fetch: Option<Fetch>,
    /// Bytes of pages stored for the current fetch.
    fetched_bytes: u64,
    /// Bytes of pages stored for manifests of which the peer then lacked the rest.
    wasted_bytes: u64,
    /// The manifest whose list of pages the peer owes.
    list: Option<[u8; 32]>,
    /// The pages that the peer owes, also for a fetch that was abandoned.
    pages: Vec<[u8; 32]>,
    /// The time of the peer's last reply, or of the first open request.
    since: Moment,
    /// Manifests that the peer names and lacks; they are not requested again.
    lacking: BTreeSet<ManifestRef>,
    /// The shell will call [`resume`](Self::resume).
    is_resume_scheduled: bool,
}

impl Manifests {
    /// Adds ops that cannot be admitted yet. Returns false if some are dropped and have to be pulled again.
    pub(super) fn add_pending(&mut self, pending: Vec<PendingOp>) -> bool {
        let mut is_complete = true;
        for op in pending {
            let is_hopeless = |manifest| {
                self.lacking.len() >= PENDING_OPS_MAX
                    || self.wasted_bytes > ORPHAN_PAGES_BYTES_MAX
                    || self.lacking.contains(manifest)
            };
            if op.manifest.as_ref().is_some_and(is_hopeless) {
                continue; // another peer may have it
            }
            if self.pending.len() == PENDING_OPS_MAX || self.bytes + bytes(&op) > PENDING_OPS_BYTES_MAX {
                is_complete = false;
                continue;
            }
            self.bytes += bytes(&op);
            self.pending.push_back(op);
        }
        is_complete & self.drop_useless()
    }

    /// Returns true if ops are pending and a manifest for them is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The time from which the peer has owed a list or a page for too long.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        (self.list.is_some() || !self.pages.is_empty()).then(|| self.since + ANSWER_TIMEOUT)
    }

    pub(super) fn resume(&mut self) {
        self.is_resume_scheduled = false;
    }

    /// The peer sends the list of a manifest's pages.
    pub(super) fn on_pages<E>(
        &mut self,
        now: Moment,
        root: [u8; 32],
        pages: Vec<[u8; 32]>,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<E>> {
        if self.list != Some(root) {
            return Err(SessionFault::Unexpected { what: "a list of pages that was not requested" }.into());
        }
        (self.list, self.since) = (None, now);
        let Some(fetch) = &mut self.fetch else {
            return Err(SessionFault::Unexpected { what: "a list of pages without a fetch" }.into());
        };
        match fetch.list(pages) {
            Ok(true) => {
                effects.push(LedgerEffect::StoreList { root, pages: fetch.pages().to_vec() });
                Ok(())
            }
            Ok(false) => Err(SessionFault::Unexpected { what: "a list that does not match its root" }.into()),
            Err(cause) => Err(self.bad_manifest(cause)),
        }
    }

    /// The peer sends a page.
    pub(super) fn on_page<E>(
        &mut self,
        now: Moment,
        bytes: Vec<u8>,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<E>> {
        let page = page_hash(&bytes);
        let Some(at) = self.pages.iter().position(|owed| *owed == page) else {
            return Err(SessionFault::Unexpected { what: "a page that was not requested" }.into());
        };
        self.pages.swap_remove(at);
        self.since = now;
        match self.fetch.as_mut().map_or(Ok(false), |fetch| fetch.page(&bytes)) {
            Ok(true) => {
                self.fetched_bytes += bytes.len() as u64;
                effects.push(LedgerEffect::StorePage { page, bytes });
            }
            Ok(false) => {} // of an abandoned fetch
            Err(cause) => return Err(self.bad_manifest(cause)),
        }
        Ok(())
    }

    /// The peer lacks a list or a page: ops that need it have to come from another peer.
    pub(super) fn on_lacking<E>(&mut self, now: Moment, name: [u8; 32]) -> Result<(), StepError<E>> {
        let is_list = self.list == Some(name);
        let page = self.pages.iter().position(|owed| *owed == name);
        // A page and the list may have the same name: then both requests are answered.
        if is_list {
            self.list = None;
        }
        match page {
            Some(at) => drop(self.pages.swap_remove(at)),
            None if is_list => {}
            None => {
                return Err(SessionFault::Unexpected { what: "lacking what was not requested" }.into());
            }
        }
        self.since = now;
        if let Some(fetch) = self.fetch.take_if(|fetch| is_list || fetch.pages().contains(&name)) {
            self.lacking.insert(fetch.manifest());
            self.wasted_bytes += std::mem::take(&mut self.fetched_bytes);
            let is_enough = self.wasted_bytes > ORPHAN_PAGES_BYTES_MAX;
            let is_hopeless = |manifest: &ManifestRef| is_enough || *manifest == fetch.manifest();
            self.pending.retain(|op| !op.manifest.as_ref().is_some_and(is_hopeless));
            self.drop_useless();
        }
        Ok(())
    }

    /// Requests missing lists and pages; once a manifest is complete, has it attached and the pending ops
    /// admitted.
    pub(super) fn advance<S: ManifestStore>(
        &mut self,
        now: Moment,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<S::Error>> {
        let Some(manifest) = self.pending.iter().find_map(|op| op.manifest) else { return Ok(()) };
        let mut fetch = match self.fetch.take() {
            Some(fetch) => fetch,
            None => self.begin_fetch(manifest, store, effects)?,
        };
        if fetch.is_listed() {
            self.request_pages(now, &mut fetch, store, effects)?;
        } else if self.list.is_none() {
            self.start_timer(now);
            self.list = Some(manifest.root);
            effects.push(LedgerEffect::Send(LedgerFrame::WantPages { root: manifest.root }));
        }
        let is_complete = fetch.is_complete();
        self.fetch = Some(fetch);
        if is_complete.map_err(|cause| self.bad_manifest(cause))? {
            self.fetch = None;
            (self.bytes, self.fetched_bytes) = (0, 0);
            let ops = self.pending.drain(..).map(|op| op.envelope).collect();
            effects.push(LedgerEffect::Attach { manifest });
            effects.push(LedgerEffect::Admit {
                ops,
                certificates: Vec::new(),
                revocations: Vec::new(),
                records: Vec::new(),
                last: false,
            });
        }
        Ok(())
    }

    fn begin_fetch<S: ManifestStore>(
        &mut self,
        manifest: ManifestRef,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<Fetch, StepError<S::Error>> {
        let mut fetch = Fetch::new(manifest);
        // The empty list need not be requested.
        if fetch.list(Vec::new()) == Ok(true) {
            effects.push(LedgerEffect::StoreList { root: manifest.root, pages: Vec::new() });
        } else if let Some(pages) = store.list(&manifest.root).map_err(StepError::Local)? {
            // A stored list that does not match is damaged: the peer's replaces it.
            let _ = fetch.list(pages);
        }
        Ok(fetch)
    }

    /// Uses stored pages, and requests the others.
    fn request_pages<S: ManifestStore>(
        &mut self,
        now: Moment,
        fetch: &mut Fetch,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<S::Error>> {
        let mut reads = 0;
        while !self.is_resume_scheduled && self.pages.len() < MANIFEST_PAGES_IN_FLIGHT_MAX {
            if reads == MANIFEST_READS_MAX {
                self.is_resume_scheduled = true;
                effects.push(LedgerEffect::ScheduleResume);
                break;
            }
            let Some(page) = fetch.ask() else { break };
            if self.pages.contains(&page) {
                continue; // requested already, for an abandoned fetch
            }
            reads += 1;
            let stored = store.page(&page).map_err(StepError::Local)?;
            let stored = stored.filter(|bytes| page_hash(bytes) == page);
            let is_used = stored.map_or(Ok(false), |bytes| fetch.page(&bytes));
            if is_used.map_err(|cause| self.bad_manifest(cause))? {
                continue;
            }
            self.start_timer(now);
            self.pages.push(page);
            effects.push(LedgerEffect::Send(LedgerFrame::WantPage { page }));
        }
        Ok(())
    }

    /// Starts the time in which the peer must reply, at the first of the open requests.
    fn start_timer(&mut self, now: Moment) {
        if self.wake_at().is_none() {
            self.since = now;
        }
    }

    /// Drops all pending ops when none of them waits for a manifest, since then no reply is expected. Returns
    /// false if ops are dropped.
    fn drop_useless(&mut self) -> bool {
        let is_useful = self.pending.is_empty() || self.pending.iter().any(|op| op.manifest.is_some());
        if !is_useful {
            self.pending.clear();
        }
        self.bytes = self.pending.iter().map(bytes).sum();
        is_useful
    }

    fn bad_manifest<E>(&self, cause: BadManifest) -> StepError<E> {
        let op = self.pending.iter().find(|op| op.manifest.is_some()).expect("it is fetched for an op");
        let op = OpId(hash(Op::KIND, &[&op.envelope.payload]));
        SessionFault::BadManifest { op, cause }.into()
    }
}

/// The memory of a pending op, bytes.
fn bytes(op: &PendingOp) -> usize {
    op.envelope.payload.len() + size_of_val(&op.envelope.signature)
}
