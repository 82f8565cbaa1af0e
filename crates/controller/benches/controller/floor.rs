//! The floor: the least a controller can do for a session. It watches, makes one child with one POST, writes one status with
//! one PATCH, eight at a time, and knows nothing else: no second thought, no retry.

use std::{collections::HashSet, path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, Result};
use backproof_api::{BackupVerificationSession, RestoreSession};
use backproof_testing::{ApiServer, Process};
use futures::TryStreamExt as _;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;

/// Set for the process that is the floor.
pub(crate) const KUBECONFIG: &str = "BACKPROOF_FLOOR_KUBECONFIG";
const WORKERS: usize = 8;

/// Starts it.
pub(crate) fn start(server: &ApiServer) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(KUBECONFIG, server.kubeconfig());
    Process::start(command, server.directory().join("floor.log"))
}

/// It.
pub(crate) async fn run(kubeconfig: &Path) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = backproof_testing::client(kubeconfig).await?;
    let mut seen = HashSet::new();
    let sessions = watcher(Api::<BackupVerificationSession>::all(client.clone()), watcher::Config::default()).applied_objects();
    println!("watching");
    sessions
        .try_filter(|session| std::future::ready(seen.insert(session.uid())))
        .map_err(anyhow::Error::from)
        .try_for_each_concurrent(WORKERS, |session| serve(client.clone(), Arc::new(session)))
        .await
}

async fn serve(client: Client, session: Arc<BackupVerificationSession>) -> Result<()> {
    let namespace = session.namespace().context("no namespace")?;
    let child: RestoreSession = serde_json::from_value(json!({
        "metadata": {
            "name": session.name_any(), "namespace": namespace, "labels": session.labels(),
            "ownerReferences": [session.controller_owner_ref(&())],
        },
        "spec": {
            "target": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": "target"},
            "dataSource": {"repository": session.spec.repository, "snapshot": session.spec.snapshot, "components": ["pod"]},
        },
    }))?;
    Api::<RestoreSession>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &child).await?;
    let status = Patch::Merge(json!({"status": {"phase": "Running"}}));
    Api::<BackupVerificationSession>::namespaced(client, &namespace)
        .patch_status(&session.name_any(), &PatchParams::default(), &status)
        .await?;
    Ok(())
}
