//! One object of each watched kind that cannot be read, put there while its schema was open: the others go on.

use backproof_e2e::{Kubectl, wait};
use serde_json::{Value, json};

use crate::{
    cases::Case,
    fixture::{Fixture, LIMIT, assert_ended},
};

/// Kinds that are watched, with the CRD's name and a spec that no type of ours reads.
const MALFORMED: &[(&str, &str, &str)] = &[
    ("BackupVerificationSession", "core.kubestash.com/v1alpha1", "backupverificationsession.core.kubestash.com"),
    ("RestoreSession", "core.kubestash.com/v1alpha1", "restoresessions.core.kubestash.com"),
    ("BackupVerifier", "core.kubestash.com/v1alpha1", "backupverifier.core.kubestash.com"),
    ("BackupConfiguration", "core.kubestash.com/v1alpha1", "backupconfigurations.core.kubestash.com"),
    ("BackupBatch", "core.kubestash.com/v1alpha1", "backupbatches.core.kubestash.com"),
    ("Repository", "storage.kubestash.com/v1alpha1", "repositories.storage.kubestash.com"),
    ("BackupStorage", "storage.kubestash.com/v1alpha1", "backupstorages.storage.kubestash.com"),
    ("Snapshot", "storage.kubestash.com/v1alpha1", "snapshots.storage.kubestash.com"),
];

/// A CRD whose schema says nothing as long as this lives.
struct Opened<'a> {
    cluster: &'a Kubectl,
    name: &'a str,
    versions: Value,
}

impl<'a> Opened<'a> {
    fn new(cluster: &'a Kubectl, name: &'a str) -> Self {
        let opened = Self { cluster, name, versions: cluster.get("crd", name).unwrap()["spec"]["versions"].clone() };
        let mut versions = opened.versions.clone();
        versions[0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        opened.write(&versions);
        opened
    }

    fn write(&self, versions: &Value) {
        let patch = json!({"spec": {"versions": versions}}).to_string();
        // Some are longer than an argument may be.
        let output = self.cluster.output(&["patch", "crd", self.name, "--type=merge", "--patch-file=/dev/stdin"], Some(&patch)).unwrap();
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.write(&self.versions);
    }
}

#[test]
#[ignore = "long: opens the CRDs' schemas for a moment"]
fn objects_that_cannot_be_read_do_not_keep_the_others() {
    let fixture = Fixture::new("malformed");
    fixture.verify_by_hand();
    for (kind, version, crd) in MALFORMED {
        let opened = Opened::new(&fixture.cluster, crd);
        let manifest = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": "malformed", "labels": {"backproof.dev/session-uid": "nobody"}},
            // A list where an object is meant.
            "spec": ["nonsense"],
            "status": ["nonsense"],
        });
        let mut said = String::new();
        let made = wait::quietly(&format!("a malformed {kind}"), LIMIT, || {
            // The new schema takes a moment to be served; admission looks at some kinds and cannot read them either.
            let output = fixture.kubectl.output(&["create", "--validate=false", "-f", "-"], Some(&manifest.to_string()))?;
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            // The schema names an invalid value; admission says what is missing, with or without its own name before it.
            let refused = said.contains("admission webhook") || said.contains("is missing; name");
            Ok((output.status.success() || refused).then_some(!refused))
        });
        drop(opened);
        println!("{kind}: {}", if made.unwrap_or_else(|error| panic!("{error}: {said}")) { "stored" } else { "refused by admission" });
    }
    // What is there at the start of a watch is read in another way than what comes later.
    for start in ["running", "started-again"] {
        let case = Case::new(start);
        fixture.start(std::slice::from_ref(&case));
        assert_ended(&fixture, &fixture.ended(start), "Succeeded", "Verified", None);
        drop(super::controller::Away::new());
    }
    let case = Case::new("after");
    fixture.start(std::slice::from_ref(&case));
    assert_ended(&fixture, &fixture.ended("after"), "Succeeded", "Verified", None);
}
