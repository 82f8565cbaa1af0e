//! How a discovery Job ended, from the Job and its pods. Pure.

use backproof_api::{Cause, report::DiscoveryReport};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use crate::fate::{Fate, Message, fate, silence};

/// What a Job that was made came to: nothing while it has time, else its report, or what became of it instead.
pub(super) fn report(job: &Job, pods: &[Pod], now: Timestamp, patience: SignedDuration) -> Option<DiscoveryReport> {
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let failure = match fate(job, pods, created, patience, now) {
        Fate::Waiting { .. } | Fate::Running => return None,
        Fate::Lost { failure, .. } => failure,
        Fate::Ended(message) => match read(&message) {
            Some(report) => return Some(report),
            None => silence(&message, "it left no readable report; look at its log"),
        },
    };
    Some(failed(failure.cause, format!("the discovery Job found nothing out: {}{}", failure.text, remedy(failure.cause))))
}

/// The report, which is whole only when the Job says so too.
fn read(message: &Message<'_>) -> Option<DiscoveryReport> {
    let text = message.state.message.as_deref()?;
    let report = serde_json::from_str::<DiscoveryReport>(text.trim()).ok()?;
    (message.complete || report.cause.is_some()).then_some(report)
}

fn remedy(cause: Cause) -> &'static str {
    let remedies = [
        (Cause::OutOfMemory, "; it is spec.runtimeSettings.container.resources of the BackupStorage"),
        (Cause::DeadlineExceeded, "; a listing may take 30 minutes"),
    ];
    remedies.into_iter().find(|(of, _)| *of == cause).map_or("", |(_, remedy)| remedy)
}

/// A discovery that could not find out.
pub(super) fn failed(cause: Cause, error: String) -> DiscoveryReport {
    DiscoveryReport {
        cause: Some(cause),
        error: Some(error),
        sessions: Vec::new(),
        repository_id: String::new(),
        complete: false,
        found: 0,
        created: 0,
        newest: None,
        ids: Vec::new(),
        gone: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
