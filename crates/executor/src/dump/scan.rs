//! Looks at a dump as it passes: of which form it is, and whether it ends as it should. What it commands the client to do is not looked
//! for: the client refuses that by itself. Pure.

use backproof_api::Cause;

/// How much of the beginning and of the end is looked at for marks.
const MARGIN: usize = 4096;

const HEADER: &[u8] = b"-- PostgreSQL database dump\n";
const CLUSTER_HEADER: &[u8] = b"-- PostgreSQL database cluster dump";
const END: &[u8] = b"-- PostgreSQL database dump complete";
const VERSION: &[u8] = b"-- Dumped from database version ";

/// Files of another form than SQL, by their first bytes.
const FORMS: [(&[u8], &str); 5] = [
    (b"PGDMP", "pg_dump's custom format; dump with --format=plain"),
    (b"\x1f\x8b", "compressed by gzip; give restic the plain dump, it compresses by itself"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; give restic the plain dump, it compresses by itself"),
    (b"BZh", "compressed by bzip2; give restic the plain dump, it compresses by itself"),
    (b"\xfd7zXZ", "compressed by xz; give restic the plain dump, it compresses by itself"),
];

/// Why a dump is not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) cause: Cause,
    pub(super) detail: String,
}

fn objection(cause: Cause, detail: impl Into<String>) -> Objection {
    Objection { cause, detail: detail.into() }
}

/// What has passed so far.
#[derive(Default)]
pub(super) struct Scan {
    head: Vec<u8>,
    tail: Vec<u8>,
    pub(super) bytes: u64,
}

impl Scan {
    /// Takes the next bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = MARGIN.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let kept = &bytes[bytes.len().saturating_sub(MARGIN)..];
        self.tail.extend_from_slice(kept);
        let surplus = self.tail.len().saturating_sub(MARGIN);
        self.tail.drain(..surplus);
    }

    /// What the beginning says, to be asked after the first part; the server's major version is `major`.
    pub(super) fn beginning(&self, major: u32) -> Result<(), Objection> {
        if let Some((_, form)) = FORMS.iter().find(|(mark, _)| self.head.starts_with(mark)) {
            return Err(objection(Cause::DumpNotSupported, format!("it is {form}")));
        }
        if find(&self.head, CLUSTER_HEADER).is_some() {
            return Err(objection(
                Cause::DumpNotSupported,
                "it is a dump of a whole server, by pg_dumpall; dump each database with pg_dump",
            ));
        }
        if let Some(line) = self.head.split(|byte| *byte == b'\n').find(|line| removes_what_must_be_there(line)) {
            let detail = format!(
                "it begins by removing what an empty database has not ({}): dump without --clean, or with --if-exists as well",
                String::from_utf8_lossy(&line[..line.len().min(80)])
            );
            return Err(objection(Cause::DumpNotSupported, detail));
        }
        match self.dumped_from() {
            Some(from) if from > major => {
                let detail = format!(
                    "the dump comes from PostgreSQL {from}, the server is {major}: restore into a server of that version or a later one"
                );
                Err(objection(Cause::TargetNotPrepared, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether it ended as it should, to be asked after the last part and before the client is told of the end.
    pub(super) fn end(&self) -> Result<(), Objection> {
        if find(&self.head, HEADER).is_some() && find(&self.tail, END).is_none() {
            let detail = format!("it begins as pg_dump writes it, and ends after {} bytes without pg_dump's last line", self.bytes);
            return Err(objection(Cause::DumpTruncated, detail));
        }
        Ok(())
    }

    fn dumped_from(&self) -> Option<u32> {
        let at = find(&self.head, VERSION)? + VERSION.len();
        let digits: Vec<u8> = self.head[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }
}

/// As `pg_dump --clean` without `--if-exists` writes it. An error there would say nothing about the data.
fn removes_what_must_be_there(line: &[u8]) -> bool {
    let line = &outside_quotes(line);
    let removes = line.starts_with(b"DROP ") || line.starts_with(b"ALTER ") && find(line, b" DROP ").is_some();
    removes && find(line, b"IF EXISTS").is_none()
}

/// A line without what stands in quotes: names may read like statements.
fn outside_quotes(line: &[u8]) -> Vec<u8> {
    line.split(|byte| *byte == b'"').step_by(2).flatten().copied().collect()
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(parts: &[&[u8]]) -> Scan {
        let mut scan = Scan::default();
        parts.iter().for_each(|part| scan.pass(part));
        scan
    }

    #[test]
    fn forms_and_versions_are_told_by_the_beginning() {
        let cause = |head: &[u8]| scanned(&[head]).beginning(15).err().map(|objection| objection.cause);
        assert_eq!(cause(b"PGDMP\x01\x0e"), Some(Cause::DumpNotSupported));
        assert_eq!(cause(b"\x1f\x8b\x08"), Some(Cause::DumpNotSupported));
        assert_eq!(cause(b"--\n-- PostgreSQL database cluster dump\n--\n"), Some(Cause::DumpNotSupported));
        assert_eq!(cause(b"--\n\nDROP TABLE public.a;\n"), Some(Cause::DumpNotSupported));
        assert_eq!(cause(b"ALTER TABLE ONLY public.a DROP CONSTRAINT b;\n"), Some(Cause::DumpNotSupported));
        assert_eq!(cause(b"DROP TABLE IF EXISTS public.a;\nALTER TABLE IF EXISTS public.a DROP CONSTRAINT IF EXISTS b;\n"), None);
        assert_eq!(cause(b"ALTER TABLE public.a OWNER TO b;\n-- DROP \n"), None);
        assert_eq!(cause(br#"ALTER SCHEMA "a""; DROP TABLE ""b""; --" OWNER TO c;"#), None);
        assert_eq!(cause(br#"ALTER TABLE ONLY "IF EXISTS" DROP CONSTRAINT "a";"#), Some(Cause::DumpNotSupported));
        let from = |version: &str| format!("--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version {version} (Debian)\n");
        assert_eq!(cause(from("16.2").as_bytes()), Some(Cause::TargetNotPrepared));
        assert_eq!(cause(from("15.18").as_bytes()), None);
        assert_eq!(cause(from("9.6.1").as_bytes()), None);
        assert_eq!(cause(b"SELECT 1;"), None);
        assert_eq!(cause(b""), None);
    }

    #[test]
    fn a_dump_of_pg_dump_ends_with_its_last_line() {
        let whole: &[u8] =
            b"--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n";
        let cause = |parts: &[&[u8]]| scanned(parts).end().err().map(|objection| objection.cause);
        assert_eq!(cause(&[whole]), None);
        let filler = vec![b'x'; 20_000];
        assert_eq!(cause(&[&whole[..40], &filler, &whole[40..]]), None);
        for at in 31..whole.len() - 20 {
            let complete = whole[..at].windows(END.len()).any(|window| window == END);
            assert_eq!(cause(&[&whole[..at]]).is_none(), complete, "{at}");
        }
        assert_eq!(cause(&[whole, &filler]), Some(Cause::DumpTruncated));
        // Nothing is known about the end of what somebody wrote by hand.
        assert_eq!(cause(&[b"SELECT 1;"]), None);
    }
}
