//! Readers and writers of frames, without a network.

use proptest::prelude::*;
use schema::device::DeviceIdentity;
use schema::handshake::{Handshake, Records, Step, Terms};
use schema::key::{AgreementKey, SigningKey};

use super::*;

/// The ciphers of ada and of ben after a handshake.
fn ciphers() -> (Records, Records) {
    let device = |seed: u8| {
        let key = |add| SigningKey::from_seed([seed + add; 32]);
        DeviceIdentity::certify(&key(0), key(50), AgreementKey::from_seed([seed + 99; 32]), "laptop")
    };
    let (mut ada, first) = Handshake::initiator(device(1), Terms::default(), [1; 32], None);
    let mut ben = Handshake::responder(device(2), Terms::default(), [2; 32]);
    let second = ben.step(&first).unwrap().send.remove(0);
    let [third, auth] = <[_; 2]>::try_from(ada.step(&second).unwrap().send).unwrap();
    ben.step(&third).unwrap();
    let Step { mut send, established } = ben.step(&auth).unwrap();
    let at_ada = ada.step(&send.remove(0)).unwrap().established;
    (at_ada.unwrap().1, established.unwrap().1)
}

/// The bytes on the wire for these frames, flushed after each group of them.
async fn wire(cipher: RecordCipher, groups: &[&[&[u8]]]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut writer = FrameWriter::new(&mut wire, cipher);
    for frames in groups {
        for frame in *frames {
            writer.write(frame).await.unwrap();
        }
        writer.flush().await.unwrap();
    }
    wire
}

async fn read<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>, max: usize) -> Result<Vec<u8>, StreamError> {
    let length = reader.read_length(max).await?;
    reader.read_body(length, || ()).await
}

#[tokio::test]
async fn a_message_is_its_length_and_its_bytes() {
    let mut wire = Vec::new();
    write_messages(&mut wire, &[b"hello".to_vec(), b"ben".to_vec()]).await.unwrap();
    assert_eq!(wire, b"\x00\x05hello\x00\x03ben");
    let mut reader = &wire[..];
    assert_eq!(read_message(&mut reader, 5).await, Ok(b"hello".to_vec()));
    assert_eq!(read_message(&mut reader, 2).await, Err(StreamError::TooLong { got: 3, max: 2 }));
    for (bytes, error) in [
        (&b""[..], StreamError::Ended),
        (b"\x00", StreamError::CutShort),
        (b"\x00\x05hell", StreamError::CutShort),
    ] {
        assert_eq!(read_message(&mut &bytes[..], 9).await, Err(error));
    }
}

#[tokio::test]
async fn frames_that_are_written_together_share_a_record() {
    let (ada, ben) = ciphers();
    let wire = wire(ada.send, &[&[b"one", b"", b"three"], &[b"four"]]).await;
    assert_eq!(wire.len(), (2 + 4 + 3 + 4 + 4 + 5 + 16) + (2 + 4 + 4 + 16));
    assert_eq!(usize::from(u16::from_be_bytes([wire[0], wire[1]])), 4 + 3 + 4 + 4 + 5 + 16);

    let mut reader = FrameReader::new(&wire[..], ben.receive);
    for frame in [&b"one"[..], b"", b"three", b"four"] {
        assert_eq!(read(&mut reader, 5).await.unwrap(), frame);
    }
    assert_eq!(read(&mut reader, 5).await, Err(StreamError::Ended));
}

#[tokio::test]
async fn a_long_frame_is_spread_over_records() {
    let (ada, ben) = ciphers();
    let frame: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    let wire = wire(ada.send, &[&[b"x", &frame, b"y"]]).await;

    let mut reader = FrameReader::new(&wire[..], ben.receive);
    assert_eq!(read(&mut reader, 1).await.unwrap(), b"x");
    assert!(read(&mut reader, frame.len()).await.unwrap() == frame);
    assert_eq!(read(&mut reader, 1).await.unwrap(), b"y");
}

#[tokio::test]
async fn every_bad_end_has_its_own_error() {
    for (cut, error) in [
        (0, StreamError::Ended),
        (1, StreamError::CutShort),
        (20, StreamError::CutShort),
        // The first record alone: it holds the frame's length and not all of its bytes.
        (64 << 10, StreamError::CutShort),
    ] {
        let (ada, ben) = ciphers();
        let wire = wire(ada.send, &[&[&[5; 100_000]]]).await;
        let mut reader = FrameReader::new(&wire[..cut], ben.receive);
        assert_eq!(read(&mut reader, 100_000).await, Err(error), "{cut}");
    }

    let (ada, ben) = ciphers();
    let wire = wire(ada.send, &[&[&[5; 10]]]).await;
    let mut reader = FrameReader::new(&wire[..], ben.receive);
    assert_eq!(read(&mut reader, 9).await, Err(StreamError::TooLong { got: 10, max: 9 }));
}

#[tokio::test]
async fn an_empty_record_is_an_error() {
    let (_, ben) = ciphers();
    let wire = [&[0, 16][..], &[0; 16]].concat();
    let mut reader = FrameReader::new(&wire[..], ben.receive);
    let refused = Err(StreamError::Record(RecordError::Length { got: 16 }));
    assert_eq!(read(&mut reader, 9).await, refused);
}

#[test]
fn a_transport_can_report_its_own_error() {
    let named = StreamError::Transport { expected: "binary messages" };
    assert_eq!(StreamError::from(io::Error::from(named)), named);
    let broken = StreamError::Broken { kind: io::ErrorKind::ConnectionReset };
    assert_eq!(StreamError::from(io::Error::from(io::ErrorKind::ConnectionReset)), broken);
}

proptest! {
    /// Authority 4.1, H5: a flipped bit is detected at any position; frames before it are read, none after
    /// it.
    #[test]
    fn a_flipped_bit_ends_the_stream(bit in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ada, ben) = ciphers();
            let mut wire = wire(ada.send, &[&[b"one", b"two"], &[b"three"]]).await;
            let bit = bit.index(wire.len() * 8);
            wire[bit / 8] ^= 1 << (bit % 8);
            let mut reader = FrameReader::new(&wire[..], ben.receive);
            let mut frames = Vec::new();
            let error = loop {
                match read(&mut reader, 9).await {
                    Ok(frame) => frames.push(frame),
                    Err(error) => break error,
                }
            };
            let before: &[&[u8]] = if bit / 8 < 32 { &[] } else { &[b"one", b"two"] };
            prop_assert_eq!(frames, before);
            prop_assert!(matches!(error, StreamError::Record(_) | StreamError::CutShort), "{:?}", error);
            Ok(())
        })?;
    }
}
