//! Reconciler: repository. Turns the restic snapshots of annotated Repositories into Snapshots, by Jobs that only read.
//!
//! It observes from caches, decides ([`decide`], pure) and applies. Of a Repository it writes one annotation, never spec or status.

mod decide;
mod forget;
mod inputs;
mod job;
mod outcome;
mod writers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backproof_api::{
    BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, Repository, Snapshot, labels, names,
    report::DiscoveryRecord, validate::Invoker,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, Namespace, Pod},
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{
    Context, Error, Part, Shutdown,
    cache::Caches,
    events::{self, Note, path},
    failure::Failure,
    manifest::proxies,
    queue::{Again, drive},
    restore::copies,
    schedule::account::{Accounts, Purpose},
    shared::Shared,
    storage::{HostPath, SecretSource},
};
use decide::{Decision, Forget, Observed, Waiting};
use inputs::Session;
pub(crate) use inputs::{is_discovered, record};

/// How often a Repository is looked at although nothing is due.
const SLOWLY: Duration = Duration::from_secs(15 * 60);
/// Events about a state that lasts, told once.
const LASTING: [&str; 6] = ["WipeOutIgnored", "SnapshotNotTaken", "RepositoryReplaced", "Forbidden", "ApiRefused", "Internal"];

/// A Repository by namespace and name.
type Key = (String, String);

/// Runs until told to stop.
pub(crate) async fn run(context: Arc<Context>, shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), Error> {
    let mut caches = Caches::new(context.client.clone(), context.metrics.clone());
    let (sender, receiver) = unbounded_channel();
    let discovery = Discovery::watch(context.clone(), shared, &mut caches, &sender);
    let workers = usize::from(context.config.workers);
    let work = async {
        let filled = tokio::select! {
            filled = discovery.filled() => filled,
            () = shutdown.clone().requested() => false,
        };
        if filled {
            context.ready.set(Part::Repository);
            drive(receiver, workers, shutdown, context.metrics.queue("Repository"), |key| discovery.reconcile(key)).await;
        }
    };
    tokio::select! {
        () = work => Ok(()),
        () = caches.ended() => Err(Error::PartEnded { part: "repository's caches" }),
    }
}

/// The reconciler with its caches.
struct Discovery {
    context: Arc<Context>,
    shared: Arc<Shared>,
    jobs: Store<Job>,
    accounts: Accounts,
    /// Held while the rights of discovery are given or taken.
    rights: tokio::sync::Mutex<()>,
    proxies: Vec<EnvVar>,
    told: Mutex<HashMap<Key, BTreeSet<String>>>,
    /// Why a Job that was made cannot have its copy of Secrets.
    refused: Mutex<HashMap<Key, Failure>>,
}

fn send(sender: &UnboundedSender<Key>, key: Key) {
    // Nobody listens any more only while the process ends.
    let _ = sender.send(key);
}

fn key_of<K: Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn queue_repositories(sender: &UnboundedSender<Key>, invoker: Invoker<'_>) {
    for entry in invoker.entries() {
        send(sender, (invoker.namespace().to_owned(), entry.repository.name.clone()));
    }
}

