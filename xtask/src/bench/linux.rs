//! The sources of Linux out of Debian's package of them: nothing of them is part of this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::debian::{self, Apt, Source, make, remove};

/// The version the figures are of.
const PACKAGE: &str = "linux-source-6.12";

/// How long an archive may take to be unpacked.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(300);

/// Debian's release of that version, and its corrections.
const SUITES: [&str; 2] = ["trixie", "trixie-updates"];

/// What is compiled, and the headers that are taken as they are. `peers/linux/shim.h` stands for all others.
pub(super) const FILES: [&str; 9] = [
    "drivers/iommu/iova.c",
    "drivers/iommu/io-pgtable-arm.c",
    "drivers/iommu/io-pgtable-arm.h",
    "include/linux/io-pgtable.h",
    "include/linux/iova.h",
    "include/linux/rbtree.h",
    "include/linux/rbtree_augmented.h",
    "include/linux/rbtree_types.h",
    "lib/rbtree.c",
];

/// The files' folder below `folder`, fetched if it is not there.
pub(super) fn tree(folder: &Path, offline: bool) -> Result<PathBuf, String> {
    let tree = folder.join(PACKAGE);
    if tree.is_dir() {
        return Ok(tree);
    }
    if offline {
        return Err(format!("{} is not there", tree.display()));
    }
    fetch(
        folder,
        &debian::source(&["apt-get", "dpkg-deb", "tar", "xz"])?,
    )?;
    Ok(tree)
}

fn fetch(folder: &Path, source: &Source) -> Result<(), String> {
    let apt = Apt::prepare(folder, source, &SUITES)?;
    eprintln!("fetching {PACKAGE} from {} (150 MB)", source.uri);
    let packages = apt.download(None, &[PACKAGE])?;
    let is_it = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| is_package(&name.to_string_lossy()))
    };
    let package = packages.iter().find(is_it);
    let package = package.ok_or_else(|| format!("apt-get did not fetch {PACKAGE}"))?;
    unpack(package, folder)?;
    apt.remove()
}

fn is_package(name: &str) -> bool {
    name.strip_prefix(PACKAGE)
        .is_some_and(|rest| rest.starts_with('_'))
}

/// Unpacks the files out of the archive in the package. A folder by the package's name is whole.
fn unpack(package: &Path, folder: &Path) -> Result<(), String> {
    let partial = folder.join("partial");
    remove(&partial)?;
    make(&partial)?;
    let mut outer = Command::new("dpkg-deb");
    outer.arg("--extract").arg(package).arg(&partial);
    debian::run(&mut outer, UNPACK_TIMEOUT)?;
    let archive = partial.join("usr/src").join(format!("{PACKAGE}.tar.xz"));
    let mut inner = Command::new("tar");
    inner.arg("--extract").arg("--file").arg(&archive);
    inner.arg("--directory").arg(&partial);
    inner.args(FILES.map(|file| format!("{PACKAGE}/{file}")));
    debian::run(&mut inner, UNPACK_TIMEOUT)?;
    let tree = folder.join(PACKAGE);
    fs::rename(partial.join(PACKAGE), &tree)
        .map_err(|error| format!("{}: {error}", tree.display()))?;
    remove(&partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_told_from_its_neighbours() {
        assert!(is_package("linux-source-6.12_6.12.1-1_all.deb"));
        assert!(!is_package("linux-source_6.12.1-1_all.deb"));
        assert!(!is_package("linux-source-6.12-extra_1_all.deb"));
    }

    #[test]
    fn without_network_what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let why = tree(folder.path(), true).unwrap_err();
        assert!(why.ends_with("linux-source-6.12 is not there"), "{why}");
        fs::create_dir(folder.path().join(PACKAGE)).unwrap();
        assert_eq!(tree(folder.path(), true), Ok(folder.path().join(PACKAGE)));
    }
}
