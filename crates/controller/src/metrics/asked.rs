//! Which Repositories somebody wants verified: what the invokers' references to verifiers say, as the schedule sees them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backproof_api::validate::Invoker;

/// Kind, namespace and name of an invoker.
type Key = (&'static str, String, String);

/// A Repository of the invoker's namespace, and the session of it whose backups are to be proven.
pub(super) type Wanted = (String, String);

/// The references of all invokers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<Mutex<HashMap<Key, Vec<Wanted>>>>);

impl Asked {
    /// Notes what an invoker asks for. One that is paused or goes away asks for nothing.
    pub(crate) fn note(&self, invoker: Invoker<'_>) {
        let silent = invoker.paused() || invoker.meta().deletion_timestamp.is_some();
        let entries = if silent { Vec::new() } else { invoker.entries() };
        let wanted: Vec<_> = entries
            .iter()
            .filter(|entry| entry.verifier().is_some())
            .map(|entry| (entry.repository.name.clone(), entry.session.to_owned()))
            .collect();
        let key = (invoker.kind(), invoker.namespace().to_owned(), invoker.name().to_owned());
        if wanted.is_empty() {
            self.inner().remove(&key);
        } else {
            self.inner().insert(key, wanted);
        }
    }

    /// Forgets an invoker that is gone.
    pub(crate) fn forget(&self, kind: &'static str, namespace: &str, name: &str) {
        self.inner().remove(&(kind, namespace.to_owned(), name.to_owned()));
    }

    /// Every reference: namespace, Repository, session.
    pub(super) fn all(&self) -> Vec<(String, Wanted)> {
        let inner = self.inner();
        inner.iter().flat_map(|((_, namespace, _), wanted)| wanted.iter().map(|wanted| (namespace.clone(), wanted.clone()))).collect()
    }

    fn inner(&self) -> MutexGuard<'_, HashMap<Key, Vec<Wanted>>> {
        // Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
