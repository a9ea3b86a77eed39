//! Gates on virtual links: a device performs its gate's effects at once, and a net carries frames between
//! devices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use schema::device::DeviceIdentity;
use schema::gate::{
    Answer, ChangeRefusal, Effect, FreshCut, Gate, GroupView, Input, Keys, LinkId, Lookup, MembershipChange,
    Now, Peer, StoredGroup, StoredRecord, Terms, Tickets, target_digest,
};
use schema::handshake::LinkRole;
use schema::id::hash;
use schema::key::{AgreementKey, SigningKey};
use schema::ledger::manifest::Writer;
use schema::ledger::{ManifestRef, Role};
use schema::wire::link::ByeReason;
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, Timestamp, UserId, codec};

/// The stored manifests of a device.
#[derive(Default)]
struct Pages {
    lists: BTreeMap<(GroupId, [u8; 32]), Vec<[u8; 32]>>,
    pages: BTreeMap<(GroupId, [u8; 32]), Vec<u8>>,
}

impl Lookup for Pages {
    fn root(&self, _: GroupId) -> [u8; 32] {
        [0; 32]
    }

    fn list(&self, group: GroupId, root: &[u8; 32]) -> Option<Vec<[u8; 32]>> {
        self.lists.get(&(group, *root)).cloned()
    }

    fn page(&self, group: GroupId, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.pages.get(&(group, *hash)).cloned()
    }
}

/// One device: a gate, and what its effects did.
pub struct Device {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Its gate.
    pub gate: Gate,
    /// The seeds of its keys.
    seeds: (u8, u8),
    pages: Pages,
    /// The time of its next step.
    pub now: Now,
    /// The group of each open cell.
    pub cells: BTreeMap<(LinkId, u32), GroupId>,
    /// The published groups.
    pub views: BTreeMap<GroupId, GroupView>,
    /// The stored tickets, by group.
    pub tickets: BTreeMap<GroupId, Tickets>,
    /// The stored certificates and device revocations, by group and payload, each with its bytes: key, value
    /// and checksum.
    side: BTreeMap<(GroupId, Vec<u8>), usize>,
    /// Links that the gate ended.
    pub ended: BTreeMap<LinkId, ByeReason>,
    /// Groups whose document sessions are open, by link.
    pub sessions: BTreeSet<(LinkId, GroupId)>,
    /// Every effect, in order.
    pub log: Vec<Effect>,
}

impl Device {
    /// A started device: `user` and `device` are seeds of its keys.
    pub fn new(user: u8, device: u8) -> Self {
        let (keys, seeds) = (keys(user, device), (user, device));
        let (user, id) = (keys.device.user(), keys.device.device());
        let gate = Gate::new(keys, Vec::new(), BTreeSet::new());
        let now = Now { wall: Timestamp(1_000_000), instant: Duration::from_secs(100) };
        let mut device = Self {
            user,
            device: id,
            gate,
            seeds,
            pages: Pages::default(),
            now,
            cells: BTreeMap::new(),
            views: BTreeMap::new(),
            tickets: BTreeMap::new(),
            side: BTreeMap::new(),
            ended: BTreeMap::new(),
            sessions: BTreeSet::new(),
            log: Vec::new(),
        };
        let (wanted, blocked, published, offers, addresses) = Default::default();
        device.step(Input::Start { wanted, blocked, published, offers, addresses });
        device
    }

    /// Replaces the gate by one that starts with the same groups, as after a failure, while the ledgers of
    /// some are damaged. Intents name those that are wanted. Returns the effects of the start.
    pub fn restart(&mut self, wanted: Vec<GroupId>, damaged: BTreeSet<GroupId>) -> Vec<Effect> {
        let known = self.log.iter().filter_map(|effect| match effect {
            Effect::Store { group, .. } if !damaged.contains(group) => Some(*group),
            _ => None,
        });
        let known: BTreeSet<GroupId> = known.collect();
        let stored = known.into_iter().filter_map(|group| {
            let (ledger, received_at) = (self.gate.ledger(group)?.clone(), BTreeMap::new());
            let tickets = self.tickets.get(&group).cloned().unwrap_or_default();
            Some(StoredGroup { ledger, received_at, tickets })
        });
        self.gate = Gate::new(keys(self.seeds.0, self.seeds.1), stored.collect(), damaged);
        (self.cells, self.sessions) = Default::default();
        let published = self.views.keys().copied().collect();
        let (blocked, offers, addresses) = Default::default();
        self.step(Input::Start { wanted, blocked, published, offers, addresses })
    }

    /// One step of the gate, whose batches are not durable yet.
    pub fn decide(&mut self, input: Input) -> Vec<Effect> {
        self.gate.step(self.now, input, &self.pages)
    }

