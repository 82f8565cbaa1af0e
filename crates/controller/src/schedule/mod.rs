//! Reconciler: schedule. One CronJob per verifier reference of an invoker.
//!
//! It observes from caches, decides ([`decide`], pure) and applies; it writes no status of the invoker, only events.

pub(crate) mod account;
mod apply;
mod cronjob;
mod decide;
mod orphans;
pub(crate) mod same;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backproof_api::{BackupBatch, BackupConfiguration, BackupVerifier, Repository, labels, validate::Invoker};
use k8s_openapi::api::batch::v1::CronJob;
use kube::{
    Resource, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{
    Context, Error, Part, Shutdown,
    cache::Caches,
    events::Note,
    queue::{Again, drive},
    shared::Shared,
};
use account::{Accounts, Purpose};
use decide::Observed;

/// How often an invoker is looked at although nothing changed.
const SLOWLY: Duration = Duration::from_secs(15 * 60);

/// An invoker to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Configuration,
    Batch,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "BackupConfiguration",
            Self::Batch => "BackupBatch",
        }
    }
}

/// Runs until told to stop.
pub(crate) async fn run(context: Arc<Context>, shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), Error> {
    let mut caches = Caches::new(context.client.clone(), context.metrics.clone());
    let (sender, receiver) = unbounded_channel();
    let schedule = Schedule::watch(context.clone(), shared, &mut caches, &sender);
    let workers = usize::from(context.config.workers);
    let work = async {
        let filled = tokio::select! {
            filled = schedule.filled() => filled,
            () = shutdown.clone().requested() => false,
        };
        if filled {
            context.ready.set(Part::Schedule);
            drive(receiver, workers, shutdown, context.metrics.queue("schedule"), |key| schedule.reconcile(key)).await;
        }
    };
    tokio::select! {
        () = work => Ok(()),
        () = caches.ended() => Err(Error::PartEnded { part: "schedule's caches" }),
    }
}

/// The reconciler with its caches.
struct Schedule {
    context: Arc<Context>,
    shared: Arc<Shared>,
    cronjobs: Store<CronJob>,
    accounts: Accounts,
    told: Mutex<HashMap<Key, BTreeSet<(&'static str, String)>>>,
}

/// Invokers to look at when something they depend on changes.
#[derive(Clone)]
struct Dependants {
    configurations: Store<BackupConfiguration>,
    batches: Store<BackupBatch>,
    sender: UnboundedSender<Key>,
}

impl Dependants {
    /// Queues every invoker that the test holds for.
    fn queue(&self, affected: impl Fn(Invoker<'_>) -> bool) {
        let configurations = self.configurations.state();
        let batches = self.batches.state();
        let all =
            configurations.iter().map(|object| Invoker::Configuration(object)).chain(batches.iter().map(|object| Invoker::Batch(object)));
        for invoker in all.filter(|invoker| affected(*invoker)) {
            send(&self.sender, key_of(invoker));
        }
    }
}

fn key_of(invoker: Invoker<'_>) -> Key {
    let kind = match invoker {
        Invoker::Configuration(_) => Kind::Configuration,
        Invoker::Batch(_) => Kind::Batch,
    };
    Key { kind, namespace: invoker.namespace().to_owned(), name: invoker.name().to_owned() }
}

fn send(sender: &UnboundedSender<Key>, key: Key) {
    // Nobody listens any more only while the process ends.
    let _ = sender.send(key);
}

fn names_verifier(invoker: Invoker<'_>, namespace: &str, name: &str) -> bool {
    let own = invoker.namespace();
    invoker
        .entries()
        .iter()
        .filter_map(backproof_api::validate::RepositoryEntry::verifier)
        .any(|verifier| verifier.name == name && verifier.namespace_or(own) == namespace)
}

impl Schedule {
    fn watch(context: Arc<Context>, shared: Arc<Shared>, caches: &mut Caches, sender: &UnboundedSender<Key>) -> Self {
        let (to, also) = (sender.clone(), sender.clone());
        shared.configurations.listen(move |object: &BackupConfiguration| send(&to, key_of(Invoker::Configuration(object))));
        shared.batches.listen(move |object: &BackupBatch| send(&also, key_of(Invoker::Batch(object))));
        let (configurations, batches) = (shared.configurations.store().clone(), shared.batches.store().clone());
        let dependants = Dependants { configurations, batches, sender: sender.clone() };
        let (of_verifiers, of_repositories, of_accounts, to) = (dependants.clone(), dependants.clone(), dependants, sender.clone());
        shared.verifiers.listen(move |verifier: &BackupVerifier| {
            let (namespace, name) = (verifier.namespace().unwrap_or_default(), verifier.name_any());
            of_verifiers.queue(|invoker| names_verifier(invoker, &namespace, &name));
        });
        shared.repositories.listen(move |repository: &Repository| {
            let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
            of_repositories
                .queue(|invoker| invoker.namespace() == namespace && invoker.entries().iter().any(|entry| entry.repository.name == name));
        });
        Self {
            context,
            shared,
            cronjobs: caches.watch(watcher::Config::default().labels(labels::INVOKER_UID), move |cronjob: &CronJob| {
                send(&to, owner_of(cronjob).unwrap_or_else(|| nobody(cronjob)));
            }),
            accounts: Accounts::watch(caches, Purpose::Trigger, move |namespace| {
                of_accounts.queue(|invoker| invoker.namespace() == namespace);
            }),
            told: Mutex::default(),
        }
    }

    /// Completes once every cache is filled; `false` when a watch is gone.
    async fn filled(&self) -> bool {
        self.shared.configurations.filled().await
            && self.shared.batches.filled().await
            && self.shared.verifiers.filled().await
            && self.shared.repositories.filled().await
            && self.cronjobs.wait_until_ready().await.is_ok()
            && self.accounts.ready().await
    }

