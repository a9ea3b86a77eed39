//! Order, shared barriers, durability, callbacks that write again.

use super::*;

#[test]
fn queued_writes_share_one_barrier_and_are_answered_in_order() {
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
    begun.recv().unwrap(); // the first barrier has begun
    (1..100).for_each(submit);
    assert_eq!(
        store.queued_bytes(),
        100 + 100 + 90,
        "a key byte and one or two digits each, the first one too"
    );
    assert!(answers.try_recv().is_err(), "no write is answered before the barrier");

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
fn a_buffered_write_is_answered_and_readable_before_its_barrier() {
    let (store, begun, permit) = slow();
    let garden = store.space(b"garden").unwrap();
    let (send, answers) = mpsc::channel();
    permit.send(()).unwrap(); // for the note that writes are buffered
    let answer = send.clone();
    store.submit(&garden, put("a", "1"), BUFFERED, move |outcome| answer.send(outcome.is_ok()).unwrap());
    assert!(answers.recv().unwrap());
    assert_eq!(text(&garden, "a").unwrap(), "1");
    begun.recv().unwrap();
    assert!(begun.try_recv().is_err());

    let every = Durability::Buffered { every: Duration::from_millis(1) };
    store.submit(&garden, put("a", "2"), every, move |outcome| send.send(outcome.is_ok()).unwrap());
    assert!(answers.recv().unwrap());
    begun.recv().unwrap(); // the timer starts the barrier
    drop(permit);
}

#[tokio::test]
async fn meters_count_batches_bytes_and_barriers() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let (store, faults, _) = faulty(mode);
        let garden = store.space(b"garden").unwrap();
        let meters = store.meters();
        store.write(&garden, put("a", "123")).await.unwrap();
        assert_eq!((meters.written_batches.get(), meters.written_bytes.get()), (1, 4));
        assert_eq!((meters.barriers.get(), meters.refused_batches.get()), (1, 0));

        faults.fail_write(1);
        store.write(&garden, put("b", "1")).await.unwrap_err();
        store.close(SOON).await.unwrap();

        assert_eq!((meters.written_batches.get(), meters.refused_batches.get()), (1, 1));
        assert_eq!(meters.queued_bytes.get(), 0);
    }
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
        // So many that the stack would overflow if they recursed.
        chain(store.clone(), garden.clone(), 100_000, send);

        end.await.unwrap();
        assert_eq!(text(&garden, "left").unwrap(), "0");
    }
}

#[test]
fn inline_callers_on_many_threads_all_get_an_answer() {
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
