//! The handle of membership: asks and tells it, and reads what it last published.

mod messages;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, SpawnErr};
use schema::gate::{
    Answer, Device, Flood, Gate, GroupInfo, GroupState, GroupView, Input, Invitation, MemberDetails,
    MemberOp, MembershipChange, Peer, Silent, Terms, is_needed_in_charge,
};
use schema::ledger::{Role, Roster};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId};
use tokio::sync::broadcast;

use super::inbox::Inbox;
use super::{Arguments, ChangeError, HandleNext, Membership, Message, SubmitOptions};
use crate::call::{CallError, Slot};
use crate::clock::Clock;
use crate::node::connection_manager::{Link, LinkId, Standing};
use crate::node::group::{GroupOwner, Groups};
use crate::node::store::StoreHandle;

/// Rosters that may be replaced before a slow follower lags.
const CHANGED_MAX: usize = 256;

/// Asks and changes who is in which group. Cheap to clone, valid across restarts.
#[derive(Clone)]
pub struct MembershipHandle {
    slot: Slot<HandleNext>,
    /// The messages that wait; the mailbox holds a [`HandleNext`] for each.
    inbox: Arc<Mutex<Inbox<Message>>>,
    pub(super) user: UserId,
    pub(super) clock: Clock,
    pub(super) store: StoreHandle,
    pub(super) groups: Groups,
    /// Held for reading while a cut is made, until an op names it.
    pub(super) cutting: Arc<tokio::sync::RwLock<()>>,
    published: Arc<RwLock<Published>>,
    /// The roster of the personal group, which knows the revoked devices of this user.
    own: Arc<RwLock<Option<Arc<Roster>>>>,
    /// Sends the id of each group whose roster was replaced; `None` once the node has ended.
    changed: Arc<RwLock<Option<broadcast::Sender<GroupId>>>>,
    offers: Arc<Mutex<BTreeMap<GroupId, GroupInfo>>>,
}

/// The groups that the user wants, for readers.
type Published = BTreeMap<GroupId, Arc<GroupView>>;

/// An invitation as its author gets it; it does not print its secret.
#[derive(Clone, Copy)]
pub struct NewInvitation {
    /// The OpenInvite.
    pub invite: OpId,
    /// The seed of the ticket's key.
    pub seed: [u8; 16],
}

impl MembershipHandle {
    /// A handle of `user`'s membership, which is not started yet.
    pub(crate) fn new(user: UserId, clock: Clock, store: StoreHandle, groups: Groups) -> Self {
        let changed = Arc::new(RwLock::new(Some(broadcast::Sender::new(CHANGED_MAX))));
        let (inbox, cutting, published, own, offers) = Default::default();
        Self {
            slot: Slot::restarting(),
            inbox,
            user,
            clock,
            store,
            groups,
            cutting,
            published,
            own,
            changed,
            offers,
        }
    }

