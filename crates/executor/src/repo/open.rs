//! Opening a repository: what is there, keys, config, indexes, packs. What is damaged is noted; only what makes going on
//! impossible ends it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backproof_api::{
    Cause,
    report::{Finding, RepositoryFacts},
};

use super::{
    Id,
    blob::unseal,
    crypto::{self, Key},
    format::{Config, IndexFile},
    index::Index,
    keys,
};
use crate::{
    restore::Findings,
    store::{File, Folder, Listed, Store, StoreError},
};

/// After this time a missing config or key is looked for once more.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// An open repository.
pub(crate) struct Repository {
    pub(crate) store: Store,
    pub(crate) key: Key,
    pub(crate) index: Index,
    /// Index files that were read, damaged ones among them.
    pub(super) index_files: BTreeSet<Id>,
    /// What is wrong with index files; whether that matters shows when blobs are looked up.
    pub(crate) damaged_indexes: Vec<Finding>,
    packs: HashMap<Id, u64>,
    /// How it was opened.
    pub(crate) unlocked: Unlocked,
}

/// The password that opened a repository, and the repository's id.
#[derive(Clone)]
pub(crate) struct Unlocked {
    password: Vec<u8>,
    id: String,
}

impl Unlocked {
    /// The password's fingerprint for this repository. It takes as long to compute as a password function must.
    pub(crate) fn fingerprint(&self) -> String {
        crypto::fingerprint(&self.password, &self.id)
    }
}

/// What the listing says about a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackState {
    /// There, and large enough.
    Whole,
    /// Not there.
    Missing,
    /// Smaller than the index says.
    Truncated {
        /// In the listing.
        size: u64,
        /// By the index.
        expected: u64,
    },
}

impl Repository {
    /// Opens the repository in `store`. `facts` are filled as far as it comes.
    pub(crate) fn open(store: Store, passwords: &[Vec<u8>], facts: &mut RepositoryFacts, findings: &Findings) -> Result<Self, Finding> {
        let (sealed_config, key_files) = entrance(&store, facts)?;
        let opened = keys::open(&store, &key_files, passwords, &sealed_config, findings)?;
        let config = open_config(&opened.key, sealed_config)?;
        facts.id.clone_from(&config.id);
        facts.version = config.version;
        if !matches!(config.version, 1 | 2) {
            let detail = format!("its format version is {}; this executor knows 1 and 2", config.version);
            return Err(Finding { kind: Cause::UnsupportedRepository, path: "config".to_owned(), detail });
        }
        Ok(Self {
            store,
            key: opened.key,
            index: Index::default(),
            index_files: BTreeSet::new(),
            damaged_indexes: Vec::new(),
            packs: HashMap::new(),
            unlocked: Unlocked { password: opened.password, id: config.id },
        })
    }

    /// Reads every index file and lists the packs.
    pub(crate) fn load_index(&mut self) -> Result<(), Finding> {
        let listed = self.store.list(Folder::Index).map_err(|error| error.finding())?;
        self.add_index_files(&listed)?;
        self.list_packs()
    }

