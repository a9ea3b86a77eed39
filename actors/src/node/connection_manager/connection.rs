//! One link after its handshake: frames in both directions, pings.
//!
//! Parent: [`connection_manager`](super). Children: none; its reader, writer and timer run as tasks and send
//! it messages. Restart: never; the link ends, and the manager dials again. A stream whose handshake runs is
//! a task of the manager, not an actor: a flood of them costs little.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use schema::limits::{FRAME_BYTES_MAX, LINK_AGE_MAX, MAILBOX_BYTES_MAX, PING_EVERY};
use schema::wire::link::{ByeReason, LinkFrame};
use tokio::task::JoinSet;

use crate::call::{ExitNotice, Slot};
use crate::clock::Clock;
use crate::meter::LinkMeters;
use crate::permits::{Permit, Permits};
use crate::watchdog::{Name, Progress, Watchdog};

mod fair_queue;
mod heartbeat;
mod link;
mod wire;

use heartbeat::{Heartbeat, Tick};
use link::{EndReason, Queue};
pub use link::{Link, LinkClosed, LinkEnd, LinkId, LinkOwner};
pub(super) use wire::{AuthenticatedStream, Origin, authenticate};
use wire::{Reader, Writer};

/// Time to send a Bye before the stream is dropped.
const BYE_TIMEOUT: Duration = Duration::from_millis(500);

/// The handle of one connection. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ConnectionHandle {
    slot: Slot<Message>,
}

impl ConnectionHandle {
    /// Starts the link over a stream whose handshake has passed.
    pub(super) async fn start(
        &self,
        arguments: Arguments,
        stream: AuthenticatedStream,
        parent: ActorCell,
    ) -> Result<(ActorId, Link), SpawnErr> {
        let AuthenticatedStream { established, reader, writer } = stream;
        let slot = self.slot.clone();
        let (link, queue) = Link::new(arguments.id, established, EndReason::default(), move || {
            // Fails if the actor has ended already.
            let _ = slot.tell(Message::EndReasonSet);
        });
        let start = Start { link: link.clone(), queue, reader, writer };
        let (actor, _) = Actor::spawn_linked(None, Connection, (arguments, start), parent).await?;
        Ok((self.slot.put(actor), link))
    }

    /// Opens the link for its owner: the manager keeps it.
    pub(super) fn open(&self) {
        // Fails if the connection has ended; the manager handles that as its supervisor.
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
    /// The manager keeps this link.
    Open,
    /// The peer sent a frame; the permit is its share of this mailbox.
    Frame(LinkFrame, Permit),
    /// Time for a ping.
    Tick,
    /// A task has ended.
    Ended(LinkEnd),
    /// The link was ended through its handle.
    EndReasonSet,
}

impl Message {
    /// The activity of the turn that handles it, for the watchdog.
    fn doing(&self) -> &'static str {
        match self {
            Self::Open => "open the link",
            Self::Frame(..) => "pass on a frame",
            Self::Tick => "send a ping",
            Self::Ended(_) | Self::EndReasonSet => "end the link",
        }
    }
}

/// Arguments of a connection.
pub(super) struct Arguments {
    pub(super) clock: Clock,
    pub(super) meters: Arc<LinkMeters>,
    pub(super) watchdog: Watchdog,
    pub(super) owner: Arc<dyn LinkOwner>,
    pub(super) id: LinkId,
}

/// The link of a connection, and its stream.
struct Start {
    link: Link,
    queue: Arc<Queue>,
    reader: Reader,
    writer: Writer,
}

struct State {
    clock: Clock,
    meters: Arc<LinkMeters>,
    progress: Progress,
    owner: Arc<dyn LinkOwner>,
    end_reason: EndReason,
    phase: Phase,
    /// Reader and timers; they end with the actor.
    tasks: JoinSet<()>,
    /// Apart from the other tasks, since it may still send a Bye.
    writer: JoinSet<()>,
}

enum Phase {
    /// The handshake has passed; the manager decides whether to keep the link.
    Authenticated {
        link: Link,
        reader: Reader,
    },
    /// Frames are exchanged.
    Open {
        open: OpenLink,
        since: Duration,
        mailbox: Permits,
        heartbeat: Heartbeat,
    },
    Ended,
}

/// A link that its owner knows. Dropping it calls the owner's `on_down`: on a stop, a panic and a kill alike.
struct OpenLink {
    link: Link,
    owner: Arc<dyn LinkOwner>,
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        let end = self.link.end_reason().get_or_init(|| LinkEnd::Crashed);
        self.owner.on_down(self.link.id(), end);
    }
}

impl State {
    fn open(&mut self, myself: &ActorRef<Message>) {
        let Phase::Authenticated { link, reader } = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        let mailbox = Permits::new(MAILBOX_BYTES_MAX);
        let notice = ExitNotice::new(myself.clone(), Message::Ended(LinkEnd::Crashed));
        let actor = myself.clone();
        let deliver = move |frame, permit| {
            // Fails if the actor has ended; this task then ends too.
            let _ = actor.send_message(Message::Frame(frame, permit));
        };
        let (source, permits, meters) = (link.clone(), mailbox.clone(), self.meters.clone());
        self.clock.spawn_in(&mut self.tasks, async move {
            let end = wire::read(reader, source, permits, &meters, deliver).await;
            notice.complete(Message::Ended(end));
        });
        self.clock.spawn_in(&mut self.tasks, link::end_if_stranger(self.clock.clone(), link.clone()));
        let open = OpenLink { link: link.clone(), owner: self.owner.clone() };
        let since = self.clock.instant();
        self.phase = Phase::Open { open, since, mailbox, heartbeat: Heartbeat::default() };
        self.schedule_tick(myself);
        self.owner.on_up(link);
    }

