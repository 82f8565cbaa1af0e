//! Other programs read what the controller writes: a client in Go, kubeconform, Flux' health expressions and kube-state-metrics,
//! on live sessions of every verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use backproof_api::crd;
use backproof_testing::{ApiServer, Process, free_port, objects, tool, wait};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    cluster,
    jobs::{self, Report},
    replica::{Replica, SOON},
};

/// Whom kube-state-metrics runs as, where docs/metrics binds its rights.
const METRICS: &str = "system:serviceaccount:monitoring:kube-state-metrics";

fn shipped(path: &str) -> String {
    format!("{}/../../docs/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn api(client: &Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1alpha1", kind), plural);
    Api::namespaced_with(client.clone(), "demo", &resource)
}

fn sessions(server: &ApiServer) -> Api<DynamicObject> {
    api(&server.client, "core.kubestash.com", "BackupVerificationSession", "backupverificationsession")
}

/// Objects as the API server sends them, by name.
async fn live(api: &Api<DynamicObject>) -> Result<BTreeMap<String, Value>> {
    let list = api.list(&ListParams::default()).await?;
    list.items.into_iter().map(|object| Ok((object.name_any(), serde_json::to_value(&object)?))).collect()
}

fn spec(snapshot: &str) -> Value {
    json!({
        "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "backup"},
        "session": "nightly", "repository": "repo", "snapshot": snapshot,
    })
}

async fn create(server: &ApiServer, name: &str, snapshot: &str, annotations: Value) -> Result<()> {
    let session = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession",
        "metadata": {"name": name, "namespace": "demo", "annotations": annotations}, "spec": spec(snapshot),
    });
    server.apply(&[session]).await
}

