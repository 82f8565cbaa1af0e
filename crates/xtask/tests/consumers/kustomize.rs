//! kustomize with the configuration that docs/gitops ships: after a prefix and another namespace every name still leads to its object.

use std::collections::BTreeSet;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    corpus::{is_ours, name, run},
    schemas::kubeconform,
};

const SHIPPED: &str = "docs/gitops/kustomize.yaml";
const PREFIX: &str = "team-";
const NAMESPACE: &str = "verification";

fn shipped() -> String {
    std::fs::read_to_string(xtask::root().join(SHIPPED)).unwrap()
}

/// What `kubectl kustomize` makes of the demo's samples and of a session, with this configuration.
fn built(configuration: &str) -> Vec<Value> {
    let directory = TempDir::new().unwrap();
    let samples = ["1-volumes.yaml", "2-backup.yaml", "3-verify.yaml", "4-copies.yaml", "session-damaged.yaml"];
    for sample in samples {
        std::fs::copy(xtask::root().join("docs/samples/demo").join(sample), directory.path().join(sample)).unwrap();
    }
    std::fs::write(directory.path().join("rest.yaml"), REST).unwrap();
    std::fs::write(directory.path().join("kustomize.yaml"), configuration).unwrap();
    let kustomization = format!(
        "namePrefix: {PREFIX}\nnamespace: {NAMESPACE}\nconfigurations: [kustomize.yaml]\nresources: [{}, rest.yaml]\n{CHANGES}",
        samples.join(", ")
    );
    std::fs::write(directory.path().join("kustomization.yaml"), kustomization).unwrap();
    let output = run("kubectl", &["kustomize", directory.path().to_str().unwrap()], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    backproof_testing::objects(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Images and patches as people write them.
const CHANGES: &str = r#"
images:
  - {name: localhost/backproof/restic, newName: registry.example/restic, newTag: "1"}
  - {name: registry.example/checker, newTag: "2"}
patches:
  - target: {kind: BackupVerifier, name: every-minute}
    patch: |
      - {op: replace, path: /spec/timeout, value: 1h}
  - patch: |
      {apiVersion: core.kubestash.com/v1alpha1, kind: BackupVerifier, metadata: {name: by-hand}, spec: {sessionHistoryLimit: 9}}
"#;

/// References that the samples do not have.
const REST: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: keys}
---
# References that name a namespace are followed to objects that name it too.
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: scratch, namespace: demo}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupVerifier
metadata: {name: far, namespace: demo}
spec:
  type: RestoreOnly
  restoreOption:
    target: {kind: PersistentVolumeClaim, name: scratch, namespace: demo}
    addonInfo: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {name: far, namespace: demo}
spec:
  target: {kind: PersistentVolumeClaim, name: scratch, namespace: demo}
  backends: [{name: local, storageRef: {name: local}}]
  sessions:
    - name: daily
      addon: {name: checks, tasks: [{name: backup}]}
      repositories:
        - name: sample
          backend: local
          directory: /
          encryptionSecret: {name: encryption-secret}
          backupVerifier: {name: far, namespace: demo}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: bucket}
spec: {storage: {provider: s3, s3: {bucket: b, secretName: keys}}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: blobs}
spec: {storage: {provider: azure, azure: {container: c, secretName: keys}}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: objects}
spec: {storage: {provider: gcs, gcs: {bucket: b, secretName: keys}}}
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: checker}
spec: {image: 'registry.example/checker:1'}
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Addon
metadata: {name: checks}
spec:
  restoreTasks: [{name: restore, function: checker, driver: Restic, executor: Job}]
  backupTasks: [{name: backup, function: checker, driver: Restic, executor: Job}]
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupVerifier
metadata: {name: queries}
spec:
  type: Query
  function: checker
  query: {}
  restoreOption: {target: {kind: PersistentVolumeClaim, name: target}, addonInfo: {name: checks, tasks: [{name: restore}]}}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupBatch
metadata: {name: batch}
spec:
  backends: [{name: local, storageRef: {name: local}}]
  targets: [{name: t, appRef: {kind: PersistentVolumeClaim, name: source}}]
  sessions:
    - name: daily
      targets:
        - name: t
          addon: {name: checks, tasks: [{name: backup}]}
          repositories:
            - name: sample
              backend: local
              directory: /
              encryptionSecret: {name: encryption-secret}
              backupVerifier: {name: queries}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupVerificationSession
