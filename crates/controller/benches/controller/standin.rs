//! Plays Job controller and kubelet: each Job that is started gets its pod, which ends well at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinSet;

use crate::jobs;

/// When each Job was told to have ended, by its session.
type Ends = Arc<Mutex<HashMap<String, Instant>>>;

/// Works until it is dropped.
pub(crate) struct StandIn {
    ends: Ends,
    _work: JoinSet<()>,
}

impl StandIn {
    pub(crate) fn start(client: &Client) -> Self {
        let (ends, mut work) = (Ends::default(), JoinSet::new());
        work.spawn(serve(client.clone(), ends.clone()));
        Self { ends, _work: work }
    }

    /// When the API server had answered that this session's Job has ended.
    pub(crate) fn ended(&self, session: &str) -> Option<Instant> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(session).copied()
    }
}

async fn serve(client: Client, ends: Ends) {
    let mut seen = std::collections::HashSet::new();
    let started = watcher(Api::<Job>::all(client.clone()), watcher::Config::default().labels("backproof.dev/session-uid"))
        .default_backoff()
        .applied_objects()
        .try_filter(|job| std::future::ready(jobs::is_started(job) && !jobs::is_ended(job) && seen.insert(job.uid())));
    started
        .for_each_concurrent(8, |job| {
            let (client, ends) = (client.clone(), ends.clone());
            async move {
                let Ok(job) = job else { return };
                let ended = async {
                    jobs::run(&client, &job).await?;
                    jobs::report_of(&client, &job, jobs::Report::Green).await?;
                    jobs::end(&client, &job).await
                };
                match ended.await {
                    Ok(()) => {
                        ends.lock().unwrap_or_else(PoisonError::into_inner).insert(crate::eyes::session_of(&job), Instant::now());
                    }
                    Err(error) => eprintln!("the stand-in cannot end Job {}: {error:#}", job.name_any()),
                }
            }
        })
        .await;
}
