//! Rules for BackupVerificationSession: everything it names exists and belongs together.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Findings, Invoker, Lookup, MOST_RETRIES, RepositoryEntry, choices, target_is_source};
use crate::{
    BackupVerificationSession, BackupVerifier, Repository, Snapshot, SnapshotPhase, labels, names,
    shared::{ObjectReference, TypedObjectReference},
};

/// The word that stands for the newest Snapshot; an empty name means the same.
pub const LATEST: &str = "latest";

/// What was looked up about the objects a session names. What it does not name counts as missing.
#[derive(Clone, Debug)]
pub struct SessionFacts<'a> {
    /// The invoker `spec.invoker` names.
    pub invoker: Lookup<Invoker<'a>>,
    /// The Repository `spec.repository` names.
    pub repository: Lookup<&'a Repository>,
    /// The verifier the invoker names for that repository of that session.
    pub verifier: Lookup<&'a BackupVerifier>,
    /// The Snapshot `spec.snapshot` names; if it [`wants_newest`], any Succeeded one of that repository and session.
    pub snapshot: Lookup<&'a Snapshot>,
}

/// Whether a session leaves the choice of the Snapshot to us.
pub fn wants_newest(session: &BackupVerificationSession) -> bool {
    session.spec.snapshot.is_empty() || session.spec.snapshot == LATEST
}

/// Whether a session may be created, given what it names.
pub fn session(session: &BackupVerificationSession, facts: &SessionFacts<'_>) -> Findings {
    let namespace = session.metadata.namespace.as_deref().unwrap_or_default();
    let mut rules = Rules { session, namespace, facts, findings: Findings::default() };
    rules.name();
    let entry = rules.invoker().and_then(|invoker| rules.entry(invoker));
    let verifier = entry.as_ref().and_then(|(invoker, entry)| rules.verifier(*invoker, entry));
    rules.retries(verifier);
    let repository = rules.repository(entry.as_ref());
    let snapshot = rules.snapshot(repository);
    if let (Some(verifier), Some((invoker, entry))) = (verifier, &entry) {
        rules.target(verifier, *invoker, entry, repository, snapshot);
    }
    rules.findings
}

/// Whether a session may be changed so: its spec never changes.
pub fn session_update(old: &BackupVerificationSession, new: &BackupVerificationSession) -> Findings {
    let mut findings = Findings::default();
    let as_json = |session: &BackupVerificationSession| serde_json::to_value(&session.spec).unwrap_or(Value::Null);
    changes("spec", &as_json(old), &as_json(new), &mut findings);
    findings
}

/// Names every field in which two objects differ.
fn changes(path: &str, old: &Value, new: &Value, findings: &mut Findings) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let at = |object: &'_ serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                changes(&format!("{path}.{key}"), &at(before), &at(after), findings);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let shown = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
            findings.refuse(
                path,
                format!("is immutable, it cannot change from {} to {}", shown(before), shown(after)),
                "create another BackupVerificationSession instead",
            );
        }
    }
}

struct Rules<'a, 'f> {
    session: &'f BackupVerificationSession,
    namespace: &'f str,
    facts: &'f SessionFacts<'a>,
    findings: Findings,
}

type Entry<'a> = (Invoker<'a>, RepositoryEntry<'a>);

