//! Which of several controllers acts: the one whose name stands in one Lease of the controller's namespace.
//!
//! It is taken, renewed and given back by updates bound to the version that was read, so that two can never have it. Time is
//! measured by each process for itself: whoever wants it waits until it has seen it unchanged for as long as it says; whoever
//! has it stops sooner, and its client refuses to write from then on, even if the process slept meanwhile.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use axum::http;
use futures::future::{Either, Ready, ready};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};
use tower::BoxError;

use crate::{Error, Shutdown};

/// Name of the Lease.
pub const NAME: &str = "backproof-controller";
/// How long the Lease holds without a sign of its holder.
const LEASE: Duration = Duration::from_secs(15);
/// How long the holder itself relies on its last sign; less, so that it has stopped before another one starts.
const RELIANCE: Duration = Duration::from_secs(12);
/// Time between two signs.
const RENEW: Duration = Duration::from_secs(3);
/// Longest time one try may take; several fit into the reliance.
const TRY: Duration = Duration::from_secs(2);
/// Time between two looks of whoever waits, and between two tries.
const LOOK: Duration = Duration::from_secs(1);

/// Until when this process may write.
#[derive(Clone, Debug, Default)]
pub struct Leading(Arc<Mutex<Option<Instant>>>);

impl Leading {
    fn until(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Whether this process may write.
    pub fn holds(&self) -> bool {
        self.left().is_some()
    }
}

/// What a candidate saw of the Lease, and since when it has not changed.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// A controller that wants to act, or does.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    namespace: String,
    name: String,
    leading: Leading,
}

impl Candidate {
    /// A candidate of this name; the same name means the same candidate, started again.
    pub fn new(client: Client, namespace: &str, name: String, leading: Leading) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned(), name, leading }
    }

    /// Waits until this one may act. `waiting` is called when another one does.
    pub async fn lead(&self, waiting: impl Fn(&str)) {
        let mut seen: Option<Seen> = None;
        loop {
            match timeout(TRY, self.take(&mut seen, &waiting)).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(error = error.chain(), "cannot see who leads; trying again"),
                Err(_) => tracing::warn!("the API server does not say who leads; trying again"),
            }
            // Whoever has it loses it exactly when the time is over, not at the next look.
            let left = seen.as_ref().map_or(LOOK, |seen| LEASE.saturating_sub(seen.since.elapsed()));
            sleep(LOOK.min(left.max(Duration::from_millis(50)))).await;
        }
    }

    async fn take(&self, seen: &mut Option<Seen>, waiting: &impl Fn(&str)) -> Result<bool, Error> {
        let started = Instant::now();
        let what = format!("Lease {}/{NAME}", self.namespace);
        let taken = match self.api.get_opt(NAME).await.map_err(Error::api(format!("get {what}")))? {
            None => self.api.create(&PostParams::default(), &self.lease(None)).await,
            Some(lease) => {
                let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                let version = lease.resource_version();
                if seen.as_ref().is_none_or(|seen| seen.version != version) {
                    *seen = Some(Seen { version, since: started });
                    if !holder.is_empty() && holder != self.name {
                        waiting(&holder);
                    }
                }
                let silent = seen.as_ref().is_some_and(|seen| seen.since.elapsed() >= LEASE);
                if !holder.is_empty() && holder != self.name && !silent {
                    return Ok(false);
                }
                self.api.replace(NAME, &PostParams::default(), &self.lease(Some(lease))).await
            }
        };
        match taken.map_err(Error::api(format!("take {what}"))) {
            Ok(_) => {
                self.leading.until(Some(started + RELIANCE));
                Ok(true)
            }
            // Another one was faster.
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps it until told to stop, and gives it back then. An error means that it is lost: whoever hears of it must end.
    pub async fn keep(self, stop: Shutdown) -> Result<(), Error> {
        let stop = stop.requested();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => {
                    self.give_back().await;
                    return Ok(());
                }
                () = sleep(RENEW) => self.renew().await?,
            }
        }
    }

    /// Tries until it succeeds or the time is over.
    async fn renew(&self) -> Result<(), Error> {
        let lost = || Error::NotLeading { lease: format!("{}/{NAME}", self.namespace) };
        loop {
            let started = Instant::now();
            let Some(left) = self.leading.left() else { return Err(lost()) };
            let outcome = match timeout(TRY.min(left), self.renewed()).await {
                Ok(outcome) => outcome,
                Err(_) => Ok(None),
            };
            match outcome {
                Ok(Some(true)) => {
                    self.leading.until(Some(started + RELIANCE));
                    return Ok(());
                }
                Ok(Some(false)) => {
                    self.leading.until(None);
                    return Err(lost());
                }
                Ok(None) => tracing::warn!("the API server does not answer about the lease; trying again"),
                Err(error) => tracing::warn!(error = error.chain(), "the lease is not renewed; trying again"),
            }
            sleep(LOOK.min(left)).await;
        }
    }

    /// Whether it was renewed, or belongs to somebody else; nothing when somebody else wrote it at the same time.
    async fn renewed(&self) -> Result<Option<bool>, Error> {
        let what = format!("Lease {}/{NAME}", self.namespace);
        let Some(lease) = self.api.get_opt(NAME).await.map_err(Error::api(format!("get {what}")))? else {
            // Deleted by somebody: whoever makes it first has it.
            let made = self.api.create(&PostParams::default(), &self.lease(None)).await.map_err(Error::api(format!("create {what}")));
            return match made {
                Ok(_) => Ok(Some(true)),
                Err(error) if error.is_conflict() => Ok(None),
                Err(error) => Err(error),
            };
        };
        if lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) != Some(self.name.as_str()) {
            return Ok(Some(false));
        }
        match self.api.replace(NAME, &PostParams::default(), &self.lease(Some(lease))).await.map_err(Error::api(format!("renew {what}"))) {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self) {
        self.leading.until(None);
        let given = timeout(TRY, async {
            let Some(mut lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.name) {
                spec.holder_identity = None;
                self.api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        });
        // The next one waits until it has run out, then.
        match given.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = crate::error::chain(&error), "the lease is not given back"),
            Err(_) => tracing::warn!("the lease is not given back in time"),
        }
    }

    /// The Lease with this one as its holder, as of now.
    fn lease(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let (metadata, spec) = before.map(|lease| (lease.metadata, lease.spec.unwrap_or_default())).unwrap_or_default();
        let stays = spec.holder_identity.as_ref() == Some(&self.name);
        Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), managed_fields: None, ..metadata },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.name.clone()),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: if stays { spec.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(spec.lease_transitions.unwrap_or_default().saturating_add(i32::from(!stays))),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The name of this process among candidates: its pod, or else the host and the time.
pub fn identity() -> String {
    std::env::var("POD_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}-{}", host.trim(), std::process::id(), Timestamp::now().as_nanosecond())
    })
}

