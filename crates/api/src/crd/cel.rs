//! Rules that need no look-up, once more as CEL in the CRDs: the API server holds them while the webhook is away.
//!
//! Only BackupVerificationSession and BackupVerifier carry any; of the other kinds backups are made, and those are not ours to
//! limit. Each is one of the rules of `validate`, under its name, and listed in `upstream/ours-rules.tsv`.
//!
//! Durations, schedules and queries are not among them: upstream's schema bounds no text, and an expression over a text of any
//! length costs more than the API server allows.
//!
//! `function` is a word of CEL, so the field of that name is written `__function__`: the API server takes both spellings since 1.31,
//! programs built of older ones (kubectl-validate 0.0.4) this one only.
//!
//! Invariant: none is stricter than the rule it repeats, and none stops an object that broke it before: what was wrong and is
//! so still is let pass (`optionalOldSelf`), as status and finalizers are written by others.

use serde_json::{Value, json};

/// One rule in a CRD.
#[derive(Clone, Copy, Debug)]
pub struct Cel {
    /// Kind it is in.
    pub kind: &'static str,
    /// The rule of `validate` it repeats.
    pub id: &'static str,
    /// Whether it stands at the root, for rules about metadata, or at `spec`.
    pub at_root: bool,
    /// The expression; `SELF` is the object before or after.
    expression: &'static str,
    /// Field the message is about, below where the rule stands.
    field: &'static str,
    /// What is wrong; then what to do.
    pub message: &'static str,
    /// How the API server calls it.
    reason: &'static str,
}

const REQUIRED: &str = "FieldValueRequired";
const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";

const SESSION: &str = "BackupVerificationSession";
const VERIFIER: &str = "BackupVerifier";

const fn rule(
    kind: &'static str,
    id: &'static str,
    field: &'static str,
    reason: &'static str,
    expression: &'static str,
    message: &'static str,
) -> Cel {
    Cel { kind, id, at_root: false, expression, field, message, reason }
}

/// Every one of them.
pub const ALL: &[Cel] = &[
    Cel {
        at_root: true,
        ..rule(
            SESSION,
            "session-name",
            ".metadata.name",
            INVALID,
            "SELF.metadata.name.size() <= 63",
            "metadata.name has more than the 63 bytes that a label value holds; choose a shorter name",
        )
    },
    rule(
        SESSION,
        "session-invoker",
        ".invoker",
        REQUIRED,
        "has(SELF.invoker) && SELF.invoker.kind != '' && SELF.invoker.name != ''",
        "names no object; set kind and name of the BackupConfiguration or BackupBatch whose backup is verified",
    ),
    rule(
        SESSION,
        "session-invoker-group",
        ".invoker.apiGroup",
        INVALID,
        "!has(SELF.invoker) || !has(SELF.invoker.apiGroup) || SELF.invoker.apiGroup in ['', 'core.kubestash.com']",
        "is not the group of BackupConfiguration and BackupBatch; write core.kubestash.com",
    ),
    rule(
        SESSION,
        "session-invoker-kind",
        ".invoker.kind",
        INVALID,
        "!has(SELF.invoker) || SELF.invoker.kind in ['', 'BackupConfiguration', 'BackupBatch']",
        "is no kind that backups belong to; write BackupConfiguration or BackupBatch",
    ),
    rule(
        SESSION,
        "session-session",
        ".session",
        REQUIRED,
        "has(SELF.session) && SELF.session != ''",
        "is empty; name the session of the invoker that made the backup",
    ),
    rule(
        SESSION,
        "session-repository",
        ".repository",
        REQUIRED,
        "has(SELF.repository) && SELF.repository != ''",
        "is empty; name the Repository whose Snapshot is verified",
    ),
    rule(
        SESSION,
        "session-retries",
        ".retryLeft",
        INVALID,
        "!has(SELF.retryLeft) || SELF.retryLeft >= 0",
        "is below zero; choose a number from 0 to 100",
    ),
    rule(VERIFIER, "verifier-type", ".type", REQUIRED, "has(SELF.type)", "is missing; write RestoreOnly, Query or Script"),
    rule(
        VERIFIER,
        "verifier-query",
        ".query",
        REQUIRED,
        "!has(SELF.type) || SELF.type != 'Query' || has(SELF.query)",
        "is missing, and type Query checks nothing without it; list the checks of your engine, such as mySQL",
    ),
    rule(
        VERIFIER,
        "verifier-script",
        ".script.location",
        REQUIRED,
        "!has(SELF.type) || SELF.type != 'Script' || (has(SELF.script) && has(SELF.script.location) && SELF.script.location != '')",
        "is missing, and type Script runs nothing without it; write the path of the script in the verifier's container",
    ),
    rule(
        VERIFIER,
        "verifier-script-path",
        ".script.location",
        INVALID,
        "!has(SELF.type) || SELF.type != 'Script' || !has(SELF.script) || !has(SELF.script.location) || SELF.script.location == '' || SELF.script.location.startsWith('/')",
        "is not an absolute path; write the path of the script in the verifier's container, beginning with /",
    ),
    rule(
        VERIFIER,
        "verifier-script-unused",
        ".script",
        FORBIDDEN,
        "!has(SELF.script) || !has(SELF.type) || SELF.type == 'Script'",
        "is never run by this type; set spec.type to Script, or take the script out",
    ),
    rule(
        VERIFIER,
        "verifier-function",
        ".function",
        REQUIRED,
        "!has(SELF.type) || SELF.type == 'RestoreOnly' || (has(SELF.__function__) && SELF.__function__ != '')",
        "is missing, and this type needs it; name the Function that runs the check",
    ),
    rule(
        VERIFIER,
        "verifier-restore",
        ".restoreOption",
        REQUIRED,
        "has(SELF.restoreOption)",
        "is missing; say where backups are restored to for the check (target) and how (addonInfo)",
    ),
    rule(
        VERIFIER,
        "verifier-target",
        ".restoreOption.target",
        REQUIRED,
        "!has(SELF.restoreOption) || (has(SELF.restoreOption.target) && SELF.restoreOption.target.name != '' && has(SELF.restoreOption.target.kind) && SELF.restoreOption.target.kind != '')",
        "lacks a name or a kind; name an object to restore into that is not the source of the backup",
    ),
    rule(
        VERIFIER,
        "verifier-addon",
        ".restoreOption.addonInfo",
        REQUIRED,
        "!has(SELF.restoreOption) || (has(SELF.restoreOption.addonInfo) && has(SELF.restoreOption.addonInfo.name) && SELF.restoreOption.addonInfo.name != '' && has(SELF.restoreOption.addonInfo.tasks) && SELF.restoreOption.addonInfo.tasks.size() > 0)",
        "lacks a name or tasks; name the Addon and its restore tasks",
    ),
    rule(
        VERIFIER,
        "verifier-concurrency",
        ".scheduler.concurrencyPolicy",
        INVALID,
        "!has(SELF.scheduler) || !has(SELF.scheduler.concurrencyPolicy) || SELF.scheduler.concurrencyPolicy in ['', 'Allow', 'Forbid', 'Replace']",
        "is no policy; write Allow, Forbid or Replace",
    ),
    rule(
        VERIFIER,
        "verifier-retries",
        ".retryConfig.maxRetry",
        INVALID,
        "!has(SELF.retryConfig) || !has(SELF.retryConfig.maxRetry) || SELF.retryConfig.maxRetry <= 100",
        "is too many; choose a number up to 100",
    ),
    rule(
        VERIFIER,
        "verifier-history",
        ".sessionHistoryLimit",
        INVALID,
        "!has(SELF.sessionHistoryLimit) || SELF.sessionHistoryLimit >= 0",
        "is below zero; write how many finished sessions to keep, at least 1",
    ),
];

