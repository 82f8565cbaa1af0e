//! The binary `backproof-controller`: reads its settings, starts the parts and ends with the first of them that ends.

use anyhow::Context as _;
use backproof_controller::{Config, telemetry};
use clap::Parser as _;

/// musl's own allocator is slow where several threads make and drop many small pieces, which is all that reading objects is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stack of each worker. Whole objects of large kinds are moved through deep futures; without optimization 2 MiB are too few.
const STACK: usize = 8 << 20;

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::start(config.log_json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(backproof_controller::run(config)).context("backproof-controller ended")
}
