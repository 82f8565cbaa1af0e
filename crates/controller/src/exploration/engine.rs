//! Makes a choice happen: one world in, the next one out. Each engine has an API in memory, a client and a runtime of its own.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use backproof_api::Guarded;
use backproof_testing::memory::{Gate, Memory, Strike};
use clap::Parser as _;
use kube::runtime::controller::Action;
use serde::de::DeserializeOwned;

use super::{
    NAMESPACE,
    choice::{Choice, Trouble},
    cluster, outside, promise,
    world::{Pinned, Watch, Work, World},
};
use crate::{
    Clock, Config, Context,
    restore::explored::Restores,
    session::explored::Sessions,
    shared::{Known, Shared, lock},
};

/// Bytes of stack.
const STACK: usize = 64 << 20;

/// What came of a choice.
pub(super) struct Next {
    pub(super) world: World,
    /// Writes of the reconcile, events apart.
    pub(super) writes: u32,
    pub(super) events: u32,
    /// Whether any object was changed, by whomever.
    pub(super) changed: bool,
    /// Promises that were broken.
    pub(super) broken: Vec<String>,
}

/// Runs something with room enough on its stack for reconcilers that were built without optimisation.
pub(super) fn roomy<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes choices happen.
pub(super) struct Engine {
    runtime: tokio::runtime::Runtime,
    memory: Memory,
    context: Arc<Context>,
    now: Arc<AtomicI64>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let memory = Memory::default();
        let client = {
            let _inside = runtime.enter();
            memory.client()
        };
        let now = Arc::new(AtomicI64::new(0));
        let reads = now.clone();
        let clock = Clock::new(move || jiff::Timestamp::from_second(reads.load(Ordering::Relaxed)).unwrap());
        let config = Config::parse_from(["backproof-controller"]);
        let mut context = Context::new(client.clone(), client, crate::leader::Leading::default(), config);
        context.clock = clock;
        Self { runtime, memory, context: Arc::new(context), now }
    }

    /// The world after a choice; `None` when it cannot be made there.
    pub(super) fn step(&self, world: &World, choice: &Choice) -> Option<Next> {
        let mut next = world.clone();
        let (mut writes, mut events) = (0, 0);
        match choice {
            Choice::Run(work, trouble) => {
                let gate = self.run(&mut next, work, trouble)?;
                (writes, events) = (gate.writes, gate.events);
            }
            Choice::Tick => tick(&mut next)?,
            Choice::Cluster(..) | Choice::Outside(_) | Choice::Late(_) | Choice::Next(_) | Choice::CaughtUp(_) | Choice::Jump(_) => {
                simple(&mut next, choice)?;
            }
            Choice::Restart => self.restart(&mut next),
        }
        let changes = std::mem::take(&mut next.store.log);
        let mut broken = promise::of_changes(&mut next, &changes);
        next.tell(&changes);
        broken.extend(promise::of_state(&next));
        next.went(choice.clone());
        Some(Next { world: next, writes, events, changed: !changes.is_empty(), broken })
    }

    fn run(&self, world: &mut World, work: &Work, trouble: &Trouble) -> Option<Gate> {
        let was_due = world.due.remove(work).is_some();
        let at_write = match trouble {
            Trouble::Die(at) => Some((*at, Strike::Die)),
            Trouble::Lose(at) => Some((*at, Strike::Lose)),
            Trouble::Refuse(at, code) => Some((*at, Strike::Refuse(*code))),
            Trouble::None | Trouble::Fail(..) | Trouble::Overtaken(..) => None,
        };
        let at_call = if let Trouble::Fail(at, code) = trouble { Some((*at, Strike::Refuse(*code))) } else { None };
        let overtaken = if let Trouble::Overtaken(at, by) = trouble { Some((*at, &**by)) } else { None };
        let (pause_at, unreadable) = (overtaken.as_ref().map(|(at, _)| *at), world.unreadable);
        let gate = Gate { at_write, at_call, pause_at, unreadable, ..Gate::default() };
        let same = |other: &Work| std::mem::discriminant(other) == std::mem::discriminant(work);
        let actors = Actors::new(&self.context, world, |other| overtaken.is_some() || same(other));
        self.enter(world, gate);
        let (action, other) = self.runtime.block_on(async {
            let outcome = match overtaken {
                None => (actors.reconcile(work).await, Meanwhile::Nothing),
                Some((_, by)) => self.overtaken(&actors, work, world, by).await,
            };
            // Events about errors are published by tasks of their own.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            outcome
        });
        let (store, gate) = self.memory.take();
        world.store = store;
        // What was asked to go wrong did not come to pass: this is another schedule.
        let missed = at_write.is_some_and(|(at, _)| at > gate.writes) || at_call.is_some_and(|(at, _)| at > gate.calls);
        let Some(action) = action else {
            // What is not in the cache any more is not looked at.
            return (was_due && *trouble == Trouble::None).then_some(gate);
        };
        if missed || gate.pause_at.is_some() || matches!(other, Meanwhile::Impossible) {
            return None;
        }
        if gate.dead {
            self.now.store(world.now() + world.skew, Ordering::Relaxed);
            self.restart(world);
            return Some(gate);
        }
        let nudged = actors.end(world);
        again(world, work.clone(), &action);
        if let Meanwhile::Reconciled(other, action) = other {
            again(world, other, &action);
        }
        nudged.into_iter().for_each(|name| world.wake(Work::Session(name)));
        Some(gate)
    }

    fn enter(&self, world: &mut World, gate: Gate) {
        self.now.store(world.now() + world.skew, Ordering::Relaxed);
        self.memory.set(std::mem::take(&mut world.store), gate);
    }

    /// Runs `work` up to where it is overtaken, then the other thing, then the rest of it.
    async fn overtaken(&self, actors: &Actors, work: &Work, world: &mut World, by: &Choice) -> (Option<Action>, Meanwhile) {
        let (paused, resume) = self.memory.with(|_, gate| (gate.paused.clone(), gate.resume.clone()));
        let reconcile = actors.reconcile(work);
        tokio::pin!(reconcile);
        tokio::select! {
            biased;
            action = &mut reconcile => return (action, Meanwhile::Impossible),
            () = paused.notified() => {}
        }
        let meanwhile = match by {
            Choice::Run(other, Trouble::None) if other != work => match actors.reconcile(other).await {
                Some(action) => {
                    world.due.remove(other);
                    Meanwhile::Reconciled(other.clone(), action)
                }
                None => Meanwhile::Impossible,
            },
            Choice::Cluster(..) | Choice::Outside(_) => {
                self.memory.with(|store, _| std::mem::swap(store, &mut world.store));
                let done = simple(world, by);
                self.memory.with(|store, _| std::mem::swap(store, &mut world.store));
                done.map_or(Meanwhile::Impossible, |()| Meanwhile::Nothing)
            }
            Choice::Run(..)
            | Choice::Late(_)
            | Choice::Next(_)
            | Choice::CaughtUp(_)
            | Choice::Tick
            | Choice::Jump(_)
            | Choice::Restart => Meanwhile::Impossible,
        };
        resume.notify_one();
        (reconcile.await, meanwhile)
    }

    fn restart(&self, world: &mut World) {
        world.restart();
        let actors = Actors::new(&self.context, world, |work| matches!(work, Work::Session(_)));
        self.enter(world, Gate::default());
        self.runtime.block_on(async {
            if let Some(sessions) = &actors.sessions {
                sessions.sweep().await;
            }
        });
        world.store = self.memory.take().0;
        let nudged = actors.end(world);
        nudged.into_iter().for_each(|name| world.wake(Work::Session(name)));
    }
}

