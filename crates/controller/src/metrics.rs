//! What the controller counts. Labels are closed sets, so the number of series is bounded.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Outcome of one reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciled {
    /// Kind that was reconciled.
    pub kind: &'static str,
    /// `ok`, or the reason of the error.
    pub outcome: &'static str,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verification {
    /// The verdict.
    pub verdict: &'static str,
    /// The cause; empty when there is none.
    pub cause: &'static str,
}

/// What the controller counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Reconciles by kind and outcome.
    pub reconciles: Family<Reconciled, Counter>,
    /// Objects of a watched kind that could not be read.
    pub malformed: Family<Reconciled, Counter>,
    /// Sessions that ended, by verdict and cause.
    pub verifications: Family<Verification, Counter>,
    /// How long sessions took, in seconds.
    pub verification_seconds: Histogram,
}

impl Metrics {
    /// Makes the figures and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            malformed: Family::default(),
            verifications: Family::default(),
            verification_seconds: Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0]),
        };
        registry.register("reconciles", "Reconciles by kind and outcome", metrics.reconciles.clone());
        registry.register("malformed_objects", "Watched objects that could not be read, by kind", metrics.malformed.clone());
        registry.register("verifications", "Finished verification sessions by verdict and cause", metrics.verifications.clone());
        registry.register("verification_duration_seconds", "Time verification sessions took", metrics.verification_seconds.clone());
        metrics
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str) {
        self.reconciles.get_or_create(&Reconciled { kind, outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_appear_under_their_names() {
        let mut registry = Registry::with_prefix("backproof");
        let metrics = Metrics::register(&mut registry);
        metrics.reconciled("BackupVerificationSession", "ok");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"backproof_reconciles_total{kind="BackupVerificationSession",outcome="ok"} 1"#), "{text}");
    }
}
