//! What those hear who are not, or no longer, members: H3 and H4 of authority 4.1, over a real node in virtual time.
//!
//! A failing case prints its seed; `ACCESS_SEED=… cargo test --test it access` runs that one alone.

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

/// How long whoever listens waits where nothing but virtual time keeps the node from answering.
const AT_ONCE: Duration = Duration::from_millis(5);
/// What whoever shares nothing hears last.
const FAREWELL: LinkFrame = LinkFrame::Bye { reason: ByeReason::NotAuthorized };
/// In the key and the title of every row.
const SECRET: &str = "nobody else's business";

/// A node on a network, and the numbers of those who were made up to talk to it.
struct World {
    network: MemoryNetwork,
    clock: Clock,
    random: Random,
    ada: Node,
    seed: u64,
    people: u64,
}

impl World {
    async fn seeded(seed: u64) -> Self {
        let clock = Clock::simulated(seed);
        let network = MemoryNetwork::seeded(clock.clone(), seed);
        let ada = Node::in_memory_builder().network(&network, "ada").open().await.unwrap();
        ada.listen("memory://ada").await.unwrap();
        Self { network, clock, random: Random::seeded(seed), ada, seed, people: 0 }
    }

    /// Somebody nobody has heard of.
    fn somebody(&mut self) -> DeviceIdentity {
        let name = self.name();
        device_of(&name, &name)
    }

    fn name(&mut self) -> [u8; 16] {
        self.people += 1;
        (u128::from(self.seed) << 64 | u128::from(self.people)).to_be_bytes()
    }

    async fn dial(&self, identity: &DeviceIdentity) -> HandmadePeer {
        HandmadePeer::dial(&self.network, &self.clock, identity.clone(), "memory://ada").await
    }

    /// Below `bound`.
    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.within(0..=bound as u64 - 1)).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| u8::try_from(self.random.within(0..=255)).unwrap())
    }
}

/// Until the link ends, or nothing more comes.
async fn everything_heard(stranger: &mut HandmadePeer) -> Vec<LinkFrame> {
    let mut heard = Vec::new();
    while let Some(frame) = stranger.receive().await {
        heard.push(frame);
    }
    heard
}

fn grown(ops: Vec<Envelope>, certificates: Vec<Envelope>, revocations: Vec<Envelope>) -> GroupFrame {
    GroupFrame::Ledger(LedgerFrame::Push { ops, certificates, revocations, records: Vec::new(), last: false })
}

fn withdrawal(user: &SigningKey, device: DeviceId) -> Envelope {
    let revocation = UserDeviceRevocation { version: 1, user: UserId(user.public()), device };
    Signed::sign(revocation, user).envelope().clone()
}

/// Prints the seed of the case that did not come to its end.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the case that failed: ACCESS_SEED={}", self.0);
        }
    }
}

/// Runs a story for each of many seeds, other ones each time, on two threads.
fn seeds(worlds: u64, story: impl AsyncFn(u64) + Sync) {
    let given = std::env::var("ACCESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let (first, worlds) = given.map_or_else(|| (Clock::real().random_u64(), worlds), |seed| (seed, 1));
    let run = |half: usize| {
        for seed in (0..worlds).skip(half).step_by(2).map(|number| first.wrapping_add(number)) {
            let _case = Case(seed);
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().start_paused(true).build().unwrap().block_on(story(seed));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(1));
        run(0);
    });
}

/// Groups to which anything happens, and what an outsider may know of them.
struct Neighbourhood {
    world: World,
    groups: Vec<Group>,
    /// Readers who may be removed.
    readers: Vec<(GroupId, DeviceIdentity)>,
    /// Who was a Reader.
    removed: Vec<(GroupId, DeviceIdentity)>,
    /// Whom its user took back.
    withdrawn: Vec<(GroupId, DeviceIdentity)>,
    tickets: Vec<Ticket>,
    /// What a member once got.
    leaked: Vec<(GroupId, Vec<Envelope>)>,
    /// What was said on links that are over.
    overheard: Vec<LinkFrame>,
}

