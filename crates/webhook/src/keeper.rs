//! Keeps certificate, Secret and registration right: one loop that looks at all three and mends what differs.
//!
//! The Secret is the truth. The order is always: Secret, then the registration's caBundle, then what is served, so that the
//! API server trusts a certificate before it meets it. Two replicas need no election: the first to write the Secret wins (a
//! second creation is a field conflict, a second renewal a stale resourceVersion), and the other one reads.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use backproof_api::names;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind, PartialObjectMeta},
    discovery::ApiResource,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};

use crate::{Error, Options, certificate::Material, health::Health};

const MANAGER: &str = "backproof-webhook";
/// Wait after a failure. A conflict is settled by looking again at once.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
const AFTER_CONFLICT: Duration = Duration::from_millis(250);
/// A new CA is given this long to reach the API servers before anything it signed is served; they watch their registrations.
const SPREADING: SignedDuration = SignedDuration::from_secs(4);
/// How often the clock is looked at. Sleeping until the day itself would miss the time a machine was suspended.
const CLOCK: Duration = Duration::from_secs(30);

/// The loop and all it needs.
pub struct Keeper {
    client: Client,
    options: Options,
    health: Arc<Health>,
    last: Option<Material>,
    /// The newest CA, and since when the registration is known to trust it.
    trusted: Option<(String, Timestamp)>,
}

impl Keeper {
    /// Keeps what these options name.
    pub fn new(client: Client, options: Options, health: Arc<Health>) -> Self {
        Self { client, options, health, last: None, trusted: None }
    }

    /// Runs as long as the process does.
    pub async fn run(mut self) -> Error {
        let configurations = Api::<PartialObjectMeta<ValidatingWebhookConfiguration>>::all(self.client.clone());
        let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(self.client.clone(), &self.options.namespace);
        let mut changes = stream::select(changes(secrets, &self.options.secret), changes(configurations, &self.options.configuration));
        loop {
            let due = match self.converge().await {
                Ok(due) => due,
                Err(error @ Error::Conflict { .. }) => {
                    tracing::info!("{}; looking again", error.chain());
                    soon(AFTER_CONFLICT)
                }
                Err(error) => {
                    tracing::warn!("{}; trying again in {} s", error.chain(), AFTER_FAILURE.as_secs());
                    soon(AFTER_FAILURE)
                }
            };
            tokio::select! {
                () = until(due) => {}
                change = changes.next() => if change.is_none() {
                    return Error::Ended { task: "watch of Secret and webhook configuration", why: "no more events".to_owned() };
                },
            }
            // Several changes at once need one look.
            while changes.next().now_or_never().flatten().is_some() {}
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.options.namespace)
    }

    /// Looks at everything once and mends what differs; returns when to look again unasked.
    async fn converge(&mut self) -> Result<Timestamp, Error> {
        let (now, names) = (Timestamp::now(), self.options.names());
        let material = self.stored(&names, now).await?;
        self.health.serving.stored(&material, now);
        let registered = self.register(&material.bundle).await;
        if registered.is_ok() {
            self.health.registered.store(true, Ordering::Release);
        }
        if registered.is_ok()
            && let Some(ready) = self.spreads_until(&material, now)
        {
            return Ok(ready);
        }
        // What is not trusted yet must not replace what is; but anything is better than nothing.
        if self.last.as_ref() != Some(&material) && (registered.is_ok() || !self.health.serving.is_usable(now)) {
            self.health.serving.serve(&material)?;
            tracing::info!("serving a certificate that is renewed on {}", material.due(&names, now));
        }
        registered?;
        let due = material.due(&names, now);
        self.last = Some(material);
        Ok(due)
    }

    /// Until when what is served now has to do, because another CA has signed what comes after it.
    fn spreads_until(&mut self, material: &Material, now: Timestamp) -> Option<Timestamp> {
        let signer = material.signer();
        let since = match &self.trusted {
            Some((known, since)) if *known == signer => *since,
            Some(_) | None => {
                self.trusted = Some((signer.clone(), now));
                now
            }
        };
        let replaced = self.last.as_ref().is_some_and(|last| last.signer() != signer) && self.health.serving.is_usable(now);
        (replaced && now < since + SPREADING).then_some(since + SPREADING)
    }

