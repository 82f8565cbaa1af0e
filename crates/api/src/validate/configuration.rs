//! Rules for BackupConfiguration and BackupBatch: names mean one thing each, and no verification overwrites what it proves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Findings, Invoker, Lookup, RepositoryEntry, SourceClaims, Zero, check_duration, check_scheduler, claim_of_storage, claim_of_workload,
    did_you_mean,
    rules::invoker as rules,
    session::{is_object, named},
    target_is_source, usage_allows, workload_of,
};
use crate::{BackupStorage, BackupVerifier, Repository};

/// Namespace and name.
type Place = (String, String);

/// What was looked up about the objects an invoker names.
#[derive(Clone, Debug, Default)]
pub struct InvokerFacts {
    /// Verifiers.
    pub verifiers: BTreeMap<Place, Lookup<BackupVerifier>>,
    /// Storages.
    pub storages: BTreeMap<Place, Lookup<BackupStorage>>,
    /// Repositories of its namespace, by name.
    pub repositories: BTreeMap<String, Lookup<Repository>>,
    /// Labels of its namespace, where a usage policy asks for them.
    pub labels: Option<BTreeMap<String, String>>,
    /// Workloads it backs up.
    pub workloads: Vec<SourceClaims>,
    /// Pairs of a target's namespace and one whose sessions may restore there; `None` if that is not known.
    pub crossing: Option<Vec<(String, String)>>,
}

/// Whether an invoker may be created or changed so.
pub fn invoker(invoker: Invoker<'_>, facts: &InvokerFacts) -> Findings {
    let mut rules = Rules { invoker, facts, findings: Findings::default() };
    rules.backends();
    rules.targets();
    rules.sessions();
    let entries = invoker.entries();
    rules.repositories(&entries);
    for entry in &entries {
        rules.backend(entry);
        rules.existing(entry);
        rules.verifier(entry);
    }
    rules.findings
}

struct Rules<'a> {
    invoker: Invoker<'a>,
    facts: &'a InvokerFacts,
    findings: Findings,
}

impl<'a> Rules<'a> {
    fn backends(&mut self) {
        let own = self.invoker.namespace();
        let mut names = BTreeSet::new();
        for (index, backend) in self.invoker.backends().iter().enumerate() {
            let at = format!("spec.backends[{index}]");
            if !names.insert(backend.name.as_str()) {
                let problem = format!("{:?} names another backend already", backend.name);
                self.findings.refuse(rules::BACKEND_NAME, format!("{at}.name"), problem, "give each backend a name of its own");
            }
            let Some(reference) = backend.storage_ref.as_ref().filter(|reference| !reference.name.is_empty()) else { continue };
            let (namespace, name) = (reference.namespace_or(own), reference.name.as_str());
            let what = format!("BackupStorage {namespace}/{name}");
            let field = format!("{at}.storageRef");
            match self.facts.storages.get(&(namespace.to_owned(), name.to_owned())) {
                Some(Lookup::Found(storage)) => {
                    let policy = storage.spec.usage_policy.as_ref();
                    if usage_allows(policy, namespace, own, self.facts.labels.as_ref()).is_some_and(|allowed| !allowed) {
                        self.findings.refuse(
                            rules::STORAGE_USAGE,
                            field,
                            format!("{what} does not allow its use from namespace {own}"),
                            "set its spec.usagePolicy.allowedNamespaces, or name a BackupStorage of this namespace",
                        );
                    }
                }
                Some(Lookup::Missing) => {
                    self.findings.warn(
                        rules::STORAGE_EXISTS,
                        field,
                        format!("{what} does not exist"),
                        "create it, or correct the reference",
                    );
                }
                Some(Lookup::Unknown(why)) => self.findings.unanswered.push(format!("{what}: {why}")),
                None => {}
            }
        }
    }

    fn targets(&mut self) {
        let Invoker::Batch(batch) = self.invoker else { return };
        let mut names = BTreeSet::new();
        for (index, target) in batch.spec.targets.iter().enumerate() {
            if !names.insert(target.name.as_str()) {
                let problem = format!("{:?} names another target already", target.name);
                let field = format!("spec.targets[{index}].name");
                self.findings.refuse(rules::TARGET_NAME, field, problem, "give each target a name of its own");
            }
        }
        let known: Vec<&str> = batch.spec.targets.iter().map(|target| target.name.as_str()).collect();
        for (s, session) in batch.spec.sessions.iter().enumerate() {
            let mut named = BTreeSet::new();
            for (t, target) in session.targets.iter().enumerate() {
                let field = format!("spec.sessions[{s}].targets[{t}].name");
                let name = target.name.as_str();
                if !known.contains(&name) {
                    let problem = format!("{name:?} is no target of this batch");
                    let remedy = did_you_mean(name, &known, "add it to spec.targets");
                    self.findings.refuse(rules::SESSION_TARGET, field, problem, remedy);
                } else if !named.insert(name) {
                    let problem = format!("session {} names target {name} already", session.name);
                    self.findings.refuse(rules::SESSION_TARGET, field, problem, "name each target of a session once");
                }
            }
        }
    }