impl Neighbourhood {
    async fn seeded(seed: u64) -> Self {
        let world = World::seeded(seed).await;
        let (groups, tickets, overheard) = (Vec::new(), Vec::new(), Vec::new());
        let (readers, removed, withdrawn, leaked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut here = Self { world, groups, readers, removed, withdrawn, tickets, leaked, overheard };
        here.founds().await;
        here.admits(0).await;
        here.removes().await;
        here.loses_a_device(0).await;
        here
    }

    async fn founds(&mut self) {
        let group = self.world.ada.create_group("home").await.unwrap();
        group.table(TASKS).put(SECRET, &task(SECRET)).await.unwrap();
        group.invite(Role::Reader).await.unwrap();
        self.groups.push(group);
    }

    async fn admits(&mut self, at: usize) {
        let somebody = self.world.somebody();
        let (group, role) = (&self.groups[at], [Role::Reader, Role::Writer, Role::Admin][self.world.pick(3)]);
        group.add_member(somebody.user(), role).await.unwrap();
        let reader = self.world.somebody();
        let group = &self.groups[at];
        group.add_member(reader.user(), Role::Reader).await.unwrap();
        self.readers.push((group.id(), reader));
    }

    async fn removes(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let at = self.world.pick(self.readers.len());
        let (id, reader) = self.readers.swap_remove(at);
        let Ok(group) = self.world.ada.group(id) else { return };
        group.remove_member(reader.user()).await.unwrap();
        self.removed.push((id, reader));
    }

    /// A member takes one of their devices back; the other brings the word, and gets the ledger.
    async fn loses_a_device(&mut self, at: usize) {
        let (user, device) = (self.world.name(), self.world.name());
        let (kept, lost) = (device_of(&user, &user), device_of(&user, &device));
        let id = self.groups[at].id();
        self.groups[at].add_member(kept.user(), Role::Writer).await.unwrap();

        let mut stranger = self.world.dial(&kept).await;
        stranger.patience = AT_ONCE;
        let mut member = HandmadeMember::greet(stranger, id).await;
        let word = withdrawal(&user_key(&user), lost.device());
        member.say(grown(Vec::new(), Vec::new(), vec![word])).await;
        member.talk().await;

        self.leaked.push((id, member.ledger.envelopes().cloned().collect()));
        self.withdrawn.push((id, lost));
    }

    /// An Admin comes in and looks after those who stay.
    async fn leaves(&mut self, at: usize) {
        let (group, admin) = (self.groups.swap_remove(at), self.world.somebody());
        group.add_member(admin.user(), Role::Admin).await.unwrap();
        let mut link = self.world.dial(&admin).await;
        link.patience = AT_ONCE;
        HandmadeMember::greet(link, group.id()).await.talk().await;
        group.leave().await.unwrap();
    }

    /// Something that has nothing to do with who listens.
    async fn goes_on(&mut self) {
        let at = self.world.pick(self.groups.len());
        match self.world.pick(9) {
            0 if self.groups.len() < 6 => self.founds().await,
            0..=2 => self.admits(at).await,
            3 => self.removes().await,
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
            6 if self.groups.len() > 1 => self.leaves(at).await,
            _ => self.groups[at].table(TASKS).put(SECRET, &task(SECRET)).await.unwrap(),
        }
    }

    /// Everything that is told to members alone: ids, and the ends of names and rows.
    async fn secrets(&self, own: UserId) -> BTreeSet<[u8; 32]> {
        let mut secrets = BTreeSet::new();
        for group in self.world.ada.groups().iter().filter_map(|info| self.world.ada.group(info.id).ok()) {
            secrets.insert(group.id().0);
            for member in group.members() {
                secrets.extend(member.devices.iter().map(|device| device.device.0));
                secrets.insert(member.user.0);
            }
            for said in group.log().await.unwrap() {
                secrets.extend([said.op.0, said.author.0]);
                secrets.extend(said.act.target().map(|user| user.0));
            }
            secrets.extend(group.invites().await.unwrap().iter().map(|invite| invite.id.0));
        }
        secrets.extend(self.tickets.iter().flat_map(|ticket| [ticket.group().0, ticket.invite().0]));
        for known in [self.world.ada.user_id().0, self.world.ada.device_id().0, own.0] {
            secrets.remove(&known);
        }
        secrets
    }

    /// Whoever has no business here, and the group that they know of.
    fn outsider(&mut self) -> (DeviceIdentity, GroupId) {
        let of = |world: &mut World, all: &[(GroupId, DeviceIdentity)]| {
            let (id, identity) = &all[world.pick(all.len())];
            (identity.clone(), *id)
        };
        match self.world.pick(4) {
            0 => of(&mut self.world, &self.removed),
            1 => of(&mut self.world, &self.withdrawn),
            2 => (self.world.somebody(), GroupId(self.world.bytes())),
            _ => {
                let at = self.world.pick(self.groups.len());
                (self.world.somebody(), self.groups[at].id())
            }
        }
    }

    /// Something well formed.
    fn says(&mut self, outsider: &HandmadePeer, known: GroupId) -> LinkFrame {
        let (h, nonce) = (outsider.established.h, u64::from_be_bytes(self.world.bytes()));
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
            3 => self.shows_a_ticket(outsider, group),
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
            6 if !self.overheard.is_empty() => {
                let at = self.world.pick(self.overheard.len());
                self.overheard[at].clone()
            }
            6 => {
                let token = token(&mut self.world);
                LinkFrame::Declined { token, invite: self.world.bytes(), reason: DeclineReason::Closed }
            }
            _ => LinkFrame::Ping { nonce },
        }
    }

