//! The table of rights: each verb works with its rows and no others, and without any one of them is as the table says.

use std::time::Duration;

use anyhow::{Result, ensure};
use backproof_plugin::rights::{self, Reach, Right, Without, rights};
use backproof_testing::{ApiServer, wait};
use serde_json::{Value, json};

use crate::{
    doctor, kubelet,
    stand::{self, Ending},
    world::{Said, ask_as, request},
};

const LOG: &str = "{\"progress\":{\"step\":\"restore\",\"objects\":3,\"objectsTotal\":12,\"bytes\":512,\"bytesTotal\":2048}}\n";

/// Roles and bindings by which this user holds these rows, each where the table says.
fn granted(user: &str, rows: &[&Right]) -> Vec<Value> {
    let mut objects = Vec::new();
    for (reach, place) in [(Reach::Namespace, Some("demo")), (Reach::Installation, Some("backproof-system")), (Reach::Cluster, None)] {
        let rules: Vec<Value> = rows.iter().filter(|right| right.reach == reach).map(|right| right.rule()).collect();
        let kind = if place.is_some() { "Role" } else { "ClusterRole" };
        let mut meta = json!({"name": user});
        if let Some(place) = place {
            meta["namespace"] = json!(place);
        }
        objects.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta, "rules": rules}));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }));
    }
    objects
}

/// Runs a verb as a user; `verify` beside a stand-in that ends the session green.
async fn does(server: &ApiServer, user: &str, verb: &str) -> Result<Vec<Said>> {
    let kubeconfig = server.kubeconfig_of(user)?;
    let bundle = server.directory().join(format!("{user}.tar.gz")).display().to_string();
    match verb {
        "verify" => {
            let stand = async {
                // Whoever may not create a session waits for none.
                tokio::time::timeout(Duration::from_secs(60), stand::run(server, "demo", Ending::Green, Duration::from_millis(2_200))).await
            };
            let asked = async {
                let by_name = ask_as(&kubeconfig, "demo", &["verify", "repo"]).await?;
                anyhow::Ok(vec![by_name])
            };
            let asked = std::pin::pin!(asked);
            let stand = std::pin::pin!(stand);
            // Without a session the stand-in is left alone.
            match both(asked, stand).await {
                (Ok(said), _) => Ok(said),
                (Err(error), _) => Err(error),
            }
        }
        "status" => Ok(vec![ask_as(&kubeconfig, "demo", &["status"]).await?, ask_as(&kubeconfig, "demo", &["status", "repo"]).await?]),
        "explain" => Ok(vec![ask_as(&kubeconfig, "demo", &["explain", "known"]).await?]),
        "doctor" => Ok(vec![ask_as(&kubeconfig, "demo", &["doctor"]).await?]),
        "report" => Ok(vec![ask_as(&kubeconfig, "demo", &["report", "-o", &bundle]).await?]),
        other => anyhow::bail!("no verb {other}"),
    }
}

/// Both, but no longer than the first one where that created nothing.
async fn both<A, B>(
    asked: impl Future<Output = Result<Vec<Said>>> + Unpin,
    stand: impl Future<Output = std::result::Result<A, B>> + Unpin,
) -> (Result<Vec<Said>>, bool) {
    let mut stand = stand;
    let mut asked = asked;
    tokio::select! {
        said = &mut asked => {
            let refused = matches!(&said, Ok(said) if said.iter().all(|said| said.code == 5 && !said.err.contains("created")));
            let done = if refused { true } else { stand.await.is_ok() };
            (said, done)
        }
        ended = &mut stand => (asked.await, ended.is_ok()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_works_with_its_rows_and_misses_every_one_of_them() -> Result<()> {
    let server = doctor::sound().await?;
    kubelet::start(&server, [("pod-", LOG), ("backproof-", "ready\n")].into()).await?;
    let known = stand::by_hand(&server, "demo", "known").await?;
    stand::whole(&server, &known, Ending::Green, Duration::ZERO).await?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "backproof-controller-0", "namespace": "backproof-system", "labels": {"app.kubernetes.io/name": "backproof"}},
        "spec": {"nodeName": kubelet::NODE, "containers": [{"name": "controller", "image": "x"}]}});
    server.apply(&[pod]).await?;
    let mut seen = 0;
    for verb in ["verify", "status", "explain", "doctor", "report"] {
        let rows: Vec<&Right> = rights(verb).collect();
        let mut accounts = vec![(format!("{verb}-all"), None)];
        accounts.extend((0..rows.len()).map(|n| (format!("{verb}-without-{n}"), Some(n))));
        for (user, without) in &accounts {
            let held: Vec<&Right> = rows.iter().enumerate().filter(|(n, _)| Some(*n) != *without).map(|(_, right)| *right).collect();
            server.apply(&granted(user, &held)).await?;
        }
        let last = accounts.last().map(|(user, _)| user.clone()).unwrap_or_default();
        knows(&server, &last, rows[0]).await?;
        for (user, without) in &accounts {
            let said = does(&server, user, verb).await?;
            match without.map(|n| rows[n]) {
                None => whole(verb, &said)?,
                Some(right) => lacking(verb, right, &said)?,
            }
            seen += 1;
        }
    }
    assert_eq!(seen, backproof_plugin::rights::RIGHTS.len() + 5);
    Ok(())
}

/// Waits until the API server heeds what the account granted last holds.
async fn knows(server: &ApiServer, user: &str, right: &Right) -> Result<()> {
    let place = match right.reach {
        Reach::Namespace => json!("demo"),
        Reach::Installation => json!("backproof-system"),
        Reach::Cluster => Value::Null,
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user, "resourceAttributes": {
        "namespace": place, "verb": right.verbs[0], "group": right.group, "resource": right.resources[0]}}});
    wait(Duration::from_secs(20), async || {
        let answer = request(server, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", Some(&review)).await?;
        Ok(answer["status"]["allowed"] == true)
    })
    .await
}

fn whole(verb: &str, said: &[Said]) -> Result<()> {
    for said in said {
        ensure!(said.code == 0, "{verb}: {said:?}");
        let lacks =
            said.out.contains("??") || said.out.contains("\nunseen ") || said.out.starts_with("unseen ") || said.out.contains("missing:");
        ensure!(!lacks, "{verb}: {said:?}");
        ensure!(verb != "verify" || said.err.contains("restoring 25%"), "{verb}: {said:?}");
    }
    Ok(())
}

fn lacking(verb: &str, right: &Right, said: &[Said]) -> Result<()> {
    let is_missed = |said: &Said| match right.without {
        Without::Fails => said.code == 5 && said.err.contains("forbidden"),
        Without::Lacks(_) => {
            said.code == 0
                && match verb {
                    "verify" => !said.err.contains("restoring 25%"),
                    "explain" => said.out.contains("\n??  "),
                    "doctor" => said.out.lines().any(|line| line.starts_with("unseen ")),
                    _ => said.out.contains("missing: "),
                }
        }
    };
    ensure!(said.iter().all(is_missed), "{verb} without {right:?}: {said:?}");
    Ok(())
}

#[test]
fn the_page_shows_this_table() {
    let (page, table) = (include_str!("../../../../docs/plugin.md"), rights::table());
    assert!(page.contains(&table), "put this into docs/plugin.md:\n{table}");
}
