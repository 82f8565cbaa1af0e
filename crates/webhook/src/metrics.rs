//! What is counted: reviews by kind and outcome, and how long they took.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// How a review ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed.
    Allowed,
    /// Refused by a rule.
    Refused,
    /// Refused because an answer could not be had.
    Unanswered,
    /// Not a review that can be read.
    Malformed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// The figures and their registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reviews: Family<ReviewLabels, Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let reviews = Family::<ReviewLabels, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        let mut registry = Registry::with_prefix("backproof_webhook");
        registry.register("reviews", "Admission reviews by kind and outcome", reviews.clone());
        registry.register("review_seconds", "Time from a review's last byte to its answer", seconds.clone());
        Self { registry: Arc::new(registry), reviews, seconds }
    }
}

impl Metrics {
    /// Counts one review.
    pub fn reviewed(&self, kind: &'static str, outcome: Outcome, took: Duration) {
        self.reviews.get_or_create(&ReviewLabels { kind, outcome: outcome.as_str() }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// The figures in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
