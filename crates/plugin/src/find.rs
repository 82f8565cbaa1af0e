//! From the name of a Repository or Snapshot to what a session must name: the invoker, its session, the Repository and the Snapshot.
//!
//! Nothing is guessed: where several could be meant, the flag that decides is named.

use backproof_api::{
    BackupBatch, BackupConfiguration, BackupVerificationSessionSpec, Repository, Snapshot, shared::TypedLocalObjectReference,
    validate::Invoker,
};
use kube::ResourceExt as _;

use crate::{
    cluster::{Cluster, Place},
    error::Error,
    options::Verify,
};

/// BackupConfigurations and BackupBatches of a place.
pub(crate) struct Invokers {
    configurations: Vec<BackupConfiguration>,
    batches: Vec<BackupBatch>,
}

impl Invokers {
    pub(crate) async fn list(cluster: &Cluster, place: &Place) -> Result<Self, Error> {
        Ok(Self { configurations: cluster.list(place).await?, batches: cluster.list(place).await? })
    }

    #[cfg(test)]
    pub(crate) fn of(configurations: Vec<BackupConfiguration>, batches: Vec<BackupBatch>) -> Self {
        Self { configurations, batches }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Invoker<'_>> {
        let configurations = self.configurations.iter().map(Invoker::Configuration);
        configurations.chain(self.batches.iter().map(Invoker::Batch))
    }
}

/// What is to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) namespace: String,
    pub(crate) repository: String,
    /// A Snapshot's name, or `latest`.
    pub(crate) snapshot: String,
    /// Session that made that Snapshot, where it says so.
    pub(crate) session: String,
}

/// Looks up what was named.
pub(crate) async fn wanted(cluster: &Cluster, name: &str) -> Result<Wanted, Error> {
    let (repository, snapshot) = match name.split_once('/') {
        Some(("repository" | "repositories" | "repo", name)) => {
            (must(cluster.get::<Repository>("", name).await?, cluster, "Repository", name)?, None)
        }
        Some(("snapshot" | "snapshots", name)) => (None, must(cluster.get::<Snapshot>("", name).await?, cluster, "Snapshot", name)?),
        Some((kind, _)) => {
            return Err(Error::Reference(format!("{kind:?} is no kind that can be verified: write repository/NAME or snapshot/NAME")));
        }
        None => (cluster.get::<Repository>("", name).await?, cluster.get::<Snapshot>("", name).await?),
    };
    choose(name, &cluster.namespace, repository.as_ref(), snapshot.as_ref())
}

fn must<K>(found: Option<K>, cluster: &Cluster, kind: &str, name: &str) -> Result<Option<K>, Error> {
    let missing =
        || Error::Reference(format!("{kind} {}/{name} does not exist: correct the name, or give its namespace by -n", cluster.namespace));
    found.map(Some).ok_or_else(missing)
}

fn choose(name: &str, namespace: &str, repository: Option<&Repository>, snapshot: Option<&Snapshot>) -> Result<Wanted, Error> {
    let namespace = namespace.to_owned();
    match (repository, snapshot) {
        (Some(_), Some(_)) => Err(Error::Reference(format!(
            "{name:?} is the name of a Repository and of a Snapshot in namespace {namespace}: write repository/{name} or snapshot/{name}"
        ))),
        (None, None) => Err(Error::Reference(format!(
            "namespace {namespace} has neither a Repository nor a Snapshot {name:?}: correct the name, or give its namespace by -n; \
             `kubectl backproof status` lists the Repositories"
        ))),
        (Some(repository), None) => {
            Ok(Wanted { namespace, repository: repository.name_any(), snapshot: "latest".to_owned(), session: String::new() })
        }
        (None, Some(snapshot)) if snapshot.spec.repository.is_empty() => {
            Err(Error::Reference(format!("Snapshot {namespace}/{name} names no Repository (spec.repository): it cannot be verified")))
        }
        (None, Some(snapshot)) => Ok(Wanted {
            namespace,
            repository: snapshot.spec.repository.clone(),
            snapshot: snapshot.name_any(),
            session: snapshot.spec.session.clone(),
        }),
    }
}