    /// Steps the gate; every batch becomes durable. All effects, in order.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut all = Vec::new();
        let mut effects = self.decide(input);
        let mut storing = VecDeque::new();
        loop {
            storing.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Store { number, .. } => Some(*number),
                _ => None,
            }));
            effects.iter().for_each(|effect| self.perform(effect));
            all.append(&mut effects);
            let Some(number) = storing.pop_front() else { break };
            effects = self.decide(Input::Stored { number, is_durable: true });
        }
        self.log.extend(all.iter().cloned());
        all
    }

    /// Steps the gate with a request; its answer.
    pub fn ask(&mut self, input: Input) -> Answer {
        let answer = self.step(input).into_iter().find_map(|effect| match effect {
            Effect::Answer { answer, .. } => Some(answer),
            _ => None,
        });
        answer.expect("a request is answered")
    }

    /// Performs an effect: notes what it did, and stores its pages.
    pub fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::CloseCell { link, number } => drop(self.cells.remove(&(*link, *number))),
            Effect::OpenCell { link, number, group } => drop(self.cells.insert((*link, *number), *group)),
            Effect::Store { group, records, .. } => {
                let pages = &mut self.pages;
                for record in records {
                    match record.clone() {
                        StoredRecord::ManifestList { root, pages: list } => {
                            drop(pages.lists.insert((*group, root), list));
                        }
                        StoredRecord::ManifestPage { hash, bytes } => {
                            drop(pages.pages.insert((*group, hash), bytes));
                        }
                        StoredRecord::Tickets(tickets) => drop(self.tickets.insert(*group, tickets)),
                        StoredRecord::NoTickets => drop(self.tickets.remove(group)),
                        StoredRecord::Certificate(envelope) | StoredRecord::Revocation(envelope) => {
                            let bytes = 1 + 32 + codec::encode(&envelope).len() + 4;
                            self.side.insert((*group, envelope.payload), bytes);
                        }
                        StoredRecord::NoCertificate(envelope) | StoredRecord::NoRevocation(envelope) => {
                            self.side.remove(&(*group, envelope.payload));
                        }
                        _ => {}
                    }
                }
            }
            Effect::CloseLink { link, reason } => drop(self.ended.insert(*link, *reason)),
            Effect::OpenSession { channel, group, .. } => drop(self.sessions.insert((channel.link, *group))),
            Effect::CloseSession { link, group } => drop(self.sessions.remove(&(*link, *group))),
            Effect::Publish(view) if view.is_wanted => {
                drop(self.views.insert(view.info.id, (**view).clone()))
            }
            Effect::Unpublish(group) => drop(self.views.remove(group)),
            _ => {}
        }
    }

    /// The bytes that certificates and device revocations of a group take in the store.
    pub fn side_bytes(&self, group: GroupId) -> usize {
        self.side.iter().filter(|((of, _), _)| *of == group).map(|(_, bytes)| bytes).sum()
    }

    /// Creates a group and takes part in it.
    pub fn create(&mut self, name: &str) -> GroupId {
        let nonce = hash("nonce", &[name.as_bytes()]);
        match self.ask(Input::CreateGroup { nonce, name: name.into(), recovery: None }) {
            Answer::Created(Ok(group)) => {
                self.want(group);
                group
            }
            answer => panic!("{answer:?}"),
        }
    }

    /// The user takes part in a group.
    pub fn want(&mut self, group: GroupId) -> Vec<Effect> {
        self.step(Input::Intent { group, is_wanted: true })
    }

    /// Submits a change with a cut of nothing where it needs one.
    pub fn submit(&mut self, group: GroupId, change: MembershipChange) -> Result<OpId, ChangeRefusal> {
        let cut = self.cut(group, &change)?;
        self.submit_with(group, change, cut)
    }

    /// Submits a membership change with a cut.
    ///
    /// # Errors
    /// The refusal of the gate.
    pub fn submit_with(
        &mut self,
        group: GroupId,
        change: MembershipChange,
        cut: Option<FreshCut>,
    ) -> Result<OpId, ChangeRefusal> {
        match self.ask(Input::Submit { group, change, cut }) {
            Answer::Submitted(op) => op,
            answer => panic!("{answer:?}"),
        }
    }

    /// The cut of nothing that a change needs, if any.
    pub fn cut(
        &mut self,
        group: GroupId,
        change: &MembershipChange,
    ) -> Result<Option<FreshCut>, ChangeRefusal> {
        let target = self.gate.cut_target(group, change)?;
        Ok(target.map(|target| {
            let manifest = self.empty_manifest(group);
            let roster = self.gate.ledger(group).expect("it is here").roster();
            FreshCut { manifest, target_digest: target_digest(roster, target) }
        }))
    }

    /// Deletes every stored manifest, as a node does that has too many of them which no op names.
    pub fn delete_manifests(&mut self) {
        self.pages = Pages::default();
    }

    fn empty_manifest(&mut self, group: GroupId) -> ManifestRef {
        let (_, manifest, list) = Writer::default().finish();
        self.pages.lists.insert((group, manifest.root), list);
        manifest
    }

    /// The change that gives a user a role: for one who is no member, their admission.
    pub fn role_change(&self, group: GroupId, user: UserId, role: Role) -> MembershipChange {
        match self.role(group, user) {
            Role::None if role > Role::None => MembershipChange::Admit { user, role },
            _ => MembershipChange::SetRole { user, role, before: BTreeSet::new() },
        }
    }

    /// Gives a user a role, also one who is no member.
    pub fn set_role(&mut self, group: GroupId, user: UserId, role: Role) -> OpId {
        let change = self.role_change(group, user, role);
        self.submit(group, change).unwrap()
    }

    /// A ticket for one Writer, without addresses.
    pub fn ticket(&mut self, group: GroupId) -> Ticket {
        self.ticket_at(group, Vec::new())
    }

    /// A ticket for one Writer that names addresses of this device.
    pub fn ticket_at(&mut self, group: GroupId, addresses: Vec<String>) -> Ticket {
        let terms = Terms { role: Role::Writer, uses: 1, expires_ms: u64::MAX };
        match self.ask(Input::Invite { group, terms, seed: [5; 16] }) {
            Answer::Invited(Ok(invite)) => {
                Ticket::new(group, invite, [5; 16], self.device, invite, addresses).unwrap()
            }
            answer => panic!("{answer:?}"),
        }
    }

    /// Returns the role of a user in the ledger of a group.
    pub fn role(&self, group: GroupId, user: UserId) -> Role {
        self.gate.ledger(group).map_or(Role::None, |ledger| ledger.roster().role(user))
    }

    /// The groups whose cells are open on a link.
    pub fn open_on(&self, link: LinkId) -> Vec<GroupId> {
        let of_link = self.cells.range((link, 0)..=(link, u32::MAX));
        of_link.map(|(_, group)| *group).collect()
    }

    /// Lets seconds pass on both clocks.
    pub fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now = Now { wall: self.now.wall + span, instant: self.now.instant + span };
    }
}

