//! What clients of other versions and other operators write parses, is kept, and is written back without additions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, DeletionPolicy, Function,
    Repository, RestoreSession, Snapshot, VerificationPhase, VerificationStatus, VerificationType, shared::Wire,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn read<K: DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// The object survives reading and writing, as it was.
fn survives<K: DeserializeOwned + Serialize>(object: &Value) {
    let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}\n{object:#}"));
    assert_eq!(serde_json::to_value(&typed).unwrap(), *object);
}

fn kind_without_spec<K: DeserializeOwned + Default + PartialEq + std::fmt::Debug>(group: &str, kind: &str) {
    let object: K = read(&format!("{{apiVersion: {group}.kubestash.com/v1alpha1, kind: {kind}, metadata: {{}}}}"));
    assert_eq!(object, K::default(), "{kind}");
}

#[test]
fn no_kind_needs_a_spec() {
    kind_without_spec::<BackupVerificationSession>("core", "BackupVerificationSession");
    kind_without_spec::<BackupVerifier>("core", "BackupVerifier");
    kind_without_spec::<BackupConfiguration>("core", "BackupConfiguration");
    kind_without_spec::<BackupBatch>("core", "BackupBatch");
    kind_without_spec::<RestoreSession>("core", "RestoreSession");
    kind_without_spec::<Repository>("storage", "Repository");
    kind_without_spec::<Snapshot>("storage", "Snapshot");
    kind_without_spec::<BackupStorage>("storage", "BackupStorage");
    kind_without_spec::<Addon>("addons", "Addon");
    kind_without_spec::<Function>("addons", "Function");
}

#[test]
fn what_go_clients_always_write() {
    let verifier: BackupVerifier = read(
        "
metadata: {name: v, creationTimestamp: null}
spec:
  type: RestoreOnly
  runtimeSettings: {}
  restoreOption:
    target: {name: ''}
    addonInfo: {name: pvc-addon, tasks: [{name: logical-backup-restore}], jobTemplate: {controller: {}, metadata: {}, spec: {resources: {}}}}
  retryConfig: {delay: 0s}
  scheduler: {schedule: '*/5 * * * *', jobTemplate: {backoffLimit: 1, template: {controller: {}, metadata: {}, spec: {resources: {}}}}}
",
    );
    assert_eq!(verifier.spec.kind, Some(VerificationType::RestoreOnly.into()));
    assert_eq!(verifier.spec.retry_config.as_ref().map(|retry| retry.delay.as_str()), Some("0s"));
    let session: BackupVerificationSession = read("{metadata: {name: s}, spec: {}, status: {}}");
    assert_eq!(session.status, Some(Default::default()));
    let configuration: BackupConfiguration = read(
        "{metadata: {name: c}, spec: {}, status: {backends: [{name: b, storage: {ref: {name: ''}}, retentionPolicy: {ref: {name: ''}, found: false}}]}}",
    );
    assert_eq!(configuration.status.unwrap().backends[0].retention_policy.as_ref().unwrap().found, Some(false));
    let restore: RestoreSession = read("{metadata: {name: r}, spec: {}, status: {hooks: {}, phase: Running}}");
    assert_eq!(restore.status.unwrap().hooks, Some(Default::default()));
    let storage: BackupStorage =
        read("{metadata: {name: b}, spec: {storage: {}, runtimeSettings: {}, usagePolicy: {allowedNamespaces: {from: All}}}, status: {}}");
    assert_eq!(storage.spec.runtime_settings, Some(Default::default()));
}

#[test]
fn an_unknown_word_is_kept() {
    let snapshot: Snapshot = read(
        "{metadata: {name: s}, spec: {deletionPolicy: Burn}, status: {phase: Frozen, verificationStatus: Verified, components: {dump: {driver: Tape, phase: Succeeded}}}}",
    );
    assert_eq!(snapshot.spec.deletion_policy, Some(Wire::Other("Burn".into())));
    let status = snapshot.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(Wire::Other("Frozen".into())));
    assert_eq!(status.verification_status.as_ref().and_then(Wire::known), Some(VerificationStatus::Verified));
    assert_ne!(snapshot.spec.deletion_policy.clone().unwrap(), DeletionPolicy::Delete);
    assert_eq!(serde_json::to_value(&snapshot).unwrap()["status"]["components"]["dump"]["driver"], json!("Tape"));
    let session: BackupVerificationSession = read(
        "{metadata: {}, status: {phase: Running, verdict: Splendid, cause: MoonPhase, conditions: [{type: T, status: Maybe, lastTransitionTime: null}]}}",
    );
    let status = session.status.unwrap();
    assert_eq!(status.phase.unwrap(), VerificationPhase::Running);
    assert_eq!(status.cause, Some(Wire::Other("MoonPhase".into())));
}

#[test]
fn a_record_nobody_can_read_is_no_record() {
    let snapshot: Snapshot = read("{metadata: {}, status: {verificationStatus: Verified, verification: {verdict: 7}, lastAttempt: [1]}}");
    let status = snapshot.status.unwrap();
    assert_eq!((status.verification, status.last_attempt), (None, None));
}

#[test]
fn volumes_are_written_as_they_came() {
    survives::<BackupStorage>(&json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "local"},
        "spec": {"storage": {"provider": "local", "local": {"mountPath": "/repo", "subPath": "a", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}}},
    }));
    survives::<BackupVerifier>(&json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerifier", "metadata": {"name": "v"},
        "spec": {
            "type": "Script", "script": {"location": "/tmp/check.sh"},
            "volumes": [
                {"name": "config", "configMap": {"name": "config"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}},
            ],
            "restoreOption": {"addonInfo": {"name": "a", "tasks": [{
                "name": "t", "params": {"paths": "/data", "deep": {"x": [1, null]}},
                "addonVolumes": [{"name": "v", "source": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}}],
                "targetVolumes": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
            }]}},
        },
    }));
}

#[test]
fn a_volume_becomes_a_volume_of_a_pod() {
    let verifier: BackupVerifier = read(
        "{metadata: {}, spec: {volumes: [{name: repo, persistentVolumeClaim: {claimName: c}}, {name: scratch, ephemeral: {volumeClaimTemplate: {metadata: {name: data}, spec: {storageClassName: fast}}}}]}}",
    );
    let volumes: Vec<_> = verifier.spec.volumes.iter().map(|volume| serde_json::to_value(volume.to_volume()).unwrap()).collect();
    assert_eq!(
        volumes,
        [
            json!({"name": "repo", "persistentVolumeClaim": {"claimName": "c"}}),
            json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "data"}, "spec": {"storageClassName": "fast"}}}}),
        ]
    );
}
