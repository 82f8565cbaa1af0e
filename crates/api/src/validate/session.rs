//! Rules for BackupVerificationSession: everything it names exists and belongs together.

mod objects;
mod update;

use super::{Findings, Invoker, Lookup, MOST_RETRIES, RepositoryEntry, choices, rules::session as rules};
use crate::{BackupVerificationSession, BackupVerifier, Repository, Snapshot, labels, names, shared::TypedObjectReference};

pub use update::session_update;

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
                rules::NAME,
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
            self.findings.refuse(rules::RETRIES, "spec.retryLeft", format!("is {left}"), format!("choose a number from 0 to {most}"));
        }
    }

    fn invoker(&mut self) -> Option<Invoker<'a>> {
        let named = self.session.spec.invoker.clone().unwrap_or_default();
        if named.kind.is_empty() || named.name.is_empty() {
            self.findings.refuse(
                rules::INVOKER,
                "spec.invoker",
                "names no object",
                "set kind and name of the BackupConfiguration or BackupBatch whose backup is verified",
            );
            return None;
        }
        if !named.api_group.is_empty() && named.api_group != Invoker::GROUP {
            self.findings.refuse(
                rules::INVOKER_GROUP,
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
                    rules::INVOKER_KIND,
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
        let invoker = self.exists(rules::INVOKER_EXISTS, "spec.invoker.name", &what, &list, self.facts.invoker.clone())?;
        self.alive(rules::INVOKER_STAYS, "spec.invoker.name", &what, invoker.meta());
        if invoker.paused() {
            self.findings.refuse(
                rules::INVOKER_PAUSED,
                "spec.invoker.name",
                format!("{what} is paused"),
                "set its spec.paused to false, then create the session",
            );
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
                    rules::LABELS,
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
                    rules::OWNERS,
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
            self.findings.refuse(rules::SESSION, "spec.session", problem, one_of(&choices(sessions), "add a session to it first"));
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
            self.findings.refuse(rules::REPOSITORY, "spec.repository", problem, one_of(&names, "add a repository to it first"));
            return None;
        }
        if matching.len() > 1 {
            let fields: Vec<_> = matching.iter().map(|entry| entry.field.as_str()).collect();
            self.findings.refuse(
                rules::REPOSITORY_AMBIGUOUS,
                "spec.repository",
                format!("{} is ambiguous: {invoker} names it at {}", spec.repository, fields.join(" and ")),
                "give each of them a Repository of its own",
            );
            return None;
        }
        matching.pop().map(|entry| (invoker, entry))
    }
}

/// Backups without a target carry a reference of this API's own making, which names no object.
pub(super) fn is_object(reference: &TypedObjectReference) -> bool {
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
