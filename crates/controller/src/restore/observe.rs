//! Reads everything a decision rests on. Reads only: from caches where being late does no harm, else from the API server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use backproof_api::{
    Addon, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, RestoreSession, Snapshot, labels, names,
    run::PinnedObject, shared::TypedObjectReference,
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, PodSpec},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{ClusterResourceScope, NamespaceResourceScope},
    runtime::reflector::Store,
};
use serde::de::DeserializeOwned;

use super::{
    Owner, copies,
    decide::Observed,
    owner,
    plan::{Inputs, addon_info},
    resolve::{resolve, restore_task},
    status, target, wipe,
};
use crate::{Error, failure::Failure, pods::is_gone};

/// Where a restore's facts are read from.
pub(crate) struct Sources {
    pub(crate) client: Client,
    pub(crate) jobs: Store<Job>,
    pub(crate) pods: Store<Pod>,
    /// Sessions that were read, by UID of their restore: what a run is pinned to does not change.
    owners: Mutex<HashMap<String, Owner>>,
}

/// What one reconcile has done so far, so that its next look does not depend on a cache that lags behind.
#[derive(Default)]
pub(crate) struct Recent {
    /// Jobs as the API server last returned them.
    pub(crate) jobs: Vec<Job>,
    /// UIDs of those it has made.
    pub(crate) made: BTreeSet<String>,
    /// UIDs of Jobs whose copied Secret it has made or found.
    pub(crate) copied: BTreeSet<String>,
    /// UIDs of foreign Functions' Jobs whose rights it has given, and of those it has taken back.
    pub(crate) granted: BTreeSet<String>,
    pub(crate) revoked: BTreeSet<String>,
    /// What the restore refers to, as it was when the Jobs were made.
    pub(crate) inputs: Option<Inputs>,
    /// Why the API server will never take what this restore has to write.
    pub(crate) refused: Option<Failure>,
    /// Whether a write came to nothing because somebody else seemed to be first: then no event may ever tell of it.
    pub(crate) unsure: bool,
}

impl Recent {
    /// Remembers a Job as the API server returned it.
    pub(crate) fn seen(&mut self, job: Job) {
        self.jobs.retain(|known| known.uid() != job.uid());
        self.jobs.push(job);
    }
}

impl Sources {
    pub(crate) fn new(client: Client, jobs: Store<Job>, pods: Store<Pod>) -> Self {
        Self { client, jobs, pods, owners: Mutex::default() }
    }

    /// Forgets what is kept for a restore.
    pub(crate) fn forget(&self, restore: &RestoreSession) {
        self.owners().remove(&restore.uid().unwrap_or_default());
    }

