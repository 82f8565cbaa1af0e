//! Discovery of what KubeStash leaves behind: one restic repository for each component of a session. The repositories are
//! restic's, the program is the built one, and the API server is one in memory.

use std::{fs, path::Path, process::Command};

use backproof_api::{Cause, Repository, Snapshot, Verdict, report::DiscoveryReport};
use backproof_testing::memory::{Gate, Memory, Store};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::support::{
    listing,
    restic::{restic, restic_in},
    run::Run,
    sample::PASSWORD,
};

/// A namespace with one discovered Repository, and a directory as its storage.
struct World {
    runtime: tokio::runtime::Runtime,
    memory: Memory,
    scratch: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            memory: Memory::default(),
            scratch: tempfile::tempdir().expect("a directory"),
        };
        world.memory.set(Store::default(), Gate::default());
        let repository: Repository =
            serde_saphyr::from_str("{metadata: {name: repo, namespace: demo}, spec: {path: backups}}").expect("a Repository");
        let made = world.runtime.block_on(async {
            Api::<Repository>::namespaced(world.memory.client(), "demo").create(&kube::api::PostParams::default(), &repository).await
        });
        made.expect("making the Repository");
        world
    }

    /// The restic repository at this place below the Repository's path.
    fn place(&self, path: &str) -> std::path::PathBuf {
        self.scratch.path().join("backups").join(path)
    }

    /// Makes a restic repository there.
    fn init(&self, path: &str) {
        fs::create_dir_all(self.place(path)).expect("making a directory");
        restic(&self.place(path), PASSWORD, &["init"]);
    }

    /// Backs this text up to it, as of a minute of the hour.
    fn back_up(&self, path: &str, text: &str, minute: u32) {
        let source = self.scratch.path().join("source");
        fs::create_dir_all(&source).expect("making a directory");
        fs::write(source.join("file"), text).expect("writing");
        restic_in(&source, &self.place(path), PASSWORD, &["backup", "--time", &format!("2026-01-01 00:{minute:02}:00"), "."]);
    }

    /// Runs discovery once.
    fn discover(&self) -> DiscoveryReport {
        let output = self.runtime.block_on(async {
            let kubeconfig = self.memory.listen(self.scratch.path()).await.expect("a port");
            let repositories = Api::<Repository>::namespaced(self.memory.client(), "demo");
            let uid = repositories.get("repo").await.expect("the Repository").uid().expect("a UID");
            let mut command = Command::new(env!("CARGO_BIN_EXE_backproof-executor"));
            command.args(["discover", "--repository-name=repo", "--namespace=demo", "--session=only"]);
            command.arg(format!("--repository-uid={uid}")).arg(format!("--repository=file://{}", self.place("").display()));
            command.env_clear().env("RESTIC_PASSWORD", PASSWORD).env("KUBECONFIG", kubeconfig);
            tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("starting the executor")
        });
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The Snapshots there are, each as session, time and the path of each component, with the restic ids.
    fn snapshots(&self) -> Vec<Snapshot> {
        let listed = self.runtime.block_on(async {
            Api::<Snapshot>::namespaced(self.memory.client(), "demo").list(&ListParams::default()).await.expect("the Snapshots")
        });
        let mut all = listed.items;
        all.sort_by_key(|snapshot| {
            (snapshot.spec.session.clone(), snapshot.status.clone().unwrap_or_default().snapshot_time.map(|time| time.0))
        });
        all
    }

    /// What they stand for, in a line each.
    fn stand_for(&self) -> Vec<String> {
        let line = |snapshot: &Snapshot| {
            let status = snapshot.status.clone().unwrap_or_default();
            let minute = status.snapshot_time.map(|time| time.0.strftime("%M").to_string()).unwrap_or_default();
            let paths: Vec<_> = status.components.values().map(|component| component.path.clone()).collect();
            format!("{} {minute}: {}", snapshot.spec.session, paths.join(" "))
        };
        self.snapshots().iter().map(line).collect()
    }
}

