//! From what was pinned and what is there now to the Jobs of a restore, or to the reason why there can be none. Pure.

use backproof_api::{
    Addon, BackupStorage, BackupVerifier, Cause, Component, Driver, Executor, Function, FunctionSpec, Repository, RestoreSession, Snapshot,
    Task,
    run::{PinnedComponent, PinnedObject},
    shared::{AddonInfo, TaskReference, Wire},
    template::{TemplateError, Variables, expand_object},
    validate::usage_allows,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, PersistentVolumeClaim},
};
use kube::ResourceExt;

use super::{
    Owner, copies, database, foreign,
    job::{self, Parts, Work},
    known::{self, place},
    landing::{self, Landing, Origin},
    resolve::{is_ours, resolve, restore_task, unchanged},
    settings::{Profile, Wishes},
    target,
    variables::{About, for_container, variables},
    verifier::asks,
    volumes::{self, Volumes},
};
use crate::{
    Config,
    database::Server,
    failure::Failure,
    storage::{self, HostPath, Place},
};

/// What the installation allows and gives.
#[derive(Clone, Copy)]
pub(crate) struct Installation<'a> {
    pub(crate) config: &'a Config,
    /// The proxy settings of the controller itself, which executors get too.
    pub(crate) proxies: &'a [EnvVar],
}

/// Everything that is looked up before the Jobs are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) verifier: Option<BackupVerifier>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) repository: Option<Repository>,
    pub(crate) storage: Option<BackupStorage>,
    /// Labels of the session's namespace; looked up where the storage asks for them.
    pub(crate) namespace_labels: std::collections::BTreeMap<String, String>,
    pub(crate) addons: Vec<Addon>,
    pub(crate) functions: Vec<Function>,
    /// Functions that the verifier's may mean, where its type is Query.
    pub(crate) verify_functions: Vec<Function>,
    pub(crate) claim: Option<PersistentVolumeClaim>,
    /// The server, where the target is a database.
    pub(crate) server: Option<Server>,
    /// Claims of the workload that was backed up, in its namespace.
    pub(crate) source: target::Source,
}

/// A Job to make.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) component: String,
    pub(crate) job: Job,
}

/// The Jobs, one for each component and the verifier's, or why there can be none.
pub(crate) fn plan(
    owner: &Owner,
    restore: &RestoreSession,
    inputs: &Inputs,
    installation: Installation<'_>,
) -> Result<Vec<Planned>, Failure> {
    let run = &owner.run;
    let namespace = restore.namespace().unwrap_or_default();
    let target = &run.verifier.target.object;
    if !installation.config.may_cross(&target.namespace, &namespace) {
        let text = format!(
            "the target lies in namespace {}, and a session of namespace {namespace} may not restore there; set the chart's value crossNamespace to {{{}: [{namespace}]}}",
            target.namespace, target.namespace
        );
        return Err(Failure::new(Cause::CrossNamespaceNotAllowed, text));
    }
    target::supported(&run.verifier.target)?;
    let verifier = found("BackupVerifier", &run.verifier.object, inputs.verifier.as_ref(), Cause::VerifierNotFound)?;
    unchanged("BackupVerifier", &run.verifier.object, verifier)?;
    let repository = found("Repository", &run.repository, inputs.repository.as_ref(), Cause::RepositoryObjectNotFound)?;
    let storage = storage_of(repository, inputs, &namespace)?;
    lies_where_it_did(&run.place, repository, storage)?;
    let snapshot_pin =
        PinnedObject { namespace: String::new(), name: run.snapshot.name.clone(), uid: run.snapshot.uid.clone(), generation: 0 };
    let snapshot = found("Snapshot", &snapshot_pin, inputs.snapshot.as_ref(), Cause::SnapshotObjectNotFound)?;
    let (addon_info, reference) = addon_info(restore)?;
    let (task, function) = executor(owner, addon_info, reference, inputs, installation.config)?;
    let server = inputs.server.as_ref();
    let facts = Facts { owner, restore, addon_info, reference, task, function, snapshot, repository, storage, server, installation };
    components(owner, snapshot)?;
    match &run.verifier.target.database {
        None => target::exists(&run.verifier.target, inputs.claim.as_ref())?,
        Some(pinned) => {
            let server = inputs.server.as_ref().filter(|server| server.object.uid == target.uid);
            database::unchanged(verifier, pinned, server, &format!("{} {}/{}", run.verifier.target.kind, target.namespace, target.name))?;
        }
    }
    target::is_not_source(&run.verifier.target, snapshot, storage, &inputs.source)?;
    let parts = &run.snapshot.components;
    let landings = landing::landings(parts, |part| origin(snapshot, part));
    let restores = parts.iter().zip(landings).map(|(part, landing)| facts.planned(part, landing));
    restores.chain(asks(&facts, verifier, inputs)?).collect()
}

