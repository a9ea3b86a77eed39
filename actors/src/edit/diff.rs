//! Computes the edit of an upsert: only the fields that differ.

use std::collections::BTreeSet;

use schema::value::Value;

use super::{EditOp, Path, RowEdit};

/// Returns the edit that turns the row `stored` into `new`.
///
/// `known` is the stored row as its type sees it: read and written again. A field that it lacks belongs to
/// another type and stays. A field that is equal in `known` and `new` is not written, even if the document
/// stores it in another form (a default that was never written, an integer where the type has a float).
/// Without `known` the type knows all of `stored`.
///
/// Values at `registers` (paths of `new`) are replaced whole; other maps are merged name by name, lists keep
/// their equal beginnings and ends, texts are spliced, counters incremented. It does not recurse.
pub fn diff(
    stored: Option<&Value>,
    known: Option<&Value>,
    new: &Value,
    registers: &BTreeSet<Path>,
) -> RowEdit {
    let nothing = Value::Map([].into());
    let stored = stored.unwrap_or(&nothing);
    let known = known.unwrap_or(stored);
    let mut edit = RowEdit::default();
    let mut open = vec![Pair { path: Path::default(), stored, known, new }];
    while let Some(pair) = open.pop() {
        match (pair.stored, pair.new) {
            (Value::Map(_), Value::Map(_)) => maps(pair, registers, &mut edit, &mut open),
            (Value::List(_), Value::List(_)) => lists(pair, registers, &mut edit, &mut open),
            _ => unreachable!("only pairs of containers are opened"),
        }
    }
    edit
}

/// Two containers of one kind that differ.
struct Pair<'v> {
    path: Path,
    stored: &'v Value,
    known: &'v Value,
    new: &'v Value,
}

fn maps<'v>(pair: Pair<'v>, registers: &BTreeSet<Path>, edit: &mut RowEdit, open: &mut Vec<Pair<'v>>) {
    let Pair { path, stored, known, new } = pair;
    let (Value::Map(stored), Value::Map(known), Value::Map(new)) = (stored, known, new) else { return };
    for (name, new) in new {
        if known.get(name) != Some(new) {
            let path = path.clone().name(name);
            change(path, stored.get(name), known.get(name), new, registers, edit, open);
        }
    }
    for name in known.keys().filter(|name| !new.contains_key(*name) && stored.contains_key(*name)) {
        edit.ops.push(EditOp::Delete { path: path.clone().name(name) });
    }
}

fn lists<'v>(pair: Pair<'v>, registers: &BTreeSet<Path>, edit: &mut RowEdit, open: &mut Vec<Pair<'v>>) {
    let Pair { path, stored, known, new } = pair;
    let (Value::List(stored), Value::List(new)) = (stored, new) else { return };
    let known = match known {
        Value::List(known)
            if known.len() == stored.len() && known.iter().zip(stored).all(|(k, s)| matches_stored(k, s)) =>
        {
            known
        }
        _ => stored, // a set was read in another order: its positions are not the document's
    };
    let shorter = known.len().min(new.len());
    let front = known.iter().zip(new).take_while(|(old, new)| old == new).count();
    let back = known
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(shorter - front)
        .take_while(|(old, new)| old == new)
        .count();
    if known.len() == new.len() {
        // Elements keep their place: two devices that set the same one must not end up with both.
        for index in front..new.len() - back {
            if known[index] != new[index] {
                let path = path.clone().index(index);
                change(path, Some(&stored[index]), Some(&known[index]), &new[index], registers, edit, open);
            }
        }
        return;
    }
    let values = new[front..new.len() - back].to_vec();
    edit.ops.push(EditOp::Splice { path, index: front, delete: known.len() - back - front, values });
}

fn change<'v>(
    path: Path,
    stored: Option<&'v Value>,
    known: Option<&'v Value>,
    new: &'v Value,
    registers: &BTreeSet<Path>,
    edit: &mut RowEdit,
    open: &mut Vec<Pair<'v>>,
) {
    let known = known.or(stored);
    match (stored, new) {
        (Some(stored), new) if stored == new => {}
        (Some(stored), new)
            if new.is_container() && new.kind() == stored.kind() && !registers.contains(&path) =>
        {
            let known = known.filter(|known| known.kind() == stored.kind()).unwrap_or(stored);
            open.push(Pair { path, stored, known, new });
        }
        (Some(Value::Text(old)), Value::Text(new)) => edit.ops.push(splice_text(path, old, new)),
        (Some(Value::Counter(old)), Value::Counter(new)) if new.checked_sub(*old).is_some() => {
            edit.ops.push(EditOp::Increment { path, by: new - old });
        }
        _ => edit.ops.push(EditOp::Put { path, value: new.clone() }),
    }
}

/// Returns true if `known` equals `stored` except for fields that its type does not know or adds by default.
fn matches_stored(known: &Value, stored: &Value) -> bool {
    let mut open = vec![(known, stored)];
    while let Some((known, stored)) = open.pop() {
        match (known, stored) {
            (Value::Map(known), Value::Map(stored)) => {
                open.extend(known.iter().filter_map(|(name, known)| Some((known, stored.get(name)?))));
            }
            (Value::List(known), Value::List(stored)) if known.len() == stored.len() => {
                open.extend(known.iter().zip(stored));
            }
            _ if known == stored => {}
            _ => return false,
        }
    }
    true
}

/// Returns the one splice that turns `old` into `new`, in characters.
fn splice_text(path: Path, old: &str, new: &str) -> EditOp {
    let front: usize =
        old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let (old_rest, new_rest) = (&old[front..], &new[front..]);
    let back: usize = old_rest
        .chars()
        .rev()
        .zip(new_rest.chars().rev())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    EditOp::SpliceText {
        path,
        position: old[..front].chars().count(),
        delete: old_rest[..old_rest.len() - back].chars().count(),
        text: new_rest[..new_rest.len() - back].to_owned(),
    }
}

#[cfg(test)]
mod tests;
