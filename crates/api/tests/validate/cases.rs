//! The tables of cases, and how each is judged by the pure validators. The webhook's tests use the same tables.

use std::{collections::BTreeMap, sync::LazyLock};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot, SnapshotPhase, labels,
    shared::TypedObjectReference,
    validate::{self, Findings, Invoker, InvokerFacts, Lookup, SessionFacts, SourceClaims, StorageFacts, VerifierFacts, workload_of},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// One object, everything around it, and all that is then said.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) case: String,
    /// Key of the object that is judged; given by the table if not by the case.
    #[serde(default)]
    pub(crate) subject: String,
    /// Merge patch of the world.
    #[serde(default)]
    pub(crate) change: Value,
    /// Merge patch of the subject's spec.
    #[serde(default)]
    pub(crate) spec: Value,
    /// The subject is changed, from what this merge patch of the world makes of it.
    pub(crate) old: Option<Value>,
    /// Objects that do not exist.
    #[serde(default)]
    pub(crate) without: Vec<String>,
    pub(crate) refused: String,
    #[serde(default)]
    pub(crate) warned: Vec<String>,
    #[serde(skip)]
    base: Value,
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    base: Value,
    cases: Vec<Case>,
}

/// Every case of every table.
pub(crate) fn all() -> Vec<Case> {
    let tables = [
        include_str!("session.yaml"),
        include_str!("verifier.yaml"),
        include_str!("invoker.yaml"),
        include_str!("batch.yaml"),
        include_str!("others.yaml"),
        include_str!("upstream.yaml"),
    ];
    let read = |text: &&str| {
        let table: Table = serde_saphyr::from_str(text).unwrap();
        let own = move |mut case: Case| {
            case.subject = if case.subject.is_empty() { table.subject.clone() } else { case.subject };
            case.base = table.base.clone();
            case
        };
        table.cases.into_iter().map(own).collect::<Vec<_>>()
    };
    tables.iter().flat_map(read).collect()
}

/// The objects every case starts from.
pub(crate) fn world() -> Value {
    static WORLD: LazyLock<Value> = LazyLock::new(|| serde_saphyr::from_str(include_str!("world.yaml")).unwrap());
    WORLD.clone()
}

/// A JSON merge patch.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

impl Case {
    /// The objects of this case.
    pub(crate) fn objects(&self) -> Value {
        let mut objects = self.before(&self.change);
        if !self.spec.is_null() {
            merge(&mut objects[&self.subject]["spec"], &self.spec);
        }
        objects
    }

    /// The objects before the change that is judged, if one is.
    pub(crate) fn old_objects(&self) -> Option<Value> {
        self.old.as_ref().map(|patch| self.before(patch))
    }

    fn before(&self, patch: &Value) -> Value {
        let mut objects = world();
        for patch in [&self.base, patch] {
            if !patch.is_null() {
                merge(&mut objects, patch);
            }
        }
        for absent in &self.without {
            objects.as_object_mut().unwrap().remove(absent);
        }
        objects
    }

    /// What the pure validators say.
    pub(crate) fn judge(&self) -> Findings {
        let new = World(self.objects());
        let Some(old) = self.old_objects() else { return new.judge(&self.subject, None) };
        let before = World(old.clone());
        match self.subject.as_str() {
            "session" => validate::session_update(&before.read("session").unwrap(), &new.read("session").unwrap()),
            subject => new.judge(subject, Some(&old[subject])).since(&before.judge(subject, None)),
        }
    }
}

/// Objects by key, looked up as a cluster would.
pub(crate) struct World(pub(crate) Value);

impl World {
    pub(crate) fn read<K: DeserializeOwned>(&self, key: &str) -> Option<K> {
        self.0.get(key).map(|value| serde_json::from_value(value.clone()).unwrap())
    }

    fn named<K: DeserializeOwned>(&self, key: &str, namespace: &str, name: &str) -> Lookup<K> {
        let Some(value) = self.0.get(key) else { return Lookup::Missing };
        let meta = &value["metadata"];
        let here = meta.get("namespace").and_then(Value::as_str).unwrap_or_default() == namespace;
        let implements = meta["labels"].get(labels::IMPLEMENTS).and_then(Value::as_str) == Some(name);
        if here && (meta["name"] == name || implements) { Lookup::Found(self.read(key).unwrap()) } else { Lookup::Missing }
    }

