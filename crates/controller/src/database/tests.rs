//! What objects say of databases, what verifiers want of them, and which two are one.

use backproof_api::{BackupVerifier, Cause, shared::TypedObjectReference};
use serde_json::{Value, json};

use super::*;

fn verifier(spec: &Value) -> BackupVerifier {
    serde_json::from_value(json!({"metadata": {"name": "v", "namespace": "demo"}, "spec": spec})).unwrap()
}

/// A verifier with this query and these parameters of its task.
fn asking(query: Value, params: Value) -> BackupVerifier {
    let kind = if query.is_null() { "RestoreOnly" } else { "Query" };
    let task = json!({"name": "logical-backup-restore", "params": params});
    verifier(&json!({"type": kind, "query": query, "restoreOption": {"addonInfo": {"name": "postgres-addon", "tasks": [task]}}}))
}

fn shop() -> Value {
    json!({"postgres": [{"database": "shop", "table": "employee", "rowCount": {"operator": "Equal", "value": 3}}, {"database": "shop"}]})
}

fn binding(spec: Value) -> Server {
    let binding: AppBinding = serde_json::from_value(spec).unwrap();
    let service = binding.client_config.service.as_ref().map(|service| ("verify".to_owned(), service.name.clone()));
    let object = PinnedObject { namespace: "verify".into(), name: "pg".into(), uid: "u".into(), generation: 1 };
    Server { object, body: Body::Binding(Box::new(binding)), service, ..Server::default() }
}

fn service(ports: &[u16]) -> Server {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port})).collect();
    let object = PinnedObject { namespace: "verify".into(), name: "pg".into(), uid: "u".into(), generation: 0 };
    let body = Body::Service(Box::new(serde_json::from_value(json!({"ports": ports})).unwrap()));
    Server { object, body, service: Some(("verify".into(), "pg".into())), ..Server::default() }
}

/// As KubeDB makes them.
fn kubedb() -> Value {
    json!({"type": "kubedb.com/postgres", "version": "15.5", "secret": {"name": "pg-auth"},
        "clientConfig": {"service": {"name": "pg", "path": "/", "port": 5432, "query": "sslmode=disable", "scheme": "postgresql"}}})
}

