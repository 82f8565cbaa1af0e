//! The command line.

use std::{path::PathBuf, time::Duration};

use backproof_api::duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXIT_CODES: &str = "Exit codes of verify: 0 verified, 1 verification failed, 2 inconclusive, 3 no answer in time.\n\
Exit codes of doctor: 0 nothing stops verification, 1 something does.\n\
Of all verbs: 4 what was named is missing or ambiguous, 5 not allowed or refused, 6 the session was deleted or its status is not\n\
Backproof's, 7 the cluster does not answer, 8 kubeconfig or files, 64 wrong arguments.";

/// Asks Backproof for proofs of backups, and says how they stand and what stops them.
#[derive(Debug, Parser)]
#[command(name = "kubectl-backproof", bin_name = "kubectl backproof", version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Options {
    /// Which cluster and namespace.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which cluster and namespace.
#[derive(Debug, Default, Args)]
pub struct Connection {
    /// Namespace to work in; that of the context if absent.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; its current one if absent.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file; that of kubectl if absent.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Verify a backup now and wait for the verdict, which is the exit code.
    #[command(after_help = EXIT_CODES)]
    Verify(Verify),
    /// Show each Repository with its last proof and what the newest run found.
    Status(Status),
    /// Walk through everything a session depends on and say in each line what is fine and what is not.
    Explain(Explain),
    /// Find what stops verification.
    #[command(after_help = EXIT_CODES)]
    Doctor(Doctor),
    /// Write a support bundle: objects, events and logs, without secrets.
    Report(Report),
    /// Print the manifests by which an existing restic repository is verified; nothing is applied.
    Adopt(Adopt),
    /// Print the completion script of a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Repository, of which the newest Snapshot is verified, or Snapshot; repository/NAME or snapshot/NAME where both exist.
    #[arg(value_name = "REPOSITORY|SNAPSHOT")]
    pub name: String,
    /// BackupConfiguration or BackupBatch on whose behalf, as NAME or KIND/NAME; needed where several use the Repository.
    #[arg(long, value_name = "NAME")]
    pub invoker: Option<String>,
    /// Session of it; needed where several use the Repository.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Let an earlier proof of the same Snapshot by the same verifier stand, instead of restoring anew.
    #[arg(long)]
    pub accept_proof: bool,
    /// Print the session's name and do not wait; 0 then says that it was created.
    #[arg(long)]
    pub no_wait: bool,
    /// Longest time to wait, such as 90s or 1h30m; the session goes on without us. If absent, ten minutes more than its own deadline.
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub timeout: Option<Duration>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this Repository.
    #[arg(value_name = "REPOSITORY")]
    pub name: Option<String>,
    /// Repositories of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Form of the output.
    #[arg(short, long, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Form of the output of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A JSON list.
    Json,
    /// A YAML list.
    Yaml,
    /// A table with more columns.
    Wide,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// BackupVerificationSession.
    #[arg(value_name = "SESSION")]
    pub name: String,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look at all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Let warnings fail as well.
    #[arg(long)]
    pub strict: bool,
    /// Namespace Backproof is installed in.
    #[arg(long, value_name = "NAME", default_value = INSTALLED)]
    pub installed_in: String,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Objects of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// File to write, a gzipped tar archive; backproof-report-TIME.tar.gz if absent. One that exists is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Namespace Backproof is installed in.
    #[arg(long, value_name = "NAME", default_value = INSTALLED)]
    pub installed_in: String,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// Where the restic repository lies: s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, or pvc://CLAIM/PATH.
    #[arg(value_name = "URL")]
    pub url: String,
    /// Name of what is written.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Secret with RESTIC_PASSWORD, and with the storage's credentials where it needs some.
    #[arg(long, value_name = "NAME")]
    pub secret: String,
    /// PersistentVolumeClaim that was backed up.
    #[arg(long, value_name = "CLAIM")]
    pub source: String,
    /// Empty PersistentVolumeClaim to restore into, another one than the source.
    #[arg(long, value_name = "CLAIM")]
    pub target: String,
    /// When to verify.
    #[arg(long, value_name = "CRON", default_value = "0 4 * * *")]
    pub schedule: String,
    /// Address of a server that speaks S3 and is not Amazon.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of an S3 bucket.
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Azure storage account.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// User id that owns the files of a repository on a claim.
    #[arg(long, value_name = "UID")]
    pub run_as_user: Option<i64>,
}

/// Where the chart's documentation installs it.
const INSTALLED: &str = "backproof-system";

fn wait(text: &str) -> Result<Duration, String> {
    match duration::parse_optional(text) {
        Ok(Some(duration)) => Ok(duration),
        Ok(None) => Err("write a duration such as 90s or 1h30m".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Options::command().debug_assert();
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(wait("1h30m"), Ok(Duration::from_secs(5_400)));
        for wrong in ["", "5", "-1s", "2d"] {
            assert!(wait(wrong).is_err(), "{wrong}");
        }
    }
}
