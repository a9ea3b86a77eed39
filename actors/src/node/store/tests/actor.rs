//! The store's actor: it fails when the store does and closes it when it is stopped.

use ractor::SupervisionEvent;

use super::*;

/// Starts the store's actor and reports its end.
struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = oneshot::Sender<String>;
    type Arguments = (StoreHandle, oneshot::Sender<String>, oneshot::Sender<ActorCell>);

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        (store, ended, started): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        started.send(store.start(myself.get_cell()).await?).map_err(|_| "nobody waits")?;
        Ok(ended)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        ended: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let how = match event {
            SupervisionEvent::ActorFailed(_, error) => format!("failed: {error}"),
            SupervisionEvent::ActorTerminated(..) => "stopped".to_owned(),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        let (unused, _) = oneshot::channel();
        let _ = std::mem::replace(ended, unused).send(how);
        myself.stop(None);
        Ok(())
    }
}

#[tokio::test]
async fn a_failure_of_the_store_reaches_the_parent_of_its_actor() {
    let (store, faults, _) = faulty(Mode::Threaded);
    let garden = store.space(b"garden").unwrap();
    let ((ended, end), (started, _start)) = (oneshot::channel(), oneshot::channel());
    Actor::spawn(None, Parent, (store.clone(), ended, started)).await.unwrap();
    faults.fail_flush(1);
    store.write(&garden, put("a", "1")).await.unwrap_err();
    assert_eq!(end.await.unwrap(), "failed: could not flush");
}

#[tokio::test]
async fn stopping_the_actor_closes_the_store() {
    let (store, _, disk) = faulty(Mode::Threaded);
    let garden = store.space(b"garden").unwrap();
    let ((ended, end), (started, start)) = (oneshot::channel(), oneshot::channel());
    Actor::spawn(None, Parent, (store, ended, started)).await.unwrap();
    start.await.unwrap().stop(None);
    assert_eq!(end.await.unwrap(), "stopped");
    assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
    assert!(StoreHandle::over(disk.open().unwrap(), Mode::Inline).unwrap().opened_cleanly());
}
