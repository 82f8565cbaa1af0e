//! Reads what a target must not be: the claims that hold what is backed up, and those that repositories lie on.
//!
//! Who backs up what in the target's namespace, and which storages lie there, is always asked of the API server: a session is
//! pinned to what it finds, so nothing that keeps it from a target is older than its pinning. What a claim is bound to may come
//! from the caches, as that never changes while the claim lives. Should another one have taken its name meanwhile, the executor
//! refuses the target, as no marker there has the pinned claim's UID.

use std::collections::BTreeSet;

use backproof_api::{
    BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, Guarded, Repository, shared::TypedObjectReference,
};
use futures::future::{try_join, try_join3};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, PodSpec},
};
use kube::{Api, Resource, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};

use super::{
    driver::Driver,
    named::{self, is_claim},
    observed::{Claim, References, Target},
    resolve,
};
use crate::{
    Error,
    database::{self, Server},
    events::path,
    pods::claims,
    shared::Reading,
};

impl Driver {
    /// A claim with the volume behind it; one that does not exist keeps its name, as that is enough to be compared.
    pub(super) async fn claim(&self, namespace: &str, name: &str, role: &str, reading: Reading) -> Result<Option<Claim>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        let mut claim = Claim { namespace: namespace.to_owned(), name: name.to_owned(), role: role.to_owned(), ..Claim::default() };
        let cached = self.shared.claims.store().get(&ObjectRef::new(name).within(namespace));
        let object = match cached.filter(|cached| reading == Reading::Cached && is_settled(cached)) {
            Some(cached) => (*cached).clone(),
            None => match self.get::<PersistentVolumeClaim>(self.namespaced(namespace), name).await? {
                Some(object) => object,
                None => return Ok(Some(claim)),
            },
        };
        claim.uid = object.uid().unwrap_or_default();
        if let Some(volume) = self.volume_of(&object, reading).await? {
            claim.volume_uid = volume.uid().unwrap_or_default();
            claim.place = crate::place::of_volume(&volume);
        }
        Ok(Some(claim))
    }

    /// The volume behind a claim: the cached one only if it says that it is bound to this very claim.
    async fn volume_of(&self, claim: &PersistentVolumeClaim, reading: Reading) -> Result<Option<PersistentVolume>, Error> {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        let cached = self.shared.volumes.store().get(&ObjectRef::new(&name));
        match cached.filter(|cached| reading == Reading::Cached && is_bound_to(cached, claim)) {
            Some(cached) => Ok(Some((*cached).clone())),
            None => self.get::<PersistentVolume>(Api::all(self.context.client.clone()), &name).await,
        }
    }

    /// Claims that hold what was backed up, or the repository; and which of what is backed up the target's server may be.
    pub(super) async fn sources(
        &self,
        session: &BackupVerificationSession,
        found: &References,
    ) -> Result<(Vec<Claim>, Vec<String>), Error> {
        let (mut sources, reading) = (Vec::new(), found.reading);
        let own = session.namespace().unwrap_or_default();
        let own = own.as_str();
        let entry = found.invoker.as_ref().and_then(|invoker| resolve::entry(session, invoker.as_invoker()).ok());
        let mut named: Vec<(TypedObjectReference, String)> = Vec::new();
        named.extend(entry.and_then(|entry| entry.source.cloned()).map(|source| (source, "what the invoker backs up".to_owned())));
        if let Some(repository) = &found.repository {
            named.extend(
                repository.spec.app_ref.clone().map(|source| (source, format!("what Repository {own}/{} holds", repository.name_any()))),
            );
        }
        if let Ok(snapshot) = named::snapshot(session, own, found) {
            named
                .extend(snapshot.spec.app_ref.clone().map(|source| (source, format!("what Snapshot {own}/{} holds", snapshot.name_any()))));
        }
        let target = found.target.as_ref().map_or(own, Target::namespace);
        let (backed_up, others) = try_join(self.backed_up_in(target), self.all::<BackupStorage>(target)).await?;
        named.extend(backed_up.into_iter().map(|(mut reference, role)| {
            reference.namespace = reference.namespace_or(target).to_owned();
            (reference, role)
        }));
        if let Some(Target::Database(server)) = &found.target {
            // Its pods may run elsewhere, and what they hold is backed up there.
            let elsewhere = server.service.iter().map(|(namespace, _)| namespace).chain(server.pods.iter().map(|(namespace, _)| namespace));
            for namespace in elsewhere.filter(|namespace| *namespace != target).collect::<BTreeSet<_>>() {
                named.extend(self.backed_up_in(namespace).await?.into_iter().map(|(mut reference, role)| {
                    reference.namespace = reference.namespace_or(namespace).to_owned();
                    (reference, role)
                }));
            }
        }
        let mut seen = std::collections::HashSet::new();
        named
            .retain(|(reference, _)| seen.insert((reference.namespace_or(own).to_owned(), reference.kind.clone(), reference.name.clone())));
        if let Some(Target::Database(server)) = &found.target {
            return Ok((sources, self.served_for(server, &named, own).await?));
        }
        for (reference, role) in named {
            let namespace = reference.namespace_or(own).to_owned();
            for name in self.claims_of(&reference, &namespace).await? {
                sources.extend(self.claim(&namespace, &name, &role, reading).await?);
            }
        }
        // The session's own may stand in that list too, and is read once.
        let own_storage = match &found.storage {
            Some(own) if others.iter().any(|other| other.uid() == own.uid()) => None,
            Some(elsewhere) => {
                let api = self.namespaced(elsewhere.metadata.namespace.as_deref().unwrap_or_default());
                self.get::<BackupStorage>(api, &elsewhere.name_any()).await?.or_else(|| Some(elsewhere.clone()))
            }
            None => None,
        };
        for (namespace, name, role) in own_storage.iter().chain(&others).filter_map(volume_of) {
            sources.extend(self.claim(&namespace, &name, &role, reading).await?);
        }
        for storage in own_storage.iter().chain(&others) {
            let local = storage.spec.storage.as_ref().and_then(|storage| storage.local.as_ref());
            if let Some(local) = local.filter(|local| local.source.persistent_volume_claim.is_none()) {
                // A repository on a directory or an export that is named directly, without a claim.
                let role = format!("the place of BackupStorage {}, which holds the repository", path(storage));
                sources.push(Claim { place: crate::place::of_source(&local.source), role, ..Claim::default() });
            }
        }
        Ok((sources, Vec::new()))
    }

    /// What of all that is backed up a database server may be, in words: restoring into any of its databases is refused.
    async fn served_for(&self, target: &Server, named: &[(TypedObjectReference, String)], own: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mounted = self.claims_mounted_by(&target.pods).await?;
        for (reference, role) in named {
            let namespace = reference.namespace_or(own);
            let source = database::read(&self.context.client, reference, namespace, role).await?;
            let mounts =
                is_claim(&reference.api_group, &reference.kind) && mounted.contains(&(namespace.to_owned(), reference.name.clone()));
            let same = source.is_some_and(|source| database::same_server(target, &source));
            if mounts || same || database::served_by(target, reference, namespace) {
                found.push(role.clone());
            }
        }
        Ok(found)
    }

    /// The claims that these pods mount, as namespace and name.
    async fn claims_mounted_by(&self, pods: &[(String, String)]) -> Result<BTreeSet<(String, String)>, Error> {
        let mut found = BTreeSet::new();
        for namespace in pods.iter().map(|(namespace, _)| namespace).collect::<BTreeSet<_>>() {
            let own = |pod: &Pod| pods.iter().any(|(place, name)| place == namespace && pod.metadata.name.as_ref() == Some(name));
            for pod in self.all::<Pod>(namespace).await?.into_iter().filter(own) {
                let names = pod.spec.as_ref().map(claims).unwrap_or_default();
                found.extend(names.into_iter().map(|name| (namespace.clone(), name)));
            }
        }
        Ok(found)
    }

    /// What others back up in the namespace of the target: restoring over it would destroy it just the same.
    async fn backed_up_in(&self, namespace: &str) -> Result<Vec<(TypedObjectReference, String)>, Error> {
        let (configurations, batches, repositories) = try_join3(self.all(namespace), self.all(namespace), self.all(namespace)).await?;
        Ok(backed_up(&configurations, &batches, &repositories))
    }

    /// Every object of a kind in a namespace that parses.
    async fn all<K>(&self, namespace: &str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<Guarded<K>> = self.namespaced(namespace);
        let listed = api.list(&ListParams::default()).await.map_err(Error::api(format!("list {}s in {namespace}", K::kind(&()))))?;
        Ok(listed.items.into_iter().filter_map(|guarded| guarded.0.ok()).collect())
    }

    /// Names of the claims behind what was backed up: the claim itself, or those of a workload.
    async fn claims_of(&self, source: &TypedObjectReference, namespace: &str) -> Result<Vec<String>, Error> {
        if is_claim(&source.api_group, &source.kind) {
            return Ok(vec![source.name.clone()]);
        }
        let mounted = |pod: Option<PodSpec>| pod.map(|pod| claims(&pod)).unwrap_or_default();
        Ok(match (source.api_group.as_str(), source.kind.as_str()) {
            ("apps", "Deployment") => {
                let object = self.get::<Deployment>(self.namespaced(namespace), &source.name).await?;
                mounted(object.and_then(|object| object.spec).and_then(|spec| spec.template.spec))
            }
            ("apps", "DaemonSet") => {
                let object = self.get::<DaemonSet>(self.namespaced(namespace), &source.name).await?;
                mounted(object.and_then(|object| object.spec).and_then(|spec| spec.template.spec))
            }
            ("apps", "StatefulSet") => {
                let Some(spec) = self.get::<StatefulSet>(self.namespaced(namespace), &source.name).await?.and_then(|object| object.spec)
                else {
                    return Ok(Vec::new());
                };
                let templates: Vec<_> = spec
                    .volume_claim_templates
                    .iter()
                    .flatten()
                    .map(|template| format!("{}-{}-", template.name_any(), source.name))
                    .collect();
                let mut names = mounted(spec.template.spec);
                names.extend(self.claims_with_prefixes(namespace, &templates).await?);
                names
            }
            _ => Vec::new(),
        })
    }

    /// Claims that a StatefulSet made: a prefix and an ordinal.
    async fn claims_with_prefixes(&self, namespace: &str, prefixes: &[String]) -> Result<Vec<String>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), namespace);
        let listed = api
            .list_metadata(&ListParams::default())
            .await
            .map_err(Error::api(format!("list PersistentVolumeClaims in namespace {namespace}")))?;
        let ordinal = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let names = listed.items.iter().map(ResourceExt::name_any);
        Ok(names.filter(|name| prefixes.iter().any(|prefix| name.strip_prefix(prefix.as_str()).is_some_and(ordinal))).collect())
    }

    fn namespaced<K>(&self, namespace: &str) -> Api<Guarded<K>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), namespace)
    }
}

