//! The predecessors of each op: strictly ascending by counter and replica, as Automerge writes them.

use super::at;
use super::cursor::{Counters, Cursor, Numbers, Unsigned};
use super::named::{Named, author_place};
use crate::change::body::Body;
use crate::change::columns::{PREDECESSOR_COUNTER, PREDECESSOR_REPLICA, PREDECESSORS};
use crate::change::{ChangeError, Fault};

/// Walks the columns of predecessors.
pub(super) fn walk(body: &Body<'_>, named: &mut Named) -> Result<(), ChangeError> {
    let mut counts = Cursor::<Unsigned>::new(body.columns.data(PREDECESSORS));
    let mut pairs = Pairs {
        replicas: Cursor::<Unsigned>::new(body.columns.data(PREDECESSOR_REPLICA)),
        counters: Counters::new(body.columns.data(PREDECESSOR_COUNTER)),
        author: author_place(body) as u64,
    };
    let mut row = 0;
    while row < body.ops {
        let (count, of_count) = counts.run()?;
        let rows = of_count.min(body.ops - row);
        let ops = named.ops_from(row);
        match count.ok_or(Fault::Null)? {
            0 => Ok(()),
            1 => pairs.one_each(named, ops, rows),
            count => (0..rows).try_for_each(|row| {
                let op = Numbers { first: ops.at(row), step: 0 };
                pairs.of_one(named, op, count)
            }),
        }
        .map_err(|fault| at(PREDECESSOR_COUNTER, fault))?;
        counts.skip(rows);
        row += rows;
    }
    Ok(())
}

struct Pairs<'a> {
    replicas: Cursor<'a, Unsigned>,
    counters: Counters<'a>,
    /// The number of other replicas whose ids are smaller than the author's.
    author: u64,
}

impl Pairs<'_> {
    /// The next pairs of one replica, whose counters follow each other: the replica's place, the counters,
    /// and how many.
    fn run(&mut self, most: u64) -> Result<(u64, Numbers, u64), Fault> {
        let ((replica, of_replica), (counters, of_counters)) = (self.replicas.run()?, self.counters.run()?);
        let rows = of_replica.min(of_counters).min(most);
        Ok((replica.ok_or(Fault::Null)?, counters.ok_or(Fault::Null)?, rows))
    }

    fn skip(&mut self, rows: u64) {
        self.replicas.skip(rows);
        self.counters.skip(rows);
    }

    /// Ops with one predecessor each.
    fn one_each(&mut self, named: &mut Named, ops: Numbers, count: u64) -> Result<(), Fault> {
        let mut done = 0;
        while done < count {
            let (replica, counters, rows) = self.run(count - done)?;
            named.add(replica, counters, Numbers { first: ops.at(done), step: 1 }, rows)?;
            self.skip(rows);
            done += rows;
        }
        Ok(())
    }

    /// One op with several predecessors.
    fn of_one(&mut self, named: &mut Named, op: Numbers, count: u64) -> Result<(), Fault> {
        let (mut last, mut done) = (None, 0);
        while done < count {
            let (replica, counters, rows) = self.run(count - done)?;
            let rank = self.rank(replica);
            if last >= Some((counters.first, rank)) || (rows > 1 && counters.step <= 0) {
                return Err(Fault::OutOfOrder);
            }
            last = Some((counters.at(rows - 1), rank));
            named.add(replica, counters, op, rows)?;
            self.skip(rows);
            done += rows;
        }
        Ok(())
    }

    /// A number that orders replicas by id: the author stands first in the table, wherever its id belongs.
    fn rank(&self, place: u64) -> u64 {
        if place == 0 { 2 * self.author } else { 2 * place - 1 }
    }
}
