//! A driver for QEMU's IOMMU test device: it writes a pattern by DMA, looks past the IOMMU whether that arrived where it
//! should, and says so.
//!
//! The device answers before the register access that starts it ends, so nothing is waited for.
//!
//! ```
//! # use board as _;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::FromDevice;
//! use dmamap::platform::Platform;
//! use drivers::iommu_testdev::{IommuTestdev, Verdict};
//!
//! /// Whether the device reaches a buffer while it is mapped, and only then.
//! fn is_confined<P: Platform>(
//!     testdev: &mut IommuTestdev<P>,
//!     buffer: DmaBuffer<P>,
//! ) -> Result<bool, Box<dyn std::error::Error>> {
//!     let mapping =
//!         testdev.device().map_single(buffer, FromDevice).map_err(|rejected| rejected.error)?;
//!     let (bus, phys) = (mapping.bus_addr(), mapping.phys().start());
//!     let mapped = testdev.write(&mapping, 0, 64)?;
//!     let _buffer = mapping.unmap()?;
//!     // SAFETY: the device was attached by the safe `attach`, so it is confined.
//!     let unmapped = unsafe { testdev.write_at(bus, phys, 64)? };
//!     Ok((mapped, unmapped) == (Verdict::Arrived, Verdict::Refused))
//! }
//! ```

mod error;

use dmamap::addr::{BusAddr, DmaMask, PhysAddr};
use dmamap::buffer::DmaMemory;
use dmamap::device::Device;
use dmamap::map::{DeviceWrites, Mapping};
use dmamap::mmio::{Mmio, Register};
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::iommu_testdev::{
    ATTRIBUTES, Attributes, BUS_HIGH, BUS_LOW, DOORBELL, Doorbell, LENGTH, Outcome, PHYS_HIGH,
    PHYS_LOW, RESULT, TRIGGER,
};

pub use error::{IommuTestdevError, IommuTestdevStartError, IommuTestdevStartFailed};

/// The name under which the driver holds the device's registers in the resource tree.
const DRIVER_NAME: &str = "iommu-testdev";

/// Address lines of the device.
const ADDRESS_BITS: u32 = 64;

/// Most bytes of one write: the device keeps two copies of them.
pub const MAX_WRITE_BYTES: u64 = 1 << 20;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived in the memory where it was expected.
    Arrived,
    /// It was refused: nothing was written, or only what came before the byte that was refused.
    Refused,
    /// It was accepted, and is not in the memory where it was expected: it went elsewhere, or nowhere.
    Elsewhere,
}

/// An IOMMU test device.
///
/// Dropping it detaches the device; [`stop`](Self::stop) gives the device back.
pub struct IommuTestdev<P: Platform> {
    registers: Registers<P>,
    device: Device<P>,
}

struct Registers<P: Platform> {
    window: Mmio<P>,
    trigger: Register<P, u32>,
    bus: [Register<P, u32>; 2],
    phys: [Register<P, u32>; 2],
    length: Register<P, u32>,
    result: Register<P, u32>,
    doorbell: Register<P, u32>,
    attributes: Register<P, u32>,
}

impl<P: Platform> IommuTestdev<P> {
    /// Takes the device of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`IommuTestdevStartFailed`] with the device.
    pub fn start(
        device: Device<P>,
        function: &Function<P>,
        tree: &mut ResourceTree,
    ) -> Result<Self, IommuTestdevStartFailed<P>> {
        match bring_up(&device, function, tree) {
            Ok(registers) => Ok(Self { registers, device }),
            Err(error) => Err(IommuTestdevStartFailed { error, device }),
        }
    }

    /// The device, to map memory for it.
    pub fn device(&self) -> &Device<P> {
        &self.device
    }

    /// The device's registers (B and C), for showing.
    pub fn registers(&self) -> &Mmio<P> {
        &self.registers.window
    }

