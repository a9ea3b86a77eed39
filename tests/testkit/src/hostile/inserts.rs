//! A Writer whose changes insert more than any change may: a kilobyte claims millions of ops.

use schema::wire::session::Units;

use super::Writer;
use crate::dear::{self, Change, SHAPES, Shape};
use crate::raw::Raw;

/// Ops of each change.
pub const INSERTS: u64 = 999_999;
/// Changes of each unit, of one chain each.
pub const CHAINS: usize = 12;

/// The op columns of a change with so many inserts into a list: the same for every author.
#[derive(Clone)]
pub struct Inserts(Vec<(u32, Vec<u8>)>);

impl Inserts {
    /// Encodes the columns.
    pub fn of(inserts: u64) -> Self {
        let ops = SHAPES.iter().find_map(|shape| match shape {
            Shape::Change("list of nulls", ops) => Some(ops(0, 1, inserts)),
            _ => None,
        });
        Self(dear::columns::encode(&ops.unwrap(), |_| 0))
    }

    /// Frames, each with one unit of another row: one change in each of [`CHAINS`] chains.
    pub fn frames(self, writer: Writer) -> impl Iterator<Item = Units> {
        (1..).map(move |number| {
            let key = format!("inserts {number}");
            let document = writer.document(&key);
            let change = |chain| {
                let empty = Raw::empty(writer.replica(document, chain), 1, 1, Vec::new());
                let raw = Raw { columns: self.0.clone(), ..empty };
                Change { chain, seq: 1, charge: u64::MAX, chunk: raw.chunk(), hash: raw.hash() }
            };
            writer.frame(number, &key, &(0..CHAINS).map(change).collect::<Vec<_>>())
        })
    }
}
