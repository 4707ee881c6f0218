//! Base address registers: what a function asks for, found by sizing, and what it got.

use alloc::vec::Vec;
use core::fmt;

use hw::pci::bar::{IO_ADDRESS_MASK, IO_SPACE, MEMORY_ADDRESS_MASK, MemoryBar, MemoryBarType};
use hw::pci::config::{BARS_TYPE0, bar};

use super::Problem;
use super::config::FunctionConfig;
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::platform::Platform;

/// What a BAR asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarKind {
    /// IO ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory below 4 GiB whose reads have no side effects.
    PrefetchableMemory32,
    /// Memory with a 64-bit BAR.
    Memory64,
    /// Memory with a 64-bit BAR whose reads have no side effects.
    PrefetchableMemory64,
}

impl BarKind {
    /// Whether it is IO ports, which have a bus address space and a decode switch of their own.
    pub const fn is_io(self) -> bool {
        matches!(self, Self::Io)
    }

    /// Whether it takes two registers.
    pub const fn is_64_bit(self) -> bool {
        matches!(self, Self::Memory64 | Self::PrefetchableMemory64)
    }

    const fn from_memory(word: MemoryBar) -> Option<Self> {
        match (word.kind(), word.prefetchable()) {
            (MemoryBarType::Bits32, false) => Some(Self::Memory32),
            (MemoryBarType::Bits32, true) => Some(Self::PrefetchableMemory32),
            (MemoryBarType::Bits64, false) => Some(Self::Memory64),
            (MemoryBarType::Bits64, true) => Some(Self::PrefetchableMemory64),
            (MemoryBarType::Below1M | MemoryBarType::Reserved, _) => None,
        }
    }
}

impl fmt::Display for BarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "I/O ports",
            Self::Memory32 => "32-bit memory",
            Self::PrefetchableMemory32 => "32-bit prefetchable memory",
            Self::Memory64 => "64-bit memory",
            Self::PrefetchableMemory64 => "64-bit prefetchable memory",
        })
    }
}

/// One base address register: registers of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which one: 0 to 5. A 64-bit BAR also takes the next.
    pub index: u8,
    /// What it asks for.
    pub kind: BarKind,
    /// Where its registers answer: A. Starts at 0 while `phys` is `None`.
    pub bus: BusRange,
    /// Where the CPU reaches them: B. `None` if no address could be given.
    pub phys: Option<PhysRange>,
}

/// What sizing found in a function's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct SizedBars {
    /// By index of the BAR.
    pub(crate) bars: [Option<Bar>; BARS_TYPE0],
    /// A memory BAR that exists and must not be decoded, by index.
    pub(crate) bad_memory: Option<u8>,
    /// The same for IO.
    pub(crate) bad_io: Option<u8>,
}

impl SizedBars {
    /// Sizes the first `count` registers: all ones are written, what reads back is the size, and the
    /// value before is restored. The caller switched decoding off, lest the function answers somewhere else
    /// meanwhile (7.5.1.2.1).
    pub(crate) fn read<P: Platform>(
        config: &FunctionConfig<P>,
        count: usize,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut sized = Self::default();
        let mut index = 0;
        while index < count.min(BARS_TYPE0) {
            index += sized.read_one(config, index, count, problems);
        }
        sized
    }

