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
        reflector::{self, ObjectRef, Store, store::Writer},
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
        self.watch_trimmed(selection, |_| {}, changed)
    }

    /// The same, without what `trim` takes off each object: there may be many, and nobody reads all of them.
    pub(crate) fn watch_trimmed<K>(
        &mut self,
        selection: watcher::Config,
        trim: impl Fn(&mut K) + Send + 'static,
        changed: impl Fn(&K) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let trim = move |object: &mut K| {
            object.managed_fields_mut().clear();
            trim(object);
        };
        self.watches.spawn(fill(Api::all(self.client.clone()), selection, writer, self.metrics.clone(), trim, changed));
        store
    }

    /// Completes when a watch has ended, which none should.
    pub(crate) async fn ended(&mut self) {
        if self.watches.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

async fn fill<K>(
    api: Api<DeserializeGuard<K>>,
    selection: watcher::Config,
    mut writer: Writer<K>,
    metrics: Metrics,
    trim: impl Fn(&mut K),
    changed: impl Fn(&K),
) where
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
        let Some(event) = readable(event, &writer.as_reader(), &metrics, &trim) else { continue };
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

/// The event without what nobody reads. An object that cannot be read is counted, and is in no cache from then on: an older
/// version of it would be believed for ever. `None` when there is nothing to change.
fn readable<K>(
    event: watcher::Event<DeserializeGuard<K>>,
    store: &Store<K>,
    metrics: &Metrics,
    trim: impl Fn(&mut K),
) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let open = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            trim(&mut object);
            Ok(object)
        }
        Err(invalid) => {
            let (kind, metadata) = (kind_of::<K>(), invalid.metadata);
            metrics.malformed.get_or_create(&Reconciled { kind, outcome: "malformed" }).inc();
            tracing::warn!(kind, namespace = ?metadata.namespace, name = ?metadata.name, error = %invalid.error, "object cannot be read, left alone");
            let mut key = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
            key.namespace = metadata.namespace;
            Err(store.get(&key))
        }
    };
    let gone = |before: Option<std::sync::Arc<K>>| before.map(|before| watcher::Event::Delete((*before).clone()));
    match event {
        watcher::Event::Apply(guard) => open(guard).map_or_else(gone, |object| Some(watcher::Event::Apply(object))),
        watcher::Event::Delete(guard) => open(guard).map_or_else(gone, |object| Some(watcher::Event::Delete(object))),
        // What a list leaves out is not in the cache when it ends.
        watcher::Event::InitApply(guard) => open(guard).ok().map(watcher::Event::InitApply),
        watcher::Event::Init => Some(watcher::Event::Init),
        watcher::Event::InitDone => Some(watcher::Event::InitDone),
    }
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

    /// Whoever breaks an object takes it out of the cache: what it was before is no longer true.
    #[test]
    fn an_object_that_cannot_be_read_any_more_is_gone_and_counted() {
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (store, mut writer) = reflector::store::<Repository>();
        let head = "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: r, namespace: demo}\n";
        let (good, bad) = (format!("{head}spec: {{path: x}}"), format!("{head}spec: {{path: [1]}}"));
        let read = |text: &str| serde_saphyr::from_str::<DeserializeGuard<Repository>>(text).unwrap();
        let mut hear = |event: watcher::Event<DeserializeGuard<Repository>>| {
            if let Some(event) = readable(event, &store, &metrics, |_| {}) {
                writer.apply_watcher_event(&event);
            }
            store.state().len()
        };
        use watcher::Event;
        assert_eq!(hear(Event::Init), 0);
        assert_eq!(hear(Event::InitApply(read(&bad))), 0);
        assert_eq!(hear(Event::InitDone), 0, "it was never read");
        assert_eq!(hear(Event::Apply(read(&good))), 1);
        assert_eq!(hear(Event::Apply(read(&bad))), 0, "it was read, and cannot be any more");
        assert_eq!(hear(Event::Apply(read(&bad))), 0);
        assert_eq!(hear(Event::Apply(read(&good))), 1, "somebody mended it");
        assert_eq!(hear(Event::Delete(read(&bad))), 0);
        let counted = metrics.malformed.get_or_create(&Reconciled { kind: "Repository", outcome: "malformed" }).get();
        assert_eq!(counted, 4);
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
