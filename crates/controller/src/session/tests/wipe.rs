//! The target of a session whose verifier says `cleanup: Always`.

use super::{
    super::{decide::decide, decision::Effect, observed::Seen},
    world::{World, merged},
};

const WROTE: &str = "
phase: Succeeded
verdict: Verified
totalComponents: 1
components: {pod: {phase: Succeeded}}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
evidence: {source: Executor, restored: {files: 3}, readBack: {files: 3}, resticIds: [r1]}
jobs: [{component: pod, object: {namespace: demo, name: j, uid: u-job}, attempt: 1, started: true}]
wipe: {job: {namespace: demo, name: w, uid: u-wipe}}
";

fn always() -> World {
    World { answer: Some(WROTE), ..World::new().verifier("spec: {cleanup: Always}") }
}

fn answered(mut world: World, patch: &str) -> World {
    world.restore = world.restore.map(|restore| merged(&restore, patch));
    world
}

#[test]
fn the_lock_is_kept_until_the_target_is_wiped_and_the_verdict_stands_before() {
    let world = always().run(None);
    assert_eq!(world.end(), "Succeeded Verified -");
    assert_eq!((world.mine, world.done.last().map(String::as_str)), (true, Some("AskForWipe rs1")));
    // Asked once.
    let asked = world.clone().run(None);
    assert_eq!((asked.done.len(), asked.mine), (world.done.len(), true));
    for (wiped, reason) in [("true", "TargetWiped"), ("false", "TargetNotWiped")] {
        let end = answered(world.clone(), &format!("status: {{wipe: {{wiped: {wiped}, message: m}}}}")).run(None);
        assert_eq!((end.end().as_str(), end.mine), ("Succeeded Verified -", false), "{wiped}");
        assert_eq!(end.events.last().map(String::as_str), Some(reason));
    }
}

#[test]
fn a_wipe_that_never_ends_is_given_up_and_told() {
    let world = always().run(None);
    assert!(world.clone().after(3650).run(None).mine);
    let late = world.clone().after(3661).run(None);
    assert_eq!((late.mine, late.end().as_str()), (false, "Succeeded Verified -"));
    assert_eq!(late.events.last().map(String::as_str), Some("TargetNotWiped"));
    let mut gone = world;
    gone.restore = None;
    let gone = gone.run(None);
    assert_eq!((gone.mine, gone.events.last().map(String::as_str)), (false, Some("TargetNotWiped")));
}

#[test]
fn who_wrote_nothing_or_was_not_asked_to_wipes_nothing() {
    let nothing_written = World { answer: Some(super::world::GREEN), ..World::new().verifier("spec: {cleanup: Always}") }.run(None);
    let never = World { answer: Some(WROTE), ..World::new() }.run(None);
    for world in [nothing_written, never] {
        assert!(!world.mine && !world.done.iter().any(|effect| effect.starts_with("AskForWipe")), "{:?}", world.done);
    }
}

/// Somebody who waits for the target must not take it from a finished session that is about to wipe it.
#[test]
fn a_finished_session_counts_as_alive_while_its_target_is_wiped() {
    let world = always().run(None);
    let run = world.status().run.unwrap();
    let may = |seconds: i64| super::super::wipe::may_run(&world.session, &run, world.clone().after(seconds).now);
    assert!(may(0) && may(3650) && !may(3661));
    let mut unasked = run.clone();
    unasked.wipe_target = false;
    assert!(!super::super::wipe::may_run(&world.session, &unasked, world.now));
}

#[test]
fn a_crash_anywhere_leads_to_the_same_end() {
    for crash in 0..20 {
        let world = always().run(Some(crash)).run(None);
        assert_eq!((world.end().as_str(), world.mine, world.restores_made), ("Succeeded Verified -", true, 1), "{crash}");
        let world = answered(world, "status: {wipe: {wiped: true, message: m}}").run(None);
        assert!(!world.mine, "{crash}");
    }
}

#[test]
fn without_a_look_at_the_restore_nothing_is_given_back() {
    let world = always().run(None);
    let mut observed = world.observe();
    observed.restore = Seen::NotRead;
    assert!(!decide(&observed, world.now).effects.contains(&Effect::ReleaseLock));
}
