//! Verifiers and sessions that are nearly right, the same in every run: what schemas, rules, webhook and controller must agree on.
//!
//! Every value has the type its schema wants, as nobody disputes the rest. One thing is left out on purpose: no retries at all
//! (`maxRetry: 0`), which upstream's schema refuses and our rules do not mind.

use serde_json::{Value, json};

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap_or_default()
    }

    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }

    /// One of these; a null stands for a field that is not there.
    fn one(&mut self, values: Value) -> Value {
        let values = values.as_array().cloned().unwrap_or_default();
        let at = self.roll(values.len().max(1));
        values.get(at).cloned().unwrap_or_default()
    }
}

const DURATIONS: [&str; 12] = ["", "5m", "1h30m", "0s", "-1h", "1d", "10", "never", "1e3s", "2562048h", ".5h", "1m0s"];
const SCHEDULES: [&str; 10] = [
    "0 3 * * *",
    "*/5 * * * *",
    "@daily",
    "@every 1h",
    "",
    "0 0 30 2 *",
    "0 0 3 * * *",
    "@often",
    "* * * * MON-FRI",
    "CRON_TZ=UTC 0 3 * * *",
];

/// Sets a field, or takes it away.
fn set(spec: &mut Value, path: &[&str], value: Value) {
    let Some((last, before)) = path.split_last() else { return };
    let mut at = spec;
    for key in before {
        if !at[*key].is_object() {
            return;
        }
        at = &mut at[*key];
    }
    let Some(object) = at.as_object_mut() else { return };
    if value.is_null() {
        object.remove(*last);
    } else {
        object.insert((*last).to_owned(), value);
    }
}

/// A verifier of this name.
pub(crate) fn verifier(dice: &mut Dice, name: &str) -> Value {
    let target = json!({"kind": "PersistentVolumeClaim", "name": "restored"});
    let info = json!({"name": "mysql-addon", "tasks": [{"name": "logical-backup-restore"}]});
    let mut spec = json!({
        "type": dice.pick(&["RestoreOnly", "RestoreOnly", "Query", "Script"]),
        "restoreOption": {"target": target, "addonInfo": info},
        "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
    });
    match spec["type"].as_str() {
        Some("Query") => {
            set(&mut spec, &["function"], json!("kubedbverifier"));
            set(&mut spec, &["query"], json!({"mySQL": [{"database": "shop"}]}));
        }
        Some("Script") => {
            set(&mut spec, &["function"], json!("kubedbverifier"));
            set(&mut spec, &["script"], json!({"location": "/check.sh"}));
        }
        _ => {}
    }
    for _ in 0..dice.roll(5) {
        change_verifier(dice, &mut spec);
    }
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerifier", "metadata": {"name": name, "namespace": "demo"}, "spec": spec})
}

fn change_verifier(dice: &mut Dice, spec: &mut Value) {
    let option = "restoreOption";
    match dice.roll(19) {
        0 => set(spec, &["type"], dice.one(json!(["RestoreOnly", "Query", "Script", "Guess", null]))),
        1 => set(spec, &["function"], dice.one(json!(["kubedbverifier", "checker", "", null]))),
        2 => set(spec, &["query"], query(dice)),
        3 => {
            let scripts = json!([{"location": "/check.sh"}, {"location": "check.sh"}, {"location": ""}, {"args": ["a"]}, {}, null]);
            set(spec, &["script"], dice.one(scripts));
        }
        4 => set(spec, &[option], dice.one(json!([null, {}]))),
        5 => set(spec, &[option, "target"], dice.one(json!([null, {"name": ""}, {"name": "x", "kind": ""}, {"name": "x"}]))),
        6 => {
            let names = json!(["restored", "data", "Data", "a/b", "sample-mysql", "x".repeat(254)]);
            set(spec, &[option, "target", "name"], dice.one(names));
        }
        7 => {
            let kinds = json!(["PersistentVolumeClaim", "pvc", "persistentvolumeclaim", "MySQL", "Secret", "StatefulSet", "Snapshot"]);
            set(spec, &[option, "target", "kind"], dice.one(kinds));
        }
        8 => {
            let groups = json!(["", "v1", "core", "apps", "kubedb.com", "storage.kubestash.com", null]);
            set(spec, &[option, "target", "apiGroup"], dice.one(groups));
        }
        9 => set(spec, &[option, "target", "namespace"], dice.one(json!(["demo", "verify", "trusted", "", "Verify", "a.b", null]))),
        10 => set(spec, &[option, "addonInfo"], dice.one(json!([null, {}, {"name": "mysql-addon"}, {"tasks": [{"name": "x"}]}]))),
        11 => set(spec, &[option, "addonInfo", "name"], dice.one(json!(["mysql-addon", "other-addon", "Other Addon", "", null]))),
        12 => set(spec, &[option, "addonInfo", "tasks"], tasks(dice)),
        13 => set(spec, &[option, "addonInfo", "jobTemplate"], json!({"spec": pod(dice)})),
        14 => scheduler(dice, spec),
        15 => {
            let retries = dice.one(json!([1, 2, 100, 101, -1, null]));
            set(spec, &["retryConfig"], json!({"delay": dice.pick(&DURATIONS)}));
            set(spec, &["retryConfig", "maxRetry"], retries);
        }
        16 => set(spec, &["sessionHistoryLimit"], dice.one(json!([-1, 0, 1, 5, null]))),
        17 => {
            let field = dice.pick(&["timeout", "startTimeout", "reverifyAfter"]);
            set(spec, &[field], json!(dice.pick(&DURATIONS)));
        }
        _ => volumes(dice, spec),
    }
}

