//! Carries out a decision: the status first, then the effects in order, then the events. Every step may be repeated.

use backproof_api::{
    Cause, Guarded, Repository, RestoreSession, RestoreSessionStatus, kept, labels, report::RepositoryFacts, run::PinnedObject,
};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use super::{
    copies,
    decide::{Decision, Effect},
    foreign, known,
    observe::{Recent, Sources},
    status,
};
use crate::{
    Error,
    error::Class,
    events::Events,
    failure::Failure,
    shared::{Reading, answered, as_meant},
};

/// What came of a decision.
pub(crate) enum Applied {
    /// Something was changed: decide again from the object as it is now.
    Again(Box<RestoreSession>),
    /// Nothing is left to do until something happens.
    Settled(Box<RestoreSession>),
}

/// Carries out a decision about `restore`.
pub(crate) async fn apply(
    sources: &Sources,
    events: &Events,
    restore: RestoreSession,
    decision: Decision,
    recent: &mut Recent,
) -> Result<Applied, Error> {
    let makes_jobs = decision.effects.iter().any(|effect| matches!(effect, Effect::Create(_)));
    let changed = restore.status.as_ref() != Some(&decision.status);
    let mut current = restore;
    // What a pass says while it makes Jobs is written with their record, in the next.
    let written = changed && !makes_jobs;
    if written {
        current = write(sources, current, decision.status, recent).await?;
    }
    let mut again = written;
    for effect in decision.effects {
        let taken_back = matches!(effect, Effect::Revoke(_));
        again |= perform(sources, &current, effect, recent).await?;
        // What was written until now is its last word; the caches may not show it yet.
        if taken_back && let Some(last) = sources.again(&current).await?.filter(|last| last.uid() == current.uid()) {
            current = as_meant(last);
        }
    }
    if written {
        for note in decision.notes {
            events.on(&current, note).await;
        }
    }
    let current = Box::new(current);
    Ok(if again { Applied::Again(current) } else { Applied::Settled(current) })
}

/// Writes the status. Where the installed schema drops our part of it, it is written again with that part packed into a
/// condition; where not even that is kept, Jobs could not be told from others, so the restore is refused.
async fn write(
    sources: &Sources,
    restore: RestoreSession,
    status: RestoreSessionStatus,
    recent: &mut Recent,
) -> Result<RestoreSession, Error> {
    let written = send(sources, restore, &status).await?;
    if !kept::is_pruned(&status, written.status.as_ref()) {
        return Ok(written);
    }
    if kept::is_marked(&status) {
        let text = "the API server drops status.jobs, without which no restore can be told from another; install Backproof's CRDs";
        recent.refused = Some(Failure::new(Cause::Internal, text));
        return Ok(written);
    }
    let mut marked = status;
    kept::mark(&mut marked, status::time(Timestamp::now()));
    send(sources, written, &marked).await
}

async fn send(sources: &Sources, restore: RestoreSession, status: &RestoreSessionStatus) -> Result<RestoreSession, Error> {
    let (namespace, name) = (restore.namespace().unwrap_or_default(), restore.name_any());
    let mut next = restore;
    next.status = Some(kept::packed(status));
    let api = Api::<Guarded<RestoreSession>>::namespaced(sources.client.clone(), &namespace);
    let written = api.replace_status(&name, &PostParams::default(), &Guarded(Ok(next))).await;
    answered(written).map(as_meant).map_err(Error::api(format!("write the status of RestoreSession {namespace}/{name}")))
}

