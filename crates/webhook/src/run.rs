//! The process's tasks: watches, certificate, two servers. The end of any of them ends the process; one signal ends them all.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum_server::Handle;
use kube::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{
    Error, Options,
    admit::Admission,
    cache::Cache,
    files::Files,
    health::{self, Health},
    keeper::Keeper,
    live::Live,
    metrics::Metrics,
    server::{self, Limits},
};

/// Longest time a live read may take; short enough to answer within the API server's patience.
const LIVE_READ: Duration = Duration::from_secs(4);
/// Longest time running requests get after the last new one.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Serves until a signal asks the process to stop.
pub async fn run(options: Options) -> Result<(), Error> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.map_err(Box::new)?;
    let health = Arc::new(Health::default());
    let metrics = Metrics::new(Arc::clone(&health.serving));
    let live = Live::new(client.clone(), LIVE_READ);
    let (cache, watches) = Cache::new(&client, live.clone());
    let mut tasks: JoinSet<Error> = JoinSet::new();
    for watch in watches {
        tasks.spawn(async {
            watch.await;
            Error::Ended { task: "watch", why: "no more events".to_owned() }
        });
    }
    tasks.spawn(note_filled(cache.clone(), Arc::clone(&health)));
    match options.certificate_dir.clone() {
        None => tasks.spawn(Keeper::new(client.clone(), options.clone(), Arc::clone(&health)).run()),
        Some(directory) => tasks.spawn(Files::new(client.clone(), &options, directory, Arc::clone(&health)).run()),
    };
    tasks.spawn(serve_health(options.health_listen, health::router(Arc::clone(&health), metrics.clone())));

    let limits = Limits::default();
    let router = server::router(Admission::new(cache, live, options.allowed()), metrics, limits);
    let handle = Handle::new();
    let mut reviews = tokio::spawn(serve_reviews(options.listen, router, limits, Arc::clone(&health), handle.clone()));
    tokio::spawn(note_listening(handle.clone(), Arc::clone(&health), options.names().into_iter().next().unwrap_or_default()));

    tokio::select! {
        name = asked_to_stop() => tracing::info!("{}: stopping", name?),
        ended = tasks.join_next() => return Err(ended_task(ended)),
        ended = &mut reviews => return Err(ended_server(ended)),
    }
    // First nobody sends requests here any more, then the last ones are answered.
    health.stopping.store(true, Ordering::Release);
    tokio::time::sleep(options.drain()).await;
    handle.graceful_shutdown(Some(LAST_REQUESTS));
    match reviews.await {
        Ok(Ok(())) => Ok(()),
        ended => Err(ended_server(ended)),
    }
}

async fn asked_to_stop() -> Result<&'static str, Error> {
    let failed = |source| Error::Start { what: "listen for signals".to_owned(), source };
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

fn ended_task(ended: Option<Result<Error, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok(error)) => error,
        Some(Err(error)) => Error::Ended { task: "task", why: error.to_string() },
        None => Error::Ended { task: "task", why: "none is left".to_owned() },
    }
}

fn ended_server(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => Error::Ended { task: "server", why: "it was not told to".to_owned() },
        Err(error) => Error::Ended { task: "server", why: error.to_string() },
    }
}

async fn note_filled(cache: Cache, health: Arc<Health>) -> Error {
    if let Err(error) = cache.filled().await {
        return error;
    }
    tracing::info!("the caches are filled");
    health.caches_filled.store(true, Ordering::Release);
    std::future::pending().await
}

async fn note_listening(handle: Handle<SocketAddr>, health: Arc<Health>, name: String) {
    if let Some(address) = handle.listening().await {
        // It is set once: a second address there cannot be.
        let _ = health.address.set((address, name));
        tracing::info!("reviews are served at {address}");
        health.listening.store(true, Ordering::Release);
    }
}

async fn serve_health(address: SocketAddr, router: axum::Router) -> Error {
    let what = format!("serve /healthz, /readyz and /metrics at {address}");
    let served = async { axum::serve(tokio::net::TcpListener::bind(address).await?, router).await };
    match served.await {
        Ok(()) => Error::Ended { task: "health server", why: "it was not told to".to_owned() },
        Err(source) => Error::Start { what, source },
    }
}

async fn serve_reviews(
    address: SocketAddr,
    router: axum::Router,
    limits: Limits,
    health: Arc<Health>,
    handle: Handle<SocketAddr>,
) -> Result<(), Error> {
    let config = server::tls(Arc::clone(&health.serving) as _).map_err(|error| Error::Certificate(error.to_string()))?;
    server::bind(address, config, limits)
        .handle(handle)
        .serve(router.into_make_service())
        .await
        .map_err(|source| Error::Start { what: format!("serve reviews at {address}"), source })
}
