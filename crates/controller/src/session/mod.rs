//! Reconciler: session.

use std::sync::Arc;

use crate::{Context, Error, Part, Shutdown};

/// Runs until told to stop.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    context.ready.set(Part::Session);
    shutdown.requested().await;
    Ok(())
}
