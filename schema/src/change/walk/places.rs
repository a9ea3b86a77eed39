//! The place of each op: its object, and its key in it.

use super::at;
use super::cursor::{Counters, Cursor, Flags, Numbers, Text, Unsigned};
use super::elements::Inserts;
use super::named::Named;
use super::objects::{ObjectShape, Worked};
use crate::change::body::Body;
use crate::change::columns::{INSERT, KEY_COUNTER, KEY_REPLICA, KEY_TEXT, OBJECT_COUNTER, OBJECT_REPLICA};
use crate::change::{ChangeError, Fault};

/// The key of some ops.
enum Key {
    /// A field of a map.
    Text,
    /// The begin of a sequence.
    Head,
    /// Elements of a sequence.
    Element {
        /// Place of their replica.
        replica: u64,
        /// Their counters.
        counters: Numbers,
    },
}

impl Key {
    /// Insists on exactly one form.
    fn of(
        replica: Option<u64>,
        counters: Option<Numbers>,
        text: Option<()>,
        rows: u64,
    ) -> Result<Self, Fault> {
        match (replica, counters, text) {
            (None, None, Some(())) => Ok(Self::Text),
            (None, Some(counters), None) if counters.first == 0 && counters.at(rows - 1) == 0 => {
                Ok(Self::Head)
            }
            (Some(replica), Some(counters), None) if counters.first > 0 && counters.at(rows - 1) > 0 => {
                Ok(Self::Element { replica, counters })
            }
            _ => Err(Fault::Key),
        }
    }

    /// The shape of an object that has such a key.
    fn shape(&self) -> ObjectShape {
        if matches!(self, Self::Text) { ObjectShape::Map } else { ObjectShape::Sequence }
    }
}

/// Walks the columns of objects, keys and inserts.
pub(super) fn walk(
    body: &Body<'_>,
    named: &mut Named,
    worked: &mut Worked,
    inserted: &mut Inserts,
) -> Result<(), ChangeError> {
    let data = |column| body.columns.data(column);
    let mut object_replicas = Cursor::<Unsigned>::new(data(OBJECT_REPLICA));
    let mut object_counters = Cursor::<Unsigned>::new(data(OBJECT_COUNTER));
    let mut replicas = Cursor::<Unsigned>::new(data(KEY_REPLICA));
    let mut counters = Counters::new(data(KEY_COUNTER));
    let mut texts = Cursor::<Text>::new(data(KEY_TEXT));
    let mut inserts = Flags::new(data(INSERT));
    let mut row = 0;
    while row < body.ops {
        let (object_replica, of_object_replica) = object_replicas.run()?;
        let (object, of_object) = object_counters.run()?;
        let (replica, of_replica) = replicas.run()?;
        let (counter, of_counter) = counters.run()?;
        let (text, of_text) = texts.run()?;
        let (insert, of_insert) = inserts.run()?;
        let of_key = of_replica.min(of_counter).min(of_text).min(of_insert);
        let rows = of_object_replica.min(of_object).min(of_key).min(body.ops - row);
        let ops = named.ops_from(row);

        let key = Key::of(replica, counter, text, rows).map_err(|fault| at(KEY_COUNTER, fault))?;
        match (object_replica, object) {
            // The root is a map.
            (None, None) if key.shape() == ObjectShape::Map => {}
            (None, None) => return Err(at(KEY_COUNTER, Fault::Key)),
            (Some(replica), Some(object)) => {
                let counters = Numbers { first: object.cast_signed(), step: 0 };
                named.add(replica, counters, ops, rows).map_err(|fault| at(OBJECT_COUNTER, fault))?;
                worked.add(body, (replica, object, key.shape()))?;
                if insert {
                    inserted.add(row, rows, (replica, object));
                }
            }
            _ => return Err(at(OBJECT_COUNTER, Fault::Unpaired)),
        }
        match key {
            // Automerge takes a field that inserts for a value of its own, and spoils what replaces it.
            Key::Text if insert => return Err(at(INSERT, Fault::Insert)),
            Key::Head if !insert => return Err(at(INSERT, Fault::Insert)),
            Key::Text | Key::Head => {}
            Key::Element { replica, counters } => {
                named.add(replica, counters, ops, rows).map_err(|fault| at(KEY_COUNTER, fault))?;
                if let (0, Some(of)) = (replica, object_replica.zip(object)) {
                    inserted.check(body, (of, counters), rows)?;
                }
            }
        }

        object_replicas.skip(rows);
        object_counters.skip(rows);
        replicas.skip(rows);
        counters.skip(rows);
        texts.skip(rows);
        inserts.skip(rows);
        row += rows;
    }
    Ok(())
}
