//! One version of one object, never changed once it is made.

use std::{
    any::{Any, type_name},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::Kind;

/// What an object is found by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key by the kind's name.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        let kind = super::kind::named(kind);
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        Self { kind, namespace, name: name.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name, self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One version of one object. What is made of it is made once: thousands of worlds share it.
#[derive(Debug)]
pub struct Object {
    value: Value,
    text: OnceLock<Bytes>,
    digest: OnceLock<u64>,
    read: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Object {
    pub(super) fn new(value: Value) -> Self {
        Self { value, text: OnceLock::new(), digest: OnceLock::new(), read: OnceLock::new() }
    }

    /// The whole of it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// As JSON.
    pub fn text(&self) -> &Bytes {
        self.text.get_or_init(|| Bytes::from(self.value.to_string()))
    }

    /// As a type, always the same one for a kind.
    ///
    /// # Panics
    /// When it is not such an object, or was read as another type before: a test mixes them up.
    pub fn read<K: DeserializeOwned + Any + Send + Sync>(&self) -> &K {
        let wrong = |what: &str| -> ! { unreachable!("{} is no {}: {what}", self.text_at("/metadata/name"), type_name::<K>()) };
        let parse = || match K::deserialize(&self.value) {
            Ok(read) => Box::new(read) as Box<dyn Any + Send + Sync>,
            Err(error) => wrong(&error.to_string()),
        };
        self.read.get_or_init(parse).downcast_ref().unwrap_or_else(|| wrong("it was read as another type"))
    }

    /// A hash of everything but its resourceVersion.
    pub fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            digest(&self.value, &mut hasher);
            hasher.finish()
        })
    }

    /// The value at a JSON pointer without escapes; `Null` where nothing is. (serde_json's own makes two strings of each step.)
    pub fn at(&self, pointer: &str) -> &Value {
        pointer.split('/').skip(1).fold(&self.value, |value, step| match value.as_array() {
            Some(items) => step.parse().ok().and_then(|at: usize| items.get(at)).unwrap_or(&Value::Null),
            None => &value[step],
        })
    }

    /// A text at a JSON pointer; empty where none is.
    pub fn text_at(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.text_at("/metadata/uid")
    }

    /// Its resourceVersion.
    pub fn version(&self) -> &str {
        self.text_at("/metadata/resourceVersion")
    }

    /// A label; empty where it is not set.
    pub fn label(&self, key: &str) -> &str {
        self.at("/metadata/labels").get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// An annotation; empty where it is not set.
    pub fn annotation(&self, key: &str) -> &str {
        self.at("/metadata/annotations").get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_string()
    }

    /// Whether it has a finalizer.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.at("/metadata/finalizers").as_array().is_some_and(|all| all.iter().any(|finalizer| finalizer == name))
    }

    /// Its owners.
    pub fn owners(&self) -> &[Value] {
        self.at("/metadata/ownerReferences").as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Maps in the order of their keys, whatever order they were written in; versions left out.
fn digest(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(hasher),
        Value::Bool(truth) => truth.hash(hasher),
        Value::Number(number) => number.hash(hasher),
        Value::String(text) => text.hash(hasher),
        Value::Array(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| digest(item, hasher));
        }
        Value::Object(map) => {
            let sum = map.iter().filter(|(key, _)| *key != "resourceVersion").fold(0u64, |sum, (key, value)| {
                let mut own = DefaultHasher::new();
                key.hash(&mut own);
                digest(value, &mut own);
                sum.wrapping_add(own.finish())
            });
            sum.hash(hasher);
        }
    }
}
