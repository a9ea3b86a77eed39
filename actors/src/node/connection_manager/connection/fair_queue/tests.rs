//! The order of frames as a table, and as properties of any interleaving.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use schema::limits::FRAME_BYTES_MAX;
use schema::wire::hello::Hello;

use super::*;

const KIB: usize = 1 << 10;

fn queued_frame(bytes: Vec<u8>) -> QueuedFrame {
    QueuedFrame { bytes, condition: None }
}

fn named(name: u8, length: usize) -> QueuedFrame {
    queued_frame(vec![name; length])
}

/// The first byte of each frame, in the order in which they are written; a Bye is a `.`.
fn drain(queue: &mut FairQueue) -> String {
    let written = std::iter::from_fn(|| queue.next());
    written
        .map(|next| match next {
            Next::Frame(waiting) => char::from(waiting.bytes[0]),
            Next::Bye(_) => '.',
        })
        .collect()
}

#[test]
fn lanes_share_the_link_by_bytes_and_control_frames_come_first() {
    use Lane::{Group, Heartbeat, Hello, Present};
    let (a, b) = (Group(1), Group(2));
    type Push = (Lane, u8, usize, usize);
    let table: [(&str, &[Push], &str); 9] = [
        ("one lane keeps its order", &[(a, b'1', 9, 1), (a, b'2', 9, 1), (a, b'3', 9, 1)], "123"),
        (
            "a small write does not wait for a bulk",
            &[(a, b'a', 512 * KIB, 8), (b, b'b', 100, 1)],
            "baaaaaaaa",
        ),
        ("equal bulks alternate", &[(a, b'a', 64 * KIB, 4), (b, b'b', 64 * KIB, 4)], "abababab"),
        ("turns are by bytes", &[(a, b'a', 64 * KIB, 3), (b, b'b', 16 * KIB, 8)], "abbbbabbbba"),
        ("a long frame waits for several turns", &[(a, b'a', 192 * KIB, 1), (b, b'b', 64 * KIB, 3)], "bbab"),
        ("heartbeats come first", &[(a, b'a', KIB, 2), (Heartbeat, b'p', 9, 2)], "ppaa"),
        (
            "heartbeats take at most half",
            &[(a, b'a', 64 * KIB, 3), (Heartbeat, b'p', 32 * KIB, 8)],
            "ppappappapp",
        ),
        (
            "no frame overtakes a hello",
            &[(Heartbeat, b'p', 64 * KIB, 2), (Hello, b'h', 9, 1), (a, b'a', 9, 1)],
            "ppha",
        ),
        ("presents have a lane", &[(Present, b'P', 512 * KIB, 2), (a, b'a', 64 * KIB, 2)], "aaPP"),
    ];
    for (what, pushes, written) in table {
        let mut queue = FairQueue::default();
        queue.push_bye(vec![0]);
        for (lane, name, length, count) in pushes {
            for _ in 0..*count {
                queue.push(*lane, named(*name, *length)).unwrap();
            }
        }
        assert_eq!(drain(&mut queue), format!("{written}."), "{what}");
        assert_eq!(queue.bytes(), 0, "{what}");
    }
}

#[test]
fn every_frame_has_its_lane() {
    assert_eq!(Lane::of(&LinkFrame::Hello(Hello::default())), Lane::Hello);
    assert_eq!(Lane::of(&LinkFrame::Pong { nonce: 1 }), Lane::Heartbeat);
    assert_eq!(Lane::of(&LinkFrame::Group { channel: 7, body: vec![] }), Lane::Group(7));
}

#[test]
fn the_queue_is_bounded_in_bytes_and_in_frames_and_a_bye_always_fits() {
    let mut bytes = FairQueue::default();
    for channel in 0..64 {
        bytes.push(Lane::Group(channel), named(b'a', FRAME_BYTES_MAX)).unwrap();
    }
    assert_eq!(
        bytes.push(Lane::Heartbeat, named(b'p', 1)),
        Err(Overflow { queued: OUTBOUND_BYTES_MAX }),
        "all lanes together"
    );
    // The frame that is being written counts until the next one is taken.
    assert!(bytes.next().is_some());
    assert!(bytes.push(Lane::Heartbeat, named(b'p', 1)).is_err());
    assert!(bytes.next().is_some());
    bytes.push(Lane::Heartbeat, named(b'p', 1)).unwrap();

    let mut frames = FairQueue::default();
    for channel in (0..64).cycle().take(OUTBOUND_FRAMES_MAX) {
        frames.push(Lane::Group(channel), named(b'a', 1)).unwrap();
    }
    assert_eq!(frames.push(Lane::Hello, named(b'h', 1)), Err(Overflow { queued: OUTBOUND_FRAMES_MAX }));
    frames.push_bye(vec![1]);
    frames.push_bye(vec![2]);
    assert_eq!(drain(&mut frames).len(), OUTBOUND_FRAMES_MAX + 1, "one Bye, at the end");
}

/// A frame of the property test: its first bytes are its lane and a running number.
fn label(lane: u8, number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length.max(5)];
    bytes[0] = lane;
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes
}

const LANES: [Lane; 6] =
    [Lane::Hello, Lane::Heartbeat, Lane::Present, Lane::Group(0), Lane::Group(1), Lane::Group(u32::MAX)];
