//! The objects the tests start from, and the few ways they are changed.

use std::collections::BTreeSet;

use backproof_api::{
    Addon, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, RestoreSession, Snapshot,
    run::{PinnedJob, PinnedObject, spec_hash},
};
use clap::Parser as _;
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Config,
    restore::{
        Owner,
        decide::{Decision, Observed, decide},
        plan::{Inputs, Installation, plan},
        target::Source,
    },
};

/// UID of the session.
pub(super) const SESSION: &str = "5e551011-0000-4000-8000-000000000001";
/// UID of the target claim.
pub(super) const CLAIM: &str = "c1a10000-0000-4000-8000-000000000001";
/// The restic ids of the components.
pub(super) const POD_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(super) const DUMP_ID: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

const RUN: &str = "
snapshot: {name: snap, uid: u-snap, components: [{name: pod, path: repository/v1/daily/pod, resticIds: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]}]}
verifier:
  object: {namespace: demo, name: verifier, uid: u-verifier, generation: 3}
  type: RestoreOnly
  hash: h
  target: {kind: PersistentVolumeClaim, object: {namespace: demo, name: scratch, uid: c1a10000-0000-4000-8000-000000000001}}
  addon: {name: backproof-pvc-addon, uid: u-addon, generation: 1}
  function: {name: backproof-pvc-restore, uid: u-function, generation: 1}
  task: logical-backup-restore
repository: {name: store, uid: u-repository}
started: 2026-01-01T00:00:00Z
deadline: 2026-01-01T06:00:00Z
startTimeoutSeconds: 600
notCovered: [manifest]
";

/// A moment inside the run: minutes after its start.
pub(super) fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_mins(minutes)
}

pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A typed value from JSON.
pub(super) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The world of one restore.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) restore: RestoreSession,
    pub(super) owner: Owner,
    pub(super) inputs: Inputs,
    pub(super) jobs: Vec<Job>,
    pub(super) pods: Vec<Pod>,
    pub(super) neighbours: Vec<Pod>,
    pub(super) made: BTreeSet<String>,
    pub(super) copied: BTreeSet<String>,
    pub(super) granted: BTreeSet<String>,
    pub(super) revoked: BTreeSet<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let restore: RestoreSession = yaml(
            "
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata:
  name: store-daily-1767225600
  namespace: demo
  uid: u-restore
  generation: 1
  labels: {backproof.dev/session-uid: 5e551011-0000-4000-8000-000000000001}
  ownerReferences: [{apiVersion: core.kubestash.com/v1alpha1, kind: BackupVerificationSession, name: store-daily-1767225600, controller: true, uid: 5e551011-0000-4000-8000-000000000001}]
spec:
  target: {kind: PersistentVolumeClaim, name: scratch}
  dataSource: {repository: store, snapshot: snap}
  addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
",
        );
        let session: BackupVerificationSession = yaml(
            "
apiVersion: core.kubestash.com/v1alpha1
kind: BackupVerificationSession
metadata:
  name: store-daily-1767225600
  namespace: demo
  uid: 5e551011-0000-4000-8000-000000000001
  labels: {kubestash.com/invoker-name: backup, team: blue}
spec: {invoker: {apiGroup: core.kubestash.com, kind: BackupConfiguration, name: backup}, session: daily, repository: store, snapshot: snap}
",
        );
        let inputs = Inputs {
            verifier: Some(yaml::<BackupVerifier>("{metadata: {name: verifier, namespace: demo, uid: u-verifier, generation: 3}, spec: {type: RestoreOnly}}")),
            snapshot: Some(yaml::<Snapshot>(&format!(
                "{{metadata: {{name: snap, namespace: demo, uid: u-snap}}, spec: {{appRef: {{apiGroup: apps, kind: Deployment, name: shop}}}}, status: {{components: {{pod: {{driver: Restic, resticStats: [{{summary: {{id: {POD_ID}, hostPath: /data}}}}]}}, dump: {{driver: Restic}}}}}}}}"
            ))),
            repository: Some(yaml::<Repository>(
                "{metadata: {name: store, namespace: demo, uid: u-repository}, spec: {path: /shop, storageRef: {name: disk}, encryptionSecret: {name: key}}}",
            )),
            storage: Some(yaml::<BackupStorage>(
                "{metadata: {name: disk, namespace: demo}, spec: {storage: {provider: local, local: {mountPath: /m, persistentVolumeClaim: {claimName: backups}}}}}",
            )),
            addons: vec![yaml::<Addon>(
                "{metadata: {name: backproof-pvc-addon, uid: u-addon, generation: 1, labels: {backproof.dev/implements: pvc-addon}}, spec: {restoreTasks: [{name: logical-backup-restore, function: backproof-pvc-restore, driver: Restic, executor: Job}]}}",
            )],
            functions: vec![yaml::<Function>(
                "
metadata: {name: backproof-pvc-restore, uid: u-function, generation: 1, labels: {backproof.dev/implements: pvc-restore}}
spec:
  image: localhost/backproof/backproof:dev
  command: [/bin/backproof-executor]
  args: [restore, '--repository=${repositoryURL}', '--snapshot=${resticSnapshot}', '--target=${targetPath}', --report=/dev/termination-log, '--allow-empty=${allowEmpty:=false}']
",
            )],
            claim: Some(yaml::<PersistentVolumeClaim>(&format!(
                "{{metadata: {{name: scratch, namespace: demo, uid: {CLAIM}}}, spec: {{accessModes: [ReadWriteOnce]}}, status: {{phase: Bound}}}}"
            ))),
            server: None,
            verify_functions: Vec::new(),
            source: Source { namespace: "demo".into(), claims: vec!["shop-data".into()], claim_prefixes: Vec::new() },
            namespace_labels: Default::default(),
        };
        let mut world = Self {
            config: Config::try_parse_from(["controller"]).unwrap(),
            restore,
            owner: Owner { session, run: yaml(RUN) },
            inputs,
            jobs: Vec::new(),
            pods: Vec::new(),
            neighbours: Vec::new(),
            made: BTreeSet::new(),
            copied: BTreeSet::new(),
            granted: BTreeSet::new(),
            revoked: BTreeSet::new(),
        };
        world.pin();
        world
    }

    /// A world with two components.
    pub(super) fn of_two() -> Self {
        let mut world = Self::new();
        world
            .owner
            .run
            .snapshot
            .components
            .insert(0, from(json!({"name": "dump", "path": "repository/v1/daily/dump", "resticIds": [DUMP_ID]})));
        world
    }

    /// Pins the spec as it is now.
    pub(super) fn pin(&mut self) {
        self.owner.run.restore_spec_hash = spec_hash(&self.restore.spec);
    }

    /// A world whose Jobs are made, recorded and started, each without a pod yet.
    pub(super) fn started(mut self) -> Self {
        let planned = self.planned().unwrap();
        let mut status = self.restore.status.clone().unwrap_or_default();
        for planned in planned {
            let mut job = planned.job;
            job.metadata.uid = Some(format!("u-job-{}", planned.component));
            job.metadata.resource_version = Some("7".into());
            let spec = job.spec.as_mut().unwrap();
            spec.suspend = Some(false);
            spec.active_deadline_seconds = Some(21_000);
            job.status = Some(from(json!({"startTime": at(1).to_string()})));
            let object = PinnedObject {
                namespace: job.metadata.namespace.clone().unwrap(),
                name: job.metadata.name.clone().unwrap(),
                uid: job.metadata.uid.clone().unwrap(),
                generation: 0,
            };
            status.jobs.push(PinnedJob { component: planned.component, object, attempt: 1, started: true, ..PinnedJob::default() });
            self.jobs.push(job);
        }
        self.restore.status = Some(status);
        self
    }

    pub(super) fn planned(&self) -> Result<Vec<crate::restore::plan::Planned>, String> {
        let installation = Installation { config: &self.config, proxies: &[] };
        plan(&self.owner, &self.restore, &self.inputs, installation).map_err(|failure| failure.line())
    }

    pub(super) fn decide(&self, now: Timestamp) -> Option<Decision> {
        decide(&self.observed(), Installation { config: &self.config, proxies: &[] }, now)
    }

    pub(super) fn observed(&self) -> Observed {
        Observed {
            restore: self.restore.clone(),
            owner: Some(self.owner.clone()),
            inputs: Some(self.inputs.clone()),
            jobs: self.jobs.clone(),
            pods: self.pods.iter().map(|pod| self.as_made(pod)).collect(),
            neighbours: Some(self.neighbours.clone()),
            made: self.made.clone(),
            copied: self.copied.clone(),
            granted: self.granted.clone(),
            revoked: self.revoked.clone(),
            refused: None,
        }
    }

    /// A pod as the Job controller makes it: by its Job's template, unless the test gave it an image of its own.
    fn as_made(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        let owner = pod.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.clone());
        let job = self.jobs.iter().find(|job| job.metadata.uid.is_some() && job.metadata.uid == owner);
        let named = pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|container| container.image.is_some()));
        if let Some(job) = job.filter(|_| !named) {
            pod.spec = job.spec.as_ref().and_then(|spec| spec.template.spec.clone());
        }
        pod
    }

    /// Ends the Job of a component with a condition of this type and reason.
    pub(super) fn finish(&mut self, component: &str, condition: &str, reason: &str) {
        let uid = format!("u-job-{component}");
        let job = self.jobs.iter_mut().find(|job| job.metadata.uid.as_ref() == Some(&uid)).unwrap();
        let conditions = json!([{"type": condition, "status": "True", "reason": reason}]);
        job.status.as_mut().unwrap().conditions = Some(from(conditions));
    }

    /// The verdict, cause and phase a decision closes with.
    pub(super) fn ending(&self, now: Timestamp) -> String {
        let status = self.decide(now).unwrap().status;
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        format!(
            "{} {} {}",
            text(status.verdict.map(|verdict| verdict.to_string())),
            text(status.cause.map(|cause| cause.to_string())),
            text(status.phase.map(|phase| phase.to_string()))
        )
    }
}

