//! Caches of what the reconcilers read, filled by watches that no malformed object can stop.

use std::fmt::Debug;

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared},
};
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

/// Whether caches are filled: completes once they are, with `false` when a watch is gone. Any number may wait for it.
pub(crate) type Filled = Shared<BoxFuture<'static, bool>>;

/// What many reconciles wait for. A `Store` alone must be waited for by one only: it wakes the last who asked, and the others
/// would hold their workers for ever.
pub(crate) fn filled(stores: impl Future<Output = bool> + Send + 'static) -> Filled {
    stores.boxed().shared()
}

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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use backproof_api::Repository;
    use futures::stream::FuturesUnordered;
    use k8s_openapi::api::core::v1::ConfigMap;

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

    /// Each of them waits with a waker of its own, as the slots of a controller do.
    #[tokio::test]
    async fn everybody_who_waits_for_the_caches_goes_on() {
        let (store, mut writer) = reflector::store::<ConfigMap>();
        let filled = filled(async move { store.wait_until_ready().await.is_ok() });
        let gone_on = AtomicUsize::new(0);
        let waiting: FuturesUnordered<_> = (0..20)
            .map(|_| async {
                assert!(filled.clone().await);
                gone_on.fetch_add(1, Ordering::Relaxed);
            })
            .collect();
        let fill = async {
            tokio::task::yield_now().await;
            writer.apply_watcher_event(&watcher::Event::Init);
            writer.apply_watcher_event(&watcher::Event::InitDone);
        };
        let everybody = futures::future::join(waiting.collect::<()>(), fill);
        tokio::time::timeout(std::time::Duration::from_secs(60), everybody).await.unwrap();
        assert_eq!(gone_on.load(Ordering::Relaxed), 20);
    }
}