metadata: {name: of-the-batch}
spec: {invoker: {apiGroup: core.kubestash.com, kind: BackupBatch, name: batch}, repository: sample}
";

/// Where a reference stands, and the kind it leads to.
const REFERENCES: [(&str, &str, &str); 26] = [
    ("Repository", "appRef", "PersistentVolumeClaim"),
    ("Repository", "storageRef", "BackupStorage"),
    ("Repository", "encryptionSecret", "Secret"),
    ("BackupStorage", "storage/local/persistentVolumeClaim/claimName", "PersistentVolumeClaim"),
    ("BackupStorage", "storage/s3/secretName", "Secret"),
    ("BackupStorage", "storage/azure/secretName", "Secret"),
    ("BackupStorage", "storage/gcs/secretName", "Secret"),
    ("BackupVerifier", "restoreOption/target", "PersistentVolumeClaim"),
    ("BackupVerifier", "function", "Function"),
    ("Addon", "restoreTasks/*/function", "Function"),
    ("Addon", "backupTasks/*/function", "Function"),
    ("BackupConfiguration", "target", "PersistentVolumeClaim"),
    ("BackupConfiguration", "backends/*/storageRef", "BackupStorage"),
    ("BackupConfiguration", "sessions/*/repositories/*/name", "Repository"),
    ("BackupConfiguration", "sessions/*/repositories/*/encryptionSecret", "Secret"),
    ("BackupConfiguration", "sessions/*/repositories/*/backupVerifier", "BackupVerifier"),
    ("BackupBatch", "backends/*/storageRef", "BackupStorage"),
    ("BackupBatch", "targets/*/appRef", "PersistentVolumeClaim"),
    ("BackupBatch", "sessions/*/targets/*/repositories/*/name", "Repository"),
    ("BackupBatch", "sessions/*/targets/*/repositories/*/encryptionSecret", "Secret"),
    ("BackupBatch", "sessions/*/targets/*/repositories/*/backupVerifier", "BackupVerifier"),
    ("BackupBatch", "sessions/*/targets/*/addon/name", "Addon"),
    ("BackupVerificationSession", "repository", "Repository"),
    ("BackupVerificationSession", "invoker/name", "BackupConfiguration or BackupBatch"),
    // Of the chart, in no kustomization, unless they are somebody's own.
    ("BackupVerifier", "restoreOption/addonInfo/name", "Addon or pvc-addon"),
    ("BackupConfiguration", "sessions/*/addon/name", "Addon or pvc-addon"),
];

/// The values at a path below an object.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('/').fold(vec![value], |values, part| match part {
        "*" => values.into_iter().filter_map(Value::as_array).flatten().collect(),
        part => values.into_iter().filter_map(|value| value.get(part)).collect(),
    })
}

/// References that lead nowhere; and how many there are in all.
fn lost(objects: &[Value]) -> (BTreeSet<String>, usize) {
    let there: BTreeSet<(&str, &str)> = objects.iter().map(|object| (object["kind"].as_str().unwrap(), name(object))).collect();
    let (mut lost, mut all) = (BTreeSet::new(), 0);
    for (kind, path, to) in REFERENCES {
        let found: Vec<&Value> =
            objects.iter().filter(|object| object["kind"] == kind).flat_map(|object| at(&object["spec"], path)).collect();
        assert!(!found.is_empty(), "nothing has {kind} {path}");
        all += found.len();
        for value in found {
            let called = value.as_str().or_else(|| value["name"].as_str()).unwrap();
            let leads = to.split(" or ").any(|to| to == called || there.contains(&(to, called)));
            let namespace = value.get("namespace").and_then(Value::as_str);
            if !leads || namespace.is_some_and(|namespace| namespace != NAMESPACE) {
                lost.insert(format!("{kind} {path}: {called} of {namespace:?}"));
            }
        }
    }
    (lost, all)
}

