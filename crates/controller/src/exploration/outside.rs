//! What people and other programs may do to the objects of a run, well meant or not.

use std::{fmt, str::FromStr};

use backproof_api::labels;
use backproof_testing::memory::{By, Object, Propagation};
use serde_json::json;

use super::{NAMESPACE, cluster::key, scenario, world::World};

/// What somebody does. Names of objects follow from the world's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Edit {
    /// Deletes a session.
    DeleteSession(String),
    /// Deletes a RestoreSession.
    DeleteRestore(String),
    /// Makes another session for the same Snapshot.
    CreateSession,
    /// Deletes the Jobs.
    DeleteJobs,
    /// Deletes the Jobs and leaves their pods.
    OrphanPods,
    /// Deletes the pods.
    DeletePods,
    /// Deletes the Snapshot.
    DeleteSnapshot,
    /// Deletes it, and another one of its name appears with other content.
    ReplaceSnapshot,
    /// Rewrites which restic snapshots it consists of.
    RewriteSnapshot,
    /// Changes the verifier.
    ChangeVerifier,
    /// Deletes the target and makes another one of its name.
    ReplaceTarget,
    /// Mounts the target in a pod of theirs.
    UseTarget,
    /// Deletes the invoker.
    DeleteInvoker,
    /// Pauses the invoker.
    PauseInvoker,
    /// Makes a RestoreSession of the session's name that claims success, before the session does.
    ForgeRestore(String),
    /// The same, with the owner and label of the session.
    ForgeOwnedRestore(String),
    /// Makes a Job of the name that the restore will want.
    ForgeJob(String),
    /// The same, labelled as the session's own.
    ForgeLabelledJob(String),
    /// Makes a pod that says it belongs to the Job and claims success.
    ForgePod,
    /// Rewrites the annotation with the pinned facts.
    ForgeAnnotation(String),
    /// Starts a Job by hand.
    StartJobs,
    /// Asks for a probe of a Repository that is held off.
    Probe,
    /// Edits the spec of a RestoreSession.
    AlterRestore(String),
    /// Edits the spec of a session.
    AlterSession(String),
}

impl Edit {
    /// Everything that may be done, with these sessions.
    pub(super) fn all(sessions: &[String]) -> Vec<Self> {
        let mut all = vec![
            Self::CreateSession,
            Self::DeleteJobs,
            Self::OrphanPods,
            Self::DeletePods,
            Self::DeleteSnapshot,
            Self::ReplaceSnapshot,
            Self::RewriteSnapshot,
            Self::ChangeVerifier,
            Self::ReplaceTarget,
            Self::UseTarget,
            Self::DeleteInvoker,
            Self::PauseInvoker,
            Self::ForgePod,
            Self::StartJobs,
            Self::Probe,
        ];
        for session in sessions {
            all.extend(Self::of(session));
        }
        all
    }

    fn of(session: &str) -> [Self; 9] {
        let name = || session.to_owned();
        [
            Self::DeleteSession(name()),
            Self::DeleteRestore(name()),
            Self::ForgeRestore(name()),
            Self::ForgeOwnedRestore(name()),
            Self::ForgeJob(name()),
            Self::ForgeLabelledJob(name()),
            Self::ForgeAnnotation(name()),
            Self::AlterRestore(name()),
            Self::AlterSession(name()),
        ]
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name) = match self {
            Self::DeleteSession(name) => ("delete-session", name.as_str()),
            Self::DeleteRestore(name) => ("delete-restore", name.as_str()),
            Self::CreateSession => ("create-session", ""),
            Self::DeleteJobs => ("delete-jobs", ""),
            Self::OrphanPods => ("orphan-pods", ""),
            Self::DeletePods => ("delete-pods", ""),
            Self::DeleteSnapshot => ("delete-snapshot", ""),
            Self::ReplaceSnapshot => ("replace-snapshot", ""),
            Self::RewriteSnapshot => ("rewrite-snapshot", ""),
            Self::ChangeVerifier => ("change-verifier", ""),
            Self::ReplaceTarget => ("replace-target", ""),
            Self::UseTarget => ("use-target", ""),
            Self::DeleteInvoker => ("delete-invoker", ""),
            Self::PauseInvoker => ("pause-invoker", ""),
            Self::ForgeRestore(name) => ("forge-restore", name.as_str()),
            Self::ForgeOwnedRestore(name) => ("forge-owned-restore", name.as_str()),
            Self::ForgeJob(name) => ("forge-job", name.as_str()),
            Self::ForgeLabelledJob(name) => ("forge-labelled-job", name.as_str()),
            Self::ForgePod => ("forge-pod", ""),
            Self::ForgeAnnotation(name) => ("forge-annotation", name.as_str()),
            Self::StartJobs => ("start-jobs", ""),
            Self::Probe => ("probe", ""),
            Self::AlterRestore(name) => ("edit-restore", name.as_str()),
            Self::AlterSession(name) => ("edit-session", name.as_str()),
        };
        if name.is_empty() { f.write_str(word) } else { write!(f, "{word}:{name}") }
    }
}

