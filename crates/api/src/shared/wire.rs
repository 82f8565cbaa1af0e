//! How a type of the wire is declared: what is absent is not written, and an unknown word is kept, not refused.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// A word of a closed set, or whatever else somebody wrote there.
///
/// Objects are also written by other versions and other operators. An unknown word in one field must neither stop a watch
/// nor be lost when the object is written back, so it is kept as it came; the schema still lists the known words only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wire<E> {
    /// A word of the set.
    Known(E),
    /// Any other word.
    Other(String),
}

impl<E: Copy> Wire<E> {
    /// The word, if it is one of the set.
    pub fn known(&self) -> Option<E> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<E> From<E> for Wire<E> {
    fn from(word: E) -> Self {
        Self::Known(word)
    }
}

impl<E: PartialEq> PartialEq<E> for Wire<E> {
    fn eq(&self, word: &E) -> bool {
        match self {
            Self::Known(own) => own == word,
            Self::Other(_) => false,
        }
    }
}

impl<E: std::fmt::Display> std::fmt::Display for Wire<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(word) => word.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl<E: JsonSchema> JsonSchema for Wire<E> {
    fn schema_name() -> Cow<'static, str> {
        E::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        E::json_schema(generator)
    }

    fn inline_schema() -> bool {
        E::inline_schema()
    }
}

/// What Go's `omitempty` leaves out.
pub(crate) trait Absent {
    /// Whether the value is left out when written.
    fn absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Absent for BTreeMap<K, V> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for String {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for bool {
    fn absent(&self) -> bool {
        !*self
    }
}

impl Absent for i32 {
    fn absent(&self) -> bool {
        *self == 0
    }
}

impl Absent for i64 {
    fn absent(&self) -> bool {
        *self == 0
    }
}

/// Reads a record of ours that lies in an object of others: one that does not parse counts as none, since a record nobody
/// can read proves nothing, and must not hide the object it lies in.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(raw.and_then(|value| serde_json::from_value(value).ok()))
}

/// Declares structs of the wire: camelCase, nothing required to parse, nothing absent written.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )* }
    )+) => { $(
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        #[schemars(extend("x-type" = stringify!($name)))]
        $(#[$meta])*
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::shared::Absent::absent")]
                pub $field: $type,
            )*
        }
    )+ };
}

/// Declares a closed set of words; the words on the wire are the variants' names.
macro_rules! wire_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident, )+ }
    )+) => { $(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => stringify!($variant), )+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$( stringify!($variant), )+] })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )+ };
}

pub(crate) use {wire, wire_enum};
