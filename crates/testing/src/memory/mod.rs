//! A Kubernetes API in memory, behind an ordinary `kube::Client`: versions, optimistic concurrency, finalizers, garbage.
//!
//! It knows the kinds of [`kind::KINDS`] and the verbs the controller uses; whatever else is asked for is answered with an error
//! and remembered in [`Store::strange`], so that a test can fail for it: nothing succeeds silently. It has no watch: whoever uses
//! it takes the [`Change`]s and feeds caches with them, as late and in as many pieces as it likes. Copies of a [`Store`] share
//! their objects, so that thousands of worlds may be kept beside each other.

mod answer;
mod gate;
pub mod kind;
mod listen;
mod merge;
mod object;
mod request;
mod store;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use gate::{Gate, Strike};
use kube::client::Body;
pub use object::{Key, Object};
pub use request::Verb;
use request::{Call, Parsed};
pub use store::{By, Change, Propagation, Refused, Store};

/// One API server; clones are the same one.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    store: Store,
    gate: Gate,
}

impl Memory {
    /// A client of it; must be made inside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        let memory = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let memory = memory.clone();
            async move { memory.serve(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Puts a world into it, and what shall go wrong.
    pub fn set(&self, store: Store, gate: Gate) {
        let mut inner = self.inner();
        inner.store = store;
        inner.gate = gate;
    }

    /// Takes the world out of it, with what came of the gate.
    pub fn take(&self) -> (Store, Gate) {
        let mut inner = self.inner();
        (std::mem::take(&mut inner.store), std::mem::take(&mut inner.gate))
    }

    /// Does something to the world while others use it.
    pub fn with<T>(&self, work: impl FnOnce(&mut Store, &mut Gate) -> T) -> T {
        let Inner { store, gate } = &mut *self.inner();
        work(store, gate)
    }

    async fn serve(&self, request: http::Request<Body>) -> Result<http::Response<Body>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let call = match request::parse(&head, &body) {
            Parsed::Call(call) => call,
            // Events tell the story and make none: they are counted only.
            Parsed::Event(body) => {
                self.inner().gate.events += 1;
                return Ok(answer::raw(201, body));
            }
            Parsed::Strange(status, what) => {
                self.inner().store.strange.push(what.clone());
                return Ok(answer::status(status, "BadRequest", &format!("the API in memory does not know {what}")));
            }
        };
        let pause = self.inner().gate.pause(&call);
        if let Some(pause) = pause {
            pause.notified().await;
        }
        self.inner().answer(call)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked meanwhile has failed its test; the data is plain.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn answer(&mut self, call: Call) -> Result<http::Response<Body>, io::Error> {
        let gone = || io::Error::new(io::ErrorKind::ConnectionReset, "the connection was cut");
        match self.gate.strike(&call) {
            None => Ok(answer::of(&mut self.store, call)),
            Some(Strike::Refuse(code)) => Ok(answer::status(code, answer::reason(code), "refused on purpose")),
            Some(Strike::Lose) => {
                drop(answer::of(&mut self.store, call));
                Err(gone())
            }
            Some(Strike::Die) => {
                drop(answer::of(&mut self.store, call));
                self.gate.dead = true;
                Err(gone())
            }
            Some(Strike::Dead) => Err(gone()),
        }
    }
}
