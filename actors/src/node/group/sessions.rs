//! The sessions of a group: frames in, effects out, one wake-up for all (steps the session machine).

use std::collections::VecDeque;

use ractor::{ActorProcessingErr, ActorRef};
use schema::handshake::LinkRole;
use schema::session::{Effect, Input, Session, SessionSide, StepError};
use schema::wire::link::ByeReason;
use schema::wire::session::SessionFrame;

use super::{Message, Peer, PeerStatus, State, push_recent};
use crate::meter::OpenSession;
use crate::node::connection_manager::LinkId;
use crate::node::gate::{Channel, IncomingPart};
use schema::limits::{EARLY_BYTES_MAX, EARLY_PARTS_MAX};
use schema::wire::group::{Assembly, Part};

impl State {
    pub(super) fn open(
        &mut self,
        myself: &ActorRef<Message>,
        channel: Channel,
        in_sync: bool,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.arguments.clock.moment();
        let link = channel.link.id();
        let side = SessionSide {
            initiator: channel.link.role() == LinkRole::Initiator,
            incarnation: self.arguments.clock.random_u64(),
        };
        let (session, effects) = Session::open(now, side, in_sync, &mut self.documents)?;
        let open = OpenSession::new(self.arguments.meters.sessions.clone());
        let share = self.arguments.assembly.share(&channel.link);
        let user = channel.link.peer().user;
        let queue = self.read_queues.of(user);
        self.opened += 1;
        let peer = Peer {
            channel,
            number: self.opened,
            session,
            assembly: Assembly::default(),
            share,
            held: VecDeque::new(),
            unread: VecDeque::new(),
            reading: None,
            unjudged: VecDeque::new(),
            queue,
            _open: open,
        };
        self.sessions.insert(link, peer);
        self.perform(myself, link, effects)?;
        for part in self.early.remove(&link).unwrap_or_default() {
            self.frame(myself, link, part)?;
        }
        self.publish_peers();
        Ok(())
    }

    pub(super) fn frame(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        incoming: IncomingPart,
    ) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.sessions.get_mut(&link) else {
            let early = self.early.entry(link).or_default();
            if early.len() < EARLY_PARTS_MAX && incoming.part.bytes.len() <= EARLY_BYTES_MAX {
                early.push(incoming);
            }
            return Ok(());
        };
        if !peer.channel.is_open() || peer.channel.link.is_closed() {
            return Ok(());
        }
        peer.held.push_back(incoming);
        self.handle_held(myself, link)
    }

    /// Handles the parts of a link in their order, unless frames before them have to be judged first. Their
    /// permits slow the peer down meanwhile.
    fn handle_held(&mut self, myself: &ActorRef<Message>, link: LinkId) -> Result<(), ActorProcessingErr> {
        while let Some(peer) = self.sessions.get_mut(&link).filter(|peer| !peer.must_wait())
            && peer.channel.is_open()
            && let Some(IncomingPart { part, _permit }) = peer.held.pop_front()
        {
            self.assemble(myself, link, part)?;
        }
        Ok(())
    }

    fn assemble(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        part: Part,
    ) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.sessions.get_mut(&link) else { return Ok(()) };
        let outcome = peer.assembly.push(part);
        peer.count_bytes();
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(frame)) => self.step_session(myself, link, Input::Frame(frame)),
            Err(error) => {
                tracing::warn!(%error, "peer sent a session frame that is none");
                peer.channel.link.close(ByeReason::Protocol);
                Ok(())
            }
        }
    }

    /// Steps a session; then handles the parts that waited for it.
    pub(super) fn step(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        self.step_session(myself, link, input)?;
        self.handle_held(myself, link)
    }

    fn step_session(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.arguments.clock.moment();
        let Some(peer) = self.sessions.get_mut(&link) else { return Ok(()) };
        let was_synced = peer.session.is_synced();
        match peer.session.step(now, input, &mut self.documents) {
            Ok(effects) => {
                let moved = was_synced != peer.session.is_synced();
                peer.count_bytes();
                self.perform(myself, link, effects)?;
                if moved {
                    self.publish_peers();
                }
                self.arm(myself);
                Ok(())
            }
            Err(StepError::Fault(fault)) => {
                tracing::warn!(%fault, "session ends");
                peer.channel.link.close(ByeReason::Protocol);
                self.sessions.remove(&link);
                self.publish_peers();
                Ok(())
            }
            Err(StepError::Local(error)) => Err(error.into()),
        }
    }

    pub(super) fn perform(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        effects: Vec<Effect>,
    ) -> Result<(), ActorProcessingErr> {
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(link, &frame),
                Effect::Apply(units) => self.receive(myself, link, units),
                // A message of ours lets those go first that came meanwhile.
                Effect::Continue => drop(myself.cast(Message::Continue(link))),
                Effect::Synced => {}
                Effect::Refused(refused) => push_recent(&mut self.refused_by_peers, &refused),
            }
        }
        Ok(())
    }

    fn send(&self, link: LinkId, frame: &SessionFrame) {
        if let Some(peer) = self.sessions.get(&link) {
            if let SessionFrame::Units(units) = frame {
                self.arguments.meters.sessions.sent_units.add(units.units.len());
            }
            peer.channel.send_session(frame);
        }
    }

    pub(super) fn wake(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        self.wake = None;
        let now = self.arguments.clock.moment();
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, peer)| peer.session.wake_at().is_some_and(|at| at <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.step(myself, link, Input::Wake)?;
        }
        self.arm(myself);
        Ok(())
    }

    /// One pending wake-up at most, at the earliest time that a session wants.
    fn arm(&mut self, myself: &ActorRef<Message>) {
        let Some(at) = self.sessions.values().filter_map(|peer| peer.session.wake_at()).min() else { return };
        if let Some((armed, timer)) = &self.wake {
            if *armed <= at {
                return;
            }
            timer.abort();
        }
        let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
        let pause = at.since(clock.moment());
        let timer = self.arguments.clock.spawn(async move {
            clock.sleep(pause).await;
            let _ = myself.cast(Message::Wake);
        });
        self.wake = Some((at, timer));
    }

    /// Compares again with every peer after a document was quarantined, so that one of them heals it.
    pub(super) fn look_after_damage(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        if self.documents.take_alarm() {
            self.publish_root();
            self.compare_again(myself)?;
        }
        Ok(())
    }

    pub(super) fn compare_again(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        for link in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.step(myself, link, Input::Rejudged)?;
        }
        Ok(())
    }

    /// Reports a fault of a peer. The owner scores it, and ends the links of a device with too many.
    pub(super) fn fault(&self, link: LinkId) {
        let Some(peer) = self.sessions.get(&link) else { return };
        self.arguments.owner.on_peer_fault(peer.channel.link.peer().device);
    }

    pub(super) fn close(&mut self, link: LinkId) {
        self.early.remove(&link);
        if self.sessions.remove(&link).is_some() {
            self.publish_peers();
        }
    }

    pub(super) fn publish_peers(&self) {
        let status = |peer: &Peer| PeerStatus {
            device: peer.channel.link.peer().device,
            synced: peer.session.is_synced(),
        };
        self.handle.publish_peers(self.sessions.values().map(status).collect());
    }
}

impl Peer {
    /// Returns true if the next part has to wait: a frame is being compared, or the budget for frames is
    /// short while one of this session is judged.
    fn must_wait(&self) -> bool {
        self.session.is_comparing() || (self.session.unjudged_bytes() > 0 && self.share.is_short())
    }

    fn count_bytes(&self) {
        self.share.set(self.assembly.bytes() + self.session.unjudged_bytes());
    }
}
