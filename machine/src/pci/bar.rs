//! Base address registers in configuration space: bits below the size do not exist, so sizing by all ones works.

use hw::pci::bar::{IO_ADDRESS_MASK, IoBar, MEMORY_ADDRESS_MASK, MemoryBar, MemoryBarType};
use hw::pci::config;

use super::Space;
use super::config_space::ConfigSpace;
use super::function::{BarDescription, BarKind};

/// Writes the register(s) of `bar` into a function's configuration space.
pub(crate) fn install(config: &mut ConfigSpace, bar: &BarDescription) {
    let offset = config::bar(bar.index);
    let mask = !(bar.len_bytes - 1);
    let memory = |kind, prefetchable| {
        MemoryBar::new()
            .with_kind(kind)
            .with_prefetchable(prefetchable)
            .into_bits()
    };
    let (bits, low_mask) = match bar.kind {
        BarKind::Io => (IoBar::new().into_bits(), mask as u32 & IO_ADDRESS_MASK),
        BarKind::Memory32 => (
            memory(MemoryBarType::Bits32, false),
            mask as u32 & MEMORY_ADDRESS_MASK,
        ),
        BarKind::Memory64 => (
            memory(MemoryBarType::Bits64, false),
            mask as u32 & MEMORY_ADDRESS_MASK,
        ),
        BarKind::PrefetchableMemory64 => (
            memory(MemoryBarType::Bits64, true),
            mask as u32 & MEMORY_ADDRESS_MASK,
        ),
    };
    config.set(offset, &bits.to_le_bytes());
    config.allow(offset, &low_mask.to_le_bytes());
    if is_64_bit(bar.kind) {
        config.allow(offset + 4, &((mask >> 32) as u32).to_le_bytes());
    }
}

/// The bus address (A) `bar` is programmed to.
pub(crate) fn base(config: &ConfigSpace, bar: &BarDescription) -> u64 {
    let offset = config::bar(bar.index);
    let low = config.dword(offset);
    match bar.kind {
        BarKind::Io => u64::from(low & IO_ADDRESS_MASK),
        BarKind::Memory32 => u64::from(low & MEMORY_ADDRESS_MASK),
        BarKind::Memory64 | BarKind::PrefetchableMemory64 => {
            u64::from(low & MEMORY_ADDRESS_MASK) | (u64::from(config.dword(offset + 4)) << 32)
        }
    }
}

/// The address space `kind` decodes.
pub(crate) fn space(kind: BarKind) -> Space {
    match kind {
        BarKind::Io => Space::Io,
        BarKind::Memory32 | BarKind::Memory64 | BarKind::PrefetchableMemory64 => Space::Memory,
    }
}

fn is_64_bit(kind: BarKind) -> bool {
    matches!(kind, BarKind::Memory64 | BarKind::PrefetchableMemory64)
}

#[cfg(test)]
mod tests {
    use board::hardware::Width;

    use super::*;

    fn sized(kind: BarKind, len_bytes: u64) -> (u64, u64) {
        let bar = BarDescription {
            index: 2,
            kind,
            len_bytes,
        };
        let mut space = ConfigSpace::conventional();
        install(&mut space, &bar);
        space.write(0x18, Width::Dword, u64::MAX);
        space.write(0x1c, Width::Dword, u64::MAX);
        (
            space.read(0x18, Width::Dword),
            space.read(0x1c, Width::Dword),
        )
    }

    #[test]
    fn all_ones_read_back_the_size_and_the_kind() {
        assert_eq!(sized(BarKind::Memory32, 0x1000), (0xffff_f000, 0));
        assert_eq!(sized(BarKind::Memory64, 0x4000), (0xffff_c004, 0xffff_ffff));
        assert_eq!(
            sized(BarKind::PrefetchableMemory64, 1 << 33),
            (0xc, 0xffff_fffe)
        );
        assert_eq!(sized(BarKind::Io, 32), (0xffff_ffe1, 0));
    }

    #[test]
    fn a_programmed_base_is_read_back_whole() {
        let bar = BarDescription {
            index: 0,
            kind: BarKind::PrefetchableMemory64,
            len_bytes: 1 << 20,
        };
        let mut space = ConfigSpace::conventional();
        install(&mut space, &bar);
        space.write(0x10, Width::Dword, 0x0030_0000);
        space.write(0x14, Width::Dword, 0x40);
        assert_eq!(base(&space, &bar), 0x40_0030_0000);
    }
}
