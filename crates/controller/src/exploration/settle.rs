//! Faults stop, and everything does what it does by itself: then each session must end in time, leave nothing behind, and
//! be at rest.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use backproof_api::labels;
use backproof_testing::memory::Object;
use jiff::Timestamp;

use super::{
    choice::{Choice, Trouble},
    cluster::{self, Deed},
    ends::End,
    engine::Engine,
    promise::brief,
    world::{Watch, Work, World},
};

/// Most steps until the end; a run takes about forty.
const STEPS: usize = 1500;
/// How much later than its deadline a session may end, in seconds.
const SLACK: i64 = 5 * 60;
/// After so many looks without any change, nothing more is to come.
const IDLE: usize = 12;

/// States from which everything ended well.
#[derive(Default)]
pub(super) struct Settled(Mutex<HashSet<u64>>);

impl Settled {
    fn known(&self, digest: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }

    fn learn(&self, digests: Vec<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(digests);
    }
}

/// By which schedule which promises were broken.
pub(super) type Broken = (Vec<Choice>, Vec<String>);

/// Lets everything come to its end, and shows each state on the way; what was broken there, and in which of them.
pub(super) fn settle(engine: &Engine, world: &World, settled: &Settled, meet: impl Fn(u64, &World)) -> Result<Option<World>, Broken> {
    let mut world = world.clone();
    let calm = world.now() + world.skew;
    let (mut path, mut idle) = (Vec::new(), 0);
    for _ in 0..STEPS {
        let digest = world.digest();
        if settled.known(digest) {
            settled.learn(path);
            return Ok(None);
        }
        path.push(digest);
        meet(digest, &world);
        let late = overdue(&world, calm);
        if !late.is_empty() {
            return Err((world.path(), late));
        }
        let Some(choice) = natural(&world) else { break };
        let next = engine.step(&world, &choice).unwrap_or_else(|| panic!("{choice} was possible a moment ago"));
        world = next.world;
        if !next.broken.is_empty() {
            return Err((world.path(), next.broken));
        }
        idle = if next.changed { 0 } else { idle + 1 };
        if idle > IDLE && open(&world).next().is_none() && !wipes(&world) {
            break;
        }
    }
    let mut broken = left(engine, &world);
    broken.extend(open(&world).map(|(name, _)| format!("session {name} never ends")));
    broken.extend(restless(engine, &world));
    if broken.is_empty() {
        settled.learn(path);
        Ok(Some(world))
    } else {
        Err((world.path(), broken))
    }
}

/// What happens next when nothing goes wrong.
pub(super) fn natural(world: &World) -> Option<Choice> {
    if let Some(watch) = Watch::ALL.into_iter().find(|watch| world.views[*watch as usize].late) {
        return Some(Choice::CaughtUp(watch));
    }
    if let Some(work) = world.pending().into_iter().next() {
        return Some(Choice::Run(work, Trouble::None));
    }
    let healthy = |(deed, _): &(Deed, String)| !matches!(deed, Deed::End(end) if *end != End::Good);
    if let Some((deed, name)) = cluster::possible(world).into_iter().find(healthy) {
        return Some(Choice::Cluster(deed, name));
    }
    let due = world.due.values().any(|at| *at > world.now()) || cluster::next_expiry(world).is_some();
    due.then_some(Choice::Tick)
}

/// Sessions that have not ended.
pub(super) fn open(world: &World) -> impl Iterator<Item = (&str, &Object)> {
    let done = |session: &Object| matches!(session.text_at("/status/phase"), "Succeeded" | "Failed" | "Skipped") && !session.is_leaving();
    world
        .store
        .all("BackupVerificationSession")
        .filter(move |(_, session)| !done(session))
        .map(|(key, session)| (key.name.as_str(), &**session))
}

/// Whether the target of a finished session is still to be wiped.
fn wipes(world: &World) -> bool {
    world.store.all("RestoreSession").any(|(_, restore)| {
        let started = restore.at("/status/jobs").as_array().is_some_and(|jobs| jobs.iter().any(|job| job["started"] == true));
        started && restore.at("/status/wipe").is_object() && restore.at("/status/wipe/wiped").is_null()
    })
}

fn overdue(world: &World, calm: i64) -> Vec<String> {
    let now = world.now() + world.skew;
    let seconds = |text: &str| text.parse::<Timestamp>().map(Timestamp::as_second).ok();
    let late = open(world).filter(|(_, session)| {
        // Whoever is being deleted has a few minutes, and so has who was never pinned.
        let leaving = seconds(session.text_at("/metadata/deletionTimestamp"));
        let pinned = seconds(session.text_at("/status/run/deadline"));
        let made = seconds(session.text_at("/metadata/creationTimestamp")).map(|at| at + world.skew);
        let end = leaving.or(pinned).or(made).unwrap_or(calm);
        now > end.max(calm) + SLACK
    });
    late.map(|(name, session)| format!("session {name} has not ended by {}: {}", world.store.time(), brief(session.at("/status"))))
        .collect()
}

/// What sessions that are gone have left behind, and what finished ones still hold.
fn left(engine: &Engine, world: &World) -> Vec<String> {
    let lives = |uid: &str| world.store.all("BackupVerificationSession").any(|(_, session)| session.uid() == uid);
    let forged = |object: &Object| world.truth.forged.contains(object.uid()) || object.label("foreign") == "true";
    let mut broken = Vec::new();
    // Who had to be let go while something of it was left keeps its lock until locks are swept. That goes by the clock, beside
    // the reconcilers; here it comes with a start.
    let kept = |object: &Object| world.truth.let_go.contains(object.text_at("/spec/holderIdentity"));
    let swept = || engine.step(world, &Choice::Restart).is_some_and(|next| next.world.store.all("Lease").next().is_none());
    if world.stuck.is_empty() {
        for (key, lease) in world.store.all("Lease").filter(|(_, lease)| !kept(lease) || !swept()) {
            broken.push(format!("{key} is still held by {}", lease.text_at("/spec/holderIdentity")));
        }
    }
    let rest = world.store.everything().filter(|(key, object)| !world.stuck.contains(&key.name) && !forged(object) && !kept(object));
    for (key, object) in rest {
        let session = object.label(labels::SESSION_UID);
        // Whoever deletes a Job and keeps its pods has them.
        let orphan = key.kind.name == "Pod" && object.owners().is_empty();
        let waits_for_pod = object.is_leaving() && !world.stuck.is_empty();
        if !session.is_empty() && !lives(session) && !waits_for_pod && !orphan {
            broken.push(format!("{key} is left of a session that is gone"));
        }
        let suspended = key.kind.name == "Job" && object.at("/spec/suspend") == true && !waits_for_pod;
        if suspended {
            broken.push(format!("{key} was never started and never removed"));
        }
    }
    broken
}

/// Whoever is looked at again without any reason writes nothing.
fn restless(engine: &Engine, world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    let sessions = world.store.all("BackupVerificationSession").map(|(key, _)| Work::Session(key.name.clone()));
    let restores = world.store.all("RestoreSession").map(|(key, _)| Work::Restore(key.name.clone()));
    for work in sessions.chain(restores) {
        let Some(next) = engine.step(world, &Choice::Run(work.clone(), Trouble::None)) else { continue };
        let stuck = !world.stuck.is_empty();
        if (next.writes > 0 && !stuck) || next.changed || (next.events > 0 && !stuck) {
            broken.push(format!("{work} is at rest and makes {} writes and {} events", next.writes, next.events));
        }
    }
    broken
}
