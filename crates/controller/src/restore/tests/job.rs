//! The Job as a whole value.

use serde_json::{Value, json};

use super::facts::{CLAIM, POD_ID, SESSION, World, at, from, yaml};
use crate::restore::{decide::Effect, known::place};

fn job(world: &World) -> Value {
    serde_json::to_value(&world.planned().unwrap()[0].job).unwrap()
}

/// Where the Job of a world looks.
fn place_of(world: &World) -> String {
    place(world.inputs.repository.as_ref().unwrap(), world.inputs.storage.as_ref().unwrap())
}

fn labels() -> Value {
    json!({
        "app.kubernetes.io/component": "kubestash-restore",
        "app.kubernetes.io/managed-by": "kubestash.com",
        "backproof.dev/component": "pod",
        "backproof.dev/session-uid": SESSION,
        "kubestash.com/invoker-name": "store-daily-1767225600",
        "kubestash.com/invoker-namespace": "demo",
        "kubestash.com/repo-name": "store",
        "kubestash.com/session-name": "daily",
        "team": "blue",
    })
}

fn secret(name: &str, secret: &str, keys: &[&str]) -> Value {
    let items: Vec<Value> = keys.iter().map(|key| json!({"key": key, "path": key})).collect();
    json!({"name": name, "secret": {"secretName": secret, "defaultMode": 292, "items": items, "optional": true}})
}

#[test]
fn by_default() {
    let annotations = json!({"backproof.dev/full-name": "store-daily-1767225600"});
    let expected = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "store-daily-1767225600-pod-5e551011",
            "namespace": "demo",
            "labels": labels(),
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "name": "store-daily-1767225600", "uid": "u-restore", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "suspend": true, "completions": 1, "parallelism": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}, "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"labels": labels(), "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534, "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumes": [
                        {"name": "backproof-target", "persistentVolumeClaim": {"claimName": "scratch"}},
                        {"name": "kubestash-tmp-volume", "emptyDir": {}},
                        {"name": "backproof-repository", "persistentVolumeClaim": {"claimName": "backups", "readOnly": true}},
                        secret("backproof-encryption", "key", &["RESTIC_PASSWORD"]),
                    ],
                    "containers": [{
                        "name": "logical-backup-restore-0",
                        "image": "localhost/backproof/backproof:dev",
                        "command": ["/bin/backproof-executor"],
                        "args": [
                            "restore",
                            "--repository=file:///backproof/repository/shop/repository/v1/daily/pod",
                            format!("--snapshot={POD_ID}"),
                            "--target=/backproof/target",
                            "--report=/dev/termination-log",
                            "--allow-empty=false",
                        ],
                        "env": [
                            {"name": "TMPDIR", "value": "/kubestash-tmp"},
                            {"name": "BACKPROOF_SESSION_UID", "value": SESSION},
                            {"name": "BACKPROOF_ATTEMPT", "value": "1"},
                            {"name": "BACKPROOF_COMPONENT", "value": "pod"},
                            {"name": "BACKPROOF_CLAIM_UID", "value": CLAIM},
                            {"name": "BACKPROOF_REPOSITORY_PLACE", "value": place_of(&World::new())},
                            {"name": "BACKPROOF_ENCRYPTION_DIR", "value": "/backproof/encryption"},
                        ],
                        "volumeMounts": [
                            {"name": "backproof-target", "mountPath": "/backproof/target"},
                            {"name": "kubestash-tmp-volume", "mountPath": "/kubestash-tmp"},
                            {"name": "backproof-repository", "mountPath": "/backproof/repository", "readOnly": true},
                            {"name": "backproof-encryption", "mountPath": "/backproof/encryption", "readOnly": true},
                        ],
                        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                    }],
                },
            },
        },
    });
    assert_eq!(job(&World::new()), expected);
}

