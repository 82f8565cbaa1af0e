//! A repository in an object store. The store behind it could write; what is kept of it here is reading only.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use object_store::{BackoffConfig, GetOptions, GetRange, ObjectStore, RetryConfig, path::Path};
use tokio::runtime::Runtime;

use super::{
    Entry, EntryKind, File, Folder, Listed, StoreError, WHOLE_FILE_LIMIT,
    open::Provider,
    patience::{Failure, Patience},
};
use crate::repo::Id;

/// For hiccups only: a storage that stays away is waited for with [`Patience`], which tells so.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), base: 2. },
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
    }
}

/// A prefix in a bucket that holds a repository.
pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Runtime,
    patience: Patience,
    provider: Provider,
    name: String,
}

impl Bucket {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, prefix: Path, runtime: Runtime, (provider, name): (Provider, &str)) -> Self {
        Self { objects, prefix, runtime, patience: Patience::from_env(), provider, name: name.to_owned() }
    }

    fn fault(&self, path: &str, error: &object_store::Error) -> Failure {
        let missing = matches!(error, object_store::Error::NotFound { .. });
        let refused = matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. });
        let text = chain(error);
        let (path, said) = (path.to_owned(), text.chars().take(MOST_SAID).collect::<String>());
        let (kind, name, keys) = (self.provider.bucket(), &self.name, self.provider.credentials());
        let may_pass = Meaning::of(&text).may_pass(&text);
        let error = match Meaning::of(&text) {
            Meaning::NoBucket => {
                let text = format!("there is no {kind} {name}: check its name in the BackupStorage (by hand: in the URL). {said}");
                StoreError::Unreachable { path, text }
            }
            Meaning::Unclear if missing => StoreError::NotFound { path },
            Meaning::NoIdentity => {
                let text = format!(
                    "no key was given, and the cloud's metadata service gave no identity: name a Secret with {keys} in the BackupStorage (by hand: set them). {said}"
                );
                StoreError::Unreachable { path, text }
            }
            Meaning::Archived => {
                let text = format!("the object is archived: move what is to be proven to a class that can be read at once. {said}");
                StoreError::Unreachable { path, text }
            }
            Meaning::UnknownAuthority => {
                let text = format!("its certificate comes from an unknown authority: give that one's as CA_CERT_DATA. {said}");
                StoreError::Unreachable { path, text }
            }
            Meaning::Refused => self.refused(path, &said),
            Meaning::Unclear if refused => self.refused(path, &said),
            Meaning::Unclear => StoreError::Unreachable { path, text: said },
        };
        let may_pass = may_pass && matches!(error, StoreError::Unreachable { .. });
        Failure { error, may_pass }
    }

    fn refused(&self, path: String, said: &str) -> StoreError {
        let (kind, name, keys) = (self.provider.bucket(), &self.name, self.provider.credentials());
        StoreError::Refused { path, text: format!("check {keys}, and that they may list and read {kind} {name}. {said}") }
    }

    fn locate(&self, place: &str) -> Path {
        self.prefix.parts().chain(place.split('/').map(Into::into)).collect()
    }

    pub(super) fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.patience.ask(folder.name(), || self.list_once(folder))
    }

    pub(super) fn entries(&self, place: &str) -> Result<Vec<Entry>, StoreError> {
        self.patience.ask(place, || self.entries_once(place))
    }

    pub(super) fn get(&self, file: File) -> Result<Vec<u8>, StoreError> {
        self.patience.ask(&file.path(), || self.get_once(file))
    }

    pub(super) fn get_range(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.patience.ask(&file.path(), || self.get_range_once(file, offset, buffer))
    }

    fn list_once(&self, folder: Folder) -> Result<Vec<Listed>, Failure> {
        let place = folder.name();
        let prefix = self.locate(place);
        self.runtime.block_on(async {
            let mut objects = self.objects.list(Some(&prefix));
            let mut listed = Vec::new();
            while let Some(object) = objects.next().await {
                let object = object.map_err(|error| self.fault(place, &error))?;
                let id = object.location.filename().and_then(Id::parse);
                // What lies elsewhere than where it would be read from is not counted as being there.
                let at_its_place = |id: &Id| object.location == self.locate(&File::Named(folder, *id).path());
                listed.extend(id.filter(at_its_place).map(|id| Listed { id, size: object.size }));
            }
            Ok(listed)
        })
    }

    fn entries_once(&self, place: &str) -> Result<Vec<Entry>, Failure> {
        let prefix = if place.is_empty() { self.prefix.clone() } else { self.locate(place) };
        self.runtime.block_on(async {
            let listed = self.objects.list_with_delimiter(Some(&prefix)).await.map_err(|error| self.fault(place, &error))?;
            let entry = |path: &Path, kind| path.filename().map(|name| Entry { name: name.to_owned(), kind });
            let directories = listed.common_prefixes.iter().filter_map(|path| entry(path, EntryKind::Directory));
            let files = listed.objects.iter().filter_map(|object| entry(&object.location, EntryKind::File));
            Ok(directories.chain(files).collect())
        })
    }

    fn get_once(&self, file: File) -> Result<Vec<u8>, Failure> {
        let path = file.path();
        self.runtime.block_on(async {
            let answer =
                self.objects.get_opts(&self.locate(&path), GetOptions::default()).await.map_err(|error| self.fault(&path, &error))?;
            let size = answer.meta.size;
            if size > WHOLE_FILE_LIMIT {
                return Err(Failure::from(StoreError::Strange {
                    path,
                    text: format!("it is larger than {WHOLE_FILE_LIMIT} bytes, which no backup tool writes"),
                }));
            }
            let bytes = answer.bytes().await.map_err(|error| self.fault(&path, &error))?;
            if bytes.len() as u64 != size {
                return Err(StoreError::Short { path, expected: size, got: bytes.len() as u64 }.into());
            }
            Ok(bytes.into())
        })
    }

    fn get_range_once(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let path = file.path();
        let expected = buffer.len() as u64;
        let options = GetOptions { range: Some(GetRange::Bounded(offset..offset + expected)), ..GetOptions::default() };
        self.runtime.block_on(async {
            let answer = self.objects.get_opts(&self.locate(&path), options).await.map_err(|error| self.fault(&path, &error))?;
            let mut parts = answer.into_stream();
            let mut got = 0;
            while let Some(part) = parts.next().await {
                let part = part.map_err(|error| self.fault(&path, &error))?;
                let Some(room) = buffer.get_mut(got..got + part.len()) else { break };
                room.copy_from_slice(&part);
                got += part.len();
            }
            if got < buffer.len() {
                return Err(StoreError::Short { path: path.clone(), expected, got: got as u64 }.into());
            }
            Ok(())
        })
    }
}

