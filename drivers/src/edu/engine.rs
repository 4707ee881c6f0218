//! The device's DMA engine alone, for whoever has handed the device's domain over.
//!
//! ```
//! # use board as _;
//! use dmamap::addr::{BusAddr, PhysRange};
//! use dmamap::map::{Permission, UnmanagedDomain};
//! use dmamap::platform::Platform;
//! use drivers::edu::Engine;
//!
//! /// Has the device write where the caller of this chose to show it memory.
//! ///
//! /// # Safety
//! /// `memory` is nobody else's as long as this runs.
//! unsafe fn write<P: Platform>(
//!     engine: &mut Engine<P>,
//!     domain: &UnmanagedDomain<P>,
//!     memory: PhysRange,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let bus = BusAddr::new(0x5_0000);
//!     // SAFETY: the caller vouches for the memory, which is unmapped below.
//!     unsafe { domain.map(bus, memory, Permission::ReadWrite)? };
//!     // SAFETY: the device is confined to its domain, where this memory is.
//!     let written = unsafe { engine.store_at(bus, 64) };
//!     domain.unmap(dmamap::addr::BusRange::new(bus, memory.len_bytes())?)?;
//!     Ok(written?)
//! }
//! ```

use dmamap::addr::BusAddr;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::edu::{BUFFER, DmaCommand};

use super::{EduError, EduStartError, Registers, claim};

/// The DMA engine of an educational device whose [`Device`](dmamap::device::Device) somebody else has, or has turned into an
/// [`UnmanagedDomain`](dmamap::map::UnmanagedDomain). It sets no mask: bus addresses of more than 28 bits are cut off by the
/// device. Dropping it releases the registers.
pub struct Engine<P: Platform> {
    registers: Registers<P>,
}

impl<P: Platform> Engine<P> {
    /// Takes the registers of `function`.
    ///
    /// # Errors
    /// [`EduStartError`].
    pub fn claim(
        platform: P,
        function: &Function<P>,
        tree: &mut ResourceTree,
    ) -> Result<Self, EduStartError> {
        let (registers, _) = claim(platform, function, tree)?;
        Ok(Self { registers })
    }

    /// Has the device read from a bus address into its buffer.
    ///
    /// # Errors
    /// As [`Edu::fetch_at`](super::Edu::fetch_at).
    ///
    /// # Safety
    /// As for [`Edu::fetch_at`](super::Edu::fetch_at).
    pub unsafe fn fetch_at(&mut self, bus: BusAddr, len_bytes: u64) -> Result<(), EduError> {
        let from_memory = DmaCommand::new();
        self.registers
            .transfer(bus.as_u64(), BUFFER, len_bytes, from_memory)
    }

    /// Has the device write its buffer to a bus address.
    ///
    /// # Errors
    /// As [`Edu::fetch_at`](super::Edu::fetch_at).
    ///
    /// # Safety
    /// As for [`Edu::store_at`](super::Edu::store_at).
    pub unsafe fn store_at(&mut self, bus: BusAddr, len_bytes: u64) -> Result<(), EduError> {
        let to_memory = DmaCommand::new().with_to_memory(true);
        self.registers
            .transfer(BUFFER, bus.as_u64(), len_bytes, to_memory)
    }
}
