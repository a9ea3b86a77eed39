//! Under any signed input, admission accepts only complete chains with their dependencies, and Automerge can
//! apply every accepted change.
#![no_main]

use std::collections::BTreeMap;

use automerge::{Automerge, Change, ReadDoc};
use libfuzzer_sys::fuzz_target;
use schema::change::ChangeHeader;
use schema::document::{Bound, Index, Refusal, vet};
use schema::key::Signature;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId};
use testkit::raw::Raw;

const GARDEN: GroupId = GroupId([1; 32]);
const ROW: DocumentId = DocumentId([2; 32]);

/// The bounds of an author, or the refusal of all its changes.
type Accept = Result<Vec<Bound>, Refusal>;

#[derive(Default)]
struct World {
    all: Vec<(ChangeHeader, Vec<u8>)>,
    batch: Vec<ChangeHeader>,
    tips: Vec<VerifiedTip>,
    accept: BTreeMap<Author, Accept>,
    index: Index,
    document: Automerge,
}

fuzz_target!(|input: &[u8]| {
    let mut world = World::default();
    for step in input.chunks_exact(6).take(60) {
        world.step(step[0], step[1], [step[2], step[3], step[4], step[5]]);
    }
    world.judge();
});

fn author(person: u8) -> Author {
    Author { device: DeviceId([person % 3; 32]), grant: OpId([5; 32]), incarnation: 0 }
}

impl World {
    fn step(&mut self, kind: u8, person: u8, [a, b, c, d]: [u8; 4]) {
        match kind % 8 {
            0..=3 => self.write(person, [a, b, c, d]),
            4 => self.send(a),
            5 => self.vouch(person, a),
            6 => self.bound(person, a, b),
            _ => self.judge(),
        }
    }

    /// Writes a change on top of one of its chain, or of an arbitrary one; `twist` makes it malformed.
    fn write(&mut self, person: u8, [on, others, pick, twist]: [u8; 4]) {
        let author = author(person);
        let replica = Tip { author, seq: 0, change: ChangeHash([0; 32]), signature: Signature([0; 64]) }
            .replica(GARDEN, ROW);
        let previous = self.all.get(usize::from(on)).filter(|(header, _)| header.replica == replica);
        let mut deps: BTreeMap<ChangeHash, u64> = BTreeMap::new();
        deps.extend(previous.filter(|_| twist != 1).map(|(header, _)| (header.hash, header.max_op())));
        let newest = self.all.iter().rev().skip(usize::from(pick % 8)).enumerate();
        let others = newest.filter(|(at, _)| *at < 8 && others >> at & 1 == 1).map(|(_, other)| other);
        deps.extend(others.map(|(header, _)| (header.hash, header.max_op())));
        if twist == 2 {
            deps.insert(ChangeHash([pick; 32]), 1);
        }
        let seq = previous.map_or(1, |(header, _)| header.seq + 1) + u64::from(twist == 3);
        let start_op = deps.values().max().map_or(1, |max| max + 1) + u64::from(twist == 4);
        let mut raw = Raw::puts(replica, seq, start_op, deps.into_keys().collect(), 1 + i64::from(pick % 3));
        raw.time = i64::from(twist);
        let Ok(header) = ChangeHeader::read(&raw.chunk()) else { return };
        self.tips.extend((twist < 128).then(|| tip(author, &header)));
        self.all.push((header.clone(), raw.chunk()));
        self.batch.push(header);
    }

    /// Sends a change again.
    fn send(&mut self, at: u8) {
        self.batch.extend(self.all.get(usize::from(at)).map(|(header, _)| header.clone()));
    }

    fn vouch(&mut self, person: u8, at: u8) {
        self.tips.extend(self.all.get(usize::from(at)).map(|(header, _)| tip(author(person), header)));
    }

