//! PostgreSQL: sessions, what its errors mean, and how a database shows whose it is.

mod fault;
mod fresh;
mod marker;
mod objects;
mod plain;
mod session;
mod tls;

pub(crate) use fault::{Fault, meaning};
pub(crate) use fresh::{Proof, Target, plant_after, plant_before};
pub(crate) use marker::{Marker, marker_of};
pub(crate) use objects::Objects;
pub(crate) use session::{Lock, Purpose, Server, Session};

/// Most bytes of a name; the server silently cuts longer ones, so that one would mean another object.
pub(crate) const NAME_LIMIT: usize = 63;

/// A name as the engine reads names: quoted, whatever stands in it. It holds no NUL and is not too long.
pub(crate) fn quoted(name: &str) -> Result<String, String> {
    if name.contains('\0') {
        return Err("no name of PostgreSQL holds the character NUL".to_owned());
    }
    if name.len() > NAME_LIMIT {
        return Err(format!(
            "it has {} bytes, and no name of PostgreSQL has more than {NAME_LIMIT}: write the name as the server cut it",
            name.len()
        ));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_are_quoted() {
        for (name, expected) in [
            ("employee", r#""employee""#),
            (r#"a"; DROP TABLE b; --"#, r#""a""; DROP TABLE b; --""#),
            ("`x` 'y' \\ $$", "\"`x` 'y' \\ $$\""),
            ("grün 雪", "\"grün 雪\""),
        ] {
            assert_eq!(quoted(name).as_deref(), Ok(expected));
        }
        assert!(quoted(&"n".repeat(63)).is_ok());
        assert!(quoted(&"n".repeat(64)).is_err());
        // 62 bytes and a letter of two.
        assert!(quoted(&format!("{}ü", "n".repeat(62))).is_err());
        assert!(quoted("a\0b").is_err());
    }
}