    async fn reconcile(&self, key: Key) -> Again {
        let since = Instant::now();
        let outcome = match key.kind {
            Kind::Configuration => match self.shared.configurations.store().get(&ObjectRef::new(&key.name).within(&key.namespace)) {
                Some(object) => self.serve(&key, Invoker::Configuration(&object)).await,
                None => return self.forget(&key).await,
            },
            Kind::Batch => match self.shared.batches.store().get(&ObjectRef::new(&key.name).within(&key.namespace)) {
                Some(object) => self.serve(&key, Invoker::Batch(&object)).await,
                None => return self.forget(&key).await,
            },
        };
        self.context.metrics.took(key.kind.as_str(), since);
        match outcome {
            Ok(again) => {
                self.context.metrics.reconciled(key.kind.as_str(), "ok");
                again
            }
            Err(error) => {
                self.context.metrics.reconciled(key.kind.as_str(), error.reason());
                tracing::warn!(
                    kind = key.kind.as_str(),
                    namespace = key.namespace,
                    name = key.name,
                    error = error.chain(),
                    "schedule not reconciled"
                );
                Again::After(error.class().requeue())
            }
        }
    }

    /// The invoker is gone; its CronJobs go with it, as it owns them. Those that were orphaned are deleted here.
    async fn forget(&self, key: &Key) -> Again {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.context.metrics.asked.forget(key.kind.as_str(), &key.namespace, &key.name);
        let (configurations, batches) = (self.shared.configurations.store().state(), self.shared.batches.store().state());
        let live =
            configurations.iter().filter_map(|object| object.uid()).chain(batches.iter().filter_map(|object| object.uid())).collect();
        let there = self.cronjobs.state_filter(|cronjob| cronjob.metadata.namespace.as_deref() == Some(&key.namespace));
        match apply::remove(&self.context.client, &key.namespace, &orphans::orphans(&there, &live)).await {
            Ok(()) => Again::OnChange,
            Err(error) => {
                tracing::warn!(namespace = key.namespace, error = error.chain(), "CronJobs without an invoker are not deleted");
                Again::After(error.class().requeue())
            }
        }
    }

    async fn serve(&self, key: &Key, invoker: Invoker<'_>) -> Result<Again, Error> {
        self.context.metrics.asked.note(invoker);
        let decision = decide::decide(&self.observe(invoker));
        let mut notes = decision.notes.clone();
        let outcome = self.apply(invoker, &decision).await;
        match &outcome {
            Ok(refused) => notes.extend(refused.notes.iter().cloned()),
            Err(error) => notes.extend(crate::events::of_error(error, "Schedule")),
        }
        self.tell(key, invoker, notes).await;
        Ok(if outcome?.wait { Again::After(Duration::from_secs(5)) } else { Again::After(SLOWLY) })
    }

    async fn apply(&self, invoker: Invoker<'_>, decision: &decide::Decision) -> Result<apply::Refused, Error> {
        let namespace = invoker.namespace();
        if decision.wanted > 0 {
            self.accounts.ensure(&self.context.client, namespace).await?;
        }
        apply::apply(&self.context.client, namespace, invoker, decision).await
    }

    fn observe<'a>(&'a self, invoker: Invoker<'a>) -> Observed<'a> {
        let namespace = invoker.namespace();
        let entries = invoker.entries();
        let verifiers = entries.iter().filter_map(|entry| entry.verifier()).filter_map(|reference| {
            let place = (reference.namespace_or(namespace).to_owned(), reference.name.clone());
            self.shared.verifiers.store().get(&ObjectRef::new(&place.1).within(&place.0)).map(|verifier| (place, verifier))
        });
        let discovered = entries.iter().map(|entry| &entry.repository.name).filter(|name| {
            let repository = self.shared.repositories.store().get(&ObjectRef::new(name).within(namespace));
            repository.is_some_and(|repository| crate::repository::is_discovered(&repository))
        });
        let uid = invoker.meta().uid.as_deref();
        let ours = |cronjob: &CronJob| {
            let owner = cronjob.owner_references().iter().find(|owner| owner.controller == Some(true));
            owner.is_some_and(|owner| Some(owner.uid.as_str()) == uid) && cronjob.metadata.namespace.as_deref() == Some(namespace)
        };
        Observed {
            invoker,
            verifiers: verifiers.collect(),
            discovered: discovered.cloned().collect(),
            cronjobs: self.cronjobs.state_filter(ours),
            image: &self.context.config.image,
        }
    }

    /// Publishes what was not said at the last look.
    async fn tell(&self, key: &Key, invoker: Invoker<'_>, notes: Vec<Note>) {
        let now: BTreeSet<_> = notes.iter().map(|note| (note.reason, note.message.clone())).collect();
        let before = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), now).unwrap_or_default();
        let object = match invoker {
            Invoker::Configuration(object) => object.object_ref(&()),
            Invoker::Batch(object) => object.object_ref(&()),
        };
        for note in notes {
            if !before.contains(&(note.reason, note.message.clone())) {
                self.context.events.publish(&object, note).await;
            }
        }
    }
}

/// The key of no invoker, so that CronJobs without one are looked at.
fn nobody(cronjob: &CronJob) -> Key {
    Key { kind: Kind::Configuration, namespace: cronjob.namespace().unwrap_or_default(), name: String::new() }
}

/// The invoker a CronJob was made for.
fn owner_of(cronjob: &CronJob) -> Option<Key> {
    let owner = cronjob.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let kind = [Kind::Configuration, Kind::Batch].into_iter().find(|kind| kind.as_str() == owner.kind)?;
    Some(Key { kind, namespace: cronjob.namespace()?, name: owner.name.clone() })
}
