//! Everything that can be missing or wrong, with its cause.

use backproof_api::{Cause, labels};

use super::{
    super::observed::{Claim, References, Target},
    world::{World, merged, yaml},
};
use crate::shared::Reading;

/// A refused session is finished at once: it says why, makes nothing, and the Snapshot keeps its status.
fn refused(name: &str, world: World, cause: Cause, says: &str) {
    // Whatever caches say, it is read live before anything is refused, and nothing is written by then.
    let mut lags = world.clone();
    lags.references.reading = Reading::Cached;
    let lags = lags.run(None);
    assert_eq!(lags.done.first().map(String::as_str), Some("AskAgain"), "{name}: {:?}", lags.done);
    assert_eq!(lags.end(), format!("Failed {} {cause}", cause.verdict()), "{name}");
    let world = world.run(None);
    let verdict = cause.verdict();
    assert_eq!(world.end(), format!("Failed {verdict} {cause}"), "{name}: {}", world.status().message);
    assert!(world.status().message.contains(says), "{name}: {}", world.status().message);
    assert_eq!(world.restores_made, 0, "{name}");
    assert!(!world.done.iter().any(|done| done == "AcquireLock"), "{name}: {:?}", world.done);
    if let Some(snapshot) = world.references.snapshots.first() {
        let status = snapshot.status.as_ref().and_then(|status| status.verification_status.clone()).map(|status| status.to_string());
        let expected = if verdict == backproof_api::Verdict::VerificationFailed { "VerificationFailed" } else { "NotVerified" };
        assert_eq!(status.as_deref(), Some(expected), "{name}");
    }
}

/// What caches miss or have in an old version, and the API server does not, ends no session.
#[test]
fn a_cache_that_lags_refuses_nothing() {
    type Lag = fn(&mut References);
    let proven = "status: {verificationStatus: Verified, verification: {session: before, sessionUid: b, started: '2025-12-31T01:00:00Z', completed: '2025-12-31T02:00:00Z', verdict: Verified, snapshotUid: sna, resticIds: [r1], place: PLACE, verifierHash: HASH}}";
    let cases: &[(&str, Lag)] = &[
        ("invoker", |cached| cached.invoker = None),
        ("verifier", |cached| cached.verifier = None),
        ("repository", |cached| cached.repository = None),
        ("storage", |cached| cached.storage = None),
        ("addon", |cached| cached.addon = None),
        ("function", |cached| cached.function = None),
        ("target", |cached| cached.target = None),
        ("a target that was a source", |cached| cached.sources[0].name = "scratch".into()),
    ];
    for (name, lag) in cases {
        let mut world = World::new();
        world.live = Some(world.references.clone());
        lag(&mut world.references);
        world.references.reading = Reading::Cached;
        let world = world.run(None);
        assert_eq!((world.end().as_str(), world.done.first().map(String::as_str)), ("Succeeded Verified -", Some("AskAgain")), "{name}");
    }
    // Proven before, as an old version of the Snapshot says.
    let mut world = World::new();
    let run = world.clone().run(None).status().run.unwrap();
    let snapshot = merged(&world.references.snapshots[0], &proven.replace("HASH", &run.verifier.hash).replace("PLACE", &run.place));
    world.live = Some(world.references.clone());
    world.references.snapshots = vec![snapshot.clone()];
    world.references.reading = Reading::Cached;
    assert_eq!(world.clone().run(None).end(), "Succeeded Verified -");
    world.live.as_mut().unwrap().snapshots = vec![snapshot];
    let skipped = world.run(None);
    assert_eq!((skipped.end().as_str(), skipped.done.first().map(String::as_str)), ("Skipped Skipped -", Some("AskAgain")));
}