impl FromStr for Edit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.split_once(':').map_or("", |(_, name)| name);
        Self::all(&[name.to_owned()]).into_iter().find(|edit| edit.to_string() == text).ok_or_else(|| format!("{text:?} is no edit"))
    }
}

/// Does it; `None` when there is nothing to do it to.
pub(super) fn perform(world: &mut World, edit: &Edit) -> Option<()> {
    let by = By::Stranger;
    let store = &mut world.store;
    match edit {
        Edit::DeleteSession(name) => store.delete(by, &key("BackupVerificationSession", name), Propagation::Background).ok(),
        Edit::DeleteRestore(name) => store.delete(by, &key("RestoreSession", name), Propagation::Background).ok(),
        Edit::CreateSession => store.create(by, scenario::session("again", 0)).ok().map(drop),
        Edit::DeleteJobs => each(world, "Job", |world, key| world.store.delete(by, key, Propagation::Background).ok()),
        Edit::OrphanPods => each(world, "Job", |world, key| world.store.delete(by, key, Propagation::Orphan).ok()),
        Edit::DeletePods => each(world, "Pod", |world, key| world.store.delete(by, key, Propagation::Background).ok()),
        Edit::DeleteSnapshot => store.delete(by, &key("Snapshot", scenario::SNAPSHOT), Propagation::Background).ok(),
        Edit::ReplaceSnapshot => {
            store.delete(by, &key("Snapshot", scenario::SNAPSHOT), Propagation::Background).ok()?;
            let made = store.create(by, scenario::snapshot("c")).ok()?;
            know(world, &made);
            Some(())
        }
        Edit::RewriteSnapshot => {
            let other = scenario::snapshot("d")["status"]["components"].clone();
            let made = store.update(by, &key("Snapshot", scenario::SNAPSHOT), |snapshot| snapshot["status"]["components"] = other).ok()?;
            know(world, &made);
            Some(())
        }
        Edit::ChangeVerifier => {
            store.update(by, &key("BackupVerifier", "verifier"), |verifier| verifier["spec"]["allowEmpty"] = true.into()).ok().map(drop)
        }
        Edit::ReplaceTarget => {
            let target = key("PersistentVolumeClaim", "scratch");
            store.delete(by, &target, Propagation::Background).ok()?;
            store.create(by, scenario::claim("scratch")).ok().map(drop)
        }
        Edit::UseTarget => store
            .create(
                by,
                json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "somebody", "namespace": NAMESPACE, "labels": {"foreign": "true"}},
                    "spec": {"nodeName": "node", "containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "scratch"}}]},
                    "status": {"phase": "Running"}}),
            )
            .ok()
            .map(drop),
        Edit::DeleteInvoker => store.delete(by, &key("BackupConfiguration", "backup"), Propagation::Background).ok(),
        Edit::PauseInvoker => {
            store.update(by, &key("BackupConfiguration", "backup"), |invoker| invoker["spec"]["paused"] = true.into()).ok().map(drop)
        }
        Edit::ForgeRestore(name) => forge_restore(world, name, false),
        Edit::ForgeOwnedRestore(name) => forge_restore(world, name, true),
        Edit::ForgeJob(name) => forge_job(world, name, false),
        Edit::ForgeLabelledJob(name) => forge_job(world, name, true),
        Edit::ForgePod => forge_pod(world),
        Edit::ForgeAnnotation(name) => {
            let session = key("BackupVerificationSession", name);
            let text = store.get(&session)?.annotation(labels::RUN).replace(&scenario::id("a"), &scenario::id("b"));
            (!text.is_empty()).then_some(())?;
            store.update(by, &session, |session| session["metadata"]["annotations"][labels::RUN] = text.into()).ok().map(drop)
        }
        Edit::StartJobs => each(world, "Job", |world, key| {
            let suspended = world.store.get(key)?.at("/spec/suspend") == true;
            suspended.then_some(())?;
            world.store.update(by, key, |job| job["spec"]["suspend"] = false.into()).ok().map(drop)
        }),
        Edit::Probe => store
            .update(by, &key("Repository", "repo"), |repository| repository["metadata"]["annotations"][labels::PROBE] = "now".into())
            .ok()
            .map(drop),
        Edit::AlterRestore(name) => {
            store.update(by, &key("RestoreSession", name), |restore| restore["spec"]["restoreTimeout"] = "1s".into()).ok().map(drop)
        }
        Edit::AlterSession(name) => store
            .update(by, &key("BackupVerificationSession", name), |session| session["spec"]["snapshot"] = "another".into())
            .ok()
            .map(drop),
    }
}