#[test]
fn with_every_setting() {
    let mut world = World::new();
    world.owner.run.allow_empty = true;
    world.inputs.functions[0].spec.runtime_settings = Some(from(json!({
        "resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "A", "value": "function"}, {"name": "F", "value": "${snapshot}"}], "nice": {"adjustment": 5},
    })));
    world.restore.spec.addon = Some(from(json!({
        "name": "pvc-addon",
        "tasks": [{"name": "logical-backup-restore", "addonVolumes": [{"name": "interim", "source": {"emptyDir": {"sizeLimit": "1Gi"}}}]}],
        "containerRuntimeSettings": {"env": [{"name": "A", "value": "addon"}], "resources": {}, "envFrom": [{"configMapRef": {"name": "more"}}], "ionice": {"class": 2, "classData": 7}},
        "jobTemplate": {
            "metadata": {"labels": {"pod": "yes", "team": "red"}},
            "controller": {"labels": {"job": "yes"}, "annotations": {"note": "x"}},
            "spec": {
                "env": [{"name": "A", "value": "template"}, {"name": "TMPDIR", "value": "/elsewhere"}],
                "resources": {"limits": {"memory": "2Gi"}},
                "securityContext": {"runAsUser": 1000, "runAsGroup": 100, "supplementalGroups": [7]},
                "nodeSelector": {"disk": "fast"}, "serviceAccountName": "cloud", "priorityClassName": "low", "terminationGracePeriodSeconds": 5,
                "tolerations": [{"key": "a", "operator": "Exists"}], "imagePullSecrets": [{"name": "pull"}], "dnsPolicy": "Default", "runtimeClassName": "kata",
                "volumeMounts": [{"name": "interim", "mountPath": "/interim"}],
            },
        },
    })));
    world.inputs.addons[0].spec.restore_tasks[0].volume_template = from(json!([{"name": "interim", "source": {"emptyDir": {}}}]));
    world.inputs.storage = Some(yaml(
        "{metadata: {name: disk, namespace: demo}, spec: {storage: {provider: s3, s3: {bucket: b, prefix: p, endpoint: 'http://minio:9000', region: r, secretName: cred}}}}",
    ));
    world.pin();
    let job = job(&world);
    assert_eq!(job["metadata"]["labels"]["job"], "yes");
    assert_eq!(job["metadata"]["annotations"], json!({"note": "x", "backproof.dev/full-name": "store-daily-1767225600"}));
    assert_eq!(
        (&job["spec"]["template"]["metadata"]["labels"]["pod"], &job["spec"]["template"]["metadata"]["labels"]["team"]),
        (&json!("yes"), &json!("blue"))
    );
    let mut pod = job["spec"]["template"]["spec"].clone();
    let container = pod["containers"].take();
    assert_eq!(
        pod,
        json!({
            "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
            "nodeSelector": {"disk": "fast"}, "serviceAccountName": "cloud", "priorityClassName": "low", "terminationGracePeriodSeconds": 5,
            "tolerations": [{"key": "a", "operator": "Exists"}], "imagePullSecrets": [{"name": "pull"}], "dnsPolicy": "Default", "runtimeClassName": "kata",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 100, "fsGroup": 100, "fsGroupChangePolicy": "OnRootMismatch",
                "supplementalGroups": [7], "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "backproof-target", "persistentVolumeClaim": {"claimName": "scratch"}},
                {"name": "kubestash-tmp-volume", "emptyDir": {}},
                secret("backproof-encryption", "key", &["RESTIC_PASSWORD"]),
                secret("backproof-storage", "cred", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CA_CERT_DATA"]),
                {"name": "interim", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
            "containers": null,
        })
    );
    let env: Vec<String> = container[0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{}={}", entry["name"].as_str().unwrap(), entry["value"].as_str().unwrap()))
        .collect();
    assert_eq!(
        env,
        [
            "NICE_ADJUSTMENT=5",
            "F=snap",
            "IONICE_CLASS=2",
            "IONICE_CLASS_DATA=7",
            "A=template",
            "TMPDIR=/kubestash-tmp",
            &format!("BACKPROOF_SESSION_UID={SESSION}"),
            "BACKPROOF_ATTEMPT=1",
            "BACKPROOF_COMPONENT=pod",
            &format!("BACKPROOF_CLAIM_UID={CLAIM}"),
            &format!("BACKPROOF_REPOSITORY_PLACE={}", place_of(&world)),
            "AWS_REGION=r",
            "AWS_ENDPOINT_URL=http://minio:9000",
            "AWS_ALLOW_HTTP=true",
            "BACKPROOF_ENCRYPTION_DIR=/backproof/encryption",
            "BACKPROOF_STORAGE_DIR=/backproof/storage",
        ]
    );
    assert_eq!(container[0]["resources"], json!({"limits": {"memory": "2Gi"}}));
    assert_eq!(container[0]["envFrom"], json!([{"configMapRef": {"name": "more"}}]));
    assert_eq!(container[0]["args"][1], "--repository=s3://b/p/shop/repository/v1/daily/pod");
    assert_eq!(container[0]["args"][5], "--allow-empty=true");
    assert_eq!(container[0]["volumeMounts"].as_array().unwrap().last().unwrap(), &json!({"name": "interim", "mountPath": "/interim"}));
}

#[test]
fn root_is_possible_where_the_installation_allows_it_and_keeps_no_capability() {
    let mut world = World::new();
    world.config.unsafe_namespaces = vec!["demo".into()];
    world.restore.spec.addon = Some(from(json!({
        "name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}], "jobTemplate": {"spec": {"securityContext": {"runAsUser": 0, "runAsGroup": 0}}},
    })));
    world.pin();
    let spec = &job(&world)["spec"]["template"]["spec"];
    assert_eq!(
        spec["securityContext"],
        json!({"runAsNonRoot": false, "runAsUser": 0, "runAsGroup": 0, "fsGroup": 0, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(
        spec["containers"][0]["securityContext"],
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
    );
}

#[test]
fn in_another_namespace_it_has_no_owner_but_its_labels() {
    let mut world = World::new();
    world.config.cross_namespace = vec!["verify=demo".parse().unwrap()];
    world.owner.run.verifier.target.object.namespace = "verify".into();
    world.inputs.repository.as_mut().unwrap().spec.encryption_secret = None;
    world.inputs.storage = Some(yaml("{metadata: {name: disk, namespace: demo}, spec: {storage: {provider: s3, s3: {bucket: b}}}}"));
    let job = job(&world);
    assert_eq!((&job["metadata"]["namespace"], job["metadata"].get("ownerReferences")), (&json!("verify"), None));
    assert_eq!(job["metadata"]["labels"], labels());
}

#[test]
fn two_components_have_two_jobs_and_long_names_stay_names() {
    let mut world = World::of_two();
    world.owner.session.metadata.name = Some("n".repeat(63));
    let names: Vec<String> = world.planned().unwrap().into_iter().map(|planned| planned.job.metadata.name.unwrap()).collect();
    assert_eq!(
        names,
        [("dump", 40, "ff90c73e"), ("pod", 41, "86a45423")]
            .map(|(component, kept, hash)| format!("{}-{component}-{hash}-5e551011", "n".repeat(kept)))
    );
    assert!(names.iter().all(|name| name.len() <= 63));
}

#[test]
fn it_is_made_suspended_and_started_with_the_time_that_is_left() {
    let mut world = World::new().started();
    let job = &mut world.jobs[0];
    job.spec.as_mut().unwrap().suspend = Some(true);
    job.spec.as_mut().unwrap().active_deadline_seconds = None;
    world.restore.status.as_mut().unwrap().jobs[0].started = false;
    match world.decide(at(60)).unwrap().effects.as_slice() {
        [Effect::Start { job, resource_version, seconds }] => {
            assert_eq!((job.uid.as_str(), resource_version.as_str(), *seconds), ("u-job-pod", "7", 5 * 3600))
        }
        other => panic!("{other:?}"),
    }
}
