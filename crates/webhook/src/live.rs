//! The API server itself: asked before something is refused, for what is not watched, and who may do what.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Guarded, Repository,
    Snapshot, labels, names,
    validate::{Access, Invoker, Lookup, SourceClaims},
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    authentication::v1::UserInfo,
    core::v1::{Namespace, PodTemplateSpec},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::ListParams,
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;

use crate::{
    access::Reviews,
    cache::{is_done, own_invokers, read},
    source::{OwnInvoker, Source, is_succeeded, uses},
};

/// The API server itself, asked only before something is refused.
#[derive(Clone)]
pub struct Live {
    client: Client,
    patience: Duration,
    reviews: Reviews,
}

impl Live {
    /// Asks by this client; an answer that takes longer than `patience` counts as none.
    pub fn new(client: Client, patience: Duration) -> Self {
        Self { client, patience, reviews: Reviews::default() }
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
        if !can_be(namespace, name) {
            return Lookup::Missing;
        }
        let api = Api::<Guarded<K>>::namespaced(self.client.clone(), namespace);
        self.found(self.asked(api.get_opt(name)).await)
    }

    /// The one labelled to implement a name, else the one of that name.
    async fn implementing<K>(&self, name: &str) -> Lookup<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<Guarded<K>>::all(self.client.clone());
        if names::is_label_value(name) {
            let labelled = ListParams::default().labels(&format!("{}={name}", labels::IMPLEMENTS));
            match self.asked(api.list(&labelled)).await {
                Ok(list) => {
                    if let Some(guarded) = list.items.first() {
                        return read(guarded);
                    }
                }
                Err(why) => return Lookup::Unknown(why),
            }
        }
        if names::is_object_name(name) { self.found(self.asked(api.get_opt(name)).await) } else { Lookup::Missing }
    }

    fn found<K: Clone>(&self, answer: Result<Option<Guarded<K>>, String>) -> Lookup<K> {
        match answer {
            Ok(Some(guarded)) => read(&guarded),
            Ok(None) => Lookup::Missing,
            Err(why) => Lookup::Unknown(why),
        }
    }

    async fn namespaced<K>(&self, namespace: &str, name: &str) -> Lookup<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        if !can_be(namespace, name) {
            return Lookup::Missing;
        }
        match self.asked(Api::<K>::namespaced(self.client.clone(), namespace).get_opt(name)).await {
            Ok(Some(object)) => Lookup::Found(object),
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

    async fn storage(&self, namespace: &str, name: &str) -> Lookup<BackupStorage> {
        self.get(namespace, name).await
    }

    async fn storages(&self) -> Lookup<Vec<BackupStorage>> {
        self.all(Api::all(self.client.clone())).await.map_or_else(Lookup::Unknown, Lookup::Found)
    }

    async fn repositories(&self) -> Lookup<Vec<Repository>> {
        self.all(Api::all(self.client.clone())).await.map_or_else(Lookup::Unknown, Lookup::Found)
    }

    async fn addon(&self, name: &str) -> Lookup<Addon> {
        self.implementing(name).await
    }

    async fn function(&self, name: &str) -> Lookup<Function> {
        self.implementing(name).await
    }

    async fn unfinished(&self, namespace: &str) -> Lookup<Vec<BackupVerificationSession>> {
        let sessions = self.all::<BackupVerificationSession>(Api::namespaced(self.client.clone(), namespace)).await;
        sessions.map(|all| all.into_iter().filter(|session| !is_done(session)).collect()).map_or_else(Lookup::Unknown, Lookup::Found)
    }

    async fn labels(&self, namespace: &str) -> Lookup<BTreeMap<String, String>> {
        if !names::is_object_name(namespace) {
            return Lookup::Missing;
        }
        match self.asked(Api::<Namespace>::all(self.client.clone()).get_opt(namespace)).await {
            Ok(Some(namespace)) => Lookup::Found(namespace.labels().clone()),
            Ok(None) => Lookup::Missing,
            Err(why) => Lookup::Unknown(why),
        }
    }

    async fn workload(&self, kind: &str, namespace: &str, name: &str) -> Lookup<SourceClaims> {
        let claims = |template: Option<&PodTemplateSpec>, templates: Vec<String>| SourceClaims {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            claims: mounted(template),
            templates,
        };
        match kind {
            "StatefulSet" => self.namespaced::<StatefulSet>(namespace, name).await.map(|found| {
                let spec = found.spec.unwrap_or_default();
                let templates = spec.volume_claim_templates.iter().flatten().filter_map(|claim| claim.metadata.name.clone()).collect();
                claims(Some(&spec.template), templates)
            }),
            "Deployment" => self
                .namespaced::<Deployment>(namespace, name)
                .await
                .map(|found| claims(found.spec.as_ref().map(|spec| &spec.template), Vec::new())),
            "DaemonSet" => self
                .namespaced::<DaemonSet>(namespace, name)
                .await
                .map(|found| claims(found.spec.as_ref().map(|spec| &spec.template), Vec::new())),
            _ => Lookup::Missing,
        }
    }

    async fn permitted(&self, user: &UserInfo, access: &Access) -> Lookup<bool> {
        let answer = self.reviews.permitted(&self.client, user, access);
        match self.asked(answer).await {
            Ok(permitted) => Lookup::Found(permitted),
            Err(why) => Lookup::Unknown(why),
        }
    }
}

/// Whether an object can be there at all. One that cannot is not asked for: its name would be part of the question's path, and
/// mean something else there, or be no path at all and look like an API server that does not answer.
fn can_be(namespace: &str, name: &str) -> bool {
    names::is_object_name(namespace) && names::is_object_name(name)
}

/// The claims that pods of a template mount.
fn mounted(template: Option<&PodTemplateSpec>) -> Vec<String> {
    let volumes = template.and_then(|template| template.spec.as_ref()).and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}
