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
#[cfg(test)]
pub(crate) mod explored;
mod history;
mod judge;
mod locks;
mod named;
mod observe;
mod observed;
mod proof;
mod record;
mod references;
mod resolve;
mod running;
mod safety;
mod slots;
mod sources;
mod stage;
#[cfg(test)]
mod tests;
mod wipe;
mod wire;

use std::sync::{Arc, PoisonError};

use backproof_api::{BackupStorage, Repository, RestoreSession, kept};
use futures::{StreamExt as _, TryStreamExt as _, channel::mpsc, stream};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _, applier,
        controller::{Config, Error as ApplierError, ReconcileRequest},
        reflector::ObjectRef,
        watcher,
    },
};

use self::{
    driver::{Driver, Memory, Watched},
    slots::Slots,
};
pub(crate) use self::{history::history_of, proof::record};
use crate::{
    Context, Error, Part, Shutdown,
    cache::{self, Changes},
    metrics::{Reconciled, standing::Standing},
    shared::Shared,
};

/// Runs until told to stop.
pub(crate) async fn run(context: Arc<Context>, shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), Error> {
    let (sessions, sessions_writer) = (shared.sessions.clone(), shared.sessions_writer()?);
    let (nudges, nudged) = mpsc::unbounded();
    let memory = Arc::new(Memory::new(nudges, Slots::new(context.config.max_sessions)));
    let (of_repositories, of_storages) = (memory.clone(), memory.clone());
    shared.repositories.listen(move |repository: &Repository| {
        of_repositories.repository_changed(&repository.namespace().unwrap_or_default(), &repository.name_any());
    });
    let (answered, answers) = mpsc::unbounded();
    shared.restores.listen(move |restore: &RestoreSession| {
        if let Some(session) = owner(restore) {
            // Nobody listening means that the process is ending.
            let _ = answered.unbounded_send(session);
        }
    });
    shared.storages.listen(move |_: &BackupStorage| of_storages.a_storage_changed());
    let standing = Standing {
        sessions: sessions.clone(),
        repositories: shared.repositories.store().clone(),
        snapshots: context.metrics.snapshots.clone(),
        asked: context.metrics.asked.clone(),
    };
    context.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(standing));
    let driver = Arc::new(Driver { context: context.clone(), sessions: sessions.clone(), shared: shared.clone(), memory });
    tokio::select! {
        () = driver.recall() => {}
        () = shutdown.clone().requested() => return Ok(()),
    }

    let sessions_watch = watcher(Api::<Watched>::all(context.client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|session| {
            session.0.iter_mut().filter_map(|session| session.status.as_mut()).for_each(kept::unpack);
        })
        .reflect(sessions_writer)
        .map_ok({
            let (shared, mut changes) = (shared.clone(), Changes::of(sessions.clone()));
            move |event| {
                let changed = changes.after(event);
                changed.iter().for_each(|session| shared.sessions_of.note(session));
                stream::iter(changed.into_iter().map(|session| Ok(ReconcileRequest::from(ObjectRef::from_obj(&*session)))))
            }
        })
        .try_flatten();
    let woken = stream::select(nudged, answers).map(|session| Ok(ReconcileRequest::from(session)));

    let queue = stream::select(sessions_watch.boxed(), woken.boxed());
    let filled = cache::filled({
        let (sessions, shared) = (sessions.clone(), shared.clone());
        async move {
            sessions.wait_until_ready().await.is_ok()
                && shared.restores.filled().await
                && shared.repositories.filled().await
                && shared.storages.filled().await
        }
    });
    let gate = filled.clone();
    let reconciles = applier(
        move |watched, driver: Arc<Driver>| {
            let gate = gate.clone();
            Box::pin(async move {
                // Whether a Repository is held off must be known before its sessions run.
                gate.await;
                driver.reconcile(watched).await
            })
        },
        |watched, error: &Error, driver: Arc<Driver>| driver.failed(&watched, error),
        driver.clone(),
        sessions.clone(),
        queue.take_until(shutdown.clone().requested()),
        Config::default().concurrency(context.config.workers),
    );
    let ready = async {
        // An error means that the watch has ended, which ends this part by itself.
        filled.await;
        context.ready.set(Part::Session);
        tokio::select! {
            () = driver.keep_swept() => {}
            () = shutdown.requested() => {}
        }
        Ok(())
    };
    let work = async {
        reconciles.for_each(async |outcome| logged(&context, outcome)).await;
        Ok(())
    };
    futures::future::try_join(work, ready).await.map(|((), ())| ())
}

/// The session a RestoreSession belongs to.
fn owner<K: kube::Resource>(restore: &K) -> Option<ObjectRef<Watched>> {
    let owner =
        restore.owner_references().iter().find(|owner| owner.kind == "BackupVerificationSession" && owner.controller == Some(true))?;
    Some(ObjectRef::new(&owner.name).within(&restore.namespace()?))
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
            tracing::warn!(error = crate::error::chain(&error), "watching sessions failed; trying again");
        }
    }
}