/// Lets a client write only while its process leads.
#[derive(Clone, Debug)]
pub struct OnlyWhileLeading(pub Leading);

impl<S> tower::Layer<S> for OnlyWhileLeading {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, leading: self.0.clone() }
    }
}

/// A client's connection that writes only while its process leads.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    leading: Leading,
}

impl<S, B> tower::Service<http::Request<B>> for Guarded<S>
where
    S: tower::Service<http::Request<B>, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<S::Future, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.method().is_safe() || self.leading.holds() {
            Either::Left(self.inner.call(request))
        } else {
            Either::Right(ready(Err("this process does not lead any more, so it writes nothing".into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use tower::{Layer as _, Service as _};

    use super::*;

    #[tokio::test]
    async fn nothing_is_written_once_the_time_is_over() {
        let leading = Leading::default();
        let inner = tower::service_fn(async |_: http::Request<()>| Ok::<_, BoxError>(()));
        let mut client = OnlyWhileLeading(leading.clone()).layer(inner);
        let request = |method: http::Method| http::Request::builder().method(method).body(()).unwrap();
        assert!(client.call(request(http::Method::POST)).await.is_err(), "not leading yet");
        leading.until(Some(Instant::now() + RELIANCE));
        for method in [http::Method::POST, http::Method::PUT, http::Method::PATCH, http::Method::DELETE, http::Method::GET] {
            assert!(client.call(request(method)).await.is_ok());
        }
        leading.until(Some(Instant::now()));
        for method in [http::Method::POST, http::Method::PUT, http::Method::PATCH, http::Method::DELETE] {
            assert!(client.call(request(method)).await.is_err());
        }
        assert!(client.call(request(http::Method::GET)).await.is_ok(), "reading harms nobody");
    }

    #[test]
    fn whoever_has_it_stops_before_another_one_starts() {
        assert!(RELIANCE < LEASE && RENEW + TRY + LOOK + TRY < RELIANCE, "several tries fit");
        // Seven seconds asleep, right before a sign was due.
        assert!(RENEW + Duration::from_secs(7) < RELIANCE);
    }
}
