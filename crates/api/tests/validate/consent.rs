//! Who may write a reference: which access is asked for, and what is said when it is missing.

use backproof_api::validate::{Access, Findings, Invoker, accesses_of_invoker, accesses_of_verifier, refuse_access};
use serde_json::json;

use crate::{
    cases::{merge, world},
    parse,
};

/// What is said of the writers of a verifier and of a configuration who lack everything.
pub(crate) fn all() -> Vec<Findings> {
    let mut findings = Findings::default();
    for (field, access) in accesses_of_verifier(&parse(&world()["verifier"])) {
        refuse_access(&mut findings, "BackupVerifier", &field, &access, "ann");
    }
    for (field, access) in accesses_of_invoker(Invoker::Configuration(&parse(&elsewhere()["configuration"]))) {
        refuse_access(&mut findings, "BackupConfiguration", &field, &access, "ann");
    }
    vec![findings]
}

fn elsewhere() -> serde_json::Value {
    let mut objects = world();
    let repositories = json!([
        {"name": "a", "backend": "b", "encryptionSecret": {"name": "key", "namespace": "infra"}, "backupVerifier": {"name": "v", "namespace": "checks"}},
        {"name": "b", "backend": "b", "encryptionSecret": {"name": "key", "namespace": "infra"}, "backupVerifier": {"name": "own"}},
    ]);
    let spec = json!({"backends": [{"name": "b", "storageRef": {"name": "s3", "namespace": "infra"}}], "sessions": [{"name": "s", "repositories": repositories}]});
    merge(&mut objects, &json!({"configuration": {"spec": spec}}));
    objects
}

#[test]
fn a_verifiers_writer_must_be_able_to_make_jobs_where_it_restores() {
    let accesses: Vec<_> = accesses_of_verifier(&parse(&world()["verifier"])).into_iter().map(|(_, access)| access.to_string()).collect();
    assert_eq!(accesses, ["create jobs.batch in namespace verify"]);
    let mut own = world();
    merge(&mut own, &json!({"verifier": {"spec": {"restoreOption": {"target": {"namespace": null}}}}}));
    assert_eq!(accesses_of_verifier(&parse(&own["verifier"]))[0].1.namespace, "demo");
}

#[test]
fn only_what_lies_elsewhere_is_asked_for_and_each_once() {
    let objects = elsewhere();
    let configuration = parse(&objects["configuration"]);
    let get = |group, resource, namespace: &str, name: &str| Access {
        verb: "get",
        group,
        resource,
        namespace: namespace.into(),
        name: name.into(),
    };
    assert_eq!(
        accesses_of_invoker(Invoker::Configuration(&configuration)),
        [
            ("spec.backends[0].storageRef".to_owned(), get("storage.kubestash.com", "backupstorages", "infra", "s3")),
            ("spec.sessions[0].repositories[0].encryptionSecret".to_owned(), get("", "secrets", "infra", "key")),
            ("spec.sessions[0].repositories[0].backupVerifier".to_owned(), get("core.kubestash.com", "backupverifier", "checks", "v")),
        ]
    );
    let configuration = parse(&world()["configuration"]);
    assert_eq!(accesses_of_invoker(Invoker::Configuration(&configuration)), []);
}

#[test]
fn a_refusal_names_user_access_and_field() {
    assert_eq!(
        all()[0].to_string(),
        "4 problems\n\
        * spec.restoreOption.target: ann may not create jobs.batch in namespace verify; restore into a namespace where you may, or have somebody write the verifier who may; see kubectl auth can-i\n\
        * spec.backends[0].storageRef: ann may not get backupstorages.storage.kubestash.com s3 in namespace infra; name one of this namespace, or have somebody write it who may; see kubectl auth can-i\n\
        * spec.sessions[0].repositories[0].encryptionSecret: ann may not get secrets key in namespace infra; name one of this namespace, or have somebody write it who may; see kubectl auth can-i\n\
        * spec.sessions[0].repositories[0].backupVerifier: ann may not get backupverifier.core.kubestash.com v in namespace checks; name one of this namespace, or have somebody write it who may; see kubectl auth can-i"
    );
}
