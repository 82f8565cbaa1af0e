//! `backproof-e2e demo`: the main job end to end on a cluster, told on the terminal.

mod demo;
mod demo_postgres;
mod story;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// End-to-end runs of Backproof against the cluster of `BACKPROOF_KUBECONFIG`.
#[derive(Parser)]
#[command(name = "backproof-e2e", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Back up sample data, verify it on schedule, then show a damaged copy, storage gone, and refusals.
    Demo {
        /// Namespace of the demo; deleted and made again if it exists.
        #[arg(long, default_value = "demo")]
        namespace: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Demo { namespace } => demo::run(&namespace),
    }
}
