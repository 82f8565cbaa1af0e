//! `verify`: every exit code, and what it asks the cluster for.

use std::time::Duration;

use anyhow::{Context as _, Result};
use backproof_testing::ApiServer;
use serde_json::{Value, json};

use crate::{
    kubelet,
    stand::{self, Ending},
    world::{self, Said, ask, calm},
};

/// Long enough that the program looks at the log in between.
const SEEN: Duration = Duration::from_millis(2_500);

const LOG: &str =
    "opened\n{\"progress\":{\"step\":\"restore\",\"objects\":3,\"objectsTotal\":12,\"bytes\":512,\"bytesTotal\":2048}}\nnoise\n";

async fn judged(server: &ApiServer, namespace: &str, ending: Ending, words: &[&str]) -> Result<(Said, Value)> {
    world::populate(server, namespace).await?;
    let mut all = vec!["verify", "repo"];
    all.extend(words);
    let (said, session) = tokio::join!(ask(server, namespace, &all), stand::run(server, namespace, ending, SEEN));
    Ok((said?, session?))
}

/// Each verdict is an exit code, told with its evidence; progress is read from the Job's log.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_verdict_and_what_is_not_clear_is_no_session() -> Result<()> {
    let server = world::cluster().await?;
    kubelet::start(&server, [("pod-", LOG)].into()).await?;
    what_is_not_clear_is_no_session(&server).await?;
    let (green, red, open, skipped, kept, foreign, late) = tokio::join!(
        judged(&server, "green", Ending::Green, &[]),
        judged(&server, "red", Ending::Red, &[]),
        judged(&server, "open", Ending::Open, &[]),
        judged(&server, "skipped", Ending::Skipped, &["--accept-proof"]),
        judged(&server, "kept", Ending::Kept, &[]),
        judged(&server, "foreign", Ending::Foreign, &[]),
        late(&server),
    );
    late?;

    let (said, session) = green?;
    let name = session["metadata"]["name"].as_str().context("no name")?;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        calm(&said.out, name),
        "session      green/SESSION\n\
         verdict      Verified\n\
         message      Snapshot snap restores\n\
         snapshot     snap\n\
         verifier     green/verifier\n\
         restored     3 files, 1 directories, 42 B\n\
         read back    3 files, 1 directories, 42 B\n\
         restic ids   aaaa\n\
         executor     0.1.0\n\
         duration     10s"
    );
    let told = calm(&said.err, name);
    assert_eq!(told, "session green/SESSION created\nrestoring Snapshot snap\nrestoring 25% (512 B of 2.000 KiB, 3 of 12 objects)");
    let spec = json!({
        "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "backup"},
        "session": "nightly", "repository": "repo", "snapshot": "latest",
    });
    assert_eq!((&session["spec"], &session["metadata"]["annotations"]), (&spec, &json!({"backproof.dev/reverify": "true"})));

    let (said, session) = red?;
    let name = session["metadata"]["name"].as_str().context("no name")?;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(
        calm(&said.out, name),
        "session      red/SESSION\n\
         verdict      VerificationFailed\n\
         cause        PackDamaged: A pack file holds data that does not decrypt, does not decompress, or does not match its id.\n\
         message      pack 1234 is damaged\n\
         snapshot     snap\n\
         verifier     red/verifier\n\
         restored     3 files, 1 directories, 42 B\n\
         finding      PackDamaged: data/12/1234: blob 5 does not match its id\n\
         duration     10s"
    );

    let (said, _) = open?;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("cause        StorageUnreachable: The storage did not answer"), "{said:?}");

    let (said, session) = skipped?;
    assert_eq!((said.code, &session["metadata"]["annotations"]), (0, &Value::Null), "{said:?}");
    assert!(said.out.contains("verdict      Skipped"), "{said:?}");

    let (said, _) = kept?;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("verdict      Verified") && said.out.contains("read back    3 files"), "{said:?}");

    let (said, _) = foreign?;
    assert_eq!((said.code, said.out.as_str()), (6, ""), "{said:?}");
    assert!(said.err.contains("another operator wrote its status"), "{said:?}");
    Ok(())
}

/// Without an answer in time the code is 3, and the session goes on; one that is deleted gives no answer at all.
async fn late(server: &ApiServer) -> Result<()> {
    world::populate(server, "late").await?;
    let said = ask(server, "late", &["verify", "snapshot/snap", "--timeout", "1s"]).await?;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("verdict      none in time"), "{said:?}");
    let session = stand::new_session(server, "late").await?;
    assert_eq!(session["spec"]["snapshot"], "snap");
    let path = |session: &Value| {
        format!(
            "/apis/core.kubestash.com/v1alpha1/namespaces/late/backupverificationsession/{}",
            session["metadata"]["name"].as_str().unwrap_or_default()
        )
    };
    world::request(server, "DELETE", &path(&session), None).await?;

    let (said, deleted) = tokio::join!(ask(server, "late", &["verify", "repo"]), async {
        let session = stand::new_session(server, "late").await?;
        world::request(server, "DELETE", &path(&session), None).await
    });
    deleted?;
    let said = said?;
    assert_eq!((said.code, said.out.as_str()), (6, ""), "{said:?}");
    assert!(said.err.contains("was deleted before it ended"), "{said:?}");
    Ok(())
}

