//! The scenarios of authority 4.2 with a modified program, which sends frames that no honest node sends.

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::Node;
use schema::device::DeviceIdentity;
use schema::handshake::{LinkRole, Terms};
use schema::id::hash;
use schema::ledger::{Body, By, Invalid, InviteProof, Ledger, ManifestRef, Op, Refusal};
use schema::signed::{Envelope, Signed};
use schema::wire::device::UserDeviceRevocation;
use schema::wire::group::GroupFrame;
use schema::wire::hello;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;
use testkit::link::HandmadeStream;

use super::*;
use crate::support::TASKS;
use crate::support::handmade::{HandmadeMember, HandmadePeer, device_of, identity, user_key};

/// Fay's group with oda, both on honest nodes, and the network from which handmade peers dial fay.
struct Fixture {
    network: MemoryNetwork,
    clock: Clock,
    nodes: [Node; 2],
    home: Group,
}

async fn fixture() -> Fixture {
    let clock = Clock::simulated(1);
    let network = MemoryNetwork::seeded(clock.clone(), 1);
    let fay = Node::in_memory_builder().network(&network, "fay").open().await.unwrap();
    fay.listen("memory://fay").await.unwrap();
    let oda = Node::in_memory_builder().network(&network, "oda").open().await.unwrap();
    let home = fay.create_group("home").await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    home.add_member(oda.user_id(), Owner).await.unwrap();
    oda.request_group(home.id()).await.unwrap();
    oda.connect("memory://fay").await.unwrap();
    clock.sleep(A_WHILE).await;
    Fixture { network, clock, nodes: [fay, oda], home }
}

impl Fixture {
    async fn dial(&self, identity: &DeviceIdentity) -> HandmadePeer {
        let mut stranger =
            HandmadePeer::dial(&self.network, &self.clock, identity.clone(), "memory://fay").await;
        stranger.patience = Duration::from_millis(5);
        stranger
    }

    /// Admits a user, links a handmade member and syncs it with fay.
    async fn admit(&self, identity: &DeviceIdentity, role: Role) -> HandmadeMember {
        self.home.add_member(identity.user(), role).await.unwrap();
        let mut member = HandmadeMember::open(self.dial(identity).await, self.home.id()).await;
        member.run().await;
        member
    }

    /// The role on both nodes; asserts that they agree.
    fn role(&self, user: UserId) -> Role {
        let [fay, oda] = self.nodes.each_ref().map(|node| {
            let members = node.group(self.home.id()).unwrap().members();
            members.into_iter().find(|member| member.user == user).map_or(Out, |member| member.role)
        });
        assert_eq!(fay, oda);
        fay
    }

    fn roles(&self) -> [Vec<(UserId, Role)>; 2] {
        self.nodes.each_ref().map(|node| {
            let members = node.group(self.home.id()).unwrap().members();
            members.into_iter().map(|member| (member.user, member.role)).collect()
        })
    }

    async fn close(self) {
        for node in self.nodes {
            node.close().await;
        }
    }
}

fn set_role(user: UserId, role: Role) -> Body {
    Body::SetRole { user, role, cut: None, via: None }
}

/// Drafts an op on that ledger, signs and admits it.
fn sign(ledger: &mut Ledger, by: &DeviceIdentity, body: Body) -> Envelope {
    let op = ledger.draft(by.user(), By::Device(by.certificate.envelope().clone()), body).unwrap();
    let envelope = Signed::sign(op, &by.signing).envelope().clone();
    ledger.admit(envelope.clone()).unwrap();
    envelope
}

fn pushed(ops: Vec<Envelope>) -> GroupFrame {
    GroupFrame::Ledger(LedgerFrame::Push {
        ops,
        certificates: vec![],
        revocations: vec![],
        records: vec![],
        last: false,
    })
}

fn revoking(revocations: Vec<Envelope>) -> GroupFrame {
    GroupFrame::Ledger(LedgerFrame::Push {
        ops: vec![],
        certificates: vec![],
        revocations,
        records: vec![],
        last: false,
    })
}

