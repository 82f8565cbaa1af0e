//! The status of a RestoreSession: components, evidence, conditions and phase, written from what was judged. Pure.

use backproof_api::{
    Cause, ComponentRestoreStatus, RestorePhase, RestoreSessionStatus, Verdict,
    condition::{self, Condition},
    duration,
    phase::{self, conditions as of, reasons},
    report::{CheckFact, DatabaseFacts, Finding, Report},
    run::{Check, Evidence, PinnedRun, VERIFIER_JOB},
    text::cut,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::database;
use crate::{
    clock::whole_second,
    failure::{Failure, cause_of},
};

/// Most findings kept; the executor's own list is short already.
const FINDINGS: usize = 20;
/// Most bytes of a finding's path and of its detail.
const DETAIL: usize = 300;

/// [`Evidence::source`] of what a foreign Function says.
pub(crate) const REPORTED: &str = "Reported";

/// Which step a failure of the whole restore belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// What was asked for cannot be done.
    Validation,
    /// The Jobs could not be made or started.
    Executor,
    /// The Jobs ended before they were done.
    Execution,
}

/// A moment as Kubernetes keeps it: whole seconds.
pub(crate) fn time(at: Timestamp) -> Time {
    Time(whole_second(at))
}

/// Fills in what is known from the start.
pub(crate) fn begin(status: &mut RestoreSessionStatus, run: &PinnedRun, generation: Option<i64>, now: Timestamp) {
    status.observed_generation = generation.or(status.observed_generation);
    if status.start_time.is_none() {
        status.start_time = Some(time(now));
    }
    if let Ok(deadline) = run.deadline.parse() {
        status.restore_deadline = Some(time(deadline));
    }
    for component in &run.snapshot.components {
        status
            .components
            .entry(component.name.clone())
            .or_insert_with(|| ComponentRestoreStatus { phase: Some(RestorePhase::Pending.into()), ..ComponentRestoreStatus::default() });
    }
    if run.verifier.query.is_some() {
        status.verification.get_or_insert_with(|| ComponentRestoreStatus {
            phase: Some(RestorePhase::Pending.into()),
            ..ComponentRestoreStatus::default()
        });
    }
    // Upstream's rule takes 0 of 0 for Succeeded, so the number is never left out.
    status.total_components = i32::try_from(status.components.len()).unwrap_or(i32::MAX);
}

/// Whether a component has ended. What a foreign Function wrote of it does not count before it is judged.
pub(crate) fn is_done(status: &RestoreSessionStatus, component: &str) -> bool {
    let awaited = status.jobs.iter().any(|job| job.component == component && job.awaits_report);
    !awaited && phase_of(state(status, component)).is_some_and(RestorePhase::is_done)
}

/// State of what a Job is for: a component, or the verification.
fn state<'a>(status: &'a RestoreSessionStatus, component: &str) -> Option<&'a ComponentRestoreStatus> {
    if component == VERIFIER_JOB { status.verification.as_ref() } else { status.components.get(component) }
}

fn phase_of(state: Option<&ComponentRestoreStatus>) -> Option<RestorePhase> {
    state.and_then(|state| state.phase.as_ref()).and_then(|phase| phase.known())
}

fn put(status: &mut RestoreSessionStatus, component: &str, state: ComponentRestoreStatus) {
    if component == VERIFIER_JOB {
        status.verification = Some(state);
    } else {
        status.components.insert(component.to_owned(), state);
    }
}

/// Whether every component was restored, so that what was restored can be asked.
pub(crate) fn is_restored(status: &RestoreSessionStatus) -> bool {
    let done = |name: &String| is_done(status, name) && phase_of(state(status, name)) == Some(RestorePhase::Succeeded);
    !status.components.is_empty() && status.components.keys().all(done)
}

/// Notes that a component's Job was started.
pub(crate) fn running(status: &mut RestoreSessionStatus, component: &str) {
    if let Some(before) = state(status, component).cloned() {
        put(status, component, ComponentRestoreStatus { phase: Some(RestorePhase::Running.into()), ..before });
    }
}

