//! Secrets that a Job needs from other namespaces: what is needed and whether it is allowed ([`needed`], pure), and the copy.
//!
//! A copy holds the needed keys only, cannot be changed, and belongs to its Job by UID, so that it goes with it. It is made
//! after the Job is recorded and before it is started.

use std::collections::BTreeMap;

use backproof_api::{BackupStorage, Cause, Repository, labels, run::PinnedObject};
use k8s_openapi::{
    ByteString,
    api::{batch::v1::Job, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::{
    Config, Error,
    failure::Failure,
    storage::{SecretSource, secrets},
};

/// The Secrets to copy for Jobs of a namespace: none if all lie there, else all of them, or why that is not allowed.
pub(crate) fn needed(
    storage: &BackupStorage,
    repository: &Repository,
    namespace: &str,
    config: &Config,
) -> Result<Vec<SecretSource>, Failure> {
    let sources = secrets(storage, repository);
    let Some(first) = sources.iter().find(|source| source.namespace != namespace) else { return Ok(Vec::new()) };
    match sources.iter().find(|source| !config.may_cross(namespace, &source.namespace)) {
        Some(source) => Err(Failure::new(
            Cause::SecretNotReachable,
            format!(
                "{} names Secret {}/{}, and a Job of namespace {namespace} may not have it; set the chart's value crossNamespace to {{{namespace}: [{}]}}",
                source.named_by, source.namespace, source.name, source.namespace
            ),
        )),
        None => {
            tracing::debug!(secret = first.name, from = first.namespace, to = namespace, "a Job gets a copy");
            Ok(sources)
        }
    }
}

/// For whom a copy is made: the label that says so, and its value.
pub(crate) type Mark<'a> = (&'static str, &'a str);

/// The copy as it is made for a Job.
fn copy(job: &PinnedObject, mark: Mark<'_>, data: BTreeMap<String, ByteString>) -> Secret {
    let labels = [(labels::MANAGED_BY, labels::MANAGED_BY_VALUE), mark];
    Secret {
        metadata: ObjectMeta {
            name: Some(job.name.clone()),
            namespace: Some(job.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "batch/v1".into(),
                kind: "Job".into(),
                name: job.name.clone(),
                uid: job.uid.clone(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(data),
        ..Secret::default()
    }
}

/// Whether a Secret is the copy for this Job.
fn is_of(secret: &Secret, job: &PinnedObject, mark: Mark<'_>) -> bool {
    secret.immutable == Some(true)
        && secret.labels().get(mark.0).map(String::as_str) == Some(mark.1)
        && secret.owner_references().iter().any(|owner| owner.uid == job.uid)
}

/// The keys a Job needs, of what a Secret holds.
fn keys_of(source: &SecretSource, secret: Option<Secret>) -> BTreeMap<String, ByteString> {
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    data.into_iter().filter(|(key, _)| source.keys.contains(&key.as_str())).collect()
}

/// Makes the copy, or finds it made. A right that is missing, or a name that is taken, ends the restore.
pub(crate) async fn make(
    client: &Client,
    job: &PinnedObject,
    mark: Mark<'_>,
    sources: &[SecretSource],
) -> Result<Result<(), Failure>, Error> {
    let mut data = BTreeMap::new();
    for source in sources {
        let what = format!("get Secret {}/{}", source.namespace, source.name);
        let api = Api::<Secret>::namespaced(client.clone(), &source.namespace);
        match api.get_opt(&source.name).await.map_err(Error::api(what)) {
            // One that is missing, or lacks a key, is for the executor to tell.
            Ok(secret) => data.extend(keys_of(source, secret)),
            Err(error) if error.status_code() == Some(403) => return Ok(Err(not_allowed(&error))),
            Err(error) => return Err(error),
        }
    }
    let secret = copy(job, mark, data);
    let api = Api::<Secret>::namespaced(client.clone(), &job.namespace);
    let what = format!("create Secret {}/{}", job.namespace, job.name);
    match api.create(&PostParams::default(), &secret).await.map_err(Error::api(what)) {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.status_code() == Some(403) => Ok(Err(not_allowed(&error))),
        Err(error) if error.is_conflict() => {
            let there = api.get_opt(&job.name).await.map_err(Error::api(format!("get Secret {}/{}", job.namespace, job.name)))?;
            let Some(there) = there else { return Err(error) };
            let ours = is_of(&there, job, mark);
            let taken = || {
                let text = format!("Secret {}/{} exists and is not the copy for this Job; delete it", job.namespace, job.name);
                Failure::new(Cause::NameTaken, text)
            };
            Ok(if ours { Ok(()) } else { Err(taken()) })
        }
        Err(error) => Err(error),
    }
}

fn not_allowed(error: &Error) -> Failure {
    let text = format!("{}; the chart's value crossNamespace grants this right: upgrade the release with it", error.chain());
    Failure::new(Cause::SecretNotReachable, text)
}

/// Removes a copy that its Job left behind, as when the Job was deleted without what belongs to it.
pub(crate) async fn remove(client: &Client, namespace: &str, name: &str, mark: Mark<'_>) -> Result<(), Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let Some(there) = api.get_metadata_opt(name).await.map_err(Error::api(format!("get Secret {namespace}/{name}")))? else {
        return Ok(());
    };
    if there.labels().get(mark.0).map(String::as_str) != Some(mark.1) {
        return Ok(());
    }
    let only_this = DeleteParams::default().preconditions(Preconditions { uid: there.uid(), resource_version: None });
    match api.delete(name, &only_this).await.map_err(Error::api(format!("delete Secret {namespace}/{name}"))) {
        // A conflict too: what was read is deleted the next time, if it still is that.
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a Job mounts a copy: a Secret of its own name.
pub(crate) fn needs_copy(job: &Job) -> bool {
    let volumes = job.spec.iter().flat_map(|spec| spec.template.spec.iter()).flat_map(|pod| pod.volumes.iter().flatten());
    let name = job.name_any();
    volumes.into_iter().any(|volume| volume.secret.as_ref().is_some_and(|secret| secret.secret_name.as_ref() == Some(&name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> PinnedObject {
        PinnedObject { namespace: "verify".into(), name: "j".into(), uid: "u-job".into(), generation: 0 }
    }

    #[test]
    fn a_copy_belongs_to_its_job_and_holds_only_what_it_needs() {
        let repository: Repository =
            serde_json::from_value(json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {"encryptionSecret": {"name": "key"}}}))
                .unwrap();
        let source = secrets(&BackupStorage::default(), &repository).remove(0);
        let secret: Secret = serde_json::from_value(json!({"data": {"RESTIC_PASSWORD": "eA==", "OTHER": "eQ=="}})).unwrap();
        let made = copy(&job(), (labels::SESSION_UID, "u-session"), keys_of(&source, Some(secret)));
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Secret", "immutable": true, "data": {"RESTIC_PASSWORD": "eA=="},
                "metadata": {
                    "name": "j", "namespace": "verify",
                    "labels": {"app.kubernetes.io/managed-by": "kubestash.com", "backproof.dev/session-uid": "u-session"},
                    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u-job", "controller": true}],
                },
            })
        );
        assert!(keys_of(&source, None).is_empty());
        assert!(is_of(&made, &job(), (labels::SESSION_UID, "u-session")) && !is_of(&made, &job(), (labels::SESSION_UID, "other")));
        let mut again = job();
        again.uid = "u-job-again".into();
        assert!(!is_of(&made, &again, (labels::SESSION_UID, "u-session")), "the Job was made again under its name");
        let mut changeable = made;
        changeable.immutable = None;
        assert!(!is_of(&changeable, &job(), (labels::SESSION_UID, "u-session")));
    }
}
