//! Opening things beneath the target, and nowhere else: the kernel resolves with RESOLVE_BENEATH and without following any
//! link; where it cannot (old kernels, sandboxes), every step is opened by itself without following.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use backproof_api::{Cause, report::Finding};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::cause_of;

/// An open target directory.
pub(crate) struct Target {
    root: OwnedFd,
    dir: PathBuf,
    /// Whether the kernel resolves for us.
    resolves: bool,
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Target {
    /// Opens a directory, made if it does not exist.
    pub(crate) fn open(dir: &Path) -> Result<Self, Finding> {
        let failed = |errno: Errno, what: &str| Finding {
            kind: cause_of(errno),
            path: dir.display().to_string(),
            detail: format!("{what}: {errno}"),
        };
        if let Err(error) = fs::create_dir(dir)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            let finding = failed(errno, "the target directory cannot be made");
            return Err(if errno == Errno::NOENT { Finding { kind: Cause::TargetNotFound, ..finding } } else { finding });
        }
        let root = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno, &format!("uid {} cannot open the target directory", rustix::process::geteuid().as_raw())))?;
        let resolves = rustix::fs::openat2(&root, ".", DIRECTORY, Mode::empty(), RESOLVE).is_ok();
        Ok(Self { root, dir: dir.to_owned(), resolves })
    }

    /// A directory of this target, opened for reading, as a target of its own.
    pub(super) fn below(&self, root: OwnedFd, path: &str) -> Self {
        Self { root, dir: self.dir.join(path), resolves: self.resolves }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory, for people.
    pub(crate) fn shown(&self) -> String {
        self.dir.display().to_string()
    }

    /// Opens what lies at `path` below the target; empty for the target itself.
    pub(crate) fn at(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !self.resolves {
            return self.step_by_step(path, flags, mode);
        }
        loop {
            match rustix::fs::openat2(&self.root, path, flags, mode, RESOLVE) {
                // Somebody renamed something meanwhile.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    fn step_by_step(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut steps: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        if steps.iter().any(|step| step.is_empty() || *step == b"..") {
            return Err(Errno::INVAL);
        }
        let last = steps.pop().unwrap_or(b".");
        let mut parent = rustix::fs::openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        for step in steps {
            parent = rustix::fs::openat(&parent, step, DIRECTORY, Mode::empty())?;
        }
        rustix::fs::openat(&parent, last, flags, mode)
    }

    /// The directory that holds what lies at `path`.
    pub(crate) fn parent(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.at(&path[..end], DIRECTORY, Mode::empty())
    }

    /// Like a kernel that cannot resolve for us.
    #[cfg(test)]
    pub(super) fn without_openat2(mut self) -> Self {
        self.resolves = false;
        self
    }
}
