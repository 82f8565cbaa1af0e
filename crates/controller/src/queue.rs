//! A queue of keys to reconcile: each at most once at a time, however often it changes, and again when it asks for it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    future::Future,
    hash::Hash,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use crate::Shutdown;

/// When a key is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Only when something changes.
    OnChange,
    /// After this time, or when something changes.
    After(Duration),
}

/// Reconciles what `changed` yields until the sender is gone or everybody shall stop; those under way are finished.
/// How many are due and not begun stands in `depth`, up to 1000.
pub(crate) async fn drive<K, F>(
    mut changed: UnboundedReceiver<K>,
    workers: usize,
    shutdown: Shutdown,
    depth: Gauge,
    reconcile: impl Fn(K) -> F,
) where
    K: Clone + Eq + Hash + Ord,
    F: Future<Output = Again>,
{
    let mut due: Due<K> = Due::default();
    let mut busy: HashSet<K> = HashSet::new();
    let mut running = FuturesUnordered::new();
    let shutdown = shutdown.requested();
    tokio::pin!(shutdown);
    loop {
        while busy.len() < workers.max(1) {
            let Some(key) = due.take(Instant::now(), &busy) else { break };
            busy.insert(key.clone());
            let work = reconcile(key.clone());
            running.push(async move { (key, work.await) });
        }
        depth.set(i64::try_from(due.due(Instant::now())).unwrap_or(i64::MAX));
        let next = if busy.len() < workers.max(1) { due.next(&busy) } else { None };
        tokio::select! {
            () = &mut shutdown => break,
            key = changed.recv() => match key {
                Some(key) => due.at(key, Instant::now()),
                None => break,
            },
            Some((key, again)) = running.next(), if !running.is_empty() => {
                busy.remove(&key);
                if let Again::After(wait) = again {
                    due.at(key, Instant::now() + wait);
                }
            }
            () = wait_for(next), if next.is_some() => {}
        }
    }
    while running.next().await.is_some() {}
}

async fn wait_for(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// Keys by the time they are due; a key has one time, the earliest asked for.
struct Due<K> {
    order: BTreeSet<(Instant, K)>,
    times: HashMap<K, Instant>,
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), times: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Due<K> {
    fn at(&mut self, key: K, at: Instant) {
        match self.times.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.order.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.times.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// The first key that is due and not busy.
    fn take(&mut self, now: Instant, busy: &HashSet<K>) -> Option<K> {
        let (at, key) = self.order.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| !busy.contains(key))?.clone();
        self.order.remove(&(at, key.clone()));
        self.times.remove(&key);
        Some(key)
    }

    /// How many keys are due; counting ends where a figure says enough.
    fn due(&self, now: Instant) -> usize {
        self.order.iter().take(1000).take_while(|(at, _)| *at <= now).count()
    }

    /// When the next key that is not busy is due.
    fn next(&self, busy: &HashSet<K>) -> Option<Instant> {
        self.order.iter().find(|(_, key)| !busy.contains(key)).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::mpsc;

    use super::*;
    use crate::shutdown;

    #[tokio::test]
    async fn a_key_never_runs_twice_at_once_and_no_change_is_lost() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (stop, shutdown) = shutdown::channel();
        let (running, most, runs) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..5 {
            sender.send("a").unwrap();
        }
        let work = drive(receiver, 4, shutdown, Gauge::default(), async |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                // A change while the key is busy must lead to another run.
                sender.send("a").unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Again::OnChange
        });
        let (_, ()) = tokio::join!(work, async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.stop();
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(runs.load(Ordering::SeqCst) >= 2);
    }

    #[tokio::test]
    async fn a_key_that_asks_comes_again_and_others_do_not() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (stop, shutdown) = shutdown::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        sender.send("often").unwrap();
        sender.send("once").unwrap();
        let work = drive(receiver, 1, shutdown, Gauge::default(), |key| {
            seen.lock().unwrap().push(key);
            async move { if key == "often" { Again::After(Duration::from_millis(10)) } else { Again::OnChange } }
        });
        tokio::join!(work, async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            stop.stop();
        });
        let count = |wanted| seen.lock().unwrap().iter().filter(|key| **key == wanted).count();
        assert_eq!(count("once"), 1);
        assert!(count("often") > 2, "{}", count("often"));
    }
}
