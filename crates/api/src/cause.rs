//! Why a session ended as it did: the closed list of causes. They are API: removing one fails a test.
//!
//! A cause is `status.cause`, the first word of the error in upstream's condition message, and the kind of a finding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a cause says about the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseClass {
    /// The data is bad: `VerificationFailed`.
    Defect,
    /// Nothing was found out: `Inconclusive`.
    Unknown,
    /// Worth knowing; the snapshot is proven all the same.
    Finding,
}

macro_rules! causes {
    ($($class:ident { $($(#[doc = $doc:literal])+ $name:ident,)+ })+) => {
        /// Why a session ended as it did, or what an executor found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Cause {
            $($($(#[doc = $doc])+ $name,)+)+
        }

        impl Cause {
            /// Every cause, in the order of this list.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($(Self::$name => stringify!($name),)+)+ }
            }

            /// What the cause says about the backup.
            pub fn class(self) -> CauseClass {
                match self { $($(Self::$name => CauseClass::$class,)+)+ }
            }

            /// One sentence for people.
            pub fn description(self) -> &'static str {
                match self { $($(Self::$name => concat!($($doc),+).trim_ascii(),)+)+ }
            }
        }
    };
}

causes! {
    Defect {
        /// The repository's `config` file is missing while other files of it are there.
        RepositoryConfigMissing,
        /// The repository's `config` file cannot be decrypted or parsed.
        RepositoryConfigDamaged,
        /// The repository has no key file while other files of it are there: nobody can open it any more.
        KeysMissing,
        /// Every key file of the repository is damaged: nobody can open it any more.
        KeysDamaged,
        /// The repository was opened with this same password before; its key files have changed since, and none of them opens now.
        EncryptionKeyLost,
        /// The snapshot's own file cannot be decrypted or parsed, or does not match its name.
        SnapshotDamaged,
        /// An index file the snapshot needs cannot be decrypted or parsed, or does not match its name.
        IndexDamaged,
        /// A directory of the snapshot cannot be decrypted or parsed, or does not match its id.
        TreeDamaged,
        /// A directory of the snapshot holds entries no backup tool writes: forbidden names, cycles, sizes that contradict the content.
        TreeInvalid,
        /// A pack file holds data that does not decrypt, does not decompress, or does not match its id.
        PackDamaged,
        /// A pack file is shorter than the index says.
        PackTruncated,
        /// A pack file the snapshot needs is missing.
        PackMissing,
        /// Data the snapshot needs is in no index.
        BlobMissing,
        /// The snapshot holds no entry at all, and the verifier does not set `allowEmpty`.
        EmptySnapshot,
        /// The Snapshot names no component: there is nothing that could be restored.
        NoComponents,
        /// The database server rejects the dump; the message has its own words.
        DumpRejected,
        /// The dump ends before its end: its own end mark is missing, or it stops within a statement or a table's rows.
        DumpTruncated,
        /// The dump makes nothing: it is empty, or the database holds no object after it, and the verifier does not set `allowEmpty`.
        DumpEmpty,
        /// What the target holds was not put there by this run: nothing was restored over what an earlier run left.
        TargetStale,
        /// A database, schema, table, collection or index of the query is not in what was restored.
        ObjectMissing,
        /// A count of the query is not as it must be.
        CountMismatch,
    }
    Finding {
        /// One key file is damaged; another one opens the repository.
        KeyDamaged,
        /// A lock older than restic's own staleness limit was left behind.
        StaleLock,
        /// Something is damaged that this snapshot does not need.
        UnneededDamage,
        /// Ownership, special bits, device nodes, extended attributes or ACLs could not be applied with the Job's rights.
        MetadataNotApplied,
        /// A part of the Snapshot that the verifier does not select.
        NotCovered,
    }
    Unknown {
        /// Neither config nor keys nor packs are at the place: not a repository, or the wrong path.
        RepositoryNotFound,
        /// The Job's user may not read the repository's files.
        RepositoryNotReadable,
        /// Somebody else changed the repository while it was read (prune, forget), so what was missing proves nothing.
        RepositoryChangedDuringRun,
        /// The repository's format version is unknown to this executor.
        UnsupportedRepository,
        /// The repository opens, but the snapshot's file is not in it: forgotten, or never there.
        SnapshotNotFound,
        /// The storage did not answer, answered with an error, or cut the connection.
        StorageUnreachable,
        /// The storage refused the credentials, or they lack a right.
        StorageCredentialsRefused,
        /// A Secret, or a key of it, that the Job needs is missing or empty.
        SecretMissing,
        /// The password opens none of the intact key files.
        EncryptionKeyRejected,
        /// What was read back from the target differs from what was written to it, or the target cannot hold it.
        TargetFault,
        /// The target has no space left.
        TargetFull,
        /// The Job's user may not write to the target.
        TargetPermissionDenied,
        /// The target holds data that Backproof did not put there.
        TargetNotEmpty,
        /// The target holds data of an earlier run that the Job's user may not remove.
        TargetNotWipeable,
        /// A pod that is not ours mounts the target.
        TargetInUse,
        /// The object to restore into does not exist.
        TargetNotFound,
        /// The target is what was backed up; restoring would overwrite live data.
        TargetIsSource,
        /// This kind of target cannot be restored to.
        TargetNotSupported,
        /// The target lacks what a dump does not bring: a role, a tablespace, an extension, a newer version.
        TargetNotPrepared,
        /// The database server did not answer, or stopped answering.
        EngineUnavailable,
        /// The database server refuses the credentials, or they lack a right.
        EngineCredentialsRefused,
        /// The database server's own client is missing, or ended without saying what is wrong with the dump.
        EngineClientFailed,
        /// This executor was built without that engine.
        EngineNotSupported,
        /// The dump is of a form that this executor cannot restore and prove.
        DumpNotSupported,
        /// Not everything that was restored was read back.
        ReadBackIncomplete,
        /// The Job's container ended without a readable report.
        ExecutorFailed,
        /// The executor was told to stop before it had finished.
        Interrupted,
        /// The Job's container was killed for its memory.
        OutOfMemory,
        /// The Job's pod was evicted.
        Evicted,
        /// The image of the Job could not be pulled.
        ImagePullFailed,
        /// No node takes the Job's pod.
        Unschedulable,
        /// The Job's container did not start in time.
        PodNotStarted,
        /// The Job's pod vanished, or its node did, before it ended.
        PodLost,
        /// Somebody deleted a Job of this session.
        JobDeleted,
        /// The session did not end before its deadline.
        DeadlineExceeded,
        /// A newer session replaced this one (concurrencyPolicy Replace).
        Replaced,
        /// The session was deleted before it ended.
        SessionDeleted,
        /// Somebody deleted the RestoreSession of this session.
        RestoreSessionDeleted,
        /// An object that is not ours already has the name of one this session needs.
        NameTaken,
        /// The session's invoker, session or repository entry does not exist.
        InvokerNotFound,
        /// The Repository object does not exist.
        RepositoryObjectNotFound,
        /// The BackupStorage object does not exist.
        StorageObjectNotFound,
        /// The Repository, its BackupStorage or its discovery filter lacks a field, or has one that cannot be used.
        RepositoryInvalid,
        /// The Snapshot object does not exist, or was replaced by another of the same name.
        SnapshotObjectNotFound,
        /// The repository has no Succeeded Snapshot of this session.
        NoSnapshotToVerify,
        /// The repository entry names no BackupVerifier, or one that does not exist.
        VerifierNotFound,
        /// Verifier, Addon or Function changed while the session ran.
        VerifierChanged,
        /// The BackupVerifier lacks a field that its type needs, or contradicts itself.
        VerifierInvalid,
        /// The session's pinned facts in status and annotation contradict each other, or the session was changed after its start.
        PinnedFactsChanged,
        /// The Addon, or its restore task, does not exist.
        AddonNotFound,
        /// The Function does not exist.
        FunctionNotFound,
        /// A Function or Addon uses a variable that is unknown, or a form that cannot be parsed.
        TemplateInvalid,
        /// The task asks for an executor other than Job.
        ExecutorNotSupported,
        /// Verifier, Addon or Function ask for settings that the installation does not allow.
        UnsafeSettings,
        /// The Function is not Backproof's, and the installation does not allow such ones.
        ForeignFunctionNotAllowed,
        /// This verification type is not built yet.
        TypeNotSupported,
        /// The task selects none of the Snapshot's components.
        NoComponentSelected,
        /// A component was written by a tool that this executor cannot read.
        DriverNotSupported,
        /// The target lies in a namespace the installation does not allow for this one.
        CrossNamespaceNotAllowed,
        /// A Secret lies in a namespace the installation does not allow for this one.
        SecretNotReachable,
        /// Backproof itself failed; the message says where.
        Internal,
    }
}

impl Cause {
    /// The verdict a session with this cause ends with; a mere finding leaves it `Verified`.
    pub fn verdict(self) -> crate::Verdict {
        match self.class() {
            CauseClass::Defect => crate::Verdict::VerificationFailed,
            CauseClass::Unknown => crate::Verdict::Inconclusive,
            CauseClass::Finding => crate::Verdict::Verified,
        }
    }

    /// Whether the fault lies with storage, credentials or image, so that another run against the same Repository would
    /// only fail again: further sessions wait then.
    pub fn holds_repository(self) -> bool {
        matches!(
            self,
            Self::RepositoryNotFound
                | Self::RepositoryNotReadable
                | Self::StorageUnreachable
                | Self::StorageCredentialsRefused
                | Self::SecretMissing
                | Self::EncryptionKeyRejected
                | Self::ImagePullFailed
        )
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == word).ok_or_else(|| UnknownCause(word.to_owned()))
    }
}

/// A word that is no cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cause of this version")]
pub struct UnknownCause(pub String);

#[cfg(test)]
mod tests {
    use super::Cause;

    #[test]
    fn words_round_trip_and_have_a_description() {
        for cause in Cause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(*cause));
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
            assert!(cause.description().ends_with('.'), "{cause}");
        }
        assert!("Nonsense".parse::<Cause>().is_err());
    }

    /// Causes are API: a word that was released stays.
    #[test]
    fn no_cause_was_removed() {
        for word in include_str!("../golden/causes.txt").lines() {
            word.parse::<Cause>().unwrap();
        }
        assert_eq!(include_str!("../golden/causes.txt").lines().count(), Cause::ALL.len(), "add the new cause to golden/causes.txt");
    }
}
