//! Names of the objects we make: upstream's rule, and ours where no upstream rule is public.

use sha2::{Digest, Sha256};

/// Most bytes of a name that must fit a DNS label (upstream's limit for sessions and Snapshots).
pub const NAME_LIMIT: usize = 63;
/// Most bytes of a CronJob's name: its Jobs append a dash and ten or so digits.
pub const CRONJOB_LIMIT: usize = 52;
/// Bytes of the readable part of a child's name; a dash and eight hex digits follow.
pub const CHILD_LIMIT: usize = 54;

/// Upstream's rule: the parts joined by dashes; up to `limit` bytes they are only trimmed of dashes, longer ones keep the
/// first `(limit + 1) / 2` and the last `limit / 2` bytes, joined without a dash, and are trimmed then.
///
/// Kubernetes names are ASCII, so bytes and characters agree; a name that is not is cut at the nearest character inside the limit.
pub fn joined(parts: &[&str], limit: usize) -> String {
    let name = parts.join("-");
    if name.len() <= limit {
        return name.trim_matches('-').to_owned();
    }
    let head = name.floor_char_boundary(limit.div_ceil(2));
    let tail = name.ceil_char_boundary(name.len() - limit / 2);
    format!("{}{}", &name[..head], &name[tail..]).trim_matches('-').to_owned()
}

/// Name of a BackupVerificationSession: repository, session and the scheduled time in unix seconds.
pub fn session(repository: &str, session: &str, unix_seconds: i64) -> String {
    joined(&[repository, session, &unix_seconds.to_string()], NAME_LIMIT)
}

