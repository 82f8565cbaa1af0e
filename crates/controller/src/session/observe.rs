//! Reads what a decision about one session needs: from the caches where that is safe, else from the API server.

use std::sync::Arc;

use backproof_api::{
    BackupVerificationSession, Guarded, RestoreSession, Snapshot, labels,
    run::{PinnedObject, PinnedRun},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams, runtime::reflector::ObjectRef};

use super::{
    apply::PATIENCE,
    decide::{deadline, latest_pin},
    done::completed,
    driver::{Carried, Driver},
    history,
    observed::{Observed, References, Remains, Seen, Settings, Sibling},
    running::awaited_until,
    stage::{Stage, stage},
    wipe,
};
use crate::{
    Error,
    error::Class,
    hold::Place,
    lease::Lock,
    pods::is_gone,
    shared::{Reading, as_meant, live},
};

/// How much longer than for a missing right a session that is past its time waits for an API server that does not answer.
const SILENCE: SignedDuration = SignedDuration::from_mins(10);

impl Driver {
    /// What the world looks like for this session.
    pub(super) async fn observe(
        &self,
        session: Arc<BackupVerificationSession>,
        carried: &Carried,
        now: Timestamp,
    ) -> Result<Observed, Error> {
        let mut observed = Observed {
            session: session.clone(),
            settings: Settings::of(&self.context.config),
            references: carried.references.clone(),
            unreadable: None,
            place: None,
            lock: carried.lock.clone(),
            restore: Seen::NotRead,
            snapshot: Seen::NotRead,
            siblings: Vec::new(),
            remains: None,
            invoker: Seen::NotRead,
            retry: carried.retry.clone(),
        };
        match stage(&session) {
            Stage::Foreign | Stage::Gone => {}
            Stage::Unpinned => {
                observed.place = self.place(&session);
                match self.named(&session, carried.reading).await {
                    Ok(references) => observed.references = Some(Arc::new(references)),
                    Err(error) if is_hopeless(&error, latest_pin(&observed), now) => observed.unreadable = Some(error.chain()),
                    Err(error) => return Err(error),
                }
                observed.siblings = self.siblings(&session);
            }
            Stage::Contradicted(run) | Stage::Running(run) => self.while_running(&mut observed, &run, carried, now).await?,
            Stage::Judged(run, judged) => {
                let last = judged.at.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
                observed.place = self.place(&session);
                observed.restore = or_not_read(self.restore(&session, &run).await, last, now)?;
                observed.siblings = self.siblings(&session);
                if !run.snapshot.uid.is_empty() {
                    observed.snapshot = or_not_read(self.snapshot(&session, &run).await, last, now)?;
                }
            }
            Stage::Done(run) => self.when_done(&mut observed, &run, now).await?,
            Stage::Deleting(run) => {
                let run = run.unwrap_or_default();
                // The RestoreSession first: while it stands, another Job may come.
                let restore = self.restore_asked_for(&session).await;
                let mut remains = self.remains(&session.uid().unwrap_or_default(), &namespaces(&session, &run), now).await?;
                match restore {
                    Ok(restore) => observed.restore = restore,
                    Err(error) if error.class() == Class::Forbidden => remains.forbidden = Some(error.chain()),
                    Err(error) => return Err(error),
                }
                observed.remains = Some(remains);
            }
        }
        Ok(observed)
    }

    /// Everything an unpinned session names, and what its target must not be.
    async fn named(&self, session: &BackupVerificationSession, reading: Reading) -> Result<References, Error> {
        let mut found = self.references(session, reading).await?;
        // What lies beside the target is listed for its sources. A session of another namespace has its own sources elsewhere.
        let elsewhere = found.target.as_ref().is_some_and(|target| session.namespace().as_deref() != Some(target.namespace()));
        if elsewhere && reading == Reading::Cached {
            found = self.references(session, Reading::Live).await?;
        }
        if found.target.is_some() {
            (found.sources, found.database_sources) = self.sources(session, &found).await?;
        }
        Ok(found)
    }

