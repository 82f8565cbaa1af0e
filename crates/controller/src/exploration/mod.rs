//! Systematic exploration: the real reconcilers on an API in memory, driven step by step through every order of crashes, lost
//! answers, stale caches and foreign hands, with the promises checked in every state reached.
//!
//! [`world`] is one state; [`choice`] is what may happen next; [`engine`] makes it happen; [`cluster`] plays the Job controller,
//! kubelet and the garbage collector, [`ends`] what containers leave; [`outside`] plays people; [`truth`] remembers what really happened and is compared with
//! what is claimed in [`promise`]; [`settle`] lets faults stop and waits for the end; [`search`] walks through it all.

mod choice;
mod cluster;
mod ends;
mod engine;
mod frontier;
mod guards;
mod outside;
mod picture;
mod promise;
mod regressions;
mod rights;
mod runs;
mod scenario;
mod search;
mod settle;
mod truth;
mod world;

use kube::{
    Resource,
    runtime::{
        reflector::{self, Store},
        watcher,
    },
};

/// A world is many small pieces that are made and dropped by two threads, which musl's own allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The namespace everything lives in.
const NAMESPACE: &str = "demo";

/// A cache with these objects, as a watch would have filled it.
pub(crate) fn filled<K>(objects: Vec<K>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::InitApply(object));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
    store
}

/// Says something at once, though the test harness holds back what a test prints until it fails.
fn tell(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "exploration {line}");
}
