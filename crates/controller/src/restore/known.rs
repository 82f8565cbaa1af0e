//! How a repository was opened before, to tell a lost key from a wrong password. Pure.
//!
//! A password that is refused says nothing by itself. Only if this very password opened this repository in an earlier run, and
//! a key file that was there then is gone, is the backup what changed. What an earlier run saw is kept with the Repository, and
//! handed to the Job in its environment, which nobody can change any more once the Job is made.

use std::collections::BTreeMap;

use backproof_api::{
    Cause, Repository, Verdict, labels,
    report::{Report, RepositoryFacts},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::EnvVar};
use kube::ResourceExt as _;

/// Id under which the repository was opened; the executor salts the password's fingerprint with it.
const ID: &str = "BACKPROOF_REPOSITORY_ID";
/// Key files that were there then.
const KEYS: &str = "BACKPROOF_KNOWN_KEYS";
/// Fingerprint of the password that opened it then.
const FINGERPRINT: &str = "BACKPROOF_KNOWN_FINGERPRINT";

/// What is known of a Repository's restic repositories, by their place below it.
type Known = BTreeMap<String, RepositoryFacts>;

fn read(repository: &Repository) -> Known {
    repository.annotations().get(labels::OPENED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// What a Job at `path` is told of earlier runs.
pub(crate) fn env(repository: &Repository, path: &str) -> Vec<EnvVar> {
    let Some(facts) = read(repository).remove(path).filter(is_whole) else { return Vec::new() };
    [(ID, facts.id), (KEYS, facts.keys.join(",")), (FINGERPRINT, facts.password_fingerprint)]
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None })
        .into()
}

fn is_whole(facts: &RepositoryFacts) -> bool {
    !facts.id.is_empty() && !facts.keys.is_empty() && !facts.password_fingerprint.is_empty()
}

/// The report, red if its Job was refused with the password that opened the repository before, and a key file is gone since.
pub(crate) fn judged(report: Report, job: &Job) -> Report {
    let containers = job.spec.iter().flat_map(|spec| spec.template.spec.iter()).flat_map(|pod| &pod.containers);
    let told: BTreeMap<&str, &str> = containers
        .flat_map(|container| container.env.iter().flatten())
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect();
    let known = |name: &str| told.get(name).copied().filter(|value| !value.is_empty());
    let (Some(facts), Some(keys), Some(fingerprint), Some(id)) = (&report.repository, known(KEYS), known(FINGERPRINT), known(ID)) else {
        return report;
    };
    let same_password = facts.password_fingerprint == fingerprint;
    let gone: Vec<&str> = keys.split(',').filter(|key| !facts.keys.iter().any(|there| there == key)).collect();
    if report.cause != Some(Cause::EncryptionKeyRejected) || !same_password || gone.is_empty() {
        return report;
    }
    let text = format!(
        "the password that opened this repository (id {id}) before opens none of its key files now, and of those it had then {} are gone: restore the keys/ folder of the repository from a copy",
        gone.join(", ")
    );
    Report { outcome: Verdict::VerificationFailed, cause: Some(Cause::EncryptionKeyLost), error: Some(text), ..report }
}

/// The annotation with what a green run saw at `path`; nothing when it says so already.
pub(crate) fn remembered(repository: &Repository, path: &str, facts: &RepositoryFacts) -> Option<String> {
    let mut known = read(repository);
    if !is_whole(facts) || known.get(path) == Some(facts) {
        return None;
    }
    known.insert(path.to_owned(), facts.clone());
    serde_json::to_string(&known).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(keys: &[&str], fingerprint: &str) -> RepositoryFacts {
        RepositoryFacts {
            id: "r".into(),
            version: 2,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            password_fingerprint: fingerprint.into(),
        }
    }

    fn knowing(path: &str, facts: &RepositoryFacts) -> Repository {
        let bare: Repository = serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {}})).unwrap();
        let text = remembered(&bare, path, facts).unwrap_or_default();
        serde_json::from_value(json!({"metadata": {"name": "r", "annotations": {"backproof.dev/opened": text}}, "spec": {}})).unwrap()
    }

    fn job(env: &[EnvVar]) -> Job {
        serde_json::from_value(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}})).unwrap()
    }

    #[test]
    fn only_a_key_that_vanished_under_the_same_password_is_a_defect() {
        let before = facts(&["k1", "k2"], "p");
        let told = env(&knowing("pod", &before), "pod");
        let report = |cause: &str, facts: &RepositoryFacts| -> Report {
            serde_json::from_value(json!({"outcome": "Inconclusive", "cause": cause, "error": "refused", "repository": facts})).unwrap()
        };
        for (case, env, cause, now, expected) in [
            ("a key is gone", &told, "EncryptionKeyRejected", facts(&["k2"], "p"), Cause::EncryptionKeyLost),
            ("all keys are others", &told, "EncryptionKeyRejected", facts(&["k3"], "p"), Cause::EncryptionKeyLost),
            ("another password", &told, "EncryptionKeyRejected", facts(&["k2"], "q"), Cause::EncryptionKeyRejected),
            ("no fingerprint", &told, "EncryptionKeyRejected", facts(&["k2"], ""), Cause::EncryptionKeyRejected),
            ("the keys are the same", &told, "EncryptionKeyRejected", facts(&["k2", "k1"], "p"), Cause::EncryptionKeyRejected),
            ("a key came", &told, "EncryptionKeyRejected", facts(&["k1", "k2", "k3"], "p"), Cause::EncryptionKeyRejected),
            ("another cause", &told, "StorageUnreachable", facts(&["k2"], "p"), Cause::StorageUnreachable),
            ("never opened before", &Vec::new(), "EncryptionKeyRejected", facts(&["k2"], "p"), Cause::EncryptionKeyRejected),
        ] {
            let judged = judged(report(cause, &now), &job(env));
            assert_eq!((judged.cause, judged.outcome), (Some(expected), expected.verdict()), "{case}");
        }
    }

    #[test]
    fn what_is_known_is_of_one_place_and_written_when_it_changes() {
        let seen = facts(&["k1"], "p");
        let repository = knowing("pod", &seen);
        assert_eq!(env(&repository, "dump"), []);
        assert_eq!(env(&repository, "pod").iter().map(|variable| variable.value.clone().unwrap()).collect::<Vec<_>>(), ["r", "k1", "p"]);
        assert_eq!(remembered(&repository, "pod", &seen), None);
        assert!(remembered(&repository, "pod", &facts(&["k1", "k2"], "p")).is_some_and(|text| text.contains("k2")));
        assert!(remembered(&repository, "dump", &seen).is_some_and(|text| text.contains("pod")));
        for partial in [facts(&[], "p"), facts(&["k1"], ""), RepositoryFacts { id: String::new(), ..facts(&["k1"], "p") }] {
            assert_eq!(remembered(&repository, "dump", &partial), None, "{partial:?}");
        }
    }
}
