//! What is counted: reviews by kind and outcome, how long they took, and until when the certificate holds.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::certificate::Serving;

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

/// Until when the certificate holds that is served; without one there is no figure.
#[derive(Debug)]
struct Certificate(Arc<Serving>);

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(expires) = self.0.expires() else { return Ok(()) };
        let help = "When the certificate that is served expires.";
        let gauge = encoder.encode_descriptor("certificate_expiry_timestamp_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(expires.as_second()).encode(gauge)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Metrics {
    /// Figures about this certificate and the reviews to come.
    pub fn new(serving: Arc<Serving>) -> Self {
        let reviews = Family::<ReviewLabels, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        let mut registry = Registry::with_prefix("backproof_webhook");
        registry.register("reviews", "Admission reviews by kind and outcome", reviews.clone());
        registry.register("review_seconds", "Time from a review's last byte to its answer", seconds.clone());
        registry.register_collector(Box::new(Certificate(serving)));
        Self { registry: Arc::new(registry), reviews, seconds }
    }

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::*;
    use crate::certificate::Material;

    #[test]
    fn rules_dashboard_and_page_name_what_is_exported() {
        let serving = Arc::new(Serving::default());
        let metrics = Metrics::new(Arc::clone(&serving));
        metrics.reviewed("BackupVerifier", Outcome::Refused, Duration::from_millis(1));
        assert!(!metrics.text().unwrap().contains("expiry"), "without a certificate there is no figure");
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        serving.serve(&Material::new(&["localhost".to_owned()], now, None).unwrap()).unwrap();
        let text = metrics.text().unwrap();
        let until = now.as_second() + 90 * 86_400;
        for line in [
            format!("backproof_webhook_certificate_expiry_timestamp_seconds {until}"),
            r#"backproof_webhook_reviews_total{kind="BackupVerifier",outcome="refused"} 1"#.to_owned(),
            "backproof_webhook_review_seconds_count 1".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let exported: BTreeSet<_> =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
        let names = |text: &'static str| -> BTreeSet<&str> {
            let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            words.filter(|word| word.starts_with("backproof_webhook_")).collect()
        };
        for file in [
            include_str!("../../../charts/backproof/files/monitoring/rules.yaml"),
            include_str!("../../../charts/backproof/files/monitoring/dashboard.json"),
        ] {
            assert!(!names(file).is_empty() && names(file).is_subset(&exported), "{:?}", names(file));
        }
        let families: BTreeSet<_> = exported
            .iter()
            .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
            .collect();
        assert_eq!(names(include_str!("../../../docs/metrics.md")), families);
    }
}
