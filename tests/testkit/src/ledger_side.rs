//! One side of a ledger session: a ledger, stored pages, and a session while there is a link. Shared with the
//! fuzz target `ledger_session_steps`.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use schema::id::hash;
use schema::key::{Signature, SigningKey};
use schema::ledger::manifest::{Entry, Page, PageGroup, page_hash, root};
use schema::ledger::{Body, By, Ledger, ManifestRef, Op, Refusal, Role};
use schema::limits::FRAME_BYTES_MAX;
use schema::session::ledger::{AdmitOutcome, LedgerEffect, LedgerSession, ManifestStore, PendingOp};
use schema::session::{SessionFault, StepError};
use schema::signed::{Envelope, Signed};
use schema::wire::ledger::LedgerFrame;
use schema::{ChangeHash, DeviceId, DocumentId, Moment, OpId, UserId, codec};

/// The time of every step.
pub const NOW: Moment = Moment(Duration::from_secs(1_000));

/// The signing key of a user.
pub fn key(number: u64) -> SigningKey {
    SigningKey::from_seed(hash("test", &[&number.to_be_bytes()]))
}

/// The signing key of the founder.
pub fn ada() -> SigningKey {
    key(0)
}

/// The id of a user; 0 is the founder.
pub fn user(number: u64) -> UserId {
    UserId(key(number).public())
}

/// The manifest pages that one side stores, and the number of reads.
#[derive(Clone, Debug, Default)]
pub struct StoredPages {
    /// Hashes of the pages, by root.
    pub lists: BTreeMap<[u8; 32], Vec<[u8; 32]>>,
    /// Pages, by hash.
    pub pages: BTreeMap<[u8; 32], Vec<u8>>,
    /// Number of pages read.
    pub reads: Cell<usize>,
}

impl ManifestStore for StoredPages {
    type Error = Infallible;

    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        Ok(self.lists.get(root).cloned())
    }

    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        self.reads.update(|reads| reads + 1);
        Ok(self.pages.get(page).cloned())
    }
}

impl StoredPages {
    /// Stores a manifest of `pages` pages; `salt` makes it unique.
    pub fn write(&mut self, salt: u8, pages: u8) -> ManifestRef {
        let page = |number: u8| {
            let document = DocumentId([number; 32]);
            let (change, signature) = (ChangeHash([salt; 32]), Signature([salt; 64]));
            let entries = vec![Entry { document, seq: 1, change, signature }];
            let device = DeviceId([number; 32]);
            let groups = vec![PageGroup { device, grant: OpId([salt; 32]), incarnation: 1, entries }];
            Page { groups }.encode()
        };
        self.store((0..pages).map(page).collect())
    }

    /// Stores the pages of a manifest.
    pub fn store(&mut self, pages: Vec<Vec<u8>>) -> ManifestRef {
        let hashes: Vec<_> = pages.iter().map(|page| page_hash(page)).collect();
        let manifest = ManifestRef { root: root(&hashes), entries: pages.len() as u64 };
        self.lists.insert(manifest.root, hashes.clone());
        self.pages.extend(hashes.into_iter().zip(pages));
        manifest
    }
}

/// One side: a ledger, stored pages, and a session while there is a link.
#[derive(Debug)]
pub struct Side {
    /// The ledger.
    pub ledger: Ledger,
    /// The stored manifest pages.
    pub store: StoredPages,
    /// Manifests whose pages are complete.
    pub attached: Vec<ManifestRef>,
    /// The session on the current link.
    pub session: LedgerSession,
    /// The session has opened the documents.
    pub documents_open: bool,
    /// Frames for the peer.
    pub sent: Vec<LedgerFrame>,
    /// Ops of the peer that the ledger refused.
    pub refused: Vec<Refusal>,
}

