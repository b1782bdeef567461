//! Did anything change of what the operator wrote? The configuration and the files that it names, as they were when
//! they were read.
//!
//! Looked at, not listened to: a look follows every symbolic link on the way, so that a `ConfigMap` whose folder is
//! swapped, an editor that renames and a file that is written in place are one.

use std::path::{Path, PathBuf};

/// Files as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Mark>)>);

/// What tells a file from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    modified: Option<std::time::SystemTime>,
    bytes: u64,
    inode: (u64, u64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).ok()?;
        let (modified, inode) = (meta.modified().ok(), (meta.dev(), meta.ino()));
        Some(Self { modified, bytes: meta.len(), inode })
    }
}

impl Files {
    /// Adds one that is about to be read: what changes while it is read has changed.
    pub fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), Mark::of(path)));
    }

    /// Adds all of these.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The same files as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self(self.0.iter().map(|(path, _)| (path.clone(), Mark::of(path))).collect())
    }

    /// Those that differ.
    pub fn changed<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a Path> {
        let both = self.0.iter().zip(&now.0);
        both.filter(|(was, is)| was != is).map(|((path, _), _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn every_way_to_change_a_file_is_seen_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // As a ConfigMap: a link to a link to a folder.
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("c.yaml"), "version: 1").unwrap();
        }
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        std::os::unix::fs::symlink("data/c.yaml", at("c.yaml")).unwrap();
        let mut files = Files::default();
        files.add(&at("c.yaml"));
        files.add(&at("none"));
        assert_eq!(files.now(), files);
        std::os::unix::fs::symlink("two", at("next")).unwrap();
        std::fs::rename(at("next"), at("data")).unwrap();
        let swapped = files.now();
        assert_eq!(files.changed(&swapped).collect::<Vec<_>>(), [at("c.yaml")]);
        std::fs::write(at("two").join("c.yaml"), "version: 1 ").unwrap();
        assert_ne!(swapped.now(), swapped, "written in place");
        let written = swapped.now();
        std::fs::write(at("none"), "").unwrap();
        assert_eq!(written.changed(&written.now()).collect::<Vec<_>>(), [at("none")]);
        std::fs::remove_file(at("none")).unwrap();
        assert_eq!(written.now(), written, "it is as it was");
    }
}
