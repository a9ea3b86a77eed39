//! Membership: the shell of the [gate](schema::gate), one for the node. It loads ledgers, steps the gate, and
//! persists and performs what the gate asks for.
//!
//! Parent: [`node`](super). Children: none. Restart: loads the ledgers from the store again; links are
//! closed, since the cells of the predecessor are lost, and are dialled again.
//!
//! Messages wait in the inbox, with the permits of their frames. The mailbox tells how many messages
//! wait, the inbox which of them is next. No handler awaits the disk: batches of all groups are under way at
//! once, and what a step owes is held until its batches are durable.

mod advice;
mod cut;
mod error;
mod handle;
mod held;
mod inbox;
mod intents;
mod load;
mod orphans;
mod perform;
mod persist;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::device::DeviceIdentity;
use schema::gate::{Answer, Effect, Gate, Input, Now};
use schema::key::SigningKey;
use schema::signed::Envelope;
use schema::wire::ledger::LedgerFrame;
use schema::{GroupId, UserId};
use tokio::sync::{OwnedRwLockReadGuard, mpsc};
use tokio::task::JoinSet;

pub use schema::gate::{
    ChangeRefusal, Declined, Device, Flood, GroupInfo, GroupState, Invitation, MemberDetails, MemberDevice,
    MemberOp, MembershipChange, Silent, Terms,
};
pub use schema::ledger::InviteStatus;

pub use self::cut::{Receipt, SubmitOptions};
pub use self::error::ChangeError;
pub use self::handle::{MembershipHandle, NewInvitation};
use self::held::{Asked, Held, Owed, Until};
use self::inbox::{Class, Queued};
use self::perform::{Reads, StoredBatch};
pub(crate) use self::supervisor::GroupSupervisor;
use crate::clock::Clock;
use crate::meter::Meters;
use crate::node::connection_manager::{ConnectionManagerHandle, LinkId};
use crate::node::event::Events;
use crate::node::gate::GateCells;
use crate::node::group::Groups;
use crate::node::store::{SpaceHandle, StoreError, StoreHandle};
use crate::permits::Permit;
use crate::watchdog::{Progress, Watchdog};

/// Handle the next message of the inbox.
struct HandleNext;

/// Answers a caller.
type Answering = Box<dyn FnOnce() + Send>;

enum Message {
    /// Step the gate; frames of a peer hold their permits until the batches of the step are durable.
    Step(Box<Input>, Vec<Permit>),
    /// Step the gate with a request.
    Ask {
        input: Box<Input>,
        /// Keeps the pages of its cut until then.
        cutting: Option<OwnedRwLockReadGuard<()>>,
        reply: RpcReplyPort<Result<Answer, StoreError>>,
    },
    /// Read from the gate, about a group or about all; what is read is answered once it is durable.
    Read { group: Option<GroupId>, read: Box<dyn FnOnce(&Gate) -> Answering + Send> },
    /// The store answered.
    Stored,
    /// A link ended.
    LinkDown { link: LinkId, reason: String },
    /// The row of an intent changed.
    Intent { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// The row of a contact changed.
    Contact { user: UserId, reply: Option<RpcReplyPort<()>> },
    /// Read all intents and contacts again.
    ReloadIntents,
    /// The addresses of this device changed.
    AddressesChanged,
    /// The timer of the tickets has run down.
    TicketsDue,
    /// The timer of the sessions has run down.
    SessionsDue,
    /// Stand still, for tests.
    Stall(Duration),
    /// Fail, for tests.
    Fail,
}

/// The bytes of a frame that take as long to decode and to store as one signature takes to verify.
const SIGNATURE_COST: usize = 2 * 1024;

/// The cost of a Pull: the largest reply takes about as long as 32 signatures.
const PULL_COST: usize = 32 * SIGNATURE_COST;

impl Message {
    /// The activity of the turn that handles it, for the watchdog.
    fn doing(&self) -> &'static str {
        match self {
            Self::Step(input, _) if input.group().is_some() => "handle a frame of a ledger",
            Self::Step(input, _) if input.link().is_some() => "handle a frame or the begin of a link",
            Self::Step(..) => "handle news of a group or of this device",
            Self::Ask { .. } => "carry out a request",
            Self::Read { .. } => "answer a question",
            Self::Stored => "perform what is durable",
            Self::LinkDown { .. } => "handle the end of a link",
            Self::Intent { .. } => "read an intent",
            Self::Contact { .. } => "read a contact",
            Self::ReloadIntents => "read all intents and contacts",
            Self::AddressesChanged => "publish addresses",
            Self::TicketsDue => "redeem tickets",
            Self::SessionsDue => "continue sessions",
            Self::Stall(_) => "stand still on request",
            Self::Fail => "fail on request",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Step(input, _) => input.link().map_or(Class::Command, Class::Link),
            Self::LinkDown { link, .. } => Class::Link(*link),
            Self::SessionsDue => Class::Timer,
            Self::Stored => Class::Stored,
            Self::Ask { .. }
            | Self::Read { .. }
            | Self::Intent { .. }
            | Self::Contact { .. }
            | Self::ReloadIntents
            | Self::AddressesChanged
            | Self::TicketsDue
            | Self::Stall(_)
            | Self::Fail => Class::Command,
        }
    }
}

