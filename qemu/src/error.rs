//! What can go wrong before QEMU is a computer, and after.

use std::io;

use board::ram::RamError;

use crate::Architecture;
use crate::fw_cfg::FwCfgError;
use crate::installation::NotFound;
use crate::qtest::QtestError;
use crate::table_loader::TableLoaderError;

/// Why there is no computer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// There is no QEMU.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// QEMU lacks the program for these machines.
    #[error("this QEMU has no machines of {0}")]
    NoProgram(
        /// The machines' architecture.
        Architecture,
    ),
    /// So much memory cannot be: it is no whole number of MiB, or too little or too much for the machine.
    #[error("{len_bytes} bytes of memory: whole MiB from {least} to {most} bytes are possible")]
    RamSize {
        /// What was asked for.
        len_bytes: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// The host lends no memory.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The host did not start QEMU.
    #[error("QEMU cannot be started: {0}")]
    Start(
        /// What it said.
        #[source]
        io::Error,
    ),
    /// QEMU ended, or answered wrongly, while the computer was set up.
    #[error("{error}{}", quoted(.said))]
    Ended {
        /// What was noticed.
        error: TableLoaderError,
        /// What QEMU said on its error output.
        said: String,
    },
    /// QEMU did not write its devicetree.
    #[error("QEMU wrote no devicetree{}", quoted(.said))]
    NoDevicetree {
        /// What QEMU said on its error output.
        said: String,
    },
}

/// QEMU stopped being a computer while it was used: registers read all ones since.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", quoted(.said))]
pub struct Failure {
    /// What was noticed first.
    pub error: QtestError,
    /// What QEMU said on its error output.
    pub said: String,
}

fn quoted(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!("; QEMU said: {said}"),
    }
}

// So that `?` serves in functions whose callers add what QEMU said.
impl From<QtestError> for TableLoaderError {
    fn from(error: QtestError) -> Self {
        Self::FwCfg(FwCfgError::Qtest(error))
    }
}
