//! The ledger session: makes two ledgers of one group equal, before their documents are compared.
//!
//! Each side sends the hash of its ledger. Where the hashes differ each side pulls: it names the ops it has,
//! and the peer replies with the records it lacks, a few frames at a time. New records are pushed as they
//! come. A side that is not (yet) a member may not have the ledger and only pulls. An op that names a
//! manifest stays pending until the manifest's pages have been fetched from the peer that pushed it.

mod answer;
mod manifests;

use self::answer::{answer, pushes};
use self::manifests::Manifests;
pub use self::manifests::PendingOp;
use super::{SessionFault, StepError};
use crate::ledger::{Ledger, ManifestRef};
use crate::limits::ANSWER_TIMEOUT;
use crate::signed::Envelope;
use crate::time::Moment;
use crate::wire::ledger::{LedgerFrame, Pull, PullCursor};

/// The stored pages of manifests, also of manifests that are not complete yet; every call is short.
pub trait ManifestStore {
    /// The failure of a read.
    type Error;
    /// Returns the hashes of a manifest's pages; `None` when the list is missing or damaged.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Self::Error>;
    /// Returns a page; `None` when it is missing or damaged.
    ///
    /// # Errors
    /// When the store fails.
    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// An effect of the ledger session, to be performed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEffect {
    /// Send a frame to the peer.
    Send(LedgerFrame),
    /// Admit records that the peer pushed, then call [`LedgerSession::handle_admitted`].
    Admit {
        /// Membership ops.
        ops: Vec<Envelope>,
        /// Device certificates.
        certificates: Vec<Envelope>,
        /// Device revocations.
        revocations: Vec<Envelope>,
        /// Device records.
        records: Vec<Envelope>,
        /// The reply to our Pull is complete.
        last: bool,
    },
    /// Store the list of a manifest's pages, so that a later link continues the fetch.
    StoreList {
        /// Root of the manifest.
        root: [u8; 32],
        /// The hashes of its pages, in order.
        pages: Vec<[u8; 32]>,
    },
    /// Store a page of a manifest.
    StorePage {
        /// Hash of the page.
        page: [u8; 32],
        /// The page.
        bytes: Vec<u8>,
    },
    /// Attach a manifest whose pages are complete and correct: ops that name it may be admitted.
    Attach {
        /// The manifest.
        manifest: ManifestRef,
    },
    /// Call [`LedgerSession::handle_resume`] after other work: more stored pages have to be read.
    ScheduleResume,
    /// Open the document session: every record of the peer is here.
    OpenDocuments {
        /// The documents are equal too.
        in_sync: bool,
    },
}

/// The result of a [`LedgerEffect::Admit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmitOutcome {
    /// The flag of the effect.
    pub last: bool,
    /// The ops that wait for a parent or for a manifest, in the order of the effect.
    pub pending: Vec<PendingOp>,
}

/// The state of one group's ledger session on one link.
#[derive(Debug, Default)]
pub struct LedgerSession {
    /// The peer knows our hash: from a Summary, or from Hellos with equal hashes.
    is_summary_sent: bool,
    /// The Pull that the peer has not fully answered: its cursor, and the time of the peer's last reply.
    pulling: Option<(PullCursor, Moment)>,
    /// The cursor of the next Pull, when the last reply was not complete.
    next: Option<PullCursor>,
    /// Every record of the peer has been named to us.
    is_answered: bool,
    are_documents_open: bool,
    manifests: Manifests,
    /// The last Push carried certificates, revocations or device records, which may precede the ops that
    /// admit them.
    had_side_records: bool,
    /// A record was dropped while ops were pending: pull once more.
    must_pull_again: bool,
}

impl LedgerSession {
    /// Opens the session; `in_sync` when both Hellos carried the same hash.
    pub fn open(in_sync: bool, ledger: &Ledger) -> (Self, Vec<LedgerEffect>) {
        let session = Self {
            is_summary_sent: !in_sync,
            is_answered: in_sync,
            are_documents_open: in_sync,
            ..Self::default()
        };
        if in_sync {
            return (session, vec![LedgerEffect::OpenDocuments { in_sync }]);
        }
        (session, Self::opening(ledger).into_iter().map(LedgerEffect::Send).collect())
    }

    /// Returns the frames that describe a ledger at the opening of a session, and again where the peer was
    /// shown an empty one before: a peer whose ledger differs pulls.
    pub fn opening(ledger: &Ledger) -> Vec<LedgerFrame> {
        // The ledger's hash does not cover these certificates.
        let kept = ledger.pinned_certificates().cloned().collect();
        let summary = LedgerFrame::Summary { hash: ledger.hash() };
        [summary].into_iter().chain(pushes(Vec::new(), kept, Vec::new(), Vec::new())).collect()
    }

