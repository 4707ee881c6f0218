//! The computers QEMU is asked to be: a machine, and the IOMMU in front of its devices.

use crate::{Architecture, Installation, NotFound};

/// A computer of QEMU's models.
///
/// ```
/// use qemu::{Architecture, Board};
///
/// let board = Board::named("q35-vtd").expect("a board of the list");
/// assert_eq!(board.architecture(), Architecture::X86_64);
/// assert!(Board::all().iter().any(|each| each == board));
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    name: &'static str,
    description: &'static str,
    architecture: Architecture,
    /// What QEMU's option `-machine` is given.
    pub(crate) machine: &'static str,
    /// QEMU's options that make the CPU and the IOMMU, word by word.
    pub(crate) options: &'static [&'static str],
}

const X86: Board = Board {
    name: "",
    description: "",
    architecture: Architecture::X86_64,
    machine: "q35",
    options: &[],
};

const ARM: Board = Board {
    name: "",
    description: "",
    architecture: Architecture::Aarch64,
    machine: "virt,gic-version=3",
    options: &["-cpu", "cortex-a57"],
};

const RISCV: Board = Board {
    name: "",
    description: "",
    architecture: Architecture::Riscv64,
    machine: "virt",
    options: &["-bios", "none"],
};

static BOARDS: [Board; 14] = [
    Board {
        name: "q35-vtd",
        description: "x86, Intel VT-d in legacy mode",
        options: &["-device", "intel-iommu"],
        ..X86
    },
    Board {
        name: "q35-vtd-second-stage",
        description: "x86, Intel VT-d in scalable mode with second-stage tables",
        options: &["-device", "intel-iommu,scalable-mode=on,fsts=off"],
        ..X86
    },
    Board {
        name: "q35-vtd-first-stage",
        description: "x86, Intel VT-d in scalable mode with first-stage tables",
        options: &["-device", "intel-iommu,scalable-mode=on,fsts=on"],
        ..X86
    },
    Board {
        name: "q35-amd",
        description: "x86, AMD-Vi",
        options: &["-device", "amd-iommu,dma-remap=on"],
        ..X86
    },
    Board {
        name: "q35-virtio",
        description: "x86, virtio-iommu",
        options: &["-device", "virtio-iommu-pci,boot-bypass=off"],
        ..X86
    },
    Board {
        name: "q35",
        description: "x86 without an IOMMU",
        ..X86
    },
    Board {
        name: "arm-smmu-stage1",
        description: "Arm, SMMUv3 with stage 1",
        options: &[
            "-cpu",
            "cortex-a57",
            "-device",
            "arm-smmuv3,primary-bus=pcie.0,stage=1",
        ],
        ..ARM
    },
    Board {
        name: "arm-smmu-stage2",
        description: "Arm, SMMUv3 with stage 2",
        options: &[
            "-cpu",
            "cortex-a57",
            "-device",
            "arm-smmuv3,primary-bus=pcie.0,stage=2",
        ],
        ..ARM
    },
    Board {
        name: "arm-smmu-nested",
        description: "Arm, SMMUv3 with both stages",
        machine: "virt,gic-version=3,iommu=smmuv3",
        ..ARM
    },
    Board {
        name: "arm-virtio",
        description: "Arm, virtio-iommu",
        options: &[
            "-cpu",
            "cortex-a57",
            "-device",
            "virtio-iommu-pci,boot-bypass=off",
        ],
        ..ARM
    },
    Board {
        name: "arm",
        description: "Arm without an IOMMU",
        ..ARM
    },
    Board {
        name: "riscv-pci",
        description: "RISC-V, the RISC-V IOMMU as a PCI function",
        options: &["-bios", "none", "-device", "riscv-iommu-pci"],
        ..RISCV
    },
    Board {
        name: "riscv-platform",
        description: "RISC-V, the RISC-V IOMMU as a platform device",
        machine: "virt,iommu-sys=on",
        ..RISCV
    },
    Board {
        name: "riscv",
        description: "RISC-V without an IOMMU",
        ..RISCV
    },
];

impl Board {
    /// All of them.
    pub fn all() -> &'static [Board] {
        &BOARDS
    }

    /// The board of that name.
    pub fn named(name: &str) -> Option<&'static Board> {
        BOARDS.iter().find(|board| board.name == name)
    }

    /// Its name, as one types it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, in a few words.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// Whether an IOMMU stands in front of its devices.
    ///
    /// ```
    /// use qemu::Board;
    ///
    /// let without = Board::all().iter().filter(|board| !board.has_iommu());
    /// assert!(without.map(Board::name).eq(["q35", "arm", "riscv"]));
    /// ```
    pub fn has_iommu(&self) -> bool {
        let asked_for = |word: &&str| word.contains("iommu") || word.contains("smmu");
        asked_for(&self.machine) || self.options.iter().any(asked_for)
    }

    /// Its CPUs' instruction set: which of QEMU's programs has it.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The QEMU that can be this board; why there is none, and how to get one, is the error's text.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn installation(&self) -> Result<Installation, NotFound> {
        let installation = Installation::find()?;
        match installation.has(self.architecture) {
            true => Ok(installation),
            false => Err(NotFound::Unfit {
                place: installation.place().to_owned(),
                reason: format!("it has no {}", self.architecture.program()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for board in Board::all() {
            assert_eq!(Board::named(board.name), Some(board));
        }
    }
}
