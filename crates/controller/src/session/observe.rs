//! Reads what a decision about one session needs: from the caches where that is safe, else from the API server.

use std::sync::Arc;

use backproof_api::{BackupVerificationSession, RestoreSession, Snapshot, labels, run::PinnedRun};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams, core::DeserializeGuard, runtime::reflector::ObjectRef};

use super::{
    done::completed,
    driver::{Carried, Driver},
    history,
    observed::{Observed, Remains, Seen, Settings, Sibling},
    stage::{Stage, stage},
};
use crate::{Error, lease::Lock};

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
            lock: carried.lock.clone(),
            restore: Seen::NotRead,
            snapshot: Seen::NotRead,
            siblings: Vec::new(),
            remains: None,
            invoker: Seen::NotRead,
        };
        match stage(&session) {
            Stage::Foreign | Stage::Gone => {}
            Stage::Unpinned => {
                observed.references = Some(Arc::new(self.references(&session).await?));
                observed.siblings = self.siblings(&session);
            }
            Stage::Contradicted(run) | Stage::Running(run) => self.while_running(&mut observed, &run).await?,
            Stage::Judged(run, _) => {
                observed.restore = self.restore(&session, &run).await?;
                observed.siblings = self.siblings(&session);
                if !run.snapshot.uid.is_empty() {
                    observed.snapshot = seen(self.get::<Snapshot>(self.in_namespace(&session), &run.snapshot.name).await?);
                }
            }
            Stage::Done(run) => self.when_done(&mut observed, &run, now).await?,
            Stage::Deleting(run) => {
                let run = run.unwrap_or_default();
                // The RestoreSession first: while it stands, another Job may come.
                observed.restore = seen(self.get::<RestoreSession>(self.in_namespace(&session), &session.name_any()).await?);
                observed.remains = Some(self.remains(&session.uid().unwrap_or_default(), &namespaces(&session, &run)).await?);
            }
        }
        Ok(observed)
    }

    async fn while_running(&self, observed: &mut Observed, run: &PinnedRun) -> Result<(), Error> {
        let session = observed.session.clone();
        observed.siblings = if run.replaceable || !run.proven_by.is_empty() { self.siblings(&session) } else { Vec::new() };
        if !run.proven_by.is_empty() {
            return Ok(());
        }
        observed.restore = self.restore(&session, run).await?;
        let about_to_restore = matches!(observed.restore, Seen::Absent) && observed.lock == Lock::Mine;
        if about_to_restore && observed.references.is_none() {
            observed.references = Some(Arc::new(self.references(&session).await?));
        }
        Ok(())
    }

    async fn when_done(&self, observed: &mut Observed, run: &PinnedRun, now: Timestamp) -> Result<(), Error> {
        let session = observed.session.clone();
        let uid = session.uid().unwrap_or_default();
        if self.memory.holds(&uid) {
            observed.lock = Lock::Mine;
            observed.remains = Some(self.remains(&uid, &namespaces(&session, run)).await?);
            if run.wipe_target {
                observed.restore = self.restore(&session, run).await?;
            }
        } else {
            observed.lock = Lock::NotRead;
        }
        if history::owes_retry(&session) && now >= history::retry_due(completed(&session), run.retry_delay_seconds) {
            observed.invoker = seen(self.invoker(&session).await?);
        }
        Ok(())
    }

    /// The session's RestoreSession: the cached one if it is the pinned one, as a closed one never opens again; else asked for.
    async fn restore(&self, session: &BackupVerificationSession, run: &PinnedRun) -> Result<Seen<RestoreSession>, Error> {
        let key = ObjectRef::new(&session.name_any()).within(&session.namespace().unwrap_or_default());
        let cached = self.restores.get(&key).and_then(|guarded| guarded.0.clone().ok());
        let pinned = run.restore_session.as_ref().map(|pinned| pinned.uid.as_str()).unwrap_or_default();
        match cached.filter(|restore| !pinned.is_empty() && restore.uid().as_deref() == Some(pinned)) {
            Some(restore) => Ok(Seen::Present(Box::new(restore))),
            // Nothing was made before its hash was pinned, so there is nothing to ask for.
            None if run.restore_spec_hash.is_empty() => Ok(Seen::Absent),
            None => Ok(seen(self.get::<RestoreSession>(self.in_namespace(session), &session.name_any()).await?)),
        }
    }

    /// Sessions of the same invoker, session and repository, as the cache has them.
    fn siblings(&self, session: &BackupVerificationSession) -> Vec<Sibling> {
        let all = self.sessions.state();
        all.iter().filter_map(|watched| watched.0.as_ref().ok()).filter_map(|other| history::sibling(session, other)).collect()
    }

    /// Jobs and not-gone pods that carry a session's UID, asked of the API server.
    pub(super) async fn remains(&self, session_uid: &str, namespaces: &[String]) -> Result<Remains, Error> {
        let mut remains = Remains::default();
        let selector = ListParams::default().labels(&format!("{}={session_uid}", labels::SESSION_UID));
        for namespace in namespaces {
            let jobs: Api<Job> = Api::namespaced(self.context.client.clone(), namespace);
            let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
            let listed = async {
                let jobs = jobs.list_metadata(&selector).await.map_err(Error::api(format!("list Jobs in namespace {namespace}")))?;
                let pods = pods.list(&selector).await.map_err(Error::api(format!("list Pods in namespace {namespace}")))?;
                Ok::<_, Error>((jobs, pods))
            };
            match listed.await {
                Ok((jobs, pods)) => {
                    remains.jobs.extend(jobs.items.iter().map(|job| format!("Job {namespace}/{}", job.name_any())));
                    remains.pods.extend(pods.items.iter().filter(|pod| !is_gone(pod)).map(described));
                }
                Err(error) if error.status_code() == Some(403) => remains.forbidden = Some(error.chain()),
                Err(error) => return Err(error),
            }
        }
        Ok(remains)
    }

    /// The API of a kind in the session's namespace, guarded against objects that do not parse.
    pub(super) fn in_namespace<K>(&self, session: &BackupVerificationSession) -> Api<DeserializeGuard<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &session.namespace().unwrap_or_default())
    }

    /// One object, or nothing when it does not exist or cannot be read.
    pub(super) async fn get<K>(&self, api: Api<DeserializeGuard<K>>, name: &str) -> Result<Option<K>, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        if name.is_empty() {
            return Ok(None);
        }
        let kind = K::kind(&()).into_owned();
        match api.get_opt(name).await.map_err(Error::api(format!("get {kind} {name}")))? {
            Some(DeserializeGuard(Ok(object))) => Ok(Some(object)),
            Some(DeserializeGuard(Err(invalid))) => {
                tracing::warn!(kind, name, error = invalid.error, "an object cannot be read and counts as missing");
                Ok(None)
            }
            None => Ok(None),
        }
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

/// Whether a pod can no longer touch anything: it ended, and so did each of its containers.
fn is_gone(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let running = |statuses: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
        statuses.iter().flatten().any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    ended && !running(&status.container_statuses) && !running(&status.init_container_statuses)
}

fn described(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
    format!("pod {}/{} on {node}", pod.namespace().unwrap_or_default(), pod.name_any())
}
