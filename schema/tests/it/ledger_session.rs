//! Two ledger sessions over one link: ops that name a manifest wait until all of its pages have come.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use peerbase_schema::id::hash;
use peerbase_schema::key::{Signature, SigningKey};
use peerbase_schema::ledger::manifest::{BadManifest, Entry, Page, PageGroup, page_hash, root};
use peerbase_schema::ledger::{Body, By, Ledger, ManifestRef, Op, Refusal, Role};
use peerbase_schema::limits::{FRAME_BYTES_MAX, MANIFESTS_LOOSE_BYTES_MAX, PENDING_OPS_MAX};
use peerbase_schema::session::ledger::{Attachments, Held, LedgerEffect, LedgerSession, Taken};
use peerbase_schema::session::{SessionFault, StepError};
use peerbase_schema::signed::{Envelope, Record, Signed};
use peerbase_schema::wire::ledger::{LedgerFrame, Place};
use peerbase_schema::{ChangeHash, DeviceId, DocumentId, OpId, Timestamp, UserId, codec};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn key(number: u64) -> SigningKey {
    SigningKey::from_seed(hash("test", &[&number.to_be_bytes()]))
}

fn ada() -> SigningKey {
    key(0)
}

fn user(number: u64) -> UserId {
    UserId(key(number).public())
}

/// The pages that one side has, and how many were read.
#[derive(Clone, Debug, Default)]
struct Shelf {
    lists: BTreeMap<[u8; 32], Vec<[u8; 32]>>,
    pages: BTreeMap<[u8; 32], Vec<u8>>,
    read: Cell<usize>,
}

impl Attachments for Shelf {
    type Error = Infallible;

    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        Ok(self.lists.get(root).cloned())
    }

    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        self.read.update(|read| read + 1);
        Ok(self.pages.get(page).cloned())
    }
}

impl Shelf {
    /// Shelves a manifest of so many pages; `salt` keeps manifests apart.
    fn write(&mut self, salt: u8, pages: u8) -> ManifestRef {
        let page = |number: u8| {
            let document = DocumentId([number; 32]);
            let (change, signature) = (ChangeHash([salt; 32]), Signature([salt; 64]));
            let entries = vec![Entry { document, seq: 1, change, signature }];
            let device = DeviceId([number; 32]);
            let groups = vec![PageGroup { device, grant: OpId([salt; 32]), incarnation: 1, entries }];
            Page { groups }.encode()
        };
        self.shelve((0..pages).map(page).collect())
    }

    fn shelve(&mut self, pages: Vec<Vec<u8>>) -> ManifestRef {
        let hashes: Vec<_> = pages.iter().map(|page| page_hash(page)).collect();
        let manifest = ManifestRef { root: root(&hashes), entries: pages.len() as u64 };
        self.lists.insert(manifest.root, hashes.clone());
        self.pages.extend(hashes.into_iter().zip(pages));
        manifest
    }
}

/// One side: a ledger, a shelf, and a session while there is a link.
#[derive(Debug)]
struct Side {
    ledger: Ledger,
    shelf: Shelf,
    attached: Vec<ManifestRef>,
    session: LedgerSession,
    agreed: bool,
    sent: Vec<LedgerFrame>,
}

impl Side {
    fn new(ledger: Ledger, shelf: Shelf) -> Self {
        let (session, _) = LedgerSession::open(true, &ledger);
        Self { ledger, shelf, attached: Vec::new(), session, agreed: false, sent: Vec::new() }
    }

    /// A group of ada's, and nobody else in it.
    fn founded() -> Self {
        let (ledger, _) = Ledger::create([1; 32], vec![user(0)], "home", user(0), By::User, &ada()).unwrap();
        Self::new(ledger, Shelf::default())
    }

    /// One who knows only the group's founding.
    fn newcomer(&self) -> Self {
        let mut ledger = Ledger::new(self.ledger.group());
        ledger.admit(self.ledger.envelopes().next().unwrap().clone()).unwrap();
        Self::new(ledger, Shelf::default())
    }