    /// Ops that members got, and one that the outsider made: it makes them a founder.
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

    fn shows_a_ticket(&mut self, outsider: &HandmadePeer, group: GroupId) -> LinkFrame {
        let (h, identity) = (outsider.established.h, &outsider.identity);
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

    async fn h4(&mut self) {
        let (identity, known) = self.outsider();
        let mut outsider = self.world.dial(&identity).await;
        let (mut said, count) = (Vec::new(), 1 + self.world.pick(8));
        for _ in 0..count {
            if self.world.random.chance(0.1) {
                self.goes_on().await;
            }
            let mut frame = self.says(&outsider, known);
            // Three invalid ops would end the link.
            let is_present = |frame: &LinkFrame| matches!(frame, LinkFrame::Present { .. });
            while is_present(&frame) && said.iter().filter(|said| is_present(said)).count() == 2 {
                frame = self.says(&outsider, known);
            }
            outsider.send(&frame).await;
            said.push(frame);
        }
        let heard = everything_heard(&mut outsider).await;

        let [first, answers @ .., last] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((first, last), (&LinkFrame::Hello(Hello::default()), &FAREWELL), "{heard:?} to {said:?}");
        let pings = said.iter().filter_map(|frame| match frame {
            LinkFrame::Ping { nonce } => Some(LinkFrame::Pong { nonce: *nonce }),
            _ => None,
        });
        assert_eq!(answers, pings.collect::<Vec<_>>(), "to {said:?}");
        let secrets = self.secrets(identity.user()).await;
        assert!(!tells(&heard, &secrets), "{heard:?} to {said:?}");
        self.overheard = said;
    }
}

/// Whether a secret, or something of a row, is anywhere in what was heard.
fn tells(heard: &[LinkFrame], secrets: &BTreeSet<[u8; 32]>) -> bool {
    heard.iter().map(LinkFrame::encode).any(|frame| {
        let is_secret = |window: &[u8]| secrets.contains::<[u8; 32]>(window.try_into().unwrap());
        frame.windows(32).any(is_secret) || shows(&frame, SECRET)
    })
}

fn shows(frame: &[u8], words: &str) -> bool {
    frame.windows(words.len()).any(|window| window == words.as_bytes())
}

/// 100 worlds with 20 outsiders each.
#[test]
fn h4_whoever_is_no_member_learns_nothing_whatever_they_say() {
    seeds(100, async |seed| {
        let mut here = Neighbourhood::seeded(seed).await;
        for _ in 0..20 {
            here.goes_on().await;
            here.h4().await;
        }
        // Or else nobody would have heard anything anyway.
        let (id, member) = (here.groups[0].id(), here.world.somebody());
        here.groups[0].add_member(member.user(), Role::Reader).await.unwrap();
        let mut member = here.world.dial(&member).await;
        member.patience = AT_ONCE;
        member.announce(id).await;
        let pull = GroupFrame::Ledger(LedgerFrame::Pull(Default::default())).encode();
        member.send(&LinkFrame::Group { channel: 0, body: pull }).await;
        let secrets = here.secrets(member.identity.user()).await;
        assert!(tells(&everything_heard(&mut member).await, &secrets));
        here.world.ada.close().await;
    });
}

/// How somebody stops being a member.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Here, by the node's user.
    Removed,
    /// Elsewhere, by an Admin whose device brings the op.
    RemovedElsewhere,
    /// Their user takes the device back; another device of theirs brings the word.
    DeviceRevoked,
}