/// Whether what a cached claim is bound to can be relied on: it never changes then.
fn is_settled(claim: &PersistentVolumeClaim) -> bool {
    let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).is_some_and(|name| !name.is_empty());
    bound && claim.metadata.deletion_timestamp.is_none()
}

/// Whether a volume says that it is bound to this claim, which whoever binds it writes last.
fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()).and_then(|reference| reference.uid.as_ref());
    uid.is_some() && uid == claim.metadata.uid.as_ref() && volume.metadata.deletion_timestamp.is_none()
}

/// What these objects say is backed up, each with the words for it.
fn backed_up(
    configurations: &[BackupConfiguration],
    batches: &[BackupBatch],
    repositories: &[Repository],
) -> Vec<(TypedObjectReference, String)> {
    let by_configurations = configurations
        .iter()
        .filter_map(|object| Some((object.spec.target.clone()?, format!("what BackupConfiguration {} backs up", path(object)))));
    let by_batches = batches.iter().flat_map(|object| {
        let role = format!("what BackupBatch {} backs up", path(object));
        object.spec.targets.iter().filter_map(|target| target.app_ref.clone()).map(move |target| (target, role.clone()))
    });
    let by_repositories =
        repositories.iter().filter_map(|object| Some((object.spec.app_ref.clone()?, format!("what Repository {} holds", path(object)))));
    by_configurations.chain(by_batches).chain(by_repositories).collect()
}

