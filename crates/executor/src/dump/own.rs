//! Takes `\restrict` and `\unrestrict`, which pg_dump writes around a dump, out of it: the client is in that mode already, by a
//! key of ours, and takes neither from the dump. Blanks are put in their place, so that lines keep their numbers. Pure.

/// More bytes than a line with such a command has.
const LONGEST: usize = 256;
const RESTRICT: &[u8] = b"\\restrict ";
const UNRESTRICT: &[u8] = b"\\unrestrict ";

/// What has passed so far.
pub(super) struct Own {
    seen: Seen,
    /// Whether the next byte begins a line.
    begins: bool,
    /// A beginning of a line that may become one of the two.
    kept: Vec<u8>,
}

enum Seen {
    /// Comments and empty lines; `\restrict` stands after them.
    Head,
    /// `\restrict` with this key: the other one has it as well. Without it no row of a table looks like that.
    Key(Vec<u8>),
    /// Nothing that would be taken out any more.
    Body,
}

impl Default for Own {
    fn default() -> Self {
        Self { seen: Seen::Head, begins: true, kept: Vec::new() }
    }
}

impl Own {
    /// The next bytes, without the two. Some may be kept until it is known what they are.
    pub(super) fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut bytes = if self.kept.is_empty() { bytes } else { [std::mem::take(&mut self.kept), bytes].concat() };
        let mut at = 0;
        while at < bytes.len() && !matches!(self.seen, Seen::Body) {
            let rest = &mut bytes[at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            if std::mem::take(&mut self.begins) {
                if end.is_none() && rest.len() <= LONGEST && matches!(rest[0], b'\\' | b'-') {
                    self.begins = true;
                    self.kept = bytes.split_off(at);
                    return bytes;
                }
                let length = end.unwrap_or(rest.len());
                let line = &mut rest[..length];
                if self.is_own(line) {
                    line.fill(b' ');
                }
            }
            let Some(end) = end else { break };
            self.begins = true;
            at += end + 1;
        }
        bytes
    }

    /// What was kept and comes to nothing more.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut kept = std::mem::take(&mut self.kept);
        if self.is_own(&kept) {
            kept.clear();
        }
        kept
    }

    fn is_own(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        match &self.seen {
            Seen::Head => match line.strip_prefix(RESTRICT) {
                Some(key) if !key.is_empty() && key.len() < LONGEST / 2 && key.iter().all(u8::is_ascii_alphanumeric) => {
                    self.seen = Seen::Key(key.to_vec());
                    true
                }
                _ => {
                    if !line.is_empty() && !line.starts_with(b"--") {
                        self.seen = Seen::Body;
                    }
                    false
                }
            },
            Seen::Key(key) => {
                let is_own = line.strip_prefix(UNRESTRICT) == Some(key);
                if is_own {
                    self.seen = Seen::Body;
                }
                is_own
            }
            Seen::Body => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Own;

    /// However it is cut, it must come to the same.
    fn passed(text: &str) -> String {
        let by = |parts: &[&[u8]]| {
            let mut own = Own::default();
            let mut all: Vec<u8> = parts.iter().flat_map(|part| own.pass(part.to_vec())).collect();
            all.extend(own.end());
            String::from_utf8(all).unwrap()
        };
        let whole = by(&[text.as_bytes()]);
        for at in 0..=text.len() {
            assert_eq!(by(&[&text.as_bytes()[..at], &text.as_bytes()[at..]]).trim_end(), whole.trim_end(), "{text:?} cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(by(&bytes).trim_end(), whole.trim_end(), "{text:?}");
        whole
    }

    #[test]
    fn only_what_pg_dump_writes_around_a_dump_goes() {
        let blank = " ".repeat(12);
        assert_eq!(
            passed("--\n-- A\n--\n\n\\restrict aB1\n\nSELECT 1;\n\\unrestrict aB1\n\n"),
            format!("--\n-- A\n--\n\n{}\n\nSELECT 1;\n{}\n\n", &" ".repeat(13), &" ".repeat(15))
        );
        assert_eq!(passed("\\restrict ab\nx\n\\unrestrict ab"), format!("{blank}\nx\n"));
        for kept in [
            "",
            "\\",
            "\\restrict",
            "\\restrict \n",
            "\\restrict a b\n",
            "\\restrict a;\n",
            "SELECT 1;\n\\restrict a\n\\unrestrict a\n",
            " \\restrict a\n",
            "\\unrestrict a\n",
            "-- a\n\\! b\n",
        ] {
            assert_eq!(passed(kept), kept);
        }
        // Another key, and a second time.
        let two = "x\n\\unrestrict ac\n\\restrict ab\ny \\unrestrict ab\n";
        assert_eq!(passed(&format!("\\restrict ab\n{two}")), format!("{blank}\n{two}"));
        let long = format!("--{}\n\\restrict {}\n", "-".repeat(1000), "a".repeat(500));
        assert_eq!(passed(&long), long);
        assert_eq!(passed(&format!("--{}\n\\restrict ab\n", "-".repeat(1000))), format!("--{}\n{blank}\n", "-".repeat(1000)));
    }
}
