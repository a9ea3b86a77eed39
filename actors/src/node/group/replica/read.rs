//! A row out of its document, with an explicit stack: a hostile document nests as deeply as it likes.

use std::collections::BTreeMap;

use automerge::iter::{ListRange, MapRange};
use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, ScalarValueRef, ValueRef};
use schema::ChangeHash;
use schema::limits::VALUE_DEPTH_MAX;
use schema::value::Value;

use super::{Replica, Row, guarded, theirs};
use crate::edit::is_reserved;

pub(super) const REMOVED: &str = "$removed";

/// The reason for which a row cannot be read from its document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A state of the row was asked for that this document has not seen.
    #[error("change {hash} is not in this row's history")]
    UnknownHead {
        /// The head.
        hash: ChangeHash,
    },
    /// Automerge panicked on the document: quarantine it.
    #[error("document failed: {what}")]
    Document {
        /// Automerge's reason.
        what: String,
    },
}

impl Replica {
    /// The row as it is now; of concurrent values the one that Automerge picks, the same on every device.
    ///
    /// # Errors
    /// [`ReadError::Document`] on hostile content (increments beyond 64 bits, where overflow is checked).
    pub fn row(&self) -> Result<Row, ReadError> {
        row(View { doc: &self.doc, heads: None })
    }

    /// The row as it was when `heads` were its newest changes.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn row_at(&self, heads: &[ChangeHash]) -> Result<Row, ReadError> {
        if let Some(hash) = heads.iter().copied().find(|hash| !self.knows(&theirs(hash))) {
            return Err(ReadError::UnknownHead { hash });
        }
        let heads: Vec<_> = heads.iter().map(theirs).collect();
        row(View { doc: &self.doc, heads: Some(&heads) })
    }

    /// The values that lost, newest first, of every field that was written concurrently.
    ///
    /// # Errors
    /// [`ReadError::Document`].
    pub fn conflicts(&self) -> Result<BTreeMap<String, Vec<Value>>, ReadError> {
        guarded(|| losers(&self.doc)).map_err(|what| ReadError::Document { what })
    }
}

fn losers(doc: &Automerge) -> BTreeMap<String, Vec<Value>> {
    let view = View { doc, heads: None };
    let mut conflicts = BTreeMap::new();
    for item in view.map(&ROOT).filter(|item| item.conflict && !is_reserved(&item.key)) {
        let values = doc.get_all(ROOT, item.key.as_ref()).unwrap_or_default();
        let losers = values.into_iter().rev().skip(1).map(|(value, id)| match value {
            automerge::Value::Object(kind) => object(view, kind, id, &mut false),
            automerge::Value::Scalar(scalar) => owned(&scalar),
        });
        conflicts.insert(item.key.into_owned(), losers.collect());
    }
    conflicts
}

#[derive(Clone, Copy)]
struct View<'d> {
    doc: &'d Automerge,
    heads: Option<&'d [automerge::ChangeHash]>,
}

impl<'d> View<'d> {
    fn map(self, id: &ObjId) -> MapRange<'d> {
        match self.heads {
            None => self.doc.map_range(id, ..),
            Some(heads) => self.doc.map_range_at(id, .., heads),
        }
    }

    fn list(self, id: &ObjId) -> ListRange<'d> {
        match self.heads {
            None => self.doc.list_range(id, ..),
            Some(heads) => self.doc.list_range_at(id, .., heads),
        }
    }

    fn text(self, id: &ObjId) -> String {
        let text = match self.heads {
            None => self.doc.text(id),
            Some(heads) => self.doc.text_at(id, heads),
        };
        text.expect("the id was just read from this document")
    }

    fn removed(self) -> bool {
        let marks = match self.heads {
            None => self.doc.get_all(ROOT, REMOVED),
            Some(heads) => self.doc.get_all_at(ROOT, REMOVED, heads),
        };
        marks.expect("the root is a map").iter().any(|(mark, _)| mark.as_bool() == Some(true))
    }
}

fn row(view: View<'_>) -> Result<Row, ReadError> {
    let read = || {
        let mut too_deep = false;
        let value = object(view, ObjType::Map, ROOT, &mut too_deep);
        Row { value, removed: view.removed(), too_deep }
    };
    guarded(read).map_err(|what| ReadError::Document { what })
}

