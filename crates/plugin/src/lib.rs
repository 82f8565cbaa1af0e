//! `kubectl backproof`: asks for proofs, and says how they stand and what stops them.
//!
//! Invariant: it writes nothing to a cluster but the BackupVerificationSession that `verify` is asked for. What each verb may do there
//! stands in one table ([`rights`]), and what nobody has looked at is named, never passed over.

mod adopt;
mod cluster;
mod doctor;
pub mod error;
mod explain;
mod find;
mod kinds;
pub mod options;
mod output;
mod records;
pub mod redact;
mod report;
pub mod rights;
mod status;
mod verify;

use clap::CommandFactory as _;

use crate::{
    cluster::Cluster,
    error::Error,
    options::{Options, Verb},
};

/// Does what was asked for and says with which code the program ends. `terminal`: whether somebody watches.
///
/// # Errors
/// Everything that is no answer; each has an exit code of its own, never one of those that are verdicts.
pub async fn run(options: Options, terminal: bool) -> Result<u8, Error> {
    let connection = &options.connection;
    match &options.verb {
        Verb::Verify(asked) => {
            let watcher = if terminal { verify::Watcher::Terminal } else { verify::Watcher::Lines };
            verify::run(&Cluster::connect(connection).await?, asked, watcher).await
        }
        Verb::Status(asked) => status::run(&Cluster::connect(connection).await?, asked).await,
        Verb::Explain(asked) => explain::run(&Cluster::connect(connection).await?, asked).await,
        Verb::Doctor(asked) => doctor::run(&Cluster::connect(connection).await?, asked).await,
        Verb::Report(asked) => report::run(&Cluster::connect(connection).await?, asked).await,
        Verb::Adopt(asked) => adopt::run(connection, asked),
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Options::command(), "kubectl-backproof", &mut script);
            output::print(&String::from_utf8_lossy(&script)).map(|()| 0)
        }
    }
}
