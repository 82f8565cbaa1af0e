//! Limits of those who store what is rendered.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use backproof_api::crd;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::render::{EVERYTHING, chart, text};

/// Client-side apply keeps a copy of the object as compact JSON in an annotation, and all annotations together hold 262,144 bytes.
const APPLY: usize = 250_000;
/// What a Secret may hold.
const SECRET: usize = 1_048_576;

#[test]
fn each_crd_fits_an_annotation() {
    for definition in crd::all() {
        let size = serde_json::to_string(&definition.object).unwrap().len();
        assert!(size < APPLY, "{}: {size} bytes", definition.kind);
        assert!(size > 5_000, "{}: {size} bytes cannot be all of it", definition.kind);
    }
}

/// Helm keeps what it rendered, and the chart's files as base64, in one JSON document: compressed, and as base64 once more.
#[test]
fn the_release_fits_a_secret() {
    let rendered = text(EVERYTHING).unwrap();
    assert!(rendered.len() < 980_000, "the rendered chart has {} bytes", rendered.len());
    let mut files = Vec::new();
    let mut open = vec![chart()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(STANDARD.encode(std::fs::read(path).unwrap())) }
        }
    }
    let release = json!({"manifest": rendered, "chart": {"files": files}}).to_string();
    let mut gzip = Command::new("gzip").arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let feed = std::thread::spawn(move || input.write_all(release.as_bytes()));
    let packed = gzip.wait_with_output().unwrap().stdout.len();
    feed.join().unwrap().unwrap();
    let kept = packed.div_ceil(3) * 4;
    assert!(packed > 50_000, "{packed} bytes cannot be all of it");
    assert!(kept * 4 < SECRET * 3, "the release takes {kept} of {SECRET} bytes");
}
