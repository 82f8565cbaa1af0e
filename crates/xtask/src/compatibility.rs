//! What a released schema promised, and what a changed one takes back. Pure but for the reading of the baselines.
//!
//! A baseline holds the schemas of one released version without their descriptions, each part that stands in several places
//! once. It is written when a version is released (`cargo xtask baseline`) and never changed afterwards.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, bail, ensure};
use backproof_api::crd::Definition;
use serde_json::{Map, Value, json};

/// Where the baselines lie.
pub const DIRECTORY: &str = "crates/api/released";
/// Parts of a schema shorter than this are written out where they stand.
const WORTH_SHARING: usize = 120;
/// What a schema may hold that only describes.
const WORDS: [&str; 2] = ["description", "x-type"];
/// Limits that narrow when they fall.
const UPPER: [&str; 5] = ["maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"];
/// Limits that narrow when they rise.
const LOWER: [&str; 5] = ["minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"];
/// What may not change at all: objects or clients depend on it as it is.
const FIXED: [&str; 7] =
    ["type", "format", "pattern", "default", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-map-type"];

/// The baseline of these definitions, as text.
pub fn baseline(definitions: &[Definition]) -> anyhow::Result<String> {
    let mut shared = Shared::default();
    let kinds: Map<String, Value> = definitions.iter().map(|definition| (definition.kind.clone(), kind(definition, &mut shared))).collect();
    let mut text = serde_json::to_string(&json!({ "kinds": kinds })).context("cannot write JSON")?;
    // One part per line, so that a diff can be read.
    ensure!(text.pop() == Some('}'), "a JSON object ends with a brace");
    text.push_str(",\"parts\":[\n");
    let parts: Result<Vec<_>, _> = shared.parts.iter().map(serde_json::to_string).collect();
    text.push_str(&parts.context("cannot write JSON")?.join(",\n"));
    text.push_str("\n]}\n");
    Ok(text)
}

fn kind(definition: &Definition, shared: &mut Shared) -> Value {
    json!({ "group": definition.group, "names": definition.object["spec"]["names"], "scope": definition.object["spec"]["scope"],
        "schema": shared.shorten(definition.schema()) })
}

/// Parts that stand in several places.
#[derive(Default)]
struct Shared {
    parts: Vec<Value>,
    numbers: HashMap<String, usize>,
}

impl Shared {
    /// A schema without its words, its larger parts replaced by their numbers.
    fn shorten(&mut self, schema: &Value) -> Value {
        let Value::Object(object) = schema else { return schema.clone() };
        let mut short = Map::new();
        for (key, value) in object.iter().filter(|(key, _)| !WORDS.contains(&key.as_str())) {
            let value = match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    properties.iter().map(|(name, property)| (name.clone(), self.shorten(property))).collect::<Map<_, _>>().into()
                }
                ("items" | "additionalProperties" | "not", value) => self.shorten(value),
                (_, value) => value.clone(),
            };
            short.insert(key.clone(), value);
        }
        let short = Value::Object(short);
        let text = short.to_string();
        if text.len() < WORTH_SHARING {
            return short;
        }
        let next = self.parts.len();
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.parts.push(short);
        }
        json!({ "part": number })
    }
}

/// What the definitions take back of every baseline below this root: empty if nothing.
pub fn taken_back(root: &Path, definitions: &[Definition]) -> anyhow::Result<Vec<String>> {
    let directory = root.join(DIRECTORY);
    let mut taken = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        let version = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let released: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        taken.extend(compare(&released, definitions)?.into_iter().map(|line| format!("{version}: {line}")));
        seen += 1;
    }
    ensure!(seen > 0, "{} holds no baseline", directory.display());
    Ok(taken)
}

/// What these definitions take back of one baseline.
pub fn compare(released: &Value, definitions: &[Definition]) -> anyhow::Result<Vec<String>> {
    let (Some(kinds), Some(parts)) = (released["kinds"].as_object(), released["parts"].as_array()) else {
        bail!("a baseline has kinds and parts");
    };
    let mut taken = Vec::new();
    for (name, before) in kinds {
        let Some(definition) = definitions.iter().find(|definition| definition.kind == *name) else {
            taken.push(format!("{name}: the kind is gone"));
            continue;
        };
        let now = kind(definition, &mut Shared::default());
        for field in ["group", "names", "scope"] {
            if before[field] != now[field] {
                taken.push(format!("{name}: {field} was {}, is {}", before[field], now[field]));
            }
        }
        Comparison { parts, taken: &mut taken }.schemas(name, &before["schema"], definition.schema());
    }
    Ok(taken)
}