    /// Sizes one BAR; returns how many registers it takes.
    fn read_one<P: Platform>(
        &mut self,
        config: &FunctionConfig<P>,
        index: usize,
        count: usize,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let (low, low_mask) = probe(config, index);
        let is_64_bit = low & IO_SPACE == 0
            && MemoryBar::from_bits(low).kind() == MemoryBarType::Bits64
            && low_mask != 0;
        let pair = is_64_bit && index + 1 < count;
        let high_mask = if pair { probe(config, index + 1).1 } else { 0 };
        let mask = u64::from(high_mask) << 32 | u64::from(low_mask);
        let found = match (low_mask, is_64_bit == pair) {
            // Writable nowhere: not implemented. (All ones: nothing answers any more.)
            (0, _) => return 1,
            (u32::MAX, _) | (_, false) => None,
            _ => measure(low, mask),
        };
        let at = index as u8;
        match found.and_then(|(kind, len)| Some((kind, BusRange::new(BusAddr::new(0), len).ok()?)))
        {
            Some((kind, bus)) => {
                self.bars[index] = Some(Bar {
                    index: at,
                    kind,
                    bus,
                    phys: None,
                })
            }
            None => {
                problems.push(Problem::BarMask {
                    address: config.address(),
                    index: at,
                    mask,
                });
                // Where nothing answers any more, nobody knows which space it was.
                let gone = low_mask == u32::MAX;
                if gone || low & IO_SPACE != 0 {
                    self.bad_io = Some(at);
                }
                if gone || low & IO_SPACE == 0 {
                    self.bad_memory = Some(at);
                }
            }
        }
        1 + usize::from(pair)
    }
}

/// The register's value and what it reads after all ones; the value is back afterwards.
fn probe<P: Platform>(config: &FunctionConfig<P>, index: usize) -> (u32, u32) {
    let before: u32 = config.read(bar(index));
    config.write(bar(index), u32::MAX);
    let mask = config.read(bar(index));
    config.write(bar(index), before);
    (before, mask)
}

/// Kind and length from the type bits and the mask, if they make sense.
fn measure(low: u32, mask: u64) -> Option<(BarKind, u64)> {
    let (kind, writable, missing) = match low & IO_SPACE {
        0 => {
            let kind = BarKind::from_memory(MemoryBar::from_bits(low))?;
            let writable = mask & !u64::from(!MEMORY_ADDRESS_MASK);
            (
                kind,
                writable,
                if kind.is_64_bit() {
                    0
                } else {
                    0xffff_ffff << 32
                },
            )
        }
        _ => {
            let writable = mask & u64::from(IO_ADDRESS_MASK);
            // The upper half may be hardwired to 0: ports have 16-bit addresses on many buses.
            let upper = if writable >> 16 == 0 { 0xffff_0000 } else { 0 };
            (BarKind::Io, writable, upper | 0xffff_ffff << 32)
        }
    };
    let len_bytes = writable.checked_add(missing)?.wrapping_neg();
    (writable != 0 && len_bytes.is_power_of_two()).then_some((kind, len_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_every_kind_give_their_length() {
        for (low, mask, expect) in [
            (0x0, 0xffff_c000, (BarKind::Memory32, 0x4000)),
            (0x8, 0xfff0_0008, (BarKind::PrefetchableMemory32, 0x10_0000)),
            (0x4, 0xffff_ffff_ffff_c004, (BarKind::Memory64, 0x4000)),
            (
                0xc,
                0xffff_fffc_0000_000c,
                (BarKind::PrefetchableMemory64, 0x4_0000_0000),
            ),
            (
                0xc,
                0x8000_0000_0000_000c,
                (BarKind::PrefetchableMemory64, 1 << 63),
            ),
            (0x1, 0xffff_ffe1, (BarKind::Io, 0x20)),
            (0x1, 0x0000_ffe1, (BarKind::Io, 0x20)),
            (0x1, 0x0000_ff01, (BarKind::Io, 0x100)),
        ] {
            assert_eq!(measure(low, mask), Some(expect), "{low:#x} {mask:#x}");
        }
    }

    #[test]
    fn masks_that_are_no_power_of_two_are_no_bar() {
        for (low, mask) in [
            (0x0, 0xffff_5000),
            (0x4, 0x0000_00ff_ffff_c004),
            (0x1, 0xf0e1),
            (0x2, 0xffff_f002),
            (0x8, 0x8),
        ] {
            assert_eq!(measure(low, mask), None, "{low:#x} {mask:#x}");
        }
    }
}
