//! A real node and handmade peers that are not, or no longer, members: properties H3 and H4 of authority 4.1.
//!
//! A failing case prints its seed; `ACCESS_SEED=… cargo test --test it access` repeats that case.

use std::collections::BTreeSet;
use std::time::Duration;

use actors::clock::{Clock, Random};
use actors::transport::memory::{MemoryNetwork, PIPE_BYTES_MAX};
use peerbase::{Group, GroupId, Node, Role, UserId};
use schema::device::DeviceIdentity;
use schema::handshake::LinkRole;
use schema::key::{Signature, SigningKey};
use schema::ledger::{Body, By, InviteProof, Op};
use schema::limits::RECORD_BYTES_MAX;
use schema::signed::{Envelope, Signed};
use schema::wire::device::UserDeviceRevocation;
use schema::wire::group::{GroupFrame, Part};
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, DeclineReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, OpId, codec};

use crate::support::handmade::{HandmadeMember, HandmadePeer, device_of, user_key};
use crate::support::{TASKS, task};

/// Patience of a handmade peer. The network has no latency, so an answer takes no virtual time.
const SHORT_PATIENCE: Duration = Duration::from_millis(5);
/// The last frame to a peer that shares no group with the node.
const BYE_NOT_AUTHORIZED: LinkFrame = LinkFrame::Bye { reason: ByeReason::NotAuthorized };
/// Key and title of the rows that only members may receive.
const SECRET: &str = "nobody else's business";

/// Ada's node on a network that handmade peers dial from.
struct World {
    network: MemoryNetwork,
    clock: Clock,
    random: Random,
    ada: Node,
    seed: u64,
    /// Number of names given so far.
    names: u64,
}

impl World {
    async fn seeded(seed: u64) -> Self {
        let clock = Clock::simulated(seed);
        let network = MemoryNetwork::seeded(clock.clone(), seed);
        let ada = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
        ada.listen("memory://ada").await.unwrap();
        Self { network, clock, random: Random::seeded(seed), ada, seed, names: 0 }
    }

    /// A device of a new user.
    fn new_user(&mut self) -> DeviceIdentity {
        let name = self.new_name();
        device_of(&name, &name)
    }

    fn new_name(&mut self) -> [u8; 16] {
        self.names += 1;
        (u128::from(self.seed) << 64 | u128::from(self.names)).to_be_bytes()
    }

    async fn dial(&self, identity: &DeviceIdentity) -> HandmadePeer {
        HandmadePeer::dial(&self.network, &self.clock, identity.clone(), "memory://ada").await
    }

    /// A random number below `bound`.
    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.within(0..=bound as u64 - 1)).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| u8::try_from(self.random.within(0..=255)).unwrap())
    }
}

fn push(ops: Vec<Envelope>, certificates: Vec<Envelope>, revocations: Vec<Envelope>) -> GroupFrame {
    GroupFrame::Ledger(LedgerFrame::Push { ops, certificates, revocations, records: Vec::new(), last: false })
}

fn revocation(user: &SigningKey, device: DeviceId) -> Envelope {
    let revocation = UserDeviceRevocation { version: 1, user: UserId(user.public()), device };
    Signed::sign(revocation, user).envelope().clone()
}

/// Prints the seed of a case that panics.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with ACCESS_SEED={}", self.0);
        }
    }
}

/// Runs a case for each of `count` consecutive seeds, on two threads; with `ACCESS_SEED` for that seed only.
fn for_each_seed(count: u64, case: impl AsyncFn(u64) + Sync) {
    let given = std::env::var("ACCESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let (first, count) = given.map_or_else(|| (Clock::real().random_u64(), count), |seed| (seed, 1));
    let run = |half: usize| {
        for seed in (0..count).skip(half).step_by(2).map(|number| first.wrapping_add(number)) {
            let _case = Case(seed);
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().start_paused(true).build().unwrap().block_on(case(seed));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(1));
        run(0);
    });
}

/// Groups that change at random, and the secrets that an outsider may have.
struct OutsiderWorld {
    world: World,
    groups: Vec<Group>,
    /// Readers that a test may remove.
    readers: Vec<(GroupId, DeviceIdentity)>,
    /// Removed Readers.
    removed: Vec<(GroupId, DeviceIdentity)>,
    /// Devices that their user revoked.
    revoked: Vec<(GroupId, DeviceIdentity)>,
    tickets: Vec<Ticket>,
    /// Ledgers as members received them.
    leaked: Vec<(GroupId, Vec<Envelope>)>,
    /// The frames that the last outsider sent.
    earlier_frames: Vec<LinkFrame>,
}

