//! A copy of the source to break.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The copy, in a directory that Git ignores. It stays between runs, so that little is built anew.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Makes `copy` a copy of all files of `source` that Git tracks or would add. Files that are the same already
    /// are not touched: Cargo builds what changed.
    pub(super) fn copy(source: &Path, copy: PathBuf) -> Result<Self, String> {
        let files = listed(source)?;
        let fail = |error: io::Error| {
            format!("the source cannot be copied to {}: {error}", copy.display())
        };
        for file in &files {
            let (from, to) = (source.join(file), copy.join(file));
            let Ok(wanted) = fs::read(&from) else {
                continue;
            };
            if fs::read(&to).is_ok_and(|found| found == wanted) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(fail)?;
            fs::write(&to, wanted).map_err(fail)?;
        }
        let kept: HashSet<_> = files
            .iter()
            .filter(|file| source.join(file).exists())
            .map(|file| copy.join(file))
            .collect();
        remove_others(&copy, &kept).map_err(fail)?;
        Ok(Self { root: copy })
    }

    /// Its root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The text of one of its files.
    pub(super) fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(file)).map_err(|error| format!("{file}: {error}"))
    }

    /// Changes one of its files until the result is dropped.
    pub(super) fn change(&self, file: &str, text: &str) -> Result<Changed, String> {
        let before = self.read(file)?;
        let path = self.root.join(file);
        fs::write(&path, text).map_err(|error| format!("{file}: {error}"))?;
        Ok(Changed { path, before })
    }
}

/// A file that goes back to what it was.
pub(super) struct Changed {
    path: PathBuf,
    before: String,
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            // The next run copies it anew.
            eprintln!("{} is left as it is: {error}", self.path.display());
        }
    }
}

/// Files that Git tracks or would add.
fn listed(source: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(source)
        .output()
        .map_err(|error| format!("Git cannot be run: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("Git does not list the source: {complaint}"));
    }
    let names = output
        .stdout
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect())
}

/// Removes every file below `directory` that is not `kept`.
fn remove_others(directory: &Path, kept: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            // Cargo.lock is among the files; all else here was copied before and is gone from the source.
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_when_it_is_dropped_and_a_copy_mends_what_is_left() {
        let source = crate::cargo::root();
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::copy(source, directory.path().join("tree")).unwrap();
        let file = "xtask/src/mutants/tree.rs";
        let text = tree.read(file).unwrap();
        let changed = tree.change(file, "broken").unwrap();
        assert_eq!(tree.read(file).unwrap(), "broken");
        drop(changed);
        assert_eq!(tree.read(file).unwrap(), text);

        std::mem::forget(tree.change(file, "broken").unwrap());
        fs::write(tree.root().join("not_in_the_source"), "").unwrap();
        let tree = Tree::copy(source, directory.path().join("tree")).unwrap();
        assert_eq!(tree.read(file).unwrap(), text);
        assert!(!tree.root().join("not_in_the_source").exists());
    }
}