pub(super) struct Facts<'a> {
    pub(super) owner: &'a Owner,
    pub(super) restore: &'a RestoreSession,
    pub(super) addon_info: &'a AddonInfo,
    pub(super) reference: &'a TaskReference,
    pub(super) task: &'a Task,
    pub(super) function: &'a Function,
    pub(super) snapshot: &'a Snapshot,
    pub(super) repository: &'a Repository,
    pub(super) storage: &'a BackupStorage,
    pub(super) server: Option<&'a Server>,
    pub(super) installation: Installation<'a>,
}

impl Facts<'_> {
    fn planned(&self, component: &PinnedComponent, landing: Option<Landing>) -> Result<Planned, Failure> {
        let namespace = &self.owner.run.verifier.target.object.namespace;
        let profile = if self.installation.config.allows_unsafe(namespace) { Profile::Unrestricted } else { Profile::Restricted };
        let host_path = match profile {
            Profile::Restricted => HostPath::Refused,
            Profile::Unrestricted => HostPath::Allowed,
        };
        let copied = copies::needed(self.storage, self.repository, namespace, self.installation.config)?;
        let name = job::name(self.owner, &component.name);
        let place = Place { namespace, host_path, copied_secret: (!copied.is_empty()).then_some(name.as_str()) };
        let access = storage::access(self.storage, self.repository, &component.path, place)
            .map_err(|error| Failure::new(error.cause(), error.to_string()))?;
        let host_paths = origin(self.snapshot, component).host_paths;
        let about = About {
            owner: self.owner,
            component,
            host_paths: &host_paths,
            repository_url: &access.url,
            allow_empty: self.owner.run.allow_empty,
            image: &self.installation.config.image,
        };
        let variables = variables(self.task, self.reference, about)?;
        let task_place = format!("Addon {}: spec.restoreTasks[{}]", self.owner.run.verifier.addon.name, self.task.name);
        let task = expand_object(self.task, &variables, &task_place).map_err(template)?;
        let function = expanded(self.function, &variables)?;
        let template = self.addon_info.job_template.as_ref().and_then(|template| template.spec.as_ref());
        let wishes = Wishes {
            function: function.spec.runtime_settings.as_ref(),
            addon: self.addon_info.container_runtime_settings.as_ref(),
            template,
        };
        if template.is_some_and(|spec| !spec.args.is_empty()) {
            return Err(Failure::new(
                Cause::VerifierInvalid,
                "restoreOption.addonInfo.jobTemplate.spec.args is set, but the arguments are the Function's; give params or variables to the task instead",
            ));
        }
        let added = volumes::added(&task, self.reference, template)?;
        volumes::check(&Volumes { volumes: Vec::new(), mounts: function.spec.volume_mounts.clone() })?;
        allowed(wishes, &added, profile, namespace)?;
        let parts = Parts {
            owner: self.owner,
            restore: self.restore,
            component,
            work: Work::Restore,
            function: &function,
            addon: self.addon_info,
            access,
            own: self.target_volumes(),
            added,
            wishes,
            profile,
            known: known::env(self.repository, self.storage, &component.path),
            target: self.target_env(),
            landing: landing.filter(|_| self.owner.run.verifier.foreign.is_none()),
            image: &self.installation.config.image,
            proxies: self.installation.proxies,
        };
        Ok(Planned { component: component.name.clone(), job: job::job(parts) })
    }

    pub(super) fn target_volumes(&self) -> Volumes {
        let target = &self.owner.run.verifier.target;
        target.database.as_ref().map_or_else(|| volumes::own(&target.object.name), database::volumes)
    }

    pub(super) fn target_env(&self) -> Vec<EnvVar> {
        match self.server.filter(|_| self.owner.run.verifier.target.database.is_some()) {
            Some(server) => database::env(server),
            None => Vec::new(),
        }
    }
}

fn found<'a, K: ResourceExt>(kind: &str, pinned: &PinnedObject, there: Option<&'a K>, missing: Cause) -> Result<&'a K, Failure> {
    let object = there.ok_or_else(|| Failure::new(missing, format!("{kind} {} does not exist any more", pinned.name)))?;
    if !pinned.uid.is_empty() && object.uid().as_ref() != Some(&pinned.uid) {
        return Err(Failure::new(
            missing,
            format!("{kind} {} was replaced by another of the same name after the session had started", pinned.name),
        ));
    }
    Ok(object)
}

