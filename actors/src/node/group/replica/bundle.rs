//! Splits a change that is larger than one may be into the pieces of a bundle (pure).
//!
//! The pieces have the same ops in the same order, so that together they do what the change does. Readers see
//! none of them before the last is accepted. Where one op replaces more values than a change may name,
//! deletions of a part of them come first.

use std::num::NonZeroU64;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Change, ExpandedChange};
use schema::change::{CONTINUES, ChangeError, ChangeHeader};
use schema::document::EncodedChange;
use schema::limits::{CHANGE_CHARGE_MAX, CHARGE_OF_OBJECT, CHARGE_OF_OP, CHARGE_OF_PREDECESSOR};

use super::{read, small};
use crate::edit::EditError;

/// Charge of the ops of one piece, as estimated before it is encoded.
const PIECE_CHARGE: u64 = CHANGE_CHARGE_MAX / 2;
/// Values that one op replaces.
const PREDECESSORS_MAX: usize = 100_000;
/// Ops of a bundle.
pub(super) const BUNDLE_OPS_MAX: u64 = 2_000_000;

/// The pieces of a change that was made in one transaction; the change itself if it is within bounds.
pub(super) fn split(change: &Change) -> Result<Vec<EncodedChange>, EditError> {
    match ChangeHeader::read(change.raw_bytes()) {
        Ok(header) => return Ok(vec![EncodedChange { header, bytes: change.raw_bytes().to_vec() }]),
        Err(ChangeError::TooCostly { .. } | ChangeError::TooLong { .. } | ChangeError::TooMany { .. }) => {}
        Err(fault) => return Err(EditError::Document { what: fault.to_string() }),
    }
    let mut whole = change.decode();
    let ops = spread(std::mem::take(&mut whole.operations), &whole.actor_id, whole.start_op.get());
    let got = ops.len();
    let mut pieces = Pieces { next: whole, done: Vec::new() };
    pieces.take(ops).map_err(|fault| match fault {
        ChangeError::TooLong { got, max } => {
            EditError::TooLarge { got: small(got), max: small(max), unit: "bytes in one value" }
        }
        _ => EditError::TooLarge { got, max: small(BUNDLE_OPS_MAX), unit: "operations" },
    })?;
    pieces.finish()
}

/// The pieces so far, and the header of the next.
struct Pieces {
    next: ExpandedChange,
    done: Vec<(ExpandedChange, EncodedChange)>,
}

impl Pieces {
    fn take(&mut self, ops: Vec<Op>) -> Result<(), ChangeError> {
        let (mut piece, mut charge) = (Vec::new(), 0);
        for op in ops {
            let of_op = charge_of(&op);
            if charge + of_op > PIECE_CHARGE && !piece.is_empty() {
                self.push(std::mem::take(&mut piece))?;
                charge = 0;
            }
            charge += of_op;
            piece.push(op);
        }
        if piece.is_empty() { Ok(()) } else { self.push(piece) }
    }

    /// Encodes a piece; in halves where the estimate was too low.
    fn push(&mut self, mut ops: Vec<Op>) -> Result<(), ChangeError> {
        let count = ops.len() as u64;
        self.next.operations = ops.clone();
        self.next.message = Some(CONTINUES.to_owned());
        match encode(&self.next) {
            Ok(encoded) => {
                let mut next = self.next.clone();
                next.operations.clear();
                next.deps = vec![automerge::ChangeHash(encoded.header.hash.0)];
                next.seq += 1;
                next.start_op = next.start_op.checked_add(count).unwrap_or(NonZeroU64::MAX);
                self.done.push((std::mem::replace(&mut self.next, next), encoded));
                Ok(())
            }
            Err(_) if ops.len() > 1 => {
                let second = ops.split_off(ops.len() / 2);
                self.push(ops)?;
                self.push(second)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Ends the bundle: its last piece is followed by none.
    fn finish(mut self) -> Result<Vec<EncodedChange>, EditError> {
        if let Some((mut last, _)) = self.done.pop() {
            last.message = None;
            let encoded = read(Change::from(last.clone()).raw_bytes().to_vec())?;
            self.done.push((last, encoded));
        }
        Ok(self.done.into_iter().map(|(_, encoded)| encoded).collect())
    }
}

fn encode(piece: &ExpandedChange) -> Result<EncodedChange, ChangeError> {
    let bytes = Change::from(piece.clone()).raw_bytes().to_vec();
    let header = ChangeHeader::read(&bytes)?;
    Ok(EncodedChange { header, bytes })
}

fn charge_of(op: &Op) -> u64 {
    let object = u64::from(matches!(op.action, OpType::Make(_))) * CHARGE_OF_OBJECT;
    let key = if let Key::Map(key) = &op.key { key.len() } else { 0 };
    let value = match &op.action {
        OpType::Put(automerge::ScalarValue::Str(text)) => text.len(),
        OpType::Put(automerge::ScalarValue::Bytes(bytes)) => bytes.len(),
        _ => 8,
    };
    CHARGE_OF_OP + object + (key + value) as u64 + op.pred.len() as u64 * CHARGE_OF_PREDECESSOR
}

/// Puts deletions before each op that replaces too many values; the ops behind them move up.
fn spread(ops: Vec<Op>, actor: &ActorId, start_op: u64) -> Vec<Op> {
    if ops.iter().all(|op| op.pred.len() <= PREDECESSORS_MAX) {
        return ops;
    }
    let (mut spread, mut places) = (Vec::with_capacity(ops.len() + 16), Vec::with_capacity(ops.len()));
    for mut op in ops {
        let mut replaced: Vec<OpId> = std::mem::replace(&mut op.pred, SortedVec::new()).into_iter().collect();
        while replaced.len() > PREDECESSORS_MAX {
            let part = replaced.split_off(replaced.len() - PREDECESSORS_MAX);
            let (obj, key) = (op.obj.clone(), op.key.clone());
            spread.push(Op { action: OpType::Delete, obj, key, pred: part.into(), insert: false });
        }
        op.pred = replaced.into();
        places.push(start_op + spread.len() as u64);
        spread.push(op);
    }
    let moved = |id: &OpId| match usize::try_from(id.counter().wrapping_sub(start_op)) {
        Ok(at) if id.actor() == actor && at < places.len() => OpId::new(places[at], actor),
        _ => id.clone(),
    };
    for op in &mut spread {
        if let ObjectId::Id(id) = &op.obj {
            op.obj = ObjectId::Id(moved(id));
        }
        if let Key::Seq(ElementId::Id(id)) = &op.key {
            op.key = Key::Seq(ElementId::Id(moved(id)));
        }
        op.pred = op.pred.iter().map(moved).collect();
    }
    spread
}
