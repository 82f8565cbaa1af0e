//! Owners, modes, times and attributes of what was written. What the rights of this process do not allow is counted and
//! told, never a failure and never silent.

use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    sync::{Mutex, PoisonError},
};

use backproof_api::Cause;
use rustix::{
    fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};

use super::{
    Findings,
    plan::{Entry, Kind},
};

/// What could not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NotApplied {
    /// Owner and group.
    Owner,
    /// setuid, setgid, sticky.
    SpecialBits,
    /// Device nodes.
    Device,
    /// Extended attributes and ACLs.
    Attributes,
    /// What concerns a directory that the file system made itself.
    LostAndFound,
}

impl NotApplied {
    fn describe(self) -> &'static str {
        match self {
            Self::Owner => "the owner or group",
            Self::SpecialBits => "setuid, setgid or sticky bits",
            Self::Device => "device nodes (none was made)",
            Self::Attributes => "extended attributes or ACLs",
            Self::LostAndFound => "mode or time",
        }
    }
}

/// Counts of what was not applied, with the first place of each.
pub(crate) struct Metadata {
    me: u32,
    groups: Vec<u32>,
    counts: Mutex<BTreeMap<NotApplied, (u64, String)>>,
}

impl Metadata {
    pub(crate) fn new() -> Self {
        let mut groups: Vec<u32> = rustix::process::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        groups.push(rustix::process::getegid().as_raw());
        Self { me: rustix::process::geteuid().as_raw(), groups, counts: Mutex::default() }
    }

    /// Counts one.
    pub(crate) fn not_applied(&self, what: NotApplied, shown: impl FnOnce() -> String) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(what).or_insert_with(|| (0, shown())).0 += 1;
    }

    /// Tells what was counted.
    pub(crate) fn report(&self, findings: &Findings) {
        for (what, (count, first)) in &*self.counts.lock().unwrap_or_else(PoisonError::into_inner) {
            let detail = format!("uid {} may not apply {} of {count} entries, this one first", self.me, what.describe());
            findings.add(Cause::MetadataNotApplied, first, &detail);
        }
    }

    /// Everything an open file or directory takes. The mode comes after the owner, whose change clears bits, and after the
    /// attributes, which a read-only mode would refuse; the times last.
    pub(crate) fn apply(&self, fd: BorrowedFd<'_>, entry: &Entry, mode: u16, shown: &dyn Fn() -> String) -> Result<(), Errno> {
        // Each change makes the file system write the entry anew: only what differs is changed.
        let found = rustix::fs::fstat(fd)?;
        let mut changed = false;
        if let Some((uid, gid)) = self.owner_to_set(entry)
            && (uid.is_some_and(|uid| uid.as_raw() != found.st_uid) || gid.is_some_and(|gid| gid.as_raw() != found.st_gid))
        {
            changed = true;
            // Whether it holds is seen when the target is read back.
            let _ = rustix::fs::fchown(fd, uid, gid);
        }
        for attribute in entry.extra.iter().flat_map(|extra| &extra.attributes) {
            let value = attribute.value.as_deref().unwrap_or_default();
            changed = true;
            if rustix::fs::fsetxattr(fd, attribute.name.as_str(), value, XattrFlags::empty()).is_err() {
                self.not_applied(NotApplied::Attributes, shown);
            }
        }
        let special = mode & 0o7000;
        if changed || found.st_mode & 0o7777 != u32::from(mode) {
            match rustix::fs::fchmod(fd, Mode::from_raw_mode(u32::from(mode))) {
                Err(Errno::PERM) if special != 0 => rustix::fs::fchmod(fd, Mode::from_raw_mode(u32::from(mode & 0o777)))?,
                other => other?,
            }
        }
        if let Some(times) = times(entry) {
            rustix::fs::futimens(fd, &times)?;
        }
        Ok(())
    }

    /// Owner, mode and times of what is not opened: links and special files.
    pub(crate) fn apply_at(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry, shown: &dyn Fn() -> String) -> Result<(), Errno> {
        if let Some((uid, gid)) = self.owner_to_set(entry) {
            // Whether it holds is seen when the target is read back.
            let _ = rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        }
        if entry.extra.as_ref().is_some_and(|extra| !extra.attributes.is_empty()) {
            self.not_applied(NotApplied::Attributes, shown);
        }
        if entry.kind != Kind::Symlink {
            // It was just made by us, in a directory only we write to.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(u32::from(entry.mode)), AtFlags::empty())?;
        }
        if let Some(times) = times(entry) {
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// The owner this process may set.
    fn owner_to_set(&self, entry: &Entry) -> Option<(Option<Uid>, Option<Gid>)> {
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            // The kernel takes these for "leave it".
            return None;
        }
        let gid = Some(Gid::from_raw(entry.gid));
        if self.me == 0 {
            return Some((Some(Uid::from_raw(entry.uid)), gid));
        }
        self.groups.contains(&entry.gid).then_some((None, gid))
    }

    /// Counts what an entry of the target has not got, as it is found there.
    pub(crate) fn compare(&self, entry: &Entry, stat: &Stat, shown: &dyn Fn() -> String) {
        if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
            self.not_applied(NotApplied::Owner, shown);
        }
        if entry.kind != Kind::Symlink && stat.st_mode & 0o7000 != u32::from(entry.mode & 0o7000) {
            self.not_applied(NotApplied::SpecialBits, shown);
        }
    }
}

fn times(entry: &Entry) -> Option<Timestamps> {
    let mtime = timespec(entry.mtime?);
    Some(Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: mtime })
}

/// Seconds and nanoseconds as the kernel wants them: the nanoseconds are never negative.
pub(crate) fn timespec(time: jiff::Timestamp) -> Timespec {
    let nanoseconds = time.as_nanosecond();
    Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::timespec;

    #[test]
    fn times_before_the_epoch_keep_their_fraction_positive() {
        let parts = |text: &str| {
            let spec = timespec(text.parse().unwrap());
            (spec.tv_sec, spec.tv_nsec)
        };
        assert_eq!(parts("1970-01-01T00:00:01.5Z"), (1, 500_000_000));
        assert_eq!(parts("1969-12-31T23:59:59.25Z"), (-1, 250_000_000));
        assert_eq!(parts("1970-01-01T01:00:00+01:00"), (0, 0));
    }
}
