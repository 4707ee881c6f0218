//! QEMU out of Debian's packages, by any user: fetched with an own state of `apt-get`, unpacked and not installed.
//!
//! The packages come with all they need, the C library and its loader included, so it does not matter which release the
//! machine itself runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::debian::{Apt, Source, make, remove, run};

/// The release, its corrections, and what newer packages are built for it: there QEMU is new enough.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-backports"];

const PACKAGES: [&str; 4] = [
    "qemu-system-x86",
    "qemu-system-arm",
    "qemu-system-riscv",
    "qemu-system-misc",
];

/// How long one package may take to be unpacked.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(120);

/// Fetches the packages and unpacks them into `folder`. What was fetched before a failure is not fetched again.
pub(super) fn get(folder: &Path, source: &Source) -> Result<(), String> {
    let apt = Apt::prepare(folder, source, &SUITES)?;
    println!(
        "fetching QEMU's packages from {} (about 100 MB)",
        source.uri
    );
    let packages = apt.download(Some(SUITES[2]), &PACKAGES)?;

    // Renamed when it is whole: a folder by that name is.
    let (partial, root) = (folder.join("root.partial"), folder.join("root"));
    remove(&partial)?;
    make(&partial)?;
    println!("unpacking {} packages", packages.len());
    for package in packages {
        let mut command = Command::new("dpkg");
        run(
            command.arg("--extract").arg(package).arg(&partial),
            UNPACK_TIMEOUT,
        )?;
    }
    remove(&root)?;
    fs::rename(&partial, &root).map_err(|error| format!("{}: {error}", root.display()))?;
    apt.remove()
}
