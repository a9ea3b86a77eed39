//! The elements that the ops of a change insert, and those that they name.

use super::at;
use super::cursor::{Counters, Cursor, Flags, Numbers, Unsigned};
use crate::change::body::Body;
use crate::change::columns::{ACTION, INSERT, KEY_COUNTER, KEY_REPLICA, OBJECT_COUNTER, OBJECT_REPLICA};
use crate::change::{ChangeError, Fault};

const DELETE: u64 = 3;

/// An op by its replica's place in the table of the change, and its counter.
pub(in crate::change) type Place = (u64, u64);

/// Consecutive ops that insert into one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Their rows, the last one excluded.
    begin: u64,
    end: u64,
    object: Place,
}

/// The ops of a change that insert elements.
#[derive(Default)]
pub(in crate::change) struct Inserts {
    /// Ascending.
    runs: Vec<Run>,
}

impl Inserts {
    /// Adds ops behind those that it has.
    pub(super) fn add(&mut self, begin: u64, rows: u64, object: Place) {
        let end = begin + rows;
        match self.runs.last_mut() {
            Some(last) if last.end == begin && last.object == object => last.end = end,
            _ => self.runs.push(Run { begin, end, object }),
        }
    }

    fn find(&self, row: u64) -> Option<&Run> {
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= row))?;
        (run.begin <= row).then_some(run)
    }

    /// The object into which the op of this row inserts.
    pub(in crate::change) fn object(&self, row: u64) -> Option<Place> {
        self.find(row).map(|run| run.object)
    }

    /// Insists that the author's ops among the named ones that belong to the change insert into `object`.
    pub(super) fn check(
        &self,
        body: &Body<'_>,
        (object, counters): (Place, Numbers),
        rows: u64,
    ) -> Result<(), ChangeError> {
        let mut row = 0;
        while row < rows {
            let named = counters.at(row) - body.start_op.cast_signed();
            let Ok(named) = u64::try_from(named) else {
                row += 1;
                continue;
            };
            let run = self.find(named).filter(|run| run.object == object);
            let Some(run) = run else { return Err(at(KEY_COUNTER, Fault::Element)) };
            // Ops that are named in turn lie in one run as long as it goes.
            row += match counters.step {
                0 => rows,
                1 => run.end - named,
                -1 => named - run.begin + 1,
                _ => 1,
            };
        }
        Ok(())
    }
}

/// The elements that ops of a change set, other than by deleting them.
#[derive(Default)]
pub(in crate::change) struct Updates {
    /// The objects in which they set one. Automerge panics on an element of a text that was set twice.
    pub(in crate::change) objects: Vec<Place>,
    /// The elements of other changes, with the object in which they are named. Automerge panics on what is no
    /// element, but only if no other op of the batch helps it over.
    pub(in crate::change) elements: Vec<(Place, Place)>,
}

impl Updates {
    /// Returns true if an op sets an element.
    pub(in crate::change) fn is_any(body: &Body<'_>) -> Result<bool, ChangeError> {
        // Most changes name no element that they do not insert behind.
        if body.columns.data(KEY_REPLICA).is_empty() {
            return Ok(false);
        }
        Ok(!Self::read(body)?.objects.is_empty())
    }

    pub(in crate::change) fn read(body: &Body<'_>) -> Result<Self, ChangeError> {
        let data = |column| body.columns.data(column);
        let mut object_replicas = Cursor::<Unsigned>::new(data(OBJECT_REPLICA));
        let mut objects = Cursor::<Unsigned>::new(data(OBJECT_COUNTER));
        let mut replicas = Cursor::<Unsigned>::new(data(KEY_REPLICA));
        let mut counters = Counters::new(data(KEY_COUNTER));
        let mut inserts = Flags::new(data(INSERT));
        let mut actions = Cursor::<Unsigned>::new(data(ACTION));
        let (mut updates, mut row) = (Updates::default(), 0);
        while row < body.ops {
            let (object_replica, of_object_replica) = object_replicas.run()?;
            let (object, of_object) = objects.run()?;
            let (replica, of_replica) = replicas.run()?;
            let (named, of_named) = counters.run()?;
            let (insert, of_insert) = inserts.run()?;
            let (action, of_action) = actions.run()?;
            let of_key = of_replica.min(of_named).min(of_insert).min(of_action);
            let rows = of_object_replica.min(of_object).min(of_key).min(body.ops - row);
            if let (Some(object), Some(replica), Some(named)) = (object_replica.zip(object), replica, named)
                && !insert
                && action != Some(DELETE)
            {
                let distinct = if named.step == 0 { 1 } else { rows };
                let elements = (0..distinct).map(|row| (replica, named.at(row).unsigned_abs()));
                let is_other = |(place, counter): &Place| *place > 0 || *counter < body.start_op;
                updates.elements.extend(elements.filter(is_other).map(|element| (object, element)));
                if updates.objects.last() != Some(&object) {
                    updates.objects.push(object);
                }
            }
            object_replicas.skip(rows);
            objects.skip(rows);
            replicas.skip(rows);
            counters.skip(rows);
            inserts.skip(rows);
            actions.skip(rows);
            row += rows;
        }
        Ok(updates)
    }
}
