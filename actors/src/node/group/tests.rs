//! A group without a node: its owner is a stub, its store follows a script of faults.

use schema::device::DeviceIdentity;
use schema::key::AgreementKey;
use schema::ledger::By;
use schema::{DeviceId, GroupId};

use super::documents::{CommitError, Setup};
use super::*;
use crate::edit::RowEdit;
use crate::node::store::Mode;
use crate::node::store::faulty::{Faults, FaultyEngine};
use crate::node::store::memory::MemoryDisk;
use crate::watchdog::Watchdog;

/// Knows one roster and forgets every piece of news.
struct Owner(Arc<Roster>);

impl GroupOwner for Owner {
    fn roster(&self, _: GroupId) -> Option<Arc<Roster>> {
        Some(self.0.clone())
    }
    fn on_started(&self, _: GroupId) {}
    fn on_accepted(&self, _: GroupId, _: Vec<DeviceId>) {}
    fn on_peer_fault(&self, _: DeviceId) {}
    fn on_personal_started(&self) {}
    fn on_intent(&self, _: GroupId) {}
    fn on_contact(&self, _: UserId) {}
}

/// A parent that lets its group fail.
struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: ractor::SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn write(key: &str) -> Vec<RowWrite> {
    let mut edit = RowEdit::default();
    edit.put("title", key);
    vec![RowWrite { table: "tasks".into(), key: key.into(), edit, expect: None }]
}

#[tokio::test]
async fn the_published_root_never_runs_ahead_of_the_store() {
    let (user, device) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([101; 32]));
    let ada = UserId(user.public());
    let (mut ledger, _) = Ledger::create([7; 32], vec![ada], "home", ada, By::User, &user).unwrap();
    let identity = DeviceIdentity::certify(&user, device.clone(), AgreementKey::from_seed([1; 32]), "");
    ledger.admit_certificate(identity.certificate.envelope().clone()).unwrap();
    let faults = Faults::default();
    let engine = FaultyEngine::new(MemoryDisk::default().open().unwrap(), faults.clone());
    let store = StoreHandle::over(engine, Mode::Inline).unwrap();
    let handle = GroupHandle::new(ledger.group(), store.space(b"home").unwrap());
    let arguments = Arguments {
        clock: Clock::simulated(1),
        meters: Meters::default(),
        watchdog: Watchdog::new(Clock::simulated(1)),
        user: ada,
        device: device.clone(),
        store: store.clone(),
        owner: Arc::new(Owner(ledger.roster().clone())),
        budget: CacheBudget::new(1 << 20, Arc::default()),
        document_bytes: 512 << 20,
        assembly: AssemblyBudget::new(1 << 20, Arc::default()),
        durability: Durability::Immediate,
        events: Events::default(),
        rules: Rules::default(),
        personal: false,
    };
    let (parent, _) = Actor::spawn(None, Parent, ()).await.unwrap();
    handle.start(arguments, parent.get_cell()).await.unwrap();
    faults.fail_write(2);

    // Both are in the mailbox before the first is stored.
    let (first, second) = tokio::join!(handle.commit(write("first")), handle.commit(write("second")));

    first.unwrap().unwrap();
    assert!(matches!(second.unwrap(), Err(CommitError::Store(_))));
    while handle.status().await.is_ok() {}
    handle.space().reset();
    let mut stored = Documents::open(Setup {
        group: ledger.group(),
        user: ada,
        device,
        clock: Clock::simulated(2),
        losses: 0,
        incarnation: 2,
        space: handle.space().clone(),
        roster: ledger.roster().clone(),
        budget: CacheBudget::new(1 << 20, Arc::default()),
        document_bytes: 512 << 20,
        rules: Rules::default(),
    })
    .unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(handle.root(), stored.root());
    parent.stop(None);
}
