//! Reviews through the routes, with facts from memory: what is answered, and what is not even read.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode},
};
use backproof_webhook::{
    admit::{Admission, Judged},
    judge::Allowed,
    metrics::Metrics,
    server::{self, Limits},
};
use futures::stream;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::memory::{Memory, STRANGER, review, world};

/// What the chart's values allow in these tests.
fn allowed() -> Allowed {
    Allowed { unsafe_namespaces: Vec::new(), crossing: vec![("verify".to_owned(), "demo".to_owned())] }
}

pub(crate) fn service(cached: &Memory, live: &Memory) -> Router {
    server::router(Admission::new(cached.clone(), live.clone(), allowed()), Metrics::default(), Limits::default())
}

pub(crate) async fn send(service: Router, path: &str, content_type: &str, body: impl Into<Body>) -> (StatusCode, String) {
    let request = Request::post(path).header("content-type", content_type).body(body.into()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The object of a kind in the world.
pub(crate) fn key(judged: Judged) -> &'static str {
    match judged {
        Judged::Session => "session",
        Judged::Verifier => "verifier",
        Judged::Configuration => "configuration",
        Judged::Batch => "batch",
        Judged::Restore => "restore",
        Judged::Repository => "repository",
        Judged::Snapshot => "snapshot",
        Judged::Storage => "storage",
        Judged::Addon => "addon",
        Judged::Function => "function",
    }
}

/// The `response` of a review's answer.
async fn answer(service: Router, judged: Judged, review: &Value) -> Value {
    let (status, body) = send(service, &judged.path(), "application/json", review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    body["response"].clone()
}

fn let_in() -> Value {
    json!({"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": true, "status": {}})
}

#[tokio::test]
async fn what_is_right_is_allowed_from_the_caches_alone() {
    let (cached, live) = (Memory::knowing(world()), Memory::knowing(world()));
    for judged in Judged::ALL {
        let response = answer(service(&cached, &live), *judged, &review("CREATE", &world()[key(*judged)], None)).await;
        assert_eq!((&response["allowed"], &response["status"]), (&json!(true), &json!({})), "{judged:?}");
    }
    assert!(cached.asked() > 0);
    let asked = live.asked();
    assert_eq!(answer(service(&cached, &live), Judged::Session, &review("CREATE", &world()["session"], None)).await, let_in());
    assert_eq!(live.asked(), asked);
}

#[tokio::test]
async fn what_the_caches_do_not_know_yet_is_asked_for_before_it_is_refused() {
    let (cached, live) = (Memory::knowing(json!({})), Memory::knowing(world()));
    assert_eq!(answer(service(&cached, &live), Judged::Session, &review("CREATE", &world()["session"], None)).await, let_in());
    assert!(live.asked() > 0);
}

#[tokio::test]
async fn a_refusal_names_every_field() {
    let empty = Memory::knowing(json!({}));
    let missing = |kind: &str, plural: &str, name: &str| {
        format!("{kind} demo/{name} does not exist; create it first, or name one that kubectl get {plural} -n demo shows")
    };
    let problems = [
        ("spec.invoker.name", missing("BackupConfiguration", "backupconfigurations.core.kubestash.com", "sample-backup")),
        ("spec.repository", missing("Repository", "repositories.storage.kubestash.com", "demo-storage")),
        ("spec.snapshot", missing("Snapshot", "snapshots.storage.kubestash.com", "demo-storage-sample-backup-freq-backup-1730194080")),
    ];
    let list: String = problems.iter().map(|(field, text)| format!("\n* {field}: {text}")).collect();
    let causes: Vec<_> =
        problems.iter().map(|(field, text)| json!({"reason": "FieldValueInvalid", "message": text, "field": field})).collect();
    assert_eq!(
        answer(service(&empty, &empty), Judged::Session, &review("CREATE", &world()["session"], None)).await,
        json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "allowed": false,
            "status": {
                "status": "Failure",
                "code": 422,
                "reason": "Invalid",
                "message": format!("BackupVerificationSession demo/freq-backup-demo-storage-1730194200: 3 problems{list}"),
                "details": {
                    "name": "freq-backup-demo-storage-1730194200",
                    "group": "core.kubestash.com",
                    "kind": "BackupVerificationSession",
                    "causes": causes,
                },
            },
        })
    );
}

