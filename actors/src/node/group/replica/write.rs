//! One operation of an edit onto an Automerge transaction; the same as `RowEdit::apply` on a plain value.

use std::collections::HashMap;

use automerge::hydrate;
use automerge::transaction::{Transactable, Transaction};
use automerge::{AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, TextEncoding};
use schema::value::Value;

use super::read::{REMOVED, owned};
use crate::edit::{EditError, EditOp, Part, Path, RowEdit, check_depth, end, kind, spliced};

/// The size of an edit's texts, names and elements, roughly as they will be encoded, in bytes.
pub(crate) fn bytes(edit: &RowEdit) -> usize {
    let mut total = 0;
    for op in &edit.ops {
        let mut open: Vec<&Value> = match op {
            EditOp::Put { value, .. } => vec![value],
            EditOp::Splice { values, delete, .. } => {
                total += delete * 8;
                values.iter().collect()
            }
            EditOp::SpliceText { text, delete, .. } => {
                total += text.len() * 4 + delete * 8;
                Vec::new()
            }
            _ => Vec::new(),
        };
        total += 64 + op.path().map_or(0, |path| path.0.len() * 16);
        while let Some(value) = open.pop() {
            total += 16;
            match value {
                Value::Text(text) => total += text.len() * 4,
                Value::String(text) => total += text.len(),
                Value::Bytes(bytes) => total += bytes.len(),
                Value::List(values) => open.extend(values),
                Value::Map(values) => {
                    total += values.keys().map(String::len).sum::<usize>();
                    open.extend(values.values());
                }
                _ => {}
            }
        }
    }
    total
}

/// `exists`: the document had changes before this transaction.
pub(super) fn write(tx: &mut Transaction<'_>, op: &EditOp, exists: bool) -> Result<(), EditError> {
    if let Some(path) = op.path().filter(|path| path.is_reserved()) {
        return Err(EditError::Reserved { path: path.clone() });
    }
    match op {
        EditOp::Put { path, value } => {
            check_depth(path, path.0.len(), value)?;
            let (id, prop) = slot(tx, path)?;
            if matches!(prop, Prop::Seq(_)) && get(tx, &id, prop.clone())?.is_none() {
                return Err(missing(path));
            }
            put(tx, &id, prop, value)
        }
        EditOp::Delete { path } => {
            let (id, prop) = slot(tx, path)?;
            if matches!(prop, Prop::Seq(_)) && get(tx, &id, prop.clone())?.is_none() {
                return Err(missing(path));
            }
            tx.delete(&id, prop).map_err(failed)
        }
        EditOp::SpliceText { path, position, delete, text } => match at(tx, path)? {
            At::Object(ObjType::Text, id) => {
                end(path, *position, *delete, tx.length(&id))?;
                tx.splice_text(&id, *position, signed(*delete), text).map_err(failed)
            }
            At::Scalar(Value::String(old)) => {
                let new = spliced(path, &old, *position, *delete, text)?;
                let (id, prop) = slot(tx, path)?;
                put(tx, &id, prop, &Value::String(new))
            }
            other => Err(kind(path, "text", other.kind())),
        },
        EditOp::Increment { path, by } => {
            let At::Scalar(scalar @ (Value::Counter(old) | Value::Int(old))) = at(tx, path)? else {
                return Err(kind(path, "counter", at(tx, path)?.kind()));
            };
            let new = old.checked_add(*by).ok_or_else(|| EditError::Overflow { path: path.clone() })?;
            let (id, prop) = slot(tx, path)?;
            match scalar {
                Value::Counter(_) => tx.increment(&id, prop, *by).map_err(failed),
                _ => put(tx, &id, prop, &Value::Int(new)),
            }
        }
        EditOp::Splice { path, index, delete, values } => {
            values.iter().try_for_each(|value| check_depth(path, path.0.len() + 1, value))?;
            match at(tx, path)? {
                At::Object(ObjType::List, id) => {
                    end(path, *index, *delete, tx.length(&id))?;
                    tx.splice(&id, *index, signed(*delete), values.iter().map(hydrated)).map_err(failed)
                }
                other => Err(kind(path, "list", other.kind())),
            }
        }
        EditOp::SetRemoved { removed: true } => tx.put(ROOT, REMOVED, true).map_err(failed),
        EditOp::SetRemoved { removed: false } => {
            let marks = tx.get_all(ROOT, REMOVED).map_err(failed)?;
            match marks.iter().any(|(mark, _)| mark.as_bool() == Some(true)) {
                // Deleted, not overwritten: a put would stand beside a concurrent removal and could win over
                // it.
                true => tx.delete(ROOT, REMOVED).map_err(failed),
                false if exists || tx.pending_ops() > 0 => Ok(()),
                false => tx.put(ROOT, REMOVED, false).map_err(failed),
            }
        }
    }
}

