//! What leaves a cluster in a support bundle: no secret in any place one may stand. Pure.
//!
//! Invariant: of what may hold anything (values of environment variables, commands, foreign annotations, parameters) only what is known
//! to be harmless stays; everything else stays unless it looks like a secret.

use backproof_api::{Cause, environment};
use serde_json::Value;

/// What stands where something was taken out.
pub const REDACTED: &str = "REDACTED";

/// Words in the name of something that is secret.
const WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "accesskey",
    "access_key",
    "apikey",
    "api_key",
    "privatekey",
    "private_key",
    "authorization",
    "fingerprint",
];
/// Keys with such a word whose value is the name of an object, or of a key in it.
const REFERENCES: [&str; 6] = ["secretName", "secretNamespace", "secretKey", "secretRef", "serviceAccountToken", "nodePublishSecretRef"];
/// Variables whose values say nothing that is secret.
const HARMLESS: [&str; 4] = ["RUST_LOG", "RUST_BACKTRACE", environment::S3_REGION, environment::S3_ALLOW_HTTP];
/// Domains whose annotations are known; what stands below others may be anything.
const DOMAINS: [&str; 4] = ["backproof.dev", "kubestash.com", "kubernetes.io", "k8s.io"];
/// A copy of the whole object as somebody wrote it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes what may be secret out of an object.
pub fn object(value: &mut Value) {
    if let Some(meta) = value["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    if matches!(value["kind"].as_str(), Some("Secret" | "ConfigMap")) {
        for key in ["data", "stringData", "binaryData"] {
            value.as_object_mut().and_then(|object| object.remove(key));
        }
    }
    inside(value);
}

