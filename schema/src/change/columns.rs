//! The column table of a chunk: which columns there are, how each reads, where its bytes lie.

use std::io::Read;

use super::bytes::Bytes;
use super::runs::{Bounds, Kind, Totals, measure};
use super::{ChangeError, Fault};
use crate::limits::OP_COUNTER_MAX;

/// Bit of a column's number that says its bytes are deflated.
const DEFLATED: u32 = 8;

const COUNTER_MAX: i64 = OP_COUNTER_MAX.cast_signed();
/// The columns of a change or a document are fewer; room for them is made at once.
const COLUMNS_MAX: usize = 16;
/// The largest action of a change: an increment. Behind it are tables and marks, which no row has.
const LARGEST_ACTION: u64 = 5;
/// The largest action of a document chunk.
const LARGEST_STORED_ACTION: u64 = 7;

// A column's number is `id << 4 | type`.
pub(super) const OBJECT_REPLICA: u32 = 0x01;
pub(super) const OBJECT_COUNTER: u32 = 0x02;
pub(super) const KEY_REPLICA: u32 = 0x11;
pub(super) const KEY_COUNTER: u32 = 0x13;
pub(super) const KEY_TEXT: u32 = 0x15;
pub(super) const ID_REPLICA: u32 = 0x21;
pub(super) const ID_COUNTER: u32 = 0x23;
pub(super) const INSERT: u32 = 0x34;
pub(super) const ACTION: u32 = 0x42;
pub(super) const VALUE_META: u32 = 0x56;
pub(super) const VALUE: u32 = 0x57;
pub(super) const PREDECESSORS: u32 = 0x70;
pub(super) const PREDECESSOR_REPLICA: u32 = 0x71;
pub(super) const PREDECESSOR_COUNTER: u32 = 0x73;
pub(super) const SUCCESSORS: u32 = 0x80;
pub(super) const SUCCESSOR_REPLICA: u32 = 0x81;
pub(super) const SUCCESSOR_COUNTER: u32 = 0x83;
pub(super) const EXPAND: u32 = 0x94;
pub(super) const MARK_NAME: u32 = 0xa5;

pub(super) const CHANGE_REPLICA: u32 = 0x01;
pub(super) const CHANGE_SEQ: u32 = 0x03;
pub(super) const CHANGE_MAX_OP: u32 = 0x13;
pub(super) const CHANGE_TIME: u32 = 0x23;
pub(super) const CHANGE_MESSAGE: u32 = 0x35;
pub(super) const CHANGE_DEPS: u32 = 0x40;
pub(super) const CHANGE_DEP: u32 = 0x43;
pub(super) const CHANGE_EXTRA_META: u32 = 0x56;
pub(super) const CHANGE_EXTRA: u32 = 0x57;

/// The columns that a table may have.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// The ops of a change chunk.
    ChangeOps,
    /// The ops of a document chunk.
    DocumentOps,
    /// The changes of a document chunk.
    DocumentChanges,
}

impl Layout {
    fn kind(self, column: u32) -> Option<Kind> {
        match self {
            Self::ChangeOps => op_column(column, LARGEST_ACTION).or(match column {
                PREDECESSORS => Some(Kind::Unsigned { min: 0, max: u64::MAX }),
                PREDECESSOR_REPLICA => Some(Kind::Replica),
                PREDECESSOR_COUNTER => Some(Kind::Delta { min: 1, max: COUNTER_MAX }),
                _ => None,
            }),
            Self::DocumentOps => op_column(column, LARGEST_STORED_ACTION).or(match column {
                SUCCESSORS => Some(Kind::Unsigned { min: 0, max: u64::MAX }),
                ID_REPLICA | SUCCESSOR_REPLICA => Some(Kind::Replica),
                ID_COUNTER | SUCCESSOR_COUNTER => Some(Kind::Delta { min: 1, max: COUNTER_MAX }),
                EXPAND => Some(Kind::Flags),
                MARK_NAME => Some(Kind::Text),
                _ => None,
            }),
            Self::DocumentChanges => change_column(column),
        }
    }
}

/// The columns that ops have in changes and in documents.
fn op_column(column: u32, largest_action: u64) -> Option<Kind> {
    Some(match column {
        OBJECT_REPLICA | KEY_REPLICA => Kind::Replica,
        OBJECT_COUNTER => Kind::Unsigned { min: 1, max: OP_COUNTER_MAX },
        KEY_COUNTER => Kind::Delta { min: 0, max: COUNTER_MAX },
        KEY_TEXT => Kind::Text,
        INSERT => Kind::Flags,
        ACTION => Kind::Action { max: largest_action },
        VALUE_META => Kind::ValueMeta,
        VALUE => Kind::Raw,
        _ => return None,
    })
}

/// The columns of the changes in a document.
fn change_column(column: u32) -> Option<Kind> {
    Some(match column {
        CHANGE_REPLICA => Kind::Replica,
        CHANGE_SEQ => Kind::Delta { min: 1, max: i64::MAX },
        CHANGE_MAX_OP => Kind::Delta { min: 0, max: COUNTER_MAX },
        CHANGE_TIME => Kind::AnyDelta,
        CHANGE_MESSAGE => Kind::Text,
        CHANGE_DEPS => Kind::Unsigned { min: 0, max: u64::MAX },
        CHANGE_DEP => Kind::Delta { min: 0, max: i64::MAX },
        CHANGE_EXTRA_META => Kind::ValueMeta,
        CHANGE_EXTRA => Kind::Raw,
        _ => return None,
    })
}