impl Queued for Message {
    fn cost(&self) -> usize {
        let Self::Step(input, _) = self else { return SIGNATURE_COST };
        let of = |envelopes: &[Envelope]| -> usize {
            envelopes.iter().map(|envelope| envelope.payload.len() + SIGNATURE_COST).sum()
        };
        let records = match &**input {
            Input::Ledger {
                frame: LedgerFrame::Push { ops, certificates, revocations, records, .. },
                ..
            } => {
                // An op brings the certificate of the device that signed it.
                of(ops) + ops.len() * SIGNATURE_COST + of(certificates) + of(revocations) + of(records)
            }
            Input::Ledger { frame: LedgerFrame::Pull(_), .. } => PULL_COST,
            Input::Present { presented, .. } => of(&presented.ops),
            _ => 0,
        };
        SIGNATURE_COST + records
    }

    /// Pushes of one group are one push, which costs one write.
    fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (Self::Step(input, permits), Self::Step(next, more)) => match input.join_push(*next) {
                Ok(()) => {
                    permits.extend(more);
                    Ok(())
                }
                Err(next) => Err(Self::Step(Box::new(next), more)),
            },
            (_, next) => Err(next),
        }
    }
}

/// The arguments of every start of membership.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) clock: Clock,
    pub(crate) meters: Meters,
    pub(crate) watchdog: Watchdog,
    pub(crate) user: SigningKey,
    pub(crate) device: DeviceIdentity,
    pub(crate) personal: GroupId,
    pub(crate) store: StoreHandle,
    pub(crate) groups: Groups,
    pub(crate) connections: ConnectionManagerHandle,
    pub(crate) cells: GateCells,
    pub(crate) supervisor: Arc<dyn GroupSupervisor>,
    pub(crate) events: Events,
}

struct State {
    handle: MembershipHandle,
    arguments: Arguments,
    progress: Progress,
    gate: Gate,
    spaces: BTreeMap<GroupId, SpaceHandle>,
    held: Held,
    /// Ends of batches.
    stored: (mpsc::UnboundedSender<StoredBatch>, mpsc::UnboundedReceiver<StoredBatch>),
    /// Bytes of manifests in each group's space that no op names, as far as they are counted.
    orphans: BTreeMap<GroupId, u64>,
    /// The timer of the tickets.
    tickets: JoinSet<()>,
    /// The timer of the sessions.
    sessions: JoinSet<()>,
}

impl State {
    /// Steps the gate and performs its effects, as far as they wait for no batch.
    fn step(&mut self, input: Input) -> Result<(), StoreError> {
        let effects = self.decide(input)?;
        self.perform_all(effects)?;
        self.arm_sessions();
        Ok(())
    }

    /// Steps the gate with a request; its answer follows once it is durable.
    fn ask(&mut self, input: Input, asked: Asked) -> Result<(), StoreError> {
        self.held.ask(asked);
        self.step(input)
    }

    /// Keeps something until everything is durable that was decided so far, about a group or about all.
    fn hold(&mut self, group: Option<GroupId>, owed: Owed) {
        self.held.hold(Until { group, mark: self.gate.mark() }, owed);
        self.pay();
    }

    /// Gives back and answers what is owed for batches that are durable now.
    fn pay(&mut self) {
        let paused = self.held.pay(|Until { group, mark }| self.gate.is_settled(group, mark));
        (0..paused).for_each(|_| self.handle.call());
    }

    /// Steps the gate with the ends of batches.
    fn on_stored(&mut self) -> Result<(), StoreError> {
        while let Ok(batch) = self.stored.1.try_recv() {
            self.end_batch(batch)?;
        }
        Ok(())
    }

    fn end_batch(&mut self, StoredBatch { number, result }: StoredBatch) -> Result<(), StoreError> {
        self.step(Input::Stored { number, is_durable: result.is_ok() })?;
        if let Err(error) = result {
            // The actor fails, since its ledgers in memory ran ahead of the store.
            self.held.fail(&error);
            return Err(error);
        }
        self.pay();
        Ok(())
    }

