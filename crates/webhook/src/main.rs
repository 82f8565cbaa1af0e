//! The process: options, log, one signal to stop, and the exit code.

use std::{io::IsTerminal as _, process::ExitCode};

use backproof_webhook::{Options, probe, run::run};
use clap::{Parser, Subcommand};

/// musl's own allocator is slow where several threads make and drop many small pieces, which is all that reading a review is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stack of each worker: reading and judging large objects takes some.
const STACK: usize = 8 << 20;

/// Validates BackupVerificationSessions and BackupVerifiers on admission.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Asks the API server, by dry runs, whether this webhook refuses what it must and lets in what it may.
    Probe(probe::Probe),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,kube_client=warn,kube_runtime=warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the workers: {error}");
            return ExitCode::FAILURE;
        }
    };
    match cli.command {
        Some(Command::Probe(asked)) => told(runtime.block_on(probe::run(&asked))),
        None => served(runtime.block_on(run(cli.options))),
    }
}

fn served(outcome: Result<(), backproof_webhook::Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn told(outcomes: Result<[probe::Outcome; 2], backproof_webhook::Error>) -> ExitCode {
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => return served(Err(error)),
    };
    for outcome in &outcomes {
        match outcome {
            Ok(line) => println!("as it should be: {line}"),
            Err(line) => eprintln!("WRONG: {line}"),
        }
    }
    if outcomes.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
