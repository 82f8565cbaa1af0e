//! The directory that is restored into: who may use it, how it is emptied, and how everything is kept beneath it.

mod beneath;
mod marker;
mod place;
mod wipe;

use std::{cell::Cell, env, fs, path::Path, process::ExitCode};

use backproof_api::{
    Cause,
    report::{Finding, Identity, WipeReport},
    text::cut,
};
use rustix::io::Errno;

pub(crate) use backproof_api::labels::TARGET_MARKER as MARKER;
pub(crate) use beneath::Target;
pub(crate) use marker::{Claim, Tenure};

/// Most bytes of a wipe's error: escaped at its worst, the report still fits a termination message.
const MOST_TOLD: usize = 600;

/// Arguments of `wipe` and `prepare`.
#[derive(clap::Args)]
pub(crate) struct WipeArgs {
    /// Directory that an earlier restore wrote to.
    #[arg(long)]
    target: std::path::PathBuf,
    /// File that the report goes to.
    #[arg(long)]
    report: Option<std::path::PathBuf>,
}

impl Claim {
    /// The claim of this run, from the environment the controller gives; without one the run is by hand.
    pub(crate) fn from_env() -> Self {
        let value = |name: &str| env::var(name).unwrap_or_default();
        Self { claim: value("BACKPROOF_CLAIM_UID"), session: value("BACKPROOF_SESSION_UID") }
    }
}

/// Empties a target under its marker. The marker stays.
pub(crate) fn wipe_command(args: &WipeArgs) -> ExitCode {
    let claim = Claim::from_env();
    let removed = Cell::new(0);
    let outcome = Target::open(&args.target).and_then(|target| wipe_own(&target, &claim, &|| removed.set(removed.get() + 1)));
    let mut report = WipeReport {
        identity: Identity {
            session_uid: claim.session,
            attempt: env::var("BACKPROOF_ATTEMPT").ok().and_then(|number| number.parse().ok()).unwrap_or_default(),
            component: String::new(),
        },
        wiped: outcome.is_ok(),
        removed: removed.get(),
        ..WipeReport::default()
    };
    if let Err(finding) = outcome {
        eprintln!("{}: {}: {}", finding.kind, finding.path, finding.detail);
        report.cause = Some(finding.kind);
        let error = report.error.insert(format!("{}: {}", finding.path, finding.detail));
        cut(error, MOST_TOLD);
    }
    if let Some(path) = &args.report
        && let Err(error) = fs::write(path, serde_json::to_string(&report).unwrap_or_default())
    {
        eprintln!("the report cannot be written to {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if report.wiped { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Gets a target ready for a program that restores by itself: what an earlier run left goes, under its marker, and this run's
/// marker is written. Parts of the same session keep what the others have restored.
pub(crate) fn prepare_command(args: &WipeArgs) -> ExitCode {
    let claim = Claim::from_env();
    let outcome = Target::open(&args.target).and_then(|target| {
        let tenure = target.admit(&claim, false)?;
        target.prepare(&claim, &tenure, Others::Share, &|| ())
    });
    let Err(finding) = outcome else { return ExitCode::SUCCESS };
    let line: String = format!("{}: {}: {}", finding.kind, finding.path, finding.detail).chars().take(1000).collect();
    eprintln!("{line}");
    if let Some(path) = &args.report
        && let Err(error) = fs::write(path, &line)
    {
        eprintln!("the report cannot be written to {}: {error}", path.display());
    }
    ExitCode::from(2)
}

/// Wipes what this claim's marker covers; in a Job, only what its own session restored: a later run may have the target.
fn wipe_own(target: &Target, claim: &Claim, tick: &dyn Fn()) -> Result<(), Finding> {
    let refused = |detail: String| Err(Finding { kind: Cause::TargetNotEmpty, path: target.shown(), detail });
    match marker::tenure(target, claim)? {
        Tenure::Free => Ok(()),
        Tenure::Foreign(why) => refused(why),
        Tenure::Ours => match marker::read(target).map(|owner| owner.session) {
            Some(session) if claim.session.is_empty() || session == claim.session => wipe::wipe(target, tick),
            session => refused(format!(
                "it holds what the session with UID {:?} restored, not this one; the next run wipes it",
                session.unwrap_or_default()
            )),
        },
    }
}

/// Whether other parts of the same session restore to the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// It is this run's alone.
    None,
    /// They do: what they have restored stays.
    Share,
}

impl Target {
    /// Whether this run may use the target, before anything is written to it.
    pub(crate) fn admit(&self, claim: &Claim, replace: bool) -> Result<Tenure, Finding> {
        let tenure = marker::tenure(self, claim)?;
        let refused = |detail: String| Finding { kind: Cause::TargetNotEmpty, path: self.shown(), detail };
        match &tenure {
            Tenure::Free => Ok(tenure),
            Tenure::Ours if !claim.claim.is_empty() || replace => Ok(tenure),
            Tenure::Ours => Err(refused(
                "it holds what an earlier restore by hand left; give --replace to have that removed first, or an empty directory"
                    .to_owned(),
            )),
            Tenure::Foreign(why) => Err(refused(why.clone())),
        }
    }

    /// What it means that the target could not be synced.
    pub(crate) fn lost(&self, errno: Errno) -> Finding {
        Finding { kind: cause_of(errno), path: self.shown(), detail: format!("the target could not write everything to its disk: {errno}") }
    }

    /// Empties the target if it is ours, and writes the marker before anything else.
    pub(crate) fn prepare(&self, claim: &Claim, tenure: &Tenure, others: Others, tick: &(impl Fn() + Sync)) -> Result<(), Finding> {
        let same_session = || !claim.session.is_empty() && marker::read(self).is_some_and(|owner| owner == *claim);
        match (tenure, others) {
            (Tenure::Ours, Others::Share) if same_session() => return Ok(()),
            (Tenure::Ours, Others::Share | Others::None) => wipe::wipe(self, tick)?,
            (Tenure::Free | Tenure::Foreign(_), Others::Share | Others::None) => {}
        }
        marker::write(self, claim)
    }
}

/// Refuses a target that is, holds or lies in the repository.
pub(crate) fn refuse_overlap(repository: &Path, target: &Path) -> Result<(), Finding> {
    // What does not exist yet cannot overlap but by its parent.
    let resolve = |path: &Path| path.ancestors().find_map(|place| Some(fs::canonicalize(place).ok()?.join(path.strip_prefix(place).ok()?)));
    let (Some(repository), Some(target)) = (resolve(repository), resolve(target)) else { return Ok(()) };
    if repository.starts_with(&target) || target.starts_with(&repository) {
        let detail = format!("it overlaps with the repository {}: give a directory elsewhere", repository.display());
        return Err(Finding { kind: Cause::TargetIsSource, path: target.display().to_string(), detail });
    }
    Ok(())
}

/// What an error of the target's file system means.
pub(crate) fn cause_of(errno: Errno) -> Cause {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Cause::TargetFull,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Cause::TargetPermissionDenied,
        _ => Cause::TargetFault,
    }
}

/// Whether the same error would come with everything else that is written.
pub(crate) fn is_lasting(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
