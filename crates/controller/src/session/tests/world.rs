//! A world in memory around one session: observes as the driver does, and does what is decided, one effect at a time.

use std::sync::Arc;

use backproof_api::{
    Addon, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerificationSessionStatus, BackupVerifier, Function,
    Repository, RestoreSession, Snapshot,
    kept::{self, Kept},
    labels,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::super::{
    decide::decide,
    decision::{Decision, Effect, Wake},
    observed::{Claim, Observed, OwnedInvoker, References, Remains, Retry, Seen, Settings, Sibling, Target},
    stage::{Stage, stage},
};
use crate::{
    hold::{Hold, Place},
    lease::{Held, Lock},
    shared::Reading,
};

pub(super) const START: &str = "2026-01-01T00:00:00Z";
pub(super) const UID: &str = "aaaa";

const SESSION: &str = r"
metadata: {name: repo-nightly-1, namespace: demo, uid: aaaa, generation: 1, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {invoker: {apiGroup: core.kubestash.com, kind: BackupConfiguration, name: backup}, session: nightly, repository: repo, snapshot: snap, retryLeft: 2}
";
const INVOKER: &str = r"
metadata: {name: backup, namespace: demo, uid: inv}
spec:
  target: {apiGroup: '', kind: PersistentVolumeClaim, name: data}
  sessions: [{name: nightly, repositories: [{name: repo, backupVerifier: {name: verifier}}]}]
";
const VERIFIER: &str = r"
metadata: {name: verifier, namespace: demo, uid: ver, generation: 3}
spec:
  type: RestoreOnly
  restoreOption:
    target: {kind: PersistentVolumeClaim, name: scratch}
    addonInfo: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
  scheduler: {schedule: '* * * * *', jobTemplate: {}}
  retryConfig: {maxRetry: 2, delay: 1m}
  timeout: 1h
";
const REPOSITORY: &str = "
metadata: {name: repo, namespace: demo, uid: rep}
spec: {storageRef: {name: storage}, encryptionSecret: {name: password}, path: /x}
";
const STORAGE: &str = "
metadata: {name: storage, namespace: demo, uid: sto}
spec: {storage: {provider: local, local: {mountPath: /m, persistentVolumeClaim: {claimName: repository}}}}
";
const SNAPSHOT: &str = "
metadata: {name: snap, namespace: demo, uid: sna, resourceVersion: '7'}
spec: {repository: repo, session: nightly, appRef: {kind: PersistentVolumeClaim, name: data}}
status:
  phase: Succeeded
  snapshotTime: '2025-12-31T00:00:00Z'
  verificationStatus: NotVerified
  totalComponents: 1
  components: {pod: {driver: Restic, phase: Succeeded, path: '.', resticStats: [{summary: {id: r1}}]}}
";
const ADDON: &str = "
metadata: {name: backproof-pvc-addon, uid: add, generation: 1, labels: {backproof.dev/implements: pvc-addon}}
spec: {restoreTasks: [{name: logical-backup-restore, function: pvc-restore, executor: Job}]}
";
const FUNCTION: &str = "
metadata: {name: backproof-pvc-restore, uid: fun, generation: 1, labels: {backproof.dev/implements: pvc-restore}}
spec: {image: x, command: [/bin/backproof-executor]}
";
/// What a RestoreSession says that proves everything.
pub(super) const GREEN: &str = "
phase: Succeeded
verdict: Verified
totalComponents: 1
components: {pod: {phase: Succeeded}}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
evidence:
  source: Executor
  restored: {files: 3, directories: 1, bytes: 42}
  readBack: {files: 3, directories: 1, bytes: 42}
  resticIds: [r1]
";
/// What a RestoreSession says that found a defect.
pub(super) const RED: &str = "
phase: Failed
verdict: VerificationFailed
cause: PackDamaged
message: pack 12ab is damaged
totalComponents: 1
components: {pod: {phase: Failed}}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
evidence: {source: Executor, restored: {files: 2, directories: 1, bytes: 40}, readBack: {files: 2, directories: 1, bytes: 40}, resticIds: [r1]}
";

pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// An object with a merge patch, written as YAML, applied to it.
pub(super) fn merged<T: Serialize + DeserializeOwned>(object: &T, patch: &str) -> T {
    fn merge(into: &mut Value, patch: Value) {
        match (into, patch) {
            (Value::Object(object), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        object.remove(&key);
                    } else {
                        merge(object.entry(key).or_insert(Value::Null), value);
                    }
                }
            }
            (into, patch) => *into = patch,
        }
    }
    let mut value = serde_json::to_value(object).unwrap();
    merge(&mut value, yaml(patch));
    serde_json::from_value(value).unwrap()
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) session: BackupVerificationSession,
    pub(super) references: Box<References>,
    pub(super) invoker: Option<OwnedInvoker>,
    pub(super) settings: Settings,
    pub(super) restore: Option<RestoreSession>,
    /// What the restore controller answers, once the RestoreSession is pinned.
    pub(super) answer: Option<&'static str>,
    pub(super) lease: Option<Held>,
    pub(super) mine: bool,
    pub(super) siblings: Vec<Sibling>,
    pub(super) remains: Remains,
    /// What was done, in order.
    pub(super) done: Vec<String>,
    pub(super) events: Vec<String>,
    pub(super) restores_made: usize,
    pub(super) carried: Lock,
    pub(super) version: u64,
    /// Whether the API server has upstream's schema, which drops our fields.
    pub(super) pruning: bool,
    /// What the API server says to a retry.
    pub(super) retry_refused: Option<&'static str>,
    pub(super) retries: usize,
    pub(super) retry: Retry,
    /// What the Repository's annotation says.
    pub(super) hold: Option<Hold>,
    /// Who has all the slots.
    pub(super) full: Vec<String>,
    /// What a live reading finds where caches lag.
    pub(super) live: Option<Box<References>>,
}

