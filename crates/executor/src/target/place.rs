//! A place in a target that several parts of a session share: made if need be, and refused where something lies already.

use backproof_api::{Cause, report::Finding};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};

use super::{MARKER, Target, cause_of, marker};
use crate::restore::Place;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Target {
    /// The place, empty. What lies there was restored by another part of this session, and is neither mixed with nor replaced.
    pub(crate) fn place(self, place: &Place) -> Result<Self, Finding> {
        let shown = || String::from_utf8_lossy(&place.directory.join(&b'/')).into_owned();
        let failed = |errno: Errno| match errno {
            // Something else than a directory is on the way: a file or a link.
            Errno::NOTDIR | Errno::LOOP => self.occupied(&shown()),
            other => Finding { kind: cause_of(other), path: self.shown(), detail: format!("{:?} in it cannot be used: {other}", shown()) },
        };
        let mut path: Vec<u8> = Vec::new();
        for step in &place.directory {
            let parent = self.at(&path, FOLDER, Mode::empty()).map_err(failed)?;
            match rustix::fs::mkdirat(&parent, step.as_slice(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(step);
        }
        let folder = self.at(&path, FOLDER, Mode::empty()).map_err(failed)?;
        if let Some(entry) = &place.entry {
            match rustix::fs::statat(&folder, entry.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Ok(_) => return Err(self.occupied(&format!("{}/{}", shown(), String::from_utf8_lossy(entry)))),
                Err(errno) => return Err(failed(errno)),
            }
        } else {
            for found in Dir::read_from(&folder).map_err(failed)? {
                let found = found.map_err(failed)?;
                let name = found.file_name().to_bytes();
                let ours = path.is_empty() && (name == MARKER.as_bytes() || name == marker::LOST_AND_FOUND);
                if !ours && name != b"." && name != b".." {
                    return Err(self.occupied(&shown()));
                }
            }
        }
        Ok(self.below(folder, &shown()))
    }

    fn occupied(&self, what: &str) -> Finding {
        let detail = format!(
            "{what:?} in it was restored by another part of this session, and one must not overwrite the other: their paths overlap. Restore them \
             one by one, each into a target of its own"
        );
        Finding { kind: Cause::TargetNotEmpty, path: self.shown(), detail }
    }
}