impl Discovery {
    fn watch(context: Arc<Context>, shared: Arc<Shared>, caches: &mut Caches, sender: &UnboundedSender<Key>) -> Self {
        let to = || sender.clone();
        let (a, b, c, d, e, f) = (to(), to(), to(), to(), to(), to());
        shared.repositories.listen(move |repository: &Repository| send(&a, key_of(repository)));
        let repositories = shared.repositories.store();
        let (of_storages, of_accounts) = (repositories.clone(), repositories.clone());
        shared.storages.listen(move |storage: &BackupStorage| {
            let (namespace, name) = key_of(storage);
            for repository in of_storages.state_filter(|repository| refers_to(repository, &namespace, &name)) {
                send(&b, key_of(&*repository));
            }
        });
        shared.configurations.listen(move |object: &BackupConfiguration| queue_repositories(&c, Invoker::Configuration(object)));
        shared.batches.listen(move |object: &BackupBatch| queue_repositories(&d, Invoker::Batch(object)));
        Self {
            context,
            shared,
            jobs: caches.watch(watcher::Config::default().labels(labels::REPOSITORY_UID), move |job: &Job| {
                if let Some(owner) = job.owner_references().iter().find(|owner| owner.controller == Some(true)) {
                    send(&e, (job.namespace().unwrap_or_default(), owner.name.clone()));
                }
            }),
            rights: tokio::sync::Mutex::default(),
            accounts: Accounts::watch(caches, Purpose::Discovery, move |namespace| {
                for repository in of_accounts.state_filter(|repository| repository.metadata.namespace.as_deref() == Some(namespace)) {
                    send(&f, key_of(&*repository));
                }
            }),
            proxies: proxies(),
            told: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Completes once every cache is filled; `false` when a watch is gone.
    async fn filled(&self) -> bool {
        self.shared.repositories.filled().await
            && self.shared.storages.filled().await
            && self.shared.configurations.filled().await
            && self.shared.batches.filled().await
            && self.jobs.wait_until_ready().await.is_ok()
            && self.accounts.ready().await
    }

    async fn reconcile(&self, key: Key) -> Again {
        let repository = self.shared.repositories.store().get(&ObjectRef::new(&key.1).within(&key.0));
        let Some(repository) = repository
            .filter(|repository| is_discovered(repository) && !repository.spec.paused && repository.metadata.deletion_timestamp.is_none())
        else {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            // It may have been discovered a moment ago.
            if self.accounts.is_granted(&key.0)
                && let Err(error) = self.withdraw(&key.0).await
            {
                tracing::warn!(kind = "Repository", namespace = key.0, error = error.chain(), "the rights of discovery are not taken back");
                return Again::After(error.class().requeue());
            }
            return Again::OnChange;
        };
        let since = Instant::now();
        let outcome = self.serve(&repository).await;
        self.context.metrics.took("Repository", since);
        match outcome {
            Ok(again) => {
                self.context.metrics.reconciled("Repository", "ok");
                again
            }
            Err(error) => {
                self.context.metrics.reconciled("Repository", error.reason());
                tracing::warn!(kind = "Repository", namespace = key.0, name = key.1, error = error.chain(), "discovery not reconciled");
                Again::After(error.class().requeue())
            }
        }
    }

    async fn serve(&self, repository: &Repository) -> Result<Again, Error> {
        let now = self.context.clock.now();
        let observed = self.observe(repository, now).await?;
        let decision = decide::decide(&observed, now);
        let outcome = self.apply(repository, &decision).await;
        let wake = decision.wake.and_then(|wake| Duration::try_from(wake).ok());
        let notes = match &outcome {
            Ok(()) => decision.notes.clone(),
            // What has not been written down yet is told when it is.
            Err(error) => events::of_error(error, "Discover").into_iter().collect(),
        };
        self.tell(repository, notes).await;
        outcome?;
        Ok(match (wake, decision.ended.is_some()) {
            (Some(wake), _) => Again::After(wake.min(SLOWLY)),
            // The record is back from the API server soon; until then the next step is not known.
            (None, true) => Again::After(Duration::from_secs(1)),
            (None, false) => Again::After(Duration::try_from(self.patience()).unwrap_or(SLOWLY)),
        })
    }

    fn patience(&self) -> SignedDuration {
        self.context.config.default_start_timeout
    }

    async fn observe<'a>(&'a self, repository: &'a Repository, now: Timestamp) -> Result<Observed<'a>, Error> {
        let namespace = repository.namespace().unwrap_or_default();
        let uid = repository.uid();
        let record = record(repository);
        let jobs = self.jobs.state_filter(|job| {
            job.metadata.namespace.as_deref() == Some(&namespace) && job.labels().get(labels::REPOSITORY_UID) == uid.as_ref()
        });
        let next = job::name(repository, record.run + 1);
        let current = jobs.iter().find(|job| job.name_any() == next);
        let pods = match current {
            Some(job) if self.worth_a_look(job, now) => self.pods(&namespace, job).await?,
            Some(_) | None => Vec::new(),
        };
        let storage = repository.spec.storage_ref.as_ref().and_then(|reference| {
            self.shared.storages.store().get(&ObjectRef::new(&reference.name).within(reference.namespace_or(&namespace)))
        });
        let (configurations, batches) = (self.shared.configurations.store().state(), self.shared.batches.store().state());
        let invokers =
            configurations.iter().map(|object| Invoker::Configuration(object)).chain(batches.iter().map(|object| Invoker::Batch(object)));
        let running = current.is_some();
        let current = current.cloned();
        let mut observed = Observed {
            repository,
            storage,
            session: Session::of(&repository.name_any(), invokers.filter(|invoker| invoker.namespace() == namespace)),
            record,
            jobs,
            pods,
            host_path: if self.context.config.allows_unsafe(&namespace) { HostPath::Allowed } else { HostPath::Refused },
            patience: self.patience(),
            config: &self.context.config,
            proxies: &self.proxies,
            writers: Vec::new(),
            labels: BTreeMap::new(),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(repository)),
        };
        let begins = !running && decide::is_due(&observed, now);
        if begins {
            observed.writers = self.writers(&namespace, observed.storage.as_deref()).await?;
        }
        let waits = current.is_some_and(|job| job::is_suspended(&job));
        if (begins || waits) && observed.storage.as_ref().is_some_and(|storage| storage.namespace().as_ref() != Some(&namespace)) {
            observed.labels = self.labels(&namespace).await?;
        }
        Ok(observed)
    }

    /// Pods that may write to the claim a repository lies on, asked of the API server.
    async fn writers(&self, namespace: &str, storage: Option<&BackupStorage>) -> Result<Vec<Pod>, Error> {
        let Some(claim) = storage.filter(|storage| storage.namespace().as_deref() == Some(namespace)).and_then(writers::claim) else {
            return Ok(Vec::new());
        };
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        let pods = api.list(&ListParams::default()).await.map_err(Error::api(format!("list pods of namespace {namespace}")))?.items;
        Ok(pods.into_iter().filter(|pod| writers::may_write(pod, claim)).collect())
    }

    /// Labels of a namespace, by which storages elsewhere may let it use them.
    async fn labels(&self, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let found = api.get_metadata_opt(namespace).await.map_err(Error::api(format!("get Namespace {namespace}")))?;
        Ok(found.map(|found| found.labels().clone()).unwrap_or_default())
    }

    /// Whether a Job's pods tell something the Job does not: how it ended, or why it does not start.
    fn worth_a_look(&self, job: &Job, now: Timestamp) -> bool {
        let created = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        crate::fate::is_finished(job) || now.duration_since(created) >= self.patience()
    }

    async fn pods(&self, namespace: &str, job: &Job) -> Result<Vec<Pod>, Error> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        let selection = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={}", job.uid().unwrap_or_default()));
        Ok(api.list(&selection).await.map_err(Error::api(format!("list pods of Job {}", path(job))))?.items)
    }

