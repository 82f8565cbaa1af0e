//! The validator's tables of cases through the real webhook behind a real API server: the same objects, the same words.
//!
//! The kinds take anything here, so that every fault reaches the webhook and none is cut off by a schema before it; that
//! schemas, CEL and webhook agree is asked for afterwards, with the real ones. Cases that start from the same objects share
//! them, as judging leaves nothing behind.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, chart, client};
use futures::{StreamExt as _, stream};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    calls::{Answer, collection, must, request},
    cases::{self, Case},
    service::kinds_that_take_anything,
    stage::{AROUND, Place, Stage, make},
};

/// Whom the registration leaves out; here it may do everything, to make what a case starts from.
const EXEMPT: &str = "system:serviceaccount:backproof-system:backproof-controller";
const AT_ONCE: usize = 8;
/// Longest time until a watch has seen that something is being deleted.
const SEEN: Duration = Duration::from_secs(10);

/// A stage that is set by whoever needs it first, and the number of its namespaces.
type Numbered = (usize, Arc<OnceCell<Stage>>);

/// The stages that were set already, by what they are made of.
struct Stages {
    exempt: Client,
    author: Client,
    set: Mutex<HashMap<String, Numbered>>,
    next: AtomicUsize,
}

impl Stages {
    /// The stage of a case, set by whoever comes first.
    async fn of(&self, case: &Case) -> Result<Arc<OnceCell<Stage>>> {
        let (number, cell) = {
            let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || (self.next.fetch_add(1, Ordering::Relaxed), Arc::default());
            let (number, cell) = set.entry(made_of(case)).or_insert_with(new);
            (*number, Arc::clone(cell))
        };
        cell.get_or_try_init(|| Stage::set(&self.exempt, number, case)).await?;
        Ok(cell)
    }