/// What is behind an error, as far as its text tells: a listing's errors come without a kind, and the storages name what
/// they mean only in the answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A missing bucket answers 404, as a missing file does.
    NoBucket,
    /// Neither a key nor the cloud's own identity.
    NoIdentity,
    /// It would have to be fetched from an archive first.
    Archived,
    /// Nobody vouches for the server.
    UnknownAuthority,
    /// The credentials are wrong or lack a right.
    Refused,
    /// Something else.
    Unclear,
}

impl Meaning {
    fn of(text: &str) -> Self {
        // The address of the object comes first, and may hold anything; only what follows the status counts.
        let answer = text.split_once("status code: ").map_or(text, |(_, answer)| answer);
        let says = |words: &[&str]| words.iter().any(|word| answer.contains(word));
        if text.contains("token request") && ["metadata", "169.254."].iter().any(|word| text.contains(word)) {
            Self::NoIdentity
        } else if says(&["NoSuchBucket", "ContainerNotFound"]) {
            Self::NoBucket
        } else if says(&["InvalidObjectState", "BlobArchived"]) {
            Self::Archived
        } else if says(&["UnknownIssuer"]) {
            Self::UnknownAuthority
        } else if answer.starts_with("403") || answer.starts_with("401") {
            Self::Refused
        } else {
            Self::Unclear
        }
    }

    /// Whether the same question may be answered another time: not where the storage said that the question is wrong.
    fn may_pass(self, text: &str) -> bool {
        match self {
            Self::NoBucket | Self::Archived | Self::UnknownAuthority | Self::Refused => false,
            Self::NoIdentity | Self::Unclear => {
                let answer = text.split_once("status code: ").map_or("", |(_, answer)| answer);
                let wrong = answer.starts_with('4') && !["408", "429"].iter().any(|busy| answer.starts_with(busy));
                !wrong && !text.contains("redirect without LOCATION")
            }
        }
    }
}

/// Most characters of what a storage says; some send pages.
const MOST_SAID: usize = 350;

/// The whole chain of sources in one line, without what repeats. Uncut, since what it means may stand at its end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    let line: Vec<_> = text.split_whitespace().collect();
    line.join(" ")
}

#[cfg(test)]
mod tests {
    use super::Meaning;

    #[test]
    fn the_answer_decides_however_long_the_address_is() {
        let long = "a/".repeat(300);
        for (answer, expected) in [
            ("404 Not Found: <Error><Code>NoSuchBucket</Code></Error>", Meaning::NoBucket),
            ("404 Not Found: <Error><Code>ContainerNotFound</Code></Error>", Meaning::NoBucket),
            ("404 Not Found: <Error><Code>NoSuchKey</Code></Error>", Meaning::Unclear),
            ("403 Forbidden: <Error><Code>InvalidObjectState</Code></Error>", Meaning::Archived),
            ("409 Conflict: <Error><Code>BlobArchived</Code></Error>", Meaning::Archived),
            ("403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code></Error>", Meaning::Refused),
            ("401 Unauthorized: ", Meaning::Refused),
            ("500 Internal Server Error: 403 Forbidden", Meaning::Unclear),
        ] {
            for address in [long.as_str(), "NoSuchBucket/UnknownIssuer", "token request"] {
                let text = format!("Error performing GET http://storage/{address} in 3ms - Server returned non-2xx status code: {answer}");
                assert_eq!(Meaning::of(&text), expected, "{text}");
                assert_eq!(expected.may_pass(&text), answer.starts_with('5'), "{text}");
            }
        }
        let metadata = "Error performing token request: Error performing GET http://169.254.169.254/x - non-2xx status code: 403 Forbidden";
        assert_eq!(Meaning::of(metadata), Meaning::NoIdentity);
        assert_eq!(Meaning::of("client error (Connect): invalid peer certificate: UnknownIssuer"), Meaning::UnknownAuthority);
        assert_eq!(Meaning::of("connection refused"), Meaning::Unclear);
        assert!(Meaning::Unclear.may_pass("connection refused") && Meaning::Unclear.may_pass("status code: 429 Too Many Requests"));
        assert!(!Meaning::Unclear.may_pass("Received redirect without LOCATION") && !Meaning::NoIdentity.may_pass(metadata));
    }
}
