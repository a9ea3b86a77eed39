//! What the store promises above its engine: order, group commit, poison, closing, revoked handles.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use ractor::SupervisionEvent;

use super::engine::Space;
use super::faulty::{Faults, FaultyEngine};
use super::memory::MemoryEngine;
use super::*;

const SOON: Duration = Duration::from_secs(20);
const BUFFERED: Durability = Durability::Buffered { every: Duration::from_secs(3600) };

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

fn text(space: &SpaceHandle, key: &str) -> Option<String> {
    space.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
}

fn faulty(mode: Mode) -> (StoreHandle, Faults, MemoryDisk) {
    let (disk, faults) = (MemoryDisk::default(), Faults::default());
    let engine = FaultyEngine::new(disk.open().unwrap(), faults.clone());
    (StoreHandle::over(engine, mode).unwrap(), faults, disk)
}

/// An engine whose flush waits for permission, so that a test can say what is queued meanwhile.
struct Slow {
    engine: MemoryEngine,
    flushing: mpsc::Sender<()>,
    permits: Mutex<mpsc::Receiver<()>>,
}

impl Engine for Slow {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        self.engine.open_space(name)
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        self.engine.drop_space(name)
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.engine.spaces()
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _ = self.flushing.send(());
        let _ = self.permits.lock().unwrap().recv(); // a test that is over permits everything
        self.engine.flush()
    }
}

/// The store, news of each flush that begins, and the permits that let one end.
fn slow() -> (StoreHandle, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (flushing, begun) = mpsc::channel();
    let (permit, permits) = mpsc::channel();
    permit.send(()).unwrap(); // for the flush of the open
    let engine =
        Slow { engine: MemoryDisk::default().open().unwrap(), flushing, permits: Mutex::new(permits) };
    let store = StoreHandle::over(engine, Mode::Threaded).unwrap();
    begun.recv().unwrap();
    (store, begun, permit)
}

#[tokio::test]
async fn what_was_written_is_read_and_is_there_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = StoreHandle::open(folder.path(), &SledOptions::default()).unwrap();
        let garden = store.space(b"garden").unwrap();
        assert_eq!(text(&garden, "round"), (round > 0).then(|| (round - 1).to_string()));
        store.write(&garden, put("round", &round.to_string())).await.unwrap();
        assert_eq!(text(&garden, "round"), Some(round.to_string()));
        store.close(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn the_lock_is_free_when_close_returns_although_handles_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(folder.path(), &SledOptions::default()).unwrap();
    let garden = store.space(b"garden").unwrap();
    store.write(&garden, put("a", "1")).await.unwrap();
    let second = StoreHandle::open(folder.path(), &SledOptions::default());
    assert!(matches!(second.err(), Some(OpenError::Locked { path }) if path == folder.path()));

    store.close(SOON).await.unwrap();

    let again = StoreHandle::open(folder.path(), &SledOptions::default()).unwrap();
    assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
    assert_eq!(text(&again.space(b"garden").unwrap(), "a").unwrap(), "1");
    again.close(SOON).await.unwrap();
}

#[tokio::test]
async fn after_close_everything_answers_closed() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, ..) = faulty(mode);
        let garden = store.space(b"garden").unwrap();
        store.write(&garden, put("a", "1")).await.unwrap();

        store.close(SOON).await.unwrap();

        assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
        assert!(matches!(garden.read(|_| ()), Err(StoreError::Closed)));
        assert!(matches!(store.space(b"garden"), Err(StoreError::Closed)));
        assert!(matches!(store.spaces(), Err(StoreError::Closed)));
        assert!(matches!(store.write(&garden, put("a", "2")).await, Err(StoreError::Closed)));
        assert!(matches!(store.barrier().await, Err(StoreError::Closed)));
        assert!(matches!(store.drop_space(b"garden").await, Err(StoreError::Closed)));
        store.close(SOON).await.unwrap();
        assert_eq!(store.queued_bytes(), 0);
    }
}

