//! Two sessions with invented documents: equality at the end, and a bound on the work for one frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use peerbase_schema::codec;
use peerbase_schema::digest::{Digest, Mark, Page};
use peerbase_schema::document::Refusal;
use peerbase_schema::limits::{COMPARED_MARKS, FRAME_DOCUMENTS, FRAME_MARKS, MARKS_MAX, PAGE_LEAVES};
use peerbase_schema::session::{
    Documents, Effect, Input, Session, SessionFault, SessionSide, StepError, Supply, Wanted,
};
use peerbase_schema::time::Moment;
use peerbase_schema::wire::session::{RootReason, SessionFrame, Unit, Units};
use peerbase_schema::{ChangeHash, DocumentId, ReplicaId};
use proptest::prelude::*;

/// Documents that consist of their marks alone.
#[derive(Default)]
struct Shelf {
    digest: Digest,
    marks: BTreeMap<DocumentId, Vec<Mark>>,
    state: [u8; 32],
    /// Version vectors read since the counter was last reset.
    read: usize,
    /// The charge of each unit, bytes.
    unit: usize,
}

fn document(number: u64) -> DocumentId {
    DocumentId(peerbase_schema::id::hash("test", &[&number.to_be_bytes()]))
}

/// `count` chains of one change each, numbered from `from`.
fn chains(from: u64, count: usize) -> Vec<Mark> {
    let mark = |number: u64| {
        let replica = ReplicaId(peerbase_schema::id::hash("chain", &[&number.to_be_bytes()]));
        Mark { replica, seq: 1, change: ChangeHash(replica.0) }
    };
    let mut marks: Vec<_> = (from..).map(mark).take(count).collect();
    marks.sort_unstable();
    marks
}

impl Shelf {
    fn of(documents: u64) -> Self {
        let mut shelf = Self::default();
        (0..documents).for_each(|number| shelf.put(document(number), chains(0, 1)));
        shelf
    }

    fn put(&mut self, document: DocumentId, marks: Vec<Mark>) {
        self.digest.set(document, &marks);
        self.marks.insert(document, marks);
    }

    fn apply(&mut self, unit: &Unit) {
        let new: Vec<Mark> =
            codec::decode(&unit.message[..unit.message.len() - unit.key.len()], usize::MAX).unwrap();
        let all = self.marks.remove(&unit.document).unwrap_or_default();
        let mut all: BTreeMap<_, _> = all.into_iter().map(|mark| (mark.replica, mark)).collect();
        all.extend(new.into_iter().map(|mark| (mark.replica, mark)));
        self.put(unit.document, all.into_values().collect());
    }
}

impl Documents for Shelf {
    type Error = Infallible;

    fn digest(&mut self) -> &mut Digest {
        &mut self.digest
    }

    fn state(&mut self) -> [u8; 32] {
        self.state
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        self.read += 1;
        Ok(self.marks.get(&document).cloned().unwrap_or_default())
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, Infallible> {
        let (mut supply, mut used) = (Supply::default(), 0);
        for wanted in wanted {
            if used >= bytes {
                supply.later.push(wanted);
                continue;
            }
            let Some(marks) = self.marks.get(&wanted.document) else { continue };
            let has =
                |mark: &&Mark| wanted.have.binary_search_by_key(&mark.replica, |have| have.replica).is_err();
            let new: Vec<Mark> = marks.iter().filter(has).copied().collect();
            if new.is_empty() {
                continue;
            }
            let mut message = codec::encode(&new);
            let padding = self.unit.saturating_sub(message.len());
            message.extend(vec![0; padding]);
            used += message.len();
            let (document, table, key) = (wanted.document, "tasks".to_owned(), " ".repeat(padding));
            supply.units.push(Unit { document, table, key, tips: Vec::new(), message });
        }
        Ok(supply)
    }
}

/// A session and its documents.
struct Side {
    session: Session,
    shelf: Shelf,
    /// Frames for the other.
    out: VecDeque<SessionFrame>,
    refused: Vec<(DocumentId, Refusal)>,
}

const NOW: Moment = Moment(Duration::from_secs(1_000));

impl Side {
    fn open(initiator: bool, mut shelf: Shelf) -> Self {
        let session_side = SessionSide { initiator, incarnation: u64::from(initiator) };
        let (session, effects) = Session::open(NOW, session_side, false, &mut shelf).unwrap();
        let mut side = Self { session, shelf, out: VecDeque::new(), refused: Vec::new() };
        side.perform(effects);
        side
    }

