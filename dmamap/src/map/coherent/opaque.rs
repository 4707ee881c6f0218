//! Memory for a device alone: no CPU reaches it (`DMA_ATTR_NO_KERNEL_MAPPING`).
//!
//! Firmware contexts, scratch buffers, host memory lent to a disk: what the driver only ever tells the device the address
//! of. It is zeroed when allocated; after that nothing here reads or writes it.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::map::CoherentOptions;
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! let scratch = device.alloc_opaque(1 << 20, CoherentOptions::NONE)?;
//! // … the device is told `scratch.range()`, works, and is told that it is gone …
//! scratch.free()?;
//! # Ok(())
//! # }
//! ```

use core::fmt;

use super::memory::{CpuReach, Memory};
use super::options::CoherentOptions;
use super::{CoherentError, reported};
use crate::addr::{BusAddr, BusRange};
use crate::device::Device;
use crate::map::error::Quarantined;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Allocates at least `len_bytes` zeroed bytes that the device reads and writes and the CPU does not (`dma_alloc_attrs`
    /// with `DMA_ATTR_NO_KERNEL_MAPPING`), aligned on the bus as [`alloc_coherent`](Self::alloc_coherent) does.
    ///
    /// # Errors
    /// [`CoherentError`].
    pub fn alloc_opaque(
        &self,
        len_bytes: u64,
        options: CoherentOptions,
    ) -> Result<Opaque<P>, CoherentError> {
        let memory = Memory::obtain(self, len_bytes, options, CpuReach::None);
        let memory = reported(self, len_bytes, options, memory)?;
        Ok(Opaque {
            memory: Some(memory),
            len_bytes,
        })
    }
}

/// Memory that only the device reaches. Dropping it takes it back from the device.
///
/// ```compile_fail
/// # use board as _;
/// # fn example<P: dmamap::platform::Platform>(scratch: dmamap::map::Opaque<P>) {
/// scratch.read_at::<u32>(0); // the CPU does not reach it
/// # }
/// ```
pub struct Opaque<P: Platform> {
    /// `None` only while `free` or `drop` runs.
    memory: Option<Memory<P>>,
    len_bytes: u64,
}

impl<P: Platform> Opaque<P> {
    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the memory: at least as many as were asked for.
    pub fn range(&self) -> BusRange {
        self.memory
            .as_ref()
            .expect("only `free` and `drop` take the memory")
            .bus()
    }

    /// Bytes asked for.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Gives the memory back (`dma_free_attrs`). Dropping it does the same.
    ///
    /// # Errors
    /// As [`Coherent::free`](super::Coherent::free).
    pub fn free(mut self) -> Result<(), Quarantined> {
        self.memory.take().map_or(Ok(()), Memory::free)
    }
}

impl<P: Platform> Drop for Opaque<P> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.memory.take().map(Memory::free) {
            log::error!("{error}");
        }
    }
}

impl<P: Platform> fmt::Debug for Opaque<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({:?})", self.range())
    }
}
