//! Walks through the states: first everything without faults, then with one, then with two, until enough were seen; and
//! beyond that along random schedules. Two threads share what was seen.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    choice::{Choice, Trouble, line},
    cluster::{self, Deed, End},
    engine::{Engine, roomy},
    outside::Edit,
    scenario::Scenario,
    settle::{Settled, settle},
    world::{Watch, Work, World},
};

/// Threads; the machines this runs on have two cores.
const THREADS: usize = 2;

/// Something that must not be.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) scenario: &'static str,
    pub(super) schedule: Vec<Choice>,
    pub(super) broken: Vec<String>,
}

impl Failure {
    /// For people, with what replays it.
    pub(super) fn report(&self) -> String {
        format!(
            "\n{}\n\nreplay with:\nBACKPROOF_REPLAY='{} {}' cargo test --release --workspace --lib exploration::runs::replay\n",
            self.broken.join("\n"),
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

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap_or_default() % limit.max(1)
    }
}

/// A choice that is still to be made, with how much went wrong by then.
type Open = (Arc<World>, Choice);

struct Shared<'a> {
    scenario: &'a Scenario,
    enough: usize,
    open: Mutex<BTreeMap<u32, Vec<Open>>>,
    busy: AtomicUsize,
    seen: Mutex<HashSet<u64>>,
    steps: Mutex<BTreeSet<(&'static str, &'static str)>>,
    schedules: AtomicUsize,
    settled: Settled,
    failure: Mutex<Option<Failure>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything with few faults, until `enough` states were seen; then `random` schedules from this seed on.
pub(super) fn explore(scenario: &Scenario, enough: usize, seed: u64, random: usize) -> Result<Seen, Failure> {
    let shared = Shared {
        scenario,
        enough,
        open: Mutex::default(),
        busy: AtomicUsize::new(0),
        seen: Mutex::default(),
        steps: Mutex::default(),
        schedules: AtomicUsize::new(0),
        settled: Settled::default(),
        failure: Mutex::default(),
    };
    let start = Arc::new(scenario.world());
    lock(&shared.seen).insert(start.digest());
    shared.push(&start);
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
            steps: lock(&shared.steps).clone(),
        }),
    }
}

impl Shared<'_> {
    fn push(&self, world: &Arc<World>) {
        let mut open = lock(&self.open);
        for (choice, faults) in choices(world) {
            open.entry(world.faults + faults).or_default().push((world.clone(), choice));
        }
    }

    /// One that is still to be made: with the fewest faults, any of them.
    fn pop(&self, random: &mut Random) -> Option<(u32, Open)> {
        let mut open = lock(&self.open);
        let mut first = open.first_entry()?;
        let (faults, all) = (*first.key(), first.get_mut());
        let chosen = all.swap_remove(random.below(all.len()));
        if all.is_empty() {
            first.remove();
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        Some((faults, chosen))
    }

    fn is_over(&self) -> bool {
        lock(&self.seen).len() >= self.enough || lock(&self.failure).is_some()
    }

    fn walk(&self, engine: &Engine, mut random: Random) {
        while !self.is_over() {
            let Some((faults, (world, choice))) = self.pop(&mut random) else {
                if self.busy.load(Ordering::SeqCst) == 0 && lock(&self.open).is_empty() {
                    return;
                }
                std::thread::yield_now();
                continue;
            };
            self.make(engine, &world, &choice, faults);
            self.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn make(&self, engine: &Engine, world: &Arc<World>, choice: &Choice, faults: u32) {
        let Some(next) = engine.step(world, choice) else { return };
        if let Choice::Run(work, Trouble::None) = choice {
            let mut open = lock(&self.open);
            for trouble in troubles(world, work, next.writes) {
                open.entry(faults + 1).or_default().push((world.clone(), Choice::Run(work.clone(), trouble)));
            }
        }
        let mut world = next.world;
        world.faults = faults;
        if !next.broken.is_empty() {
            return self.fail(&world, next.broken);
        }
        if !lock(&self.seen).insert(world.digest()) {
            return;
        }
        if self.schedules.fetch_add(1, Ordering::Relaxed) % 5000 == 4999 {
            let levels: Vec<_> = lock(&self.open).iter().map(|(faults, open)| (*faults, open.len())).collect();
            println!("exploration {}: {} states; still to be made, by faults: {levels:?}", self.scenario.name, lock(&self.seen).len());
        }
        self.settle(engine, &world);
        let world = Arc::new(world);
        self.push(&world);
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
                return self.fail(&world, next.broken);
            }
            lock(&self.seen).insert(world.digest());
        }
        self.schedules.fetch_add(1, Ordering::Relaxed);
        self.settle(engine, &world);
    }

    fn settle(&self, engine: &Engine, world: &World) {
        match settle(engine, world, &self.settled) {
            Ok(Some(end)) => lock(&self.steps).extend(end.truth.steps.iter().copied()),
            Ok(None) => {}
            Err(broken) => self.fail(world, broken),
        }
    }

    fn fail(&self, world: &World, broken: Vec<String>) {
        lock(&self.failure).get_or_insert_with(|| Failure { scenario: self.scenario.name, schedule: world.path(), broken });
    }
}

