//! When roots are said and compared.

use std::time::Duration;

use super::Session;
use super::port::{Documents, Effect};
use super::walk::Walk;
use crate::time::Timestamp;
use crate::wire::session::{RootWhy, SessionFrame};

/// How soon after a change the peer hears of the new root.
const ROOT_DELAY: Duration = Duration::from_millis(250);

impl Session {
    /// Compares roots once everything under way has arrived.
    pub(super) fn compare<D: Documents>(
        &mut self,
        now: Timestamp,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        if !self.is_quiet() {
            self.synced = false;
            self.root_due = None;
            return Ok(());
        }
        let root = documents.root()?;
        if self.their_root == Some(root) {
            self.root_due = None;
            self.answer_due = false;
            if self.sent_root != Some(root) {
                let why = self.why();
                self.announce(root, why, effects);
            }
            self.asked.clear();
            if !std::mem::replace(&mut self.synced, true) {
                effects.push(Effect::Synced);
            }
            return Ok(());
        }
        self.synced = false;
        if self.sent_root != Some(root) {
            let due = *self.root_due.get_or_insert(now + ROOT_DELAY);
            if now >= due {
                let why = self.why();
                self.announce(root, why, effects);
            }
        } else if self.answer_due {
            let why = self.why();
            self.announce(root, why, effects);
        }
        if let (true, true, Some(theirs)) = (self.initiator, self.fresh, self.their_root) {
            self.fresh = false;
            if self.walked != Some((root, theirs)) {
                self.walk = Some(Walk::new((root, theirs)));
                self.walk_on(now, documents, effects)?;
            }
        }
        Ok(())
    }

    pub(super) fn announce(&mut self, root: [u8; 32], why: RootWhy, effects: &mut Vec<Effect>) {
        self.sent_root = Some(root);
        self.root_due = None;
        self.answer_due = false;
        effects.push(Effect::Send(SessionFrame::Root { root, why }));
    }

    /// Why a root is said in the course of a session.
    fn why(&mut self) -> RootWhy {
        if std::mem::take(&mut self.rejudged) { RootWhy::Rejudged } else { RootWhy::Compare }
    }
}
