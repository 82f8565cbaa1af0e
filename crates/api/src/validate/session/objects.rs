//! The objects a session names: they exist, stay, and belong together.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Entry, Rules, is_object, named, quoted, wants_newest};
use crate::{
    BackupVerifier, Repository, Snapshot, SnapshotPhase, labels,
    shared::{ObjectReference, TypedObjectReference},
    validate::{Invoker, Lookup, RepositoryEntry, rule::Rule, rules::session as rules, target_is_source, verifier as verifier_rules},
};

impl<'a> Rules<'a, '_> {
    pub(super) fn verifier(&mut self, invoker: Invoker<'a>, entry: &RepositoryEntry<'a>) -> Option<&'a BackupVerifier> {
        let Some(reference) = entry.verifier() else {
            self.findings.refuse(
                rules::VERIFIER,
                "spec.repository",
                format!("{invoker} names no verifier for repository {} of session {}", entry.repository.name, entry.session),
                format!("set its {}.backupVerifier", entry.field),
            );
            return None;
        };
        let what = format!("BackupVerifier {}/{}", reference.namespace_or(invoker.namespace()), reference.name);
        match &self.facts.verifier {
            Lookup::Found(verifier) => {
                self.sound(&what, verifier);
                Some(verifier)
            }
            Lookup::Missing => {
                self.findings.refuse(
                    rules::VERIFIER_EXISTS,
                    "spec.repository",
                    format!("{invoker} names {what} for repository {}, which does not exist", entry.repository.name),
                    format!("create it, or correct {}.backupVerifier", entry.field),
                );
                None
            }
            Lookup::Unknown(why) => {
                self.findings.unanswered.push(format!("{what}: {why}"));
                None
            }
        }
    }

    /// A verifier that came in past these rules ends the session without a verdict.
    fn sound(&mut self, what: &str, verifier: &BackupVerifier) {
        self.alive(rules::VERIFIER_STAYS, "spec.repository", what, &verifier.metadata);
        let findings = verifier_rules(verifier, &Lookup::Found(Vec::new()));
        if let Some((first, others)) = findings.violations.split_first() {
            let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            self.findings.refuse(
                rules::VERIFIER_VALID,
                "spec.repository",
                format!("{what} cannot be run: {}: {}{more}", first.field, first.problem),
                first.remedy.clone(),
            );
        }
    }

    pub(super) fn repository(&mut self, entry: Option<&Entry<'a>>) -> Option<&'a Repository> {
        let name = &self.session.spec.repository;
        if name.is_empty() {
            if entry.is_none() && !self.findings.violations.iter().any(|violation| violation.field == "spec.repository") {
                self.findings.refuse(rules::REPOSITORY, "spec.repository", "is empty", "name the Repository whose Snapshot is verified");
            }
            return None;
        }
        let what = format!("Repository {}/{name}", self.namespace);
        let list = format!("kubectl get repositories.storage.kubestash.com -n {}", self.namespace);
        let repository = self.exists(rules::REPOSITORY_EXISTS, "spec.repository", &what, &list, self.facts.repository.clone())?;
        self.alive(rules::REPOSITORY_STAYS, "spec.repository", &what, &repository.metadata);
        if let Some((invoker, entry)) = entry {
            self.as_configured(&what, repository, *invoker, entry);
        }
        Some(repository)
    }

    /// A Repository of the same name may be another one than the invoker means.
    fn as_configured(&mut self, what: &str, repository: &Repository, invoker: Invoker<'_>, entry: &RepositoryEntry<'_>) {
        let place = |reference: &ObjectReference, own: &str| format!("{}/{}", reference.namespace_or(own), reference.name);
        let backend = invoker.backends().iter().find(|backend| backend.name == entry.repository.backend);
        if let (Some(actual), Some(expected)) = (&repository.spec.storage_ref, backend.and_then(|backend| backend.storage_ref.as_ref())) {
            let (actual, expected) = (place(actual, self.namespace), place(expected, invoker.namespace()));
            if actual != expected {
                self.findings.refuse(
                    rules::REPOSITORY_STORAGE,
                    "spec.repository",
                    format!("{what} lies in BackupStorage {actual}, but {invoker} stores in {expected}"),
                    format!("name the Repository that {invoker} uses, or correct its backend {}", entry.repository.backend),
                );
            }
        }
        let Some(actual) = repository.spec.app_ref.as_ref().filter(|target| is_object(target)) else { return };
        let Some(expected) = entry.source.filter(|target| is_object(target)) else { return };
        if !target_is_source(actual, self.namespace, expected, invoker.namespace()) {
            self.findings.refuse(
                rules::REPOSITORY_SOURCE,
                "spec.repository",
                format!(
                    "{what} holds backups of {}, but {invoker} backs up {}",
                    named(actual, self.namespace),
                    named(expected, invoker.namespace())
                ),
                format!("name the Repository that {invoker} uses"),
            );
        }
    }

    pub(super) fn snapshot(&mut self, repository: Option<&Repository>) -> Option<&'a Snapshot> {
        let spec = &self.session.spec;
        if wants_newest(self.session) {
            return self.newest(repository);
        }
        let what = format!("Snapshot {}/{}", self.namespace, spec.snapshot);
        let list = format!("kubectl get snapshots.storage.kubestash.com -n {}", self.namespace);
        let snapshot = self.exists(rules::SNAPSHOT_EXISTS, "spec.snapshot", &what, &list, self.facts.snapshot.clone())?;
        self.alive(rules::SNAPSHOT_STAYS, "spec.snapshot", &what, &snapshot.metadata);
        if snapshot.spec.repository != spec.repository {
            self.findings.refuse(
                rules::SNAPSHOT_REPOSITORY,
                "spec.snapshot",
                format!("{what} lies in Repository {}, not in {}", quoted(&snapshot.spec.repository), quoted(&spec.repository)),
                "name a Snapshot of the Repository in spec.repository",
            );
        }
        if snapshot.spec.session != spec.session {
            self.findings.refuse(
                rules::SNAPSHOT_SESSION,
                "spec.snapshot",
                format!("{what} was made by session {}, not by {}", quoted(&snapshot.spec.session), quoted(&spec.session)),
                "name a Snapshot of the session in spec.session",
            );
        }
        let phase = snapshot.status.as_ref().and_then(|status| status.phase.as_ref());
        if !phase.is_some_and(|phase| *phase == SnapshotPhase::Succeeded) {
            let is = phase.map_or("has no phase yet".to_owned(), |phase| format!("is {phase}"));
            self.findings.refuse(
                rules::SNAPSHOT_PHASE,
                "spec.snapshot",
                format!("{what} {is}"),
                "name a Snapshot whose phase is Succeeded",
            );
        }
        Some(snapshot)
    }

    fn newest(&mut self, repository: Option<&Repository>) -> Option<&'a Snapshot> {
        let spec = &self.session.spec;
        // Without a Repository and a session there is nothing the newest could be of, and both faults are already named.
        let repository = repository.filter(|_| !spec.session.is_empty())?;
        let nothing = format!("Repository {}/{} holds no Succeeded Snapshot of session {}", self.namespace, spec.repository, spec.session);
        match &self.facts.snapshot {
            Lookup::Found(snapshot) => Some(snapshot),
            Lookup::Missing if is_discovered(repository) => {
                self.findings.warn(
                    rules::NEWEST_YET,
                    "spec.snapshot",
                    format!("{nothing} yet"),
                    "discovery runs first, and if it finds none the session ends Inconclusive",
                );
                None
            }
            Lookup::Missing => {
                self.findings.refuse(
                    rules::NEWEST,
                    "spec.snapshot",
                    nothing,
                    format!("wait for its first backup, or annotate the Repository with {}=true to find Snapshots there", labels::DISCOVER),
                );
                None
            }
            Lookup::Unknown(why) => {
                self.findings.unanswered.push(format!("Snapshots of Repository {}/{}: {why}", self.namespace, spec.repository));
                None
            }
        }
    }

    /// What is being proven is never written to.
    pub(super) fn target(
        &mut self,
        verifier: &BackupVerifier,
        invoker: Invoker<'_>,
        entry: &RepositoryEntry<'_>,
        repository: Option<&Repository>,
        snapshot: Option<&Snapshot>,
    ) {
        let verifier_namespace = verifier.metadata.namespace.as_deref().unwrap_or_default();
        let Some(target) = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref()) else { return };
        let sources = [
            (entry.source, invoker.namespace()),
            (repository.and_then(|repository| repository.spec.app_ref.as_ref()), self.namespace),
            (snapshot.and_then(|snapshot| snapshot.spec.app_ref.as_ref()), self.namespace),
        ];
        let is_source = |(source, own): &(Option<&TypedObjectReference>, &str)| {
            source.is_some_and(|source| target_is_source(target, verifier_namespace, source, own))
        };
        if sources.iter().any(is_source) {
            self.findings.refuse(
                rules::TARGET,
                "spec.repository",
                format!(
                    "BackupVerifier {verifier_namespace}/{} restores into {}, the very source of this backup",
                    verifier.metadata.name.as_deref().unwrap_or_default(),
                    named(target, verifier_namespace)
                ),
                "set its spec.restoreOption.target to another object",
            );
        }
    }

    pub(super) fn exists<T>(&mut self, rule: Rule, field: &str, what: &str, list: &str, found: Lookup<T>) -> Option<T> {
        match found {
            Lookup::Found(object) => Some(object),
            Lookup::Missing => {
                self.findings.refuse(
                    rule,
                    field,
                    format!("{what} does not exist"),
                    format!("create it first, or name one that {list} shows"),
                );
                None
            }
            Lookup::Unknown(why) => {
                self.findings.unanswered.push(format!("{what}: {why}"));
                None
            }
        }
    }

    pub(super) fn alive(&mut self, rule: Rule, field: &str, what: &str, meta: &ObjectMeta) {
        if meta.deletion_timestamp.is_some() {
            self.findings.refuse(rule, field, format!("{what} is being deleted"), "name one that stays");
        }
    }
}

fn is_discovered(repository: &Repository) -> bool {
    repository.metadata.annotations.as_ref().and_then(|all| all.get(labels::DISCOVER)).is_some_and(|value| value == "true")
}
