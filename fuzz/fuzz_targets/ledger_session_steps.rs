//! Two ledger sessions over a link that drops, repeats and forges frames: no step panics, each step sends a
//! bounded number of frames, and once frames are delivered the ledgers become equal.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::arbitrary::{self, Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use schema::ledger::{Body, By, Role};
use schema::wire::ledger::LedgerFrame;
use testkit::hostile::ledger::revocations;
use testkit::ledger_side::{NOW, Side, key, talk, user};

/// Steps of one run.
const STEPS_MAX: usize = 60;
/// Frames of one step: an answer of two mebibytes in frames of at least half of one, a request for two pages,
/// and a margin.
const FRAMES_MAX: usize = 16;

/// One step of the run.
#[derive(Arbitrary, Debug)]
enum Step {
    /// A side signs an op.
    SetRole { by: bool, user: u8, role: u8 },
    /// A side describes the group.
    SetMeta { by: bool, bytes: u8 },
    /// A side adds a member and removes it with a cut.
    Remove { by: bool, user: u8, pages: u8 },
    /// A side loses a stored page.
    LosePage { by: bool, page: u8 },
    /// A new link replaces the old one.
    Open,
    /// Frames are delivered.
    Deliver { to: bool, count: u8 },
    /// The next frame is lost.
    Drop { to: bool },
    /// The next frame is sent twice.
    Repeat { to: bool },
    /// A hostile peer sends a frame.
    Forge { to: bool, frame: LedgerFrame },
    /// A member floods a side with device revocations.
    Flood { to: bool, user: u8, count: u8 },
    /// The deadline of a side passes.
    Wake { by: bool },
}

struct World {
    sides: [Side; 2],
    /// Frames under way to each side.
    queues: [VecDeque<LedgerFrame>; 2],
    removals: u8,
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Unstructured::new(input);
    let ada = Side::founded();
    let ben = ada.newcomer();
    let mut world = World { sides: [ada, ben], queues: Default::default(), removals: 0 };
    for _ in 0..STEPS_MAX {
        let step: Result<Step> = choices.arbitrary();
        match step {
            Ok(step) if !choices.is_empty() => world.step(step),
            _ => break,
        }
    }
    world.settle();
});

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::SetRole { by, user: number, role } => {
                let role = Role::ALL[usize::from(role) % 3];
                // A writer can only be demoted with a cut, so members of this step never write.
                let role = if role == Role::Writer { Role::Reader } else { role };
                let body =
                    Body::SetRole { user: user(500 + u64::from(number % 8)), role, cut: None, via: None };
                self.submit(by, body);
            }
            Step::SetMeta { by, bytes } => {
                self.submit(by, Body::SetMeta { key: "k".into(), value: vec![7; usize::from(bytes) * 16] });
            }
            Step::Remove { by, user, pages } => {
                if self.removals < 4 {
                    self.removals += 1;
                    // Each side removes users of its own, so that every op is valid where it is signed.
                    let user = 1 + user % 4 + 10 * u8::from(by) + 40 * self.removals;
                    self.sides[usize::from(by)].remove(user, pages % 24);
                }
            }
            Step::LosePage { by, page } => {
                let pages = &mut self.sides[usize::from(by)].store.pages;
                let lost = pages.keys().nth(usize::from(page)).copied();
                lost.and_then(|page| pages.remove(&page));
            }
            Step::Open => self.open(),
            Step::Deliver { to, count } => (0..count % 8).for_each(|_| self.deliver(to)),
            Step::Drop { to } => drop(self.queues[usize::from(to)].pop_front()),
            Step::Repeat { to } => {
                let queue = &mut self.queues[usize::from(to)];
                queue.extend(queue.front().cloned());
                self.deliver(to);
            }
            Step::Forge { to, frame } => self.receive(to, frame),
            Step::Flood { to, user, count } => {
                let key = key(500 + u64::from(user % 8));
                revocations(&key, u32::from(count % 16)).for_each(|frame| self.receive(to, frame));
            }
            Step::Wake { by } => {
                let session = &self.sides[usize::from(by)].session;
                let at = session.wake_at();
                assert_eq!(session.handle_wake(NOW), Ok(()), "no deadline has passed yet");
                if let Some(at) = at {
                    assert!(session.handle_wake(at).is_err(), "the deadline has passed");
                    self.open();
                }
            }
        }
    }

    fn submit(&mut self, by: bool, body: Body) {
        let side = &mut self.sides[usize::from(by)];
        // The rules refuse an op that changes nothing.
        if side.ledger.draft(user(0), By::User, body.clone()).is_ok() {
            side.submit(body);
        }
    }

    fn open(&mut self) {
        for (at, side) in self.sides.iter_mut().enumerate() {
            side.sent.clear();
            side.documents_open = false;
            side.open();
            self.queues[1 - at] = side.take_sent().into();
        }
    }

    fn deliver(&mut self, to: bool) {
        if let Some(frame) = self.queues[usize::from(to)].pop_front() {
            self.receive(to, frame);
        }
    }

    fn receive(&mut self, to: bool, frame: LedgerFrame) {
        let side = &mut self.sides[usize::from(to)];
        let result = side.receive(frame);
        let sent = side.take_sent();
        assert!(sent.len() <= FRAMES_MAX, "{} frames for one", sent.len());
        self.queues[usize::from(!to)].extend(sent);
        if result.is_err() {
            self.open(); // a fault ends the link
        }
    }

    /// Without faults the ledgers become equal, unless no side has a page that an op needs.
    fn settle(&mut self) {
        self.open();
        let [ada, ben] = &mut self.sides;
        ada.refused.clear();
        ben.refused.clear();
        let frames = |queue: &mut VecDeque<LedgerFrame>| queue.drain(..).collect();
        (ben.sent, ada.sent) = (frames(&mut self.queues[0]), frames(&mut self.queues[1]));
        talk(ada, ben, 10_000);
        assert!(ada.take_sent().is_empty() && ben.take_sent().is_empty(), "the sides never become silent");
        assert!(ada.documents_open && ben.documents_open, "documents open in the end");
        assert_eq!((ada.session.wake_at(), ben.session.wake_at()), (None, None));
        let is_complete = [&*ada, &*ben]
            .iter()
            .all(|side| side.store.lists.values().flatten().all(|page| side.store.pages.contains_key(page)));
        if is_complete {
            assert_eq!(ada.ledger.hash(), ben.ledger.hash());
        }
    }
}
