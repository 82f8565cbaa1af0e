//! Walks through the states: first everything without faults, then with one, then with two, until enough were seen; and
//! beyond that along random schedules. Two threads share what was seen.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    choice::{Choice, Trouble, line},
    engine::{Engine, roomy},
    frontier::{Chosen, Frontier, any_trouble, choices},
    scenario::Scenario,
    settle::{Broken, Settled, settle},
    tell,
    world::World,
};

/// Threads; the machines this runs on have two cores.
const THREADS: usize = 2;

/// Something that must not be.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) scenario: &'static str,
    pub(super) schedule: Vec<Choice>,
    pub(super) broken: Vec<String>,
    /// Whether it failed again when it was replayed.
    pub(super) again: bool,
}

impl Failure {
    /// For people, with what replays it.
    pub(super) fn report(&self) -> String {
        format!(
            "\n{}\n\n{} replayed with:\nmake explore REPLAY='{} {}'\n",
            self.broken.join("\n"),
            if self.again { "it fails again when" } else { "something beside the schedule decides: it did not fail again when" },
            self.scenario,
            line(&self.schedule)
        )
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) states: usize,
    pub(super) schedules: usize,
    /// States among them that were met first when no more faults came and everything went to its end.
    pub(super) calm: usize,
    /// Transitions between steps of sessions.
    pub(super) steps: BTreeSet<(&'static str, &'static str)>,
}

/// A small generator of numbers; the same seed gives the same ones.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap_or_default() % limit.max(1)
    }
}

struct Shared<'a> {
    scenario: &'a Scenario,
    enough: usize,
    frontier: Frontier,
    busy: AtomicUsize,
    seen: Mutex<HashSet<u64>>,
    steps: Mutex<BTreeSet<(&'static str, &'static str)>>,
    schedules: AtomicUsize,
    calm: AtomicUsize,
    settled: Settled,
    failure: Mutex<Option<Failure>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything with few faults, until `enough` states were seen; then `random` schedules from this seed on.
pub(super) fn explore(scenario: &Scenario, enough: usize, seed: u64, random: usize) -> Result<Seen, Failure> {
    let shared = Shared {
        scenario,
        enough,
        frontier: Frontier::default(),
        busy: AtomicUsize::new(0),
        seen: Mutex::default(),
        steps: Mutex::default(),
        schedules: AtomicUsize::new(0),
        calm: AtomicUsize::new(0),
        settled: Settled::default(),
        failure: Mutex::default(),
    };
    let start = Arc::new(scenario.world());
    lock(&shared.seen).insert(start.digest());
    shared.frontier.push(&start);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let shared = &shared;
            scope.spawn(move || {
                roomy(|| {
                    let engine = Engine::new();
                    shared.walk(&engine, Random::new(seed + thread as u64));
                    for at in (thread..random).step_by(THREADS) {
                        shared.wander(&engine, seed + at as u64);
                    }
                });
            });
        }
    });
    let failure = lock(&shared.failure).take();
    match failure {
        Some(failure) => Err(roomy(|| minimal(scenario, failure))),
        None => Ok(Seen {
            states: lock(&shared.seen).len(),
            schedules: shared.schedules.load(Ordering::Relaxed),
            calm: shared.calm.load(Ordering::Relaxed),
            steps: lock(&shared.steps).clone(),
        }),
    }
}