fn keys(user: u8, device: u8) -> Keys {
    let user = SigningKey::from_seed([user; 32]);
    let [signing, agreement] = [device, device ^ 0x80].map(|seed| [seed; 32]);
    let (signing, agreement) = (SigningKey::from_seed(signing), AgreementKey::from_seed(agreement));
    let device = DeviceIdentity::certify(&user, signing, agreement, "phone");
    Keys { user, device }
}

/// The effects that send frames, as inputs of the device at the other end, whose cells are `cells`.
fn delivered(effect: Effect, cells: &BTreeMap<(LinkId, u32), GroupId>) -> Option<Input> {
    Some(match effect {
        Effect::Send { link, frame } => {
            Input::of_frame(link, frame).unwrap_or_else(|frame| panic!("a gate sends no {}", frame.kind()))
        }
        Effect::SendLedger { channel, frame } => {
            let group = *cells.get(&(channel.link, channel.theirs))?;
            Input::Ledger { link: channel.link, group, frame }
        }
        Effect::Resume { .. } => return None,
        _ => return None,
    })
}

/// Links two devices, and carries frames until nothing is under way.
pub fn connect(one: &mut Device, other: &mut Device, number: u64) -> LinkId {
    let link = LinkId(number);
    let h = hash("h", &[&number.to_be_bytes()]);
    let up =
        |of: &Device, role| Input::LinkUp { link, peer: Peer { user: of.user, device: of.device, h, role } };
    let (to_other, to_one) = (up(other, LinkRole::Initiator), up(one, LinkRole::Responder));
    run(one, other, [(true, to_other), (false, to_one)]);
    link
}

/// Steps one device, and carries frames between both until nothing is under way.
pub fn exchange(one: &mut Device, other: &mut Device, input: Input) {
    run(one, other, [(true, input)]);
}

/// Steps the first device (`true`) or the second, and whatever follows.
fn run(one: &mut Device, other: &mut Device, inputs: impl IntoIterator<Item = (bool, Input)>) {
    let mut queue = VecDeque::from_iter(inputs);
    for _ in 0..10_000 {
        let Some((is_first, input)) = queue.pop_front() else { return };
        let (here, there) = if is_first { (&mut *one, &mut *other) } else { (&mut *other, &mut *one) };
        for effect in here.step(input) {
            if let Effect::Resume { link, group } = effect {
                queue.push_back((is_first, Input::Resume { link, group }));
            } else if let Some(input) = delivered(effect, &there.cells) {
                queue.push_back((!is_first, input));
            }
        }
    }
    panic!("the two never come to rest");
}
