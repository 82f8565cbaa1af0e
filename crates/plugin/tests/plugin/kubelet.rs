//! A stand-in for a node and its kubelet, as far as logs go.

use std::{collections::BTreeMap, net::TcpListener, path::Path, sync::Arc};

use anyhow::Result;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use axum_server::tls_rustls::RustlsConfig;
use backproof_testing::{ApiServer, Authority};
use serde_json::json;

/// Name of the node.
pub(crate) const NODE: &str = "node";

/// What pods have printed, by name of the pod.
pub(crate) type Logs = BTreeMap<&'static str, &'static str>;

/// Registers a node whose kubelet answers with these logs. It ends with the test's runtime.
pub(crate) async fn start(server: &ApiServer, logs: Logs) -> Result<()> {
    let directory = server.directory().join("kubelet");
    std::fs::create_dir_all(&directory)?;
    Authority::new(&directory)?.server(&directory, "kubelet", &["127.0.0.1"])?;
    let port = serve(&directory, logs).await?;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    server.apply(&[node]).await?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    crate::world::status(server, "/api/v1/nodes/node", &status).await
}

async fn serve(directory: &Path, logs: Logs) -> Result<u16> {
    async fn answer(
        State(logs): State<Arc<Logs>>,
        axum::extract::Path((_, pod, _)): axum::extract::Path<(String, String, String)>,
    ) -> (StatusCode, &'static str) {
        match logs.iter().find(|(name, _)| pod.starts_with(**name)) {
            Some((_, log)) => (StatusCode::OK, log),
            None => (StatusCode::NOT_FOUND, "no log"),
        }
    }
    let config = RustlsConfig::from_pem_file(directory.join("kubelet.crt"), directory.join("kubelet.key")).await?;
    let routes = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(answer)).with_state(Arc::new(logs));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let served = axum_server::from_tcp_rustls(listener, config)?.serve(routes.into_make_service());
    tokio::spawn(served);
    Ok(port)
}
