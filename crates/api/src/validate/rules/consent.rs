//! Rules about who may write a reference.

use crate::validate::rule::rules;

rules! {
    /// Who may write a BackupVerifier.
    OF_VERIFIERS of ["BackupVerifier"] {
        CREATE_JOBS: "verifier-consent", "spec.restoreOption.target.namespace", Refused, "Its writer may create Jobs in the target's namespace, as that is what a run does.", "spec.restoreOption.target: ann may not create jobs.batch in namespace verify; restore into a namespace where you may, or have somebody write the verifier who may; see kubectl auth can-i";
    }
}

rules! {
    /// Who may write a BackupConfiguration or BackupBatch.
    OF_INVOKERS of ["BackupConfiguration", "BackupBatch"] {
        USE_ELSEWHERE: "invoker-consent", "spec.backends[*].storageRef, spec.sessions[*].repositories[*].encryptionSecret and backupVerifier", Refused, "Its writer may get what it names in other namespaces.", "spec.backends[0].storageRef: ann may not get backupstorages.storage.kubestash.com s3 in namespace infra; name one of this namespace, or have somebody write it who may; see kubectl auth can-i";
    }
}