/// Name of a Snapshot that upstream's rule gives for a repository and the BackupSession that made it.
pub fn snapshot(repository: &str, backup_session: &str) -> String {
    match backup_session.rsplit_once('-') {
        Some((stem, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            joined(&[repository, stem, digits], NAME_LIMIT)
        }
        _ => joined(&[repository, backup_session, ""], NAME_LIMIT),
    }
}

/// Name of a Snapshot that discovery makes for a restic snapshot.
pub fn discovered_snapshot(repository: &str, restic_id: &str) -> String {
    let short = &restic_id[..restic_id.floor_char_boundary(16)];
    joined(&[repository, "restic", short], NAME_LIMIT)
}

/// Name of the CronJob that triggers verifications of one repository of one session of one invoker.
pub fn verifier_cronjob(invoker_kind: &str, invoker: &str, session: &str, repository: &str) -> String {
    const PREFIX: &str = "trigger-verifier-";
    let hash = short_hash(&[invoker_kind, invoker, session, repository]);
    let readable = joined(&[invoker, session, repository], CRONJOB_LIMIT - PREFIX.len() - 1 - hash.len());
    format!("{PREFIX}{readable}-{hash}")
}

/// Name of a child of a session: readable parts, then eight hex digits of the session's UID, so that a session made again
/// under the same name never meets the children of the earlier one. Where the parts are too long to be kept whole, eight hex digits of
/// their hash follow them, so that two of them that differ only where they were cut do not get one name.
pub fn child(parts: &[&str], session_uid: &str) -> String {
    let whole = parts.iter().map(|part| part.len() + 1).sum::<usize>() <= CHILD_LIMIT + 1;
    let readable = if whole {
        joined(parts, CHILD_LIMIT)
    } else {
        let hash = short_hash(parts);
        format!("{}-{hash}", joined(parts, CHILD_LIMIT - 1 - hash.len()))
    };
    let uid: String = session_uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{readable}-{uid}")
}

/// A label value for a name: the name itself if it is a valid value of at most 63 bytes, else its first 54 bytes, a dash and
/// eight hex digits of its SHA-256. The full name then belongs into an annotation.
pub fn label_value(name: &str) -> String {
    if name.is_empty() || (name.len() <= NAME_LIMIT && is_label_value(name)) {
        return name.to_owned();
    }
    let readable: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(CHILD_LIMIT).collect();
    let readable = readable.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let hash = short_hash(&[name]);
    if readable.is_empty() { hash } else { format!("{readable}-{hash}") }
}

/// Whether an object can have this name at all: what Kubernetes calls a DNS subdomain.
pub fn is_object_name(name: &str) -> bool {
    const LONGEST: usize = 253;
    let is_label = |label: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = label.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    name.len() <= LONGEST && name.split('.').all(is_label)
}

/// Whether Kubernetes accepts this as a label value.
pub fn is_label_value(value: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= NAME_LIMIT
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// Eight hex digits of the SHA-256 over the parts joined by NUL.
pub fn short_hash(parts: &[&str]) -> String {
    hash(parts)[..8].to_owned()
}

/// The SHA-256 over the parts joined by NUL, as hex.
pub fn hash(parts: &[&str]) -> String {
    hex(&Sha256::digest(parts.join("\0").as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_names_seen_on_live_clusters() {
        assert_eq!(
            snapshot("gcs-postgres-repo", "sample-postgres-backup-frequent-backup-1738580539"),
            "gcs-postgres-repo-sample-postgreckup-frequent-backup-1738580539"
        );
        assert_eq!(
            snapshot("kubedump-gcs-repository", "cluster-resources-backup-frequent-backup-1745301300"),
            "kubedump-gcs-repository-cluster-ckup-frequent-backup-1745301300"
        );
    }

    #[test]
    fn names_of_the_objects_we_make() {
        assert_eq!(session("demo-storage", "freq-backup", 1_730_194_200), "demo-storage-freq-backup-1730194200");
        assert_eq!(snapshot("repo", "made-by-hand"), "repo-made-by-hand");
        assert_eq!(discovered_snapshot("repo", "0123456789abcdef0123"), "repo-restic-0123456789abcdef");
        let cronjob = verifier_cronjob("BackupConfiguration", "sample-backup", "freq-backup", "demo-storage");
        assert!(cronjob.starts_with("trigger-verifier-sample-backup-"), "{cronjob}");
        assert_ne!(cronjob, verifier_cronjob("BackupBatch", "sample-backup", "freq-backup", "demo-storage"));
        assert_ne!(verifier_cronjob("BackupConfiguration", "a-b", "c", "d"), verifier_cronjob("BackupConfiguration", "a", "b-c", "d"),);
        assert_eq!(child(&["demo", "s"], "645191bb-8e2e-4b04"), "demo-s-645191bb");
    }

    /// Components of one session that differ only where their names are cut have a Job each.
    #[test]
    fn children_that_differ_in_the_middle_have_names_of_their_own() {
        let session = "demo-storage-freq-backup-1730194200";
        let names: std::collections::BTreeSet<String> = (0..100)
            .map(|number| {
                child(&[session, &format!("dump-of-node-number-{number:03}-of-the-daemon-set-with-a-long-name")], "645191bb-8e2e")
            })
            .collect();
        assert_eq!(names.len(), 100, "{names:?}");
        assert!(names.iter().all(|name| name.len() <= NAME_LIMIT && is_object_name(name) && name.ends_with("-645191bb")), "{names:?}");
        // What fits stays as it is, up to the last byte.
        let (fits, long) = ("a".repeat(CHILD_LIMIT - 2), "a".repeat(CHILD_LIMIT - 1));
        assert_eq!(child(&[&fits, "s"], "645191bb"), format!("{fits}-s-645191bb"));
        assert_eq!(child(&[&long, "s"], "645191bb"), format!("{}-s-{}-645191bb", "a".repeat(43), short_hash(&[&long, "s"])));
        // Upstream's rule is another one, and has no hash.
        assert_eq!(session.len(), 35);
        assert_eq!(joined(&[&long, &long], NAME_LIMIT).len(), NAME_LIMIT);
    }

    #[test]
    fn what_an_object_can_be_called() {
        let longest = "a".repeat(253);
        for name in ["a", "data-web-0", "0", "v1.storage.example", longest.as_str()] {
            assert!(is_object_name(name), "{name}");
        }
        let too_long = "a".repeat(254);
        for name in ["", "-a", "a-", "a..b", ".", "A", "a_b", "a b", "a/b", "../a", "a?x=y", "ä", "a\n", too_long.as_str()] {
            assert!(!is_object_name(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn limits_hold(a in "[a-z0-9-]{0,80}", b in "[a-z0-9-]{0,80}", c in "[a-z0-9-]{0,80}", at in 0i64..4_000_000_000) {
            prop_assert!(session(&a, &b, at).len() <= NAME_LIMIT);
            prop_assert!(snapshot(&a, &b).len() <= NAME_LIMIT);
            prop_assert!(verifier_cronjob(&a, &b, &c, &a).len() <= CRONJOB_LIMIT);
            prop_assert!(child(&[&a, &b], "645191bb-8e2e").len() <= NAME_LIMIT);
        }

        #[test]
        fn a_cut_name_keeps_both_ends(name in "[a-z]{64,120}") {
            let cut = joined(&[&name], NAME_LIMIT);
            prop_assert_eq!(cut.len(), NAME_LIMIT);
            prop_assert!(name.starts_with(&cut[..32]) && name.ends_with(&cut[32..]));
        }

        #[test]
        fn label_values_are_valid(name in "\\PC{0,120}") {
            let value = label_value(&name);
            prop_assert!(is_label_value(&value), "{}", value);
        }

        #[test]
        fn any_text_is_cut_without_panic(name in "\\PC{0,200}", limit in 2usize..70) {
            prop_assert!(joined(&[&name], limit).len() <= limit);
            let _ = discovered_snapshot(&name, &name);
        }
    }
}
