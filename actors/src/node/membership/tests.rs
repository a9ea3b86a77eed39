//! The shell of the gate over a store that fails.

use schema::gate::{LinkId, Peer};
use schema::handshake::{Established, LinkRole, PeerIdentity};
use schema::key::AgreementKey;
use schema::ledger::{Body, By, Ledger, ManifestRef, Role};
use schema::signed::{Envelope, Signed};
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::ledger::LedgerFrame;

use super::*;
use crate::node::connection_manager::Link;
use crate::node::store::engine::Mode;
use crate::node::store::faulty::{Faults, FaultyEngine};
use crate::node::store::memory::MemoryDisk;
use crate::transport::memory::MemoryNetwork;
use crate::watchdog::Watchdog;

/// Starts no group.
struct NoGroups;

impl GroupSupervisor for NoGroups {
    fn start_group(&self, _: GroupId) {}
    fn stop_group(&self, _: GroupId) {}
}

/// A user's key and a device of theirs.
fn user(seed: u8) -> (SigningKey, DeviceIdentity) {
    let key = SigningKey::from_seed([seed; 32]);
    let signing = SigningKey::from_seed([seed | 0x40; 32]);
    let device = DeviceIdentity::certify(&key, signing, AgreementKey::from_seed([seed; 32]), "laptop");
    (key, device)
}

/// Ada's membership, over a store whose faults a test scripts.
async fn ada() -> (State, Faults) {
    let faults = Faults::default();
    let engine = FaultyEngine::new(MemoryDisk::default().open().unwrap(), faults.clone());
    let store = StoreHandle::over(engine, Mode::Inline).unwrap();
    let (user, device) = user(1);
    let clock = Clock::simulated(1);
    let transport = Arc::new(MemoryNetwork::seeded(clock.clone(), 1).host("ada"));
    let groups = Groups::default();
    let handle = MembershipHandle::new(device.user(), clock.clone(), store.clone(), groups.clone());
    let arguments = Arguments {
        watchdog: Watchdog::new(clock.clone()),
        clock,
        meters: Meters::default(),
        personal: Ledger::personal(&user).0.group(),
        user,
        device,
        store,
        groups,
        connections: ConnectionManagerHandle::new(transport, Vec::new(), false),
        cells: GateCells::default(),
        supervisor: Arc::new(NoGroups),
        events: Events::default(),
    };
    (State::load(handle, arguments).await.unwrap(), faults)
}

impl State {
    /// Steps the gate until everything is durable.
    async fn step_all(&mut self, input: Input) -> Result<(), StoreError> {
        self.step(input)?;
        self.settle().await
    }

    async fn answer(&mut self, input: Input) -> Answer {
        let (reply, answer) = ractor::concurrency::oneshot();
        self.ask(input, Asked { reply: reply.into(), _cutting: None }).unwrap();
        self.settle().await.unwrap();
        answer.await.unwrap().unwrap()
    }

    async fn create(&mut self) -> GroupId {
        let create = Input::CreateGroup { nonce: [9; 32], name: "garden".into(), recovery: None };
        let Answer::Created(Ok(group)) = self.answer(create).await else { panic!("created") };
        self.step_all(Input::Intent { group, is_wanted: true }).await.unwrap();
        group
    }

    async fn admit(&mut self, group: GroupId, user: UserId, role: Role) {
        let change = MembershipChange::Admit { user, role };
        let answer = self.answer(Input::Submit { group, change, cut: None }).await;
        assert!(matches!(answer, Answer::Submitted(Ok(_))), "{answer:?}");
    }

    /// Opens a group on a link to a member's device.
    async fn open(&mut self, link: LinkId, member: &DeviceIdentity, group: GroupId) {
        let h = [u8::try_from(link.0).unwrap(); 32];
        let (user, device, role) = (member.user(), member.device(), LinkRole::Responder);
        let certificate = member.certificate.clone();
        let peer = PeerIdentity { user, device, certificate, revocations: [0; 32], features: 0 };
        self.arguments.cells.add(Link::unconnected(link, Established { peer, h, role }));
        self.step_all(Input::LinkUp { link, peer: Peer { user, device, h, role } }).await.unwrap();
        let groups = vec![HelloGroup { token: hello::token(group, &h, role.peer()), hash: [0; 32] }];
        self.step_all(Input::Hello { link, hello: Hello { groups } }).await.unwrap();
        assert!(self.is_open(link, group), "the member's group is open on {link:?}");
    }