impl World {
    pub(super) fn new() -> Self {
        let invoker: BackupConfiguration = yaml(INVOKER);
        let invoker = OwnedInvoker::Configuration(Box::new(invoker));
        let claim = |name: &str, uid: &str, role: &str| Claim {
            namespace: "demo".into(),
            name: name.into(),
            uid: uid.into(),
            role: role.into(),
            ..Claim::default()
        };
        let references = Box::new(References {
            invoker: Some(invoker.clone()),
            repository: Some(yaml::<Repository>(REPOSITORY)),
            verifier: Some(yaml::<BackupVerifier>(VERIFIER)),
            storage: Some(yaml::<BackupStorage>(STORAGE)),
            snapshots: vec![yaml::<Snapshot>(SNAPSHOT)],
            addon: Some(yaml::<Addon>(ADDON)),
            function: Some(yaml::<Function>(FUNCTION)),
            target: Some(Target::Claim(claim("scratch", "tgt", "the target"))),
            sources: vec![claim("data", "src", "what the invoker backs up"), claim("repository", "rpv", "the repository")],
            ..References::default()
        });
        Self {
            now: START.parse().unwrap(),
            session: yaml(SESSION),
            references,
            invoker: Some(invoker),
            settings: Settings {
                default_timeout: SignedDuration::from_hours(6),
                default_start_timeout: SignedDuration::from_mins(10),
                foreign_functions: false,
                unsafe_namespaces: Vec::new(),
                crossing: Vec::new(),
            },
            restore: None,
            answer: Some(GREEN),
            lease: None,
            mine: false,
            siblings: Vec::new(),
            remains: Remains::default(),
            done: Vec::new(),
            events: Vec::new(),
            restores_made: 0,
            carried: Lock::NotRead,
            version: 1,
            pruning: false,
            retry_refused: None,
            retries: 0,
            retry: Retry::NotTried,
            hold: None,
            full: Vec::new(),
            live: None,
        }
    }

