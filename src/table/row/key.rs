//! Converts names of map entries to text and back.

use serde::de::value::StrDeserializer;
use serde::de::{self, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{self, Impossible, Serialize};

use super::{RowError, RowProblem};

/// Serialises names of entries to text.
pub(super) struct KeyWriter;

macro_rules! keys {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, key: $type) -> Result<String, RowProblem> {
            Ok(key.to_string())
        }
    )*};
}

macro_rules! no_keys {
    ($($method:ident($($type:ty),*) -> $ok:ty, $kind:literal;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, RowProblem> {
            Err(RowProblem::Key { kind: $kind })
        }
    )*};
}

type No = Impossible<String, RowProblem>;

impl ser::Serializer for KeyWriter {
    type Ok = String;
    type Error = RowProblem;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    keys! {
        serialize_bool bool; serialize_char char; serialize_str &str;
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64;
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64;
    }

    no_keys! {
        serialize_i128(i128) -> String, "integer of 128 bits";
        serialize_u128(u128) -> String, "integer of 128 bits";
        serialize_f32(f32) -> String, "float";
        serialize_f64(f64) -> String, "float";
        serialize_bytes(&[u8]) -> String, "byte string";
        serialize_none() -> String, "option";
        serialize_unit() -> String, "unit";
        serialize_unit_struct(&'static str) -> String, "unit";
        serialize_seq(Option<usize>) -> No, "sequence";
        serialize_tuple(usize) -> No, "tuple";
        serialize_tuple_struct(&'static str, usize) -> No, "tuple";
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No, "enum with content";
        serialize_map(Option<usize>) -> No, "map";
        serialize_struct(&'static str, usize) -> No, "struct";
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No, "enum with content";
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<String, RowProblem> {
        Err(RowProblem::Key { kind: "option" })
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<String, RowProblem> {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        key: &T,
    ) -> Result<String, RowProblem> {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, RowProblem> {
        Err(RowProblem::Key { kind: "enum with content" })
    }
}

/// The name of an entry, read as whatever the type wants.
pub(super) struct Key<'de>(pub(super) &'de str);

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            match self.0.parse::<$type>() {
                Ok(key) => visitor.$visit(key),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Key<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed! {
        deserialize_bool visit_bool bool;
        deserialize_i8 visit_i64 i64; deserialize_i16 visit_i64 i64;
        deserialize_i32 visit_i64 i64; deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u64 u64; deserialize_u16 visit_u64 u64;
        deserialize_u32 visit_u64 u64; deserialize_u64 visit_u64 u64;
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        let variant: StrDeserializer<'_, RowError> = self.0.into_deserializer();
        visitor.visit_enum(variant)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}