impl OutsiderWorld {
    async fn seeded(seed: u64) -> Self {
        let world = World::seeded(seed).await;
        let (groups, tickets, earlier_frames) = (Vec::new(), Vec::new(), Vec::new());
        let (readers, removed, revoked, leaked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut outsiders =
            Self { world, groups, readers, removed, revoked, tickets, leaked, earlier_frames };
        outsiders.create_group().await;
        outsiders.add_members(0).await;
        outsiders.remove_reader().await;
        outsiders.revoke_device(0).await;
        outsiders
    }

    async fn create_group(&mut self) {
        let group = self.world.ada.create_group("home").await.unwrap();
        group.table(TASKS).put(SECRET, &task(SECRET)).await.unwrap();
        group.invite(Role::Reader).await.unwrap();
        self.groups.push(group);
    }

    async fn add_members(&mut self, at: usize) {
        let somebody = self.world.new_user();
        let (group, role) = (&self.groups[at], [Role::Reader, Role::Writer, Role::Admin][self.world.pick(3)]);
        group.add_member(somebody.user(), role).await.unwrap();
        let reader = self.world.new_user();
        let group = &self.groups[at];
        group.add_member(reader.user(), Role::Reader).await.unwrap();
        self.readers.push((group.id(), reader));
    }

    async fn remove_reader(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let at = self.world.pick(self.readers.len());
        let (id, reader) = self.readers.swap_remove(at);
        let Ok(group) = self.world.ada.group(id) else { return };
        group.remove_member(reader.user()).await.unwrap();
        self.removed.push((id, reader));
    }

    /// A member's device brings the revocation of another device of that member, and receives the ledger.
    async fn revoke_device(&mut self, at: usize) {
        let (user, device) = (self.world.new_name(), self.world.new_name());
        let (sender, lost) = (device_of(&user, &user), device_of(&user, &device));
        let id = self.groups[at].id();
        self.groups[at].add_member(sender.user(), Role::Writer).await.unwrap();

        let mut stranger = self.world.dial(&sender).await;
        stranger.patience = SHORT_PATIENCE;
        let mut member = HandmadeMember::open(stranger, id).await;
        let revocation = revocation(&user_key(&user), lost.device());
        member.send(push(Vec::new(), Vec::new(), vec![revocation])).await;
        member.run().await;

        self.leaked.push((id, member.ledger.envelopes().cloned().collect()));
        self.revoked.push((id, lost));
    }

    /// Ada leaves a group; an Admin with a device stays, since the last Admin cannot leave.
    async fn leave_group(&mut self, at: usize) {
        let (group, admin) = (self.groups.swap_remove(at), self.world.new_user());
        group.add_member(admin.user(), Role::Admin).await.unwrap();
        let mut link = self.world.dial(&admin).await;
        link.patience = SHORT_PATIENCE;
        HandmadeMember::open(link, group.id()).await.run().await;
        group.leave().await.unwrap();
    }

    /// Changes a group in a way that does not concern the outsider.
    async fn make_random_change(&mut self) {
        let at = self.world.pick(self.groups.len());
        match self.world.pick(9) {
            0 if self.groups.len() < 6 => self.create_group().await,
            0..=2 => self.add_members(at).await,
            3 => self.remove_reader().await,
            4 => {
                let options = peerbase::InviteOptions::new(Role::Writer).uses(3);
                let ticket = self.groups[at].invite_with(options).await.unwrap();
                self.tickets.push(ticket);
            }
            5 if !self.tickets.is_empty() => {
                let at = self.world.pick(self.tickets.len());
                let ticket = self.tickets[at].clone();
                if let Ok(group) = self.world.ada.group(ticket.group()) {
                    group.close_invite(ticket.invite()).await.unwrap();
                }
            }
            6 if self.groups.len() > 1 => self.leave_group(at).await,
            _ => self.groups[at].table(TASKS).put(SECRET, &task(SECRET)).await.unwrap(),
        }
    }

    /// The ids that only members may learn.
    async fn secrets(&self, own: UserId) -> BTreeSet<[u8; 32]> {
        let mut secrets = BTreeSet::new();
        for group in self.world.ada.groups().iter().filter_map(|info| self.world.ada.group(info.id).ok()) {
            secrets.insert(group.id().0);
            for member in group.members() {
                secrets.extend(member.devices.iter().map(|device| device.device.0));
                secrets.insert(member.user.0);
            }
            for entry in group.log().await.unwrap() {
                secrets.extend([entry.op.0, entry.author.0]);
                secrets.extend(entry.action.target().map(|user| user.0));
            }
            secrets.extend(group.invites().await.unwrap().iter().map(|invite| invite.id.0));
        }
        secrets.extend(self.tickets.iter().flat_map(|ticket| [ticket.group().0, ticket.invite().0]));
        for public in [self.world.ada.user_id().0, self.world.ada.device_id().0, own.0] {
            secrets.remove(&public);
        }
        secrets
    }

    /// A device that is no member, and the group that it asks for.
    fn outsider(&mut self) -> (DeviceIdentity, GroupId) {
        let of = |world: &mut World, all: &[(GroupId, DeviceIdentity)]| {
            let (id, identity) = &all[world.pick(all.len())];
            (identity.clone(), *id)
        };
        match self.world.pick(4) {
            0 => of(&mut self.world, &self.removed),
            1 => of(&mut self.world, &self.revoked),
            2 => (self.world.new_user(), GroupId(self.world.bytes())),
            _ => {
                let at = self.world.pick(self.groups.len());
                (self.world.new_user(), self.groups[at].id())
            }
        }
    }

    /// A well-formed frame.
    fn random_frame(&mut self, outsider: &HandmadePeer, known: GroupId) -> LinkFrame {
        let (h, nonce) = (outsider.link.established.h, u64::from_be_bytes(self.world.bytes()));
        let group = if self.world.random.chance(0.7) { known } else { GroupId(self.world.bytes()) };
        let token = |world: &mut World| match world.pick(3) {
            0 => world.bytes(),
            1 => hello::token(group, &h, LinkRole::Responder),
            _ => hello::token(group, &h, LinkRole::Initiator),
        };
        match self.world.pick(8) {
            0 | 1 => {
                let groups = 0..self.world.pick(4);
                let groups =
                    groups.map(|_| HelloGroup { token: token(&mut self.world), hash: self.world.bytes() });
                LinkFrame::Hello(Hello { groups: groups.collect() })
            }
            2 => LinkFrame::Present { group, ops: self.ops(outsider, group), manifests: Vec::new() },
            3 => self.join_frame(outsider, group),
            4 | 5 => {
                let ledger = match self.world.pick(3) {
                    0 => LedgerFrame::Summary { hash: self.world.bytes() },
                    1 => LedgerFrame::Pull(Default::default()),
                    _ => LedgerFrame::Push {
                        ops: self.ops(outsider, group),
                        certificates: vec![outsider.identity.certificate.envelope().clone()],
                        revocations: Vec::new(),
                        records: Vec::new(),
                        last: self.world.random.chance(0.5),
                    },
                };
                let part = GroupFrame::Part(Part { more: false, bytes: self.world.bytes::<40>().to_vec() });
                let frame = if self.world.random.chance(0.8) { GroupFrame::Ledger(ledger) } else { part };
                let channel = u32::try_from(self.world.pick(6)).unwrap();
                LinkFrame::Group { channel, body: codec::encode(&frame) }
            }
            6 if !self.earlier_frames.is_empty() => {
                let at = self.world.pick(self.earlier_frames.len());
                self.earlier_frames[at].clone()
            }
            6 => {
                let token = token(&mut self.world);
                LinkFrame::Declined { token, invite: self.world.bytes(), reason: DeclineReason::Closed }
            }
            _ => LinkFrame::Ping { nonce },
        }
    }

    /// Ops that members received, and sometimes one by which the outsider makes itself a founder.
    fn ops(&mut self, outsider: &HandmadePeer, group: GroupId) -> Vec<Envelope> {
        let leaked = self.leaked.iter().find(|(id, _)| *id == group).map(|(_, ops)| ops.clone());
        let mut ops = leaked.unwrap_or_default();
        let identity = &outsider.identity;
        let body = Body::SetRole { user: identity.user(), role: Role::Founder, cut: None, via: None };
        let by = By::Device(identity.certificate.envelope().clone());
        let op = Op { version: 1, group, parents: vec![OpId(group.0)], author: identity.user(), by, body };
        if self.world.random.chance(0.5) {
            ops.push(Signed::sign(op, &identity.signing).envelope().clone());
        }
        ops
    }

    fn join_frame(&mut self, outsider: &HandmadePeer, group: GroupId) -> LinkFrame {
        let (h, identity) = (outsider.link.established.h, &outsider.identity);
        let invites = self.tickets.iter().filter(|ticket| ticket.group() == group);
        let invites: Vec<OpId> = invites.map(Ticket::invite).collect();
        let random = OpId(self.world.bytes());
        let invite = match invites.len() {
            0 => random,
            count => invites[self.world.pick(count)],
        };
        let guessed = Ticket::key_of(&self.world.bytes(), group);
        let proof = InviteProof::sign(&guessed, group, invite, identity.user(), identity.device());
        let signature = match self.world.random.chance(0.5) {
            true => proof.signature,
            false => Signature(self.world.bytes()),
        };
        let token = hello::token(group, &h, LinkRole::Initiator);
        LinkFrame::Join(Join { token, invite: hello::invite_token(invite, &h), signature })
    }

    async fn check_h4(&mut self) {
        let (identity, known) = self.outsider();
        let mut outsider = self.world.dial(&identity).await;
        let (mut sent, count) = (Vec::new(), 1 + self.world.pick(8));
        for _ in 0..count {
            if self.world.random.chance(0.1) {
                self.make_random_change().await;
            }
            let mut frame = self.random_frame(&outsider, known);
            // Three invalid ops would end the link.
            let is_present = |frame: &LinkFrame| matches!(frame, LinkFrame::Present { .. });
            while is_present(&frame) && sent.iter().filter(|frame| is_present(frame)).count() == 2 {
                frame = self.random_frame(&outsider, known);
            }
            outsider.send(&frame).await;
            sent.push(frame);
        }
        let received = outsider.frames_until_silence().await;

        let [first, answers @ .., last] = &received[..] else { panic!("{received:?}") };
        assert_eq!(
            (first, last),
            (&LinkFrame::Hello(Hello::default()), &BYE_NOT_AUTHORIZED),
            "{received:?} to {sent:?}"
        );
        let pings = sent.iter().filter_map(|frame| match frame {
            LinkFrame::Ping { nonce } => Some(LinkFrame::Pong { nonce: *nonce }),
            _ => None,
        });
        assert_eq!(answers, pings.collect::<Vec<_>>(), "to {sent:?}");
        let secrets = self.secrets(identity.user()).await;
        assert!(!contains_secret(&received, &secrets), "{received:?} to {sent:?}");
        self.earlier_frames = sent;
    }
}

/// True if a frame contains a secret id or the text of a row.
fn contains_secret(frames: &[LinkFrame], secrets: &BTreeSet<[u8; 32]>) -> bool {
    frames.iter().map(LinkFrame::encode).any(|frame| {
        let is_secret = |window: &[u8]| secrets.contains::<[u8; 32]>(window.try_into().unwrap());
        frame.windows(32).any(is_secret) || contains_text(&frame, SECRET)
    })
}

fn contains_text(frame: &[u8], text: &str) -> bool {
    frame.windows(text.len()).any(|window| window == text.as_bytes())
}

/// 100 worlds with 20 outsiders each.
#[test]
fn h4_a_non_member_learns_nothing() {
    for_each_seed(100, async |seed| {
        let mut outsiders = OutsiderWorld::seeded(seed).await;
        for _ in 0..20 {
            outsiders.make_random_change().await;
            outsiders.check_h4().await;
        }
        // A member does receive secrets, so the search can find them.
        let (id, member) = (outsiders.groups[0].id(), outsiders.world.new_user());
        outsiders.groups[0].add_member(member.user(), Role::Reader).await.unwrap();
        let mut member = outsiders.world.dial(&member).await;
        member.patience = SHORT_PATIENCE;
        member.announce(id).await;
        let pull = GroupFrame::Ledger(LedgerFrame::Pull(Default::default())).encode();
        member.send(&LinkFrame::Group { channel: 0, body: pull }).await;
        let secrets = outsiders.secrets(member.identity.user()).await;
        assert!(contains_secret(&member.frames_until_silence().await, &secrets));
        outsiders.world.ada.close().await;
    });
}

/// Ways in which a device loses access to a group.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Ada removes the member on this node.
    Removed,
    /// An Admin removes the member on another device, which brings the op.
    RemovedElsewhere,
    /// The user revokes the device; another device of that user brings the revocation.
    DeviceRevoked,
}