    fn say(&mut self, body: Body) -> Envelope {
        let op = self.ledger.draft(user(0), By::User, body).unwrap();
        let op = Signed::<Op>::sign(op, &ada()).envelope().clone();
        self.ledger.admit(op.clone()).unwrap();
        op
    }

    fn set_role(&mut self, number: u64, role: Role, cut: Option<ManifestRef>) -> Envelope {
        self.say(Body::SetRole { user: user(number), role, cut, via: None })
    }

    /// Lets somebody in and removes them with a cut of so many pages.
    fn remove(&mut self, number: u8, pages: u8) -> (ManifestRef, Envelope) {
        let manifest = self.shelf.write(number, pages);
        self.set_role(number.into(), Role::Writer, None);
        (manifest, self.set_role(number.into(), Role::None, Some(manifest)))
    }

    fn open(&mut self) {
        let (session, effects) = LedgerSession::open(false, &self.ledger);
        self.session = session;
        self.perform(effects).unwrap();
    }

    fn hear(&mut self, frame: LedgerFrame) -> Result<(), SessionFault> {
        let effects = self.session.frame(NOW, frame, &self.ledger, &mut self.shelf);
        self.perform(effects.map_err(fault)?)
    }

    /// What the peer pushes unasked.
    fn push(&mut self, ops: Vec<Envelope>) -> Result<(), SessionFault> {
        let (certificates, revocations) = (Vec::new(), Vec::new());
        self.hear(LedgerFrame::Push { ops, certificates, revocations, records: Vec::new(), last: false })
    }

    fn perform(&mut self, effects: Vec<LedgerEffect>) -> Result<(), SessionFault> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                LedgerEffect::Send(frame) => {
                    assert!(codec::encode(&frame).len() <= FRAME_BYTES_MAX);
                    self.sent.push(frame);
                }
                LedgerEffect::Admit { ops, last, .. } => {
                    let mut held = Vec::new();
                    for envelope in ops {
                        let has = |manifest: &ManifestRef| self.attached.contains(manifest);
                        let manifest = match self.ledger.admit_with(envelope.clone(), has) {
                            Ok(_) => continue,
                            Err(Refusal::MissingManifest { manifest, .. }) => Some(manifest),
                            Err(Refusal::MissingParents { .. }) => None,
                            Err(refusal) => panic!("{refusal}"),
                        };
                        held.push(Held { envelope, manifest });
                    }
                    let taken = Taken { last, held };
                    let more = self.session.admitted(NOW, taken, &self.ledger, &mut self.shelf);
                    effects.extend(more.map_err(fault)?);
                }
                LedgerEffect::KeepList { root, pages } => drop(self.shelf.lists.insert(root, pages)),
                LedgerEffect::KeepPage { page, bytes } => {
                    assert!(self.shelf.pages.insert(page, bytes).is_none(), "each page comes once");
                }
                LedgerEffect::Attached { manifest } => self.attached.push(manifest),
                LedgerEffect::Later => {
                    let more = self.session.resume(NOW, &self.ledger, &mut self.shelf);
                    effects.extend(more.map_err(fault)?);
                }
                LedgerEffect::Agreed { .. } => self.agreed = true,
            }
        }
        Ok(())
    }

    fn said(&mut self) -> Vec<LedgerFrame> {
        std::mem::take(&mut self.sent)
    }
}

fn fault(error: StepError<Infallible>) -> SessionFault {
    match error {
        StepError::Fault(fault) => fault,
    }
}

/// Delivers until both are silent, or `frames` were delivered and the link is lost; how many were.
fn talk(a: &mut Side, b: &mut Side, frames: usize) -> usize {
    let mut delivered = 0;
    loop {
        let (from_a, from_b) = (a.said(), b.said());
        if from_a.is_empty() && from_b.is_empty() {
            return delivered;
        }
        let both = [(true, from_a), (false, from_b)];
        for (to_b, frame) in
            both.into_iter().flat_map(|(to_b, some)| some.into_iter().map(move |f| (to_b, f)))
        {
            if delivered == frames {
                return delivered;
            }
            delivered += 1;
            if to_b { b.hear(frame).unwrap() } else { a.hear(frame).unwrap() }
        }
    }
}

