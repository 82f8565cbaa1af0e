//! How containers end: what is left of them at the API, and what they really did.

use serde_json::{Value, json};

use super::truth::{Deeds, Did};

/// How a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    Good,
    Red,
    /// It says that it could not find out.
    Unknown,
    /// It says nothing.
    Silent,
    /// It is killed for its memory.
    Memory,
    /// Its pod is evicted.
    Evicted,
    /// Its report is cut in the middle.
    Cut,
    /// It tells a green story of another session.
    Foreign,
    /// It tells a green story of another attempt.
    Attempt,
    /// It tells a green story of another restic snapshot.
    Other,
    /// It says green and exits 1.
    Liar,
    /// It says green, but has not read back everything.
    Half,
    /// It says green as an image of somebody else's might: the restore was refused, the report made up for the exit code.
    RedFinding,
}

impl End {
    pub(super) const ALL: [Self; 13] = [
        Self::Good,
        Self::Red,
        Self::Unknown,
        Self::Silent,
        Self::Memory,
        Self::Evicted,
        Self::Cut,
        Self::Foreign,
        Self::Attempt,
        Self::Other,
        Self::Liar,
        Self::Half,
        Self::RedFinding,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Red => "red",
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Memory => "memory",
            Self::Evicted => "evicted",
            Self::Cut => "cut",
            Self::Foreign => "foreign",
            Self::Attempt => "attempt",
            Self::Other => "other",
            Self::Liar => "liar",
            Self::Half => "half",
            Self::RedFinding => "red-finding",
        }
    }
}

/// Phase of the pod, exit code and reason of the container, and its termination message.
pub(super) type Remains = (&'static str, i64, &'static str, String);

/// What a restore leaves.
pub(super) fn of_restore(how: End, did: &Did) -> Remains {
    let report = |outcome: &str, cause: Option<&str>, did: &Did, attempt: u32, read_back: u32| {
        let cause = cause.map_or(Value::Null, Into::into);
        json!({
            "identity": {"sessionUid": did.session, "attempt": attempt, "component": did.component},
            "outcome": outcome, "cause": cause, "error": cause, "snapshot": {"id": did.restic_id},
            "restored": {"files": 3, "directories": 1, "bytes": 42}, "readBack": {"files": read_back, "directories": 1, "bytes": 42},
            "findings": [], "findingsTotal": 0, "executor": "test", "seconds": 1,
        })
        .to_string()
    };
    let good = report("Verified", None, did, 1, 3);
    match how {
        End::Good => ("Succeeded", 0, "Completed", good),
        End::Red => ("Failed", 1, "Error", report("VerificationFailed", Some("PackDamaged"), did, 1, 2)),
        End::Unknown => ("Failed", 2, "Error", report("Inconclusive", Some("StorageUnreachable"), did, 1, 0)),
        End::Silent => ("Failed", 1, "Error", String::new()),
        End::Memory => ("Failed", 137, "OOMKilled", String::new()),
        End::Evicted => ("Failed", 137, "Error", String::new()),
        End::Cut => ("Succeeded", 0, "Completed", good[..good.len() / 2].to_owned()),
        End::Foreign => ("Succeeded", 0, "Completed", report("Verified", None, &Did { session: "x".into(), ..did.clone() }, 1, 3)),
        End::Attempt => ("Succeeded", 0, "Completed", report("Verified", None, did, 2, 3)),
        End::Other => ("Succeeded", 0, "Completed", report("Verified", None, &Did { restic_id: "e".repeat(64), ..did.clone() }, 1, 3)),
        End::Liar => ("Failed", 1, "Error", good),
        End::Half => ("Succeeded", 0, "Completed", report("Verified", None, did, 1, 2)),
        // A finding is no cause; whoever names it as one has not understood the contract.
        End::RedFinding => ("Failed", 1, "Error", report("VerificationFailed", Some("StorageUnreachable"), did, 1, 2)),
    }
}

/// What a restore into a database leaves.
pub(super) fn of_dump(how: End, did: &Did) -> Remains {
    let (phase, code, reason, message) = of_restore(how, did);
    let objects = if how == End::Half { 0 } else { 3 };
    (
        phase,
        code,
        reason,
        with(&message, "database", json!({"engine": "postgres", "database": "shop", "run": did.session, "objects": objects})),
    )
}

/// What the Job leaves that asks a database.
pub(super) fn of_verification(how: End, did: &Did) -> Remains {
    let (phase, code, reason, message) = of_restore(how, did);
    let message = message.replace("PackDamaged", "CountMismatch");
    let asked = with(&message, "database", json!({"engine": "postgres", "run": did.session}));
    // Who answered half of it says so.
    let holds = if how == End::Half { Value::Null } else { true.into() };
    let check = json!([{"at": "spec.query.postgres[0]", "object": "table", "expected": "3", "actual": "3", "holds": holds}]);
    (phase, code, reason, with(&with(&asked, "checks", check), "checksTotal", 1.into()))
}

/// A report with one more field, if it is one.
fn with(message: &str, field: &str, value: Value) -> String {
    match serde_json::from_str::<Value>(message) {
        Ok(mut report) => {
            report[field] = value;
            report.to_string()
        }
        Err(_) => message.to_owned(),
    }
}

/// What it really did.
pub(super) fn restored(how: End) -> Deeds {
    match how {
        End::Good => Deeds::Proven,
        End::Red => Deeds::Defect,
        End::Unknown
        | End::Silent
        | End::Memory
        | End::Evicted
        | End::Cut
        | End::Foreign
        | End::Attempt
        | End::Other
        | End::Liar
        | End::Half
        | End::RedFinding => Deeds::Nothing,
    }
}

/// What a wipe leaves. It knows neither red nor half.
pub(super) fn of_wipe(how: End, did: &Did) -> Remains {
    let report = |wiped: bool, cause: Option<&str>, session: &str, attempt: u32, component: &str| {
        json!({"identity": {"sessionUid": session, "attempt": attempt, "component": component}, "wiped": wiped, "cause": cause,
            "error": cause, "removed": 4})
        .to_string()
    };
    let good = report(true, None, &did.session, 1, "");
    let refused = |cause: &str| report(false, Some(cause), &did.session, 1, "");
    match how {
        End::Good => ("Succeeded", 0, "Completed", good),
        End::Red => ("Failed", 2, "Error", refused("TargetPermissionDenied")),
        End::Unknown => ("Failed", 2, "Error", refused("TargetFault")),
        End::Silent => ("Failed", 1, "Error", String::new()),
        End::Memory => ("Failed", 137, "OOMKilled", String::new()),
        End::Evicted => ("Failed", 137, "Error", String::new()),
        End::Cut => ("Succeeded", 0, "Completed", good[..good.len() / 2].to_owned()),
        End::Foreign => ("Succeeded", 0, "Completed", report(true, None, "x", 1, "")),
        End::Attempt => ("Succeeded", 0, "Completed", report(true, None, &did.session, 2, "")),
        End::Other => ("Succeeded", 0, "Completed", report(true, None, &did.session, 1, "pod")),
        End::Liar => ("Failed", 1, "Error", good),
        End::Half => ("Succeeded", 0, "Completed", report(false, None, &did.session, 1, "")),
        End::RedFinding => ("Failed", 1, "Error", report(false, None, &did.session, 1, "")),
    }
}

/// What it really did.
pub(super) fn wiped(how: End) -> Deeds {
    if how == End::Good { Deeds::Wiped } else { Deeds::Nothing }
}