    /// The Snapshot of a session that is judged: as it was when the run was pinned, if that is known. What is written to it is bound to
    /// that version, so that it is read anew where it has changed since.
    async fn snapshot(&self, session: &BackupVerificationSession, run: &PinnedRun) -> Result<Seen<Snapshot>, Error> {
        let kept = self.shared.pinned_snapshot(&session.uid().unwrap_or_default());
        match kept.filter(|kept| kept.uid().as_ref() == Some(&run.snapshot.uid)) {
            Some(kept) => Ok(Seen::Present(Box::new((*kept).clone()))),
            None => self.get::<Snapshot>(self.in_namespace(session), &run.snapshot.name).await.map(seen),
        }
    }

    async fn while_running(&self, observed: &mut Observed, run: &PinnedRun, carried: &Carried, now: Timestamp) -> Result<(), Error> {
        let session = observed.session.clone();
        observed.siblings = if run.replaceable || !run.proven_by.is_empty() { self.siblings(&session) } else { Vec::new() };
        if !run.proven_by.is_empty() {
            return Ok(());
        }
        observed.restore = match &carried.restore {
            Some(made) => Seen::Present(made.clone()),
            None => or_not_read(self.restore(&session, run).await, awaited_until(run), now)?,
        };
        observed.place = self.place(&session);
        // Past the deadline nothing is restored any more, whatever the session refers to.
        let about_to_restore = matches!(observed.restore, Seen::Absent) && observed.lock == Lock::Mine && now < deadline(run);
        if about_to_restore && observed.references.is_none() {
            observed.references = Some(Arc::new(self.references(&session, carried.reading).await?));
        }
        Ok(())
    }

    async fn when_done(&self, observed: &mut Observed, run: &PinnedRun, now: Timestamp) -> Result<(), Error> {
        let session = observed.session.clone();
        let uid = session.uid().unwrap_or_default();
        self.memory.leaves(&uid);
        self.shared.unpin(&uid);
        if self.memory.holds(&uid) {
            observed.lock = Lock::Mine;
            observed.remains = Some(self.left_over(&session, run, now).await?);
            if run.wipe_target {
                observed.restore = or_not_read(self.restore(&session, run).await, wipe::awaited_until(&session), now)?;
            }
        } else {
            observed.lock = Lock::NotRead;
        }
        if history::owes_retry(&session) && now >= history::retry_due(completed(&session), run.retry_delay_seconds) {
            observed.invoker = seen(self.invoker(&session, Reading::Live).await?);
        }
        Ok(())
    }

    /// The session's Repository, as the caches have it: whoever writes it says which version it read.
    fn place(&self, session: &BackupVerificationSession) -> Option<Place> {
        let namespace = session.namespace().unwrap_or_default();
        let repository = self.shared.repositories.store().get(&ObjectRef::new(&session.spec.repository).within(&namespace))?;
        let reference = repository.spec.storage_ref.clone().unwrap_or_default();
        let storage = self.shared.storages.store().get(&ObjectRef::new(&reference.name).within(reference.namespace_or(&namespace)));
        Some(Place::of(&repository, storage.as_deref()))
    }

    /// The session's RestoreSession: the cached one if it is the pinned one, as a closed one never opens again; else asked for.
    async fn restore(&self, session: &BackupVerificationSession, run: &PinnedRun) -> Result<Seen<RestoreSession>, Error> {
        match self.pinned_restore(session, run) {
            Some(restore) => Ok(Seen::Present(Box::new((*restore).clone()))),
            // Nothing was made before its hash was pinned, so there is nothing to ask for.
            None if run.restore_spec_hash.is_empty() => Ok(Seen::Absent),
            None => self.restore_asked_for(session).await,
        }
    }

