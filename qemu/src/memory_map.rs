//! Where everything is in the physical address space of QEMU's machines: facts of the boards, which real firmware
//! would tell in AML. The two `virt` machines tell them in their devicetree too, and a test compares.
//!
//! ```text
//!                    q35                           Arm virt                       RISC-V virt
//!   RAM              0 – 2.75 GiB, or 0 – 2 GiB    0x4000_0000 –                  0x8000_0000 –
//!                    and 4 GiB – …
//!   ECAM             0xb000_0000 (set here)        0x40_1000_0000                 0x3000_0000
//!   memory window    0xc000_0000 – 0xfec0_0000     0x1000_0000 – 0x3eff_0000      0x4000_0000 – 0x8000_0000
//!   upper window     above RAM, 32 GiB             0x80_0000_0000, 512 GiB        0x4_0000_0000, 16 GiB
//!   IO window        0xfef0_1000 (made up here)    0x3eff_0000                    0x0300_0000
//! ```

use std::ops::Range;

use board::hardware::{WindowDescription, WindowKind};
use board::ram::RamRegion;

use crate::Architecture;
use crate::fw_cfg::DmaRegister;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Physical addresses at which the CPU's IO ports are reached on x86. QEMU has no such window, and the CPU's port
/// instructions are not for drivers of this project: the board turns accesses here into accesses of ports. It is a
/// range that chipsets leave free.
pub(crate) const PORTS: Range<u64> = 0xfef0_0000..0xfef1_0000;

/// Ports below this are the chipset's own.
const FIRST_PCI_PORT: u64 = 0x1000;

/// q35: where configuration space is put.
pub(crate) const Q35_ECAM: u64 = 0xb000_0000;

/// q35: from so much RAM on it is split at [`Q35_SPLIT`].
const Q35_SPLIT_FROM: u64 = Q35_ECAM;
const Q35_SPLIT: u64 = 2 * GIB;

/// q35: video memory and ROMs, RAM to nobody.
const Q35_LEGACY: Range<u64> = 640 * KIB..MIB;

/// RAM set aside for firmware: its tables, and what its transfers need.
pub(crate) const FIRMWARE_BYTES: u64 = MIB;

/// The physical addresses of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryMap {
    /// RAM, and where QEMU's file holds it.
    pub(crate) ram: Vec<RamRegion>,
    /// The part of it that is firmware's.
    pub(crate) firmware: Range<u64>,
    /// Configuration space, from bus 0 on.
    pub(crate) ecam: u64,
    /// The host bridge's windows.
    pub(crate) windows: Vec<WindowDescription>,
    /// The firmware configuration device.
    pub(crate) fw_cfg: DmaRegister,
}

impl MemoryMap {
    /// The map of a machine with `ram_len_bytes` of RAM.
    pub(crate) fn new(architecture: Architecture, ram_len_bytes: u64) -> Self {
        match architecture {
            Architecture::X86_64 => q35(ram_len_bytes),
            Architecture::Aarch64 => virt(
                0x4000_0000..0x4000_0000 + ram_len_bytes,
                0x40_1000_0000,
                vec![
                    same(WindowKind::Memory, 0x1000_0000..0x3eff_0000),
                    same(
                        WindowKind::PrefetchableMemory,
                        0x80_0000_0000..0x100_0000_0000,
                    ),
                    io(0x3eff_0000, 0),
                ],
                0x902_0010,
            ),
            Architecture::Riscv64 => virt(
                0x8000_0000..0x8000_0000 + ram_len_bytes,
                0x3000_0000,
                vec![
                    same(WindowKind::Memory, 0x4000_0000..0x8000_0000),
                    same(
                        WindowKind::PrefetchableMemory,
                        riscv_upper_window(ram_len_bytes),
                    ),
                    io(0x300_0000, 0),
                ],
                0x1010_0010,
            ),
        }
    }
}

