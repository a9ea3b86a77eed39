//! Asking and telling `membership`; reading what it last published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ractor::{Actor, ActorCell, ActorId, SpawnErr};
use schema::ledger::{Refusal, Role, Roster};
use schema::wire::hello::Hello;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{DeclineReason, Join};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId};
use tokio::sync::broadcast;

use super::advice::advice;
use super::cut::MadeCut;
use super::devices::Device;
use super::offers::Offers;
use super::people::{Invitation, MemberOp, MembershipChange, People, SubmitOptions, is_alone_in_charge};
use super::present::Presented;
use super::silence::Silent;
use super::tickets::{Opened, Terms};
use super::{Arguments, Membership, Message};
use crate::call::{CallError, Slot};
use crate::clock::Clock;
use crate::node::connection_manager::{Link, LinkId};
use crate::node::group::Groups;
use crate::node::group::cut::DamagedDocument;
use crate::node::store::{StoreError, StoreHandle};
use crate::permits::Permit;

/// Rosters that may be replaced before whoever follows one has fallen behind.
const MOVED_MAX: usize = 256;

/// Whether this user takes part in a group, and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum GroupState {
    /// Intent and authority agree.
    Active,
    /// This user wants in; no ledger that says so is here yet.
    Pending,
    /// The ledger says that this user is no longer a member.
    Removed,
    /// What is stored of it is damaged: it is out of service.
    Failed,
    /// A member presented a ledger that admits this user, who has not asked. Nothing of it is stored.
    Offered,
}

/// A group as this device knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupInfo {
    /// Which group.
    pub id: GroupId,
    /// Its name; empty while no ledger is here.
    pub name: String,
    /// Whether this user is in it.
    pub state: GroupState,
    /// This user's role; while pending, what a ledger says that is older than their ticket.
    pub role: Role,
    /// Who presented it, while it is offered.
    pub offered_by: Option<UserId>,
}

/// Why a membership op was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The group is not known here; its ledger may not have arrived yet.
    #[error("group {0} is not known here")]
    UnknownGroup(GroupId),
    /// The rules say no: the message says what to do, the cause which rule.
    #[error("{}", advice(.0))]
    Refused(#[from] Refusal),
    /// [Give the role](MembershipChange::SetRole) in so many words.
    #[error(
        "user {user} is {role:?}, and to be let in with a role is to get a higher one: set their role, or remove them"
    )]
    NotAbove {
        /// Who was to be let in.
        user: UserId,
        /// Their role.
        role: Role,
    },
    /// Say it again with a cut; where the group's rows are out of service there is none.
    #[error(
        "ending what user {user} writes needs a cut, and the rows here that it is made from are out of service"
    )]
    NeedsCut {
        /// Who writes.
        user: UserId,
        /// One device of theirs; `None`: all of them.
        device: Option<DeviceId>,
    },
    /// Try again once there is less to do: what is here was judged anew all the time while it was gone through.
    #[error(
        "group {0} is still being judged by who is a member now, or keeps changing; try again in a moment"
    )]
    Unsettled(GroupId),
    /// Wait until they are back, or say it anyway.
    #[error(
        "{count} documents that user {user} wrote to are damaged here, and what they wrote to them would be lost to \
         everybody: {}; they come back from the next peer that has them: meet one first, or do it anyway",
        listed(.documents, *.count)
    )]
    Damaged {
        /// Who wrote.
        user: UserId,
        /// Which, or the first of them.
        documents: Vec<DamagedDocument>,
        /// How many.
        count: u64,
    },
    /// Leave out fewer ops, or none.
    #[error("as of then user {0} had written nothing, and all that they wrote since would be lost")]
    TakesAll(UserId),
    /// Nobody to remove.
    #[error("user {0} is no member")]
    NotAMember(UserId),
    /// Make somebody else an Admin first, who has come in with a device.
    #[error(
        "nobody would be in charge: make another member an Admin first, one who has come in with a device"
    )]
    NobodyInCharge,
    /// Remove somebody first. Devices that are apart may exceed it together, which harms nobody.
    #[error("the group has {max} members, as many as it may")]
    Full {
        /// Members that a group may have.
        max: usize,
    },
    /// Only who has a group can hand it over.
    #[error("only an Owner or Founder hands a group over, and this user is {role:?}")]
    NotAnOwner {
        /// This user's role.
        role: Role,
    },
    /// They must have come in before, or nobody might be in charge.
    #[error("user {0} is no other member with a device in the group")]
    NoHeir(UserId),
    /// The ops to be left out are not all here, or the group's founding is among them.
    #[error("op {0} is none that can be left out here")]
    UnknownOp(OpId),
    /// There is no such invitation.
    #[error("no invitation {0} here")]
    UnknownInvite(OpId),
    /// Nothing is to be confirmed.
    #[error("op {0} is none that may be contested; perhaps it was confirmed, or is void by now")]
    NotContestable(OpId),
    /// Nobody can: the rules confirm only what is below Admin (AUTHORITY 3.2). Give them a role below it, or the one that
    /// they had.
    #[error("op {op} leaves them {role:?}, and only a role below Admin is confirmed: set another role")]
    NotConfirmable {
        /// The lowering.
        op: OpId,
        /// The role that it leaves.
        role: Role,
    },
    /// Ask somebody who stands above who said it.
    #[error("op {op} can be confirmed only by somebody stronger than {author}, who said it")]
    TooWeakToConfirm {
        /// The lowering.
        op: OpId,
        /// Who said it.
        author: UserId,
    },
    /// It has an effect, or what it says is so all the same, or it is not here.
    #[error("op {0} is none that came to nothing and may be said again")]
    NotVoided(OpId),
    /// No certificate for such a device of this user is here.
    #[error("device {0} is not known as one of this user")]
    UnknownDevice(DeviceId),
    /// A device does not take itself back: do it from another.
    #[error("a device does not revoke itself")]
    OwnDevice,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody answered in time; the change may or may not have happened.
    #[error("membership did not answer")]
    Call(#[from] CallError),
}