fn want_pages(manifest: ManifestRef) -> LedgerFrame {
    LedgerFrame::WantPages { root: manifest.root }
}

fn pages(manifest: ManifestRef, shelf: &Shelf) -> LedgerFrame {
    LedgerFrame::Pages { root: manifest.root, pages: shelf.lists[&manifest.root].clone() }
}

fn want_page(page: [u8; 32]) -> LedgerFrame {
    LedgerFrame::WantPage { page }
}

fn page(page: [u8; 32], shelf: &Shelf) -> LedgerFrame {
    LedgerFrame::Page { bytes: shelf.pages[&page].clone() }
}

#[test]
fn an_op_waits_for_the_pages_of_its_manifest_two_at_a_time() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, op) = ada.remove(1, 3);
    let ops: Vec<_> = ada.ledger.envelopes().skip(1).cloned().collect();
    let hashes = ada.shelf.lists[&manifest.root].clone();

    ben.push(ops).unwrap();
    assert_eq!(ben.said(), [want_pages(manifest)]);
    ben.hear(pages(manifest, &ada.shelf)).unwrap();
    assert_eq!(ben.said(), [want_page(hashes[0]), want_page(hashes[1])]);
    ben.hear(page(hashes[1], &ada.shelf)).unwrap();
    assert_eq!(ben.said(), [want_page(hashes[2])]);
    ben.hear(page(hashes[0], &ada.shelf)).unwrap();
    assert_eq!(ben.said(), []);
    assert_eq!((ben.ledger.len(), ben.attached.len()), (2, 0));
    ben.hear(page(hashes[2], &ada.shelf)).unwrap();

    assert_eq!(ben.attached, [manifest]);
    assert!(ben.ledger.envelopes().any(|known| *known == op));
    assert_eq!(ben.said(), []);
}

#[test]
fn sides_agree_only_once_nothing_waits() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (first, _) = ada.remove(1, 2);
    ada.remove(2, 1);
    ada.set_role(3, Role::Reader, None);

    ben.open();
    ben.said();
    ben.hear(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    let [LedgerFrame::Pull(pull)] = &ben.said()[..] else { panic!() };
    ada.hear(LedgerFrame::Pull(pull.clone())).unwrap();
    for answer in ada.said() {
        ben.hear(answer).unwrap();
    }

    assert_eq!((ben.agreed, ben.said()), (false, vec![want_pages(first)]));
    ben.sent.push(want_pages(first));
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!((ben.agreed, ben.ledger.hash() == ada.ledger.hash()), (true, true));
}

#[test]
fn a_manifest_without_pages_is_here_already() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 0);

    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();

    assert_eq!((ben.said(), ben.attached.clone()), (vec![], vec![manifest]));
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
    assert_eq!(ben.shelf.lists[&manifest.root], [[0; 32]; 0]);
}

#[test]
fn what_came_over_another_link_meanwhile_is_not_asked_for() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 40);
    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
    ben.hear(pages(manifest, &ada.shelf)).unwrap();
    let [
        LedgerFrame::WantPages { .. },
        LedgerFrame::WantPage { page: one },
        LedgerFrame::WantPage { page: two },
    ] = ben.said()[..]
    else {
        panic!()
    };
    let theirs = ada.shelf.pages.iter().filter(|(hash, _)| ![one, two].contains(hash));
    ben.shelf.pages.extend(theirs.map(|(hash, bytes)| (*hash, bytes.clone())));

    ben.hear(page(one, &ada.shelf)).unwrap();
    ben.hear(page(two, &ada.shelf)).unwrap();

    assert_eq!((ben.said(), ben.attached.clone()), (vec![], vec![manifest]));
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
}

#[test]
fn a_long_read_is_taken_in_portions() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    ada.remove(1, 40);
    ben.shelf = ada.shelf.clone();
    let (ops, certificates) = (ada.ledger.envelopes().cloned().collect(), Vec::new());
    let push =
        LedgerFrame::Push { ops, certificates, revocations: Vec::new(), records: Vec::new(), last: false };

    let effects = ben.session.frame(NOW, push, &ben.ledger, &mut ben.shelf).unwrap();
    assert_eq!(ben.shelf.read.get(), 0);
    ben.perform(effects).unwrap();

    assert_eq!(ben.shelf.read.get(), 40);
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
}

