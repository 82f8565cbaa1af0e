//! What a tick leads to, decided from what was listed. No client, no clock.

use backproof_api::{
    BackupVerificationSession, BackupVerificationSessionSpec, Snapshot, SnapshotPhase, kept, labels, names,
    shared::TypedLocalObjectReference,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// How many names are tried, one second apart, when earlier ones belong to other ticks.
const NAMES_TRIED: i64 = 60;
/// A job's number that means a time further off than this was typed by a person.
const PAST_LIMIT_SECONDS: i64 = 366 * 24 * 3600;
const FUTURE_LIMIT_SECONDS: i64 = 24 * 3600;

/// What a tick is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Namespace of invoker, Snapshots and sessions.
    pub(crate) namespace: String,
    /// Kind of the invoker.
    pub(crate) invoker_kind: String,
    /// Its name.
    pub(crate) invoker_name: String,
    /// Its UID.
    pub(crate) invoker_uid: String,
    /// Session of the invoker.
    pub(crate) session: String,
    /// Repository of that session.
    pub(crate) repository: String,
    /// Whether sessions may overlap.
    pub(crate) policy: Policy,
    /// How often a failed session is repeated.
    pub(crate) retry_left: i32,
    /// Whether the controller chooses the Snapshot, because it must look into the repository first.
    pub(crate) source: SnapshotSource,
    /// Which tick this is.
    pub(crate) tick: Tick,
}

/// Who knows which Snapshot is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotSource {
    /// The Snapshot objects say it.
    Objects,
    /// The repository itself does: the controller looks there before it pins.
    Discovery,
}

/// Whether sessions of one invoker, session and repository may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Policy {
    /// As many as there are ticks, but none while one still waits for its turn.
    #[value(name = "Allow")]
    Allow,
    /// None while one is unfinished.
    #[value(name = "Forbid")]
    Forbid,
    /// A new one always; the controller ends the older ones.
    #[value(name = "Replace")]
    Replace,
}

/// One firing of a CronJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// What tells it from every other one; the same for a pod that runs twice.
    pub(crate) key: String,
    /// The scheduled time in unix seconds.
    pub(crate) at: i64,
}

impl Tick {
    /// The tick a Job stands for. A CronJob names its Jobs after itself and the scheduled minute; a Job made by hand has
    /// another name and counts as scheduled now.
    pub(crate) fn of(cronjob: &str, job: &str, now: i64) -> Self {
        let minutes = job
            .strip_prefix(cronjob)
            .and_then(|rest| rest.strip_prefix('-'))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let scheduled = minutes.and_then(|digits| digits.parse::<i64>().ok()).and_then(|minutes| minutes.checked_mul(60));
        match scheduled.filter(|at| (now - PAST_LIMIT_SECONDS..=now + FUTURE_LIMIT_SECONDS).contains(at)) {
            Some(at) => Self { key: format!("{cronjob}/{at}"), at },
            None => Self { key: format!("{cronjob}/{job}"), at: now },
        }
    }
}

/// What was listed in the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// The sessions.
    pub(crate) sessions: Vec<BackupVerificationSession>,
    /// The Snapshots of the repository and session.
    pub(crate) snapshots: Vec<Snapshot>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Create this session.
    Create(Box<BackupVerificationSession>),
    /// Nothing; the sentence says why.
    Nothing(String),
    /// Nothing, and the invoker's owner must hear of it.
    Warn {
        /// One word for the event.
        reason: &'static str,
        /// What to do about it.
        message: String,
    },
}

/// What this tick leads to.
pub(crate) fn plan(listed: &Listed, request: &Request) -> Action {
    if let Some(made) = listed.sessions.iter().find(|session| annotation(session, labels::TICK) == Some(&request.tick.key)) {
        return Action::Nothing(format!("BackupVerificationSession {} was already made by this tick", path(request, name(made))));
    }
    if let Some((held_by, why)) = holder(listed, request) {
        return Action::Nothing(format!("no session made: BackupVerificationSession {} {why} (concurrencyPolicy)", path(request, held_by)));
    }
    let snapshot = match request.source {
        SnapshotSource::Discovery => String::new(),
        SnapshotSource::Objects => match newest(&listed.snapshots, request) {
            Some(snapshot) => snapshot.metadata.name.clone().unwrap_or_default(),
            None => return nothing_to_verify(request),
        },
    };
    let taken = |candidate: &str| listed.sessions.iter().any(|session| name(session) == candidate);
    let candidates = (0..NAMES_TRIED).map(|second| names::session(&request.repository, &request.session, request.tick.at + second));
    match candidates.into_iter().find(|candidate| !taken(candidate)) {
        Some(free) => Action::Create(Box::new(session(free, snapshot, request))),
        None => Action::Warn {
            reason: "NoFreeSessionName",
            message: format!(
                "no BackupVerificationSession made for repository {} of session {}: all names from {} on for {NAMES_TRIED} seconds are taken; delete old sessions",
                request.repository,
                request.session,
                names::session(&request.repository, &request.session, request.tick.at)
            ),
        },
    }
}

