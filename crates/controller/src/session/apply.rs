//! Does what was decided, in order. Each effect may be done twice, under a name or precondition that makes the second harmless.

use std::sync::Arc;

use backproof_api::{BackupVerificationSession, Repository, RestoreSession, Snapshot, SnapshotStatus, labels, names, phase};
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
    observe::namespaces,
    observed::{Observed, Seen},
    resolve,
    stage::{Stage, stage},
};
use crate::{
    Error,
    error::Class,
    events::{Note, path, regarding},
    lease::{self, Held, Holder, Lock},
    metrics::Verification,
    restore,
};

/// Most names tried for a retry.
const RETRY_NAMES: i64 = 59;
/// How long a Snapshot that refuses the result holds up the end of a session.
const RECORD_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

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
            session = self.one(observed, session, decision, effect, carried, now).await?;
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
            Effect::WriteStatus => return self.write_status(session, decision, carried).await,
            Effect::RequestDiscovery { repository, at } => {
                let api: Api<Repository> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
                let patch = json!({ "metadata": { "annotations": { (labels::DISCOVER_REQUEST): at.to_string() } } });
                let what = format!("annotate Repository {}/{repository}", session.namespace().unwrap_or_default());
                api.patch_metadata(repository, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(what))?;
            }
            Effect::AcquireLock => carried.lock = self.acquire(&session, now).await?,
            Effect::EvictLock(held) => lease::evict(&self.context, held).await?,
            Effect::ReleaseLock => self.release(&session).await?,
            Effect::CreateRestore(restore) => self.create_restore(&session, restore, carried).await?,
            Effect::DeleteRestore(restore) => {
                let api: Api<RestoreSession> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
                delete(&api, &session.name_any(), restore, DeleteParams::background(), "RestoreSession").await?;
            }
            Effect::AskForWipe(restore) => self.ask_for_wipe(&session, restore).await?,
            Effect::DeleteJobs => self.delete_jobs(&session).await?,
            Effect::WriteSnapshot { name, version, status } => self.write_snapshot(observed, name, version, status, now).await?,
            Effect::DeleteSession { name, uid } => {
                delete(&self.api(&session), name, uid, DeleteParams::background(), "BackupVerificationSession").await?;
            }
            Effect::CreateRetry { session: retry, at } => self.create_retry(&session, retry, *at).await?,
            Effect::Nudge(names) => {
                let namespace = session.namespace().unwrap_or_default();
                names.iter().for_each(|name| self.memory.nudge(ObjectRef::new(name).within(&namespace)));
            }
            Effect::DropFinalizer => {
                self.remove_copies(&session).await?;
                let left: Vec<_> = session.finalizers().iter().filter(|finalizer| *finalizer != labels::FINALIZER).collect();
                match self.patch(&session, json!({ "metadata": { "finalizers": left } })).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    Ok(_) | Err(_) => self.memory.forget(&uid),
                }
            }
            Effect::Tell(note) => self.context.events.on(session.as_ref(), note.clone()).await,
            Effect::TellOnce(note) => {
                if self.memory.first_time(&uid, &note.message) {
                    self.context.events.on(session.as_ref(), note.clone()).await;
                }
            }
            Effect::TellInvoker(note) => self.tell_invoker(&session, note.clone()).await,
            Effect::Count { verdict, cause, seconds } => {
                let metrics = &self.context.metrics;
                metrics.verifications.get_or_create(&Verification { verdict, cause }).inc();
                #[expect(clippy::cast_precision_loss, reason = "seconds of a run are far below 2^52")]
                metrics.verification_seconds.observe(*seconds as f64);
            }
        }
        Ok(session)
    }

    fn api(&self, session: &BackupVerificationSession) -> Api<BackupVerificationSession> {
        Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default())
    }

    /// A merge patch bound to the version that was decided on.
    async fn patch(&self, session: &BackupVerificationSession, mut patch: Value) -> Result<Arc<BackupVerificationSession>, Error> {
        patch["metadata"]["resourceVersion"] = json!(session.resource_version());
        let what = format!("patch BackupVerificationSession {}", path(session));
        let patched = self.api(session).patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(Arc::new).map_err(Error::api(what))
    }

    /// Writes the status if it differs, bound to the version that was decided on.
    async fn write_status(
        &self,
        session: Arc<BackupVerificationSession>,
        decision: &Decision,
        carried: &mut Carried,
    ) -> Result<Arc<BackupVerificationSession>, Error> {
        let Some(new) = decision.status.as_deref() else { return Ok(session) };
        if session.status.as_ref() == Some(new) {
            return Ok(session);
        }
        if phase::unproven(new) {
            return Err(Error::Stale { what: format!("the verdict of BackupVerificationSession {}", path(session.as_ref())) });
        }
        let what = format!("BackupVerificationSession {}", path(session.as_ref()));
        let encode = |source| Error::Encode { what: what.clone(), source };
        let old = serde_json::to_value(session.status.clone().unwrap_or_default()).map_err(encode)?;
        let changes = changes(&old, &serde_json::to_value(new).map_err(encode)?);
        let patch = json!({ "metadata": { "resourceVersion": session.resource_version() }, "status": changes });
        let written = self.api(&session).patch_status(&session.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        carried.fresh = true;
        written.map(Arc::new).map_err(Error::api(format!("patch status of {what}")))
    }

    async fn acquire(&self, session: &BackupVerificationSession, now: Timestamp) -> Result<Lock, Error> {
        let Stage::Running(run) = stage(session) else { return Ok(Lock::NotRead) };
        let own =
            Holder { uid: session.uid().unwrap_or_default(), namespace: session.namespace().unwrap_or_default(), name: session.name_any() };
        let lease = lease::name(&run.verifier.target);
        match lease::acquire(&self.context, &run.verifier.target, &own, now).await? {
            Lock::Mine => {
                self.memory.took(&own.uid, &lease);
                Ok(Lock::Mine)
            }
            Lock::Held(mut held) => {
                self.memory.waits(ObjectRef::new(&own.name).within(&own.namespace), &lease);
                held.alive = self.is_alive(&held.holder).await?;
                if !held.alive {
                    held.pods = self.pods_of(&held, &run.verifier.target.object.namespace).await?;
                }
                Ok(Lock::Held(held))
            }
            other @ (Lock::Free | Lock::NotRead) => Ok(other),
        }
    }

    /// Whether the session that has a lock is there and unfinished.
    pub(super) async fn is_alive(&self, holder: &Holder) -> Result<bool, Error> {
        let api: Api<kube::core::DeserializeGuard<BackupVerificationSession>> =
            Api::namespaced(self.context.client.clone(), &holder.namespace);
        let found = api
            .get_opt(&holder.name)
            .await
            .map_err(Error::api(format!("get BackupVerificationSession {}/{}", holder.namespace, holder.name)))?;
        Ok(match found.filter(|found| found.uid().as_deref() == Some(holder.uid.as_str())) {
            None => false,
            Some(guarded) => match &guarded.0 {
                Ok(session) => match stage(session) {
                    // A finished one still has the target while it is wiped; whoever came in between would lose it.
                    Stage::Done(run) => super::wipe::may_run(session, &run, Timestamp::now()),
                    Stage::Gone => false,
                    Stage::Foreign
                    | Stage::Deleting(_)
                    | Stage::Unpinned
                    | Stage::Contradicted(_)
                    | Stage::Running(_)
                    | Stage::Judged(..) => true,
                },
                // What cannot be read may still run.
                Err(_) => true,
            },
        })
    }

    /// Pods of the holder of a lock that are not gone; that nobody may look counts as one.
    pub(super) async fn pods_of(&self, held: &Held, target_namespace: &str) -> Result<Vec<String>, Error> {
        let mut places = vec![held.holder.namespace.clone(), target_namespace.to_owned()];
        places.retain(|place| !place.is_empty());
        places.dedup();
        let remains = self.remains(&held.holder.uid, &places).await?;
        Ok(remains.pods.into_iter().chain(remains.forbidden).collect())
    }

    async fn release(&self, session: &BackupVerificationSession) -> Result<(), Error> {
        let (Stage::Done(run) | Stage::Deleting(Some(run))) = stage(session) else { return Ok(()) };
        let (uid, lease) = (session.uid().unwrap_or_default(), lease::name(&run.verifier.target));
        lease::release(&self.context, &lease, &uid).await?;
        self.memory.gave_back(&uid, &lease);
        Ok(())
    }

    /// Makes the RestoreSession, but only for a session that is still what was decided on: a stale one might make a second.
    async fn create_restore(&self, session: &BackupVerificationSession, restore: &RestoreSession, carried: &Carried) -> Result<(), Error> {
        if !carried.fresh {
            let what = format!("BackupVerificationSession {}", path(session));
            let live = self.api(session).get_metadata_opt(&session.name_any()).await.map_err(Error::api(format!("get {what}")))?;
            if live.and_then(|live| live.resource_version()) != session.resource_version() {
                return Err(Error::Stale { what });
            }
        }
        let api: Api<RestoreSession> = Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), restore).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
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
        for component in &restore::parts(&run.snapshot.components) {
            let name = names::child(&[&session.name_any(), &component.name], &uid);
            match restore::copies::remove(&self.context.client, target, &name, &uid).await {
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

    async fn delete_jobs(&self, session: &BackupVerificationSession) -> Result<(), Error> {
        let (Stage::Done(run) | Stage::Judged(run, _) | Stage::Deleting(Some(run)) | Stage::Running(run) | Stage::Contradicted(run)) =
            stage(session)
        else {
            return self.delete_jobs_in(session, &[session.namespace().unwrap_or_default()]).await;
        };
        self.delete_jobs_in(session, &namespaces(session, &run)).await
    }

    async fn delete_jobs_in(&self, session: &BackupVerificationSession, namespaces: &[String]) -> Result<(), Error> {
        let selector = ListParams::default().labels(&format!("{}={}", labels::SESSION_UID, session.uid().unwrap_or_default()));
        for namespace in namespaces {
            let api: Api<Job> = Api::namespaced(self.context.client.clone(), namespace);
            let jobs = api.list_metadata(&selector).await.map_err(Error::api(format!("list Jobs in namespace {namespace}")))?;
            for job in jobs.items.iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
                delete(&api, &job.name_any(), &job.uid().unwrap_or_default(), DeleteParams::foreground(), "Job").await?;
            }
        }
        Ok(())
    }

    /// Writes the Snapshot's status in one step, record and verdict together. Where the schema has pruned the record, it goes
    /// into an annotation: without a record, a verdict is never believed.
    async fn write_snapshot(
        &self,
        observed: &Observed,
        name: &str,
        version: &str,
        status: &SnapshotStatus,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Seen::Present(snapshot) = &observed.snapshot else { return Ok(()) };
        let api: Api<Snapshot> = Api::namespaced(self.context.client.clone(), &snapshot.namespace().unwrap_or_default());
        let what = format!("Snapshot {}", path(snapshot.as_ref()));
        let encode = |source| Error::Encode { what: what.clone(), source };
        let old = serde_json::to_value(snapshot.status.clone().unwrap_or_default()).map_err(encode)?;
        let changes = changes(&old, &serde_json::to_value(status).map_err(encode)?);
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": changes });
        let written = match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(written) => written,
            Err(kube::Error::Api(refused)) if refused.code == 404 => return Ok(()),
            Err(error) => return self.not_recorded(observed, Error::api(format!("patch status of {what}"))(error), now).await,
        };
        let pruned = written.status.as_ref().is_none_or(|written| written.verification.is_none());
        if let Some(record) = status.verification.as_ref().filter(|_| pruned) {
            let text = serde_json::to_string(record).map_err(encode)?;
            let patch =
                json!({ "metadata": { "resourceVersion": written.resource_version(), "annotations": { (labels::VERIFICATION): text } } });
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(format!("annotate {what}")))?;
        }
        Ok(())
    }

    /// A Snapshot that refuses the result holds the session up for a while only; then the session ends, and says so.
    async fn not_recorded(&self, observed: &Observed, error: Error, now: Timestamp) -> Result<(), Error> {
        let late = match stage(&observed.session) {
            Stage::Judged(_, judged) => now.duration_since(judged.at) > RECORD_PATIENCE,
            Stage::Foreign
            | Stage::Gone
            | Stage::Deleting(_)
            | Stage::Unpinned
            | Stage::Contradicted(_)
            | Stage::Running(_)
            | Stage::Done(_) => false,
        };
        match error.class() {
            Class::Forbidden | Class::Refused if late => {
                let note = Note::warning("NotRecorded", "Record", format!("the Snapshot does not tell this result: {}", error.chain()));
                self.context.events.on(observed.session.as_ref(), note).await;
                Ok(())
            }
            Class::Conflict | Class::Unavailable | Class::Forbidden | Class::Refused | Class::Internal => Err(error),
        }
    }

    /// Makes the retry under the first free name of its time; one that is there already is found by its label.
    async fn create_retry(
        &self,
        session: &BackupVerificationSession,
        retry: &BackupVerificationSession,
        at: Timestamp,
    ) -> Result<(), Error> {
        let api = self.api(session);
        let uid = session.uid();
        for step in 0..=RETRY_NAMES {
            let mut named = retry.clone();
            named.metadata.name = Some(resolve::retry_name(session, at, step));
            let what = format!("create BackupVerificationSession {}", path(&named));
            match api.create(&PostParams::default(), &named).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(Error::api(what)(error)),
            }
            let taken = api
                .get_metadata_opt(&named.name_any())
                .await
                .map_err(Error::api(format!("get BackupVerificationSession {}", path(&named))))?;
            if taken.is_some_and(|taken| taken.labels().get(labels::RETRY_OF) == uid.as_ref()) {
                return Ok(());
            }
        }
        tracing::warn!(session = path(session), "no free name for a retry; it is left out");
        Ok(())
    }

    async fn tell_invoker(&self, session: &BackupVerificationSession, note: Note) {
        let Some(invoker) = session.spec.invoker.as_ref().filter(|invoker| !invoker.name.is_empty()) else { return };
        let owner = session.owner_references().iter().find(|owner| owner.kind == invoker.kind && owner.name == invoker.name);
        let Some(owner) = owner else { return };
        let object = regarding(&owner.api_version, &owner.kind, &session.namespace().unwrap_or_default(), &owner.name, &owner.uid);
        self.context.events.publish_related(&object, Some(session.object_ref(&())), note).await;
    }
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
fn changes(old: &Value, new: &Value) -> Value {
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
