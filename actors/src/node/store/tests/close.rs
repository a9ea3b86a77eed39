//! Opening and closing.

use super::*;

#[tokio::test]
async fn a_written_value_is_read_and_is_there_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = StoreHandle::open(folder.path(), &*default_engine()).unwrap();
        let garden = store.space(b"garden").unwrap();
        assert_eq!(text(&garden, "round"), (round > 0).then(|| (round - 1).to_string()));
        store.write(&garden, put("round", &round.to_string())).await.unwrap();
        assert_eq!(text(&garden, "round"), Some(round.to_string()));
        store.close(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn the_lock_is_free_when_close_returns_although_handles_exist() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(folder.path(), &*default_engine()).unwrap();
    let garden = store.space(b"garden").unwrap();
    store.write(&garden, put("a", "1")).await.unwrap();
    let second = StoreHandle::open(folder.path(), &*default_engine());
    assert!(matches!(second.err(), Some(OpenError::Locked { path }) if path == folder.path()));

    store.close(SOON).await.unwrap();

    let again = StoreHandle::open(folder.path(), &*default_engine()).unwrap();
    assert!(matches!(garden.get(b"a"), Err(StoreError::Closed)));
    assert_eq!(text(&again.space(b"garden").unwrap(), "a").unwrap(), "1");
    again.close(SOON).await.unwrap();
}

#[tokio::test]
async fn after_close_every_call_answers_closed() {
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
async fn close_performs_every_submitted_write() {
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
async fn a_close_that_exceeds_its_deadline_fails_and_ends_later() {
    let (store, _begun, permit) = slow();
    let timed_out = store.close(Duration::from_millis(1)).await;
    assert!(matches!(timed_out, Err(StoreError::CloseTimedOut)), "{timed_out:?}");
    drop(permit);
    store.close(SOON).await.unwrap();
}

#[test]
fn dropping_the_last_handle_closes_cleanly() {
    for mode in [Mode::Inline, Mode::Threaded] {
        let disk = MemoryDisk::default();
        let store = StoreHandle::over(disk.open().unwrap(), mode).unwrap();
        let garden = store.space(b"garden").unwrap();
        let (send, answers) = mpsc::channel();
        store.submit(&garden, put("a", "1"), Durability::Immediate, move |outcome| {
            send.send(outcome).unwrap()
        });
        let thread = store.inner.thread();
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
    assert!(first.opened_cleanly(), "there was nothing to lose");
    disk.crash();
    let second = open();
    assert!(!second.opened_cleanly(), "a crash before the first write is a crash");
    second.close(SOON).await.unwrap();
    disk.crash();
    let third = open();
    assert!(third.opened_cleanly(), "a crash after the close does not count");
    third.close(SOON).await.unwrap();
    assert!(disk.damage(OWN_SPACE, STATE_KEY));
    assert!(!open().opened_cleanly(), "more may be damaged");
}

/// Without buffered writes an unclean end loses nothing that was answered.
#[tokio::test]
async fn an_open_counts_the_ends_that_may_have_lost_answered_writes() {
    let disk = MemoryDisk::default();
    let losses_after = async |durability: Option<Durability>| {
        let store = StoreHandle::over(disk.open().unwrap(), Mode::Inline).unwrap();
        let (losses, garden) = (store.losses(), store.space(b"garden").unwrap());
        if let Some(durability) = durability {
            store.submit(&garden, put("a", "1"), durability, |outcome| outcome.unwrap());
        }
        disk.crash();
        losses
    };
    let buffered = Durability::Buffered { every: Duration::from_secs(60) };

    assert_eq!(losses_after(None).await, 0);
    assert_eq!(losses_after(Some(Durability::Immediate)).await, 0);
    assert_eq!(losses_after(Some(buffered)).await, 0);
    assert_eq!(losses_after(None).await, 1, "after the buffered write");
    assert_eq!(losses_after(None).await, 1);
    assert!(disk.damage(OWN_SPACE, STATE_KEY));
    assert_eq!(losses_after(None).await, 2, "more may be damaged");
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
