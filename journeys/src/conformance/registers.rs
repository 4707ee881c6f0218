//! Register windows: two onto one register, one of them of that register alone.

use core::mem::size_of;

use dmamap::addr::PhysRange;
use dmamap::mmio::{Mmio, MmioError, Register};
use dmamap::platform::{MemoryAttribute, Platform};
use dmamap::resource::ResourceTree;

use super::Violation;

/// Bytes of a register.
const REGISTER_BYTES: u64 = size_of::<u32>() as u64;

/// Patterns written to the bits that keep them.
const PATTERNS: [u32; 4] = [0xffff_ffff, 0x5555_5555, 0xaaaa_aaaa, 0];

/// A register of 32 bits, some of which keep what is written to them and do nothing else. Every PCI function has one: the
/// cache line size, the low byte at offset 0x0c of its configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchRegister {
    window: PhysRange,
    offset: u64,
    bits: u32,
}

impl ScratchRegister {
    /// The register `offset` bytes into `window`, a range of registers as a driver would map it; `bits` keep what is written.
    ///
    /// # Safety
    /// `window` is registers and not RAM, and nobody else's meanwhile. Reading this register, and writing back what was read
    /// with other `bits`, has no effect.
    pub const unsafe fn new(window: PhysRange, offset: u64, bits: u32) -> Self {
        Self {
            window,
            offset,
            bits,
        }
    }
}

/// A window of its own onto `range`.
fn window<P: Platform>(platform: P, range: PhysRange) -> Result<Mmio<P>, Violation> {
    // Two windows are onto one register: each has a tree of its own, or their claims would be in each other's way.
    let mut tree = ResourceTree::of(platform.machine());
    let unclaimed = Violation::NoRegister { range };
    // SAFETY: whoever made the `ScratchRegister` vouches for it.
    unsafe { tree.insert_registers("conformance", range) }.map_err(|_| unclaimed)?;
    let claim = tree.request("conformance", range).map_err(|_| unclaimed)?;
    Mmio::ioremap(platform, claim, MemoryAttribute::Uncached).map_err(Violation::Registers)
}

/// Returns how many values were written through one window and read through another.
pub(super) fn check<P: Platform>(
    platform: P,
    scratch: Option<ScratchRegister>,
) -> Result<usize, Violation> {
    let Some(ScratchRegister {
        window: range,
        offset,
        bits,
    }) = scratch
    else {
        return Ok(0);
    };
    let alone = range
        .slice(offset, REGISTER_BYTES)
        .ok_or(Violation::NoRegister { range })?;
    let register = |window: &Mmio<P>, offset| -> Result<Register<P, u32>, MmioError> {
        window.register(offset)
    };
    let whole = window(platform, range)?;
    let (first, second) = (
        register(&whole, offset).map_err(Violation::Registers)?,
        // As a small BAR is: in the middle of a page.
        register(&window(platform, alone)?, 0).map_err(Violation::Registers)?,
    );
    let before = first.read();
    let both = both_ways(&first, &second, before, bits, alone);
    second.write(before);
    drop((first, whole));
    // The other window stays, and a new one leads to the same place.
    let again = register(&window(platform, range)?, offset).map_err(Violation::Registers)?;
    let outcome = both.and_then(|()| both_ways(&second, &again, before, bits, alone));
    again.write(before);
    outcome.map(|()| 4 * PATTERNS.len())
}

fn both_ways<P: Platform>(
    one: &Register<P, u32>,
    other: &Register<P, u32>,
    before: u32,
    bits: u32,
    range: PhysRange,
) -> Result<(), Violation> {
    for (writer, reader) in [(one, other), (other, one)] {
        for pattern in PATTERNS {
            let wrote = (before & !bits) | (pattern & bits);
            writer.write(wrote);
            let read = reader.read();
            if (read ^ wrote) & bits != 0 {
                return Err(Violation::RegisterElsewhere { range, wrote, read });
            }
        }
    }
    Ok(())
}
