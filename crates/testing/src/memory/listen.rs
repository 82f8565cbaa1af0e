//! The API in memory behind a port, for programs of their own.

use std::{
    io,
    path::{Path, PathBuf},
};

use axum::{Router, body, extract::Request, response::IntoResponse as _};
use kube::client::Body;

use super::Memory;

/// Larger bodies no test sends.
const MOST: usize = 8 << 20;

impl Memory {
    /// Answers on a port of the loopback address as long as the runtime lives; returns a kubeconfig for it in this directory.
    pub async fn listen(&self, directory: &Path) -> io::Result<PathBuf> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let memory = self.clone();
        let each = move |request: Request| {
            let memory = memory.clone();
            async move { memory.answer_http(request).await.map_err(|error| error.to_string()).into_response() }
        };
        // An error means that the runtime ends, and the test with it.
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(each)).await.ok() });
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = directory.join("memory.kubeconfig");
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    async fn answer_http(&self, request: Request) -> io::Result<http::Response<body::Body>> {
        let (head, sent) = request.into_parts();
        let sent = body::to_bytes(sent, MOST).await.map_err(io::Error::other)?;
        let (head, answer) = self.serve(http::Request::from_parts(head, Body::from(sent))).await?.into_parts();
        let answer = answer.collect_bytes().await.map_err(io::Error::other)?;
        Ok(http::Response::from_parts(head, body::Body::from(answer)))
    }
}
