//! Schedules that once broke a promise.

use backproof_testing::memory::Object;

use super::{
    choice,
    engine::{Engine, roomy},
    scenario, search,
};

/// What went wrong, in which scenario, by which schedule.
const ONCE_BROKEN: &[(&str, &str, &str)] = &[
    (
        "a Job made before a crash, and not needed any more afterwards, stayed suspended for ever",
        "one",
        "session:one restore:one!die!1 outside:delete-snapshot",
    ),
    (
        "a session that had the lock, but not the answer to its asking for it, kept it when it ended before it asked again",
        "parts",
        "session:one!lose!3 jump:7200",
    ),
    (
        "a suspended Job was left in the same way when the answer to its making was lost",
        "one",
        "session:one restore:one!lose!1 outside:replace-snapshot",
    ),
    (
        "a lock that was not given back because of a conflict was forgotten",
        "replace",
        "session:two restore:two cluster:start:two-pod-3dd40a8d tick cluster:expire:two-pod-3dd40a8d cluster:kill:two-pod-3dd40a8d-6141 \
         restore:two session:two!refuse!4!409",
    ),
    (
        "the lock of a session that was let go, as the clock had jumped, stayed when nobody wanted the target; it is swept",
        "two",
        "session:one session:two outside:delete-session:one jump:7200",
    ),
];

#[test]
fn what_once_broke_holds() {
    roomy(all_hold);
}

/// A write that the API server refuses as if somebody else had been first is tried again soon: no event tells that nothing came
/// of it, and what waits for one waits until the deadline.
const NOT_LEFT_TO_THE_DEADLINE: &[(&str, &str)] = &[
    ("the removal of a Job that was made before a lost answer", "session:one restore:one!lose!1 restore:one!refuse!1!409"),
    ("the making of a Job", "session:one restore:one!refuse!1!409"),
    ("the record of a Job", "session:one restore:one!refuse!2!409"),
    ("the start of a Job", "session:one restore:one!refuse!3!409"),
];

#[test]
fn what_was_refused_in_passing_is_not_left_to_the_deadline() {
    roomy(all_end_well);
}

fn all_end_well() {
    let engine = Engine::new();
    for (what, line) in NOT_LEFT_TO_THE_DEADLINE {
        let schedule = choice::parse(line).unwrap();
        let world = search::replay(&engine, &scenario::named("one").unwrap(), &schedule);
        let world = world.unwrap_or_else(|(path, broken)| panic!("{what}: {}\nby {}", broken.join("\n"), choice::line(&path)));
        let told = |session: &Object| [session.text_at("/status/verdict"), session.text_at("/status/cause")].join(" ");
        let ends: Vec<_> = world.store.all("BackupVerificationSession").map(|(_, session)| told(session)).collect();
        assert_eq!(ends, ["Verified "], "{what}");
    }
}

fn all_hold() {
    let engine = Engine::new();
    for (what, name, line) in ONCE_BROKEN {
        let schedule = choice::parse(line).unwrap();
        if let Err((path, broken)) = search::replay(&engine, &scenario::named(name).unwrap(), &schedule) {
            panic!("{what}: {}\nby {}", broken.join("\n"), choice::line(&path));
        }
    }
}
