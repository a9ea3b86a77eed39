//! Failing batches, failing stores, engines and callbacks that panic.

use super::*;

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
async fn writes_that_were_queued_behind_a_failure_are_refused_even_after_the_reset() {
    let (store, faults, _) = faulty(Mode::Inline);
    let garden = store.space(b"garden").unwrap();
    faults.fail_write(1);
    let (send, answers) = mpsc::channel();
    let (again, space) = (store.clone(), garden.clone());
    // Inline, the callback runs before the next round: it resets while an earlier write is still queued.
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
async fn a_failing_barrier_fails_the_store_and_calls_the_listener() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, faults, _) = faulty(mode);
        let (garden, house) = (store.space(b"garden").unwrap(), store.space(b"house").unwrap());
        store.write(&garden, put("a", "1")).await.unwrap();
        let (send, received) = oneshot::channel();
        store.on_failure(move |error| send.send(error).unwrap());
        faults.fail_flush(1);

        let unsure = store.write(&garden, put("a", "2")).await;
        assert!(matches!(unsure, Err(StoreError::Failed { .. })), "{unsure:?}");
        assert!(matches!(store.write(&house, put("a", "3")).await, Err(StoreError::Failed { .. })));
        assert!(matches!(store.barrier().await, Err(StoreError::Failed { .. })));
        assert!(matches!(received.await.unwrap(), StoreError::Engine { .. }));
        let (send, received) = oneshot::channel();
        store.on_failure(move |error| send.send(error).unwrap());
        assert!(received.await.is_ok(), "a late listener is called at once");
    }
}

#[tokio::test]
async fn a_write_that_was_refused_is_not_readable_before_and_after_a_restart() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, faults, disk) = faulty(mode);
        let garden = store.space(b"garden").unwrap();
        store.write(&garden, put("a", "1")).await.unwrap();
        faults.fail_flush(1);

        // The answer is read on the writer's own thread: nobody can see the write after it was refused.
        let (send, seen) = mpsc::channel();
        let space = garden.clone();
        store.submit(&garden, put("a", "2"), Durability::Immediate, move |outcome| {
            send.send((outcome, space.get(b"a"))).unwrap();
        });
        let (outcome, read) = seen.recv().unwrap();
        assert!(matches!(outcome, Err(StoreError::Failed { .. })), "{outcome:?}");
        assert!(matches!(read, Err(StoreError::Failed { .. })), "{read:?}");
        let opened = [store.space(b"garden").map(drop), store.space(b"house").map(drop)];
        assert!(garden.get(b"a").is_err() && opened[1].is_err() && store.spaces().is_err(), "{opened:?}");

        disk.crash();
        drop(store);
        let store = StoreHandle::over(disk.open().unwrap(), mode).unwrap();
        assert_eq!(text(&store.space(b"garden").unwrap(), "a").unwrap(), "1");
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

#[test]
fn a_refused_batch_does_not_affect_batches_queued_before_it() {
    let (store, begun, permit) = slow();
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    let mut too_long = put("c", "3");
    too_long.put([0; engine::KEY_BYTES_MAX + 1], "");
    // The first keeps the writer busy, so the others share one round.
    for batch in [put("a", "1"), put("b", "2"), too_long, put("d", "4")] {
        let send = send.clone();
        store.submit(&garden, batch, Durability::Immediate, move |outcome| send.send(outcome).unwrap());
    }
    begun.recv().unwrap();
    drop(permit);

    let outcomes: Vec<_> = answers.iter().take(4).collect();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(StoreError::KeyTooLong { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[3], Err(StoreError::Poisoned { .. })), "{outcomes:?}");
    let found = ["a", "b", "c", "d"].map(|key| text(&garden, key).is_some());
    assert_eq!(found, [true, true, false, false]);
}

#[test]
fn small_batches_that_are_queued_together_become_one_write_of_the_engine() {
    let faults = Faults::default();
    let engine = FaultyEngine::new(MemoryDisk::default().open().unwrap(), faults.clone());
    let (store, begun, permit) = slow_over(engine);
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    let submit = |n: u8| {
        let send = send.clone();
        let batch = put(&n.to_string(), "");
        store.submit(&garden, batch, Durability::Immediate, move |outcome| send.send(outcome).unwrap());
    };
    submit(0);
    begun.recv().unwrap();
    faults.fail_write(1);
    (1..10).for_each(submit);
    drop(permit);

    assert!(answers.recv().unwrap().is_ok());
    let outcomes: Vec<_> = answers.iter().take(9).collect();
    let shared = outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Engine { .. })));
    assert!(shared, "one write, one outcome: {outcomes:?}");
}

/// A full disk that failed a read first once left a node that served nothing and did not end.
#[tokio::test]
async fn a_read_that_fails_has_the_writer_find_out_whether_the_engine_still_works() {
    let (store, faults, _) = faulty(Mode::Threaded);
    let garden = store.space(b"garden").unwrap();
    store.write(&garden, put("a", "1")).await.unwrap();
    let (send, failed) = mpsc::channel();
    store.on_failure(move |error| send.send(error).unwrap());
    faults.fail_read(1);
    faults.fail_flush(1);

    assert!(matches!(garden.get(b"a"), Err(StoreError::Engine { .. })));

    let failure = failed.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(matches!(failure, StoreError::Engine { .. }), "{failure:?}");
}
