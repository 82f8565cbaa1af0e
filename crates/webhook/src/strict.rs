//! JSON in which every key stands once. Two readers of a doubled key may take different values for it: such a body is refused.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads a body of UTF-8 JSON; how deep it may nest is bounded by the parser.
pub fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(body).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Once).map(Self)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands there twice")));
            }
            let Strict(value) = entries.next_value()?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_every_key_once_is_read_as_it_is() {
        for value in [json!(null), json!([1, -2, 3.5, u64::MAX, "a", true]), json!({"a": {"b": [{"a": 1}]}, "b": {}})] {
            assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        }
    }

    #[test]
    fn what_has_a_key_twice_is_refused_by_name() {
        for body in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "c": 2, "a": 3}}]"#, r#"{"\u0061": 1, "a": 2}"#] {
            assert!(read(body.as_bytes()).unwrap_err().to_string().starts_with("the key \"a\" stands there twice"), "{body}");
        }
    }

    #[test]
    fn hostile_bodies_are_faults_and_no_more() {
        let deep = "[".repeat(200_000);
        let wide = format!("[{}1]", "1,".repeat(100_000));
        for body in [deep.as_bytes(), b"1e999", b"\"\xff\"", b"{\"a\":", b"\"\\ud800\"", b"", b"nul"] {
            assert!(read(body).is_err());
        }
        assert!(read(wide.as_bytes()).is_ok());
    }
}
