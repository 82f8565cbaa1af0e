//! How a run can end besides well: lock, deadline, deletion, replacement, contradiction, retry, history.

use std::time::Duration;

use backproof_api::{Verdict, labels, run::VerificationRecord};
use jiff::Timestamp;

use super::{
    super::{
        decision::{Effect, Wake},
        observed::{Remains, Sibling, SiblingState},
    },
    world::{GREEN, RED, World, merged, yaml},
};
use crate::lease::{Held, Holder};

/// A run up to the open RestoreSession.
fn open() -> World {
    World { answer: None, ..World::new() }.run(None)
}

pub(super) fn held(alive: bool, pods: &[&str]) -> Option<Held> {
    Some(Held {
        lease: "l".into(),
        uid: "lu".into(),
        version: "1".into(),
        holder: Holder { uid: "other".into(), namespace: "demo".into(), name: "first".into() },
        alive,
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
    })
}

#[test]
fn a_locked_target_is_waited_for() {
    let world = World { lease: held(true, &[]), ..World::new() }.run(None);
    assert_eq!(world.status().message, "waiting for session demo/first, which is using PersistentVolumeClaim demo/scratch");
    assert_eq!(world.events, ["WaitingForTarget"]);
    assert_eq!((world.end().as_str(), world.restores_made), ("Running - -", 0));
    let left = World { lease: held(false, &["pod demo/p on node-1"]), ..World::new() }.run(None);
    assert!(left.status().message.ends_with("pod demo/p on node-1"), "{}", left.status().message);
    assert_eq!(left.restores_made, 0);
    let freed = World { lease: held(false, &[]), ..World::new() }.run(None);
    assert_eq!(freed.end(), "Succeeded Verified -");
    assert!(freed.done.contains(&"EvictLock".to_owned()));
    let late = world.after(3600).run(None);
    assert_eq!(late.end(), "Failed Inconclusive DeadlineExceeded");
    assert!(late.status().message.contains("still waiting for session demo/first"), "{}", late.status().message);
}

#[test]
fn a_restore_that_does_not_end_is_torn_down() {
    assert_eq!(open().after(3629).decide().effects, []);
    let mut world = open().after(3631);
    world.remains = Remains { jobs: vec!["Job demo/j".into()], pods: vec!["pod demo/p on n".into()], ..Remains::default() };
    let world = world.run(None);
    assert_eq!(world.end(), "Failed Inconclusive DeadlineExceeded");
    let order: Vec<_> = world.done.iter().skip_while(|done| *done != "DeleteRestore rs1").map(String::as_str).collect();
    assert_eq!(&order[..4], ["DeleteRestore rs1", "DeleteJobs", "WriteSnapshot", "WriteStatus Failed"]);
    assert_eq!(world.proof(), "NotVerified - DeadlineExceeded");
    assert!(world.mine, "the target stays locked while a pod is there");
    let mut gone = world;
    gone.remains = Remains::default();
    assert!(!gone.run(None).mine);
}

#[test]
fn the_target_stays_locked_while_a_job_may_make_a_pod() {
    let mut world = World { answer: None, ..World::new() }.run(None);
    world.restore.as_mut().unwrap().status = Some(yaml(RED));
    // Another component's Job has no pod yet.
    world.remains = Remains { jobs: vec!["Job demo/j".into()], working: vec!["Job demo/j".into()], ..Remains::default() };
    let decide = |world: &World| {
        let mut world = world.clone();
        loop {
            let decision = world.decide();
            if decision.effects.contains(&Effect::DeleteJobs) || world.done.contains(&"ReleaseLock".to_owned()) {
                return world;
            }
            decision.effects.iter().for_each(|effect| world.perform(effect, &decision));
        }
    };
    let held = decide(&world);
    assert_eq!((held.end().as_str(), held.mine), ("Failed VerificationFailed PackDamaged", true));
    // An ended Job that is still there holds nothing up.
    world.remains.working.clear();
    assert!(!decide(&world).mine);
}

#[test]
fn a_lock_that_stays_is_told_once_and_not_at_once() {
    let mut world = World { answer: Some(RED), ..World::new() };
    world.remains = Remains { pods: vec!["pod demo/p on n".into()], ..Remains::default() };
    let told = |world: &World| world.decide().effects.iter().any(|effect| matches!(effect, Effect::TellOnce(_)));
    let world = world.run(None);
    assert!(!told(&world) && !told(&world.clone().after(30)));
    assert!(told(&world.after(31)));
}