    /// Reads the index files among `listed` that were not read before; says how many.
    pub(super) fn add_index_files(&mut self, listed: &[Listed]) -> Result<usize, Finding> {
        let new: Vec<Id> = listed.iter().map(|listed| listed.id).filter(|id| !self.index_files.contains(id)).collect();
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.store.readers().min(new.len()) {
                scope.spawn(|| {
                    while let Some(id) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = self.read_index_file(*id);
                        lock(&results).push((*id, result));
                    }
                });
            }
        });
        for (id, result) in results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            match result.and_then(|file| self.or_gone_for_good(id, file)) {
                Ok(Some(file)) => self.index.add(file),
                // Gone since it was listed. It is remembered, so that looking again notices.
                Ok(None) => {}
                Err(finding) if finding.kind == Cause::IndexDamaged => self.damaged_indexes.push(finding),
                Err(finding) => return Err(finding),
            }
            self.index_files.insert(id);
        }
        self.index.sort();
        Ok(new.len())
    }

    /// An index file that was listed and not there is not listed any more; else the storage contradicts itself, and what the
    /// file says of the data is not known.
    fn or_gone_for_good(&self, id: Id, file: Option<IndexFile>) -> Result<Option<IndexFile>, Finding> {
        if file.is_some() || !self.store.list(Folder::Index).map_err(|error| error.finding())?.iter().any(|listed| listed.id == id) {
            return Ok(file);
        }
        self.read_index_file(id)?.map(Some).ok_or_else(|| contradiction(&File::Named(Folder::Index, id).path()))
    }

    fn read_index_file(&self, id: Id) -> Result<Option<IndexFile>, Finding> {
        let file = File::Named(Folder::Index, id);
        let damaged = |detail: String| Finding { kind: Cause::IndexDamaged, path: file.path(), detail };
        let Some(plain) = self.named(file, id, Cause::IndexDamaged)? else { return Ok(None) };
        serde_json::from_slice(&plain).map(Some).map_err(|error| damaged(format!("it cannot be parsed: {error}")))
    }

    /// The plain bytes of a file named after its content; `None` if it is not there. Damage is looked at twice, as a fault
    /// of the way is no fault of the file.
    pub(super) fn named(&self, file: File, id: Id, damage: Cause) -> Result<Option<Vec<u8>>, Finding> {
        let mut fault = String::new();
        for _ in 0..2 {
            let bytes = match self.store.get(file) {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.finding()),
            };
            fault = if Id::of(&bytes) == id {
                match unseal(&self.key, bytes) {
                    Ok(plain) => return Ok(Some(plain)),
                    Err(fault) => fault.to_string(),
                }
            } else {
                format!("its SHA-256 is not its name ({} bytes)", bytes.len())
            };
        }
        Err(Finding { kind: damage, path: file.path(), detail: fault })
    }

    /// Lists the packs anew.
    pub(super) fn list_packs(&mut self) -> Result<(), Finding> {
        let listed = self.store.list(Folder::Data).map_err(|error| error.finding())?;
        self.packs = listed.into_iter().map(|listed| (listed.id, listed.size)).collect();
        Ok(())
    }

    /// What the listing says about a pack of the index.
    pub(crate) fn pack_state(&self, number: u32) -> PackState {
        let (id, expected) = self.index.pack(number);
        match self.packs.get(&id) {
            None => PackState::Missing,
            Some(size) if *size < expected => PackState::Truncated { size: *size, expected },
            Some(_) => PackState::Whole,
        }
    }

    /// Forgets a pack that was listed but is not there any more.
    pub(crate) fn forget_pack(&mut self, number: u32) {
        let (id, _) = self.index.pack(number);
        self.packs.remove(&id);
    }
}

/// The config's bytes and the key files, or what follows from what is missing. That is looked at twice: a storage that is
/// being taken away, or comes back, is no defect of the repository.
fn entrance(store: &Store, facts: &mut RepositoryFacts) -> Result<(Vec<u8>, Vec<Listed>), Finding> {
    let mut first = None;
    loop {
        let mut key_files = store.list(Folder::Keys).map_err(|error| error.finding())?;
        key_files.sort_unstable_by_key(|listed| listed.id);
        let config = match store.get(File::Config) {
            Ok(config) => Some(config),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.finding()),
        };
        facts.keys = key_files.iter().map(|listed| listed.id.short()).collect();
        let lacking = match config {
            Some(config) if !key_files.is_empty() => return Ok((config, key_files)),
            config => lacking(store, config.is_some(), !key_files.is_empty())?,
        };
        if lacking.kind == Cause::RepositoryConfigMissing
            && let Some(key) = key_files.first().map(|listed| File::Named(Folder::Keys, listed.id))
            && matches!(store.get(key), Err(StoreError::NotFound { .. }))
        {
            return Err(contradiction(&key.path()));
        }
        if lacking.kind == Cause::RepositoryNotFound {
            return Err(lacking);
        }
        if first.replace(lacking.kind) == Some(lacking.kind) {
            return Err(lacking);
        }
        std::thread::sleep(SECOND_LOOK);
    }
}

/// What it means that the config, the keys or both are not there.
fn lacking(store: &Store, config: bool, keys: bool) -> Result<Finding, Finding> {
    let found = |kind, path: &str, detail: &str| Finding { kind, path: path.to_owned(), detail: detail.to_owned() };
    if !config && keys {
        return Ok(found(Cause::RepositoryConfigMissing, "config", "it is missing while other files of the repository are there"));
    }
    let packs = store.list(Folder::Data).map_err(|error| error.finding())?;
    if !config && packs.is_empty() {
        let detail =
            "neither config nor keys nor packs are there: check the Repository's path, and that the volume or bucket is the right one";
        return Ok(found(Cause::RepositoryNotFound, "", detail));
    }
    Ok(found(Cause::KeysMissing, "keys", "no key file is there while other files of the repository are: nobody can open it any more"))
}

/// A file that is listed and, however it is asked for, not there.
fn contradiction(path: &str) -> Finding {
    let detail = "the storage lists it, and says that it is not there: look at it with the storage's own tools";
    Finding { kind: Cause::StorageUnreachable, path: path.to_owned(), detail: detail.to_owned() }
}

fn open_config(key: &Key, sealed: Vec<u8>) -> Result<Config, Finding> {
    let damaged = |detail: String| Finding { kind: Cause::RepositoryConfigDamaged, path: "config".to_owned(), detail };
    if sealed.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let plain = unseal(key, sealed).map_err(|fault| damaged(fault.to_string()))?;
    serde_json::from_slice(&plain).map_err(|error| damaged(format!("it cannot be parsed: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