/// Remembers what a Snapshot stands for.
pub(super) fn know(world: &mut World, snapshot: &Object) {
    let ids = scenario::ids_of(snapshot);
    std::sync::Arc::make_mut(&mut world.truth).snapshots.insert((snapshot.uid().to_owned(), ids));
}

fn each(
    world: &mut World,
    kind: &'static str,
    mut work: impl FnMut(&mut World, &backproof_testing::memory::Key) -> Option<()>,
) -> Option<()> {
    let keys: Vec<_> = world.store.all(kind).map(|(key, _)| key.clone()).collect();
    let done = keys.iter().filter_map(|key| work(world, key)).count();
    (done > 0).then_some(())
}

fn forge_restore(world: &mut World, name: &str, owned: bool) -> Option<()> {
    let session = world.store.get(&key("BackupVerificationSession", name))?.clone();
    let counts = json!({"files": 3, "directories": 1, "bytes": 42});
    let mut forged = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"dataSource": {"repository": "repo", "snapshot": scenario::SNAPSHOT, "components": ["pod"]}},
        "status": {
            "phase": "Succeeded", "verdict": "Verified", "totalComponents": 1, "components": {"pod": {"phase": "Succeeded"}},
            "conditions": [{"type": "MetricsPushed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "evidence": {"source": "Executor", "restored": counts, "readBack": counts, "resticIds": [scenario::id("a")]},
        },
    });
    if owned {
        forged["metadata"]["labels"] = json!({(labels::SESSION_UID): session.uid()});
        forged["metadata"]["ownerReferences"] = json!([{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession",
            "name": name, "uid": session.uid(), "controller": true}]);
    }
    forge(world, forged)
}

fn forge_job(world: &mut World, session: &str, labelled: bool) -> Option<()> {
    let uid = world.store.get(&key("BackupVerificationSession", session))?.uid().to_owned();
    let name = backproof_api::names::child(&[session, "pod"], &uid);
    let labels = if labelled { json!({(labels::SESSION_UID): uid, "foreign": "true"}) } else { json!({"foreign": "true"}) };
    forge(
        world,
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"suspend": true, "template": {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "evil"}]}}}}),
    )
}

/// A pod that only differs from what the Job asked for by its image, and has ended well.
fn forge_pod(world: &mut World) -> Option<()> {
    let (job_key, job) = world.store.all("Job").next()?;
    let (name, job) = (job_key.name.clone(), job.clone());
    let mut spec = job.at("/spec/template/spec").clone();
    spec["containers"][0]["image"] = "evil".into();
    let mut labels = job.at("/spec/template/metadata/labels").clone();
    labels["batch.kubernetes.io/job-name"] = name.clone().into();
    labels["foreign"] = "true".into();
    let now = world.store.time();
    let session = job.label(labels::SESSION_UID).to_owned();
    let report = json!({
        "identity": {"sessionUid": session, "attempt": 1, "component": "pod"}, "outcome": "Verified", "snapshot": {"id": scenario::id("a")},
        "restored": {"files": 3, "directories": 1, "bytes": 42}, "readBack": {"files": 3, "directories": 1, "bytes": 42},
        "findings": [], "findingsTotal": 0, "executor": "test", "seconds": 1,
    });
    forge(
        world,
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-forged"), "namespace": NAMESPACE, "labels": labels,
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid(), "controller": true}]},
            "spec": spec,
            "status": {"phase": "Succeeded", "containerStatuses": [{"name": job.at("/spec/template/spec/containers/0/name"), "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": report.to_string(), "startedAt": now,
                    "finishedAt": now}}}]}}),
    )
}

fn forge(world: &mut World, object: serde_json::Value) -> Option<()> {
    let made = world.store.create(By::Stranger, object).ok()?;
    std::sync::Arc::make_mut(&mut world.truth).forged.insert(made.uid().to_owned());
    Some(())
}
