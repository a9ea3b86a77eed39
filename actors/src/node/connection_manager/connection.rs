//! One link: meets the peer, moves frames, pings.
//!
//! Parent: [`connection_manager`](super). Children: none; a reader, a writer and a timer run as its tasks and tell it.
//! Restart: never; it is let go, and the manager dials again.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use schema::device::DeviceIdentity;
use schema::limits::{FRAME_BYTES_MAX, LINK_AGE_MAX, MAILBOX_BYTES_MAX, PING_EVERY};
use schema::wire::link::{ByeReason, LinkFrame};
use tokio::task::JoinSet;

use super::ConnectionManagerHandle;
use crate::call::{LastWord, Slot};
use crate::clock::Clock;
use crate::permits::{Permit, Permits};
use crate::transport::Transport;

mod link;
mod outbound;
mod pulse;
mod wire;

pub(super) use link::Fate;
pub use link::{Link, LinkClosed, LinkEnd, LinkId, Switchboard};
use pulse::{Beat, Pulse};
pub(super) use wire::Origin;
use wire::{Met, Reader};

/// How long a Bye may take before the stream is dropped.
const BYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Steers one connection.
#[derive(Clone, Default)]
pub(super) struct ConnectionHandle {
    slot: Slot<Message>,
}

impl ConnectionHandle {
    pub(super) async fn start(&self, arguments: Arguments, parent: ActorCell) -> Result<ActorId, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Connection, arguments, parent).await?;
        Ok(self.slot.put(actor))
    }

    /// The link is kept: those above may have it.
    pub(super) fn open(&self) {
        // Else the connection has ended, and the manager hears of that by itself.
        let _ = self.slot.tell(Message::Open);
    }

    pub(super) fn stop(&self) {
        self.slot.stop();
    }

    pub(super) async fn stop_within(&self, deadline: Duration) {
        self.slot.stop_within(deadline).await;
    }
}

enum Message {
    /// The handshake is over.
    Met(Box<Result<Met, LinkEnd>>),
    /// The manager keeps this link.
    Open,
    /// The peer sent a frame; the permit is its room in this mailbox.
    Frame(LinkFrame, Permit),
    /// Time for a ping.
    Tick,
    /// A task has ended.
    Ended(LinkEnd),
    /// The link was ended through its handle.
    Sealed,
}

/// What a connection works with.
pub(super) struct Arguments {
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) identity: DeviceIdentity,
    pub(super) switchboard: Arc<dyn Switchboard>,
    pub(super) manager: ConnectionManagerHandle,
    pub(super) id: LinkId,
    pub(super) origin: Origin,
    /// Where the manager looks for the reason once this has ended.
    pub(super) fate: Fate,
}

struct State {
    clock: Clock,
    switchboard: Arc<dyn Switchboard>,
    manager: ConnectionManagerHandle,
    id: LinkId,
    fate: Fate,
    phase: Phase,
    /// Reader and timers; end with the actor.
    tasks: JoinSet<()>,
    /// On its own, since it may finish a Bye.
    writer: JoinSet<()>,
}

enum Phase {
    /// Before the handshake has passed.
    Meeting,
    /// The manager decides whether to keep the link.
    Met { link: Link, reader: Reader },
    /// Frames flow.
    Open { announced: Announced, since: Duration, mailbox: Permits, pulse: Pulse },
    /// Nothing more to do.
    Over,
}

/// A link that those above know of. Dropping it tells them that it is over: on a stop, a panic and a kill alike.
struct Announced {
    link: Link,
    switchboard: Arc<dyn Switchboard>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let end = self.link.fate().get_or_init(|| LinkEnd::Crashed);
        self.switchboard.down(self.link.id(), end);
    }
}

impl State {
    fn met(&mut self, myself: &ActorRef<Message>, met: Met) {
        let Met { established, reader, writer } = met;
        let actor = myself.clone();
        let (link, queue) = Link::new(self.id, established, self.fate.clone(), move || {
            // The actor has ended before: then it has nothing to look at.
            let _ = actor.send_message(Message::Sealed);
        });
        let last = LastWord::new(myself.clone(), Message::Ended(LinkEnd::Crashed));
        let clock = self.clock.clone();
        self.clock.spawn_in(&mut self.writer, async move {
            match wire::write(writer, &queue).await {
                // With its Bye: the fate was sealed before.
                Ok(()) => last.say(Message::Sealed),
                Err(end) => {
                    // A peer that reads no more may have said why: its Bye is on the way to the reader.
                    clock.sleep(BYE_TIMEOUT).await;
                    last.say(Message::Ended(end));
                }
            }
        });
        self.phase = Phase::Met { link: link.clone(), reader };
        self.manager.met(link);
    }