/// Performs one effect; says whether to decide again at once.
async fn perform(sources: &Sources, restore: &RestoreSession, effect: Effect, recent: &mut Recent) -> Result<bool, Error> {
    match effect {
        Effect::Create(job) => create(sources, *job, recent).await.map(|()| true),
        Effect::Remember { path, place, facts } => remember(sources, restore, (&path, &place), &facts).await.map(|()| false),
        Effect::CopySecrets { job, sources: secrets } => {
            let session = restore.labels().get(labels::SESSION_UID).cloned().unwrap_or_default();
            match copies::make(&sources.client, &job, (labels::SESSION_UID, &session), &secrets).await? {
                Ok(()) => drop(recent.copied.insert(job.uid)),
                Err(failure) => recent.refused = Some(failure),
            }
            Ok(true)
        }
        Effect::Grant(job) => {
            match foreign::grant(&sources.client, &job, restore).await? {
                Ok(()) => drop(recent.granted.insert(job.uid().unwrap_or_default())),
                Err(failure) => recent.refused = Some(failure),
            }
            Ok(true)
        }
        Effect::Revoke(job) => {
            foreign::revoke(&sources.client, &job.namespace, &job.name).await?;
            recent.revoked.insert(job.uid);
            Ok(true)
        }
        // The Job's end is an event of its own.
        Effect::Delete(job) => {
            recent.unsure |= !delete(sources, restore, job).await?;
            Ok(false)
        }
        Effect::Start { job, resource_version, seconds } => {
            let api = Api::<Guarded<Job>>::namespaced(sources.client.clone(), &job.namespace);
            let patch = json!({
                "metadata": { "uid": job.uid, "resourceVersion": resource_version },
                "spec": { "suspend": false, "activeDeadlineSeconds": seconds },
            });
            let started = api.patch(&job.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            recent.seen(answered(started).map_err(Error::api(format!("start Job {}/{}", job.namespace, job.name)))?);
            Ok(true)
        }
    }
}

/// Keeps with the Repository how it was opened. It only helps later runs, so nothing waits for it.
async fn remember(sources: &Sources, restore: &RestoreSession, (path, place): (&str, &str), facts: &RepositoryFacts) -> Result<(), Error> {
    let Some(data) = &restore.spec.data_source else { return Ok(()) };
    let own = restore.namespace().unwrap_or_default();
    let namespace = if data.namespace.is_empty() { own.as_str() } else { data.namespace.as_str() };
    let api = Api::<Repository>::namespaced(sources.client.clone(), namespace);
    let remembered = async {
        // The cache may be behind; then the write is refused, and the object is read once more.
        for reading in [Reading::Cached, Reading::Live] {
            let repository = sources.shared.repositories.get(&sources.client, namespace, &data.repository, reading).await?;
            let Some(repository) = repository else { return Ok(()) };
            let Some(text) = known::remembered(&repository, path, place, facts) else { return Ok(()) };
            let patch =
                json!({ "metadata": { "resourceVersion": repository.resource_version(), "annotations": { (labels::OPENED): text } } });
            let written = api.patch_metadata(&data.repository, &PatchParams::default(), &Patch::Merge(patch)).await;
            match written.map_err(Error::api(format!("annotate Repository {namespace}/{}", data.repository))) {
                Err(error) if error.is_conflict() && reading == Reading::Cached => {}
                outcome => return outcome.map(drop),
            }
        }
        Ok(())
    };
    if let Err(error) = remembered.await {
        tracing::warn!(namespace, repository = data.repository, error = error.chain(), "how the repository was opened is not kept");
    }
    Ok(())
}

async fn create(sources: &Sources, job: Job, recent: &mut Recent) -> Result<(), Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let what = format!("create Job {namespace}/{name}");
    let api = Api::<Guarded<Job>>::namespaced(sources.client.clone(), &namespace);
    match answered(api.create(&PostParams::default(), &Guarded(Ok(job))).await).map_err(Error::api(what.clone())) {
        Ok(made) => {
            recent.made.insert(made.uid().unwrap_or_default());
            recent.seen(made);
            Ok(())
        }
        Err(error) if error.is_conflict() => {
            // Whose it is, the next decision says.
            let there = api.get_opt(&name).await.and_then(|there| there.map(|there| answered(Ok(there))).transpose());
            let there = there.map_err(Error::api(format!("get Job {namespace}/{name}")))?;
            recent.unsure |= there.is_none();
            recent.jobs.extend(there);
            Ok(())
        }
        Err(error) => match error.class() {
            Class::Refused => {
                let text = format!("{}; mend restoreOption.addonInfo of the verifier, or the Addon and its Function", error.chain());
                recent.refused = Some(Failure::new(Cause::VerifierInvalid, text));
                Ok(())
            }
            Class::Conflict | Class::Unavailable | Class::Forbidden | Class::Internal => Err(error),
        },
    }
}

/// Removes a Job, but only on the word of a RestoreSession that is not out of date: what an older one does not record may
/// be recorded by now. Says whether it is on its way out.
async fn delete(sources: &Sources, restore: &RestoreSession, job: PinnedObject) -> Result<bool, Error> {
    let now = sources.again(restore).await?;
    if now.is_none_or(|now| now.uid() != restore.uid() || now.resource_version() != restore.resource_version()) {
        return Ok(false);
    }
    let api = Api::<Job>::namespaced(sources.client.clone(), &job.namespace);
    let only_this = DeleteParams::foreground().preconditions(Preconditions { uid: Some(job.uid), resource_version: None });
    match api.delete(&job.name, &only_this).await.map_err(Error::api(format!("delete Job {}/{}", job.namespace, job.name))) {
        // Another one by now, which is not ours to delete, or a server that was too busy with it.
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(true),
    }
}
