//! Damaged repositories on a real node: every recipe of `sabotage/recipes.tsv` that needs nothing prepared, each on a copy of
//! its own, with the verdict and cause that file gives. The executor's own tests go through the same file with more of them.

use backproof_e2e::samples;
use serde_json::{Value, json};

use crate::{
    cases::Case,
    fixture::{Fixture, OWNER, SNAPSHOTS, assert_ended, condition, text},
    host::repository,
    schema::record_of,
};

/// One line of the recipes.
struct Recipe {
    case: &'static str,
    recipe: &'static str,
    verdict: &'static str,
    cause: Option<&'static str>,
}

fn recipes() -> Vec<Recipe> {
    let lines = include_str!("../../../sabotage/recipes.tsv").lines().skip(1);
    let all = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [case, recipe, _formats, given, verdict, cause, ..] = fields[..] else { panic!("recipes.tsv: {line:?}") };
        (given == "-").then(|| Recipe { case, recipe, verdict, cause: Some(cause).filter(|cause| *cause != "-") })
    });
    all.collect()
}

/// One of each kind of file, and each kind of damage to packs.
const REPRESENTATIVES: &[&str] =
    &["config-bitflip", "snapshot-bitflip", "index-bitflip", "tree-bitflip", "data-bitflip", "data-delete", "data-tailcut", "data-swap"];

#[test]
fn representative_damage_is_named() {
    let chosen: Vec<Recipe> = recipes().into_iter().filter(|recipe| REPRESENTATIVES.contains(&recipe.case)).collect();
    assert_eq!(chosen.len(), REPRESENTATIVES.len());
    Damaged::new("damage", chosen).prove();
}

#[test]
#[ignore = "long: every recipe on the node"]
fn every_recipe_of_damage_is_named() {
    let all = recipes();
    assert!(all.len() > 40, "only {} recipes", all.len());
    Damaged::new("all-damage", all).prove();
}

struct Damaged {
    fixture: Fixture,
    recipes: Vec<Recipe>,
}

/// Copies of the sample's repository, one below the other on one volume.
const COPIES: &str = "copies";
/// A repository that holds a snapshot without any entry.
const EMPTY: &str = "empty";
/// The same as files: today's restic refuses to make one. Its password is that of the samples, and restic finds no fault with it.
const EMPTY_REPOSITORY: &[u8] = include_bytes!("empty-repository.tar.gz");

impl Damaged {
    fn new(test: &str, recipes: Vec<Recipe>) -> Self {
        let fixture = Fixture::new(test);
        fixture.verify_by_hand();
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": COPIES},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        let storage = json!({
            "apiVersion": "storage.kubestash.com/v1alpha1",
            "kind": "BackupStorage",
            "metadata": {"name": COPIES},
            "spec": {
                "storage": {"provider": "local", "local": {"mountPath": "/r", "persistentVolumeClaim": {"claimName": COPIES}}},
                "runtimeSettings": {"pod": {"securityContext": {"runAsUser": OWNER, "runAsGroup": OWNER}}},
            },
        });
        let empty = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "empty"},
            "binaryData": {"repository.tar.gz": base64(EMPTY_REPOSITORY)},
        });
        fixture.apply(&samples::recipes());
        fixture.apply_all(&[claim, empty, spoil(&recipes), storage]);
        fixture.job_succeeds("spoil");
        for recipe in &recipes {
            fixture.apply_all(&[repository(recipe.case, COPIES, recipe.case)]);
            fixture.snapshot_of(recipe.case);
        }
        let mut empty = repository(EMPTY, COPIES, EMPTY);
        empty["metadata"]["annotations"] = json!({"backproof.dev/discover": "true"});
        fixture.apply_all(&[empty]);
        fixture.discovered(EMPTY);
        Self { fixture, recipes }
    }

    fn prove(&self) {
        let fixture = &self.fixture;
        let before = fixture.listing(COPIES);
        let cases: Vec<Case> =
            self.recipes.iter().map(|recipe| recipe.case).chain([EMPTY]).map(|name| Case::new(name).on(name, COPIES)).collect();
        fixture.start(&cases);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let mut ended = fixture.all_ended(&names);
        let empty = ended.pop().unwrap();
        assert_eq!(before, fixture.listing(COPIES), "a repository was touched");
        let wrong: Vec<String> =
            self.recipes.iter().zip(&ended).filter(|(recipe, session)| !as_expected(recipe, session)).map(|(_, s)| brief(s)).collect();
        assert!(wrong.is_empty(), "{} of {} ended otherwise than recipes.tsv says:\n{}", wrong.len(), ended.len(), wrong.join("\n"));
        for (recipe, session) in self.recipes.iter().zip(&ended) {
            self.told(recipe, session);
        }
        assert_ended(fixture, &empty, "Failed", "VerificationFailed", Some("EmptySnapshot"));
    }

    /// The Snapshot carries a defect, and nothing else.
    fn told(&self, recipe: &Recipe, session: &Value) {
        let snapshot = self.fixture.kubectl.get(SNAPSHOTS, &format!("{}-copied", recipe.case)).unwrap();
        let status = &snapshot["status"];
        match recipe.verdict {
            "VerificationFailed" => {
                assert_eq!(condition(session, "BackupVerified"), "False", "{session:#}");
                assert_eq!(condition(session, "Stalled"), "True", "{session:#}");
                assert_eq!(status["verificationStatus"], "VerificationFailed", "{snapshot:#}");
                assert_eq!(record_of(&snapshot)["cause"], session["status"]["cause"], "{snapshot:#}");
                let place = place(recipe);
                assert!(text(session, "/status/message").contains(place), "the message names {place}: {}", brief(session));
            }
            "Verified" => assert_eq!(status["verificationStatus"], "Verified", "{snapshot:#}"),
            _ => assert_eq!(status["verificationStatus"], "NotVerified", "{snapshot:#}"),
        }
    }
}

