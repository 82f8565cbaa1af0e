//! Where a repository lies, as three readings: list with sizes, get, get a range. There is no method that writes, and none
//! may come in: this is what makes the promise about the repository a property of the types.
//!
//! Errors are classified here, once.

mod cloud;
mod listing;
mod local;
mod open;
mod patience;

pub(crate) use open::{Location, storage_secrets};

use backproof_api::{Cause, report::Finding};

use crate::repo::Id;

/// Most bytes of a file that is read whole (keys, config, snapshots, indexes, locks).
const WHOLE_FILE_LIMIT: u64 = 1 << 30;

/// A file of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// The one `config`.
    Config,
    /// A file named after its content.
    Named(Folder, Id),
}

/// The folders of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// Key files.
    Keys,
    /// Locks of running programs.
    Locks,
    /// Snapshot files.
    Snapshots,
    /// Index files.
    Index,
    /// Packs, one level deeper.
    Data,
}

impl Folder {
    /// Its name on the storage.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Locks => "locks",
            Self::Snapshots => "snapshots",
            Self::Index => "index",
            Self::Data => "data",
        }
    }
}

impl File {
    /// Where it lies below the repository.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Config => "config".to_owned(),
            Self::Named(Folder::Data, id) => {
                let name = id.to_string();
                format!("data/{}/{name}", &name[..2])
            }
            Self::Named(folder, id) => format!("{}/{id}", folder.name()),
        }
    }
}

/// What a listing tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) id: Id,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// What lies directly in a directory, whatever its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A directory, or what object stores show as one.
    Directory,
    /// Anything else.
    File,
}

/// Why a reading failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It is not there.
    #[error("it is not there")]
    NotFound {
        /// What.
        path: String,
    },
    /// The operating system refuses.
    #[error(
        "uid {me} may not read it (owner {uid}:{gid}, mode {mode:03o}). Run the Job as its owner: paste below \
         spec.restoreOption.addonInfo.jobTemplate of the BackupVerifier:\n  spec:\n    securityContext:\n      runAsUser: {uid}\n      runAsGroup: {gid}"
    )]
    NotReadable {
        /// What.
        path: String,
        /// Who asks.
        me: u32,
        /// Who may.
        uid: u32,
        /// The group that may.
        gid: u32,
        /// The permission bits.
        mode: u32,
    },
    /// The storage refuses the credentials.
    #[error("the storage refuses the credentials: {text}")]
    Refused {
        /// What.
        path: String,
        /// What the storage said.
        text: String,
    },
    /// No answer, an error, or a cut connection.
    #[error("the storage did not give it: {text}")]
    Unreachable {
        /// What.
        path: String,
        /// What happened.
        text: String,
    },
    /// Fewer bytes than asked for.
    #[error("{got} bytes came instead of {expected}")]
    Short {
        /// What.
        path: String,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// Larger than anything that is read whole, or no regular file.
    #[error("{text}")]
    Strange {
        /// What.
        path: String,
        /// What is strange.
        text: String,
    },
}

impl StoreError {
    /// What it means for the verdict, where nothing better is known.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::NotReadable { .. } => Cause::RepositoryNotReadable,
            Self::Refused { .. } => Cause::StorageCredentialsRefused,
            Self::NotFound { .. } | Self::Unreachable { .. } | Self::Short { .. } => Cause::StorageUnreachable,
            Self::Strange { .. } => Cause::UnsupportedRepository,
        }
    }

    /// What it concerns.
    fn path(&self) -> &str {
        match self {
            Self::NotFound { path }
            | Self::NotReadable { path, .. }
            | Self::Refused { path, .. }
            | Self::Unreachable { path, .. }
            | Self::Short { path, .. }
            | Self::Strange { path, .. } => path,
        }
    }

    /// As a finding.
    pub(crate) fn finding(&self) -> Finding {
        Finding { kind: self.cause(), path: self.path().to_owned(), detail: self.to_string() }
    }
}

/// A place that holds a repository.
pub(crate) enum Store {
    /// A directory.
    Local(local::Directory),
    /// An object store.
    Cloud(cloud::Bucket),
}

impl Store {
    /// Every file of a folder whose name is an id.
    pub(crate) fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        match self {
            Self::Local(directory) => directory.list(folder),
            Self::Cloud(bucket) => bucket.list(folder),
        }
    }

    /// What lies directly in a directory below this place, an empty path being the place itself; nothing if there is none.
    pub(crate) fn entries(&self, place: &str) -> Result<Vec<Entry>, StoreError> {
        match self {
            Self::Local(directory) => directory.entries(place),
            Self::Cloud(bucket) => bucket.entries(place),
        }
    }

    /// A whole file.
    pub(crate) fn get(&self, file: File) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Local(directory) => directory.get(file),
            Self::Cloud(bucket) => bucket.get(file),
        }
    }

    /// Fills `buffer` from `offset` on. Fewer bytes than it takes are an error.
    pub(crate) fn get_range(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        match self {
            Self::Local(directory) => directory.get_range(file, offset, buffer),
            Self::Cloud(bucket) => bucket.get_range(file, offset, buffer),
        }
    }

    /// Whether the file can be opened, where asking costs no transfer.
    pub(crate) fn probe(&self, file: File) -> Result<(), StoreError> {
        match self {
            Self::Local(directory) => directory.probe(file),
            Self::Cloud(_) => Ok(()),
        }
    }

    /// How many readings at a time are worth it.
    pub(crate) fn readers(&self) -> usize {
        match self {
            Self::Local(_) => std::thread::available_parallelism().map_or(2, usize::from).saturating_mul(2).clamp(2, 8),
            Self::Cloud(_) => 16,
        }
    }

    /// Up to how many unneeded bytes between two pieces are read rather than asking twice.
    pub(crate) fn worthwhile_gap(&self) -> u32 {
        match self {
            Self::Local(_) => 32 << 10,
            Self::Cloud(_) => 512 << 10,
        }
    }

    /// Whether an error is likely to come again with every other file.
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Cloud(_) => true,
        }
    }
}
