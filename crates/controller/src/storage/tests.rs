//! What a Job gets for each kind of storage, as whole values.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn storage(local: &str) -> BackupStorage {
    serde_saphyr::from_str(&format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: {{name: store, namespace: demo}}\nspec:\n  storage:\n{local}"
    ))
    .unwrap()
}

fn repository() -> Repository {
    serde_saphyr::from_str(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo}\nspec: {path: /dep/my files, encryptionSecret: {name: key}, storageRef: {name: store}}",
    )
    .unwrap()
}

const PLACE: Place<'_> = Place { namespace: "demo", host_path: HostPath::Refused, copied_secret: None };

fn secret_volume(name: &str, secret: &str, keys: &[&str]) -> serde_json::Value {
    let items: Vec<_> = keys.iter().map(|key| json!({"key": key, "path": key})).collect();
    json!({"name": name, "secret": {"secretName": secret, "optional": true, "defaultMode": 0o444, "items": items}})
}

fn as_json(access: &RepositoryAccess) -> serde_json::Value {
    json!({"url": access.url, "volumes": access.volumes, "mounts": access.mounts, "env": access.env})
}

#[test]
fn a_claim_is_read_only_at_source_and_mount_and_has_no_sub_path() {
    let storage = storage("    provider: local\n    local: {persistentVolumeClaim: {claimName: backups}, mountPath: /x, subPath: a//b/}");
    assert_eq!(
        as_json(&access(&storage, &repository(), ".", PLACE).unwrap()),
        json!({
            "url": "file:///backproof/repository/a/b/dep/my%20files",
            "volumes": [
                {"name": "backproof-repository", "persistentVolumeClaim": {"claimName": "backups", "readOnly": true}},
                secret_volume("backproof-encryption", "key", &["RESTIC_PASSWORD"]),
            ],
            "mounts": [
                {"name": "backproof-repository", "mountPath": "/backproof/repository", "readOnly": true},
                {"name": "backproof-encryption", "mountPath": "/backproof/encryption", "readOnly": true},
            ],
            "env": [{"name": "BACKPROOF_ENCRYPTION_DIR", "value": "/backproof/encryption"}],
        })
    );
}

