//! Watches that note when something was first seen, so that what a controller does is timed from outside of it.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use backproof_api::{BackupVerificationSession, RestoreSession, condition, labels, phase::conditions};
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinSet;

use crate::jobs;

/// What can be seen of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    /// Its RestoreSession is there.
    Child,
    /// Its Job was started.
    Started,
    /// The verdict stands in its conditions.
    Verdict,
    /// Its phase says that it has ended.
    Ended,
    /// It has a status at all.
    Status,
}

type Seen = Arc<Mutex<HashMap<(Sight, String), Instant>>>;

/// Watches of sessions, RestoreSessions and Jobs.
pub(crate) struct Eyes {
    seen: Seen,
    watches: JoinSet<()>,
}

impl Eyes {
    pub(crate) fn open(client: &Client) -> Self {
        let seen = Seen::default();
        let mut watches = JoinSet::new();
        watches.spawn(look(watcher(Api::<BackupVerificationSession>::all(client.clone()), watcher::Config::default()), {
            let seen = seen.clone();
            move |session: &BackupVerificationSession| of_session(&seen, session)
        }));
        watches.spawn(look(watcher(Api::<PartialObjectMeta<RestoreSession>>::all(client.clone()), watcher::Config::default()), {
            let seen = seen.clone();
            move |restore: &PartialObjectMeta<RestoreSession>| note(&seen, Sight::Child, key(restore))
        }));
        watches.spawn(look(watcher(Api::<Job>::all(client.clone()), watcher::Config::default()), {
            let seen = seen.clone();
            move |job: &Job| {
                if jobs::is_started(job) {
                    note(&seen, Sight::Started, session_of(job));
                }
            }
        }));
        Self { seen, watches }
    }

    pub(crate) fn at(&self, sight: Sight, name: &str) -> Option<Instant> {
        self.seen().get(&(sight, name.to_owned())).copied()
    }

    /// Of how many sessions of a tag it was seen.
    pub(crate) fn count(&self, sight: Sight, tag: &str) -> usize {
        self.seen().keys().filter(|(seen, name)| *seen == sight && is_of(name, tag)).count()
    }

    /// When it was last seen of a session of this tag.
    pub(crate) fn last(&self, sight: Sight, tag: &str) -> Option<Instant> {
        self.seen().iter().filter(|((seen, name), _)| *seen == sight && is_of(name, tag)).map(|(_, at)| *at).max()
    }

    /// Waits until this was seen of a session, by its namespace and name.
    pub(crate) async fn wait(&self, sight: Sight, name: &str, longest: Duration) -> Result<Instant> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.at(sight, name) {
                return Ok(at);
            }
            if start.elapsed() > longest || self.watches.is_empty() {
                bail!("{sight:?} of {name} was not seen after {} s", longest.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until it was seen of so many sessions of a tag.
    pub(crate) async fn wait_for(&self, sight: Sight, tag: &str, many: usize, longest: Duration) -> Result<()> {
        let start = Instant::now();
        while self.count(sight, tag) < many {
            if start.elapsed() > longest {
                bail!("{sight:?} was seen of {} sessions, not of {many}, after {} s", self.count(sight, tag), longest.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<(Sight, String), Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a session, by namespace and name, has this tag.
fn is_of(name: &str, tag: &str) -> bool {
    name.split('/').nth(1).and_then(|name| name.strip_prefix(tag)).is_some_and(|rest| rest.starts_with('-'))
}

fn key<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// The session a Job was made for.
pub(crate) fn session_of(job: &Job) -> String {
    let name = job.annotations().get(labels::FULL_NAME).cloned().unwrap_or_default();
    format!("{}/{name}", job.namespace().unwrap_or_default())
}

fn note(seen: &Seen, sight: Sight, name: String) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).entry((sight, name)).or_insert_with(Instant::now);
}

fn of_session(seen: &Seen, session: &BackupVerificationSession) {
    let Some(status) = &session.status else { return };
    note(seen, Sight::Status, key(session));
    if condition::is_true(&status.conditions, conditions::BACKUP_VERIFIED) {
        note(seen, Sight::Verdict, key(session));
    }
    if status.phase.as_ref().and_then(|phase| phase.known()).is_some_and(backproof_api::VerificationPhase::is_done) {
        note(seen, Sight::Ended, key(session));
    }
}

async fn look<K: Debug>(events: impl futures::Stream<Item = Result<watcher::Event<K>, watcher::Error>>, seen: impl Fn(&K)) {
    let mut objects = std::pin::pin!(events.default_backoff().applied_objects());
    while let Some(object) = objects.next().await {
        if let Ok(object) = object {
            seen(&object);
        }
    }
}
