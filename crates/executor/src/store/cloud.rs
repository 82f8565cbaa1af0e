//! A repository in an object store. The store behind it could write; what is kept of it here is reading only.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use object_store::{BackoffConfig, GetOptions, GetRange, ObjectStore, RetryConfig, path::Path};
use tokio::runtime::Runtime;

use super::{
    File, Folder, Listed, StoreError, WHOLE_FILE_LIMIT,
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
}

impl Bucket {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, prefix: Path, runtime: Runtime) -> Self {
        Self { objects, prefix, runtime, patience: Patience::from_env() }
    }

    fn locate(&self, place: &str) -> Path {
        self.prefix.parts().chain(place.split('/').map(Into::into)).collect()
    }

    pub(super) fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        self.patience.ask(folder.name(), || self.list_once(folder).map_err(failure))
    }

    pub(super) fn get(&self, file: File) -> Result<Vec<u8>, StoreError> {
        self.patience.ask(&file.path(), || self.get_once(file).map_err(failure))
    }

    pub(super) fn get_range(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.patience.ask(&file.path(), || self.get_range_once(file, offset, buffer).map_err(failure))
    }

    fn list_once(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        let place = folder.name();
        let prefix = self.locate(place);
        self.runtime.block_on(async {
            let mut objects = self.objects.list(Some(&prefix));
            let mut listed = Vec::new();
            while let Some(object) = objects.next().await {
                let object = object.map_err(|error| classify(place, &error))?;
                let id = object.location.filename().and_then(Id::parse);
                // What lies elsewhere than where it would be read from is not counted as being there.
                let at_its_place = |id: &Id| object.location == self.locate(&File::Named(folder, *id).path());
                listed.extend(id.filter(at_its_place).map(|id| Listed { id, size: object.size }));
            }
            Ok(listed)
        })
    }

    fn get_once(&self, file: File) -> Result<Vec<u8>, StoreError> {
        let path = file.path();
        self.runtime.block_on(async {
            let answer =
                self.objects.get_opts(&self.locate(&path), GetOptions::default()).await.map_err(|error| classify(&path, &error))?;
            let size = answer.meta.size;
            if size > WHOLE_FILE_LIMIT {
                return Err(StoreError::Strange {
                    path,
                    text: format!("it is larger than {WHOLE_FILE_LIMIT} bytes, which no backup tool writes"),
                });
            }
            let bytes = answer.bytes().await.map_err(|error| classify(&path, &error))?;
            if bytes.len() as u64 != size {
                return Err(StoreError::Short { path, expected: size, got: bytes.len() as u64 });
            }
            Ok(bytes.into())
        })
    }

    fn get_range_once(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let path = file.path();
        let expected = buffer.len() as u64;
        let options = GetOptions { range: Some(GetRange::Bounded(offset..offset + expected)), ..GetOptions::default() };
        self.runtime.block_on(async {
            let answer = self.objects.get_opts(&self.locate(&path), options).await.map_err(|error| classify(&path, &error))?;
            let mut parts = answer.into_stream();
            let mut got = 0;
            while let Some(part) = parts.next().await {
                let part = part.map_err(|error| classify(&path, &error))?;
                let Some(room) = buffer.get_mut(got..got + part.len()) else { break };
                room.copy_from_slice(&part);
                got += part.len();
            }
            if got < buffer.len() {
                return Err(StoreError::Short { path: path.clone(), expected, got: got as u64 });
            }
            Ok(())
        })
    }
}

fn classify(path: &str, error: &object_store::Error) -> StoreError {
    use object_store::Error;
    let path = path.to_owned();
    let text = chain(error);
    if matches!(error, Error::NotFound { .. }) {
        // A bucket that does not exist answers 404 as well; that is no missing file.
        return if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") {
            StoreError::Unreachable { path, text }
        } else {
            StoreError::NotFound { path }
        };
    }
    // A listing that is refused comes as a general error; only its text tells.
    let refused = ["403 Forbidden", "401 Unauthorized"].iter().any(|status| text.contains(status));
    if refused || matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        return StoreError::Refused { path, text };
    }
    StoreError::Unreachable { path, text }
}

/// Whether the same question may be answered another time: not where the storage said that the question is wrong.
fn failure(error: StoreError) -> Failure {
    let wrong = |text: &str| {
        let answers = ["NoSuchBucket", "ContainerNotFound", "redirect without LOCATION", "non-2xx status code: 4"];
        let busy = ["status code: 408", "status code: 429"];
        answers.iter().any(|answer| text.contains(answer)) && !busy.iter().any(|answer| text.contains(answer))
    };
    let may_pass = match &error {
        StoreError::Unreachable { text, .. } => !wrong(text),
        StoreError::NotFound { .. }
        | StoreError::NotReadable { .. }
        | StoreError::Refused { .. }
        | StoreError::Short { .. }
        | StoreError::Strange { .. } => false,
    };
    Failure { error, may_pass }
}

/// Most characters of what a storage says; some send pages.
const MOST_SAID: usize = 400;

/// The whole chain of sources in one line, without what repeats.
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
    line.join(" ").chars().take(MOST_SAID).collect()
}
