//! The real program behind a real API server, registered and allowed by what the chart installs; people's side by kubectl.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, chart, tool};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    away,
    cases::world,
    consent, hostile,
    service::{self, Replica},
};

const SNAPSHOT: &str = "demo-storage-sample-backup-freq-backup-1730194080";

/// What is changed in the spec of a session that may be created.
type Change<'a> = &'a dyn Fn(&mut Value);

/// Runs kubectl as administrator; returns whether it succeeded, and everything it printed.
pub(crate) fn kubectl(server: &ApiServer, arguments: &[&str], input: &str) -> Result<(bool, String)> {
    let mut child = Command::new(tool("kubectl")?)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(arguments)
        .env("HOME", server.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((output.status.success(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

/// The chart's kinds; but anything goes as a Snapshot, as it does under the schemas of some other versions.
fn kinds() -> Result<Vec<Value>> {
    let mut kinds = chart(&["crds.yaml"])?;
    let snapshot = kinds.iter_mut().find(|kind| kind["metadata"]["name"] == "snapshots.storage.kubestash.com").context("no Snapshot")?;
    snapshot["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Ok(kinds)
}

fn malformed_snapshot(name: &str) -> Value {
    json!({
        "apiVersion": "storage.kubestash.com/v1alpha1",
        "kind": "Snapshot",
        "metadata": {"name": name, "namespace": "foreign"},
        "spec": {"repository": ["not", "a", "name"], "session": 7},
    })
}

/// The world of the validator's tests in a real API server, with a second repository that has a Snapshot of its own.
async fn populate(server: &ApiServer) -> Result<()> {
    let mut world = world();
    // The API server gives UIDs itself.
    world["configuration"]["metadata"] = json!({"name": "sample-backup", "namespace": "demo"});
    let mut other_repository = world["repository"].clone();
    other_repository["metadata"]["name"] = json!("other-storage");
    let mut other_snapshot = world["snapshot"].clone();
    other_snapshot["metadata"]["name"] = json!("other-snapshot");
    other_snapshot["spec"]["repository"] = json!("other-storage");
    let mut running = world["snapshot"].clone();
    running["metadata"]["name"] = json!("running-snapshot");
    running["status"] = json!({"phase": "Running"});
    let mut unverified = world["configuration"].clone();
    unverified["metadata"] = json!({"name": "no-verifier", "namespace": "demo"});
    unverified["spec"]["sessions"][0]["repositories"][0]["backupVerifier"]["name"] = json!("missing-verifier");
    let objects = [
        world["configuration"].clone(),
        unverified,
        world["verifier"].clone(),
        world["repository"].clone(),
        other_repository,
        world["snapshot"].clone(),
        other_snapshot,
        running,
    ];
    server.apply(&objects).await?;
    for snapshot in objects.iter().filter(|object| object["kind"] == "Snapshot") {
        let api = Api::<backproof_api::Snapshot>::namespaced(server.client.clone(), "demo");
        let status = json!({"status": snapshot["status"]});
        api.patch_status(snapshot["metadata"]["name"].as_str().unwrap(), &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

/// A session without the UID of an owner, which only the API server knows.
pub(crate) fn session(name: &str, change: Change<'_>) -> Value {
    let mut session = world()["session"].clone();
    session["metadata"] = json!({"name": name, "namespace": "demo"});
    change(&mut session["spec"]);
    session
}

pub(crate) fn create(server: &ApiServer, object: &Value) -> Result<(bool, String)> {
    kubectl(server, &["create", "-f", "-"], &object.to_string())
}

pub(crate) async fn start() -> Result<(ApiServer, Replica)> {
    let (server, replica) = service::start(&kinds()?, &[]).await?;
    server.apply(&["demo", "foreign"].map(service::namespace)).await?;
    populate(&server).await?;
    server.apply(&[malformed_snapshot("before")]).await?;
    Ok((server, replica))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_verifiers_are_judged_as_they_are_written() -> Result<()> {
    let (server, replica) = start().await?;
    refusals(&server)?;
    acceptance(&server).await?;
    immutability(&server)?;
    verifiers(&server)?;
    // Another object nobody can read arrives while the watch runs; what comes after it is still seen.
    server.apply(&[malformed_snapshot("meanwhile")]).await?;
    several_at_once(&server, 20)?;
    let (works, text) = probe(&server).await?;
    assert!(works, "{text}");
    consent::nobody_gets_by_a_reference_what_they_may_not_have(&server).await?;
    hostile::objects_of_a_million_values_cost_little(&server, &replica).await?;
    away::outage(&server, replica).await
}

/// What the chart's `helm test` runs, with the rights it gives; returns whether all was as it should be, and what was said.
pub(crate) async fn probe(server: &ApiServer) -> Result<(bool, String)> {
    let mut rights = chart(&["tests/admission.yaml"])?;
    rights.retain(|object| object["kind"] != "Job");
    ensure!(rights.len() == 3, "the chart gives the probe other rights than account, role and binding");
    server.apply(&rights).await?;
    let output = Command::new(env!("CARGO_BIN_EXE_backproof-webhook"))
        .env("KUBECONFIG", server.kubeconfig_of("system:serviceaccount:backproof-system:backproof-test")?)
        .args(["probe", "--namespace=backproof-system"])
        .output()?;
    Ok((output.status.success(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 500 files"]
async fn several_objects_in_one_file_work_every_time() -> Result<()> {
    let (server, _replica) = start().await?;
    several_at_once(&server, 500)
}

fn refusals(server: &ApiServer) -> Result<()> {
    let name = |field: &'static str, name: &'static str| move |spec: &mut Value| spec[field] = json!(name);
    let cases: [(Change<'_>, &str); 5] = [
        (
            &|spec| spec["invoker"]["name"] = json!("nobody"),
            "spec.invoker.name: BackupConfiguration demo/nobody does not exist; create it first, or name one that \
            kubectl get backupconfigurations.core.kubestash.com -n demo shows",
        ),
        (
            &name("snapshot", "nothing"),
            "spec.snapshot: Snapshot demo/nothing does not exist; create it first, or name one that \
            kubectl get snapshots.storage.kubestash.com -n demo shows",
        ),
        (
            &|spec| spec["invoker"]["name"] = json!("no-verifier"),
            "spec.repository: BackupConfiguration demo/no-verifier names BackupVerifier demo/missing-verifier for repository \
            demo-storage, which does not exist; create it, or correct spec.sessions[0].repositories[0].backupVerifier",
        ),
        (
            &name("snapshot", "other-snapshot"),
            "spec.snapshot: Snapshot demo/other-snapshot lies in Repository other-storage, not in demo-storage; \
            name a Snapshot of the Repository in spec.repository",
        ),
        (
            &name("snapshot", "running-snapshot"),
            "spec.snapshot: Snapshot demo/running-snapshot is Running; name a Snapshot whose phase is Succeeded",
        ),
    ];
    for (change, problem) in cases {
        let (created, text) = create(server, &session("wrong", change))?;
        assert_eq!((created, text), (false, format!("The BackupVerificationSession \"wrong\" is invalid: {problem}\n")));
    }
    let everything: Change<'_> = &|spec| {
        spec["session"] = json!("nightly");
        spec["repository"] = json!("nowhere");
    };
    let (created, text) = create(server, &session("wrong", everything))?;
    let expected = format!(
        "The BackupVerificationSession \"wrong\" is invalid: \n\
        * spec.session: BackupConfiguration demo/sample-backup has no session nightly; write one of: freq-backup\n\
        * spec.repository: Repository demo/nowhere does not exist; create it first, or name one that \
        kubectl get repositories.storage.kubestash.com -n demo shows\n\
        * spec.snapshot: Snapshot demo/{SNAPSHOT} lies in Repository demo-storage, not in nowhere; \
        name a Snapshot of the Repository in spec.repository\n\
        * spec.snapshot: Snapshot demo/{SNAPSHOT} was made by session freq-backup, not by nightly; \
        name a Snapshot of the session in spec.session\n"
    );
    assert_eq!((created, text), (false, expected));
    Ok(())
}

async fn acceptance(server: &ApiServer) -> Result<()> {
    let (created, text) = create(server, &session("right", &|_| ()))?;
    assert_eq!((created, text.as_str()), (true, "backupverificationsession.core.kubestash.com/right created\n"));
    let (created, text) = create(server, &session("newest", &|spec| spec["snapshot"] = json!("latest")))?;
    assert_eq!((created, text.as_str()), (true, "backupverificationsession.core.kubestash.com/newest created\n"));
    // As the trigger and the controller write it: with label and owner.
    let invoker = Api::<backproof_api::BackupConfiguration>::namespaced(server.client.clone(), "demo").get("sample-backup").await?;
    let mut ours = world()["session"].clone();
    ours["metadata"]["ownerReferences"][0]["uid"] = json!(invoker.metadata.uid);
    let (created, text) = create(server, &ours)?;
    assert!(created, "{text}");
    Ok(())
}

fn immutability(server: &ApiServer) -> Result<()> {
    let patch = ["patch", "backupverificationsession", "right", "-n", "demo", "--type=merge", "-p"];
    let (changed, text) = kubectl(server, &[&patch[..], &[r#"{"spec":{"snapshot":"other-snapshot"}}"#]].concat(), "")?;
    let expected = "The BackupVerificationSession \"right\" is invalid: spec: Forbidden: is immutable; create another \
        BackupVerificationSession instead\n";
    assert_eq!((changed, text.as_str()), (false, expected));
    Ok(())
}

fn verifiers(server: &ApiServer) -> Result<()> {
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"] = json!({"name": "second", "namespace": "demo"});
    verifier["spec"]["type"] = json!("Query");
    let (created, text) = create(server, &verifier)?;
    // The CRD's own rules say so first, in the same words.
    let expected = "The BackupVerifier \"second\" is invalid: \n\
        * spec.query: Required value: is missing, and type Query checks nothing without it; list the checks of your engine, such as mySQL\n\
        * spec.function: Required value: is missing, and this type needs it; name the Function that runs the check\n";
    assert_eq!((created, text.as_str()), (false, expected));
    let patch = r#"{"spec":{"restoreOption":{"target":{"namespace":"demo"}}}}"#;
    let (changed, text) = kubectl(server, &["patch", "backupverifier", "mysql-verifier", "-n", "demo", "--type=merge", "-p", patch], "")?;
    let expected = "Warning: spec.restoreOption.target.kind: MySQL is not restored into by this version; name a PersistentVolumeClaim, or \
        a PostgreSQL database by its AppBinding or Service, or sessions end Inconclusive TargetNotSupported\n\
        Warning: spec.restoreOption.addonInfo.name: there is no Addon mysql-addon, nor one that implements it; create it, or write one that \
        kubectl get addons.addons.kubestash.com shows\n\
        The BackupVerifier \"mysql-verifier\" is invalid: spec.restoreOption.target: MySQL demo/sample-mysql is what \
        BackupConfiguration demo/sample-backup backs up and has proven by this verifier; restore into another object, or take \
        spec.sessions[0].repositories[0].backupVerifier out of BackupConfiguration demo/sample-backup\n";
    assert_eq!((changed, text.as_str()), (false, expected));
    Ok(())
}

/// Everything a session names, and the session, in one file: no watch can be that fast.
fn several_at_once(server: &ApiServer, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let mut text = String::new();
        let name = |what: &str| format!("{what}-{round}");
        for key in ["verifier", "repository", "configuration", "session"] {
            let mut object = world()[key].clone();
            object["metadata"] = json!({"name": name(key), "namespace": "demo", "annotations": {"backproof.dev/discover": "true"}});
            match key {
                "configuration" => {
                    object["spec"]["sessions"][0]["repositories"][0]["name"] = json!(name("repository"));
                    object["spec"]["sessions"][0]["repositories"][0]["backupVerifier"]["name"] = json!(name("verifier"));
                }
                "session" => {
                    object["spec"]["invoker"]["name"] = json!(name("configuration"));
                    object["spec"]["repository"] = json!(name("repository"));
                    object["spec"]["snapshot"] = json!("latest");
                }
                _ => {}
            }
            text.push_str(&format!("---\n{object}\n"));
        }
        let (created, text) = kubectl(server, &["create", "-f", "-"], &text)?;
        assert!(created, "{text}");
        let warning = format!(
            "Warning: spec.snapshot: Repository demo/repository-{round} holds no Succeeded Snapshot of session freq-backup yet; \
            discovery runs first, and if it finds none the session ends Inconclusive\n"
        );
        assert!(text.contains(&warning), "{text}");
    }
    Ok(())
}
