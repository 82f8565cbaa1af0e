//! What is different where a database is restored into: how its Jobs get in, and what their reports must say before they count. Pure.

use backproof_api::{
    BackupVerifier, Cause, environment,
    report::Report,
    run::{PinnedDatabase, PinnedRun},
};
use k8s_openapi::api::core::v1::{EnvVar, KeyToPath, SecretVolumeSource, Volume, VolumeMount};

use super::volumes::{self, Volumes};
use crate::{database::Server, failure::Failure};

/// Where the Secret of the database server is mounted.
const CONNECTION_DIR: &str = "/backproof/connection";
const CONNECTION_VOLUME: &str = "backproof-connection";

/// The scratch directory and the server's Secret.
pub(crate) fn volumes(database: &PinnedDatabase) -> Volumes {
    let mut own = volumes::scratch();
    let item = |key: &str, path: &str| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None };
    own.volumes.push(Volume {
        name: CONNECTION_VOLUME.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(database.secret.clone()),
            items: Some(vec![item(&database.user_key, "username"), item(&database.password_key, "password"), item("ca.crt", "ca.crt")]),
            // Without it the executor starts all the same, and says what is missing.
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    own.mounts.push(VolumeMount {
        name: CONNECTION_VOLUME.into(),
        mount_path: CONNECTION_DIR.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    own
}

pub(super) fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

/// How a Job finds Secret and authorities of the server.
pub(crate) fn env(server: &Server) -> Vec<EnvVar> {
    let authorities = server.body.authorities();
    let told = (!authorities.is_empty()).then(|| variable(environment::CONNECTION_CA, authorities));
    [variable(environment::CONNECTION_DIR, CONNECTION_DIR.to_owned())].into_iter().chain(told).collect()
}

/// Whether the database is the one that was pinned, described as it was then.
pub(crate) fn unchanged(verifier: &BackupVerifier, pinned: &PinnedDatabase, server: Option<&Server>, what: &str) -> Result<(), Failure> {
    let Some(server) = server else {
        return Err(Failure::new(Cause::TargetNotFound, format!("{what} does not exist any more; create it, then another session")));
    };
    let now = crate::database::wanted(verifier).and_then(|wanted| crate::database::pinned(server, &wanted))?;
    if now == *pinned {
        return Ok(());
    }
    Err(Failure::new(Cause::VerifierChanged, format!("{what} was changed after the session had started; start another session")))
}

/// Why a green report of a restore proves nothing about this run's database; nothing if it does.
pub(crate) fn unproven(report: &Report, run: &PinnedRun, session_uid: &str) -> Option<String> {
    let pinned = run.verifier.target.database.as_ref()?;
    let Some(facts) = &report.database else { return Some("it does not tell which database it restored into".to_owned()) };
    if facts.engine != pinned.engine || facts.database != pinned.name {
        return Some(format!("it restored into {} database {:?}, not into {:?}", facts.engine, facts.database, pinned.name));
    }
    if facts.run != session_uid || session_uid.is_empty() {
        return Some(format!("the database holds what run {} restored", facts.run));
    }
    if report.restored.is_empty() || (facts.objects.unwrap_or_default() == 0 && !run.allow_empty) {
        return Some("nothing was restored, and the verifier does not set allowEmpty".to_owned());
    }
    None
}

/// Why a green report of the verifier proves nothing; nothing if every planned check of this run's data was answered, and holds.
pub(crate) fn unanswered(report: &Report, run: &PinnedRun, session_uid: &str) -> Option<String> {
    let Some(query) = &run.verifier.query else { return Some("nothing was to be asked".to_owned()) };
    let Some(facts) = &report.database else { return Some("it does not tell whom it asked".to_owned()) };
    if facts.engine != query.engine {
        return Some(format!("it asked {}, not {}", facts.engine, query.engine));
    }
    if facts.run != session_uid || session_uid.is_empty() {
        return Some(format!("it asked for what run {} restored", facts.run));
    }
    // A list that was shortened to fit lacks checks that hold.
    let asked = report.checks_total.max(report.checks.len() as u64);
    if asked != query.checks || query.checks == 0 {
        return Some(format!("it answers {asked} checks, and {} were asked", query.checks));
    }
    let open = report.checks.iter().find(|check| check.holds != Some(true))?;
    Some(format!("{}: expected {}, and came {}", open.object, open.expected, open.actual))
}