    /// What is said otherwise than expected, if anything.
    async fn said(&self, case: &Case) -> Result<Option<String>> {
        let cell = self.of(case).await?;
        let stage = cell.get().context("no stage")?;
        let subject = stage.subject(case)?;
        let expected = expected(&stage.place, case, &subject);
        let start = std::time::Instant::now();
        loop {
            let answer = stage.judge(&self.exempt, &self.author, case, &subject).await.with_context(|| case.case.clone())?;
            let message = if answer.code < 300 { "" } else { answer.body["message"].as_str().unwrap_or_default() };
            let found = (answer.code, message.to_owned(), answer.warnings);
            if found == expected {
                return Ok(None);
            }
            // What the watches have not seen yet is let in; only a deletion is not asked for again before that.
            if !stage.ending || start.elapsed() > SEEN {
                return Ok(Some(format!("{} ({})\n  found:    {found:?}\n  expected: {expected:?}", case.case, case.subject)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes away what of a case lies in the whole cluster.
    async fn clear(&self, case: &Case) -> Result<()> {
        let removed = self.set.lock().unwrap_or_else(PoisonError::into_inner).remove(&made_of(case));
        let stage = removed.and_then(|(_, cell)| Arc::into_inner(cell)).and_then(OnceCell::into_inner);
        for path in stage.map(|stage| stage.shared).unwrap_or_default() {
            must(&self.exempt, "DELETE", &path, None).await?;
        }
        Ok(())
    }
}

/// What tells a stage from others. Who changes an object that was there before has that object for himself.
fn made_of(case: &Case) -> String {
    let mut objects = case.objects();
    let own = if case.old.is_some() { case.case.as_str() } else { "" };
    let around: Vec<_> = AROUND.into_iter().filter(|key| *key != case.subject).chain(["labels"]).map(|key| objects[key].take()).collect();
    format!("{own} {}", json!(around))
}

fn expected(place: &Place, case: &Case, subject: &Value) -> (u16, String, Vec<String>) {
    let kind = subject["kind"].as_str().unwrap_or_default();
    let meta = &subject["metadata"];
    let (namespace, name) = (meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap_or_default());
    let warned = case.warned.iter().map(|warning| place.text(warning)).collect();
    match case.refused.as_str() {
        "" if case.old.is_some() => (200, String::new(), warned),
        "" => (201, String::new(), warned),
        refused => {
            let webhook = kind.to_lowercase();
            let refused = place.text(refused);
            (422, format!("admission webhook \"{webhook}.backproof.dev\" denied the request: {kind} {namespace}/{name}: {refused}"), warned)
        }
    }
}

async fn exempt(server: &ApiServer) -> Result<Client> {
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": EXEMPT});
    let role = json!({"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "cluster-admin"});
    let meta = json!({"name": "test-exempt"});
    server
        .apply(&[json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject]})])
        .await?;
    client(&server.kubeconfig_of(EXEMPT)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_said_by_the_webhook_as_by_the_validator() -> Result<()> {
    let cases = cases::all();
    ensure!(cases.len() >= 120, "{}", cases.len());
    let own: Vec<String> = (0..2 * cases.len()).map(|number| format!("demo-{number}")).collect();
    let arguments = [format!("--allow-cross-namespace=verify={}", own.join(",")), "--unsafe-namespaces=trusted".to_owned()];
    let (server, _replica) = crate::service::start(&kinds_that_take_anything()?, &arguments).await?;
    server.apply(&["verify", "production", "trusted"].map(crate::service::namespace)).await?;
    let exempt = exempt(&server).await?;
    for key in ["addon", "function"] {
        make(&exempt, &cases::world()[key]).await?;
    }
    let stages = Stages { exempt, author: server.client.clone(), set: Mutex::default(), next: AtomicUsize::new(0) };
    let alone = |case: &&Case| case.change.get("addon").is_some() || case.change.get("function").is_some();
    let (alone, together): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(alone);
    let run = async |case: &Case| stages.said(case).await.unwrap_or_else(|error| Some(format!("{}: {error:#}", case.case)));
    let together_said = stream::iter(together.iter().copied()).map(&run).buffer_unordered(AT_ONCE);
    let mut wrong: Vec<String> = together_said.filter_map(std::future::ready).collect().await;
    for case in &alone {
        wrong.extend(run(case).await);
        stages.clear(case).await?;
    }
    wrong.extend(agreement(&server, &stages, &together).await?);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// With the real schemas and their CEL rules before the webhook the same objects get in, and no others.
async fn agreement(server: &ApiServer, stages: &Stages, cases: &[&Case]) -> Result<Vec<String>> {
    for kind in chart(&["crds.yaml"])? {
        let path =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", kind["metadata"]["name"].as_str().unwrap_or_default());
        let mut kind = kind;
        kind["metadata"]["resourceVersion"] = must(&stages.exempt, "GET", &path, None).await?["metadata"]["resourceVersion"].clone();
        let answer = request(&stages.exempt, "PUT", &path, Some(&kind)).await?;
        ensure!(answer.code == 200, "{path}: {}", answer.body["message"]);
        assert_eq!(answer.warnings, Vec::<String>::new(), "{path}");
    }
    schemas_hold(server).await?;
    let judged = cases.iter().filter(|case| case.old.is_none() && matches!(case.subject.as_str(), "session" | "verifier"));
    let answers = stream::iter(judged).map(|case| async move {
        let cell = stages.of(case).await?;
        let stage = cell.get().context("no stage")?;
        let answer = stage.judge(&stages.exempt, &stages.author, case, &stage.subject(case)?).await?;
        anyhow::Ok((case, answer))
    });
    let answers: Vec<Result<(&&Case, Answer)>> = answers.buffer_unordered(AT_ONCE).collect().await;
    let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for answer in answers {
        let (case, answer) = answer?;
        if (answer.code < 300) != case.refused.is_empty() {
            wrong.push(format!("{} with the real schemas: {} {}", case.case, answer.code, answer.body["message"]));
        }
        for cause in answer.body["details"]["causes"].as_array().into_iter().flatten() {
            *by_rule.entry(cause["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let fired = |message: &str| by_rule.keys().any(|said| said.contains(message));
    let silent: Vec<_> = backproof_api::crd::cel::ALL.iter().filter(|cel| !fired(cel.message)).map(|cel| cel.id).collect();
    if !silent.is_empty() {
        wrong.push(format!("CEL rules that no case breaks: {silent:?}\n{by_rule:#?}"));
    }
    Ok(wrong)
}

/// Until the API server judges by the schemas it was just given.
async fn schemas_hold(server: &ApiServer) -> Result<()> {
    for key in ["session", "verifier"] {
        let mut wrong = cases::world()[key].clone();
        wrong["metadata"] = json!({"name": "wrong", "namespace": "demo-0"});
        wrong["spec"] = json!({"retryConfig": 1, "retryLeft": "many"});
        let by_schema = async || {
            let answer = request(&server.client, "POST", &format!("{}?dryRun=All", collection(&wrong)?), Some(&wrong)).await?;
            Ok(answer.body["message"].as_str().is_some_and(|message| message.contains("must be of type")))
        };
        backproof_testing::wait(Duration::from_secs(60), by_schema).await.with_context(|| format!("the schema of {key}"))?;
    }
    Ok(())
}
