//! Converts rows of a serde type to values and back, and computes the edit that a write makes.
//!
//! **No merge of valid rows yields a row that does not decode.** Writes of two devices meet inside a document
//! wherever both wrote into one container. So a container is shared only if every mixture of two values
//! decodes. Every other one is a *register*: it is put as a fresh object whenever anything in it changes, so
//! that of two concurrent ones Automerge keeps one whole. The type's use of serde tells them apart:
//!
//! | shape of the type | in the document |
//! |---|---|
//! | struct; map | a map that merges name by name (a row: the root) |
//! | sequence | a list that merges by splices; of bytes: a byte string, a register |
//! | tuple, tuple struct, array | register: splices would change its length |
//! | enum, tagged in any way or untagged; `serde_json::Value` | register: two variants must not mix |
//! | [`Text`](super::text::Text), [`Counter`](super::counter::Counter) | merge |
//! | `Option` | null or the value; a put on its field makes either and replaces the old container |
//! | any other scalar | register |
//!
//! Externally and adjacently tagged enums and tuples are recognised when the row is serialised. Internally
//! tagged and untagged enums serialise like structs but deserialise with `deserialize_any`, and so [`draft`]
//! reads the row back at once: a container that the type reads that way is a register. (That also refuses
//! rows that would not read back.) A field is deleted only if the type leaves it out, so a required field
//! never vanishes. A deletion wins over a concurrent edit below the field and loses to a concurrent put of
//! it.
//!
//! Row types that are no struct or map are stored under the root key `value`. A merge can mix the fields of
//! three kinds of types: fields that constrain each other, `#[serde(alias)]` while both names are written,
//! and flattened enums, whose variants lie side by side in the map around them. A `HashSet` is written in
//! another order each time: use `BTreeSet`.

mod key;
mod read;
mod write;

use std::collections::BTreeSet;

use actors::edit::{EditError, Path, RowEdit, diff};
use schema::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The root key of row types that are no struct or map.
const VALUE: &str = "value";

/// A field of a row that does not fit its type, or a type that cannot be a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
#[non_exhaustive]
pub struct RowError {
    /// The field.
    pub path: Path,
    /// The problem.
    pub what: RowProblem,
}

/// The problem of a field that cannot be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// Integers have 64 bits at most; store a larger one as a string.
    #[error("integer of 128 bits")]
    WideInteger,
    /// Names of map entries are strings, characters, integers, truth values or plain enum variants.
    #[error("{kind} as the name of an entry")]
    Key {
        /// The kind of the name.
        kind: &'static str,
    },
    /// A row nests `VALUE_DEPTH_MAX - 1` containers at most.
    #[error("nested too deeply")]
    TooDeep,
    /// Root names that begin with `$` are the database's own.
    #[error("names that begin with $ are reserved")]
    Reserved,
    /// The type's own implementation of serde failed.
    #[error("{what}")]
    Serde {
        /// The message.
        what: String,
    },
    /// The edit does not fit the row.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl RowError {
    fn at(path: Path, what: RowProblem) -> Self {
        Self { path, what }
    }
}

impl From<EditError> for RowError {
    fn from(error: EditError) -> Self {
        Self::at(Path::default(), error.into())
    }
}

/// A row as a value, with the containers that merge as registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The root: a map.
    pub value: Value,
    /// The containers that are replaced whole.
    pub registers: BTreeSet<Path>,
}

/// Serialises a row and reads it back.
///
/// # Errors
/// [`RowError`] if the type cannot be a row, or does not read what it writes.
pub fn draft<T: Serialize + DeserializeOwned>(row: &T) -> Result<Draft, RowError> {
    let (value, mut registers) = write::value(row)?;
    let reads_blindly = read::registers::<T>(&value)?;
    registers.extend(reads_blindly);
    let root = Path::default();
    if let Value::Map(map) = &value
        && !registers.contains(&root)
    {
        if let Some(name) = map.keys().find(|name| name.starts_with('$')) {
            return Err(RowError::at(root.name(name), RowProblem::Reserved));
        }
        return Ok(Draft { value, registers });
    }
    let below = |path: Path| Path(root.clone().name(VALUE).0.into_iter().chain(path.0).collect());
    Ok(Draft {
        value: Value::Map([(VALUE.to_owned(), value)].into()),
        registers: registers.into_iter().map(below).collect(),
    })
}

