//! Waiting without a Job: for a Repository that cannot be reached, and for a free slot.

use backproof_api::Cause;

use super::world::{RED, World};
use crate::hold::Hold;

const UNREACHABLE: &str = "
phase: Failed
verdict: Inconclusive
cause: StorageUnreachable
message: no route to host
totalComponents: 1
components: {pod: {phase: Failed}}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
";

fn hold(next: &str) -> Option<Hold> {
    Some(Hold {
        since: "2025-12-31T23:50:00Z".into(),
        tries: 2,
        next: next.into(),
        cause: Some(Cause::StorageUnreachable),
        last: "before".into(),
        ..Hold::default()
    })
}

#[test]
fn a_failure_of_the_storage_holds_the_repository_once() {
    let world = World { answer: Some(UNREACHABLE), ..World::new() }.run(None);
    assert_eq!(world.end(), "Failed Inconclusive StorageUnreachable");
    let hold = world.hold.clone().unwrap();
    assert_eq!((hold.tries, hold.next.as_str(), hold.last.as_str()), (1, "2026-01-01T00:05:00Z", "aaaa"));
    assert_eq!(world.events, ["RestoreStarted", "repository:HeldOff", "Inconclusive", "invoker:Inconclusive"]);
    for crash in 0..world.done.len() + world.events.len() {
        let crashed = World { answer: Some(UNREACHABLE), ..World::new() }.run(Some(crash));
        assert_eq!(crashed.hold, world.hold, "crash before effect {crash}");
    }
}

#[test]
fn a_held_repository_is_waited_for_without_a_job() {
    let world = World { hold: hold("2026-01-01T00:10:00Z"), ..World::new() }.run(None);
    assert_eq!((world.end().as_str(), world.restores_made, world.mine), ("Running - -", 0, false));
    assert_eq!(world.events, ["WaitingForRepository"]);
    assert_eq!(
        world.status().message,
        "waiting for Repository demo/repo until 2026-01-01T00:10:00Z: it could not be verified since 2025-12-31T23:50:00Z (StorageUnreachable); mend that, or annotate it with backproof.dev/probe=VALUE to try at once"
    );
    assert_eq!(world.clone().after(599).run(None).restores_made, 0);
    let tried = world.clone().after(600).run(None);
    assert_eq!(tried.end(), "Succeeded Verified -");
    assert!(tried.done.contains(&"WriteHold 2 aaaa".to_owned()), "who tries says so first: {:?}", tried.done);
    assert_eq!((tried.hold, tried.events.contains(&"repository:HoldLifted".to_owned())), (None, true));
    // Lifted by somebody else meanwhile.
    assert_eq!(World { hold: None, ..world.clone() }.run(None).end(), "Succeeded Verified -");
    let late = World { hold: hold("2026-01-01T02:00:00Z"), ..World::new() }.run(None).after(3600).run(None);
    assert_eq!((late.end().as_str(), late.restores_made), ("Failed Inconclusive DeadlineExceeded", 0));
    assert!(late.status().message.contains("still waiting for Repository demo/repo"), "{}", late.status().message);
}

/// The one that tries and fails makes the pause longer, and tells nobody beside its own reader.
#[test]
fn a_probe_that_fails_waits_longer_and_says_less() {
    let world = World { hold: hold("2026-01-01T00:00:00Z"), answer: Some(UNREACHABLE), ..World::new() }.run(None);
    assert_eq!(world.end(), "Failed Inconclusive StorageUnreachable");
    let hold = world.hold.clone().unwrap();
    assert_eq!((hold.tries, hold.next.as_str(), hold.prober.as_str()), (3, "2026-01-01T00:20:00Z", ""));
    assert_eq!(world.events, ["RestoreStarted", "Inconclusive"]);
}