/// Namespace and name of the claim that a storage lies on, with the words for it.
fn volume_of(storage: &BackupStorage) -> Option<(String, String, String)> {
    let claim = storage.spec.storage.as_ref()?.local.as_ref()?.source.persistent_volume_claim.as_ref()?;
    let role = format!("the volume of BackupStorage {}, which holds the repository", path(storage));
    Some((storage.metadata.namespace.clone().unwrap_or_default(), claim.claim_name.clone(), role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<K: serde::de::DeserializeOwned>(name: &str, spec: &str) -> K {
        serde_saphyr::from_str(&format!("{{metadata: {{name: {name}, namespace: scratch}}, spec: {spec}}}")).unwrap()
    }

    /// Whoever backs a claim up in the target's namespace, or keeps a repository on one, is heard.
    #[test]
    fn everything_backed_up_beside_the_target_counts_as_a_source() {
        let claim = |name: &str| format!("{{apiGroup: '', kind: PersistentVolumeClaim, name: {name}}}");
        let named = backed_up(
            &[read("c", &format!("{{target: {}}}", claim("a"))), read("without", "{}")],
            &[read("b", &format!("{{targets: [{{appRef: {}}}, {{appRef: {}}}, {{}}]}}", claim("b1"), claim("b2")))],
            &[read("r", &format!("{{appRef: {}}}", claim("d"))), read("without", "{}")],
        );
        let lines: Vec<_> = named.iter().map(|(reference, role)| format!("{}: {role}", reference.name)).collect();
        assert_eq!(
            lines,
            [
                "a: what BackupConfiguration scratch/c backs up",
                "b1: what BackupBatch scratch/b backs up",
                "b2: what BackupBatch scratch/b backs up",
                "d: what Repository scratch/r holds",
            ]
        );
        let storage = |inner: &str| volume_of(&read::<BackupStorage>("s", &format!("{{storage: {inner}}}")));
        assert_eq!(
            storage("{provider: local, local: {mountPath: /m, persistentVolumeClaim: {claimName: v}}}"),
            Some(("scratch".to_owned(), "v".to_owned(), "the volume of BackupStorage scratch/s, which holds the repository".to_owned()))
        );
        assert_eq!(storage("{provider: s3, s3: {bucket: b}}"), None);
    }
}
