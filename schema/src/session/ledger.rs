//! Brings two ledgers of one group together, before its documents.
//!
//! Each side says its hash. Where they differ each pulls what it lacks, naming what it has, an answer of a few frames
//! after the other; new ops are pushed as they come. A side that is not (yet) a member has nothing to give and only pulls. An op that names a
//! manifest waits for its pages, which whoever pushed it is asked for.

mod answer;
mod attach;

use self::answer::{answer, pushes};
use self::attach::Attach;
pub use self::attach::Held;
use super::{ANSWER_TIMEOUT, SessionFault, StepError};
use crate::ledger::{Ledger, ManifestRef};
use crate::signed::Envelope;
use crate::time::Timestamp;
use crate::wire::ledger::{LedgerFrame, Place, Pull};

/// The pages of manifests that are here, some perhaps of a list that is not whole yet; every call is short.
pub trait Attachments {
    /// Why a read may fail: a disk, in life.
    type Error;
    /// The hashes of a manifest's pages; none when they are not here, or damaged.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Self::Error>;
    /// A page; none when it is not here, or damaged.
    ///
    /// # Errors
    /// When the store fails.
    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// What a ledger session wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEffect {
    /// Send a frame to the peer.
    Send(LedgerFrame),
    /// Admit what the peer pushed, then call [`LedgerSession::admitted`].
    Admit {
        /// Membership ops.
        ops: Vec<Envelope>,
        /// Device certificates.
        certificates: Vec<Envelope>,
        /// Device revocations.
        revocations: Vec<Envelope>,
        /// Device records.
        records: Vec<Envelope>,
        /// The pull is answered.
        last: bool,
    },
    /// Make the list of a manifest's pages durable: should the link end, it goes on from there.
    KeepList {
        /// The manifest's.
        root: [u8; 32],
        /// The hashes of its pages, in order.
        pages: Vec<[u8; 32]>,
    },
    /// Make a page durable.
    KeepPage {
        /// Its hash.
        page: [u8; 32],
        /// The page.
        bytes: Vec<u8>,
    },
    /// A manifest is here, every page of it, and it is what it is called: ops that name it may be admitted.
    Attached {
        /// Which.
        manifest: ManifestRef,
    },
    /// Call [`LedgerSession::resume`] after whatever else is to be done: pages of ours are still to be read.
    Later,
    /// Everything that the peer had is here: the documents may follow.
    Agreed {
        /// The documents are equal too.
        in_sync: bool,
    },
}

/// What became of an [`LedgerEffect::Admit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The effect's.
    pub last: bool,
    /// The ops that wait for others or for a manifest, in the order in which they came.
    pub held: Vec<Held>,
}

/// One group's ledger conversation over one link.
#[derive(Debug, Default)]
pub struct LedgerSession {
    /// The peer knows our hash: from a Summary, or from the Hello of two that were in sync.
    said: bool,
    /// The answer that the peer owes: from where on, and when it last gave some of it.
    pulling: Option<(Place, Timestamp)>,
    /// How far its answers came, when there is more to ask for.
    next: Option<Place>,
    /// All that the peer has was named to us.
    answered: bool,
    agreed: bool,
    attach: Attach,
    /// The last push brought certificates or revocations, which may have come before the ops that they need.
    sides: bool,
    /// Something was dropped while ops waited: the peer is to be asked once more.
    again: bool,
}

impl LedgerSession {
    /// Opens the conversation; `in_sync` when both Hellos carried the same hash.
    pub fn open(in_sync: bool, ledger: &Ledger) -> (Self, Vec<LedgerEffect>) {
        let session = Self { said: !in_sync, answered: in_sync, agreed: in_sync, ..Self::default() };
        if in_sync {
            return (session, vec![LedgerEffect::Agreed { in_sync }]);
        }
        // No hash tells of these.
        let kept = ledger.pinned_certificates().cloned().collect();
        let kept = pushes(Vec::new(), kept, Vec::new(), Vec::new());
        let summary = LedgerFrame::Summary { hash: ledger.hash() };
        (session, [summary].into_iter().chain(kept).map(LedgerEffect::Send).collect())
    }