#[test]
fn every_name_leads_to_its_object() {
    let objects = built(&shipped());
    let (lost, all) = lost(&objects);
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(all > 50, "{all} references");
    assert!(objects.iter().all(|object| name(object).starts_with(PREFIX)));
    let images: Vec<_> = objects.iter().filter(|object| object["kind"] == "Function").map(|object| &object["spec"]["image"]).collect();
    assert_eq!(images, ["registry.example/checker:2"]);
    let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
    assert_eq!(at(&job["spec"], "template/spec/containers/*/image"), ["registry.example/restic:1"]);
    let verifier = |called: &str| &objects.iter().find(|object| name(object) == called).unwrap()["spec"];
    assert_eq!(verifier("team-every-minute")["timeout"], "1h");
    assert_eq!(verifier("team-by-hand")["sessionHistoryLimit"], 9);
    assert_eq!(verifier("team-by-hand")["restoreOption"]["target"]["name"], "team-target-damaged", "a merged patch keeps the rest");
    // What comes out is as right as what went in.
    let ours: Vec<Value> = objects.into_iter().filter(is_ours).collect();
    for (object, (status, errors)) in kubeconform(&ours) {
        assert_eq!(status, "statusValid", "{object}: {errors:?}");
    }
}

/// Taken out one by one, each entry of the configuration leaves a name that leads nowhere.
#[test]
fn every_entry_is_needed() {
    let configuration: Value = serde_saphyr::from_str(&shipped()).unwrap();
    let rules = configuration["nameReference"].as_array().unwrap();
    // Two kinds that only KubeStash has: nothing of ours could show what their entries do.
    let kinds = |kind: &Value| kind != "RetentionPolicy" && kind != "HookTemplate";
    let mut tried = 0;
    for (rule, at) in rules.iter().enumerate().filter(|(_, rule)| kinds(&rule["kind"])).flat_map(|(n, rule)| {
        let fields = rule["fieldSpecs"].as_array().unwrap().len();
        (0..fields).map(move |at| (n, at))
    }) {
        let mut without = configuration.clone();
        let removed = without["nameReference"][rule]["fieldSpecs"].as_array_mut().unwrap().remove(at);
        let (lost, _) = lost(&built(&without.to_string()));
        assert!(!lost.is_empty(), "nothing needs {} {removed}", rules[rule]["kind"]);
        tried += 1;
    }
    assert!(tried >= REFERENCES.len(), "{tried} entries");
}

/// Every field of the schemas that names another object has its entry, so that a new one is not forgotten.
#[test]
fn every_reference_of_the_schemas_has_its_entry() {
    let configuration: Value = serde_saphyr::from_str(&shipped()).unwrap();
    let fields = configuration["nameReference"].as_array().unwrap().iter().flat_map(|rule| rule["fieldSpecs"].as_array().unwrap());
    let known: BTreeSet<String> =
        fields.map(|field| format!("{} {}", field["kind"].as_str().unwrap(), field["path"].as_str().unwrap())).collect();
    let mut missing = BTreeSet::new();
    for definition in backproof_api::crd::all() {
        // Made by the controller and by backups, never by people.
        if ["RestoreSession", "Snapshot"].contains(&definition.kind.as_ref()) {
            continue;
        }
        references("spec", &definition.schema()["properties"]["spec"], &mut |path| {
            let entry = format!("{} {path}", definition.kind);
            if !known.contains(&entry) && !known.contains(&format!("{entry}/name")) {
                missing.insert(entry);
            }
        });
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Objects with a name and a namespace or a kind; those of Kubernetes' own types are the business of who writes them.
fn references(path: &str, schema: &Value, found: &mut impl FnMut(&str)) {
    let items = schema.get("items").unwrap_or(schema);
    let Some(properties) = items.get("properties").and_then(Value::as_object) else { return };
    if properties.contains_key("name") && (properties.contains_key("namespace") || properties.contains_key("kind")) {
        found(path);
    }
    for (name, property) in properties {
        if ![
            "jobTemplate",
            "runtimeSettings",
            "containerRuntimeSettings",
            "volumes",
            "targetVolumes",
            "addonVolumes",
            "volumeTemplate",
            "local",
        ]
        .contains(&name.as_str())
        {
            references(&format!("{path}/{name}"), property, found);
        }
    }
}
