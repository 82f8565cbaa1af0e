//! From a review to its answer.
//!
//! What passes by the caches is allowed. What does not is judged once more by the API server itself before it is refused, so
//! that several objects created one after the other never fail because a watch lags behind.

use std::collections::BTreeSet;

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot,
    validate::{self, Access, Findings, Lookup, MOST_SHOWN},
};
use futures::{StreamExt as _, stream};
use kube::core::{
    DynamicObject, Status,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
    response::{StatusCause, StatusDetails},
};
use serde::de::DeserializeOwned;

use crate::{
    judge::{Allowed, Object, judge, judge_deletion},
    metrics::Outcome,
    source::Source,
};

/// Most questions about one writer's rights that wait for their answers at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Declares the kinds that are judged.
macro_rules! judged {
    ($( $(#[$meta:meta])* $name:ident = $kind:ty, $group:literal; )+) => {
        /// The kinds that are judged.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Judged {
            $( $(#[$meta])* $name, )+
        }

        impl Judged {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The kind's name.
            pub fn kind(self) -> &'static str {
                match self {
                    $( Self::$name => stringify!($kind), )+
                }
            }

            /// The kind's group.
            pub fn group(self) -> &'static str {
                match self {
                    $( Self::$name => $group, )+
                }
            }

            fn parse(self, request: &AdmissionRequest<DynamicObject>, object: &DynamicObject) -> Result<Object, String> {
                match self {
                    $( Self::$name => parse::<$kind>(request, object).map(Object::from), )+
                }
            }
        }
    };
}

judged! {
    /// BackupVerificationSession.
    Session = BackupVerificationSession, "core.kubestash.com";
    /// BackupVerifier.
    Verifier = BackupVerifier, "core.kubestash.com";
    /// BackupConfiguration.
    Configuration = BackupConfiguration, "core.kubestash.com";
    /// BackupBatch.
    Batch = BackupBatch, "core.kubestash.com";
    /// RestoreSession.
    Restore = RestoreSession, "core.kubestash.com";
    /// Repository.
    Repository = Repository, "storage.kubestash.com";
    /// Snapshot.
    Snapshot = Snapshot, "storage.kubestash.com";
    /// BackupStorage.
    Storage = BackupStorage, "storage.kubestash.com";
    /// Addon.
    Addon = Addon, "addons.kubestash.com";
    /// Function.
    Function = Function, "addons.kubestash.com";
}

impl Judged {
    /// Where its reviews are sent to.
    pub fn path(self) -> String {
        format!("/validate-{}-v1alpha1-{}", self.group().replace('.', "-"), self.kind().to_lowercase())
    }

    /// Whether nothing of it gets in unjudged. Of the other kinds backups are made: what cannot be judged there is let in.
    fn is_ours(self) -> bool {
        match self {
            Self::Session | Self::Verifier => true,
            Self::Configuration
            | Self::Batch
            | Self::Restore
            | Self::Repository
            | Self::Snapshot
            | Self::Storage
            | Self::Addon
            | Self::Function => false,
        }
    }
}

/// Judges reviews by what two sources know.
pub struct Admission<C, L> {
    cached: C,
    live: L,
    allowed: Allowed,
}

impl<C: Source, L: Source> Admission<C, L> {
    /// `cached` answers quickly, `live` truly; `allowed` is what the chart's values say.
    pub fn new(cached: C, live: L, allowed: Allowed) -> Self {
        Self { cached, live, allowed }
    }

    /// The answer to a review.
    pub async fn answer(&self, judged: Judged, request: &AdmissionRequest<DynamicObject>) -> (AdmissionResponse, Outcome) {
        if request.kind.group != judged.group() || request.kind.kind != judged.kind() {
            let message =
                format!("{} is served here, not {}; correct the rules of the webhook configuration", judged.kind(), request.kind.kind);
            return (denied(request, Status::failure(&message, "BadRequest").with_code(400)), Outcome::Malformed);
        }
        if matches!(request.operation, Operation::Delete) {
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let findings = Box::pin(judge_deletion(&self.cached, judged.kind(), namespace, &request.name)).await;
            return respond(judged, request, findings);
        }
        let Some(object) = changed_spec(request) else { return (request.into(), Outcome::Allowed) };
        match judged.parse(request, object) {
            Ok(object) => {
                let old = request.old_object.as_ref().map(|old| judged.parse(request, old));
                respond(judged, request, Box::pin(self.findings(judged, request, &object, old.as_ref().map(Result::as_ref))).await)
            }
            Err(why) if judged.is_ours() => {
                let message = format!("{} {} cannot be read: {why}; correct the field", judged.kind(), name_of(request));
                (denied(request, Status::failure(&message, "Invalid").with_code(422)), Outcome::Refused)
            }
            Err(why) => {
                let mut response = AdmissionResponse::from(request);
                response.warnings = Some(vec![format!("Backproof did not check this {}: it cannot be read: {why}", judged.kind())]);
                (response, Outcome::Allowed)
            }
        }
    }

    async fn findings(
        &self,
        judged: Judged,
        request: &AdmissionRequest<DynamicObject>,
        object: &Object,
        old: Option<Result<&Object, &String>>,
    ) -> Findings {
        // Of an old object that cannot be read nothing is known to have been wrong before.
        let unreadable = Object::Addon(Box::default());
        let before = old.map(|old| old.unwrap_or(&unreadable));
        let findings = Box::pin(judge(&self.cached, &self.allowed, object, before)).await;
        let findings =
            if findings == Findings::default() { findings } else { Box::pin(judge(&self.live, &self.allowed, object, before)).await };
        let findings = match before {
            Some(before) if !matches!(judged, Judged::Session) && !findings.violations.is_empty() => {
                findings.since(&Box::pin(judge(&self.live, &self.allowed, before, None)).await)
            }
            Some(_) | None => findings,
        };
        findings.and(Box::pin(self.consent(judged, request, object, before)).await)
    }

    /// Whether the writer has every access that the references stand for which were not there before.
    async fn consent(
        &self,
        judged: Judged,
        request: &AdmissionRequest<DynamicObject>,
        object: &Object,
        before: Option<&Object>,
    ) -> Findings {
        let mut findings = Findings::default();
        let known: BTreeSet<Access> = before.map(accesses).into_iter().flatten().map(|(_, access)| access).collect();
        let user = request.user_info.username.as_deref().unwrap_or_default();
        let new = accesses(object).into_iter().filter(|(_, access)| !known.contains(access));
        let asked = new.map(|(field, access)| async move {
            let answer = self.live.permitted(&request.user_info, &access).await;
            (field, access, answer)
        });
        // Many at once, in their order: an object with a hundred references is answered in time as well.
        let answers: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        for (field, access, answer) in answers {
            match answer {
                Lookup::Found(true) => {}
                Lookup::Found(false) | Lookup::Missing => validate::refuse_access(&mut findings, judged.kind(), &field, &access, user),
                Lookup::Unknown(why) => findings.unanswered.push(format!("whether {user} may {access}: {why}")),
            }
        }
        findings
    }
}

fn accesses(object: &Object) -> Vec<(String, Access)> {
    match object {
        Object::Verifier(verifier) => validate::accesses_of_verifier(verifier),
        Object::Invoker(invoker) => validate::accesses_of_invoker(invoker.view()),
        Object::Session(_)
        | Object::Restore(_)
        | Object::Repository(_)
        | Object::Snapshot(_)
        | Object::Storage(_)
        | Object::Addon(_)
        | Object::Function(_) => Vec::new(),
    }
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

/// The name, also of an object whose name the API server makes up.
fn own_name(request: &AdmissionRequest<DynamicObject>) -> &str {
    let meta = request.object.as_ref().map(|object| &object.metadata);
    meta.and_then(|meta| meta.name.as_deref().or(meta.generate_name.as_deref())).unwrap_or(&request.name)
}

fn name_of(request: &AdmissionRequest<DynamicObject>) -> String {
    format!("{}/{}", request.namespace.as_deref().unwrap_or_default(), own_name(request))
}

fn respond(judged: Judged, request: &AdmissionRequest<DynamicObject>, mut findings: Findings) -> (AdmissionResponse, Outcome) {
    let mut warnings: Vec<String> = findings.warnings.iter().take(MOST_SHOWN).map(ToString::to_string).collect();
    if let more @ 1.. = findings.warnings.len().saturating_sub(MOST_SHOWN) {
        warnings.push(format!("and {more} more warnings"));
    }
    if !judged.is_ours() {
        let open = findings.unanswered.drain(..).map(|why| format!("Backproof could not check everything: {why}"));
        warnings.extend(open);
    }
    let (mut response, outcome) = if !findings.violations.is_empty() {
        (denied(request, invalid(judged, request, &findings)), Outcome::Refused)
    } else if !findings.unanswered.is_empty() {
        let message = format!("{} {} cannot be judged now: {}; try again", judged.kind(), name_of(request), findings.unanswered.join("; "));
        (denied(request, Status::failure(&message, "ServiceUnavailable").with_code(503)), Outcome::Unanswered)
    } else {
        (request.into(), Outcome::Allowed)
    };
    if !warnings.is_empty() {
        response.warnings = Some(warnings);
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
        name: own_name(request).to_owned(),
        group: judged.group().to_owned(),
        kind: judged.kind().to_owned(),
        causes: findings.violations.iter().take(MOST_SHOWN).map(cause).collect(),
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