/// The same between the pinning and the restore: the verifier has changed only if the API server says so.
#[test]
fn a_cache_that_lags_ends_no_pinned_session() {
    let mut world = World::new();
    let good = world.references.clone();
    let start = world.decide();
    start.effects.iter().for_each(|effect| world.perform(effect, &start));
    world.references.verifier.as_mut().unwrap().metadata.generation = Some(2);
    world.references.reading = Reading::Cached;
    let changed = world.clone();
    world.live = Some(good);
    let world = world.run(None);
    assert_eq!(world.end(), "Succeeded Verified -", "{:?}", world.done);
    assert!(world.done.contains(&"AskAgain".to_owned()));
    assert_eq!(changed.run(None).end(), "Failed Inconclusive VerifierChanged");
}

fn without(change: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    change(&mut world);
    world
}

#[test]
fn what_is_missing() {
    use Cause::{
        AddonNotFound, FunctionNotFound, InvokerNotFound, NoSnapshotToVerify, RepositoryObjectNotFound, SnapshotObjectNotFound,
        StorageObjectNotFound, TargetNotFound, VerifierNotFound,
    };
    for (name, world, cause, says) in [
        ("no invoker named", World::new().session("spec: {invoker: null}"), InvokerNotFound, "spec.invoker names no object"),
        ("wrong kind", World::new().session("spec: {invoker: {kind: Pod}}"), InvokerNotFound, "no kind that backups belong to"),
        (
            "invoker",
            without(|world| world.references.invoker = None),
            InvokerNotFound,
            "BackupConfiguration demo/backup does not exist: create it",
        ),
        ("session", World::new().session("spec: {session: weekly}"), InvokerNotFound, r#"has no session "weekly""#),
        (
            "verifier",
            without(|world| world.references.verifier = None),
            VerifierNotFound,
            "BackupVerifier demo/verifier does not exist: create it",
        ),
        (
            "repository",
            without(|world| world.references.repository = None),
            RepositoryObjectNotFound,
            "Repository demo/repo does not exist",
        ),
        ("storage", without(|world| world.references.storage = None), StorageObjectNotFound, "BackupStorage demo/storage does not exist"),
        ("snapshot", without(|world| world.references.snapshots.clear()), SnapshotObjectNotFound, "Snapshot demo/snap does not exist"),
        ("addon", without(|world| world.references.addon = None), AddonNotFound, "Addon pvc-addon does not exist"),
        ("function", without(|world| world.references.function = None), FunctionNotFound, "Function pvc-restore does not exist"),
        ("target", without(|world| world.references.target = None), TargetNotFound, "PersistentVolumeClaim demo/scratch does not exist"),
        (
            "task",
            World::new().verifier("spec: {restoreOption: {addonInfo: {tasks: [{name: manifest-restore}]}}}"),
            AddonNotFound,
            "it has logical-backup-restore",
        ),
        (
            "newest",
            World::new().session("spec: {snapshot: latest}").snapshot("status: {phase: Running}"),
            NoSnapshotToVerify,
            "wait for a backup",
        ),
        (
            "of another session",
            World::new().snapshot("spec: {session: weekly}"),
            SnapshotObjectNotFound,
            "belongs to repository repo and session weekly",
        ),
        ("not succeeded", World::new().snapshot("status: {phase: Failed}"), NoSnapshotToVerify, "is Failed: name one that is Succeeded"),
    ] {
        refused(name, world, cause, says);
    }
}

#[test]
fn a_verifier_without_reference() {
    let world = without(|world| {
        world.references.invoker = Some(super::super::observed::OwnedInvoker::Configuration(Box::new(yaml(
            "{metadata: {name: backup, namespace: demo, uid: inv}, spec: {sessions: [{name: nightly, repositories: [{name: repo}]}]}}",
        ))));
    });
    refused("no reference", world, Cause::VerifierNotFound, "set its spec.sessions[0].repositories[0].backupVerifier");
}

#[test]
fn what_is_wrong() {
    use Cause::{
        DriverNotSupported, ExecutorNotSupported, ForeignFunctionNotAllowed, NoComponentSelected, NoComponents, TargetNotSupported,
        TypeNotSupported, VerifierInvalid,
    };
    let foreign = without(|world| world.references.function.as_mut().unwrap().metadata.labels = None);
    let sidecar = without(|world| {
        world.references.addon = world
            .references
            .addon
            .as_ref()
            .map(|addon| merged(addon, "spec: {restoreTasks: [{name: logical-backup-restore, executor: Sidecar}]}"))
    });
    for (name, world, cause, says) in [
        ("script", World::new().verifier("spec: {type: Script}"), TypeNotSupported, "RestoreOnly and Query work"),
        ("no type", World::new().verifier("spec: {type: null}"), VerifierInvalid, "set it to RestoreOnly"),
        ("unknown type", World::new().verifier("spec: {type: Guess}"), VerifierInvalid, "set it to RestoreOnly"),
        ("timeout", World::new().verifier("spec: {timeout: 1d}"), VerifierInvalid, "spec.timeout"),
        (
            "two tasks",
            World::new().verifier("spec: {restoreOption: {addonInfo: {tasks: [{name: a}, {name: b}]}}}"),
            VerifierInvalid,
            "keep one of them",
        ),
        (
            "workload",
            World::new().verifier("spec: {restoreOption: {target: {apiGroup: apps, kind: StatefulSet}}}"),
            TargetNotSupported,
            "name a PersistentVolumeClaim",
        ),
        ("foreign function", foreign, ForeignFunctionNotAllowed, "foreignFunctions.enabled"),
        ("executor", sidecar, ExecutorNotSupported, "only Job is supported"),
        ("no component", World::new().snapshot("status: {components: null}"), NoComponents, "names no component"),
        (
            "none selected",
            World::new().snapshot("status: {components: {pod: null, manifest: {}}}"),
            NoComponentSelected,
            "choose another task",
        ),
        ("driver", World::new().snapshot("status: {components: {pod: {driver: WalG}}}"), DriverNotSupported, "only Restic"),
    ] {
        refused(name, world, cause, says);
    }
}

#[test]
fn the_target_is_never_the_source() {
    let target = |patch: &str| World::new().verifier(&format!("spec: {{restoreOption: {{target: {patch}}}}}"));
    let claims = |change: fn(&mut Claim, &mut Claim)| {
        without(|world| {
            let mut target = world.target().clone();
            change(&mut target, &mut world.references.sources[1]);
            world.references.target = Some(Target::Claim(target));
        })
    };
    for (name, world) in [
        ("named by the invoker", target("{name: data}")),
        ("named with namespace and group", target("{apiGroup: v1, name: data, namespace: demo}")),
        ("named by the snapshot", World::new().snapshot("spec: {appRef: {kind: PersistentVolumeClaim, name: scratch, namespace: demo}}")),
        (
            "named by the repository",
            without(|world| {
                world.references.repository = world
                    .references
                    .repository
                    .as_ref()
                    .map(|object| merged(object, "spec: {appRef: {kind: PersistentVolumeClaim, name: scratch}}"))
            }),
        ),
        ("the repository's volume", claims(|target, source| target.name.clone_from(&source.name))),
        ("same claim", claims(|target, source| target.uid.clone_from(&source.uid))),
        ("same volume", claims(|target, source| (target.volume_uid, source.volume_uid) = ("pv".into(), "pv".into()))),
        ("same place", claims(|target, source| (target.place, source.place) = ("nfs:/a".into(), "nfs:/a".into()))),
        ("place inside", claims(|target, source| (target.place, source.place) = ("nfs:/a/b".into(), "nfs:/a".into()))),
        ("place around", claims(|target, source| (target.place, source.place) = ("nfs:/a/".into(), "nfs:/a/b".into()))),
    ] {
        refused(name, world, Cause::TargetIsSource, "restoring would overwrite it");
    }
    let beside = claims(|target, source| (target.place, source.place) = ("nfs:/ab".into(), "nfs:/a".into()));
    assert_eq!(beside.run(None).end(), "Succeeded Verified -");
}

#[test]
fn namespaces_are_crossed_only_when_allowed() {
    let elsewhere = || {
        without(|world| {
            world.target().namespace = "verify".into();
            world.references.storage = world
                .references
                .storage
                .as_ref()
                .map(|storage| merged(storage, "spec: {storage: {local: null, provider: s3, s3: {bucket: b}}}"));
        })
    };
    refused("not listed", elsewhere(), Cause::CrossNamespaceNotAllowed, "crossNamespace");
    let mut listed = elsewhere();
    listed.settings.crossing = vec!["verify=demo".parse().unwrap()];
    assert_eq!(listed.run(None).end(), "Succeeded Verified -");
    let claim = without(|world| world.target().namespace = "verify".into());
    refused("claim", claim, Cause::CrossNamespaceNotAllowed, "cannot be mounted in namespace verify");
    let secret = without(|world| {
        world.references.repository =
            world.references.repository.as_ref().map(|object| merged(object, "spec: {encryptionSecret: {namespace: vault}}"))
    });
    refused("secret", secret.clone(), Cause::SecretNotReachable, "Secret vault/password");
    let mut allowed = secret;
    allowed.settings.crossing = vec!["demo=vault".parse().unwrap()];
    assert_eq!(allowed.run(None).end(), "Succeeded Verified -");
    let foreign_storage = |policy: &str| {
        without(|world| {
            let patch = format!(
                "metadata: {{namespace: infra}}\nspec: {{usagePolicy: {policy}, storage: {{local: null, provider: s3, s3: {{bucket: b}}}}}}"
            );
            world.references.storage = world.references.storage.as_ref().map(|storage| merged(storage, &patch));
        })
    };
    refused("usage", foreign_storage("{}"), Cause::CrossNamespaceNotAllowed, "usagePolicy");
    assert_eq!(foreign_storage("{allowedNamespaces: {from: All}}").run(None).end(), "Succeeded Verified -");
    let selector = "{allowedNamespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}";
    refused("selector", foreign_storage(selector), Cause::CrossNamespaceNotAllowed, "usagePolicy");
    let mut selected = foreign_storage(selector);
    selected.references.namespace_labels = [("team".to_owned(), "blue".to_owned())].into();
    assert_eq!(selected.run(None).end(), "Succeeded Verified -");
}

#[test]
fn unsafe_settings() {
    let info = |patch: &str| format!("spec: {{restoreOption: {{addonInfo: {patch}}}}}");
    let pod = |patch: &str| info(&format!("{{jobTemplate: {{spec: {patch}}}}}"));
    for (patch, says) in [
        (pod("{hostNetwork: true}"), "jobTemplate.spec.hostNetwork"),
        (pod("{hostPID: true}"), "hostPID"),
        (pod("{hostIPC: true}"), "hostIPC"),
        (pod("{volumes: [{name: v, hostPath: {path: /}}]}"), "volumes[v].hostPath"),
        (pod("{securityContext: {runAsUser: 0}}"), "securityContext.runAsUser 0"),
        (pod("{securityContext: {runAsNonRoot: false}}"), "runAsNonRoot false"),
        (pod("{containerSecurityContext: {privileged: true}}"), "containerSecurityContext.privileged"),
        (pod("{containerSecurityContext: {capabilities: {add: [SYS_ADMIN]}}}"), "capabilities.add"),
        (pod("{containerSecurityContext: {allowPrivilegeEscalation: true}}"), "allowPrivilegeEscalation"),
        (pod("{initContainers: [{name: i, securityContext: {runAsUser: 0}}]}"), "initContainers[i]"),
        (info("{containerRuntimeSettings: {securityContext: {runAsUser: 0}}}"), "containerRuntimeSettings"),
        (info("{tasks: [{name: logical-backup-restore, targetVolumes: {volumes: [{name: v, hostPath: {path: /}}]}}]}"), "targetVolumes"),
        (info("{tasks: [{name: logical-backup-restore, addonVolumes: [{name: v, source: {hostPath: {path: /}}}]}]}"), "addonVolumes[v]"),
        ("spec: {volumes: [{name: v, hostPath: {path: /}}]}".to_owned(), "spec.volumes[v].hostPath"),
        ("spec: {runtimeSettings: {pod: {nodeName: node-1}}}".to_owned(), "nodeName"),
        ("spec: {runtimeSettings: {container: {securityContext: {privileged: true}}}}".to_owned(), "privileged"),
    ] {
        refused(&patch, World::new().verifier(&patch), Cause::UnsafeSettings, says);
        let mut allowed = World::new().verifier(&patch);
        allowed.settings.unsafe_namespaces = vec!["demo".into()];
        assert_eq!(allowed.run(None).end(), "Succeeded Verified -", "{patch}");
    }
    let function = without(|world| {
        world.references.function = world
            .references
            .function
            .as_ref()
            .map(|function| merged(function, "spec: {runtimeSettings: {securityContext: {privileged: true}}}"))
    });
    refused("function", function, Cause::UnsafeSettings, "Function backproof-pvc-restore");
    let template =
        "spec: {restoreTasks: [{name: logical-backup-restore, function: f, volumeTemplate: [{name: v, source: {hostPath: {path: /}}}]}]}";
    let addon = without(|world| world.references.addon = world.references.addon.as_ref().map(|addon| merged(addon, template)));
    refused("addon", addon, Cause::UnsafeSettings, "volumeTemplate v");
}

#[test]
fn the_newest_is_the_latest_taken_then_the_last_by_name() {
    let mut world = World::new().session("spec: {snapshot: ''}");
    for (name, taken, phase) in [
        ("a", "2026-01-02", "Succeeded"),
        ("b", "2026-01-02", "Succeeded"),
        ("c", "2026-01-03", "Running"),
        ("d", "2026-01-01", "Succeeded"),
    ] {
        let patch = format!("{{metadata: {{name: {name}, uid: {name}}}, status: {{phase: {phase}, snapshotTime: '{taken}T00:00:00Z'}}}}");
        world.references.snapshots.push(merged(&world.references.snapshots[0], &patch));
    }
    let decision = world.decide();
    assert_eq!(decision.status.unwrap().run.unwrap().snapshot.name, "b");
}

#[test]
fn a_proof_that_holds_is_not_repeated() {
    let proven = World::new().run(None).references.snapshots[0].clone();
    let again = |snapshot: &str, session: &str, verifier: &str| {
        let mut world = World::new().verifier(verifier).session(session).after(3600);
        world.references.snapshots[0] = merged(&proven, snapshot);
        world.session.metadata.name = Some("second".into());
        world.session.metadata.uid = Some("bbbb".into());
        // Worlds are large; a table of them belongs on the heap.
        Box::new(world)
    };
    let skipped = (*again("{}", "{}", "{}")).run(None);
    assert_eq!(skipped.end(), "Skipped Skipped -");
    assert_eq!((skipped.restores_made, skipped.proof().as_str()), (0, "Verified repo-nightly-1:Verified -"));
    assert_eq!(skipped.done, ["Claim", "WriteStatus Running", "WriteStatus Skipped", "Count Skipped"]);
    let reverify = format!("metadata: {{annotations: {{{}: 'true'}}}}", labels::REVERIFY);
    for (name, world) in [
        ("asked for", again("{}", &reverify, "{}")),
        ("expired", again("{}", "{}", "spec: {reverifyAfter: 30m}")),
        ("another verifier", again("{}", "{}", "spec: {allowEmpty: true}")),
        ("another snapshot of the name", again("metadata: {uid: other}", "{}", "{}")),
        ("other data", again("status: {components: {pod: {resticStats: [{summary: {id: r2}}]}}}", "{}", "{}")),
        ("no record", again("status: {verification: null}", "{}", "{}")),
        ("a red record", again("status: {verification: {verdict: VerificationFailed}}", "{}", "{}")),
        ("not Verified", again("status: {verificationStatus: NotVerified}", "{}", "{}")),
    ] {
        let decision = world.decide();
        assert_eq!(decision.status.unwrap().run.unwrap().proven_by, "", "{name}");
    }
    let young = again("{}", "{}", "spec: {reverifyAfter: 2h}").decide();
    assert_eq!(young.status.unwrap().run.unwrap().proven_by, "repo-nightly-1");
}
