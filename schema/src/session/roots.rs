//! Roots: when they are sent, and what follows from the peer's.

use std::time::Duration;

use super::Session;
use super::port::{Documents, Effect};
use super::walk::Walk;
use crate::time::Moment;
use crate::wire::session::{RootReason, SessionFrame};

/// Delay of a new root, so that further changes are sent with it.
const ROOT_DELAY: Duration = Duration::from_millis(250);

impl Session {
    pub(super) fn on_root<D: Documents>(
        &mut self,
        now: Moment,
        root: [u8; 32],
        reason: RootReason,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        match reason {
            RootReason::Opening { incarnation } => {
                let is_new = self.peer_incarnation != Some(incarnation);
                if self.ready && is_new {
                    // The peer restarts the session, and so do we; nothing of the old one is owed any more.
                    *self = Self { ready: true, ..Self::new(now, self.side, root) };
                }
                self.peer_incarnation = Some(incarnation);
                let ours = documents.digest().root();
                self.send_root(ours, RootReason::Answer { incarnation }, effects);
                if !self.ready && is_new {
                    // The peer may have missed our opening: repeat it, or it is never answered.
                    let opening = RootReason::Opening { incarnation: self.side.incarnation };
                    self.send_root(ours, opening, effects);
                }
            }
            RootReason::Answer { incarnation } => self.ready |= incarnation == self.side.incarnation,
            RootReason::Compare => {}
            RootReason::Rejudged => self.walked = None,
        }
        self.peer_root = Some(root);
        self.is_peer_root_new = true;
        self.is_root_owed = !self.side.initiator;
        Ok(())
    }

    /// Compares roots once everything under way has arrived, and begins a walk where they differ.
    pub(super) fn compare_roots<D: Documents>(
        &mut self,
        now: Moment,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        if !self.is_quiet() {
            self.is_synced = false;
            self.root_due = None;
            return Ok(());
        }
        let root = documents.digest().root();
        if self.peer_root == Some(root) {
            self.root_due = None;
            self.is_root_owed = false;
            if self.sent_root != Some(root) {
                let reason = self.root_reason();
                self.send_root(root, reason, effects);
            }
            self.retries.clear();
            if !std::mem::replace(&mut self.is_synced, true) {
                effects.push(Effect::Synced);
            }
            return Ok(());
        }
        self.is_synced = false;
        if self.sent_root != Some(root) {
            let due = *self.root_due.get_or_insert(now + ROOT_DELAY);
            if now >= due {
                let reason = self.root_reason();
                self.send_root(root, reason, effects);
            }
        } else if self.is_root_owed {
            let reason = self.root_reason();
            self.send_root(root, reason, effects);
        }
        if let (true, true, Some(theirs)) = (self.side.initiator, self.is_peer_root_new, self.peer_root) {
            self.is_peer_root_new = false;
            if self.walked != Some((root, theirs)) {
                self.walk = Some(Walk::new((root, theirs)));
                self.advance_walk(now, documents, effects)?;
            }
        }
        Ok(())
    }

    fn send_root(&mut self, root: [u8; 32], reason: RootReason, effects: &mut Vec<Effect>) {
        self.sent_root = Some(root);
        self.root_due = None;
        self.is_root_owed = false;
        effects.push(Effect::Send(SessionFrame::Root { root, reason }));
    }

    /// The reason for a root in the course of a session.
    fn root_reason(&mut self) -> RootReason {
        if std::mem::take(&mut self.is_rejudged) { RootReason::Rejudged } else { RootReason::Compare }
    }
}