fn query(dice: &mut Dice) -> Value {
    let engine = dice.pick(&["mySQL", "postgres", "mongoDB", "redis", "elasticsearch", "mysql", "oracle"]);
    let count = dice.one(json!([
        {"operator": "GreaterThan", "value": 1}, {"operator": "GreaterOrEqual", "value": 1}, {"operator": "LessThan", "value": 0},
        {"operator": "GreaterThanOrEqual", "value": 0}, {"operator": "Equal"}, {"value": 1}, {}, 100, -1, "many", true, [1],
    ]));
    let check = dice.one(json!([
        {"database": "shop"}, {"database": "shop", "table": "t", "rowCount": count}, {"database": "shop", "rowCount": count},
        {"database": "shop", "table": "t", "rowcount": count}, {"database": "shop", "collection": "c", "documentCount": count},
        {"index": 0, "dbSize": count}, {"index": "shop"}, {"index": -1}, {"database": 7}, {"database": ""}, {}, 7,
    ]));
    let checks = dice.one(json!([[check], [check], [check], [check, check], [], check, "all"]));
    let mut query = json!({});
    query[engine] = checks;
    dice.one(json!([query, query, query, query, {}, null]))
}

fn tasks(dice: &mut Dice) -> Value {
    dice.one(json!([
        [], [{}], [{"name": "logical-backup-restore"}], [{"name": "logical-backup-restor"}], [{"name": "logical-backup"}],
        [{"name": "physical-backup-restore"}], [{"name": "physical-backup-restore", "params": {"dataDir": "/data"}}],
        [{"name": "physical-backup-restore", "params": {"datadir": "/data"}, "variables": [{"name": "dataDir", "value": "/"}]}],
        [{"name": "logical-backup-restore"}, {"name": "logical-backup-restore"}],
        [{"name": "logical-backup-restore", "targetVolumes": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}],
    ]))
}

fn pod(dice: &mut Dice) -> Value {
    dice.one(json!([
        {}, {"resources": {}}, {"hostNetwork": true}, {"hostPID": true, "hostIPC": false}, {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"runAsUser": 1000, "fsGroup": 1000}}, {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"containerSecurityContext": {"privileged": true}}, {"containerSecurityContext": {"capabilities": {"drop": ["ALL"]}}},
        {"containerSecurityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, {"initContainers": [{"name": "first", "image": "i"}]},
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, {"volumes": [{"name": "v", "emptyDir": {}}]},
    ]))
}

fn scheduler(dice: &mut Dice, spec: &mut Value) {
    let schedule = json!({"schedule": dice.pick(&SCHEDULES), "jobTemplate": {}});
    set(spec, &["scheduler"], dice.one(json!([schedule, schedule, schedule, null])));
    set(spec, &["scheduler", "concurrencyPolicy"], dice.one(json!(["Allow", "Forbid", "Replace", "Never", "", null, null, null])));
}

fn volumes(dice: &mut Dice, spec: &mut Value) {
    let volume = dice.one(json!([
        {"name": "a", "emptyDir": {}}, {"name": "a", "configMap": {"name": "c"}}, {"name": "a"}, {"name": "", "emptyDir": {}},
        {"name": "a", "hostPath": {"path": "/"}},
    ]));
    let mount = dice.one(json!([{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}, {"name": "a", "mountPath": "/a:b"}]));
    set(spec, &["volumes"], dice.one(json!([[volume], [volume, volume], null])));
    set(spec, &["volumeMounts"], dice.one(json!([[mount], [mount, mount], null])));
}

/// A session; its name is made longer now and then.
pub(crate) fn session(dice: &mut Dice, name: &str) -> Value {
    let longer = dice.one(json!([0, 0, 0, 0, 0, 0, 50, 63])).as_u64().unwrap_or_default();
    let name = format!("{name}{}", "x".repeat(usize::try_from(longer).unwrap_or_default()));
    let mut session = json!({
        "apiVersion": "core.kubestash.com/v1alpha1",
        "kind": "BackupVerificationSession",
        "metadata": {"name": name, "namespace": "demo"},
        "spec": {
            "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "sample-backup"},
            "session": "freq-backup",
            "repository": "demo-storage",
            "snapshot": "demo-storage-sample-backup-freq-backup-1730194080",
        },
    });
    for _ in 0..dice.roll(4) {
        match dice.roll(9) {
            0 => set(&mut session, &["spec", "invoker"], dice.one(json!([null, {"kind": "", "name": ""}, {"kind": "Pod", "name": "x"}]))),
            1 => {
                let groups = dice.one(json!(["", "core.kubestash.com", "stash.appscode.com", null]));
                set(&mut session, &["spec", "invoker", "apiGroup"], groups);
            }
            2 => {
                let kinds = dice.one(json!(["BackupConfiguration", "BackupBatch", "BackupBlueprint"]));
                set(&mut session, &["spec", "invoker", "kind"], kinds);
            }
            3 => {
                let names = dice.one(json!(["sample-backup", "sample-batch", "nobody", "No Body"]));
                set(&mut session, &["spec", "invoker", "name"], names);
            }
            4 => set(&mut session, &["spec", "session"], dice.one(json!(["freq-backup", "nightly", "", null]))),
            5 => set(&mut session, &["spec", "repository"], dice.one(json!(["demo-storage", "files-storage", "a/b", "", null]))),
            6 => set(&mut session, &["spec", "snapshot"], dice.one(json!(["latest", "nothing", "../x", "", null]))),
            7 => set(&mut session, &["spec", "retryLeft"], dice.one(json!([-1, 0, 1, 100, 101, null]))),
            _ => {
                let labels = dice.one(json!([
                    {"kubestash.com/invoker-name": "sample-backup"}, {"kubestash.com/invoker-name": "other"}, {"other": "label"}, null
                ]));
                set(&mut session, &["metadata", "labels"], labels);
            }
        }
    }
    session
}