/// Damaged documents for people.
fn listed(documents: &[DamagedDocument], count: u64) -> String {
    let names: Vec<String> = documents.iter().map(DamagedDocument::to_string).collect();
    let more = if count > names.len() as u64 { ", …" } else { "" };
    names.join(", ") + more
}

/// Asks and changes who is in which group. Cheap to clone, valid across restarts.
#[derive(Clone)]
pub struct MembershipHandle {
    slot: Slot<Message>,
    pub(super) clock: Clock,
    pub(super) store: StoreHandle,
    pub(super) groups: Groups,
    /// Held for reading by whoever makes a cut, until an op names it.
    pub(super) cutting: Arc<tokio::sync::RwLock<()>>,
    published: Arc<RwLock<Published>>,
    /// Which group's roster was replaced; none once the node has ended.
    moved: Arc<RwLock<Option<broadcast::Sender<GroupId>>>>,
    offers: Arc<Mutex<Offers>>,
}

/// What everybody may read without asking: the groups that the user wants, and who is in them.
pub(super) type Published = BTreeMap<GroupId, Known>;

/// A group, who is in it, and what people are shown of that.
pub(crate) type Known = (GroupInfo, Arc<Roster>, Arc<People>);

impl MembershipHandle {
    /// Has nobody to ask until it is started.
    pub(crate) fn new(clock: Clock, store: StoreHandle, groups: Groups) -> Self {
        let moved = Arc::new(RwLock::new(Some(broadcast::Sender::new(MOVED_MAX))));
        let (cutting, published, offers) = (Arc::default(), Arc::default(), Arc::default());
        Self { slot: Slot::restarting(), clock, store, groups, cutting, published, moved, offers }
    }