/// One group, in which one after the other is let in and thrown out.
struct Club {
    world: World,
    home: Group,
    admin: DeviceIdentity,
}

impl Club {
    async fn seeded(seed: u64) -> Self {
        let mut world = World::seeded(seed).await;
        let home = world.ada.create_group("home").await.unwrap();
        home.table(TASKS).put("first", &task("basil")).await.unwrap();
        let admin = world.somebody();
        home.add_member(admin.user(), Role::Admin).await.unwrap();
        Self { world, home, admin }
    }

    fn role(&self, user: UserId) -> Role {
        let member = self.home.members().into_iter().find(|member| member.user == user);
        member.map_or(Role::None, |member| member.role)
    }

    fn knows(&self, user: UserId, device: DeviceId) -> bool {
        self.home
            .members()
            .iter()
            .any(|member| member.user == user && member.devices.iter().any(|known| known.device == device))
    }

    async fn puts(&self, key: &str, title: &str) {
        self.home.table(TASKS).put(key, &task(title)).await.unwrap();
    }

    /// Who brings the word that a device of `user` is out, and the word.
    async fn messenger(
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
        stranger.patience = AT_ONCE;
        let mut messenger = match loss {
            Loss::DeviceRevoked => HandmadeMember::trusting(stranger, self.home.id()).await,
            _ => HandmadeMember::greet(stranger, self.home.id()).await,
        };
        messenger.talk().await;
        let word = match loss {
            Loss::DeviceRevoked => grown(Vec::new(), Vec::new(), vec![withdrawal(user, device)]),
            _ => {
                let by = By::Device(identity.certificate.envelope().clone());
                let user = UserId(user.public());
                let body = Body::SetRole { user, role: Role::None, cut: None, via: None };
                let op = messenger.ledger.draft(identity.user(), by, body).unwrap();
                grown(vec![Signed::sign(op, &identity.signing).envelope().clone()], Vec::new(), Vec::new())
            }
        };
        Some((messenger, word))
    }

    /// Waits without letting time pass.
    async fn at_once(&self, is_so: impl Fn() -> bool) {
        let at = self.world.clock.instant();
        while !is_so() {
            assert_eq!(self.world.clock.instant(), at, "admitted at once");
            tokio::task::yield_now().await;
        }
    }