    /// A side that has received its peer's opening and answer.
    fn ready(initiator: bool, shelf: Shelf) -> Self {
        let mut side = Self::open(initiator, shelf);
        let incarnation = u64::from(initiator);
        for reason in [RootReason::Opening { incarnation: 7 }, RootReason::Answer { incarnation }] {
            side.receive(SessionFrame::Root { root: [9; 32], reason }).unwrap();
        }
        side.out.clear();
        side
    }

    fn receive(&mut self, frame: SessionFrame) -> Result<(), SessionFault> {
        self.step(NOW, Input::Frame(frame))
    }

    fn step(&mut self, now: Moment, input: Input) -> Result<(), SessionFault> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            match self.session.step(now, input, &mut self.shelf) {
                Ok(effects) => inputs.extend(self.perform(effects)),
                Err(StepError::Fault(fault)) => return Err(fault),
                Err(StepError::Local(never)) => match never {},
            }
        }
        Ok(())
    }

    /// One step; the inputs that follow from it are left.
    fn step_once(&mut self, input: Input) -> Result<Vec<Input>, SessionFault> {
        match self.session.step(NOW, input, &mut self.shelf) {
            Ok(effects) => Ok(self.perform(effects)),
            Err(StepError::Fault(fault)) => Err(fault),
            Err(StepError::Local(never)) => match never {},
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.out.push_back(frame),
                Effect::Apply(Units { number, units, .. }) => {
                    units.iter().for_each(|unit| self.shelf.apply(unit));
                    inputs.push(Input::Applied { number, refused: Vec::new() });
                }
                Effect::Continue => inputs.push(Input::Continue),
                Effect::Synced => {}
                Effect::Refused(refused) => self.refused.extend(refused),
            }
        }
        inputs
    }
}

/// Delivers frames until both sides are silent. Returns the largest number of reads, and of marks, for one
/// frame.
fn talk(ada: &mut Side, ben: &mut Side) -> (usize, usize) {
    let (mut read, mut marks, mut now) = (0, 0, NOW);
    loop {
        for from_ada in [true, false] {
            let (from, to) = if from_ada { (&mut *ada, &mut *ben) } else { (&mut *ben, &mut *ada) };
            while let Some(frame) = from.out.pop_front() {
                if let SessionFrame::Vectors { documents, .. } | SessionFrame::Request { documents } = &frame
                {
                    marks = marks.max(documents.iter().map(|(_, marks)| 1 + marks.len()).sum());
                }
                to.shelf.read = 0;
                to.step(now, Input::Frame(frame)).unwrap();
                read = read.max(to.shelf.read);
            }
        }
        if ada.out.is_empty() && ben.out.is_empty() {
            let wake = [ada.session.wake_at(), ben.session.wake_at()].into_iter().flatten().min();
            let Some(at) = wake else { return (read, marks) };
            now = at;
            ada.step(now, Input::Wake).unwrap();
            ben.step(now, Input::Wake).unwrap();
        }
    }
}

#[test]
fn a_large_group_is_sent_to_a_newcomer_in_bounded_steps() {
    for newcomer_dials in [true, false] {
        let (mut ada, mut ben) =
            (Side::open(!newcomer_dials, Shelf::of(40_000)), Side::open(newcomer_dials, Shelf::default()));

        let (read, marks) = talk(&mut ada, &mut ben);

        assert_eq!(ada.shelf.digest.root(), ben.shelf.digest.root());
        assert!(ada.session.is_synced() && ben.session.is_synced());
        assert!(read <= 2 * FRAME_MARKS, "{read} reads for one frame");
        assert!(marks <= FRAME_MARKS + 2, "{marks} marks in one frame");
    }
}

#[test]
fn two_sides_that_differ_everywhere_become_equal() {
    let (mut ada, mut ben) = (Shelf::of(0), Shelf::of(0));
    for number in 0..20_000 {
        let here = if number % 3 == 0 { &mut ada } else { &mut ben };
        here.put(document(number), chains(number % 5, 2));
        if number % 7 == 0 {
            ada.put(document(number), chains(0, 3));
            ben.put(document(number), chains(2, 3));
        }
    }
    let (mut ada, mut ben) = (Side::open(true, ada), Side::open(false, ben));
    talk(&mut ada, &mut ben);
    assert_eq!(ada.shelf.marks.len(), 20_000);
    assert_eq!(ada.shelf.digest.root(), ben.shelf.digest.root());
}

