//! Every reason why there can be no Job, and what is allowed where.

use backproof_api::{Addon, Function};
use serde_json::json;

use super::{
    super::known::place,
    facts::{World, at, from, yaml},
};

/// What a change of the world leads to: the reason, or `planned`.
fn after(change: impl FnOnce(&mut World)) -> String {
    let mut world = World::new();
    change(&mut world);
    world.pin();
    match world.planned() {
        Ok(_) => "planned".into(),
        Err(line) => line,
    }
}

fn addon_info(info: serde_json::Value) -> impl FnOnce(&mut World) {
    move |world| {
        world.restore.spec.addon = Some(from(info));
    }
}

fn template(spec: serde_json::Value) -> impl FnOnce(&mut World) {
    addon_info(json!({"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}], "jobTemplate": {"spec": spec}}))
}

fn task(world: &mut World, change: impl FnOnce(&mut backproof_api::Task)) {
    change(&mut world.inputs.addons[0].spec.restore_tasks[0]);
}

#[test]
fn what_is_missing_or_was_changed_is_named() {
    type Change = fn(&mut World);
    let cases: &[(&str, Change, &str)] = &[
        ("nothing", |_| {}, "planned"),
        ("verifier gone", |w| w.inputs.verifier = None, "VerifierNotFound: BackupVerifier verifier does not exist any more"),
        (
            "verifier changed",
            |w| w.inputs.verifier.as_mut().unwrap().metadata.generation = Some(4),
            "VerifierChanged: BackupVerifier verifier was changed (generation 3 became 4) after the session had started; start another session",
        ),
        (
            "verifier replaced",
            |w| w.inputs.verifier.as_mut().unwrap().metadata.uid = Some("x".into()),
            "VerifierNotFound: BackupVerifier verifier was replaced by another of the same name after the session had started",
        ),
        ("repository gone", |w| w.inputs.repository = None, "RepositoryObjectNotFound: Repository store does not exist any more"),
        (
            "storage gone",
            |w| w.inputs.storage = None,
            "StorageObjectNotFound: Repository store: spec.storageRef names BackupStorage demo/disk, which does not exist",
        ),
        ("snapshot gone", |w| w.inputs.snapshot = None, "SnapshotObjectNotFound: Snapshot snap does not exist any more"),
        (
            "snapshot replaced",
            |w| w.inputs.snapshot.as_mut().unwrap().metadata.uid = Some("x".into()),
            "SnapshotObjectNotFound: Snapshot snap was replaced by another of the same name after the session had started",
        ),
        (
            "addon gone",
            |w| w.inputs.addons.clear(),
            "AddonNotFound: Addon pvc-addon does not exist, and no Addon carries the label backproof.dev/implements=pvc-addon; install the catalog, or mend the name",
        ),
        (
            "addon changed",
            |w| w.inputs.addons[0].metadata.generation = Some(2),
            "VerifierChanged: Addon backproof-pvc-addon was changed (generation 1 became 2) after the session had started; start another session",
        ),
        (
            "task gone",
            |w| w.inputs.addons[0].spec.restore_tasks.clear(),
            "AddonNotFound: Addon backproof-pvc-addon has no restore task \"logical-backup-restore\"; it has: ",
        ),
        (
            "function gone",
            |w| w.inputs.functions.clear(),
            "FunctionNotFound: Function backproof-pvc-restore does not exist, and no Function carries the label backproof.dev/implements=backproof-pvc-restore; install the catalog, or mend the name",
        ),
        (
            "function replaced",
            |w| w.inputs.functions[0].metadata.uid = Some("x".into()),
            "VerifierChanged: Function backproof-pvc-restore was replaced after the session had started; start another session",
        ),
        (
            "sidecar",
            |w| task(w, |t| t.executor = Some(from(json!("Sidecar")))),
            "ExecutorNotSupported: Addon backproof-pvc-addon: restore task \"logical-backup-restore\" asks for the executor Sidecar; this version runs Jobs",
        ),
        (
            "unknown executor",
            |w| task(w, |t| t.executor = Some(from(json!("Rocket")))),
            "ExecutorNotSupported: Addon backproof-pvc-addon: restore task \"logical-backup-restore\" asks for the executor Rocket; this version runs Jobs",
        ),
        (
            "other driver",
            |w| task(w, |t| t.driver = Some(from(json!("WalG")))),
            "DriverNotSupported: Addon backproof-pvc-addon: restore task \"logical-backup-restore\" has the driver WalG; this version reads Restic",
        ),
        (
            "component of another driver",
            |w| {
                w.inputs.snapshot.as_mut().unwrap().status.as_mut().unwrap().components.get_mut("pod").unwrap().driver =
                    Some(from(json!("Medusa")))
            },
            "DriverNotSupported: component \"pod\" of Snapshot snap has the driver Medusa; this version reads Restic",
        ),
        (
            "no component",
            |w| w.owner.run.snapshot.components.clear(),
            "NoComponentSelected: task \"logical-backup-restore\" selects no component of Snapshot snap",
        ),
        (
            "no restic id",
            |w| w.owner.run.snapshot.components[0].restic_ids.clear(),
            "DriverNotSupported: component \"pod\" of Snapshot snap names no restic snapshot",
        ),
        (
            "two restic ids",
            |w| w.owner.run.snapshot.components[0].restic_ids.push("b".repeat(64)),
            "Internal: component \"pod\" of Snapshot snap still consists of 2 restic snapshots",
        ),
        (
            "no id at all",
            |w| w.owner.run.snapshot.components[0].restic_ids = vec!["latest".into()],
            "SnapshotNotFound: component \"pod\" of Snapshot snap names the restic snapshot \"latest\", which is no id",
        ),
        (
            "foreign function",
            |w| w.inputs.functions[0].metadata.labels = None,
            "ForeignFunctionNotAllowed: Addon backproof-pvc-addon: restore task \"logical-backup-restore\" runs Function backproof-pvc-restore, which is not Backproof's (it lacks the label backproof.dev/implements); set the chart's value foreignFunctions.enabled to true, or use an Addon of Backproof's catalog",
        ),
        (
            "foreign function, allowed, and ours when it was pinned",
            |w| {
                w.inputs.functions[0].metadata.labels = None;
                w.config.foreign_functions = true;
            },
            "VerifierChanged: Function backproof-pvc-restore lost the label backproof.dev/implements after the session had started; start another session",
        ),
        ("no image", |w| w.inputs.functions[0].spec.image.clear(), "TemplateInvalid: Function backproof-pvc-restore: spec.image is empty"),
    ];
    for (name, change, expected) in cases {
        assert_eq!(after(change), *expected, "{name}");
    }
}

#[test]
fn the_target_must_be_there_and_nobody_elses() {
    type Change = fn(&mut World);
    let cases: &[(&str, Change, &str)] = &[
        (
            "gone",
            |w| w.inputs.claim = None,
            "TargetNotFound: PersistentVolumeClaim demo/scratch does not exist; create it, with room for what is restored",
        ),
        (
            "replaced",
            |w| w.inputs.claim.as_mut().unwrap().metadata.uid = Some("x".into()),
            "TargetNotFound: PersistentVolumeClaim demo/scratch was replaced by another of the same name after the session had started; start another session",
        ),
        (
            "ending",
            |w| w.inputs.claim.as_mut().unwrap().metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z"))),
            "TargetNotFound: PersistentVolumeClaim demo/scratch is being deleted",
        ),
        (
            "lost",
            |w| w.inputs.claim.as_mut().unwrap().status.as_mut().unwrap().phase = Some("Lost".into()),
            "TargetNotFound: PersistentVolumeClaim demo/scratch has lost its volume",
        ),
        (
            "waits for its first pod",
            |w| w.inputs.claim.as_mut().unwrap().status.as_mut().unwrap().phase = Some("Pending".into()),
            "planned",
        ),
        (
            "block",
            |w| w.inputs.claim.as_mut().unwrap().spec.as_mut().unwrap().volume_mode = Some("Block".into()),
            "TargetNotSupported: PersistentVolumeClaim demo/scratch is a block device; give a claim with volumeMode Filesystem",
        ),
        (
            "read-only",
            |w| w.inputs.claim.as_mut().unwrap().spec.as_mut().unwrap().access_modes = Some(vec!["ReadOnlyMany".into()]),
            "TargetNotSupported: PersistentVolumeClaim demo/scratch can be mounted read-only only; give a claim that can be written to",
        ),
        (
            "another kind",
            |w| w.owner.run.verifier.target.kind = "Postgres".into(),
            "TargetNotSupported: the target is a Postgres; this version restores into a PersistentVolumeClaim of the core group",
        ),
        (
            "another group",
            |w| w.owner.run.verifier.target.api_group = "kubedb.com".into(),
            "TargetNotSupported: the target is a PersistentVolumeClaim.kubedb.com; this version restores into a PersistentVolumeClaim of the core group",
        ),
        (
            "the source",
            |w| w.inputs.snapshot.as_mut().unwrap().spec.app_ref = Some(from(json!({"kind": "PersistentVolumeClaim", "name": "scratch"}))),
            "TargetIsSource: PersistentVolumeClaim demo/scratch is what was backed up; restore into a claim of its own",
        ),
        (
            "a claim of the source",
            |w| w.inputs.source.claims.push("scratch".into()),
            "TargetIsSource: PersistentVolumeClaim demo/scratch belongs to the workload that was backed up; restore into a claim of its own",
        ),
        (
            "a claim of a source elsewhere",
            |w| {
                w.inputs.source.claims.push("scratch".into());
                w.inputs.source.namespace = "other".into();
            },
            "planned",
        ),
        (
            "an ordinal of the source",
            |w| {
                w.inputs.source.claim_prefixes.push("data-db-".into());
                w.owner.run.verifier.target.object.name = "data-db-12".into();
            },
            "TargetIsSource: PersistentVolumeClaim demo/data-db-12 belongs to the workload that was backed up; restore into a claim of its own",
        ),
        (
            "not quite an ordinal",
            |w| {
                w.inputs.source.claim_prefixes.push("data-db-".into());
                w.owner.run.verifier.target.object.name = "data-db-copy".into();
            },
            "planned",
        ),
        (
            "the backups' own volume",
            |w| w.owner.run.verifier.target.object.name = "backups".into(),
            "TargetIsSource: PersistentVolumeClaim demo/backups is the volume the backups lie on; restore into a claim of its own",
        ),
        (
            "another namespace",
            |w| w.owner.run.verifier.target.object.namespace = "verify".into(),
            "CrossNamespaceNotAllowed: the target lies in namespace verify, and a session of namespace demo may not restore there; set the chart's value crossNamespace to {verify: [demo]}",
        ),
    ];
    for (name, change, expected) in cases {
        assert_eq!(after(change), *expected, "{name}");
    }
}

#[test]
fn another_namespace_must_be_allowed_and_can_mount_no_claim_of_ours() {
    let elsewhere = |world: &mut World| {
        world.config.cross_namespace = vec!["verify=demo".parse().unwrap()];
        world.owner.run.verifier.target.object.namespace = "verify".into();
    };
    assert!(
        after(elsewhere)
            .starts_with("CrossNamespaceNotAllowed: BackupStorage demo/disk: spec.storage.local names a claim of namespace demo"),
        "{}",
        after(elsewhere)
    );
    let object_store = |world: &mut World| {
        elsewhere(world);
        world.inputs.storage = Some(yaml("{metadata: {name: disk, namespace: demo}, spec: {storage: {provider: s3, s3: {bucket: b}}}}"));
    };
    assert_eq!(after(object_store), "planned");
    let vault = |world: &mut World| {
        object_store(world);
        world.inputs.repository.as_mut().unwrap().spec.encryption_secret = Some(yaml("{name: key, namespace: vault}"));
    };
    assert_eq!(
        after(vault),
        "SecretNotReachable: Repository demo/store: spec.encryptionSecret names Secret vault/key, and a Job of namespace verify may not have it; set the chart's value crossNamespace to {verify: [vault]}"
    );
    let allowed = |world: &mut World| {
        vault(world);
        world.config.cross_namespace = vec!["verify=demo,vault".parse().unwrap()];
    };
    assert_eq!(after(allowed), "planned");
}

/// A world whose restore runs in another namespace than its session, from an object store.
fn across() -> World {
    let mut world = World::new();
    world.config.cross_namespace = vec!["verify=demo".parse().unwrap()];
    world.owner.run.verifier.target.object.namespace = "verify".into();
    world.inputs.storage =
        Some(yaml("{metadata: {name: disk, namespace: demo}, spec: {storage: {provider: s3, s3: {bucket: b, secretName: cred}}}}"));
    world
}

#[test]
fn a_job_in_another_namespace_gets_a_copy_before_it_is_started() {
    let world = across();
    let job = world.planned().unwrap().remove(0).job;
    assert_eq!((job.metadata.namespace.as_deref(), &job.metadata.owner_references), (Some("verify"), &None));
    let volumes = job.spec.clone().unwrap().template.spec.unwrap().volumes.unwrap();
    let secrets: Vec<_> = volumes.into_iter().filter_map(|volume| volume.secret?.secret_name).collect();
    assert_eq!(secrets, [job.metadata.name.clone().unwrap(), job.metadata.name.unwrap()]);

    let mut world = across().started();
    world.restore.status.as_mut().unwrap().jobs[0].started = false;
    let spec = world.jobs[0].spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(true), None);
    let effects = |world: &World| world.decide(at(5)).unwrap().effects.iter().map(super::run::describe).collect::<Vec<_>>();
    let name = world.jobs[0].metadata.name.clone().unwrap();
    assert_eq!(effects(&world), [format!("copy demo/key,demo/cred to verify/{name}")]);
    // Not without a look at what is named now, and not what is no longer allowed.
    let mut unread = world.observed();
    unread.inputs = None;
    let installation = crate::restore::plan::Installation { config: &world.config, proxies: &[] };
    assert_eq!(crate::restore::decide::decide(&unread, installation, at(5)).unwrap().effects, []);
    world.inputs.repository.as_mut().unwrap().spec.encryption_secret = Some(yaml("{name: key, namespace: vault}"));
    assert_eq!(world.ending(at(5)), "Inconclusive SecretNotReachable Failed");
    world.inputs.repository.as_mut().unwrap().metadata.uid = Some("another".into());
    assert_eq!(world.ending(at(5)), "Inconclusive RepositoryObjectNotFound Failed");
    world.copied.insert("u-job-pod".into());
    assert_eq!(effects(&world), ["start u-job-pod"]);
    let mut refused = world.observed();
    refused.refused = Some(crate::failure::Failure::new(backproof_api::Cause::SecretNotReachable, "no right"));
    let decision = crate::restore::decide::decide(&refused, installation, at(5)).unwrap();
    assert_eq!(decision.effects.iter().map(super::run::describe).collect::<Vec<_>>(), ["delete u-job-pod"]);
}

#[test]
fn a_storage_of_another_namespace_needs_its_usage_policy() {
    let with = |policy: &str, labels: &[(&str, &str)]| {
        after(|world| {
            world.inputs.repository = Some(yaml(
                "{metadata: {name: store, namespace: demo, uid: u-repository}, spec: {storageRef: {name: disk, namespace: infra}}}",
            ));
            world.inputs.storage = Some(yaml(&format!(
                "{{metadata: {{name: disk, namespace: infra}}, spec: {{storage: {{provider: s3, s3: {{bucket: b}}}}, usagePolicy: {policy}}}}}"
            )));
            world.inputs.namespace_labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        })
    };
    let refused = "CrossNamespaceNotAllowed: BackupStorage infra/disk: spec.usagePolicy does not allow namespace demo";
    for (policy, labels, expected) in [
        ("{}", &[][..], refused),
        ("{allowedNamespaces: {}}", &[], refused),
        ("{allowedNamespaces: {from: Same}}", &[], refused),
        ("{allowedNamespaces: {from: Everybody}}", &[], refused),
        ("{allowedNamespaces: {from: All}}", &[], "planned"),
        ("{allowedNamespaces: {from: Selector}}", &[("a", "b")], refused),
        ("{allowedNamespaces: {from: Selector, selector: {}}}", &[("a", "b")], "planned"),
        ("{allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", &[("a", "c")], refused),
        ("{allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", &[("a", "b")], "planned"),
    ] {
        assert_eq!(with(policy, labels), expected, "{policy}");
    }
}

/// What is read at another place is not what the session stands for.
#[test]
fn a_repository_that_was_pointed_elsewhere_is_not_restored_from() {
    let pinned_before = |change: fn(&mut World)| {
        after(|world| {
            world.owner.run.place = place(world.inputs.repository.as_ref().unwrap(), world.inputs.storage.as_ref().unwrap());
            change(world);
        })
    };
    let elsewhere = "RepositoryChangedDuringRun: Repository store lies elsewhere since the session has started: its spec.path or BackupStorage disk was changed; start another session";
    assert_eq!(pinned_before(|_| {}), "planned");
    assert_eq!(pinned_before(|world| world.inputs.repository.as_mut().unwrap().spec.path = "other".into()), elsewhere);
    assert_eq!(pinned_before(|world| world.inputs.storage.as_mut().unwrap().metadata.uid = Some("x".into())), elsewhere);
    let bucket = |world: &mut World| world.inputs.storage.as_mut().unwrap().spec.storage = Some(yaml("{provider: s3, s3: {bucket: b}}"));
    assert_eq!(pinned_before(bucket), elsewhere);
    assert_eq!(pinned_before(|world| world.inputs.repository.as_mut().unwrap().metadata.generation = Some(9)), "planned");
    assert_eq!(pinned_before(|world| world.owner.run.place.clear()), "planned", "an earlier version pinned none");
}

#[test]
fn parameters_and_variables() {
    let function = |world: &mut World, args: &str| world.inputs.functions[0].spec.args = vec![args.into()];
    let with_task = |reference: serde_json::Value, args: &'static str| {
        let mut world = World::new();
        world.inputs.addons[0].spec.restore_tasks[0].parameters =
            from(json!([{"name": "user", "usage": "who", "required": true}, {"name": "level", "default": "low"}]));
        world.restore.spec.addon = Some(from(json!({"name": "pvc-addon", "tasks": [reference]})));
        world.pin();
        function(&mut world, args);
        world
            .planned()
            .map(|planned| planned[0].job.spec.clone().unwrap().template.spec.unwrap().containers[0].args.clone().unwrap().join(" "))
    };
    let name = "logical-backup-restore";
    for (reference, args, expected) in [
        (json!({"name": name, "params": {"user": "u", "n": 3, "b": true}}), "${user} ${level} ${n} ${b}", Ok("u low 3 true")),
        (json!({"name": name, "params": {"user": "u", "level": "high"}}), "${level}", Ok("high")),
        (json!({"name": name, "variables": [{"name": "user", "value": "v"}], "params": {"user": "u"}}), "${user}", Ok("v")),
        (
            json!({"name": name, "params": {"user": "u", "targetPath": "/etc", "resticSnapshot": "x"}}),
            "${targetPath} ${resticSnapshot:0:2}",
            Ok("/backproof/target aa"),
        ),
        (json!({"name": name, "params": {"user": "$(BACKPROOF_SESSION_UID)"}}), "${user} $(KEPT)", Ok("$$(BACKPROOF_SESSION_UID) $(KEPT)")),
        (
            json!({"name": name, "params": {"user": "u"}}),
            "${namespace} ${snapshot} ${restoreSession:0:5} ${PVC_NAME} ${paths} ${invokerKind} ${imageTag} ${enableCache}",
            Ok("demo snap store scratch /data BackupConfiguration dev true"),
        ),
        (
            json!({"name": name}),
            "x",
            Err(
                "VerifierInvalid: task \"logical-backup-restore\" requires parameters that nobody gives: user (who); give them under the task's params",
            ),
        ),
        (
            json!({"name": name, "params": {"user": ["a"]}}),
            "x",
            Err("VerifierInvalid: parameter \"user\" is a list or an object; give a text, a number or true and false"),
        ),
        (
            json!({"name": name, "variables": [{"name": "user", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
            "x",
            Err(
                "VerifierInvalid: variable \"user\" of task \"logical-backup-restore\" has valueFrom, and templates are filled in before a pod exists; give a value",
            ),
        ),
    ] {
        assert_eq!(with_task(reference.clone(), args), expected.map(str::to_owned).map_err(str::to_owned), "{reference}");
    }
    let unknown = with_task(json!({"name": name, "params": {"user": "u"}}), "${nobody}").unwrap_err();
    assert!(
        unknown.starts_with(
            "TemplateInvalid: Function backproof-pvc-restore: spec.args[0]: unknown variable \"nobody\"; known are COMPONENT_NAME, "
        ),
        "{unknown}"
    );
}

#[test]
fn what_the_restricted_profile_forbids_needs_the_installations_word() {
    for (spec, asked) in [
        (json!({"hostNetwork": true}), "jobTemplate.spec.hostNetwork"),
        (json!({"hostPID": true, "hostIPC": true}), "jobTemplate.spec.hostPID, jobTemplate.spec.hostIPC"),
        (json!({"initContainers": [{"name": "a", "image": "b"}]}), "jobTemplate.spec.initContainers"),
        (json!({"securityContext": {"runAsUser": 0}}), "jobTemplate.spec.securityContext.runAsUser 0"),
        (json!({"securityContext": {"runAsNonRoot": false}}), "jobTemplate.spec.securityContext.runAsNonRoot false"),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "jobTemplate.spec.securityContext.seccompProfile Unconfined",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            "jobTemplate.spec.securityContext.appArmorProfile Unconfined",
        ),
        (json!({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}), "jobTemplate.spec.securityContext.sysctls"),
        (json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}), "jobTemplate.spec.securityContext.seLinuxOptions"),
        (json!({"containerSecurityContext": {"privileged": true}}), "the container's securityContext.privileged"),
        (
            json!({"containerSecurityContext": {"allowPrivilegeEscalation": true}}),
            "the container's securityContext.allowPrivilegeEscalation",
        ),
        (json!({"containerSecurityContext": {"capabilities": {"add": ["CHOWN"]}}}), "the container's securityContext.capabilities.add"),
        (json!({"containerSecurityContext": {"runAsUser": 0}}), "the container's securityContext.runAsUser 0"),
        (json!({"containerSecurityContext": {"procMount": "Unmasked"}}), "the container's securityContext.procMount"),
        (json!({"containerSecurityContext": {"windowsOptions": {"hostProcess": true}}}), "the container's securityContext.windowsOptions"),
        (json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}), "volume h of type hostPath"),
    ] {
        let expected = format!(
            "UnsafeSettings: verifier, Addon or Function ask for {asked}; leave it out, or list namespace demo in the chart's value unsafeNamespaces"
        );
        assert_eq!(after(template(spec.clone())), expected);
        let allowed = after(|world| {
            template(spec.clone())(world);
            world.config.unsafe_namespaces = vec!["demo".into()];
        });
        assert_eq!(allowed, "planned", "{spec}");
    }
    let own = after(addon_info(
        json!({"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}], "containerRuntimeSettings": {"securityContext": {"privileged": true}}}),
    ));
    assert!(own.starts_with("UnsafeSettings: "), "{own}");
    let functions =
        after(|world| world.inputs.functions[0].spec.runtime_settings = Some(from(json!({"securityContext": {"privileged": true}}))));
    assert!(functions.starts_with("UnsafeSettings: "), "{functions}");
}

#[test]
fn nothing_may_hide_our_mounts_or_write_to_what_is_proven() {
    for (spec, expected) in [
        (
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "backups"}}]}),
            "UnsafeSettings: volume \"v\" mounts the claim backups, which may hold a repository or live data; set its persistentVolumeClaim.readOnly to true, or use an ephemeral volume",
        ),
        (
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "shop-data"}}]}),
            "UnsafeSettings: volume \"v\" mounts the claim shop-data, which may hold a repository or live data; set its persistentVolumeClaim.readOnly to true, or use an ephemeral volume",
        ),
        (
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "anything-else"}}]}),
            "UnsafeSettings: volume \"v\" mounts the claim anything-else, which may hold a repository or live data; set its persistentVolumeClaim.readOnly to true, or use an ephemeral volume",
        ),
        (json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "backups", "readOnly": true}}]}), "planned"),
        (
            json!({"volumes": [{"name": "backproof-target", "emptyDir": {}}]}),
            "VerifierInvalid: a volume is named \"backproof-target\", which is Backproof's own; give it another name",
        ),
        (
            json!({"volumes": [{"name": "kubestash-tmp-volume", "emptyDir": {}}]}),
            "VerifierInvalid: a volume is named \"kubestash-tmp-volume\", which is Backproof's own; give it another name",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/backproof/target/"}]}),
            "VerifierInvalid: volume \"v\" is mounted at /backproof/target/, which is Backproof's own place; mount it elsewhere",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/"}]}),
            "VerifierInvalid: volume \"v\" is mounted at /, which is Backproof's own place; mount it elsewhere",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/dev"}]}),
            "VerifierInvalid: volume \"v\" is mounted at /dev, which is Backproof's own place; mount it elsewhere",
        ),
        // Kubelet makes a relative path absolute, and the node takes several slashes for one.
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "backproof/target"}]}),
            "VerifierInvalid: volume \"v\" is mounted at backproof/target, which is Backproof's own place; mount it elsewhere",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "//./backproof//repository"}]}),
            "VerifierInvalid: volume \"v\" is mounted at //./backproof//repository, which is Backproof's own place; mount it elsewhere",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/x/../backproof/target"}]}),
            "VerifierInvalid: volume \"v\" is mounted at /x/../backproof/target, which is Backproof's own place; mount it elsewhere",
        ),
        // Another program in the executor's place.
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/bin/backproof-executor", "subPath": "liar"}]}),
            "VerifierInvalid: volume \"v\" is mounted at /bin/backproof-executor, which is Backproof's own place; mount it elsewhere",
        ),
        (json!({"volumeMounts": [{"name": "v", "mountPath": "/backproofs"}]}), "planned"),
        (json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/ssl/certs"}]}), "planned"),
        (
            json!({"args": ["--read-back=off"]}),
            "VerifierInvalid: restoreOption.addonInfo.jobTemplate.spec.args is set, but the arguments are the Function's; give params or variables to the task instead",
        ),
        (
            json!({"env": [{"name": "BACKPROOF_CLAIM_UID", "value": "x"}]}),
            "VerifierInvalid: the environment variable BACKPROOF_CLAIM_UID is Backproof's own; leave it out of the settings of verifier, Addon and Function",
        ),
    ] {
        // Not even where the installation allows everything else.
        let line = after(|world| {
            template(spec.clone())(world);
            world.config.unsafe_namespaces = vec!["demo".into()];
        });
        assert_eq!(line, expected, "{spec}");
    }
}

#[test]
fn an_addon_and_a_task_must_be_chosen() {
    for (info, expected) in [
        (json!(null), "VerifierInvalid: the verifier's restoreOption.addonInfo is not set"),
        (json!({"name": "pvc-addon"}), "VerifierInvalid: the verifier's restoreOption.addonInfo.tasks is not set"),
        (
            json!({"name": "pvc-addon", "tasks": [{"name": "a"}, {"name": "b"}]}),
            "VerifierInvalid: the verifier's restoreOption.addonInfo.tasks names a, b; this version runs one task",
        ),
    ] {
        let line = after(|world| world.restore.spec.addon = from(info.clone()));
        assert_eq!(line, expected, "{info}");
    }
    // Upstream's names resolve to the labelled object first.
    let both = after(|world| {
        world.inputs.addons.push(Addon::new("pvc-addon", Default::default()));
        world.inputs.functions.push(Function::new("pvc-restore", Default::default()));
    });
    assert_eq!(both, "planned");
}
