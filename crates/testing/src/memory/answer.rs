//! From a call to the answer of the API server.

use bytes::Bytes;
use http::{Response, header};
use kube::client::Body;
use serde_json::{Value, json};

use super::{
    merge,
    object::Object,
    request::{Call, Requirement, Verb},
    store::{By, Propagation, Refused, Store},
};

pub(super) fn of(store: &mut Store, call: Call) -> Response<Body> {
    let done = match call.verb {
        Verb::Get => store.get(&call.key()).map(|object| (200, one(&call, object))).ok_or_else(|| missing(&call)),
        Verb::List => Ok((200, list(store, &call))),
        Verb::Create => create(store, &call),
        Verb::Replace | Verb::Merge => change(store, &call),
        Verb::Apply => apply(store, &call),
        Verb::Delete => delete(store, &call),
    };
    match done {
        Ok((code, text)) => raw(code, text),
        Err(Refused { code, reason, message }) => status(code, reason, &message),
    }
}

fn missing(call: &Call) -> Refused {
    Refused { code: 404, reason: "NotFound", message: format!("{} {:?} not found", call.kind.plural, call.name) }
}

fn one(call: &Call, object: &Object) -> Bytes {
    if call.metadata_only { metadata(object).to_string().into() } else { object.text().clone() }
}

fn metadata(object: &Object) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object.at("/metadata") })
}

fn list(store: &Store, call: &Call) -> Bytes {
    let mut text = Vec::with_capacity(4096);
    let kind = if call.metadata_only { "PartialObjectMetadata" } else { call.kind.name };
    text.extend_from_slice(
        format!(r#"{{"apiVersion":"{}","kind":"{kind}List","metadata":{{"resourceVersion":"1"}},"items":["#, call.kind.api_version)
            .as_bytes(),
    );
    let found = store
        .all(call.kind.name)
        .filter(|(key, _)| call.namespace.is_empty() || key.namespace == call.namespace)
        .filter(|(key, object)| call.selector.iter().all(|requirement| fits(requirement, &key.name, object)));
    for (at, (_, object)) in found.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&one(call, object));
    }
    text.extend_from_slice(b"]}");
    text.into()
}

fn fits(requirement: &Requirement, name: &str, object: &Object) -> bool {
    match requirement {
        Requirement::Exists(key) => object.at("/metadata/labels").get(key).is_some(),
        Requirement::Equals(key, value) => object.at("/metadata/labels").get(key).is_some_and(|label| label == value),
        Requirement::Named(wanted) => wanted == name,
    }
}

fn create(store: &mut Store, call: &Call) -> Result<(u16, Bytes), Refused> {
    let object = store.create(By::Client, whole(call))?;
    Ok((201, one(call, &object)))
}

/// The body with kind and namespace, which the path already says.
fn whole(call: &Call) -> Value {
    let mut value = call.body.clone();
    value["kind"] = call.kind.name.into();
    value["apiVersion"] = call.kind.api_version.into();
    if call.kind.namespaced {
        value["metadata"]["namespace"] = call.namespace.clone().into();
    }
    if !call.name.is_empty() {
        value["metadata"]["name"] = call.name.clone().into();
    }
    value
}

fn change(store: &mut Store, call: &Call) -> Result<(u16, Bytes), Refused> {
    let object = store.write(By::Client, &call.key(), call.part, false, |value| {
        if call.verb == Verb::Replace {
            *value = whole(call);
        } else {
            // The version asked for is the patch's, not the one that happens to be there.
            merge::merge(value, &call.body);
        }
    })?;
    Ok((200, one(call, &object)))
}

fn apply(store: &mut Store, call: &Call) -> Result<(u16, Bytes), Refused> {
    if store.get(&call.key()).is_none() {
        return create(store, call);
    }
    let object = store.write(By::Client, &call.key(), call.part, false, |value| merge::apply(value, &whole(call)))?;
    Ok((200, one(call, &object)))
}

fn delete(store: &mut Store, call: &Call) -> Result<(u16, Bytes), Refused> {
    let text = |pointer: &str| call.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let propagation = match text("/propagationPolicy") {
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        "" | "Background" => Propagation::Background,
        other => return Err(Refused { code: 400, reason: "BadRequest", message: format!("propagationPolicy {other:?}") }),
    };
    let (uid, version) = (text("/preconditions/uid"), text("/preconditions/resourceVersion"));
    store.delete_exactly(By::Client, &call.key(), propagation, uid, version)?;
    Ok((200, json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success" }).to_string().into()))
}

pub(super) fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    raw(code, body.to_string().into())
}

pub(super) fn raw(code: u16, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

pub(super) fn reason(code: u16) -> &'static str {
    match code {
        403 => "Forbidden",
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    }
}