/// Regression: such a version vector did not fit a frame, and every walk ended the link.
#[test]
fn a_document_with_more_chains_than_a_frame_carries_is_transferred() {
    let mut shelves = [Shelf::of(3), Shelf::of(4)];
    for (shelf, from) in shelves.iter_mut().zip([0, 50]) {
        shelf.put(document(9), chains(from, 3 * MARKS_MAX));
    }
    let [ada, ben] = shelves;
    let (mut ada, mut ben) = (Side::open(true, ada), Side::open(false, ben));

    let (_, marks) = talk(&mut ada, &mut ben);

    assert!(marks <= FRAME_MARKS + 1 + MARKS_MAX, "{marks} marks in one frame");
    assert_eq!(ada.shelf.digest.root(), ben.shelf.digest.root());
    assert_eq!(ada.shelf.marks[&document(9)].len(), 3 * MARKS_MAX + 50);
}

#[test]
fn a_page_waits_while_the_outbox_is_full_and_a_second_page_before_the_reply_is_a_fault() {
    let mut shelf = Shelf::of(40_000);
    shelf.unit = 4 << 20;
    let mut ada = Side::ready(false, shelf);
    for first in [0, 8_000, 16_000] {
        let documents = (first..first + 8_000).map(|number| (document(number), Vec::new())).collect();
        ada.receive(SessionFrame::Request { documents }).unwrap();
    }
    let page = || SessionFrame::Leaves(Page { after: None, through: None, leaves: Vec::new() });
    ada.out.clear();

    ada.receive(page()).unwrap();
    assert!(ada.out.is_empty(), "there is enough to send");
    assert!(matches!(ada.receive(page()), Err(SessionFault::Unexpected { .. })));
}

#[test]
fn a_frame_beyond_its_bounds_is_a_fault() {
    let mark = chains(0, 1)[0];
    let heavy = |documents: usize, marks: usize| {
        (0..documents as u64).map(|number| (document(number), vec![mark; marks])).collect::<Vec<_>>()
    };
    let units = (0..=FRAME_DOCUMENTS as u64).map(unit).collect();
    let refused = (0..=FRAME_DOCUMENTS as u64).map(|of| (document(of), Refusal::Misplaced)).collect();
    let empty = Units { number: 1, state: [0; 32], authors: Vec::new(), units: Vec::new() };
    for frame in [
        SessionFrame::Units(empty),
        SessionFrame::Request { documents: heavy(1, MARKS_MAX + 1) },
        SessionFrame::Request { documents: heavy(3, MARKS_MAX) },
        SessionFrame::Request { documents: heavy(FRAME_MARKS + 1, 0) },
        SessionFrame::Leaves(Page {
            after: None,
            through: None,
            leaves: vec![(document(0), [0; 32]); PAGE_LEAVES + 1],
        }),
        SessionFrame::Units(Units { number: 1, state: [0; 32], authors: Vec::new(), units }),
        SessionFrame::Ack { number: 0, refused },
    ] {
        let mut ada = Side::ready(false, Shelf::of(3));
        assert!(matches!(ada.receive(frame), Err(SessionFault::Unexpected { .. })));
    }
}

fn unit(number: u64) -> Unit {
    let (table, key, message) = ("tasks".to_owned(), String::new(), codec::encode(&Vec::<Mark>::new()));
    Unit { document: document(number), table, key, tips: Vec::new(), message }
}

/// A frame of each kind that names documents.
fn frames_that_name(numbers: &[u64]) -> Vec<SessionFrame> {
    let documents: Vec<_> = numbers.iter().map(|number| (document(*number), Vec::new())).collect();
    let leaves = numbers.iter().map(|number| (document(*number), [0; 32])).collect();
    let refused = numbers.iter().map(|number| (document(*number), Refusal::Misplaced)).collect();
    let units = numbers.iter().map(|number| unit(*number)).collect();
    vec![
        SessionFrame::Request { documents: documents.clone() },
        SessionFrame::Vectors { documents, through: None },
        SessionFrame::Leaves(Page { after: None, through: None, leaves }),
        SessionFrame::Units(Units { number: 1, state: [0; 32], authors: Vec::new(), units }),
        SessionFrame::Ack { number: 0, refused },
    ]
}

proptest! {
    /// Each mention of a row once cost its receiver a look at all chains of the row: one frame, minutes.
    #[test]
    fn a_frame_is_a_fault_exactly_if_it_names_a_document_twice(
        numbers in proptest::collection::vec(0_u64..40, 1..12),
    ) {
        let repeats = numbers.iter().collect::<BTreeSet<_>>().len() < numbers.len();
        for frame in frames_that_name(&numbers) {
            let initiator = !matches!(frame, SessionFrame::Leaves(_));
            let mut ada = Side::ready(initiator, Shelf::default());
            let heard = ada.step_once(Input::Frame(frame)).map(|_| ());
            let twice = SessionFault::Unexpected { what: "a document named twice" };
            prop_assert_eq!(heard, if repeats { Err(twice) } else { Ok(()) });
        }
    }
}