/// Waits until a session has this phase, while Jobs end with this report.
async fn becomes(server: &ApiServer, name: &str, phase: &str, report: Option<Report>) -> Result<()> {
    let api = sessions(server);
    let becomes = wait(SOON, async || {
        if let Some(report) = report {
            jobs::end_all(&server.client, report).await?;
        }
        let session = api.get_opt(name).await?;
        let status = session.map(|session| session.data["status"].clone()).unwrap_or_default();
        ensure!(status["phase"] == phase, "{status}");
        Ok(true)
    });
    becomes.await.with_context(|| format!("session {name} does not become {phase}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "its programs are built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
async fn what_the_controller_writes_is_read_by_others() -> Result<()> {
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    let server = cluster(&kinds).await?;
    let replica = Replica::start(&server, "only")?;
    replica.becomes("ok").await?;

    // A program in Go creates the first one and watches it to its end.
    let file = server.directory().join("spec.json");
    std::fs::write(&file, spec("snap").to_string())?;
    let watching = goclient(&server, &["create", "demo", "green", file.to_str().context("path")?])?;
    becomes(&server, "green", "Succeeded", Some(Report::Green)).await.with_context(|| replica.process.output())?;
    let watched = lines(watching)?;
    assert_eq!(watched.keys().collect::<Vec<_>>(), ["green"]);
    assert_eq!(watched["green"][..5], ["Succeeded", "Verified", "", "3", "0"]);

    create(&server, "skipped", "snap", json!({})).await?;
    becomes(&server, "skipped", "Skipped", None).await?;
    create(&server, "red", "snap", json!({"backproof.dev/reverify": "true"})).await?;
    becomes(&server, "red", "Failed", Some(Report::Red)).await?;
    create(&server, "unknown", "no-such-snapshot", json!({})).await?;
    becomes(&server, "unknown", "Failed", None).await?;
    create(&server, "running", "snap", json!({"backproof.dev/reverify": "true"})).await?;
    becomes(&server, "running", "Running", None).await?;
    // Its Job is there, and so is the status of its RestoreSession.
    wait(SOON, async || Ok(jobs::started(&server.client).await? == 3)).await.context("the Job of the last session does not start")?;

    let all = live(&sessions(&server)).await?;
    decoded_in_go(&server)?;
    flux(&all)?;
    schemas(&server, &all).await?;
    kube_state_metrics(&server).await
}

fn goclient(server: &ApiServer, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(tool("goclient")?);
    command.args(arguments).env("KUBECONFIG", server.kubeconfig()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// What a program printed for each name, in columns.
fn lines(child: Child) -> Result<BTreeMap<String, Vec<String>>> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let columns = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    Ok(text.lines().map(columns).map(|mut columns| (columns.remove(0), columns)).collect())
}

/// Every field that is written is one of the reference, of the type that stands there.
fn decoded_in_go(server: &ApiServer) -> Result<()> {
    let listed = lines(goclient(server, &["list", "demo"])?)?;
    let told: BTreeMap<&str, Vec<&str>> =
        listed.iter().map(|(name, columns)| (name.as_str(), columns[..5].iter().map(String::as_str).collect())).collect();
    let expected = [
        ("green", vec!["Succeeded", "Verified", "", "3", "0"]),
        ("red", vec!["Failed", "VerificationFailed", "PackDamaged", "3", "1"]),
        ("running", vec!["Running", "", "", "0", "0"]),
        ("skipped", vec!["Skipped", "Skipped", "", "0", "0"]),
        ("unknown", vec!["Failed", "Inconclusive", "SnapshotObjectNotFound", "0", "0"]),
    ];
    assert_eq!(told, expected.into_iter().collect());
    Ok(())
}

/// The expressions that docs ship, by Flux' own evaluator.
fn flux(all: &BTreeMap<String, Value>) -> Result<()> {
    let mut list: Vec<Value> = all.values().cloned().collect();
    // As they are for a moment: a retry is owed; nobody has looked at it yet; it was changed since.
    let mut owing = all["unknown"].clone();
    owing["metadata"]["name"] = json!("owing");
    owing["spec"]["retryLeft"] = json!(1);
    owing["status"].as_object_mut().context("no status")?.remove("retried");
    let mut untouched = all["green"].clone();
    untouched["metadata"]["name"] = json!("untouched");
    untouched.as_object_mut().context("no object")?.remove("status");
    let mut changed = all["green"].clone();
    changed["metadata"]["name"] = json!("changed");
    changed["metadata"]["generation"] = json!(2);
    list.extend([owing, untouched, changed]);
    let mut child = Command::new(tool("fluxhealth")?)
        .arg(shipped("gitops/flux.yaml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(json!(list).to_string().as_bytes())?;
    let told: BTreeMap<String, String> = lines(child)?.into_iter().map(|(name, columns)| (name, columns.concat())).collect();
    let expected = [
        ("changed", "InProgress"),
        ("green", "Current"),
        ("owing", "InProgress"),
        ("red", "Failed"),
        ("running", "InProgress"),
        ("skipped", "Current"),
        ("unknown", "Failed"),
        ("untouched", "Unknown"),
    ];
    assert_eq!(told, expected.into_iter().map(|(name, status)| (name.to_owned(), status.to_owned())).collect());
    Ok(())
}

/// The JSON schemas take what the controller writes, statuses included.
async fn schemas(server: &ApiServer, all: &BTreeMap<String, Value>) -> Result<()> {
    let mut objects: Vec<Value> = all.values().cloned().collect();
    objects.extend(live(&api(&server.client, "core.kubestash.com", "RestoreSession", "restoresessions")).await?.into_values());
    objects.extend(live(&api(&server.client, "storage.kubestash.com", "Snapshot", "snapshots")).await?.into_values());
    assert!(objects.iter().all(|object| object["status"].is_object()), "each has been written by the controller");
    let directory = server.directory().join("objects");
    std::fs::create_dir(&directory)?;
    for (at, object) in objects.iter().enumerate() {
        std::fs::write(directory.join(format!("{at}.json")), object.to_string())?;
    }
    let schemas = shipped("reference/schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json");
    let mut command = Command::new(tool("kubeconform")?);
    let output = command.args(["-strict", "-summary", "-schema-location", &schemas]).arg(&directory).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("Valid: {}, Invalid: 0, Errors: 0, Skipped: 0", objects.len())), "{said}");
    Ok(())
}

/// A series: its name, the labels of interest, and its value.
type Series = BTreeMap<String, Vec<(BTreeMap<String, String>, f64)>>;

/// kube-state-metrics as a process of its own, with the configuration and the rights that docs ship.
async fn kube_state_metrics(server: &ApiServer) -> Result<()> {
    server.apply(&objects(&std::fs::read_to_string(shipped("metrics/kube-state-metrics-rbac.yaml"))?)?).await?;
    let (port, own) = (free_port()?, free_port()?);
    let mut command = Command::new(tool("kube-state-metrics")?);
    command
        .args(["--custom-resource-state-only", "--host=127.0.0.1", "--telemetry-host=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--telemetry-port={own}"))
        .arg(format!("--kubeconfig={}", server.kubeconfig_of(METRICS)?.display()))
        .arg(format!("--custom-resource-state-config-file={}", shipped("metrics/kube-state-metrics.yaml")));
    let process = Process::start(command, server.directory().join("kube-state-metrics.log"))?;
    let complete = wait(SOON, async || {
        let (text, read) = scrape(port)?;
        let (sessions, snapshots) = (read.get("backproof_session_ready"), read.get("backproof_snapshot_verification_timestamp_seconds"));
        ensure!(sessions.is_some_and(|series| series.len() == 5) && snapshots.is_some(), "{text}");
        Ok(true)
    });
    complete.await.with_context(|| process.output())?;
    let (_, series) = scrape(port)?;

    let values = |metric: &str| -> BTreeMap<&str, f64> {
        let all = series.get(metric).map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|(labels, value)| (labels["session"].as_str(), *value)).collect()
    };
    // Of a set of states the one that holds.
    let states = |metric: &str, object: &str, label: &str| -> BTreeMap<String, String> {
        let all = series.get(metric).map(Vec::as_slice).unwrap_or_default();
        let holding: Vec<_> = all.iter().filter(|(_, value)| *value == 1.0).collect();
        let states = holding.iter().map(|(labels, _)| (labels[object].clone(), labels[label].clone())).collect::<BTreeMap<_, _>>();
        assert_eq!(states.len(), holding.len(), "{metric}: two states at once");
        states
    };
    let texts =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned())).collect::<BTreeMap<_, _>>();
    assert_eq!(
        states("backproof_session_phase", "session", "phase"),
        texts(&[("green", "Succeeded"), ("red", "Failed"), ("running", "Running"), ("skipped", "Skipped"), ("unknown", "Failed")])
    );
    assert_eq!(
        states("backproof_session_verdict", "session", "verdict"),
        texts(&[("green", "Verified"), ("red", "VerificationFailed"), ("skipped", "Skipped"), ("unknown", "Inconclusive")])
    );
    let ready = [("green", 1.0), ("red", 0.0), ("running", 0.0), ("skipped", 1.0), ("unknown", 0.0)];
    assert_eq!(values("backproof_session_ready"), ready.into_iter().collect());
    let ended: BTreeSet<&str> = ["green", "red", "skipped", "unknown"].into_iter().collect();
    for metric in ["backproof_session_completion_timestamp_seconds", "backproof_session_duration_seconds"] {
        assert_eq!(values(metric).into_keys().collect::<BTreeSet<_>>(), ended, "{metric}");
    }
    let now = jiff::Timestamp::now().as_second() as f64;
    assert!(values("backproof_session_completion_timestamp_seconds").values().all(|at| (now - at).abs() < 600.0));
    assert_eq!(values("backproof_session_start_timestamp_seconds").len(), 5);
    let info = &series["backproof_session_info"];
    let of = |name: &str| info.iter().find(|(labels, _)| labels["session"] == name).map(|(labels, _)| labels.clone()).unwrap_or_default();
    for (label, word) in
        [("repository", "repo"), ("invoker", "backup"), ("snapshot", "snap"), ("verifier", "verifier"), ("cause", "PackDamaged")]
    {
        assert_eq!(of("red").get(label).map(String::as_str), Some(word), "{label}");
    }
    assert_eq!(states("backproof_snapshot_verification", "snapshot", "status"), texts(&[("snap", "VerificationFailed")]));
    let log = process.output();
    assert!(!log.contains("forbidden"), "{log}");
    Ok(())
}

/// What is served, as text and read.
fn scrape(port: u16) -> Result<(String, Series)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let mut series = Series::new();
    for line in answer.lines().filter(|line| line.starts_with("backproof_")) {
        let (name, rest) = line.split_once('{').context("no labels")?;
        let (labels, value) = rest.rsplit_once("} ").context("no value")?;
        // None of these values has a comma or a quotation mark.
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
        series.entry(name.to_owned()).or_default().push((labels, value.parse()?));
    }
    Ok((answer, series))
}