    /// The claim that is restored into.
    pub(super) fn target(&mut self) -> &mut Claim {
        match self.references.target.as_mut() {
            Some(Target::Claim(claim)) => claim,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn verifier(mut self, patch: &str) -> Self {
        self.references.verifier = self.references.verifier.map(|object| merged(&object, patch));
        self
    }

    pub(super) fn snapshot(mut self, patch: &str) -> Self {
        self.references.snapshots[0] = merged(&self.references.snapshots[0], patch);
        self
    }

    pub(super) fn session(mut self, patch: &str) -> Self {
        self.session = merged(&self.session, patch);
        self
    }

    /// Another session about the same, in the world as it is now.
    pub(super) fn again(mut self, name: &str) -> Self {
        self.session = merged(&yaml::<BackupVerificationSession>(SESSION), &format!("metadata: {{name: {name}, uid: {name}}}"));
        (self.restore, self.carried, self.mine) = (None, Lock::NotRead, false);
        self.done.clear();
        self.events.clear();
        self
    }

    pub(super) fn after(mut self, seconds: i64) -> Self {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
        self
    }

    pub(super) fn status(&self) -> BackupVerificationSessionStatus {
        self.session.status.clone().unwrap_or_default()
    }

    /// Phase, verdict and cause in one line.
    pub(super) fn end(&self) -> String {
        let status = self.status();
        let word = |word: Option<String>| word.unwrap_or_else(|| "-".into());
        format!(
            "{} {} {}",
            word(status.phase.map(|phase| phase.to_string())),
            word(status.verdict.map(|verdict| verdict.to_string())),
            word(status.cause.map(|cause| cause.to_string()))
        )
    }

    /// The verification status of the Snapshot, and whose record stands there.
    pub(super) fn proof(&self) -> String {
        let status = self.references.snapshots[0].status.clone().unwrap_or_default();
        let record = status.verification.map_or_else(|| "-".into(), |record| format!("{}:{}", record.session, record.verdict));
        let attempt = status.last_attempt.and_then(|attempt| attempt.cause).map_or_else(|| "-".into(), |cause| cause.to_string());
        format!("{} {record} {attempt}", status.verification_status.map_or_else(|| "-".into(), |status| status.to_string()))
    }

    /// What the driver would observe.
    pub(super) fn observe(&self) -> Observed {
        let seen = |restore: &Option<RestoreSession>| restore.clone().map_or(Seen::Absent, |restore| Seen::Present(Box::new(restore)));
        let mut observed = Observed {
            session: Arc::new(self.session.clone()),
            settings: self.settings.clone(),
            references: Some(Arc::new(self.references.as_ref().clone())),
            unreadable: None,
            place: Some(Place { hold: self.hold.clone(), ..Place::default() }),
            lock: self.carried.clone(),
            restore: Seen::NotRead,
            snapshot: Seen::NotRead,
            siblings: self.siblings.clone(),
            remains: None,
            invoker: Seen::NotRead,
            retry: self.retry.clone(),
        };
        match stage(&self.session) {
            Stage::Foreign | Stage::Gone | Stage::Unpinned => {}
            Stage::Contradicted(_) | Stage::Running(_) => observed.restore = seen(&self.restore),
            Stage::Judged(..) => {
                observed.restore = seen(&self.restore);
                observed.snapshot =
                    self.references.snapshots.first().map_or(Seen::Absent, |snapshot| Seen::Present(Box::new(snapshot.clone())));
            }
            Stage::Done(run) => {
                if run.wipe_target {
                    observed.restore = seen(&self.restore);
                }
                observed.lock = if self.mine { Lock::Mine } else { Lock::NotRead };
                observed.remains = Some(self.remains.clone());
                observed.invoker = self.invoker.clone().map_or(Seen::Absent, |invoker| Seen::Present(Box::new(invoker)));
            }
            Stage::Deleting(_) => {
                observed.restore = seen(&self.restore);
                observed.remains = Some(self.remains.clone());
            }
        }
        observed
    }

    pub(super) fn decide(&self) -> Decision {
        decide(&self.observe(), self.now)
    }

    /// Goes on until nothing happens any more; the process dies before the effect of number `crash`, once.
    pub(super) fn run(mut self, crash: Option<usize>) -> Self {
        let mut crash = crash;
        let mut effects = 0;
        self.carried = Lock::NotRead;
        for _ in 0..60 {
            let decision = self.decide();
            let mut died = false;
            for effect in &decision.effects {
                if crash == Some(effects) {
                    (crash, died) = (None, true);
                    break;
                }
                effects += 1;
                self.perform(effect, &decision);
            }
            if died || decision.wake != Wake::Again {
                // What was carried from round to round ends with the reconcile.
                (self.carried, self.retry) = (Lock::NotRead, Retry::NotTried);
            }
            if !died && decision.wake != Wake::Again && !self.restore_answers() {
                return self;
            }
        }
        panic!("does not come to rest: {:?}", self.done);
    }

    /// The restore controller closes the RestoreSession once it is pinned.
    fn restore_answers(&mut self) -> bool {
        let pinned = self.status().run.and_then(|run| run.restore_session).is_some_and(|pinned| !pinned.uid.is_empty());
        match (&mut self.restore, self.answer) {
            (Some(restore), Some(answer)) if restore.status.is_none() && pinned => {
                restore.status = Some(yaml(answer));
                true
            }
            _ => false,
        }
    }

    pub(super) fn perform(&mut self, effect: &Effect, decision: &Decision) {
        let (word, detail) = match effect {
            Effect::Claim(patch) => {
                let mut object = serde_json::to_value(&self.session).unwrap();
                merge_meta(&mut object["metadata"], patch);
                self.session = serde_json::from_value(object).unwrap();
                self.bump();
                ("Claim", String::new())
            }
            Effect::AskAgain => {
                assert_eq!(self.references.reading, Reading::Cached, "it was read live already");
                if let Some(live) = self.live.take() {
                    self.references = live;
                }
                self.references.reading = Reading::Live;
                ("AskAgain", String::new())
            }
            Effect::WriteStatus => {
                let new = decision.status.clone().map(|status| *status);
                if new == self.session.status {
                    return;
                }
                self.write(new);
                ("WriteStatus", self.status().phase.map(|phase| phase.to_string()).unwrap_or_default())
            }
            Effect::RequestDiscovery { repository, .. } => ("RequestDiscovery", repository.clone()),
            Effect::WriteHold(hold) => {
                self.hold = hold.as_deref().cloned();
                ("WriteHold", self.hold.as_ref().map(|hold| format!("{} {}", hold.tries, hold.prober)).unwrap_or_default())
            }
            Effect::AwaitRepository => return,
            Effect::TellRepository(note) => {
                self.events.push(format!("repository:{}", note.reason));
                return;
            }
            Effect::AcquireLock if !self.full.is_empty() => {
                self.carried = Lock::Full(self.full.clone());
                ("AcquireLock", "full".to_owned())
            }
            Effect::AcquireLock => {
                self.carried = match &self.lease {
                    Some(held) if held.holder.uid != UID => Lock::Held(Box::new(held.clone())),
                    Some(_) | None => {
                        self.mine = true;
                        Lock::Mine
                    }
                };
                ("AcquireLock", String::new())
            }
            Effect::EvictLock(_) => {
                self.lease = None;
                ("EvictLock", String::new())
            }
            Effect::ReleaseLock => {
                self.mine = false;
                ("ReleaseLock", String::new())
            }
            Effect::CreateRestore(restore) => {
                if self.restore.is_none() {
                    self.restores_made += 1;
                    self.restore = Some(merged(restore.as_ref(), "metadata: {uid: rs1}"));
                }
                ("CreateRestore", String::new())
            }
            Effect::DeleteRestore(uid) => {
                self.restore = None;
                ("DeleteRestore", uid.clone())
            }
            Effect::AskForWipe(uid) => {
                self.restore = self.restore.take().map(|restore| merged(&restore, "metadata: {annotations: {backproof.dev/wipe: x}}"));
                ("AskForWipe", uid.clone())
            }
            Effect::DeleteJobs => {
                self.remains.jobs.clear();
                self.remains.working.clear();
                ("DeleteJobs", String::new())
            }
            Effect::WriteSnapshot { status, .. } => {
                self.references.snapshots[0].status = Some(status.as_ref().clone());
                ("WriteSnapshot", String::new())
            }
            Effect::DeleteSession { name, .. } => {
                self.siblings.retain(|sibling| sibling.name != *name);
                ("DeleteSession", name.clone())
            }
            Effect::CreateRetry { session, .. } => {
                self.retry = match self.retry_refused {
                    Some("no name") => Retry::NoName,
                    Some(said) => Retry::Refused(said.into()),
                    None => {
                        // One that is there already is found by its label.
                        self.retries = 1;
                        Retry::Made
                    }
                };
                ("CreateRetry", format!("{} left {}", session.spec.snapshot, session.spec.retry_left))
            }
            Effect::Nudge(names) => ("Nudge", names.join(",")),
            Effect::DropFinalizer => {
                let finalizers = self.session.metadata.finalizers.get_or_insert_default();
                finalizers.retain(|finalizer| finalizer != labels::FINALIZER);
                ("DropFinalizer", String::new())
            }
            Effect::TellOnce(note) if self.events.iter().any(|told| told == note.reason) => return,
            Effect::Tell(note) | Effect::TellOnce(note) => {
                self.events.push(note.reason.to_owned());
                return;
            }
            Effect::TellInvoker(note) => {
                self.events.push(format!("invoker:{}", note.reason));
                return;
            }
            Effect::Count { verdict, cause, .. } => ("Count", format!("{verdict} {cause}")),
        };
        self.done.push(format!("{word} {detail}").trim_end().to_owned());
    }

    /// A terminal phase never changes, whatever is written; and nobody ever writes an unproven success.
    fn write(&mut self, new: Option<BackupVerificationSessionStatus>) {
        let before = self.status();
        let after = new.clone().unwrap_or_default();
        let done =
            before.phase.as_ref().and_then(backproof_api::shared::Wire::known).is_some_and(backproof_api::VerificationPhase::is_done);
        if done {
            assert_eq!(
                (&before.phase, &before.verdict, &before.conditions),
                (&after.phase, &after.verdict, &after.conditions),
                "a finished session changed"
            );
        }
        assert!(!backproof_api::phase::unproven(&after), "unproven success");
        super::gitops::holds(&after);
        self.session.status = new;
        if self.pruning {
            self.session.status = Some(self.kept(&after));
        }
        self.bump();
    }

    /// What an object under upstream's schema says after this status was written as the driver writes it.
    fn kept(&self, status: &BackupVerificationSessionStatus) -> BackupVerificationSessionStatus {
        let mut status = status.clone();
        let mut read = dropped(&kept::packed(&status));
        if !kept::is_marked(&status) {
            assert!(kept::is_pruned(&status, Some(&read)));
            kept::mark(&mut status, k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
            read = dropped(&kept::packed(&status));
        }
        kept::unpack(&mut read);
        read
    }

    fn bump(&mut self) {
        self.version += 1;
        self.session.metadata.resource_version = Some(self.version.to_string());
    }
}

/// What upstream's schema leaves of a status.
pub(super) fn dropped<T: Kept>(status: &T) -> T {
    let mut left = serde_json::to_value(status).unwrap();
    left.as_object_mut().unwrap().retain(|field, _| !T::OURS.contains(&field.as_str()));
    serde_json::from_value(left).unwrap()
}

fn merge_meta(into: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => into[key] = value.clone(),
        }
    }
}
