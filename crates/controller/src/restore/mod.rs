//! Reconciler of RestoreSessions: one restore of one Snapshot into one target.
//!
//! It serves only those that our session reconciler made, told by the session's UID and the pinned hash of their spec; every
//! other RestoreSession is left as it is: no status, no finalizer, no event. [`observe`] reads, [`decide`] is pure,
//! [`apply`] writes. The rooms behind: [`plan`] turns pinned facts into Jobs ([`resolve`], [`variables`], [`landing`], [`settings`],
//! [`volumes`], [`job`], [`target`]); [`judge`] reads what Jobs and pods say, [`foreign`] what Functions of others say;
//! [`status`] writes it down.

mod apply;
pub(crate) mod copies;
mod database;
mod decide;
#[cfg(test)]
pub(crate) mod explored;
mod foreign;
mod inputs;
mod job;
mod judge;
mod known;
mod landing;
mod make;
mod observe;
mod owner;
mod plan;
mod resolve;
mod settings;
mod status;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod variables;
mod verifier;
mod volumes;
pub(crate) mod wipe;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backproof_api::{RestoreSession, labels};
use futures::{
    StreamExt as _,
    channel::mpsc::{self, UnboundedSender},
    future,
};
use k8s_openapi::api::core::v1::EnvVar;
use kube::{
    Resource as _, ResourceExt,
    runtime::{
        controller::{Action, Config as ControllerConfig, applier},
        reflector::ObjectRef,
    },
};

pub(crate) use known::place;
pub(crate) use owner::{Owner, parts};
pub(crate) use status::{REPORTED, checks_hold};

use crate::{Context, Error, Part, Shutdown, cache, error::Class, events::Note, manifest::proxies, shared::Shared};
use apply::{Applied, apply};
use observe::{Recent, Sources};
use plan::Installation;

/// When to look again after a write that may have come to nothing.
const SOON: Duration = Duration::from_secs(2);
/// Kind of the objects reconciled here, for metrics and logs.
const KIND: &str = "RestoreSession";
/// Most decisions in one go; a run with several components takes a handful.
const PASSES: usize = 8;
/// A restore under way is looked at this often even if nothing seems to happen.
const SLOW: Duration = Duration::from_secs(30 * 60);

/// What the reconciler is given.
struct World {
    context: Arc<Context>,
    sources: Sources,
    proxies: Vec<EnvVar>,
    /// Restores as our last write left them, by UID: the cache may lag.
    written: Mutex<Written>,
}

/// Restores by UID, each with the versions before it that it was written from, one by one: the cache may be at any of these.
type Written = HashMap<String, (Vec<Option<String>>, RestoreSession)>;

/// Runs until told to stop.
pub(crate) async fn run(context: Arc<Context>, shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), Error> {
    let (sender, changed) = mpsc::unbounded();
    let (of_restores, of_jobs, of_pods) = (sender.clone(), sender.clone(), sender);
    shared.restores.listen(move |restore| send(&of_restores, Some(ObjectRef::from_obj(restore))));
    shared.jobs.listen(move |job| send(&of_jobs, restore_of(job)));
    shared.pods.listen(move |pod| send(&of_pods, restore_of(pod)));
    let queue = changed.take_until(shutdown.clone().requested()).map(Ok::<_, std::convert::Infallible>);

    let config = ControllerConfig::default().concurrency(context.config.workers);
    let restores = shared.restores.store().clone();
    // A cache whose watch is gone will never fill; the queue has ended then, and so does this part.
    let filled = cache::filled({
        let shared = shared.clone();
        async move { shared.restores.filled().await && shared.jobs.filled().await && shared.pods.filled().await }
    });
    let sources = Sources::new(context.client.clone(), shared);
    let world = Arc::new(World { context: context.clone(), sources, proxies: proxies(), written: Mutex::default() });
    let gate = filled.clone();
    let ready = async {
        if filled.await {
            context.ready.set(Part::Restore);
        }
    };
    let reconcile_when_filled = move |restore: Arc<RestoreSession>, world: Arc<World>| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.await;
            reconcile(restore, world).await
        })
    };
    let work = applier(reconcile_when_filled, on_error, world, restores, queue, config).for_each(|_| future::ready(()));
    future::join(work, ready).await;
    Ok(())
}

fn send(sender: &UnboundedSender<ObjectRef<RestoreSession>>, restore: Option<ObjectRef<RestoreSession>>) {
    if let Some(restore) = restore {
        // Nobody listens any more only while the process ends.
        let _ = sender.unbounded_send(restore);
    }
}

/// The RestoreSession an object was made for: it has the session's name and namespace.
fn restore_of<K: ResourceExt>(object: &K) -> Option<ObjectRef<RestoreSession>> {
    let namespace = object.labels().get(labels::INVOKER_NAMESPACE)?;
    let name = object.annotations().get(labels::FULL_NAME).or_else(|| object.labels().get(labels::INVOKER_NAME))?;
    Some(ObjectRef::new(name).within(namespace))
}