/// A session never changes; this one compares both, so it holds for changes only. An absent value and a zero are the same.
const IMMUTABLE: &str = "(has(self.session) ? self.session : '') == (has(oldSelf.session) ? oldSelf.session : '') \
    && (has(self.repository) ? self.repository : '') == (has(oldSelf.repository) ? oldSelf.repository : '') \
    && (has(self.snapshot) ? self.snapshot : '') == (has(oldSelf.snapshot) ? oldSelf.snapshot : '') \
    && (has(self.retryLeft) ? self.retryLeft : 0) == (has(oldSelf.retryLeft) ? oldSelf.retryLeft : 0) \
    && has(self.invoker) == has(oldSelf.invoker) \
    && (!has(self.invoker) || (self.invoker.kind == oldSelf.invoker.kind && self.invoker.name == oldSelf.invoker.name)) \
    && (!has(self.invoker) || (has(self.invoker.apiGroup) ? self.invoker.apiGroup : '') == \
    (has(oldSelf.invoker.apiGroup) ? oldSelf.invoker.apiGroup : ''))";

/// The name under which the rule against changes is listed.
pub const IMMUTABLE_ID: &str = "session-immutable";

/// Whether a rule of `validate` is also in a CRD.
pub fn repeats(id: &str) -> bool {
    id == IMMUTABLE_ID || ALL.iter().any(|cel| cel.id == id)
}

/// Names of the rules of a kind, at the root or at `spec`, in the order they stand there.
pub fn ids(kind: &str, at_root: bool) -> Vec<&'static str> {
    let immutable = (kind == SESSION && !at_root).then_some(IMMUTABLE_ID);
    let others = ALL.iter().filter(|cel| cel.kind == kind && cel.at_root == at_root).map(|cel| cel.id);
    immutable.into_iter().chain(others).collect()
}

/// The rules of a kind as the schema takes them, at the root or at `spec`.
pub(super) fn validations(kind: &str, at_root: bool) -> Vec<Value> {
    let mut all = Vec::new();
    if kind == SESSION && !at_root {
        let message = "is immutable; create another BackupVerificationSession instead";
        all.push(json!({"rule": IMMUTABLE, "message": message, "reason": FORBIDDEN}));
    }
    all.extend(ALL.iter().filter(|cel| cel.kind == kind && cel.at_root == at_root).map(|cel| {
        let (now, before) = (cel.expression.replace("SELF", "self"), cel.expression.replace("SELF", "oldSelf.value()"));
        let rule = format!("({now}) || (oldSelf.hasValue() && !({before}))");
        let mut validation = json!({"rule": rule, "optionalOldSelf": true, "message": cel.message, "reason": cel.reason});
        // The schema says nothing of metadata, so no path leads there.
        if !cel.at_root {
            validation["fieldPath"] = json!(cel.field);
        }
        validation
    }));
    all
}