#[test]
fn s3_has_its_address_settings_and_secret() {
    let storage = storage(
        "    provider: s3\n    s3: {bucket: b, endpoint: 'http://minio:9000/', region: eu, prefix: /p, secretName: cred, insecureTLS: true}",
    );
    assert_eq!(
        as_json(&access(&storage, &repository(), "repository/v1/s/dump", PLACE).unwrap()),
        json!({
            "url": "s3://b/p/dep/my files/repository/v1/s/dump",
            "volumes": [
                secret_volume("backproof-encryption", "key", &["RESTIC_PASSWORD"]),
                secret_volume("backproof-storage", "cred", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CA_CERT_DATA"]),
            ],
            "mounts": [
                {"name": "backproof-encryption", "mountPath": "/backproof/encryption", "readOnly": true},
                {"name": "backproof-storage", "mountPath": "/backproof/storage", "readOnly": true},
            ],
            "env": [
                {"name": "AWS_REGION", "value": "eu"},
                {"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"},
                {"name": "AWS_ALLOW_HTTP", "value": "true"},
                {"name": "BACKPROOF_INSECURE_TLS", "value": "true"},
                {"name": "BACKPROOF_ENCRYPTION_DIR", "value": "/backproof/encryption"},
                {"name": "BACKPROOF_STORAGE_DIR", "value": "/backproof/storage"},
            ],
        })
    );
}

#[test]
fn addresses_and_environment_of_the_providers() {
    for (spec, url, env) in [
        ("    provider: s3\n    s3: {bucket: b, endpoint: s3.amazonaws.com}", "s3://b/dep/my files", vec![]),
        (
            "    provider: s3\n    s3: {bucket: b, endpoint: s3.example.com}",
            "s3://b/dep/my files",
            vec![("AWS_ENDPOINT_URL", "https://s3.example.com")],
        ),
        ("    provider: gcs\n    gcs: {bucket: b, prefix: x/y}", "gs://b/x/y/dep/my files", vec![]),
        (
            "    provider: azure\n    azure: {container: c, storageAccount: acc, prefix: x}",
            "az://c/x/dep/my files",
            vec![("AZURE_STORAGE_ACCOUNT_NAME", "acc")],
        ),
    ] {
        let access = access(&storage(spec), &repository(), "", PLACE).unwrap();
        let mut expected: Vec<_> = env.into_iter().map(|(name, value)| variable(name, value)).collect();
        expected.push(variable("BACKPROOF_ENCRYPTION_DIR", ENCRYPTION_DIR));
        assert_eq!((access.url.as_str(), access.env), (url, expected), "{spec}");
    }
}

#[test]
fn every_source_that_can_be_read_only_is() {
    for source in [
        "nfs: {server: files, path: /}",
        "csi: {driver: d}",
        "awsElasticBlockStore: {volumeID: v}",
        "azureDisk: {diskName: d, diskURI: u}",
        "azureFile: {secretName: s, shareName: s}",
        "cephfs: {monitors: [m]}",
        "cinder: {volumeID: v}",
        "fc: {lun: 1}",
        "flexVolume: {driver: d}",
        "gcePersistentDisk: {pdName: p}",
        "glusterfs: {endpoints: e, path: p}",
        "iscsi: {targetPortal: t, iqn: i, lun: 1}",
        "portworxVolume: {volumeID: v}",
        "quobyte: {registry: r, volume: v}",
        "rbd: {monitors: [m], image: i}",
        "scaleIO: {gateway: g, system: s, secretRef: {name: s}}",
        "storageos: {volumeName: v}",
    ] {
        let access = access(&storage(&format!("    provider: local\n    local: {{{source}}}")), &repository(), ".", PLACE).unwrap();
        let volume = serde_json::to_value(&access.volumes[0]).unwrap();
        let name = source.split(':').next().unwrap();
        assert_eq!(volume[name]["readOnly"], json!(true), "{volume}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_object_field_and_remedy() {
    for (spec, cause, message) in [
        (
            "    provider: ''",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.provider is not set; set it to local, s3, gcs or azure",
        ),
        (
            "    provider: swift",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.provider is \"swift\", which is unknown; set it to local, s3, gcs or azure",
        ),
        ("    provider: s3", Cause::RepositoryInvalid, "BackupStorage demo/store: spec.storage.s3 is not set; give the bucket"),
        (
            "    provider: s3\n    s3: {region: x}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.s3.bucket is not set; give its name",
        ),
        (
            "    provider: gcs\n    gcs: {bucket: a/b}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.gcs.bucket is \"a/b\"; give a name of letters, digits, dashes, dots and underscores",
        ),
        (
            "    provider: local\n    local: {mountPath: /x}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.local names no volume; give a persistentVolumeClaim, or a network volume that can be mounted read-only",
        ),
        (
            "    provider: local\n    local: {emptyDir: {}}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.local is of type emptyDir, which cannot be mounted read-only or holds no repository; give a persistentVolumeClaim, or a network volume that can be mounted read-only",
        ),
        (
            "    provider: local\n    local: {emptyDir: {}, nfs: {server: s, path: /}}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.local names 2 volumes (emptyDir, nfs); give a persistentVolumeClaim, or a network volume that can be mounted read-only",
        ),
        (
            "    provider: local\n    local: {hostPath: {path: /srv}}",
            Cause::UnsafeSettings,
            "BackupStorage demo/store: spec.storage.local.hostPath asks for a directory of the node; use a PersistentVolumeClaim, or list namespace demo in the chart's value unsafeNamespaces",
        ),
        (
            "    provider: local\n    local: {nfs: {server: s, path: /}, subPath: a/../b}",
            Cause::RepositoryInvalid,
            "BackupStorage demo/store: spec.storage.local.subPath is \"a/../b\", which leaves its directory; give a path without `..`",
        ),
    ] {
        let error = access(&storage(spec), &repository(), ".", PLACE).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.cause()), (message, cause), "{spec}");
    }
}

#[test]
fn a_directory_of_the_node_is_never_made() {
    let place = Place { host_path: HostPath::Allowed, ..PLACE };
    let storage = storage("    provider: local\n    local: {hostPath: {path: /srv, type: DirectoryOrCreate}}");
    let volume = access(&storage, &repository(), ".", place).unwrap().volumes.remove(0);
    assert_eq!(
        serde_json::to_value(volume).unwrap(),
        json!({"name": "backproof-repository", "hostPath": {"path": "/srv", "type": "Directory"}})
    );
}

#[test]
fn another_namespace_needs_a_copy_of_the_secrets_and_cannot_have_the_claim() {
    let elsewhere = Place { namespace: "verify", ..PLACE };
    let claim = storage("    provider: local\n    local: {persistentVolumeClaim: {claimName: backups}}");
    assert_eq!(access(&claim, &repository(), ".", elsewhere).unwrap_err().cause(), Cause::CrossNamespaceNotAllowed);

    let bucket = storage("    provider: s3\n    s3: {bucket: b, secretName: cred}");
    assert_eq!(access(&bucket, &repository(), ".", elsewhere).unwrap_err().cause(), Cause::SecretNotReachable);

    let copied = access(&bucket, &repository(), ".", Place { copied_secret: Some("copy"), ..elsewhere }).unwrap();
    let names: Vec<_> = copied.volumes.iter().map(|volume| volume.secret.as_ref().unwrap().secret_name.clone().unwrap()).collect();
    assert_eq!(names, ["copy", "copy"]);
    let sources: Vec<_> = secrets(&bucket, &repository()).into_iter().map(|source| (source.namespace, source.name)).collect();
    assert_eq!(sources, [("demo".to_owned(), "key".to_owned()), ("demo".to_owned(), "cred".to_owned())]);
}

proptest! {
    #[test]
    fn no_path_leaves_the_mount(sub_path in "[./a%]{0,12}", path in "[./b?#]{0,12}", component in "[./c ]{0,12}") {
        let mut storage = storage("    provider: local\n    local: {nfs: {server: s, path: /}}");
        storage.spec.storage.as_mut().unwrap().local.as_mut().unwrap().sub_path = sub_path;
        let mut repository = repository();
        repository.spec.path = path;
        if let Ok(access) = access(&storage, &repository, &component, PLACE) {
            prop_assert!(access.url.starts_with("file:///backproof/repository"));
            prop_assert!(access.url["file://".len()..].split('/').all(|part| part != ".." && part != "."));
            prop_assert!(!access.url.contains(['?', '#', ' ']));
        }
    }
}
