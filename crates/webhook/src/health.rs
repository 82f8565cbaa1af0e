//! Whether this replica may be sent reviews, and its figures.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use jiff::Timestamp;

use crate::{certificate::Serving, metrics::Metrics};

/// What must hold before reviews may be sent here.
#[derive(Debug, Default)]
pub struct Health {
    /// The certificate served, and the one in the Secret.
    pub serving: Arc<Serving>,
    /// Every cache was filled once.
    pub caches_filled: AtomicBool,
    /// Connections are accepted.
    pub listening: AtomicBool,
    /// The registration was seen to trust the CA once.
    pub registered: AtomicBool,
    /// The process was told to stop.
    pub stopping: AtomicBool,
}

impl Health {
    /// What is still missing; nothing means ready.
    pub fn missing(&self, now: Timestamp) -> Vec<&'static str> {
        let set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        let mut missing = Vec::new();
        if set(&self.stopping) {
            missing.push("the process is stopping");
        }
        if !set(&self.caches_filled) {
            missing.push("the caches are not filled yet");
        }
        if !set(&self.listening) {
            missing.push("no connections are accepted yet");
        }
        if !set(&self.registered) {
            missing.push("the webhook configuration does not carry the CA yet");
        }
        missing.extend(self.serving.fault(now));
        missing
    }
}

/// The routes of the kubelet and of the collector of figures.
pub fn router(health: Arc<Health>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(health))
        .route("/metrics", get(figures).with_state(metrics))
}

async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.missing(Timestamp::now()).as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        missing => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; "))),
    }
}

async fn figures(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], "the figures cannot be written\n".to_owned()),
    }
}