/// The spec of the session that verifies it.
pub(crate) fn session(wanted: &Wanted, invokers: &Invokers, asked: &Verify) -> Result<BackupVerificationSessionSpec, Error> {
    let mut using = Vec::new();
    for invoker in invokers.iter() {
        for entry in invoker.entries().into_iter().filter(|entry| entry.repository.name == wanted.repository) {
            using.push((invoker, entry.session.to_owned(), entry.verifier().is_some(), entry.field));
        }
    }
    let Wanted { namespace, repository, .. } = wanted;
    if using.is_empty() {
        return Err(Error::Reference(format!(
            "no BackupConfiguration or BackupBatch of namespace {namespace} names Repository {repository}: add it to one, with a backupVerifier"
        )));
    }
    let all = listed(&using);
    using.retain(|(invoker, session, ..)| {
        let of_snapshot = asked.session.as_deref().or((!wanted.session.is_empty()).then_some(wanted.session.as_str()));
        of_snapshot.is_none_or(|wanted| wanted == session) && asked.invoker.as_deref().is_none_or(|name| is_named(*invoker, name))
    });
    if using.is_empty() {
        let made_by = if asked.session.is_none() && !wanted.session.is_empty() {
            format!(" and Snapshot {} was made by session {:?}", wanted.snapshot, wanted.session)
        } else {
            String::new()
        };
        return Err(Error::Reference(format!("Repository {repository} is used by {all}{made_by}: correct --invoker or --session")));
    }
    let without: Vec<String> =
        using.iter().filter(|(.., verified, _)| !verified).map(|(invoker, _, _, field)| format!("{invoker} ({field})")).collect();
    using.retain(|(.., verified, _)| *verified);
    let Some((invoker, session, ..)) = using.first() else {
        return Err(Error::Reference(format!(
            "no verifier is named for Repository {repository}: set backupVerifier in {}",
            without.join(", ")
        )));
    };
    let others = using.iter().any(|(other, name, ..)| other.kind() != invoker.kind() || other.name() != invoker.name() || name != session);
    if others {
        return Err(Error::Reference(format!(
            "Repository {repository} is verified on behalf of {}: say which by --invoker and --session",
            listed(&using)
        )));
    }
    if using.len() > 1 {
        return Err(Error::Reference(format!(
            "{invoker} names Repository {repository} more than once in session {session}, so it is not clear which verifier is meant: keep one of them"
        )));
    }
    if invoker.paused() {
        return Err(Error::Reference(format!(
            "{invoker} is paused, and nothing of it is verified meanwhile: set its spec.paused to false"
        )));
    }
    Ok(BackupVerificationSessionSpec {
        invoker: Some(TypedLocalObjectReference {
            api_group: Invoker::GROUP.to_owned(),
            kind: invoker.kind().to_owned(),
            name: invoker.name().to_owned(),
        }),
        session: session.clone(),
        repository: repository.clone(),
        snapshot: wanted.snapshot.clone(),
        retry_left: 0,
    })
}

/// `NAME` or `KIND/NAME`, the kind in any case.
fn is_named(invoker: Invoker<'_>, name: &str) -> bool {
    match name.split_once('/') {
        Some((kind, name)) => invoker.kind().eq_ignore_ascii_case(kind) && invoker.name() == name,
        None => invoker.name() == name,
    }
}

