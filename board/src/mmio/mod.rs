//! Virtual addresses that stand for registers.
//!
//! One range of the process's address space, the *arena*, is reserved and never mapped. A
//! [`RegisterWindow`] is a run of it behind which some [`Hardware`] answers: an access through `safe-mmio` at
//! such an address becomes [`Hardware::read`] or [`Hardware::write`], and any address outside the arena is a
//! real volatile access. An ordinary load or store in the arena faults, as a program error should.
//!
//! ```
//! use board::mmio::RegisterWindow;
//! # use board::hardware::*;
//! # use std::sync::Arc;
//! # struct Registers(Arc<board::ram::Ram>);
//! # impl Hardware for Registers {
//! #     fn name(&self) -> &str { "example" }
//! #     fn ram(&self) -> &Arc<board::ram::Ram> { &self.0 }
//! #     fn rsdp(&self) -> Option<u64> { None }
//! #     fn host_bridges(&self) -> Vec<HostBridgeDescription> { vec![] }
//! #     fn reserved_ram(&self) -> Vec<std::ops::Range<u64>> { vec![] }
//! #     fn read(&self, phys: u64, width: Width) -> u64 { phys & width.ones() }
//! #     fn write(&self, _: u64, _: Width, _: u64) {}
//! #     fn message_window(&self) -> std::ops::Range<u64> { 0..0 }
//! #     fn connect_interrupts(&self, _: Arc<dyn InterruptSink>) {}
//! #     fn maintain_cache(&self, _: CacheOperation, _: u64, _: u64) {}
//! #     fn frames_freed(&self, _: u64, _: u64) {}
//! # }
//! # let hardware = Arc::new(Registers(board::ram::Ram::new(&[0..4096])?));
//! // Hardware whose registers hold their own addresses:
//! let window = RegisterWindow::new(hardware, 0xfed9_0000, 0x1000)?;
//! // SAFETY: the window is live, its hardware answers any access, and nobody else uses the register.
//! let register = unsafe {
//!     safe_mmio::UniqueMmioPointer::<safe_mmio::fields::ReadPure<u32>>::new(window.pointer().cast())
//! };
//! let value = register.read();
//! assert_eq!(value, 0xfed9_0000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod operations;

use std::ptr::NonNull;
use std::sync::Arc;

use crate::hardware::Hardware;
use crate::ram::RamError;

/// Why a register window could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The range is empty or passes the end of the address space.
    #[error("{len_bytes:#x} bytes from physical {phys:#x} are no range of registers")]
    Range {
        /// First physical address.
        phys: u64,
        /// Length asked for.
        len_bytes: u64,
    },
    /// The arena has no free run that long.
    #[error("no register address space left for {len_bytes:#x} bytes")]
    OutOfAddressSpace {
        /// Length asked for.
        len_bytes: u64,
    },
    /// The host would not reserve the arena.
    #[error("the host reserves no address space for registers: {0}")]
    Reserve(
        /// What the host said.
        String,
    ),
}

impl From<&RamError> for WindowError {
    fn from(error: &RamError) -> Self {
        Self::Reserve(error.to_string())
    }
}

/// A run of virtual addresses behind which the registers at some physical addresses answer.
///
/// Holding it keeps the route alive, and with it the hardware. When dropped, later accesses read all ones.
#[derive(Debug)]
pub struct RegisterWindow {
    pointer: NonNull<u8>,
    len_bytes: u64,
}

// SAFETY: the pointer is never dereferenced here; it is a key into the arena's table, which has its own lock.
unsafe impl Send for RegisterWindow {}
// SAFETY: as above.
unsafe impl Sync for RegisterWindow {}

impl RegisterWindow {
    /// Makes the `len_bytes` bytes of registers from physical `phys` reachable. The pointer lies in a page as
    /// `phys` does, so registers keep their alignment.
    ///
    /// # Errors
    /// [`WindowError`] for an impossible range or when the address space is used up.
    pub fn new(
        hardware: Arc<dyn Hardware>,
        phys: u64,
        len_bytes: u64,
    ) -> Result<Self, WindowError> {
        let pointer = arena::route(hardware, phys, len_bytes)?;
        Ok(Self { pointer, len_bytes })
    }

    /// Where the first register is, for `safe-mmio` pointers.
    pub fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    /// Length of the window.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

impl Drop for RegisterWindow {
    fn drop(&mut self) {
        arena::unroute(self.pointer);
    }
}
