//! What is still to be tried: of each state seen, every way on from it. A state has hundreds of them and a long exploration
//! sees millions of states, so a way is kept as a number and made again when its turn comes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    choice::{Choice, Trouble},
    cluster::{self, Deed},
    ends::End,
    outside::Edit,
    search::{Random, lock},
    world::{Watch, Work, World},
};

/// One of the ways on from a state.
#[derive(Clone, Copy)]
enum Way {
    /// The choice of this number.
    Plain(u16),
    /// A reconcile, by its number among the choices, with the trouble of this number.
    Troubled(u16, u16),
}

/// A way that is still to be tried.
struct Open {
    world: Arc<World>,
    way: Way,
}

/// What is to be tried next.
pub(super) struct Chosen {
    pub(super) world: Arc<World>,
    pub(super) choice: Choice,
    /// How much will have gone wrong then.
    pub(super) faults: u32,
    way: Way,
}

/// Everything that is still to be tried, by how much will have gone wrong then.
#[derive(Default)]
pub(super) struct Frontier(Mutex<BTreeMap<u32, Vec<Open>>>);

impl Frontier {
    /// Adds every way on from a state.
    pub(super) fn push(&self, world: &Arc<World>) {
        let ways: Vec<_> = choices(world).into_iter().zip(0..).map(|((_, faults), at)| (world.faults + faults, Way::Plain(at))).collect();
        let mut all = lock(&self.0);
        for (faults, way) in ways {
            all.entry(faults).or_default().push(Open { world: world.clone(), way });
        }
    }

    /// Adds everything that may go wrong in a reconcile that went well and wrote so often.
    pub(super) fn push_troubles(&self, chosen: &Chosen, writes: u32) {
        let (Way::Plain(run), Choice::Run(work, Trouble::None)) = (chosen.way, &chosen.choice) else { return };
        let count = u16::try_from(Troubles::of(&chosen.world, work).count(writes)).unwrap_or(u16::MAX);
        let mut all = lock(&self.0);
        let level = all.entry(chosen.faults + 1).or_default();
        level.extend((0..count).map(|number| Open { world: chosen.world.clone(), way: Way::Troubled(run, number) }));
    }

    /// Takes one out: with the fewest faults, any of them.
    pub(super) fn pop(&self, random: &mut Random) -> Option<Chosen> {
        let (faults, Open { world, way }) = {
            let mut all = lock(&self.0);
            let mut first = all.first_entry()?;
            let (faults, level) = (*first.key(), first.get_mut());
            let open = level.swap_remove(random.below(level.len()));
            if level.is_empty() {
                first.remove();
            }
            (faults, open)
        };
        let plain = |at: u16| choices(&world).swap_remove(usize::from(at)).0;
        let choice = match way {
            Way::Plain(at) => plain(at),
            Way::Troubled(at, number) => {
                let choice = plain(at);
                if let Choice::Run(work, _) = choice {
                    let trouble = Troubles::of(&world, &work).nth(usize::from(number));
                    Choice::Run(work, trouble)
                } else {
                    choice
                }
            }
        };
        Some(Chosen { world, choice, faults, way })
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// How much is left, by faults.
    pub(super) fn sizes(&self) -> Vec<(u32, usize)> {
        lock(&self.0).iter().map(|(faults, level)| (*faults, level.len())).collect()
    }
}

/// What may happen next, with how much of it goes wrong. The same state always has the same list.
pub(super) fn choices(world: &World) -> Vec<(Choice, u32)> {
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

/// Everything that may go wrong in one reconcile, numbered: the same list for each of its writes.
struct Troubles {
    overtakers: Vec<Choice>,
}

/// Troubles of a write beside being overtaken.
const PLAIN: usize = 4;

impl Troubles {
    fn of(world: &World, work: &Work) -> Self {
        let others = world.pending().into_iter().filter(|other| other != work).map(|other| Choice::Run(other, Trouble::None));
        let deeds = cluster::possible(world).into_iter().map(|(deed, name)| Choice::Cluster(deed, name));
        let edits = Edit::all(&sessions(world)).into_iter().map(Choice::Outside);
        Self { overtakers: others.chain(deeds).chain(edits).collect() }
    }

    fn each(&self) -> usize {
        PLAIN + self.overtakers.len()
    }

    fn count(&self, writes: u32) -> usize {
        self.each() * usize::try_from(writes).unwrap_or_default()
    }

    fn nth(&self, number: usize) -> Trouble {
        let at = u32::try_from(1 + number / self.each()).unwrap_or(u32::MAX);
        match number % self.each() {
            0 => Trouble::Die(at),
            1 => Trouble::Lose(at),
            2 => Trouble::Refuse(at, 409),
            3 => Trouble::Refuse(at, 500),
            other => Trouble::Overtaken(at, Box::new(self.overtakers[other - PLAIN].clone())),
        }
    }
}

/// Something that may go wrong in a reconcile, not all of it among what is tried one after the other.
pub(super) fn any_trouble(world: &World, work: &Work, random: &mut Random) -> Trouble {
    let at = 1 + u32::try_from(random.below(5)).unwrap_or_default();
    match random.below(6) {
        0 => Trouble::Die(at),
        1 => Trouble::Lose(at),
        2 => Trouble::Refuse(at, [409, 429, 500, 403][random.below(4)]),
        3 => Trouble::Fail(1 + u32::try_from(random.below(20)).unwrap_or_default(), [429, 500][random.below(2)]),
        _ => {
            let all = Troubles::of(world, work);
            all.nth(random.below(all.count(3)))
        }
    }
}