fn as_expected(recipe: &Recipe, session: &Value) -> bool {
    let status = &session["status"];
    let phase = if recipe.verdict == "Verified" { "Succeeded" } else { "Failed" };
    let cause = status["cause"].as_str();
    // A repository as small as this one has a single pack of content: it is swapped with one of directories.
    let swapped = ["data-swap", "tree-swap"].contains(&recipe.recipe) && cause.is_some_and(|cause| SWAPPED.contains(&cause));
    status["verdict"] == recipe.verdict && status["phase"] == phase && (cause == recipe.cause || swapped)
}

/// What swapped packs can be seen by.
const SWAPPED: &[&str] = &["PackDamaged", "PackTruncated", "TreeDamaged"];

fn brief(session: &Value) -> String {
    let status = &session["status"];
    format!("{}: {} {} {} {}", session["metadata"]["name"], status["phase"], status["verdict"], status["cause"], status["message"])
}

/// What the message must name, so that somebody can go and look at it.
fn place(recipe: &Recipe) -> &'static str {
    match recipe.recipe.split('-').next().unwrap_or_default() {
        "config" => "config",
        "key" | "keys" => "key",
        "snapshot" => "snapshots/",
        "index" if recipe.cause == Some("IndexDamaged") => "index/",
        "tree" | "data" => "data/",
        _ => "",
    }
}

/// RFC 4648, as `binaryData` wants it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            text.push(if at <= chunk.len() { char::from(DIGITS[(number >> (18 - 6 * at)) as usize & 63]) } else { '=' });
        }
    }
    text
}

/// A Job that copies the repository once for each recipe, damages the copies, and makes a repository of an empty directory.
fn spoil(recipes: &[Recipe]) -> Value {
    let list: Vec<String> = recipes.iter().map(|recipe| format!("{} {}", recipe.case, recipe.recipe)).collect();
    let script = format!(
        "set -eu
echo donated > /tmp/donated
restic -r /tmp/donor init --quiet
restic -r /tmp/donor backup --quiet /tmp/donated
mkdir /copies/{EMPTY}
tar -C /copies/{EMPTY} -xzf /empty/repository.tar.gz
while read -r case recipe; do
  mkdir /copies/$case
  cp -a /repository/* /copies/$case/
  sh /sabotage/damage.sh $recipe /copies/$case /tmp/donor
done <<'LIST'
{}
LIST
",
        list.join("\n")
    );
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "spoil"},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": OWNER, "runAsGroup": OWNER, "fsGroup": OWNER, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "spoil",
                "image": "localhost/backproof/restic:dev",
                "command": ["/bin/sh", "-c", script],
                "env": [
                    {"name": "RESTIC_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "encryption-secret", "key": "RESTIC_PASSWORD"}}},
                    {"name": "RESTIC_CACHE_DIR", "value": "/tmp/cache"},
                ],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "repository", "mountPath": "/repository", "readOnly": true},
                    {"name": "copies", "mountPath": "/copies"},
                    {"name": "sabotage", "mountPath": "/sabotage"},
                    {"name": "empty", "mountPath": "/empty"},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "repository", "persistentVolumeClaim": {"claimName": "repository", "readOnly": true}},
                {"name": "copies", "persistentVolumeClaim": {"claimName": COPIES}},
                {"name": "sabotage", "configMap": {"name": "sabotage"}},
                {"name": "empty", "configMap": {"name": "empty"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        }}},
    })
}
