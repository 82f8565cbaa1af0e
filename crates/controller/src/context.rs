//! What every reconciler is given.

use std::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering},
};

use kube::{Client, client::ClientBuilder};
use prometheus_client::registry::Registry;

use crate::{
    Clock, Config, Error,
    again::patient,
    events::Events,
    leader::{Leading, OnlyWhileLeading},
    metrics::Metrics,
};

/// What every reconciler is given.
pub struct Context {
    /// Client of the API server; it writes only while this process leads.
    pub client: Client,
    /// Client that may always write: for the lease that says who leads.
    pub unbound: Client,
    /// Until when this process may write.
    pub leading: Leading,
    /// Settings.
    pub config: Config,
    /// What time it is.
    pub clock: Clock,
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
    /// What all of them refer to.
    Shared,
}

impl Part {
    const ALL: [Self; 5] = [Self::Session, Self::Restore, Self::Schedule, Self::Repository, Self::Shared];

    fn bit(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::Restore => 2,
            Self::Schedule => 4,
            Self::Repository => 8,
            Self::Shared => 16,
        }
    }
}

/// Which parts have filled their caches; the process is ready when all have.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

/// The bit of a process that waits for its turn to lead.
const STANDING_BY: u8 = 128;

impl Readiness {
    /// Notes that a part has filled its caches.
    pub fn set(&self, part: Part) {
        self.0.fetch_or(part.bit(), Ordering::Relaxed);
    }

    /// Notes that another process leads: there is nothing to fill yet, and nothing is wrong.
    pub fn stand_by(&self) {
        self.0.store(STANDING_BY, Ordering::Relaxed);
    }

    /// Notes that this process leads from now on.
    pub fn lead(&self) {
        self.0.fetch_and(!STANDING_BY, Ordering::Relaxed);
    }

    /// Whether another process leads.
    pub fn stands_by(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STANDING_BY != 0
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
        let connect = |source| Error::Connect { source: Box::new(source) };
        let settings = kube::Config::infer().await.map_err(|source| connect(kube::Error::InferConfig(source)))?;
        let unbound = Client::try_from(settings.clone()).map_err(connect)?;
        let leading = Leading::default();
        let client = ClientBuilder::try_from(settings).map_err(connect)?.with_layer(&OnlyWhileLeading(leading.clone())).build();
        Ok(Self::new(patient(client), unbound, leading, config))
    }

    /// A context around its clients.
    pub(crate) fn new(client: Client, unbound: Client, leading: Leading, config: Config) -> Self {
        let mut registry = Registry::with_prefix("backproof");
        let metrics = Metrics::register(&mut registry);
        let (registry, ready) = (Mutex::new(registry), Readiness::default());
        Self { events: Events::new(client.clone()), client, unbound, leading, config, clock: Clock::default(), metrics, registry, ready }
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
        ready.stand_by();
        assert!(ready.stands_by());
        ready.lead();
        assert!(!ready.stands_by() && ready.missing().len() == Part::ALL.len());
    }
}
