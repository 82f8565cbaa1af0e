//! Reconciler of BackupVerificationSession: from what a session names to its verdict.
//!
//! `observe` reads, `decide` is pure, `apply` writes. How far a session is stands in the object alone ([`stage`]): a crash
//! between any two writes, a stale read or a repeated event leads to the same end, and a finished phase never changes.

mod apply;
mod closing;
mod components;
mod decide;
mod decision;
mod deleting;
mod discovery;
mod done;
mod driver;
mod history;
mod judge;
mod observe;
mod observed;
mod proof;
mod references;
mod resolve;
mod running;
mod safety;
mod stage;
#[cfg(test)]
mod tests;
mod wipe;
mod wire;

use std::sync::Arc;

use backproof_api::{RestoreSession, labels};
use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc, stream};
use kube::{
    Api, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _, applier,
        controller::{Config, Error as ApplierError, ReconcileRequest},
        reflector::{self, ObjectRef},
        watcher,
    },
};

use self::driver::{Driver, Memory, Watched};
use crate::{Context, Error, Part, Shutdown, lease, metrics::Reconciled};

/// Runs until told to stop.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    let (sessions, sessions_writer) = reflector::store::<Watched>();
    let (restores, restores_writer) = reflector::store::<DeserializeGuard<RestoreSession>>();
    let (nudges, nudged) = mpsc::unbounded();
    let driver =
        Arc::new(Driver { context: context.clone(), sessions: sessions.clone(), restores: restores.clone(), memory: Memory::new(nudges) });

    let sessions_watch = watcher(Api::<Watched>::all(context.client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|session| session.managed_fields_mut().clear())
        .reflect(sessions_writer)
        .touched_objects()
        .map_ok(|session| Some(ReconcileRequest::from(ObjectRef::from_obj(&session))));
    // Ours alone: every RestoreSession we make carries the UID of its session.
    let ours = watcher::Config::default().labels(labels::SESSION_UID);
    let restores_watch = watcher(Api::<DeserializeGuard<RestoreSession>>::all(context.client.clone()), ours)
        .default_backoff()
        .modify(|restore| restore.managed_fields_mut().clear())
        .reflect(restores_writer)
        .touched_objects()
        .map_ok(|restore| owner(&restore).map(ReconcileRequest::from));
    let nudged = nudged.map(|session| Ok(Some(ReconcileRequest::from(session))));

    let queue =
        stream::select_all([sessions_watch.boxed(), restores_watch.boxed(), nudged.boxed()]).try_filter_map(async |request| Ok(request));
    let reconciles = applier(
        |watched, driver: Arc<Driver>| Box::pin(driver.reconcile(watched)),
        |watched, error: &Error, driver: Arc<Driver>| driver.failed(&watched, error),
        driver.clone(),
        sessions.clone(),
        queue.take_until(shutdown.clone().requested()),
        Config::default().concurrency(context.config.workers),
    );
    let ready = async {
        // An error means that the watch has ended, which ends this part by itself.
        let _ = futures::future::join(sessions.wait_until_ready(), restores.wait_until_ready()).await;
        context.ready.set(Part::Session);
        sweep(&driver).await;
        shutdown.requested().await;
        Ok(())
    };
    let work = async {
        reconciles.for_each(async |outcome| logged(&context, outcome)).await;
        Ok(())
    };
    futures::future::try_join(work, ready).await.map(|((), ())| ())
}

/// The session a RestoreSession belongs to.
fn owner(restore: &DeserializeGuard<RestoreSession>) -> Option<ObjectRef<Watched>> {
    let owner =
        restore.owner_references().iter().find(|owner| owner.kind == "BackupVerificationSession" && owner.controller == Some(true))?;
    Some(ObjectRef::new(&owner.name).within(&restore.namespace()?))
}

/// Once after the start: finished sessions that still hold a lock are looked at again, locks without a session are removed.
async fn sweep(driver: &Arc<Driver>) {
    let swept = async {
        for (lease, holder) in lease::list(&driver.context).await? {
            driver.memory.took(&holder.uid, &lease);
            driver.memory.nudge(ObjectRef::new(&holder.name).within(&holder.namespace));
            let known = driver.sessions.find(|session| session.uid().as_deref() == Some(holder.uid.as_str())).is_some();
            if known || driver.is_alive(&holder).await? {
                continue;
            }
            if let lease::Lock::Held(held) = lease::read(&driver.context, &lease, "").await?
                && driver.pods_of(&held, &holder.namespace).await?.is_empty()
            {
                lease::evict(&driver.context, &held).await?;
            }
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = swept.await {
        tracing::warn!(error = error.chain(), "cannot look through the target locks; whoever waits for one looks by itself");
    }
}

fn logged(
    context: &Context,
    outcome: Result<(ObjectRef<Watched>, kube::runtime::controller::Action), ApplierError<Error, watcher::Error>>,
) {
    match outcome {
        // Failures of a reconcile are told where they happen; an object that has gone meanwhile is no failure.
        Ok(_) | Err(ApplierError::ReconcilerFailed(..) | ApplierError::ObjectNotFound(_)) => {}
        Err(error @ (ApplierError::QueueError(_) | ApplierError::RunnerError(_))) => {
            context.metrics.malformed.get_or_create(&Reconciled { kind: "BackupVerificationSession", outcome: "watch" }).inc();
            tracing::warn!(%error, "watching sessions failed; trying again");
        }
    }
}