    /// Starts the actor under `parent` and points every clone of this handle at it.
    pub(crate) async fn start(&self, arguments: Arguments, parent: ActorCell) -> Result<ActorId, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Membership, (self.clone(), arguments), parent).await?;
        Ok(self.slot.put(actor))
    }

    /// Founds a group with this user as its founder, under a recovery user if there is one; the ledger is durable when
    /// it returns.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn create(&self, name: String, recovery: Option<UserId>) -> Result<GroupId, ChangeError> {
        self.slot.ask(|reply| Message::Create { name, recovery, reply }).await?
    }

    /// Takes note of an intent that was written, or taken back: the group is listed, or no longer, when this returns.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn intent_changed(&self, group: GroupId) -> Result<(), CallError> {
        self.slot.ask(|reply| Message::Intent { group, reply: Some(reply) }).await
    }

    /// Signs an op that gives `user` a role; `Role::None` removes.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] names the rule that forbids it.
    pub async fn set_role(&self, group: GroupId, user: UserId, role: Role) -> Result<OpId, ChangeError> {
        let change = MembershipChange::SetRole { user, role, before: BTreeSet::new() };
        Ok(self.submit(group, change, SubmitOptions::default(), |_| {}).await?.op)
    }

    /// Signs and stores a change with this cut, where it needs one.
    pub(super) async fn submit_with(
        &self,
        group: GroupId,
        change: MembershipChange,
        cut: Option<MadeCut>,
    ) -> Result<OpId, ChangeError> {
        self.slot.ask(|reply| Message::Submit { group, change, cut, reply }).await?
    }

    /// Which members' devices were met and do not speak of the group with this one: they left it, or this user is out of
    /// it and has not been told.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn silent(&self, group: GroupId) -> Result<Vec<Silent>, CallError> {
        self.slot.ask(|reply| Message::Silent { group, reply }).await
    }

    /// Every op about a member, parents before children.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn log(&self, group: GroupId) -> Result<Vec<MemberOp>, CallError> {
        self.slot.ask(|reply| Message::Log { group, reply }).await
    }

    /// The ops about members that came to nothing, except where what they say is so all the same.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn reissuable(&self, group: GroupId) -> Result<Vec<MemberOp>, CallError> {
        self.slot.ask(|reply| Message::Reissuable { group, reply }).await
    }

    /// Every invitation, the oldest first.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn invites(&self, group: GroupId) -> Result<Vec<Invitation>, CallError> {
        self.slot.ask(|reply| Message::Invites { group, reply }).await
    }

    /// Opens an invitation; it is durable when it returns.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] names the rule that forbids it.
    pub async fn invite(&self, group: GroupId, terms: Terms) -> Result<Opened, ChangeError> {
        self.slot.ask(|reply| Message::Invite { group, terms, reply }).await?
    }

    /// Keeps a ticket and shows it to whoever is met while its group is wanted and this user not in it; `true` when they
    /// are, and nothing is kept.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn keep(&self, ticket: Ticket) -> Result<bool, ChangeError> {
        self.slot.ask(|reply| Message::Keep { ticket, reply }).await?
    }

    /// Whether this user is in a group, by a ledger that has this op.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn is_in(&self, group: GroupId, log_head: OpId) -> Result<bool, CallError> {
        self.slot.ask(|reply| Message::IsIn { group, log_head, reply }).await
    }

    /// How many tickets are kept that may still let this user into a group.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn open_tickets(&self, group: GroupId) -> Result<usize, CallError> {
        self.slot.ask(|reply| Message::OpenTickets { group, reply }).await
    }

    /// Shows a kept ticket again, to those too who have seen it.
    ///
    /// # Errors
    /// [`CallError`] when the node is closed, or membership is just started again.
    pub fn ask_again(&self, group: GroupId) -> Result<(), CallError> {
        self.slot.tell(Message::AskAgain(group))
    }

    /// This user's devices, as far as their certificates are known here, by id.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn devices(&self) -> Result<Vec<Device>, CallError> {
        self.slot.ask(Message::Devices).await
    }

    /// Takes a device of this user back; in which groups its changes are still to be cut.
    pub(super) async fn withdraw(&self, device: DeviceId) -> Result<(UserId, Vec<GroupId>), ChangeError> {
        self.slot.ask(|reply| Message::RevokeDevice { device, reply }).await?
    }

    /// The members of a group as this device knows them.
    pub fn roster(&self, group: GroupId) -> Option<Arc<Roster>> {
        self.read().get(&group).map(|(_, roster, _)| roster.clone())
    }

    /// The members of a group, and what people are shown beside them.
    pub fn people(&self, group: GroupId) -> Option<(Arc<Roster>, Arc<People>)> {
        self.read().get(&group).map(|(_, roster, people)| (roster.clone(), people.clone()))
    }

    /// Whether a group has other members, and none of them could look after it without `user`.
    pub fn is_alone_in_charge(&self, group: GroupId, user: UserId) -> bool {
        self.roster(group).is_some_and(|roster| {
            let others = roster.members().filter(|(other, _)| *other != user);
            let mut others = others.filter(|(other, _)| Some(*other) != roster.recovery());
            others.next().is_some() && is_alone_in_charge(&roster, user)
        })
    }

    /// One group.
    pub fn info(&self, group: GroupId) -> Option<GroupInfo> {
        self.read().get(&group).map(|(info, ..)| info.clone())
    }

    /// Every group that this user takes part in or wants to, by id; the personal group is not among them.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.read().values().map(|(info, ..)| info.clone()).collect()
    }

    /// The groups that were offered to this user, by id: a member presented each, and the user has not asked.
    pub fn offered(&self) -> Vec<GroupInfo> {
        // Asked for while membership was down, it was told to nobody.
        let known = self.read();
        self.offers().values().filter(|info| !known.contains_key(&info.id)).cloned().collect()
    }

    /// Follows the rosters: which group's was replaced. It ends with the node.
    pub fn rosters(&self) -> broadcast::Receiver<GroupId> {
        let moved = self.moved.read().unwrap_or_else(PoisonError::into_inner);
        moved.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Takes note that somebody was blocked, or no longer; it holds when this returns.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn contact_changed(&self, user: UserId) -> Result<(), CallError> {
        self.slot.ask(|reply| Message::Contact { user, reply: Some(reply) }).await
    }

    /// Makes the actor fail, so that tests can see it restarted.
    #[doc(hidden)]
    pub fn fail_for_test(&self) {
        self.tell(Message::Fail);
    }

    /// This device is reached at other addresses than before: the groups are told.
    pub(crate) fn addresses_moved(&self) {
        self.tell(Message::AddressesMoved);
    }

    /// The user's intent changed: a row of the personal group became durable.
    pub(crate) fn notify_intent(&self, group: GroupId) {
        self.tell(Message::Intent { group, reply: None });
    }

    /// A row of the personal group about somebody became durable.
    pub(crate) fn notify_contact(&self, user: UserId) {
        self.tell(Message::Contact { user, reply: None });
    }

    /// The node has ended: nobody is started again.
    pub(crate) fn end(&self) {
        self.moved.write().unwrap_or_else(PoisonError::into_inner).take();
        self.slot.end();
    }

    /// The personal group was started: its rows may say what was told to nobody.
    pub(crate) fn reload_intents(&self) {
        self.tell(Message::ReloadIntents);
    }

    pub(crate) fn group_started(&self, group: GroupId) {
        self.tell(Message::GroupStarted(group));
    }

    pub(crate) fn wrote(&self, group: GroupId, devices: Vec<DeviceId>) {
        self.tell(Message::Wrote { group, devices });
    }

    pub(crate) fn link_up(&self, link: Link) {
        self.tell(Message::LinkUp(link));
    }

    pub(crate) fn link_down(&self, link: LinkId, reason: String) {
        self.tell(Message::LinkDown { link, reason });
    }

    pub(crate) fn hello(&self, link: LinkId, hello: Hello, permit: Permit) {
        self.tell(Message::Hello { link, hello, _permit: permit });
    }

    pub(crate) fn present(&self, link: LinkId, group: GroupId, shown: Presented, permit: Permit) {
        self.tell(Message::Present { link, group, shown, _permit: permit });
    }

    pub(crate) fn redeem(&self, link: LinkId, join: Join, permit: Permit) {
        self.tell(Message::Redeem { link, join, _permit: permit });
    }

    pub(crate) fn declined(
        &self,
        link: LinkId,
        tokens: ([u8; 32], [u8; 32]),
        reason: DeclineReason,
        permit: Permit,
    ) {
        self.tell(Message::Declined { link, tokens, reason, _permit: permit });
    }

    /// Time to show kept tickets again.
    pub(super) fn ask_all(&self) {
        self.tell(Message::AskAll);
    }

    /// Time for a ledger session to go on.
    pub(super) fn resume(&self, link: LinkId, group: GroupId) {
        self.tell(Message::Resume { link, group });
    }

    /// Time to see who owes a page for too long.
    pub(super) fn wake(&self) {
        self.tell(Message::Wake);
    }

    pub(crate) fn ledger(&self, link: LinkId, group: GroupId, frame: LedgerFrame, permit: Permit) {
        self.tell(Message::Ledger { link, group, frame, _permit: permit });
    }

    /// Membership that is being restarted closes all links, so nothing that it missed matters.
    fn tell(&self, message: Message) {
        let _ = self.slot.tell(message);
    }

    fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever follows the members of this group looks again.
    pub(super) fn roster_moved(&self, group: GroupId) {
        if let Some(moved) = &*self.moved.read().unwrap_or_else(PoisonError::into_inner) {
            // Nobody may be listening.
            let _ = moved.send(group);
        }
    }

    pub(super) fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What everybody may read, to be replaced.
    pub(super) fn publish(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }
}
