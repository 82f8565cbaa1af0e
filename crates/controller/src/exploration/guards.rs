//! Schedules that tell when a guard is missing. Each found, once, what breaks without one; `mutants/` takes some of these guards
//! out and counts on this test to go red.

use super::{
    choice,
    engine::{Engine, roomy},
    scenario, search,
};

/// What keeps the promise, in which scenario, by which schedule its absence shows.
const GUARDS: &[(&str, &str, &str)] = &[
    ("Jobs are made suspended; their UIDs are recorded before they are started; a finished session is never judged again", "one", ""),
    ("who is refused the lock waits", "two", ""),
    ("a deleted RestoreSession is never made again", "one", "session:one outside:delete-restore:one"),
    ("a RestoreSession counts only with the session's UID and the pinned hash", "one", "outside:forge-restore:one"),
    ("a RestoreSession that somebody made in a session's name is not believed", "one", "outside:forge-owned-restore:one"),
    ("a Job that was not made in this pass is deleted, not adopted", "one", "session:one outside:forge-labelled-job:one"),
    ("a result goes to the Snapshot with the pinned UID only", "one", "session:one restore:one outside:replace-snapshot"),
    (
        "a report must repeat the session",
        "one",
        "session:one restore:one cluster:start:one-pod-bb7e49aa cluster:run:one-pod-bb7e49aa-17f0 cluster:end-foreign:one-pod-bb7e49aa-17f0",
    ),
    (
        "a pod must do what its Job says",
        "one",
        "session:one restore:one cluster:start:one-pod-bb7e49aa outside:forge-pod cluster:run:one-pod-bb7e49aa-17f0 \
         cluster:end-silent:one-pod-bb7e49aa-17f0",
    ),
    (
        "the lock is kept until every pod is gone",
        "two",
        "session:one session:two restore:one cluster:start:one-pod-bb7e49aa cluster:run:one-pod-bb7e49aa-17f0 outside:orphan-pods",
    ),
    ("a target is wiped only when its session has ended", "wipe", ""),
];

#[test]
fn none_is_missing() {
    roomy(all_are_there);
}

fn all_are_there() {
    let engine = Engine::new();
    for (guard, name, line) in GUARDS {
        let schedule = choice::parse(line).unwrap();
        if let Err((path, broken)) = search::replay(&engine, &scenario::named(name).unwrap(), &schedule) {
            panic!("without this guard: {guard}\n{}\nby {name} {}", broken.join("\n"), choice::line(&path));
        }
    }
}