    /// Takes a frame of the peer.
    ///
    /// # Errors
    /// [`StepError::Fault`] ends the link.
    pub fn frame<S: Attachments>(
        &mut self,
        now: Timestamp,
        frame: LedgerFrame,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let mut effects = Vec::new();
        match frame {
            LedgerFrame::Summary { hash } => {
                // We thought that both were in sync; the peer knew better, and waits for our word.
                if !std::mem::replace(&mut self.said, true) {
                    effects.push(LedgerEffect::Send(LedgerFrame::Summary { hash: ledger.hash() }));
                }
                if hash == ledger.hash() {
                    self.answered = true;
                } else {
                    self.pull(now, Place::default(), ledger, &mut effects);
                }
            }
            LedgerFrame::Pull(pull) => {
                let frames = answer(&pull, ledger);
                effects = frames.into_iter().map(LedgerEffect::Send).collect();
            }
            LedgerFrame::Push { ops, certificates, revocations, records, last } => {
                self.sides = !certificates.is_empty() || !revocations.is_empty() || !records.is_empty();
                self.pulling.iter_mut().for_each(|(_, heard)| *heard = now);
                let last = last && self.pulling.is_some();
                return Ok(vec![LedgerEffect::Admit { ops, certificates, revocations, records, last }]);
            }
            LedgerFrame::More { after } => match self.pulling.take() {
                Some((from, _)) if from < after => self.next = Some(after),
                _ => {
                    return Err(SessionFault::Unexpected { what: "an answer that does not go on" }.into());
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
            LedgerFrame::Pages { root, pages } => self.attach.listed(now, root, pages, &mut effects)?,
            LedgerFrame::Page { bytes } => self.attach.page(now, bytes, &mut effects)?,
            LedgerFrame::Lacking { name } => self.attach.lacks(now, name)?,
        }
        self.go_on(now, ledger, store, effects)
    }

    /// After an [`LedgerEffect::Admit`].
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn admitted<S: Attachments>(
        &mut self,
        now: Timestamp,
        Taken { last, held }: Taken,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let mut effects = Vec::new();
        let sides = std::mem::take(&mut self.sides);
        let all = self.attach.hold(held);
        if last {
            self.pulling = None;
            self.answered = true;
        }
        self.again |= self.attach.is_waiting() && (sides || !all);
        if !all && !last && !self.attach.is_waiting() {
            self.pull(now, Place::default(), ledger, &mut effects);
        }
        self.go_on(now, ledger, store, effects)
    }

    /// After an [`LedgerEffect::Later`].
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn resume<S: Attachments>(
        &mut self,
        now: Timestamp,
        ledger: &Ledger,
        store: &mut S,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        self.attach.resume();
        self.go_on(now, ledger, store, Vec::new())
    }

    /// Whether pages are fetched for ops that wait.
    pub fn is_fetching(&self) -> bool {
        self.attach.is_waiting()
    }

    /// When the session wants to be [woken](Self::wake).
    pub fn wake_at(&self) -> Option<Timestamp> {
        let answer = self.pulling.map(|(_, heard)| heard + ANSWER_TIMEOUT);
        [answer, self.attach.wake_at()].into_iter().flatten().min()
    }

    /// The time has come.
    ///
    /// # Errors
    /// [`SessionFault::Stalled`] when the peer has owed an answer, a list or a page for too long.
    pub fn wake(&self, now: Timestamp) -> Result<(), SessionFault> {
        match self.wake_at() {
            Some(at) if at <= now => Err(SessionFault::Stalled),
            _ => Ok(()),
        }
    }

    /// The frames that push what our ledger gained, other than from this peer.
    pub fn grown(
        ops: Vec<Envelope>,
        certificates: Vec<Envelope>,
        revocations: Vec<Envelope>,
        records: Vec<Envelope>,
    ) -> Vec<LedgerFrame> {
        pushes(ops, certificates, revocations, records)
    }

    /// The documents may be spoken of.
    pub fn is_agreed(&self) -> bool {
        self.agreed
    }

    fn pull(&mut self, now: Timestamp, after: Place, ledger: &Ledger, effects: &mut Vec<LedgerEffect>) {
        if self.pulling.is_none() {
            (self.pulling, self.next) = (Some((after, now)), None);
            let pull = Pull { have: ledger.landmarks(), sides: ledger.side_hashes(), after };
            effects.push(LedgerEffect::Send(LedgerFrame::Pull(pull)));
        }
    }

    /// Goes on with what is fetched; once nothing waits, asks again for what was dropped, or for the rest, or agrees.
    fn go_on<S: Attachments>(
        &mut self,
        now: Timestamp,
        ledger: &Ledger,
        store: &mut S,
        mut effects: Vec<LedgerEffect>,
    ) -> Result<Vec<LedgerEffect>, StepError<S::Error>> {
        let was_waiting = self.attach.is_waiting();
        self.attach.pump(now, store, &mut effects)?;
        if was_waiting || self.pulling.is_some() {
            return Ok(effects);
        }
        if std::mem::take(&mut self.again) {
            self.pull(now, Place::default(), ledger, &mut effects);
        } else if let Some(next) = self.next {
            self.pull(now, next, ledger, &mut effects);
        } else if self.answered && !std::mem::replace(&mut self.agreed, true) {
            effects.push(LedgerEffect::Agreed { in_sync: false });
        }
        Ok(effects)
    }
}