fn q35(ram_len_bytes: u64) -> MemoryMap {
    let low_end = if ram_len_bytes >= Q35_SPLIT_FROM {
        Q35_SPLIT
    } else {
        ram_len_bytes
    };
    let high_end = 4 * GIB + (ram_len_bytes - low_end);
    let mut ram = vec![
        region(0..Q35_LEGACY.start, 0),
        region(Q35_LEGACY.end..low_end, Q35_LEGACY.end),
    ];
    if high_end > 4 * GIB {
        ram.push(region(4 * GIB..high_end, low_end));
    }
    let upper = high_end.next_multiple_of(GIB);
    MemoryMap {
        ram,
        firmware: low_end - FIRMWARE_BYTES..low_end,
        ecam: Q35_ECAM,
        windows: vec![
            same(WindowKind::Memory, Q35_ECAM + 256 * MIB..0xfec0_0000),
            same(WindowKind::PrefetchableMemory, upper..upper + 32 * GIB),
            io(PORTS.start + FIRST_PCI_PORT, FIRST_PCI_PORT),
        ],
        fw_cfg: DmaRegister::Port(0x514),
    }
}

fn virt(ram: Range<u64>, ecam: u64, windows: Vec<WindowDescription>, fw_cfg: u64) -> MemoryMap {
    // Below 4 GiB, as the pointers of older ACPI tables have 32 bits.
    let firmware_end = ram.end.min(4 * GIB);
    MemoryMap {
        firmware: firmware_end - FIRMWARE_BYTES..firmware_end,
        ram: vec![region(ram, 0)],
        ecam,
        windows,
        fw_cfg: DmaRegister::Memory(fw_cfg),
    }
}

/// RISC-V virt puts its upper window at the first multiple of its 16 GiB above RAM.
fn riscv_upper_window(ram_len_bytes: u64) -> Range<u64> {
    let start = (0x8000_0000 + ram_len_bytes).next_multiple_of(16 * GIB);
    start..start + 16 * GIB
}

fn region(phys: Range<u64>, file_offset: u64) -> RamRegion {
    RamRegion { phys, file_offset }
}

/// A window whose bus addresses are the physical ones.
fn same(kind: WindowKind, range: Range<u64>) -> WindowDescription {
    WindowDescription {
        kind,
        phys: range.start,
        bus: range.start,
        len_bytes: range.end - range.start,
    }
}

/// A window to the ports from `first` to 0xffff.
fn io(phys: u64, first: u64) -> WindowDescription {
    WindowDescription {
        kind: WindowKind::Io,
        phys,
        bus: first,
        len_bytes: 64 * KIB - first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(architecture: Architecture, len_bytes: u64) -> Vec<(u64, u64, u64)> {
        let map = MemoryMap::new(architecture, len_bytes);
        let ram = map
            .ram
            .iter()
            .map(|RamRegion { phys, file_offset }| (phys.start, phys.end, *file_offset));
        ram.collect()
    }

    #[test]
    fn q35_ram_is_split_when_it_reaches_configuration_space() {
        let x86 = |len_bytes| ram(Architecture::X86_64, len_bytes);
        assert_eq!(x86(GIB), [(0, 0xa_0000, 0), (0x10_0000, GIB, 0x10_0000)]);
        assert_eq!(
            x86(0xb000_0000 - MIB).last(),
            Some(&(0x10_0000, 0xaff0_0000, 0x10_0000))
        );
        assert_eq!(
            x86(0xb000_0000)[1..],
            [
                (0x10_0000, 0x8000_0000, 0x10_0000),
                (0x1_0000_0000, 0x1_3000_0000, 0x8000_0000)
            ]
        );
    }

    #[test]
    fn virt_ram_is_one_run() {
        assert_eq!(ram(Architecture::Aarch64, 8 * GIB), [(GIB, 9 * GIB, 0)]);
        assert_eq!(ram(Architecture::Riscv64, GIB), [(2 * GIB, 3 * GIB, 0)]);
    }

    #[test]
    fn nothing_overlaps_on_any_machine() {
        for architecture in Architecture::ALL {
            for len_bytes in [64 * MIB, GIB, 3 * GIB, 5 * GIB, 33 * GIB] {
                let map = MemoryMap::new(architecture, len_bytes);
                let ram = map.ram.iter().map(|region| region.phys.clone());
                let windows = map
                    .windows
                    .iter()
                    .map(|window| window.phys..window.phys + window.len_bytes);
                let mut all: Vec<_> = ram.chain(windows).collect();
                all.sort_by_key(|range| range.start);
                for pair in all.windows(2) {
                    assert!(pair[0].end <= pair[1].start, "{architecture}: {pair:x?}");
                }
                assert!(map.firmware.end <= 4 * GIB);
                assert!(map.ram.iter().any(|region| {
                    region.phys.start <= map.firmware.start && map.firmware.end <= region.phys.end
                }));
            }
        }
    }
}
