//! The demo: a scheduled green verdict, a red one, an inconclusive one, and two refusals, each with its evidence.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use backproof_e2e::{Kubectl, samples, wait};
use serde_json::Value;

use crate::{demo_postgres, story::Story};

/// Ceiling of any single wait; the bars are far below.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);
/// Seconds from creation to a green verdict on a warm cluster.
const GREEN_BAR: u64 = 60;
/// Seconds from creation to a red or inconclusive verdict.
const RED_BAR: u64 = 90;

pub(crate) const SESSIONS: &str = "backupverificationsession.core.kubestash.com";
const SNAPSHOTS: &str = "snapshots.storage.kubestash.com";

/// Runs the demo in a namespace of its own; an error when a verdict is not the expected one.
pub(crate) fn run(namespace: &str) -> Result<()> {
    let cluster = Kubectl::from_env()?;
    let kubectl = cluster.namespace(namespace);
    let mut story = Story::new();

    prepare(&mut story, &cluster, &kubectl)?;
    green(&mut story, &kubectl)?;
    compare(&mut story, &kubectl)?;
    let copies = copies(&mut story, &kubectl)?;
    red(&mut story, &kubectl, &copies.damaged)?;
    inconclusive(&mut story, &kubectl, &copies.gone)?;
    refused(&mut story, &kubectl)?;
    if samples::has_postgres() {
        demo_postgres::run(&mut story, &kubectl)?;
    } else {
        story.step("Databases are left out: POSTGRES_SERVER_IMAGE names no image that this cluster can pull");
    }

    story.step("All sessions");
    story.show(&kubectl, &["get", SESSIONS, "-o", "wide"])?;
    if !story.table() {
        bail!("not every verdict is the expected one");
    }
    Ok(())
}