#[tokio::test]
async fn without_an_answer_nothing_is_allowed_and_nothing_is_called_wrong() {
    let service = service(&Memory::knowing(json!({})), &Memory::silent());
    assert_eq!(
        answer(service, Judged::Session, &review("CREATE", &world()["session"], None)).await["status"],
        json!({
            "status": "Failure",
            "code": 503,
            "reason": "ServiceUnavailable",
            "message": "BackupVerificationSession demo/freq-backup-demo-storage-1730194200 cannot be judged now: \
                BackupConfiguration demo/sample-backup: no answer; Repository demo/demo-storage: no answer; \
                Snapshot demo/demo-storage-sample-backup-freq-backup-1730194080: no answer; try again",
        })
    );
}

#[tokio::test]
async fn a_warning_goes_with_what_is_allowed() {
    let memory = Memory::knowing(world());
    let mut verifier = world()["verifier"].clone();
    verifier["spec"].as_object_mut().unwrap().remove("scheduler");
    verifier["spec"]["restoreOption"]["target"] = json!({"kind": "PersistentVolumeClaim", "name": "restored"});
    let mut expected = let_in();
    expected["warnings"] =
        json!(["spec.scheduler: is missing; nothing is verified on a schedule, only when somebody creates a BackupVerificationSession"]);
    assert_eq!(answer(service(&memory, &memory), Judged::Verifier, &review("CREATE", &verifier, None)).await, expected);
}

#[tokio::test]
async fn a_verifier_that_overwrites_its_source_is_refused() {
    let memory = Memory::knowing(world());
    let mut verifier = world()["verifier"].clone();
    verifier["spec"]["restoreOption"]["target"]["namespace"] = json!("demo");
    let review = review("UPDATE", &verifier, Some(&world()["verifier"]));
    assert_eq!(
        answer(service(&memory, &memory), Judged::Verifier, &review).await["status"]["message"],
        "BackupVerifier demo/mysql-verifier: spec.restoreOption.target: MySQL demo/sample-mysql is what BackupConfiguration \
        demo/sample-backup backs up and has proven by this verifier; restore into another object, or take \
        spec.sessions[0].repositories[0].backupVerifier out of BackupConfiguration demo/sample-backup"
    );
}

#[tokio::test]
async fn a_changed_spec_is_refused_without_asking_anybody() {
    let silent = Memory::silent();
    let old = world()["session"].clone();
    let mut new = old.clone();
    new["spec"]["repository"] = json!("other");
    assert_eq!(
        answer(service(&silent, &silent), Judged::Session, &review("UPDATE", &new, Some(&old))).await["status"]["message"],
        "BackupVerificationSession demo/freq-backup-demo-storage-1730194200: spec.repository: is immutable, it cannot change \
        from \"demo-storage\" to \"other\"; create another BackupVerificationSession instead"
    );
    assert_eq!(silent.asked(), 0);
}

#[tokio::test]
async fn clean_up_and_changes_of_metadata_or_status_never_wait_for_us() {
    let silent = Memory::silent();
    let old = world()["session"].clone();
    let mut metadata = old.clone();
    metadata["metadata"]["finalizers"] = json!([]);
    let mut status = old.clone();
    status["status"] = json!({"phase": "Running"});
    let mut deleted = old.clone();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["spec"]["repository"] = json!("other");
    for new in [metadata, status, deleted] {
        assert_eq!(answer(service(&silent, &silent), Judged::Session, &review("UPDATE", &new, Some(&old))).await, let_in());
    }
    let mut sub_resource = review("UPDATE", &world()["session"], None);
    sub_resource["request"]["subResource"] = json!("status");
    assert_eq!(answer(service(&silent, &silent), Judged::Session, &sub_resource).await, let_in());
    let mut delete = review("DELETE", &old, Some(&old));
    delete["request"]["object"] = Value::Null;
    assert_eq!(answer(service(&silent, &silent), Judged::Session, &delete).await, let_in());
    assert_eq!(silent.asked(), 0);
}

