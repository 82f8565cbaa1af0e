//! What the API server asks at all, by the chart's rules and conditions: a webhook that only notes stands where ours would.

use anyhow::{Result, ensure};
use backproof_testing::ApiServer;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    calls::{collection, must, place, request_as},
    cases::world,
    recorder::Recorder,
    service::{chart_registration, kinds_that_take_anything, namespace},
};

/// The API server, and who notes what it asks.
struct Stage {
    server: ApiServer,
    recorder: Recorder,
}

impl Stage {
    async fn set() -> Result<Self> {
        let server = ApiServer::start().await?;
        server.apply(&kinds_that_take_anything()?).await?;
        server.apply(&["demo", "elsewhere"].map(namespace)).await?;
        let recorder = Recorder::start()?;
        let mut registered = chart_registration()?;
        for webhook in registered["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"] = recorder.client_config();
        }
        server.apply(&[registered]).await?;
        let stage = Self { server, recorder };
        // The API server takes a moment to see its own registration.
        let mut probe = world()["snapshot"].clone();
        probe["metadata"]["name"] = json!("probe");
        let seen = backproof_testing::wait(std::time::Duration::from_secs(30), async || {
            stage.write(None, "POST", &format!("{}?dryRun=All", collection(&probe)?), Some(&probe)).await?;
            Ok(!stage.recorder.taken().is_empty())
        });
        seen.await?;
        Ok(stage)
    }

    fn client(&self) -> &Client {
        &self.server.client
    }

    async fn write(&self, user: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = request_as(self.client(), user, method, path, body).await?;
        ensure!(answer.code < 300, "{method} {path} by {user:?}: {} {}", answer.code, answer.body["message"]);
        Ok(answer.body)
    }

    /// What is asked when an object is created.
    async fn creation(&self, user: &str, object: &Value) -> Result<Vec<String>> {
        self.write(Some(user), "POST", &format!("{}?dryRun=All", collection(object)?), Some(object)).await?;
        Ok(self.recorder.taken())
    }

    /// What is asked when an object is changed by a merge patch, below it or as a whole.
    async fn change(&self, object: &Value, below: &str, patch: &Value) -> Result<Vec<String>> {
        self.caught_up(&place(object)?).await?;
        self.write(None, "PATCH", &format!("{}{below}", place(object)?), Some(patch)).await?;
        Ok(self.recorder.taken())
    }

    /// The API server changes what its watch cache has first, and asks again for what is newer: until the cache has the last
    /// change, more is asked than a change stands for.
    async fn caught_up(&self, place: &str) -> Result<()> {
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let newest = version(&must(self.client(), "GET", place, None).await?);
        let cached = format!("{place}?resourceVersion=0");
        let same = async || Ok(must(self.client(), "GET", &cached, None).await.is_ok_and(|object| version(&object) == newest));
        backproof_testing::wait(std::time::Duration::from_secs(30), same).await
    }
}

fn account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_somebody_wants_to_run_is_asked_about() -> Result<()> {
    let stage = Stage::set().await?;
    our_own_identities(&stage).await?;
    changes(&stage).await?;
    deletions(&stage).await?;
    other_kinds(&stage).await
}

