//! The controller: schedule, verification session, restore session and repository, each a reconciler of its own.
//!
//! Invariant: every reconciler observes (reads only), decides (pure, total, without a clock) and applies; it alone writes
//! the status fields of its kind. Nothing here reads a Secret.

// Whole objects as JSON literals in tests.
#![cfg_attr(test, recursion_limit = "256")]

mod cache;
pub mod config;
pub mod context;
pub mod error;
pub mod events;
mod failure;
mod fate;
pub mod lease;
pub mod metrics;
mod place;
mod pods;
mod queue;
pub mod repository;
pub mod restore;
pub mod schedule;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod storage;
pub mod telemetry;

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;

pub use config::Config;
pub use context::{Context, Part};
pub use error::Error;
pub use shutdown::Shutdown;

/// Runs every part until the process is told to stop or one of them ends; the first error is the process's reason.
pub async fn run(config: Config) -> Result<(), Error> {
    // A second caller in the same process (tests) finds the provider set; that is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let context = Arc::new(Context::connect(config).await?);
    let (stop, shutdown) = shutdown::channel();
    let mut parts = JoinSet::new();
    part(&mut parts, "http", server::run(context.clone(), shutdown.clone()));
    part(&mut parts, "session", session::run(context.clone(), shutdown.clone()));
    part(&mut parts, "restore", restore::run(context.clone(), shutdown.clone()));
    part(&mut parts, "schedule", schedule::run(context.clone(), shutdown.clone()));
    part(&mut parts, "repository", repository::run(context.clone(), shutdown.clone()));
    let signal = shutdown::signal();
    tokio::pin!(signal);

    let mut outcome = tokio::select! {
        name = &mut signal => {
            tracing::info!(signal = name?, "stopping");
            Ok(())
        }
        ended = parts.join_next() => Err(premature(ended)),
    };
    stop.stop();
    while let Some(ended) = parts.join_next().await {
        if let (Ok(()), Ok((_, Err(error)))) = (&outcome, ended) {
            outcome = Err(error);
        }
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
