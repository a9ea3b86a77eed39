//! Deserialises lists, maps and the variants of enums, child by child.

use std::collections::btree_map;
use std::slice;

use schema::value::Value;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::super::RowError;
use super::super::key::Key;
use super::Reader;

pub(super) struct Elements<'de, 'a> {
    pub(super) reader: Reader<'de, 'a>,
    pub(super) values: slice::Iter<'de, Value>,
    pub(super) index: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de, '_> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let at = self.reader.at.index(self.index);
        self.index += 1;
        let reader = Reader { value, at: &at, blind: self.reader.blind };
        at.place(seed.deserialize(reader)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

/// A byte string where a type asks for a sequence: its elements.
pub(super) struct Bytes<'de> {
    pub(super) bytes: slice::Iter<'de, u8>,
}

impl<'de> SeqAccess<'de> for Bytes<'de> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        self.bytes.next().map(|byte| seed.deserialize(Byte(*byte))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.bytes.len())
    }
}

struct Byte(u8);

impl<'de> de::Deserializer<'de> for Byte {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_u8(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

pub(super) struct Entries<'de, 'a> {
    pub(super) reader: Reader<'de, 'a>,
    pub(super) values: btree_map::Iter<'de, String, Value>,
    pub(super) next: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = RowError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        let Some((name, value)) = self.values.next() else { return Ok(None) };
        self.next = Some((name, value));
        let at = self.reader.at.name(name);
        at.place(seed.deserialize(Key(name))).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, RowError> {
        let (name, value) = self.next.take().expect("serde asks for the key first");
        let at = self.reader.at.name(name);
        let reader = Reader { value, at: &at, blind: self.reader.blind };
        at.place(seed.deserialize(reader))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

/// The one entry of an enum's variant.
pub(super) struct Variant<'de, 'a> {
    pub(super) reader: Reader<'de, 'a>,
    pub(super) name: &'de str,
    pub(super) content: &'de Value,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'de, 'a> {
    type Error = RowError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), RowError> {
        let at = self.reader.at.name(self.name);
        let variant = at.place(seed.deserialize(Key(self.name)))?;
        Ok((variant, self))
    }
}

impl<'de> Variant<'de, '_> {
    fn content<T>(self, read: impl FnOnce(Reader<'de, '_>) -> Result<T, RowError>) -> Result<T, RowError> {
        let at = self.reader.at.name(self.name);
        let reader = Reader { value: self.content, at: &at, blind: self.reader.blind };
        at.place(read(reader))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de, '_> {
    type Error = RowError;

    fn unit_variant(self) -> Result<(), RowError> {
        self.content(|reader| de::Deserialize::deserialize(reader))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, RowError> {
        self.content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, RowError> {
        self.content(|reader| reader.show(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.content(|reader| reader.show(visitor))
    }
}
