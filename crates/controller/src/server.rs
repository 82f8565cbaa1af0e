//! /healthz, /readyz and /metrics over plain HTTP.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::encoding::text::encode;

use crate::{Context, Error, Shutdown};

/// Serves until told to stop.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    let address = context.config.listen;
    let failed = |source| Error::Start { what: format!("serve /healthz and /metrics on {address}"), source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(context);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.requested()).await.map_err(failed)
}

async fn ready(State(context): State<Arc<Context>>) -> impl IntoResponse {
    if context.ready.stands_by() {
        return (StatusCode::OK, "standing by: another controller leads\n".to_owned());
    }
    let missing = context.ready.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("caches not filled yet: {missing:?}\n"))
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = context.registry.lock().map(|registry| encode(&mut text, &registry));
    match encoded {
        Ok(Ok(())) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text),
        Ok(Err(_)) | Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], "the figures cannot be written\n".to_owned())
        }
    }
}
