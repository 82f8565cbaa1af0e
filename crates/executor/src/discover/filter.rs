//! Which restic snapshots become Snapshots, and of which session. Pure.

use serde::Deserialize;

/// Tag that names a snapshot's session.
const SESSION_TAG: &str = "session=";

/// What the Repository's filter annotation says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Filter {
    /// Session of snapshots that no tag assigns.
    session: String,
    /// Only snapshots of this host.
    host: String,
    /// Only snapshots with all of these paths.
    paths: Vec<String>,
    /// Only snapshots with all of these tags.
    tags: Vec<String>,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let refused = |error: &dyn std::fmt::Display| format!("the filter is no JSON object of session, host, paths and tags: {error}");
        // A list would be taken for the fields in order.
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| refused(&error))?;
        serde_json::from_value(object.into()).map_err(|error| refused(&error))
    }
}

impl Filter {
    /// Whether a snapshot passes.
    pub(super) fn passes(&self, host: &str, paths: &[String], tags: &[String]) -> bool {
        (self.host.is_empty() || self.host == host)
            && self.paths.iter().all(|path| paths.contains(path))
            && self.tags.iter().all(|tag| tags.contains(tag))
    }

    /// The session a snapshot belongs to: its tag says it, else the filter, else the only one there is.
    pub(super) fn session<'a>(&'a self, tags: &'a [String], only: &'a str) -> Option<&'a str> {
        let tagged = tags.iter().find_map(|tag| tag.strip_prefix(SESSION_TAG));
        [tagged.unwrap_or_default(), &self.session, only].into_iter().find(|session| !session.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn everything_given_must_hold() {
        for (filter, passes) in [
            ("", true),
            ("{}", true),
            (r#"{"host": "a"}"#, true),
            (r#"{"host": "b"}"#, false),
            (r#"{"paths": ["/x"]}"#, true),
            (r#"{"paths": ["/x", "/z"]}"#, false),
            (r#"{"tags": ["daily"]}"#, true),
            (r#"{"tags": ["daily", "nightly"]}"#, false),
            (r#"{"host": "a", "paths": ["/x", "/y"], "tags": ["daily"]}"#, true),
        ] {
            let parsed: Filter = filter.parse().unwrap();
            assert_eq!(parsed.passes("a", &words("/x /y"), &words("daily session=s")), passes, "{filter}");
        }
    }

    #[test]
    fn the_session_comes_from_the_nearest_word() {
        for (filter, tags, only, expected) in [
            ("", "session=tagged", "only", Some("tagged")),
            (r#"{"session": "filtered"}"#, "session=tagged", "only", Some("tagged")),
            (r#"{"session": "filtered"}"#, "x", "only", Some("filtered")),
            ("", "x session=", "only", Some("only")),
            ("", "", "", None),
        ] {
            let parsed: Filter = filter.parse().unwrap();
            assert_eq!(parsed.session(&words(tags), only), expected, "{filter} {tags}");
        }
    }

    #[test]
    fn a_misspelt_filter_is_refused() {
        for text in ["[]", "no", r#"{"hosts": "a"}"#, r#"{"paths": "/x"}"#] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
