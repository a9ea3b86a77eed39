//! Every document can be sent in units within bounds, each of which is accepted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use schema::change::ChangeHeader;
use schema::digest::Mark;
use schema::document::{Index, UnitBuilder, vet};
use schema::key::Signature;
use schema::limits::{CHANGE_BYTES_MAX, CHANGE_CHARGE_MAX, UNIT_CHARGE_MAX};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};

use super::{Authors, DocumentRecord, NewChange, Weight};

const GROUP: GroupId = GroupId([1; 32]);
const DOCUMENT: DocumentId = DocumentId([2; 32]);
static BYTES: [u8; CHANGE_BYTES_MAX] = [0; CHANGE_BYTES_MAX];

fn author(chain: u64) -> Author {
    Author { device: DeviceId([3; 32]), grant: OpId([4; 32]), incarnation: chain }
}

fn tip(chain: u64, header: &ChangeHeader) -> VerifiedTip {
    let signature = Signature([5; 64]);
    let tip = Tip { author: author(chain), seq: header.seq, change: header.hash, signature };
    tip.trust_stored(GROUP, DOCUMENT)
}

/// A change and the number of its chain.
type Numbered = (ChangeHeader, u64);

/// One document of a device: its record, and the changes in the record's order, with their chains.
struct Shelf {
    record: DocumentRecord,
    index: Index,
    changes: Vec<Numbered>,
}

type Parcel = (Vec<Numbered>, Vec<VerifiedTip>);

impl Shelf {
    fn new() -> Self {
        let record = DocumentRecord::new("tasks".into(), "a".into());
        Self { record, index: Index::new(), changes: Vec::new() }
    }

    fn keep(&mut self, changes: Vec<Numbered>, tips: &[VerifiedTip]) {
        let tips: BTreeMap<_, _> = tips.iter().map(|tip| (tip.tip().change, tip.tip())).collect();
        changes.iter().for_each(|(header, ..)| self.index.accept(header));
        let appended: Vec<_> = changes
            .iter()
            .map(|(header, chain)| NewChange {
                position: self.index.position(&header.replica).unwrap(),
                author: 0,
                incarnation: *chain,
                seq: header.seq,
                change: header.hash,
                bytes: &BYTES[..usize::try_from(header.charge).unwrap().min(CHANGE_BYTES_MAX)],
                charge: header.charge,
                weight: Weight::default(),
                tip: tips.get(&header.hash).map(|tip| (*tip).into()),
            })
            .collect();
        self.record.extend(&appended);
        self.changes.extend(changes);
    }

    fn writes(&mut self, chain: u64, charge: u64) {
        let replica = tip(chain, &self.next(ReplicaId([0; 32]), charge)).replica();
        let header = self.next(replica, charge);
        let tip = tip(chain, &header);
        self.keep(vec![(header, chain)], &[tip]);
    }

    fn next(&self, replica: ReplicaId, charge: u64) -> ChangeHeader {
        let seq = self.index.length(&replica) + 1;
        let mut deps = self.index.heads().clone();
        deps.extend(self.index.newest(&replica));
        let hash = ChangeHash(schema::id::hash("test", &[&replica.0, &seq.to_be_bytes()]));
        let (start_op, deps) = (self.index.next_start_op(), deps.into_iter().collect());
        ChangeHeader {
            hash,
            replica,
            seq,
            start_op,
            ops: 1,
            deps,
            time: 0,
            references: Vec::new(),
            continues: false,
            needs_objects: false,
            charge,
        }
    }