impl<'a> Rules<'a, '_> {
    fn name(&mut self) {
        let length = self.session.metadata.name.as_deref().unwrap_or_default().len();
        if length > names::NAME_LIMIT {
            self.findings.refuse(
                "metadata.name",
                format!("has {length} bytes, more than the {} that a label value holds", names::NAME_LIMIT),
                "choose a shorter name",
            );
        }
    }

    fn retries(&mut self, verifier: Option<&BackupVerifier>) {
        let left = self.session.spec.retry_left;
        let configured = verifier.and_then(|verifier| verifier.spec.retry_config.as_ref()).and_then(|retry| retry.max_retry);
        // A verifier older than this rule may allow more; what the trigger makes of it is no fault of the session's.
        let most = MOST_RETRIES.max(configured.unwrap_or(0));
        if left < 0 || left > most {
            self.findings.refuse("spec.retryLeft", format!("is {left}"), format!("choose a number from 0 to {most}"));
        }
    }

    fn invoker(&mut self) -> Option<Invoker<'a>> {
        let named = self.session.spec.invoker.clone().unwrap_or_default();
        if named.kind.is_empty() || named.name.is_empty() {
            self.findings.refuse(
                "spec.invoker",
                "names no object",
                "set kind and name of the BackupConfiguration or BackupBatch whose backup is verified",
            );
            return None;
        }
        if !named.api_group.is_empty() && named.api_group != Invoker::GROUP {
            self.findings.refuse(
                "spec.invoker.apiGroup",
                format!("{:?} is not the group of BackupConfiguration and BackupBatch", named.api_group),
                format!("write {}", Invoker::GROUP),
            );
        }
        let plural = match named.kind.as_str() {
            "BackupConfiguration" => "backupconfigurations",
            "BackupBatch" => "backupbatches",
            other => {
                self.findings.refuse(
                    "spec.invoker.kind",
                    format!("{other:?} is no kind that backups belong to"),
                    "write BackupConfiguration or BackupBatch",
                );
                return None;
            }
        };
        let Self { namespace, .. } = *self;
        let what = format!("{} {namespace}/{}", named.kind, named.name);
        let list = format!("kubectl get {plural}.{} -n {namespace}", Invoker::GROUP);
        let invoker = self.exists("spec.invoker.name", &what, &list, self.facts.invoker.clone())?;
        self.alive("spec.invoker.name", &what, invoker.meta());
        if invoker.paused() {
            self.findings.refuse("spec.invoker.name", format!("{what} is paused"), "set its spec.paused to false, then create the session");
        }
        self.belongs_to(invoker);
        Some(invoker)
    }

    /// Labels and owner references, where given, must tell the same story as the spec.
    fn belongs_to(&mut self, invoker: Invoker<'_>) {
        let meta = &self.session.metadata;
        let expected = [
            (labels::INVOKER_NAME, invoker.name()),
            (labels::INVOKER_KIND, invoker.kind()),
            (labels::SESSION_NAME, self.session.spec.session.as_str()),
            (labels::REPO_NAME, self.session.spec.repository.as_str()),
        ];
        for (label, name) in expected {
            let Some(value) = meta.labels.as_ref().and_then(|labels| labels.get(label)) else { continue };
            let right = names::label_value(name);
            if *value != right && value != name {
                self.findings.refuse(
                    format!("metadata.labels[{label}]"),
                    format!("is {value:?}, but the spec says {name:?}"),
                    format!("leave the label out, or set it to {right:?}"),
                );
            }
        }
        for (at, owner) in meta.owner_references.iter().flatten().enumerate() {
            let of_our_kinds = owner.kind == "BackupConfiguration" || owner.kind == "BackupBatch";
            let same = owner.kind == invoker.kind()
                && owner.name == invoker.name()
                && invoker.meta().uid.as_deref().is_none_or(|uid| uid == owner.uid);
            if !same && (of_our_kinds || owner.controller == Some(true)) {
                self.findings.refuse(
                    format!("metadata.ownerReferences[{at}]"),
                    format!("names {} {} with UID {} as owner, which is not {invoker} as it is now", owner.kind, owner.name, owner.uid),
                    "leave the owner reference out, it is set for you",
                );
            }
        }
    }

    fn entry(&mut self, invoker: Invoker<'a>) -> Option<Entry<'a>> {
        let spec = &self.session.spec;
        let sessions = invoker.sessions();
        if !sessions.contains(&spec.session.as_str()) || spec.session.is_empty() {
            let problem = match spec.session.as_str() {
                "" => "is empty".to_owned(),
                name => format!("{invoker} has no session {name}"),
            };
            self.findings.refuse("spec.session", problem, one_of(&choices(sessions), "add a session to it first"));
            return None;
        }
        let of_session: Vec<_> = invoker.entries().into_iter().filter(|entry| entry.session == spec.session).collect();
        let names = choices(of_session.iter().map(|entry| entry.repository.name.as_str()));
        let mut matching: Vec<_> = of_session.into_iter().filter(|entry| entry.repository.name == spec.repository).collect();
        if spec.repository.is_empty() || matching.is_empty() {
            let problem = match spec.repository.as_str() {
                "" => "is empty".to_owned(),
                name => format!("session {} of {invoker} has no repository {name}", spec.session),
            };
            self.findings.refuse("spec.repository", problem, one_of(&names, "add a repository to it first"));
            return None;
        }
        if matching.len() > 1 {
            let fields: Vec<_> = matching.iter().map(|entry| entry.field.as_str()).collect();
            self.findings.refuse(
                "spec.repository",
                format!("{} is ambiguous: {invoker} names it at {}", spec.repository, fields.join(" and ")),
                "give each of them a Repository of its own",
            );
            return None;
        }
        matching.pop().map(|entry| (invoker, entry))
    }

    fn verifier(&mut self, invoker: Invoker<'a>, entry: &RepositoryEntry<'a>) -> Option<&'a BackupVerifier> {
        let Some(reference) = entry.verifier() else {
            self.findings.refuse(
                "spec.repository",
                format!("{invoker} names no verifier for repository {} of session {}", entry.repository.name, entry.session),
                format!("set its {}.backupVerifier", entry.field),
            );
            return None;
        };
        let what = format!("BackupVerifier {}/{}", reference.namespace_or(invoker.namespace()), reference.name);
        match &self.facts.verifier {
            Lookup::Found(verifier) => Some(verifier),
            Lookup::Missing => {
                self.findings.refuse(
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

    fn repository(&mut self, entry: Option<&Entry<'a>>) -> Option<&'a Repository> {
        let name = &self.session.spec.repository;
        if name.is_empty() {
            if entry.is_none() && !self.findings.violations.iter().any(|violation| violation.field == "spec.repository") {
                self.findings.refuse("spec.repository", "is empty", "name the Repository whose Snapshot is verified");
            }
            return None;
        }
        let what = format!("Repository {}/{name}", self.namespace);
        let list = format!("kubectl get repositories.storage.kubestash.com -n {}", self.namespace);
        let repository = self.exists("spec.repository", &what, &list, self.facts.repository.clone())?;
        self.alive("spec.repository", &what, &repository.metadata);
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

    fn snapshot(&mut self, repository: Option<&Repository>) -> Option<&'a Snapshot> {
        let spec = &self.session.spec;
        if wants_newest(self.session) {
            return self.newest(repository);
        }
        let what = format!("Snapshot {}/{}", self.namespace, spec.snapshot);
        let list = format!("kubectl get snapshots.storage.kubestash.com -n {}", self.namespace);
        let snapshot = self.exists("spec.snapshot", &what, &list, self.facts.snapshot.clone())?;
        self.alive("spec.snapshot", &what, &snapshot.metadata);
        if snapshot.spec.repository != spec.repository {
            self.findings.refuse(
                "spec.snapshot",
                format!("{what} lies in Repository {}, not in {}", quoted(&snapshot.spec.repository), quoted(&spec.repository)),
                "name a Snapshot of the Repository in spec.repository",
            );
        }
        if snapshot.spec.session != spec.session {
            self.findings.refuse(
                "spec.snapshot",
                format!("{what} was made by session {}, not by {}", quoted(&snapshot.spec.session), quoted(&spec.session)),
                "name a Snapshot of the session in spec.session",
            );
        }
        let phase = snapshot.status.as_ref().and_then(|status| status.phase.as_ref());
        if !phase.is_some_and(|phase| *phase == SnapshotPhase::Succeeded) {
            let is = phase.map_or("has no phase yet".to_owned(), |phase| format!("is {phase}"));
            self.findings.refuse("spec.snapshot", format!("{what} {is}"), "name a Snapshot whose phase is Succeeded");
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
                    "spec.snapshot",
                    format!("{nothing} yet"),
                    "discovery runs first, and if it finds none the session ends Inconclusive",
                );
                None
            }
            Lookup::Missing => {
                self.findings.refuse(
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
    fn target(
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

    fn exists<T>(&mut self, field: &str, what: &str, list: &str, found: Lookup<T>) -> Option<T> {
        match found {
            Lookup::Found(object) => Some(object),
            Lookup::Missing => {
                self.findings.refuse(field, format!("{what} does not exist"), format!("create it first, or name one that {list} shows"));
                None
            }
            Lookup::Unknown(why) => {
                self.findings.unanswered.push(format!("{what}: {why}"));
                None
            }
        }
    }

    fn alive(&mut self, field: &str, what: &str, meta: &ObjectMeta) {
        if meta.deletion_timestamp.is_some() {
            self.findings.refuse(field, format!("{what} is being deleted"), "name one that stays");
        }
    }
}

fn is_discovered(repository: &Repository) -> bool {
    repository.metadata.annotations.as_ref().and_then(|all| all.get(labels::DISCOVER)).is_some_and(|value| value == "true")
}

/// Backups without a target carry a reference of this API's own making, which names no object.
fn is_object(reference: &TypedObjectReference) -> bool {
    !reference.name.is_empty() && !reference.kind.is_empty()
}

pub(super) fn named(reference: &TypedObjectReference, own: &str) -> String {
    format!("{} {}/{}", reference.kind, reference.namespace_or(own), reference.name)
}

fn quoted(name: &str) -> &str {
    if name.is_empty() { "\"\"" } else { name }
}

fn one_of(names: &str, otherwise: &str) -> String {
    if names.is_empty() { otherwise.to_owned() } else { format!("write one of: {names}") }
}
