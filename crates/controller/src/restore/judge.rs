//! What a Job and its pods say about one component. Pure. Only a report of the Job's own pod that repeats what it was
//! started with is believed; everything else leaves it open what the backup is worth.

use backproof_api::{Cause, Verdict, report::Report};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use crate::{
    failure::Failure,
    fate::{Ended, Fate, Message, fate, silence},
};

/// What a report must repeat, and by when.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) session_uid: &'a str,
    pub(crate) attempt: u32,
    pub(crate) component: &'a str,
    pub(crate) restic_id: &'a str,
    pub(crate) deadline: Timestamp,
    pub(crate) start_timeout: SignedDuration,
}

/// What is known of a component whose Job was started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judged {
    /// Its container has yet to start; why, and when that is given up.
    Waiting { why: Option<String>, until: Option<Timestamp> },
    /// Its container runs, or its Job has yet to notice that it ended.
    Running,
    /// It ended with a report that is believed.
    Reported { report: Box<Report>, duration: SignedDuration },
    /// It ended without one, or will never start.
    Lost { failure: Failure, ended: Ended },
}

/// Judges a Job that was started. `pods` may hold pods of others.
pub(crate) fn judge(job: &Job, pods: &[Pod], expected: Expected<'_>, now: Timestamp) -> Judged {
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    match fate(job, pods, started, expected.start_timeout, now) {
        Fate::Waiting { why, until } => Judged::Waiting { why, until },
        Fate::Running => Judged::Running,
        Fate::Lost { failure, ended } => Judged::Lost { failure: with_remedy(failure), ended },
        Fate::Ended(message) => match read(&message, expected) {
            // Who was told to stop says so; who stopped it, and why, is the better reason.
            Ok(report) if report.cause == Some(Cause::Interrupted) && message.stopped.is_some() => early(silence(&message, "")),
            Ok(report) => in_time(&message, super::known::judged(report, job), expected),
            Err(problem) => early(silence(&message, &problem)),
        },
    }
}

fn early(failure: Failure) -> Judged {
    Judged::Lost { failure: with_remedy(failure), ended: Ended::Early }
}

/// What the reader of a verifier can do about it.
fn with_remedy(failure: Failure) -> Failure {
    let remedies = [
        (Cause::DeadlineExceeded, "raise the verifier's timeout"),
        (Cause::OutOfMemory, "it is restoreOption.addonInfo.jobTemplate.spec.resources of the verifier"),
    ];
    match remedies.into_iter().find(|(cause, _)| *cause == failure.cause) {
        Some((_, remedy)) => Failure { text: format!("{}; {remedy}", failure.text), ..failure },
        None => failure,
    }
}

fn in_time(message: &Message<'_>, report: Report, expected: Expected<'_>) -> Judged {
    let (Some(started), Some(finished)) = (&message.state.started_at, &message.state.finished_at) else {
        return early(Failure::new(Cause::ExecutorFailed, "the container's status tells no start and end"));
    };
    if finished.0 > expected.deadline {
        let text = format!("the restore ended at {}, after the session's deadline {}", finished.0, expected.deadline);
        return early(Failure::new(Cause::DeadlineExceeded, text));
    }
    Judged::Reported { report: Box::new(report), duration: finished.0.duration_since(started.0) }
}

/// The report, if it is one that can be believed.
fn read(message: &Message<'_>, expected: Expected<'_>) -> Result<Report, String> {
    let (code, complete) = (message.state.exit_code, message.complete);
    let place = format!("the container of Pod {} ended with exit code {code}", message.pod.name_any());
    let text = message.state.message.as_deref().unwrap_or_default();
    let report: Report = serde_json::from_str(text).map_err(|_| format!("{place} and no readable report{}", said(text)))?;
    let identity = &report.identity;
    if identity.session_uid != expected.session_uid || identity.attempt != expected.attempt || identity.component != expected.component {
        return Err(format!(
            "{place} and the report of something else (session {:?}, attempt {}, component {:?})",
            identity.session_uid, identity.attempt, identity.component
        ));
    }
    let agrees = match report.outcome {
        Verdict::Verified => code == 0 && complete && report.cause.is_none(),
        Verdict::VerificationFailed => {
            code == 1 && !complete && report.cause.is_some_and(|cause| cause.verdict() == Verdict::VerificationFailed)
        }
        Verdict::Inconclusive => code == 2 && !complete && report.cause.is_some_and(|cause| cause.verdict() == Verdict::Inconclusive),
        Verdict::Skipped => false,
    };
    if !agrees {
        let cause = report.cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
        return Err(format!("{place}, which contradicts its report: {}{cause}", report.outcome));
    }
    let id = report.snapshot.as_ref().map(|snapshot| snapshot.id.as_str());
    let named = match report.outcome {
        Verdict::Verified => id == Some(expected.restic_id),
        // Somebody who could not open the repository cannot know the snapshot; whoever says more must name it.
        Verdict::VerificationFailed | Verdict::Inconclusive | Verdict::Skipped => id.is_none_or(|id| id == expected.restic_id),
    };
    if !named {
        return Err(format!("{place} and reports on the restic snapshot {}, not on {}", id.unwrap_or("without id"), expected.restic_id));
    }
    Ok(report)
}

fn said(message: &str) -> String {
    let line = message.trim().lines().last().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!("; its last words: {}", line.chars().take(200).collect::<String>()) }
}
