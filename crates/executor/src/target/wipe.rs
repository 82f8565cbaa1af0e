//! Emptying a target: entry by entry, within one file system, following nothing. Only called under the target's marker,
//! which stays, so that a run that is cut short leaves a target that can be emptied again.

use std::os::fd::OwnedFd;

use backproof_api::{Cause, report::Finding};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::{MARKER, Target, marker::LOST_AND_FOUND};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes everything but the marker, and what lies in `lost+found` if it may. `tick` is called for every entry removed.
pub(super) fn wipe(target: &Target, tick: &dyn Fn()) -> Result<(), Finding> {
    let root = target.at(b"", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(|errno| refused(target, b"", errno, None))?;
    let device = rustix::fs::fstat(&root).map_err(|errno| refused(target, b"", errno, None))?.st_dev;
    // A stack of our own: hostile data may be nested deeper than the thread's. Each level keeps one descriptor open, as
    // paths can be longer than the kernel takes at once; what is too deep for that is handed upward first.
    let mut stack = vec![Level { folder: root, name: Vec::new(), left: None }];
    while let Some(level) = stack.last_mut() {
        let names = match &mut level.left {
            Some(names) => names,
            none => none.insert(names(&level.folder).map_err(|errno| refused(target, &level.name, errno, None))?),
        };
        let Some(name) = names.pop() else {
            let done = stack.pop();
            if let (Some(done), Some(parent)) = (done, stack.last())
                && !is_lost_and_found(stack.len(), &done.name)
            {
                remove(target, &parent.folder, &done.name, AtFlags::REMOVEDIR)?;
                tick();
            }
            continue;
        };
        if stack.len() == 1 && name == MARKER.as_bytes() {
            continue;
        }
        let Some(Level { folder, .. }) = stack.last() else { break };
        let stat =
            rustix::fs::statat(folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| refused(target, &name, errno, None))?;
        if stat.st_dev != device {
            let detail = format!("{:?} is another file system mounted inside the target: unmount it", String::from_utf8_lossy(&name));
            return Err(Finding { kind: Cause::TargetNotWipeable, path: target.shown(), detail });
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            remove(target, folder, &name, AtFlags::empty())?;
            tick();
            continue;
        }
        let opened = match open_folder(folder, &name) {
            // The file system's own, so nothing in it is ours.
            Err(Errno::ACCESS | Errno::PERM) if is_lost_and_found(stack.len(), &name) => continue,
            other => other.map_err(|errno| refused(target, &name, errno, Some(stat.st_uid)))?,
        };
        if stack.len() >= 256 {
            // Too many open directories: take the deep one to the top, where it is emptied as any other.
            let moved = format!(".backproof-wipe-{}", stat.st_ino);
            let top = stack.first().map(|level| &level.folder);
            let from = stack.last().map(|level| &level.folder);
            if let (Some(top), Some(from)) = (top, from) {
                rustix::fs::renameat(from, name.as_slice(), top, moved.as_str())
                    .map_err(|errno| refused(target, &name, errno, Some(stat.st_uid)))?;
            }
            if let Some(Level { left: Some(left), .. }) = stack.first_mut() {
                left.push(moved.into_bytes());
            }
            continue;
        }
        stack.push(Level { folder: opened, name, left: None });
    }
    Ok(())
}

/// The directory that file systems make at their root stays; backups of such a root bring one too, with what is in it.
fn is_lost_and_found(depth: usize, name: &[u8]) -> bool {
    depth == 1 && name == LOST_AND_FOUND
}

struct Level {
    folder: OwnedFd,
    name: Vec<u8>,
    left: Option<Vec<Vec<u8>>>,
}

fn names(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens a directory that is to be emptied; an earlier run may have restored it without the right to.
fn open_folder(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let all = Mode::RWXU;
    // Only its owner can, and then it is needed; else what follows tells.
    if let Ok(folder) = rustix::fs::openat(parent, name, FOLDER, Mode::empty()) {
        let mode = rustix::fs::fstat(&folder)?.st_mode;
        if mode & all.as_raw_mode() != all.as_raw_mode() {
            let _ = rustix::fs::fchmod(&folder, all);
        }
        return Ok(folder);
    }
    // Not a link, as the caller saw; should it have become one since, the opening refuses it.
    rustix::fs::chmodat(parent, name, all, AtFlags::empty())?;
    rustix::fs::openat(parent, name, FOLDER, Mode::empty())
}

fn remove(target: &Target, folder: &OwnedFd, name: &[u8], flags: AtFlags) -> Result<(), Finding> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => {
            let owner = rustix::fs::fstat(folder).ok().map(|stat| stat.st_uid);
            Err(refused(target, name, errno, owner))
        }
    }
}

fn refused(target: &Target, name: &[u8], errno: Errno, owner: Option<u32>) -> Finding {
    let me = rustix::process::geteuid().as_raw();
    let name = String::from_utf8_lossy(name);
    let owner = owner.map_or(String::new(), |uid| {
        format!(" Its directory belongs to uid {uid}: run the Job as that uid (securityContext.runAsUser: {uid}), or empty the volume.")
    });
    let detail = format!("uid {me} cannot remove {name:?}, which an earlier run restored: {errno}.{owner}");
    Finding { kind: Cause::TargetNotWipeable, path: target.shown(), detail }
}