#[tokio::test]
async fn close_finishes_what_was_submitted() {
    let (store, begun, permit) = slow();
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    for n in 0..3 {
        let send = send.clone();
        store.submit(&garden, put("n", &n.to_string()), Durability::Immediate, move |outcome| {
            send.send((n, outcome.is_ok())).unwrap();
        });
    }
    begun.recv().unwrap();
    drop(permit);
    store.close(SOON).await.unwrap();
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(0, true), (1, true), (2, true)]);
}

#[tokio::test]
async fn a_close_that_cannot_end_says_so_and_ends_later() {
    let (store, _begun, permit) = slow();
    let timed_out = store.close(Duration::from_millis(1)).await;
    assert!(matches!(timed_out, Err(StoreError::CloseTimedOut)), "{timed_out:?}");
    drop(permit);
    store.close(SOON).await.unwrap();
}

#[test]
fn the_last_handle_to_go_closes_cleanly() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let disk = MemoryDisk::default();
        let store = StoreHandle::over(disk.open().unwrap(), mode).unwrap();
        let garden = store.space(b"garden").unwrap();
        let (send, answers) = mpsc::channel();
        store.submit(&garden, put("a", "1"), Durability::Immediate, move |outcome| {
            send.send(outcome).unwrap()
        });
        let thread = store.inner.thread.lock().unwrap().take();
        drop(store);
        answers.recv().unwrap().unwrap();
        thread.map(JoinHandle::join);

        assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
        disk.crash();
        let store = StoreHandle::over(disk.open().unwrap(), mode).unwrap();
        assert!(store.opened_cleanly());
        assert_eq!(text(&store.space(b"garden").unwrap(), "a").unwrap(), "1");
    }
}

#[tokio::test]
async fn an_open_knows_whether_the_last_close_was_clean() {
    let disk = MemoryDisk::default();
    let open = || StoreHandle::over(disk.open().unwrap(), Mode::Inline).unwrap();

    let first = open();
    assert!(first.opened_cleanly(), "nothing was there to lose");
    disk.crash();
    let second = open();
    assert!(!second.opened_cleanly(), "a crash before the first write is a crash");
    second.close(SOON).await.unwrap();
    disk.crash();
    let third = open();
    assert!(third.opened_cleanly(), "a crash after the close is none");
    third.close(SOON).await.unwrap();
    assert!(StoreHandle::damage_own_record(&disk));
    assert!(!open().opened_cleanly(), "no telling what else is damaged");
}

impl StoreHandle {
    fn damage_own_record(disk: &MemoryDisk) -> bool {
        disk.damage(OWN_SPACE, STATE_KEY)
    }
}

#[tokio::test]
async fn a_store_that_failed_is_not_closed_cleanly() {
    let (store, faults, disk) = faulty(Mode::Inline);
    let garden = store.space(b"garden").unwrap();
    faults.fail_flush(1);
    assert!(store.write(&garden, put("a", "1")).await.is_err());
    assert!(matches!(store.close(SOON).await, Err(StoreError::Failed { .. })));
    let again = StoreHandle::over(disk.open().unwrap(), Mode::Inline).unwrap();
    assert!(!again.opened_cleanly());
}

#[test]
fn what_is_queued_shares_one_barrier_and_is_answered_in_order() {
    let (store, begun, permit) = slow();
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    let submit = |n: usize| {
        let send = send.clone();
        store.submit(&garden, put("n", &n.to_string()), Durability::Immediate, move |outcome| {
            outcome.unwrap();
            send.send(n).unwrap();
        });
    };
    submit(0);
    begun.recv().unwrap(); // the first barrier is under way
    (1..100).for_each(submit);
    assert_eq!(
        store.queued_bytes(),
        100 + 100 + 90,
        "a key byte and one or two digits each, the first one too"
    );
    assert!(answers.try_recv().is_err(), "nobody is answered before the barrier");

    permit.send(()).unwrap();
    assert_eq!(answers.recv().unwrap(), 0);
    begun.recv().unwrap();
    permit.send(()).unwrap();

    assert_eq!(answers.iter().take(99).collect::<Vec<_>>(), (1..100).collect::<Vec<_>>());
    assert!(begun.try_recv().is_err(), "two barriers for a hundred writes");
    assert_eq!(text(&garden, "n").unwrap(), "99");
    drop(permit);
}