/// What is missing or could be meant twice is named, with what decides; nothing is created then.
async fn what_is_not_clear_is_no_session(server: &ApiServer) -> Result<()> {
    world::populate(server, "demo").await?;
    server.apply(&[world::configuration("demo", "second", "weekly")]).await?;
    let mut twin = world::objects("demo")[5].clone();
    twin["metadata"]["name"] = json!("snap");
    server.apply(&[twin]).await?;
    for (words, expected) in [
        (&["repo"][..], "say which by --invoker and --session"),
        (&["repo", "--invoker", "third"], "correct --invoker or --session"),
        (&["snapshot/snap", "--session", "weekly", "--invoker", "backup"], "correct --invoker or --session"),
        (&["snap"], "write repository/snap or snapshot/snap"),
        (&["nothing"], "neither a Repository nor a Snapshot \"nothing\""),
        (&["repository/nothing"], "Repository demo/nothing does not exist"),
        (&["pod/nothing"], "\"pod\" is no kind that can be verified"),
        (&["repository/snap"], "no BackupConfiguration or BackupBatch of namespace demo names Repository snap"),
    ] {
        let mut all = vec!["verify"];
        all.extend(words);
        let said = ask(server, "demo", &all).await?;
        assert_eq!(said.code, 4, "{words:?}: {said:?}");
        assert!(said.err.contains(expected) && said.out.is_empty(), "{words:?}: {said:?}");
    }
    let all = "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverificationsession";
    assert_eq!(world::request(server, "GET", all, None).await?["items"], json!([]));

    // The same, told clearly. The Snapshot itself says which session made it.
    for words in [
        &["repo", "--invoker", "backupconfiguration/second", "--no-wait"][..],
        &["repo", "--session", "weekly", "--no-wait"],
        &["snapshot/snap", "--no-wait"],
    ] {
        let mut all = vec!["verify"];
        all.extend(words);
        let said = ask(server, "demo", &all).await?;
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        assert!(said.out.starts_with("demo/repo-") && said.out.lines().count() == 1, "{said:?}");
    }

    // Codes of what is no answer either.
    let nobody = server.kubeconfig_of("nobody")?;
    let said = world::ask_as(&nobody, "demo", &["verify", "repository/repo"]).await?;
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("cannot get Repository demo/repo") && said.err.contains("forbidden"), "{said:?}");
    let gone = server.directory().join("gone.kubeconfig");
    let config = std::fs::read_to_string(server.kubeconfig())?;
    let port = config.split("https://127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).context("no port")?.to_owned();
    std::fs::write(&gone, config.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:1"))?;
    let said = world::ask_as(&gone, "demo", &["verify", "repo"]).await?;
    assert_eq!(said.code, 7, "{said:?}");
    let said = world::ask_as(&server.directory().join("none"), "demo", &["verify", "repo"]).await?;
    assert_eq!(said.code, 8, "{said:?}");
    for wrong in [&["verify"][..], &["verify", "repo", "--timeout", "2d"], &["prove", "repo"]] {
        assert_eq!(world::program(wrong).await?.code, 64, "{wrong:?}");
    }
    let said = world::program(&["completion", "bash"]).await?;
    assert!(said.code == 0 && said.out.contains("kubectl-backproof") && said.out.contains("--accept-proof"), "{}", said.out);

    adopted(server).await
}

/// What `adopt` prints is taken by the API server, and then found by `verify`.
async fn adopted(server: &ApiServer) -> Result<()> {
    for (url, more) in [("s3://bucket/shop", &["--region", "eu-1"][..]), ("pvc://backups/shop", &["--run-as-user", "1000"])] {
        let namespace = format!("adopted-{}", &url[..2]);
        server.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})]).await?;
        let mut words =
            vec!["-n", &namespace, "adopt", url, "--name", "shop", "--secret", "reader", "--source", "data", "--target", "proof"];
        words.extend(more);
        let said = world::program(&words).await?;
        assert_eq!(said.code, 0, "{said:?}");
        let objects = backproof_testing::objects(&said.out)?;
        let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["BackupStorage", "Repository", "BackupVerifier", "BackupConfiguration"]);
        assert!(!said.out.contains("password"), "{}", said.out);
        server.apply(&objects).await?;
        let said = ask(server, &namespace, &["verify", "shop", "--no-wait"]).await?;
        assert_eq!(said.code, 0, "{said:?}");
    }
    Ok(())
}