    fn sessions(&mut self) {
        let sessions = self.invoker.all_sessions();
        if sessions.is_empty() {
            self.findings.warn(rules::SESSIONS, "spec.sessions", "is empty", "nothing is backed up or verified");
        }
        let mut names = BTreeSet::new();
        for (index, session) in sessions.iter().enumerate() {
            let at = format!("spec.sessions[{index}]");
            if session.name.is_empty() {
                self.findings.refuse(rules::SESSION_NAME, format!("{at}.name"), "is missing", "give the session a name");
            } else if !names.insert(session.name) {
                let problem = format!("{} names another session already", session.name);
                self.findings.refuse(rules::SESSION_NAME, format!("{at}.name"), problem, "give each session a name of its own");
            }
            if let Some(scheduler) = session.scheduler {
                check_scheduler(&mut self.findings, (rules::SCHEDULE, rules::CONCURRENCY), &format!("{at}.scheduler"), scheduler);
            }
            check_duration(&mut self.findings, rules::DURATION, &format!("{at}.backupTimeout"), session.timeout, Zero::Allowed);
            if let Some(retry) = session.retry {
                check_duration(&mut self.findings, rules::DURATION, &format!("{at}.retryConfig.delay"), &retry.delay, Zero::Allowed);
            }
        }
    }

