//! Reconciler: restore.

use std::sync::Arc;

use crate::{Context, Error, Part, Shutdown};

/// Runs until told to stop.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    context.ready.set(Part::Restore);
    shutdown.requested().await;
    Ok(())
}
