//! Caches of what the reconcilers read, filled by watches that no malformed object can stop.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::metrics::{Metrics, Reconciled};

/// The watches of one part of the process; dropping it ends them.
pub(crate) struct Caches {
    client: Client,
    metrics: Metrics,
    watches: JoinSet<()>,
}

impl Caches {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics, watches: JoinSet::new() }
    }

    /// A cache of the objects of one kind in all namespaces; `changed` is called after the cache knows of a change.
    pub(crate) fn watch<K>(&mut self, selection: watcher::Config, changed: impl Fn(&K) + Send + 'static) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        self.watches.spawn(fill(Api::all(self.client.clone()), selection, writer, self.metrics.clone(), changed));
        store
    }

    /// Completes when a watch has ended, which none should.
    pub(crate) async fn ended(&mut self) {
        if self.watches.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

async fn fill<K>(api: Api<DeserializeGuard<K>>, selection: watcher::Config, mut writer: Writer<K>, metrics: Metrics, changed: impl Fn(&K))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = std::pin::pin!(watcher(api, selection).default_backoff());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // The watch goes on by itself, with growing pauses.
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = crate::error::chain(&error), "watch interrupted");
                continue;
            }
        };
        let Some(event) = readable(event, &metrics) else { continue };
        // A list that starts over is one change of the cache, at its end; what vanished meanwhile is part of it.
        let before = if matches!(event, watcher::Event::InitDone) { writer.as_reader().state() } else { Vec::new() };
        writer.apply_watcher_event(&event);
        match &event {
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => changed(object),
            watcher::Event::InitDone => before.iter().chain(&writer.as_reader().state()).for_each(|object| changed(object)),
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

/// The event without what nobody reads; `None` for an object that cannot be read, which is counted.
fn readable<K>(event: watcher::Event<DeserializeGuard<K>>, metrics: &Metrics) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    let open = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(invalid) => {
            let kind = kind_of::<K>();
            metrics.malformed.get_or_create(&Reconciled { kind, outcome: "malformed" }).inc();
            tracing::warn!(kind, namespace = ?invalid.metadata.namespace, name = ?invalid.metadata.name, error = %invalid.error, "object cannot be read, left alone");
            None
        }
    };
    Some(match event {
        watcher::Event::Apply(guard) => watcher::Event::Apply(open(guard)?),
        watcher::Event::Delete(guard) => watcher::Event::Delete(open(guard)?),
        watcher::Event::InitApply(guard) => watcher::Event::InitApply(open(guard)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

/// The kind as a metric's label.
fn kind_of<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use backproof_api::Repository;

    use super::*;

    #[test]
    fn a_malformed_object_is_left_out_and_counted() {
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let read = |text: &str| {
            let guard: DeserializeGuard<Repository> = serde_saphyr::from_str(text).unwrap();
            readable(watcher::Event::Apply(guard), &metrics).is_some()
        };
        let head = "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: r}\n";
        assert!(read(&format!("{head}spec: {{path: x}}")));
        assert!(!read(&format!("{head}spec: {{path: [1]}}")));
        let counted = metrics.malformed.get_or_create(&Reconciled { kind: "Repository", outcome: "malformed" }).get();
        assert_eq!(counted, 1);
    }
}
