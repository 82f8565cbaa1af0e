//! Names in trees: quoted as Go quotes strings, and possibly hostile. Only what can be one entry of one directory passes.

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadName {
    /// The quoting is broken.
    #[error("its quoting is broken")]
    Quoting,
    /// No name at all.
    #[error("it is empty")]
    Empty,
    /// `.` or `..`.
    #[error("it stands for a directory itself")]
    Dots,
    /// A slash or NUL.
    #[error("it holds a slash or a NUL")]
    Forbidden,
}

/// The bytes of a quoted name, if they can name an entry of a directory.
pub(crate) fn parse(quoted: &str) -> Result<Vec<u8>, BadName> {
    let name = unquote(quoted).ok_or(BadName::Quoting)?;
    match name.as_slice() {
        b"" => Err(BadName::Empty),
        b"." | b".." => Err(BadName::Dots),
        other if other.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(BadName::Forbidden),
        _ => Ok(name),
    }
}

fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        name.extend_from_slice(&rest.as_bytes()[..at]);
        let mut after = rest[at + 1..].chars();
        let escape = after.next()?;
        rest = after.as_str();
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' | '\'' => escape as u8,
            'x' => u8::try_from(number(&mut rest, 2, 16)?).ok()?,
            'u' | 'U' => {
                let code = number(&mut rest, if escape == 'u' { 4 } else { 8 }, 16)?;
                name.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            '0'..='7' => {
                rest = &quoted[quoted.len() - rest.len() - 1..];
                u8::try_from(number(&mut rest, 3, 8)?).ok()?
            }
            _ => return None,
        };
        name.push(simple);
    }
    name.extend_from_slice(rest.as_bytes());
    Some(name)
}

fn number(rest: &mut &str, digits: usize, radix: u32) -> Option<u32> {
    let text = rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    *rest = &rest[digits..];
    u32::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BadName, parse};

    #[test]
    fn quoted_names_are_read_as_go_writes_them() {
        for (quoted, expected) in [
            ("plain", &b"plain"[..]),
            ("größe 日本", "größe 日本".as_bytes()),
            (r"tab\tnew\nline", b"tab\tnew\nline"),
            (r#"a\"b\\c"#, br#"a"b\c"#),
            (r"\xff\xfe.txt", b"\xff\xfe.txt"),
            (r"\a\b\f\r\v", b"\x07\x08\x0c\r\x0b"),
            (r"\u00e9\U0001f600", "é😀".as_bytes()),
            (r"\101", b"A"),
            ("...", b"..."),
            ("..a", b"..a"),
        ] {
            assert_eq!(parse(quoted).as_deref(), Ok(expected), "{quoted}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for (quoted, expected) in [
            ("", BadName::Empty),
            (".", BadName::Dots),
            ("..", BadName::Dots),
            (r"\x2e.", BadName::Dots),
            ("a/b", BadName::Forbidden),
            (r"..\x2fescape", BadName::Forbidden),
            (r"..\057escape", BadName::Forbidden),
            (r"a\u002fb", BadName::Forbidden),
            ("a\0b", BadName::Forbidden),
            (r"a\x00", BadName::Forbidden),
            (r"a\", BadName::Quoting),
            (r"a\q", BadName::Quoting),
            (r"\x+f", BadName::Quoting),
            (r"\xé", BadName::Quoting),
            (r"\ud800", BadName::Quoting),
            (r"\777", BadName::Quoting),
            (r"\U99999999", BadName::Quoting),
        ] {
            assert_eq!(parse(quoted), Err(expected), "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn nothing_passes_that_could_leave_its_directory(text in "(\\\\|x|2|e|f|/|\\.|0|5|7|u|é){0,12}") {
            if let Ok(name) = parse(&text) {
                prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                prop_assert!(!name.contains(&b'/') && !name.contains(&0));
            }
        }
    }
}