    pub(super) fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<String, Owner>> {
        // Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that controls a restore; fresh where something is about to be made or started.
    async fn owner(&self, restore: &RestoreSession, freshness: Freshness) -> Result<Option<Owner>, Error> {
        let uid = restore.uid().unwrap_or_default();
        let known = self.owners().get(&uid).cloned();
        if let (Some(known), Freshness::Remembered) = (known, freshness) {
            return Ok(Some(known));
        }
        let Some(name) = owner::named_by(restore) else { return Ok(None) };
        let session = get::<BackupVerificationSession>(&self.client, &restore.namespace().unwrap_or_default(), name).await?;
        let owner = session.and_then(Owner::of);
        if let Some(owner) = &owner {
            self.owners().insert(uid, owner.clone());
        }
        Ok(owner)
    }

    /// Everything for one decision.
    pub(crate) async fn observe(&self, restore: RestoreSession, recent: &mut Recent) -> Result<Observed, Error> {
        let status = restore.status.clone().unwrap_or_default();
        let closed = status::is_closed(&status);
        // A closed restore is left alone, but for the wiping of its target.
        let wiping = closed && status.wipe.as_ref().is_some_and(|wipe| wipe.wiped.is_none()) && wipe::wrote(&status);
        let closed = closed && !wiping;
        let idle = closed || (!wiping && !status.jobs.is_empty() && status.jobs.iter().all(|job| job.started));
        let owner = self.owner(&restore, if idle { Freshness::Remembered } else { Freshness::Asked }).await?;
        let mut observed = Observed {
            restore,
            owner,
            inputs: None,
            jobs: Vec::new(),
            pods: Vec::new(),
            neighbours: None,
            made: recent.made.clone(),
            copied: recent.copied.clone(),
            granted: recent.granted.clone(),
            revoked: recent.revoked.clone(),
            refused: recent.refused.clone(),
        };
        let Some(owner) = observed.owner.clone() else { return Ok(observed) };
        if !super::decide::serves(&observed.restore, &owner) {
            return Ok(observed);
        }
        let restores = status.jobs.iter().filter(|_| !wiping).map(|job| &job.object);
        let recorded: Vec<_> = restores.chain(status.wipe.iter().map(|wipe| &wipe.job)).collect();
        observed.jobs = self.jobs_of(&owner, &recorded, recent, closed).await?;
        observed.pods = self.pods_of(&owner, &observed.jobs, closed).await?;
        if closed {
            return Ok(observed);
        }
        if wiping {
            let started = status.wipe.as_ref().is_some_and(|wipe| wipe.started);
            if !started && wipe::due(&owner.session).is_some() {
                observed.neighbours = Some(self.neighbours(&owner).await?);
            }
            return Ok(observed);
        }
        let unwiped = owner.run.wipe_target && status.wipe.is_none();
        let unmade =
            unwiped || owner.run.snapshot.components.iter().any(|component| !status.jobs.iter().any(|job| job.component == component.name));
        if unmade {
            if recent.inputs.is_none() {
                recent.inputs = Some(self.inputs(&observed.restore, &owner).await?);
                observed.neighbours = Some(self.neighbours(&owner).await?);
            }
            observed.inputs.clone_from(&recent.inputs);
        } else if waits_for_start(&status) {
            observed.neighbours = Some(self.neighbours(&owner).await?);
            if observed.jobs.iter().any(copies::needs_copy) {
                if recent.inputs.is_none() {
                    recent.inputs = Some(self.inputs(&observed.restore, &owner).await?);
                }
                observed.inputs.clone_from(&recent.inputs);
            }
        }
        Ok(observed)
    }

    /// Jobs with the session's label; one that is recorded and not in the cache is asked for before it counts as gone.
    async fn jobs_of(&self, owner: &Owner, recorded: &[&PinnedObject], recent: &Recent, closed: bool) -> Result<Vec<Job>, Error> {
        let uid = owner.session.uid().unwrap_or_default();
        let mut jobs: Vec<Job> = recent.jobs.clone();
        let known = |jobs: &[Job], uid: Option<String>| jobs.iter().any(|job| job.uid() == uid);
        for job in self.jobs.state() {
            if job.labels().get(labels::SESSION_UID) == Some(&uid) && !known(&jobs, job.uid()) {
                jobs.push((*job).clone());
            }
        }
        for pinned in recorded.iter().filter(|_| !closed) {
            if known(&jobs, Some(pinned.uid.clone())) {
                continue;
            }
            if let Some(job) =
                get::<Job>(&self.client, &pinned.namespace, &pinned.name).await?.filter(|job| job.uid().as_ref() == Some(&pinned.uid))
            {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// Pods with the session's label; of a finished Job whose pod the cache does not show as ended, the API server is asked.
    async fn pods_of(&self, owner: &Owner, jobs: &[Job], closed: bool) -> Result<Vec<Pod>, Error> {
        let uid = owner.session.uid().unwrap_or_default();
        let mut pods: Vec<Pod> =
            self.pods.state().iter().filter(|pod| pod.labels().get(labels::SESSION_UID) == Some(&uid)).map(|pod| (**pod).clone()).collect();
        for job in jobs.iter().filter(|job| !closed && crate::fate::is_finished(job)) {
            let job_uid = job.uid().unwrap_or_default();
            let of_job = [job_uid.as_str()].into();
            if pods.iter().any(|pod| target::belongs(pod, &of_job) && is_gone(pod)) {
                continue;
            }
            let namespace = job.namespace().unwrap_or_default();
            let selector = format!("batch.kubernetes.io/job-name={}", job.name_any());
            let live = Api::<Pod>::namespaced(self.client.clone(), &namespace)
                .list(&ListParams::default().labels(&selector))
                .await
                .map_err(Error::api(format!("list the pods of Job {namespace}/{}", job.name_any())))?;
            pods.retain(|pod| !target::belongs(pod, &of_job));
            pods.extend(live.items);
        }
        Ok(pods)
    }

    async fn neighbours(&self, owner: &Owner) -> Result<Vec<Pod>, Error> {
        let namespace = &owner.run.verifier.target.object.namespace;
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&ListParams::default()).await;
        Ok(pods.map_err(Error::api(format!("list pods of namespace {namespace}")))?.items)
    }

    async fn inputs(&self, restore: &RestoreSession, owner: &Owner) -> Result<Inputs, Error> {
        let client = &self.client;
        let run = &owner.run;
        let own = restore.namespace().unwrap_or_default();
        let or_own = |namespace: &str| if namespace.is_empty() { own.clone() } else { namespace.to_owned() };
        let data = restore.spec.data_source.as_ref().map(|data| or_own(&data.namespace)).unwrap_or_else(|| own.clone());
        let (verifier_namespace, target) = (or_own(&run.verifier.object.namespace), &run.verifier.target.object);
        let (verifier, snapshot, repository, claim) = futures::try_join!(
            get::<BackupVerifier>(client, &verifier_namespace, &run.verifier.object.name),
            get::<Snapshot>(client, &data, &run.snapshot.name),
            get::<Repository>(client, &data, &run.repository.name),
            get::<PersistentVolumeClaim>(client, &target.namespace, &target.name),
        )?;
        let (storage, namespace_labels) = self.storage(repository.as_ref(), &own).await?;
        let source = match snapshot.as_ref().and_then(|snapshot| snapshot.spec.app_ref.as_ref()) {
            Some(reference) => self.source(reference, &data).await?,
            None => target::Source::default(),
        };
        let addon_name = addon_info(restore).map(|(info, _)| info.name.clone()).unwrap_or_default();
        let addons = self.candidates::<Addon>(&addon_name).await?;
        let function = resolve("Addon", &addon_name, backproof_api::Cause::AddonNotFound, &addons)
            .and_then(|addon| restore_task(addon, &run.verifier.task))
            .map(|task| task.function.clone())
            .unwrap_or_default();
        let functions = self.candidates::<Function>(&function).await?;
        Ok(Inputs { verifier, snapshot, repository, storage, namespace_labels, addons, functions, claim, source })
    }

    async fn storage(
        &self,
        repository: Option<&Repository>,
        own: &str,
    ) -> Result<(Option<BackupStorage>, BTreeMap<String, String>), Error> {
        let Some(reference) = repository.and_then(|repository| repository.spec.storage_ref.as_ref()) else {
            return Ok((None, BTreeMap::new()));
        };
        let namespace = reference.namespace_or(own);
        let storage = get::<BackupStorage>(&self.client, namespace, &reference.name).await?;
        if namespace == own {
            return Ok((storage, BTreeMap::new()));
        }
        let namespace = get_cluster::<Namespace>(&self.client, own).await?;
        Ok((storage, namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default()))
    }

    /// The objects a name may mean: those labelled for it, and the one of that name.
    async fn candidates<K>(&self, name: &str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let selector = format!("{}={}", labels::IMPLEMENTS, names::label_value(name));
        let labelled = Api::<K>::all(self.client.clone()).list(&ListParams::default().labels(&selector)).await;
        let labelled = labelled.map_err(Error::api(format!("list {}s for {name}", K::kind(&()))))?.items;
        if !labelled.is_empty() {
            return Ok(labelled);
        }
        Ok(get_cluster::<K>(&self.client, name).await?.into_iter().collect())
    }

    /// The claims of the workload that was backed up.
    async fn source(&self, reference: &TypedObjectReference, own: &str) -> Result<target::Source, Error> {
        let namespace = reference.namespace_or(own);
        let (client, name) = (&self.client, &reference.name);
        let template = |spec: Option<PodSpec>| spec.map(|spec| claims(&spec)).unwrap_or_default();
        let mut source = target::Source { namespace: namespace.to_owned(), ..target::Source::default() };
        if name.is_empty() || reference.api_group.split('/').next() != Some("apps") {
            return Ok(source);
        }
        match reference.kind.as_str() {
            "Deployment" => {
                let workload = get::<Deployment>(client, namespace, name).await?.and_then(|workload| workload.spec);
                source.claims = template(workload.and_then(|spec| spec.template.spec));
            }
            "DaemonSet" => {
                let workload = get::<DaemonSet>(client, namespace, name).await?.and_then(|workload| workload.spec);
                source.claims = template(workload.and_then(|spec| spec.template.spec));
            }
            "StatefulSet" => {
                let spec = get::<StatefulSet>(client, namespace, name).await?.and_then(|workload| workload.spec).unwrap_or_default();
                let made = spec.volume_claim_templates.iter().flatten();
                source.claim_prefixes = made.map(|claim| format!("{}-{name}-", claim.name_any())).collect();
                source.claims = template(spec.template.spec);
            }
            _ => {}
        }
        Ok(source)
    }

    /// Reads a restore again, past every cache.
    pub(crate) async fn again(&self, restore: &RestoreSession) -> Result<Option<RestoreSession>, Error> {
        get::<RestoreSession>(&self.client, &restore.namespace().unwrap_or_default(), &restore.name_any()).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// What was read before will do.
    Remembered,
    /// The API server must be asked.
    Asked,
}

fn waits_for_start(status: &backproof_api::RestoreSessionStatus) -> bool {
    let busy = status.jobs.iter().any(|job| job.started && !status::is_done(status, &job.component));
    !busy && status.jobs.iter().any(|job| !job.started && !status::is_done(status, &job.component))
}

fn claims(spec: &PodSpec) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    if name.is_empty() {
        return Ok(None);
    }
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(Error::api(format!("get {} {namespace}/{name}", K::kind(&()))))
}

async fn get_cluster<K>(client: &Client, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Api::<K>::all(client.clone()).get_opt(name).await.map_err(Error::api(format!("get {} {name}", K::kind(&()))))
}
