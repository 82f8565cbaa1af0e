//! The two sources of a running webhook: the watched caches, and the API server itself.
//!
//! Every object is kept behind a guard, so that one nobody can read neither stops a watch nor counts as missing.

use std::{fmt::Debug, pin::Pin, time::Duration};

use backproof_api::{
    BackupBatch, BackupConfiguration, BackupVerifier, Repository, Snapshot,
    validate::{Invoker, Lookup},
};
use futures::StreamExt as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use crate::{
    Error,
    source::{OwnInvoker, Source, is_succeeded, uses},
};

type Guarded<K> = DeserializeGuard<K>;

/// What is watched, as it was a moment ago.
#[derive(Clone)]
pub struct Cache {
    configurations: Store<Guarded<BackupConfiguration>>,
    batches: Store<Guarded<BackupBatch>>,
    verifiers: Store<Guarded<BackupVerifier>>,
    repositories: Store<Guarded<Repository>>,
    snapshots: Store<Guarded<Snapshot>>,
}

/// A task that keeps one store up to date; it never ends by itself.
pub type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Cache {
    /// Empty caches, and the tasks that fill them and keep them.
    pub fn new(client: &Client) -> (Self, Vec<Watch>) {
        let (configurations, watch_configurations) = watched(client);
        let (batches, watch_batches) = watched(client);
        let (verifiers, watch_verifiers) = watched(client);
        let (repositories, watch_repositories) = watched(client);
        let (snapshots, watch_snapshots) = watched(client);
        let cache = Self { configurations, batches, verifiers, repositories, snapshots };
        (cache, vec![watch_configurations, watch_batches, watch_verifiers, watch_repositories, watch_snapshots])
    }

    /// Completes when every cache is filled.
    pub async fn filled(&self) -> Result<(), Error> {
        let ended = |why: reflector::store::WriterDropped| Error::Ended { task: "watch", why: why.to_string() };
        let Self { configurations, batches, verifiers, repositories, snapshots } = self;
        tokio::try_join!(
            configurations.wait_until_ready(),
            batches.wait_until_ready(),
            verifiers.wait_until_ready(),
            repositories.wait_until_ready(),
            snapshots.wait_until_ready(),
        )
        .map(|_| ())
        .map_err(ended)
    }
}

fn watched<K>(client: &Client) -> (Store<Guarded<K>>, Watch)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let api = Api::<Guarded<K>>::all(client.clone());
    let stream = watcher(api, watcher::Config::default().any_semantic())
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer);
    let watch = stream.for_each(|event| async move {
        if let Err(error) = event {
            tracing::warn!(kind = %K::kind(&()), "the watch was interrupted and begins again: {error}");
        }
    });
    (store, Box::pin(watch))
}

fn read<K: Clone>(guarded: &Guarded<K>) -> Lookup<K> {
    match &guarded.0 {
        Ok(object) => Lookup::Found(object.clone()),
        Err(invalid) => Lookup::Unknown(format!("it cannot be read: {invalid}")),
    }
}

fn cached<K>(store: &Store<Guarded<K>>, namespace: &str, name: &str) -> Lookup<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + 'static,
    Guarded<K>: Resource<DynamicType = ()> + Clone,
{
    match store.get(&ObjectRef::new(name).within(namespace)) {
        Some(guarded) => read(&guarded),
        None => Lookup::Missing,
    }
}

impl Source for Cache {
    async fn configuration(&self, namespace: &str, name: &str) -> Lookup<BackupConfiguration> {
        cached(&self.configurations, namespace, name)
    }

    async fn batch(&self, namespace: &str, name: &str) -> Lookup<BackupBatch> {
        cached(&self.batches, namespace, name)
    }

    async fn verifier(&self, namespace: &str, name: &str) -> Lookup<BackupVerifier> {
        cached(&self.verifiers, namespace, name)
    }

    async fn repository(&self, namespace: &str, name: &str) -> Lookup<Repository> {
        cached(&self.repositories, namespace, name)
    }

    async fn snapshot(&self, namespace: &str, name: &str) -> Lookup<Snapshot> {
        cached(&self.snapshots, namespace, name)
    }

