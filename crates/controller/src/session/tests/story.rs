//! Whole runs: what is done in which order, and that a crash anywhere leads to the same end.

use super::world::{GREEN, RED, World};

#[test]
fn a_green_run() {
    let world = World::new().run(None);
    assert_eq!(world.end(), "Succeeded Verified -");
    assert_eq!(world.proof(), "Verified repo-nightly-1:Verified -");
    assert_eq!(
        world.done,
        [
            "Claim",
            "WriteStatus Running",
            "AcquireLock",
            "WriteStatus Running",
            "CreateRestore",
            "WriteStatus Running",
            "WriteStatus Running",
            "WriteSnapshot",
            "WriteStatus Succeeded",
            "Count Verified",
            "ReleaseLock",
        ]
    );
    assert_eq!(world.events, ["RestoreStarted", "Verified", "invoker:Verified"]);
    let meta = &world.session.metadata;
    assert_eq!(meta.finalizers.clone().unwrap(), ["kubestash.com/cleanup"]);
    assert_eq!(meta.labels.clone().unwrap()["kubestash.com/invoker-name"], "backup");
    let owner = &meta.owner_references.clone().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller, owner.block_owner_deletion),
        ("BackupConfiguration", "inv", Some(true), Some(true))
    );
}

#[test]
fn what_the_restore_session_says() {
    let world = World::new().run(None);
    insta::assert_json_snapshot!(world.restore.map(|restore| (restore.metadata, restore.spec)));
}

#[test]
fn the_status_of_a_green_run() {
    insta::assert_json_snapshot!(World::new().run(None).status());
}

#[test]
fn the_status_of_a_red_run() {
    insta::assert_json_snapshot!(World { answer: Some(RED), ..World::new() }.run(None).status());
}

/// Whatever effect the process dies before, the end is the same, and there is one RestoreSession.
#[test]
fn a_crash_anywhere_leads_to_the_same_end() {
    let worlds = [
        ("green", World::new()),
        ("red", World { answer: Some(RED), ..World::new() }),
        ("refused", World::new().verifier("spec: {type: Query}")),
        ("replacing", World::new().verifier("spec: {scheduler: {concurrencyPolicy: Replace}}")),
    ];
    for (name, world) in worlds {
        let straight = world.clone().run(None);
        for crash in 0..straight.done.len() + straight.events.len() {
            let crashed = world.clone().run(Some(crash));
            let context = format!("{name}, crash before effect {crash}: {:?}", crashed.done);
            assert_eq!(crashed.session.status, straight.session.status, "{context}");
            assert_eq!(crashed.proof(), straight.proof(), "{context}");
            assert_eq!(crashed.session.metadata.annotations, straight.session.metadata.annotations, "{context}");
            assert_eq!(crashed.restores_made, straight.restores_made, "{context}");
            assert_eq!(crashed.mine, straight.mine, "{context}");
        }
    }
}

/// A decision that is carried out twice does no more than once.
#[test]
fn everything_may_be_done_twice() {
    let mut world = World::new();
    for _ in 0..40 {
        let decision = world.decide();
        for effect in decision.effects.iter().chain(&decision.effects) {
            world.perform(effect, &decision);
        }
        if let (Some(restore), true) = (&mut world.restore, decision.effects.is_empty()) {
            if restore.status.is_some() {
                break;
            }
            restore.status = Some(super::world::yaml(GREEN));
        }
    }
    assert_eq!((world.end().as_str(), world.restores_made), ("Succeeded Verified -", 1));
}

/// When nothing has changed but time, nothing is written.
#[test]
fn nothing_is_written_while_nothing_changes() {
    let world = World { answer: None, ..World::new() }.run(None);
    for seconds in [1, 60, 3000] {
        let decision = world.clone().after(seconds).decide();
        assert_eq!(decision.effects, [], "after {seconds} s");
    }
}

/// Under upstream's schema a run ends as it does under ours, crash or not.
#[test]
fn where_the_schema_drops_our_status_a_run_is_the_same() {
    for (name, world) in [
        ("green", World::new()),
        ("red", World { answer: Some(RED), ..World::new() }),
        ("refused", World::new().verifier("spec: {type: Query}")),
    ] {
        let straight = world.clone().run(None);
        let whole = World { pruning: true, ..world };
        for crash in std::iter::once(None).chain((0..straight.done.len() + straight.events.len()).map(Some)) {
            let pruned = whole.clone().run(crash);
            let context = format!("{name}, crash before effect {crash:?}: {:?}", pruned.done);
            assert_eq!((pruned.end(), pruned.proof()), (straight.end(), straight.proof()), "{context}");
            let (mut left, right) = (pruned.status(), straight.status());
            left.conditions.retain(|entry| entry.kind != backproof_api::kept::KEPT);
            assert_eq!(left, right, "{context}");
            assert_eq!((pruned.restores_made, pruned.mine), (straight.restores_made, straight.mine), "{context}");
        }
    }
}

/// The process may die between a write that the schema cuts short and the one that packs what was cut.
#[test]
fn what_was_dropped_for_good_is_pinned_anew_and_never_believed() {
    let spoiled = |world: World| {
        let mut world = world;
        world.session.status = world.session.status.as_ref().map(super::world::dropped);
        world
    };
    // Right after the facts were pinned nothing is lost.
    let world = World { lease: super::endings::held(true, &[]), pruning: true, ..World::new() }.run(None);
    let mut world = spoiled(world);
    world.session.status.as_mut().unwrap().conditions.retain(|entry| entry.kind != backproof_api::kept::KEPT);
    world.lease = None;
    assert_eq!(world.run(None).end(), "Succeeded Verified -");
    // A restore whose spec nobody remembers is not taken for ours.
    let open = spoiled(World { answer: None, ..World::new() }.run(None));
    assert_eq!(open.run(None).end(), "Failed Inconclusive PinnedFactsChanged");
}

/// Whoever may write a session's status can write two words; without the evidence they prove nothing.
#[test]
fn conditions_without_evidence_are_not_green() {
    let mut world = World { answer: None, ..World::new() }.run(None);
    for kind in ["RestoreSucceeded", "BackupVerified"] {
        let entry = super::world::yaml(&format!("{{type: {kind}, status: 'True', lastTransitionTime: '2026-01-01T00:00:09Z'}}"));
        world.session.status.as_mut().unwrap().conditions.push(entry);
    }
    let world = world.run(None);
    assert_eq!(world.end(), "Failed Inconclusive Internal");
    assert!(!world.proof().starts_with("Verified"), "{}", world.proof());
}