impl Shared<'_> {
    fn is_over(&self) -> bool {
        self.states() >= self.enough || lock(&self.failure).is_some()
    }

    fn walk(&self, engine: &Engine, mut random: Random) {
        while !self.is_over() {
            // Counted before it is taken, so that nobody sees an empty frontier that is about to grow.
            self.busy.fetch_add(1, Ordering::SeqCst);
            let chosen = self.frontier.pop(&mut random);
            if let Some(chosen) = &chosen {
                self.make(engine, chosen);
            }
            let others = self.busy.fetch_sub(1, Ordering::SeqCst) - 1;
            if chosen.is_none() {
                if others == 0 && self.frontier.is_empty() {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    fn make(&self, engine: &Engine, chosen: &Chosen) {
        let Some(next) = engine.step(&chosen.world, &chosen.choice) else { return };
        self.frontier.push_troubles(chosen, next.writes);
        let mut world = next.world;
        world.faults = chosen.faults;
        if !next.broken.is_empty() {
            return self.fail((world.path(), next.broken));
        }
        if !lock(&self.seen).insert(world.digest()) {
            return;
        }
        if self.schedules.fetch_add(1, Ordering::Relaxed) % 20_000 == 19_999 {
            tell(&format!("{}: {} states; still to be tried, by faults: {:?}", self.scenario.name, self.states(), self.frontier.sizes()));
        }
        let world = Arc::new(world);
        self.frontier.push(&world);
        self.settle(engine, &world);
    }

    /// Notes a state that settling came through; the walk goes on from it as from any other.
    fn meet(&self, digest: u64, world: &World) {
        if lock(&self.seen).insert(digest) {
            self.calm.fetch_add(1, Ordering::Relaxed);
            self.frontier.push(&Arc::new(world.clone()));
        }
    }

    fn states(&self) -> usize {
        lock(&self.seen).len()
    }

    /// One random schedule, to its end.
    fn wander(&self, engine: &Engine, seed: u64) {
        if lock(&self.failure).is_some() {
            return;
        }
        let mut random = Random::new(seed);
        let mut world = self.scenario.world();
        for _ in 0..20 + random.below(50) {
            let all = choices(&world);
            let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, faults)| *faults == 0);
            let chosen = if bad.is_empty() || (!good.is_empty() && random.below(8) > 0) { good } else { bad };
            if chosen.is_empty() {
                break;
            }
            let mut choice = chosen[random.below(chosen.len())].0.clone();
            if let Choice::Run(work, trouble @ Trouble::None) = &mut choice
                && random.below(4) == 0
            {
                *trouble = any_trouble(&world, work, &mut random);
            }
            let Some(next) = engine.step(&world, &choice) else { continue };
            world = next.world;
            if !next.broken.is_empty() {
                return self.fail((world.path(), next.broken));
            }
            lock(&self.seen).insert(world.digest());
        }
        self.schedules.fetch_add(1, Ordering::Relaxed);
        self.settle(engine, &world);
    }

    fn settle(&self, engine: &Engine, world: &World) {
        match settle(engine, world, &self.settled, |digest, world| self.meet(digest, world)) {
            Ok(Some(end)) => lock(&self.steps).extend(end.truth.steps.iter().copied()),
            Ok(None) => {}
            Err(broken) => self.fail(broken),
        }
    }

    fn fail(&self, (schedule, broken): Broken) {
        lock(&self.failure).get_or_insert_with(|| Failure { scenario: self.scenario.name, schedule, broken, again: false });
    }
}

/// Replays a schedule, leaving out what cannot be done, and lets it come to its end.
pub(super) fn replay(engine: &Engine, scenario: &Scenario, schedule: &[Choice]) -> Result<World, Broken> {
    let mut world = scenario.world();
    for choice in schedule {
        let Some(next) = engine.step(&world, choice) else { continue };
        world = next.world;
        if !next.broken.is_empty() {
            return Err((world.path(), next.broken));
        }
    }
    settle(engine, &world, &Settled::default(), |_, _| ()).map(|end| end.unwrap_or(world))
}

/// The same failure, seen again, with fewer steps: each is left out if it still fails without.
fn minimal(scenario: &Scenario, failure: Failure) -> Failure {
    let engine = Engine::new();
    let again = replay(&engine, scenario, &failure.schedule).is_err();
    let mut failure = Failure { again, ..failure };
    while failure.again {
        let length = failure.schedule.len();
        for at in (0..length).rev() {
            let mut shorter = failure.schedule.clone();
            if at >= shorter.len() {
                continue;
            }
            shorter.remove(at);
            if let Err((schedule, broken)) = replay(&engine, scenario, &shorter) {
                failure = Failure { schedule, broken, ..failure };
            }
        }
        if failure.schedule.len() == length {
            break;
        }
    }
    failure
}
