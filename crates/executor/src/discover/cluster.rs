//! What `discover` asks of the API server: its Repository, the Snapshots of it, and one object per restic snapshot.

use std::time::Duration;

use backproof_api::{Repository, Snapshot, labels};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::plan::{Plan, Step};

/// Objects per page of a list.
const PAGE: u32 = 500;
/// How often a request is made that the API server does not answer.
const TRIES: u32 = 6;

/// The API server, as seen from the Repository's namespace.
pub(super) struct Cluster {
    repositories: Api<Repository>,
    snapshots: Api<Snapshot>,
}

impl Cluster {
    pub(super) async fn connect(namespace: &str) -> Result<Self, String> {
        // A second caller in the same process finds the provider set; that is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.map_err(|error| format!("cannot find out how to reach the API server: {error}"))?;
        Ok(Self { repositories: Api::namespaced(client.clone(), namespace), snapshots: Api::namespaced(client, namespace) })
    }

    /// The Repository, if it is still the one this Job was made for.
    pub(super) async fn repository(&self, name: &str, uid: &str) -> Result<Repository, String> {
        let repository = patiently(&format!("get Repository {name}"), async || self.repositories.get(name).await).await?;
        if repository.uid().as_deref() == Some(uid) {
            Ok(repository)
        } else {
            Err(format!("Repository {name} was replaced by another one of this name"))
        }
    }

    /// The Snapshots that discovery made for this Repository.
    pub(super) async fn snapshots(&self, uid: &str) -> Result<Vec<Snapshot>, String> {
        let mut params = ListParams::default().labels(&format!("{}={uid}", labels::REPOSITORY_UID)).limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = patiently("list Snapshots", async || self.snapshots.list(&params).await).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// Carries the plan out; says how many objects were made.
    pub(super) async fn carry_out(&self, plan: &mut Plan) -> Result<u32, String> {
        let mut created = 0;
        for step in std::mem::take(&mut plan.steps) {
            match step {
                Step::Create(snapshot) => match self.create(&snapshot).await? {
                    Made::Now => created += 1,
                    Made::Taken => {
                        let name = snapshot.name_any();
                        plan.notes.push(format!("Snapshot {name} exists and was not made by discovery of this Repository, so its restic snapshot is left out; delete or rename it"));
                        plan.newest = plan.newest.take().filter(|newest| *newest != name);
                    }
                },
                Step::Complete(snapshot) => self.complete(&snapshot, &[]).await?,
                Step::Recompose { snapshot, dropped } => self.complete(&snapshot, &dropped).await?,
                Step::Move { name, session } => {
                    let patch = Patch::Merge(json!({"spec": {"session": session}}));
                    patiently(&format!("patch Snapshot {name}"), async || {
                        self.snapshots.patch(&name, &PatchParams::default(), &patch).await
                    })
                    .await?;
                }
            }
        }
        Ok(created)
    }

    async fn create(&self, snapshot: &Snapshot) -> Result<Made, String> {
        let name = snapshot.name_any();
        let bare = Snapshot { status: None, ..snapshot.clone() };
        let made =
            patiently(&format!("create Snapshot {name}"), async || match self.snapshots.create(&PostParams::default(), &bare).await {
                Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => Ok(Made::Taken),
                other => other.map(|_| Made::Now),
            })
            .await?;
        match made {
            Made::Now => {
                self.complete(snapshot, &[]).await?;
                Ok(Made::Now)
            }
            Made::Taken => self.meet(snapshot).await,
        }
    }

    /// Somebody has the name: an earlier try of ours whose answer was lost, or a stranger.
    async fn meet(&self, snapshot: &Snapshot) -> Result<Made, String> {
        let name = snapshot.name_any();
        let there = patiently(&format!("get Snapshot {name}"), async || self.snapshots.get(&name).await).await?;
        let mark = |object: &Snapshot| object.labels().get(labels::REPOSITORY_UID).cloned();
        if mark(&there).is_none() || mark(&there) != mark(snapshot) {
            return Ok(Made::Taken);
        }
        if there.status.as_ref().is_none_or(|status| status.phase.is_none()) {
            self.complete(snapshot, &[]).await?;
        }
        Ok(Made::Now)
    }

    async fn complete(&self, snapshot: &Snapshot, dropped: &[String]) -> Result<(), String> {
        let name = snapshot.name_any();
        let mut body = json!({"status": snapshot.status});
        for component in dropped {
            body["status"]["components"][component] = serde_json::Value::Null;
        }
        let patch = Patch::Merge(body);
        patiently(&format!("write the status of Snapshot {name}"), async || {
            self.snapshots.patch_status(&name, &PatchParams::default(), &patch).await
        })
        .await?;
        Ok(())
    }
}

/// What came of a create.
enum Made {
    Now,
    Taken,
}

/// Asks again while the API server does not answer.
async fn patiently<T>(what: &str, request: impl AsyncFn() -> kube::Result<T>) -> Result<T, String> {
    let mut wait = Duration::from_millis(500);
    for _ in 1..TRIES {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) if may_pass(&error) => {
                eprintln!("cannot {what}: {error}; trying again in {} ms", wait.as_millis());
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(format!("cannot {what}: {error}")),
        }
    }
    request().await.map_err(|error| format!("cannot {what}: {error}"))
}

fn may_pass(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error { status.code == 429 || status.code >= 500 } else { true }
}