    /// Starts the actor under `parent` and points every clone of this handle at it.
    pub(crate) async fn start(&self, arguments: Arguments, parent: ActorCell) -> Result<ActorId, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Membership, (self.clone(), arguments), parent).await?;
        let id = {
            // A message that came while the predecessor ended has no successor in the new mailbox.
            let mut inbox = self.inbox();
            inbox.clear();
            self.slot.put(actor)
        };
        // While there was no actor nobody heard these, also after it had read its store.
        self.tell(Message::ReloadIntents);
        self.tell(Message::AddressesChanged);
        Ok(id)
    }

    /// Founds a group with this user as its founder, under a recovery user if there is one; the ledger is
    /// durable when it returns.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn create(&self, name: String, recovery: Option<UserId>) -> Result<GroupId, ChangeError> {
        let mut nonce = [0; 32];
        self.clock.fill(&mut nonce);
        match self.ask(Input::CreateGroup { nonce, name, recovery }).await? {
            Answer::Created(group) => Ok(group?),
            _ => unreachable!("each request has its answer"),
        }
    }

    /// Signs an op that gives `user` a role; `Role::None` removes.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] names the rule that forbids it.
    pub async fn set_role(&self, group: GroupId, user: UserId, role: Role) -> Result<OpId, ChangeError> {
        let change = MembershipChange::SetRole { user, role, before: Default::default() };
        Ok(self.submit(group, change, SubmitOptions::default(), |_| {}).await?.op)
    }

    /// Opens an invitation; it is durable when it returns.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] names the rule that forbids it.
    pub async fn invite(&self, group: GroupId, terms: Terms) -> Result<NewInvitation, ChangeError> {
        let mut seed = [0; 16];
        self.clock.fill(&mut seed);
        match self.ask(Input::Invite { group, terms, seed }).await? {
            Answer::Invited(invite) => Ok(NewInvitation { invite: invite?, seed }),
            _ => unreachable!("each request has its answer"),
        }
    }

    /// Stores a ticket and redeems it on every link until the group admits this user; `true` if it has
    /// already, and nothing is stored.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn store_ticket(&self, ticket: Ticket) -> Result<bool, ChangeError> {
        match self.ask(Input::StoreTicket(ticket)).await? {
            Answer::TicketStored(is_member) => Ok(is_member?),
            _ => unreachable!("each request has its answer"),
        }
    }

    /// Applies an intent that was written or removed: the group is listed, or no longer, when this returns.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn intent_changed(&self, group: GroupId) -> Result<(), CallError> {
        self.slot.ask_through(|reply| self.push(Message::Intent { group, reply: Some(reply) })).await
    }

    /// Applies a contact that was written or removed: the user is blocked, or no longer, when this returns.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn contact_changed(&self, user: UserId) -> Result<(), CallError> {
        self.slot.ask_through(|reply| self.push(Message::Contact { user, reply: Some(reply) })).await
    }

    /// The members' devices that are connected and do not announce the group: they left it, or removed this
    /// user.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn silent(&self, group: GroupId) -> Result<Vec<Silent>, CallError> {
        let now = self.clock.moment();
        self.read_gate(Some(group), move |gate| gate.silent(group, now)).await
    }

    /// The users who signed more records of a group within the last hour than people do, by id.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn floods(&self, group: GroupId) -> Result<Vec<Flood>, CallError> {
        let now = self.clock.instant();
        self.read_gate(Some(group), move |gate| gate.floods(group, now)).await
    }

    /// Every op about a member, parents before children.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn log(&self, group: GroupId) -> Result<Vec<MemberOp>, CallError> {
        self.read_gate(Some(group), move |gate| gate.log(group)).await
    }

    /// The voided ops about members, except where what they ask for holds anyway.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn reissuable(&self, group: GroupId) -> Result<Vec<MemberOp>, CallError> {
        self.read_gate(Some(group), move |gate| gate.reissuable(group)).await
    }

    /// Every invitation, the oldest first.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn invites(&self, group: GroupId) -> Result<Vec<Invitation>, CallError> {
        self.read_gate(Some(group), move |gate| gate.invites(group)).await
    }

    /// Returns true if a ledger with this op admits this user.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn has_admitted(&self, group: GroupId, log_head: OpId) -> Result<bool, CallError> {
        self.read_gate(Some(group), move |gate| gate.has_admitted(group, log_head)).await
    }

    /// The number of stored tickets that may still admit this user to a group.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn open_tickets(&self, group: GroupId) -> Result<usize, CallError> {
        self.read_gate(Some(group), move |gate| gate.open_tickets(group)).await
    }

    /// This user's devices, as far as their certificates are known here, by id.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn devices(&self) -> Result<Vec<Device>, CallError> {
        self.read_gate(None, Gate::devices).await
    }

    /// Redeems the stored tickets of a group again, also at peers where they were redeemed before.
    ///
    /// # Errors
    /// [`CallError`] when the node is closed, or membership is just started again.
    pub fn redeem_tickets(&self, group: GroupId) -> Result<(), CallError> {
        self.push(Message::Step(Box::new(Input::RedeemTickets(Some(group))), Vec::new()))
    }

    /// The members of a group as this device knows them.
    pub fn roster(&self, group: GroupId) -> Option<Arc<Roster>> {
        self.read().get(&group).map(|view| view.roster.clone())
    }

    /// The members of a group, and details about them for people.
    pub fn members(&self, group: GroupId) -> Option<(Arc<Roster>, Arc<MemberDetails>)> {
        self.read().get(&group).map(|view| (view.roster.clone(), view.details.clone()))
    }

    /// Returns true if a group has other members, and none of them could look after it without `user`.
    pub fn is_alone_in_charge(&self, group: GroupId, user: UserId) -> bool {
        self.roster(group).is_some_and(|roster| is_needed_in_charge(&roster, user))
    }

    /// One group.
    pub fn info(&self, group: GroupId) -> Option<GroupInfo> {
        self.read().get(&group).map(|view| view.info.clone())
    }

    /// Every group that this user takes part in or wants to, the personal group included, by id.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.read().values().map(|view| view.info.clone()).collect()
    }

    /// The groups that were offered to this user, by id.
    pub fn offered(&self) -> Vec<GroupInfo> {
        // An intent that was written while membership was down ends its offer later.
        let known = self.read();
        self.offers().values().filter(|info| !known.contains_key(&info.id)).cloned().collect()
    }

    /// The relation of a device to this one, by the rosters that are published.
    pub(crate) fn standing(&self, user: UserId, device: DeviceId) -> Standing {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_revoked = own.is_some_and(|own| own.is_revoked_by_user(user, device));
        let published = self.read();
        let active = published.iter().filter(|(_, view)| view.info.state == GroupState::Active);
        let shared = active.filter(|(_, view)| view.roster.may_read(user, device));
        Standing {
            is_own: user == self.user && !is_revoked,
            groups: shared.map(|(group, _)| *group).collect(),
        }
    }

    /// Replaces the roster of the personal group.
    pub(super) fn set_own(&self, roster: Arc<Roster>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Some(roster);
    }

    /// Follows the rosters: the id of each group whose roster is replaced. It ends with the node.
    pub fn rosters(&self) -> broadcast::Receiver<GroupId> {
        let changed = self.changed.read().unwrap_or_else(PoisonError::into_inner);
        changed.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Makes the actor stand still, so that tests can see it in the status.
    #[doc(hidden)]
    pub fn stall_for_test(&self, pause: Duration) {
        self.tell(Message::Stall(pause));
    }

    /// Makes the actor fail, so that tests can see it restarted.
    #[doc(hidden)]
    pub fn fail_for_test(&self) {
        self.tell(Message::Fail);
    }

    /// The addresses of this device changed: the groups get them.
    pub(crate) fn addresses_moved(&self) {
        self.tell(Message::AddressesChanged);
    }

    /// The node closes: membership is not started again.
    pub(crate) fn expect_no_restart(&self) {
        self.slot.end();
    }

    /// The node has ended: nothing is started again.
    pub(crate) fn end(&self) {
        self.changed.write().unwrap_or_else(PoisonError::into_inner).take();
        self.slot.end();
    }

    pub(crate) fn link_up(&self, link: &Link) {
        let (id, h, role) = (link.id(), *link.h(), link.role());
        let peer = Peer { user: link.peer().user, device: link.peer().device, h, role };
        self.step(Input::LinkUp { link: id, peer }, None);
    }

    pub(crate) fn link_down(&self, link: LinkId, reason: String) {
        self.tell(Message::LinkDown { link, reason });
    }

    fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells followers that the roster of a group was replaced.
    pub(super) fn roster_changed(&self, group: GroupId) {
        if let Some(changed) = &*self.changed.read().unwrap_or_else(PoisonError::into_inner) {
            // Nobody may be listening.
            let _ = changed.send(group);
        }
    }

    pub(super) fn offers(&self) -> MutexGuard<'_, BTreeMap<GroupId, GroupInfo>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The views that readers see, to be replaced.
    pub(super) fn publish(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupOwner for MembershipHandle {
    fn roster(&self, group: GroupId) -> Option<Arc<Roster>> {
        Self::roster(self, group)
    }

    fn on_started(&self, group: GroupId) {
        self.step(Input::GroupStarted(group), None);
    }

    fn on_accepted(&self, group: GroupId, devices: Vec<DeviceId>) {
        self.step(Input::Accepted { group, devices }, None);
    }

    fn on_peer_fault(&self, device: DeviceId) {
        self.step(Input::PeerFault(device), None);
    }

    fn on_personal_started(&self) {
        self.tell(Message::ReloadIntents);
    }

    fn on_intent(&self, group: GroupId) {
        self.tell(Message::Intent { group, reply: None });
    }

    fn on_contact(&self, user: UserId) {
        self.tell(Message::Contact { user, reply: None });
    }
}
