//! Full listings of trees: what must be the same before and after, and what a restored tree must be.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::forge::id_of;

/// Every entry below a directory, with everything a write would change.
pub(crate) type Listing = BTreeMap<PathBuf, String>;

/// Bytes (as SHA-256), kind, owner, mode, links and modification time of every entry, the root included.
pub(crate) fn full(root: &Path) -> Listing {
    full_but(root, None)
}

/// The same without the entry `but` and what is below it.
pub(crate) fn full_but(root: &Path, but: Option<&Path>) -> Listing {
    let mut listing = Listing::new();
    walk(root, root, but, &mut |path, metadata, content| {
        let line = format!(
            "{} {}:{} {:o} links {} size {} mtime {}.{:09} ctime {}.{:09} {content}",
            kind(metadata),
            metadata.uid(),
            metadata.gid(),
            metadata.mode(),
            metadata.nlink(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        listing.insert(path.to_owned(), line);
    });
    listing
}

/// What a restore brings back: content, names, kinds, sizes, links, permission bits, modification times. The root
/// itself and the marker at it are the target's own.
pub(crate) fn restored(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    walk(root, root, None, &mut |path, metadata, content| {
        if path.as_os_str().is_empty() || path == Path::new(".backproof.json") {
            return;
        }
        let twin = if metadata.is_file() && metadata.nlink() > 1 {
            first.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.to_owned()).clone()
        } else {
            path.to_owned()
        };
        let (mode, size) = (metadata.mode() & 0o777, if metadata.is_dir() { 0 } else { metadata.size() });
        let line = format!(
            "{} {mode:o} size {size} mtime {}.{:09} same as {} {content}",
            kind(metadata),
            metadata.mtime(),
            metadata.mtime_nsec(),
            twin.display()
        );
        listing.insert(path.to_owned(), line);
    });
    listing
}

/// The lines in which two listings differ, for messages; empty when they are the same.
pub(crate) fn difference(before: &Listing, after: &Listing) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, line) in before {
        match after.get(path) {
            Some(now) if now == line => {}
            Some(now) => lines.push(format!("{}: was {line}, is {now}", path.display())),
            None => lines.push(format!("{}: gone", path.display())),
        }
    }
    lines.extend(after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("{}: new", path.display())));
    lines
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "dir"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "device"
    } else {
        "file"
    }
}

fn walk(root: &Path, path: &Path, but: Option<&Path>, see: &mut dyn FnMut(&Path, &fs::Metadata, &str)) {
    if but == Some(path) {
        return;
    }
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let content = if metadata.is_file() {
        id_of(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    } else if metadata.is_symlink() {
        super::hex(fs::read_link(path).expect("a link").as_os_str().as_bytes())
    } else {
        String::new()
    };
    see(path.strip_prefix(root).expect("below the root"), &metadata, &content);
    if metadata.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        for name in names {
            walk(root, &name, but, see);
        }
    }
}