/// A pod of a component's Job, with the state of its container.
pub(super) fn pod(component: &str, phase: &str, state: Value) -> Pod {
    from(json!({
        "metadata": {
            "name": format!("pod-{component}"), "namespace": "demo", "uid": format!("u-pod-{component}"),
            "labels": {"backproof.dev/session-uid": SESSION},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "any", "controller": true, "uid": format!("u-job-{component}")}],
        },
        "spec": {
            "containers": [{"name": "logical-backup-restore-0"}],
            "volumes": [{"name": "backproof-target", "persistentVolumeClaim": {"claimName": "scratch"}}],
        },
        "status": {"phase": phase, "containerStatuses": [
            {"name": "logical-backup-restore-0", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]},
    }))
}

/// A container that ended with this code and message, between minute 2 and 3.
pub(super) fn terminated(code: i32, message: &str) -> Value {
    json!({"terminated": {"exitCode": code, "message": message, "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": at(2).to_string(), "finishedAt": at(3).to_string()}})
}

/// A report about the component `pod`, as JSON.
pub(super) fn report(outcome: &str, cause: Option<&str>) -> Value {
    let counts = json!({"files": 3, "directories": 2, "bytes": 2048});
    let mut report = json!({
        "identity": {"sessionUid": SESSION, "attempt": 1, "component": "pod"},
        "outcome": outcome,
        "snapshot": {"id": POD_ID},
        "repository": {"id": "r", "version": 2},
        "restored": counts, "readBack": counts,
        "executor": "0.1.0", "seconds": 60,
    });
    if let Some(cause) = cause {
        report["cause"] = cause.into();
        report["error"] = "pack 12ab is damaged".into();
    }
    report
}