    /// Another membership: what was accepted under the last one is re-judged.
    fn bound(&mut self, person: u8, at: u8, kind: u8) {
        let author = author(person);
        let end = self.all.get(usize::from(at)).map(|(header, _)| match kind % 4 {
            0 => (header.seq + u64::from(kind / 4), ChangeHash([kind; 32])),
            _ => (header.seq, header.hash),
        });
        let accept = match kind {
            255 => Err(Refusal::NotAllowed { author }),
            254 => Ok(Vec::new()),
            _ => Ok(vec![Bound { revocation: OpId([9; 32]), end }]),
        };
        self.accept.insert(author, accept);
        self.rejudge_all();
    }

    fn judge(&mut self) {
        let decided = self.take();
        self.batch.clear();
        if decided {
            self.rejudge_all();
        }
    }

    /// From all that is known, as if nothing was here.
    fn rejudge_all(&mut self) {
        let batch =
            std::mem::replace(&mut self.batch, self.all.iter().map(|(header, _)| header.clone()).collect());
        (self.index, self.document) = (Index::new(), Automerge::new());
        assert!(!self.take(), "nothing is here that a cut could decide against");
        self.batch = batch;
    }

    /// Judges and takes the batch; whether a cut decides against what is here.
    fn take(&mut self) -> bool {
        let accept = |author: &Author| self.accept.get(author).cloned().unwrap_or(Ok(Vec::new()));
        let verdict = vet(&self.index, &self.batch, &self.tips, accept);
        assert_eq!(
            verdict.accepted.len() + verdict.refused.len() + verdict.duplicates,
            self.batch.len(),
            "each change is judged once"
        );

        let chunks: BTreeMap<_, _> = self.all.iter().map(|(header, chunk)| (header.hash, chunk)).collect();
        let mut changes = Vec::new();
        for header in verdict.accepted.iter().map(|place| &self.batch[*place]) {
            assert_eq!(header.seq, self.index.length(&header.replica) + 1, "D5: no gaps, no forks");
            assert!(header.deps.iter().all(|dep| self.index.contains(dep)), "D5: dependencies first");
            let previous = self.index.newest(&header.replica);
            assert!(previous.is_none_or(|previous| header.deps.contains(&previous)), "C4");
            self.index.accept(header);
            changes.push(Change::from_bytes(chunks[&header.hash].clone()).expect("our reader took it"));
        }
        for at in &verdict.accepted {
            let header = &self.batch[*at];
            let tips = verdict.tips.iter().filter(|tip| tip.replica() == header.replica);
            let ends: Vec<_> = tips.map(|tip| (tip.tip().seq, Some(tip.tip().change))).collect();
            let end = (self.index.length(&header.replica), self.index.newest(&header.replica));
            assert_eq!(ends, [end], "D6: each end is vouched for");
            let author = verdict.tips.iter().find(|tip| tip.replica() == header.replica);
            let within = accept(&author.expect("just found").tip().author).expect("or it was refused");
            let is_within = |bound: &Bound| bound.end.is_some_and(|(seq, _)| header.seq <= seq);
            let names_another_place =
                |bound: &Bound| bound.end.is_some_and(|(_, change)| self.index.place(&change).is_some());
            assert!(within.iter().all(|bound| is_within(bound) || names_another_place(bound)), "C8");
        }

        self.document.apply_changes(changes).expect("what is accepted can be applied");
        assert!(self.document.get_missing_deps(&[]).is_empty(), "D7: Automerge waits for nothing");
        let heads: Vec<_> = self.document.get_heads().into_iter().map(|head| ChangeHash(head.0)).collect();
        assert_eq!(heads, self.index.heads().iter().copied().collect::<Vec<_>>());
        !verdict.decided.is_empty()
    }
}

fn tip(author: Author, header: &ChangeHeader) -> VerifiedTip {
    let signature = Signature([0; 64]);
    Tip { author, seq: header.seq, change: header.hash, signature }.trust_stored(GARDEN, ROW)
}
