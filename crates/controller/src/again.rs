//! Reads that failed in passing are asked again at once. One reconcile reads a dozen objects, and a single failure among them
//! would cost all of it and a pause that doubles each time: where a fifth of all answers were errors, sessions got nowhere for
//! minutes. Writes are not repeated here: whether that is safe, only who wrote can tell.

use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode, Uri};
use kube::{Client, client::Body};
use tower::BoxError;

/// Most times one read is asked for.
const TRIES: u32 = 4;
/// Pause before the second time; it doubles from then on.
const PAUSE: Duration = Duration::from_millis(50);

/// The same client with that patience.
pub(crate) fn patient(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(tower::service_fn(move |request| send(client.clone(), request)), namespace)
}

async fn send(client: Client, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    // A watch that breaks is begun anew by who watches, from where it was.
    if request.method() != Method::GET || is_watch(request.uri()) {
        return Ok(client.send(request).await?);
    }
    let (head, _) = request.into_parts();
    let once = || client.send(Request::from_parts(head.clone(), Body::empty()));
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match once().await {
            Ok(answer) if !passes(answer.status()) => return Ok(answer),
            Ok(_) | Err(_) => tokio::time::sleep(pause).await,
        }
        pause = pause.saturating_mul(2);
    }
    Ok(once().await?)
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| part == "watch=true" || part == "watch=1"))
}

/// What another try may answer otherwise. 429, 503 and 504 are repeated beneath, as the server asks for it.
fn passes(status: StatusCode) -> bool {
    matches!(status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GONE)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// The last answer to a request, of a server that fails the first times, and how often it was asked.
    async fn asked(method: Method, path: &str, failures: u32, status: u16) -> (u16, u32) {
        let times = Arc::new(AtomicU32::new(0));
        let counted = times.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            let failed = counted.fetch_add(1, Ordering::SeqCst) < failures;
            let answer = Response::builder().status(if failed { status } else { 200 }).body(Body::empty());
            async move { Ok::<_, BoxError>(answer?) }
        });
        let client = patient(Client::new(server, "default"));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = client.send(request).await.unwrap();
        (answer.status().as_u16(), times.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_read_is_asked_again_and_nothing_else_is() {
        for status in [500, 502, 410] {
            assert_eq!(asked(Method::GET, "/api/v1/pods", 3, status).await, (200, 4));
            assert_eq!(asked(Method::GET, "/api/v1/pods", 99, status).await, (status, 4), "it has an end");
            assert_eq!(asked(Method::GET, "/api/v1/pods?watch=true&timeoutSeconds=290", 1, status).await, (status, 1));
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(asked(method, "/api/v1/pods", 1, status).await, (status, 1), "a write may have arrived");
            }
        }
        for status in [404, 403, 400] {
            assert_eq!(asked(Method::GET, "/api/v1/pods", 99, status).await, (status, 1), "an answer is an answer");
        }
    }
}