fn merged(mut base: Value, patch: Value) -> Value {
    for (key, value) in patch.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

/// Connection, Secret and its keys in one line, or the cause and what is said.
fn told(server: &Server, verifier: &BackupVerifier) -> Result<String, String> {
    let pinned = wanted(verifier).and_then(|wanted| pinned(server, &wanted)).map_err(|failure| failure.line())?;
    let authorities = if pinned.authorities.is_empty() { "" } else { " tls" };
    Ok(format!("{} {} {}/{}{authorities}", connection(&pinned), pinned.secret, pinned.user_key, pinned.password_key))
}

#[test]
fn kinds_that_mean_databases() {
    for (group, kind, expected) in [
        ("appcatalog.appscode.com", "AppBinding", Some(Form::Binding)),
        ("appcatalog.appscode.com/v1alpha1", "AppBinding", Some(Form::Binding)),
        ("kubedb.com", "Postgres", Some(Form::Binding)),
        ("kubedb.com/v1", "MySQL", Some(Form::Binding)),
        ("", "Service", Some(Form::Service)),
        ("v1", "Service", Some(Form::Service)),
        ("", "PersistentVolumeClaim", None),
        ("apps", "StatefulSet", None),
        ("serving.knative.dev", "Service", None),
        ("", "AppBinding", None),
    ] {
        assert_eq!(form(group, kind), expected, "{group} {kind}");
    }
}

#[test]
fn an_appbinding_tells_everything() {
    let ask = asking(shop(), Value::Null);
    let ca = json!({"service": {"name": "pg", "scheme": "postgresql", "port": 5433}, "caBundle": "cGVt"});
    let renamed =
        json!([{"renameKey": {"from": "POSTGRES_USER", "to": "username"}}, {"renameKey": {"from": "POSTGRES_PASSWORD", "to": "password"}}]);
    for (spec, expected) in [
        (kubedb(), "postgres://pg.verify.svc:5432/shop pg-auth username/password"),
        (merged(kubedb(), json!({"clientConfig": ca})), "postgres://pg.verify.svc:5433/shop pg-auth username/password tls"),
        (
            merged(kubedb(), json!({"secretTransforms": renamed})),
            "postgres://pg.verify.svc:5432/shop pg-auth POSTGRES_USER/POSTGRES_PASSWORD",
        ),
        (merged(kubedb(), json!({"type": "postgres"})), "postgres://pg.verify.svc:5432/shop pg-auth username/password"),
        (merged(kubedb(), json!({"type": ""})), "postgres://pg.verify.svc:5432/shop pg-auth username/password"),
        (
            merged(kubedb(), json!({"clientConfig": {"url": "postgresql://DB.example:6000/x"}})),
            "postgres://db.example:6000/shop pg-auth username/password",
        ),
        (merged(kubedb(), json!({"clientConfig": {"url": "postgresql://[::1]"}})), "postgres://[::1]:5432/shop pg-auth username/password"),
    ] {
        assert_eq!(told(&binding(spec.clone()), &ask).as_deref(), Ok(expected), "{spec}");
    }
}

#[test]
fn what_an_appbinding_cannot_be_used_for_is_refused_by_name() {
    let ask = asking(shop(), Value::Null);
    for (patch, expected) in [
        (json!({"type": "kubedb.com/mysql"}), "EngineNotSupported: AppBinding verify/pg: mySQL is not built yet"),
        (json!({"type": "kubedb.com/oracle"}), "EngineNotSupported: AppBinding verify/pg: spec.type"),
        (json!({"secret": null}), "TargetNotSupported: AppBinding verify/pg: spec.secret names no Secret"),
        (json!({"secret": {"kind": "VaultSecret", "name": "x"}}), "TargetNotSupported: AppBinding verify/pg: spec.secret is a VaultSecret"),
        (json!({"secretTransforms": [{"addKey": {"key": "a"}}]}), "TargetNotSupported: AppBinding verify/pg: spec.secretTransforms"),
        (json!({"tlsSecret": {"name": "t"}}), "TargetNotSupported: AppBinding verify/pg: spec.tlsSecret"),
        (json!({"clientConfig": {}}), "TargetNotSupported: AppBinding verify/pg: spec.clientConfig names neither"),
        (json!({"clientConfig": {"url": "nonsense"}}), "TargetNotSupported: AppBinding verify/pg: spec.clientConfig.url is none"),
        (
            json!({"clientConfig": {"url": "postgres://db.example/x?sslmode=require"}}),
            "TargetNotSupported: AppBinding verify/pg: it asks for sslmode=require",
        ),
        (
            json!({"clientConfig": {"service": {"name": "pg", "query": "a=b&sslmode=verify-full"}}}),
            "TargetNotSupported: AppBinding verify/pg: it asks for sslmode=verify-full",
        ),
        (
            json!({"clientConfig": {"service": {"name": "pg"}, "insecureSkipTLSVerify": true}}),
            "TargetNotSupported: AppBinding verify/pg: spec.clientConfig.insecureSkipTLSVerify",
        ),
    ] {
        let error = told(&binding(merged(kubedb(), patch.clone())), &ask).unwrap_err();
        assert!(error.starts_with(expected), "{patch}: {error}");
    }
    let secret = told(&binding(merged(kubedb(), json!({"clientConfig": {"url": "postgres://u:hunter2@db/x"}}))), &ask).unwrap_err();
    assert!(secret.contains("holds a password") && !secret.contains("hunter2"), "{secret}");
    let twice = told(&binding(kubedb()), &asking(shop(), json!({"secretName": "other"}))).unwrap_err();
    assert!(twice.starts_with("VerifierInvalid: params.secretName is given"), "{twice}");
}

#[test]
fn a_service_needs_the_name_of_a_secret() {
    let given = |params: Value| asking(shop(), params);
    let plain = "postgres://pg.verify.svc:5432/shop auth username/password";
    assert_eq!(told(&service(&[5432]), &given(json!({"secretName": "auth"}))).as_deref(), Ok(plain));
    assert_eq!(told(&service(&[9187, 5432]), &given(json!({"secretName": "auth"}))).as_deref(), Ok(plain));
    assert_eq!(told(&service(&[7000, 8000]), &given(json!({"secretName": "auth", "port": 5432}))).as_deref(), Ok(plain));
    let only = asking(Value::Null, json!({"secretName": "auth", "engine": "postgres", "database": "Größe /?#"}));
    assert_eq!(told(&service(&[6432]), &only).unwrap(), "postgres://pg.verify.svc:6432/Gr%C3%B6%C3%9Fe%20%2F%3F%23 auth username/password");
    for (server, verifier, expected) in [
        (service(&[5432]), given(Value::Null), "VerifierInvalid: params.secretName is missing"),
        (service(&[7000, 8000]), given(json!({"secretName": "auth"})), "VerifierInvalid: params.port is missing"),
        (service(&[]), given(json!({"secretName": "auth"})), "VerifierInvalid: params.port is missing"),
        (
            service(&[5432]),
            asking(Value::Null, json!({"secretName": "auth", "database": "shop"})),
            "VerifierInvalid: params.engine is missing",
        ),
        (
            service(&[5432]),
            asking(Value::Null, json!({"secretName": "auth", "database": "shop", "engine": "mySQL"})),
            "EngineNotSupported: Service verify/pg: mySQL is not built yet",
        ),
    ] {
        let error = told(&server, &verifier).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_a_verifier_wants() {
    assert_eq!(wanted(&asking(shop(), Value::Null)).unwrap().checks, Some(2));
    assert_eq!(wanted(&asking(shop(), json!({"database": "shop"}))).unwrap().database, "shop");
    assert_eq!(wanted(&asking(Value::Null, json!({"database": "x"}))).unwrap().checks, None);
    let two = json!({"postgres": [{"database": "shop"}, {"database": "other"}]});
    for (query, params, cause, says) in [
        (Value::Null, Value::Null, Cause::VerifierInvalid, "params.database: is missing"),
        (two.clone(), Value::Null, Cause::VerifierInvalid, "asks several databases (other, shop)"),
        // What nobody restored is not there, and that is no defect of the backup.
        (two, json!({"database": "shop"}), Cause::VerifierInvalid, "ask that one alone"),
        (shop(), json!({"database": "scratch"}), Cause::VerifierInvalid, "ask that one alone"),
        (shop(), json!({"args": "--clean"}), Cause::VerifierInvalid, "params.args: is not supported"),
        (shop(), json!({"port": "many"}), Cause::VerifierInvalid, "params.port: \"many\" is no port"),
        (shop(), json!({"engine": "oracle"}), Cause::VerifierInvalid, "params.engine"),
        (json!({"mySQL": [{"database": "a"}]}), Value::Null, Cause::EngineNotSupported, "spec.query.mySQL: mySQL is not built yet"),
        (json!({"postgres": [{"databse": "a"}]}), Value::Null, Cause::VerifierInvalid, "spec.query.postgres[0]"),
        (json!({}), Value::Null, Cause::VerifierInvalid, "spec.query.postgres: is missing"),
    ] {
        let failure = wanted(&asking(query, params)).unwrap_err();
        assert!(failure.cause == cause && failure.text.contains(says), "{}", failure.line());
    }
}

#[test]
fn one_server_by_whatever_name() {
    let target = || binding(kubedb());
    let other = |name: &str, config: Value| {
        let mut other = binding(merged(kubedb(), json!({"clientConfig": config})));
        other.object.name = name.into();
        other
    };
    let at = |addresses: &[&str]| Server {
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        ..other("x", json!({"service": {"name": "x"}}))
    };
    for (name, source, same) in [
        ("itself", target(), true),
        ("its Service", service(&[5432]), true),
        ("another binding of its Service", other("live", json!({"service": {"name": "pg"}})), true),
        ("its Service's name in a URL", other("live", json!({"url": "postgres://PG.verify.svc.cluster.local.:6000/"})), true),
        ("another Service with the same pods", at(&["10.0.0.7"]), true),
        ("another Service with other pods", at(&["10.0.0.8"]), false),
        ("another", other("live", json!({"service": {"name": "live"}})), false),
        ("a host outside", other("live", json!({"url": "postgres://db.example"})), false),
        ("one that nobody can read", Server { unknown: true, ..Server::default() }, true),
        ("a Service that selects the same", selecting("verify", &[("app", "pg"), ("role", "primary")]), true),
        ("one that selects others", selecting("verify", &[("app", "live")]), false),
        ("one that selects the same elsewhere", selecting("live", &[("app", "pg")]), false),
        ("one that selects nothing", selecting("verify", &[]), false),
    ] {
        let target = Server { addresses: vec!["10.0.0.7".into()], selectors: selecting("verify", &[("app", "pg")]).selectors, ..target() };
        assert_eq!(same_server(&target, &source), same, "{name}");
        assert_eq!(same_server(&source, &target), same, "{name}, the other way round");
    }
}

fn selecting(namespace: &str, pairs: &[(&str, &str)]) -> Server {
    let selector = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Server { selectors: vec![(namespace.to_owned(), selector)], ..Server::default() }
}

#[test]
fn hosts_that_mean_services() {
    for (host, expected) in [
        ("live", "verify/live"),
        ("Live.shop", "shop/live"),
        ("live.shop.svc.", "shop/live"),
        ("live.shop.svc.cluster.local", "shop/live"),
        ("live-0.live.shop.svc", "shop/live"),
        ("db.example", "example/db"),
        ("a.b.c.example", ""),
        ("10.0.0.7", ""),
        ("[::1]", ""),
        ("", ""),
    ] {
        let found: Vec<String> =
            same::services_of(host, "verify").into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        assert_eq!(found.join(" "), expected, "{host}");
    }
}

/// A Service that is pointed elsewhere while a session waits has become another server.
#[test]
fn where_services_lead_is_pinned() {
    let leads = |server: &Server| pinned(server, &wanted(&asking(shop(), Value::Null)).unwrap()).unwrap().leads_to;
    let target = |change: fn(&mut Server)| {
        let mut server = Server { selectors: selecting("verify", &[("app", "pg")]).selectors, ..binding(kubedb()) };
        change(&mut server);
        leads(&server)
    };
    let as_it_was = target(|_| ());
    assert!(!as_it_was.is_empty());
    assert_eq!(target(|server| server.addresses.push("10.0.0.9".into())), as_it_was, "its pod was made again");
    assert_ne!(target(|server| server.external.push("live.shop.svc".into())), as_it_was);
    assert_ne!(target(|server| drop(server.selectors[0].1.insert("app".into(), "live".into()))), as_it_was);
    assert_eq!(leads(&binding(kubedb())), "", "no Service, nothing to compare");
}

#[test]
fn a_workload_that_is_backed_up_and_serves_the_target() {
    let workload = |kind: &str, name: &str| TypedObjectReference {
        api_group: "apps".into(),
        kind: kind.into(),
        name: name.into(),
        ..TypedObjectReference::default()
    };
    for (pod, kind, name, own) in [
        ("pg-0", "StatefulSet", "pg", true),
        ("pg-scratch-0", "StatefulSet", "pg", false),
        ("pg-5d4f8c7b9-abc12", "Deployment", "pg", true),
        ("pg-scratch-5d4f8c7b9-abc12", "Deployment", "pg", false),
        ("pg-abc12", "DaemonSet", "pg", true),
        ("pg-0", "PersistentVolumeClaim", "pg", false),
        ("other-0", "StatefulSet", "pg", false),
        ("live-1", "Cluster", "live", true),
        ("live-scratch-1", "Cluster", "live", false),
        ("renamed", "Cluster", "p", false),
        // Its Service is called pg.
        ("renamed", "Cluster", "pg", true),
    ] {
        let server = Server { pods: vec![("verify".into(), pod.into())], ..service(&[5432]) };
        assert_eq!(served_by(&server, &workload(kind, name), "verify"), own, "{pod} {kind} {name}");
        assert!(!served_by(&server, &workload(kind, name), "demo"), "{pod}: of another namespace");
    }
}
