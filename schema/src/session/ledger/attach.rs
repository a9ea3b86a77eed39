//! Waits with ops for what they name: ops held back, and one manifest at a time fetched for them (AUTHORITY 3.0, 3.8).

use std::collections::{BTreeSet, VecDeque};

use super::{Attachments, LedgerEffect};
use crate::id::{OpId, hash};
use crate::ledger::manifest::{BadManifest, Fetch, page_hash};
use crate::ledger::{ManifestRef, Op};
use crate::limits::{MANIFESTS_LOOSE_BYTES_MAX, PENDING_OPS_BYTES_MAX, PENDING_OPS_MAX};
use crate::session::ANSWER_TIMEOUT;
use crate::session::{SessionFault, StepError};
use crate::signed::{Envelope, Record};
use crate::time::Timestamp;
use crate::wire::ledger::LedgerFrame;

/// Pages asked for and not answered: one on its way while the other is stored.
const IN_FLIGHT_MAX: usize = 2;
/// Pages that one step reads from our own store.
const LOOKS_MAX: usize = 16;

/// An op that cannot be taken in yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The op.
    pub envelope: Envelope,
    /// The manifest whose pages are not all here; `None`: its parents are not.
    pub manifest: Option<ManifestRef>,
}

/// Ops that wait, and the manifest that is fetched for the first of them that names one.
#[derive(Debug, Default)]
pub(super) struct Attach {
    held: VecDeque<Held>,
    bytes: usize,
    fetch: Option<Fetch>,
    /// Bytes of pages that were kept for it.
    kept: u64,
    /// Bytes of pages that were kept for manifests that the peer then lacked the rest of.
    in_vain: u64,
    /// The list of pages that the peer owes.
    list: Option<[u8; 32]>,
    /// The pages that the peer owes, also some that nobody waits for any more.
    pages: Vec<[u8; 32]>,
    /// When the peer last gave something, or was first asked.
    since: Timestamp,
    /// What the peer names and does not have: it is not asked for again.
    lacking: BTreeSet<ManifestRef>,
    /// The shell was told to come back.
    later: bool,
}

impl Attach {
    /// Takes ops that must wait; `false` when some are dropped, to be asked for again.
    pub(super) fn hold(&mut self, held: Vec<Held>) -> bool {
        let mut all = true;
        for op in held {
            let is_hopeless = |manifest| {
                self.lacking.len() >= PENDING_OPS_MAX
                    || self.in_vain > MANIFESTS_LOOSE_BYTES_MAX
                    || self.lacking.contains(manifest)
            };
            if op.manifest.as_ref().is_some_and(is_hopeless) {
                continue; // somebody else may have it
            }
            if self.held.len() == PENDING_OPS_MAX || self.bytes + bytes(&op) > PENDING_OPS_BYTES_MAX {
                all = false;
                continue;
            }
            self.bytes += bytes(&op);
            self.held.push_back(op);
        }
        all & self.keep_useful()
    }

