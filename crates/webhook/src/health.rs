//! Whether this replica may be sent reviews, and its figures.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

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
    /// Where reviews are served, and the name they are asked for by.
    pub address: OnceLock<(SocketAddr, String)>,
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

/// Longest time for a handshake with ourselves.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// A handshake as an API server makes it, by the CAs of the Secret: nothing else tells that it will succeed.
fn handshake(address: SocketAddr, name: String, bundle: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let own = SocketAddr::new(if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() }, address.port());
    let mut stream = TcpStream::connect_timeout(&own, HANDSHAKE).map_err(|error| error.to_string())?;
    let timeouts = [stream.set_read_timeout(Some(HANDSHAKE)), stream.set_write_timeout(Some(HANDSHAKE))];
    timeouts.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Why a handshake with ourselves fails, if it does.
async fn handshake_fault(health: &Health) -> Option<String> {
    let ((address, name), bundle) = (health.address.get()?.clone(), health.serving.bundle()?);
    let outcome = tokio::task::spawn_blocking(move || handshake(address, name, &bundle)).await;
    let why = outcome.unwrap_or_else(|error| Err(error.to_string())).err()?;
    Some(format!("a handshake with itself fails ({why})"))
}

/// The routes of the kubelet and of the collector of figures.
pub fn router(health: Arc<Health>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(health))
        .route("/metrics", get(figures).with_state(metrics))
}

async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let mut missing: Vec<String> = health.missing(Timestamp::now()).into_iter().map(str::to_owned).collect();
    if missing.is_empty() {
        missing.extend(handshake_fault(&health).await);
    }
    match missing.as_slice() {
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
