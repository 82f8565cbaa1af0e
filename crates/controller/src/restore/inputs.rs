//! Reads what a restore refers to before its Jobs are made: from the watched caches, or all of it live.
//!
//! The caches may lag. What a run is pinned to is compared by UID and generation, so a wrong version is noticed, and then everything is
//! read once more live before it ends the restore. That the target is none of the sources was found out live when the session was
//! pinned (`session/sources.rs`); here it is looked at a second time.

use std::collections::BTreeMap;

use backproof_api::{BackupStorage, Repository, RestoreSession, Snapshot, names, shared::TypedObjectReference};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{PersistentVolumeClaim, PodSpec},
};
use kube::{Resource, ResourceExt, core::ClusterResourceScope};
use serde::de::DeserializeOwned;

use super::{
    Owner,
    observe::{Sources, get},
    plan::{Inputs, addon_info},
    resolve::{resolve, restore_task},
    target,
};
use crate::{
    Error,
    pods::claims,
    shared::{Feed, Reading, namespace_labels},
};

impl Sources {
    pub(super) async fn inputs(&self, restore: &RestoreSession, owner: &Owner, reading: Reading) -> Result<Inputs, Error> {
        let (client, shared) = (&self.client, &self.shared);
        let run = &owner.run;
        let own = restore.namespace().unwrap_or_default();
        let or_own = |namespace: &str| if namespace.is_empty() { own.clone() } else { namespace.to_owned() };
        let data = restore.spec.data_source.as_ref().map(|data| or_own(&data.namespace)).unwrap_or_else(|| own.clone());
        let verifier_namespace = or_own(&run.verifier.object.namespace);
        let (verifier, snapshot, repository, claim) = futures::try_join!(
            shared.verifiers.get(client, &verifier_namespace, &run.verifier.object.name, reading),
            self.snapshot(owner, &data, reading),
            shared.repositories.get(client, &data, &run.repository.name, reading),
            self.claim(owner, reading),
        )?;
        let (storage, namespace_labels) = self.storage(repository.as_ref(), &own, reading).await?;
        let source = match snapshot.as_ref().and_then(|snapshot| snapshot.spec.app_ref.as_ref()) {
            Some(reference) => self.source(reference, &data).await?,
            None => target::Source::default(),
        };
        let addon_name = addon_info(restore).map(|(info, _)| info.name.clone()).unwrap_or_default();
        let addons = self.candidates(&shared.addons, &addon_name, reading).await?;
        let function = resolve("Addon", &addon_name, backproof_api::Cause::AddonNotFound, &addons)
            .and_then(|addon| restore_task(addon, &run.verifier.task))
            .map(|task| task.function.clone())
            .unwrap_or_default();
        let functions = self.candidates(&shared.functions, &function, reading).await?;
        let asks = run.verifier.query.as_ref().and(verifier.as_ref()).map(|verifier| verifier.spec.function.as_str()).unwrap_or_default();
        let verify_functions = self.candidates(&shared.functions, asks, reading).await?;
        let server = match &run.verifier.target.database {
            None => None,
            Some(_) => {
                let reference = target::reference(&run.verifier.target);
                crate::database::read(client, &reference, &reference.namespace, "the target").await?.filter(|server| !server.unknown)
            }
        };
        Ok(Inputs { verifier, snapshot, repository, storage, namespace_labels, addons, functions, verify_functions, claim, server, source })
    }

    /// The claim that is restored into, unless the target is a database.
    async fn claim(&self, owner: &Owner, reading: Reading) -> Result<Option<PersistentVolumeClaim>, Error> {
        let target = &owner.run.verifier.target;
        if target.database.is_some() {
            return Ok(None);
        }
        self.shared.claims.get(&self.client, &target.object.namespace, &target.object.name, reading).await
    }

    async fn storage(
        &self,
        repository: Option<&Repository>,
        own: &str,
        reading: Reading,
    ) -> Result<(Option<BackupStorage>, BTreeMap<String, String>), Error> {
        let Some(reference) = repository.and_then(|repository| repository.spec.storage_ref.as_ref()) else {
            return Ok((None, BTreeMap::new()));
        };
        let namespace = reference.namespace_or(own);
        let storage = self.shared.storages.get(&self.client, namespace, &reference.name, reading).await?;
        if namespace == own {
            return Ok((storage, BTreeMap::new()));
        }
        Ok((storage, namespace_labels(&self.client, own).await?))
    }

    /// The Snapshot of the run: as it was when the run was pinned, if that is known.
    async fn snapshot(&self, owner: &Owner, namespace: &str, reading: Reading) -> Result<Option<Snapshot>, Error> {
        let pinned = &owner.run.snapshot;
        let kept = self.shared.pinned_snapshot(&owner.session.uid().unwrap_or_default());
        match kept.filter(|kept| reading == Reading::Cached && kept.uid().as_ref() == Some(&pinned.uid)) {
            Some(kept) => Ok(Some((*kept).clone())),
            None => get::<Snapshot>(&self.client, namespace, &pinned.name).await,
        }
    }

    /// The objects a name may mean: those labelled for it, or else the one of that name.
    async fn candidates<K>(&self, feed: &Feed<K>, name: &str, reading: Reading) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let labelled = feed.implementing(&self.client, &names::label_value(name), reading).await?;
        if !labelled.is_empty() {
            return Ok(labelled);
        }
        Ok(feed.get_cluster(&self.client, name, reading).await?.into_iter().collect())
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
}