/// The session that keeps this tick from making one, and why.
fn holder<'a>(listed: &'a Listed, request: &Request) -> Option<(&'a str, &'static str)> {
    let mut unfinished = listed.sessions.iter().filter(|session| is_about(session, request) && !is_done(session) && !is_foreign(session));
    match request.policy {
        Policy::Replace => None,
        Policy::Forbid => unfinished.next().map(|session| (name(session), "is unfinished")),
        Policy::Allow => unfinished.find(|session| waits(session)).map(|session| (name(session), "still waits for its turn")),
    }
}

fn is_about(session: &BackupVerificationSession, request: &Request) -> bool {
    let invoker = session.spec.invoker.as_ref();
    invoker.is_some_and(|invoker| invoker.kind == request.invoker_kind && invoker.name == request.invoker_name)
        && session.spec.session == request.session
        && session.spec.repository == request.repository
}

fn is_done(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().and_then(|status| status.phase.as_ref()?.known()).is_some_and(backproof_api::VerificationPhase::is_done)
}

/// Whether another operator has taken this session: it takes no turn of ours, and nobody here will ever finish it.
fn is_foreign(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().is_some_and(kept::is_foreign)
}

/// Whether nothing was started yet: the pinned facts name no RestoreSession.
fn waits(session: &BackupVerificationSession) -> bool {
    let mut status = session.status.clone().unwrap_or_default();
    kept::unpack(&mut status);
    status.run.is_none_or(|run| run.restore_session.is_none())
}

/// Whether a Snapshot may be the newest of this repository and session.
pub(crate) fn is_candidate(snapshot: &Snapshot, repository: &str, session: &str) -> bool {
    snapshot.spec.repository == repository
        && snapshot.spec.session == session
        && snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(|phase| *phase == SnapshotPhase::Succeeded)
}

fn newest<'a>(snapshots: &'a [Snapshot], request: &Request) -> Option<&'a Snapshot> {
    let time = |snapshot: &Snapshot| {
        snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map_or(Timestamp::MIN, |time| time.0)
    };
    snapshots
        .iter()
        .filter(|snapshot| is_candidate(snapshot, &request.repository, &request.session))
        .max_by(|a, b| (time(a), &a.metadata.name).cmp(&(time(b), &b.metadata.name)))
}

fn nothing_to_verify(request: &Request) -> Action {
    Action::Warn {
        reason: "NoSnapshotToVerify",
        message: format!(
            "no BackupVerificationSession made: repository {} has no Succeeded Snapshot of session {}; run a backup first, or annotate the Repository with {}=\"true\" if restic writes there by itself",
            request.repository,
            request.session,
            labels::DISCOVER
        ),
    }
}

fn session(name: String, snapshot: String, request: &Request) -> BackupVerificationSession {
    let label = names::label_value(&request.invoker_name);
    let mut annotations = vec![(labels::TICK.to_owned(), request.tick.key.clone())];
    if label != request.invoker_name {
        annotations.push((labels::FULL_NAME.to_owned(), request.invoker_name.clone()));
    }
    BackupVerificationSession {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(request.namespace.clone()),
            labels: Some([(labels::INVOKER_NAME.to_owned(), label)].into()),
            annotations: Some(annotations.into_iter().collect()),
            finalizers: Some(vec![labels::FINALIZER.to_owned()]),
            owner_references: Some(vec![OwnerReference {
                api_version: "core.kubestash.com/v1alpha1".to_owned(),
                kind: request.invoker_kind.clone(),
                name: request.invoker_name.clone(),
                uid: request.invoker_uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: BackupVerificationSessionSpec {
            invoker: Some(TypedLocalObjectReference {
                api_group: "core.kubestash.com".to_owned(),
                kind: request.invoker_kind.clone(),
                name: request.invoker_name.clone(),
            }),
            session: request.session.clone(),
            repository: request.repository.clone(),
            snapshot,
            retry_left: request.retry_left,
        },
        status: None,
    }
}

fn annotation<'a>(session: &'a BackupVerificationSession, key: &str) -> Option<&'a String> {
    session.metadata.annotations.as_ref()?.get(key)
}

fn name(session: &BackupVerificationSession) -> &str {
    session.metadata.name.as_deref().unwrap_or_default()
}

fn path(request: &Request, name: &str) -> String {
    format!("{}/{name}", request.namespace)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
