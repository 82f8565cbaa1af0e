//! The demo's chapter on databases: a dump is restored and asked on schedule, and a count tells of rows that went missing.

use anyhow::Result;
use backproof_e2e::{Kubectl, samples, wait};
use serde_json::Value;

use crate::{
    demo::{LIMIT, SESSIONS, ended_after, job_succeeds, text},
    story::Story,
};

/// Seconds from creation to a verdict: two Jobs, one after the other.
const BAR: u64 = 90;

/// A green and a red verdict on a PostgreSQL database.
pub(crate) fn run(story: &mut Story, kubectl: &Kubectl) -> Result<()> {
    story.step("Two PostgreSQL servers, and a backup: pg_dump, straight into restic (docs/samples/postgres/1-servers.yaml, 2-backup.yaml)");
    kubectl.apply(&samples::postgres_servers())?;
    kubectl.apply(&samples::postgres_backup())?;
    job_succeeds(story, kubectl, "shop-backup")?;
    story.say(&kubectl.run(&["logs", "job/shop-backup"])?);

    story.step(
        "Every minute the newest dump is restored into the other server and asked for 100 employees (docs/samples/postgres/3-verify.yaml)",
    );
    kubectl.apply(&samples::postgres_verify())?;
    let session = next(story, kubectl, &[])?;
    let green = text(&session, "/metadata/name");
    story.say(&text(&session, "/status/message"));
    story.expect_within("scheduled session of the database", "Succeeded", &text(&session, "/status/phase"), ended_after(&session), BAR);
    story.expect("its verdict", "Verified", &text(&session, "/status/verdict"));
    story.expect("what its query found", "120 rows", &text(&session, "/status/evidence/checks/0/actual"));

    story.step("Somebody deletes rows before the next backup");
    kubectl.apply(&samples::postgres_backup_after("shop-backup-again", "DELETE FROM employee WHERE id > 99"))?;
    job_succeeds(story, kubectl, "shop-backup-again")?;
    let session = next(story, kubectl, &[green])?;
    story.show(kubectl, &["get", SESSIONS, "-l", "kubestash.com/invoker-name=shop-backup"])?;
    story.say(&text(&session, "/status/message"));
    story.expect_within("the next scheduled session", "Failed", &text(&session, "/status/phase"), ended_after(&session), BAR);
    story.expect("its verdict", "VerificationFailed", &text(&session, "/status/verdict"));
    story.expect("what it names", "CountMismatch", &text(&session, "/status/cause"));
    kubectl.run(&["patch", "backupverifier", "shop-query", "--type=merge", "-p", r#"{"spec":{"scheduler":{"suspend":true}}}"#])?;
    Ok(())
}

/// The next session that the schedule makes, once it has ended; those of a dump that was proven before are skipped.
fn next(story: &Story, kubectl: &Kubectl, before: &[String]) -> Result<Value> {
    wait::until("a session of the schedule (up to a minute)", LIMIT, story.progress(), || {
        let made = kubectl.list(SESSIONS, &["-l", "kubestash.com/invoker-name=shop-backup"])?;
        Ok(made.into_iter().find(|session| {
            let ended = matches!(text(session, "/status/phase").as_str(), "Succeeded" | "Failed");
            ended && !before.contains(&text(session, "/metadata/name"))
        }))
    })
}