    /// The RestoreSession a run is pinned to, as the cache has it.
    fn pinned_restore(&self, session: &BackupVerificationSession, run: &PinnedRun) -> Option<Arc<RestoreSession>> {
        let pinned = run.restore_session.as_ref().filter(|pinned| !pinned.uid.is_empty())?;
        let key = ObjectRef::new(&session.name_any()).within(&session.namespace().unwrap_or_default());
        self.shared.restores.store().get(&key).filter(|restore| restore.metadata.uid.as_ref() == Some(&pinned.uid))
    }

    async fn restore_asked_for(&self, session: &BackupVerificationSession) -> Result<Seen<RestoreSession>, Error> {
        Ok(seen(self.get::<RestoreSession>(self.in_namespace(session), &session.name_any()).await?.map(as_meant)))
    }

    /// Sessions of the same invoker, session and repository, as the cache has them.
    fn siblings(&self, session: &BackupVerificationSession) -> Vec<Sibling> {
        let alike = self.shared.sessions_of.of(&history::word(session));
        alike.iter().filter_map(|watched| watched.0.as_ref().ok()).filter_map(|other| history::sibling(session, other)).collect()
    }

    /// Jobs and not-gone pods that carry a session's UID, asked of the API server. Jobs first: one that has ended by then
    /// has made all its pods.
    pub(super) async fn remains(&self, session_uid: &str, namespaces: &[String], now: Timestamp) -> Result<Remains, Error> {
        let mut remains = Remains::default();
        let selector = ListParams::default().labels(&format!("{}={session_uid}", labels::SESSION_UID));
        for namespace in namespaces {
            let jobs: Api<Job> = Api::namespaced(self.context.client.clone(), namespace);
            match jobs.list(&selector).await.map_err(Error::api(format!("list Jobs in namespace {namespace}"))) {
                Ok(jobs) => {
                    let named = |job: &Job| format!("Job {namespace}/{}", job.name_any());
                    remains.jobs.extend(jobs.items.iter().map(named));
                    remains.working.extend(jobs.items.iter().filter(|job| may_make_a_pod(job, now)).map(named));
                }
                Err(error) if error.status_code() == Some(403) => {
                    remains.forbidden = Some(error.chain());
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.pods_left(session_uid, namespace, &mut remains).await?;
        }
        Ok(remains)
    }

    /// What a finished session may still have at its target. Where the cache says that each Job it made has ended, only its pods are
    /// asked for: a Job that has ended never begins again, and has made all its pods.
    async fn left_over(&self, session: &BackupVerificationSession, run: &PinnedRun, now: Timestamp) -> Result<Remains, Error> {
        let (uid, places) = (session.uid().unwrap_or_default(), namespaces(session, run));
        if !self.all_ended(session, run, now) {
            return self.remains(&uid, &places, now).await;
        }
        let mut remains = Remains::default();
        for namespace in &places {
            self.pods_left(&uid, namespace, &mut remains).await?;
        }
        Ok(remains)
    }

    /// Whether the caches know each Job that the session's RestoreSession records, and that it has ended. One that is not recorded may be
    /// there after a crash, so any that has not ended counts.
    fn all_ended(&self, session: &BackupVerificationSession, run: &PinnedRun, now: Timestamp) -> bool {
        let restore = self.pinned_restore(session, run);
        let Some(status) = restore.as_ref().and_then(|restore| restore.status.as_ref()) else { return false };
        let jobs = self.shared.jobs_of.of(&session.uid().unwrap_or_default());
        let known = |recorded: &PinnedObject| jobs.iter().any(|job| job.uid().as_ref() == Some(&recorded.uid));
        !status.jobs.is_empty()
            && status.jobs.iter().map(|job| &job.object).chain(status.wipe.iter().map(|wipe| &wipe.job)).all(known)
            && jobs.iter().all(|job| !may_make_a_pod(job, now) && job.metadata.deletion_timestamp.is_none())
    }

    async fn pods_left(&self, session_uid: &str, namespace: &str, remains: &mut Remains) -> Result<(), Error> {
        let selector = ListParams::default().labels(&format!("{}={session_uid}", labels::SESSION_UID));
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        match pods.list(&selector).await.map_err(Error::api(format!("list Pods in namespace {namespace}"))) {
            Ok(pods) => remains.pods.extend(pods.items.iter().filter(|pod| !is_gone(pod)).map(described)),
            Err(error) if error.status_code() == Some(403) => remains.forbidden = Some(error.chain()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The API of a kind in the session's namespace, guarded against objects that do not parse.
    pub(super) fn in_namespace<K>(&self, session: &BackupVerificationSession) -> Api<Guarded<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default())
    }

    /// One object, or nothing when it does not exist or cannot be read.
    pub(super) async fn get<K>(&self, api: Api<Guarded<K>>, name: &str) -> Result<Option<K>, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        live(api, name).await
    }
}

/// Whether a session that should have gone on by `last` must go on without this: what it may not read it will not read
/// later either, and an API server that answers for everything else may go on refusing this one thing.
fn is_hopeless(error: &Error, last: Timestamp, now: Timestamp) -> bool {
    match error.class() {
        Class::Forbidden | Class::Refused => now >= last,
        Class::Unavailable | Class::Internal => now.duration_since(last) >= SILENCE,
        Class::Conflict => false,
    }
}

/// What was read, or that it could not be read by the time when it had to be.
fn or_not_read<T>(read: Result<Seen<T>, Error>, last: Timestamp, now: Timestamp) -> Result<Seen<T>, Error> {
    match read {
        Err(error) if is_hopeless(&error, last, now) => {
            tracing::warn!(error = error.chain(), "a session goes on without this, as its time is over");
            Ok(Seen::NotRead)
        }
        other => other,
    }
}

fn seen<T>(object: Option<T>) -> Seen<T> {
    object.map_or(Seen::Absent, |object| Seen::Present(Box::new(object)))
}

/// Where a session may have made something: its own namespace and that of its target.
pub(super) fn namespaces(session: &BackupVerificationSession, run: &PinnedRun) -> Vec<String> {
    let own = session.namespace().unwrap_or_default();
    let target = &run.verifier.target.object.namespace;
    if target.is_empty() || *target == own { vec![own] } else { vec![own, target.clone()] }
}

/// How long a Job that is being deleted may still make a pod: by then every controller has heard of the deletion.
const HEARSAY: SignedDuration = SignedDuration::from_mins(1);

/// Whether a Job may still make a pod. One that waits suspended may: somebody could start it.
pub(super) fn may_make_a_pod(job: &Job, now: Timestamp) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ended = conditions.into_iter().any(|entry| matches!(entry.type_.as_str(), "Complete" | "Failed") && entry.status == "True");
    let deleted = job.metadata.deletion_timestamp.as_ref().is_some_and(|time| now.duration_since(time.0) > HEARSAY);
    !ended && !deleted
}

fn described(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
    format!("pod {}/{} on {node}", pod.namespace().unwrap_or_default(), pod.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_has_not_ended_may_make_a_pod() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        for (job, may) in [
            ("{}", true),
            ("{spec: {suspend: true, template: {}}}", true),
            ("{status: {conditions: [{type: Suspended, status: 'True'}]}}", true),
            ("{status: {conditions: [{type: FailureTarget, status: 'True'}]}}", true),
            ("{status: {conditions: [{type: Complete, status: 'False'}]}}", true),
            ("{status: {conditions: [{type: Complete, status: 'True'}]}}", false),
            ("{status: {conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}]}}", false),
            ("{metadata: {deletionTimestamp: '2026-01-01T00:59:30Z'}}", true),
            ("{metadata: {deletionTimestamp: '2026-01-01T00:58:59Z'}}", false),
        ] {
            assert_eq!(may_make_a_pod(&serde_saphyr::from_str(job).unwrap(), now), may, "{job}");
        }
    }
}
