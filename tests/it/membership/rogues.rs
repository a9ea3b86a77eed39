//! The scenarios of authority 4.2 in which somebody runs a program of their own, which says what no honest node would.

use actors::clock::Clock;
use actors::transport::Transport;
use actors::transport::framing::{read_message, write_messages};
use actors::transport::memory::MemoryNetwork;
use peerbase::Node;
use schema::device::DeviceIdentity;
use schema::handshake::{Handshake, LinkRole, Terms};
use schema::id::hash;
use schema::ledger::{Body, By, Invalid, InviteProof, Ledger, ManifestRef, Op, Refusal};
use schema::limits::HANDSHAKE_BYTES_MAX;
use schema::signed::{Envelope, Signed};
use schema::wire::group::GroupFrame;
use schema::wire::hello;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{ByeReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;

use super::*;
use crate::support::TASKS;
use crate::support::handmade::{HandmadeMember, HandmadePeer, device_of, identity, user_key};

/// Fay's group with oda, both on honest nodes, and a network on which others may dial them.
struct Hall {
    network: MemoryNetwork,
    clock: Clock,
    nodes: [Node; 2],
    home: Group,
}

async fn hall() -> Hall {
    let clock = Clock::simulated(1);
    let network = MemoryNetwork::seeded(clock.clone(), 1);
    let fay = Node::in_memory_builder().network(&network, "fay").open().await.unwrap();
    fay.listen("memory://fay").await.unwrap();
    let oda = Node::in_memory_builder().network(&network, "oda").open().await.unwrap();
    let home = fay.create_group("home").await.unwrap();
    home.table(TASKS).put("a", &task("basil")).await.unwrap();
    home.set_role(oda.user_id(), Owner).await.unwrap();
    oda.request_group(home.id()).await.unwrap();
    oda.connect("memory://fay").await.unwrap();
    clock.sleep(A_WHILE).await;
    Hall { network, clock, nodes: [fay, oda], home }
}

impl Hall {
    async fn dial(&self, identity: &DeviceIdentity) -> HandmadePeer {
        let mut stranger =
            HandmadePeer::dial(&self.network, &self.clock, identity.clone(), "memory://fay").await;
        stranger.patience = Duration::from_millis(5);
        stranger
    }

    /// Lets somebody in who then knows what fay knows.
    async fn admits(&self, identity: &DeviceIdentity, role: Role) -> HandmadeMember {
        self.home.set_role(identity.user(), role).await.unwrap();
        let mut member = HandmadeMember::greet(self.dial(identity).await, self.home.id()).await;
        member.talk().await;
        member
    }

    /// The role that everybody sees.
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

    async fn ends(self) {
        for node in self.nodes {
            node.close().await;
        }
    }
}

fn set_role(user: UserId, role: Role) -> Body {
    Body::SetRole { user, role, cut: None, via: None }
}

/// What somebody would sign who knows only that ledger.
fn signs(ledger: &mut Ledger, by: &DeviceIdentity, body: Body) -> Envelope {
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

#[tokio::test(start_paused = true)]
async fn scenario_3_a_lowered_admin_floods_the_past_with_a_thousand_ops() {
    let hall = hall().await;
    let (mia, puppet, rob) = (identity(1), identity(2), identity(3));
    hall.home.set_role(rob.user(), Reader).await.unwrap();
    let mut link = hall.admits(&mia, Admin).await;
    hall.home.set_role(mia.user(), Writer).await.unwrap();
    hall.clock.sleep(A_WHILE).await;
    let before = hall.roles();

    // Half of it in a row, by her and by a puppet; half of it side by side.
    let past = link.ledger.clone();
    let mut row = past.clone();
    let mut flood = vec![signs(&mut row, &mia, set_role(puppet.user(), Admin))];
    flood.push(signs(&mut row, &mia, set_role(rob.user(), Out)));
    for number in 0..498_u32 {
        let user = UserId(hash("user", &[&number.to_be_bytes()]));
        flood.push(signs(&mut row, if number % 2 == 0 { &mia } else { &puppet }, set_role(user, Writer)));
    }
    let by = By::Device(mia.certificate.envelope().clone());
    let parents = past.heads();
    for number in 500..1_000_u32 {
        let body = set_role(UserId(hash("user", &[&number.to_be_bytes()])), Reader);
        let (group, parents, by) = (past.group(), parents.clone(), by.clone());
        let op = Op { version: 1, group, parents, author: mia.user(), by, body };
        flood.push(Signed::sign(op, &mia.signing).envelope().clone());
    }
    let mut again = HandmadeMember::trusting(hall.dial(&mia).await, hall.home.id()).await;
    again.say(pushed(flood)).await;
    again.talk().await;
    hall.clock.sleep(A_WHILE).await;

    assert_eq!(hall.roles(), before);
    let log = hall.home.log().await.unwrap();
    let by_mia = log.iter().filter(|said| said.author == mia.user() || said.author == puppet.user());
    assert_eq!(by_mia.clone().count(), 1_000);
    assert!(by_mia.clone().all(|said| said.standing == OpStatus::Void));
    // Whoever is in charge goes on, and what they say is none the larger for it.
    hall.home.set_role(rob.user(), Writer).await.unwrap();
    hall.clock.sleep(A_WHILE).await;
    assert_eq!(hall.role(rob.user()), Writer);
    link.talk().await;
    hall.ends().await;
}

/// More heads than an op may join once kept every Admin from saying anything, of the flooder's removal too.
#[tokio::test(start_paused = true)]
async fn a_reader_who_floods_the_ledger_with_heads_is_removed_by_the_ordinary_call() {
    let hall = hall().await;
    let (mia, rob) = (identity(1), identity(2));
    let mut link = hall.admits(&mia, Reader).await;
    let (group, parents) = (link.ledger.group(), link.ledger.heads());
    let flood = (0..600_u32).map(|number| {
        let device = schema::DeviceId(hash("device", &[&number.to_be_bytes()]));
        let body = Body::RevokeDevice { user: mia.user(), device, cut: None };
        let op = Op { version: 1, group, parents: parents.clone(), author: mia.user(), by: By::User, body };
        Signed::sign(op, &user_key(&[1])).envelope().clone()
    });
    link.say(pushed(flood.collect())).await;
    link.talk().await;

    hall.home.remove_member(mia.user()).await.unwrap();
    hall.home.set_role(rob.user(), Writer).await.unwrap();
    hall.clock.sleep(A_WHILE).await;

    assert_eq!((hall.role(mia.user()), hall.role(rob.user())), (Out, Writer));
    hall.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_5_a_removal_dated_before_a_promotion_is_superseded() {
    let hall = hall().await;
    let (mia, zoe) = (identity(1), identity(2));
    hall.home.set_role(zoe.user(), Reader).await.unwrap();
    let mut link = hall.admits(&mia, Admin).await;
    let mut past = link.ledger.clone();

    // She has seen the promotion, and signs as if she had not.
    hall.home.set_role(zoe.user(), Owner).await.unwrap();
    link.talk().await;
    assert_eq!(link.ledger.roster().role(zoe.user()), Owner);
    let backdated = signs(&mut past, &mia, set_role(zoe.user(), Out));
    link.say(pushed(vec![backdated])).await;
    link.talk().await;
    hall.clock.sleep(A_WHILE).await;

    assert_eq!(hall.role(zoe.user()), Owner);
    let last = *hall.home.log().await.unwrap().last().unwrap();
    assert_eq!((last.author, last.standing), (mia.user(), OpStatus::Superseded));
    hall.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_10_a_stolen_founder_is_taken_back_with_all_that_the_thief_says() {
    let hall = hall().await;
    let (thief, ada, pia) = (identity(1), identity(2), identity(3));
    hall.home.set_role(ada.user(), Admin).await.unwrap();
    let link = hall.admits(&thief, Founder).await;
    let mut past = link.ledger.clone();
    hall.home.set_role(thief.user(), Writer).await.unwrap();
    hall.clock.sleep(A_WHILE).await;
    let before = hall.roles();

    // Before and after, as the thief has it.
    let fay = hall.nodes[0].user_id();
    let upwards =
        past.draft(thief.user(), By::Device(thief.certificate.envelope().clone()), set_role(fay, Writer));
    assert!(matches!(upwards, Err(Refusal::Invalid { why: Invalid::NotSenior, .. })), "{upwards:?}");
    let earlier = [(ada.user(), Writer), (pia.user(), Owner), (hall.nodes[1].user_id(), Admin)];
    let mut ops: Vec<_> =
        earlier.into_iter().map(|(user, role)| signs(&mut past, &thief, set_role(user, role))).collect();
    ops.push(signs(&mut past, &pia, set_role(PIA, Admin)));
    let mut link = HandmadeMember::trusting(hall.dial(&thief).await, hall.home.id()).await;
    link.say(pushed(ops)).await;
    link.talk().await;
    hall.clock.sleep(A_WHILE).await;

    assert_eq!(hall.roles(), before);
    assert_eq!(hall.role(ada.user()), Admin);
    hall.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_16_a_writer_who_revokes_their_own_device_takes_nothing_along() {
    let hall = hall().await;
    let (user, kept, bomb) = (user_key(b"ben"), device_of(b"ben", b"ben"), device_of(b"ben", b"bomb"));
    let mut link = hall.admits(&kept, Writer).await;
    link.say(GroupFrame::Ledger(LedgerFrame::Push {
        ops: vec![],
        certificates: vec![bomb.certificate.envelope().clone()],
        revocations: vec![],
        records: Vec::new(),
        last: false,
    }))
    .await;
    link.talk().await;
    let device = bomb.device();
    let knows = |node: &Node| {
        let members = node.group(hall.home.id()).unwrap().members();
        members.iter().any(|member| member.devices.iter().any(|known| known.device == device))
    };
    assert!(knows(&hall.nodes[0]));
    let revocation = |cut| {
        let body = Body::RevokeDevice { user: kept.user(), device, cut };
        let parents = link.ledger.heads();
        let op = Op { version: 1, group: hall.home.id(), parents, author: kept.user(), by: By::User, body };
        let id = op.id();
        (id, Signed::sign(op, &user).envelope().clone())
    };

    // With a cut that leaves nothing: refused at the door.
    let (id, with_cut) = revocation(Some(ManifestRef { root: [0; 32], entries: 0 }));
    assert!(matches!(link.ledger.clone().admit(with_cut.clone()), Err(Refusal::Invalid { .. })));
    let (without_id, without_cut) = revocation(None);
    link.say(pushed(vec![with_cut])).await;
    link.talk().await;
    let log = hall.home.log().await.unwrap();
    assert!(log.iter().all(|said| said.op != id) && knows(&hall.nodes[0]));

    // Without: the device is out at once, and what was written stays.
    let mut there = HandmadeMember::trusting(hall.dial(&bomb).await, hall.home.id()).await;
    there.talk().await;
    assert_eq!(there.shelf.units.len(), 1);
    link.say(pushed(vec![without_cut])).await;
    link.talk().await;
    hall.clock.sleep(A_WHILE).await;
    hall.home.table(TASKS).put("b", &task("rope")).await.unwrap();
    there.stranger.patience = A_WHILE;
    there.talk().await;

    assert!(hall.home.log().await.unwrap().iter().any(|said| said.op == without_id));
    assert!(!knows(&hall.nodes[0]) && !knows(&hall.nodes[1]));
    assert_eq!(there.shelf.units.len(), 1, "the row that came before");
    for node in &hall.nodes {
        assert_eq!(titles(&node.group(hall.home.id()).unwrap().table(TASKS)), ["basil", "rope"]);
    }
    hall.ends().await;
}

/// Dials with what may be anybody's keys, and goes as far as fay lets it; `changed` gets every message under way.
async fn impostor(
    hall: &Hall,
    identity: DeviceIdentity,
    terms: Terms,
    mut changed: impl FnMut(&mut Vec<u8>),
) -> bool {
    let mut stream = hall.network.host("mallory").dial("memory://fay").await.unwrap();
    let (mut machine, first) = Handshake::initiator(identity, terms, hall.clock.random_bytes(), None);
    let mut send = vec![first];
    let talk = async {
        loop {
            send.iter_mut().for_each(&mut changed);
            write_messages(&mut stream.writer, &send).await.ok()?;
            let message = read_message(&mut stream.reader, HANDSHAKE_BYTES_MAX).await.ok()?;
            let step = machine.step(&message).ok()?;
            // The Auth of whoever answers comes only to who has proven theirs.
            if step.established.is_some() {
                return Some(());
            }
            send = step.send;
        }
    };
    hall.clock.timeout(A_WHILE, talk).await.ok().flatten().is_some()
}

/// The rest of them, an Auth of another link and features that were struck out, takes a hand inside the encryption:
/// `schema/src/handshake/tests.rs`.
#[tokio::test(start_paused = true)]
async fn scenario_23_nobody_meets_a_node_with_keys_messages_or_rules_that_are_not_theirs() {
    let hall = hall().await;
    let (ben, eve) = (identity(1), identity(2));
    let mut sent = Vec::new();
    assert!(impostor(&hall, ben.clone(), Terms::default(), |message| sent.push(message.clone())).await);
    let links = || async { hall.nodes[0].status().await.unwrap().links.len() };
    let before = links().await;

    let certificate_alone = DeviceIdentity { certificate: ben.certificate.clone(), ..eve.clone() };
    assert!(!impostor(&hall, certificate_alone, Terms::default(), |_| {}).await, "eve's keys, ben's name");
    let agreement_alone = DeviceIdentity { signing: eve.signing.clone(), ..ben.clone() };
    assert!(!impostor(&hall, agreement_alone, Terms::default(), |_| {}).await, "half of ben's keys");
    let other = Terms { network: "an older one".into(), ..Terms::default() };
    assert!(!impostor(&hall, ben.clone(), other, |_| {}).await, "another prologue");
    let mut replayed = sent.iter().cloned();
    let replay = |message: &mut Vec<u8>| *message = replayed.next().unwrap();
    assert!(!impostor(&hall, ben.clone(), Terms::default(), replay).await, "what ben said on another link");
    let mut first = None;
    let reflect = |message: &mut Vec<u8>| *message = first.get_or_insert_with(|| message.clone()).clone();
    assert!(!impostor(&hall, ben, Terms::default(), reflect).await, "the same again");

    hall.clock.sleep(A_WHILE).await;
    assert!(links().await <= before);
    hall.ends().await;
}

#[tokio::test(start_paused = true)]
async fn scenario_24_a_proof_that_a_relay_captured_lets_nobody_else_in() {
    let hall = hall().await;
    let ticket = hall.home.invite(Writer).await.unwrap();
    let (id, invite) = (hall.home.id(), ticket.invite());
    let (joiner, thief) = (identity(1), identity(2));
    let captured =
        InviteProof::sign(&Ticket::key_of(&ticket.seed(), id), id, invite, joiner.user(), joiner.device());

    let mut link = hall.dial(&thief).await;
    link.patience = A_WHILE;
    let h = link.established.h;
    let (token, invite) = (hello::token(id, &h, LinkRole::Initiator), hello::invite_token(invite, &h));
    link.send(&LinkFrame::Join(Join { token, invite, signature: captured.signature })).await;
    let mut heard = Vec::new();
    while let Some(frame) = link.receive().await {
        heard.push(frame);
    }

    let farewell = LinkFrame::Bye { reason: ByeReason::NotAuthorized };
    assert_eq!(heard, [LinkFrame::Hello(Default::default()), farewell]);
    assert_eq!((hall.role(thief.user()), hall.role(joiner.user())), (Out, Out));
    hall.ends().await;
}
