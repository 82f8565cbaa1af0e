//! From an HTTP request to what is asked for.

use bytes::Bytes;
use http::{Method, header, request::Parts};
use serde_json::Value;

use super::{
    kind::{self, Kind},
    object::Key,
};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Several.
    List,
    /// A new one.
    Create,
    /// Another one in its place.
    Replace,
    /// A merge patch.
    Merge,
    /// A server-side apply.
    Apply,
    /// Away with it.
    Delete,
}

/// Which part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Status,
}

/// One call that is understood.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) kind: &'static Kind,
    /// Empty for all namespaces.
    pub(super) namespace: String,
    /// Empty for lists, and for a new object, whose name is in its body.
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) metadata_only: bool,
    /// Requirements on labels, and on `metadata.name`.
    pub(super) selector: Vec<Requirement>,
    pub(super) body: Value,
}

impl Call {
    pub(super) fn key(&self) -> Key {
        Key { kind: self.kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// One requirement of a selector.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    Exists(String),
    Equals(String, String),
    Named(String),
}

pub(super) enum Parsed {
    Call(Call),
    Event(Bytes),
    Strange(u16, String),
}

pub(super) fn parse(head: &Parts, body: &Bytes) -> Parsed {
    let (method, uri) = (&head.method, &head.uri);
    let strange = |status, why: &str| Parsed::Strange(status, format!("{method} {uri}: {why}"));
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let (api_version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return strange(404, "no such path"),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] => (*namespace, [&[*plural], rest].concat()),
        rest => ("", rest.to_vec()),
    };
    if api_version == "events.k8s.io/v1" && rest.first() == Some(&"events") && (method == Method::POST || method == Method::PATCH) {
        return Parsed::Event(body.clone());
    }
    let (plural, name, part) = match rest.as_slice() {
        [plural] => (*plural, "", Part::Whole),
        [plural, name] => (*plural, *name, Part::Whole),
        [plural, name, "status"] => (*plural, *name, Part::Status),
        _ => return strange(404, "no such subresource"),
    };
    let Some(kind) = kind::of_path(&api_version, plural) else { return strange(404, "no such kind") };
    if part == Part::Status && !kind.status {
        return strange(404, "no status subresource");
    }
    let header = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let verb = match (method.as_str(), name.is_empty(), header(header::CONTENT_TYPE)) {
        ("GET", true, _) => Verb::List,
        ("GET", false, _) => Verb::Get,
        ("POST", true, _) => Verb::Create,
        ("PUT", false, _) => Verb::Replace,
        ("PATCH", false, "application/merge-patch+json") => Verb::Merge,
        ("PATCH", false, "application/apply-patch+yaml") => Verb::Apply,
        ("DELETE", false, _) => Verb::Delete,
        _ => return strange(405, "no such verb here"),
    };
    let query = uri.query().unwrap_or_default();
    let Some(selector) = selector(verb, query) else { return strange(400, "no such parameter") };
    if verb.writes() && verb != Verb::Delete && body.is_empty() {
        return strange(400, "no body");
    }
    let parsed = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let Ok(body) = parsed else { return strange(400, "body is no JSON") };
    let namespace = namespace.to_owned();
    let metadata_only = header(header::ACCEPT).contains("PartialObjectMetadata");
    Parsed::Call(Call { verb, kind, namespace, name: name.to_owned(), part, metadata_only, selector, body })
}

/// `None` for a parameter that is not known: what it would change must not be ignored.
fn selector(verb: Verb, query: &str) -> Option<Vec<Requirement>> {
    let mut all = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        match (verb, key) {
            (Verb::List, "labelSelector") => {
                all.extend(value.split(',').filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
                    Some((key, value)) => Requirement::Equals(key.to_owned(), value.trim_start_matches('=').to_owned()),
                    None => Requirement::Exists(part.to_owned()),
                }));
            }
            (Verb::List, "fieldSelector") => all.push(Requirement::Named(value.strip_prefix("metadata.name=")?.to_owned())),
            // Everything fits into one page, whatever size was asked for.
            (Verb::List, "limit") | (Verb::Apply, "fieldManager" | "force") => {}
            (Verb::Get | Verb::List | Verb::Create | Verb::Replace | Verb::Merge | Verb::Apply | Verb::Delete, _) => return None,
        }
    }
    Some(all)
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(b'?')
            }
            b'+' => b' ',
            other => other,
        };
        out.push(decoded);
    }
    String::from_utf8_lossy(&out).into_owned()
}
