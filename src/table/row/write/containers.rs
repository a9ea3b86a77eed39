//! Serialises lists and maps, child by child.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schema::value::Value;
use serde::ser::{self, Serialize};

use super::super::RowProblem;
use super::super::key::KeyWriter;
use super::{Last, Notes, Step};

/// Serialises a list.
pub(super) struct Sequence<'n> {
    pub(super) notes: &'n mut Notes,
    pub(super) values: Vec<Value>,
    /// Every element so far was a `u8`.
    pub(super) bytes: bool,
    pub(super) variant: Option<&'static str>,
}

impl Sequence<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        let (value, last) = self.notes.child(Step::Index(self.values.len()), value)?;
        self.bytes &= last == Last::Byte && matches!(value, Value::Int(_));
        self.values.push(value);
        Ok(())
    }

    fn finish(self) -> Value {
        let byte = |value: &Value| match value {
            Value::Int(number) => u8::try_from(*number).ok(),
            _ => None,
        };
        let bytes = match self.bytes && !self.values.is_empty() {
            true => self.values.iter().map(byte).collect::<Option<Vec<u8>>>(),
            false => None, // an empty list reads as empty bytes too
        };
        let value = bytes.map_or(Value::List(self.values), Value::Bytes);
        enclosed(self.notes, self.variant, value)
    }
}

/// Wraps the content of an enum's variant in a map of one entry.
fn enclosed(notes: &mut Notes, variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(variant) => {
            notes.steps.pop();
            Value::Map([(variant.to_owned(), value)].into())
        }
    }
}

impl ser::SerializeSeq for Sequence<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        self.push(value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

impl ser::SerializeTuple for Sequence<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        self.push(value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleStruct for Sequence<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        self.push(value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleVariant for Sequence<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        self.push(value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

/// Serialises a map or struct.
pub(super) struct Entries<'n> {
    pub(super) notes: &'n mut Notes,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) key: Option<String>,
    /// The struct's name: an adjacently tagged enum is a struct whose tag is a variant of an enum of the same
    /// name.
    pub(super) name: Option<&'static str>,
    pub(super) variant: Option<&'static str>,
}

impl Entries<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, name: Cow<'static, str>, value: &T) -> Result<(), RowProblem> {
        let (value, last) = self.notes.child(Step::Name(name.clone()), value)?;
        if let (Last::Variant(of), Value::String(_)) = (last, &value)
            && self.name == Some(of)
        {
            self.notes.register();
        }
        self.values.insert(name.into_owned(), value);
        Ok(())
    }

    fn finish(self) -> Value {
        enclosed(self.notes, self.variant, Value::Map(self.values))
    }
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), RowProblem> {
        self.key = Some(key.serialize(KeyWriter)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowProblem> {
        let name = self.key.take().expect("serde gives the key first");
        self.put(name.into(), value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

impl ser::SerializeStruct for Entries<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), RowProblem> {
        self.put(name.into(), value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Entries<'_> {
    type Ok = Value;
    type Error = RowProblem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), RowProblem> {
        self.put(name.into(), value)
    }

    fn end(self) -> Result<Value, RowProblem> {
        Ok(self.finish())
    }
}
