//! Does what was decided, in order. Each effect may be done twice, under a name or precondition that makes the second harmless.

use std::sync::Arc;

use backproof_api::{
    BackupVerificationSession, BackupVerificationSessionStatus, Guarded, Repository, RestoreSession, kept, labels, names, phase,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use serde_json::{Value, json};

use super::{
    decision::{Decision, Effect},
    driver::{Carried, Driver},
    observe::{may_make_a_pod, namespaces},
    observed::{Observed, Retry},
    resolve,
    stage::{Stage, stage},
    wire,
};
use crate::{
    Error,
    error::Class,
    events::{Note, path, regarding},
    lease, restore,
    shared::{Reading, Session, answered},
};

/// Most names tried for a retry.
const RETRY_NAMES: i64 = 59;
/// How long a refused last step holds up the end of a session.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

impl Driver {
    /// Does what was decided; returns the session as it is then.
    pub(super) async fn apply(
        &self,
        observed: &Observed,
        decision: &Decision,
        carried: &mut Carried,
        now: Timestamp,
    ) -> Result<Arc<BackupVerificationSession>, Error> {
        let mut session = observed.session.clone();
        for effect in &decision.effects {
            session = match self.one(observed, session.clone(), decision, effect, carried, now).await {
                Err(error) => self.left_undone(session, effect, error, now).await?,
                Ok(session) => session,
            };
        }
        Ok(session)
    }

    async fn one(
        &self,
        observed: &Observed,
        session: Arc<BackupVerificationSession>,
        decision: &Decision,
        effect: &Effect,
        carried: &mut Carried,
        now: Timestamp,
    ) -> Result<Arc<BackupVerificationSession>, Error> {
        let uid = session.uid().unwrap_or_default();
        match effect {
            Effect::Claim(metadata) => {
                carried.fresh = true;
                return self.patch(&session, json!({ "metadata": metadata })).await;
            }
            Effect::AskAgain => (carried.reading, carried.references) = (Reading::Live, None),
            Effect::WriteStatus => return self.write_status(session, decision, carried, now).await,
            Effect::RequestDiscovery { repository, at } => {
                let api: Api<Repository> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
                let patch = json!({ "metadata": { "annotations": { (labels::DISCOVER_REQUEST): at.to_string() } } });
                let what = format!("annotate Repository {}/{repository}", session.namespace().unwrap_or_default());
                api.patch_metadata(repository, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(what))?;
            }
            Effect::WriteHold(hold) => self.write_hold(observed, hold.as_deref()).await?,
            Effect::AwaitRepository => {
                let namespace = session.namespace().unwrap_or_default();
                let reference = ObjectRef::new(&session.name_any()).within(&namespace);
                self.memory.waits_for(reference, &namespace, &session.spec.repository);
            }
            Effect::TellRepository(note) => self.tell_repository(&session, note.clone()).await,
            Effect::AcquireLock => carried.lock = self.acquire(&session, now).await?,
            Effect::EvictLock(held) => lease::evict(&self.context, held).await?,
            Effect::ReleaseLock => self.release(&session).await?,
            Effect::CreateRestore(restore) => carried.restore = self.create_restore(&session, restore, carried).await?,
            Effect::DeleteRestore(restore) => {
                let api: Api<RestoreSession> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
                delete(&api, &session.name_any(), restore, DeleteParams::background(), "RestoreSession").await?;
            }
            Effect::AskForWipe(restore) => self.ask_for_wipe(&session, restore).await?,
            Effect::DeleteJobs => self.delete_jobs(&session, now).await?,
            Effect::WriteSnapshot { name, version, status } => self.write_snapshot(observed, name, version, status).await?,
            Effect::DeleteSession { name, uid } => {
                delete(&self.api(&session), name, uid, DeleteParams::background(), "BackupVerificationSession").await?;
            }
            Effect::CreateRetry { session: retry, at } => carried.retry = self.create_retry(&session, retry, *at).await?,
            Effect::Nudge(names) => {
                let namespace = session.namespace().unwrap_or_default();
                names.iter().for_each(|name| self.memory.nudge(ObjectRef::new(name).within(&namespace)));
            }
            Effect::DropFinalizer => {
                self.remove_copies(&session).await?;
                let left: Vec<_> = session.finalizers().iter().filter(|finalizer| *finalizer != labels::FINALIZER).collect();
                match self.patch(&session, json!({ "metadata": { "finalizers": left } })).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    Ok(_) | Err(_) => {
                        self.shared.unpin(&uid);
                        self.memory.forget(&uid);
                    }
                }
            }
            Effect::Tell(note) => self.context.events.on(session.as_ref(), note.clone()).await,
            Effect::TellOnce(note) => {
                if self.memory.first_time(&uid, note.reason) {
                    self.context.events.on(session.as_ref(), note.clone()).await;
                }
            }
            Effect::TellInvoker(note) => self.tell_invoker(&session, note.clone()).await,
            Effect::Count { verdict, cause, seconds } => self.context.metrics.verified(&session, verdict, cause, *seconds),
        }
        Ok(session)
    }

    fn api(&self, session: &BackupVerificationSession) -> Api<Session> {
        Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default())
    }

    /// A merge patch bound to the version that was decided on.
    async fn patch(&self, session: &BackupVerificationSession, mut patch: Value) -> Result<Arc<BackupVerificationSession>, Error> {
        patch["metadata"]["resourceVersion"] = json!(session.resource_version());
        let what = format!("patch BackupVerificationSession {}", path(session));
        let patched = self.api(session).patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        answered(patched).map(as_meant).map(Arc::new).map_err(Error::api(what))
    }

    /// Writes the status if it differs, bound to the version that was decided on. Where the installed schema drops our part
    /// of it, it is written again with that part packed into a condition.
    async fn write_status(
        &self,
        session: Arc<BackupVerificationSession>,
        decision: &Decision,
        carried: &mut Carried,
        now: Timestamp,
    ) -> Result<Arc<BackupVerificationSession>, Error> {
        let Some(new) = decision.status.as_deref() else { return Ok(session) };
        if session.status.as_ref() == Some(new) {
            return Ok(session);
        }
        if phase::unproven(new) {
            return Err(Error::Stale { what: format!("the verdict of BackupVerificationSession {}", path(session.as_ref())) });
        }
        let written = self.send_status(&session, new, carried).await?;
        if !kept::is_pruned(new, written.status.as_ref()) {
            return Ok(Arc::new(written));
        }
        if kept::is_marked(new) {
            return Err(Error::Dropped { what: format!("BackupVerificationSession {}", path(session.as_ref())) });
        }
        let mut marked = new.clone();
        kept::mark(&mut marked, wire::time(now));
        self.send_status(&written, &marked, carried).await.map(Arc::new)
    }

    async fn send_status(
        &self,
        session: &BackupVerificationSession,
        new: &BackupVerificationSessionStatus,
        carried: &mut Carried,
    ) -> Result<BackupVerificationSession, Error> {
        let what = format!("BackupVerificationSession {}", path(session));
        let encode = |source| Error::Encode { what: what.clone(), source };
        let old = serde_json::to_value(session.status.clone().unwrap_or_default()).map_err(encode)?;
        let changes = changes(&old, &serde_json::to_value(kept::packed(new)).map_err(encode)?);
        let patch = json!({ "metadata": { "resourceVersion": session.resource_version() }, "status": changes });
        let written = self.api(session).patch_status(&session.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        carried.fresh = true;
        answered(written).map(as_meant).map_err(Error::api(format!("patch status of {what}")))
    }

    /// Makes the RestoreSession, but only for a session that is still what was decided on: a stale one might make a second.
    async fn create_restore(
        &self,
        session: &BackupVerificationSession,
        restore: &RestoreSession,
        carried: &Carried,
    ) -> Result<Option<Box<RestoreSession>>, Error> {
        if !carried.fresh {
            let what = format!("BackupVerificationSession {}", path(session));
            let live = self.api(session).get_metadata_opt(&session.name_any()).await.map_err(Error::api(format!("get {what}")))?;
            if live.and_then(|live| live.resource_version()) != session.resource_version() {
                return Err(Error::Stale { what });
            }
        }
        let api: Api<Guarded<RestoreSession>> = self.in_namespace(session);
        match answered(api.create(&PostParams::default(), &Guarded(Ok(restore.clone()))).await) {
            Ok(made) => Ok(Some(Box::new(made))),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(Error::api(format!("create RestoreSession {}", path(restore)))(error)),
        }
    }

    /// Removes Secrets that were copied for this session's Jobs and outlived them.
    async fn remove_copies(&self, session: &BackupVerificationSession) -> Result<(), Error> {
        let Stage::Deleting(Some(run)) = stage(session) else { return Ok(()) };
        let (target, uid) = (&run.verifier.target.object.namespace, session.uid().unwrap_or_default());
        // Elsewhere there is neither a copy nor the right to look for one.
        if !self.context.config.cross_namespace.iter().any(|pair| pair.target == *target) {
            return Ok(());
        }
        for component in &restore::parts(&run) {
            let name = names::child(&[&session.name_any(), &component.name], &uid);
            match restore::copies::remove(&self.context.client, target, &name, (labels::SESSION_UID, &uid)).await {
                Err(error) if error.status_code() == Some(403) => {
                    let note = Note::warning("LeftBehind", "Delete", format!("a copied Secret may be left: {}", error.chain()));
                    self.context.events.on(session, note).await;
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn ask_for_wipe(&self, session: &BackupVerificationSession, uid: &str) -> Result<(), Error> {
        let api: Api<RestoreSession> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
        let patch = json!({ "metadata": { "uid": uid, "annotations": { (labels::WIPE): session.uid() } } });
        match api.patch_metadata(&session.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            // Gone, or another one of the name: nothing of ours is left to wipe for.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(error) => Err(Error::api(format!("annotate RestoreSession {}", path(session)))(error)),
        }
    }

    /// Deletes the session's Jobs; those that have ended keep their logs until the session itself goes.
    async fn delete_jobs(&self, session: &BackupVerificationSession, now: Timestamp) -> Result<(), Error> {
        let places = match stage(session) {
            Stage::Done(run) | Stage::Judged(run, _) | Stage::Deleting(Some(run)) | Stage::Running(run) | Stage::Contradicted(run) => {
                namespaces(session, &run)
            }
            Stage::Foreign | Stage::Gone | Stage::Unpinned | Stage::Deleting(None) => vec![session.namespace().unwrap_or_default()],
        };
        let all = session.metadata.deletion_timestamp.is_some();
        self.delete_jobs_in(&session.uid().unwrap_or_default(), &places, all, now).await
    }

    /// Deletes the Jobs that carry a session's UID: all, or those that may still make a pod.
    pub(super) async fn delete_jobs_in(&self, session_uid: &str, namespaces: &[String], all: bool, now: Timestamp) -> Result<(), Error> {
        let selector = ListParams::default().labels(&format!("{}={session_uid}", labels::SESSION_UID));
        for namespace in namespaces {
            let api: Api<Job> = Api::namespaced(self.context.client.clone(), namespace);
            let jobs = api.list(&selector).await.map_err(Error::api(format!("list Jobs in namespace {namespace}")))?;
            for job in jobs.items.iter().filter(|job| job.metadata.deletion_timestamp.is_none() && (all || may_make_a_pod(job, now))) {
                delete(&api, &job.name_any(), &job.uid().unwrap_or_default(), DeleteParams::foreground(), "Job").await?;
            }
        }
        Ok(())
    }

    /// Makes the retry under the first free name of its time, unless it is there already.
    async fn create_retry(
        &self,
        session: &BackupVerificationSession,
        retry: &BackupVerificationSession,
        at: Timestamp,
    ) -> Result<Retry, Error> {
        let uid = session.uid();
        let repeats = |labels: &std::collections::BTreeMap<String, String>| labels.get(labels::RETRY_OF) == uid.as_ref();
        if self.sessions.find(|other| repeats(other.labels())).is_some() {
            return Ok(Retry::Made);
        }
        let api = self.api(session);
        for step in 0..=RETRY_NAMES {
            let mut named = retry.clone();
            named.metadata.name = Some(resolve::retry_name(session, at, step));
            let what = format!("BackupVerificationSession {}", path(&named));
            match api.create(&PostParams::default(), &Guarded(Ok(named.clone()))).await.map_err(Error::api(format!("create {what}"))) {
                Ok(_) => return Ok(Retry::Made),
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    return match error.class() {
                        Class::Forbidden | Class::Refused => Ok(Retry::Refused(error.chain())),
                        Class::Conflict | Class::Unavailable | Class::Internal => Err(error),
                    };
                }
            }
            let taken = api.get_metadata_opt(&named.name_any()).await.map_err(Error::api(format!("get {what}")))?;
            if taken.is_some_and(|taken| repeats(taken.labels())) {
                return Ok(Retry::Made);
            }
        }
        Ok(Retry::NoName)
    }

    /// What the API server refuses of the last steps holds the end of a session up for a while only; then the session goes on
    /// without, and says so. The target stays locked all the same until its Jobs and pods are gone.
    async fn left_undone(
        &self,
        session: Arc<BackupVerificationSession>,
        effect: &Effect,
        error: Error,
        now: Timestamp,
    ) -> Result<Arc<BackupVerificationSession>, Error> {
        let since = match stage(&session) {
            Stage::Judged(_, judged) => Some(judged.at),
            Stage::Deleting(_) => session.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            Stage::Foreign | Stage::Gone | Stage::Unpinned | Stage::Contradicted(_) | Stage::Running(_) | Stage::Done(_) => None,
        };
        let late = since.is_some_and(|since| now.duration_since(since) > PATIENCE);
        let Some(what) = given_up(effect).filter(|_| late) else { return Err(error) };
        match error.class() {
            Class::Forbidden | Class::Refused => {
                let note = Note::warning("LeftUndone", "Verify", format!("{what}; tried for 10 minutes: {}", error.chain()));
                self.context.events.on(session.as_ref(), note).await;
                Ok(session)
            }
            Class::Conflict | Class::Unavailable | Class::Internal => Err(error),
        }
    }

    async fn tell_invoker(&self, session: &BackupVerificationSession, note: Note) {
        let Some(invoker) = session.spec.invoker.as_ref().filter(|invoker| !invoker.name.is_empty()) else { return };
        let owner = session.owner_references().iter().find(|owner| owner.kind == invoker.kind && owner.name == invoker.name);
        let Some(owner) = owner else { return };
        let object = regarding(&owner.api_version, &owner.kind, &session.namespace().unwrap_or_default(), &owner.name, &owner.uid);
        self.context.events.publish_related(&object, Some(session.object_ref(&())), note).await;
    }
}

/// What remains when this effect is given up, or nothing when it must not be.
fn given_up(effect: &Effect) -> Option<String> {
    match effect {
        Effect::DeleteRestore(_) => Some("the RestoreSession of this session is left behind".to_owned()),
        Effect::DeleteJobs => Some("Jobs of this session are left to their own deadline".to_owned()),
        Effect::WriteSnapshot { name, .. } => Some(format!("Snapshot {name} does not tell this result")),
        Effect::WriteHold(_) => Some("the Repository is not held off".to_owned()),
        Effect::DeleteSession { name, .. } => Some(format!("the older session {name} is left behind")),
        Effect::ReleaseLock => Some("the lock on this session's target is left behind".to_owned()),
        Effect::Claim(_)
        | Effect::AskAgain
        | Effect::WriteStatus
        | Effect::RequestDiscovery { .. }
        | Effect::AwaitRepository
        | Effect::TellRepository(_)
        | Effect::AcquireLock
        | Effect::EvictLock(_)
        | Effect::CreateRestore(_)
        | Effect::AskForWipe(_)
        | Effect::CreateRetry { .. }
        | Effect::Nudge(_)
        | Effect::DropFinalizer
        | Effect::Tell(_)
        | Effect::TellOnce(_)
        | Effect::TellInvoker(_)
        | Effect::Count { .. } => None,
    }
}

/// The session as it was meant, whatever the installed schema drops.
pub(super) fn as_meant(mut session: BackupVerificationSession) -> BackupVerificationSession {
    session.status.iter_mut().for_each(kept::unpack);
    session
}

/// Deletes exactly the object of this UID; that it is gone, or another one, is fine.
async fn delete<K>(api: &Api<K>, name: &str, uid: &str, how: DeleteParams, kind: &str) -> Result<(), Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let exactly = how.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match api.delete(name, &exactly).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(Error::api(format!("delete {kind} {name}"))(error)),
    }
}

/// A merge patch from one value to another: what others have written beside stays. Lists are replaced as a whole.
pub(super) fn changes(old: &Value, new: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return new.clone() };
    let mut patch = serde_json::Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(same) if same == value => {}
            Some(other) => drop(patch.insert(key.clone(), changes(other, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_changes() {
        let old = json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1, 2], "d": "gone"});
        let new = json!({"a": 1, "b": {"x": 1, "y": 3}, "c": [1, 2, 3], "e": {"n": 1}});
        assert_eq!(changes(&old, &new), json!({"b": {"y": 3}, "c": [1, 2, 3], "e": {"n": 1}, "d": null}));
        assert_eq!(changes(&old, &old), json!({}));
    }
}
