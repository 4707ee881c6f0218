//! Debian's packages, without installing them.
//!
//! - [`sources`] finds the machine's own mirror of the main archive
//! - [`apt`] fetches from there; [`run`] ends what takes too long; [`files`] are below `target`

mod apt;
mod files;
mod run;
mod sources;

use std::fs::{self, File};
use std::path::Path;

pub(crate) use apt::Apt;
pub(crate) use files::{make, remove, write};
pub(crate) use run::run;
pub(crate) use sources::Source;

/// The machine's source of Debian's main archive; an error if it has none, or lacks one of `tools`.
pub(crate) fn source(tools: &[&str]) -> Result<Source, String> {
    if let Some(tool) = tools.iter().find(|tool| !is_on_path(tool)) {
        return Err(format!("this system has no {tool}"));
    }
    sources::main_archive(Path::new("/etc/apt"))
        .ok_or_else(|| "no package source of this system is Debian's main archive".into())
}

/// Whether a program is found by its name.
pub(crate) fn is_on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Waits until no other `command` of this project works below the folder that `path` locks.
pub(crate) fn lock(path: &Path, command: &str) -> Result<File, String> {
    let failed = |error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create(path).map_err(failed)?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another `{command}`");
        file.lock().map_err(failed)?;
    }
    Ok(file)
}
