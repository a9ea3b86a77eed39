//! Consistent reads, revoked handles, dropped spaces.

use super::*;

#[test]
fn no_read_sees_half_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(folder.path(), &*default_engine()).unwrap();
    let garden = store.space(b"garden").unwrap();
    let done = AtomicBool::new(false);
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
        let (send, answers) = mpsc::channel();
        for round in 0..500_u16 {
            let mut batch = Batch::default();
            for n in 0..30 {
                batch.put(format!("key {n}"), round.to_be_bytes());
            }
            let send = send.clone();
            store.submit(&garden, batch, BUFFERED, move |outcome| send.send(outcome).unwrap());
            answers.recv().unwrap().unwrap(); // one by one, else they would be joined into one write
        }
        done.store(true, Ordering::Relaxed);
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
fn an_inline_write_from_inside_a_read_panics() {
    let store = StoreHandle::in_memory();
    let garden = store.space(b"garden").unwrap();
    let _ = garden.read(|_| store.submit(&garden, put("a", "1"), Durability::Immediate, |_| {}));
}

#[tokio::test]
async fn handles_of_a_dropped_space_fail_and_the_space_can_be_made_again() {
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
async fn the_stores_own_space_is_reserved() {
    let store = StoreHandle::in_memory();
    assert_eq!(store.spaces().unwrap(), Vec::<Vec<u8>>::new());
    assert!(matches!(store.space(OWN_SPACE), Err(StoreError::Reserved { .. })));
    assert!(matches!(store.drop_space(OWN_SPACE).await, Err(StoreError::Reserved { .. })));
}
