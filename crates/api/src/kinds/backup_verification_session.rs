//! BackupVerificationSession: one run of a verifier on one Snapshot, and its verdict.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;

use crate::{
    Cause, Verdict,
    condition::Condition,
    run::{Evidence, PinnedRun},
    shared::{TypedLocalObjectReference, Wire, wire, wire_enum},
};

wire! {
    /// What is verified, on whose behalf. Immutable once created.
    #[derive(CustomResource)]
    #[kube(
        group = "core.kubestash.com",
        version = "v1alpha1",
        kind = "BackupVerificationSession",
        plural = "backupverificationsession",
        singular = "backupverificationsession",
        namespaced,
        status = "BackupVerificationSessionStatus",
        doc = "One run of a BackupVerifier on one Snapshot. Its status holds the verdict: Verified, VerificationFailed, Inconclusive or Skipped.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Running, Succeeded, Failed or Skipped"),
        printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration", description = "How long the run took"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the session was created"),
        printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict", description = "What was found out about the backup"),
        printcolumn(name = "Snapshot", type_ = "string", priority = 1, json_path = ".status.run.snapshot.name", description = "The Snapshot that is verified"),
        printcolumn(name = "Repository", type_ = "string", priority = 1, json_path = ".spec.repository", description = "The Repository it lies in"),
        printcolumn(name = "Cause", type_ = "string", priority = 1, json_path = ".status.cause", description = "Why the verdict is not Verified"),
        printcolumn(name = "Completed", type_ = "date", priority = 1, json_path = ".status.completionTime", description = "Time since the run ended: the age of its answer")
    )]
    pub struct BackupVerificationSessionSpec {
        /// BackupConfiguration or BackupBatch of the same namespace whose backup is verified.
        pub invoker: Option<TypedLocalObjectReference>,
        /// Session of the invoker that made the backup.
        pub session: String,
        /// Repository of the same namespace that holds the Snapshot.
        pub repository: String,
        /// Snapshot to verify; empty or `latest`: the newest good one when the run starts.
        pub snapshot: String,
        /// How many more times a failed run is repeated, each as a new session.
        pub retry_left: i32,
    }

    /// How far the run is, and what it found out.
    pub struct BackupVerificationSessionStatus {
        /// Running, Succeeded, Failed or Skipped. Succeeded only if everything selected was restored, read back and checked.
        pub phase: Option<Wire<VerificationPhase>>,
        /// How long the run took, as Go duration text such as `11s`.
        pub duration: String,
        /// Whether a new session was made to repeat this one.
        pub retried: Option<bool>,
        /// The steps of the run, and whether they succeeded.
        pub conditions: Vec<Condition>,
        /// What was found out about the backup. Backproof's.
        pub verdict: Option<Wire<Verdict>>,
        /// Why the verdict is not Verified; one word of a closed list. Backproof's.
        pub cause: Option<Wire<Cause>>,
        /// What happened and what to do next, in one line. Backproof's.
        pub message: String,
        /// What was restored, read back and checked, and what was left out. Backproof's.
        pub evidence: Option<Evidence>,
        /// The facts fixed at the start of the run. Backproof's.
        pub run: Option<PinnedRun>,
        /// Generation of the session this status is about. Backproof's.
        pub observed_generation: Option<i64>,
        /// When the run started. Backproof's.
        pub start_time: Option<Time>,
        /// When the run ended. Backproof's.
        pub completion_time: Option<Time>,
        /// How long the run took, in whole seconds. Backproof's.
        pub duration_seconds: Option<i64>,
    }
}

wire_enum! {
    /// How far a verification is.
    pub enum VerificationPhase {
        /// It is not finished.
        Running,
        /// The Snapshot is proven.
        Succeeded,
        /// It is not proven: the data is bad, or it could not be found out.
        Failed,
        /// It was proven before.
        Skipped,
    }
}

impl VerificationPhase {
    /// Whether the session is finished; a finished phase never changes.
    pub fn is_done(self) -> bool {
        match self {
            Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Skipped => true,
        }
    }
}
