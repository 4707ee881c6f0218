//! The process's `safe-mmio` backend.

use safe_mmio::{MmioOps, set_mmio_ops};

use super::arena::{Target, target};
use crate::hardware::Width;

/// Register accesses of this process.
struct Routed;

set_mmio_ops!(Routed);

macro_rules! routed {
    ($word:ty, $width:expr, $read:ident, $write:ident) => {
        unsafe fn $read(src: *const $word) -> $word {
            match target(src.addr() as u64, $width.bytes()) {
                // SAFETY: not an address of ours: the caller vouches for it as for any register.
                Target::Real => unsafe { src.read_volatile() },
                Target::Register(hardware, phys) => hardware.read(phys, $width) as $word,
                Target::Nothing => {
                    log::error!(
                        "read of {} bytes outside any register window at {src:p}",
                        $width.bytes()
                    );
                    <$word>::MAX
                }
            }
        }

        unsafe fn $write(dst: *mut $word, value: $word) {
            match target(dst.addr() as u64, $width.bytes()) {
                // SAFETY: not an address of ours: the caller vouches for it as for any register.
                Target::Real => unsafe { dst.write_volatile(value) },
                Target::Register(hardware, phys) => hardware.write(phys, $width, u64::from(value)),
                Target::Nothing => {
                    log::error!(
                        "write of {} bytes outside any register window at {dst:p}",
                        $width.bytes()
                    );
                }
            }
        }
    };
}

// Each method performs one access of its width: a volatile one, or one call of the hardware that
// answers at that address.
impl MmioOps for Routed {
    routed!(u8, Width::Byte, read_u8, write_u8);
    routed!(u16, Width::Word, read_u16, write_u16);
    routed!(u32, Width::Dword, read_u32, write_u32);
    routed!(u64, Width::Qword, read_u64, write_u64);
}
