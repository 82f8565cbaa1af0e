//! A full listing of a directory: what must be the same before and after every run against a repository.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// One line per entry below `root`, in order: path, mode, owner, group, size, modification time, change time, content hash.
/// The change time betrays every chown or chmod, even one that was undone.
pub fn of(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        let content = if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
            String::new()
        } else if meta.is_file() {
            format!("{:x?}", Sha256::digest(fs::read(&path)?))
        } else {
            fs::read_link(&path).map(|target| target.display().to_string()).unwrap_or_default()
        };
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        lines.push(format!(
            "{name} {:o} {}:{} {} mtime {}.{} ctime {}.{} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ));
    }
    lines.sort();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn any_change_shows() {
        let root = std::env::temp_dir().join(format!("backproof-listing-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/file"), "one").unwrap();
        let before = of(&root).unwrap();
        assert_eq!(before, of(&root).unwrap());
        assert_eq!(before.len(), 3);
        std::fs::write(root.join("a/file"), "two").unwrap();
        assert_ne!(before, of(&root).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
