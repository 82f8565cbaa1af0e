//! Walks the rows over a schema, and the schema over the rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use backproof_api::crd::cel;
use serde_json::{Value, json};

use crate::table::{Line, read};

/// CEL rules; ours alone.
const RULES: &str = "x-kubernetes-validations";
/// Keywords that say nothing about what is accepted.
const HARMLESS: [&str; 6] = [
    "description",
    "x-kubernetes-map-type",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "properties",
];
/// Keywords whose value a row decides.
const DECIDED: [&str; 9] =
    ["type", "format", "items", "additionalProperties", "required", "default", "enum", "minimum", "x-kubernetes-preserve-unknown-fields"];

/// The tables, which of their rows were used, and what is wrong.
pub(crate) struct Walk {
    fields: Rc<Vec<Line>>,
    shared: BTreeMap<String, Rc<Vec<Line>>>,
    embedded: BTreeMap<String, Rc<Vec<Line>>>,
    structure: BTreeMap<String, Rc<Vec<Line>>>,
    ours: Rc<Vec<Line>>,
    rules: Rc<Vec<Line>>,
    used: BTreeSet<String>,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

/// Which paths of one kind the rows explain.
#[derive(Default)]
struct Explained {
    fields: BTreeSet<String>,
    embedded: BTreeSet<String>,
}

impl Walk {
    pub(crate) fn new() -> Self {
        let group = |name: &str| {
            let mut groups: BTreeMap<String, Vec<Line>> = BTreeMap::new();
            for line in read(name) {
                groups.entry(line.get("owner").to_owned()).or_default().push(line);
            }
            groups.into_iter().map(|(owner, lines)| (owner, Rc::new(lines))).collect()
        };
        Self {
            fields: Rc::new(read("fields.tsv")),
            shared: group("shared.tsv"),
            embedded: group("embedded.tsv"),
            structure: group("structure.tsv"),
            ours: Rc::new(read("ours.tsv")),
            rules: Rc::new(read("ours-rules.tsv")),
            used: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Walks one kind in both directions.
    pub(crate) fn kind(&mut self, kind: &str, schema: &Value) {
        let mut explained = Explained::default();
        for line in self.fields.clone().iter().filter(|line| line.get("owner") == kind) {
            self.row(kind, schema, "", line, &mut explained);
        }
        self.marks(kind, kind, "", schema);
        self.rules(kind, "", schema);
        for part in ["spec", "status"] {
            if let Some(schema) = schema["properties"].get(part) {
                explained.fields.insert(part.into());
                self.explains(kind, part, schema, &explained);
            }
        }
    }

    /// Every row was used by some kind.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let tables = [&self.shared, &self.embedded, &self.structure];
        let rows = self
            .fields
            .iter()
            .chain(self.ours.iter())
            .chain(self.rules.iter())
            .chain(tables.into_iter().flat_map(|table| table.values().flat_map(|lines| lines.iter())));
        let unused: Vec<_> = rows
            .filter(|line| !self.used.contains(&line.place))
            .map(|line| format!("{}: nothing in any CRD answers to it", line.place))
            .collect();
        self.faults.extend(unused);
        self.faults
    }

    fn fault(&mut self, kind: &str, path: &str, line: &Line, what: &str) {
        self.faults.push(format!("{}: {kind} {path}: {what}", line.place));
    }

    /// One row below `base`: the path exists, and type, default, words, minimum and requiredness are those of the row.
    fn row(&mut self, kind: &str, root: &Value, base: &str, line: &Line, explained: &mut Explained) {
        self.used.insert(line.place.clone());
        let path = if base.is_empty() { line.get("path").to_owned() } else { format!("{base}.{}", line.get("path")) };
        let (Some(node), Some(parent)) = (resolve(root, &path), parent(root, &path)) else {
            return self.fault(kind, &path, line, "is missing");
        };
        explained.fields.insert(path.clone());
        let name = path.rsplit('.').next().unwrap_or_default();
        let required = parent.get("required").and_then(Value::as_array).is_some_and(|required| required.iter().any(|one| one == name));
        if required != line.yes("required") {
            self.fault(kind, &path, line, &format!("required is {required}"));
        }
        let expected = [("default", default(line)), ("enum", words(line)), ("minimum", minimum(line))];
        for (key, expected) in expected {
            if node.get(key) != expected.as_ref() {
                self.fault(kind, &path, line, &format!("{key} is {:?}", node.get(key)));
            }
        }
        self.type_of(kind, root, &path, line.get("type"), line, explained);
    }

    fn type_of(&mut self, kind: &str, root: &Value, path: &str, wanted: &str, line: &Line, explained: &mut Explained) {
        let Some(node) = resolve(root, path) else { return self.fault(kind, path, line, "has no such items") };
        if let Some(items) = wanted.strip_prefix("[]") {
            if node.get("type") != Some(&json!("array")) {
                self.fault(kind, path, line, &format!("is no list but {}", node["type"]));
            }
            return self.type_of(kind, root, &format!("{path}[]"), items, line, explained);
        }
        if let Some(values) = wanted.strip_prefix("map[string]") {
            if node.get("type") != Some(&json!("object")) || node.get("properties").is_some() {
                self.fault(kind, path, line, "is no map");
            }
            return self.type_of(kind, root, &format!("{path}.<key>"), values, line, explained);
        }
        explained.fields.insert(path.to_owned());
        if let Some(name) = wanted.strip_prefix("k8s:") {
            explained.embedded.insert(path.to_owned());
            for row in self.embedded.get(name).cloned().unwrap_or_default().iter() {
                self.embedded_row(kind, root, path, row);
            }
        }
        let simple = match wanted {
            "string" | "duration" => Some(("string", None)),
            "time" => Some(("string", Some("date-time"))),
            "bool" => Some(("boolean", None)),
            "int32" => Some(("integer", Some("int32"))),
            "int64" => Some(("integer", Some("int64"))),
            "int" => Some(("integer", None)),
            "double" => Some(("number", Some("double"))),
            _ => None,
        };
        match simple {
            Some((name, format)) => {
                if node["type"] != name || node.get("format").and_then(Value::as_str) != format {
                    self.fault(kind, path, line, &format!("is {} with format {:?}, not {wanted}", node["type"], node.get("format")));
                }
            }
            None => self.object(kind, root, path, wanted, line, explained),
        }
    }

    fn object(&mut self, kind: &str, root: &Value, path: &str, wanted: &str, line: &Line, explained: &mut Explained) {
        let Some(node) = resolve(root, path) else { return };
        if node.get("type") != Some(&json!("object")) {
            self.fault(kind, path, line, &format!("is no object but {}", node["type"]));
        }
        let keeps_unknown = node.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        if keeps_unknown != (wanted == "freeform") {
            self.fault(kind, path, line, &format!("keeps unknown fields: {keeps_unknown}"));
        }
        if wanted == "object" || wanted == "freeform" || wanted.starts_with("k8s:") {
            return;
        }
        let Some(rows) = self.shared.get(wanted).cloned() else {
            return self.fault(kind, path, line, &format!("has the unknown type {wanted}"));
        };
        for row in rows.iter() {
            self.row(kind, root, path, row, explained);
        }
        self.marks(kind, wanted, path, root);
    }

    fn embedded_row(&mut self, kind: &str, root: &Value, base: &str, line: &Line) {
        self.used.insert(line.place.clone());
        let path = format!("{base}.{}", line.get("path"));
        let (Some(node), Some(parent)) = (resolve(root, &path), parent(root, &path)) else {
            return self.fault(kind, &path, line, "is missing");
        };
        let wanted = match line.get("type") {
            "bool" => "boolean",
            other => other,
        };
        if node["type"] != wanted {
            self.fault(kind, &path, line, &format!("is {}", node["type"]));
        }
        let name = path.rsplit('.').next().unwrap_or_default();
        let required = parent.get("required").and_then(Value::as_array).is_some_and(|required| required.iter().any(|one| one == name));
        if required != line.yes("required") {
            self.fault(kind, &path, line, &format!("required is {required}"));
        }
    }

    /// How lists and maps of a type merge.
    fn marks(&mut self, kind: &str, owner: &str, base: &str, root: &Value) {
        for line in self.structure.get(owner).cloned().unwrap_or_default().iter() {
            self.used.insert(line.place.clone());
            let path = [base, line.get("path")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
            let found = resolve(root, &path).and_then(|node| node.get(line.get("key"))).map(|value| match value.as_array() {
                Some(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                None => value.as_str().unwrap_or_default().to_owned(),
            });
            if found.as_deref() != Some(line.get("value")) {
                self.fault(kind, &path, line, &format!("{} is {found:?}", line.get("key")));
            }
        }
    }

    /// Everything in the schema is explained by a row, is ours, or lies inside a Kubernetes type; and nothing limits what no row limits.
    fn explains(&mut self, kind: &str, path: &str, node: &Value, explained: &Explained) {
        if explained.embedded.contains(path) {
            return self.inside_kubernetes(kind, path, node);
        }
        if !explained.fields.contains(path) {
            let allowed: Vec<_> = self.ours.iter().filter(|line| line.get("owner") == kind && line.get("path") == path).cloned().collect();
            match allowed.as_slice() {
                [line] => {
                    assert!(!line.get("reason").is_empty(), "{}: a deviation needs a reason", line.place);
                    self.used.insert(line.place.clone());
                }
                _ => self.faults.push(format!("{kind} {path}: is neither upstream's nor listed once in ours.tsv")),
            }
            return;
        }
        let Some(object) = node.as_object() else { return };
        self.rules(kind, path, node);
        for key in object.keys().filter(|key| !HARMLESS.contains(&key.as_str()) && !DECIDED.contains(&key.as_str()) && *key != RULES) {
            self.faults.push(format!("{kind} {path}: {key} limits what upstream does not"));
        }
        for (child_path, child) in children(path, node) {
            self.explains(kind, &child_path, child, explained);
        }
    }

    /// CEL rules stand where they are listed by name, and nowhere else; each lets pass what broke it before.
    fn rules(&mut self, kind: &str, path: &str, node: &Value) {
        let listed: Vec<_> = self.rules.iter().filter(|line| line.get("owner") == kind && line.get("path") == path).cloned().collect();
        self.used.extend(listed.iter().map(|line| line.place.clone()));
        let found = node.get(RULES).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let expected = cel::ids(kind, path.is_empty());
        let names: Vec<_> = listed.iter().map(|line| line.get("rule")).collect();
        let limits = !found.is_empty() && path != "spec" && !path.is_empty();
        let expected = if path == "spec" || path.is_empty() { expected } else { Vec::new() };
        if names != expected || found.len() != expected.len() || limits {
            self.faults.push(format!("{kind} {path}: {} CEL rules, named {expected:?}, but ours-rules.tsv lists {names:?}", found.len()));
        }
        for rule in found {
            let text = rule["rule"].as_str().unwrap_or_default();
            let ratchets = rule["optionalOldSelf"] == true && text.contains("|| (oldSelf.hasValue() && !(");
            let compares = rule.get("optionalOldSelf").is_none() && text.contains("oldSelf");
            if !ratchets && !compares {
                self.faults.push(format!("{kind} {path}: a rule that stops objects from before it: {text}"));
            }
        }
    }

    fn inside_kubernetes(&mut self, kind: &str, path: &str, node: &Value) {
        const ALLOWED: [&str; 6] = ["type", "format", "items", "additionalProperties", "required", "default"];
        let Some(object) = node.as_object() else { return };
        for (key, value) in object.iter().filter(|(key, _)| !HARMLESS.contains(&key.as_str())) {
            if !ALLOWED.contains(&key.as_str()) || (key == "default" && value != "") {
                self.faults.push(format!("{kind} {path}: {key} inside a Kubernetes type"));
            }
        }
        for (child_path, child) in children(path, node) {
            self.inside_kubernetes(kind, &child_path, child);
        }
    }
}

fn children<'a>(path: &str, node: &'a Value) -> Vec<(String, &'a Value)> {
    let mut children: Vec<(String, &Value)> = Vec::new();
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        children.extend(properties.iter().map(|(name, child)| (format!("{path}.{name}"), child)));
    }
    if let Some(items) = node.get("items") {
        children.push((format!("{path}[]"), items));
    }
    if let Some(values) = node.get("additionalProperties").filter(|values| values.is_object()) {
        children.push((format!("{path}.<key>"), values));
    }
    children
}

fn resolve<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(root, |node, part| {
        if part.trim_end_matches("[]") == "<key>" {
            return node.get("additionalProperties");
        }
        let mut node = node.get("properties")?.get(part.trim_end_matches("[]"))?;
        for _ in 0..part.matches("[]").count() {
            node = node.get("items")?;
        }
        Some(node)
    })
}

fn parent<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    match path.rsplit_once('.') {
        Some((parent, _)) => resolve(root, parent),
        None => Some(root),
    }
}

fn default(line: &Line) -> Option<Value> {
    match (line.get("default"), line.get("type")) {
        ("", _) => None,
        ("\"\"", _) => Some(json!("")),
        (text, "bool" | "int32" | "int64" | "int") => serde_json::from_str(text).ok(),
        (text, _) => Some(json!(text)),
    }
}

fn words(line: &Line) -> Option<Value> {
    let words = line.list("enum");
    (!words.is_empty()).then(|| json!(words))
}

fn minimum(line: &Line) -> Option<Value> {
    serde_json::from_str(line.get("minimum")).ok()
}