    /// Has the device write its pattern to `len_bytes` bytes from byte `offset` of mapped memory on, and look for it in
    /// that memory.
    ///
    /// Memory that stands in for the buffer (a bounced mapping) is not looked at: that write is [`Verdict::Elsewhere`].
    ///
    /// # Errors
    /// [`IommuTestdevError`]. That a write was refused is not an error, but an answer.
    pub fn write<B: DmaMemory, D: DeviceWrites>(
        &mut self,
        mapping: &Mapping<P, B, D>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<Verdict, IommuTestdevError> {
        let (device, owner) = (self.device.requester(), mapping.device());
        if device != owner {
            return Err(IommuTestdevError::ForeignMapping { device, owner });
        }
        let range = mapping.range();
        let bus = range.slice(offset, len_bytes);
        let phys = mapping.phys().slice(offset, len_bytes);
        let (Some(bus), Some(phys)) = (bus, phys) else {
            return Err(IommuTestdevError::OutOfMapping {
                offset,
                len_bytes,
                mapping: range,
            });
        };
        // SAFETY: the device writes bytes of a live mapping that was made for it and lets it write.
        unsafe { self.write_at(bus.start(), phys.start(), len_bytes) }
    }

    /// Has the device write its pattern at any bus address, mapped for it or not, and look for it in the memory at
    /// `expected`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Safety
    /// The device is confined by an IOMMU (attached by the safe
    /// [`attach`](dmamap::system::DmaSystem::attach)), or what answers at `bus` may be written by it.
    pub unsafe fn write_at(
        &mut self,
        bus: BusAddr,
        expected: PhysAddr,
        len_bytes: u64,
    ) -> Result<Verdict, IommuTestdevError> {
        if !(1..=MAX_WRITE_BYTES).contains(&len_bytes) {
            return Err(IommuTestdevError::Length { len_bytes });
        }
        let result =
            self.registers
                .write_pattern(bus.as_u64(), expected.as_u64(), len_bytes as u32);
        match Outcome::from_code(result) {
            Some(Outcome::Passed) => Ok(Verdict::Arrived),
            Some(Outcome::WriteFailed) => Ok(Verdict::Refused),
            Some(Outcome::Mismatch) => Ok(Verdict::Elsewhere),
            _ => Err(IommuTestdevError::Answer { result }),
        }
    }

    /// Gives the device back, to be detached. The claim on the registers is released.
    pub fn stop(self) -> Device<P> {
        let Self { registers, device } = self;
        drop(registers);
        device
    }
}

fn bring_up<P: Platform>(
    device: &Device<P>,
    function: &Function<P>,
    tree: &mut ResourceTree,
) -> Result<Registers<P>, IommuTestdevStartError> {
    let (requester, address) = (device.requester(), function.address());
    if (requester.segment, requester.id) != (address.segment, address.requester()) {
        return Err(IommuTestdevStartError::WrongFunction {
            device: requester,
            function: address,
        });
    }
    let bits = function
        .address_lines()
        .unwrap_or(ADDRESS_BITS)
        .clamp(1, ADDRESS_BITS);
    if let Ok(mask) = DmaMask::from_bits(bits) {
        device.set_mask_and_coherent(mask)?;
    }
    let window = function.claim_bar(0, DRIVER_NAME, tree)?;
    function.enable_memory()?;
    let registers = Registers {
        trigger: window.register(TRIGGER)?,
        bus: [window.register(BUS_LOW)?, window.register(BUS_HIGH)?],
        phys: [window.register(PHYS_LOW)?, window.register(PHYS_HIGH)?],
        length: window.register(LENGTH)?,
        result: window.register(RESULT)?,
        doorbell: window.register(DOORBELL)?,
        attributes: window.register(ATTRIBUTES)?,
        window,
    };
    // Whatever was armed is given up; the device that is meant then says that it is idle.
    registers.doorbell.write(Doorbell::new().into_bits());
    match registers.result.read() {
        result if result == Outcome::Idle.code() && registers.length.read() != u32::MAX => {
            Ok(registers)
        }
        result => Err(IommuTestdevStartError::NotIdle { result }),
    }
}

impl<P: Platform> Registers<P> {
    fn write_pattern(&self, bus: u64, phys: u64, len_bytes: u32) -> u32 {
        for (registers, address) in [(&self.bus, bus), (&self.phys, phys)] {
            let [low, high] = registers;
            low.write_relaxed(address as u32);
            high.write_relaxed((address >> 32) as u32);
        }
        self.length.write_relaxed(len_bytes);
        self.attributes.write_relaxed(Attributes::new().into_bits());
        self.doorbell
            .write(Doorbell::new().with_arm(true).into_bits());
        self.trigger.read();
        self.result.read()
    }
}