/// One column.
struct Column<'a> {
    number: u32,
    kind: Kind,
    deflated: bool,
    length: u64,
    /// Its bytes as they lie in the chunk, once they were measured.
    data: &'a [u8],
    totals: Totals,
}

/// A column table, strictly ascending, every column known.
pub(super) struct Table<'a>(Vec<Column<'a>>);

impl<'a> Table<'a> {
    /// Reads the table; the bytes of the columns follow later in the chunk.
    pub(super) fn read(bytes: &mut Bytes<'a>, layout: Layout) -> Result<Self, ChangeError> {
        let count = bytes.count(2)?;
        let mut columns: Vec<Column<'_>> = Vec::with_capacity(count.min(COLUMNS_MAX));
        for _ in 0..count {
            let number = u32::try_from(bytes.uleb()?).map_err(|_| Fault::Leb128)?;
            let length = bytes.uleb()?;
            let (number, deflated) = (number & !DEFLATED, number & DEFLATED != 0);
            let fault = |fault| ChangeError::Column { column: number, fault };
            if columns.last().is_some_and(|last| last.number >= number) {
                return Err(fault(Fault::OutOfOrder));
            }
            let kind = layout.kind(number).ok_or(fault(Fault::Unknown))?;
            if deflated && matches!(layout, Layout::ChangeOps) {
                return Err(fault(Fault::Compressed));
            }
            if length == 0 && matches!(layout, Layout::ChangeOps) {
                return Err(fault(Fault::Empty));
            }
            columns.push(Column { number, kind, deflated, length, data: &[], totals: Totals::default() });
        }
        Ok(Self(columns))
    }

    /// Adds up the columns whose bytes come next; one deflated column at a time is in memory.
    pub(super) fn measure(
        mut self,
        bytes: &mut Bytes<'a>,
        bounds: &Bounds,
        inflate_budget: &mut usize,
    ) -> Result<Columns<'a>, ChangeError> {
        for column in &mut self.0 {
            let fault = |fault| ChangeError::Column { column: column.number, fault };
            column.data = bytes.take(column.length).map_err(fault)?;
            let inflated;
            let data = if column.deflated {
                inflated = inflate(column.data, inflate_budget).map_err(fault)?;
                &inflated
            } else {
                column.data
            };
            column.totals = measure(column.kind, data, bounds).map_err(fault)?;
        }
        Ok(Columns(self.0))
    }
}

/// Inflates one column (RFC 1951) while the budget of the whole chunk lasts.
fn inflate(data: &[u8], budget: &mut usize) -> Result<Vec<u8>, Fault> {
    let mut inflated = Vec::new();
    let decoder = flate2::bufread::DeflateDecoder::new(data);
    let limit = (*budget as u64).saturating_add(1);
    decoder.take(limit).read_to_end(&mut inflated).map_err(|_| Fault::Inflate)?;
    *budget = budget.checked_sub(inflated.len()).ok_or(Fault::Budget)?;
    Ok(inflated)
}

/// The columns of one table.
pub(super) struct Columns<'a>(Vec<Column<'a>>);

impl<'a> Columns<'a> {
    fn find(&self, number: u32) -> Option<&Column<'a>> {
        self.0.iter().find(|column| column.number == number)
    }

    /// Totals of a column; zero when it is absent.
    pub(super) fn of(&self, column: u32) -> Totals {
        self.find(column).map(|column| column.totals).unwrap_or_default()
    }

    /// Bytes of a column as they lie in the chunk; empty when it is absent.
    pub(super) fn data(&self, column: u32) -> &'a [u8] {
        self.find(column).map(|column| column.data).unwrap_or_default()
    }

    /// Insists that the column has `expected` rows, none of them null.
    pub(super) fn full(&self, column: u32, expected: u64) -> Result<Totals, ChangeError> {
        let totals = self.all_rows(column, expected)?;
        if totals.values != totals.rows {
            return Err(ChangeError::Column { column, fault: Fault::Null });
        }
        Ok(totals)
    }

    /// Insists that the column has `expected` rows.
    pub(super) fn all_rows(&self, column: u32, expected: u64) -> Result<Totals, ChangeError> {
        let totals = self.of(column);
        if totals.rows != expected {
            let fault = Fault::Rows { got: totals.rows, expected };
            return Err(ChangeError::Column { column, fault });
        }
        Ok(totals)
    }

    /// Insists that the column has `expected` rows or is absent, which reads as nulls.
    pub(super) fn some_rows(&self, column: u32, expected: u64) -> Result<Totals, ChangeError> {
        if self.of(column).rows == 0 { Ok(Totals::default()) } else { self.all_rows(column, expected) }
    }

    /// Insists on `expected` values in a column.
    pub(super) fn values(&self, column: u32, expected: u64) -> Result<(), ChangeError> {
        let got = self.of(column).values;
        if got == expected {
            return Ok(());
        }
        Err(ChangeError::Column { column, fault: Fault::Rows { got, expected } })
    }
}