/// One group in which members are admitted and removed one after another.
struct RemovalWorld {
    world: World,
    home: Group,
    admin: DeviceIdentity,
}

impl RemovalWorld {
    async fn seeded(seed: u64) -> Self {
        let mut world = World::seeded(seed).await;
        let home = world.ada.create_group("home").await.unwrap();
        home.table(TASKS).put("first", &task("basil")).await.unwrap();
        let admin = world.new_user();
        home.add_member(admin.user(), Role::Admin).await.unwrap();
        Self { world, home, admin }
    }

    fn role(&self, user: UserId) -> Role {
        let member = self.home.members().into_iter().find(|member| member.user == user);
        member.map_or(Role::None, |member| member.role)
    }

    fn lists_device(&self, user: UserId, device: DeviceId) -> bool {
        self.home
            .members()
            .iter()
            .any(|member| member.user == user && member.devices.iter().any(|known| known.device == device))
    }

    async fn put_row(&self, key: &str, title: &str) {
        self.home.table(TASKS).put(key, &task(title)).await.unwrap();
    }

    /// Links the member who brings the removal or the revocation; returns the frame that it is to send.
    async fn informer(
        &self,
        loss: Loss,
        user: &SigningKey,
        device: DeviceId,
        other: &DeviceIdentity,
    ) -> Option<(HandmadeMember, GroupFrame)> {
        let identity = match loss {
            Loss::Removed => return None,
            Loss::RemovedElsewhere => &self.admin,
            Loss::DeviceRevoked => other,
        };
        let mut stranger = self.world.dial(identity).await;
        stranger.patience = SHORT_PATIENCE;
        let mut informer = match loss {
            Loss::DeviceRevoked => HandmadeMember::open_without_ledger(stranger, self.home.id()).await,
            _ => HandmadeMember::open(stranger, self.home.id()).await,
        };
        informer.run().await;
        let frame = match loss {
            Loss::DeviceRevoked => push(Vec::new(), Vec::new(), vec![revocation(user, device)]),
            _ => {
                let by = By::Device(identity.certificate.envelope().clone());
                let user = UserId(user.public());
                let body = Body::SetRole { user, role: Role::None, cut: None, via: None };
                let op = informer.ledger.draft(identity.user(), by, body).unwrap();
                push(vec![Signed::sign(op, &identity.signing).envelope().clone()], Vec::new(), Vec::new())
            }
        };
        Some((informer, frame))
    }