/// What may happen next, with how much of it goes wrong.
fn choices(world: &World) -> Vec<(Choice, u32)> {
    let mut all: Vec<(Choice, u32)> = Vec::new();
    let pending = world.pending();
    all.extend(pending.iter().map(|work| (Choice::Run(work.clone(), Trouble::None), 0)));
    let deeds = cluster::possible(world);
    let at_work = deeds.iter().any(|(deed, _)| !matches!(deed, Deed::End(_)));
    for (deed, name) in deeds {
        let faults = u32::from(matches!(deed, Deed::End(end) if !matches!(end, End::Good | End::Red)));
        if deed == Deed::End(End::Good) {
            all.push((Choice::Cluster(Deed::Lose, name.clone()), 1));
        }
        all.push((Choice::Cluster(deed, name), faults));
    }
    all.push((Choice::Tick, u32::from(!pending.is_empty() || at_work)));
    for watch in Watch::ALL {
        let view = &world.views[watch as usize];
        if !view.late {
            all.push((Choice::Late(watch), 1));
        } else if view.under_way.is_empty() {
            all.push((Choice::CaughtUp(watch), 0));
        } else {
            all.extend([(Choice::Next(watch), 0), (Choice::CaughtUp(watch), 0)]);
        }
    }
    all.push((Choice::Restart, 1));
    all.extend([7200, -600].map(|seconds| (Choice::Jump(seconds), 1)));
    let again = world.due.keys().filter(|work| !pending.contains(work));
    all.extend(again.map(|work| (Choice::Run(work.clone(), Trouble::None), 1)));
    all.extend(Edit::all(&sessions(world)).into_iter().map(|edit| (Choice::Outside(edit), 1)));
    all
}

fn sessions(world: &World) -> Vec<String> {
    world.store.all("BackupVerificationSession").map(|(key, _)| key.name.clone()).collect()
}

/// Everything that may go wrong in a reconcile that writes so often.
fn troubles(world: &World, work: &Work, writes: u32) -> Vec<Trouble> {
    let mut all = Vec::new();
    let overtakers: Vec<Choice> = world
        .pending()
        .into_iter()
        .filter(|other| other != work)
        .map(|other| Choice::Run(other, Trouble::None))
        .chain(cluster::possible(world).into_iter().map(|(deed, name)| Choice::Cluster(deed, name)))
        .chain(Edit::all(&sessions(world)).into_iter().map(Choice::Outside))
        .collect();
    for at in 1..=writes {
        all.extend([Trouble::Die(at), Trouble::Lose(at), Trouble::Refuse(at, 409), Trouble::Refuse(at, 500)]);
        all.extend(overtakers.iter().map(|by| Trouble::Overtaken(at, Box::new(by.clone()))));
    }
    all
}

fn any_trouble(world: &World, work: &Work, random: &mut Random) -> Trouble {
    let at = 1 + u32::try_from(random.below(5)).unwrap_or_default();
    match random.below(6) {
        0 => Trouble::Die(at),
        1 => Trouble::Lose(at),
        2 => Trouble::Refuse(at, [409, 429, 500, 403][random.below(4)]),
        3 => Trouble::Fail(1 + u32::try_from(random.below(20)).unwrap_or_default(), [429, 500][random.below(2)]),
        _ => {
            let all = troubles(world, work, 3);
            all[random.below(all.len())].clone()
        }
    }
}

/// Replays a schedule, leaving out what cannot be done, and lets it come to its end.
pub(super) fn replay(engine: &Engine, scenario: &Scenario, schedule: &[Choice]) -> Result<World, (Vec<Choice>, Vec<String>)> {
    let mut world = scenario.world();
    for choice in schedule {
        let Some(next) = engine.step(&world, choice) else { continue };
        world = next.world;
        if !next.broken.is_empty() {
            return Err((world.path(), next.broken));
        }
    }
    match settle(engine, &world, &Settled::default()) {
        Ok(end) => Ok(end.unwrap_or(world)),
        Err(broken) => Err((world.path(), broken)),
    }
}

/// The same failure with fewer steps: each is left out if it still fails without.
fn minimal(scenario: &Scenario, failure: Failure) -> Failure {
    let engine = Engine::new();
    let mut failure = failure;
    loop {
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
            return failure;
        }
    }
}
