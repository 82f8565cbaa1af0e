//! This reconciler as the exploration drives it: one round at a time, from caches that are given to it, with a memory that can
//! be taken out and put back.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex},
};

use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};

use super::{Owner, World, Written, observe::Sources, on_error, reconcile, restore_of};
use crate::{Context, shared::Shared};

/// What a process keeps between reconciles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    owners: Arc<HashMap<String, Owner>>,
    written: Arc<Written>,
}

impl Remembered {
    /// A hash of what decisions may rest on; `version` tells the version of a RestoreSession that the cache has, by UID.
    pub(crate) fn digest(&self, version: impl Fn(&str) -> Option<String>) -> u64 {
        let mut sum = 0u64;
        for (uid, owner) in &*self.owners {
            let (session, run) = (&owner.session, &owner.run);
            let phase = session.status.as_ref().and_then(|status| status.phase.as_ref()).map(ToString::to_string);
            let leaving = session.metadata.deletion_timestamp.as_ref().map(|time| time.0);
            let restore = run.restore_session.as_ref().map(|restore| &restore.uid);
            let mut hasher = DefaultHasher::new();
            (uid, phase, leaving, restore, &run.deadline, &run.restore_spec_hash, &run.snapshot.uid).hash(&mut hasher);
            sum = sum.wrapping_add(hasher.finish());
        }
        for (uid, (before, restore)) in &*self.written {
            let mut hasher = DefaultHasher::new();
            (uid, before.contains(&version(uid))).hash(&mut hasher);
            if let Some(status) = &restore.status {
                let phases: Vec<_> = status
                    .components
                    .values()
                    .map(|component| (component.phase.as_ref().map(ToString::to_string), &component.error))
                    .collect();
                let jobs: Vec<_> = status.jobs.iter().map(|job| (&job.object.uid, job.started)).collect();
                let verification = status.verification.as_ref().map(|state| (state.phase.as_ref().map(ToString::to_string), &state.error));
                (phases, jobs, verification, &status.message, status.conditions.len(), status.verdict.as_ref().map(ToString::to_string))
                    .hash(&mut hasher);
            }
            sum = sum.wrapping_add(hasher.finish());
        }
        sum
    }
}

/// The reconciler for one step.
pub(crate) struct Restores {
    world: Arc<World>,
    namespace: String,
}

impl Restores {
    /// With these caches and this memory.
    pub(crate) fn new(context: Arc<Context>, namespace: &str, shared: Arc<Shared>, remembered: &Remembered) -> Self {
        let sources = Sources::new(context.client.clone(), shared);
        sources.owners().extend(remembered.owners.iter().map(|(uid, owner)| (uid.clone(), owner.clone())));
        let written = Mutex::new((*remembered.written).clone());
        let world = Arc::new(World { context, sources, proxies: Vec::new(), written });
        Self { world, namespace: namespace.to_owned() }
    }

    /// One reconcile; `None` for a RestoreSession that the cache does not have.
    pub(crate) async fn reconcile(&self, name: &str) -> Option<Action> {
        let restore = self.world.sources.shared.restores.store().get(&ObjectRef::new(name).within(&self.namespace))?;
        Some(match reconcile(restore.clone(), self.world.clone()).await {
            Ok(action) => action,
            Err(error) => on_error(restore, &error, self.world.clone()),
        })
    }

    /// What is kept for the next step.
    pub(crate) fn end(self) -> Remembered {
        let owners = Arc::new(self.world.sources.owners().clone());
        Remembered { owners, written: Arc::new(self.world.written().clone()) }
    }
}

/// The RestoreSession that a change of a Job or pod wakes.
pub(crate) fn woken_by<K: ResourceExt>(object: &K) -> Option<String> {
    restore_of(object).map(|restore| restore.name)
}
