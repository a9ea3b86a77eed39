//! The edit that a write makes to one row: an ordered list of operations on paths.
//!
//! [`diff`] computes an edit from two values, [`RowEdit`]'s methods record one by hand. [`RowEdit::apply`]
//! applies it to a plain value, the replica to a document; a property test of the replica checks that both
//! agree.

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
    /// Mark the row as removed, or clear the mark. Clearing it on a row that was never written creates the
    /// row, empty.
    SetRemoved { removed: bool },
}

impl EditOp {
    /// Returns the path that it changes; none for the removal mark.
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

/// The operations of a write to one row, in order. Committing applies them.
///
/// A path is dotted text (`"address.city"`, `"tags.0"`), an array of names that may contain dots (`["a.b",
/// "c"]`), or a [`Path`]. Positions in text count Unicode scalar values (`char`s), not bytes.
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
    /// Returns an edit that removes the row. It sets a mark, which wins over concurrent edits of the fields.
    pub fn remove() -> Self {
        Self { ops: vec![EditOp::SetRemoved { removed: true }] }
    }

    /// Clears the removal mark, or creates a row without fields.
    pub fn restore(&mut self) {
        self.ops.push(EditOp::SetRemoved { removed: false });
    }

    /// Returns true if there are no operations.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Lists the paths of the operations, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.ops.iter().filter_map(EditOp::path)
    }

    /// Lists the paths of the operations that change a value without replacing it.
    pub fn paths_inside(&self) -> impl Iterator<Item = &Path> {
        self.ops
            .iter()
            .filter(|op| !matches!(op, EditOp::Put { .. } | EditOp::Delete { .. }))
            .filter_map(EditOp::path)
    }

    /// Sets a field, or overwrites an existing element.
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

/// An edit does not fit the row, which is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no value at the path: the row has moved, or the path is misspelt.
    #[error("{path}: no value there")]
    NotFound {
        /// The path.
        path: Path,
    },
    /// The value at the path is of another kind than the operation needs.
    #[error("{path}: {expected} expected, found {found}")]
    Kind {
        /// The path.
        path: Path,
        /// The kind that the operation needs.
        expected: &'static str,
        /// The kind of the value.
        found: &'static str,
    },
    /// The position is beyond the end.
    #[error("{path}: position {position} of {length}")]
    OutOfRange {
        /// The path.
        path: Path,
        /// The last position that the operation needs.
        position: usize,
        /// Number of elements or characters.
        length: usize,
    },
    /// The counter or integer would leave 64 bits.
    #[error("{path}: number leaves 64 bits")]
    Overflow {
        /// The path.
        path: Path,
    },
    /// Root names that begin with `$` are the database's own.
    #[error("{path}: names that begin with $ are reserved")]
    Reserved {
        /// The path.
        path: Path,
    },
    /// The value would be nested more deeply than a row allows.
    #[error("{path}: nested too deeply")]
    TooDeep {
        /// The path.
        path: Path,
    },
    /// The change would be larger than peers accept.
    #[error("change of {got} {unit} where at most {max} are allowed")]
    TooLarge {
        /// The size.
        got: usize,
        /// The bound.
        max: usize,
        /// The unit: bytes or operations.
        unit: &'static str,
    },
    /// Automerge refused or failed; the row must be read again from the store.
    #[error("document failed: {what}")]
    Document {
        /// Automerge's message.
        what: String,
    },
}
