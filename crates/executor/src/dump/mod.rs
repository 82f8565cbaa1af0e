//! `restore-dump`: streams a dump out of a repository straight into a database server's own client, and proves that what is in
//! the database afterwards was put there by this run. This file is the command line; each step is a file of its own.
//!
//! Invariant: no copy of the dump on a disk, and in memory a few MiB of it; the client is told that the dump has ended only
//! when every byte of it has arrived, and is killed otherwise.

mod client;
mod own;
mod scan;
mod steps;
mod stream;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use backproof_api::Cause;

use crate::{
    BAD_USAGE,
    engine::ConnectionArgs,
    restore::{Destination, Run, watch},
    store::Location,
};

/// Arguments of `restore-dump`. Password and credentials of the repository come as for `restore`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the repository lies: file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long)]
    repository: String,
    /// The restic snapshot: an id, its beginning, or `latest`.
    #[arg(long)]
    snapshot: String,
    /// The dump in the snapshot, as restic shows it; not needed if the snapshot holds one file.
    #[arg(long)]
    path: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Where the report goes: a file, or `-` for standard output.
    #[arg(long, default_value = "-")]
    report: String,
    /// Whether a dump that makes nothing is right.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    allow_empty: bool,
    /// The server's client.
    #[arg(long, default_value = "psql")]
    client: PathBuf,
    /// MiB of repository data in memory at a time, beside 24 MiB of the dump.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=65536))]
    memory: u64,
    /// Readers at a time; by default fitting to the storage and the processors.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    readers: Option<u16>,
}

/// Runs the command. Whatever happens, a report is written and the exit code is its outcome's.
pub(crate) fn run(args: &Args) -> ExitCode {
    let location: Location = match args.repository.parse() {
        Ok(location) => location,
        Err(error) => {
            eprintln!("error: --repository: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    // The client, and what a dump has it run, must not read the repository's password out of this process.
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let run = Arc::new(Run::new(Destination::from(args.report.as_str())));
    if let Err(error) = watch(&run).and_then(|()| hidden.map_err(Into::into)) {
        run.findings.add(Cause::Internal, "", &format!("the process cannot be set up: {error}"));
        return run.finish();
    }
    run.progress.keep_printing();
    if let Err(finding) = steps::restore(args, &location, &run) {
        run.findings.push(finding);
    }
    run.finish()
}
