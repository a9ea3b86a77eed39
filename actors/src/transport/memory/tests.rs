//! The promises of the memory network.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn network(seed: u64) -> MemoryNetwork {
    MemoryNetwork::seeded(Clock::simulated(seed), seed).latency_ms(5..80)
}

/// The ends of ada and of ben.
async fn joined(network: &MemoryNetwork) -> (Stream, Stream) {
    let mut listener = network.host("ben").listen("memory://ben").await.unwrap();
    let dialled = network.host("ada").dial("memory://ben").await.unwrap();
    let accepted = listener.accept().await.unwrap();
    (dialled, accepted)
}

async fn read_all(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[tokio::test(start_paused = true)]
async fn bytes_keep_their_order_under_any_latency_and_loss() {
    let network = network(7).loss(0.3);
    let (mut ada, mut ben) = joined(&network).await;
    let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();

    let copy = sent.clone();
    let writer = network.clock.spawn(async move {
        for part in copy.chunks(777) {
            ada.writer.write_all(part).await.unwrap();
        }
    });
    let received = read_all(&mut ben).await.unwrap();

    writer.await.unwrap();
    assert_eq!(received.len(), sent.len());
    assert!(received == sent);
    assert_eq!(network.bytes_delivered(), 400_000);
    assert!(network.clock.instant() > Duration::from_millis(200), "something was lost and sent again");
}

#[tokio::test(start_paused = true)]
async fn a_full_pipe_blocks_its_writer() {
    let network = network(7);
    let (mut ada, mut ben) = joined(&network).await;
    let more = vec![1; PIPE_BYTES_MAX + 1];

    let minute = Duration::from_secs(60);
    assert!(network.clock.timeout(minute, ada.writer.write_all(&more)).await.is_err());
    let mut read = vec![0; PIPE_BYTES_MAX];
    ben.reader.read_exact(&mut read).await.unwrap();

    assert!(network.clock.timeout(minute, ada.writer.write_all(b"x")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_ends_after_the_sent_bytes() {
    let network = network(7);
    let (mut ada, mut ben) = joined(&network).await;
    ada.writer.write_all(b"farewell").await.unwrap();
    drop(ada);
    assert_eq!(read_all(&mut ben).await.unwrap(), b"farewell");
    assert!(ben.writer.write_all(b"too late").await.is_err());
    drop(ben);
    assert_eq!(network.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_breaks_streams_and_refuses_dials_until_it_heals() {
    let network = network(7);
    let mut listener = network.host("ben").listen("memory://ben").await.unwrap();
    let mut ada = network.host("ada").dial("memory://ben").await.unwrap();
    let mut ben = listener.accept().await.unwrap();

    network.partition(&[&["ada"], &["ben", "cid"]]);

    assert!(read_all(&mut ada).await.is_err());
    assert!(read_all(&mut ben).await.is_err());
    let refused = TransportError::Unreachable { address: "memory://ben".into() };
    assert_eq!(network.host("ada").dial("memory://ben").await.err(), Some(refused));
    assert!(network.host("cid").dial("memory://ben").await.is_ok());
    network.heal();
    assert!(network.host("ada").dial("memory://ben").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_cut_separates_only_two_hosts() {
    let network = network(7);
    let _ben = network.host("ben").listen("memory://ben").await.unwrap();
    network.cut("ben", "ada");
    assert!(network.host("ada").dial("memory://ben").await.is_err());
    assert!(network.host("cid").dial("memory://ben").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_crash_ends_streams_and_listeners() {
    let network = network(7);
    let mut listener = network.host("ben").listen("memory://ben").await.unwrap();
    let mut ada = network.host("ada").dial("memory://ben").await.unwrap();
    let _ben = listener.accept().await.unwrap();

    network.crash("ben");

    assert!(read_all(&mut ada).await.is_err());
    assert_eq!(listener.accept().await.err(), Some(TransportError::Closed));
    assert!(network.host("ada").dial("memory://ben").await.is_err());
    let again = network.host("ben").listen("memory://ben").await;
    assert!(again.is_ok());
    drop(listener);
    assert!(
        network.host("ada").dial("memory://ben").await.is_ok(),
        "the old listener does not take the new along"
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_has_one_listener_on_its_own_host() {
    let network = network(7);
    let host = network.host("ada");
    let _listener = host.listen("memory://ada").await.unwrap();
    let used = TransportError::InUse { address: "memory://ada".into() };
    assert_eq!(host.listen("memory://ada").await.err(), Some(used));
    assert!(host.listen("memory://ada/2").await.is_ok());
    for wrong in ["memory://ben", "ws://ada", ""] {
        let refused = Some(TransportError::Address { address: wrong.into() });
        assert_eq!(host.listen(wrong).await.err(), refused);
    }
}

async fn scenario(seed: u64) -> ([u8; 32], Vec<String>) {
    let network = network(seed).loss(0.1).recorded();
    let (mut ada, mut ben) = joined(&network).await;
    for word in [&b"one"[..], b"two", b"three"] {
        ada.writer.write_all(word).await.unwrap();
        ben.writer.write_all(word).await.unwrap();
    }
    drop(ada);
    read_all(&mut ben).await.unwrap();
    (network.trace_hash(), network.trace_lines())
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_leave_equal_traces() {
    let (hash, lines) = scenario(7).await;
    assert_eq!(scenario(7).await, (hash, lines.clone()));
    assert_ne!(scenario(8).await.0, hash);
    assert!(lines[0].contains("dial ada ben"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("bytes ben ada 5")), "{lines:?}");
}
