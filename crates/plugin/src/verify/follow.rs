//! A session from its creation to its end. What fails on the way (the log, a lost connection) hides no verdict and makes none.

use std::time::Duration;

use backproof_api::{BackupVerificationSession, RestoreSession, kept};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams},
};
use tokio::time::Instant;

use super::{
    progress::{Figures, Progress, Watcher},
    verdict,
};
use crate::{
    cluster::Cluster,
    error::{Error, is_passing, tried},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// What the controller is given to take a session up, and to close it after its deadline.
const GRACE: SignedDuration = SignedDuration::from_mins(10);
/// How long a session may wait unpinned for its Repository, where nobody says how long to wait.
const UNPINNED: SignedDuration = SignedDuration::from_hours(24);
/// A connection that is lost for longer is an error.
const LOST: Duration = Duration::from_secs(120);

/// How following ended.
pub(super) enum End {
    /// The session is finished.
    Finished(Box<BackupVerificationSession>),
    /// It is not, and the time is over.
    Late(String),
}

pub(super) async fn to_the_end(
    cluster: &Cluster,
    created: &BackupVerificationSession,
    timeout: Option<Duration>,
    watcher: Watcher,
) -> Result<End, Error> {
    let api = cluster.own::<BackupVerificationSession>();
    let name = created.name_any();
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let (began, mut heard) = (Timestamp::now(), Instant::now());
    let mut progress = Progress::new(watcher);
    progress.say(&format!("session {}/{name} created", cluster.namespace));
    let mut seen = created.clone();
    loop {
        match api.get_opt(&name).await {
            Ok(Some(session)) if session.uid() != created.uid() => {
                return Err(Error::Session(format!("session {name} was deleted, and made again by somebody else")));
            }
            Ok(Some(session)) => {
                seen = session;
                heard = Instant::now();
                seen.status.as_mut().map(kept::unpack).unwrap_or_default();
            }
            Ok(None) => return Err(Error::Session(format!("session {name} was deleted before it ended"))),
            Err(error) if is_passing(&error) && heard.elapsed() < LOST => progress.say("the cluster does not answer; asking again"),
            Err(error) => return Err(tried(format!("cannot get session {name}"))(error)),
        }
        if verdict::is_finished(&seen) {
            progress.end();
            return Ok(End::Finished(Box::new(seen)));
        }
        let message = seen.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
        progress.say(&message);
        if let Some(why) = is_late(&seen, until, began) {
            progress.end();
            return Ok(End::Late(why));
        }
        if let Some(figures) = figures(cluster, &seen).await {
            progress.show(&figures);
        }
        let pause = until.map_or(PAUSE, |until| until.saturating_duration_since(Instant::now()).min(PAUSE));
        tokio::time::sleep(pause).await;
    }
}

/// Why nobody waits any longer.
fn is_late(session: &BackupVerificationSession, until: Option<Instant>, began: Timestamp) -> Option<String> {
    let status = session.status.clone().unwrap_or_default();
    let doing = if status.message.is_empty() { "no controller has taken it up".to_owned() } else { status.message.clone() };
    if let Some(until) = until {
        return (Instant::now() >= until).then(|| format!("the session goes on without us: {doing}"));
    }
    let now = Timestamp::now();
    let over = |since: Timestamp, longest: SignedDuration| now.duration_since(since) > longest;
    if status.conditions.is_empty() && status.phase.is_none() {
        let text = "no controller has taken the session up within ten minutes: `kubectl backproof doctor` says what stops it";
        return over(began, GRACE).then(|| text.to_owned());
    }
    match status.run.and_then(|run| run.deadline.parse::<Timestamp>().ok()) {
        Some(deadline) => over(deadline, GRACE).then(|| format!("it did not end ten minutes after its own deadline: {doing}")),
        None => over(began, UNPINNED).then(|| format!("it has waited for a day: {doing}")),
    }
}

/// What the executor's last line says. Nothing, where nobody has logged yet or the log cannot be read.
async fn figures(cluster: &Cluster, session: &BackupVerificationSession) -> Option<Figures> {
    let run = session.status.as_ref()?.run.as_ref()?;
    let pinned = run.restore_session.as_ref().filter(|restore| !restore.uid.is_empty())?;
    let mut restore = cluster.own::<RestoreSession>().get_opt(&pinned.name).await.ok()??;
    restore.status.as_mut().map(kept::unpack).unwrap_or_default();
    if restore.uid().as_deref() != Some(&pinned.uid) {
        return None;
    }
    // Of several components the one that was started last is at work.
    let job = restore.status?.jobs.into_iter().rfind(|job| job.started)?.object;
    let pods: Api<Pod> = cluster.within(&job.namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={}", job.uid));
    let pod = pods
        .list(&of_job)
        .await
        .ok()?
        .items
        .into_iter()
        .find(|pod| pod.owner_references().iter().any(|owner| owner.uid == job.uid && owner.controller == Some(true)))?;
    let container = pod.spec.as_ref()?.containers.first()?.name.clone();
    let last = LogParams { container: Some(container), tail_lines: Some(5), ..LogParams::default() };
    let log = pods.logs(&pod.name_any(), &last).await.ok()?;
    log.lines().rev().find_map(Figures::of)
}