fn listed(using: &[(Invoker<'_>, String, bool, String)]) -> String {
    let mut words: Vec<String> =
        using.iter().map(|(invoker, session, ..)| format!("{}/{} session {session}", invoker.kind(), invoker.name())).collect();
    words.dedup();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn configuration(name: &str, sessions: Value) -> BackupConfiguration {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"sessions": sessions}})).unwrap()
    }

    fn entry(repository: &str, verifier: &str) -> Value {
        json!({"name": repository, "backupVerifier": {"name": verifier}})
    }

    fn asked(invoker: Option<&str>, session: Option<&str>) -> Verify {
        Verify {
            name: "repo".into(),
            invoker: invoker.map(Into::into),
            session: session.map(Into::into),
            accept_proof: false,
            no_wait: false,
            timeout: None,
        }
    }

    fn wanted(session: &str) -> Wanted {
        Wanted { namespace: "demo".into(), repository: "repo".into(), snapshot: "latest".into(), session: session.into() }
    }

    fn found(invokers: &Invokers, wanted: &Wanted, asked: &Verify) -> Result<String, String> {
        let spec = session(wanted, invokers, asked).map_err(|error| {
            assert_eq!(error.code(), 4);
            error.to_string()
        })?;
        let invoker = spec.invoker.unwrap();
        Ok(format!("{}/{} {} {} {}", invoker.kind, invoker.name, spec.session, spec.repository, spec.snapshot))
    }

    #[test]
    fn one_reference_is_found_and_several_are_told_apart_by_flags() {
        let two = Invokers::of(
            vec![
                configuration("a", json!([{"name": "daily", "repositories": [entry("repo", "v"), entry("other", "v")]}])),
                configuration(
                    "b",
                    json!([{"name": "daily", "repositories": [entry("repo", "v")]}, {"name": "weekly", "repositories": [entry("repo", "v")]}]),
                ),
            ],
            Vec::new(),
        );
        let error = found(&two, &wanted(""), &asked(None, None)).unwrap_err();
        assert_eq!(
            error,
            "Repository repo is verified on behalf of BackupConfiguration/a session daily, BackupConfiguration/b session daily, \
             BackupConfiguration/b session weekly: say which by --invoker and --session"
        );
        assert_eq!(found(&two, &wanted(""), &asked(Some("a"), None)).unwrap(), "BackupConfiguration/a daily repo latest");
        assert_eq!(
            found(&two, &wanted(""), &asked(Some("backupconfiguration/b"), Some("weekly"))).unwrap(),
            "BackupConfiguration/b weekly repo latest"
        );
        assert_eq!(found(&two, &wanted("weekly"), &asked(None, None)).unwrap(), "BackupConfiguration/b weekly repo latest");
        assert!(found(&two, &wanted("weekly"), &asked(Some("a"), None)).unwrap_err().contains("was made by session \"weekly\""));
        assert!(found(&two, &wanted(""), &asked(Some("backupbatch/a"), None)).unwrap_err().ends_with("correct --invoker or --session"));
    }

    #[test]
    fn a_batch_is_found_as_well() {
        let batch = json!({"metadata": {"name": "all", "namespace": "demo"}, "spec": {"sessions": [
            {"name": "s", "targets": [{"name": "t", "repositories": [entry("repo", "v")]}]}]}});
        let invokers = Invokers::of(Vec::new(), vec![serde_json::from_value(batch).unwrap()]);
        assert_eq!(found(&invokers, &wanted(""), &asked(None, None)).unwrap(), "BackupBatch/all s repo latest");
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = Invokers::of(Vec::new(), Vec::new());
        assert!(found(&none, &wanted(""), &asked(None, None)).unwrap_err().starts_with("no BackupConfiguration or BackupBatch"));
        let bare = Invokers::of(vec![configuration("a", json!([{"name": "daily", "repositories": [{"name": "repo"}]}]))], Vec::new());
        assert_eq!(
            found(&bare, &wanted(""), &asked(None, None)).unwrap_err(),
            "no verifier is named for Repository repo: set backupVerifier in BackupConfiguration demo/a (spec.sessions[0].repositories[0])"
        );
        let twice = Invokers::of(
            vec![configuration("a", json!([{"name": "daily", "repositories": [entry("repo", "v"), entry("repo", "w")]}]))],
            Vec::new(),
        );
        assert!(found(&twice, &wanted(""), &asked(None, None)).unwrap_err().contains("more than once"));
        let mut paused = configuration("a", json!([{"name": "daily", "repositories": [entry("repo", "v")]}]));
        paused.spec.paused = true;
        assert!(found(&Invokers::of(vec![paused], Vec::new()), &wanted(""), &asked(None, None)).unwrap_err().contains("is paused"));
    }

    #[test]
    fn a_name_of_two_kinds_is_ambiguous_and_of_none_is_missing() {
        let (repository, mut snapshot) = (Repository::default(), Snapshot::default());
        snapshot.spec.repository = "repo".into();
        assert!(choose("x", "demo", Some(&repository), Some(&snapshot)).unwrap_err().to_string().contains("repository/x or snapshot/x"));
        assert!(choose("x", "demo", None, None).unwrap_err().to_string().contains("neither"));
        assert_eq!(choose("x", "demo", None, Some(&snapshot)).unwrap().repository, "repo");
        assert!(choose("x", "demo", None, Some(&Snapshot::default())).is_err());
    }
}
