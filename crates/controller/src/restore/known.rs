//! How a repository was opened before, to tell a lost key from a wrong password. Pure.
//!
//! A password that is refused says nothing by itself. Only if this very password opened this repository in an earlier run, and
//! a key file that was there then is gone, is the backup what changed. What an earlier run saw is kept with the Repository, and
//! handed to the Job in its environment, which nobody can change any more once the Job is made. It is about one place: whoever
//! points the Repository elsewhere finds other keys there, and has lost none.

use std::collections::BTreeMap;

use backproof_api::{
    BackupStorage, Cause, Repository, Verdict, labels,
    report::{Report, RepositoryFacts},
    run::spec_hash,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::EnvVar};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Id under which the repository was opened; the executor salts the password's fingerprint with it.
const ID: &str = "BACKPROOF_REPOSITORY_ID";
/// Key files that were there then.
const KEYS: &str = "BACKPROOF_KNOWN_KEYS";
/// Fingerprint of the password that opened it then.
const FINGERPRINT: &str = "BACKPROOF_KNOWN_FINGERPRINT";
/// Hash of where the Job looks.
const PLACE: &str = "BACKPROOF_REPOSITORY_PLACE";

/// How a restic repository was opened, and where it lay then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Opened {
    place: String,
    #[serde(flatten)]
    facts: RepositoryFacts,
}

/// What is known of a Repository's restic repositories, by their path below it.
type Known = BTreeMap<String, Opened>;

fn read(repository: &Repository) -> Known {
    repository.annotations().get(labels::OPENED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Hash of where the restic repositories of a Repository lie.
pub(crate) fn place(repository: &Repository, storage: &BackupStorage) -> String {
    spec_hash(&json!({ "uid": storage.uid(), "storage": storage.spec.storage, "path": repository.spec.path }))
}

/// What a Job at `path` is told of where it looks, and of earlier runs there.
pub(crate) fn env(repository: &Repository, storage: &BackupStorage, path: &str) -> Vec<EnvVar> {
    let place = place(repository, storage);
    let known = read(repository).remove(path).filter(|opened| opened.place == place && is_whole(&opened.facts));
    let told = known.map(|Opened { facts, .. }| [(ID, facts.id), (KEYS, facts.keys.join(",")), (FINGERPRINT, facts.password_fingerprint)]);
    let variables = [(PLACE, place)].into_iter().chain(told.into_iter().flatten());
    variables.map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None }).collect()
}

/// What a Job was told.
fn told(job: &Job) -> BTreeMap<&str, &str> {
    let containers = job.spec.iter().flat_map(|spec| spec.template.spec.iter()).flat_map(|pod| &pod.containers);
    containers
        .flat_map(|container| container.env.iter().flatten())
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect()
}

/// Where a Job looks.
pub(crate) fn place_of(job: &Job) -> &str {
    told(job).get(PLACE).copied().unwrap_or_default()
}

fn is_whole(facts: &RepositoryFacts) -> bool {
    !facts.id.is_empty() && !facts.keys.is_empty() && !facts.password_fingerprint.is_empty()
}

/// The report, red if its Job was refused with the password that opened the repository before, and a key file is gone since.
pub(crate) fn judged(report: Report, job: &Job) -> Report {
    let told = told(job);
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

/// The annotation with what a green run saw at `path` of this place; nothing when it says so already.
pub(crate) fn remembered(repository: &Repository, path: &str, place: &str, facts: &RepositoryFacts) -> Option<String> {
    let opened = Opened { place: place.to_owned(), facts: facts.clone() };
    let mut known = read(repository);
    if place.is_empty() || !is_whole(facts) || known.get(path) == Some(&opened) {
        return None;
    }
    known.insert(path.to_owned(), opened);
    serde_json::to_string(&known).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(keys: &[&str], fingerprint: &str) -> RepositoryFacts {
        RepositoryFacts {
            id: "r".into(),
            version: 2,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            password_fingerprint: fingerprint.into(),
        }
    }

    fn bucket(name: &str) -> BackupStorage {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"storage": {"provider": "s3", "s3": {"bucket": name}}}})).unwrap()
    }

    fn knowing(path: &str, facts: &RepositoryFacts) -> Repository {
        let bare: Repository = serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {}})).unwrap();
        let text = remembered(&bare, path, &place(&bare, &bucket("a")), facts).unwrap_or_default();
        serde_json::from_value(json!({"metadata": {"name": "r", "annotations": {"backproof.dev/opened": text}}, "spec": {}})).unwrap()
    }

    fn job(env: &[EnvVar]) -> Job {
        serde_json::from_value(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}})).unwrap()
    }

    #[test]
    fn only_a_key_that_vanished_under_the_same_password_is_a_defect() {
        let before = facts(&["k1", "k2"], "p");
        let told = env(&knowing("pod", &before), &bucket("a"), "pod");
        // The Repository was pointed to another bucket, where somebody else's repository lies.
        let elsewhere = env(&knowing("pod", &before), &bucket("b"), "pod");
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
            ("another place", &elsewhere, "EncryptionKeyRejected", facts(&["k3"], "p"), Cause::EncryptionKeyRejected),
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
        let (here, there) = (place(&repository, &bucket("a")), place(&repository, &bucket("b")));
        let told = |bucket_name: &str, path: &str| -> Vec<String> {
            env(&repository, &bucket(bucket_name), path).into_iter().filter_map(|variable| variable.value).collect()
        };
        assert_eq!(told("a", "dump"), [here.as_str()]);
        assert_eq!(told("b", "pod"), [there.as_str()]);
        assert_eq!(told("a", "pod"), [here.as_str(), "r", "k1", "p"]);
        assert_eq!(place_of(&job(&env(&repository, &bucket("a"), "pod"))), here);
        let mut moved = repository.clone();
        moved.spec.path = "/elsewhere".into();
        assert_ne!(place(&moved, &bucket("a")), here);
        assert_eq!(remembered(&repository, "pod", &here, &seen), None);
        assert!(remembered(&repository, "pod", &there, &seen).is_some());
        assert!(remembered(&repository, "pod", &here, &facts(&["k1", "k2"], "p")).is_some_and(|text| text.contains("k2")));
        assert!(remembered(&repository, "dump", &here, &seen).is_some_and(|text| text.contains("pod")));
        assert_eq!(remembered(&repository, "dump", "", &seen), None);
        for partial in [facts(&[], "p"), facts(&["k1"], ""), RepositoryFacts { id: String::new(), ..facts(&["k1"], "p") }] {
            assert_eq!(remembered(&repository, "dump", &here, &partial), None, "{partial:?}");
        }
    }
}