    fn workload(&self, source: Option<&TypedObjectReference>, own: &str) -> Option<SourceClaims> {
        let (kind, namespace, name) = workload_of(source?, own)?;
        let workload = self.0.get("workload")?;
        let list = |key: &str| workload[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        (workload["kind"] == kind && workload["namespace"] == namespace && workload["name"] == name).then(|| SourceClaims {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            claims: list("claims"),
            templates: list("templates"),
        })
    }

    fn labels(&self) -> Option<BTreeMap<String, String>> {
        self.0.get("labels").map(|labels| serde_json::from_value(labels.clone()).unwrap())
    }

    pub(crate) fn judge(&self, subject: &str, old: Option<&Value>) -> Findings {
        match subject {
            "session" => SessionWorld::new(self).judge(),
            "verifier" => self.verifier(),
            "configuration" => self.invoker(Invoker::Configuration(&self.read("configuration").unwrap())),
            "batch" => self.invoker(Invoker::Batch(&self.read("batch").unwrap())),
            "restore" => validate::restore_session(&self.read::<RestoreSession>("restore").unwrap()),
            "addon" => validate::addon(&self.read::<Addon>("addon").unwrap()),
            "function" => validate::function(&self.read::<Function>("function").unwrap()),
            "snapshot" => validate::snapshot(&self.read::<Snapshot>("snapshot").unwrap()),
            "repository" => self.repository(old),
            "storage" => self.storage(old),
            other => panic!("{other} is no subject"),
        }
    }

    fn verifier(&self) -> Findings {
        let verifier: BackupVerifier = self.read("verifier").unwrap();
        let (configuration, batch): (Option<BackupConfiguration>, Option<BackupBatch>) = (self.read("configuration"), self.read("batch"));
        let users: Vec<_> =
            [configuration.as_ref().map(Invoker::Configuration), batch.as_ref().map(Invoker::Batch)].into_iter().flatten().collect();
        let addon = verifier.spec.restore_option.as_ref().and_then(|option| option.addon_info.as_ref()).map(|info| info.name.clone());
        let workloads = users.iter().flat_map(|invoker| {
            let of = |entry: validate::RepositoryEntry<'_>| Some((invoker.to_string(), self.workload(entry.source, invoker.namespace())?));
            invoker.entries().into_iter().filter_map(of).collect::<Vec<_>>()
        });
        let storages = users.iter().flat_map(|invoker| {
            let of = |entry: validate::RepositoryEntry<'_>| {
                let backend = invoker.backends().iter().find(|backend| backend.name == entry.repository.backend)?;
                let reference = backend.storage_ref.as_ref()?;
                let storage = self.named("storage", reference.namespace_or(invoker.namespace()), &reference.name).found()?;
                Some((invoker.to_string(), storage))
            };
            invoker.entries().into_iter().filter_map(of).collect::<Vec<_>>()
        });
        let facts = VerifierFacts {
            addon: self.named("addon", "", &addon.unwrap_or_default()),
            function: self.named("function", "", &verifier.spec.function),
            workloads: workloads.collect(),
            storages: storages.collect(),
        };
        let own = validate::verifier(&verifier, &Lookup::Found(users));
        own.and(validate::verifier_references(&verifier, &facts)).and(validate::pod_settings(&verifier, &["trusted".to_owned()]))
    }

    fn invoker(&self, invoker: Invoker<'_>) -> Findings {
        let own = invoker.namespace();
        let mut facts =
            InvokerFacts { labels: self.labels(), crossing: Some(vec![("verify".into(), own.into())]), ..InvokerFacts::default() };
        for reference in invoker.backends().iter().filter_map(|backend| backend.storage_ref.as_ref()) {
            let place = (reference.namespace_or(own).to_owned(), reference.name.clone());
            facts.storages.insert(place.clone(), self.named("storage", &place.0, &place.1));
        }
        for entry in invoker.entries() {
            facts.repositories.insert(entry.repository.name.clone(), self.named("repository", own, &entry.repository.name));
            facts.workloads.extend(self.workload(entry.source, own));
            if let Some(reference) = &entry.repository.backup_verifier {
                let place = (reference.namespace_or(own).to_owned(), reference.name.clone());
                facts.verifiers.insert(place.clone(), self.named("verifier", &place.0, &place.1));
            }
        }
        validate::invoker(invoker, &facts)
    }