/// Trigger, discovery, controller and webhook write what they must without anybody's leave; nobody else does by a similar name.
async fn our_own_identities(stage: &Stage) -> Result<()> {
    let (session, verifier, snapshot) = (&world()["session"], &world()["verifier"], &world()["snapshot"]);
    let nobody = Vec::<String>::new();
    let asked = |object: &Value| {
        vec![format!("CREATE {}/{}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default())]
    };
    let ours = |name: &str| account("backproof-system", name);
    for (user, object, expected) in [
        ("ann".to_owned(), session, asked(session)),
        (ours("backproof-controller"), session, nobody.clone()),
        (ours("backproof-controller"), verifier, nobody.clone()),
        (ours("backproof-webhook"), session, nobody.clone()),
        (account("elsewhere", "backproof-controller"), session, asked(session)),
        (account("elsewhere", "backproof-trigger"), session, nobody.clone()),
        (account("elsewhere", "backproof-trigger"), verifier, asked(verifier)),
        (account("elsewhere", "backproof-trigger"), snapshot, asked(snapshot)),
        (account("elsewhere", "backproof-trigger2"), session, asked(session)),
        ("system:serviceaccount:a:b:backproof-trigger".to_owned(), session, asked(session)),
        ("xsystem:serviceaccount:a:backproof-trigger".to_owned(), session, asked(session)),
        (account("elsewhere", "backproof-discover"), snapshot, nobody.clone()),
        (account("elsewhere", "backproof-discover"), session, asked(session)),
    ] {
        ensure!(stage.creation(&user, object).await? == expected, "{} of {}", user, object["kind"]);
    }
    Ok(())
}

/// Metadata, status and what is being deleted never wait for a rule.
async fn changes(stage: &Stage) -> Result<()> {
    let metadata = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["kubestash.com/cleanup"]}});
    for key in ["session", "verifier", "configuration", "batch", "repository", "snapshot", "storage", "restore", "addon", "function"] {
        let mut object = world()[key].clone();
        let (kind, name) = (object["kind"].as_str().unwrap_or_default().to_owned(), format!("changed-{key}"));
        object["metadata"]["name"] = json!(name);
        object["metadata"].as_object_mut().map(|meta| meta.remove("ownerReferences"));
        must(stage.client(), "POST", &collection(&object)?, Some(&object)).await?;
        ensure!(stage.recorder.taken() == [format!("CREATE {kind}/{name}")], "{kind}");
        ensure!(stage.change(&object, "", &metadata).await?.is_empty(), "metadata of {kind}");
        let asked = stage.change(&object, "", &json!({"spec": {"changed": 1}})).await?;
        ensure!(asked == [format!("UPDATE {kind}/{name}")], "{kind}: {asked:?}");
        ensure!(stage.change(&object, "", &json!({"spec": {"changed": 1}})).await?.is_empty(), "the same spec of {kind}");
        if !matches!(key, "verifier" | "addon" | "function") {
            ensure!(stage.change(&object, "/status", &json!({"status": {"phase": "Running"}})).await?.is_empty(), "status of {kind}");
        }
        // Deleted, and held by its finalizer: from now on only clean-up matters.
        must(stage.client(), "DELETE", &place(&object)?, None).await?;
        stage.recorder.taken();
        let asked = stage.change(&object, "", &json!({"spec": {"changed": 2}})).await?;
        ensure!(asked.is_empty(), "spec of a {kind} that is being deleted: {asked:?}");
        ensure!(stage.change(&object, "", &json!({"metadata": {"finalizers": null}})).await?.is_empty(), "finalizers of {kind}");
    }
    Ok(())
}

/// People are told what a deletion means; those who clean up read nothing.
async fn deletions(stage: &Stage) -> Result<()> {
    for (key, told) in [
        ("session", false),
        ("verifier", true),
        ("configuration", true),
        ("batch", true),
        ("repository", true),
        ("snapshot", true),
        ("storage", true),
        ("restore", false),
    ] {
        for (user, expected) in [
            ("ann".to_owned(), told),
            (account("kube-system", "namespace-controller"), false),
            (account("kube-system", "generic-garbage-collector"), false),
            (account("backproof-system", "backproof-controller"), false),
        ] {
            let mut object = world()[key].clone();
            object["metadata"] = json!({"name": "deleted", "namespace": "demo"});
            must(stage.client(), "POST", &collection(&object)?, Some(&object)).await?;
            stage.caught_up(&place(&object)?).await?;
            stage.recorder.taken();
            stage.write(Some(&user), "DELETE", &place(&object)?, None).await?;
            let asked = stage.recorder.taken();
            let all = if expected { vec![format!("DELETE {}/deleted", object["kind"].as_str().unwrap_or_default())] } else { Vec::new() };
            ensure!(asked == all, "{key} by {user}: {asked:?}");
        }
    }
    Ok(())
}

/// Nothing but what is registered by name reaches us, whatever else the cluster does.
async fn other_kinds(stage: &Stage) -> Result<()> {
    let meta = json!({"name": "other", "namespace": "demo"});
    for object in [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    ] {
        must(stage.client(), "POST", &collection(&object)?, Some(&object)).await?;
        must(stage.client(), "DELETE", &place(&object)?, None).await?;
        ensure!(stage.recorder.taken().is_empty(), "{}", object["kind"]);
    }
    Ok(())
}