#[test]
fn a_closed_restore_counts_even_after_the_deadline() {
    let mut world = open().after(7200);
    world.restore.as_mut().unwrap().status = Some(yaml(GREEN));
    assert_eq!(world.run(None).end(), "Succeeded Verified -");
}

/// Of a Function that is not ours its own word is all there is, and it must be told as such.
#[test]
fn what_a_foreign_function_reports_is_told_as_its_word() {
    let foreign = |evidence: &str| {
        let mut world = World::new();
        world.settings.foreign_functions = true;
        world.references.function.as_mut().unwrap().metadata.labels = None;
        let before = GREEN.split("evidence:").next().unwrap();
        world.answer = Some(format!("{before}{evidence}").leak());
        world.run(None)
    };
    let told = foreign("evidence: {source: Reported, restored: {files: 3}}");
    assert_eq!(told.end(), "Succeeded Verified -");
    assert!(told.status().message.contains("that is its word, as Backproof has read nothing back"), "{}", told.status().message);
    let ours = "evidence: {source: Executor, restored: {files: 3}, readBack: {files: 3}, resticIds: [r1]}";
    for evidence in [ours, "evidence: {restored: {files: 3}}", ""] {
        assert_eq!(foreign(evidence).end(), "Failed Inconclusive ReadBackIncomplete", "{evidence}");
    }
    let mut world = World::new();
    world.answer = Some(GREEN.replace("source: Executor", "source: Reported").leak());
    assert_eq!(world.run(None).end(), "Failed Inconclusive ReadBackIncomplete", "ours does not report by word alone");
}

#[test]
fn what_others_do_to_the_restore_session() {
    let with = |change: fn(&mut World)| {
        let mut world = open();
        change(&mut world);
        world.run(None)
    };
    for (name, change, end) in [
        ("deleted", (|world| world.restore = None) as fn(&mut World), "Failed Inconclusive RestoreSessionDeleted"),
        (
            "being deleted",
            |world| world.restore = Some(merged(world.restore.as_ref().unwrap(), "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}")),
            "Failed Inconclusive RestoreSessionDeleted",
        ),
        (
            "made again by somebody",
            |world| world.restore.as_mut().unwrap().metadata.uid = Some("rs2".into()),
            "Failed Inconclusive RestoreSessionDeleted",
        ),
        ("spec edited", |world| world.restore.as_mut().unwrap().spec.data_source = None, "Failed Inconclusive PinnedFactsChanged"),
        (
            "made again and closed",
            |world| {
                let restore = world.restore.as_mut().unwrap();
                (restore.metadata.uid, restore.status) = (Some("rs2".into()), Some(yaml(GREEN)));
            },
            "Failed Inconclusive RestoreSessionDeleted",
        ),
        (
            "edited and closed",
            |world| {
                let restore = world.restore.as_mut().unwrap();
                restore.spec.restore_timeout = "1s".into();
                restore.status = Some(yaml(GREEN));
            },
            "Failed Inconclusive PinnedFactsChanged",
        ),
    ] {
        let world = with(change);
        assert_eq!(world.end(), end, "{name}");
        assert_eq!(world.restores_made, 1, "{name}: never made again");
    }
}

#[test]
fn a_restore_session_of_that_name_that_is_not_ours() {
    for labels in ["{}".to_owned(), format!("{{{}: other}}", labels::SESSION_UID)] {
        let mut world = World::new();
        world.restore =
            Some(yaml(&format!("{{metadata: {{name: repo-nightly-1, namespace: demo, uid: x, labels: {labels}}}, spec: {{}}}}")));
        world.restore.as_mut().unwrap().status = Some(yaml(GREEN));
        let world = world.run(None);
        assert_eq!(world.end(), "Failed Inconclusive NameTaken");
        assert!(world.restore.is_some(), "it is left alone");
    }
}

