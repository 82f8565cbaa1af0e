//! Objects looked up in memory, and the reviews an API server would send about them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, Snapshot,
    validate::{Access, Lookup, SourceClaims},
};
use backproof_webhook::source::{OwnInvoker, Source, is_succeeded, uses};
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use crate::cases::world;

/// A source that knows the objects of a world, or answers nothing, and counts how often it is asked.
#[derive(Clone)]
pub(crate) struct Memory {
    objects: Value,
    silent: bool,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Memory {
    pub(crate) fn knowing(objects: Value) -> Self {
        Self { objects, silent: false, asked: Arc::default() }
    }

    pub(crate) fn silent() -> Self {
        Self { objects: json!({}), silent: true, asked: Arc::default() }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn find<K: DeserializeOwned>(&self, key: &str, namespace: &str, name: &str) -> Lookup<K> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.silent {
            return Lookup::Unknown("no answer".to_owned());
        }
        let object = &self.objects[key];
        if object["metadata"]["name"] == name && object["metadata"]["namespace"].as_str().unwrap_or_default() == namespace {
            Lookup::Found(serde_json::from_value(object.clone()).unwrap())
        } else {
            Lookup::Missing
        }
    }
}

impl Source for Memory {
    async fn configuration(&self, namespace: &str, name: &str) -> Lookup<BackupConfiguration> {
        self.find("configuration", namespace, name)
    }

    async fn batch(&self, namespace: &str, name: &str) -> Lookup<BackupBatch> {
        self.find("batch", namespace, name)
    }

    async fn verifier(&self, namespace: &str, name: &str) -> Lookup<BackupVerifier> {
        self.find("verifier", namespace, name)
    }

    async fn repository(&self, namespace: &str, name: &str) -> Lookup<Repository> {
        self.find("repository", namespace, name)
    }

    async fn snapshot(&self, namespace: &str, name: &str) -> Lookup<Snapshot> {
        self.find("snapshot", namespace, name)
    }

    async fn succeeded(&self, namespace: &str, repository: &str, session: &str) -> Lookup<Snapshot> {
        let name = self.objects["snapshot"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match self.find("snapshot", namespace, &name) {
            Lookup::Found(snapshot) if !is_succeeded(&snapshot, repository, session) => Lookup::Missing,
            found @ (Lookup::Found(_) | Lookup::Missing | Lookup::Unknown(_)) => found,
        }
    }

    async fn users(&self, namespace: &str, name: &str) -> Lookup<Vec<OwnInvoker>> {
        self.find::<BackupConfiguration>("configuration", "demo", "sample-backup").map(|configuration| {
            let invoker = OwnInvoker::Configuration(Box::new(configuration));
            if uses(invoker.view(), namespace, name) { vec![invoker] } else { Vec::new() }
        })
    }

    async fn storage(&self, namespace: &str, name: &str) -> Lookup<BackupStorage> {
        self.find("storage", namespace, name)
    }

    async fn storages(&self) -> Lookup<Vec<BackupStorage>> {
        if self.silent { Lookup::Unknown("no answer".to_owned()) } else { Lookup::Found(Vec::new()) }
    }

    async fn repositories(&self) -> Lookup<Vec<Repository>> {
        self.find("repository", "demo", "demo-storage").map(|repository| vec![repository])
    }

    async fn addon(&self, name: &str) -> Lookup<Addon> {
        self.find("addon", "", name)
    }

    async fn function(&self, name: &str) -> Lookup<Function> {
        self.find("function", "", name)
    }

    async fn unfinished(&self, namespace: &str) -> Lookup<Vec<BackupVerificationSession>> {
        self.find("session", namespace, "freq-backup-demo-storage-1730194200").map(|session| vec![session])
    }

    async fn labels(&self, _: &str) -> Lookup<BTreeMap<String, String>> {
        Lookup::Missing
    }

    async fn workload(&self, _: &str, _: &str, _: &str) -> Lookup<SourceClaims> {
        Lookup::Missing
    }

    async fn permitted(&self, user: &UserInfo, _: &Access) -> Lookup<bool> {
        if self.silent { Lookup::Unknown("no answer".to_owned()) } else { Lookup::Found(user.username.as_deref() != Some(STRANGER)) }
    }
}

/// Who may do nothing elsewhere.
pub(crate) const STRANGER: &str = "eve";

/// A review as the API server sends it.
pub(crate) fn review(operation: &str, object: &Value, old: Option<&Value>) -> Value {
    let kind = object["kind"].as_str().unwrap();
    let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": "v1alpha1", "kind": kind},
            "resource": {"group": group, "version": "v1alpha1", "resource": kind.to_lowercase()},
            "name": object["metadata"]["name"],
            "namespace": object["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {"username": "ann", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