fn prepare(story: &mut Story, cluster: &Kubectl, kubectl: &Kubectl) -> Result<()> {
    let namespace = kubectl.in_namespace();
    story.step(&format!("A fresh namespace {namespace} that enforces the restricted Pod Security profile"));
    if cluster.find("namespace", namespace)?.is_some() {
        story.say("an earlier demo is removed first");
        cluster.run(&["delete", "namespace", namespace, "--wait=true", "--timeout=240s"])?;
    }
    cluster.run(&["create", "namespace", namespace])?;
    cluster.run(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"])?;

    story.step("Sample data, backed up by restic (docs/samples/demo/1-volumes.yaml, 2-backup.yaml)");
    kubectl.apply(&samples::volumes())?;
    kubectl.apply(&samples::backup())?;
    job_succeeds(story, kubectl, "backup")?;
    story.say(&kubectl.run(&["logs", "job/backup", "--all-containers"])?);
    Ok(())
}

/// Nobody creates this session: the verifier's schedule does.
fn green(story: &mut Story, kubectl: &Kubectl) -> Result<()> {
    story.step("The repository is discovered and verified every minute (docs/samples/demo/3-verify.yaml)");
    kubectl.apply(&samples::verify())?;
    newest_snapshot(story, kubectl, "sample")?;
    story.show(kubectl, &["get", SNAPSHOTS])?;
    let session = wait::until("the CronJob's first session (up to a minute)", LIMIT, story.progress(), || {
        let made = kubectl.list(SESSIONS, &[])?;
        Ok(made.into_iter().find_map(|session| session["metadata"]["name"].as_str().map(str::to_owned)))
    })?;
    let ended = ended(story, kubectl, &session)?;
    story.show(kubectl, &["get", SESSIONS])?;
    story.show(kubectl, &["describe", SESSIONS, &session])?;
    story.expect_within(
        "scheduled session of an intact repository",
        "Succeeded",
        &text(&ended, "/status/phase"),
        ended_after(&ended),
        GREEN_BAR,
    );
    story.expect("its verdict", "Verified", &text(&ended, "/status/verdict"));
    let snapshot = kubectl.get(SNAPSHOTS, &text(&ended, "/status/run/snapshot/name"))?;
    story.expect("its Snapshot", "Verified", &text(&snapshot, "/status/verificationStatus"));
    // The next ticks would be skipped anyway; the restored volume is looked at in peace.
    kubectl.run(&["patch", "backupverifier", "every-minute", "--type=merge", "-p", r#"{"spec":{"scheduler":{"suspend":true}}}"#])?;
    Ok(())
}

fn compare(story: &mut Story, kubectl: &Kubectl) -> Result<()> {
    story.step("The restored volume against the source (docs/samples/demo/compare.yaml)");
    kubectl.apply(&samples::compare())?;
    let identical = job_succeeds(story, kubectl, "compare").is_ok();
    story.say(&kubectl.run(&["logs", "job/compare", "--tail=20"])?);
    story.expect("restored volume against its source", "identical", if identical { "identical" } else { "different" });
    Ok(())
}

/// Names of the Snapshots in the two copies.
struct Copies {
    damaged: String,
    gone: String,
}

fn copies(story: &mut Story, kubectl: &Kubectl) -> Result<Copies> {
    story.step("Two copies of the repository: one byte of one is flipped, the other is taken away (sabotage/)");
    kubectl.apply(&samples::copies())?;
    let damaged = newest_snapshot(story, kubectl, "damaged")?;
    let gone = newest_snapshot(story, kubectl, "gone")?;
    for (file, job) in [(samples::bit_flip(), "bit-flip"), (samples::outage(), "outage")] {
        kubectl.apply(&samples::recipes())?;
        kubectl.apply(&file)?;
        job_succeeds(story, kubectl, job)?;
        story.say(&kubectl.run(&["logs", &format!("job/{job}")])?);
    }
    Ok(Copies { damaged, gone })
}

fn red(story: &mut Story, kubectl: &Kubectl, snapshot: &str) -> Result<()> {
    story.step("A session made by hand for the damaged copy (docs/samples/demo/session-damaged.yaml)");
    kubectl.apply(&samples::session_damaged())?;
    let ended = ended(story, kubectl, "damaged-by-hand")?;
    story.show(kubectl, &["get", SESSIONS, "damaged-by-hand", "-o", "wide"])?;
    story.say(&text(&ended, "/status/message"));
    story.expect_within("session of the damaged copy", "Failed", &text(&ended, "/status/phase"), ended_after(&ended), RED_BAR);
    story.expect("its verdict", "VerificationFailed", &text(&ended, "/status/verdict"));
    story.expect("what it names", "PackDamaged", &text(&ended, "/status/cause"));
    let snapshot = kubectl.get(SNAPSHOTS, snapshot)?;
    story.expect("its Snapshot", "VerificationFailed", &text(&snapshot, "/status/verificationStatus"));
    Ok(())
}

fn inconclusive(story: &mut Story, kubectl: &Kubectl, snapshot: &str) -> Result<()> {
    story.step("A session made by hand for the copy that is gone (docs/samples/demo/session-gone.yaml)");
    kubectl.apply(&samples::session_gone().replace("snapshot: latest", &format!("snapshot: {snapshot}")))?;
    let ended = ended(story, kubectl, "gone-by-hand")?;
    story.show(kubectl, &["get", SESSIONS, "gone-by-hand", "-o", "wide"])?;
    story.say(&text(&ended, "/status/message"));
    story.expect_within("session with the storage gone", "Failed", &text(&ended, "/status/phase"), ended_after(&ended), RED_BAR);
    story.expect("its verdict", "Inconclusive", &text(&ended, "/status/verdict"));
    story.expect("what it names", "RepositoryNotFound", &text(&ended, "/status/cause"));
    let snapshot = kubectl.get(SNAPSHOTS, snapshot)?;
    story.expect("its Snapshot", "NotVerified", &text(&snapshot, "/status/verificationStatus"));
    Ok(())
}

fn refused(story: &mut Story, kubectl: &Kubectl) -> Result<()> {
    story.step("Sessions that name something that does not exist are refused (docs/samples/demo/refused-*.yaml)");
    for (what, manifest, names) in [
        ("session with a wrong invoker", samples::refused_invoker(), "spec.invoker"),
        ("session with a wrong snapshot", samples::refused_snapshot(), "spec.snapshot"),
    ] {
        let answer = kubectl.refused(&manifest)?;
        story.say(&answer);
        story.expect(what, "refused", if answer.contains(names) { "refused" } else { "refused otherwise" });
    }
    Ok(())
}

fn newest_snapshot(story: &Story, kubectl: &Kubectl, repository: &str) -> Result<String> {
    let label = format!("kubestash.com/repo-name={repository}");
    wait::until(&format!("discovery of repository {repository}"), LIMIT, story.progress(), || {
        let found = kubectl.list(SNAPSHOTS, &["-l", &label])?;
        Ok(found.into_iter().find(|s| s["status"]["phase"] == "Succeeded").map(|s| text(&s, "/metadata/name")))
    })
}

fn ended(story: &Story, kubectl: &Kubectl, session: &str) -> Result<Value> {
    wait::until(&format!("the verdict of {session}"), LIMIT, story.progress(), || {
        let session = kubectl.get(SESSIONS, session)?;
        Ok(matches!(session["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped")).then_some(session))
    })
}

pub(crate) fn job_succeeds(story: &Story, kubectl: &Kubectl, name: &str) -> Result<()> {
    let start = Instant::now();
    wait::until(&format!("Job {name}"), LIMIT, story.progress(), || {
        let job = kubectl.get("job", name)?;
        if job["status"]["failed"].as_u64().unwrap_or(0) > 0 {
            bail!("Job {name} failed: {}", kubectl.run(&["logs", &format!("job/{name}"), "--all-containers"]).unwrap_or_default());
        }
        Ok((job["status"]["succeeded"] == 1).then_some(()))
    })?;
    story.say(&format!("Job {name} took {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Whole seconds from the session's creation to its verdict, by the cluster's clock.
pub(crate) fn ended_after(session: &Value) -> u64 {
    let time = |pointer: &str| text(session, pointer).parse::<jiff::Timestamp>().ok();
    match (time("/metadata/creationTimestamp"), time("/status/completionTime")) {
        (Some(created), Some(completed)) => u64::try_from(completed.as_second() - created.as_second()).unwrap_or(0),
        (None | Some(_), None) | (None, Some(_)) => 0,
    }
}

pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
