//! The devicetree QEMU makes of a machine, asked of a second QEMU that writes it and ends.

use std::process::Stdio;

use crate::command_line::add_machine;
use crate::config::QemuConfig;
use crate::{Installation, QemuError};

/// Runs QEMU once with the machine of `config`, its IOMMU included, and returns the devicetree it writes.
pub(crate) fn dump(installation: &Installation, config: &QemuConfig) -> Result<Vec<u8>, QemuError> {
    let folder = tempfile::tempdir().map_err(QemuError::Start)?;
    let path = folder.path().join("devicetree");
    let mut command = installation.command(config.board.architecture());
    // QEMU's options end at a comma; a path may have one.
    let escaped = path.display().to_string().replace(',', ",,");
    add_machine(&mut command, config, &format!(",dumpdtb={escaped}"));
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(QemuError::Start)?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    std::fs::read(&path).map_err(|_| QemuError::NoDevicetree { said: said() })
}