    /// Names and places of repositories mean one thing each.
    fn repositories(&mut self, entries: &[RepositoryEntry<'a>]) {
        let mut names: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut places: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
        for entry in entries {
            let (name, at) = (entry.repository.name.as_str(), entry.field.as_str());
            if name.is_empty() {
                self.findings.refuse(
                    rules::REPOSITORY_NAME,
                    format!("{at}.name"),
                    "is missing",
                    "name the Repository that is made and used",
                );
                continue;
            }
            if let Some(first) = names.insert((entry.session, name), at) {
                let problem = format!("session {} names Repository {name} at {first} already", entry.session);
                self.findings.refuse(rules::REPOSITORY_TWICE, format!("{at}.name"), problem, "give each of them a Repository of its own");
            }
            let directory = entry.repository.directory.trim_matches('/');
            if directory.is_empty() {
                continue;
            }
            match places.get(&(entry.repository.backend.as_str(), directory)) {
                Some((other, first)) if *other != name => {
                    let problem = format!("is where {first} puts Repository {other}, and Repository {name} would lie in the same place");
                    self.findings.refuse(
                        rules::REPOSITORY_PLACE,
                        format!("{at}.directory"),
                        problem,
                        "give each Repository a directory of its own",
                    );
                }
                Some(_) => {}
                None => {
                    places.insert((entry.repository.backend.as_str(), directory), (name, at));
                }
            }
        }
    }

    fn backend(&mut self, entry: &RepositoryEntry<'a>) {
        let known: Vec<&str> = self.invoker.backends().iter().map(|backend| backend.name.as_str()).collect();
        let name = entry.repository.backend.as_str();
        // Without any backend the default storage is meant, which others may fill in.
        if !name.is_empty() && !known.is_empty() && !known.contains(&name) {
            let problem = format!("{name:?} is no backend of spec.backends");
            self.findings.refuse(rules::BACKEND, format!("{}.backend", entry.field), problem, did_you_mean(name, &known, ""));
        }
    }

    /// A Repository of this name that exists is used, not made again; it must be the one that is meant.
    fn existing(&mut self, entry: &RepositoryEntry<'a>) {
        let own = self.invoker.namespace();
        let name = entry.repository.name.as_str();
        let Some(Lookup::Found(repository)) = self.facts.repositories.get(name) else { return };
        let backend = self.invoker.backends().iter().find(|backend| backend.name == entry.repository.backend);
        let mut differs = |what: String| {
            let remedy = "choose another name for the Repository, or correct the entry";
            self.findings.refuse(rules::REPOSITORY_OTHER, format!("{}.name", entry.field), what, remedy);
        };
        if let (Some(actual), Some(wanted)) = (&repository.spec.storage_ref, backend.and_then(|backend| backend.storage_ref.as_ref())) {
            let place = |reference: &crate::shared::ObjectReference| format!("{}/{}", reference.namespace_or(own), reference.name);
            if place(actual) != place(wanted) {
                differs(format!("Repository {own}/{name} exists and lies in BackupStorage {}, not in {}", place(actual), place(wanted)));
            }
        }
        let actual = repository.spec.app_ref.as_ref().filter(|target| is_object(target));
        if let (Some(actual), Some(wanted)) = (actual, entry.source.filter(|target| is_object(target)))
            && !target_is_source(actual, own, wanted, own)
        {
            differs(format!("Repository {own}/{name} exists and holds backups of {}, not of {}", named(actual, own), named(wanted, own)));
        }
    }

    fn verifier(&mut self, entry: &RepositoryEntry<'a>) {
        let own = self.invoker.namespace();
        let field = format!("{}.backupVerifier", entry.field);
        let Some(reference) = &entry.repository.backup_verifier else { return };
        if reference.name.is_empty() {
            let problem = "names no BackupVerifier";
            return self.findings.warn(rules::VERIFIER_NAME, field, problem, "name one, or leave the reference out");
        }
        let namespace = reference.namespace_or(own);
        let what = format!("BackupVerifier {namespace}/{}", reference.name);
        match self.facts.verifiers.get(&(namespace.to_owned(), reference.name.clone())) {
            Some(Lookup::Found(verifier)) => self.verifier_fits(entry, verifier, &field, &what),
            Some(Lookup::Missing) => {
                let remedy = "create it, or correct the reference; until then nothing is verified";
                self.findings.warn(rules::VERIFIER_EXISTS, field, format!("{what} does not exist"), remedy);
            }
            Some(Lookup::Unknown(why)) => self.findings.unanswered.push(format!("{what}: {why}")),
            None => {}
        }
    }

    fn verifier_fits(&mut self, entry: &RepositoryEntry<'a>, verifier: &BackupVerifier, field: &str, what: &str) {
        let own = self.invoker.namespace();
        let namespace = verifier.metadata.namespace.as_deref().unwrap_or_default();
        if verifier.metadata.deletion_timestamp.is_some() {
            self.findings.warn(rules::VERIFIER_STAYS, field, format!("{what} is being deleted"), "name one that stays");
        }
        let Some(target) = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref()) else { return };
        let shown = named(target, namespace);
        if entry.source.is_some_and(|source| target_is_source(target, namespace, source, own)) {
            self.findings.refuse(
                rules::VERIFIER_SOURCE,
                field,
                format!("{what} restores into {shown}, which is what is backed up here"),
                "name another verifier, or set its spec.restoreOption.target to another object",
            );
        }
        let source = entry.source.and_then(|source| workload_of(source, own));
        let workload = self.facts.workloads.iter().find(|workload| {
            source == Some((workload.kind.as_str(), workload.namespace.as_str(), workload.name.as_str()))
                && claim_of_workload(target, namespace, workload)
        });
        if let Some(workload) = workload {
            self.findings.refuse(
                rules::VERIFIER_SOURCE_CLAIM,
                field,
                format!(
                    "{what} restores into {shown}, a volume of {} {}/{}, which is backed up here",
                    workload.kind, workload.namespace, workload.name
                ),
                "name another verifier, or set its spec.restoreOption.target to another claim",
            );
        }
        let backend = self.invoker.backends().iter().find(|backend| backend.name == entry.repository.backend);
        let storage = backend.and_then(|backend| backend.storage_ref.as_ref()).and_then(|reference| {
            let place = (reference.namespace_or(own).to_owned(), reference.name.clone());
            self.facts.storages.get(&place).cloned().and_then(Lookup::found)
        });
        if let Some(storage) = storage.filter(|storage| claim_of_storage(target, namespace, storage)) {
            let lies = storage.metadata;
            self.findings.refuse(
                rules::VERIFIER_STORAGE,
                field,
                format!(
                    "{what} restores into {shown}, on which BackupStorage {}/{} lies",
                    lies.namespace.unwrap_or_default(),
                    lies.name.unwrap_or_default()
                ),
                "name another verifier, or set its spec.restoreOption.target to another claim",
            );
        }
        let into = target.namespace_or(namespace);
        if let Some(pairs) = &self.facts.crossing
            && into != own
            && !pairs.iter().any(|(target, from)| target == into && from == own)
        {
            self.findings.warn(
                rules::VERIFIER_CROSSING,
                field,
                format!("{what} restores into namespace {into}, and sessions of namespace {own} may not"),
                format!(
                    "set the chart's value crossNamespace to {{{into}: [{own}]}}, or sessions end Inconclusive CrossNamespaceNotAllowed"
                ),
            );
        }
    }
}