/// Every component of the newest Snapshot of a session, restored from where it lies: the text in it.
fn restored(world: &World, snapshot: &Snapshot, scratch: &Path) -> Vec<String> {
    fs::create_dir_all(scratch).expect("making a directory");
    let components = snapshot.status.clone().expect("a status").components;
    let restore = |(name, component): (String, backproof_api::Component)| {
        let id = component.restic_stats[0].summary.clone().expect("a restic snapshot").id;
        let (repository, target) = (world.place(&component.path), scratch.join(&name));
        let told = Run::new(&repository, &id, PASSWORD, target.clone()).finish().told().expect("a report");
        assert_eq!(told.outcome, Verdict::Verified, "{name}: {told:?}");
        format!("{name}: {}", fs::read_to_string(target.join("file")).expect("the restored file"))
    };
    components.into_iter().map(restore).collect()
}

#[test]
fn every_component_of_a_session_is_found_where_kubestash_puts_it() {
    let world = World::new();
    fs::create_dir_all(world.place("snapshots")).expect("making a directory");
    fs::write(world.place("repository.yaml"), "kind: Repository").expect("writing");
    fs::write(world.place("snapshots/one.yaml"), "kind: Snapshot").expect("writing");
    fs::create_dir_all(world.place("repository/v1/daily/wal/base")).expect("making a directory");
    let (first, second, old) = ("repository/v1/daily/dump-pod-0", "repository/v1/daily/dump-pod-1", "repository/weekly/manifest");
    [first, second, old].iter().for_each(|path| world.init(path));
    world.back_up(first, "first", 10);
    world.back_up(second, "second", 11);
    world.back_up(first, "first again", 20);
    world.back_up(old, "weekly", 5);
    let before = listing::full(&world.place(""));

    let report = world.discover();
    assert_eq!((report.complete, report.found, report.created, &report.cause), (true, 4, 4, &None), "{report:?}");
    assert_eq!(report.notes, ["repository/v1/daily/wal is no restic repository and is left out: only what restic wrote can be verified"]);
    assert_eq!(
        world.stand_for(),
        [
            format!("daily 10: {first}"),
            format!("daily 11: {first} {second}"),
            format!("daily 20: {first} {second}"),
            format!("weekly 05: {old}")
        ]
    );
    assert_eq!(listing::full(&world.place("")), before, "discovery only reads");
    let newest = world.snapshots().into_iter().nth(2).expect("the newest of daily");
    assert_eq!(restored(&world, &newest, &world.scratch.path().join("targets")), ["dump-pod-0: first again", "dump-pod-1: second"]);
    assert_eq!(report.newest, Some(newest.name_any()));

    // A second time there is nothing to do; what a component forgot is told as gone.
    let again = world.discover();
    assert_eq!((again.created, again.gone.len()), (0, 0), "{again:?}");
    let ids = |at: usize| world.snapshots()[at].status.clone().expect("a status").components;
    let forgotten = ids(0).into_values().next().expect("a component").restic_stats[0].summary.clone().expect("an id").id;
    restic(&world.place(first), PASSWORD, &["forget", &forgotten]);
    assert_eq!(world.discover().gone, [forgotten[..16].to_owned()]);
}

#[test]
fn a_component_that_cannot_be_listed_concerns_its_own_session_alone() {
    let world = World::new();
    let (daily, other, weekly) = ("repository/v1/daily/pod-0", "repository/v1/daily/pod-1", "repository/v1/weekly/pod-0");
    for (path, minute) in [(daily, 10), (other, 11), (weekly, 12)] {
        world.init(path);
        world.back_up(path, path, minute);
    }
    fs::remove_file(world.place(daily).join("config")).expect("removing the config");
    let report = world.discover();
    assert_eq!(
        (report.complete, report.cause, report.sessions.as_slice()),
        (false, Some(Cause::RepositoryConfigMissing), ["daily".to_owned()].as_slice()),
        "{report:?}"
    );
    assert!(report.error.as_deref().unwrap_or_default().starts_with(&format!("{daily}/config")), "{report:?}");
    // Half of daily would pass for the whole of it.
    assert_eq!(world.stand_for(), [format!("weekly 12: {weekly}")]);
}