/// What ran, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Ran<'a> {
    pub(crate) image: &'a str,
    pub(crate) took: SignedDuration,
}

/// Writes what a believed report says.
pub(crate) fn reported(
    status: &mut RestoreSessionStatus,
    run: &PinnedRun,
    (session_uid, component): (&str, &str),
    report: &Report,
    ran: Ran<'_>,
) {
    let evidence = status.evidence.get_or_insert_with(|| Evidence { not_covered: run.not_covered.clone(), ..Evidence::default() });
    evidence.source = "Executor".into();
    evidence.restored = evidence.restored.plus(report.restored);
    evidence.read_back = evidence.read_back.plus(report.read_back);
    let room = FINDINGS.saturating_sub(evidence.findings.len());
    evidence.findings.extend(report.findings.iter().take(room).map(shortened));
    evidence.restic_ids.extend(report.snapshot.iter().map(|snapshot| snapshot.id.clone()));
    evidence.executor.clone_from(&report.executor);
    evidence.repository = evidence.repository.take().or_else(|| report.repository.clone());
    if !ran.image.is_empty() && !evidence.images.iter().any(|known| known == ran.image) {
        evidence.images.push(ran.image.to_owned());
    }
    if let Some(database) = &report.database {
        evidence.database = Some(DatabaseFacts { client: None, ..database.clone() });
    }
    let failure = match report.outcome {
        Verdict::Verified if run.verifier.target.database.is_some() => database::unproven(report, run, session_uid)
            .map(|text| Failure::new(Cause::ReadBackIncomplete, format!("component {component:?}: {text}"))),
        Verdict::Verified if report.read_back != report.restored => Some(Failure::new(
            Cause::ReadBackIncomplete,
            format!("component {component:?}: {:?} were restored, but {:?} read back", report.restored, report.read_back),
        )),
        // Of each component by itself: in their sum, one that proved nothing would not show.
        Verdict::Verified if report.restored.is_empty() && !run.allow_empty => Some(Failure::new(
            Cause::ReadBackIncomplete,
            format!("component {component:?}: nothing was restored, and the verifier does not set allowEmpty"),
        )),
        Verdict::Verified => None,
        Verdict::VerificationFailed | Verdict::Inconclusive | Verdict::Skipped => Some(told(report)),
    };
    put(status, component, ended(failure, ran));
}

/// Why a report is not green, in its own words.
fn told(report: &Report) -> Failure {
    let cause = report.cause.unwrap_or(Cause::ExecutorFailed);
    // The executor starts its sentence with the cause, as its log has nothing else to say it; here it has a field.
    let text = report.error.as_deref().map(|error| error.strip_prefix(cause.as_str()).unwrap_or(error).trim_start_matches([':', ' ']));
    Failure::new(cause, text.filter(|text| !text.is_empty()).unwrap_or(cause.description()))
}

fn ended(failure: Option<Failure>, ran: Ran<'_>) -> ComponentRestoreStatus {
    ComponentRestoreStatus {
        phase: Some(if failure.is_some() { RestorePhase::Failed } else { RestorePhase::Succeeded }.into()),
        duration: duration::format(ran.took),
        error: failure.map(|failure| failure.line()).unwrap_or_default(),
        progress: None,
    }
}

/// Writes what a believed report of the verifier says.
pub(crate) fn asked(status: &mut RestoreSessionStatus, run: &PinnedRun, session_uid: &str, report: &Report, ran: Ran<'_>) {
    let evidence = status.evidence.get_or_insert_default();
    evidence.checks = report.checks.iter().map(checked).collect();
    evidence.checks_total = report.checks_total.max(report.checks.len() as u64);
    let room = FINDINGS.saturating_sub(evidence.findings.len());
    evidence.findings.extend(report.findings.iter().take(room).map(shortened));
    if !ran.image.is_empty() && !evidence.images.iter().any(|known| known == ran.image) {
        evidence.images.push(ran.image.to_owned());
    }
    let failure = match report.outcome {
        Verdict::Verified => database::unanswered(report, run, session_uid)
            .map(|text| Failure::new(Cause::ExecutorFailed, format!("the verifier says Verified, but {text}"))),
        Verdict::VerificationFailed | Verdict::Inconclusive | Verdict::Skipped => Some(told(report)),
    };
    put(status, VERIFIER_JOB, ended(failure, ran));
}