#[test]
fn a_buffered_write_is_answered_and_shown_before_its_barrier() {
    let (store, begun, permit) = slow();
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    let answer = send.clone();
    store.submit(&garden, put("a", "1"), BUFFERED, move |outcome| answer.send(outcome.is_ok()).unwrap());
    assert!(answers.recv().unwrap());
    assert_eq!(text(&garden, "a").unwrap(), "1");
    assert!(begun.try_recv().is_err());

    let every = Durability::Buffered { every: Duration::from_millis(1) };
    store.submit(&garden, put("a", "2"), every, move |outcome| send.send(outcome.is_ok()).unwrap());
    assert!(answers.recv().unwrap());
    begun.recv().unwrap(); // the barrier comes by itself
    drop(permit);
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_crash_and_a_buffered_one_needs_the_barrier() {
    let (store, _, disk) = faulty(Mode::Inline);
    let garden = store.space(b"garden").unwrap();
    store.submit(&garden, put("a", "1"), BUFFERED, |outcome| outcome.unwrap());
    store.barrier().await.unwrap();
    store.write(&garden, put("b", "2")).await.unwrap();
    store.submit(&garden, put("c", "3"), BUFFERED, |outcome| outcome.unwrap());

    disk.crash();

    assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
    let store = StoreHandle::over(disk.open().unwrap(), Mode::Inline).unwrap();
    let garden = store.space(b"garden").unwrap();
    assert_eq!(text(&garden, "a").unwrap(), "1");
    assert_eq!(text(&garden, "b").unwrap(), "2");
    assert_eq!(text(&garden, "c"), None);
}

#[tokio::test]
async fn a_batch_that_fails_poisons_its_space_alone_until_it_is_reset() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, faults, _) = faulty(mode);
        let (garden, house) = (store.space(b"garden").unwrap(), store.space(b"house").unwrap());
        faults.fail_write(1);

        assert!(matches!(store.write(&garden, put("a", "1")).await, Err(StoreError::Engine { .. })));
        let refused = store.write(&garden, put("a", "2")).await;
        assert!(matches!(refused, Err(StoreError::Poisoned { space }) if space == b"garden"));
        store.write(&house, put("a", "3")).await.unwrap();
        assert_eq!(text(&garden, "a"), None, "a poisoned space can be read");

        garden.reset();
        store.write(&garden, put("a", "4")).await.unwrap();
        assert_eq!(text(&garden, "a").unwrap(), "4");
    }
}

#[tokio::test]
async fn what_was_queued_behind_a_failure_is_refused_even_after_the_reset() {
    let (store, faults, _) = faulty(Mode::Inline);
    let garden = store.space(b"garden").unwrap();
    faults.fail_write(1);
    let (send, answers) = mpsc::channel();
    let (again, space) = (store.clone(), garden.clone());
    // Inline, the callback runs before the queue goes on: it resets with a write of before still queued.
    store.submit(&garden, put("a", "1"), Durability::Immediate, move |first| {
        assert!(first.is_err());
        let (before, after) = (send.clone(), send);
        again.submit(&space, put("b", "before"), Durability::Immediate, move |it| before.send(it).unwrap());
        space.reset();
        again.submit(&space, put("c", "after"), Durability::Immediate, move |it| after.send(it).unwrap());
    });
    assert!(matches!(answers.recv().unwrap(), Err(StoreError::Poisoned { .. })));
    answers.recv().unwrap().unwrap();
    assert_eq!((text(&garden, "b"), text(&garden, "c").unwrap().as_str()), (None, "after"));
}

