//! Applies an edit to a plain value: the model with which the replica must agree.

use schema::limits::VALUE_DEPTH_MAX;
use schema::value::Value;

use super::{EditError, EditOp, Part, Path, RowEdit};

impl RowEdit {
    /// Applies the edit to the root of a row, which is a map. The caller handles the removal mark.
    ///
    /// # Errors
    /// [`EditError`]; the value may then be half changed.
    pub fn apply(&self, row: &mut Value) -> Result<(), EditError> {
        self.ops.iter().try_for_each(|op| apply(op, row))
    }

    /// Returns true if the row is removed after the edit; `before` tells whether it was before.
    pub fn removed_after(&self, before: bool) -> bool {
        self.ops.iter().fold(before, |removed, op| match op {
            EditOp::SetRemoved { removed } => *removed,
            _ => removed,
        })
    }
}

fn apply(op: &EditOp, row: &mut Value) -> Result<(), EditError> {
    let Some(path) = op.path() else { return Ok(()) };
    if path.is_reserved() {
        return Err(EditError::Reserved { path: path.clone() });
    }
    match op {
        EditOp::Put { value, .. } => {
            check_depth(path, path.0.len(), value)?;
            put(row, path, value)
        }
        EditOp::Delete { .. } => delete(row, path),
        EditOp::SpliceText { position, delete, text, .. } => match at(row, path)? {
            Value::Text(old) | Value::String(old) => {
                *old = spliced(path, old, *position, *delete, text)?;
                Ok(())
            }
            other => Err(kind(path, "text", other.kind())),
        },
        EditOp::Increment { by, .. } => match at(row, path)? {
            Value::Counter(number) | Value::Int(number) => {
                *number =
                    number.checked_add(*by).ok_or_else(|| EditError::Overflow { path: path.clone() })?;
                Ok(())
            }
            other => Err(kind(path, "counter", other.kind())),
        },
        EditOp::Splice { index, delete, values, .. } => {
            values.iter().try_for_each(|value| check_depth(path, path.0.len() + 1, value))?;
            match at(row, path)? {
                Value::List(list) => {
                    let end = end(path, *index, *delete, list.len())?;
                    list.splice(*index..end, values.iter().cloned());
                    Ok(())
                }
                other => Err(kind(path, "list", other.kind())),
            }
        }
        EditOp::SetRemoved { .. } => Ok(()),
    }
}

pub(crate) fn kind(path: &Path, expected: &'static str, found: &'static str) -> EditError {
    EditError::Kind { path: path.clone(), expected, found }
}

/// Returns the first position behind `delete` elements from `index` on.
pub(crate) fn end(path: &Path, index: usize, delete: usize, length: usize) -> Result<usize, EditError> {
    let end = index.saturating_add(delete);
    if end > length {
        return Err(EditError::OutOfRange { path: path.clone(), position: end, length });
    }
    Ok(end)
}

/// Returns a string with `delete` characters from `position` on replaced by `text`.
pub(crate) fn spliced(
    path: &Path,
    old: &str,
    position: usize,
    delete: usize,
    text: &str,
) -> Result<String, EditError> {
    let last = end(path, position, delete, old.chars().count())?;
    let byte = |position| old.char_indices().nth(position).map_or(old.len(), |(byte, _)| byte);
    Ok([&old[..byte(position)], text, &old[byte(last)..]].concat())
}

/// Checks that a value can be read back whole from `depth` containers below the root.
pub(crate) fn check_depth(path: &Path, depth: usize, value: &Value) -> Result<(), EditError> {
    let mut open = vec![(depth, value)];
    while let Some((depth, value)) = open.pop() {
        match value {
            Value::TooDeep => return Err(EditError::TooDeep { path: path.clone() }),
            Value::List(_) | Value::Map(_) if depth >= VALUE_DEPTH_MAX => {
                return Err(EditError::TooDeep { path: path.clone() });
            }
            Value::List(values) => open.extend(values.iter().map(|value| (depth + 1, value))),
            Value::Map(values) => open.extend(values.values().map(|value| (depth + 1, value))),
            _ => {}
        }
    }
    Ok(())
}

fn at<'v>(row: &'v mut Value, path: &Path) -> Result<&'v mut Value, EditError> {
    walk(row, path, &path.0)
}

fn walk<'v>(row: &'v mut Value, path: &Path, parts: &[Part]) -> Result<&'v mut Value, EditError> {
    let missing = || EditError::NotFound { path: path.clone() };
    parts.iter().try_fold(row, |value, part| match (value, part) {
        (Value::Map(map), Part::Name(name)) => map.get_mut(name).ok_or_else(missing),
        (Value::List(list), part) => part.as_index().and_then(|i| list.get_mut(i)).ok_or_else(missing),
        _ => Err(missing()),
    })
}

fn put(row: &mut Value, path: &Path, new: &Value) -> Result<(), EditError> {
    let missing = || EditError::NotFound { path: path.clone() };
    let (parents, last) = path.split().ok_or_else(missing)?;
    match (walk(row, path, parents)?, last) {
        (Value::Map(map), Part::Name(name)) => {
            map.insert(name.clone(), new.clone());
            Ok(())
        }
        (Value::List(list), part) => {
            let slot = part.as_index().and_then(|i| list.get_mut(i)).ok_or_else(missing)?;
            *slot = new.clone();
            Ok(())
        }
        _ => Err(missing()),
    }
}

fn delete(row: &mut Value, path: &Path) -> Result<(), EditError> {
    let missing = || EditError::NotFound { path: path.clone() };
    let (parents, last) = path.split().ok_or_else(missing)?;
    match (walk(row, path, parents)?, last) {
        (Value::Map(map), Part::Name(name)) => {
            map.remove(name);
            Ok(())
        }
        (Value::List(list), part) => {
            let index = part.as_index().filter(|i| *i < list.len()).ok_or_else(missing)?;
            list.remove(index);
            Ok(())
        }
        _ => Err(missing()),
    }
}
