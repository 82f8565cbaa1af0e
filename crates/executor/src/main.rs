//! The executor: what runs inside Backproof's Jobs. This file is the command line only; each command is a module.
//!
//! Invariant: nothing here, or below, can write to a repository. The store type has no method that does.

mod discover;
#[cfg(feature = "postgres")]
mod dump;
mod engine;
mod repo;
mod restore;
mod store;
mod target;
mod trigger;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a command line that cannot be understood.
const BAD_USAGE: u8 = 64;

/// Proves backups restorable: what runs inside Backproof's Jobs, and by hand.
#[derive(Parser)]
#[command(name = "backproof-executor", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Restore a restic snapshot into an empty directory and prove it by reading it back.
    Restore(restore::Args),
    /// Stream a dump out of a restic snapshot into an empty database, and prove that what is there came from it.
    #[cfg(feature = "postgres")]
    RestoreDump(dump::Args),
    /// Ask a restored database what a BackupVerifier's query asks.
    Verify(verify::Args),
    /// Remove what an earlier restore left in a target, under that restore's marker only.
    Wipe(target::WipeArgs),
    /// Get a target ready for a program that restores by itself.
    Prepare(target::WipeArgs),
    /// Make the verification session a CronJob's tick asks for.
    Trigger(trigger::Args),
    /// Make a Snapshot object of each restic snapshot in a repository.
    Discover(discover::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = !error.use_stderr();
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return if help { ExitCode::SUCCESS } else { ExitCode::from(BAD_USAGE) };
        }
    };
    match cli.command {
        Command::Restore(args) => restore::run(args),
        #[cfg(feature = "postgres")]
        Command::RestoreDump(args) => dump::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Wipe(args) => target::wipe_command(&args),
        Command::Prepare(args) => target::prepare_command(&args),
        Command::Trigger(args) => trigger::run(args),
        Command::Discover(args) => discover::run(&args),
    }
}