    async fn succeeded(&self, namespace: &str, repository: &str, session: &str) -> Lookup<Snapshot> {
        let fits = |guarded: &Guarded<Snapshot>| {
            guarded.meta().namespace.as_deref() == Some(namespace)
                && guarded.0.as_ref().is_ok_and(|snapshot| is_succeeded(snapshot, repository, session))
        };
        self.snapshots.find(fits).map_or(Lookup::Missing, |guarded| read(&guarded))
    }

    async fn users(&self, namespace: &str, name: &str) -> Lookup<Vec<OwnInvoker>> {
        let configurations = self.configurations.state_filter(|guarded| {
            guarded.0.as_ref().is_ok_and(|configuration| uses(Invoker::Configuration(configuration), namespace, name))
        });
        let batches =
            self.batches.state_filter(|guarded| guarded.0.as_ref().is_ok_and(|batch| uses(Invoker::Batch(batch), namespace, name)));
        let configurations = configurations.iter().filter_map(|guarded| read(guarded).found());
        let batches = batches.iter().filter_map(|guarded| read(guarded).found());
        Lookup::Found(own_invokers(configurations, batches))
    }
}

fn own_invokers(configurations: impl Iterator<Item = BackupConfiguration>, batches: impl Iterator<Item = BackupBatch>) -> Vec<OwnInvoker> {
    let configurations = configurations.map(|configuration| OwnInvoker::Configuration(Box::new(configuration)));
    configurations.chain(batches.map(|batch| OwnInvoker::Batch(Box::new(batch)))).collect()
}

/// The API server itself, asked only before something is refused.
#[derive(Clone)]
pub struct Live {
    client: Client,
    patience: Duration,
}

impl Live {
    /// Asks by this client; an answer that takes longer than `patience` counts as none.
    pub fn new(client: Client, patience: Duration) -> Self {
        Self { client, patience }
    }

    async fn asked<T>(&self, question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        match tokio::time::timeout(self.patience, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("the API server does not tell: {error}")),
            Err(_) => Err(format!("the API server did not answer within {} s", self.patience.as_secs())),
        }
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Lookup<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<Guarded<K>>::namespaced(self.client.clone(), namespace);
        match self.asked(api.get_opt(name)).await {
            Ok(Some(guarded)) => read(&guarded),
            Ok(None) => Lookup::Missing,
            Err(why) => Lookup::Unknown(why),
        }
    }

    async fn all<K>(&self, api: Api<Guarded<K>>) -> Result<Vec<K>, String>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        const PAGE: u32 = 500;
        let mut objects = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = self.asked(api.list(&params)).await?;
            objects.extend(page.items.into_iter().filter_map(|guarded| guarded.0.ok()));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

impl Source for Live {
    async fn configuration(&self, namespace: &str, name: &str) -> Lookup<BackupConfiguration> {
        self.get(namespace, name).await
    }

    async fn batch(&self, namespace: &str, name: &str) -> Lookup<BackupBatch> {
        self.get(namespace, name).await
    }

    async fn verifier(&self, namespace: &str, name: &str) -> Lookup<BackupVerifier> {
        self.get(namespace, name).await
    }

    async fn repository(&self, namespace: &str, name: &str) -> Lookup<Repository> {
        self.get(namespace, name).await
    }

    async fn snapshot(&self, namespace: &str, name: &str) -> Lookup<Snapshot> {
        self.get(namespace, name).await
    }

    async fn succeeded(&self, namespace: &str, repository: &str, session: &str) -> Lookup<Snapshot> {
        match self.all::<Snapshot>(Api::namespaced(self.client.clone(), namespace)).await {
            Ok(snapshots) => {
                snapshots.into_iter().find(|snapshot| is_succeeded(snapshot, repository, session)).map_or(Lookup::Missing, Lookup::Found)
            }
            Err(why) => Lookup::Unknown(why),
        }
    }

    async fn users(&self, namespace: &str, name: &str) -> Lookup<Vec<OwnInvoker>> {
        let configurations = self.all::<BackupConfiguration>(Api::all(self.client.clone()));
        let batches = self.all::<BackupBatch>(Api::all(self.client.clone()));
        match tokio::try_join!(configurations, batches) {
            Ok((configurations, batches)) => {
                let configurations = configurations.into_iter().filter(|it| uses(Invoker::Configuration(it), namespace, name));
                let batches = batches.into_iter().filter(|it| uses(Invoker::Batch(it), namespace, name));
                Lookup::Found(own_invokers(configurations, batches))
            }
            Err(why) => Lookup::Unknown(why),
        }
    }
}