    /// Waits for a condition; asserts that no virtual time passes.
    async fn wait_without_delay(&self, is_so: impl Fn() -> bool) {
        let at = self.world.clock.instant();
        while !is_so() {
            assert_eq!(self.world.clock.instant(), at, "the node admits without delay");
            tokio::task::yield_now().await;
        }
    }

    async fn check_h3(&mut self, queued: bool) {
        let loss = [Loss::Removed, Loss::RemovedElsewhere, Loss::DeviceRevoked][self.world.pick(3)];
        let roles = [Role::Reader, Role::Writer, Role::Admin];
        let role = if matches!(loss, Loss::DeviceRevoked) { roles[self.world.pick(3)] } else { Role::Reader };
        let (name, device) = (self.world.new_name(), self.world.new_name());
        let (mia, other) = (device_of(&name, &name), device_of(&name, &device));
        let (user, id) = (mia.user(), self.home.id());
        self.home.add_member(user, Role::Reader).await.unwrap();
        for _ in 0..self.world.pick(3) {
            // An earlier membership must make no difference.
            self.home.remove_member(user).await.unwrap();
            self.home.add_member(user, Role::Reader).await.unwrap();
        }
        if role > Role::Reader {
            self.home.set_role(user, role).await.unwrap();
        }

        // As a member, mia receives rows and the node admits her certificates.
        let mut link = self.world.dial(&mia).await;
        link.patience = SHORT_PATIENCE;
        let mut mia = HandmadeMember::open_without_ledger(link, id).await;
        mia.run().await;
        assert!(!mia.documents.units.is_empty());
        let device = mia.peer.identity.device();
        let both = [&mia.peer.identity, &other].map(|it| it.certificate.envelope().clone());
        mia.send(push(Vec::new(), both.to_vec(), Vec::new())).await;
        mia.run().await;
        assert!(self.lists_device(user, device) && self.lists_device(user, other.device()));
        if self.world.random.chance(0.3) && role == Role::Admin {
            // A lowered member keeps access.
            self.home.set_role(user, Role::Writer).await.unwrap();
        }
        let before = mia.documents.units.len();
        self.put_row("small", &format!("before {}", self.world.names)).await;
        mia.run().await;
        assert_eq!(mia.documents.units.len(), before + 1);

        // `queued`: more rows are under way than the stream holds, so that most of them wait in the node.
        let informer = self.informer(loss, &user_key(&name), device, &other).await;
        mia.run().await;
        if queued {
            for count in 0..6 {
                let noise: String =
                    self.world.bytes::<100>().map(|byte| char::from(b'a' + byte % 26)).iter().collect();
                self.put_row("large", &noise.repeat(1_000 + count)).await;
            }
            self.world.clock.sleep(SHORT_PATIENCE).await;
        } else if self.world.random.chance(0.5) {
            self.put_row("small", &format!("under way {}", self.world.names)).await;
            mia.run().await;
        }

        let at = self.world.clock.instant();
        match informer {
            None => drop(self.home.remove_member(user).await.unwrap()),
            Some((mut informer, frame)) => {
                informer.send(frame).await;
                self.wait_without_delay(|| self.role(user) == Role::None || !self.lists_device(user, device))
                    .await;
            }
        }
        assert_eq!(self.world.clock.instant(), at);

        // The node answers none of mia's frames, admits nothing of them and sends her no new row.
        let third = device_of(&name, &self.world.new_name());
        mia.send(GroupFrame::Ledger(LedgerFrame::Pull(Default::default()))).await;
        mia.send(push(Vec::new(), vec![third.certificate.envelope().clone()], Vec::new())).await;
        self.put_row("small", SECRET).await;
        mia.peer.patience = Duration::from_secs(60);
        let received = mia.peer.frames_until_silence().await;

        let (last, crossed) = received.split_last().unwrap();
        assert_eq!(last, &BYE_NOT_AUTHORIZED, "{loss:?}");
        let others = crossed.iter().filter(|frame| !matches!(frame, LinkFrame::Group { .. }));
        assert_eq!(others.count(), 0, "{loss:?}: {crossed:?}");
        assert!(!crossed.iter().any(|frame| contains_text(&frame.encode(), SECRET)), "{loss:?}");
        // Only bytes that had left the node: what the stream holds, and the frame that was being written.
        let lengths = || crossed.iter().map(|frame| frame.encode().len());
        let on_the_way = if queued { PIPE_BYTES_MAX + 2 * RECORD_BYTES_MAX } else { 0 };
        let (bytes, largest) = (lengths().sum::<usize>(), lengths().max().unwrap_or_default());
        assert!(bytes - largest <= on_the_way, "{loss:?}: {bytes} bytes, {crossed:?}");
        assert!(queued || crossed.is_empty(), "{loss:?}: {crossed:?}");
        let _ = self.home.add_member(user, Role::Reader).await; // fails if only the device was revoked
        assert!(!self.lists_device(user, third.device()), "{loss:?}");
        self.put_row("small", "and on").await;
    }
}