#[tokio::test(start_paused = true)]
async fn scenario_3_a_lowered_admin_floods_the_past_with_a_thousand_ops() {
    let fixture = fixture().await;
    let (mia, puppet, rob) = (identity(1), identity(2), identity(3));
    fixture.home.add_member(rob.user(), Reader).await.unwrap();
    let mut link = fixture.admit(&mia, Admin).await;
    fixture.home.set_role(mia.user(), Writer).await.unwrap();
    fixture.clock.sleep(A_WHILE).await;
    let before = fixture.roles();

    // Half of the ops form a chain, signed by mia and her puppet; the other half are concurrent.
    let past = link.ledger.clone();
    let mut chain = past.clone();
    let mut flood = vec![sign(&mut chain, &mia, set_role(puppet.user(), Admin))];
    flood.push(sign(&mut chain, &mia, set_role(rob.user(), Out)));
    for number in 0..498_u32 {
        let user = UserId(hash("user", &[&number.to_be_bytes()]));
        flood.push(sign(&mut chain, if number % 2 == 0 { &mia } else { &puppet }, set_role(user, Writer)));
    }
    let by = By::Device(mia.certificate.envelope().clone());
    let parents = past.heads();
    for number in 500..1_000_u32 {
        let body = set_role(UserId(hash("user", &[&number.to_be_bytes()])), Reader);
        let (group, parents, by) = (past.group(), parents.clone(), by.clone());
        let op = Op { version: 1, group, parents, author: mia.user(), by, body };
        flood.push(Signed::sign(op, &mia.signing).envelope().clone());
    }
    let mut again = HandmadeMember::open_without_ledger(fixture.dial(&mia).await, fixture.home.id()).await;
    again.send(pushed(flood)).await;
    again.run().await;
    fixture.clock.sleep(A_WHILE).await;

    assert_eq!(fixture.roles(), before);
    let log = fixture.home.log().await.unwrap();
    let by_mia = log.iter().filter(|entry| entry.author == mia.user() || entry.author == puppet.user());
    assert_eq!(by_mia.clone().count(), 1_000);
    assert!(by_mia.clone().all(|entry| entry.status == OpStatus::Void));
    // Fay can still change roles.
    fixture.home.set_role(rob.user(), Writer).await.unwrap();
    fixture.clock.sleep(A_WHILE).await;
    assert_eq!(fixture.role(rob.user()), Writer);
    link.run().await;
    fixture.close().await;
}

/// Revocations of devices that never existed once stood in every member's ledger for ever.
#[tokio::test(start_paused = true)]
async fn a_reader_who_floods_the_ledger_with_ops_leaves_none_and_is_removed_by_the_ordinary_call() {
    let fixture = fixture().await;
    let (mia, rob) = (identity(1), identity(2));
    let mut link = fixture.admit(&mia, Reader).await;
    let (group, parents) = (link.ledger.group(), link.ledger.heads());
    let flood = (0..600_u32).map(|number| {
        let device = schema::DeviceId(hash("device", &[&number.to_be_bytes()]));
        let body = Body::RevokeDevice { user: mia.user(), device, cut: None };
        let op = Op { version: 1, group, parents: parents.clone(), author: mia.user(), by: By::User, body };
        Signed::sign(op, &user_key(&[1])).envelope().clone()
    });
    let before = fixture.home.log().await.unwrap().len();
    link.send(pushed(flood.collect())).await;
    link.run().await;
    assert_eq!(fixture.home.log().await.unwrap().len(), before);

    fixture.home.remove_member(mia.user()).await.unwrap();
    fixture.home.add_member(rob.user(), Writer).await.unwrap();
    fixture.clock.sleep(A_WHILE).await;

    assert_eq!((fixture.role(mia.user()), fixture.role(rob.user())), (Out, Writer));
    fixture.close().await;
}