fn inside(value: &mut Value) {
    match value {
        Value::String(held) => *held = text(held),
        Value::Array(items) => items.iter_mut().for_each(inside),
        Value::Object(_) => {
            words(value);
            named_value(value);
            let Value::Object(object) = value else { return };
            for (key, inner) in object.iter_mut() {
                match key.as_str() {
                    "annotations" | "podAnnotations" | "serviceAccountAnnotations" => annotations(inner),
                    "params" | "volumeAttributes" | "options" if inner.is_object() => leaves(inner),
                    // What stands there was looked at above.
                    "command" | "args" if inner.is_array() => {}
                    key if is_secret(key) && !REFERENCES.contains(&key) && inner.is_string() => *inner = Value::from(REDACTED),
                    _ => inside(inner),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Command and arguments stay where the program is ours, without what looks like a secret; else nobody knows what they mean.
fn words(object: &mut Value) {
    let ours = object["command"][0].as_str().is_some_and(|program| program.starts_with("/bin/backproof-"));
    for key in ["command", "args"] {
        let Some(Value::Array(words)) = object.get_mut(key) else { continue };
        if ours {
            words.iter_mut().for_each(inside);
        } else if !words.is_empty() {
            *words = vec![Value::from(format!("{REDACTED} ({} words)", words.len()))];
        }
    }
}

/// Environment variables, headers and the like.
fn named_value(object: &mut Value) {
    let Some(name) = object["name"].as_str().map(str::to_owned) else { return };
    let harmless = HARMLESS.contains(&name.as_str()) || (name.starts_with("BACKPROOF_") && !is_secret(&name));
    // `default` is what a task's parameter has where nobody gives one.
    for key in ["value", "default"] {
        if let Some(value) = object.get_mut(key).filter(|value| value.is_string() && !harmless) {
            *value = Value::from(REDACTED);
        }
    }
}

fn annotations(value: &mut Value) {
    let Value::Object(annotations) = value else { return };
    annotations.remove(LAST_APPLIED);
    for (key, value) in annotations.iter_mut() {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let known = DOMAINS.iter().any(|known| domain == *known || domain.ends_with(&format!(".{known}")));
        let kept = value.as_str().filter(|_| known && !is_secret(key)).map(text);
        *value = Value::from(kept.unwrap_or_else(|| REDACTED.to_owned()));
    }
}

/// Whatever stands somewhere in here.
fn leaves(value: &mut Value) {
    match value {
        Value::Object(object) => object.values_mut().for_each(leaves),
        Value::Array(items) => items.iter_mut().for_each(leaves),
        Value::Null => {}
        Value::String(_) | Value::Number(_) | Value::Bool(_) => *value = Value::from(REDACTED),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().any(|word| name.contains(word))
}

/// Takes what looks like a secret out of a text: user and query of a URL, what follows a word like `password`, bearer tokens, keys.
pub fn text(text: &str) -> String {
    let text = private_keys(text);
    let text = urls(&text);
    let text = tokens(&text);
    assignments(&text)
}

fn private_keys(text: &str) -> String {
    const END: &str = "PRIVATE KEY-----";
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let head = &rest[start..];
        let Some(begun) = head.find(END).filter(|begun| !head[..*begun].contains('\n')) else {
            out.push_str(&rest[..start + 11]);
            rest = &rest[start + 11..];
            continue;
        };
        let body = &head[begun + END.len()..];
        // Without an end everything that follows may be part of it.
        let after = body.find(END).map_or("", |end| &body[end + END.len()..]);
        out.push_str(&rest[..start]);
        out.push_str(REDACTED);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn urls(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '\\');
        let (url, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        // The last @: a password may hold one, and slashes as well.
        let place = match url.rfind('@') {
            Some(user) => {
                out.push_str(REDACTED);
                &url[user..]
            }
            None => url,
        };
        match place.split_once('?') {
            Some((place, _)) => {
                out.push_str(place);
                out.push('?');
                out.push_str(REDACTED);
            }
            None => out.push_str(place),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Words behind `Bearer` and `Basic`, JSON web tokens, and access keys of AWS.
fn tokens(text: &str) -> String {
    let mut out = String::new();
    let mut scheme = false;
    for piece in text.split_inclusive(|c: char| !is_token(c)) {
        let word = piece.trim_end_matches(|c: char| !is_token(c));
        let long_enough = word.len() >= 16;
        let aws = (word.starts_with("AKIA") || word.starts_with("ASIA")) && long_enough;
        let web = word.starts_with("eyJ") && word.contains('.') && long_enough;
        if !word.is_empty() && (scheme || aws || web) {
            out.push_str(REDACTED);
            out.push_str(&piece[word.len()..]);
        } else {
            out.push_str(piece);
        }
        if !word.is_empty() {
            scheme = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        }
    }
    out
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/' | '=' | '~')
}

/// What is assigned to a word: `password=x`, `"token":"x"`, `--secret-key x`, `AWS_SECRET_ACCESS_KEY: x`.
fn assignments(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        out.push_str(&rest[..start]);
        let from = &rest[start..];
        let (name, after) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
        out.push_str(name);
        rest = after;
        // Causes are words of ours, and a sentence follows them.
        if !is_secret(name) || name.parse::<Cause>().is_ok() {
            continue;
        }
        let bare = after.trim_start_matches(['\\', '"', '\'']).trim_start_matches(' ');
        let value = match bare.strip_prefix([':', '=']) {
            Some(value) => value.trim_start_matches(' '),
            None if name.starts_with('-') && after.starts_with(' ') => after.trim_start_matches(' '),
            None => continue,
        };
        out.push_str(&after[..after.len() - value.len()]);
        let quotes = value.len() - value.trim_start_matches('\\').len();
        let value_start = &value[quotes..];
        let quote = value_start.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (opening, inner) = match quote {
            Some(quote) => value.split_at(quotes + quote.len_utf8()),
            None => ("", value),
        };
        out.push_str(opening);
        let end = match quote {
            Some(quote) => inner.find([quote, '\\']),
            None => inner.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '"' | '\'' | '}' | ')' | ']')),
        };
        let end = end.unwrap_or(inner.len());
        if end > 0 {
            out.push_str(REDACTED);
        }
        rest = &inner[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_lose_what_looks_like_a_secret_and_nothing_else() {
        for (given, expected) in [
            ("https://user:p@ss/w@host:9000/bucket?sig=x rest", "https://REDACTED@host:9000/bucket?REDACTED rest"),
            ("https://host:9000/bucket", "https://host:9000/bucket"),
            ("password=hunter2, user=me", "password=REDACTED, user=me"),
            (r#"{"token":"a b","n":1}"#, r#"{"token":"REDACTED","n":1}"#),
            (r#"{\"passwordFingerprint\":\"abc\"}"#, r#"{\"passwordFingerprint\":\"REDACTED\"}"#),
            ("restic --password-command x --verbose", "restic --password-command REDACTED --verbose"),
            ("AWS_SECRET_ACCESS_KEY: 'abc def'", "AWS_SECRET_ACCESS_KEY: 'REDACTED'"),
            ("Authorization: Bearer abc.def", "Authorization: REDACTED REDACTED"),
            ("key AKIAIOSFODNN7EXAMPLE refused", "key REDACTED refused"),
            ("SecretMissing: Secret demo/password does not exist", "SecretMissing: Secret demo/password does not exist"),
            ("a -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- b", "a REDACTED b"),
            ("-----BEGIN CERTIFICATE-----\nabc", "-----BEGIN CERTIFICATE-----\nabc"),
            ("restic ids 9f3c", "restic ids 9f3c"),
        ] {
            assert_eq!(text(given), expected);
            assert_eq!(text(&text(given)), text(given), "twice is once");
        }
    }

    #[test]
    fn objects_keep_references_and_lose_values() {
        let mut held = json!({
            "kind": "Job", "metadata": {"name": "j", "managedFields": [1], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "x", "backproof.dev/hold": "{\"tries\":1}", "example.com/note": "x",
            }},
            "spec": {"containers": [
                {"command": ["/bin/backproof-executor"], "args": ["restore", "--repository=s3://u:p@b/x"],
                 "env": [{"name": "RUST_LOG", "value": "info"}, {"name": "X", "value": "s"},
                         {"name": "P", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]},
                {"command": ["sh", "-c", "x"], "params": {"a": ["b", 3]}}],
                "volumes": [{"csi": {"volumeAttributes": {"a": "b"}}}, {"secret": {"secretName": "n"}}]},
        });
        object(&mut held);
        assert_eq!(
            held,
            json!({
                "kind": "Job", "metadata": {"name": "j", "annotations": {"backproof.dev/hold": "{\"tries\":1}", "example.com/note": REDACTED}},
                "spec": {"containers": [
                    {"command": ["/bin/backproof-executor"], "args": ["restore", "--repository=s3://REDACTED@b/x"],
                     "env": [{"name": "RUST_LOG", "value": "info"}, {"name": "X", "value": REDACTED},
                             {"name": "P", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]},
                    {"command": ["REDACTED (3 words)"], "params": {"a": [REDACTED, REDACTED]}}],
                    "volumes": [{"csi": {"volumeAttributes": {"a": REDACTED}}}, {"secret": {"secretName": "n"}}]},
            })
        );
    }
}
