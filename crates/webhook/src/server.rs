//! HTTPS for the API server: the routes, what a request may cost, and the certificate of the moment.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Json, Response},
    routing::post,
};
use axum_server::{
    Server,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionReview},
};
use rustls::{ServerConfig, crypto::ring, server::ResolvesServerCert};
use tokio::sync::Semaphore;

use crate::{
    admit::{Admission, Judged},
    metrics::{Metrics, Outcome},
    source::Source,
    strict,
};

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a body. The API server takes objects of 3 MiB, and a review of an update carries two.
    pub body: usize,
    /// Longest time from a request's head to its answer.
    pub request: Duration,
    /// Longest time for the handshake, and then for a request's head.
    pub connection: Duration,
    /// Most requests that are worked on at once; more wait within their time.
    pub concurrent: usize,
    /// Most bytes of bodies held at once that are not small; what does not say how long it is counts as the longest.
    pub bodies: usize,
    /// Most values in one review. Each takes many times the memory of the bytes that write it.
    pub values: usize,
}

/// A body of this size counts for nothing: as many as there may be requests at once fit, and they wait for nobody who is slow.
const SMALL: usize = 64 << 10;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            request: Duration::from_secs(9),
            connection: Duration::from_secs(10),
            concurrent: 256,
            bodies: 32 << 20,
            values: 150_000,
        }
    }
}

/// A review of so many values counts for nothing, as a small body does.
const FEW: usize = 500;

struct Service<C, L> {
    admission: Admission<C, L>,
    metrics: Metrics,
    most: usize,
    /// What all reviews that are read at the same time may hold together: as much as one.
    values: Semaphore,
}

/// The routes of the reviews.
pub fn router<C: Source, L: Source>(admission: Admission<C, L>, metrics: Metrics, limits: Limits) -> Router {
    let values = Semaphore::new(limits.values);
    let service = Arc::new(Service { admission, metrics, most: limits.values, values });
    let bounds = Bounds { requests: Arc::new(Semaphore::new(limits.concurrent)), kibibytes: Arc::new(Semaphore::new(limits.bodies >> 10)) };
    let mut router = Router::new();
    for judged in Judged::ALL.iter().copied() {
        let handler = move |State(service): State<Arc<Service<C, L>>>, headers: HeaderMap, body: Bytes| async move {
            review(&service, judged, &headers, &body).await
        };
        router = router.route(&judged.path(), post(handler));
    }
    router
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(middleware::from_fn(move |request, next| bounded(limits, bounds.clone(), request, next)))
        .with_state(service)
}

/// What requests share.
#[derive(Clone)]
struct Bounds {
    requests: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
}

/// Cuts off what takes too long, slow senders among it, and lets only so many, and so much, in at once.
async fn bounded(limits: Limits, bounds: Bounds, request: Request, next: Next) -> Response {
    let longest = limits.request;
    let weight = kibibytes(request.headers(), limits);
    let work = async move {
        let _body = match weight {
            0 => None,
            weight => Some(bounds.kibibytes.acquire_many(weight).await),
        };
        let _permit = bounds.requests.acquire().await;
        next.run(request).await
    };
    let late = || (StatusCode::REQUEST_TIMEOUT, format!("no answer within {} s; try again\n", longest.as_secs())).into_response();
    tokio::time::timeout(longest, work).await.unwrap_or_else(|_| late())
}

/// What a body counts for; never more than fits at once, and nothing if it is small.
fn kibibytes(headers: &HeaderMap, limits: Limits) -> u32 {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let most = limits.body.min(limits.bodies);
    match said.unwrap_or(most).min(most) {
        0..=SMALL => 0,
        large => u32::try_from(large >> 10).unwrap_or(u32::MAX),
    }
}

async fn review<C: Source, L: Source>(service: &Service<C, L>, judged: Judged, headers: &HeaderMap, body: &[u8]) -> Response {
    let start = Instant::now();
    let _values = match strict::values(body).min(service.most) {
        0..=FEW => None,
        many => Some(service.values.acquire_many(u32::try_from(many).unwrap_or(u32::MAX)).await),
    };
    let (response, outcome) = match read(headers, body, service.most) {
        Ok(request) => {
            let (answer, outcome) = service.admission.answer(judged, &request).await;
            tracing::debug!(kind = judged.kind(), namespace = ?request.namespace, name = request.name, ?outcome, "reviewed");
            (Json(answer.into_review()).into_response(), outcome)
        }
        Err(refusal) => (refusal.into_response(), Outcome::Malformed),
    };
    service.metrics.reviewed(judged.kind(), outcome, start.elapsed());
    response
}

fn read(headers: &HeaderMap, body: &[u8], most: usize) -> Result<AdmissionRequest<DynamicObject>, (StatusCode, String)> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{content_type:?} is not understood; send application/json\n")));
    }
    let bad = |why: String| (StatusCode::BAD_REQUEST, format!("not an AdmissionReview of admission.k8s.io/v1: {why}\n"));
    let review = strict::read(body, most).map_err(|error| bad(error.to_string()))?;
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(review).map_err(|error| bad(error.to_string()))?;
    if review.types.api_version != "admission.k8s.io/v1" || review.types.kind != "AdmissionReview" {
        return Err(bad(format!("it is {} {}", review.types.api_version, review.types.kind)));
    }
    review.try_into().map_err(|_| bad("it holds no request".to_owned()))
}

/// The TLS side: TLS 1.2 and 1.3, HTTP/2 and 1.1, and the certificate that `resolver` has at the moment of the handshake.
pub fn tls(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A server at this address that waits neither for handshakes nor for heads of requests longer than allowed.
///
/// Nothing is held back to fill a packet: an answer after a small frame of HTTP/2's own, as there is one every hundred reviews
/// or two, would wait 40 ms for the other side to acknowledge that frame.
pub fn bind(address: SocketAddr, config: ServerConfig, limits: Limits) -> Server<SocketAddr, RustlsAcceptor<NoDelayAcceptor>> {
    let config = RustlsConfig::from_config(Arc::new(config));
    let acceptor = RustlsAcceptor::new(config).handshake_timeout(limits.connection).acceptor(NoDelayAcceptor);
    let mut server = Server::bind(address).acceptor(acceptor).first_request_timeout(limits.connection);
    let http = server.http_builder();
    http.http1().header_read_timeout(limits.connection);
    http.http2().keep_alive_interval(limits.connection).keep_alive_timeout(limits.connection).max_concurrent_streams(256);
    server
}
