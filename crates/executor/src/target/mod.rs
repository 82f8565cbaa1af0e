//! The directory that is restored into: who may use it, how it is emptied, and how everything is kept beneath it.

mod beneath;
mod marker;
mod wipe;

use std::{env, fs, path::Path, process::ExitCode};

use backproof_api::{Cause, report::Finding};
use rustix::io::Errno;

pub(crate) use backproof_api::labels::TARGET_MARKER as MARKER;
pub(crate) use beneath::Target;
pub(crate) use marker::{Claim, Tenure};

/// Arguments of `wipe`.
#[derive(clap::Args)]
pub(crate) struct WipeArgs {
    /// Directory that an earlier restore wrote to.
    #[arg(long)]
    target: std::path::PathBuf,
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
    let run = || {
        let target = Target::open(&args.target)?;
        match marker::tenure(&target, &Claim::from_env())? {
            Tenure::Free => Ok(()),
            Tenure::Ours => wipe::wipe(&target, &|| ()),
            Tenure::Foreign(why) => Err(Finding { kind: Cause::TargetNotEmpty, path: args.target.display().to_string(), detail: why }),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => {
            eprintln!("{}: {}: {}", finding.kind, finding.path, finding.detail);
            ExitCode::from(2)
        }
    }
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
    pub(crate) fn prepare(&self, claim: &Claim, tenure: &Tenure, tick: &(impl Fn() + Sync)) -> Result<(), Finding> {
        if *tenure == Tenure::Ours {
            wipe::wipe(self, tick)?;
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
