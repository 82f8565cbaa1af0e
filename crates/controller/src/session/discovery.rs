//! Whether a session must wait for discovery: in a discovered repository, the newest Snapshot is known only after a listing
//! that started no earlier than the session.

use backproof_api::{BackupVerificationSession, Cause, Repository, labels, report::DiscoveryRecord, validate::wants_newest};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::wire::Refusal;

/// What discovery knows for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Discovery {
    /// Nothing to wait for.
    #[default]
    Known,
    /// Nobody has asked yet for a listing from this time on.
    Ask(Timestamp),
    /// A listing is under way.
    Pending,
    /// The listing failed: what is the newest is not known.
    Failed(Refusal),
}

/// What discovery knows for this session.
pub(super) fn state(session: &BackupVerificationSession, repository: &Repository) -> Discovery {
    let annotation = |key: &str| repository.annotations().get(key).map(String::as_str).unwrap_or_default();
    if !wants_newest(session) || annotation(labels::DISCOVER) != "true" {
        return Discovery::Known;
    }
    let since = session.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let record: DiscoveryRecord = serde_json::from_str(annotation(labels::DISCOVERY)).unwrap_or_default();
    if record.at.parse::<Timestamp>().is_ok_and(|at| at >= since) {
        let elsewhere = !record.sessions.is_empty() && !record.sessions.contains(&session.spec.session);
        if record.complete || elsewhere {
            return Discovery::Known;
        }
        let what = crate::events::path(repository);
        let error = record.error.unwrap_or_else(|| "discovery did not list every snapshot".to_owned());
        return Discovery::Failed(Refusal::new(
            record.cause.unwrap_or(Cause::Internal),
            format!("the snapshots in Repository {what} could not be listed: {error}"),
        ));
    }
    match annotation(labels::DISCOVER_REQUEST).parse::<Timestamp>() {
        Ok(asked) if asked >= since => Discovery::Pending,
        Ok(_) | Err(_) => Discovery::Ask(since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_waits_for_a_listing_that_is_not_older_than_itself() {
        let session = |snapshot: &str| -> BackupVerificationSession {
            serde_saphyr::from_str(&format!(
                "{{metadata: {{name: s, creationTimestamp: '2026-01-01T00:00:10Z'}}, spec: {{session: daily, snapshot: '{snapshot}'}}}}"
            ))
            .unwrap()
        };
        let repository = |annotations: &str| -> Repository {
            serde_saphyr::from_str(&format!("{{metadata: {{name: r, namespace: demo, annotations: {{{annotations}}}}}, spec: {{}}}}"))
                .unwrap()
        };
        let at = |second: &str, rest: &str| format!("backproof.dev/discovery: '{{\"at\": \"2026-01-01T00:00:{second}Z\"{rest}}}'");
        let on = "backproof.dev/discover: 'true'";
        let since = "2026-01-01T00:00:10Z".parse().unwrap();
        for (snapshot, annotations, expected) in [
            ("", String::new(), Discovery::Known),
            ("named", on.to_owned(), Discovery::Known),
            ("", on.to_owned(), Discovery::Ask(since)),
            ("latest", format!("{on}, {}", at("09", ", \"complete\": true")), Discovery::Ask(since)),
            ("", format!("{on}, backproof.dev/discover-request: '2026-01-01T00:00:10Z'"), Discovery::Pending),
            ("", format!("{on}, backproof.dev/discover-request: '2026-01-01T00:00:09Z'"), Discovery::Ask(since)),
            ("", format!("{on}, {}", at("10", ", \"complete\": true")), Discovery::Known),
            // What concerns other sessions alone is nothing to this one.
            ("", format!("{on}, {}", at("11", ", \"cause\": \"KeysMissing\", \"sessions\": [\"weekly\"]")), Discovery::Known),
            (
                "",
                format!("{on}, {}", at("11", ", \"cause\": \"KeysMissing\", \"error\": \"none\", \"sessions\": [\"weekly\", \"daily\"]")),
                Discovery::Failed(Refusal::new(Cause::KeysMissing, "the snapshots in Repository demo/r could not be listed: none")),
            ),
            (
                "",
                format!("{on}, {}", at("11", ", \"cause\": \"StorageUnreachable\", \"error\": \"no route\"")),
                Discovery::Failed(Refusal::new(
                    Cause::StorageUnreachable,
                    "the snapshots in Repository demo/r could not be listed: no route",
                )),
            ),
        ] {
            assert_eq!(state(&session(snapshot), &repository(&annotations)), expected, "{snapshot} {annotations}");
        }
    }
}
