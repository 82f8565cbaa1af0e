//! Reads what a session names, in the order in which it is resolved, up to the first that is missing.

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, Snapshot,
    labels, names, shared::TypedObjectReference, validate::wants_newest,
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim, PodSpec},
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::{
    discovery::{self, Discovery},
    driver::Driver,
    named::{self, is_claim},
    observed::{Claim, OwnedInvoker, References},
    resolve,
};
use crate::{Error, events::path};

/// Snapshots read in one request.
const PAGE: u32 = 500;

impl Driver {
    /// Everything a session names.
    pub(super) async fn references(&self, session: &BackupVerificationSession) -> Result<References, Error> {
        let mut found = References { invoker: self.invoker(session).await?, ..References::default() };
        let own = session.namespace().unwrap_or_default();
        let Some(invoker) = &found.invoker else { return Ok(found) };
        let Ok(entry) = resolve::entry(session, invoker.as_invoker()) else { return Ok(found) };
        let Some(verifier) = entry.verifier() else { return Ok(found) };
        found.verifier = self.get::<BackupVerifier>(self.namespaced(verifier.namespace_or(&own)), &verifier.name).await?;
        let Some(verifier) = found.verifier.clone() else { return Ok(found) };
        found.repository = self.get::<Repository>(self.in_namespace(session), &session.spec.repository).await?;
        let Some(repository) = found.repository.clone() else { return Ok(found) };
        found.discovery = discovery::state(session, &repository);
        if found.discovery != Discovery::Known {
            return Ok(found);
        }
        found.snapshots = self.snapshots(session).await?;
        let storage = repository.spec.storage_ref.clone().unwrap_or_default();
        found.storage = self.get::<BackupStorage>(self.namespaced(storage.namespace_or(&own)), &storage.name).await?;
        let restore = verifier.spec.restore_option.clone().unwrap_or_default();
        let info = restore.addon_info.unwrap_or_default();
        found.addon = self.catalogued::<Addon>(&info.name).await?;
        let task = info.tasks.first().map(|task| task.name.clone()).unwrap_or_default();
        let function = found.addon.iter().flat_map(|addon| &addon.spec.restore_tasks).find(|candidate| candidate.name == task);
        found.function = match function.map(|task| task.function.clone()) {
            Some(name) => self.catalogued::<Function>(&name).await?,
            None => None,
        };
        let target = restore.target.unwrap_or_default();
        if is_claim(&target.api_group, &target.kind) {
            let namespace = target.namespace_or(verifier.metadata.namespace.as_deref().unwrap_or_default()).to_owned();
            found.target = self.claim(&namespace, &target.name, "the target").await?.filter(|claim| !claim.uid.is_empty());
        }
        found.sources = self.sources(session, &found, &own).await?;
        Ok(found)
    }

    /// The session's invoker.
    pub(super) async fn invoker(&self, session: &BackupVerificationSession) -> Result<Option<OwnedInvoker>, Error> {
        let reference = session.spec.invoker.clone().unwrap_or_default();
        Ok(match reference.kind.as_str() {
            "BackupConfiguration" => {
                let object = self.get::<BackupConfiguration>(self.in_namespace(session), &reference.name).await?;
                object.map(|object| OwnedInvoker::Configuration(Box::new(object)))
            }
            "BackupBatch" => self
                .get::<BackupBatch>(self.in_namespace(session), &reference.name)
                .await?
                .map(|object| OwnedInvoker::Batch(Box::new(object))),
            _ => None,
        })
    }

