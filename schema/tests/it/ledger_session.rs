//! Two ledger sessions on one link: ledgers become equal, and ops wait for the pages of their manifests.

use std::time::Duration;

use peerbase_schema::id::hash;
use peerbase_schema::key::Signature;
use peerbase_schema::ledger::manifest::{BadManifest, Entry, Page, PageGroup};
use peerbase_schema::ledger::{Body, By, Ledger, ManifestRef, Op, Role};
use peerbase_schema::limits::{ORPHAN_PAGES_BYTES_MAX, PENDING_OPS_MAX};
use peerbase_schema::session::SessionFault;
use peerbase_schema::signed::{Envelope, Record, Signed};
use peerbase_schema::wire::ledger::{LedgerFrame, PullCursor};
use peerbase_schema::{ChangeHash, DeviceId, DocumentId, OpId, codec};
use proptest::prelude::*;

use testkit::ledger_side::{NOW, Side, StoredPages, ada, talk, user};

const MINUTE: Duration = Duration::from_secs(60);

fn want_pages(manifest: ManifestRef) -> LedgerFrame {
    LedgerFrame::WantPages { root: manifest.root }
}

fn pages(manifest: ManifestRef, store: &StoredPages) -> LedgerFrame {
    LedgerFrame::Pages { root: manifest.root, pages: store.lists[&manifest.root].clone() }
}

fn want_page(page: [u8; 32]) -> LedgerFrame {
    LedgerFrame::WantPage { page }
}

fn page(page: [u8; 32], store: &StoredPages) -> LedgerFrame {
    LedgerFrame::Page { bytes: store.pages[&page].clone() }
}

#[test]
fn an_op_waits_for_the_pages_of_its_manifest_two_at_a_time() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, op) = ada.remove(1, 3);
    let ops: Vec<_> = ada.ledger.envelopes().skip(1).cloned().collect();
    let hashes = ada.store.lists[&manifest.root].clone();

    ben.push(ops).unwrap();
    assert_eq!(ben.take_sent(), [want_pages(manifest)]);
    ben.receive(pages(manifest, &ada.store)).unwrap();
    assert_eq!(ben.take_sent(), [want_page(hashes[0]), want_page(hashes[1])]);
    ben.receive(page(hashes[1], &ada.store)).unwrap();
    assert_eq!(ben.take_sent(), [want_page(hashes[2])]);
    ben.receive(page(hashes[0], &ada.store)).unwrap();
    assert_eq!(ben.take_sent(), []);
    assert_eq!((ben.ledger.len(), ben.attached.len()), (2, 0));
    ben.receive(page(hashes[2], &ada.store)).unwrap();

    assert_eq!(ben.attached, [manifest]);
    assert!(ben.ledger.envelopes().any(|known| *known == op));
    assert_eq!(ben.take_sent(), []);
}

#[test]
fn documents_open_only_once_no_op_is_pending() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (first, _) = ada.remove(1, 2);
    ada.remove(2, 1);
    ada.set_role(3, Role::Reader, None);

    ben.open();
    ben.take_sent();
    ben.receive(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    let [LedgerFrame::Pull(pull)] = &ben.take_sent()[..] else { panic!() };
    ada.receive(LedgerFrame::Pull(pull.clone())).unwrap();
    for answer in ada.take_sent() {
        ben.receive(answer).unwrap();
    }

    assert_eq!((ben.documents_open, ben.take_sent()), (false, vec![want_pages(first)]));
    ben.sent.push(want_pages(first));
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!((ben.documents_open, ben.ledger.hash() == ada.ledger.hash()), (true, true));
}

#[test]
fn an_empty_manifest_is_attached_without_a_fetch() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 0);

    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();

    assert_eq!((ben.take_sent(), ben.attached.clone()), (vec![], vec![manifest]));
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
    assert_eq!(ben.store.lists[&manifest.root], [[0; 32]; 0]);
}

#[test]
fn a_page_that_arrived_on_another_link_is_not_requested() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 40);
    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
    ben.receive(pages(manifest, &ada.store)).unwrap();
    let [
        LedgerFrame::WantPages { .. },
        LedgerFrame::WantPage { page: one },
        LedgerFrame::WantPage { page: two },
    ] = ben.take_sent()[..]
    else {
        panic!()
    };
    let theirs = ada.store.pages.iter().filter(|(hash, _)| ![one, two].contains(hash));
    ben.store.pages.extend(theirs.map(|(hash, bytes)| (*hash, bytes.clone())));

    ben.receive(page(one, &ada.store)).unwrap();
    ben.receive(page(two, &ada.store)).unwrap();

    assert_eq!((ben.take_sent(), ben.attached.clone()), (vec![], vec![manifest]));
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
}