    /// What the Secret holds, after writing it if it was missing, unusable or due.
    async fn stored(&self, names: &[String], now: Timestamp) -> Result<Material, Error> {
        let what = format!("read Secret {}/{}", self.options.namespace, self.options.secret);
        match self.secrets().get_opt(&self.options.secret).await.map_err(Error::api(what))? {
            None => {
                let material = Material::new(names, now, self.last.as_ref())?;
                self.write(&material, None).await?;
                tracing::info!("made Secret {}/{}", self.options.namespace, self.options.secret);
                Ok(material)
            }
            Some(secret) => {
                let material = Material::from_secret(secret.data.as_ref().unwrap_or(&Default::default()));
                let Some((renewed, why)) = material.renewed(names, now)? else { return Ok(material) };
                self.write(&renewed, secret.resource_version()).await?;
                tracing::info!("renewed Secret {}/{}: {why}", self.options.namespace, self.options.secret);
                Ok(renewed)
            }
        }
    }

    /// Server-side apply only: creation by POST cannot be granted for one name.
    async fn write(&self, material: &Material, over: Option<String>) -> Result<(), Error> {
        let Options { namespace, secret, .. } = &self.options;
        let mut metadata = json!({
            "name": secret,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "backproof", "app.kubernetes.io/component": "webhook", "app.kubernetes.io/managed-by": MANAGER},
        });
        let params = match over {
            Some(version) => {
                metadata["resourceVersion"] = Value::from(version);
                PatchParams::apply(MANAGER).force()
            }
            // A manager of its own for each attempt: two of the same name would silently overwrite each other.
            None => PatchParams::apply(&format!("{MANAGER}-{}", names::short_hash(&[&material.certificate]))),
        };
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": material.to_secret()});
        let what = format!("write Secret {namespace}/{secret}");
        self.secrets().patch(secret, &params, &Patch::Apply(object)).await.map_err(Error::api(what))?;
        Ok(())
    }

    /// Sets the caBundle of every webhook of the registration, if one differs.
    async fn register(&self, bundle: &str) -> Result<(), Error> {
        let name = &self.options.configuration;
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
        let resource = ApiResource::from_gvk_with_plural(&kind, "validatingwebhookconfigurations");
        // Untyped, so that fields newer than this program survive.
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let what = format!("read ValidatingWebhookConfiguration {name}");
        let Some(configuration) = api.get_opt(name).await.map_err(Error::api(what))? else {
            return Err(Error::NotRegistered { name: name.clone() });
        };
        let Some(webhooks) = with_bundle(&configuration.data["webhooks"], bundle)? else { return Ok(()) };
        let patch = json!({"metadata": {"resourceVersion": configuration.resource_version()}, "webhooks": webhooks});
        let what = format!("set the caBundle of ValidatingWebhookConfiguration {name}");
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(patch)).await.map_err(Error::api(what))?;
        tracing::info!("set the caBundle of ValidatingWebhookConfiguration {name}");
        Ok(())
    }
}

/// The webhooks with this caBundle, unless all of them have it.
fn with_bundle(webhooks: &Value, bundle: &str) -> Result<Option<Value>, Error> {
    let bundle = serde_json::to_value(ByteString(bundle.as_bytes().to_vec())).map_err(|error| Error::Certificate(error.to_string()))?;
    let mut changed = webhooks.clone();
    for webhook in changed.as_array_mut().into_iter().flatten() {
        if let Some(client_config) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) {
            client_config.insert("caBundle".to_owned(), bundle.clone());
        }
    }
    Ok((changed != *webhooks).then_some(changed))
}

/// An item for every change of one object.
pub(crate) fn changes<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> impl Stream<Item = ()> + Send + Unpin + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff().filter_map(async |event| match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => Some(()),
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
        Err(error) => {
            tracing::warn!(kind = %K::kind(&()), "the watch was interrupted and begins again: {error}");
            None
        }
    });
    Box::pin(events)
}

fn soon(wait: Duration) -> Timestamp {
    Timestamp::now() + SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_secs(10))
}

async fn until(due: Timestamp) {
    loop {
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_set_where_it_differs_and_nothing_else_is_touched() {
        let webhooks = json!([
            {"name": "a", "clientConfig": {"service": {"name": "s"}}, "fieldOfTomorrow": 1},
            {"name": "b", "clientConfig": {"service": {"name": "s"}, "caBundle": "b2xk"}},
        ]);
        let set = with_bundle(&webhooks, "new").unwrap();
        assert_eq!(
            set,
            Some(json!([
                {"name": "a", "clientConfig": {"service": {"name": "s"}, "caBundle": "bmV3"}, "fieldOfTomorrow": 1},
                {"name": "b", "clientConfig": {"service": {"name": "s"}, "caBundle": "bmV3"}},
            ]))
        );
        assert_eq!(with_bundle(&set.unwrap(), "new").unwrap(), None);
    }
}
