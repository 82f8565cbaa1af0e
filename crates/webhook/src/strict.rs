//! JSON in which every key stands once. Two readers of a doubled key may take different values for it: such a body is refused.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads a body of UTF-8 JSON of at most so many values; how deep it may nest is bounded by the parser.
///
/// A value takes far more memory than the two bytes that write it, so the size of a body says little about its cost.
pub fn read(body: &[u8], most: usize) -> Result<Value, serde_json::Error> {
    let left = Cell::new(most);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Once { left: &left, most }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// At least as many values as a body holds, without reading it.
pub fn values(body: &[u8]) -> usize {
    1 + body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

/// What one value is read by.
#[derive(Clone, Copy)]
struct Once<'a> {
    left: &'a Cell<usize>,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(de::Error::custom(format_args!("it holds more than {} values", self.most))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
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
        while let Some(item) = items.next_element_seed(self)? {
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
            let value = entries.next_value_seed(self)?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
        super::read(body, 1_000_000)
    }

    #[test]
    fn more_values_than_allowed_are_not_read() {
        for (body, count) in [("1", 1), ("[]", 1), ("[1, 2]", 3), (r#"{"a": 1, "b": [{"c": 1}]}"#, 5), (r#"{"a": "x,[{"}"#, 2)] {
            assert!(super::read(body.as_bytes(), count).is_ok(), "{body}");
            let error = super::read(body.as_bytes(), count - 1).unwrap_err().to_string();
            assert!(error.starts_with(&format!("it holds more than {} values", count - 1)), "{error}");
            assert!(values(body.as_bytes()) >= count, "{body}");
        }
    }

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
