//! What the API in memory promises, through an ordinary client.

use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use super::{By, Gate, Key, Memory, Propagation, Strike};

fn job(name: &str) -> Job {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"suspend": true, "template": {"spec": {"containers": []}}},
        "status": {"active": 7},
    }))
    .unwrap()
}

fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

#[tokio::test]
async fn versions_uids_and_generations_are_the_api_servers() {
    let memory = Memory::default();
    let api: Api<Job> = Api::namespaced(memory.client(), "demo");
    let made = api.create(&PostParams::default(), &job("x")).await.unwrap();
    assert_eq!((made.metadata.generation, made.status.clone()), (Some(1), None), "a status cannot be made with its object");
    assert_eq!(code(&api.create(&PostParams::default(), &job("x")).await.unwrap_err()), 409);
    let patch = |patch: serde_json::Value| {
        let api = api.clone();
        async move { api.patch("x", &PatchParams::default(), &Patch::Merge(patch)).await }
    };
    let same = patch(json!({"spec": {"suspend": true}})).await.unwrap();
    assert_eq!(same.resource_version(), made.resource_version(), "what changes nothing is no version");
    let started = patch(json!({"metadata": {"resourceVersion": made.resource_version(), "uid": made.uid()}, "spec": {"suspend": false}}));
    assert_eq!(started.await.unwrap().metadata.generation, Some(2));
    for stale in
        [json!({"metadata": {"resourceVersion": made.resource_version()}, "spec": {"suspend": true}}), json!({"metadata": {"uid": "z"}})]
    {
        assert_eq!(code(&patch(stale).await.unwrap_err()), 409);
    }
    let status = Patch::Merge(json!({"spec": {"suspend": true}, "status": {"active": 1}}));
    let written = api.patch_status("x", &PatchParams::default(), &status).await.unwrap();
    assert_eq!((written.spec.unwrap().suspend, written.status.unwrap().active), (Some(false), Some(1)));
    assert_eq!(written.metadata.generation, Some(2));
    let exactly = |uid: &str| DeleteParams::background().preconditions(Preconditions { uid: Some(uid.into()), resource_version: None });
    assert_eq!(code(&api.delete("x", &exactly("other")).await.unwrap_err()), 409);
    api.delete("x", &exactly(&made.uid().unwrap())).await.unwrap();
    let again = api.create(&PostParams::default(), &job("x")).await.unwrap();
    assert_ne!(again.uid(), made.uid());
}

#[tokio::test]
async fn finalizers_hold_and_garbage_follows_its_owner() {
    let memory = Memory::default();
    let api: Api<Job> = Api::namespaced(memory.client(), "demo");
    let made = api.create(&PostParams::default(), &job("x")).await.unwrap();
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": made.uid(), "blockOwnerDeletion": true}]);
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "demo", "ownerReferences": owner}, "spec": {"nodeName": "n"},
        "status": {"phase": "Running"}});
    memory.with(|store, _| store.create(By::Cluster, pod)).unwrap();
    api.delete("x", &DeleteParams::foreground()).await.unwrap();
    let key = Key::new("Pod", "demo", "p");
    memory.with(|store, _| {
        store.collect();
        assert!(store.get(&key).unwrap().is_leaving(), "a pod that runs leaves when it has ended");
        assert!(!store.has_garbage(), "the Job waits for it");
        store.remove(By::Cluster, &key);
        store.collect();
        assert_eq!(store.all("Job").count(), 0);
    });
    let pods: Api<Pod> = Api::namespaced(memory.client(), "demo");
    assert!(pods.get_opt("p").await.unwrap().is_none());
    let made = api.create(&PostParams::default(), &job("y")).await.unwrap();
    memory.with(|store, _| {
        let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "y", "uid": made.uid()}]);
        store
            .create(By::Cluster, json!({"kind": "Pod", "metadata": {"name": "q", "namespace": "demo", "ownerReferences": owner}}))
            .unwrap();
        store.delete(By::Stranger, &Key::new("Job", "demo", "y"), Propagation::Orphan).unwrap();
        assert!(!store.has_garbage(), "orphans stay");
        assert_eq!(store.all("Pod").count(), 1);
    });
}

#[tokio::test]
async fn lists_select_and_what_is_not_known_is_never_a_success() {
    let memory = Memory::default();
    let api: Api<Job> = Api::namespaced(memory.client(), "demo");
    api.create(&PostParams::default(), &job("x")).await.unwrap();
    for (selector, found) in [("a=b", 1), ("a", 1), ("a=c", 0), ("z", 0), ("a=b,z", 0)] {
        assert_eq!(api.list(&ListParams::default().labels(selector)).await.unwrap().items.len(), found, "{selector}");
        assert_eq!(api.list_metadata(&ListParams::default().labels(selector)).await.unwrap().items.len(), found, "{selector}");
    }
    assert_eq!(Api::<Job>::all(memory.client()).list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(Api::<Job>::namespaced(memory.client(), "other").list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(memory.with(|store, _| store.strange.len()), 0);
    assert_eq!(code(&Api::<Node>::all(memory.client()).list(&ListParams::default()).await.unwrap_err()), 404);
    let json_patch = Patch::<()>::Json(serde_json::from_value(json!([])).unwrap());
    assert_eq!(code(&api.patch("x", &PatchParams::default(), &json_patch).await.unwrap_err()), 405);
    assert_eq!(code(&api.get_scale("x").await.unwrap_err()), 404);
    assert_eq!(memory.with(|store, _| store.strange.len()), 3);
}

#[tokio::test]
async fn calls_are_refused_lost_and_overtaken_as_asked() {
    let memory = Memory::default();
    let leases: Api<Lease> = Api::namespaced(memory.client(), "demo");
    let lease = |name: &str| -> Lease { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    let strike = |at: u32, strike| memory.with(|_, gate| *gate = Gate { at_write: Some((at, strike)), ..Gate::default() });
    strike(1, Strike::Refuse(429));
    assert_eq!(code(&leases.create(&PostParams::default(), &lease("a")).await.unwrap_err()), 429);
    assert!(leases.get_opt("a").await.unwrap().is_none());
    strike(1, Strike::Lose);
    assert_eq!(code(&leases.create(&PostParams::default(), &lease("a")).await.unwrap_err()), 0);
    assert!(leases.get_opt("a").await.unwrap().is_some());
    strike(1, Strike::Die);
    assert!(leases.create(&PostParams::default(), &lease("b")).await.is_err());
    assert!(leases.get_opt("b").await.is_err(), "the dead read nothing");
    memory.with(|_, gate| *gate = Gate { pause_at: Some(1), ..Gate::default() });
    let (paused, resume) = memory.with(|_, gate| (gate.paused.clone(), gate.resume.clone()));
    let late = tokio::spawn({
        let (leases, late) = (leases.clone(), lease("c"));
        async move { leases.create(&PostParams::default(), &late).await }
    });
    paused.notified().await;
    leases.create(&PostParams::default(), &lease("c")).await.unwrap();
    resume.notify_one();
    assert_eq!(code(&late.await.unwrap().unwrap_err()), 409);
}
