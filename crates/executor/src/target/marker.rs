//! The marker at the root of a target: whose it is. Only under it is anything ever removed.

use std::io::{Read as _, Write as _};

use backproof_api::report::Finding;
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{MARKER, Target, cause_of};

/// The marker while it is being written. One that a crash left behind says nothing.
const UNFINISHED: &str = ".backproof.json.new";
/// What file systems make at their root.
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Whom a target belongs to: what stands in its marker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// UID of the claim; empty by hand.
    pub(crate) claim: String,
    /// UID of the session that restored last.
    #[serde(default)]
    pub(crate) session: String,
}

/// What a target holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Nothing but what does not count.
    Free,
    /// What an earlier run for the same claim left.
    Ours,
    /// Something else; why it is refused.
    Foreign(String),
}

/// Whose the target is.
pub(super) fn tenure(target: &Target, claim: &Claim) -> Result<Tenure, Finding> {
    let failed = |errno: Errno| Finding {
        kind: cause_of(errno),
        path: target.shown(),
        detail: format!("the target directory cannot be listed: {errno}"),
    };
    let folder = target.at(b"", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut marked = false;
    let mut other = None;
    for entry in Dir::new(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_name().to_bytes() {
            b"." | b".." | LOST_AND_FOUND => {}
            name if name == UNFINISHED.as_bytes() => {}
            name if name == MARKER.as_bytes() => marked = true,
            name => other = Some(String::from_utf8_lossy(name).into_owned()),
        }
    }
    // A marker alone protects nothing, whatever stands in it.
    let Some(other) = other else { return Ok(Tenure::Free) };
    let found = if marked { read(target) } else { None };
    Ok(match found {
        Some(found) if found.claim == claim.claim => Tenure::Ours,
        Some(found) => Tenure::Foreign(format!(
            "it holds {other:?}, restored for the claim with UID {:?}; this run is for {:?}. Give an empty volume, or empty this one",
            found.claim, claim.claim
        )),
        None => Tenure::Foreign(format!(
            "it holds {other:?} and no readable {MARKER}, so Backproof did not put it there. Give an empty volume, or empty this one"
        )),
    })
}

/// Whom the marker names, if it can be read.
pub(super) fn read(target: &Target) -> Option<Claim> {
    let file = target.at(MARKER.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let mut text = String::new();
    std::fs::File::from(file).take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes the marker, and returns when it is on the disk.
pub(super) fn write(target: &Target, claim: &Claim) -> Result<(), Finding> {
    let attempt = || -> Result<(), Errno> {
        let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        match rustix::fs::unlinkat(target.root(), UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = std::fs::File::from(target.at(UNFINISHED.as_bytes(), flags, Mode::from_raw_mode(0o644))?);
        file.write_all(serde_json::to_string(claim).unwrap_or_default().as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        rustix::fs::renameat(target.root(), UNFINISHED, target.root(), MARKER)?;
        rustix::fs::fsync(target.root())
    };
    attempt().map_err(|errno| {
        let me = rustix::process::geteuid().as_raw();
        Finding {
            kind: cause_of(errno),
            path: format!("{}/{MARKER}", target.shown()),
            detail: format!("uid {me} cannot write the marker to the target: {errno}"),
        }
    })
}