#[test]
fn any_answer_lifts_the_hold() {
    let red = World { hold: hold("2026-01-01T00:00:00Z"), answer: Some(RED), ..World::new() }.run(None);
    assert_eq!((red.end().as_str(), red.hold), ("Failed VerificationFailed PackDamaged", None));
    // A pod that ran out of memory says nothing about the storage.
    let unclear = World {
        hold: hold("2026-01-01T00:00:00Z"),
        answer: Some("{verdict: Inconclusive, cause: OutOfMemory, conditions: [{type: MetricsPushed, status: 'True'}]}"),
        ..World::new()
    };
    assert_eq!(unclear.run(None).hold.unwrap().tries, 2);
}

#[test]
fn discovery_is_not_asked_of_a_held_repository() {
    use super::super::discovery::Discovery;
    let mut world = World { hold: hold("2026-01-01T00:10:00Z"), ..World::new() }.session("spec: {snapshot: ''}");
    world.references.discovery = Discovery::Ask(super::world::START.parse().unwrap());
    let waiting = world.run(None);
    assert_eq!(
        (waiting.done.as_slice(), waiting.events.as_slice()),
        (&["WriteStatus Running".to_owned()][..], &["WaitingForRepository".to_owned()][..])
    );
    let asked = waiting.after(600).run(None);
    assert!(asked.done.contains(&"RequestDiscovery repo".to_owned()), "{:?}", asked.done);
}

#[test]
fn a_session_without_a_slot_waits_and_writes_once() {
    let world = World { full: vec!["demo/a".into(), "demo/b".into()], ..World::new() }.run(None);
    assert_eq!((world.end().as_str(), world.restores_made, world.mine), ("Running - -", 0, false));
    assert_eq!(world.status().message, "waiting for one of the 2 sessions that run, which are as many as may: demo/a, demo/b");
    let later = World { full: vec!["demo/b".into(), "demo/c".into()], ..world.clone() }.after(60).run(None);
    assert_eq!(later.session.status, world.session.status, "no write while others come and go");
    assert_eq!(World { full: Vec::new(), ..world.clone() }.run(None).end(), "Succeeded Verified -");
    assert_eq!(world.after(3600).run(None).end(), "Failed Inconclusive DeadlineExceeded");
}

/// An hour without storage, a new session every five minutes: few Jobs, and few words to each reader.
#[test]
fn an_hour_of_outage_makes_few_jobs_and_few_events() {
    let mut all: Vec<World> = Vec::new();
    let mut hold = None;
    let (mut jobs, mut told) = (Vec::new(), Vec::new());
    for minute in 0..60 {
        if minute % 5 == 0 {
            let world = World { answer: Some(UNREACHABLE), ..World::new() }.verifier("spec: {timeout: 6h}");
            all.push(world.again(&format!("session-{minute}")));
        }
        for world in all.iter_mut().filter(|world| world.restores_made == 0) {
            world.hold = hold;
            let before = world.events.len();
            *world = World { now: super::world::START.parse().unwrap(), ..world.clone() }.after(minute * 60).run(None);
            hold = world.hold.clone();
            jobs.extend((world.restores_made > 0).then_some(minute));
            told.extend(world.events[before..].iter().filter(|event| event.contains(':')).cloned());
        }
    }
    assert_eq!(jobs, [0, 5, 15, 35], "one, and then probes after 5, 10, 20 minutes");
    assert_eq!(told, ["repository:HeldOff", "invoker:Inconclusive"], "Repository and invoker hear of it once");
    for world in &all {
        let own = world.events.iter().filter(|event| !event.contains(':')).count();
        assert!(own <= 3, "{:?}", world.events);
    }
    // The storage is back: who tries next lifts the hold for all.
    for world in all.iter_mut().filter(|world| world.restores_made == 0) {
        (world.hold, world.answer) = (hold, Some(super::world::GREEN));
        *world = world.clone().after(10 * 60).run(None);
        hold = world.hold.clone();
        assert_eq!(world.end(), "Succeeded Verified -");
    }
    assert_eq!(hold, None);
}