    fn open(&mut self, myself: &ActorRef<Message>) {
        let Phase::Met { link, reader } = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let mailbox = Permits::new(MAILBOX_BYTES_MAX);
        let last = LastWord::new(myself.clone(), Message::Ended(LinkEnd::Crashed));
        let actor = myself.clone();
        let reading = wire::read(reader, link.clone(), mailbox.clone(), move |frame, permit| {
            // The actor has ended: so will this task.
            let _ = actor.send_message(Message::Frame(frame, permit));
        });
        self.clock.spawn_in(&mut self.tasks, async move {
            let end = reading.await;
            last.say(Message::Ended(end));
        });
        self.clock.spawn_in(&mut self.tasks, link::let_strangers_go(self.clock.clone(), link.clone()));
        let announced = Announced { link: link.clone(), switchboard: self.switchboard.clone() };
        let since = self.clock.instant();
        self.phase = Phase::Open { announced, since, mailbox, pulse: Pulse::default() };
        self.arm(myself);
        self.switchboard.up(link);
    }

    fn frame(&mut self, frame: LinkFrame, permit: Permit) {
        let Phase::Open { announced, pulse, .. } = &mut self.phase else { return };
        let link = &announced.link;
        if link.is_closed() {
            return;
        }
        match frame {
            LinkFrame::Hello(_)
            | LinkFrame::Present { .. }
            | LinkFrame::Join(_)
            | LinkFrame::Declined { .. }
            | LinkFrame::Group { .. } => {
                self.switchboard.frame(link, frame, permit);
            }
            LinkFrame::Ping { nonce } => {
                // A closed link ends by itself.
                let _ = link.send(LinkFrame::Pong { nonce });
            }
            LinkFrame::Pong { nonce } => {
                pulse.pong(self.clock.instant(), nonce);
                link.set_latency(pulse.latency());
            }
            LinkFrame::Bye { reason } => link.end(LinkEnd::ClosedByPeer { reason }),
            LinkFrame::Auth(_) => link.end(LinkEnd::OutOfPlace { kind: frame.kind() }),
        }
    }

    fn tick(&mut self, myself: &ActorRef<Message>) {
        let Phase::Open { announced, since, mailbox, pulse } = &mut self.phase else { return };
        let now = self.clock.instant();
        if now.saturating_sub(*since) >= LINK_AGE_MAX {
            announced.link.end(LinkEnd::Worn);
            return;
        }
        // With room for two more frames its reader cannot be waiting.
        let held_up = mailbox.available() < 2 * FRAME_BYTES_MAX;
        match pulse.tick(now, announced.link.heard(), held_up) {
            Beat::Silent => announced.link.end(LinkEnd::Silent),
            Beat::Ping(nonce) => {
                // A closed link ends by itself.
                let _ = announced.link.send(LinkFrame::Ping { nonce });
                self.arm(myself);
            }
        }
    }

    /// One tick is under way at a time.
    fn arm(&mut self, myself: &ActorRef<Message>) {
        let (clock, actor, pause) = (self.clock.clone(), myself.clone(), self.clock.jitter(PING_EVERY));
        while self.tasks.try_join_next().is_some() {}
        self.clock.spawn_in(&mut self.tasks, async move {
            clock.sleep(pause).await;
            // The actor has ended: so will this task.
            let _ = actor.send_message(Message::Tick);
        });
    }

    /// The first reason counts.
    fn seal(&self, end: LinkEnd) {
        let _ = self.fate.set(end);
    }

    fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Met { link, .. } => Some(link),
            Phase::Open { announced, .. } => Some(&announced.link),
            Phase::Meeting | Phase::Over => None,
        }
    }
}

/// What the peer is told about an end, where it should hear anything.
fn farewell(end: &LinkEnd) -> Option<ByeReason> {
    match end {
        LinkEnd::Closed { reason } => Some(*reason),
        LinkEnd::Frame(_) | LinkEnd::OutOfPlace { .. } => Some(ByeReason::Protocol),
        LinkEnd::Worn => Some(ByeReason::Renew),
        LinkEnd::Stranger => Some(ByeReason::NotAuthorized),
        _ => None,
    }
}

struct Connection;

impl Actor for Connection {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { clock, transport, identity, switchboard, manager, id, origin, fate } = arguments;
        let mut tasks = JoinSet::new();
        let (time, last) = (clock.clone(), LastWord::new(myself, Message::Ended(LinkEnd::Crashed)));
        clock.spawn_in(&mut tasks, async move {
            let met = wire::meet(&time, &*transport, identity, origin).await;
            last.say(Message::Met(Box::new(met)));
        });
        let phase = Phase::Meeting;
        Ok(State { clock, switchboard, manager, id, fate, phase, tasks, writer: JoinSet::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Met(met) => match *met {
                Ok(met) => state.met(&myself, met),
                Err(end) => state.seal(end),
            },
            Message::Open => state.open(&myself),
            Message::Frame(frame, permit) => state.frame(frame, permit),
            Message::Tick => state.tick(&myself),
            Message::Ended(end) => state.seal(end),
            Message::Sealed => {}
        }
        if state.fate.get().is_some() {
            myself.stop(None);
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.tasks.shutdown().await;
        let end = state.fate.get_or_init(|| LinkEnd::Closed { reason: ByeReason::Shutdown }).clone();
        let bye = state.link().zip(farewell(&end)).map(|(link, reason)| link.say_bye(reason));
        if bye.is_some() {
            // A peer that does not read does not hold us up.
            let _ = state.clock.timeout(BYE_TIMEOUT, state.writer.join_next()).await;
        }
        state.writer.shutdown().await;
        state.phase = Phase::Over;
        Ok(())
    }
}
