//! Hold-off: a Repository that storage, credentials or an image keep from being verified is left alone for a while, instead of
//! failing one Job after the other. Pure; what is known stands in the Repository's annotation `backproof.dev/hold`.
//!
//! One session at a time probes: 5, 10, 20 and then every 30 minutes after the last failure. An answer of any kind lifts the
//! hold, and so does a change of what the failure may come from. A hold that cannot be read holds nothing.

use backproof_api::{
    BackupStorage, Cause, Repository, labels,
    run::{PinnedObject, PinnedRun, spec_hash},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clock::whole_second;

/// Since when a Repository cannot be verified, and when it is tried next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Hold {
    /// When it failed first, RFC 3339.
    pub(crate) since: String,
    /// How often it failed since.
    pub(crate) tries: u32,
    /// When one session may try again, RFC 3339.
    pub(crate) next: String,
    /// Why it failed last.
    pub(crate) cause: Option<Cause>,
    /// UID of the session whose failure was counted last.
    pub(crate) last: String,
    /// UID of the session that tries.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) prober: String,
    /// Hash of what the failure may come from: storage, Secrets, the annotation that asks for a probe.
    pub(crate) inputs: String,
    /// What the failure may come from beside the Repository; runs that use another one are not held.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) scope: String,
}

/// A Repository as far as hold-off is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// What is known of failures.
    pub(crate) hold: Option<Hold>,
    /// Hash of what failures may come from, as it is now.
    pub(crate) inputs: String,
    /// Version of the Repository this was read from.
    pub(crate) version: String,
}

/// What a hold means for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing holds it.
    Free,
    /// It may try, if it is the first to say so.
    MayProbe,
    /// It waits until then.
    Waits(Timestamp),
}

impl Place {
    /// What is known of a Repository.
    pub(crate) fn of(repository: &Repository, storage: Option<&BackupStorage>) -> Self {
        let annotation = |key: &str| repository.annotations().get(key);
        let spec = &repository.spec;
        let inputs = spec_hash(&json!({
            "storage": storage.map(|storage| (storage.uid(), &storage.spec.storage)),
            "storageRef": spec.storage_ref,
            "encryptionSecret": spec.encryption_secret,
            "path": spec.path,
            "probe": annotation(labels::PROBE),
        }));
        Self {
            hold: annotation(labels::HOLD).and_then(|text| serde_json::from_str(text).ok()),
            inputs,
            version: repository.resource_version().unwrap_or_default(),
        }
    }

    /// What that means for a session.
    pub(crate) fn standing(&self, session_uid: &str, run: &PinnedRun, now: Timestamp) -> Standing {
        let Some(hold) = &self.hold else { return Standing::Free };
        let elsewhere = hold.inputs != self.inputs || hold.scope != hold.cause.map_or_else(String::new, |cause| scope(cause, run));
        if hold.tries == 0 || elsewhere || hold.prober == session_uid {
            return Standing::Free;
        }
        match hold.next.parse::<Timestamp>() {
            Ok(next) if now < next => Standing::Waits(next),
            Ok(_) | Err(_) => Standing::MayProbe,
        }
    }

    /// Until when nobody should look into the Repository unasked; nothing when it is not held, or for a reason that concerns
    /// only who runs with a certain image or user. One that lasts longer than any we make is none.
    pub(crate) fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let hold = self.hold.as_ref().filter(|hold| hold.tries > 0 && hold.inputs == self.inputs && hold.scope.is_empty())?;
        let next: Timestamp = hold.next.parse().ok()?;
        (next > now && next.duration_since(now) <= LONGEST).then_some(next)
    }

    /// The hold while this session tries; the next one may when it has not answered by then.
    pub(crate) fn probed_by(&self, session_uid: &str, now: Timestamp) -> Option<Hold> {
        let hold = self.hold.clone()?;
        Some(Hold { prober: session_uid.to_owned(), next: after(now, hold.tries), ..hold })
    }

    /// The hold after this session failed; nothing when its failure is counted already.
    pub(crate) fn failed(&self, session_uid: &str, cause: Cause, run: &PinnedRun, now: Timestamp) -> Option<Hold> {
        let scope = scope(cause, run);
        let before = self.hold.clone().filter(|hold| hold.inputs == self.inputs && hold.scope == scope);
        let before = before.unwrap_or_else(|| Hold { since: second(now), ..Hold::default() });
        if before.last == session_uid {
            return None;
        }
        let tries = before.tries.saturating_add(1);
        Some(Hold {
            tries,
            next: after(now, tries),
            cause: Some(cause),
            last: session_uid.to_owned(),
            prober: String::new(),
            inputs: self.inputs.clone(),
            scope,
            ..before
        })
    }
}

