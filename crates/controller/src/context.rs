//! What every reconciler is given.

use std::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering},
};

use kube::Client;
use prometheus_client::registry::Registry;

use crate::{Config, Error, events::Events, metrics::Metrics};

/// What every reconciler is given.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Settings.
    pub config: Config,
    /// Where events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// Everything that /metrics shows; a part registers its own figures here when it starts.
    pub registry: Mutex<Registry>,
    /// Which parts have filled their caches.
    pub ready: Readiness,
}

/// The parts of the process that watch something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Verification sessions.
    Session,
    /// Restore sessions.
    Restore,
    /// CronJobs.
    Schedule,
    /// Repositories and discovery.
    Repository,
}

impl Part {
    const ALL: [Self; 4] = [Self::Session, Self::Restore, Self::Schedule, Self::Repository];

    fn bit(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::Restore => 2,
            Self::Schedule => 4,
            Self::Repository => 8,
        }
    }
}

/// Which parts have filled their caches; the process is ready when all have.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Notes that a part has filled its caches.
    pub fn set(&self, part: Part) {
        self.0.fetch_or(part.bit(), Ordering::Relaxed);
    }

    /// The parts that have not.
    pub fn missing(&self) -> Vec<Part> {
        let set = self.0.load(Ordering::Relaxed);
        Part::ALL.into_iter().filter(|part| set & part.bit() == 0).collect()
    }
}

impl Context {
    /// Connects as KUBECONFIG or the pod's ServiceAccount says.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let client = Client::try_default().await.map_err(|source| Error::Connect { source: Box::new(source) })?;
        Ok(Self::new(client, config))
    }

    /// A context around a client.
    pub fn new(client: Client, config: Config) -> Self {
        let mut registry = Registry::with_prefix("backproof");
        let metrics = Metrics::register(&mut registry);
        Self { events: Events::new(client.clone()), client, config, metrics, registry: Mutex::new(registry), ready: Readiness::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_part_is() {
        let ready = Readiness::default();
        for part in Part::ALL {
            assert!(ready.missing().contains(&part));
            ready.set(part);
        }
        assert_eq!(ready.missing(), []);
    }
}
