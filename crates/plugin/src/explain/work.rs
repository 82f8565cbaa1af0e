//! What a session made: RestoreSession, Jobs, pods, and what the cluster's events say about each.

use backproof_api::{
    BackupVerificationSession, RestorePhase, RestoreSession, kept,
    run::{PinnedJob, PinnedObject},
    shared::Wire,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Event, Pod},
};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Lines, Mark, answer, references::since};
use crate::{
    cluster::Cluster,
    error::{Error, tried},
};

/// Events shown of one object, the newest.
const EVENTS: usize = 3;

pub(super) async fn walk(cluster: &Cluster, lines: &mut Lines, session: &BackupVerificationSession, now: Timestamp) -> Result<(), Error> {
    let pinned = session.status.as_ref().and_then(|status| status.run.as_ref()).and_then(|run| run.restore_session.clone());
    match pinned.filter(|restore| !restore.uid.is_empty()) {
        Some(pinned) => restore(cluster, lines, session, &pinned, now).await?,
        None if answer::of(session) == answer::Answer::Open => {
            let message = session.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
            let why = if message.is_empty() { String::new() } else { format!(": {message}") };
            lines.add(Mark::Waiting, "restore", &format!("not begun{why}"));
        }
        None => lines.add(Mark::Fine, "restore", "none was made"),
    }
    events(cluster, lines, &cluster.namespace, &session.uid().unwrap_or_default(), now).await
}

async fn restore(
    cluster: &Cluster,
    lines: &mut Lines,
    session: &BackupVerificationSession,
    pinned: &PinnedObject,
    now: Timestamp,
) -> Result<(), Error> {
    let name = format!("{}/{}", cluster.namespace, pinned.name);
    let over = answer::of(session) != answer::Answer::Open;
    let gone = if over { Mark::Fine } else { Mark::Wrong };
    let Some(found) = lines.read("restore", cluster.get::<RestoreSession>("", &pinned.name).await)? else { return Ok(()) };
    let Some(mut restore) = found.filter(|restore| restore.uid().as_deref() == Some(&pinned.uid)) else {
        lines.add(gone, "restore", &format!("RestoreSession {name} is gone"));
        return Ok(());
    };
    restore.status.as_mut().map(kept::unpack).unwrap_or_default();
    let status = restore.status.clone().unwrap_or_default();
    let phase = status.phase.as_ref().and_then(Wire::known);
    let mark = match phase {
        Some(RestorePhase::Succeeded) => Mark::Fine,
        Some(RestorePhase::Failed | RestorePhase::Invalid) => Mark::Wrong,
        Some(RestorePhase::Pending | RestorePhase::Running | RestorePhase::Unknown) | None => Mark::Waiting,
    };
    let word = phase.map_or_else(|| "not begun".to_owned(), |phase| phase.to_string());
    let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    lines.add(mark, "restore", &format!("RestoreSession {name}, {word}{message}"));
    events(cluster, lines, &cluster.namespace, &pinned.uid, now).await?;
    for recorded in &status.jobs {
        job(cluster, lines, recorded, gone, now).await?;
    }
    Ok(())
}

async fn job(cluster: &Cluster, lines: &mut Lines, recorded: &PinnedJob, gone: Mark, now: Timestamp) -> Result<(), Error> {
    let object = &recorded.object;
    let namespace = if object.namespace.is_empty() { &cluster.namespace } else { &object.namespace };
    let described = format!("{namespace}/{} of component {}", object.name, recorded.component);
    let Some(found) = lines.read("job", cluster.get::<Job>(namespace, &object.name).await)? else { return Ok(()) };
    let Some(job) = found.filter(|job| job.uid().as_deref() == Some(&object.uid)) else {
        lines.add(gone, "job", &format!("{described} is gone"));
        return Ok(());
    };
    let status = job.status.clone().unwrap_or_default();
    let holds = |kind: &str| status.conditions.iter().flatten().find(|one| one.type_ == kind && one.status == "True");
    if let Some(failed) = holds("Failed") {
        let why = failed.message.clone().or_else(|| failed.reason.clone()).unwrap_or_default();
        lines.add(Mark::Wrong, "job", &format!("{described} has failed: {why}"));
    } else if holds("Complete").is_some() {
        lines.add(Mark::Fine, "job", &format!("{described} is complete{}", since(status.completion_time.map(|time| time.0), now)));
    } else if job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) {
        lines.add(Mark::Waiting, "job", &format!("{described} is not started"));
    } else {
        lines.add(Mark::Waiting, "job", &format!("{described} runs{}", since(status.start_time.map(|time| time.0), now)));
    }
    events(cluster, lines, namespace, &object.uid, now).await?;
    pods(cluster, lines, namespace, &object.uid, now).await
}

