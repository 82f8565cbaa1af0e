//! Reads what a session names, in the order in which it is resolved, up to the first that is missing.
//!
//! It comes from the watched caches where it is there. They may lag, so what they say never ends a session: before that,
//! everything is read once more live ([`Reading::Live`], [`super::decision::Effect::AskAgain`]). Snapshots are always asked for.

use backproof_api::{BackupVerificationSession, Guarded, Snapshot, VerificationType, shared::Wire, validate::wants_newest};
use kube::{Api, Resource, ResourceExt, api::ListParams};

use super::{
    discovery::{self, Discovery},
    driver::Driver,
    named::is_claim,
    observed::{OwnedInvoker, References, Target},
    resolve,
};
use crate::{
    Error, database,
    shared::{Feed, Reading, namespace_labels},
};

/// Snapshots read in one request.
const PAGE: u32 = 500;

impl Driver {
    /// Everything a session names; not yet what its target must not be ([`Driver::sources`]).
    pub(super) async fn references(&self, session: &BackupVerificationSession, reading: Reading) -> Result<References, Error> {
        let (shared, client) = (&self.shared, &self.context.client);
        let mut found = References { invoker: self.invoker(session, reading).await?, reading, ..References::default() };
        let own = session.namespace().unwrap_or_default();
        let Some(invoker) = &found.invoker else { return Ok(found) };
        let Ok(entry) = resolve::entry(session, invoker.as_invoker()) else { return Ok(found) };
        let Some(verifier) = entry.verifier() else { return Ok(found) };
        found.verifier = shared.verifiers.get(client, verifier.namespace_or(&own), &verifier.name, reading).await?;
        let Some(verifier) = found.verifier.clone() else { return Ok(found) };
        found.repository = shared.repositories.get(client, &own, &session.spec.repository, reading).await?;
        let Some(repository) = found.repository.clone() else { return Ok(found) };
        found.discovery = discovery::state(session, &repository);
        if found.discovery != Discovery::Known {
            return Ok(found);
        }
        found.snapshots = self.snapshots(session).await?;
        let storage = repository.spec.storage_ref.clone().unwrap_or_default();
        found.storage = shared.storages.get(client, storage.namespace_or(&own), &storage.name, reading).await?;
        if found.storage.is_some() && storage.namespace_or(&own) != own {
            found.namespace_labels = namespace_labels(client, &own).await?;
        }
        let restore = verifier.spec.restore_option.clone().unwrap_or_default();
        let info = restore.addon_info.unwrap_or_default();
        found.addon = self.catalogued(&shared.addons, &info.name, reading).await?;
        let task = info.tasks.first().map(|task| task.name.clone()).unwrap_or_default();
        let function = found.addon.iter().flat_map(|addon| &addon.spec.restore_tasks).find(|candidate| candidate.name == task);
        found.function = match function.map(|task| task.function.clone()) {
            Some(name) => self.catalogued(&shared.functions, &name, reading).await?,
            None => None,
        };
        if verifier.spec.kind.as_ref().and_then(Wire::known) == Some(VerificationType::Query) {
            found.verify_function = self.catalogued(&shared.functions, &verifier.spec.function, reading).await?;
        }
        let target = restore.target.unwrap_or_default();
        let namespace = target.namespace_or(verifier.metadata.namespace.as_deref().unwrap_or_default()).to_owned();
        found.target = if is_claim(&target.api_group, &target.kind) {
            let claim = self.claim(&namespace, &target.name, "the target", reading).await?;
            claim.filter(|claim| !claim.uid.is_empty()).map(Target::Claim)
        } else {
            let server = database::read(client, &target, &namespace, "the target").await?.filter(|server| !server.unknown);
            server.map(|server| Target::Database(Box::new(server)))
        };
        Ok(found)
    }

    /// The session's invoker.
    pub(super) async fn invoker(&self, session: &BackupVerificationSession, reading: Reading) -> Result<Option<OwnedInvoker>, Error> {
        let reference = session.spec.invoker.clone().unwrap_or_default();
        let (client, namespace) = (&self.context.client, session.namespace().unwrap_or_default());
        Ok(match reference.kind.as_str() {
            "BackupConfiguration" => {
                let object = self.shared.configurations.get(client, &namespace, &reference.name, reading).await?;
                object.map(|object| OwnedInvoker::Configuration(Box::new(object)))
            }
            "BackupBatch" => {
                let object = self.shared.batches.get(client, &namespace, &reference.name, reading).await?;
                object.map(|object| OwnedInvoker::Batch(Box::new(object)))
            }
            _ => None,
        })
    }

    async fn snapshots(&self, session: &BackupVerificationSession) -> Result<Vec<Snapshot>, Error> {
        if !wants_newest(session) {
            return Ok(self.get::<Snapshot>(self.in_namespace(session), &session.spec.snapshot).await?.into_iter().collect());
        }
        let api: Api<Guarded<Snapshot>> = self.in_namespace(session);
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
    async fn catalogued<K>(&self, feed: &Feed<K>, name: &str, reading: Reading) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        if name.is_empty() {
            return Ok(None);
        }
        let first = feed.implementing(&self.context.client, name, reading).await?.into_iter().min_by_key(ResourceExt::name_any);
        match first {
            Some(first) => Ok(Some(first)),
            None => feed.get_cluster(&self.context.client, name, reading).await,
        }
    }
}