    fn namespaced<K>(&self, namespace: &str) -> Api<DeserializeGuard<K>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    async fn snapshots(&self, session: &BackupVerificationSession) -> Result<Vec<Snapshot>, Error> {
        if !wants_newest(session) {
            return Ok(self.get::<Snapshot>(self.in_namespace(session), &session.spec.snapshot).await?.into_iter().collect());
        }
        let api: Api<DeserializeGuard<Snapshot>> = self.in_namespace(session);
        let mut parameters = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = api
                .list(&parameters)
                .await
                .map_err(Error::api(format!("list Snapshots in namespace {}", session.namespace().unwrap_or_default())))?;
            // One that cannot be read cannot be the one that is verified.
            all.extend(
                page.items
                    .into_iter()
                    .filter_map(|guarded| guarded.0.ok())
                    .filter(|snapshot| snapshot.spec.repository == session.spec.repository),
            );
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// The object that says it implements this name, or else the one of this name.
    async fn catalogued<K>(&self, name: &str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        if name.is_empty() {
            return Ok(None);
        }
        let api: Api<DeserializeGuard<K>> = Api::all(self.context.client.clone());
        if names::is_label_value(name) {
            let selector = ListParams::default().labels(&format!("{}={name}", labels::IMPLEMENTS));
            let listed = api.list(&selector).await.map_err(Error::api(format!("list {}s that implement {name}", K::kind(&()))))?;
            let first = listed.items.into_iter().filter_map(|guarded| guarded.0.ok()).min_by_key(ResourceExt::name_any);
            if first.is_some() {
                return Ok(first);
            }
        }
        self.get::<K>(api, name).await
    }

    /// A claim with the volume behind it; one that does not exist keeps its name, as that is enough to be compared.
    async fn claim(&self, namespace: &str, name: &str, role: &str) -> Result<Option<Claim>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        let mut claim = Claim { namespace: namespace.to_owned(), name: name.to_owned(), role: role.to_owned(), ..Claim::default() };
        let Some(object) = self.get::<PersistentVolumeClaim>(self.namespaced(namespace), name).await? else { return Ok(Some(claim)) };
        claim.uid = object.uid().unwrap_or_default();
        let volume = object.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
        if let Some(volume) = self.get::<PersistentVolume>(Api::all(self.context.client.clone()), &volume).await? {
            claim.volume_uid = volume.uid().unwrap_or_default();
            claim.place = crate::place::of_volume(&volume);
        }
        Ok(Some(claim))
    }

    /// Claims that hold what was backed up, or the repository.
    async fn sources(&self, session: &BackupVerificationSession, found: &References, own: &str) -> Result<Vec<Claim>, Error> {
        let mut sources = Vec::new();
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
        let target = found.target.as_ref().map_or(own, |target| target.namespace.as_str());
        named.extend(self.backed_up_in(target).await?.into_iter().map(|(mut reference, role)| {
            reference.namespace = reference.namespace_or(target).to_owned();
            (reference, role)
        }));
        let mut seen = std::collections::HashSet::new();
        named
            .retain(|(reference, _)| seen.insert((reference.namespace_or(own).to_owned(), reference.kind.clone(), reference.name.clone())));
        for (reference, role) in named {
            let namespace = reference.namespace_or(own).to_owned();
            for name in self.claims_of(&reference, &namespace).await? {
                sources.extend(self.claim(&namespace, &name, &role).await?);
            }
        }
        let mut others = self.all::<BackupStorage>(target).await?;
        // The session's own may stand in that list too; its claim is read once.
        others.retain(|other| found.storage.as_ref().is_none_or(|own| own.uid() != other.uid()));
        for (namespace, name, role) in found.storage.iter().chain(&others).filter_map(volume_of) {
            sources.extend(self.claim(&namespace, &name, &role).await?);
        }
        for storage in found.storage.iter().chain(&others) {
            let local = storage.spec.storage.as_ref().and_then(|storage| storage.local.as_ref());
            if let Some(local) = local.filter(|local| local.source.persistent_volume_claim.is_none()) {
                // A repository on a directory or an export that is named directly, without a claim.
                let role = format!("the place of BackupStorage {}, which holds the repository", path(storage));
                sources.push(Claim { place: crate::place::of_source(&local.source), role, ..Claim::default() });
            }
        }
        Ok(sources)
    }

    /// What others back up in the namespace of the target: restoring over it would destroy it just the same.
    async fn backed_up_in(&self, namespace: &str) -> Result<Vec<(TypedObjectReference, String)>, Error> {
        Ok(backed_up(
            &self.all::<BackupConfiguration>(namespace).await?,
            &self.all::<BackupBatch>(namespace).await?,
            &self.all::<Repository>(namespace).await?,
        ))
    }

    /// Every object of a kind in a namespace that parses.
    async fn all<K>(&self, namespace: &str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<DeserializeGuard<K>> = self.namespaced(namespace);
        let listed = api.list(&ListParams::default()).await.map_err(Error::api(format!("list {}s in {namespace}", K::kind(&()))))?;
        Ok(listed.items.into_iter().filter_map(|guarded| guarded.0.ok()).collect())
    }

    /// Names of the claims behind what was backed up: the claim itself, or those of a workload.
    async fn claims_of(&self, source: &TypedObjectReference, namespace: &str) -> Result<Vec<String>, Error> {
        if is_claim(&source.api_group, &source.kind) {
            return Ok(vec![source.name.clone()]);
        }
        let mounted = |pod: Option<PodSpec>| pod.map(|pod| mounted(&pod)).unwrap_or_default();
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

fn mounted(pod: &PodSpec) -> Vec<String> {
    pod.volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .map(|claim| claim.claim_name.clone())
        .collect()
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