#[tokio::test]
async fn who_writes_a_reference_must_have_the_access_it_stands_for() {
    let memory = Memory::knowing(world());
    let mut of_stranger = review("CREATE", &world()["verifier"], None);
    of_stranger["request"]["userInfo"]["username"] = json!(STRANGER);
    assert_eq!(
        answer(service(&memory, &memory), Judged::Verifier, &of_stranger).await["status"]["message"],
        "BackupVerifier demo/mysql-verifier: spec.restoreOption.target: eve may not create jobs.batch in namespace verify; restore into a \
        namespace where you may, or have somebody write the verifier who may; see kubectl auth can-i"
    );
    // Somebody else wrote the reference; what this one changes is something else.
    let mut slower = world()["verifier"].clone();
    slower["spec"]["scheduler"]["schedule"] = json!("@daily");
    let mut change = review("UPDATE", &slower, Some(&world()["verifier"]));
    change["request"]["userInfo"]["username"] = json!(STRANGER);
    assert_eq!(answer(service(&memory, &memory), Judged::Verifier, &change).await["allowed"], true);
    // Sessions stand for no access: trigger and controller make them.
    let mut session = review("CREATE", &world()["session"], None);
    session["request"]["userInfo"]["username"] = json!(STRANGER);
    assert_eq!(answer(service(&memory, &memory), Judged::Session, &session).await, let_in());
}

#[tokio::test]
async fn what_belongs_to_others_is_let_in_when_nobody_answers() {
    let silent = Memory::silent();
    for judged in Judged::ALL {
        let response = answer(service(&silent, &silent), *judged, &review("CREATE", &world()[key(*judged)], None)).await;
        let ours = matches!(judged, Judged::Session | Judged::Verifier);
        assert_eq!(response["allowed"], !ours, "{judged:?}: {response}");
    }
    let mut configuration = world()["configuration"].clone();
    configuration["spec"]["sessions"] = json!("nightly");
    assert_eq!(
        answer(service(&silent, &silent), Judged::Configuration, &review("CREATE", &configuration, None)).await["warnings"],
        json!([
            "Backproof did not check this BackupConfiguration: it cannot be read: invalid type: string \"nightly\", expected a sequence"
        ])
    );
}

#[tokio::test]
async fn a_deletion_is_warned_about_and_never_refused() {
    let (memory, silent) = (Memory::knowing(world()), Memory::silent());
    let delete = |judged: Judged| {
        let mut delete = review("DELETE", &world()[key(judged)], Some(&world()[key(judged)]));
        delete["request"]["object"] = Value::Null;
        delete
    };
    for judged in Judged::ALL {
        assert_eq!(answer(service(&silent, &silent), *judged, &delete(*judged)).await, let_in(), "{judged:?}");
    }
    let warnings = [
        (
            Judged::Verifier,
            "metadata.name: is still named by BackupConfiguration demo/sample-backup; their backups are verified no more until one of this name exists again",
        ),
        (
            Judged::Snapshot,
            "metadata.name: is being verified by session demo/freq-backup-demo-storage-1730194200; without it that ends without a verdict",
        ),
        (
            Judged::Storage,
            "metadata.name: still holds Repository demo/demo-storage; their Snapshots can neither be verified nor restored without it",
        ),
    ];
    for (judged, warning) in warnings {
        let mut expected = let_in();
        expected["warnings"] = json!([warning]);
        assert_eq!(answer(service(&memory, &memory), judged, &delete(judged)).await, expected);
    }
}

#[tokio::test]
async fn an_object_of_another_shape_is_refused_by_name() {
    let memory = Memory::knowing(world());
    let mut session = world()["session"].clone();
    session["spec"]["retryLeft"] = json!("three");
    let status = answer(service(&memory, &memory), Judged::Session, &review("CREATE", &session, None)).await["status"].clone();
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    assert_eq!(
        status["message"],
        "BackupVerificationSession demo/freq-backup-demo-storage-1730194200 cannot be read: invalid type: string \"three\", expected i32; \
        correct the field"
    );
}

#[tokio::test]
async fn a_kind_that_is_not_served_here_is_the_configurations_fault() {
    let memory = Memory::knowing(world());
    let status = answer(service(&memory, &memory), Judged::Verifier, &review("CREATE", &world()["session"], None)).await["status"].clone();
    assert_eq!(status["code"], 400);
    assert_eq!(
        status["message"],
        "BackupVerifier is served here, not BackupVerificationSession; correct the rules of the webhook configuration"
    );
}

