//! Rights that are taken away in the middle, and never come back: what may not be read keeps no session from ending.

use super::{
    choice::Choice,
    engine::{Engine, roomy},
    outside::Edit,
    scenario,
    settle::{natural, open},
    world::World,
};

/// Kinds that a session or its restore reads on the way.
const READ: &[&str] = &[
    "BackupConfiguration",
    "BackupVerifier",
    "Repository",
    "Snapshot",
    "BackupStorage",
    "Addon",
    "Function",
    "PersistentVolumeClaim",
    "RestoreSession",
    "Job",
    "Pod",
];
/// Seconds after its deadline, or its deletion, by which a session has ended: ten minutes of patience, the longest wait between
/// two tries, and a little.
const LATEST: i64 = 25 * 60;
/// Most steps until then.
const STEPS: usize = 3000;

/// Lets everything do what it does by itself until no session is left open, or it took too long.
fn ends(engine: &Engine, mut world: World, by: i64) -> Result<(), String> {
    for _ in 0..STEPS {
        let Some((name, session)) = open(&world).next() else { return Ok(()) };
        if world.now() > by {
            return Err(format!("session {name} has not ended by {}: {}", world.store.time(), session.at("/status")));
        }
        let Some(choice) = natural(&world) else { return Err(format!("session {name} is never looked at again")) };
        let next = engine.step(&world, &choice).unwrap_or_else(|| panic!("{choice} was possible a moment ago"));
        if !next.broken.is_empty() {
            return Err(next.broken.join("; "));
        }
        world = next.world;
    }
    Err(format!("{STEPS} steps were not enough"))
}

/// Every state on the way of a run in which nothing goes wrong.
fn way(engine: &Engine) -> Vec<World> {
    let mut way = vec![scenario::named("parts").unwrap().world()];
    while let Some(world) = way.last().filter(|world| open(world).next().is_some()) {
        let choice = natural(world).unwrap();
        way.push(engine.step(world, &choice).unwrap().world);
    }
    way
}

#[test]
fn a_session_ends_though_what_it_needs_may_not_be_read() {
    roomy(|| {
        let engine = Engine::new();
        let mut failed = Vec::new();
        for (at, world) in way(&engine).into_iter().enumerate() {
            for kind in READ {
                let world = World { unreadable: Some(kind), ..world.clone() };
                // Pinned or not: both have six hours at most, and the verifier gives one.
                let by = scenario::START + 6 * 3600 + LATEST;
                failed.extend(ends(&engine, world, by).err().map(|why| format!("{kind} from step {at} on: {why}")));
            }
        }
        assert!(failed.is_empty(), "{} runs: {}", failed.len(), failed[..failed.len().min(5)].join("\n"));
    });
}

#[test]
fn a_deleted_session_goes_though_what_it_made_may_not_be_read() {
    roomy(|| {
        let engine = Engine::new();
        let mut failed = Vec::new();
        for (at, world) in way(&engine).into_iter().enumerate() {
            let Some(next) = engine.step(&world, &Choice::Outside(Edit::DeleteSession("one".to_owned()))) else { continue };
            for kind in ["RestoreSession", "Job", "Pod", "Lease"] {
                let world = World { unreadable: Some(kind), ..next.world.clone() };
                let by = world.now() + LATEST;
                failed.extend(ends(&engine, world, by).err().map(|why| format!("{kind} from step {at} on: {why}")));
            }
        }
        assert!(failed.is_empty(), "{} runs: {}", failed.len(), failed[..failed.len().min(5)].join("\n"));
    });
}