    fn on_frame(&mut self, frame: LinkFrame, permit: Permit) {
        let Phase::Open { open, heartbeat, .. } = &mut self.phase else { return };
        let link = &open.link;
        if link.is_closed() {
            return;
        }
        match frame {
            LinkFrame::Hello(_)
            | LinkFrame::Present { .. }
            | LinkFrame::Join(_)
            | LinkFrame::Declined { .. }
            | LinkFrame::Group { .. } => {
                self.owner.on_frame(link, frame, permit);
            }
            LinkFrame::Ping { nonce } => {
                // Fails if the link is closed; it ends by itself.
                let _ = link.send(LinkFrame::Pong { nonce });
            }
            LinkFrame::Pong { nonce } => {
                heartbeat.on_pong(self.clock.instant(), nonce);
                link.set_latency(heartbeat.latency());
            }
            LinkFrame::Bye { reason } => link.end(LinkEnd::ClosedByPeer { reason }),
            LinkFrame::Auth(_) => link.end(LinkEnd::UnexpectedFrame { kind: frame.kind() }),
        }
    }

    fn on_tick(&mut self, myself: &ActorRef<Message>) {
        let Phase::Open { open, since, mailbox, heartbeat } = &mut self.phase else { return };
        let now = self.clock.instant();
        if now.saturating_sub(*since) >= LINK_AGE_MAX {
            open.link.end(LinkEnd::Worn);
            return;
        }
        // With permits for two more frames the reader cannot be waiting.
        let blocked = mailbox.available() < 2 * FRAME_BYTES_MAX;
        match heartbeat.tick(now, open.link.received(), blocked) {
            Tick::Silent => open.link.end(LinkEnd::Silent),
            Tick::Ping(nonce) => {
                // Fails if the link is closed; it ends by itself.
                let _ = open.link.send(LinkFrame::Ping { nonce });
                self.schedule_tick(myself);
            }
        }
    }

    /// Sends the actor one tick after a jittered pause.
    fn schedule_tick(&mut self, myself: &ActorRef<Message>) {
        let (clock, actor, pause) = (self.clock.clone(), myself.clone(), self.clock.jitter(PING_EVERY));
        while self.tasks.try_join_next().is_some() {}
        self.clock.spawn_in(&mut self.tasks, async move {
            clock.sleep(pause).await;
            // Fails if the actor has ended; this task then ends too.
            let _ = actor.send_message(Message::Tick);
        });
    }

    /// Sets the end reason. The first reason counts.
    fn set_end_reason(&self, end: LinkEnd) {
        let _ = self.end_reason.set(end);
    }

    fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Authenticated { link, .. } => Some(link),
            Phase::Open { open, .. } => Some(&open.link),
            Phase::Ended => None,
        }
    }
}

/// The reason to send the peer in a Bye, if it should receive one.
fn bye_reason(end: &LinkEnd) -> Option<ByeReason> {
    match end {
        LinkEnd::Closed { reason } => Some(*reason),
        LinkEnd::Frame(_) | LinkEnd::UnexpectedFrame { .. } => Some(ByeReason::Protocol),
        LinkEnd::Worn => Some(ByeReason::Renew),
        LinkEnd::Stranger => Some(ByeReason::NotAuthorized),
        _ => None,
    }
}

struct Connection;

impl Actor for Connection {
    type Msg = Message;
    type State = State;
    type Arguments = (Arguments, Start);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (arguments, start): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { clock, meters, watchdog, owner, id: _ } = arguments;
        let Start { link, queue, reader, writer } = start;
        let notice = ExitNotice::new(myself, Message::Ended(LinkEnd::Crashed));
        let (time, counters, mut writing) = (clock.clone(), meters.clone(), JoinSet::new());
        clock.spawn_in(&mut writing, async move {
            match wire::write(writer, &queue, &counters).await {
                // A Bye was written, so the end reason is set.
                Ok(()) => notice.complete(Message::EndReasonSet),
                Err(end) => {
                    // A peer that stopped reading may have sent a Bye, which is on its way to the reader.
                    time.sleep(BYE_TIMEOUT).await;
                    notice.complete(Message::Ended(end));
                }
            }
        });
        let end_reason = link.end_reason().clone();
        let progress = watchdog.register(Name::of_device("connection", link.peer().device));
        let phase = Phase::Authenticated { link, reader };
        let tasks = JoinSet::new();
        Ok(State { clock, meters, progress, owner, end_reason, phase, tasks, writer: writing })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _turn = state.progress.turn(message.doing());
        match message {
            Message::Open => state.open(&myself),
            Message::Frame(frame, permit) => state.on_frame(frame, permit),
            Message::Tick => state.on_tick(&myself),
            Message::Ended(end) => state.set_end_reason(end),
            Message::EndReasonSet => {}
        }
        if state.end_reason.get().is_some() {
            myself.stop(None);
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.tasks.shutdown().await;
        let end = state.end_reason.get_or_init(|| LinkEnd::Closed { reason: ByeReason::Shutdown }).clone();
        let bye = state.link().zip(bye_reason(&end)).map(|(link, reason)| link.push_bye(reason));
        if bye.is_some() {
            // A timeout means that the peer does not read.
            let _ = state.clock.timeout(BYE_TIMEOUT, state.writer.join_next()).await;
        }
        state.writer.shutdown().await;
        state.phase = Phase::Ended;
        Ok(())
    }
}
