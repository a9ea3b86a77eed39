//! What a write does to one row: a plain ordered list of operations on paths.
//!
//! [`diff`] makes one from two values, [`RowEdit`]'s methods record one by hand, [`RowEdit::apply`] carries it out on
//! a plain value and the replica on a document; both must agree (a property test of the replica says so).

mod apply;
mod diff;
mod path;

pub(crate) use apply::{check_depth, end, kind, spliced};
pub use diff::diff;
pub(crate) use path::is_reserved;
pub use path::{Part, Path};

use schema::value::Value;

/// One operation on a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EditOp {
    /// Set a field or overwrite an element.
    Put { path: Path, value: Value },
    /// Clear a field (an absent one is no error) or remove an element.
    Delete { path: Path },
    /// Replace `delete` characters of a text from `position` on.
    SpliceText { path: Path, position: usize, delete: usize, text: String },
    /// Add to a counter.
    Increment { path: Path, by: i64 },
    /// Replace `delete` elements of a list from `index` on.
    Splice { path: Path, index: usize, delete: usize, values: Vec<Value> },
    /// Mark the row as removed, or take the mark away. Restoring a row that was never written makes it exist, empty.
    SetRemoved { removed: bool },
}

impl EditOp {
    /// Where it works; nowhere in particular for the removal mark.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Put { path, .. }
            | Self::Delete { path }
            | Self::SpliceText { path, .. }
            | Self::Increment { path, .. }
            | Self::Splice { path, .. } => Some(path),
            Self::SetRemoved { .. } => None,
        }
    }
}

/// Records what to do to one row; nothing happens before it is committed.
///
/// A path is given as dotted text (`"address.city"`, `"tags.0"`), as an array of names taken as they are
/// (`["a.b", "c"]`), or as a [`Path`]. Positions in text count Unicode scalar values (`char`s), not bytes.
///
/// ```
/// # use peerbase_actors::edit::RowEdit;
/// let mut doc = RowEdit::default();
/// doc.splice_text("body", 3, 0, "héllo");
/// doc.increment(["likes", "ada.lovelace"], 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowEdit {
    pub(crate) ops: Vec<EditOp>,
}

impl RowEdit {
    /// Removes the row: a mark, so that the fields stay beside a concurrent edit and the mark wins.
    pub fn remove() -> Self {
        Self { ops: vec![EditOp::SetRemoved { removed: true }] }
    }

    /// Takes the removal mark away, or makes a row without fields exist.
    pub fn restore(&mut self) {
        self.ops.push(EditOp::SetRemoved { removed: false });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The paths that it touches, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.ops.iter().filter_map(EditOp::path)
    }

    /// The paths that it changes without replacing what lies there.
    pub fn paths_inside(&self) -> impl Iterator<Item = &Path> {
        self.ops
            .iter()
            .filter(|op| !matches!(op, EditOp::Put { .. } | EditOp::Delete { .. }))
            .filter_map(EditOp::path)
    }

    /// Sets a field, or overwrites an element that exists.
    pub fn put(&mut self, path: impl Into<Path>, value: impl Into<Value>) {
        self.ops.push(EditOp::Put { path: path.into(), value: value.into() });
    }

    /// Clears a field, or removes an element.
    pub fn delete(&mut self, path: impl Into<Path>) {
        self.ops.push(EditOp::Delete { path: path.into() });
    }

    /// Replaces `delete` characters from `position` on by `text`; a plain string is replaced whole.
    pub fn splice_text(
        &mut self,
        path: impl Into<Path>,
        position: usize,
        delete: usize,
        text: impl Into<String>,
    ) {
        self.ops.push(EditOp::SpliceText { path: path.into(), position, delete, text: text.into() });
    }

    /// Adds to a counter; a plain integer is replaced whole.
    pub fn increment(&mut self, path: impl Into<Path>, by: i64) {
        self.ops.push(EditOp::Increment { path: path.into(), by });
    }

    /// Inserts an element before `index` of a list.
    pub fn insert(&mut self, path: impl Into<Path>, index: usize, value: impl Into<Value>) {
        self.splice(path, index, 0, vec![value.into()]);
    }

    /// Removes the element at `index` of a list.
    pub fn remove_at(&mut self, path: impl Into<Path>, index: usize) {
        self.splice(path, index, 1, Vec::new());
    }

    /// Replaces `delete` elements from `index` on by `values`.
    pub fn splice(&mut self, path: impl Into<Path>, index: usize, delete: usize, values: Vec<Value>) {
        self.ops.push(EditOp::Splice { path: path.into(), index, delete, values });
    }
}

/// Why an edit does not fit the row. The row is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Nothing lies there: the row moved, or the path is misspelt.
    #[error("{path}: nothing there")]
    NotFound {
        /// Where.
        path: Path,
    },
    /// Something else lies there.
    #[error("{path}: {expected} expected, found {found}")]
    Kind {
        /// Where.
        path: Path,
        /// What the operation works on.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The position is behind the end.
    #[error("{path}: position {position} of {length}")]
    OutOfRange {
        /// Where.
        path: Path,
        /// The last position that the operation needs.
        position: usize,
        /// Elements or characters there.
        length: usize,
    },
    /// The counter or integer would leave 64 bits.
    #[error("{path}: number leaves 64 bits")]
    Overflow {
        /// Where.
        path: Path,
    },
    /// Root names that begin with `$` are the database's own.
    #[error("{path}: names that begin with $ are reserved")]
    Reserved {
        /// Where.
        path: Path,
    },
    /// The value would lie deeper than a row may nest.
    #[error("{path}: nested too deeply")]
    TooDeep {
        /// Where.
        path: Path,
    },
    /// The change would be larger than peers accept.
    #[error("change of {got} {unit} where at most {max} are allowed")]
    TooLarge {
        /// How large.
        got: usize,
        /// How large it may be.
        max: usize,
        /// Bytes or operations.
        unit: &'static str,
    },
    /// Automerge refused or failed; the row must be read again from the store.
    #[error("document failed: {what}")]
    Document {
        /// What it said.
        what: String,
    },
}