/// A check as it is kept. One without an answer does not hold.
fn checked(fact: &CheckFact) -> Check {
    let mut check =
        Check { name: fact.object.clone(), expected: fact.expected.clone(), actual: fact.actual.clone(), holds: fact.holds == Some(true) };
    for text in [&mut check.name, &mut check.expected, &mut check.actual] {
        cut(text, DETAIL);
    }
    check
}

/// Writes that a foreign Function reports success: its word, and nothing that was measured here.
pub(crate) fn vouched(status: &mut RestoreSessionStatus, run: &PinnedRun, component: &str, files: u64, ran: Ran<'_>) {
    let evidence = status.evidence.get_or_insert_with(|| Evidence { not_covered: run.not_covered.clone(), ..Evidence::default() });
    evidence.source = REPORTED.into();
    evidence.restored.files = evidence.restored.files.saturating_add(files);
    if !ran.image.is_empty() && !evidence.images.iter().any(|known| known == ran.image) {
        evidence.images.push(ran.image.to_owned());
    }
    let progress = status.components.get(component).and_then(|component| component.progress.clone());
    let ended = ComponentRestoreStatus {
        phase: Some(RestorePhase::Succeeded.into()),
        duration: duration::format(ran.took),
        progress,
        ..ComponentRestoreStatus::default()
    };
    status.components.insert(component.to_owned(), ended);
    judged(status, component);
}

/// Notes that what a foreign Function wrote of a component is judged.
pub(crate) fn judged(status: &mut RestoreSessionStatus, component: &str) {
    status.jobs.iter_mut().filter(|job| job.component == component).for_each(|job| job.awaits_report = false);
}

fn shortened(finding: &Finding) -> Finding {
    let mut short = finding.clone();
    cut(&mut short.path, DETAIL);
    cut(&mut short.detail, DETAIL);
    short
}

/// Writes that a component ended without a report.
pub(crate) fn lost(status: &mut RestoreSessionStatus, name: &str, failure: &Failure) {
    let before = state(status, name).cloned().unwrap_or_default();
    put(status, name, ComponentRestoreStatus { phase: Some(RestorePhase::Failed.into()), error: failure.line(), ..before });
    judged(status, name);
}

/// Writes the condition that a failure belongs to.
pub(crate) fn step(status: &mut RestoreSessionStatus, step: Step, failure: &Failure, now: Timestamp) {
    let entry =
        |kind, value, reason, lead: &str| Condition::new(kind, value, reason).with_message(format!("{lead}. Reason: {:?}", failure.line()));
    let new = match step {
        Step::Validation => entry(of::VALIDATION_PASSED, condition::FALSE, reasons::VALIDATION_FAILED, "Failed to validate the restore"),
        Step::Executor => entry(
            of::RESTORE_EXECUTOR_ENSURED,
            condition::FALSE,
            reasons::FAILED_TO_ENSURE_RESTORE_EXECUTOR,
            "Failed to ensure the restore executor",
        ),
        Step::Execution => entry(
            of::RESTORE_INCOMPLETE,
            condition::TRUE,
            reasons::RESTORE_EXECUTOR_TERMINATED,
            "The restore executor terminated before completion",
        ),
    };
    condition::set(&mut status.conditions, new, time(now));
}

/// Writes that what was asked for can be done.
pub(crate) fn validated(status: &mut RestoreSessionStatus, now: Timestamp) {
    condition::set(&mut status.conditions, Condition::new(of::VALIDATION_PASSED, condition::TRUE, reasons::VALIDATION_PASSED), time(now));
}

/// Writes that every Job is made and recorded.
pub(crate) fn ensured(status: &mut RestoreSessionStatus, now: Timestamp) {
    condition::set(
        &mut status.conditions,
        Condition::new(of::RESTORE_EXECUTOR_ENSURED, condition::TRUE, reasons::ENSURED_RESTORE_EXECUTOR),
        time(now),
    );
}

