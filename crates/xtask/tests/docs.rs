//! The pages: every link leads somewhere, and every object that is shown is one that can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use backproof_api::{BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Repository, Snapshot};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Every page, by its path below the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = xtask::root();
    let mut open = vec![PathBuf::new()];
    let mut pages = BTreeMap::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() {
                if !hidden && entry.file_name() != "target" && entry.file_name() != "node_modules" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") && !path.starts_with("crates") {
                pages.insert(path.clone(), std::fs::read_to_string(root.join(&path)).unwrap());
            }
        }
    }
    pages
}

/// A page's text without its blocks of code.
fn prose(page: &str) -> String {
    let mut inside = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What `](...)` leads to, outside of code.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    // What stands between backticks is no link.
    let plain: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
    plain.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned()).collect()
}

/// The anchors of a page: its headings, as they are shown on the web.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(page).lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let anchor = |heading: String| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let slug: String = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect();
        let slug = slug.replace(' ', "-");
        let times = seen.entry(slug.clone()).or_insert(0);
        *times += 1;
        if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
    };
    headings.into_iter().map(anchor).collect()
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::Normal(name) => normal.push(name),
            std::path::Component::CurDir | std::path::Component::RootDir | std::path::Component::Prefix(_) => {}
        }
    }
    normal
}

/// What is wrong with the links of these pages.
fn broken(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, page) in pages {
        for link in links(page).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { normal(&path.parent().unwrap().join(file)) };
            if !xtask::root().join(&target).exists() && !pages.contains_key(&target) {
                wrong.push(format!("{}: {link}: there is no {}", path.display(), target.display()));
            } else if let Some(anchor) = anchor
                && !pages.get(&target).is_some_and(|page| anchors(page).contains(anchor))
            {
                wrong.push(format!("{}: {link}: no heading of that name", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 25 && pages.values().map(|page| links(page).len()).sum::<usize>() > 100, "where are the pages?");
    let wrong = broken(&pages);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = "# A page\n\n## The *second* part, by `name`\n\n## Twice\n\n## Twice\n\n[a](other.md) [b](#the-second-part-by-name) [c](#twice-1)\n\
                [d](#nowhere) [e](missing.md) `[f](missing.md)` [g](other.md#twice)\n```\n[h](missing.md)\n# no heading\n```\n[i](https://x/y)\n";
    let pages = [(PathBuf::from("docs/a.md"), page.to_owned()), (PathBuf::from("docs/other.md"), "# Other\n".to_owned())].into();
    let wrong = broken(&pages);
    assert_eq!(
        wrong,
        [
            "docs/a.md: #nowhere: no heading of that name",
            "docs/a.md: missing.md: there is no docs/missing.md",
            "docs/a.md: other.md#twice: no heading of that name",
        ]
    );
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    let mut open = vec![PathBuf::from("README.md")];
    while let Some(path) = open.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        for link in pages.get(&path).map(|page| links(page)).unwrap_or_default() {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains("://") {
                let target = normal(&path.parent().unwrap().join(file));
                let target = if xtask::root().join(&target).is_dir() { target.join("README.md") } else { target };
                open.push(target);
            }
        }
    }
    let lost: Vec<_> = pages.keys().filter(|page| !reached.contains(*page)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// The documents in the YAML blocks of a page.
fn documents(page: &str) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut blocks = page.split("```");
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        if let Some(text) = block.strip_prefix("yaml\n") {
            documents.extend(serde_saphyr::from_multiple::<Value>(text).unwrap_or_else(|error| panic!("{error}\n{text}")));
        }
    }
    documents
}

/// What of `shown` is missing in `read`.
fn lost(path: &str, shown: &Value, read: &Value, lines: &mut Vec<String>) {
    match (shown, read) {
        (Value::Object(shown), Value::Object(read)) => {
            for (key, value) in shown {
                // An empty text and an absent one are the same.
                match read.get(key) {
                    Some(read) => lost(&format!("{path}.{key}"), value, read, lines),
                    None if matches!(value, Value::String(text) if text.is_empty()) => {}
                    None if matches!(value, Value::Object(object) if object.is_empty()) => {}
                    None => lines.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(shown), Value::Array(read)) if shown.len() == read.len() => {
            shown.iter().zip(read).enumerate().for_each(|(n, (shown, read))| lost(&format!("{path}[{n}]"), shown, read, lines));
        }
        (shown, read) if shown == read => {}
        (shown, read) => lines.push(format!("{path}: {shown} became {read}")),
    }
}

fn round_trip<K: DeserializeOwned + Serialize>(shown: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<K>(shown.clone()).unwrap_or_else(|error| panic!("{error}: {shown}"))).unwrap()
}

#[test]
fn every_object_that_is_shown_can_be_read_and_loses_nothing() {
    let mut objects = 0;
    for (path, page) in pages() {
        for shown in documents(&page).iter().filter(|shown| shown["apiVersion"].as_str().is_some_and(|group| group.contains("kubestash"))) {
            let read = match shown["kind"].as_str().unwrap() {
                "BackupStorage" => round_trip::<BackupStorage>(shown),
                "Repository" => round_trip::<Repository>(shown),
                "Snapshot" => round_trip::<Snapshot>(shown),
                "BackupVerifier" => round_trip::<BackupVerifier>(shown),
                "BackupConfiguration" => round_trip::<BackupConfiguration>(shown),
                "BackupBatch" => round_trip::<BackupBatch>(shown),
                "BackupVerificationSession" => round_trip::<BackupVerificationSession>(shown),
                other => panic!("{}: a {other}: teach this test to read it", path.display()),
            };
            let mut lines = Vec::new();
            lost("", shown, &read, &mut lines);
            assert!(lines.is_empty(), "{}: {shown}\nis not read whole: {lines:?}", path.display());
            objects += 1;
        }
    }
    assert!(objects >= 8, "only {objects} objects were found");
}
