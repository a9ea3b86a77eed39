//! Dials and accepted streams whose handshake runs, and the room for links.

use ractor::{ActorProcessingErr, ActorRef};
use schema::wire::link::ByeReason;
use tokio::task::{AbortHandle, JoinSet};

use super::super::address_book::Dial;
use super::super::connection::{self, AuthenticatedStream, ConnectionHandle, Link, LinkEnd, LinkId, Origin};
use super::super::duplicates::{LinkState, replaces};
use super::super::places::{Effect, Input};
use super::super::{Arguments, Message};
use super::{Connection, State};
use crate::call::ExitNotice;
use crate::transport::Stream;

/// A dial or an accepted stream whose handshake runs.
pub(super) struct HalfOpen {
    pub(super) task: AbortHandle,
    /// The dial that started it; none if it was accepted.
    pub(super) dialled: Option<Dial>,
    peer: String,
}

impl State {
    /// Starts the dials that are due.
    pub(super) fn dial(&mut self, myself: &ActorRef<Message>) {
        let room = self.places.dial_room();
        for dial in self.address_book.take_due(self.arguments.clock.instant(), room) {
            let (link, peer) = (self.next_link(), dial.address.clone());
            let origin = Origin::Dial { address: dial.address.clone(), expected: dial.expected };
            self.step_places(Input::Dialling { link });
            self.authenticate(myself, link, origin, Some(dial), peer);
        }
    }

    /// Begins the handshake of an accepted stream; another half-open stream may have to end for it.
    pub(in super::super) fn on_accepted(&mut self, myself: &ActorRef<Message>, stream: Stream) {
        let (link, source) = (self.next_link(), stream.source.clone());
        // Before the stream costs a task.
        self.step_places(Input::Accepted { link, prefix: source.prefix });
        self.authenticate(myself, link, Origin::Accepted(stream), None, source.address);
    }

    fn next_link(&self) -> LinkId {
        let mut desired = self.handle.desired();
        desired.links_made += 1;
        LinkId(desired.links_made)
    }

    fn authenticate(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        origin: Origin,
        dialled: Option<Dial>,
        peer: String,
    ) {
        while self.handshakes.try_join_next().is_some() {}
        let crashed = Message::HandshakeEnded { link, outcome: Box::new(Err(LinkEnd::Crashed)) };
        let notice = ExitNotice::new(myself.clone(), crashed);
        let Arguments { clock, identity, .. } = self.arguments.clone();
        let transport = self.handle.transport();
        let handshake = async move {
            let outcome = connection::authenticate(&clock, &*transport, identity, origin).await;
            notice.complete(Message::HandshakeEnded { link, outcome: Box::new(outcome) });
        };
        let task = self.arguments.clock.spawn_in(&mut self.handshakes, handshake);
        self.half_open.insert(link, HalfOpen { task, dialled, peer });
    }

    /// Opens the link of a stream whose handshake has passed.
    pub(in super::super) async fn on_handshake_ended(
        &mut self,
        myself: &ActorRef<Message>,
        id: LinkId,
        outcome: Result<AuthenticatedStream, LinkEnd>,
    ) -> Result<(), ActorProcessingErr> {
        // None if it was dropped meanwhile.
        let Some(HalfOpen { dialled, peer, .. }) = self.half_open.remove(&id) else { return Ok(()) };
        match outcome {
            Ok(stream) => {
                let Arguments { clock, meters, watchdog, owner, .. } = self.arguments.clone();
                let (handle, since) = (ConnectionHandle::default(), clock.instant());
                let arguments = connection::Arguments { clock, meters, watchdog, owner, id };
                let (actor, link) = handle.start(arguments, stream, myself.get_cell()).await?;
                let connection = Connection { actor, handle, dialled, peer, link: link.clone(), since };
                self.connections.insert(id, connection);
                self.on_authenticated(&link);
            }
            Err(end) => {
                if end == LinkEnd::Crashed {
                    tracing::error!(%peer, "handshake crashed");
                }
                self.on_ended(id, peer, dialled, None, &end);
            }
        }
        Ok(())
    }

    /// Keeps the link or ends it: a device has one link, and a node a bounded number.
    fn on_authenticated(&mut self, link: &Link) {
        let device = link.peer().device;
        let dialled = self.connections[&link.id()].dialled.clone();
        if let Some(dial) = &dialled {
            self.address_book.on_reached(dial, device);
        }
        if let Some(old) = self.devices.get(&device).map(|id| &self.connections[id]) {
            let us = self.arguments.identity.device();
            let state = |link: &Link| LinkState { role: link.role(), is_closed: link.is_closed() };
            let age = self.arguments.clock.instant().saturating_sub(old.since);
            if replaces(us, device, state(&old.link), state(link), age) {
                let old = old.link.clone();
                old.close(ByeReason::Duplicate);
                self.step_places(Input::Ended { link: old.id() });
            } else {
                link.close(ByeReason::Duplicate);
                self.step_places(Input::Ended { link: link.id() });
                return self.resolve_dial(dialled, device);
            }
        }
        let (user, standing) = (link.peer().user, self.arguments.owner.standing(link.peer()));
        self.step_places(Input::Opened { link: link.id(), user, standing });
        if self.devices.get(&device) == Some(&link.id()) {
            self.resolve_dial(dialled, device);
        }
        // Otherwise it was refused; callers of `connect` are answered when the connection ends.
    }

    fn resolve_dial(&mut self, dialled: Option<Dial>, device: schema::DeviceId) {
        if let Some(dial) = dialled.filter(|dial| !dial.is_recorded) {
            self.resolve(&dial.address, || Ok(device));
        }
    }

    /// Reads the standing of every linked peer again.
    pub(in super::super) fn on_standings_changed(&mut self) {
        self.handle.begin_standings();
        let kept = self.devices.values().filter_map(|id| self.connections.get(id));
        let standing = |link: &Link| (link.id(), self.arguments.owner.standing(link.peer()));
        let standings: Vec<_> = kept.map(|connection| standing(&connection.link)).collect();
        for (link, standing) in standings {
            self.step_places(Input::Standing { link, standing });
        }
    }

    /// Steps the room for sockets and links, and performs its decisions.
    pub(super) fn step_places(&mut self, input: Input) {
        for effect in self.places.step(self.arguments.clock.instant(), input) {
            match effect {
                Effect::Drop(link) => {
                    if let Some(dropped) = self.half_open.remove(&link) {
                        dropped.task.abort();
                        self.arguments.meters.dropped_half_open.increment();
                    }
                }
                Effect::Keep(link) => self.keep(link),
                Effect::Refuse(link) => self.connections[&link].link.close(ByeReason::Full),
                Effect::Displace(link) => {
                    if let Some(connection) = self.connections.get(&link) {
                        tracing::debug!(peer = %connection.peer, "a link is displaced");
                        connection.link.close(ByeReason::Displaced);
                        self.arguments.meters.displaced.increment();
                    }
                }
            }
        }
        self.arguments.meters.open.set(self.places.kept());
    }

    /// Ends a dial that has not become a link.
    pub(super) fn cancel(&mut self, id: LinkId) {
        if let Some(HalfOpen { task, dialled, peer }) = self.half_open.remove(&id) {
            task.abort();
            let end = LinkEnd::Closed { reason: ByeReason::Disconnected };
            self.on_ended(id, peer, dialled, None, &end);
        }
    }

    /// Ends every dial and handshake.
    pub(super) async fn end_handshakes(&mut self) {
        self.half_open.clear();
        std::mem::replace(&mut self.handshakes, JoinSet::new()).shutdown().await;
    }
}
