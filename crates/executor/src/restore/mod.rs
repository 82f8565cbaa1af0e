//! `restore`: from a repository to a target, with a proof. This file is the command line and the order of the steps; each
//! step is a file of its own. The same code runs in a Job and by hand.

mod fetch;
mod findings;
mod landing;
mod locate;
mod metadata;
mod plan;
mod progress;
mod readback;
mod reporting;
mod steps;
mod tree;
mod write;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

#[cfg(feature = "postgres")]
pub(crate) use fetch::{Effort, Got, Piece, Stop, describe, fetch};
pub(crate) use findings::Findings;
pub(crate) use landing::Place;
#[cfg(feature = "postgres")]
pub(crate) use locate::{Missing, ROUNDS, give_up, note_unneeded, pack_path, settle};
#[cfg(feature = "postgres")]
pub(crate) use plan::{Kind, Plan};
#[cfg(feature = "postgres")]
pub(crate) use progress::Step;
use readback::ReadBack;
pub(crate) use reporting::{Destination, Run, watch};
pub(crate) use steps::passwords;
#[cfg(feature = "postgres")]
pub(crate) use steps::{compare_sizes, find_blobs, opened, pinned, probe};
#[cfg(feature = "postgres")]
pub(crate) use tree::Walk;

use crate::{BAD_USAGE, store::Location};

/// Arguments of `restore`. The password comes from RESTIC_PASSWORD, or from the file of that name in
/// BACKPROOF_ENCRYPTION_DIR; storage credentials from the providers' usual environment, or from files in
/// BACKPROOF_STORAGE_DIR. An object store that does not answer is asked again for BACKPROOF_STORAGE_PATIENCE seconds (60).
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the repository lies: file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long)]
    repository: String,
    /// The restic snapshot: an id, its beginning, or `latest`.
    #[arg(long)]
    snapshot: String,
    /// Only this path of the snapshot, as restic shows it; it lands at the target's root.
    #[arg(long)]
    path: Option<String>,
    /// Directory to restore into: empty, new, or marked as this claim's.
    #[arg(long)]
    target: PathBuf,
    /// Where the report goes: a file, or `-` for standard output.
    #[arg(long, default_value = "-")]
    report: String,
    /// Whether a snapshot without any entry is right.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    allow_empty: bool,
    /// How much of the target is read again; less than everything proves nothing.
    #[arg(long, value_enum, default_value_t = ReadBack::Full)]
    read_back: ReadBack,
    /// By hand: first remove what an earlier restore by hand left in the target.
    #[arg(long)]
    replace: bool,
    /// MiB of data in memory at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65536))]
    memory: u64,
    /// Readers at a time; by default fitting to the storage and the processors.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    readers: Option<u16>,
    /// More entries than this are not taken on.
    #[arg(long, default_value_t = 10_000_000)]
    max_entries: usize,
}

/// Runs the command. Whatever happens, a report is written and the exit code is its outcome's.
pub(crate) fn run(args: Args) -> ExitCode {
    let location: Location = match args.repository.parse() {
        Ok(location) => location,
        Err(error) => {
            eprintln!("error: --repository: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let run = Arc::new(Run::new(Destination::from(args.report.as_str())));
    if let Err(error) = watch(&run) {
        run.findings.add(backproof_api::Cause::Internal, "", &format!("signals cannot be watched: {error}"));
        return run.finish();
    }
    run.progress.keep_printing();
    if let Err(finding) = steps::restore(&args, &location, &run) {
        run.findings.push(finding);
    }
    run.finish()
}