/// 400 worlds, each with 5 members who lose their membership while they read.
#[test]
fn h3_a_lost_membership_ends_both_directions_at_once() {
    for_each_seed(400, async |seed| {
        let mut removals = RemovalWorld::seeded(seed).await;
        for number in 1..=5 {
            // The last one only: every later member would receive the large rows first.
            let queued = number == 5 && removals.world.random.chance(0.1);
            Box::pin(removals.check_h3(queued)).await;
        }
        removals.world.ada.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_three_invalid_ops_is_disconnected_for_an_hour() {
    let mut world = World::seeded(1).await;
    let home = world.ada.create_group("home").await.unwrap();
    let (rude, polite) = (world.new_user(), world.new_user());
    for member in [&rude, &polite] {
        home.add_member(member.user(), Role::Reader).await.unwrap();
    }
    let mut link = HandmadeMember::open(world.dial(&rude).await, home.id()).await;
    link.peer.patience = SHORT_PATIENCE;
    link.run().await;

    let by = By::Device(rude.certificate.envelope().clone());
    for (number, role) in [Role::Admin, Role::Owner, Role::Founder].into_iter().enumerate() {
        let links = world.ada.status().await.unwrap().links.len();
        assert_eq!(links, 1, "after {number}");
        let body = Body::SetRole { user: rude.user(), role, cut: None, via: None };
        let (group, parents) = (home.id(), link.ledger.heads());
        let op = Op { version: 1, group, parents, author: rude.user(), by: by.clone(), body };
        let op = Signed::sign(op, &rude.signing).envelope().clone();
        link.send(push(vec![op], Vec::new(), Vec::new())).await;
        world.clock.sleep(SHORT_PATIENCE).await;
    }
    let bye = LinkFrame::Bye { reason: ByeReason::Protocol };
    assert_eq!(link.peer.frames_until_silence().await.last(), Some(&bye));

    // No role changed, other peers are not affected, and the device may come back after an hour.
    assert_eq!(world.dial(&rude).await.frames_until_silence().await, [bye]);
    HandmadeMember::open(world.dial(&polite).await, home.id()).await;
    assert_eq!(home.members().len(), 3);
    world.clock.sleep(Duration::from_secs(3_601)).await;
    HandmadeMember::open(world.dial(&rude).await, home.id()).await;
    world.ada.close().await;
}

#[tokio::test(start_paused = true)]
async fn forged_certificates_end_the_link_and_repeated_ones_do_not() {
    let mut world = World::seeded(3).await;
    let home = world.ada.create_group("home").await.unwrap();
    let (rude, forgetful) = (world.new_user(), world.new_user());
    for member in [&rude, &forgetful] {
        home.add_member(member.user(), Role::Reader).await.unwrap();
    }
    let known = forgetful.certificate.envelope().clone();
    let mut again = HandmadeMember::open(world.dial(&forgetful).await, home.id()).await;
    again.peer.patience = SHORT_PATIENCE;
    again.run().await;
    again.send(push(Vec::new(), vec![known.clone(); 10], Vec::new())).await;
    again.run().await;

    let mut link = HandmadeMember::open(world.dial(&rude).await, home.id()).await;
    link.peer.patience = SHORT_PATIENCE;
    link.run().await;
    assert_eq!(world.ada.status().await.unwrap().links.len(), 2);
    let forged = (0..3_u8).map(|number| Envelope {
        signature: known.signature,
        ..device_of(b"victor", &[number]).certificate.envelope().clone()
    });
    link.send(push(Vec::new(), forged.collect(), Vec::new())).await;

    let bye = LinkFrame::Bye { reason: ByeReason::Protocol };
    assert_eq!(link.peer.frames_until_silence().await.last(), Some(&bye));
    assert_eq!(world.ada.status().await.unwrap().links.len(), 1);
    world.ada.close().await;
}

/// An Admin may revoke their own device, but ops that a removed member presents are not admitted.
#[tokio::test(start_paused = true)]
async fn ops_that_a_removed_member_presents_are_ignored() {
    let world = World::seeded(2).await;
    let home = world.ada.create_group("home").await.unwrap();
    let mut admitted = Vec::new();
    for (name, role) in [(b"ben", Role::Admin), (b"cid", Role::None)] {
        let (identity, lost) = (device_of(name, name), device_of(name, b"lost"));
        home.add_member(identity.user(), Role::Admin).await.unwrap();
        let mut link = world.dial(&identity).await;
        link.patience = SHORT_PATIENCE;
        let mut member = HandmadeMember::open(link, home.id()).await;
        member.run().await;
        if role == Role::None {
            home.remove_member(identity.user()).await.unwrap();
        }

        let (group, parents) = (home.id(), member.ledger.heads());
        let body = Body::RevokeDevice { user: identity.user(), device: lost.device(), cut: None };
        let op = Op { version: 1, group, parents, author: identity.user(), by: By::User, body };
        let id = op.id();
        let ops = vec![Signed::sign(op, &user_key(name)).envelope().clone()];
        let mut second = world.dial(&identity).await;
        second.send(&LinkFrame::Present { group, ops, manifests: Vec::new() }).await;
        second.frames_until_silence().await;
        admitted.push(home.log().await.unwrap().iter().any(|entry| entry.op == id));
    }
    assert_eq!(admitted, [true, false]);
    world.ada.close().await;
}

/// Mallory, a removed Admin, signs backdated ops with her old key that admit her new key: ada ignores them.
/// Ops that admit dan through an Admin still unknown to ada are admitted.
#[tokio::test(start_paused = true)]
async fn a_removed_member_cannot_extend_the_ledger_through_a_new_key() {
    let world = World::seeded(3).await;
    let home = world.ada.create_group("home").await.unwrap();
    let names: [&[u8]; 5] = [b"mallory", b"mallory again", b"cid", b"dan", b"eve"];
    let [mallory, again, cid, dan, eve] = names.map(|name| device_of(name, name));
    for admin in [&mallory, &cid] {
        home.add_member(admin.user(), Role::Admin).await.unwrap();
    }
    let mut link = world.dial(&cid).await;
    link.patience = SHORT_PATIENCE;
    let mut member = HandmadeMember::open(link, home.id()).await;
    member.run().await;
    let sign = |author: &DeviceIdentity, parents: &[OpId], user: UserId, role: Role| {
        let by = By::Device(author.certificate.envelope().clone());
        let body = Body::SetRole { user, role, cut: None, via: None };
        let (group, parents, author_id) = (home.id(), parents.to_vec(), author.user());
        let op = Op { version: 1, group, parents, author: author_id, by, body };
        (op.id(), Signed::sign(op, &author.signing).envelope().clone())
    };
    let old = member.ledger.heads();
    home.remove_member(mallory.user()).await.unwrap();
    let (back, back_op) = sign(&mallory, &old, again.user(), Role::Writer);
    let (friend, friend_op) = sign(&mallory, &[back], eve.user(), Role::Reader);
    let lost = device_of(b"mallory", b"lost").device();
    let body = Body::RevokeDevice { user: mallory.user(), device: lost, cut: None };
    let op = Op { version: 1, group: home.id(), parents: old, author: mallory.user(), by: By::User, body };
    let (loss, loss_op) = (op.id(), Signed::sign(op, &user_key(b"mallory")).envelope().clone());
    let (grant, grant_op) = sign(&cid, &member.ledger.heads(), eve.user(), Role::Admin);
    let (deeper, deeper_op) = sign(&eve, &[grant], dan.user(), Role::Reader);

    let has = async |op: OpId| home.log().await.unwrap().iter().any(|entry| entry.op == op);
    let before = home.log().await.unwrap().len();
    let mut stranger = world.dial(&again).await;
    let ops = [&back_op, &friend_op, &loss_op].map(Envelope::clone);
    for ops in [ops.to_vec(), vec![back_op], vec![loss_op]] {
        stranger.send(&LinkFrame::Present { group: home.id(), ops, manifests: Vec::new() }).await;
    }
    stranger.frames_until_silence().await;
    assert!(!has(back).await && !has(friend).await && !has(loss).await);
    assert_eq!(home.log().await.unwrap().len(), before);

    let mut stranger = world.dial(&dan).await;
    stranger
        .send(&LinkFrame::Present { group: home.id(), ops: vec![grant_op, deeper_op], manifests: Vec::new() })
        .await;
    stranger.frames_until_silence().await;
    assert!(has(grant).await && has(deeper).await);
    assert!(home.members().iter().any(|member| member.user == dan.user()));
    world.ada.close().await;
}

/// After her own removal ada announces the group to nobody, until a member brings the op that readmits her.
#[tokio::test(start_paused = true)]
async fn a_removed_node_announces_the_group_to_nobody_until_it_is_readmitted() {
    let mut world = World::seeded(4).await;
    let home = world.ada.create_group("home").await.unwrap();
    let cid = world.new_user();
    home.add_member(cid.user(), Role::Founder).await.unwrap();
    home.set_role(world.ada.user_id(), Role::Admin).await.unwrap();
    let mut link = world.dial(&cid).await;
    link.patience = SHORT_PATIENCE;
    HandmadeMember::open(link, home.id()).await.run().await;
    home.remove_member(world.ada.user_id()).await.unwrap();

    let received = world.dial(&cid).await.frames_until_silence().await;
    assert_eq!(received, [LinkFrame::Hello(Hello::default()), BYE_NOT_AUTHORIZED]);

    let mut link = world.dial(&cid).await;
    link.patience = SHORT_PATIENCE;
    let mut member = HandmadeMember::open(link, home.id()).await;
    member.run().await;
    let by = By::Device(cid.certificate.envelope().clone());
    let body = Body::SetRole { user: world.ada.user_id(), role: Role::Writer, cut: None, via: None };
    let op = member.ledger.draft(cid.user(), by, body).unwrap();
    let op = Signed::sign(op, &cid.signing).envelope().clone();
    member.ledger.admit(op.clone()).unwrap();
    member.send(push(vec![op], Vec::new(), Vec::new())).await;
    member.run().await;
    assert_eq!(home.info().role, Role::Writer);
    home.table(TASKS).put("first", &task("basil")).await.unwrap();
    member.run().await;
    assert_eq!(member.documents.units.len(), 1, "ada's row is sent");
    world.ada.close().await;
}