#[tokio::test]
async fn a_barrier_that_fails_fails_the_store_and_says_so() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, faults, _) = faulty(mode);
        let (garden, house) = (store.space(b"garden").unwrap(), store.space(b"house").unwrap());
        store.write(&garden, put("a", "1")).await.unwrap();
        let (send, heard) = oneshot::channel();
        store.on_failure(move |error| send.send(error).unwrap());
        faults.fail_flush(1);

        let unsure = store.write(&garden, put("a", "2")).await;
        assert!(matches!(unsure, Err(StoreError::Failed { .. })), "{unsure:?}");
        assert!(matches!(store.write(&house, put("a", "3")).await, Err(StoreError::Failed { .. })));
        assert!(matches!(store.barrier().await, Err(StoreError::Failed { .. })));
        assert!(matches!(heard.await.unwrap(), StoreError::Engine { .. }));
        let (send, heard) = oneshot::channel();
        store.on_failure(move |error| send.send(error).unwrap());
        assert!(heard.await.is_ok(), "who asks late is told at once");
    }
}

#[tokio::test]
async fn a_panic_of_the_engine_or_of_a_callback_does_not_stop_the_writer() {
    struct Panicking(MemoryEngine);
    struct PanickingSpace;
    impl Engine for Panicking {
        fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
            if name == b"panics" { Ok(Arc::new(PanickingSpace)) } else { self.0.open_space(name) }
        }
        fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
            self.0.drop_space(name)
        }
        fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
            self.0.spaces()
        }
        fn flush(&self) -> Result<(), StoreError> {
            self.0.flush()
        }
    }
    impl Space for PanickingSpace {
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
        fn scan<'a>(&'a self, _: Bound<&[u8]>, _: Bound<&[u8]>) -> engine::Scan<'a> {
            Box::new(std::iter::empty())
        }
        fn apply(&self, _: &Batch) -> Result<(), StoreError> {
            panic!("as an engine may");
        }
    }
    for mode in [Mode::Inline, Mode::Threaded] {
        let store = StoreHandle::over(Panicking(MemoryDisk::default().open().unwrap()), mode).unwrap();
        let (panics, garden) = (store.space(b"panics").unwrap(), store.space(b"garden").unwrap());
        let outcome = store.write(&panics, put("a", "1")).await;
        assert!(
            matches!(&outcome, Err(StoreError::Panicked { message, .. }) if message == "as an engine may")
        );
        store.submit(&garden, put("a", "1"), Durability::Immediate, |_| panic!("as a callback must not"));
        store.write(&garden, put("b", "2")).await.unwrap();
        assert_eq!(text(&garden, "a").unwrap(), "1");
        store.close(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_callback_may_submit_again() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, ..) = faulty(mode);
        let garden = store.space(b"garden").unwrap();
        let (send, end) = oneshot::channel();

        fn chain(store: StoreHandle, space: SpaceHandle, left: u32, end: oneshot::Sender<()>) {
            let (next, room) = (store.clone(), space.clone());
            store.submit(&space, put("left", &left.to_string()), Durability::Immediate, move |outcome| {
                outcome.unwrap();
                if left > 0 { chain(next, room, left - 1, end) } else { end.send(()).unwrap() }
            });
        }
        // So deep that it would overflow the stack if it recursed.
        chain(store.clone(), garden.clone(), 100_000, send);

        end.await.unwrap();
        assert_eq!(text(&garden, "left").unwrap(), "0");
    }
}

#[test]
fn inline_callers_on_many_threads_are_all_answered() {
    let (store, ..) = faulty(Mode::Inline);
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    thread::scope(|scope| {
        for caller in 0..4 {
            let (store, garden, send) = (&store, &garden, send.clone());
            scope.spawn(move || {
                for n in 0..500 {
                    let send = send.clone();
                    let batch = put(&format!("{caller} {n}"), "");
                    store.submit(garden, batch, Durability::Immediate, move |outcome| {
                        send.send((caller, n, outcome.is_ok())).unwrap();
                    });
                }
            });
        }
    });
    drop(send);
    let answers: Vec<_> = answers.iter().take(2000).collect();
    for caller in 0..4 {
        let own: Vec<_> = answers.iter().filter(|answer| answer.0 == caller).collect();
        assert!(own.iter().map(|answer| answer.1).eq(0..500), "in the order in which they were submitted");
        assert!(own.iter().all(|answer| answer.2));
    }
}

