//! A Writer whose changes are all accepted, and cost as much as any change may.

use schema::limits::CHANGE_CHARGE_MAX;
use schema::wire::session::Units;

use super::Writer;
use crate::dear::{self, Crafter, SHAPES, Shape};

/// The shape on which Automerge works the longest for its charge.
pub const SHAPE: &str = "puts over scattered elements, twice";

/// Frames, each with one change of that shape in a row of its own.
pub fn frames(writer: &Writer) -> impl Iterator<Item = Units> {
    let shape = SHAPES.iter().find_map(|shape| match shape {
        Shape::Change(SHAPE, ops) => Some(ops),
        _ => None,
    });
    let (shape, document) = (shape.unwrap(), writer.document("size"));
    let replica = |chain| writer.replica(document, chain);
    let mut crafter = Crafter::new(&replica);
    let size = dear::fit(CHANGE_CHARGE_MAX, |size| crafter.charge(0, &[], &shape(0, 1, size)));
    let ops = shape(0, 1, size);
    (1..).map(move |number| {
        let key = format!("dearest {number}");
        let document = writer.document(&key);
        let replica = |chain| writer.replica(document, chain);
        let mut crafter = Crafter::new(&replica);
        crafter.write(0, &[], &ops);
        writer.frame(number, &key, &crafter.into_changes())
    })
}
