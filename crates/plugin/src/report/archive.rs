//! A gzipped tar archive.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use tar::{Builder, Header};

/// Directory everything lies in.
const ROOT: &str = "backproof-report";

/// Writes the files; one that is there already is not overwritten, and others of this machine cannot read it.
pub(super) fn write(path: &Path, files: &BTreeMap<String, String>, now: Timestamp) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut archive = Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        archive.append_data(&mut header, format!("{ROOT}/{name}"), content.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}