    async fn h3(&mut self, queued: bool) {
        let loss = [Loss::Removed, Loss::RemovedElsewhere, Loss::DeviceRevoked][self.world.pick(3)];
        let roles = [Role::Reader, Role::Writer, Role::Admin];
        let role = if matches!(loss, Loss::DeviceRevoked) { roles[self.world.pick(3)] } else { Role::Reader };
        let (name, device) = (self.world.name(), self.world.name());
        let (mia, other) = (device_of(&name, &name), device_of(&name, &device));
        let (user, id) = (mia.user(), self.home.id());
        self.home.add_member(user, Role::Reader).await.unwrap();
        for _ in 0..self.world.pick(3) {
            // Who was in before is no more in than others.
            self.home.remove_member(user).await.unwrap();
            self.home.add_member(user, Role::Reader).await.unwrap();
        }
        if role > Role::Reader {
            self.home.set_role(user, role).await.unwrap();
        }

        // She reads, and is read.
        let mut link = self.world.dial(&mia).await;
        link.patience = AT_ONCE;
        let mut mia = HandmadeMember::trusting(link, id).await;
        mia.talk().await;
        assert!(!mia.shelf.units.is_empty());
        let device = mia.stranger.identity.device();
        let both = [&mia.stranger.identity, &other].map(|it| it.certificate.envelope().clone());
        mia.say(grown(Vec::new(), both.to_vec(), Vec::new())).await;
        mia.talk().await;
        assert!(self.knows(user, device) && self.knows(user, other.device()));
        if self.world.random.chance(0.3) && role == Role::Admin {
            // Lowered is not out.
            self.home.set_role(user, Role::Writer).await.unwrap();
        }
        let before = mia.shelf.units.len();
        self.puts("small", &format!("before {}", self.world.people)).await;
        mia.talk().await;
        assert_eq!(mia.shelf.units.len(), before + 1);

        // Sometimes so much is on the way that most of it waits here.
        let messenger = self.messenger(loss, &user_key(&name), device, &other).await;
        mia.talk().await;
        if queued {
            for count in 0..6 {
                let noise: String =
                    self.world.bytes::<100>().map(|byte| char::from(b'a' + byte % 26)).iter().collect();
                self.puts("large", &noise.repeat(1_000 + count)).await;
            }
            self.world.clock.sleep(AT_ONCE).await;
        } else if self.world.random.chance(0.5) {
            self.puts("small", &format!("under way {}", self.world.people)).await;
            mia.talk().await;
        }

        let at = self.world.clock.instant();
        match messenger {
            None => drop(self.home.remove_member(user).await.unwrap()),
            Some((mut messenger, word)) => {
                messenger.say(word).await;
                self.at_once(|| self.role(user) == Role::None || !self.knows(user, device)).await;
            }
        }
        assert_eq!(self.world.clock.instant(), at);

        // She is neither answered nor read, and what is new is not hers.
        let third = device_of(&name, &self.world.name());
        mia.say(GroupFrame::Ledger(LedgerFrame::Pull(Default::default()))).await;
        mia.say(grown(Vec::new(), vec![third.certificate.envelope().clone()], Vec::new())).await;
        self.puts("small", SECRET).await;
        mia.stranger.patience = Duration::from_secs(60);
        let heard = everything_heard(&mut mia.stranger).await;

        let (last, crossed) = heard.split_last().unwrap();
        assert_eq!(last, &FAREWELL, "{loss:?}");
        let others = crossed.iter().filter(|frame| !matches!(frame, LinkFrame::Group { .. }));
        assert_eq!(others.count(), 0, "{loss:?}: {crossed:?}");
        assert!(!crossed.iter().any(|frame| shows(&frame.encode(), SECRET)), "{loss:?}");
        // No more than what had left the node before: what the stream holds, and the frame that was being written.
        let lengths = || crossed.iter().map(|frame| frame.encode().len());
        let on_the_way = if queued { PIPE_BYTES_MAX + 2 * RECORD_BYTES_MAX } else { 0 };
        let (bytes, largest) = (lengths().sum::<usize>(), lengths().max().unwrap_or_default());
        assert!(bytes - largest <= on_the_way, "{loss:?}: {bytes} bytes, {crossed:?}");
        assert!(queued || crossed.is_empty(), "{loss:?}: {crossed:?}");
        let _ = self.home.add_member(user, Role::Reader).await; // she may be in still
        assert!(!self.knows(user, third.device()), "{loss:?}");
        self.puts("small", "and on").await;
    }
}