#[test]
fn whoever_does_not_have_it_is_not_waited_for() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, op) = ada.remove(1, 2);
    let (other, _) = ada.remove(2, 1);
    ada.shelf.pages.remove(&ada.shelf.lists[&manifest.root][1]);

    ada.open();
    ben.open();
    talk(&mut ada, &mut ben, usize::MAX);

    // What follows from the op waits for whoever has it; the documents do not.
    assert_eq!((ben.agreed, ben.ledger.len()), (true, 2));
    assert_eq!(ben.session.wake_at(), None);
    assert!(!ben.attached.contains(&manifest) && !ben.attached.contains(&other));
    ben.push(vec![op]).unwrap();
    assert_eq!(ben.said(), []);
}

/// Two removals that do not know of each other; of the first one's manifest the peer has all but the last page, so many
/// bytes. Whether it is then asked for the second's.
fn is_asked_for_more(bytes: u64) -> bool {
    let mut ada = Side::founded();
    ada.set_role(1, Role::Writer, None);
    ada.set_role(2, Role::Writer, None);
    let mut ben = Side::new(ada.ledger.clone(), Shelf::default());
    let mut elsewhere = Side::new(ada.ledger.clone(), Shelf::default());
    let large = |number: u64| {
        let entry = |document: u64| Entry {
            document: DocumentId(hash("test", &[&document.to_be_bytes()])),
            seq: 1,
            change: ChangeHash([1; 32]),
            signature: Signature([1; 64]),
        };
        let mut entries: Vec<_> = (0..3_500).map(entry).collect();
        entries.sort_by_key(|entry| entry.document);
        let mut grant = OpId([1; 32]);
        grant.0[..8].copy_from_slice(&number.to_be_bytes());
        Page { groups: vec![PageGroup { device: DeviceId([1; 32]), grant, incarnation: 1, entries }] }
            .encode()
    };
    let mut pages = Vec::new();
    for number in 0.. {
        pages.push(large(number));
        if pages.iter().map(Vec::len).sum::<usize>() as u64 > bytes {
            break;
        }
    }
    pages.push(large(u64::MAX));
    let manifest = ada.shelf.shelve(pages);
    ada.shelf.pages.remove(ada.shelf.lists[&manifest.root].last().unwrap());
    let first = ada.set_role(1, Role::None, Some(manifest));
    let manifest = elsewhere.shelf.write(2, 1);
    let second = elsewhere.set_role(2, Role::None, Some(manifest));

    ben.push(vec![first]).unwrap();
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!(ben.session.wake_at(), None);
    ben.push(vec![second]).unwrap();
    ben.said().contains(&want_pages(manifest))
}

#[test]
fn whoever_lets_pages_be_fetched_in_vain_is_asked_for_no_more_than_so_many_bytes() {
    assert!(is_asked_for_more(1 << 20));
    assert!(!is_asked_for_more(MANIFESTS_LOOSE_BYTES_MAX));
}

#[test]
fn whoever_is_asked_for_what_they_do_not_have_says_so() {
    let mut ada = Side::founded();
    let name = [7; 32];

    for want in [LedgerFrame::WantPages { root: name }, LedgerFrame::WantPage { page: name }] {
        ada.hear(want).unwrap();
        assert_eq!(ada.said(), [LedgerFrame::Lacking { name }]);
    }
}

#[test]
fn what_nobody_asked_for_is_a_fault() {
    let mut ada = Side::founded();
    let (manifest, _) = ada.remove(1, 1);
    let hash = ada.shelf.lists[&manifest.root][0];
    let other = LedgerFrame::Pages { root: manifest.root, pages: vec![[9; 32]] };
    let (list, page) = (pages(manifest, &ada.shelf), page(hash, &ada.shelf));
    let lacking = LedgerFrame::Lacking { name: hash };

    let unasked = |frames: &[LedgerFrame]| {
        let mut ben = ada.newcomer();
        ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
        let (last, before) = frames.split_last().unwrap();
        before.iter().for_each(|frame| ben.hear(frame.clone()).unwrap());
        matches!(ben.hear(last.clone()), Err(SessionFault::Unexpected { .. }))
    };

    for frames in [
        &[page.clone()][..],
        std::slice::from_ref(&lacking),
        &[other],
        &[list.clone(), list.clone()],
        &[list.clone(), LedgerFrame::Page { bytes: vec![7] }],
        &[list.clone(), page.clone(), page],
        &[list, lacking.clone(), lacking.clone()],
    ] {
        assert!(unasked(frames), "{frames:?}");
    }
}

