//! `cargo xtask qemu`: a QEMU that serves as a board, found or fetched.
//!
//! [`packages`] fetches QEMU into `target/qemu`, and unpacks it.
//!
//! Where QEMU is looked for, and what makes it new enough, the crate `qemu` says.

mod packages;

use std::path::Path;
use std::process::ExitCode;

use qemu::{FOLDER_VARIABLE, Installation, Version};

use crate::cargo::root;
use crate::debian;
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
        let _lock = debian::lock(&folder.with_extension("lock"), "cargo xtask qemu")?;
        if let Ok(found) = present(&folder) {
            return Ok(found);
        }
        let source = debian::source(&["apt-get", "dpkg"]);
        let source = source.map_err(|why| format!("{why}\n{}", by_hand()))?;
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