#[test]
fn what_others_do_to_the_session() {
    let edited = |patch: &str| open().session(patch).run(None).end();
    let run = |to: &str| format!("metadata: {{annotations: {{{}: {to}}}}}", labels::RUN);
    assert_eq!(edited(&run("null")), "Failed Inconclusive PinnedFactsChanged");
    assert_eq!(edited(&run("'{}'")), "Failed Inconclusive PinnedFactsChanged");
    assert_eq!(edited("{metadata: {generation: 2}, spec: {snapshot: other}}"), "Failed Inconclusive PinnedFactsChanged");
    for status in
        ["{phase: Running}", "{conditions: [{type: X, status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z'}]}", "{phase: Failed}"]
    {
        // Neither that our trigger made it nor that its annotation has our facts makes the status ours.
        for marks in ["{}".to_owned(), format!("{{{}: other/1, {}: '{}'}}", labels::TICK, labels::RUN, r#"{"snapshot": {"uid": "sna"}}"#)] {
            let world = World::new().session(&format!("{{metadata: {{annotations: {marks}}}, status: {status}}}")).run(None);
            assert_eq!((world.done.as_slice(), world.events.as_slice()), (&[][..], &["NotOurs".to_owned()][..]), "{status} {marks}");
        }
    }
}

/// Another operator's sessions are no history, no competition, and no sibling that a newer one could replace.
#[test]
fn foreign_sessions_are_no_siblings() {
    let own = World::new().session;
    let other = |patch: &str| {
        let other = merged(&own, &format!("{{metadata: {{name: other, uid: other}}, {patch}}}"));
        super::super::history::sibling(&own, &other).map(|sibling| sibling.state)
    };
    assert_eq!(other("status: {phase: Succeeded, run: {started: x}}"), Some(SiblingState::Finished));
    assert_eq!(other("status: {phase: Succeeded}"), None);
    assert_eq!(other("status: {conditions: [{type: RestoreSucceeded, status: 'True'}]}"), None);
    assert_eq!(other("status: null"), Some(SiblingState::Running));
    assert_eq!(other("spec: {session: weekly}"), None);
}

#[test]
fn a_forged_annotation_is_not_believed() {
    let run = serde_json::to_string(&World::new().run(None).status().run).unwrap();
    let forged = run.replace("\"r1\"", "\"r9\"");
    let mut world = World::new();
    world.session.metadata.annotations = Some([(labels::RUN.to_owned(), forged)].into());
    let world = world.run(None);
    assert_eq!(world.end(), "Succeeded Verified -");
    assert_eq!(world.status().run.unwrap().snapshot.components[0].restic_ids, ["r1"]);
}

#[test]
fn what_changes_while_the_session_waits() {
    for (name, change, end) in [
        (
            "verifier",
            (|world| world.references.verifier.as_mut().unwrap().metadata.generation = Some(4)) as fn(&mut World),
            "VerifierChanged",
        ),
        ("addon", |world| world.references.addon.as_mut().unwrap().metadata.uid = Some("new".into()), "VerifierChanged"),
        ("function gone", |world| world.references.function = None, "VerifierChanged"),
        ("target made again", |world| world.target().uid = "new".into(), "TargetNotFound"),
    ] {
        let mut world = World { lease: held(true, &[]), ..World::new() }.run(None);
        world.lease = None;
        change(&mut world);
        assert_eq!(world.run(None).end(), format!("Failed Inconclusive {end}"), "{name}");
    }
}

fn sibling(name: &str, second: i64, state: SiblingState) -> Sibling {
    let at: Timestamp = super::world::START.parse().unwrap();
    Sibling { name: name.into(), uid: name.into(), order: (Timestamp::from_second(at.as_second() + second).unwrap(), name.into()), state }
}

#[test]
fn a_newer_session_replaces_this_one_only_where_the_verifier_says_so() {
    for (policy, end) in [("Replace", "Failed Inconclusive Replaced"), ("Forbid", "Running - -"), ("Allow", "Running - -")] {
        let world = World { answer: None, ..World::new() }.verifier(&format!("spec: {{scheduler: {{concurrencyPolicy: {policy}}}}}"));
        let mut world = world.run(None);
        world.siblings = vec![sibling("newer", 60, SiblingState::Running)];
        let world = world.run(None);
        assert_eq!(world.end(), end, "{policy}");
        assert!(!world.done.iter().any(|done| done.starts_with("CreateRetry")));
    }
    let mut newer = World { answer: None, ..World::new() }.verifier("spec: {scheduler: {concurrencyPolicy: Replace}}");
    newer.siblings = vec![sibling("older", -60, SiblingState::Running), sibling("done", -90, SiblingState::Finished)];
    assert!(newer.run(None).done.contains(&"Nudge older".to_owned()));
}

#[test]
fn history_keeps_as_many_as_the_verifier_says() {
    let mut world = World::new().verifier("spec: {sessionHistoryLimit: 2}");
    world.siblings = vec![
        sibling("a", -4, SiblingState::Finished),
        sibling("b", -3, SiblingState::Running),
        sibling("c", -2, SiblingState::Finished),
        sibling("d", -1, SiblingState::Skipped),
    ];
    let world = world.run(None);
    let names: Vec<_> = world.siblings.iter().map(|sibling| sibling.name.as_str()).collect();
    assert_eq!(names, ["b", "c", "d"]);
}

#[test]
fn history_that_cannot_be_cleaned_is_named() {
    let mut world = open();
    world.restore.as_mut().unwrap().status = Some(yaml(GREEN));
    world.siblings = vec![sibling("old", -4, SiblingState::Finished)];
    let judged = world.decide();
    for effect in &judged.effects {
        world.perform(effect, &judged);
    }
    // The Snapshot is written, the deletion is refused.
    let refused = world.decide();
    assert!(refused.effects.iter().any(|effect| matches!(effect, Effect::DeleteSession { .. })));
    for effect in refused.effects.iter().take_while(|effect| !matches!(effect, Effect::DeleteSession { .. })) {
        world.perform(effect, &refused);
    }
    assert!(world.decide().effects.iter().any(|effect| matches!(effect, Effect::DeleteSession { .. })), "tried again");
    let closing = world.clone().after(31).decide();
    let cleaned = closing.status.unwrap().conditions.into_iter().find(|entry| entry.kind == "VerificationSessionHistoryCleaned").unwrap();
    assert_eq!((cleaned.status.as_str(), cleaned.message.as_str()), ("True", "these older sessions could not be deleted: old"));
}

#[test]
fn a_failed_session_is_repeated_after_the_delay() {
    let world = World { answer: Some(RED), ..World::new() }.run(None);
    assert_eq!(world.end(), "Failed VerificationFailed PackDamaged");
    assert!(matches!(world.decide().wake, Wake::After(wait) if wait == Duration::from_secs(60)));
    let again = world.clone().after(60).run(None);
    assert_eq!(again.done.iter().skip(world.done.len()).collect::<Vec<_>>(), ["CreateRetry snap left 1", "WriteStatus Failed"]);
    assert_eq!(again.status().retried, Some(true));
    assert_eq!(again.after(600).decide().effects, []);
    for crash in 0..3 {
        let crashed = world.clone().after(60).run(Some(crash));
        assert_eq!((crashed.status().retried, crashed.retries), (Some(true), 1), "crash before effect {crash}");
    }
}

/// A retry that nobody takes is given up in the end, and then nothing says that there is one.
#[test]
fn a_refused_retry_is_given_up() {
    let failed = |refused: &'static str| World { answer: Some(RED), retry_refused: Some(refused), ..World::new() }.run(None).after(60);
    let refused = failed("denied by policy").run(None);
    assert_eq!((refused.status().retried, refused.events.last().map(String::as_str)), (None, Some("RetryRefused")));
    assert!(matches!(refused.decide().wake, Wake::Again));
    let still = refused.clone().after(599).run(None);
    assert_eq!(still.status().retried, None);
    let given_up = refused.after(601).run(None);
    assert_eq!((given_up.status().retried, given_up.retries), (Some(false), 0));
    assert!(given_up.status().message.ends_with("not repeated: the API server refuses the new session: denied by policy"));
    assert_eq!(given_up.after(600).decide().effects, []);
    let nameless = failed("no name").run(None);
    assert_eq!((nameless.status().retried, nameless.events.last().map(String::as_str)), (Some(false), Some("NotRetried")));
    let healed = World { retry_refused: None, ..failed("denied by policy").run(None) }.run(None);
    assert_eq!((healed.status().retried, healed.retries), (Some(true), 1));
}

#[test]
fn what_is_not_repeated() {
    for (name, change) in [
        (
            "paused",
            (|world| {
                world.invoker = world.invoker.take().map(|_| {
                    super::super::observed::OwnedInvoker::Configuration(Box::new(yaml("{metadata: {name: backup}, spec: {paused: true}}")))
                })
            }) as fn(&mut World),
        ),
        ("no invoker", |world| world.invoker = None),
        ("none left", |world| world.session.spec.retry_left = 0),
    ] {
        let mut world = World { answer: Some(RED), ..World::new() }.run(None).after(60);
        change(&mut world);
        let world = world.run(None);
        assert!(!world.done.iter().any(|done| done.starts_with("CreateRetry")), "{name}");
        assert_ne!(world.status().retried, Some(true), "{name}");
    }
    let green = World::new().run(None).after(60);
    assert_eq!(green.decide().effects, []);
}

#[test]
fn a_result_goes_only_where_it_belongs() {
    let record = |started: &str| -> VerificationRecord {
        yaml(&format!(
            "{{session: later, sessionUid: l, started: '{started}', completed: '{started}', verdict: Verified, verifierHash: h, snapshotUid: sna}}"
        ))
    };
    for (started, expected) in [
        ("2026-01-01T00:00:05Z", "NotVerified later:Verified -"),
        ("2025-12-31T00:00:00Z", "VerificationFailed repo-nightly-1:VerificationFailed -"),
    ] {
        let mut world = World { answer: Some(RED), ..World::new() };
        world.references.snapshots[0].status.as_mut().unwrap().verification = Some(record(started));
        assert_eq!(world.run(None).proof(), expected, "{started}");
    }
    let mut replaced = World { answer: None, ..World::new() }.run(None);
    replaced.references.snapshots[0].metadata.uid = Some("other".into());
    replaced.restore.as_mut().unwrap().status = Some(yaml(RED));
    assert_eq!(replaced.run(None).proof(), "NotVerified - -");
}

#[test]
fn a_deleted_session_cleans_up_and_goes() {
    let deleted = |world: World| world.session("metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}");
    let never_started = deleted(World::new().session("metadata: {finalizers: [kubestash.com/cleanup]}")).run(None);
    assert_eq!(never_started.done, ["DropFinalizer"]);
    let mut running = deleted(open());
    running.remains.jobs = vec!["Job demo/j".into()];
    let done = running.done.len();
    let running = running.run(None);
    assert_eq!(running.done[done..], ["DeleteRestore rs1", "DeleteJobs"]);
    let after = running.clone().run(None);
    assert_eq!(after.done[done + 2..], ["ReleaseLock", "DropFinalizer"]);
    let spoiled = deleted(open().session("{spec: {session: null, repository: null, invoker: null}}")).run(None).run(None);
    assert_eq!(spoiled.done.last().unwrap(), "DropFinalizer");
}

#[test]
fn a_deletion_is_never_stuck() {
    let deleted = |remains: Remains| {
        let mut world = open().session("metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}");
        (world.remains, world.restore) = (remains, None);
        world
    };
    let pods = Remains { pods: vec!["pod demo/p on lost-node".into()], ..Remains::default() };
    let forbidden = Remains { forbidden: Some("pods is forbidden".into()), ..Remains::default() };
    for (name, remains, seconds, goes) in
        [("pods", &pods, 119, false), ("pods", &pods, 121, true), ("rights", &forbidden, 599, false), ("rights", &forbidden, 601, true)]
    {
        let world = deleted(remains.clone()).after(seconds);
        let done = world.done.len();
        let world = world.run(None);
        assert_eq!(world.done[done..].contains(&"DropFinalizer".to_owned()), goes, "{name} after {seconds}");
        assert!(!world.done[done..].contains(&"ReleaseLock".to_owned()), "{name}: the lock stays");
        assert_eq!(world.events.last().map(String::as_str) == Some("LeftBehind"), goes);
    }
}

#[test]
fn discovery_is_awaited_without_pinning() {
    use super::super::discovery::Discovery;
    let waiting = |discovery: Discovery| {
        let mut world = World::new().session("spec: {snapshot: ''}");
        world.references.discovery = discovery;
        world
    };
    let asked = waiting(Discovery::Ask(super::world::START.parse().unwrap())).run(None);
    assert_eq!(asked.done, ["WriteStatus Running", "RequestDiscovery repo"]);
    let pending = waiting(Discovery::Pending).run(None);
    assert_eq!(pending.run(None).done, ["WriteStatus Running"]);
    let late = waiting(Discovery::Pending).after(6 * 3600 + 1).run(None);
    assert_eq!(late.end(), "Failed Inconclusive DeadlineExceeded");
    let refusal = super::super::wire::Refusal::new(backproof_api::Cause::StorageUnreachable, "no route");
    assert_eq!(waiting(Discovery::Failed(refusal)).run(None).end(), "Failed Inconclusive StorageUnreachable");
    assert_eq!(waiting(Discovery::Known).run(None).status().verdict.unwrap(), Verdict::Verified);
}