impl Side {
    /// A side without a link.
    pub fn new(ledger: Ledger, store: StoredPages) -> Self {
        let (session, _) = LedgerSession::open(true, &ledger);
        Self {
            ledger,
            store,
            attached: Vec::new(),
            session,
            documents_open: false,
            sent: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// A group whose only member is ada.
    pub fn founded() -> Self {
        let (ledger, _) = Ledger::create([1; 32], vec![user(0)], "home", user(0), By::User, &ada()).unwrap();
        Self::new(ledger, StoredPages::default())
    }

    /// A side that has only the founding op.
    pub fn newcomer(&self) -> Self {
        let mut ledger = Ledger::new(self.ledger.group());
        ledger.admit(self.ledger.envelopes().next().unwrap().clone()).unwrap();
        Self::new(ledger, StoredPages::default())
    }

    /// Signs an op of the founder and admits it.
    pub fn submit(&mut self, body: Body) -> Envelope {
        let op = self.ledger.draft(user(0), By::User, body).unwrap();
        let op = Signed::<Op>::sign(op, &ada()).envelope().clone();
        self.ledger.admit(op.clone()).unwrap();
        op
    }

    /// Gives a user a role.
    pub fn set_role(&mut self, number: u64, role: Role, cut: Option<ManifestRef>) -> Envelope {
        self.submit(Body::SetRole { user: user(number), role, cut, via: None })
    }

    /// Adds a member and removes it with a cut of `pages` pages.
    pub fn remove(&mut self, number: u8, pages: u8) -> (ManifestRef, Envelope) {
        let manifest = self.store.write(number, pages);
        self.set_role(number.into(), Role::Writer, None);
        (manifest, self.set_role(number.into(), Role::None, Some(manifest)))
    }

    /// Opens a session on a new link.
    pub fn open(&mut self) {
        let (session, effects) = LedgerSession::open(false, &self.ledger);
        self.session = session;
        self.perform(effects).unwrap();
    }

    /// Handles a frame of the peer.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn receive(&mut self, frame: LedgerFrame) -> Result<(), SessionFault> {
        let effects = self.session.handle_frame(NOW, frame, &self.ledger, &mut self.store);
        self.perform(effects.map_err(fault)?)
    }

    /// Handles ops that the peer pushes without a Pull.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn push(&mut self, ops: Vec<Envelope>) -> Result<(), SessionFault> {
        let (certificates, revocations) = (Vec::new(), Vec::new());
        self.receive(LedgerFrame::Push { ops, certificates, revocations, records: Vec::new(), last: false })
    }

    /// Performs effects, and the effects that follow from them.
    ///
    /// # Errors
    /// The peer's fault.
    pub fn perform(&mut self, effects: Vec<LedgerEffect>) -> Result<(), SessionFault> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                LedgerEffect::Send(frame) => {
                    assert!(codec::encode(&frame).len() <= FRAME_BYTES_MAX);
                    self.sent.push(frame);
                }
                LedgerEffect::Admit { ops, certificates, revocations, records, last } => {
                    let mut pending = Vec::new();
                    for envelope in ops {
                        let has = |manifest: &ManifestRef| self.attached.contains(manifest);
                        let manifest = match self.ledger.admit_with(envelope.clone(), has) {
                            Ok(_) => continue,
                            Err(Refusal::MissingManifest { manifest, .. }) => Some(manifest),
                            Err(Refusal::MissingParents { .. }) => None,
                            Err(refusal) => {
                                self.refused.push(refusal);
                                continue;
                            }
                        };
                        pending.push(PendingOp { envelope, manifest });
                    }
                    // A refused record beside the ops has no consequence for the session.
                    certificates.into_iter().for_each(|record| drop(self.ledger.admit_certificate(record)));
                    revocations.into_iter().for_each(|record| drop(self.ledger.admit_revocation(record)));
                    records.into_iter().for_each(|record| drop(self.ledger.admit_record(record)));
                    let outcome = AdmitOutcome { last, pending };
                    let more = self.session.handle_admitted(NOW, outcome, &self.ledger, &mut self.store);
                    effects.extend(more.map_err(fault)?);
                }
                LedgerEffect::StoreList { root, pages } => drop(self.store.lists.insert(root, pages)),
                LedgerEffect::StorePage { page, bytes } => {
                    assert!(self.store.pages.insert(page, bytes).is_none(), "each page arrives once");
                }
                LedgerEffect::Attach { manifest } => self.attached.push(manifest),
                LedgerEffect::ScheduleResume => {
                    let more = self.session.handle_resume(NOW, &self.ledger, &mut self.store);
                    effects.extend(more.map_err(fault)?);
                }
                LedgerEffect::OpenDocuments { .. } => self.documents_open = true,
            }
        }
        Ok(())
    }

    /// Removes and returns the frames for the peer.
    pub fn take_sent(&mut self) -> Vec<LedgerFrame> {
        std::mem::take(&mut self.sent)
    }
}

/// Returns the peer's fault; the store of a [`Side`] never fails.
pub fn fault(error: StepError<Infallible>) -> SessionFault {
    match error {
        StepError::Fault(fault) => fault,
    }
}

/// Delivers frames until both sides are silent, or the link is lost after `frames`. Returns the number
/// delivered.
pub fn talk(a: &mut Side, b: &mut Side, frames: usize) -> usize {
    let mut delivered = 0;
    loop {
        let (from_a, from_b) = (a.take_sent(), b.take_sent());
        if from_a.is_empty() && from_b.is_empty() {
            assert!(a.refused.is_empty() && b.refused.is_empty(), "{:?} {:?}", a.refused, b.refused);
            return delivered;
        }
        let both = [(true, from_a), (false, from_b)];
        for (to_b, frame) in
            both.into_iter().flat_map(|(to_b, some)| some.into_iter().map(move |f| (to_b, f)))
        {
            if delivered == frames {
                return delivered;
            }
            delivered += 1;
            if to_b { b.receive(frame).unwrap() } else { a.receive(frame).unwrap() }
        }
    }
}