    async fn apply(&self, repository: &Repository, decision: &Decision) -> Result<(), Error> {
        let namespace = repository.namespace().unwrap_or_default();
        let jobs: Api<Job> = Api::namespaced(self.context.client.clone(), &namespace);
        if let Some(record) = &decision.waiting {
            self.write(repository, record).await?;
        }
        if let Some(ended) = &decision.ended {
            // First what is gone: whoever waits for the record must not choose it.
            if let Forget::Allowed(gone) = &ended.forget {
                self.forget(repository, gone).await?;
            }
            self.write(repository, &ended.record).await?;
            let name = job::name(repository, ended.record.run);
            let copied = self.jobs.get(&ObjectRef::new(&name).within(&namespace)).is_some_and(|job| copies::needs_copy(&job));
            if copied {
                copies::remove(&self.context.client, &namespace, &name, (labels::REPOSITORY_UID, &repository.uid().unwrap_or_default()))
                    .await?;
            }
        }
        if let Some(unknown) = &decision.forget {
            remove(&jobs, &unknown.job.name, &unknown.job.uid, Some(&unknown.version)).await?;
        }
        for (name, uid) in &decision.delete {
            remove(&jobs, name, uid, None).await?;
        }
        if let Some(job) = &decision.start {
            // Never between another one's look and its withdrawal.
            let _one_at_a_time = self.rights.lock().await;
            self.accounts.grant(&self.context.client, &namespace).await?;
            match jobs.create(&PostParams::default(), job).await.map_err(Error::api(format!("create Job {}", path(&**job)))) {
                Ok(made) if !decision.secrets.is_empty() => {
                    self.begin_with_copy(repository, &jobs, &Waiting::of(&made), &decision.secrets).await?
                }
                Ok(_) => {}
                // A conflict too: the cache is late, or the server was busy; either shows the next time.
                Err(error) => return Err(error),
            }
        } else if let Some(waiting) = &decision.resume {
            self.begin_with_copy(repository, &jobs, waiting, &decision.secrets).await?;
        } else if self.accounts.is_granted(&namespace) {
            self.withdraw(&namespace).await?;
        }
        Ok(())
    }