    /// Waits until everything is durable: before the actor runs, and in tests.
    async fn settle(&mut self) -> Result<(), StoreError> {
        while self.gate.is_storing() {
            let batch = self.stored.1.recv().await.expect("this state has a sender");
            self.end_batch(batch)?;
        }
        Ok(())
    }

    fn decide(&mut self, input: Input) -> Result<Vec<Effect>, StoreError> {
        let reads = Reads::new(&self.spaces, &self.arguments.groups);
        let effects = self.gate.step(now(&self.arguments.clock), input, &reads);
        let Err(error) = reads.result() else { return Ok(effects) };
        // A failed read must not keep the cells of removed peers open.
        for effect in effects {
            if let Effect::CloseCell { link, number } = effect {
                self.arguments.cells.close(link, number);
            }
        }
        Err(error)
    }

    /// A group's space, created if it is not there.
    fn space(&mut self, group: GroupId) -> Result<SpaceHandle, StoreError> {
        if let Some(space) = self.spaces.get(&group) {
            return Ok(space.clone());
        }
        let space = self.arguments.store.space(&crate::node::keys::space(group))?;
        self.spaces.insert(group, space.clone());
        Ok(space)
    }

    /// One pending timer at most. It may run down early, and then the next is set.
    fn arm_sessions(&mut self) {
        while self.sessions.try_join_next().is_some() {}
        let Some(at) = self.gate.wake_at().filter(|_| self.sessions.is_empty()) else { return };
        let (clock, handle) = (self.arguments.clock.clone(), self.handle.clone());
        let pause = at.since(clock.moment());
        self.arguments.clock.spawn_in(&mut self.sessions, async move {
            clock.sleep(pause).await;
            handle.tell(Message::SessionsDue);
        });
    }
}

/// The time of one step.
fn now(clock: &Clock) -> Now {
    Now { wall: clock.now(), instant: clock.instant() }
}

struct Membership;

impl Drop for State {
    fn drop(&mut self) {
        // Callers that wait for an answer learn that no actor runs.
        self.handle.inbox().clear();
    }
}

impl Actor for Membership {
    type Msg = HandleNext;
    type State = State;
    type Arguments = (MembershipHandle, Arguments);

    async fn pre_start(
        &self,
        _: ActorRef<HandleNext>,
        (handle, arguments): (MembershipHandle, Arguments),
    ) -> Result<State, ActorProcessingErr> {
        State::load(handle, arguments).await
    }

    async fn handle(
        &self,
        _: ActorRef<HandleNext>,
        _: HandleNext,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let takes_links = state.held.takes_links();
        let next = state.handle.inbox().next(takes_links);
        let Some(message) = next else {
            // It was joined to one before, or is a frame that waits until batches are durable.
            state.held.pause(takes_links);
            if !takes_links {
                state.progress.wait("wait for the store");
            }
            return Ok(());
        };
        let _turn = state.progress.turn(message.doing());
        match message {
            Message::Stored => state.on_stored()?,
            Message::Step(input, permits) => {
                let group = input.group();
                state.step(*input)?;
                state.hold(group, Owed::Permits(permits));
            }
            Message::Ask { input, cutting, reply } => {
                state.ask(*input, Asked { reply, _cutting: cutting })?
            }
            Message::Read { group, read } => {
                let answering = read(&state.gate);
                state.hold(group, Owed::Answer(answering));
            }
            Message::LinkDown { link, reason } => {
                state.step(Input::LinkDown { link, reason })?;
                state.delete_orphans().await?;
            }
            Message::Intent { group, reply } => {
                state.reload_intent(group)?;
                state.hold(Some(group), Owed::Reply(reply));
            }
            Message::Contact { user, reply } => {
                state.reload_contact(user)?;
                state.hold(None, Owed::Reply(reply));
            }
            Message::ReloadIntents => state.reload_all()?,
            Message::AddressesChanged => {
                let addresses = state.arguments.connections.published();
                state.step(Input::Addresses(addresses))?;
            }
            Message::TicketsDue => {
                state.tickets = JoinSet::new();
                state.step(Input::RedeemTickets(None))?;
            }
            Message::SessionsDue => {
                state.sessions = JoinSet::new();
                state.step(Input::Wake)?;
            }
            Message::Stall(pause) => state.arguments.clock.sleep(pause).await,
            Message::Fail => return Err("failed on request".into()),
        }
        Ok(())
    }
}