/// Whether a Repository still lies where the run was pinned to. What is read there is not what the session stands for otherwise.
fn lies_where_it_did(pinned: &str, repository: &Repository, storage: &BackupStorage) -> Result<(), Failure> {
    // Runs of versions that did not pin it have nothing to compare.
    if pinned.is_empty() || place(repository, storage) == pinned {
        return Ok(());
    }
    let text = format!(
        "Repository {} lies elsewhere since the session has started: its spec.path or BackupStorage {} was changed; start another session",
        repository.name_any(),
        storage.name_any()
    );
    Err(Failure::new(Cause::RepositoryChangedDuringRun, text))
}

fn storage_of<'a>(repository: &Repository, inputs: &'a Inputs, namespace: &str) -> Result<&'a BackupStorage, Failure> {
    let reference = repository.spec.storage_ref.clone().unwrap_or_default();
    let storage = inputs.storage.as_ref().ok_or_else(|| {
        let text = format!(
            "Repository {}: spec.storageRef names BackupStorage {}/{}, which does not exist",
            repository.name_any(),
            reference.namespace_or(namespace),
            reference.name
        );
        Failure::new(Cause::StorageObjectNotFound, text)
    })?;
    let own = storage.namespace().unwrap_or_default();
    if usage_allows(storage.spec.usage_policy.as_ref(), &own, namespace, Some(&inputs.namespace_labels)) == Some(true) {
        return Ok(storage);
    }
    let text = format!("BackupStorage {own}/{}: spec.usagePolicy does not allow namespace {namespace}", storage.name_any());
    Err(Failure::new(Cause::CrossNamespaceNotAllowed, text))
}

/// The Addon a restore uses, and the one task of it.
pub(crate) fn addon_info(restore: &RestoreSession) -> Result<(&AddonInfo, &TaskReference), Failure> {
    let missing = |field: &str| Failure::new(Cause::VerifierInvalid, format!("the verifier's {field} is not set"));
    let info = restore.spec.addon.as_ref().ok_or_else(|| missing("restoreOption.addonInfo"))?;
    match info.tasks.as_slice() {
        [] => Err(missing("restoreOption.addonInfo.tasks")),
        [task] => Ok((info, task)),
        several => {
            let names: Vec<&str> = several.iter().map(|task| task.name.as_str()).collect();
            let text = format!("the verifier's restoreOption.addonInfo.tasks names {}; this version runs one task", names.join(", "));
            Err(Failure::new(Cause::VerifierInvalid, text))
        }
    }
}

fn executor<'a>(
    owner: &Owner,
    info: &AddonInfo,
    reference: &TaskReference,
    inputs: &'a Inputs,
    config: &Config,
) -> Result<(&'a Task, &'a Function), Failure> {
    let pinned = &owner.run.verifier;
    let addon = resolve("Addon", &info.name, Cause::AddonNotFound, &inputs.addons)?;
    unchanged("Addon", &pinned.addon, addon)?;
    let task = restore_task(addon, &reference.name)?;
    let place = format!("Addon {}: restore task {:?}", addon.name_any(), task.name);
    match &task.executor {
        None | Some(Wire::Known(Executor::Job)) => {}
        Some(other @ (Wire::Known(Executor::Sidecar | Executor::EphemeralContainer | Executor::MultiLevelJob) | Wire::Other(_))) => {
            return Err(Failure::new(
                Cause::ExecutorNotSupported,
                format!("{place} asks for the executor {other}; this version runs Jobs"),
            ));
        }
    }
    restic(task.driver.as_ref(), &place)?;
    let function = resolve("Function", &task.function, Cause::FunctionNotFound, &inputs.functions)?;
    unchanged("Function", &pinned.function, function)?;
    if !is_ours(function) {
        foreign::allowed(owner, function, &place, config)?;
        let several = owner.run.snapshot.components.len();
        if task.singleton && several > 1 {
            let text = format!(
                "{place} is a singleton, and Snapshot {} has {several} components for it; this version runs one Job for each",
                owner.run.snapshot.name
            );
            return Err(Failure::new(Cause::ExecutorNotSupported, text));
        }
    } else if owner.run.verifier.foreign.is_some() {
        let text =
            format!("Function {} was labelled as Backproof's after the session had started; start another session", function.name_any());
        return Err(Failure::new(Cause::VerifierChanged, text));
    }
    Ok((task, function))
}

fn restic(driver: Option<&Wire<Driver>>, place: &str) -> Result<(), Failure> {
    match driver {
        None | Some(Wire::Known(Driver::Restic)) => Ok(()),
        Some(
            other @ (Wire::Known(
                Driver::WalG | Driver::VolumeSnapshotter | Driver::Solr | Driver::Medusa | Driver::ClickHouseBackup | Driver::Neo4jAdmin,
            )
            | Wire::Other(_)),
        ) => Err(Failure::new(Cause::DriverNotSupported, format!("{place} has the driver {other}; this version reads Restic"))),
    }
}