    fn repository(&self, old: Option<&Value>) -> Findings {
        let repository: Repository = self.read("repository").unwrap();
        let reference = repository.spec.storage_ref.clone().unwrap_or_default();
        let storage = self.named::<BackupStorage>("storage", reference.namespace_or("demo"), &reference.name);
        let findings = validate::repository(&repository, &storage, self.labels().as_ref());
        let Some(old) = old else { return findings };
        findings.and(validate::repository_update(&serde_json::from_value(old.clone()).unwrap(), &repository))
    }

    fn storage(&self, old: Option<&Value>) -> Findings {
        let old: Option<BackupStorage> = old.map(|old| serde_json::from_value(old.clone()).unwrap());
        let holds = self.read::<Repository>("repository").map(|_| "Repository demo/demo-storage".to_owned());
        let others = self.read("other-storage").into_iter().collect();
        let facts = StorageFacts { others, repositories: holds.into_iter().collect() };
        validate::storage(&self.read("storage").unwrap(), old.as_ref(), &facts)
    }
}

/// Whether an object of this key can be read at all.
#[allow(dead_code, reason = "not every user of the tables damages them")]
pub(crate) fn parses(key: &str, object: &Value) -> bool {
    fn reads<K: DeserializeOwned>(object: &Value) -> bool {
        serde_json::from_value::<K>(object.clone()).is_ok()
    }
    match key {
        "session" => reads::<BackupVerificationSession>(object),
        "configuration" => reads::<BackupConfiguration>(object),
        "batch" => reads::<BackupBatch>(object),
        "verifier" => reads::<BackupVerifier>(object),
        "repository" => reads::<Repository>(object),
        "snapshot" => reads::<Snapshot>(object),
        "storage" => reads::<BackupStorage>(object),
        "addon" => reads::<Addon>(object),
        "function" => reads::<Function>(object),
        "restore" => reads::<RestoreSession>(object),
        _ => true,
    }
}

/// The objects a session names.
pub(crate) struct SessionWorld {
    pub(crate) session: BackupVerificationSession,
    pub(crate) configuration: Option<BackupConfiguration>,
    pub(crate) batch: Option<BackupBatch>,
    pub(crate) verifier: Option<BackupVerifier>,
    pub(crate) repository: Option<Repository>,
    pub(crate) snapshot: Option<Snapshot>,
}

fn lookup<'a, K: kube::Resource>(object: Option<&'a K>, namespace: &str, name: &str) -> Lookup<&'a K> {
    let fits = |object: &&K| object.meta().name.as_deref() == Some(name) && object.meta().namespace.as_deref() == Some(namespace);
    object.filter(fits).map_or(Lookup::Missing, Lookup::Found)
}

impl SessionWorld {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            session: world.read("session").unwrap(),
            configuration: world.read("configuration"),
            batch: world.read("batch"),
            verifier: world.read("verifier"),
            repository: world.read("repository"),
            snapshot: world.read("snapshot"),
        }
    }

    pub(crate) fn judge(&self) -> Findings {
        validate::session(&self.session, &self.facts())
    }

    pub(crate) fn facts(&self) -> SessionFacts<'_> {
        let spec = &self.session.spec;
        let namespace = self.session.metadata.namespace.as_deref().unwrap_or_default();
        let named = spec.invoker.clone().unwrap_or_default();
        let invoker = match named.kind.as_str() {
            "BackupConfiguration" => lookup(self.configuration.as_ref(), namespace, &named.name).map(Invoker::Configuration),
            "BackupBatch" => lookup(self.batch.as_ref(), namespace, &named.name).map(Invoker::Batch),
            _ => Lookup::Missing,
        };
        let entries = invoker.clone().found().map(Invoker::entries).unwrap_or_default();
        let verifier = entries
            .iter()
            .find(|entry| entry.session == spec.session && entry.repository.name == spec.repository)
            .and_then(|entry| entry.verifier())
            .map_or(Lookup::Missing, |verifier| lookup(self.verifier.as_ref(), verifier.namespace_or(namespace), &verifier.name));
        let newest = |snapshot: &&Snapshot| {
            snapshot.spec.repository == spec.repository
                && snapshot.spec.session == spec.session
                && snapshot.status.as_ref().is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded.into()))
        };
        let snapshot = match self.snapshot.as_ref() {
            found if !validate::wants_newest(&self.session) => lookup(found, namespace, &spec.snapshot),
            found => found.filter(newest).map_or(Lookup::Missing, Lookup::Found),
        };
        let repository = lookup(self.repository.as_ref(), namespace, &spec.repository);
        SessionFacts { invoker, repository, verifier, snapshot }
    }
}