#[test]
fn stored_pages_are_read_in_portions() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    ada.remove(1, 40);
    ben.store = ada.store.clone();
    let (ops, certificates) = (ada.ledger.envelopes().cloned().collect(), Vec::new());
    let push =
        LedgerFrame::Push { ops, certificates, revocations: Vec::new(), records: Vec::new(), last: false };

    let effects = ben.session.handle_frame(NOW, push, &ben.ledger, &mut ben.store).unwrap();
    assert_eq!(ben.store.reads.get(), 0);
    ben.perform(effects).unwrap();

    assert_eq!(ben.store.reads.get(), 40);
    assert_eq!(ben.ledger.hash(), ada.ledger.hash());
}

#[test]
fn a_peer_that_lacks_a_page_does_not_block_the_documents() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, op) = ada.remove(1, 2);
    let (other, _) = ada.remove(2, 1);
    ada.store.pages.remove(&ada.store.lists[&manifest.root][1]);

    ada.open();
    ben.open();
    talk(&mut ada, &mut ben, usize::MAX);

    // The op and its successors have to come from another peer; the documents do not wait for them.
    assert_eq!((ben.documents_open, ben.ledger.len()), (true, 2));
    assert_eq!(ben.session.wake_at(), None);
    assert!(!ben.attached.contains(&manifest) && !ben.attached.contains(&other));
    ben.push(vec![op]).unwrap();
    assert_eq!(ben.take_sent(), []);
}

/// Two concurrent removals; the peer lacks the last page of the first one's manifest and sends `bytes` bytes
/// of it. Returns true if the second manifest is then requested.
fn is_second_manifest_requested(bytes: u64) -> bool {
    let mut ada = Side::founded();
    ada.set_role(1, Role::Writer, None);
    ada.set_role(2, Role::Writer, None);
    let mut ben = Side::new(ada.ledger.clone(), StoredPages::default());
    let mut elsewhere = Side::new(ada.ledger.clone(), StoredPages::default());
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
    let manifest = ada.store.store(pages);
    ada.store.pages.remove(ada.store.lists[&manifest.root].last().unwrap());
    let first = ada.set_role(1, Role::None, Some(manifest));
    let manifest = elsewhere.store.write(2, 1);
    let second = elsewhere.set_role(2, Role::None, Some(manifest));

    ben.push(vec![first]).unwrap();
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!(ben.session.wake_at(), None);
    ben.push(vec![second]).unwrap();
    ben.take_sent().contains(&want_pages(manifest))
}

#[test]
fn a_peer_of_incomplete_manifests_is_asked_for_a_bounded_number_of_bytes() {
    assert!(is_second_manifest_requested(1 << 20));
    assert!(!is_second_manifest_requested(ORPHAN_PAGES_BYTES_MAX));
}

#[test]
fn a_request_for_a_missing_page_or_list_is_answered_with_lacking() {
    let mut ada = Side::founded();
    let name = [7; 32];

    for want in [LedgerFrame::WantPages { root: name }, LedgerFrame::WantPage { page: name }] {
        ada.receive(want).unwrap();
        assert_eq!(ada.take_sent(), [LedgerFrame::Lacking { name }]);
    }
}

