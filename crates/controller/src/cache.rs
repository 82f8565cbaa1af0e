//! Caches of what the reconcilers read, filled by watches that no malformed object can stop.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use backproof_api::Guarded;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
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

/// Finds the objects of a cache that share a word, where looking at all of them would take too long. It says where to look; the cache
/// says what is true.
pub(crate) struct Index<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    word: fn(&K) -> Option<String>,
    entries: Mutex<Entries>,
}

/// Namespace and name of an object.
type Key = (String, String);

#[derive(Default)]
struct Entries {
    by_word: HashMap<Arc<str>, BTreeSet<Key>>,
    words: HashMap<Key, Arc<str>>,
}

impl Entries {
    fn remove(&mut self, key: &Key) {
        let Some(word) = self.words.remove(key) else { return };
        if let Some(keys) = self.by_word.get_mut(&word) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_word.remove(&word);
            }
        }
    }

    fn insert(&mut self, key: Key, word: String) {
        if self.words.get(&key).is_some_and(|known| **known == *word) {
            return;
        }
        self.remove(&key);
        let word: Arc<str> = word.into();
        self.by_word.entry(word.clone()).or_default().insert(key.clone());
        self.words.insert(key, word);
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Index<K> {
    /// Over what the cache holds now; [`Self::note`] tells of what changes from then on.
    pub(crate) fn new(store: Store<K>, word: fn(&K) -> Option<String>) -> Self {
        let index = Self { store, word, entries: Mutex::default() };
        index.store.state().iter().for_each(|object| index.note(object));
        index
    }

    /// After the cache has heard of this object.
    pub(crate) fn note(&self, object: &K) {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        let word = self.get(&key).and_then(|current| (self.word)(&current));
        match word {
            Some(word) => self.entries().insert(key, word),
            None => self.entries().remove(&key),
        }
    }

    /// The objects of this word, by namespace and name.
    pub(crate) fn of(&self, word: &str) -> Vec<Arc<K>> {
        let keys: Vec<Key> = self.entries().by_word.get(word).into_iter().flatten().cloned().collect();
        let objects = keys.iter().filter_map(|key| self.get(key));
        objects.filter(|object| (self.word)(object).as_deref() == Some(word)).collect()
    }

    fn get(&self, (namespace, name): &Key) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        // Each change is whole, so a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which objects a watch has changed, told after its cache knows. Those of a list come at its end, with those that have vanished
/// meanwhile: until then the cache is as it was, and whoever looked at them would see nothing, or what is no more.
pub(crate) struct Changes<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    before: Vec<Arc<K>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Changes<K> {
    pub(crate) fn of(store: Store<K>) -> Self {
        Self { store, before: Vec::new() }
    }

    /// After the cache has heard of this event.
    pub(crate) fn after(&mut self, event: watcher::Event<K>) -> Vec<Arc<K>> {
        match event {
            watcher::Event::Init => self.before = self.store.state(),
            watcher::Event::InitApply(_) => {}
            watcher::Event::InitDone => {
                let mut all = std::mem::take(&mut self.before);
                all.extend(self.store.state());
                return all;
            }
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => return vec![Arc::new(object)],
        }
        Vec::new()
    }
}

async fn fill<K>(
    api: Api<Guarded<K>>,
    selection: watcher::Config,
    mut writer: Writer<K>,
    metrics: Metrics,
    trim: impl Fn(&mut K),
    changed: impl Fn(&K),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = std::pin::pin!(watcher(api, selection).default_backoff());
    let mut changes = Changes::of(writer.as_reader());
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
        writer.apply_watcher_event(&event);
        changes.after(event).iter().for_each(|object| changed(object));
    }
}

/// The event without what nobody reads. An object that cannot be read is counted, and is in no cache from then on: an older
/// version of it would be believed for ever. `None` when there is nothing to change.
fn readable<K>(event: watcher::Event<Guarded<K>>, store: &Store<K>, metrics: &Metrics, trim: impl Fn(&mut K)) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let open = |guard: Guarded<K>| match guard.0 {
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
        let read = |text: &str| serde_json::from_value::<Guarded<Repository>>(serde_saphyr::from_str(text).unwrap()).unwrap();
        let mut hear = |event: watcher::Event<Guarded<Repository>>| {
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

    /// What it finds is true even where it has not heard of a change.
    #[test]
    fn an_index_finds_what_the_cache_has_and_nothing_else() {
        let (store, mut writer) = reflector::store::<ConfigMap>();
        let map = |name: &str, word: &str| -> ConfigMap {
            let value = serde_json::json!({"metadata": {"name": name, "namespace": "demo", "labels": {"word": word}}});
            serde_json::from_value(value).unwrap()
        };
        let word = |map: &ConfigMap| map.labels().get("word").filter(|word| !word.is_empty()).cloned();
        use watcher::Event;
        for event in [Event::Init, Event::InitApply(map("a", "x")), Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
        let index = Index::new(store, word);
        let names = |word: &str| index.of(word).iter().map(|map| map.name_any()).collect::<Vec<_>>().join(" ");
        assert_eq!(names("x"), "a", "it was there before the index");
        let mut hear = |event: Event<ConfigMap>, note: bool| {
            writer.apply_watcher_event(&event);
            if let (Event::Apply(map) | Event::Delete(map), true) = (&event, note) {
                index.note(map);
            }
        };
        hear(Event::Apply(map("b", "x")), true);
        assert_eq!(names("x"), "a b");
        hear(Event::Apply(map("a", "y")), false);
        assert_eq!((names("x"), names("y")), ("b".to_owned(), String::new()), "not told yet");
        index.note(&map("a", "y"));
        assert_eq!((names("x"), names("y")), ("b".to_owned(), "a".to_owned()));
        hear(Event::Apply(map("b", "")), true);
        assert_eq!(names("x"), "");
        hear(Event::Delete(map("a", "y")), false);
        assert_eq!(names("y"), "");
        index.note(&map("a", "y"));
        assert!(index.entries().words.is_empty() && index.entries().by_word.is_empty(), "nothing is kept of what is gone");
    }

    /// Whoever is told of an object while the list is under way would look for it in a cache that does not have it yet.
    #[test]
    fn what_a_list_brings_and_what_it_leaves_out_is_told_at_its_end() {
        let (store, mut writer) = reflector::store::<ConfigMap>();
        let mut changes = Changes::of(store.clone());
        let map = |name: &str| -> ConfigMap { serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap() };
        let index = Index::new(store, |map: &ConfigMap| Some(map.name_any()));
        let mut hear = |event: watcher::Event<ConfigMap>| {
            writer.apply_watcher_event(&event);
            let told = changes.after(event);
            told.iter().for_each(|object| index.note(object));
            let mut names: Vec<String> = told.iter().map(|object| object.name_any()).collect();
            names.sort();
            (names.join(" "), index.of("a").len(), index.of("b").len())
        };
        use watcher::Event;
        let told = |names: &str, a: usize, b: usize| (names.to_owned(), a, b);
        assert_eq!(hear(Event::Init), told("", 0, 0));
        assert_eq!(hear(Event::InitApply(map("a"))), told("", 0, 0));
        assert_eq!(hear(Event::InitDone), told("a", 1, 0), "an object that was there before the process");
        assert_eq!(hear(Event::Apply(map("b"))), told("b", 1, 1));
        assert_eq!(hear(Event::Init), told("", 1, 1), "the watch was cut and lists again");
        assert_eq!(hear(Event::InitApply(map("b"))), told("", 1, 1));
        assert_eq!(hear(Event::InitDone), told("a b b", 0, 1), "a went while nobody watched");
        assert_eq!(hear(Event::Delete(map("b"))), told("b", 0, 0));
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
