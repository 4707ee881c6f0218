//! `cargo xtask qemu`: a QEMU that serves as a board, found or fetched.
//!
//! - [`sources`] finds the machine's own mirror of Debian's main archive
//! - [`packages`] fetches QEMU from there into `target/qemu`, and unpacks it
//!
//! Where QEMU is looked for, and what makes it new enough, the crate `qemu` says.

mod packages;
mod sources;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use qemu::{FOLDER_VARIABLE, Installation, Version};

use crate::cargo::root;
use crate::gate::Outcome;

/// Finds QEMU, or gets one into `target/qemu` (Debian; any user; about 100 MB).
#[derive(clap::Args)]
pub(crate) struct Qemu {
    /// Only look whether there is one: use no network.
    #[arg(long)]
    offline: bool,
}

/// The gate's step: there is a QEMU, or was got. Without one, what only QEMU can judge is passed over.
pub(crate) fn step() -> Outcome {
    match (Qemu { offline: false }).find_or_get() {
        Ok(found) => Outcome::Passed(format!("QEMU {} in {}", found.version(), found.place())),
        Err(why) => Outcome::Skipped(why),
    }
}

impl Qemu {
    pub(crate) fn run(&self) -> ExitCode {
        match self.find_or_get() {
            Ok(found) => {
                println!("QEMU {} in {}", found.version(), found.place());
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("no QEMU: {why}");
                ExitCode::FAILURE
            }
        }
    }

    fn find_or_get(&self) -> Result<Installation, String> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
            return Installation::in_folder(Path::new(&folder)).map_err(|error| error.to_string());
        }
        let folder = root().join("target").join("qemu");
        if let Ok(found) = present(&folder) {
            return Ok(found);
        }
        if self.offline {
            return Err(format!(
                "none is in target/qemu or on the search path\n{}",
                by_hand()
            ));
        }
        // One at a time. Whoever waited may find that the other one got it.
        let _lock = lock(&folder.with_extension("lock"))?;
        if let Ok(found) = present(&folder) {
            return Ok(found);
        }
        for tool in ["apt-get", "dpkg"] {
            if !is_on_path(tool) {
                return Err(format!("this system has no {tool}\n{}", by_hand()));
            }
        }
        let source = sources::main_archive(Path::new("/etc/apt"));
        let source = source.ok_or_else(|| {
            format!(
                "no package source of this system is Debian's main archive\n{}",
                by_hand()
            )
        })?;
        packages::get(&folder, &source)?;
        Installation::in_folder(&folder).map_err(|error| error.to_string())
    }
}

fn present(folder: &Path) -> Result<Installation, qemu::NotFound> {
    Installation::in_folder(folder).or_else(|_| Installation::on_path())
}

/// What to do where no package can be unpacked.
fn by_hand() -> String {
    format!(
        "Install QEMU {} or newer with the machines of x86_64, aarch64 and riscv64, by the system's packages or from \
         its source (--target-list=x86_64-softmmu,aarch64-softmmu,riscv64-softmmu); if it is not on the search path, \
         name its prefix in {FOLDER_VARIABLE}.",
        Version::OLDEST
    )
}

fn lock(path: &PathBuf) -> Result<File, String> {
    let failed = |error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create(path).map_err(failed)?;
    if file.try_lock().is_err() {
        println!("waiting for another `cargo xtask qemu`");
        file.lock().map_err(failed)?;
    }
    Ok(file)
}

fn is_on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