fn failed(error: AutomergeError) -> EditError {
    EditError::Document { what: error.to_string() }
}

fn missing(path: &Path) -> EditError {
    EditError::NotFound { path: path.clone() }
}

fn signed(number: usize) -> isize {
    isize::try_from(number).expect("checked against the length")
}

/// The value at a path.
enum At {
    Object(ObjType, ObjId),
    Scalar(Value),
}

impl At {
    fn kind(&self) -> &'static str {
        match self {
            Self::Object(ObjType::List, _) => "list",
            Self::Object(ObjType::Text, _) => "text",
            Self::Object(..) => "map",
            Self::Scalar(value) => value.kind(),
        }
    }
}

fn get(tx: &Transaction<'_>, id: &ObjId, prop: Prop) -> Result<Option<At>, EditError> {
    Ok(tx.get(id, prop).map_err(failed)?.map(|(value, id)| match value {
        automerge::Value::Object(kind) => At::Object(kind, id),
        automerge::Value::Scalar(scalar) => At::Scalar(owned(&scalar)),
    }))
}

fn at(tx: &Transaction<'_>, path: &Path) -> Result<At, EditError> {
    walk(tx, path, &path.0)
}

fn walk(tx: &Transaction<'_>, path: &Path, parts: &[Part]) -> Result<At, EditError> {
    parts.iter().try_fold(At::Object(ObjType::Map, ROOT), |at, part| {
        let At::Object(kind, id) = at else { return Err(missing(path)) };
        get(tx, &id, prop(kind, part).ok_or_else(|| missing(path))?)?.ok_or_else(|| missing(path))
    })
}

/// The container of a path's last step, and the step in it.
fn slot(tx: &Transaction<'_>, path: &Path) -> Result<(ObjId, Prop), EditError> {
    let (parents, last) = path.split().ok_or_else(|| missing(path))?;
    let At::Object(kind, id) = walk(tx, path, parents)? else { return Err(missing(path)) };
    Ok((id, prop(kind, last).ok_or_else(|| missing(path))?))
}

fn prop(kind: ObjType, part: &Part) -> Option<Prop> {
    match (kind, part) {
        (ObjType::List, part) => part.as_index().map(Prop::Seq),
        (ObjType::Map | ObjType::Table, Part::Name(name)) => Some(Prop::Map(name.clone())),
        _ => None,
    }
}

fn put(tx: &mut Transaction<'_>, id: &ObjId, prop: Prop, value: &Value) -> Result<(), EditError> {
    let Some(scalar) = scalar(value) else {
        return tx.batch_create_object(id, prop, &hydrated(value), false).map(|_| ()).map_err(failed);
    };
    // Automerge skips a put that it takes for no change: 0.0 over -0.0, or a counter's first value over its
    // last.
    let masked = match get(tx, id, prop.clone())? {
        Some(At::Scalar(Value::Float(old))) => matches!(value, Value::Float(new) if old == *new),
        Some(At::Scalar(Value::Counter(_))) => matches!(value, Value::Counter(_)),
        _ => false,
    };
    if masked {
        tx.put(id, prop.clone(), ScalarValue::Null).map_err(failed)?;
    }
    tx.put(id, prop, scalar).map_err(failed)
}

fn scalar(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Null | Value::TooDeep => ScalarValue::Null, // `check_depth` refuses the latter
        Value::Bool(flag) => ScalarValue::Boolean(*flag),
        Value::Int(number) => ScalarValue::Int(*number),
        Value::Uint(number) => i64::try_from(*number).map_or(ScalarValue::Uint(*number), ScalarValue::Int),
        Value::Float(number) => ScalarValue::F64(*number),
        Value::String(text) => ScalarValue::Str(text.as_str().into()),
        Value::Counter(number) => ScalarValue::counter(*number),
        Value::Timestamp(number) => ScalarValue::Timestamp(*number),
        Value::Bytes(bytes) => ScalarValue::Bytes(bytes.clone()),
        Value::Text(_) | Value::List(_) | Value::Map(_) => return None,
    })
}

/// Automerge's own form of a value; at most `VALUE_DEPTH_MAX` calls deep, since `check_depth` comes first.
fn hydrated(value: &Value) -> hydrate::Value {
    match value {
        Value::Text(text) => hydrate::Value::text(TextEncoding::UnicodeCodePoint, text),
        Value::List(values) => hydrate::Value::List(values.iter().map(hydrated).collect::<Vec<_>>().into()),
        Value::Map(values) => {
            let values: HashMap<_, _> =
                values.iter().map(|(name, value)| (name.as_str(), hydrated(value))).collect();
            hydrate::Value::Map(values.into())
        }
        other => hydrate::Value::Scalar(scalar(other).expect("the rest are scalars")),
    }
}
