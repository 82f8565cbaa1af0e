//! Renders the chart with values.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use backproof_testing::tool;
use serde_json::Value;

/// Namespace of the release in every test.
pub(crate) const NAMESPACE: &str = "backproof-system";

/// Every value that makes objects, and every one that changes pods.
pub(crate) const EVERYTHING: &str = r#"
image: {repository: registry.example/backproof, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", pullSecrets: [pull]}
crossNamespace: {verify: [demo, shop], lab: [demo]}
unsafeNamespaces: [old]
foreignFunctions: {enabled: true}
controller: &pod
  replicas: 2
  log: debug
  extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
  nodeSelector: {disk: fast}
  tolerations: [{key: spot, operator: Exists}]
  affinity: {nodeAffinity: {}}
  priorityClassName: important
  extraArgs: [--workers=16]
webhook:
  <<: *pod
  extraArgs: [--drain-seconds=10]
networkPolicy:
  apiServerPorts: [6443]
  apiServerCidrs: [10.0.0.1/32]
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  extraEgress: [{ports: [{protocol: TCP, port: 3128}]}]
  jobs: {namespaces: [verify]}
monitoring:
  podMonitor: {enabled: true, labels: {release: prometheus}}
  rules: {enabled: true, labels: {release: prometheus}}
  dashboard: {enabled: true}
"#;

/// Directory of the chart.
pub(crate) fn chart() -> PathBuf {
    xtask::root().join("charts/backproof")
}

/// What `helm template` prints with these values, or what it says against them.
pub(crate) fn text(values: &str) -> Result<String, String> {
    let mut helm = Command::new(tool("helm").unwrap())
        .args(["template", "backproof"])
        .arg(chart())
        .args(["--namespace", NAMESPACE, "--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    helm.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
    let output = helm.wait_with_output().unwrap();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// The objects it renders with these values, without the CRDs: those are large, and tested for themselves.
pub(crate) fn objects(values: &str) -> Vec<Value> {
    let text = text(&format!("{values}\ncrds: {{enabled: false}}\n")).unwrap_or_else(|error| panic!("{error}"));
    backproof_testing::objects(&text).unwrap()
}

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind and name.
pub(crate) fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = of_kind(objects, kind).into_iter().filter(|object| object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    object
}
