//! Deserialises a row from a value, and notes the containers that the type reads by `deserialize_any`.

mod containers;
mod root;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use actors::edit::{Part, Path};
use schema::limits::VALUE_DEPTH_MAX;
use schema::value::Value;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};

use self::containers::{Bytes, Elements, Entries, Variant};
use self::root::Root;
use super::{RowError, RowProblem, VALUE};

/// Reads a row from its root map.
pub(super) fn row<T: DeserializeOwned>(root: &Value) -> Result<T, RowError> {
    let reader = Reader { value: root, at: Step::ROOT, blind: None };
    T::deserialize(Root(reader)).or_else(|error| match root.field(VALUE) {
        // An adjacently tagged enum asks for a struct, but lies below.
        Some(value) => T::deserialize(reader.of(value, &Step::ROOT.name(VALUE))).map_err(|_| error),
        None => Err(error),
    })
}

/// Returns the containers that a type reads by `deserialize_any`. The value is as serialised, under no root
/// key.
pub(super) fn registers<T: DeserializeOwned>(value: &Value) -> Result<BTreeSet<Path>, RowError> {
    let blind = RefCell::default();
    T::deserialize(Reader { value, at: Step::ROOT, blind: Some(&blind) })?;
    Ok(blind.into_inner())
}

impl de::Error for RowError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::at(Path::default(), RowProblem::Serde { what: what.to_string() })
    }
}

/// The last step of the path to a value, linked to the steps before it.
#[derive(Clone, Copy)]
struct Step<'a> {
    before: Option<&'a Step<'a>>,
    name: &'a str,
    index: Option<usize>,
    depth: usize,
}

impl<'a> Step<'a> {
    const ROOT: &'static Step<'static> = &Step { before: None, name: "", index: None, depth: 0 };

    fn name(&'a self, name: &'a str) -> Self {
        Self { before: Some(self), name, index: None, depth: self.depth + 1 }
    }

    fn index(&'a self, index: usize) -> Self {
        Self { before: Some(self), name: "", index: Some(index), depth: self.depth + 1 }
    }

    fn path(&self) -> Path {
        let mut parts = Vec::new();
        let mut step = self;
        while let Some(before) = step.before {
            parts.push(step.index.map_or_else(|| Part::Name(step.name.to_owned()), Part::Index));
            step = before;
        }
        parts.reverse();
        Path(parts)
    }

    /// The innermost place wins: serde's own words have none.
    fn place<T>(&self, result: Result<T, RowError>) -> Result<T, RowError> {
        result.map_err(|error| match error.path.0.is_empty() {
            true => RowError::at(self.path(), error.what),
            false => error,
        })
    }
}

#[derive(Clone, Copy)]
struct Reader<'de, 'a> {
    value: &'de Value,
    at: &'a Step<'a>,
    blind: Option<&'a RefCell<BTreeSet<Path>>>,
}

impl<'de, 'a> Reader<'de, 'a> {
    fn of(self, value: &'de Value, at: &'a Step<'a>) -> Self {
        Self { value, at, ..self }
    }

    /// Shows the value as it is.
    fn show<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        let too_deep = || Err(RowError::at(self.at.path(), RowProblem::TooDeep));
        let shown = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Int(number) | Value::Counter(number) | Value::Timestamp(number) => {
                visitor.visit_i64(*number)
            }
            Value::Uint(number) => visitor.visit_u64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) | Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(_) | Value::Map(_) if self.at.depth >= VALUE_DEPTH_MAX => return too_deep(),
            Value::TooDeep => return too_deep(),
            Value::Bytes(bytes) => visitor.visit_seq(Bytes { bytes: bytes.iter() }),
            Value::List(values) => {
                visitor.visit_seq(Elements { reader: self, values: values.iter(), index: 0 })
            }
            Value::Map(values) => {
                visitor.visit_map(Entries { reader: self, values: values.iter(), next: None })
            }
        };
        self.at.place(shown)
    }
}

macro_rules! show {
    ($($method:ident($($type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $type,)* visitor: V) -> Result<V::Value, RowError> {
            self.show(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de, '_> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        if let Some(blind) = self.blind.filter(|_| self.value.is_container()) {
            blind.borrow_mut().insert(self.at.path());
        }
        self.show(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Bytes(bytes) => self.at.place(visitor.visit_borrowed_bytes(bytes)),
            Value::List(values) if values.is_empty() => self.at.place(visitor.visit_borrowed_bytes(&[])),
            _ => self.show(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.value {
            Value::Null => self.at.place(visitor.visit_none()),
            _ => self.at.place(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.at.place(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        let shown = match self.value {
            Value::String(variant) | Value::Text(variant) => {
                visitor.visit_enum(IntoDeserializer::<RowError>::into_deserializer(variant.as_str()))
            }
            Value::Map(values) if values.len() == 1 && self.at.depth < VALUE_DEPTH_MAX => {
                let (name, content) = values.iter().next().expect("it has one entry");
                visitor.visit_enum(Variant { reader: self, name, content })
            }
            _ => return self.show(visitor),
        };
        self.at.place(shown)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    show! {
        deserialize_bool(); deserialize_char(); deserialize_str(); deserialize_string();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64(); deserialize_i128();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_unit(); deserialize_unit_struct(&'static str);
        deserialize_seq(); deserialize_tuple(usize); deserialize_tuple_struct(&'static str, usize);
        deserialize_map(); deserialize_struct(&'static str, &'static [&'static str]);
        deserialize_identifier();
    }
}