/// Each revocation has a smaller id than all before, so that a full set takes it.
#[tokio::test(start_paused = true)]
async fn a_reader_who_floods_the_ledger_with_device_revocations_is_removed_by_the_ordinary_call() {
    let fixture = fixture().await;
    let (mia, rob) = (identity(1), identity(2));
    let mut link = fixture.admit(&mia, Reader).await;
    let mut flood: Vec<_> = (0..600_u32)
        .map(|number| {
            let device = schema::DeviceId(hash("device", &[&number.to_be_bytes()]));
            Signed::sign(UserDeviceRevocation { version: 1, user: mia.user(), device }, &user_key(&[1]))
        })
        .collect();
    flood.sort_by_key(|signed| std::cmp::Reverse(signed.id()));
    let before = fixture.home.log().await.unwrap().len();
    for part in flood.chunks(100) {
        link.send(revoking(part.iter().map(|signed| signed.envelope().clone()).collect())).await;
    }
    link.run().await;

    let called = fixture.clock.instant();
    fixture.home.remove_member(mia.user()).await.unwrap();
    fixture.home.add_member(rob.user(), Writer).await.unwrap();
    assert!(fixture.clock.instant() - called <= Duration::from_secs(1));
    assert_eq!(fixture.home.log().await.unwrap().len(), before + 2);
    fixture.clock.sleep(A_WHILE).await;

    assert_eq!((fixture.role(mia.user()), fixture.role(rob.user())), (Out, Writer));
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_5_a_removal_dated_before_a_promotion_is_superseded() {
    let fixture = fixture().await;
    let (mia, zoe) = (identity(1), identity(2));
    fixture.home.add_member(zoe.user(), Reader).await.unwrap();
    let mut link = fixture.admit(&mia, Admin).await;
    let mut past = link.ledger.clone();

    // Mia has received the promotion, and signs on the ledger from before it.
    fixture.home.set_role(zoe.user(), Owner).await.unwrap();
    link.run().await;
    assert_eq!(link.ledger.roster().role(zoe.user()), Owner);
    let backdated = sign(&mut past, &mia, set_role(zoe.user(), Out));
    link.send(pushed(vec![backdated])).await;
    link.run().await;
    fixture.clock.sleep(A_WHILE).await;

    assert_eq!(fixture.role(zoe.user()), Owner);
    let last = *fixture.home.log().await.unwrap().last().unwrap();
    assert_eq!((last.author, last.status), (mia.user(), OpStatus::Superseded));
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_10_lowering_a_stolen_founder_key_voids_the_ops_of_the_thief() {
    let fixture = fixture().await;
    let (thief, ada, pia) = (identity(1), identity(2), identity(3));
    fixture.home.add_member(ada.user(), Admin).await.unwrap();
    let link = fixture.admit(&thief, Founder).await;
    let mut past = link.ledger.clone();
    fixture.home.set_role(thief.user(), Writer).await.unwrap();
    fixture.clock.sleep(A_WHILE).await;
    let before = fixture.roles();

    // The thief signs on the ledger from before the lowering, and pushes after it.
    let fay = fixture.nodes[0].user_id();
    let upwards =
        past.draft(thief.user(), By::Device(thief.certificate.envelope().clone()), set_role(fay, Writer));
    assert!(matches!(upwards, Err(Refusal::Invalid { why: Invalid::NotSenior, .. })), "{upwards:?}");
    let earlier = [(ada.user(), Writer), (pia.user(), Owner), (fixture.nodes[1].user_id(), Admin)];
    let mut ops: Vec<_> =
        earlier.into_iter().map(|(user, role)| sign(&mut past, &thief, set_role(user, role))).collect();
    ops.push(sign(&mut past, &pia, set_role(PIA, Admin)));
    let mut link = HandmadeMember::open_without_ledger(fixture.dial(&thief).await, fixture.home.id()).await;
    link.send(pushed(ops)).await;
    link.run().await;
    fixture.clock.sleep(A_WHILE).await;

    assert_eq!(fixture.roles(), before);
    assert_eq!(fixture.role(ada.user()), Admin);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writer_who_revokes_their_own_device_purges_no_rows() {
    let fixture = fixture().await;
    let (user, kept, bomb) = (user_key(b"ben"), device_of(b"ben", b"ben"), device_of(b"ben", b"bomb"));
    let mut link = fixture.admit(&kept, Writer).await;
    link.send(GroupFrame::Ledger(LedgerFrame::Push {
        ops: vec![],
        certificates: vec![bomb.certificate.envelope().clone()],
        revocations: vec![],
        records: Vec::new(),
        last: false,
    }))
    .await;
    link.run().await;
    let device = bomb.device();
    let knows = |node: &Node| {
        let members = node.group(fixture.home.id()).unwrap().members();
        members.iter().any(|member| member.devices.iter().any(|known| known.device == device))
    };
    assert!(knows(&fixture.nodes[0]));
    let op = |cut| {
        let body = Body::RevokeDevice { user: kept.user(), device, cut };
        let parents = link.ledger.heads();
        let op =
            Op { version: 1, group: fixture.home.id(), parents, author: kept.user(), by: By::User, body };
        let id = op.id();
        (id, Signed::sign(op, &user).envelope().clone())
    };

    // An op is refused, with a cut or without.
    for (id, op) in [op(Some(ManifestRef { root: [0; 32], entries: 0 })), op(None)] {
        assert!(matches!(link.ledger.clone().admit(op.clone()), Err(Refusal::Invalid { .. })));
        link.send(pushed(vec![op])).await;
        link.run().await;
        let log = fixture.home.log().await.unwrap();
        assert!(log.iter().all(|entry| entry.op != id) && knows(&fixture.nodes[0]));
    }

    // Beside the ops the device is revoked at once, and its rows stay.
    let mut revoked = HandmadeMember::open_without_ledger(fixture.dial(&bomb).await, fixture.home.id()).await;
    revoked.run().await;
    assert_eq!(revoked.documents.units.len(), 1);
    let revocation = UserDeviceRevocation { version: 1, user: kept.user(), device };
    link.send(revoking(vec![Signed::sign(revocation, &user).envelope().clone()])).await;
    link.run().await;
    fixture.clock.sleep(A_WHILE).await;
    fixture.home.table(TASKS).put("b", &task("rope")).await.unwrap();
    revoked.peer.patience = A_WHILE;
    revoked.run().await;
    fixture.clock.sleep(A_WHILE).await;

    assert!(!knows(&fixture.nodes[0]) && !knows(&fixture.nodes[1]));
    assert_eq!(revoked.documents.units.len(), 1, "only the earlier row");
    for node in &fixture.nodes {
        assert_eq!(titles(&node.group(fixture.home.id()).unwrap().table(TASKS)), ["basil", "rope"]);
    }
    fixture.close().await;
}

/// Runs the handshake with fay; `tamper` may change every message. Returns true if the link is established.
async fn impostor(
    fixture: &Fixture,
    identity: DeviceIdentity,
    terms: Terms,
    tamper: impl FnMut(&mut Vec<u8>),
) -> bool {
    let stream = HandmadeStream::dial(&fixture.network.host("mallory"), "memory://fay").await;
    let random = fixture.clock.random_bytes();
    let link = stream.try_complete(identity, terms, random, tamper);
    fixture.clock.timeout(A_WHILE, link).await.ok().flatten().is_some()
}

/// An Auth of another link and removed features need access to encrypted messages:
/// `schema/src/handshake/tests.rs` tests these.
#[tokio::test(start_paused = true)]
async fn scenario_23_a_handshake_fails_with_foreign_keys_replayed_messages_or_other_terms() {
    let fixture = fixture().await;
    let (ben, eve) = (identity(1), identity(2));
    let mut sent = Vec::new();
    assert!(impostor(&fixture, ben.clone(), Terms::default(), |message| sent.push(message.clone())).await);
    let links = || async { fixture.nodes[0].status().await.unwrap().links.len() };
    let before = links().await;

    let certificate_alone = DeviceIdentity { certificate: ben.certificate.clone(), ..eve.clone() };
    assert!(!impostor(&fixture, certificate_alone, Terms::default(), |_| {}).await, "eve's keys, ben's name");
    let agreement_alone = DeviceIdentity { signing: eve.signing.clone(), ..ben.clone() };
    assert!(!impostor(&fixture, agreement_alone, Terms::default(), |_| {}).await, "half of ben's keys");
    let other = Terms { network: "an older one".into(), ..Terms::default() };
    assert!(!impostor(&fixture, ben.clone(), other, |_| {}).await, "another prologue");
    let mut replayed = sent.iter().cloned();
    let replay = |message: &mut Vec<u8>| *message = replayed.next().unwrap();
    assert!(!impostor(&fixture, ben.clone(), Terms::default(), replay).await, "messages of another link");
    let mut first = None;
    let reflect = |message: &mut Vec<u8>| *message = first.get_or_insert_with(|| message.clone()).clone();
    assert!(!impostor(&fixture, ben, Terms::default(), reflect).await, "the first message, repeated");

    fixture.clock.sleep(A_WHILE).await;
    assert!(links().await <= before);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_captured_invite_proof_admits_no_other_user() {
    let fixture = fixture().await;
    let ticket = fixture.home.invite(Writer).await.unwrap();
    let (id, invite) = (fixture.home.id(), ticket.invite());
    let (joiner, thief) = (identity(1), identity(2));
    let captured =
        InviteProof::sign(&Ticket::key_of(&ticket.seed(), id), id, invite, joiner.user(), joiner.device());

    let mut link = fixture.dial(&thief).await;
    link.patience = A_WHILE;
    let h = link.link.established.h;
    let (token, invite) = (hello::token(id, &h, LinkRole::Initiator), hello::invite_token(invite, &h));
    link.send(&LinkFrame::Join(Join { token, invite, signature: captured.signature })).await;
    let received = link.frames_until_silence().await;

    let bye = LinkFrame::Bye { reason: ByeReason::NotAuthorized };
    assert_eq!(received, [LinkFrame::Hello(Default::default()), bye]);
    assert_eq!((fixture.role(thief.user()), fixture.role(joiner.user())), (Out, Out));
    fixture.close().await;
}