/// Whether a limit that was `old` and is `new` lets less through.
type Narrower = fn(f64, f64) -> bool;

struct Comparison<'a> {
    parts: &'a [Value],
    taken: &'a mut Vec<String>,
}

impl<'a> Comparison<'a> {
    /// A part of the baseline, wherever it is written.
    fn written_out<'b>(&self, schema: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        let number = schema.get("part").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.parts.get(number)).unwrap_or(schema)
    }

    fn schemas(&mut self, path: &str, before: &Value, now: &Value) {
        let before = self.written_out(before).clone();
        for key in FIXED {
            if before.get(key) != now.get(key) {
                self.tell(path, key, before.get(key), now.get(key));
            }
        }
        self.limits(path, &before, now);
        self.words(path, &before, now);
        self.rules(path, &before, now);
        let open = |schema: &Value| schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        if open(&before) && !open(now) {
            self.taken.push(format!("{path}: unknown fields are kept no more"));
        }
        for (name, property) in before.get("properties").and_then(Value::as_object).into_iter().flatten() {
            match now.get("properties").and_then(|properties| properties.get(name)) {
                Some(now) => self.schemas(&format!("{path}.{name}"), property, now),
                None => self.taken.push(format!("{path}.{name}: the field is gone")),
            }
        }
        for (key, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            match (before.get(key), now.get(key)) {
                (Some(before @ Value::Object(_)), Some(now @ Value::Object(_))) => self.schemas(&format!("{path}{suffix}"), before, now),
                (before, now) if before != now => self.tell(path, key, before, now),
                (_, _) => {}
            }
        }
    }

    fn limits(&mut self, path: &str, before: &Value, now: &Value) {
        let number = |schema: &Value, key: &str| schema.get(key).and_then(Value::as_f64);
        let sides: [(&[&str], Narrower); 2] = [(&UPPER, |old, new| new < old), (&LOWER, |old, new| new > old)];
        for (keys, narrower) in sides {
            for key in keys {
                let Some(new) = number(now, key) else { continue };
                if number(before, key).is_none_or(|old| narrower(old, new)) {
                    self.tell(path, key, before.get(key), now.get(key));
                }
            }
        }
    }

    fn words(&mut self, path: &str, before: &Value, now: &Value) {
        let list = |schema: &Value, key: &str| schema.get(key).and_then(Value::as_array).cloned();
        if let Some(new) = list(now, "enum")
            && list(before, "enum").is_none_or(|old| old.iter().any(|word| !new.contains(word)))
        {
            self.tell(path, "enum", before.get("enum"), now.get("enum"));
        }
        let old = list(before, "required").unwrap_or_default();
        for name in list(now, "required").unwrap_or_default().iter().filter(|name| !old.contains(name)) {
            self.taken.push(format!("{path}: {name} is required now"));
        }
    }

    fn rules(&mut self, path: &str, before: &Value, now: &Value) {
        let rules = |schema: &Value| -> Vec<Value> {
            let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array).cloned().unwrap_or_default();
            // A field named like a word of CEL has two spellings, of which servers before 1.31 know one.
            rules.into_iter().filter_map(|rule| Some(rule["rule"].as_str()?.replace("__function__", "function").into())).collect()
        };
        let old = rules(before);
        for rule in rules(now).iter().filter(|rule| !old.contains(rule)) {
            self.taken.push(format!("{path}: there is a further rule: {rule}"));
        }
    }

    fn tell(&mut self, path: &str, what: &str, before: Option<&Value>, now: Option<&Value>) {
        let text = |value: Option<&Value>| value.map_or("not there".to_owned(), Value::to_string);
        self.taken.push(format!("{path}: {what} was {}, is {}", text(before), text(now)));
    }
}