/// The longest frame of the property test, bytes.
const LENGTH_MAX: usize = 200 * KIB;

#[derive(Clone, Debug)]
enum Step {
    Push { lane: u8, length: usize },
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![5..100_usize, 5..LENGTH_MAX];
    let push = (0..6_u8, length).prop_map(|(lane, length)| Step::Push { lane, length });
    vec(prop_oneof![2 => push, 1 => Just(Step::Take)], 0..200)
}

proptest! {
    /// In every interleaving no frame is lost, each lane keeps its order, no frame overtakes a Hello, and a
    /// frame waits for at most one turn of each other lane per turn that it needs.
    #[test]
    fn no_frame_is_lost_and_no_lane_waits_for_long(steps in steps()) {
        let mut queue = FairQueue::default();
        let mut waiting: Vec<Vec<(u32, usize)>> = vec![Vec::new(); LANES.len()];
        let mut pushed = 0;
        // Bytes that each other lane has written while a lane waited with the same frame at its head.
        let mut overtaken: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let drain = std::iter::repeat_n(Step::Take, steps.len() + 1);
        for step in steps.iter().cloned().chain(drain) {
            if let Step::Push { lane, length } = step {
                let bytes = label(lane, pushed, length);
                waiting[usize::from(lane)].push((pushed, bytes.len()));
                queue.push(LANES[usize::from(lane)], queued_frame(bytes)).unwrap();
                pushed += 1;
                continue;
            }
            let queued: usize = waiting.iter().flatten().map(|(_, length)| length).sum();
            let Some(Next::Frame(frame)) = queue.next() else {
                prop_assert_eq!(queued, 0, "idle while frames are queued");
                prop_assert_eq!(queue.bytes(), 0);
                continue;
            };
            prop_assert_eq!(queue.bytes(), queued);
            let lane = usize::from(frame.bytes[0]);
            let number = u32::from_be_bytes(frame.bytes[1..5].try_into().unwrap());
            let (first, length) = waiting[lane].remove(0);
            prop_assert_eq!((number, frame.bytes.len()), (first, length), "the lane's order");
            prop_assert!(waiting[0].iter().all(|(hello, _)| *hello > number), "overtook a Hello");
            overtaken.retain(|(waits, _), _| *waits != lane);
            for (waits, frames) in waiting.iter().enumerate().skip(2) {
                let is_other = waits != lane && lane >= 2;
                let Some((_, length)) = frames.first().filter(|_| is_other) else { continue };
                let written = overtaken.entry((waits, lane)).or_default();
                *written += frame.bytes.len();
                let turns = length.div_ceil(QUANTUM_BYTES);
                prop_assert!(
                    *written <= turns * QUANTUM_BYTES + LENGTH_MAX,
                    "lane {} waited for {} bytes of lane {} with a frame of {}", waits, written, lane, length
                );
            }
        }
        prop_assert!(waiting.iter().all(Vec::is_empty));
    }

    /// Lanes that always have frames write equally many bytes, within one turn.
    #[test]
    fn lanes_that_always_have_frames_get_equal_shares(
        lengths in vec(5..LENGTH_MAX, 4), taken in 1..400_usize,
    ) {
        let mut queue = FairQueue::default();
        let mut written = [0; 4];
        let push = |queue: &mut FairQueue, lane: u8| {
            let length = lengths[usize::from(lane)];
            queue.push(Lane::Group(u32::from(lane)), queued_frame(label(lane, 0, length))).unwrap();
        };
        for lane in [0, 1, 2, 3, 0, 1, 2, 3] {
            push(&mut queue, lane);
        }
        for _ in 0..taken {
            let Some(Next::Frame(frame)) = queue.next() else { panic!("frames are queued") };
            written[usize::from(frame.bytes[0])] += frame.bytes.len();
            push(&mut queue, frame.bytes[0]);
        }
        let (least, most) = (written.iter().min().unwrap(), written.iter().max().unwrap());
        prop_assert!(most - least <= 2 * (QUANTUM_BYTES + LENGTH_MAX), "{written:?}");
    }

    /// With any number of heartbeats queued, the other lanes write half of the bytes.
    #[test]
    fn heartbeats_starve_no_lane(length in 5..LENGTH_MAX, pulse in 5..KIB) {
        let mut queue = FairQueue::default();
        let [mut own, mut group] = [0_usize; 2];
        for _ in 0..1_000 {
            queue.push(Lane::Heartbeat, queued_frame(label(1, 0, pulse))).unwrap();
        }
        for _ in 0..4 {
            queue.push(Lane::Group(1), queued_frame(label(3, 0, length))).unwrap();
        }
        for _ in 0..1_000 {
            let Some(Next::Frame(frame)) = queue.next() else { panic!("frames are queued") };
            let (written, lane) = match frame.bytes[0] {
                1 => (&mut own, Lane::Heartbeat),
                _ => (&mut group, Lane::Group(1)),
            };
            *written += frame.bytes.len();
            prop_assert!(own <= group + QUANTUM_BYTES + KIB, "{own} bytes of heartbeats, {group} of a group");
            queue.push(lane, queued_frame(frame.bytes)).unwrap();
        }
    }
}
