//! A row type to a value and back, and what a write of it must change.
//!
//! **No merge of valid rows yields a row that does not decode.** Concurrent writes meet inside a document wherever
//! two devices wrote into one container, so only containers all of whose mixtures decode may be shared; every other
//! one is a *register*, put as a fresh object whenever anything in it changes, so that of two concurrent ones Automerge
//! keeps one whole. What the type does with serde tells them apart:
//!
//! | the type's shape | in the document |
//! |---|---|
//! | struct; map | a map that merges name by name (a row: the root) |
//! | sequence | a list that merges by splices; of bytes: a byte string, a register |
//! | tuple, tuple struct, array | register: splices would change its length |
//! | enum: externally, internally, adjacently tagged or untagged; `serde_json::Value` | register: two variants must not mix |
//! | [`Text`](super::text::Text), [`Counter`](super::counter::Counter) | merge |
//! | `Option` | null or the value; made and unmade by a put on its field, which takes the old container along |
//! | any other scalar | register |
//!
//! Enums with an external tag, tuples and adjacent tags show when the row is serialised; internally tagged and untagged
//! ones serialise like structs but *read* by looking before they know, and so [`draft`] reads the row back at once:
//! what the type asks for by `deserialize_any` is a register. (That also refuses rows that would not read back.) A
//! field is deleted only when the type itself leaves it out, so a required one never vanishes: of a deletion and a
//! concurrent edit below it the deletion wins whole, of a deletion and a concurrent put the put.
//!
//! Row types that are no struct or map lie under the root key `value`. What remains to the user: a type whose fields
//! constrain each other, `#[serde(alias)]` while both names are being written, and flattened enums (their variants
//! lie side by side in the map around them) can be mixed by a merge. Sets are best ordered (`BTreeSet`): a `HashSet`
//! is written in another order each time.

mod read;
mod write;

use std::collections::BTreeSet;

use actors::edit::{EditError, Path, RowEdit, diff};
use schema::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The root key of row types that are no struct or map.
const VALUE: &str = "value";

/// Why a row does not fit its type, or its type a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
#[non_exhaustive]
pub struct RowError {
    /// The field.
    pub path: Path,
    /// What is wrong there.
    pub what: RowProblem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// Integers have 64 bits at most; store a larger one as a string.
    #[error("integer of 128 bits")]
    WideInteger,
    /// Names of map entries are strings, characters, integers, truth values or plain enum variants.
    #[error("{kind} as the name of an entry")]
    Key {
        /// What the name is.
        kind: &'static str,
    },
    /// A row nests `VALUE_DEPTH_MAX - 1` containers at most.
    #[error("nested too deeply")]
    TooDeep,
    /// Root names that begin with `$` are the database's own.
    #[error("names that begin with $ are reserved")]
    Reserved,
    /// The type says so.
    #[error("{what}")]
    Serde {
        /// In its words.
        what: String,
    },
    /// The edit does not fit.
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

/// A row as its type would have it stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The root: a map.
    pub value: Value,
    /// The containers in it that must be replaced whole.
    pub registers: BTreeSet<Path>,
}

/// Serialises a row and reads it back.
///
/// # Errors
/// [`RowError`] when the type is not made for it, or does not read what it writes.
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

/// Reads a row from its root map.
///
/// # Errors
/// [`RowError`] names the field that does not fit.
pub fn read<T: DeserializeOwned>(root: &Value) -> Result<T, RowError> {
    read::row(root)
}

/// What makes `new` of the stored row; without one, of nothing. Over a removed row nothing of the old one stays.
///
/// # Errors
/// [`RowError`] when `new` cannot be stored.
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
            // An old name of a field beside its new one, say: what the type knows and what lies there do not match.
            edit = diff(Some(stored), None, &new.value, &new.registers);
        }
    }
    if removed || (stored.is_none() && edit.is_empty()) {
        edit.restore();
    }
    Ok(edit)
}

/// Checks a recorded edit: the row must still be one of `T`, and registers are replaced whole.
///
/// # Errors
/// [`RowError`] when it does not fit the stored row or leaves one that `T` cannot read.
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

/// A path whose indices are all alike: earlier operations of an edit may have moved the elements.
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