async fn pods(cluster: &Cluster, lines: &mut Lines, namespace: &str, job_uid: &str, now: Timestamp) -> Result<(), Error> {
    let api: Api<Pod> = cluster.within(namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={job_uid}"));
    let read = api.list(&of_job).await.map_err(tried(format!("cannot list pods in namespace {namespace}")));
    let Some(found) = lines.read("pod", read)? else { return Ok(()) };
    let is_own = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.uid == job_uid && owner.controller == Some(true));
    for pod in found.items.iter().filter(|pod| is_own(pod)) {
        let (mark, text) = state(pod);
        lines.add(mark, "pod", &format!("{namespace}/{}: {text}", pod.name_any()));
        events(cluster, lines, namespace, &pod.uid().unwrap_or_default(), now).await?;
    }
    Ok(())
}

/// How a pod is, in the words of kubelet and scheduler.
fn state(pod: &Pod) -> (Mark, String) {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let unscheduled = status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(condition) = unscheduled {
        return (Mark::Wrong, format!("no node takes it: {}", condition.message.clone().unwrap_or_default()));
    }
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let words: Vec<(Mark, String)> = all.filter_map(container).collect();
    let wrong = words.iter().any(|(mark, _)| *mark == Mark::Wrong) || phase == "Failed";
    let mark = match phase.as_str() {
        _ if wrong => Mark::Wrong,
        "Succeeded" => Mark::Fine,
        _ => Mark::Waiting,
    };
    let text = words.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    let reason = status.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    (mark, if text.is_empty() { format!("{phase}{reason}") } else { format!("{phase}{reason}; {text}") })
}

fn container(status: &ContainerStatus) -> Option<(Mark, String)> {
    let state = status.state.as_ref()?;
    let name = &status.name;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        let message = waiting.message.clone().map(|message| format!(": {message}")).unwrap_or_default();
        let mark = if reason == "ContainerCreating" || reason == "PodInitializing" { Mark::Waiting } else { Mark::Wrong };
        return Some((mark, format!("container {name} waits: {reason}{message}")));
    }
    let ended = state.terminated.as_ref()?;
    let mark = if ended.exit_code == 0 { Mark::Fine } else { Mark::Wrong };
    let reason = ended.reason.clone().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some((mark, format!("container {name} ended with exit code {}{reason}", ended.exit_code)))
}

async fn events(cluster: &Cluster, lines: &mut Lines, namespace: &str, uid: &str, now: Timestamp) -> Result<(), Error> {
    let api: Api<Event> = cluster.within(namespace);
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let read = api.list(&about).await.map_err(tried(format!("cannot list events in namespace {namespace}")));
    let Some(found) = lines.read("event", read)? else { return Ok(()) };
    let mut events = found.items;
    events.sort_by_key(at);
    let left_out = events.len().saturating_sub(EVENTS);
    for event in events.iter().skip(left_out) {
        let mark = if event.type_.as_deref() == Some("Warning") { Mark::Wrong } else { Mark::Fine };
        let (reason, message) = (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        lines.add(mark, "  event", &format!("{reason}: {message}{}", since(at(event), now)));
    }
    Ok(())
}

fn at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    series.or(last).or(event.event_time.as_ref().map(|time| time.0)).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
