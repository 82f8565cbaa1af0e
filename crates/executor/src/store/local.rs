//! A repository in a directory. Files are opened with O_NOATIME where allowed, so that not even their access times change,
//! and O_NONBLOCK, so that a FIFO in the place of a file cannot hold the run.

use std::{
    fs,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _, unix::fs::MetadataExt},
    path::PathBuf,
};

use rustix::{
    fs::{Dir, Mode, OFlags},
    io::Errno,
};

use super::{Entry, EntryKind, File, Folder, Listed, StoreError, WHOLE_FILE_LIMIT};
use crate::repo::Id;

/// A directory that holds a repository.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        let place = folder.name();
        if folder != Folder::Data {
            return self.list_place(place);
        }
        let mut listed = Vec::new();
        for name in self.names(place)? {
            if name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                listed.extend(self.list_place(&format!("{place}/{name}"))?);
            }
        }
        Ok(listed)
    }

    fn list_place(&self, place: &str) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for name in self.names(place)? {
            let Some(id) = Id::parse(&name) else { continue };
            let path = format!("{place}/{name}");
            match fs::metadata(self.0.join(&path)) {
                Ok(found) if found.is_file() => listed.push(Listed { id, size: found.len() }),
                // A directory or a pipe in the place of a file: as good as missing.
                Ok(_) => {}
                // It went away between listing and asking, as it may while others prune.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.classify(&path, &error)),
            }
        }
        Ok(listed)
    }

    pub(super) fn entries(&self, place: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for name in self.names(place)?.into_iter().filter(|name| name != "." && name != "..") {
            let path = std::path::Path::new(place).join(&name);
            match fs::metadata(self.0.join(&path)) {
                Ok(found) => entries.push(Entry { name, kind: if found.is_dir() { EntryKind::Directory } else { EntryKind::File } }),
                // Gone since, or a link to nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.classify(&path.to_string_lossy(), &error)),
            }
        }
        Ok(entries)
    }

    /// Names in a directory; none if it does not exist.
    fn names(&self, place: &str) -> Result<Vec<String>, StoreError> {
        let classify = |errno: Errno| self.classify(place, &errno.into());
        let folder = match self.open_place(place, OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(classify(errno)),
        };
        let mut names = Vec::new();
        for entry in Dir::new(folder).map_err(classify)? {
            if let Ok(name) = entry.map_err(classify)?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    pub(super) fn get(&self, file: File) -> Result<Vec<u8>, StoreError> {
        let path = file.path();
        let opened = self.open(&path)?;
        let mut bytes = Vec::new();
        opened.take(WHOLE_FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| self.classify(&path, &error))?;
        if bytes.len() as u64 > WHOLE_FILE_LIMIT {
            return Err(StoreError::Strange {
                path,
                text: format!("it is larger than {WHOLE_FILE_LIMIT} bytes, which no backup tool writes"),
            });
        }
        Ok(bytes)
    }

    pub(super) fn get_range(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let path = file.path();
        let opened = self.open(&path)?;
        let mut got = 0;
        while got < buffer.len() {
            match opened.read_at(&mut buffer[got..], offset + got as u64) {
                Ok(0) => return Err(StoreError::Short { path, expected: buffer.len() as u64, got: got as u64 }),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.classify(&path, &error)),
            }
        }
        Ok(())
    }

    pub(super) fn probe(&self, file: File) -> Result<(), StoreError> {
        self.open(&file.path()).map(drop)
    }

    fn open(&self, path: &str) -> Result<fs::File, StoreError> {
        let opened: fs::File = self.open_place(path, OFlags::NONBLOCK).map_err(|errno| self.classify(path, &errno.into()))?.into();
        let found = opened.metadata().map_err(|error| self.classify(path, &error))?;
        if !found.is_file() {
            return Err(StoreError::Strange { path: path.to_owned(), text: "it is no regular file".to_owned() });
        }
        Ok(opened)
    }

    fn open_place(&self, place: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = self.0.join(place);
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags | OFlags::NOATIME, Mode::empty()) {
            // Only a file's owner may ask for O_NOATIME.
            Err(Errno::PERM) => rustix::fs::open(&path, flags, Mode::empty()),
            other => other,
        }
    }

    fn classify(&self, path: &str, error: &io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::NotFound {
            return StoreError::NotFound { path: path.to_owned() };
        }
        if error.kind() != io::ErrorKind::PermissionDenied {
            return StoreError::Unreachable { path: path.to_owned(), text: error.to_string() };
        }
        // The innermost place that can be looked at is the one that refuses, or lies in the one that does.
        let found = self.0.join(path).ancestors().find_map(|place| fs::metadata(place).ok());
        StoreError::NotReadable {
            path: path.to_owned(),
            me: rustix::process::geteuid().as_raw(),
            uid: found.as_ref().map_or(0, MetadataExt::uid),
            gid: found.as_ref().map_or(0, MetadataExt::gid),
            mode: found.as_ref().map_or(0, MetadataExt::mode) & 0o777,
        }
    }
}
