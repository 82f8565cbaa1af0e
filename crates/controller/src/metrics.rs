//! What the controller counts. Labels are closed sets, so the number of series is bounded; the one exception is a few
//! series for each Repository, which end with it ([`standing`]).

pub(crate) mod asked;
pub(crate) mod snapshots;
pub(crate) mod standing;

use std::time::{Duration, Instant};

use backproof_api::{BackupVerificationSession, RestoreSession, Verdict};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use self::{asked::Asked, snapshots::Snapshots};

/// Outcome of one reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciled {
    /// Kind that was reconciled.
    pub kind: &'static str,
    /// `ok`, or the reason of the error.
    pub outcome: &'static str,
}

/// A kind that is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfKind {
    /// The kind.
    pub kind: &'static str,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verification {
    /// Type of its verifier; `Unknown` where there was none to pin.
    pub r#type: &'static str,
    /// The verdict.
    pub verdict: &'static str,
    /// The cause; empty when there is none.
    pub cause: &'static str,
}

/// How a restore ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Restored {
    /// The verdict.
    pub verdict: &'static str,
}

/// Bounds of everything that takes as long as a restore, in seconds.
const RUNS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0];

/// What the controller counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether this process acts.
    pub leading: Gauge,
    /// Reconciles by kind and outcome.
    pub reconciles: Family<Reconciled, Counter>,
    /// How long reconciles took, in seconds, by kind.
    reconcile_seconds: Family<OfKind, Histogram, fn() -> Histogram>,
    /// Objects that wait to be reconciled, by kind.
    pub queue: Family<OfKind, Gauge>,
    /// Objects of a watched kind that could not be read.
    pub malformed: Family<Reconciled, Counter>,
    /// Sessions that ended, by type, verdict and cause.
    verifications: Family<Verification, Counter>,
    /// How long sessions took, in seconds.
    verification_seconds: Histogram,
    /// Restores that ended, by verdict.
    restores: Family<Restored, Counter>,
    /// Bytes they brought back.
    restored_bytes: Counter,
    /// How long they took, in seconds.
    restore_seconds: Histogram,
    /// Which Repositories somebody wants verified.
    pub(crate) asked: Asked,
    /// What stands on the Snapshots.
    pub(crate) snapshots: Snapshots,
}

impl Metrics {
    /// Makes the figures and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leading: Gauge::default(),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9))),
            queue: Family::default(),
            malformed: Family::default(),
            verifications: Family::default(),
            verification_seconds: Histogram::new(RUNS),
            restores: Family::default(),
            restored_bytes: Counter::default(),
            restore_seconds: Histogram::new(RUNS),
            asked: Asked::default(),
            snapshots: Snapshots::default(),
        };
        registry.register("leading", "Whether this controller acts (1) or stands by (0)", metrics.leading.clone());
        registry.register("reconciles", "Reconciles by kind and outcome", metrics.reconciles.clone());
        registry.register("reconcile_seconds", "Time reconciles took, by kind", metrics.reconcile_seconds.clone());
        registry.register("queue_depth", "Objects that wait to be reconciled, by kind", metrics.queue.clone());
        registry.register("malformed_objects", "Watched objects that could not be read, by kind", metrics.malformed.clone());
        registry.register("verifications", "Finished verification sessions by type, verdict and cause", metrics.verifications.clone());
        registry.register("verification_duration_seconds", "Time verification sessions took", metrics.verification_seconds.clone());
        registry.register("restores", "Finished restores by verdict", metrics.restores.clone());
        registry.register("restored_bytes", "Bytes that restores brought back", metrics.restored_bytes.clone());
        registry.register(
            "restore_duration_seconds",
            "Time restores took, from their first Job to the last report",
            metrics.restore_seconds.clone(),
        );
        metrics
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str) {
        self.reconciles.get_or_create(&Reconciled { kind, outcome }).inc();
    }

    /// Notes how long a reconcile took that began then.
    pub fn took(&self, kind: &'static str, since: Instant) {
        self.reconcile_seconds.get_or_create(&OfKind { kind }).observe(since.elapsed().as_secs_f64());
    }

    /// The gauge of a kind's queue.
    pub fn queue(&self, kind: &'static str) -> Gauge {
        self.queue.get_or_create(&OfKind { kind }).clone()
    }

    /// Counts a session that has ended.
    pub fn verified(&self, session: &BackupVerificationSession, verdict: &'static str, cause: &'static str, seconds: i64) {
        let run = session.status.as_ref().and_then(|status| status.run.as_ref());
        let r#type = type_of(run.map_or("", |run| run.verifier.kind.as_str()));
        self.verifications.get_or_create(&Verification { r#type, verdict, cause }).inc();
        self.verification_seconds.observe(seconds_of(seconds));
    }

    /// Counts a restore that has ended.
    pub fn restored(&self, restore: &RestoreSession) {
        let Some(status) = &restore.status else { return };
        // What is not known is not counted as anything.
        let Some(verdict) = status.verdict.as_ref().and_then(backproof_api::shared::Wire::known) else { return };
        self.restores.get_or_create(&Restored { verdict: Verdict::as_str(verdict) }).inc();
        self.restored_bytes.inc_by(status.evidence.as_ref().map_or(0, |evidence| evidence.restored.bytes));
        if let (Some(start), Some(end)) = (&status.start_time, &status.completion_time) {
            self.restore_seconds.observe(Duration::try_from(end.0.duration_since(start.0)).unwrap_or_default().as_secs_f64());
        }
    }
}

/// One of the words a type may be: what is pinned is text.
fn type_of(kind: &str) -> &'static str {
    backproof_api::VerificationType::ALL.iter().map(|known| known.as_str()).find(|known| *known == kind).unwrap_or("Unknown")
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a run are far below 2^52")]
fn seconds_of(seconds: i64) -> f64 {
    seconds as f64
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