async fn reconcile(cached: Arc<RestoreSession>, world: Arc<World>) -> Result<Action, Error> {
    let restore = world.freshest(&cached);
    if owner::named_by(&restore).is_none() {
        return Ok(Action::await_change());
    }
    let since = Instant::now();
    let outcome = world.serve(restore).await;
    world.context.metrics.took(KIND, since);
    let action = outcome?;
    world.context.metrics.reconciled(KIND, "ok");
    Ok(action)
}

impl World {
    /// Decides and applies until nothing is left to do.
    async fn serve(&self, restore: RestoreSession) -> Result<Action, Error> {
        let mut restore = restore;
        let mut recent = Recent::default();
        let installation = Installation { config: &self.context.config, proxies: &self.proxies };
        for _ in 0..PASSES {
            let mut observed = self.sources.observe(restore.clone(), &mut recent).await?;
            let mut decision = decide::decide(&observed, installation, self.context.clock.now());
            // A cache that lags must not end it.
            if decision.as_ref().is_some_and(|decision| ends(&restore, decision)) && observed.inputs.is_some() && recent.ask_again() {
                observed = self.sources.observe(restore.clone(), &mut recent).await?;
                decision = decide::decide(&observed, installation, self.context.clock.now());
            }
            let Some(decision) = decision else {
                self.forget(&restore);
                return Ok(Action::await_change());
            };
            let wake = decision.wake;
            let base = restore.resource_version();
            let was_open = restore.status.as_ref().is_none_or(|status| !status::is_closed(status));
            match apply(&self.sources, &self.context.events, restore, decision, &mut recent).await? {
                Applied::Again(next) => {
                    self.remember(base, &next);
                    if was_open && next.status.as_ref().is_some_and(status::is_closed) {
                        self.context.metrics.restored(&next);
                    }
                    restore = *next;
                }
                Applied::Settled(_) if recent.unsure => return Ok(Action::requeue(SOON)),
                Applied::Settled(settled) if wake.is_none() && status::is_closed(&settled.status.clone().unwrap_or_default()) => {
                    self.sources.forget(&settled);
                    return Ok(Action::await_change());
                }
                Applied::Settled(_) => {
                    let wake = wake.and_then(|wake| Duration::try_from(wake).ok()).unwrap_or(SLOW);
                    return Ok(Action::requeue(wake.min(SLOW)));
                }
            }
        }
        // More passes than any run needs: somebody undoes what we write. Slowly, then.
        Ok(Action::requeue(Duration::from_secs(10)))
    }

    /// The restore as the cache has it, or as our own last write left it if the cache does not show that yet.
    fn freshest(&self, cached: &RestoreSession) -> RestoreSession {
        let mut written = self.written();
        let uid = cached.uid().unwrap_or_default();
        match written.get(&uid) {
            Some((before, newer)) if before.contains(&cached.resource_version()) => newer.clone(),
            Some(_) => {
                written.remove(&uid);
                cached.clone()
            }
            None => cached.clone(),
        }
    }

    fn remember(&self, base: Option<String>, newer: &RestoreSession) {
        if base == newer.resource_version() {
            return;
        }
        let mut written = self.written();
        let uid = newer.uid().unwrap_or_default();
        // Several writes in a row: the cache may still be where the first of them started, or anywhere between.
        let mut before =
            written.remove(&uid).filter(|(_, last)| last.resource_version() == base).map_or_else(Vec::new, |(before, _)| before);
        before.push(base);
        written.insert(uid, (before, newer.clone()));
    }

    fn forget(&self, restore: &RestoreSession) {
        self.sources.forget(restore);
        self.written().remove(&restore.uid().unwrap_or_default());
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        // Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a decision closes a restore that is open.
fn ends(restore: &RestoreSession, decision: &decide::Decision) -> bool {
    status::is_closed(&decision.status) && restore.status.as_ref().is_none_or(|status| !status::is_closed(status))
}

fn on_error(restore: Arc<RestoreSession>, error: &Error, world: Arc<World>) -> Action {
    let class = error.class();
    world.context.metrics.reconciled(KIND, error.reason());
    match class {
        // Somebody else wrote first; nothing is wrong.
        Class::Conflict => tracing::debug!(kind = KIND, name = restore.name_any(), error = error.chain(), "trying again"),
        Class::Unavailable => tracing::warn!(kind = KIND, name = restore.name_any(), error = error.chain(), "trying again"),
        Class::Forbidden | Class::Refused | Class::Internal => {
            tracing::error!(kind = KIND, name = restore.name_any(), error = error.chain(), "cannot go on");
            let (world, regarding, note) =
                (world.clone(), restore.object_ref(&()), Note::warning(error.reason(), "Reconcile", error.chain()));
            tokio::spawn(async move { world.context.events.publish(&regarding, note).await });
        }
    }
    Action::requeue(class.requeue())
}
