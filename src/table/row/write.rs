//! Serialises a row into a value, and notes the containers that are replaced whole.

mod containers;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use actors::edit::{Part, Path};
use schema::limits::VALUE_DEPTH_MAX;
use schema::value::Value;
use serde::ser::{self, Serialize};

use self::containers::{Entries, Sequence};
use super::{RowError, RowProblem};
use crate::table::counter::COUNTER;
use crate::table::text::TEXT;

/// Serialises a row; returns its value and the paths of its registers.
pub(super) fn value<T: Serialize>(row: &T) -> Result<(Value, BTreeSet<Path>), RowError> {
    let mut notes = Notes::default();
    let value = row.serialize(Writer { notes: &mut notes }).map_err(|what| match what {
        RowProblem::Serde { .. } | RowProblem::Key { .. } | RowProblem::WideInteger | RowProblem::TooDeep => {
            RowError::at(notes.path(), what)
        }
        other => RowError::at(Path::default(), other),
    })?;
    Ok((value, notes.registers))
}

impl ser::Error for RowProblem {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::Serde { what: what.to_string() }
    }
}

/// The state of the serialiser: its path and the registers so far.
#[derive(Default)]
struct Notes {
    steps: Vec<Step>,
    registers: BTreeSet<Path>,
    last: Last,
}

enum Step {
    Name(Cow<'static, str>),
    Index(usize),
}

/// The call that made the last scalar, which the value alone does not tell.
#[derive(Clone, Copy, Default, PartialEq)]
enum Last {
    #[default]
    Other,
    Byte,
    /// A unit variant of the enum of this name.
    Variant(&'static str),
}

impl Notes {
    fn path(&self) -> Path {
        let part = |step: &Step| match step {
            Step::Name(name) => Part::Name(name.clone().into_owned()),
            Step::Index(index) => Part::Index(*index),
        };
        Path(self.steps.iter().map(part).collect())
    }

    fn register(&mut self) {
        self.registers.insert(self.path());
    }

    /// Checks the depth. The bound is one less, because the row may still move below the root key `value`.
    fn open(&self) -> Result<(), RowProblem> {
        match self.steps.len() < VALUE_DEPTH_MAX - 1 {
            true => Ok(()),
            false => Err(RowProblem::TooDeep),
        }
    }

    /// Serialises a child; after an error the path still points at it.
    fn child<T: Serialize + ?Sized>(&mut self, step: Step, child: &T) -> Result<(Value, Last), RowProblem> {
        self.steps.push(step);
        self.last = Last::Other;
        let value = child.serialize(Writer { notes: self })?;
        self.steps.pop();
        Ok((value, std::mem::take(&mut self.last)))
    }
}

struct Writer<'n> {
    notes: &'n mut Notes,
}

impl<'n> Writer<'n> {
    fn sequence(self, length: Option<usize>) -> Result<Sequence<'n>, RowProblem> {
        self.notes.open()?;
        let values = Vec::with_capacity(length.unwrap_or(0).min(1024));
        Ok(Sequence { notes: self.notes, values, bytes: true, variant: None })
    }

    fn map(self, name: Option<&'static str>) -> Result<Entries<'n>, RowProblem> {
        self.notes.open()?;
        Ok(Entries { notes: self.notes, values: BTreeMap::new(), key: None, name, variant: None })
    }
}

macro_rules! scalars {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Result<Value, RowProblem> {
            Ok(Value::Int(value.into()))
        }
    )*};
}

impl<'n> ser::Serializer for Writer<'n> {
    type Ok = Value;
    type Error = RowProblem;
    type SerializeSeq = Sequence<'n>;
    type SerializeTuple = Sequence<'n>;
    type SerializeTupleStruct = Sequence<'n>;
    type SerializeTupleVariant = Sequence<'n>;
    type SerializeMap = Entries<'n>;
    type SerializeStruct = Entries<'n>;
    type SerializeStructVariant = Entries<'n>;

    scalars! {
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64;
        serialize_u16 u16; serialize_u32 u32;
    }

    fn serialize_u8(self, value: u8) -> Result<Value, RowProblem> {
        self.notes.last = Last::Byte;
        Ok(Value::Int(value.into()))
    }

    fn serialize_u64(self, value: u64) -> Result<Value, RowProblem> {
        Ok(Value::from(value))
    }

    fn serialize_i128(self, _: i128) -> Result<Value, RowProblem> {
        Err(RowProblem::WideInteger)
    }

    fn serialize_u128(self, _: u128) -> Result<Value, RowProblem> {
        Err(RowProblem::WideInteger)
    }

    fn serialize_bool(self, value: bool) -> Result<Value, RowProblem> {
        Ok(Value::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Value, RowProblem> {
        Ok(Value::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, RowProblem> {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Value, RowProblem> {
        Ok(Value::String(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<Value, RowProblem> {
        Ok(Value::String(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, RowProblem> {
        Ok(Value::Bytes(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Value, RowProblem> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, RowProblem> {
        if self.notes.steps.is_empty() {
            // A row of `Option`: a register below `value`, or a merge could leave half a struct beside a
            // null.
            self.notes.register();
        }
        let value = value.serialize(Writer { notes: self.notes })?;
        self.notes.last = Last::Other;
        Ok(value)
    }

    fn serialize_unit(self) -> Result<Value, RowProblem> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, RowProblem> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, RowProblem> {
        self.notes.last = Last::Variant(name);
        Ok(Value::String(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, RowProblem> {
        Ok(match (name, value.serialize(Writer { notes: self.notes })?) {
            (TEXT, Value::String(text)) => Value::Text(text),
            (COUNTER, Value::Int(number)) => Value::Counter(number),
            (_, value) => value,
        })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, RowProblem> {
        self.notes.open()?;
        self.notes.register();
        let (value, _) = self.notes.child(Step::Name(variant.into()), value)?;
        Ok(Value::Map([(variant.to_owned(), value)].into()))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Sequence<'n>, RowProblem> {
        self.sequence(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Sequence<'n>, RowProblem> {
        self.notes.register();
        self.sequence(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Sequence<'n>, RowProblem> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Sequence<'n>, RowProblem> {
        self.notes.register();
        self.notes.open()?;
        self.notes.steps.push(Step::Name(variant.into()));
        Ok(Sequence { variant: Some(variant), ..self.sequence(Some(length))? })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'n>, RowProblem> {
        self.map(None)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Entries<'n>, RowProblem> {
        self.map(Some(name))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries<'n>, RowProblem> {
        self.notes.register();
        self.notes.open()?;
        self.notes.steps.push(Step::Name(variant.into()));
        Ok(Entries { variant: Some(variant), ..self.map(None)? })
    }
}