/// Whether this version can restore every pinned component.
fn components(owner: &Owner, snapshot: &Snapshot) -> Result<(), Failure> {
    let pinned = &owner.run.snapshot.components;
    if pinned.is_empty() {
        return Err(Failure::new(
            Cause::NoComponentSelected,
            format!("task {:?} selects no component of Snapshot {}", owner.run.verifier.task, snapshot.name_any()),
        ));
    }
    for component in pinned {
        let place = format!("component {:?} of Snapshot {}", component.name, snapshot.name_any());
        restic(recorded(snapshot, component).and_then(|(_, component)| component.driver.as_ref()), &place)?;
        match component.restic_ids.as_slice() {
            [] => return Err(Failure::new(Cause::DriverNotSupported, format!("{place} names no restic snapshot"))),
            [id] if id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {}
            [id] => return Err(Failure::new(Cause::SnapshotNotFound, format!("{place} names the restic snapshot {id:?}, which is no id"))),
            // Who reads whole components takes all of them.
            _ if owner.run.verifier.foreign.is_some() => {}
            // Each is a part of its own by now; a report is about one.
            several => {
                let text = format!("{place} still consists of {} restic snapshots", several.len());
                return Err(Failure::new(Cause::Internal, text));
            }
        }
    }
    Ok(())
}

/// The Snapshot's component that a part belongs to: the one with its restic snapshot at its place, or else of its name.
fn recorded<'a>(snapshot: &'a Snapshot, part: &PinnedComponent) -> Option<(&'a String, &'a Component)> {
    let components = &snapshot.status.as_ref()?.components;
    let holds = |(_, component): &(&String, &Component)| {
        let ids = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref()).map(|summary| &summary.id);
        // One without a path was looked for where the Repository lists it.
        (component.path == part.path || component.path.is_empty()) && ids.into_iter().any(|id| part.restic_ids.contains(id))
    };
    components.iter().find(holds).or_else(|| components.get_key_value(&part.name))
}

/// The component of a part, and what was backed up in it, as the Snapshot tells it.
fn origin(snapshot: &Snapshot, part: &PinnedComponent) -> Origin {
    let Some((name, component)) = recorded(snapshot, part) else {
        return Origin { component: part.name.clone(), host_paths: Vec::new() };
    };
    let summaries = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref());
    let of_part = summaries.filter(|summary| part.restic_ids.contains(&summary.id));
    Origin { component: name.clone(), host_paths: of_part.map(|summary| summary.host_path.clone()).collect() }
}

/// The Function with its templates filled in.
pub(super) fn expanded(function: &Function, variables: &Variables) -> Result<Function, Failure> {
    let in_container = for_container(variables);
    let place = format!("Function {}: spec", function.name_any());
    let spec = &function.spec;
    let run = FunctionSpec {
        command: spec.command.clone(),
        args: spec.args.clone(),
        runtime_settings: spec.runtime_settings.clone(),
        ..FunctionSpec::default()
    };
    let rest = FunctionSpec { command: Vec::new(), args: Vec::new(), runtime_settings: None, ..spec.clone() };
    let both = (expand_object(&run, &in_container, &place), expand_object(&rest, variables, &place));
    let (run, rest) = match both {
        (Ok(run), Ok(rest)) => (run, rest),
        (run, rest) => return Err(template([run.err(), rest.err()].into_iter().flatten().flatten().collect())),
    };
    if rest.image.is_empty() {
        return Err(Failure::new(Cause::TemplateInvalid, format!("{place}.image is empty")));
    }
    let mut function = function.clone();
    function.spec = FunctionSpec { command: run.command, args: run.args, runtime_settings: run.runtime_settings, ..rest };
    Ok(function)
}

fn template(errors: Vec<TemplateError>) -> Failure {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Failure::new(Cause::TemplateInvalid, texts.join("; "))
}

pub(super) fn allowed(wishes: Wishes<'_>, added: &Volumes, profile: Profile, namespace: &str) -> Result<(), Failure> {
    if let Some(name) = wishes.env().iter().map(|variable| &variable.name).find(|name| name.starts_with("BACKPROOF_")) {
        return Err(Failure::new(
            Cause::VerifierInvalid,
            format!("the environment variable {name} is Backproof's own; leave it out of the settings of verifier, Addon and Function"),
        ));
    }
    let asked = wishes.unsafe_ones(&added.volumes);
    match profile {
        Profile::Unrestricted => Ok(()),
        Profile::Restricted if asked.is_empty() => Ok(()),
        Profile::Restricted => {
            let text = format!(
                "verifier, Addon or Function ask for {}; leave it out, or list namespace {namespace} in the chart's value unsafeNamespaces",
                asked.join(", ")
            );
            Err(Failure::new(Cause::UnsafeSettings, text))
        }
    }
}