/// A container whose children are being read.
struct Open<'d> {
    /// Its name in the container around it; empty in a list.
    name: String,
    children: Children<'d>,
    value: Value,
}

enum Children<'d> {
    Map(MapRange<'d>),
    List(ListRange<'d>),
}

enum Child {
    Scalar(Value),
    Object(ObjType, ObjId),
}

impl<'d> Open<'d> {
    fn new(view: View<'d>, kind: ObjType, id: &ObjId, name: String) -> Self {
        match kind {
            ObjType::List => {
                Self { name, children: Children::List(view.list(id)), value: Value::List(Vec::new()) }
            }
            _ => Self { name, children: Children::Map(view.map(id)), value: Value::Map(BTreeMap::new()) },
        }
    }

    fn next(&mut self) -> Option<(String, Child)> {
        let child = |value: &ValueRef<'_>, id: &dyn Fn() -> ObjId| match value {
            ValueRef::Object(kind) => Child::Object(*kind, id()),
            ValueRef::Scalar(scalar) => Child::Scalar(value_of(scalar.clone())),
        };
        match &mut self.children {
            Children::Map(items) => {
                items.next().map(|item| (item.key.to_string(), child(&item.value, &|| item.id())))
            }
            Children::List(items) => {
                items.next().map(|item| (String::new(), child(&item.value, &|| item.id())))
            }
        }
    }

    fn push(&mut self, name: String, child: Value) {
        match &mut self.value {
            Value::Map(map) => {
                map.insert(name, child);
            }
            Value::List(list) => list.push(child),
            _ => unreachable!("only containers are opened"),
        }
    }
}

fn object(view: View<'_>, kind: ObjType, id: ObjId, too_deep: &mut bool) -> Value {
    if kind == ObjType::Text {
        return Value::Text(view.text(&id));
    }
    let hides_reserved = id == ROOT;
    let mut open = vec![Open::new(view, kind, &id, String::new())];
    loop {
        let depth = open.len();
        let inner = open.last_mut().expect("the outermost returns");
        match inner.next() {
            Some((name, _)) if hides_reserved && depth == 1 && is_reserved(&name) => {}
            Some((name, Child::Scalar(value))) => inner.push(name, value),
            Some((name, Child::Object(ObjType::Text, id))) => inner.push(name, Value::Text(view.text(&id))),
            Some((name, Child::Object(..))) if depth >= VALUE_DEPTH_MAX => {
                *too_deep = true;
                inner.push(name, Value::TooDeep);
            }
            Some((name, Child::Object(kind, id))) => open.push(Open::new(view, kind, &id, name)),
            None => {
                let done = open.pop().expect("the outermost returns");
                match open.last_mut() {
                    Some(outer) => outer.push(done.name, done.value),
                    None => return done.value,
                }
            }
        }
    }
}

fn value_of(scalar: ScalarValueRef<'_>) -> Value {
    match scalar {
        ScalarValueRef::Null => Value::Null,
        ScalarValueRef::Boolean(flag) => Value::Bool(flag),
        ScalarValueRef::Int(number) => Value::Int(number),
        ScalarValueRef::Uint(number) => Value::from(number),
        ScalarValueRef::F64(number) => Value::Float(number),
        ScalarValueRef::Str(text) => Value::String(text.into_owned()),
        ScalarValueRef::Counter(number) => Value::Counter(number),
        ScalarValueRef::Timestamp(number) => Value::Timestamp(number),
        ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } => {
            Value::Bytes(bytes.into_owned())
        }
    }
}

pub(super) fn owned(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Null => Value::Null,
        ScalarValue::Boolean(flag) => Value::Bool(*flag),
        ScalarValue::Int(number) => Value::Int(*number),
        ScalarValue::Uint(number) => Value::from(*number),
        ScalarValue::F64(number) => Value::Float(*number),
        ScalarValue::Str(text) => Value::String(text.to_string()),
        ScalarValue::Counter(number) => Value::Counter(number.into()),
        ScalarValue::Timestamp(number) => Value::Timestamp(*number),
        ScalarValue::Bytes(bytes) | ScalarValue::Unknown { bytes, .. } => Value::Bytes(bytes.clone()),
    }
}
