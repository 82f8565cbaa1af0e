//! From a review to its answer.
//!
//! What passes by the caches is allowed. What does not is judged once more by the API server itself before it is refused, so
//! that several objects created one after the other never fail because a watch lags behind.

use backproof_api::{
    BackupVerificationSession, BackupVerifier,
    validate::{self, Findings, Invoker, Lookup},
};
use kube::{
    Resource as _,
    core::{
        DynamicObject, Status,
        admission::{AdmissionRequest, AdmissionResponse, Operation},
        response::{StatusCause, StatusDetails},
    },
};
use serde::de::DeserializeOwned;

use crate::{
    metrics::Outcome,
    source::{OwnInvoker, OwnSessionFacts, Source},
};

/// The kinds that are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// BackupVerificationSession.
    Session,
    /// BackupVerifier.
    Verifier,
}

impl Judged {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Session, Self::Verifier];

    /// The kind's name.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Session => "BackupVerificationSession",
            Self::Verifier => "BackupVerifier",
        }
    }

    /// Where its reviews are sent to.
    pub fn path(self) -> &'static str {
        match self {
            Self::Session => "/validate-core-kubestash-com-v1alpha1-backupverificationsession",
            Self::Verifier => "/validate-core-kubestash-com-v1alpha1-backupverifier",
        }
    }
}

/// Judges reviews by what two sources know.
pub struct Admission<C, L> {
    cached: C,
    live: L,
}

impl<C: Source, L: Source> Admission<C, L> {
    /// `cached` answers quickly, `live` truly.
    pub fn new(cached: C, live: L) -> Self {
        Self { cached, live }
    }

    /// The answer to a review.
    pub async fn answer(&self, judged: Judged, request: &AdmissionRequest<DynamicObject>) -> (AdmissionResponse, Outcome) {
        if request.kind.group != Invoker::GROUP || request.kind.kind != judged.kind() {
            let message =
                format!("{} is served here, not {}; correct the rules of the webhook configuration", judged.kind(), request.kind.kind);
            return (denied(request, Status::failure(&message, "BadRequest").with_code(400)), Outcome::Malformed);
        }
        let Some(object) = changed_spec(request) else { return (request.into(), Outcome::Allowed) };
        let findings = match judged {
            Judged::Session => self.session(request, object).await,
            Judged::Verifier => self.verifier(request, object).await,
        };
        match findings {
            Ok(findings) => respond(judged, request, &findings),
            Err(why) => {
                let message = format!("{} {} cannot be read: {why}; correct the field", judged.kind(), name_of(request));
                (denied(request, Status::failure(&message, "Invalid").with_code(422)), Outcome::Refused)
            }
        }
    }

    async fn session(&self, request: &AdmissionRequest<DynamicObject>, object: &DynamicObject) -> Result<Findings, String> {
        let session: BackupVerificationSession = parse(request, object)?;
        if let Some(old) = &request.old_object {
            // An earlier spec that cannot be read any more differs from one that can.
            let old = parse::<BackupVerificationSession>(request, old).unwrap_or_default();
            return Ok(validate::session_update(&old, &session));
        }
        let findings = judge_session(&self.cached, &session).await;
        Ok(if findings.passed() { findings } else { judge_session(&self.live, &session).await })
    }

    async fn verifier(&self, request: &AdmissionRequest<DynamicObject>, object: &DynamicObject) -> Result<Findings, String> {
        let verifier: BackupVerifier = parse(request, object)?;
        let findings = judge_verifier(&self.cached, &verifier).await;
        Ok(if findings.passed() { findings } else { judge_verifier(&self.live, &verifier).await })
    }
}

async fn judge_session(source: &impl Source, session: &BackupVerificationSession) -> Findings {
    let facts = OwnSessionFacts::gather(source, session).await;
    validate::session(session, &facts.view())
}

async fn judge_verifier(source: &impl Source, verifier: &BackupVerifier) -> Findings {
    let meta = verifier.meta();
    let users = source.users(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default()).await;
    let users: Lookup<Vec<Invoker<'_>>> = users.as_ref().map(|users| users.iter().map(OwnInvoker::view).collect());
    validate::verifier(verifier, &users)
}

/// The object, if this is a creation or a change of its spec. Clean-up and changes of metadata or status never wait for a rule.
fn changed_spec(request: &AdmissionRequest<DynamicObject>) -> Option<&DynamicObject> {
    let writes = match request.operation {
        Operation::Create | Operation::Update => request.sub_resource.as_deref().unwrap_or_default().is_empty(),
        Operation::Delete | Operation::Connect => false,
    };
    let object = request.object.as_ref().filter(|object| writes && object.metadata.deletion_timestamp.is_none())?;
    let same = request.old_object.as_ref().is_some_and(|old| old.data.get("spec") == object.data.get("spec"));
    (!same).then_some(object)
}

fn parse<K: DeserializeOwned + kube::Resource>(request: &AdmissionRequest<DynamicObject>, object: &DynamicObject) -> Result<K, String> {
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    let mut parsed: K = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let meta = parsed.meta_mut();
    meta.namespace = meta.namespace.take().or_else(|| request.namespace.clone());
    Ok(parsed)
}

fn name_of(request: &AdmissionRequest<DynamicObject>) -> String {
    let meta = request.object.as_ref().map(|object| &object.metadata);
    let name = meta.and_then(|meta| meta.name.as_deref().or(meta.generate_name.as_deref())).unwrap_or(&request.name);
    format!("{}/{name}", request.namespace.as_deref().unwrap_or_default())
}

fn respond(judged: Judged, request: &AdmissionRequest<DynamicObject>, findings: &Findings) -> (AdmissionResponse, Outcome) {
    let (mut response, outcome) = if !findings.violations.is_empty() {
        (denied(request, invalid(judged, request, findings)), Outcome::Refused)
    } else if !findings.unanswered.is_empty() {
        let message = format!("{} {} cannot be judged now: {}; try again", judged.kind(), name_of(request), findings.unanswered.join("; "));
        (denied(request, Status::failure(&message, "ServiceUnavailable").with_code(503)), Outcome::Unanswered)
    } else {
        (request.into(), Outcome::Allowed)
    };
    if !findings.warnings.is_empty() {
        response.warnings = Some(findings.warnings.iter().map(ToString::to_string).collect());
    }
    (response, outcome)
}

/// The causes let kubectl print one line per field; the message carries the same for everybody else.
fn invalid(judged: Judged, request: &AdmissionRequest<DynamicObject>, findings: &Findings) -> Status {
    let message = format!("{} {}: {findings}", judged.kind(), name_of(request));
    let cause = |violation: &validate::Violation| StatusCause {
        reason: "FieldValueInvalid".to_owned(),
        message: violation.text(),
        field: violation.field.clone(),
    };
    let details = StatusDetails {
        name: request.name.clone(),
        group: Invoker::GROUP.to_owned(),
        kind: judged.kind().to_owned(),
        causes: findings.violations.iter().map(cause).collect(),
        uid: String::new(),
        retry_after_seconds: 0,
    };
    Status::failure(&message, "Invalid").with_code(422).with_details(details)
}

fn denied(request: &AdmissionRequest<DynamicObject>, status: Status) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request).deny(&status.message);
    response.result = status;
    response
}
