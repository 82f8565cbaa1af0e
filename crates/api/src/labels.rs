//! Labels, annotations, finalizers and fixed names on the wire.
//!
//! `kubestash.com/...` are upstream's (`upstream/labels.tsv`); `backproof.dev/...` are ours.

/// Finalizer of BackupVerificationSession; upstream's.
pub const FINALIZER: &str = "kubestash.com/cleanup";
/// Who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] on what a session makes.
pub const MANAGED_BY_VALUE: &str = "kubestash.com";
/// Which part of the system an object belongs to.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// [`COMPONENT`] of restore Jobs.
pub const COMPONENT_RESTORE: &str = "kubestash-restore";
/// [`COMPONENT`] of verifier Jobs, CronJobs and their pods.
pub const COMPONENT_VERIFIER: &str = "kubestash-backup-verifier";
/// [`COMPONENT`] of discovery Jobs; ours.
pub const COMPONENT_DISCOVERY: &str = "backproof-discovery";
/// On a BackupVerificationSession: name of its invoker. On what a session makes: name of that session.
pub const INVOKER_NAME: &str = "kubestash.com/invoker-name";
/// Namespace of the session that made an object.
pub const INVOKER_NAMESPACE: &str = "kubestash.com/invoker-namespace";
/// Kind of the invoker.
pub const INVOKER_KIND: &str = "kubestash.com/invoker-kind";
/// Session of the invoker.
pub const SESSION_NAME: &str = "kubestash.com/session-name";
/// Repository of a Snapshot, and of what a session makes.
pub const REPO_NAME: &str = "kubestash.com/repo-name";
/// Kind of what was backed up.
pub const APP_REF_KIND: &str = "kubestash.com/app-ref-kind";
/// Name of what was backed up.
pub const APP_REF_NAME: &str = "kubestash.com/app-ref-name";
/// Namespace of what was backed up.
pub const APP_REF_NAMESPACE: &str = "kubestash.com/app-ref-namespace";

/// Label on everything a session makes: UID of the BackupVerificationSession. An object is believed or deleted only if it carries it.
pub const SESSION_UID: &str = "backproof.dev/session-uid";
/// Label: which component of the Snapshot a Job restores.
pub const SNAPSHOT_COMPONENT: &str = "backproof.dev/component";
/// Label: UID of the BackupVerificationSession this one repeats.
pub const RETRY_OF: &str = "backproof.dev/retry-of";
/// Label on a verifier's CronJob: UID of the invoker it belongs to.
pub const INVOKER_UID: &str = "backproof.dev/invoker-uid";
/// Label on a discovery Job and on the Snapshots it makes: UID of the Repository.
pub const REPOSITORY_UID: &str = "backproof.dev/repository-uid";
/// Label on Addons and Functions: which of upstream's names they implement.
pub const IMPLEMENTS: &str = "backproof.dev/implements";
/// Annotation on a Function that is not ours: `"1"` promises that its errors begin with a cause of our list.
pub const VERDICT_CONTRACT: &str = "backproof.dev/verdict-contract";
/// Annotation on a BackupVerificationSession: which tick of which CronJob made it.
pub const TICK: &str = "backproof.dev/tick";
/// Annotation on a BackupVerificationSession: the pinned facts, as a hint where status was pruned.
pub const RUN: &str = "backproof.dev/run";
/// Annotation on a Snapshot: the verification record, where `status.verification` is pruned.
pub const VERIFICATION: &str = "backproof.dev/verification";
/// Annotation on a BackupVerificationSession: `"true"` runs although the Snapshot is already proven.
pub const REVERIFY: &str = "backproof.dev/reverify";
/// Annotation on a Repository: `"true"` turns the restic snapshots found there into Snapshots.
pub const DISCOVER: &str = "backproof.dev/discover";
/// Annotation on a Repository: JSON filter of discovery (session, host, paths, tags).
pub const DISCOVER_FILTER: &str = "backproof.dev/discover-filter";
/// Annotation on a Repository: what discovery last found and when, as JSON.
pub const DISCOVERY: &str = "backproof.dev/discovery";
/// Annotation on a Repository: RFC 3339 time; a discovery that started earlier does not count, so another one runs.
pub const DISCOVER_REQUEST: &str = "backproof.dev/discover-request";
/// Annotation on what is applied: hash of what was asked for, so that a field that is asked for no more is noticed.
pub const APPLIED: &str = "backproof.dev/applied";
/// Annotation on a Repository: how green runs opened its restic repositories, as JSON, to tell a lost key from a wrong password.
pub const OPENED: &str = "backproof.dev/opened";
/// Annotation on a Repository: since when and how often it has been unreachable, as JSON.
pub const HOLD: &str = "backproof.dev/hold";
/// Annotation on a Repository: any change of its value makes a held Repository be probed at once.
pub const PROBE: &str = "backproof.dev/probe";
/// Annotation on a RestoreSession of ours: its session is over, so that the target may be wiped now. It wakes, and grants nothing.
pub const WIPE: &str = "backproof.dev/wipe";
/// Annotation that carries a name too long for a label value.
pub const FULL_NAME: &str = "backproof.dev/full-name";

/// Marker file at the root of every volume we restore into.
pub const TARGET_MARKER: &str = ".backproof.json";
/// ServiceAccount and ClusterRole of the trigger.
pub const TRIGGER: &str = "backproof-trigger";
/// ServiceAccount and ClusterRole of discovery.
pub const DISCOVERER: &str = "backproof-discover";
/// ClusterRole of what Functions that are not ours may read.
pub const FOREIGN: &str = "backproof-foreign";