    /// Ops wait, and what they wait for is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// When the peer has owed something for too long.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        (self.list.is_some() || !self.pages.is_empty()).then(|| self.since + ANSWER_TIMEOUT)
    }

    /// The shell has come back.
    pub(super) fn resume(&mut self) {
        self.later = false;
    }

    /// The peer's list of pages.
    pub(super) fn listed<E>(
        &mut self,
        now: Timestamp,
        root: [u8; 32],
        pages: Vec<[u8; 32]>,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<E>> {
        if self.list != Some(root) {
            return Err(SessionFault::Unexpected { what: "a list of pages that nobody asked for" }.into());
        }
        (self.list, self.since) = (None, now);
        let Some(fetch) = &mut self.fetch else {
            return Err(SessionFault::Unexpected { what: "a list of pages that nobody waits for" }.into());
        };
        match fetch.list(pages) {
            Ok(true) => {
                effects.push(LedgerEffect::KeepList { root, pages: fetch.pages().to_vec() });
                Ok(())
            }
            Ok(false) => Err(SessionFault::Unexpected { what: "a list of other pages" }.into()),
            Err(cause) => Err(self.bad(cause)),
        }
    }

    /// A page of the peer's.
    pub(super) fn page<E>(
        &mut self,
        now: Timestamp,
        bytes: Vec<u8>,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<E>> {
        let page = page_hash(&bytes);
        let Some(at) = self.pages.iter().position(|owed| *owed == page) else {
            return Err(SessionFault::Unexpected { what: "a page that nobody asked for" }.into());
        };
        self.pages.swap_remove(at);
        self.since = now;
        match self.fetch.as_mut().map_or(Ok(false), |fetch| fetch.page(&bytes)) {
            Ok(true) => {
                self.kept += bytes.len() as u64;
                effects.push(LedgerEffect::KeepPage { page, bytes });
            }
            Ok(false) => {} // of a manifest that was given up
            Err(cause) => return Err(self.bad(cause)),
        }
        Ok(())
    }

    /// The peer does not have what we asked for: the ops that need it come from somebody else.
    pub(super) fn lacks<E>(&mut self, now: Timestamp, name: [u8; 32]) -> Result<(), StepError<E>> {
        let is_list = self.list == Some(name);
        let page = self.pages.iter().position(|owed| *owed == name);
        // A name may be that of an owed page and of the list: then both are answered.
        if is_list {
            self.list = None;
        }
        match page {
            Some(at) => drop(self.pages.swap_remove(at)),
            None if is_list => {}
            None => {
                return Err(SessionFault::Unexpected { what: "no page where none was asked for" }.into());
            }
        }
        self.since = now;
        if let Some(fetch) = self.fetch.take_if(|fetch| is_list || fetch.pages().contains(&name)) {
            self.lacking.insert(fetch.manifest());
            self.in_vain += std::mem::take(&mut self.kept);
            let is_enough = self.in_vain > MANIFESTS_LOOSE_BYTES_MAX;
            let is_hopeless = |manifest: &ManifestRef| is_enough || *manifest == fetch.manifest();
            let held = std::mem::take(&mut self.held);
            self.held =
                held.into_iter().filter(|op| !op.manifest.as_ref().is_some_and(is_hopeless)).collect();
            self.keep_useful();
        }
        Ok(())
    }

    /// Asks for what is to be asked, or has the ops admitted that waited.
    pub(super) fn pump<S: Attachments>(
        &mut self,
        now: Timestamp,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<S::Error>> {
        let Some(manifest) = self.held.iter().find_map(|op| op.manifest) else { return Ok(()) };
        let mut fetch = match self.fetch.take() {
            Some(fetch) => fetch,
            None => self.begin(manifest, store, effects)?,
        };
        if fetch.is_listed() {
            self.ask(now, &mut fetch, store, effects)?;
        } else if self.list.is_none() {
            self.owe(now);
            self.list = Some(manifest.root);
            effects.push(LedgerEffect::Send(LedgerFrame::WantPages { root: manifest.root }));
        }
        let is_complete = fetch.is_complete();
        self.fetch = Some(fetch);
        if is_complete.map_err(|cause| self.bad(cause))? {
            self.fetch = None;
            (self.bytes, self.kept) = (0, 0);
            let ops = self.held.drain(..).map(|op| op.envelope).collect();
            effects.push(LedgerEffect::Attached { manifest });
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

    fn begin<S: Attachments>(
        &mut self,
        manifest: ManifestRef,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<Fetch, StepError<S::Error>> {
        let mut fetch = Fetch::new(manifest);
        // A list without pages needs nobody to tell it.
        if fetch.list(Vec::new()) == Ok(true) {
            effects.push(LedgerEffect::KeepList { root: manifest.root, pages: Vec::new() });
        } else if let Some(pages) = store.list(&manifest.root).map_err(StepError::Local)? {
            // One that is not the manifest's is damaged: the peer's takes its place.
            let _ = fetch.list(pages);
        }
        Ok(fetch)
    }

    /// Takes the pages that are here already, and asks for the others.
    fn ask<S: Attachments>(
        &mut self,
        now: Timestamp,
        fetch: &mut Fetch,
        store: &mut S,
        effects: &mut Vec<LedgerEffect>,
    ) -> Result<(), StepError<S::Error>> {
        let mut looks = 0;
        while !self.later && self.pages.len() < IN_FLIGHT_MAX {
            if looks == LOOKS_MAX {
                self.later = true;
                effects.push(LedgerEffect::Later);
                break;
            }
            let Some(page) = fetch.ask() else { break };
            if self.pages.contains(&page) {
                continue; // on its way, for a manifest that was given up
            }
            looks += 1;
            let stored = store.page(&page).map_err(StepError::Local)?;
            let stored = stored.filter(|bytes| page_hash(bytes) == page);
            let taken = stored.map_or(Ok(false), |bytes| fetch.page(&bytes));
            if taken.map_err(|cause| self.bad(cause))? {
                continue;
            }
            self.owe(now);
            self.pages.push(page);
            effects.push(LedgerEffect::Send(LedgerFrame::WantPage { page }));
        }
        Ok(())
    }

    /// The peer is about to be asked: the time runs from the first question that is open.
    fn owe(&mut self, now: Timestamp) {
        if self.wake_at().is_none() {
            self.since = now;
        }
    }

    /// Without a manifest to wait for nothing comes of waiting; `false` when ops are dropped.
    fn keep_useful(&mut self) -> bool {
        let is_useful = self.held.is_empty() || self.held.iter().any(|op| op.manifest.is_some());
        if !is_useful {
            self.held.clear();
        }
        self.bytes = self.held.iter().map(bytes).sum();
        is_useful
    }

    fn bad<E>(&self, cause: BadManifest) -> StepError<E> {
        let op = self.held.iter().find(|op| op.manifest.is_some()).expect("it is fetched for an op");
        let op = OpId(hash(Op::KIND, &[&op.envelope.payload]));
        SessionFault::BadManifest { op, cause }.into()
    }
}

/// What a waiting op takes up.
fn bytes(op: &Held) -> usize {
    op.envelope.payload.len() + size_of_val(&op.envelope.signature)
}
