//! How many sessions run at once: a slot is taken together with the target's lock, oldest first, and free again when its
//! session ends. The locks that stand in the cluster say after a restart who runs; only one controller acts at a time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::driver::Watched;

/// A session by creation time and name: the order in which slots are given.
type Order = (Timestamp, String);

/// The slots.
#[derive(Default)]
pub(super) struct Slots {
    /// Most sessions at once; 0: as many as there are.
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    running: HashMap<String, ObjectRef<Watched>>,
    waiting: BTreeMap<(Order, String), ObjectRef<Watched>>,
}

impl Slots {
    /// So many slots.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    /// Notes that a session had a slot before this process started.
    pub(super) fn had(&self, uid: &str, session: ObjectRef<Watched>) {
        self.inner().running.insert(uid.to_owned(), session);
    }

    /// Takes a slot, or says who has them all. Whoever has waited longer goes first. `lives` tells whether a session is still
    /// there, as one whose finalizer was removed by force leaves no trace.
    pub(super) fn enter(
        &self,
        uid: &str,
        order: Order,
        session: ObjectRef<Watched>,
        lives: impl Fn(&str, &ObjectRef<Watched>) -> bool,
    ) -> Result<(), Vec<String>> {
        let mut inner = self.inner();
        let key = (order, uid.to_owned());
        if self.limit == 0 || inner.running.contains_key(uid) {
            inner.waiting.remove(&key);
            inner.running.insert(uid.to_owned(), session);
            return Ok(());
        }
        if inner.running.len() >= self.limit {
            inner.running.retain(|uid, session| lives(uid, session));
        }
        let free = self.limit.saturating_sub(inner.running.len());
        if free > 0 {
            inner.waiting.retain(|(_, uid), session| lives(uid, session));
        }
        let before = inner.waiting.range(..key.clone()).count();
        if before < free {
            inner.waiting.remove(&key);
            inner.running.insert(uid.to_owned(), session);
            return Ok(());
        }
        inner.waiting.insert(key, session);
        let mut names: Vec<String> = inner.running.values().map(name).collect();
        names.sort();
        Err(names)
    }

    /// Gives a slot back, or the place in the queue; returns who may try now.
    pub(super) fn leave(&self, uid: &str) -> Vec<ObjectRef<Watched>> {
        let mut inner = self.inner();
        let ran = inner.running.remove(uid).is_some();
        inner.waiting.retain(|(_, waiting), _| waiting != uid);
        if !ran || self.limit == 0 {
            return Vec::new();
        }
        let free = self.limit.saturating_sub(inner.running.len());
        inner.waiting.values().take(free).cloned().collect()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Each change is whole, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(session: &ObjectRef<Watched>) -> String {
    format!("{}/{}", session.namespace.as_deref().unwrap_or_default(), session.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> ObjectRef<Watched> {
        ObjectRef::new(name).within("demo")
    }

    fn enter(slots: &Slots, name: &str, age: i64) -> Result<(), Vec<String>> {
        slots.enter(name, (Timestamp::from_second(age).unwrap(), name.into()), session(name), |uid, _| uid != "vanished")
    }

    #[test]
    fn the_oldest_goes_first_and_nobody_overtakes() {
        let slots = Slots::new(2);
        assert_eq!((enter(&slots, "a", 1), enter(&slots, "b", 2)), (Ok(()), Ok(())));
        assert_eq!(enter(&slots, "a", 1), Ok(()), "who has one keeps it");
        let full = Err(vec!["demo/a".to_owned(), "demo/b".to_owned()]);
        assert_eq!((enter(&slots, "d", 4), enter(&slots, "c", 3)), (full.clone(), full));
        assert_eq!(slots.leave("a"), [session("c")], "the oldest is woken");
        assert_eq!(enter(&slots, "d", 4), Err(vec!["demo/b".to_owned()]), "a slot is free, but not for the younger one");
        assert_eq!(enter(&slots, "c", 3), Ok(()));
        assert_eq!(slots.leave("b"), [session("d")]);
        assert_eq!(enter(&slots, "d", 4), Ok(()));
        assert_eq!(slots.leave("d"), []);
    }

    #[test]
    fn who_leaves_the_queue_or_vanishes_holds_nobody_up() {
        let slots = Slots::new(1);
        slots.had("vanished", session("vanished"));
        assert_eq!(enter(&slots, "a", 5), Ok(()));
        assert!(enter(&slots, "b", 1).is_err());
        slots.leave("b");
        assert!(enter(&slots, "c", 6).is_err());
        assert_eq!(slots.leave("a"), [session("c")]);
        assert_eq!(enter(&slots, "c", 6), Ok(()));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let slots = Slots::new(0);
        assert!((0..100).all(|number| enter(&slots, &number.to_string(), number).is_ok()));
    }
}
