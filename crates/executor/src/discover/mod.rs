//! `discover`: turns the restic snapshots of a repository into Snapshot objects. The repository is only read and never locked.
//!
//! It finds the restic repositories ([`layout`]), lists them ([`read`]), decides ([`plan`], pure) and makes objects; deleting them is the controller's.

mod cluster;
mod filter;
mod layout;
mod plan;
mod read;

use std::{io::Write as _, process::ExitCode};

use backproof_api::{
    Cause,
    report::{DiscoveryReport, TERMINATION_MESSAGE_LIMIT},
};

use crate::{BAD_USAGE, store::Location};
use cluster::Cluster;
use filter::Filter;
use read::{Listing, Wanted};

/// Arguments of `discover`. Password and credentials come as for `restore`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the repository lies, or one for each component in KubeStash's way: file:///DIR, s3://BUCKET/PREFIX,
    /// gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long)]
    repository: String,
    /// Name of the Repository object.
    #[arg(long)]
    repository_name: String,
    /// Its namespace.
    #[arg(long)]
    namespace: String,
    /// Its UID.
    #[arg(long)]
    repository_uid: String,
    /// Session of snapshots that neither a tag nor the filter assigns.
    #[arg(long, default_value = "")]
    session: String,
    /// JSON object of session, host, paths and tags.
    #[arg(long, default_value = "")]
    filter: String,
    /// Where the report goes: a file, or `-` for standard output.
    #[arg(long, default_value = "-")]
    report: String,
}

/// Runs the command: 0 when every snapshot was read and has its object, 2 when it could not find out.
pub(crate) fn run(args: &Args) -> ExitCode {
    let location: Location = match args.repository.parse() {
        Ok(location) => location,
        Err(error) => {
            eprintln!("error: --repository: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let report = discover(args, &location);
    let text = report.to_json(TERMINATION_MESSAGE_LIMIT);
    let written =
        if args.report == "-" { std::io::stdout().write_all(format!("{text}\n").as_bytes()) } else { std::fs::write(&args.report, &text) };
    if let Err(error) = written {
        eprintln!("error: cannot write the report to {}: {error}", args.report);
        return ExitCode::from(2);
    }
    eprintln!("{}", summary(&report));
    if report.complete && report.cause.is_none() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn discover(args: &Args, location: &Location) -> DiscoveryReport {
    let mut report = DiscoveryReport {
        cause: None,
        error: None,
        sessions: Vec::new(),
        repository_id: String::new(),
        complete: false,
        found: 0,
        created: 0,
        newest: None,
        ids: Vec::new(),
        gone: Vec::new(),
        notes: Vec::new(),
    };
    let filter: Filter = match args.filter.parse() {
        Ok(filter) => filter,
        Err(error) => return failed(report, Cause::RepositoryInvalid, format!("annotation backproof.dev/discover-filter: {error}")),
    };
    let listing = read::list(location, Wanted { filter: &filter, only_session: &args.session });
    report.sessions.clone_from(&listing.sessions);
    report.repository_id.clone_from(&listing.repository_id);
    report.found = u32::try_from(listing.found.len()).unwrap_or(u32::MAX);
    report.complete = listing.fault.is_none();
    if let Some(fault) = &listing.fault {
        report.cause = Some(fault.kind);
        let place = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        report.error = Some(format!("{place}{}", here(&fault.detail)));
    }
    if listing.repository_id.is_empty() {
        return report;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = match runtime {
        Ok(runtime) => runtime.block_on(make(args, listing, &mut report)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match made {
        Ok(()) => report,
        Err(error) => failed(report, Cause::Internal, error),
    }
}

/// The remedy of a restore Job's user, for a discovery Job: its user is named in another place.
fn here(detail: &str) -> String {
    detail.replace(
        "spec.restoreOption.addonInfo.jobTemplate of the BackupVerifier:\n  spec:\n",
        "spec.runtimeSettings.pod of the BackupStorage:\n",
    )
}

fn failed(mut report: DiscoveryReport, cause: Cause, error: String) -> DiscoveryReport {
    report.complete = false;
    report.sessions.clear();
    report.cause.get_or_insert(cause);
    report.error.get_or_insert(error);
    report
}

/// Makes the objects.
async fn make(args: &Args, listing: Listing, report: &mut DiscoveryReport) -> Result<(), String> {
    let cluster = Cluster::connect(&args.namespace).await?;
    let repository = cluster.repository(&args.repository_name, &args.repository_uid).await?;
    let existing = cluster.snapshots(&args.repository_uid).await?;
    let mut plan = plan::plan(&repository, listing.found, &listing.held, &existing);
    report.created = cluster.carry_out(&mut plan).await?;
    report.notes = listing.notes;
    report.notes.append(&mut plan.notes);
    report.newest = plan.newest;
    report.ids = plan.ids;
    // What a listing with a hole in it does not show may still be there.
    report.gone = if report.complete { plan.gone } else { Vec::new() };
    Ok(())
}

fn summary(report: &DiscoveryReport) -> String {
    match (report.cause, &report.error) {
        (Some(cause), Some(error)) => format!("{cause}: {error}"),
        (Some(cause), None) => format!("{cause}: {}", cause.description()),
        (None, _) => format!("{} restic snapshots found, {} Snapshots made, {} gone", report.found, report.created, report.gone.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_is_told_where_discovery_has_its_user() {
        let error = crate::store::StoreError::NotReadable { path: "keys".into(), me: 1, uid: 2, gid: 3, mode: 0o700 };
        let told = here(&error.to_string());
        assert!(
            told.ends_with(
                "paste below spec.runtimeSettings.pod of the BackupStorage:\n    securityContext:\n      runAsUser: 2\n      runAsGroup: 3"
            ),
            "{told}"
        );
    }

    #[test]
    fn a_report_fits_a_termination_message() {
        let many = |number: usize| (0..number).map(|at| format!("{at:016x}")).collect();
        let report = DiscoveryReport {
            cause: Some(Cause::StorageUnreachable),
            error: Some("é".repeat(3000)),
            sessions: vec!["s".repeat(63); 3],
            repository_id: "f".repeat(64),
            complete: false,
            found: 50,
            created: 50,
            newest: Some("n".repeat(63)),
            ids: many(50),
            gone: many(50),
            notes: vec!["x".repeat(2000); 3],
        };
        let text = report.to_json(TERMINATION_MESSAGE_LIMIT);
        assert!(text.len() <= TERMINATION_MESSAGE_LIMIT);
        let read: DiscoveryReport = serde_json::from_str(&text).unwrap();
        assert_eq!((read.cause, read.ids.len(), read.gone.len()), (report.cause, 50, 50));
    }

    #[test]
    fn a_report_without_need_stays_whole() {
        let report = failed(
            DiscoveryReport {
                complete: true,
                cause: None,
                error: None,
                sessions: Vec::new(),
                repository_id: "r".into(),
                found: 1,
                created: 0,
                newest: None,
                ids: vec!["a".into()],
                gone: Vec::new(),
                notes: Vec::new(),
            },
            Cause::Internal,
            "why".into(),
        );
        assert!(!report.complete);
        assert_eq!(serde_json::from_str::<DiscoveryReport>(&report.to_json(TERMINATION_MESSAGE_LIMIT)).unwrap(), report);
    }
}