#[test]
fn a_reply_without_a_request_is_a_fault() {
    let mut ada = Side::founded();
    let (manifest, _) = ada.remove(1, 1);
    let hash = ada.store.lists[&manifest.root][0];
    let other = LedgerFrame::Pages { root: manifest.root, pages: vec![[9; 32]] };
    let (list, page) = (pages(manifest, &ada.store), page(hash, &ada.store));
    let lacking = LedgerFrame::Lacking { name: hash };

    let unasked = |frames: &[LedgerFrame]| {
        let mut ben = ada.newcomer();
        ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
        let (last, before) = frames.split_last().unwrap();
        before.iter().for_each(|frame| ben.receive(frame.clone()).unwrap());
        matches!(ben.receive(last.clone()), Err(SessionFault::Unexpected { .. }))
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
fn a_peer_that_pushes_an_op_with_an_invalid_manifest_is_at_fault() {
    let named = |change: fn(&mut Vec<Vec<u8>>), entries: u64| {
        let mut ada = Side::founded();
        let mut ben = ada.newcomer();
        let manifest = ada.store.write(1, 2);
        let mut bytes: Vec<_> =
            ada.store.lists[&manifest.root].iter().map(|page| ada.store.pages[page].clone()).collect();
        change(&mut bytes);
        let manifest = ManifestRef { entries, ..ada.store.store(bytes) };
        ada.set_role(1, Role::Writer, None);
        let op = ada.set_role(1, Role::None, Some(manifest));
        ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
        let named = OpId(hash(Op::KIND, &[&op.payload]));
        loop {
            for want in ben.take_sent() {
                ada.receive(want).unwrap();
            }
            let answers = ada.take_sent();
            assert!(!answers.is_empty(), "no fault was found");
            for answer in answers {
                if let Err(fault) = ben.receive(answer) {
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
fn a_peer_that_owes_a_page_for_a_minute_stalls() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    let (manifest, _) = ada.remove(1, 1);
    assert_eq!(ben.session.wake_at(), None);

    ben.push(ada.ledger.envelopes().cloned().collect()).unwrap();
    assert_eq!((ben.take_sent(), ben.session.wake_at()), (vec![want_pages(manifest)], Some(NOW + MINUTE)));
    ben.receive(pages(manifest, &ada.store)).unwrap();

    assert_eq!(ben.session.handle_wake(NOW), Ok(()));
    assert_eq!(ben.session.handle_wake(NOW + MINUTE), Err(SessionFault::Stalled));
    talk(&mut ada, &mut ben, usize::MAX);
    assert_eq!(ben.session.wake_at(), None);
}

#[test]
fn ops_beyond_the_bound_of_pending_ones_are_pulled_again() {
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

    assert_eq!((ben.documents_open, ben.ledger.hash() == ada.ledger.hash()), (true, true));
    assert_eq!(ben.session.wake_at(), None);
}

/// An op of the founder on top of `parents`.
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

/// Admits a chain of `count` ops of `bytes` bytes each.
fn extend_chain(side: &mut Side, count: usize, bytes: usize) {
    for number in 0..count {
        let op = meta(&side.ledger, side.ledger.len() + number, bytes, side.ledger.heads());
        side.ledger.admit(op).unwrap();
    }
}

/// Opens a link and delivers frames until both sides are silent. Returns the ops that each sent, and all
/// frames.
fn meet(ada: &mut Side, ben: &mut Side) -> ([usize; 2], usize) {
    (ada.documents_open, ben.documents_open) = (false, false);
    ada.open();
    ben.open();
    let (mut ops, mut frames) = ([0, 0], 0);
    loop {
        let said = [ada.take_sent(), ben.take_sent()];
        if said.iter().all(Vec::is_empty) {
            assert!(ada.refused.is_empty() && ben.refused.is_empty());
            return (ops, frames);
        }
        for (by, frame) in
            said.into_iter().enumerate().flat_map(|(by, said)| said.into_iter().map(move |f| (by, f)))
        {
            frames += 1;
            if let LedgerFrame::Push { ops: pushed, .. } = &frame {
                ops[by] += pushed.len();
            }
            if by == 0 { ben.receive(frame).unwrap() } else { ada.receive(frame).unwrap() }
        }
    }
}

#[test]
fn a_side_that_lacks_three_of_ten_thousand_ops_receives_only_these() {
    let mut ada = Side::founded();
    extend_chain(&mut ada, 10_000, 8);
    let mut ben = Side::new(ada.ledger.clone(), StoredPages::default());
    extend_chain(&mut ada, 3, 8);

    let (ops, frames) = meet(&mut ada, &mut ben);

    assert_eq!(ada.ledger.hash(), ben.ledger.hash());
    assert!(ada.documents_open && ben.documents_open);
    assert_eq!((ops[0], ops[1] <= 3, frames <= 8), (3, true, true), "{ops:?} in {frames} frames");
}

#[test]
fn of_more_heads_than_a_pull_can_name_most_are_not_sent_again() {
    let mut ada = Side::founded();
    extend_chain(&mut ada, 100, 8);
    let parents = ada.ledger.heads();
    for number in 0..5_000 {
        let op = meta(&ada.ledger, 1_000 + number, 8, parents.clone());
        ada.ledger.admit(op).unwrap();
    }
    let mut ben = Side::new(ada.ledger.clone(), StoredPages::default());
    for (side, number) in [(&mut ada, 10_000), (&mut ben, 20_000)] {
        let op = meta(&side.ledger, number, 8, parents.clone());
        side.ledger.admit(op).unwrap();
    }

    let (ops, _) = meet(&mut ada, &mut ben);

    assert_eq!(ada.ledger.hash(), ben.ledger.hash());
    assert!(ada.documents_open && ben.documents_open);
    assert!(ops.iter().all(|sent| *sent <= 2 + 5_000 - 3_072), "{ops:?}");
}

#[test]
fn a_ledger_of_any_size_is_sent_in_replies_of_a_few_mebibytes() {
    let mut ada = Side::founded();
    extend_chain(&mut ada, 2_000, 4 << 10);
    let mut ben = ada.newcomer();

    ben.open();
    ben.take_sent();
    ben.receive(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    let (mut rounds, mut received) = (0, 0);
    while let [LedgerFrame::Pull(_)] = &ben.sent[..] {
        rounds += 1;
        ada.receive(ben.take_sent().remove(0)).unwrap();
        let answer = ada.take_sent();
        assert!(answer.iter().map(|frame| codec::encode(frame).len()).sum::<usize>() < 3 << 20);
        for frame in answer {
            if let LedgerFrame::Push { ops, .. } = &frame {
                received += ops.len();
            }
            ben.receive(frame).unwrap();
        }
    }

    assert_eq!((ben.documents_open, ben.ledger.hash() == ada.ledger.hash()), (true, true));
    assert_eq!((rounds, received), (5, 2_000));
    assert_eq!(ben.session.wake_at(), None);
}

#[test]
fn a_peer_that_owes_a_reply_stalls_and_a_reply_that_does_not_advance_is_a_fault() {
    let mut ada = Side::founded();
    let mut ben = ada.newcomer();
    ada.set_role(1, Role::Reader, None);
    let asks = |ben: &mut Side| {
        ben.open();
        ben.receive(LedgerFrame::Summary { hash: ada.ledger.hash() }).unwrap();
    };
    asks(&mut ben);
    assert_eq!(ben.session.wake_at(), Some(NOW + MINUTE));
    assert_eq!(ben.session.handle_wake(NOW + MINUTE), Err(SessionFault::Stalled));

    ben.receive(LedgerFrame::More { after: PullCursor::Ops(1) }).unwrap();
    for after in [PullCursor::Ops(1), PullCursor::Ops(0)] {
        let circles = ben.receive(LedgerFrame::More { after });
        assert!(matches!(circles, Err(SessionFault::Unexpected { .. })), "{circles:?}");
        asks(&mut ben);
        ben.receive(LedgerFrame::More { after: PullCursor::Ops(1) }).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two arbitrary ledgers become equal within a few frames.
    #[test]
    fn two_ledgers_are_equal_after_a_few_frames(
        shape in proptest::collection::vec((0..1_000_usize, 0..1_000_usize, 0..4_u8), 1..60),
        flood in 0..400_usize,
        sides in proptest::collection::vec(0..3_u8, 4),
    ) {
        let mut ada = Side::founded();
        let mut ben = ada.newcomer();
        let create = ada.ledger.heads();
        // Each op with its side: 0 ada, 1 ben, 2 both. An op builds only on ops that its side has.
        let mut ops = vec![(create[0], 2_u8)];
        let floods = (0..flood).map(|number| (number, number, sides[number % sides.len()]));
        for (number, (one, other, side)) in shape.into_iter().chain(floods).enumerate() {
            let has = |owner: u8| owner == 2 || owner == side.min(2);
            let known: Vec<_> = ops.iter().filter(|(_, owner)| has(*owner)).collect();
            let mut parents = vec![known[one % known.len()].0, known[other % known.len()].0];
            parents.sort_unstable();
            parents.dedup();
            if ada.ledger.is_ancestor(parents[0], parents[parents.len() - 1])
                || ben.ledger.is_ancestor(parents[0], parents[parents.len() - 1])
                || ada.ledger.is_ancestor(parents[parents.len() - 1], parents[0])
                || ben.ledger.is_ancestor(parents[parents.len() - 1], parents[0])
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
        prop_assert!(ada.documents_open && ben.documents_open);
        prop_assert!(frames <= 8, "{} frames", frames);
        prop_assert_eq!(meet(&mut ada, &mut ben), ([0, 0], 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Links are lost at arbitrary frames, and some pages are stored already: in the end all is transferred,
    /// no page twice.
    #[test]
    fn a_fetch_continues_after_a_lost_link(
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
            let manifest = ben.store.write(50, 3);
            ben.set_role(50, Role::Writer, None);
            ben.set_role(50, Role::None, Some(manifest));
        }
        let here = ada.store.pages.iter().zip(known.iter().cycle()).filter(|(_, known)| **known);
        ben.store.pages.extend(here.map(|((page, bytes), _)| (*page, bytes.clone())));

        for frames in losses.into_iter().chain([usize::MAX]) {
            (ada.documents_open, ben.documents_open) = (false, false);
            ada.take_sent();
            ben.take_sent();
            ada.open();
            ben.open();
            talk(&mut ada, &mut ben, frames);
        }

        prop_assert!(ada.documents_open && ben.documents_open);
        prop_assert_eq!(ada.ledger.hash(), ben.ledger.hash());
        prop_assert_eq!(&ada.store.pages, &ben.store.pages);
        prop_assert_eq!((ada.session.wake_at(), ben.session.wake_at()), (None, None));
    }
}