    /// Handles a frame of the peer.
    ///
    /// # Errors
    /// [`StepError::Fault`] ends the link.
    pub fn handle_frame<S: ManifestStore>(
        &mut self,
        now: Moment,
        frame: LedgerFrame,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let mut effects = Vec::new();
        match frame {
            LedgerFrame::Summary { hash } => {
                // Equal Hellos made us skip our Summary; a peer that sends one waits for ours.
                if !std::mem::replace(&mut self.is_summary_sent, true) {
                    effects.push(LedgerEffect::Send(LedgerFrame::Summary { hash: ledger.hash() }));
                }
                if hash == ledger.hash() {
                    self.is_answered = true;
                } else {
                    self.pull(now, PullCursor::default(), ledger, &mut effects);
                }
            }
            LedgerFrame::Pull(pull) => {
                let frames = answer(&pull, ledger);
                effects = frames.into_iter().map(LedgerEffect::Send).collect();
            }
            LedgerFrame::Push { ops, certificates, revocations, records, last } => {
                self.had_side_records =
                    !certificates.is_empty() || !revocations.is_empty() || !records.is_empty();
                self.pulling.iter_mut().for_each(|(_, replied)| *replied = now);
                let last = last && self.pulling.is_some();
                return Ok(vec![LedgerEffect::Admit { ops, certificates, revocations, records, last }]);
            }
            LedgerFrame::More { after } => match self.pulling.take() {
                Some((from, _)) if from < after => self.next = Some(after),
                _ => {
                    let what = "a reply that does not advance the pull";
                    return Err(SessionFault::Unexpected { what }.into());
                }
            },
            LedgerFrame::WantPages { root } => {
                let pages = store.list(&root).map_err(StepError::Local)?;
                effects.push(LedgerEffect::Send(match pages {
                    Some(pages) => LedgerFrame::Pages { root, pages },
                    None => LedgerFrame::Lacking { name: root },
                }));
            }
            LedgerFrame::WantPage { page } => {
                let bytes = store.page(&page).map_err(StepError::Local)?;
                effects.push(LedgerEffect::Send(match bytes {
                    Some(bytes) => LedgerFrame::Page { bytes },
                    None => LedgerFrame::Lacking { name: page },
                }));
            }
            LedgerFrame::Pages { root, pages } => self.manifests.on_pages(now, root, pages, &mut effects)?,
            LedgerFrame::Page { bytes } => self.manifests.on_page(now, bytes, &mut effects)?,
            LedgerFrame::Lacking { name } => self.manifests.on_lacking(now, name)?,
        }
        self.advance(now, ledger, store, effects)
    }

    /// Handles the result of a [`LedgerEffect::Admit`].
    ///
    /// # Errors
    /// As [`handle_frame`](Self::handle_frame).
    pub fn handle_admitted<S: ManifestStore>(
        &mut self,
        now: Moment,
        AdmitOutcome { last, pending }: AdmitOutcome,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let mut effects = Vec::new();
        let had_side_records = std::mem::take(&mut self.had_side_records);
        let is_complete = self.manifests.add_pending(pending);
        if last {
            self.pulling = None;
            self.is_answered = true;
        }
        self.must_pull_again |= self.manifests.is_waiting() && (had_side_records || !is_complete);
        if !is_complete && !last && !self.manifests.is_waiting() {
            self.pull(now, PullCursor::default(), ledger, &mut effects);
        }
        self.advance(now, ledger, store, effects)
    }

    /// Continues after a [`LedgerEffect::ScheduleResume`].
    ///
    /// # Errors
    /// As [`handle_frame`](Self::handle_frame).
    pub fn handle_resume<S: ManifestStore>(
        &mut self,
        now: Moment,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        self.manifests.resume();
        self.advance(now, ledger, store, Vec::new())
    }

    /// Returns true if ops are pending and a manifest is fetched for them.
    pub fn is_fetching(&self) -> bool {
        self.manifests.is_waiting()
    }

    /// Returns true if the peer owes the rest of a reply to our Pull.
    pub fn is_pulling(&self) -> bool {
        self.pulling.is_some()
    }

    /// Returns the time at which the session needs [`handle_wake`](Self::handle_wake).
    pub fn wake_at(&self) -> Option<Moment> {
        let answer = self.pulling.map(|(_, replied)| replied + ANSWER_TIMEOUT);
        [answer, self.manifests.wake_at()].into_iter().flatten().min()
    }

    /// Checks the peer's deadlines.
    ///
    /// # Errors
    /// [`SessionFault::Stalled`] when the peer has owed a reply, a list or a page for too long.
    pub fn handle_wake(&self, now: Moment) -> Result<(), SessionFault> {
        match self.wake_at() {
            Some(at) if at <= now => Err(SessionFault::Stalled),
            _ => Ok(()),
        }
    }

    /// Returns the frames that push records which our ledger admitted, other than from this peer.
    pub fn push(
        ops: Vec<Envelope>,
        certificates: Vec<Envelope>,
        revocations: Vec<Envelope>,
        records: Vec<Envelope>,
    ) -> Vec<LedgerFrame> {
        pushes(ops, certificates, revocations, records)
    }

    /// Returns true if the ledgers have been equal, so that documents may be compared.
    pub fn are_documents_open(&self) -> bool {
        self.are_documents_open
    }

    fn pull(&mut self, now: Moment, after: PullCursor, ledger: &Ledger, effects: &mut Vec<LedgerEffect>) {
        if self.pulling.is_none() {
            (self.pulling, self.next) = (Some((after, now)), None);
            let pull = Pull { have: ledger.landmarks(), sides: ledger.side_hashes(), after };
            effects.push(LedgerEffect::Send(LedgerFrame::Pull(pull)));
        }
    }

    /// Continues the fetch of manifests. Once no op is pending: pulls again after a drop, pulls the rest, or
    /// opens the documents.
    fn advance<S: ManifestStore>(
        &mut self,
        now: Moment,
        ledger: &Ledger,
        store: &mut S,
        mut effects: Vec<LedgerEffect>,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let was_waiting = self.manifests.is_waiting();
        self.manifests.advance(now, store, &mut effects)?;
        if was_waiting || self.pulling.is_some() {
            return Ok(effects);
        }
        if std::mem::take(&mut self.must_pull_again) {
            self.pull(now, PullCursor::default(), ledger, &mut effects);
        } else if let Some(next) = self.next {
            self.pull(now, next, ledger, &mut effects);
        } else if self.is_answered && !std::mem::replace(&mut self.are_documents_open, true) {
            effects.push(LedgerEffect::OpenDocuments { in_sync: false });
        }
        Ok(effects)
    }
}