#[test]
fn a_manifest_that_is_none_is_the_fault_of_who_pushed_its_op() {
    let named = |change: fn(&mut Vec<Vec<u8>>), entries: u64| {
        let mut ada = Side::founded();
        let mut ben = ada.newcomer();
        let manifest = ada.shelf.write(1, 2);
        let mut bytes: Vec<_> =
            ada.shelf.lists[&manifest.root].iter().map(|page| ada.shelf.pages[page].clone()).collect();
        change(&mut bytes);
        let manifest = ManifestRef { entries, ..ada.shelf.shelve(bytes) };
        ada.set_role(1, Role::Writer, None);
        let op = ada.set_role(1, Role::None, Some(manifest));
        ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
        let named = OpId(hash(Op::KIND, &[&op.payload]));
        loop {
            for want in ben.said() {
                ada.hear(want).unwrap();
            }
            let answers = ada.said();
            assert!(!answers.is_empty(), "nothing was found wrong");
            for answer in answers {
                if let Err(fault) = ben.hear(answer) {
                    let SessionFault::BadManifest { op, cause } = fault else { panic!("{fault}") };
                    assert_eq!((op, ben.attached.len()), (named, 0));
                    return cause;
                }
            }
        }
    };

    assert_eq!(named(|_| {}, 3), BadManifest::Entries { got: 2, expected: 3 });
    assert_eq!(named(|pages| pages.reverse(), 2), BadManifest::Order { page: 1 });
    assert!(matches!(named(|pages| pages[1].push(0), 2), BadManifest::Page { page: 1, .. }));
}

#[test]
fn whoever_owes_a_page_for_a_minute_is_let_go() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 1);
    assert_eq!(ben.session.wake_at(), None);

    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
    assert_eq!((ben.said(), ben.session.wake_at()), (vec![want_pages(manifest)], Some(NOW + MINUTE)));
    ben.hear(pages(manifest, &ada.shelf)).unwrap();

    assert_eq!(ben.session.wake(NOW), Ok(()));
    assert_eq!(ben.session.wake(NOW + MINUTE), Err(SessionFault::Stalled));
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!(ben.session.wake_at(), None);
}

#[test]
fn more_ops_than_may_wait_are_asked_for_again() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    ada.remove(1, 1);
    for number in 0..PENDING_OPS_MAX as u64 + 20 {
        ada.set_role(100 + number, Role::Reader, None);
    }
    ada.remove(2, 1);

    ada.open();
    ben.open();
    talk(&mut ada, &mut ben, usize::MAX);

    assert_eq!((ben.agreed, ben.ledger.hash() == ada.ledger.hash()), (true, true));
    assert_eq!(ben.session.wake_at(), None);
}

/// What somebody who may do everything says on top of these.
fn meta(ledger: &Ledger, number: usize, bytes: usize, parents: Vec<OpId>) -> Envelope {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(bytes.max(8), 7);
    let body = Body::SetMeta { key: "k".into(), value };
    let op = Op { version: 1, group: ledger.group(), parents, author: user(0), by: By::User, body };
    Signed::sign(op, &ada()).envelope().clone()
}

fn op_id(envelope: &Envelope) -> OpId {
    OpId(hash(Op::KIND, &[&envelope.payload]))
}

impl Side {
    /// Says so many things of so many bytes, each on top of the one before.
    fn say_in_a_row(&mut self, count: usize, bytes: usize) {
        for number in 0..count {
            let op = meta(&self.ledger, self.ledger.len() + number, bytes, self.ledger.heads());
            self.ledger.admit(op).unwrap();
        }
    }
}

