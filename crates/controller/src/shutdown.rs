//! One signal that tells every task to stop.

use tokio::{
    signal::unix::{SignalKind, signal as listen},
    sync::watch,
};

use crate::Error;

/// The receiving end; clones all hear the same signal.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// The sending end; dropping it counts as the signal.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

/// A new signal.
pub fn channel() -> (Stop, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Shutdown(receiver))
}

impl Stop {
    /// Tells everybody to stop.
    pub fn stop(&self) {
        // Nobody listening any more is what we want.
        let _ = self.0.send(true);
    }
}

impl Shutdown {
    /// Completes once everybody shall stop.
    pub async fn requested(mut self) {
        // An error means the sender is gone: the process is ending.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Completes with the name of the first signal that asks the process to stop.
pub async fn signal() -> Result<&'static str, Error> {
    let signals = || Ok::<_, std::io::Error>((listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?));
    let (mut terminate, mut interrupt) = signals().map_err(|source| Error::Start { what: "listen for signals".into(), source })?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