enum Meanwhile {
    Nothing,
    Reconciled(Work, Action),
    Impossible,
}

/// The reconcilers of one process, as far as a step needs them.
struct Actors {
    shared: Arc<Shared>,
    sessions: Option<Sessions>,
    restores: Option<Restores>,
}

/// What a watch has told of a kind.
fn known<K: DeserializeOwned + Clone + Send + Sync + 'static>(world: &World, watch: Watch, kind: &str) -> Vec<K> {
    let told = world.views[watch as usize].known.iter().filter(|(key, _)| key.kind.name == kind);
    told.map(|(_, object)| object.read::<K>().clone()).collect()
}

fn guarded<K: DeserializeOwned + Clone + Send + Sync + 'static>(world: &World, watch: Watch, kind: &str) -> Vec<Guarded<K>> {
    known(world, watch, kind).into_iter().map(|object| Guarded(Ok(object))).collect()
}

/// The caches that all reconcilers have, each as late as its watch.
fn shared(world: &World) -> Shared {
    Shared::of(Known {
        configurations: known(world, Watch::References, "BackupConfiguration"),
        batches: known(world, Watch::References, "BackupBatch"),
        verifiers: known(world, Watch::References, "BackupVerifier"),
        storages: known(world, Watch::References, "BackupStorage"),
        addons: known(world, Watch::References, "Addon"),
        functions: known(world, Watch::References, "Function"),
        claims: known(world, Watch::References, "PersistentVolumeClaim"),
        volumes: known(world, Watch::References, "PersistentVolume"),
        repositories: known(world, Watch::Repositories, "Repository"),
        sessions: guarded(world, Watch::Sessions, "BackupVerificationSession"),
        restores: known(world, Watch::Restores, "RestoreSession"),
        jobs: known(world, Watch::Jobs, "Job"),
        pods: known(world, Watch::Pods, "Pod"),
        pinned: (*world.pinned.0).clone(),
    })
}