    /// The next unit for another; with all tips of it that are kept, or as few as it takes.
    fn tells(&self, to: &Shelf, sparse: bool) -> Parcel {
        let mut authors = Authors::default();
        authors.push((author(0).device, author(0).grant), [0; 32]);
        let ids = self.record.replica_ids(GROUP, DOCUMENT, &authors).unwrap();
        let tips: BTreeMap<_, BTreeSet<u64>> = ids
            .into_iter()
            .zip(self.record.replicas.iter().map(|of| of.tips.iter().map(|t| t.seq).collect()))
            .collect();
        let marks = to.index.replicas().map(|(replica, seq, change)| Mark { replica, seq, change });
        let mut unit = UnitBuilder::new(marks);
        for (header, chain) in &self.changes {
            let has_tip = tips[&header.replica].contains(&header.seq);
            if !unit.offer(header, has_tip, || (header.clone(), *chain)) {
                break;
            }
        }
        let changes = unit.finish().map(|unit| unit.changes).unwrap_or_default();
        let ends: BTreeMap<_, _> = changes.iter().map(|(h, ..)| (h.replica, h.seq)).collect();
        let told = |header: &ChangeHeader| {
            if sparse {
                ends[&header.replica] == header.seq
            } else {
                tips[&header.replica].contains(&header.seq)
            }
        };
        let told = changes.iter().filter(|(h, _)| told(h)).map(|(h, chain)| tip(*chain, h)).collect();
        (changes, told)
    }

    /// Everything of it must be accepted.
    fn hears(&mut self, (changes, tips): Parcel) {
        let headers: Vec<_> = changes.iter().map(|(header, ..)| header.clone()).collect();
        let verdict = vet(&self.index, &headers, &tips, |_| Ok(Vec::new()));
        assert_eq!(verdict.refused, [], "of {} changes", changes.len());
        self.keep(verdict.accepted.iter().map(|place| changes[*place].clone()).collect(), &tips);
    }

    /// Brings another from what it has to what there is.
    fn brings(&self, to: &mut Shelf) {
        while to.changes.len() < self.changes.len() {
            let parcel = self.tells(to, false);
            let charged: u64 = parcel.0.iter().map(|(header, _)| header.charge).sum();
            assert!(charged <= UNIT_CHARGE_MAX, "{charged} bytes at once");
            assert!(!parcel.0.is_empty(), "nothing can be sent of {} changes", self.changes.len());
            to.hears(parcel);
        }
    }
}

/// One step of a random history. Chains of several devices that take turns rarely end in kept tips at the
/// same time, which is where a unit may end.
#[derive(Clone, Debug)]
enum Turn {
    Writes { chain: u64, charge: u64 },
    Tells { from: usize, to: usize, sparse: bool },
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    (1u64..=30).prop_flat_map(|chains| {
        let charge = prop_oneof![
            20 => 600u64..64 << 10,
            1 => (1u64 << 20)..CHANGE_CHARGE_MAX,
            1 => Just(CHANGE_CHARGE_MAX),
        ];
        let turn = prop_oneof![
            8 => (0..chains, charge).prop_map(|(chain, charge)| Turn::Writes { chain, charge }),
            1 => (0usize..3, 1usize..3, any::<bool>())
                .prop_map(|(from, by, sparse)| Turn::Tells { from, to: (from + by) % 3, sparse }),
        ];
        proptest::collection::vec(turn, 1..700)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_accepted_can_be_sent_in_units_within_bounds_and_each_is_accepted(turns in turns()) {
        let mut shelves = [Shelf::new(), Shelf::new(), Shelf::new()];
        for turn in turns {
            match turn {
                Turn::Writes { chain, charge } => {
                    shelves[usize::try_from(chain).unwrap() % 3].writes(chain, charge);
                }
                Turn::Tells { from, to, sparse } => {
                    let parcel = shelves[from].tells(&shelves[to], sparse);
                    shelves[to].hears(parcel);
                }
            }
        }
        for shelf in &shelves {
            let [mut dan, mut eve] = [Shelf::new(), Shelf::new()];
            shelf.brings(&mut dan);
            dan.brings(&mut eve);
            prop_assert!(eve.index.replicas().eq(shelf.index.replicas()));
        }
    }
}