/// Converts a value, which is put at `path`.
///
/// # Errors
/// [`RowError`] names the field that cannot be stored.
pub(super) fn value<T: Serialize>(path: &Path, value: &T) -> Result<Value, RowError> {
    let (value, _) = write::value(value).map_err(|error| {
        let path = Path(path.0.iter().cloned().chain(error.path.0).collect());
        RowError::at(path, error.what)
    })?;
    Ok(value)
}

/// Reads a row from its root map.
///
/// # Errors
/// [`RowError`] names the field that does not fit.
pub fn read<T: DeserializeOwned>(root: &Value) -> Result<T, RowError> {
    read::row(root)
}

/// Returns the edit that makes the stored row, or an empty one, equal to `new`. Nothing stays of a removed
/// row.
///
/// # Errors
/// [`RowError`] if `new` cannot be stored.
pub fn put<T: Serialize + DeserializeOwned>(
    stored: Option<&Value>,
    removed: bool,
    new: &T,
) -> Result<RowEdit, RowError> {
    let new = draft(new)?;
    let known = match stored.filter(|_| !removed) {
        Some(stored) => read::<T>(stored).and_then(|old| draft(&old)).ok(),
        None => None,
    };
    let mut edit = diff(stored, known.as_ref().map(|known| &known.value), &new.value, &new.registers);
    if let Some(stored) = stored.filter(|_| known.is_some())
        && !edit.is_empty()
    {
        let mut after = stored.clone();
        edit.apply(&mut after)?;
        if read::<T>(&after).is_err() {
            // The type reads other fields than are stored: perhaps an old name of a field beside its new one.
            edit = diff(Some(stored), None, &new.value, &new.registers);
        }
    }
    if removed || (stored.is_none() && edit.is_empty()) {
        edit.restore();
    }
    Ok(edit)
}

/// Checks a recorded edit: the edited row must decode as `T`, and an edit inside a register replaces it
/// whole.
///
/// # Errors
/// [`RowError`] if it does not fit the stored row, or if `T` cannot read the edited row.
pub fn checked<T: Serialize + DeserializeOwned>(stored: &Value, edit: RowEdit) -> Result<RowEdit, RowError> {
    let mut after = stored.clone();
    edit.apply(&mut after)?;
    let new = draft(&read::<T>(&after)?)?;
    let old = read::<T>(stored).and_then(|old| draft(&old)).ok();
    let registers: BTreeSet<_> =
        old.iter().chain([&new]).flat_map(|draft| &draft.registers).map(pattern).collect();
    let inside = |path: &Path, own: bool| {
        let steps = pattern(path);
        registers.iter().any(|register| steps.starts_with(register) && (own || steps.len() > register.len()))
    };
    if edit.paths().any(|path| inside(path, false)) || edit.paths_inside().any(|path| inside(path, true)) {
        return Ok(diff(Some(stored), old.as_ref().map(|old| &old.value), &new.value, &new.registers));
    }
    Ok(edit)
}

/// Returns the path with all indices alike, because earlier operations of an edit may have moved the
/// elements.
fn pattern(path: &Path) -> Vec<Option<String>> {
    use actors::edit::Part;
    let step = |part: &Part| match part {
        Part::Name(name) if name.parse::<usize>().is_err() => Some(name.clone()),
        _ => None,
    };
    path.0.iter().map(step).collect()
}

#[cfg(test)]
mod tests;
