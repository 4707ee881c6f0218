//! Where everything is in physical address space, for a computer with so much memory.
//!
//! ```text
//!   0                 – 640 KiB             RAM
//!   1 MiB             – 2 GiB at most       RAM; the last 128 KiB are firmware's: direct region, tables; before
//!                                           them is what it sets aside for devices
//!   0xc000_0000       – 0xd000_0000         window to bus 0x8000_0000: memory registers
//!   0xd800_0000       – 0xd801_0000         window to IO ports 0 – 0xffff
//!   0xe000_0000       – 0xf000_0000         configuration space (ECAM)
//!   0xfe00_0000       – 0xfe00_1000         registers of a FIFO that is no PCI function
//!   0xfe80_0000       – 0xfec0_0000         registers of an IOMMU unit that is no VT-d unit
//!   0xfed9_0000, 0xfed9_1000                registers of the VT-d units
//!   0xfee0_0000       – 0xfef0_0000         message window
//!   4 GiB             – …                   the rest of RAM, with a hole in its middle
//!   0x60_0000_0000    – 0x61_0000_0000      window to bus 0x40_0000_0000: prefetchable memory registers
//! ```
//!
//! No bus address of a window is its physical address, and none is an address of RAM.

use std::ops::Range;

use board::hardware::{WindowDescription, WindowKind};

use crate::config::PoolConfig;

/// Least memory: room for what firmware keeps, and for a kernel.
pub const MIN_RAM_BYTES: u64 = 4 << 20;

/// Most memory: RAM ends below the bus addresses of the upper window.
pub const MAX_RAM_BYTES: u64 = 128 << 30;

/// Configuration space, one MiB a bus.
pub(crate) const ECAM: Range<u64> = 0xe000_0000..0xf000_0000;

/// Where the registers of the VT-d units are.
pub(crate) const VTD_REGISTERS: [Range<u64>; 2] =
    [0xfed9_0000..0xfed9_1000, 0xfed9_1000..0xfed9_2000];

/// Where the registers of the virtio-iommu are.
pub(crate) const VIRTIO_REGISTERS: Range<u64> = 0xfe80_0000..0xfe80_1000;
/// Where the registers of the AMD-Vi unit are.
pub(crate) const AMD_REGISTERS: Range<u64> = 0xfeb8_0000..0xfeb8_4000;
/// Where the registers of the SMMU are.
pub(crate) const SMMU_REGISTERS: Range<u64> = 0xfea0_0000..0xfea2_0000;
/// Where the registers of the RISC-V IOMMU are.
pub(crate) const RISCV_REGISTERS: Range<u64> = 0xfe90_0000..0xfe90_1000;

/// Width of physical addresses.
pub(crate) const HOST_ADDRESS_BITS: u8 = 46;

/// The host bridge's windows.
pub(crate) const WINDOWS: [WindowDescription; 3] = [
    WindowDescription {
        kind: WindowKind::Memory,
        phys: 0xc000_0000,
        bus: 0x8000_0000,
        len_bytes: 0x1000_0000,
    },
    WindowDescription {
        kind: WindowKind::PrefetchableMemory,
        phys: 0x60_0000_0000,
        bus: 0x40_0000_0000,
        len_bytes: 0x1_0000_0000,
    },
    WindowDescription {
        kind: WindowKind::Io,
        phys: 0xd800_0000,
        bus: 0,
        len_bytes: 0x1_0000,
    },
];

const PAGE: u64 = 4096;
const LOW_RAM_END: u64 = 2 << 30;
const HIGH_RAM: u64 = 4 << 30;
const LEGACY_HOLE: Range<u64> = 0xa_0000..0x10_0000;
const HIGH_HOLE_BYTES: u64 = 0x1_0000;
const FIRMWARE_BYTES: u64 = 0x2_0000;

/// The memory of one computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryMap {
    /// RAM, ascending.
    pub(crate) ram: Vec<Range<u64>>,
    /// RAM that a device uses from boot on (RMRR).
    pub(crate) direct_region: Range<u64>,
    /// RAM that holds the ACPI tables.
    pub(crate) tables: Range<u64>,
    /// RAM that is set aside for devices, below the direct region.
    pub(crate) pools: Vec<Pool>,
}