/// 400 worlds, each with 5 members who lose their membership while they read.
#[test]
fn h3_whoever_loses_membership_hears_and_is_heard_no_more_at_once() {
    seeds(400, async |seed| {
        let mut club = Club::seeded(seed).await;
        for number in 1..=5 {
            // Whoever comes later would have to read it all.
            let queued = number == 5 && club.world.random.chance(0.1);
            Box::pin(club.h3(queued)).await;
        }
        club.world.ada.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_what_can_never_be_valid_is_let_go_for_an_hour() {
    let mut world = World::seeded(1).await;
    let home = world.ada.create_group("home").await.unwrap();
    let (rude, polite) = (world.somebody(), world.somebody());
    for member in [&rude, &polite] {
        home.add_member(member.user(), Role::Reader).await.unwrap();
    }
    let mut link = HandmadeMember::greet(world.dial(&rude).await, home.id()).await;
    link.stranger.patience = AT_ONCE;
    link.talk().await;

    let by = By::Device(rude.certificate.envelope().clone());
    for (number, role) in [Role::Admin, Role::Owner, Role::Founder].into_iter().enumerate() {
        let still = world.ada.status().await.unwrap().links.len();
        assert_eq!(still, 1, "after {number}");
        let body = Body::SetRole { user: rude.user(), role, cut: None, via: None };
        let (group, parents) = (home.id(), link.ledger.heads());
        let op = Op { version: 1, group, parents, author: rude.user(), by: by.clone(), body };
        let op = Signed::sign(op, &rude.signing).envelope().clone();
        link.say(grown(vec![op], Vec::new(), Vec::new())).await;
        world.clock.sleep(AT_ONCE).await;
    }
    let bye = LinkFrame::Bye { reason: ByeReason::Protocol };
    assert_eq!(everything_heard(&mut link.stranger).await.last(), Some(&bye));

    // Its user's role is what it was, and others are not concerned.
    assert_eq!(everything_heard(&mut world.dial(&rude).await).await, [bye]);
    HandmadeMember::greet(world.dial(&polite).await, home.id()).await;
    assert_eq!(home.members().len(), 3);
    world.clock.sleep(Duration::from_secs(3_601)).await;
    HandmadeMember::greet(world.dial(&rude).await, home.id()).await;
    world.ada.close().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_passes_on_what_nobody_signed_is_let_go_and_who_says_it_again_is_not() {
    let mut world = World::seeded(3).await;
    let home = world.ada.create_group("home").await.unwrap();
    let (rude, forgetful) = (world.somebody(), world.somebody());
    for member in [&rude, &forgetful] {
        home.add_member(member.user(), Role::Reader).await.unwrap();
    }
    let known = forgetful.certificate.envelope().clone();
    let mut again = HandmadeMember::greet(world.dial(&forgetful).await, home.id()).await;
    again.stranger.patience = AT_ONCE;
    again.talk().await;
    again.say(grown(Vec::new(), vec![known.clone(); 10], Vec::new())).await;
    again.talk().await;

    let mut link = HandmadeMember::greet(world.dial(&rude).await, home.id()).await;
    link.stranger.patience = AT_ONCE;
    link.talk().await;
    assert_eq!(world.ada.status().await.unwrap().links.len(), 2);
    let forged = (0..3_u8).map(|number| Envelope {
        signature: known.signature,
        ..device_of(b"victor", &[number]).certificate.envelope().clone()
    });
    link.say(grown(Vec::new(), forged.collect(), Vec::new())).await;

    let bye = LinkFrame::Bye { reason: ByeReason::Protocol };
    assert_eq!(everything_heard(&mut link.stranger).await.last(), Some(&bye));
    assert_eq!(world.ada.status().await.unwrap().links.len(), 1);
    world.ada.close().await;
}

/// Anybody may say of their own device that it is lost, a removed member among them; but they are not listened to.
#[tokio::test(start_paused = true)]
async fn what_a_removed_member_presents_is_not_read() {
    let world = World::seeded(2).await;
    let home = world.ada.create_group("home").await.unwrap();
    let mut listened = Vec::new();
    for (name, role) in [(b"ben", Role::Reader), (b"cid", Role::None)] {
        let (identity, lost) = (device_of(name, name), device_of(name, b"lost"));
        home.add_member(identity.user(), Role::Reader).await.unwrap();
        let mut link = world.dial(&identity).await;
        link.patience = AT_ONCE;
        let mut member = HandmadeMember::greet(link, home.id()).await;
        member.talk().await;
        if role == Role::None {
            home.remove_member(identity.user()).await.unwrap();
        }

        let (group, parents) = (home.id(), member.ledger.heads());
        let body = Body::RevokeDevice { user: identity.user(), device: lost.device(), cut: None };
        let op = Op { version: 1, group, parents, author: identity.user(), by: By::User, body };
        let id = op.id();
        let ops = vec![Signed::sign(op, &user_key(name)).envelope().clone()];
        let mut anew = world.dial(&identity).await;
        anew.send(&LinkFrame::Present { group, ops, manifests: Vec::new() }).await;
        everything_heard(&mut anew).await;
        listened.push(home.log().await.unwrap().iter().any(|said| said.op == id));
    }
    assert_eq!(listened, [true, false]);
    world.ada.close().await;
}

/// Removed, mallory signs with her old key, as of when she was an Admin, that she is let in under a fresh one, and more.
/// Whoever was let in by an Admin of whom ada has not heard is listened to all the same.
#[tokio::test(start_paused = true)]
async fn whoever_was_a_member_once_writes_nothing_into_the_ledger_through_a_fresh_key() {
    let world = World::seeded(3).await;
    let home = world.ada.create_group("home").await.unwrap();
    let names: [&[u8]; 5] = [b"mallory", b"mallory again", b"cid", b"dan", b"eve"];
    let [mallory, again, cid, dan, eve] = names.map(|name| device_of(name, name));
    for admin in [&mallory, &cid] {
        home.add_member(admin.user(), Role::Admin).await.unwrap();
    }
    let mut link = world.dial(&cid).await;
    link.patience = AT_ONCE;
    let mut member = HandmadeMember::greet(link, home.id()).await;
    member.talk().await;
    let says = |author: &DeviceIdentity, parents: &[OpId], user: UserId, role: Role| {
        let by = By::Device(author.certificate.envelope().clone());
        let body = Body::SetRole { user, role, cut: None, via: None };
        let (group, parents, author_id) = (home.id(), parents.to_vec(), author.user());
        let op = Op { version: 1, group, parents, author: author_id, by, body };
        (op.id(), Signed::sign(op, &author.signing).envelope().clone())
    };
    let old = member.ledger.heads();
    home.remove_member(mallory.user()).await.unwrap();
    let (back, back_op) = says(&mallory, &old, again.user(), Role::Writer);
    let (friend, friend_op) = says(&mallory, &[back], eve.user(), Role::Reader);
    let lost = device_of(b"mallory", b"lost").device();
    let body = Body::RevokeDevice { user: mallory.user(), device: lost, cut: None };
    let op = Op { version: 1, group: home.id(), parents: old, author: mallory.user(), by: By::User, body };
    let (loss, loss_op) = (op.id(), Signed::sign(op, &user_key(b"mallory")).envelope().clone());
    let (grant, grant_op) = says(&cid, &member.ledger.heads(), eve.user(), Role::Admin);
    let (deeper, deeper_op) = says(&eve, &[grant], dan.user(), Role::Reader);

    let has = async |op: OpId| home.log().await.unwrap().iter().any(|said| said.op == op);
    let before = home.log().await.unwrap().len();
    let mut stranger = world.dial(&again).await;
    let ops = [&back_op, &friend_op, &loss_op].map(Envelope::clone);
    for ops in [ops.to_vec(), vec![back_op], vec![loss_op]] {
        stranger.send(&LinkFrame::Present { group: home.id(), ops, manifests: Vec::new() }).await;
    }
    everything_heard(&mut stranger).await;
    assert!(!has(back).await && !has(friend).await && !has(loss).await);
    assert_eq!(home.log().await.unwrap().len(), before);

    let mut stranger = world.dial(&dan).await;
    stranger
        .send(&LinkFrame::Present { group: home.id(), ops: vec![grant_op, deeper_op], manifests: Vec::new() })
        .await;
    everything_heard(&mut stranger).await;
    assert!(has(grant).await && has(deeper).await);
    assert!(home.members().iter().any(|member| member.user == dan.user()));
    world.ada.close().await;
}

/// Ada knows that she is out: nobody hears of the group from her, until somebody speaks of it who has let her in again.
#[tokio::test(start_paused = true)]
async fn whoever_knows_that_they_are_out_speaks_of_the_group_to_nobody_and_comes_back_when_let_in() {
    let mut world = World::seeded(4).await;
    let home = world.ada.create_group("home").await.unwrap();
    let cid = world.somebody();
    home.add_member(cid.user(), Role::Founder).await.unwrap();
    home.set_role(world.ada.user_id(), Role::Admin).await.unwrap();
    let mut link = world.dial(&cid).await;
    link.patience = AT_ONCE;
    HandmadeMember::greet(link, home.id()).await.talk().await;
    home.remove_member(world.ada.user_id()).await.unwrap();

    let heard = everything_heard(&mut world.dial(&cid).await).await;
    assert_eq!(heard, [LinkFrame::Hello(Hello::default()), FAREWELL]);

    let mut link = world.dial(&cid).await;
    link.patience = AT_ONCE;
    let mut member = HandmadeMember::greet(link, home.id()).await;
    member.talk().await;
    let by = By::Device(cid.certificate.envelope().clone());
    let body = Body::SetRole { user: world.ada.user_id(), role: Role::Writer, cut: None, via: None };
    let op = member.ledger.draft(cid.user(), by, body).unwrap();
    let op = Signed::sign(op, &cid.signing).envelope().clone();
    member.ledger.admit(op.clone()).unwrap();
    member.say(grown(vec![op], Vec::new(), Vec::new())).await;
    member.talk().await;
    assert_eq!(home.info().role, Role::Writer);
    home.table(TASKS).put("first", &task("basil")).await.unwrap();
    member.talk().await;
    assert_eq!(member.shelf.units.len(), 1, "and is heard");
    world.ada.close().await;
}