/// Opens a link and lets both speak until they are silent; the ops that each sent.
fn meet(ada: &mut Side, ben: &mut Side) -> ([usize; 2], usize) {
    (ada.agreed, ben.agreed) = (false, false);
    ada.open();
    ben.open();
    let (mut ops, mut frames) = ([0, 0], 0);
    loop {
        let said = [ada.said(), ben.said()];
        if said.iter().all(Vec::is_empty) {
            return (ops, frames);
        }
        for (by, frame) in
            said.into_iter().enumerate().flat_map(|(by, said)| said.into_iter().map(move |f| (by, f)))
        {
            frames += 1;
            if let LedgerFrame::Push { ops: pushed, .. } = &frame {
                ops[by] += pushed.len();
            }
            if by == 0 { ben.hear(frame).unwrap() } else { ada.hear(frame).unwrap() }
        }
    }
}

#[test]
fn whoever_lacks_the_last_of_ten_thousand_ops_is_sent_only_these() {
    let mut ada = Side::founded();
    ada.say_in_a_row(10_000, 8);
    let mut ben = Side::new(ada.ledger.clone(), Shelf::default());
    ada.say_in_a_row(3, 8);

    let (ops, frames) = meet(&mut ada, &mut ben);

    assert_eq!(ada.ledger.hash(), ben.ledger.hash());
    assert!(ada.agreed && ben.agreed);
    assert_eq!((ops[0], ops[1] <= 3, frames <= 8), (3, true, true), "{ops:?} in {frames} frames");
}

#[test]
fn of_more_heads_than_can_be_named_most_are_not_sent_again() {
    let mut ada = Side::founded();
    ada.say_in_a_row(100, 8);
    let parents = ada.ledger.heads();
    for number in 0..5_000 {
        let op = meta(&ada.ledger, 1_000 + number, 8, parents.clone());
        ada.ledger.admit(op).unwrap();
    }
    let mut ben = Side::new(ada.ledger.clone(), Shelf::default());
    for (side, number) in [(&mut ada, 10_000), (&mut ben, 20_000)] {
        let op = meta(&side.ledger, number, 8, parents.clone());
        side.ledger.admit(op).unwrap();
    }

    let (ops, _) = meet(&mut ada, &mut ben);

    assert_eq!(ada.ledger.hash(), ben.ledger.hash());
    assert!(ada.agreed && ben.agreed);
    assert!(ops.iter().all(|sent| *sent <= 2 + 5_000 - 3_072), "{ops:?}");
}