/// Memory that is set aside for devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    pub(crate) memory: Range<u64>,
}

impl MemoryMap {
    /// The map of a computer with memory modules of `ram_len_bytes` (rounded down to pages) in all, of which
    /// the holes take some.
    pub(crate) fn new(ram_len_bytes: u64) -> Self {
        let len = ram_len_bytes / PAGE * PAGE;
        let low_end = len.min(LOW_RAM_END);
        let mut ram = vec![0..LEGACY_HOLE.start, LEGACY_HOLE.end..low_end];
        let high = len - low_end;
        let half = HIGH_RAM + high / 2 / PAGE * PAGE;
        if high > 2 * HIGH_HOLE_BYTES {
            ram.push(HIGH_RAM..half);
            ram.push(half + HIGH_HOLE_BYTES..HIGH_RAM + high);
        } else if high != 0 {
            ram.push(HIGH_RAM..HIGH_RAM + high);
        }
        let firmware = low_end - FIRMWARE_BYTES;
        let tables = firmware + FIRMWARE_BYTES / 2;
        Self {
            ram,
            direct_region: firmware..tables,
            tables: tables..low_end,
            pools: Vec::new(),
        }
    }

    /// Sets the memory of `configs` aside; `None` where that leaves too little for a kernel.
    pub(crate) fn with_pools(mut self, configs: Vec<PoolConfig>) -> Option<Self> {
        let least = LEGACY_HOLE.end + MIN_RAM_BYTES / 2;
        let mut end = self.direct_region.start;
        for config in configs {
            let len_bytes = config.len_bytes / PAGE * PAGE;
            let start = end.checked_sub(len_bytes)?;
            if len_bytes == 0 || start < least {
                return None;
            }
            let memory = start..end;
            self.pools.push(Pool { config, memory });
            end = start;
        }
        Some(self)
    }

    /// One past the highest address of RAM.
    pub(crate) fn ram_end(&self) -> u64 {
        self.ram.last().map_or(0, |region| region.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupts::MESSAGE_WINDOW;

    #[test]
    fn small_memory_has_the_legacy_hole_only() {
        let map = MemoryMap::new(MIN_RAM_BYTES);
        assert_eq!(map.ram, [0..0xa_0000, 0x10_0000..0x40_0000]);
        assert_eq!(map.direct_region, 0x3e_0000..0x3f_0000);
        assert_eq!(map.tables, 0x3f_0000..0x40_0000);
    }

    #[test]
    fn large_memory_continues_above_4_gib_with_a_hole() {
        let map = MemoryMap::new(8 << 30);
        let ram = [
            0..0xa_0000,
            0x10_0000..0x8000_0000,
            0x1_0000_0000..0x1_c000_0000,
            0x1_c001_0000..0x2_8000_0000,
        ];
        assert_eq!(map.ram, ram);
    }

    #[test]
    fn no_window_touches_ram_on_either_side() {
        let map = MemoryMap::new(MAX_RAM_BYTES);
        let overlap = |start: u64, len: u64| {
            map.ram
                .iter()
                .any(|ram| start < ram.end && ram.start < start + len)
        };
        for window in WINDOWS {
            assert!(!overlap(window.phys, window.len_bytes));
            assert!(window.kind == WindowKind::Io || !overlap(window.bus, window.len_bytes));
            assert_ne!(window.phys, window.bus);
        }
    }

    #[test]
    fn registers_of_units_lie_apart_and_where_nothing_else_is() {
        let mut taken = MemoryMap::new(MAX_RAM_BYTES).ram;
        taken.extend([ECAM, MESSAGE_WINDOW]);
        taken.extend(WINDOWS.map(|window| window.phys..window.phys + window.len_bytes));
        for registers in VTD_REGISTERS.into_iter().chain([
            VIRTIO_REGISTERS,
            AMD_REGISTERS,
            RISCV_REGISTERS,
            SMMU_REGISTERS,
            crate::device::fifo::FIFO_REGISTERS,
        ]) {
            assert!(
                taken
                    .iter()
                    .all(|range| range.end <= registers.start || registers.end <= range.start),
                "{registers:x?}"
            );
            taken.push(registers);
        }
    }
}
