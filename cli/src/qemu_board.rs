//! QEMU as the computer: which of its boards, what it cannot be asked for, and files whose length is no whole
//! number of its blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use machine::device::nvme::Medium;
use qemu::{Installation, Qemu, QemuConfig, QemuError};

use crate::args::{IommuChoice, MachineArgs, StageChoice, TemperChoice, Walks};
use crate::board::DiskSpec;
use crate::error::Error;

/// QEMU sees files in blocks of so many bytes: what of the last one is beyond the end is zeroes where it reads, and
/// becomes part of the file where it writes.
const BLOCK_BYTES: u64 = 512;

/// QEMU as `args` ask, with these disks.
pub(crate) fn build(args: &MachineArgs, disks: Vec<DiskSpec>) -> Result<Arc<Qemu>, Error> {
    check(args, &disks)?;
    let installation = Installation::find().map_err(Error::unusable)?;
    let mut config = QemuConfig::new(board(args)).with_ram(args.ram);
    for disk in disks {
        if disk.rogue.is_some() {
            config = config.with_iommu_testdevs(1);
        }
        let medium = match disk.medium {
            Medium::ReadOnly => qemu::Medium::ReadOnly,
            Medium::ReadWrite => qemu::Medium::ReadWrite,
        };
        config = config.with_disk(qemu::Disk::nvme(disk.file, medium));
    }
    Qemu::boot(&installation, config).map_err(|error| match error {
        QemuError::RamSize { .. } => Error::unusable(format!("--ram: {error}")),
        error => Error::unusable(error),
    })
}

/// Refuses what QEMU's models cannot be told.
fn check(args: &MachineArgs, disks: &[DiskSpec]) -> Result<(), Error> {
    let refused = |what: &str, why: &str| {
        let better = "use --board machine";
        Err(Error::unusable(format!("{what}: {why}; {better}")))
    };
    if disks.iter().any(|disk| disk.address_lines != 64) {
        return refused("--address-bits", "QEMU's disk drives all 64 address lines");
    }
    if disks.iter().any(|disk| disk.flip_bit_of_byte.is_some()) {
        return refused("--flip-bit-of-byte", "QEMU's disk does not lie");
    }
    for disk in disks {
        let kind = disk.file.metadata().map_err(Error::failed)?.file_type();
        if kind.is_char_device() {
            return refused("--write", "QEMU makes no disk of a character device");
        }
    }
    if args.temper != TemperChoice::Keep {
        return refused("--temper", "what QEMU's caches remember is QEMU's choice");
    }
    if args.walks != Walks::Snoop {
        return refused("--walks", "QEMU's IOMMUs always see the CPU's caches");
    }
    if args.non_coherent {
        return refused(
            "--non-coherent",
            "QEMU's devices always see the CPU's caches",
        );
    }
    Ok(())
}

/// The board of QEMU's that has the IOMMU of `args`.
fn board(args: &MachineArgs) -> &'static qemu::Board {
    let second = args.stage == Some(StageChoice::Second);
    let name = match args.iommu {
        IommuChoice::None => "q35",
        IommuChoice::Vtd => "q35-vtd",
        IommuChoice::VtdScalable if second => "q35-vtd-second-stage",
        IommuChoice::VtdScalable => "q35-vtd-first-stage",
        IommuChoice::Amd => "q35-amd",
        IommuChoice::Smmu if second => "arm-smmu-stage2",
        IommuChoice::Smmu => "arm-smmu-stage1",
        IommuChoice::Riscv => "riscv-platform",
        IommuChoice::Virtio => "q35-virtio",
    };
    qemu::Board::named(name).expect("the board is in QEMU's list")
}

/// A file that QEMU writes, as long as its blocks are; as long as it is to be when this ends.
pub(crate) struct WholeBlocks {
    file: File,
    len_bytes: u64,
    is_cut: bool,
}

impl WholeBlocks {
    /// Makes `file`, which is to hold `len_bytes` bytes, a whole number of blocks; `None` if it is no file whose
    /// length can be chosen.
    pub(crate) fn of(file: &File, len_bytes: u64) -> io::Result<Option<Self>> {
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let this = Self {
            file: file.try_clone()?,
            len_bytes,
            is_cut: false,
        };
        // First to its length: what lay beyond is gone, and the rest of the last block is zeroes.
        this.file.set_len(len_bytes)?;
        let whole = len_bytes.checked_next_multiple_of(BLOCK_BYTES);
        this.file
            .set_len(whole.ok_or(io::ErrorKind::FileTooLarge)?)?;
        Ok(Some(this))
    }

    /// Makes the file as long as it is to be.
    pub(crate) fn cut(mut self) -> io::Result<()> {
        self.is_cut = true;
        self.file.set_len(self.len_bytes)
    }
}

impl Drop for WholeBlocks {
    fn drop(&mut self) {
        if !self.is_cut {
            // After a failure, which is what the user is told of.
            let _ = self.file.set_len(self.len_bytes);
        }
    }
}
