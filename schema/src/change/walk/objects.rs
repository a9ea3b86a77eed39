//! The objects that the ops of a change work on, as maps or as sequences.

use super::at;
use super::cursor::{Cursor, Unsigned};
use crate::change::body::Body;
use crate::change::columns::{ACTION, OBJECT_COUNTER};
use crate::change::{ChangeError, Fault};

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// It has fields.
    Map,
    /// It has elements of any kind.
    List,
    /// Its elements are characters, which are inserted and deleted, and never set.
    Text,
}

/// What ops take an object for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectShape {
    /// It has fields.
    Map,
    /// It has elements: a list or a text.
    Sequence,
    /// It has elements that can be set: a list.
    List,
}

impl ObjectKind {
    /// Returns true if an object of this kind is what ops take it for.
    pub fn has(self, shape: ObjectShape) -> bool {
        match shape {
            ObjectShape::Map => self == Self::Map,
            ObjectShape::Sequence => self != Self::Map,
            ObjectShape::List => self == Self::List,
        }
    }
}

/// The kinds of the objects that the ops of a change make, by runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::change) struct Made {
    /// The row behind the last of each run, ascending, with the kind.
    runs: Vec<(u64, Option<ObjectKind>)>,
}

impl Made {
    pub(in crate::change) fn read(body: &Body<'_>) -> Result<Self, ChangeError> {
        let mut actions = Cursor::<Unsigned>::new(body.columns.data(ACTION));
        let mut runs: Vec<(u64, Option<ObjectKind>)> = Vec::new();
        let mut row = 0;
        while row < body.ops {
            let (action, of_action) = actions.run()?;
            let rows = of_action.min(body.ops - row);
            row += rows;
            let kind = match action {
                Some(0) => Some(ObjectKind::Map),
                Some(2) => Some(ObjectKind::List),
                Some(4) => Some(ObjectKind::Text),
                _ => None,
            };
            match runs.last_mut() {
                Some((end, last)) if *last == kind => *end = row,
                _ => runs.push((row, kind)),
            }
            actions.skip(rows);
        }
        Ok(Self { runs })
    }

    /// The kind of the object that the op of this row makes.
    pub(in crate::change) fn kind(&self, row: u64) -> Option<ObjectKind> {
        let run = self.runs.partition_point(|(end, _)| *end <= row);
        self.runs.get(run).and_then(|(_, kind)| *kind)
    }
}

/// The objects that ops work on.
#[derive(Default)]
pub(in crate::change) struct Worked {
    /// Read once an op works on an object of its own change.
    made: Option<Made>,
    last: Option<Work>,
    /// Those of other changes; one twice, if another stands between.
    pub(in crate::change) others: Vec<Work>,
}

/// The place of an object's replica in the table, its counter, and what it is taken for.
pub(in crate::change) type Work = (u64, u64, ObjectShape);

impl Worked {
    /// Adds an object, which is earlier than the op that works on it.
    pub(super) fn add(&mut self, body: &Body<'_>, work: Work) -> Result<(), ChangeError> {
        if self.last == Some(work) {
            return Ok(());
        }
        self.last = Some(work);
        let (place, counter, shape) = work;
        if place > 0 || counter < body.start_op {
            self.others.push(work);
            return Ok(());
        }
        let made = match &mut self.made {
            Some(made) => made,
            unread => unread.insert(Made::read(body)?),
        };
        match made.kind(counter - body.start_op) {
            Some(made) if made.has(shape) => Ok(()),
            _ => Err(at(OBJECT_COUNTER, Fault::Object)),
        }
    }
}
