//! Carries a decision out: each effect under a deterministic name, each harmless when repeated.

use backproof_api::{labels, validate::Invoker};
use k8s_openapi::api::batch::v1::CronJob;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
};

use super::decide::{Applied, Decision};
use crate::{Error, events::Note};

/// Field manager of the CronJobs.
const MANAGER: &str = "backproof-schedule";

/// What could not be done, and is no error of ours.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// What the invoker's owner should know.
    pub(super) notes: Vec<Note>,
    /// Whether something is about to go by itself, so that another look soon is worth it.
    pub(super) wait: bool,
}

/// Applies and deletes.
pub(super) async fn apply(client: &Client, namespace: &str, invoker: Invoker<'_>, decision: &Decision) -> Result<Refused, Error> {
    let api: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    let mut refused = Refused::default();
    for (name, uid) in &decision.delete {
        delete(&api, name, uid).await?;
    }
    for applied in &decision.apply {
        let name = applied.cronjob.name_any();
        match place(&api, invoker, applied).await? {
            Place::Free => {}
            Place::Leaving => {
                refused.wait = true;
                continue;
            }
            Place::Taken => {
                let message = format!(
                    "{invoker}: CronJob {namespace}/{name} exists and is not Backproof's, so nothing is verified by itself there; delete or rename it"
                );
                refused.notes.push(Note::warning("NameTaken", "Schedule", message));
                continue;
            }
        }
        let patched = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&applied.cronjob)).await;
        match patched.map_err(Error::api(format!("apply CronJob {namespace}/{name}"))) {
            Ok(_) => {}
            // It can never become right by itself, and one that is there would go on by settings that were taken back.
            Err(error) if error.status_code() == Some(422) => {
                if let Some(uid) = &applied.uid {
                    delete(&api, &name, uid).await?;
                }
                let message = format!("{}: the API server refuses the CronJob made from it: {}", applied.scheduler, error.chain());
                refused.notes.push(Note::warning("ScheduleInvalid", "Schedule", message));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// What stands where a CronJob shall be.
enum Place {
    /// Nothing, or our own.
    Free,
    /// One of an earlier invoker of this name, which goes with its owner.
    Leaving,
    /// Somebody else's.
    Taken,
}

async fn place(api: &Api<CronJob>, invoker: Invoker<'_>, applied: &Applied) -> Result<Place, Error> {
    if applied.uid.is_some() {
        return Ok(Place::Free);
    }
    let name = applied.cronjob.name_any();
    // The cache holds only what is labelled ours; a stranger of that name is seen by asking.
    let found = api.get_opt(&name).await.map_err(Error::api(format!("get CronJob {}/{name}", invoker.namespace())))?;
    let Some(found) = found else { return Ok(Place::Free) };
    let owner = found.owner_references().iter().find(|owner| owner.controller == Some(true));
    Ok(match owner {
        Some(owner) if Some(&owner.uid) == invoker.meta().uid.as_ref() => Place::Free,
        Some(_) if found.labels().contains_key(labels::INVOKER_UID) => Place::Leaving,
        // Orphaned when its invoker was deleted, and adopted by the next one of that name.
        None if found.labels().contains_key(labels::INVOKER_UID) => Place::Free,
        Some(_) | None => Place::Taken,
    })
}

/// Deletes these CronJobs of a namespace.
pub(super) async fn remove(client: &Client, namespace: &str, cronjobs: &[(String, String)]) -> Result<(), Error> {
    let api: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    for (name, uid) in cronjobs {
        delete(&api, name, uid).await?;
    }
    Ok(())
}

async fn delete(api: &Api<CronJob>, name: &str, uid: &str) -> Result<(), Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await.map_err(Error::api(format!("delete CronJob {name}"))) {
        Ok(_) => Ok(()),
        // Another one by now is a conflict: looked at again with what the cache has then.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