    fn is_open(&self, link: LinkId, group: GroupId) -> bool {
        (0..8).any(|number| self.arguments.cells.group(link, number) == Some(group))
    }
}

/// An op of an Admin on top of everything that Ada has.
fn removal(ledger: &mut Ledger, by: &SigningKey, user: UserId, cut: Option<ManifestRef>) -> Envelope {
    let body = Body::SetRole { user, role: Role::None, cut, via: None };
    let op = ledger.draft(UserId(by.public()), By::User, body).unwrap();
    let op = Signed::sign(op, by).envelope().clone();
    ledger.admit(op.clone()).unwrap();
    op
}

/// Cid brings two removals at once: that of Mia, and that of Ben with a cut whose pages are looked up.
#[tokio::test]
async fn a_failed_read_does_not_keep_the_cell_of_a_removed_member_open() {
    let ((_, mia), (_, ben), (cid_key, cid)) = (user(2), user(3), user(4));
    for fails in [false, true] {
        let (mut state, faults) = ada().await;
        let group = state.create().await;
        for (member, role) in [(&mia, Role::Reader), (&ben, Role::Writer), (&cid, Role::Admin)] {
            state.admit(group, member.user(), role).await;
        }
        let [of_mia, of_cid] = [LinkId(1), LinkId(2)];
        state.open(of_mia, &mia, group).await;
        state.open(of_cid, &cid, group).await;
        let mut ledger = state.gate.ledger(group).unwrap().clone();
        let unknown = Some(ManifestRef { root: [8; 32], entries: 1 });
        let ops = vec![
            removal(&mut ledger, &cid_key, mia.user(), None),
            removal(&mut ledger, &cid_key, ben.user(), unknown),
        ];
        let (certificates, revocations, records) = Default::default();
        let frame = LedgerFrame::Push { ops, certificates, revocations, records, last: false };

        if fails {
            faults.fail_read(1);
        }
        let stepped = state.step_all(Input::Ledger { link: of_cid, group, frame }).await;

        assert_eq!(stepped.is_err(), fails, "{stepped:?}");
        assert!(!state.is_open(of_mia, group), "where a read fails: {fails}");
        assert!(state.is_open(of_cid, group));
    }
}

fn push(link: u64, group: u8, revocation: u8, last: bool, permit: Permit) -> Message {
    let envelope = Envelope { payload: vec![revocation], signature: schema::key::Signature([0; 64]) };
    let (ops, certificates, records) = Default::default();
    let frame = LedgerFrame::Push { ops, certificates, revocations: vec![envelope], records, last };
    let input = Input::Ledger { link: LinkId(link), group: GroupId([group; 32]), frame };
    Message::Step(Box::new(input), vec![permit])
}

#[tokio::test]
async fn adjacent_pushes_of_one_group_are_one_step_and_hold_their_permits_until_it_ends() {
    let permits = crate::permits::Permits::new(10);
    let mut first = push(1, 1, 1, false, permits.acquire(1).await);
    for other in
        [push(2, 1, 2, false, permits.acquire(1).await), push(1, 2, 2, false, permits.acquire(1).await)]
    {
        assert!(first.join(other).is_err(), "of another link, of another group");
    }
    assert!(first.join(push(1, 1, 2, false, permits.acquire(1).await)).is_ok());
    assert!(first.join(push(1, 1, 3, true, permits.acquire(1).await)).is_ok());

    let after = first.join(push(1, 1, 4, false, permits.acquire(1).await));

    assert!(after.is_err(), "the reply to a Pull ended");
    drop(after);
    let Message::Step(input, held) = first else { panic!("a step") };
    let Input::Ledger { frame: LedgerFrame::Push { revocations, last, .. }, .. } = *input else {
        panic!("a push")
    };
    assert_eq!(revocations.iter().map(|revocation| revocation.payload[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(last);
    assert_eq!(permits.available(), 7);
    drop(held);
    assert_eq!(permits.available(), 10);
}
