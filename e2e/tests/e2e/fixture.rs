//! A namespace with a small restic repository, its copies, and helpers to run sessions there.

use std::{cell::RefCell, path::PathBuf, time::Duration};

use backproof_e2e::{Kubectl, listing, samples, wait};
use serde_json::{Value, json};

use crate::schema::{assert_schema, meant};

pub(crate) const SESSIONS: &str = "backupverificationsession.core.kubestash.com";
pub(crate) const SNAPSHOTS: &str = "snapshots.storage.kubestash.com";
pub(crate) const RESTORES: &str = "restoresessions.core.kubestash.com";
/// Owner of the repositories in these tests; not the Jobs' default, so that the settings of the samples are what counts.
pub(crate) const OWNER: u32 = 10_001;
/// Password in the samples' Secret.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Ceiling of a single wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// One test's namespace; deleted when the test is over, whatever its outcome.
pub(crate) struct Fixture {
    pub(crate) kubectl: Kubectl,
    pub(crate) cluster: Kubectl,
    /// Kinds and names of objects without a namespace that go with the test.
    beside: RefCell<Vec<(&'static str, String)>>,
}

impl Fixture {
    /// A namespace that enforces the restricted profile, with volumes and a backup of a little sample data in them.
    pub(crate) fn new(test: &str) -> Self {
        let fixture = Self::empty(test);
        fixture.kubectl.apply(&samples::volumes()).unwrap();
        fixture.apply(&samples::small_backup());
        fixture.job_succeeds("backup");
        fixture
    }

    /// The same without anything in it.
    pub(crate) fn empty(test: &str) -> Self {
        let cluster = Kubectl::from_env().unwrap();
        let name = format!("e2e-{test}-{:x}", jiff::Timestamp::now().as_millisecond() & 0xff_ffff);
        cluster.run(&["create", "namespace", &name]).unwrap();
        cluster.run(&["label", "namespace", &name, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        Self { kubectl: cluster.namespace(&name), cluster, beside: RefCell::default() }
    }

    /// Notes an object without a namespace that is to go with the test.
    pub(crate) fn beside(&self, kind: &'static str, name: &str) {
        self.beside.borrow_mut().push((kind, name.to_owned()));
    }

    /// An Addon with one restore task whose Function runs this image and command, and counts as one of the catalog.
    pub(crate) fn addon(&self, what: &str, image: &str, command: &[&str]) -> String {
        let name = format!("{}-{what}", self.kubectl.in_namespace());
        let metadata = json!({"name": name, "labels": {"backproof.dev/implements": name}});
        let task = json!({"name": "logical-backup-restore", "function": name, "driver": "Restic", "executor": "Job"});
        self.apply_all(&[
            json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": metadata, "spec": {"restoreTasks": [task]}}),
            json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function", "metadata": metadata,
                "spec": {"image": image, "command": command}}),
        ]);
        self.beside("addon.addons.kubestash.com", &name);
        self.beside("function.addons.kubestash.com", &name);
        name
    }

    /// Applies a manifest, with this suite's owner of repositories.
    pub(crate) fn apply(&self, manifest: &str) {
        self.kubectl.apply(&samples::owned_by(OWNER, manifest)).unwrap();
    }

    /// The sample that verifies the intact repository, with its schedule suspended: sessions are made by hand.
    pub(crate) fn verify_by_hand(&self) {
        self.verify_by_hand_with(|manifest| manifest);
    }