/// One request of many rows with many chains each once kept an actor for as long as all of them cost.
#[test]
fn the_rows_of_one_request_are_compared_in_bounded_steps_and_all_of_them_are_sent() {
    let (rows, each) = (2_000, 100);
    let mut shelf = Shelf::default();
    (0..rows).for_each(|number| shelf.put(document(number), chains(0, each)));
    let mut ada = Side::ready(false, shelf);
    let documents = (0..rows).map(|number| (document(number), Vec::new())).collect();

    let (mut inputs, mut steps) = (vec![Input::Frame(SessionFrame::Request { documents })], 0);
    while let Some(input) = inputs.pop() {
        ada.shelf.read = 0;
        inputs.extend(ada.step_once(input).unwrap());
        assert!(ada.shelf.read <= COMPARED_MARKS / each + 1, "{} rows in one step", ada.shelf.read);
        steps += 1;
    }

    assert!(steps > 10, "{steps} steps");
    assert!(!ada.session.is_comparing());
    let mut named = BTreeSet::new();
    while let Some(frame) = ada.out.pop_front() {
        if let SessionFrame::Units(units) = frame {
            named.extend(units.units.iter().map(|unit| unit.document));
            ada.receive(SessionFrame::Ack { number: units.number, refused: Vec::new() }).unwrap();
        }
    }
    assert_eq!(named.len() as u64, rows);
}

#[test]
fn marks_beyond_a_frame_while_the_last_ones_are_compared_are_a_fault() {
    let mut shelf = Shelf::default();
    shelf.put(document(0), chains(0, COMPARED_MARKS));
    let mut ada = Side::ready(false, shelf);
    let request = |from: u64| {
        let documents = (from..from + 10_000).map(|number| (document(number), Vec::new())).collect();
        Input::Frame(SessionFrame::Request { documents })
    };
    let heavy = |number| {
        let documents = vec![(document(number), chains(0, MARKS_MAX))];
        Input::Frame(SessionFrame::Request { documents })
    };
    ada.step_once(request(0)).unwrap();
    assert!(ada.session.is_comparing());
    assert!(ada.session.unjudged_bytes() > 0);

    let ends = [heavy(100_000), heavy(100_001), heavy(100_002)].map(|input| ada.step_once(input).is_ok());

    assert_eq!(ends, [true, true, false]);
}

#[test]
fn a_peer_that_sends_other_frames_instead_of_an_acknowledgement_stalls() {
    let mut ada = Side::ready(false, Shelf::of(3));
    ada.receive(SessionFrame::Request { documents: vec![(document(0), Vec::new())] }).unwrap();
    assert!(matches!(ada.out[0], SessionFrame::Units(_)));
    // 60 s, and as long as a window takes on a slow link.
    let patience = 60 + 4_096 * 32 / 1_000 + 1;
    for second in 1..patience {
        let root = SessionFrame::Root { root: [8; 32], reason: RootReason::Compare };
        ada.step(NOW + Duration::from_secs(second), Input::Frame(root)).unwrap();
    }
    let late = NOW + Duration::from_secs(patience);
    assert!(ada.session.wake_at().unwrap() <= late);
    assert_eq!(ada.step(late, Input::Wake), Err(SessionFault::Stalled));
}

#[test]
fn the_text_of_a_peers_refusal_is_truncated() {
    let mut ada = Side::ready(false, Shelf::of(3));
    let refused = vec![(document(0), Refusal::Unreadable { what: "ä".repeat(1 << 20) })];
    ada.receive(SessionFrame::Ack { number: 0, refused }).unwrap();
    let [(_, Refusal::Unreadable { what })] = &ada.refused[..] else { panic!() };
    assert_eq!(what.len(), 256);
}

/// Regression: units overtook the roster by which they were judged, and correct peers ended their links.
#[test]
fn units_name_the_membership_state_by_which_their_sender_judges() {
    let mut ada = Side::ready(false, Shelf::of(3));
    ada.shelf.unit = 4 << 20;
    let request = |number| SessionFrame::Request { documents: vec![(document(number), Vec::new())] };
    ada.receive(request(0)).unwrap();
    ada.receive(request(1)).unwrap();
    ada.shelf.state = [5; 32];
    ada.step(NOW, Input::Rejudged).unwrap();
    ada.receive(SessionFrame::Ack { number: 1, refused: Vec::new() }).unwrap();
    let states: Vec<_> = ada
        .out
        .iter()
        .filter_map(|frame| match frame {
            SessionFrame::Units(units) => Some((units.number, units.state)),
            SessionFrame::Root { .. } | SessionFrame::Ack { .. } => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(states, [(1, [0; 32]), (2, [5; 32])]);
}
