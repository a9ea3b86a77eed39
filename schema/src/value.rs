//! The value of a row, apart from any document.
//!
//! Encoding: one tag byte, then the payload; see [`Value`]. Recursion is bounded: a path has at most
//! [`VALUE_DEPTH_MAX`] containers, the root's map included, whether the value was decoded, read from a
//! document or written by serde. A deeper container reads as [`Value::TooDeep`].

use std::collections::BTreeMap;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use crate::limits::VALUE_DEPTH_MAX;

#[cfg(test)]
mod tests;

/// One value: a scalar, a container, or text and counters that merge.
///
/// Equality is total: floats are equal when their bits are (a NaN equals itself, 0.0 and -0.0 differ),
/// integers when their numbers are, signed or not.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Value {
    /// An absent option.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer that fits `i64`, signed or not, so that two types write the same number as the same value.
    Int(i64),
    /// An integer above `i64::MAX`; [`Value::from`] makes it only for those.
    Uint(u64),
    /// A 64-bit float, NaN and infinities included.
    Float(f64),
    /// A string that is a register: a write replaces it.
    String(String),
    /// A text that merges character by character.
    Text(String),
    /// A counter: concurrent increments add up.
    Counter(i64),
    /// Milliseconds since the Unix epoch, written by another Automerge tool; serde types read it as a number.
    Timestamp(i64),
    /// Bytes that are a register: a write replaces them.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name: a struct or a map.
    Map(BTreeMap<String, Value>),
    /// In place of a container deeper than [`VALUE_DEPTH_MAX`].
    TooDeep,
}

impl Value {
    /// The entries of a map; `None` for other values.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// An entry of a map; `None` for other values.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.as_map()?.get(name)
    }

    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) => "integer",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::Text(_) => "text",
            Self::Counter(_) => "counter",
            Self::Timestamp(_) => "timestamp",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::TooDeep => "too deep",
        }
    }

    /// Returns true for lists and maps.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) | (Self::TooDeep, Self::TooDeep) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b))
            | (Self::Counter(a), Self::Counter(b))
            | (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Uint(a), Self::Uint(b)) => a == b,
            (Self::Int(a), Self::Uint(b)) | (Self::Uint(b), Self::Int(a)) => u64::try_from(*a) == Ok(*b),
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

macro_rules! from {
    ($($type:ty => $value:ident $make:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $make
            }
        }
    )*};
}

from! {
    () => _unit Self::Null;
    bool => flag Self::Bool(flag);
    i32 => number Self::Int(number.into());
    u32 => number Self::Int(number.into());
    i64 => number Self::Int(number);
    u64 => number i64::try_from(number).map_or(Self::Uint(number), Self::Int);
    f64 => number Self::Float(number);
    &str => text Self::String(text.to_owned());
    String => text Self::String(text);
    Vec<u8> => bytes Self::Bytes(bytes);
    Vec<Value> => values Self::List(values);
    BTreeMap<String, Value> => values Self::Map(values);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const UINT: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const STRING: u8 = 6;
    pub(super) const TEXT: u8 = 7;
    pub(super) const COUNTER: u8 = 8;
    pub(super) const TIMESTAMP: u8 = 9;
    pub(super) const BYTES: u8 = 10;
    pub(super) const LIST: u8 = 11;
    pub(super) const MAP: u8 = 12;
    pub(super) const TOO_DEEP: u8 = 13;
}

impl Encode for Value {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.encode_at(encoder, 0)
    }
}

impl Value {
    fn encode_at<E: Encoder>(&self, encoder: &mut E, depth: usize) -> Result<(), EncodeError> {
        match self {
            Self::Null => tag::NULL.encode(encoder),
            Self::Bool(false) => tag::FALSE.encode(encoder),
            Self::Bool(true) => tag::TRUE.encode(encoder),
            Self::Int(number) => (tag::INT, number).encode(encoder),
            Self::Uint(number) => (tag::UINT, number).encode(encoder),
            Self::Float(number) => (tag::FLOAT, number).encode(encoder),
            Self::String(text) => (tag::STRING, text).encode(encoder),
            Self::Text(text) => (tag::TEXT, text).encode(encoder),
            Self::Counter(number) => (tag::COUNTER, number).encode(encoder),
            Self::Timestamp(number) => (tag::TIMESTAMP, number).encode(encoder),
            Self::Bytes(bytes) => (tag::BYTES, bytes).encode(encoder),
            Self::List(values) if depth < VALUE_DEPTH_MAX => {
                (tag::LIST, values.len()).encode(encoder)?;
                values.iter().try_for_each(|value| value.encode_at(encoder, depth + 1))
            }
            Self::Map(values) if depth < VALUE_DEPTH_MAX => {
                (tag::MAP, values.len()).encode(encoder)?;
                values.iter().try_for_each(|(name, value)| {
                    name.encode(encoder)?;
                    value.encode_at(encoder, depth + 1)
                })
            }
            Self::List(_) | Self::Map(_) | Self::TooDeep => tag::TOO_DEEP.encode(encoder),
        }
    }

    fn decode_at<D: Decoder>(decoder: &mut D, depth: usize) -> Result<Self, DecodeError> {
        let tag = u8::decode(decoder)?;
        if matches!(tag, tag::LIST | tag::MAP) && depth >= VALUE_DEPTH_MAX {
            return Err(DecodeError::Other("value nested too deeply"));
        }
        Ok(match tag {
            tag::NULL => Self::Null,
            tag::FALSE => Self::Bool(false),
            tag::TRUE => Self::Bool(true),
            tag::INT => Self::Int(Decode::decode(decoder)?),
            tag::UINT => Self::Uint(Decode::decode(decoder)?),
            tag::FLOAT => Self::Float(Decode::decode(decoder)?),
            tag::STRING => Self::String(Decode::decode(decoder)?),
            tag::TEXT => Self::Text(Decode::decode(decoder)?),
            tag::COUNTER => Self::Counter(Decode::decode(decoder)?),
            tag::TIMESTAMP => Self::Timestamp(Decode::decode(decoder)?),
            tag::BYTES => Self::Bytes(Decode::decode(decoder)?),
            // Containers grow as their values are read, at least one byte each: a claimed length allocates
            // nothing.
            tag::LIST => {
                let length = usize::decode(decoder)?;
                let mut values = Vec::new();
                for _ in 0..length {
                    values.push(Self::decode_at(decoder, depth + 1)?);
                }
                Self::List(values)
            }
            tag::MAP => {
                let length = usize::decode(decoder)?;
                let mut values = BTreeMap::new();
                for _ in 0..length {
                    let name = String::decode(decoder)?;
                    values.insert(name, Self::decode_at(decoder, depth + 1)?);
                }
                Self::Map(values)
            }
            tag::TOO_DEEP => Self::TooDeep,
            _ => return Err(DecodeError::Other("unknown tag of a value")),
        })
    }
}

bincode::impl_borrow_decode!(Value);

impl<Context> Decode<Context> for Value {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode_at(decoder, 0)
    }
}
