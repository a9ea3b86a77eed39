//! Deserialises the root of a row: a map of fields, or one value under the root key.

use serde::de::{self, Visitor};

use super::super::{RowError, VALUE};
use super::Reader;

/// The root of a row: fields for structs and maps, the root key `value` for every other type.
pub(super) struct Root<'de, 'a>(pub(super) Reader<'de, 'a>);

impl<'de> Root<'de, '_> {
    fn below<T>(self, read: impl FnOnce(Reader<'de, '_>) -> Result<T, RowError>) -> Result<T, RowError> {
        let at = self.0.at.name(VALUE);
        match self.0.value.field(VALUE) {
            Some(value) => at.place(read(self.0.of(value, &at))),
            None => Err(de::Error::missing_field(VALUE)),
        }
    }
}

macro_rules! below {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, RowError> {
            self.below(|reader| reader.$method($($name,)* visitor))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Root<'de, '_> {
    type Error = RowError;

    /// A type that looks before it knows lies whole under `value`; rows of other types it sees as they are.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0.value.field(VALUE) {
            Some(_) => self.below(|reader| reader.deserialize_any(visitor)),
            None => self.0.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.0.show(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.0.show(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    below! {
        deserialize_bool(); deserialize_char(); deserialize_str(); deserialize_string();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64(); deserialize_i128();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_unit(); deserialize_unit_struct(name: &'static str);
        deserialize_bytes(); deserialize_byte_buf(); deserialize_option(); deserialize_seq();
        deserialize_tuple(length: usize); deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]); deserialize_identifier();
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}
