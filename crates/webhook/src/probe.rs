//! `probe`: asks the API server whether admission works, as `helm test` does. Both objects are dry runs: nothing is made.
//!
//! A session that names an invoker nobody has must be refused for that name, which only the webhook can know; a verifier that
//! keeps every rule must pass. An installation that lets everything in is as wrong as one that lets nothing in.

use backproof_api::{BackupVerificationSession, BackupVerifier};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use crate::Error;

/// The invoker that does not exist.
const NOBODY: &str = "backproof-test-nobody";

/// Arguments of `probe`.
#[derive(Clone, Debug, clap::Args)]
pub struct Probe {
    /// Namespace the dry runs are made in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "backproof-system")]
    pub namespace: String,
}

/// What one dry run came to: `Ok` for what had to come.
pub type Outcome = Result<String, String>;

/// Makes both dry runs.
pub async fn run(probe: &Probe) -> Result<[Outcome; 2], Error> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.map_err(Box::new)?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let sessions = Api::<BackupVerificationSession>::namespaced(client.clone(), &probe.namespace);
    let verifiers = Api::<BackupVerifier>::namespaced(client, &probe.namespace);
    let refused = sessions.create(&dry, &session()?).await.map(drop);
    let passed = verifiers.create(&dry, &verifier()?).await.map(drop);
    Ok([must_be_refused(refused), must_pass(passed)])
}

fn session() -> Result<BackupVerificationSession, Error> {
    read(json!({
        "metadata": {"name": "backproof-test-refused"},
        "spec": {
            "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": NOBODY},
            "session": "test",
            "repository": "test",
        },
    }))
}

fn verifier() -> Result<BackupVerifier, Error> {
    read(json!({
        "metadata": {"name": "backproof-test-passes"},
        "spec": {
            "type": "RestoreOnly",
            "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
            "restoreOption": {
                "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "backproof-test"},
                "addonInfo": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]},
            },
        },
    }))
}

fn read<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> Result<T, Error> {
    serde_json::from_value(object)
        .map_err(|error| Error::Start { what: "read the probe's own objects".to_owned(), source: std::io::Error::other(error) })
}

fn must_be_refused(outcome: Result<(), kube::Error>) -> Outcome {
    match outcome {
        Err(kube::Error::Api(status)) if status.message.contains("spec.invoker.name") && status.message.contains(NOBODY) => {
            Ok(format!("a session of an invoker that does not exist is refused by name: {}", status.message))
        }
        Err(error) => Err(format!("a session of an invoker that does not exist is not refused for that, but so: {error}")),
        Ok(()) => Err("a session of an invoker that does not exist is let in: the webhook is not asked; see whether \
             `kubectl get validatingwebhookconfiguration backproof-webhook` is there, and install the chart again if not"
            .to_owned()),
    }
}

fn must_pass(outcome: Result<(), kube::Error>) -> Outcome {
    match outcome {
        Ok(()) => Ok("a verifier that keeps every rule is let in".to_owned()),
        Err(error) => Err(format!("a verifier that keeps every rule is refused: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(message: &str) -> Result<(), kube::Error> {
        Err(kube::Error::Api(Box::new(Status::failure(message, "Invalid").with_code(422))))
    }

    #[test]
    fn only_the_refusal_by_name_counts() {
        let by_name = format!("spec.invoker.name: BackupConfiguration demo/{NOBODY} does not exist");
        assert!(must_be_refused(refusal(&by_name)).is_ok());
        for other in [Ok(()), refusal("failed calling webhook"), refusal("spec.invoker.kind: is missing"), refusal("is forbidden")] {
            assert!(must_be_refused(other).is_err());
        }
    }

    #[test]
    fn only_being_let_in_counts() {
        assert!(must_pass(Ok(())).is_ok());
        assert!(must_pass(refusal("spec.type: is missing")).is_err());
    }

    #[test]
    fn both_objects_are_what_they_are_meant_to_be() {
        assert_eq!(session().unwrap().spec.invoker.unwrap().name, NOBODY);
        assert!(verifier().unwrap().spec.restore_option.is_some());
    }
}