#[tokio::test]
async fn what_is_no_review_gets_a_plain_answer() {
    let memory = Memory::silent();
    let path = &Judged::Session.path();
    let nested = "[".repeat(100_000);
    let mut other_version = review("CREATE", &world()["session"], None);
    other_version["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut no_request = other_version.clone();
    no_request["apiVersion"] = json!("admission.k8s.io/v1");
    no_request.as_object_mut().unwrap().remove("request");
    let cases: Vec<(&str, Vec<u8>, StatusCode, &str)> = vec![
        ("text/plain", b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "\"text/plain\" is not understood; send application/json\n"),
        ("application/json", b"{".to_vec(), StatusCode::BAD_REQUEST, "not an AdmissionReview of admission.k8s.io/v1: EOF while parsing"),
        ("application/json", nested.into_bytes(), StatusCode::BAD_REQUEST, "not an AdmissionReview of admission.k8s.io/v1: "),
        (
            "application/json",
            br#"{"apiVersion": "admission.k8s.io/v1", "request": {"uid": "a", "uid": "b"}}"#.to_vec(),
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview of admission.k8s.io/v1: the key \"uid\" stands there twice at line 1 column ",
        ),
        (
            "application/json",
            b"{\"a\": 1e999}".to_vec(),
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview of admission.k8s.io/v1: number out of range",
        ),
        ("application/json", vec![b'"', 0xff, b'"'], StatusCode::BAD_REQUEST, "not an AdmissionReview of admission.k8s.io/v1: "),
        (
            "application/json; charset=utf-8",
            other_version.to_string().into_bytes(),
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview of admission.k8s.io/v1: it is admission.k8s.io/v1beta1 AdmissionReview\n",
        ),
        (
            "application/json",
            no_request.to_string().into_bytes(),
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview of admission.k8s.io/v1: it holds no request\n",
        ),
    ];
    for (content_type, body, expected, text) in cases {
        let (status, answer) = send(service(&memory, &memory), path, content_type, body).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer.starts_with(text), "{answer}");
    }
    let (status, _) = send(service(&memory, &memory), "/validate-apps-v1-deployment", "application/json", "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_cut_off() {
    let memory = Memory::silent();
    let body = vec![b' '; Limits::default().body + 1];
    let (status, _) = send(service(&memory, &memory), &Judged::Session.path(), "application/json", body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// A few slow senders of large bodies hold up nobody whose body is small.
#[tokio::test]
async fn bodies_are_bounded_together() {
    let limits = Limits { request: Duration::from_secs(2), bodies: Limits::default().body, ..Limits::default() };
    let memory = Memory::knowing(world());
    let service = server::router(Admission::new(memory.clone(), memory, allowed()), Metrics::default(), limits);
    let endless = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = tokio::spawn(send(service.clone(), "/validate-core-kubestash-com-v1alpha1-backupverifier", "application/json", endless()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The budget is taken: what does not say how long it is waits, and is told so.
    let (status, _) = send(service.clone(), &Judged::Session.path(), "application/json", endless()).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(slow.await.unwrap().0, StatusCode::REQUEST_TIMEOUT);
    // Who is small waits for nobody.
    let slow_again =
        tokio::spawn(send(service.clone(), "/validate-core-kubestash-com-v1alpha1-backupverifier", "application/json", endless()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut of_its_size = review("CREATE", &world()["session"], None).to_string().into_bytes();
    of_its_size.resize(of_its_size.len() + 100, b' ');
    let length = of_its_size.len();
    let request = Request::post(Judged::Session.path())
        .header("content-type", "application/json")
        .header("content-length", length)
        .body(Body::from(of_its_size))
        .unwrap();
    assert_eq!(service.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    assert!(!slow_again.is_finished(), "nobody was slow");
    assert_eq!(slow_again.await.unwrap().0, StatusCode::REQUEST_TIMEOUT);
    // It is given back.
    assert_eq!(answer(service, Judged::Session, &review("CREATE", &world()["session"], None)).await, let_in());
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { request: Duration::from_millis(100), ..Limits::default() };
    let memory = Memory::silent();
    let service = server::router(Admission::new(memory.clone(), memory, allowed()), Metrics::default(), limits);
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, text) = send(service, &Judged::Session.path(), "application/json", body).await;
    assert_eq!((status, text.as_str()), (StatusCode::REQUEST_TIMEOUT, "no answer within 0 s; try again\n"));
}