#[test]
fn nobody_sees_half_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(folder.path(), &SledOptions::default()).unwrap();
    let garden = store.space(b"garden").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let values: Vec<_> =
                        garden.read(|view| view.prefix(b"key").map(|it| it.unwrap().1).collect()).unwrap();
                    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "a mix of two batches");
                    assert!(values.is_empty() || values.len() == 30);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..300_u16 {
            let mut batch = Batch::default();
            for n in 0..30 {
                batch.put(format!("key {n}"), round.to_be_bytes());
            }
            let (done, last) = (done.clone(), round == 299);
            store.submit(&garden, batch, BUFFERED, move |outcome| {
                outcome.unwrap();
                done.fetch_or(last, Ordering::Relaxed);
            });
        }
    });
    assert!(seen.into_inner() > 0);
}

#[test]
fn reads_nest_while_a_writer_waits() {
    let (store, ..) = faulty(Mode::Threaded);
    let (garden, house) = (store.space(b"garden").unwrap(), store.space(b"house").unwrap());
    let (send, answers) = mpsc::channel();
    garden
        .read(|view| {
            store.submit(&garden, put("a", "1"), Durability::Immediate, move |it| {
                send.send(it.is_ok()).unwrap()
            });
            let waiting = answers.recv_timeout(Duration::from_millis(50));
            assert!(waiting.is_err(), "the writer waits for this read");
            assert_eq!(garden.get(b"a").unwrap(), None);
            assert_eq!(house.read(|house| house.get(b"a").unwrap()).unwrap(), None);
            assert_eq!(garden.read(|inner| inner.get(b"a").unwrap()).unwrap(), view.get(b"a").unwrap());
        })
        .unwrap();
    assert!(answers.recv().unwrap());
    assert_eq!(text(&garden, "a").unwrap(), "1");
}

#[test]
#[should_panic(expected = "a write from inside a read")]
fn an_inline_write_from_inside_a_read_is_a_mistake() {
    let store = StoreHandle::in_memory();
    let garden = store.space(b"garden").unwrap();
    let _ = garden.read(|_| store.submit(&garden, put("a", "1"), Durability::Immediate, |_| {}));
}

#[tokio::test]
async fn a_dropped_space_is_gone_for_its_handles_and_can_be_made_again() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, ..) = faulty(mode);
        let garden = store.space(b"garden").unwrap();
        store.write(&garden, put("a", "1")).await.unwrap();
        store.space(b"house").unwrap();
        assert_eq!(store.spaces().unwrap(), [&b"garden"[..], b"house"]);

        store.drop_space(b"garden").await.unwrap();
        store.drop_space(b"never there").await.unwrap();

        assert_eq!(store.spaces().unwrap(), [b"house"]);
        assert!(matches!(garden.get(b"a"), Err(StoreError::Dropped { .. })));
        assert!(matches!(store.write(&garden, put("a", "2")).await, Err(StoreError::Dropped { .. })));
        let again = store.space(b"garden").unwrap();
        assert_eq!(text(&again, "a"), None);
        store.write(&again, put("a", "3")).await.unwrap();
    }
}

#[tokio::test]
async fn the_stores_own_space_is_nobody_elses() {
    let store = StoreHandle::in_memory();
    assert_eq!(store.spaces().unwrap(), Vec::<Vec<u8>>::new());
    assert!(matches!(store.space(OWN_SPACE), Err(StoreError::Reserved { .. })));
    assert!(matches!(store.drop_space(OWN_SPACE).await, Err(StoreError::Reserved { .. })));
}

/// Starts the store's actor and reports how it ended.
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