/// What beside the Repository a failure may come from: an image from the Function, missing rights from the verifier's user.
fn scope(cause: Cause, run: &PinnedRun) -> String {
    let one = |object: &PinnedObject| format!("{}/{}", object.uid, object.generation);
    if cause == Cause::ImagePullFailed {
        one(&run.verifier.function)
    } else if cause == Cause::RepositoryNotReadable {
        one(&run.verifier.object)
    } else {
        String::new()
    }
}

/// The longest wait of [`after`].
const LONGEST: SignedDuration = SignedDuration::from_mins(30);

fn after(now: Timestamp, tries: u32) -> String {
    let minutes = match tries {
        0 | 1 => 5,
        2 => 10,
        3 => 20,
        4.. => 30,
    };
    second(now.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(now))
}

fn second(at: Timestamp) -> String {
    whole_second(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
    }

    fn run(uid: &str) -> PinnedRun {
        let mut run = PinnedRun::default();
        (run.verifier.function.uid, run.verifier.object.uid) = (uid.into(), uid.into());
        run
    }

    fn place(annotations: &str, path: &str) -> Place {
        let repository: Repository = serde_saphyr::from_str(&format!(
            "{{metadata: {{name: r, namespace: demo, resourceVersion: '7', annotations: {annotations}}}, spec: {{path: '{path}', storageRef: {{name: s}}}}}}"
        ))
        .unwrap();
        Place::of(&repository, None)
    }

    #[test]
    fn probes_come_after_5_10_20_and_then_30_minutes() {
        let mut place = place("{}", "/x");
        let (mut now, mut probes) = (0, Vec::new());
        for session in 0..7 {
            let uid = session.to_string();
            assert_eq!(place.standing(&uid, &run("f"), at(now)), if session == 0 { Standing::Free } else { Standing::MayProbe });
            if session > 0 {
                place.hold = place.probed_by(&uid, at(now));
                assert_eq!(place.standing(&uid, &run("f"), at(now)), Standing::Free, "who said so first goes on");
                assert!(matches!(place.standing("other", &run("f"), at(now)), Standing::Waits(_)), "nobody else does");
            }
            probes.push(now);
            place.hold = place.failed(&uid, Cause::StorageUnreachable, &run("f"), at(now));
            assert_eq!(place.failed(&uid, Cause::StorageUnreachable, &run("f"), at(now)), None, "one failure counts once");
            let Standing::Waits(next) = place.standing("next", &run("f"), at(now)) else { panic!("not held") };
            now = next.duration_since(at(0)).as_mins();
        }
        assert_eq!(probes, [0, 5, 15, 35, 65, 95, 125]);
        let hold = place.hold.unwrap();
        assert_eq!((hold.since.as_str(), hold.tries), ("2026-01-01T00:00:00Z", 7));
    }

    #[test]
    fn a_change_of_what_failed_lifts_it() {
        let held = place("{}", "/x").failed("a", Cause::StorageCredentialsRefused, &run("f"), at(0)).unwrap();
        let text = serde_json::to_string(&held).unwrap();
        let annotated = |more: &str| format!("{{backproof.dev/hold: '{text}'{more}}}");
        for (place, standing) in [
            (place(&annotated(""), "/x"), Standing::Waits(at(5))),
            (place(&annotated(", other: x"), "/x"), Standing::Waits(at(5))),
            (place(&annotated(", backproof.dev/probe: now"), "/x"), Standing::Free),
            (place(&annotated(""), "/y"), Standing::Free),
            (place("{backproof.dev/hold: '{'}", "/x"), Standing::Free),
        ] {
            assert_eq!(place.standing("b", &run("f"), at(1)), standing, "{place:?}");
        }
        // Asked for once more after it failed again: the count starts anew.
        let again =
            place(&annotated(", backproof.dev/probe: now"), "/x").failed("b", Cause::StorageCredentialsRefused, &run("f"), at(1)).unwrap();
        assert_eq!((again.tries, again.since.as_str()), (1, "2026-01-01T00:01:00Z"));
    }

    #[test]
    fn an_image_and_a_user_hold_only_those_who_have_them() {
        for cause in [Cause::ImagePullFailed, Cause::RepositoryNotReadable, Cause::StorageUnreachable] {
            let mut place = place("{}", "/x");
            place.hold = place.failed("a", cause, &run("1"), at(0));
            assert_eq!(place.standing("b", &run("1"), at(1)), Standing::Waits(at(5)));
            let other = place.standing("b", &run("2"), at(1));
            assert_eq!(other == Standing::Free, cause != Cause::StorageUnreachable, "{cause}");
        }
    }
}