    /// The same after a change of the manifest.
    pub(crate) fn verify_by_hand_with(&self, change: impl Fn(String) -> String) {
        let suspended = r#"schedule: "0 4 * * *", suspend: true"#;
        let manifest = change(samples::verify().replace(r#"schedule: "* * * * *""#, suspended));
        assert!(manifest.contains(suspended));
        self.apply(&manifest);
        self.discovered("sample");
    }

    /// Waits until a repository's snapshot has been discovered and returns its name.
    pub(crate) fn discovered(&self, repository: &str) -> String {
        let label = format!("kubestash.com/repo-name={repository}");
        wait::quietly(&format!("a Snapshot of {repository}"), LIMIT, || {
            let found = self.kubectl.list(SNAPSHOTS, &["-l", &label])?;
            Ok(found.iter().find(|s| s["status"]["phase"] == "Succeeded").map(|s| text(s, "/metadata/name")))
        })
        .unwrap()
    }

    /// Creates a session by hand for the sample's repository.
    pub(crate) fn session(&self, name: &str, snapshot: &str) {
        self.kubectl.apply(&session(name, snapshot)).unwrap();
    }

    /// The same for a session that runs although its Snapshot is already proven.
    pub(crate) fn session_anyway(&self, name: &str) {
        let annotated = format!("{{name: {name}, annotations: {{backproof.dev/reverify: \"true\"}}}}");
        let manifest = session(name, "latest").replace(&format!("{{name: {name}}}"), &annotated);
        self.kubectl.apply(&manifest).unwrap();
    }

    /// A session as it is now.
    pub(crate) fn session_now(&self, name: &str) -> anyhow::Result<Value> {
        Ok(meant(self.kubectl.get(SESSIONS, name)?))
    }

    /// Waits for a session's end and returns it.
    pub(crate) fn ended(&self, name: &str) -> Value {
        wait::quietly(&format!("the end of {name}"), LIMIT, || {
            let session = self.session_now(name)?;
            Ok(matches!(session["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped")).then_some(session))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.describe(name)))
    }

    /// What a user would look at when a session does not end.
    pub(crate) fn describe(&self, session: &str) -> String {
        let show = |args: &[&str]| self.kubectl.run(args).unwrap_or_else(|error| error.to_string());
        [
            show(&["describe", SESSIONS, session]),
            show(&["get", RESTORES, session, "-o", "yaml", "--ignore-not-found"]),
            show(&["get", "jobs,pods", "-o", "wide"]),
            show(&["get", "events"]),
        ]
        .join("\n")
    }

    /// Waits until a Job of the samples has succeeded.
    pub(crate) fn job_succeeds(&self, name: &str) {
        wait::quietly(&format!("Job {name}"), LIMIT, || {
            let job = self.kubectl.get("job", name)?;
            if job["status"]["failed"].as_u64().unwrap_or(0) > 0 {
                anyhow::bail!("{}", self.kubectl.run(&["logs", &format!("job/{name}"), "--all-containers"])?);
            }
            Ok((job["status"]["succeeded"] == 1).then_some(()))
        })
        .unwrap();
    }

    /// Runs one of the recipes of damage as the README says.
    pub(crate) fn sabotage(&self, manifest: &str, job: &str) {
        self.apply(&samples::recipes());
        self.apply(manifest);
        self.job_succeeds(job);
    }

    /// The host directory behind a claim of the local cluster.
    pub(crate) fn host_path(&self, claim: &str) -> PathBuf {
        let volume = text(&self.kubectl.get("pvc", claim).unwrap(), "/spec/volumeName");
        let path = text(&self.cluster.get("pv", &volume).unwrap(), "/spec/local/path");
        assert!(!path.is_empty(), "claim {claim} is not backed by a local volume; these tests need the local cluster");
        PathBuf::from(path)
    }

    /// Everything about the files behind a claim.
    pub(crate) fn listing(&self, claim: &str) -> Vec<String> {
        let lines = listing::of(&self.host_path(claim)).unwrap();
        assert!(lines.len() > 1, "nothing lies behind claim {claim}");
        lines
    }

    /// Reasons of the events on an object, oldest first, each as often as it was told.
    pub(crate) fn told_of(&self, kind: &str, name: &str) -> anyhow::Result<Vec<String>> {
        let field = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let mut events = self.kubectl.list("events", &["--field-selector", &field])?;
        let time = |event: &Value, field: &str| event[field].as_str().map(str::to_owned);
        events.sort_by_key(|event| time(event, "eventTime").or_else(|| time(event, "firstTimestamp")));
        let times = |event: &Value| event["count"].as_u64().or_else(|| event["series"]["count"].as_u64()).unwrap_or(1);
        Ok(events.iter().flat_map(|event| (0..times(event)).map(|_| text(event, "/reason"))).collect())
    }

    /// The same once this was told: an event comes shortly after the status that it tells of.
    pub(crate) fn told_at_last(&self, kind: &str, name: &str, reason: &str) -> Vec<String> {
        wait::quietly(&format!("event {reason} on {kind} {name}"), LIMIT, || {
            Ok(Some(self.told_of(kind, name)?).filter(|told| told.iter().any(|told| told == reason)))
        })
        .unwrap()
    }

    /// Targets of this namespace that are locked, by the names of their Leases.
    pub(crate) fn locked(&self) -> Vec<String> {
        let leases = self.cluster.namespace("backproof-system").list("leases", &[]).unwrap();
        let here = format!("{}/", self.kubectl.in_namespace());
        let held = leases.iter().filter(|lease| text(&lease["metadata"]["annotations"], "/backproof.dev~1holder").starts_with(&here));
        held.map(|lease| text(lease, "/metadata/name")).collect()
    }

    /// Whether a claim has no volume: the local cluster gives it one when its first pod comes.
    pub(crate) fn unbound(&self, claim: &str) -> bool {
        text(&self.kubectl.get("pvc", claim).unwrap(), "/spec/volumeName").is_empty()
    }

    /// Whether nothing at all, not even a marker, lies behind a claim.
    pub(crate) fn never_written(&self, claim: &str) -> bool {
        let path = self.host_path(claim);
        std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).next().is_none()
    }

    /// Names of the Leases that a session holds.
    pub(crate) fn leases_of(&self, session_uid: &str) -> Vec<String> {
        let leases = self.cluster.namespace("backproof-system").list("leases", &[]).unwrap();
        let held = leases.iter().filter(|lease| text(lease, "/spec/holderIdentity").contains(session_uid));
        held.map(|lease| text(lease, "/metadata/name")).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let name = self.kubectl.in_namespace().to_owned();
        if let Err(error) = self.cluster.run(&["delete", "namespace", &name, "--wait=false"]) {
            eprintln!("namespace {name} is left behind: {error}");
        }
        for (kind, name) in self.beside.take() {
            if let Err(error) = self.cluster.run(&["delete", kind, &name, "--ignore-not-found", "--wait=false"]) {
                eprintln!("{kind} {name} is left behind: {error}");
            }
        }
    }
}

/// A session for the sample's repository.
pub(crate) fn session(name: &str, snapshot: &str) -> String {
    format!(
        "apiVersion: core.kubestash.com/v1alpha1
kind: BackupVerificationSession
metadata: {{name: {name}}}
spec:
  invoker: {{apiGroup: core.kubestash.com, kind: BackupConfiguration, name: sample-backup}}
  session: daily
  repository: sample
  snapshot: \"{snapshot}\"
"
    )
}

/// Asserts verdict, cause and phase of an ended session, and shows the whole session when they differ.
pub(crate) fn assert_ended(fixture: &Fixture, session: &Value, phase: &str, verdict: &str, cause: Option<&str>) {
    assert_schema(session);
    let came = (session["status"]["phase"].as_str(), session["status"]["verdict"].as_str(), session["status"]["cause"].as_str());
    let name = text(session, "/metadata/name");
    assert_eq!(came, (Some(phase), Some(verdict), cause), "{name}: {:#}\n{}", session["status"], fixture.describe(&name));
}

/// A text inside an object; empty when absent.
pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Status of a condition; empty when absent.
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().find(|c| c["type"] == kind).map(|c| text(c, "/status")).unwrap_or_default()
}