#[test]
fn a_ledger_of_any_size_comes_in_answers_of_a_few_mebibytes() {
    let mut ada = Side::founded();
    ada.say_in_a_row(2_000, 4 << 10);
    let mut ben = ada.newcomer();

    ben.open();
    ben.said();
    ben.hear(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    let (mut rounds, mut came) = (0, 0);
    while let [LedgerFrame::Pull(_)] = &ben.sent[..] {
        rounds += 1;
        ada.hear(ben.said().remove(0)).unwrap();
        let answer = ada.said();
        assert!(answer.iter().map(|frame| codec::encode(frame).len()).sum::<usize>() < 3 << 20);
        for frame in answer {
            if let LedgerFrame::Push { ops, .. } = &frame {
                came += ops.len();
            }
            ben.hear(frame).unwrap();
        }
    }

    assert_eq!((ben.agreed, ben.ledger.hash() == ada.ledger.hash()), (true, true));
    assert_eq!((rounds, came), (5, 2_000));
    assert_eq!(ben.session.wake_at(), None);
}

#[test]
fn whoever_owes_an_answer_for_a_minute_is_let_go_and_so_is_who_answers_in_circles() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    ada.set_role(1, Role::Reader, None);
    let asks = |ben: &mut Side| {
        ben.open();
        ben.hear(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    };
    asks(&mut ben);
    assert_eq!(ben.session.wake_at(), Some(NOW + MINUTE));
    assert_eq!(ben.session.wake(NOW + MINUTE), Err(SessionFault::Stalled));

    ben.hear(LedgerFrame::More { after: Place::Ops(1) }).unwrap();
    for after in [Place::Ops(1), Place::Ops(0)] {
        let circles = ben.hear(LedgerFrame::More { after });
        assert!(matches!(circles, Err(SessionFault::Unexpected { .. })), "{circles:?}");
        asks(&mut ben);
        ben.hear(LedgerFrame::More { after: Place::Ops(1) }).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever both have, and whatever order it came in: in a few frames both have all.
    #[test]
    fn two_ledgers_are_equal_after_a_few_frames(
        shape in proptest::collection::vec((0..1_000_usize, 0..1_000_usize, 0..4_u8), 1..60),
        flood in 0..400_usize,
        sides in proptest::collection::vec(0..3_u8, 4),
    ) {
        let mut ada = Side::founded();
        let mut ben = ada.newcomer();
        let create = ada.ledger.heads();
        // Whose an op is; who says it knows what it builds on.
        let mut ops = vec![(create[0], 2_u8)];
        let floods = (0..flood).map(|number| (number, number, sides[number % sides.len()]));
        for (number, (one, other, side)) in shape.into_iter().chain(floods).enumerate() {
            let known: Vec<_> = ops.iter().filter(|(_, whose)| *whose == 2 || *whose == side.min(2)).collect();
            let mut parents = vec![known[one % known.len()].0, known[other % known.len()].0];
            parents.sort_unstable();
            parents.dedup();
            if ada.ledger.graph().is_ancestor(parents[0], parents[parents.len() - 1])
                || ben.ledger.graph().is_ancestor(parents[0], parents[parents.len() - 1])
                || ada.ledger.graph().is_ancestor(parents[parents.len() - 1], parents[0])
                || ben.ledger.graph().is_ancestor(parents[parents.len() - 1], parents[0])
            {
                parents.truncate(1);
            }
            let op = meta(&ada.ledger, number, 8, parents);
            ops.push((op_id(&op), side.min(2)));
            if side != 1 {
                ada.ledger.admit(op.clone()).unwrap();
            }
            if side != 0 {
                ben.ledger.admit(op).unwrap();
            }
        }

        let (_, frames) = meet(&mut ada, &mut ben);

        prop_assert_eq!(ada.ledger.hash(), ben.ledger.hash());
        prop_assert!(ada.agreed && ben.agreed);
        prop_assert!(frames <= 8, "{} frames", frames);
        prop_assert_eq!(meet(&mut ada, &mut ben), ([0, 0], 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is lost with the link, and whatever is here already: all comes in the end, and no page comes twice.
    #[test]
    fn what_came_before_the_link_was_lost_is_not_fetched_again(
        removals in proptest::collection::vec((0..24_u8, any::<bool>()), 1..5),
        known in proptest::collection::vec(any::<bool>(), 100),
        losses in proptest::collection::vec(0..40_usize, 0..8),
        both_write: bool,
    ) {
        let mut ada = Side::founded();
        let mut ben = ada.newcomer();
        for (number, (pages, again)) in (1..).zip(removals) {
            let (manifest, _) = ada.remove(number, pages);
            if again {
                // Two ops that name the same manifest.
                ada.set_role(number.into(), Role::Writer, None);
                ada.set_role(number.into(), Role::Reader, Some(manifest));
            }
        }
        if both_write {
            let manifest = ben.shelf.write(50, 3);
            ben.set_role(50, Role::Writer, None);
            ben.set_role(50, Role::None, Some(manifest));
        }
        let here = ada.shelf.pages.iter().zip(known.iter().cycle()).filter(|(_, known)| **known);
        ben.shelf.pages.extend(here.map(|((page, bytes), _)| (*page, bytes.clone())));

        for frames in losses.into_iter().chain([usize::MAX]) {
            (ada.agreed, ben.agreed) = (false, false);
            ada.said();
            ben.said();
            ada.open();
            ben.open();
            talk(&mut ada, &mut ben, frames);
        }

        prop_assert!(ada.agreed && ben.agreed);
        prop_assert_eq!(ada.ledger.hash(), ben.ledger.hash());
        prop_assert_eq!(&ada.shelf.pages, &ben.shelf.pages);
        prop_assert_eq!((ada.session.wake_at(), ben.session.wake_at()), (None, None));
    }
}
