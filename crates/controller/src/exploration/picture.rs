//! The picture of a session's steps in the documentation, compared with what was observed: nothing may be missing in it, and
//! nothing may be drawn that never happens.

use std::collections::BTreeSet;

use super::{
    choice,
    engine::{Engine, roomy},
    scenario, search,
};

const DOCUMENT: &str = include_str!("../../../../docs/architecture.md");
/// The picture's word for a session that is not there.
const NOWHERE: &str = "[*]";

/// Schedules that go along every arrow of the picture.
const WAYS: &[&str] = &[
    "",
    "session:one!die!1 outside:delete-session:one",
    "outside:delete-session:one",
    "session:one!die!2 outside:delete-session:one",
    "session:one restore:one cluster:start:one-pod-bb7e49aa cluster:run:one-pod-bb7e49aa-17f0 cluster:end-good:one-pod-bb7e49aa-17f0 \
     cluster:finish:one-pod-bb7e49aa restore:one session:one outside:create-session",
    "session:one!die!1 outside:delete-invoker",
    "session:one!die!2 outside:change-verifier session:one",
    "session:one!die!2 outside:forge-annotation:one",
    "session:one!die!2 outside:forge-annotation:one outside:delete-session:one",
    "session:one!die!2 outside:change-verifier session:one!die!2 outside:delete-session:one",
    "session:one!die!2 outside:change-verifier session:one!die!3 outside:delete-session:one",
];

/// The arrows of the picture.
fn drawn() -> BTreeSet<(String, String)> {
    let picture =
        DOCUMENT.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next()).expect("docs/architecture.md has a picture");
    let arrow = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let to = rest.split(':').next()?.trim();
        Some((from.to_owned(), to.to_owned()))
    };
    picture.lines().filter_map(arrow).collect()
}

fn observed(steps: &BTreeSet<(&'static str, &'static str)>) -> BTreeSet<(String, String)> {
    let word = |step: &'static str| if step == "Absent" { NOWHERE } else { step }.to_owned();
    steps.iter().filter(|(from, to)| from != to).map(|(from, to)| (word(from), word(to))).collect()
}

/// Whatever was observed is drawn.
pub(super) fn holds(steps: &BTreeSet<(&'static str, &'static str)>) {
    let drawn = drawn();
    let missing: Vec<_> = observed(steps).into_iter().filter(|arrow| !drawn.contains(arrow)).collect();
    assert!(missing.is_empty(), "the picture in docs/architecture.md lacks {missing:?}");
}

#[test]
fn the_picture_shows_every_step_and_none_that_never_happens() {
    roomy(compare);
}

fn compare() {
    let engine = Engine::new();
    let mut steps = BTreeSet::new();
    for line in WAYS {
        let end =
            search::replay(&engine, &scenario::ALL[0], &choice::parse(line).unwrap()).unwrap_or_else(|broken| panic!("{line}: {broken:?}"));
        steps.extend(end.truth.steps.iter().copied());
    }
    assert_eq!(observed(&steps), drawn(), "docs/architecture.md: the picture is not what happens");
}