    /// Records a suspended Job, gives it its copy of Secrets, and lets it begin: in this order, so that no Secret goes to a Job that
    /// was not made here.
    async fn begin_with_copy(
        &self,
        repository: &Repository,
        jobs: &Api<Job>,
        waiting: &Waiting,
        secrets: &[SecretSource],
    ) -> Result<(), Error> {
        let record = record(repository);
        if record.job.as_ref() != Some(&waiting.job.uid) {
            self.write(repository, &DiscoveryRecord { job: Some(waiting.job.uid.clone()), ..record }).await?;
        }
        let uid = repository.uid().unwrap_or_default();
        match copies::make(&self.context.client, &waiting.job, (labels::REPOSITORY_UID, &uid), secrets).await? {
            Ok(()) => {}
            Err(failure) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(key_of(repository), failure);
                return Ok(());
            }
        }
        let patch = json!({ "metadata": { "uid": waiting.job.uid, "resourceVersion": waiting.version }, "spec": { "suspend": false } });
        let started = jobs.patch(&waiting.job.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        started.map_err(Error::api(format!("start Job {}/{}", waiting.job.namespace, waiting.job.name)))?;
        Ok(())
    }

    /// Takes the rights of discovery back once no Job of the namespace needs them.
    async fn withdraw(&self, namespace: &str) -> Result<(), Error> {
        let in_cache = self.jobs.state_filter(|job| job.metadata.namespace.as_deref() == Some(namespace));
        if in_cache.iter().any(|job| job::needs_rights(job)) {
            return Ok(());
        }
        let _one_at_a_time = self.rights.lock().await;
        let api: Api<Job> = Api::namespaced(self.context.client.clone(), namespace);
        let selection = ListParams::default().labels(&format!("{}={}", labels::COMPONENT, labels::COMPONENT_DISCOVERY));
        let jobs = api.list(&selection).await.map_err(Error::api(format!("list discovery Jobs of namespace {namespace}")))?;
        if jobs.items.iter().any(job::needs_rights) {
            return Ok(());
        }
        self.accounts.withdraw(&self.context.client, namespace).await
    }

    async fn forget(&self, repository: &Repository, gone: &[String]) -> Result<(), Error> {
        let namespace = repository.namespace().unwrap_or_default();
        let client = &self.context.client;
        let api: Api<Snapshot> = Api::namespaced(client.clone(), &namespace);
        let selection = ListParams::default().labels(&format!("{}={}", labels::REPOSITORY_UID, repository.uid().unwrap_or_default()));
        let snapshots = api.list(&selection).await.map_err(Error::api(format!("list Snapshots of Repository {}", path(repository))))?.items;
        if forget::doomed(repository, &snapshots, &[], gone).is_empty() {
            return Ok(());
        }
        let sessions: Api<BackupVerificationSession> = Api::namespaced(client.clone(), &namespace);
        let sessions =
            sessions.list(&ListParams::default()).await.map_err(Error::api(format!("list sessions of namespace {namespace}")))?.items;
        for snapshot in forget::doomed(repository, &snapshots, &sessions, gone) {
            tracing::info!(
                namespace,
                name = snapshot.name_any(),
                "deleting a Snapshot: its restic snapshot is gone, or newer ones took its place"
            );
            remove(&api, &snapshot.name_any(), &snapshot.uid().unwrap_or_default(), None).await?;
        }
        Ok(())
    }

    async fn write(&self, repository: &Repository, record: &DiscoveryRecord) -> Result<(), Error> {
        let what = format!("annotate Repository {}", path(repository));
        let text = serde_json::to_string(record).map_err(|source| Error::Encode { what: what.clone(), source })?;
        let api: Api<Repository> = Api::namespaced(self.context.client.clone(), &repository.namespace().unwrap_or_default());
        // Bound to the UID: another Repository of this name has a record of its own.
        let patch = json!({"metadata": {"uid": repository.uid(), "annotations": {(labels::DISCOVERY): text}}});
        api.patch(&repository.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(what))?;
        Ok(())
    }

    async fn tell(&self, repository: &Repository, notes: Vec<Note>) {
        for note in notes {
            let fresh = !LASTING.contains(&note.reason) || {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.entry(key_of(repository)).or_default().insert(names::hash(&[note.reason, &note.message]))
            };
            if fresh {
                self.context.events.on(repository, note).await;
            }
        }
    }
}

fn refers_to(repository: &Repository, namespace: &str, name: &str) -> bool {
    let own = repository.metadata.namespace.as_deref().unwrap_or_default();
    repository.spec.storage_ref.as_ref().is_some_and(|reference| reference.name == name && reference.namespace_or(own) == namespace)
}

/// Deletes the object of this UID, and of this version if one is given, with what belongs to it.
async fn remove<K>(api: &Api<K>, name: &str, uid: &str, version: Option<&str>) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: version.map(str::to_owned) }),
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await.map_err(Error::api(format!("delete {} {name}", K::kind(&())))) {
        Ok(_) => Ok(()),
        // Another one by now is a conflict: looked at again with what the cache has then.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
