//! The kind of each op, and whether its value and the number of its predecessors fit it.

use super::at;
use super::cursor::{Cursor, Flags, Unsigned};
use crate::change::body::Body;
use crate::change::bytes::Bytes;
use crate::change::columns::{ACTION, INSERT, PREDECESSORS, VALUE, VALUE_META};
use crate::change::{ChangeError, Fault};

const DELETE: u64 = 3;
const INCREMENT: u64 = 5;

// Types of values.
const UNSIGNED: u64 = 3;
const SIGNED: u64 = 4;
const TEXT: u64 = 6;
const COUNTER: u64 = 8;
const TIME: u64 = 9;

/// Walks the columns of actions, inserts, values and numbers of predecessors.
pub(super) fn walk(body: &Body<'_>) -> Result<(), ChangeError> {
    let data = |column| body.columns.data(column);
    let mut actions = Cursor::<Unsigned>::new(data(ACTION));
    let mut inserts = Flags::new(data(INSERT));
    let mut metas = Cursor::<Unsigned>::new(data(VALUE_META));
    let mut values = Bytes(data(VALUE));
    let mut predecessors = Cursor::<Unsigned>::new(data(PREDECESSORS));
    let mut row = 0;
    while row < body.ops {
        let (action, of_action) = actions.run()?;
        let (insert, of_insert) = inserts.run()?;
        let (meta, of_meta) = metas.run()?;
        let (count, of_count) = predecessors.run()?;
        let rows = of_action.min(of_insert).min(of_meta).min(of_count).min(body.ops - row);
        let meta = meta.ok_or(Fault::Null)?;

        let has_predecessors = count.ok_or(Fault::Null)? > 0;
        match action.ok_or(Fault::Null)? {
            DELETE if meta != 0 => return Err(at(VALUE_META, Fault::Value)),
            DELETE if insert => return Err(at(INSERT, Fault::Insert)),
            // Automerge keeps a deletion only beside what it deletes.
            DELETE if !has_predecessors => return Err(at(PREDECESSORS, Fault::Predecessors)),
            INCREMENT if !matches!(meta & 0xf, UNSIGNED | SIGNED) => {
                return Err(at(VALUE_META, Fault::Value));
            }
            _ if insert && has_predecessors => return Err(at(PREDECESSORS, Fault::Predecessors)),
            _ => {}
        }
        check(&mut values, meta, rows).map_err(|fault| at(VALUE, fault))?;

        actions.skip(rows);
        inserts.skip(rows);
        metas.skip(rows);
        predecessors.skip(rows);
        row += rows;
    }
    Ok(())
}

/// Takes values of one type and length and checks each.
fn check(values: &mut Bytes<'_>, meta: u64, rows: u64) -> Result<(), Fault> {
    let length = usize::try_from(meta >> 4).map_err(|_| Fault::Truncated)?;
    let taken = values.take((meta >> 4).saturating_mul(rows))?;
    if length == 0 {
        return Ok(()); // for numbers, the measure refused it
    }
    let mut each = taken.chunks_exact(length);
    let mut numbers = |number: fn(&mut Bytes<'_>) -> Result<(), Fault>| {
        each.try_for_each(|value| {
            let mut bytes = Bytes(value);
            number(&mut bytes)?;
            if bytes.0.is_empty() { Ok(()) } else { Err(Fault::Leb128) }
        })
    };
    match meta & 0xf {
        UNSIGNED => numbers(|bytes| bytes.uleb().map(|_| ())),
        SIGNED | COUNTER | TIME => numbers(|bytes| bytes.sleb().map(|_| ())),
        TEXT if taken.is_ascii() => Ok(()),
        TEXT => each.try_for_each(|value| std::str::from_utf8(value).map(|_| ())).map_err(|_| Fault::Utf8),
        _ => Ok(()),
    }
}
