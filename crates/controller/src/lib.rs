//! The controller: schedule, verification session, restore session and repository, each a reconciler of its own.
//!
//! Invariant: every reconciler observes (reads only), decides (pure, total, without a clock) and applies; it alone writes
//! the status fields of its kind. Nothing here reads a Secret, but to copy it for the pairs of `crossNamespace` (`restore/copies`).

// Whole objects as JSON literals in tests.
#![cfg_attr(test, recursion_limit = "256")]

mod again;
mod cache;
pub mod clock;
pub mod config;
pub mod context;
mod database;
pub mod error;
pub mod events;
#[cfg(test)]
mod exploration;
mod failure;
mod fate;
mod hold;
pub mod leader;
pub mod lease;
mod manifest;
pub mod metrics;
mod place;
mod pods;
mod queue;
pub mod repository;
pub mod restore;
pub mod schedule;
pub mod server;
pub mod session;
mod shared;
pub mod shutdown;
pub mod storage;
pub mod telemetry;

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;

pub use clock::Clock;
pub use config::Config;
pub use context::{Context, Part};
pub use error::Error;
use leader::Candidate;
use shared::Shared;
pub use shutdown::Shutdown;

/// Runs every part until the process is told to stop or one of them ends; the first error is the process's reason.
pub async fn run(config: Config) -> Result<(), Error> {
    // A second caller in the same process (tests) finds the provider set; that is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let context = Arc::new(Context::connect(config).await?);
    let (stop, shutdown) = shutdown::channel();
    let mut parts = JoinSet::new();
    part(&mut parts, "http", server::run(context.clone(), shutdown.clone()));
    let signal = shutdown::signal();
    tokio::pin!(signal);
    let candidate = Candidate::new(context.unbound.clone(), &context.config.namespace, leader::identity(), context.leading.clone());
    let stand_by = |holder: &str| {
        if !context.ready.stands_by() {
            tracing::info!(holder, "another controller leads; standing by");
            context.ready.stand_by();
        }
    };
    tokio::select! {
        () = candidate.lead(stand_by) => {
            context.ready.lead();
            context.metrics.leading.set(1);
        }
        name = &mut signal => {
            tracing::info!(signal = name?, "stopping");
            return Ok(());
        }
        ended = parts.join_next() => return Err(premature(ended)),
    }
    let (give_back, given_back) = shutdown::channel();
    let mut lead = tokio::spawn(candidate.keep(given_back));
    let (shared, caches) = Shared::watch(&context);
    let shared = Arc::new(shared);
    part(&mut parts, "caches", shared::run(context.clone(), shared.clone(), caches, shutdown.clone()));
    part(&mut parts, "session", session::run(context.clone(), shared.clone(), shutdown.clone()));
    part(&mut parts, "restore", restore::run(context.clone(), shared.clone(), shutdown.clone()));
    part(&mut parts, "schedule", schedule::run(context.clone(), shared.clone(), shutdown.clone()));
    part(&mut parts, "figures", metrics::snapshots::run(context.clone(), shutdown.clone()));
    part(&mut parts, "repository", repository::run(context.clone(), shared, shutdown.clone()));

    let mut outcome = tokio::select! {
        name = &mut signal => {
            tracing::info!(signal = name?, "stopping");
            Ok(())
        }
        ended = parts.join_next() => Err(premature(ended)),
        // Another one may act already: nothing is finished first.
        lost = &mut lead => return Err(match lost {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::PartEnded { part: "leader" },
            Err(source) => Error::PartPanicked { source },
        }),
    };
    stop.stop();
    while let Some(ended) = parts.join_next().await {
        if let (Ok(()), Ok((_, Err(error)))) = (&outcome, ended) {
            outcome = Err(error);
        }
    }
    // Only now that nobody writes any more may the next one start.
    give_back.stop();
    if !lead.is_finished() {
        let _ = lead.await;
    }
    outcome
}

type Ended = (&'static str, Result<(), Error>);

fn part(parts: &mut JoinSet<Ended>, name: &'static str, run: impl Future<Output = Result<(), Error>> + Send + 'static) {
    parts.spawn(async move { (name, run.await) });
}

/// Why a part that should run for ever has ended.
fn premature(ended: Option<Result<Ended, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok((_, Err(error)))) => error,
        Some(Ok((name, Ok(())))) => Error::PartEnded { part: name },
        Some(Err(join)) => Error::PartPanicked { source: join },
        None => Error::PartEnded { part: "all" },
    }
}