/// Whether everything is written: a closed status never changes.
pub(crate) fn is_closed(status: &RestoreSessionStatus) -> bool {
    condition::is_present(&status.conditions, of::METRICS_PUSHED)
}

/// Closes the status: what did not end is failed for `failure`, the components fold into the verdict, and the phase follows.
pub(crate) fn close(status: &mut RestoreSessionStatus, failure: Option<&Failure>, now: Timestamp) {
    let left = Failure::new(Cause::ExecutorFailed, "nobody said how this component ended");
    let open: Vec<String> = status.components.keys().filter(|component| !is_done(status, component)).cloned().collect();
    for component in open {
        lost(status, &component, failure.unwrap_or(&left));
    }
    if is_restored(status) && status.verification.is_some() && !is_done(status, VERIFIER_JOB) {
        lost(status, VERIFIER_JOB, failure.unwrap_or(&left));
    }
    // What was not restored was not asked, and its answer would say nothing.
    let verification = status.verification.as_ref().filter(|_| is_restored(status));
    let ends: Vec<(Verdict, Option<Failure>)> = status.components.values().chain(verification).map(end_of).collect();
    let verdict = Verdict::fold(ends.iter().map(|(verdict, _)| *verdict));
    let reason = ends.into_iter().find(|(end, _)| *end == verdict).and_then(|(_, failure)| failure);
    let reason = reason.or_else(|| failure.cloned());
    status.verdict = Some(verdict.into());
    status.cause = reason.as_ref().map(|failure| failure.cause.into());
    status.message = match (&reason, &status.evidence) {
        (Some(failure), _) => failure.text.clone(),
        (None, Some(evidence)) if evidence.source == REPORTED => {
            let figure = if evidence.restored.files == 0 {
                String::new()
            } else {
                format!(" of {}", counted(evidence.restored.files, "file", "files"))
            };
            format!("the Function reports the restore{figure}; nothing was read back")
        }
        (None, Some(Evidence { database: Some(database), restored, checks_total, .. })) => {
            let objects = counted(database.objects.unwrap_or_default(), "object", "objects");
            let checks = if *checks_total == 0 { String::new() } else { format!("; {}", checks_hold(*checks_total)) };
            format!(
                "restored a dump of {} into database {:?}, where it made {objects}{checks}",
                duration::size(restored.bytes),
                database.database
            )
        }
        (None, Some(evidence)) => {
            let counts = evidence.restored;
            let (files, directories) = (counted(counts.files, "file", "files"), counted(counts.directories, "directory", "directories"));
            format!("restored and read back {files} and {directories}, {}", duration::size(counts.bytes))
        }
        (None, None) => String::new(),
    };
    let started = status.start_time.as_ref().map_or(now, |started| started.0);
    status.completion_time = Some(time(now));
    status.duration = duration::format(time(now).0.duration_since(started));
    condition::set(&mut status.conditions, Condition::new(of::METRICS_PUSHED, condition::TRUE, reasons::PUSHED_METRICS), time(now));
    status.phase = Some(phase::restore(status).into());
}

/// How many checks hold, in words.
pub(crate) fn checks_hold(number: u64) -> String {
    if number == 1 { "1 check holds".to_owned() } else { format!("{number} checks hold") }
}

fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// What one ended component comes to.
fn end_of(component: &ComponentRestoreStatus) -> (Verdict, Option<Failure>) {
    match component.phase.as_ref().and_then(|phase| phase.known()) {
        Some(RestorePhase::Succeeded) => (Verdict::Verified, None),
        Some(RestorePhase::Pending | RestorePhase::Running | RestorePhase::Failed | RestorePhase::Invalid | RestorePhase::Unknown)
        | None => {
            let cause = cause_of(&component.error);
            // A finding fails nothing; a component that failed for one was written by somebody else.
            let cause = if cause.verdict() == Verdict::Verified { Cause::ExecutorFailed } else { cause };
            let text = component.error.strip_prefix(&format!("{cause}: ")).unwrap_or(&component.error);
            (cause.verdict(), Some(Failure::new(cause, text)))
        }
    }
}