impl Actors {
    fn new(context: &Arc<Context>, world: &World, needed: impl Fn(&Work) -> bool) -> Self {
        let shared = Arc::new(shared(world));
        let sessions =
            needed(&Work::Session(String::new())).then(|| Sessions::new(context.clone(), NAMESPACE, shared.clone(), &world.sessions));
        let restores =
            needed(&Work::Restore(String::new())).then(|| Restores::new(context.clone(), NAMESPACE, shared.clone(), &world.restores));
        Self { shared, sessions, restores }
    }

    async fn reconcile(&self, work: &Work) -> Option<Action> {
        match work {
            Work::Session(name) => self.sessions.as_ref()?.reconcile(name).await,
            Work::Restore(name) => self.restores.as_ref()?.reconcile(name).await,
        }
    }

    /// Keeps what the process remembers; says which sessions were nudged.
    fn end(self, world: &mut World) -> BTreeSet<String> {
        let mut nudged = BTreeSet::new();
        let kept = std::mem::take(&mut *lock(&self.shared.pinned));
        world.pinned = Pinned(Arc::new(kept));
        if let Some(sessions) = self.sessions {
            (world.sessions, nudged) = sessions.end();
        }
        if let Some(restores) = self.restores {
            world.restores = restores.end();
        }
        nudged
    }
}

/// When a reconciled object is looked at again.
fn again(world: &mut World, work: Work, action: &Action) {
    if let Some(wait) = wait(action) {
        let at = world.now() + i64::try_from(wait.as_secs()).unwrap_or(i64::MAX / 2);
        world.due.entry(work).and_modify(|due| *due = (*due).min(at)).or_insert(at);
    }
}

/// An Action shows its time to nobody but its reader in a log.
fn wait(action: &Action) -> Option<Duration> {
    if *action == Action::await_change() {
        return None;
    }
    let text = format!("{action:?}");
    let inner = text.split("Some(").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let wait: jiff::SignedDuration = inner.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Some(Duration::try_from(wait).unwrap())
}

/// Choices that need no reconciler.
fn simple(world: &mut World, choice: &Choice) -> Option<()> {
    match choice {
        Choice::Cluster(deed, name) => cluster::perform(world, *deed, name),
        Choice::Outside(edit) => outside::perform(world, edit),
        Choice::Late(watch) => {
            let view = &mut world.views[*watch as usize];
            let was = std::mem::replace(&mut view.late, true);
            (!was).then_some(())
        }
        Choice::Next(watch) => {
            let view = &world.views[*watch as usize];
            (view.late && !view.under_way.is_empty()).then_some(())?;
            world.deliver(*watch, 1);
            Some(())
        }
        Choice::CaughtUp(watch) => {
            let was = std::mem::replace(&mut world.views[*watch as usize].late, false);
            world.deliver(*watch, usize::MAX);
            was.then_some(())
        }
        Choice::Jump(seconds) => {
            world.skew += seconds;
            Some(())
        }
        Choice::Run(..) | Choice::Tick | Choice::Restart => None,
    }
}

/// Time passes until something is due.
fn tick(world: &mut World) -> Option<()> {
    let now = world.now();
    let due = world.due.values().copied().filter(|at| *at > now);
    let next = due.chain(cluster::next_expiry(world)).min()?;
    world.store.now = next;
    Some(())
}

#[test]
fn the_time_of_an_action_can_be_read() {
    for millis in [50u64, 1000, 1500, 30_000, 600_000] {
        assert_eq!(wait(&Action::requeue(Duration::from_millis(millis))), Some(Duration::from_millis(millis)));
    }
    assert_eq!(wait(&Action::await_change()), None);
}
