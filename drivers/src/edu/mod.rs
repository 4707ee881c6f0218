//! A driver for QEMU's educational device: a DMA engine with 28 address lines and a buffer of its own.
//!
//! It computes factorials, and copies up to 4 KiB between its buffer and memory. Everything is polled, and every
//! wait has an end.
//!
//! ```
//! # use board as _;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::{FromDevice, ToDevice};
//! use dmamap::platform::Platform;
//! use drivers::edu::Edu;
//!
//! /// Copies a page through the device's buffer.
//! fn copy<P: Platform>(
//!     edu: &mut Edu<P>,
//!     from: DmaBuffer<P>,
//!     to: DmaBuffer<P>,
//! ) -> Result<DmaBuffer<P>, Box<dyn std::error::Error>> {
//!     let from = edu.device().map_single(from, ToDevice).map_err(|rejected| rejected.error)?;
//!     edu.fetch(&from, 0, 4096)?;
//!     let to = edu.device().map_single(to, FromDevice).map_err(|rejected| rejected.error)?;
//!     edu.store(&to, 0, 4096)?;
//!     Ok(to.unmap()?)
//! }
//! ```

mod engine;
mod error;

use core::time::Duration;

use dmamap::addr::{BusAddr, DmaMask};
use dmamap::buffer::DmaMemory;
use dmamap::device::Device;
use dmamap::map::{DeviceReads, DeviceWrites, Direction, Mapping};
use dmamap::mmio::{Mmio, Register};
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::edu::{
    BUFFER, BUFFER_BYTES, DMA_ADDRESS_BITS, DMA_COMMAND, DMA_COUNT, DMA_DESTINATION, DMA_SOURCE,
    DmaCommand, FACTORIAL, ID, Identification, LIVENESS, STATUS, Status,
};

use crate::wait::wait_until;

pub use engine::Engine;
pub use error::{EduError, EduStartError, EduStartFailed};

/// The name under which the driver holds the device's registers in the resource tree.
const DRIVER_NAME: &str = "edu";

/// How long the device may take for a transfer or a computation; QEMU's model takes 100 ms for the first.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of one transfer: the device's buffer.
pub const MAX_TRANSFER_BYTES: u64 = BUFFER_BYTES;

/// A running educational device.
///
/// Between calls no transfer runs. Dropping it detaches the device; [`stop`](Self::stop) gives the device back.
pub struct Edu<P: Platform> {
    registers: Registers<P>,
    identification: Identification,
    device: Device<P>,
}

struct Registers<P: Platform> {
    platform: P,
    function: Function<P>,
    window: Mmio<P>,
    liveness: Register<P, u32>,
    factorial: Register<P, u32>,
    status: Register<P, u32>,
    source: Register<P, u64>,
    destination: Register<P, u64>,
    count: Register<P, u64>,
    command: Register<P, u64>,
}

impl<P: Platform> Edu<P> {
    /// Takes the device of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`EduStartFailed`] with the device.
    pub fn start(
        device: Device<P>,
        function: &Function<P>,
        tree: &mut ResourceTree,
    ) -> Result<Self, EduStartFailed<P>> {
        match bring_up(&device, function, tree) {
            Ok((registers, identification)) => Ok(Self {
                registers,
                identification,
                device,
            }),
            Err(error) => Err(EduStartFailed { error, device }),
        }
    }

    /// The device's version: major and minor.
    pub fn version(&self) -> (u8, u8) {
        (self.identification.major(), self.identification.minor())
    }

    /// The device, to map memory for it.
    pub fn device(&self) -> &Device<P> {
        &self.device
    }

    /// The device's registers (B and C), for showing.
    pub fn registers(&self) -> &Mmio<P> {
        &self.registers.window
    }

    /// Writes `value` to the liveness register, which inverts what it is given.
    ///
    /// # Errors
    /// [`EduError::NotAlive`] if it answers anything else, [`EduError::Removed`].
    pub fn check_liveness(&mut self, value: u32) -> Result<(), EduError> {
        // All ones are nobody's answer, so they are not asked for.
        let value = if value == 0 { 1 } else { value };
        self.registers.liveness.write(value);
        match self.registers.liveness.read() {
            u32::MAX => Err(EduError::Removed),
            answer if answer == !value => Ok(()),
            answer => Err(EduError::NotAlive {
                wrote: value,
                read: answer,
            }),
        }
    }

    /// Has the device compute the factorial of `number`, modulo 2³².
    ///
    /// # Errors
    /// [`EduError::ComputationTimedOut`], [`EduError::Removed`].
    pub fn factorial(&mut self, number: u32) -> Result<u32, EduError> {
        let registers = &self.registers;
        registers.factorial.write(number);
        let result = wait_until(&registers.platform, TIMEOUT, || {
            let status = registers.status.read();
            if status == u32::MAX {
                return Some(Err(EduError::Removed));
            }
            let done = !Status::from_bits(status).computing();
            done.then(|| Ok(registers.factorial.read()))
        });
        result.unwrap_or(Err(EduError::ComputationTimedOut))
    }

    /// Copies `len_bytes` bytes from byte `offset` of mapped memory to the start of the device's buffer.
    ///
    /// # Errors
    /// [`EduError::ForeignMapping`], [`EduError::OutOfMapping`], [`EduError::TooLong`],
    /// [`EduError::TransferTimedOut`], [`EduError::Removed`]. Whether the bytes were
    /// really read the device does not tell: a refused read is in the system's fault report.
    pub fn fetch<B: DmaMemory, D: DeviceReads>(
        &mut self,
        mapping: &Mapping<P, B, D>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<(), EduError> {
        let bus = self.within(mapping, offset, len_bytes)?;
        // SAFETY: the device reads bytes of a live mapping that was made for it and lets it read.
        unsafe { self.fetch_at(bus, len_bytes) }
    }

    /// Copies `len_bytes` bytes from the start of the device's buffer to byte `offset` of mapped memory.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn store<B: DmaMemory, D: DeviceWrites>(
        &mut self,
        mapping: &Mapping<P, B, D>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<(), EduError> {
        let bus = self.within(mapping, offset, len_bytes)?;
        // SAFETY: the device writes bytes of a live mapping that was made for it and lets it write.
        unsafe { self.store_at(bus, len_bytes) }
    }

    /// Has the device read from any bus address into its buffer, mapped for it or not.
    ///
    /// # Errors
    /// [`EduError::TooLong`], [`EduError::TransferTimedOut`].
    ///
    /// # Safety
    /// The device is confined by an IOMMU (attached by the safe
    /// [`attach`](dmamap::system::DmaSystem::attach)), or what answers at `bus` may be read by it.
    pub unsafe fn fetch_at(&mut self, bus: BusAddr, len_bytes: u64) -> Result<(), EduError> {
        self.registers
            .transfer(bus.as_u64(), BUFFER, len_bytes, DmaCommand::new())
    }

    /// Has the device write its buffer to any bus address, mapped for it or not.
    ///
    /// # Errors
    /// As [`fetch_at`](Self::fetch_at).
    ///
    /// # Safety
    /// The device is confined by an IOMMU (attached by the safe
    /// [`attach`](dmamap::system::DmaSystem::attach)), or what answers at `bus` may be written by it.
    pub unsafe fn store_at(&mut self, bus: BusAddr, len_bytes: u64) -> Result<(), EduError> {
        let to_memory = DmaCommand::new().with_to_memory(true);
        self.registers
            .transfer(BUFFER, bus.as_u64(), len_bytes, to_memory)
    }

    /// The bus address of bytes that a mapping lends this device.
    fn within<B: DmaMemory, D: Direction>(
        &self,
        mapping: &Mapping<P, B, D>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<BusAddr, EduError> {
        let (device, owner) = (self.device.requester(), mapping.device());
        if device != owner {
            return Err(EduError::ForeignMapping { device, owner });
        }
        let mapping = mapping.range();
        let part = mapping.slice(offset, len_bytes);
        part.map(|part| part.start()).ok_or(EduError::OutOfMapping {
            offset,
            len_bytes,
            mapping,
        })
    }

    /// Ends the device's work and gives it back, to be detached. The claim on the registers is released.
    pub fn stop(self) -> Device<P> {
        let Self {
            registers, device, ..
        } = self;
        drop(registers);
        device
    }
}

fn bring_up<P: Platform>(
    device: &Device<P>,
    function: &Function<P>,
    tree: &mut ResourceTree,
) -> Result<(Registers<P>, Identification), EduStartError> {
    let (requester, address) = (device.requester(), function.address());
    if (requester.segment, requester.id) != (address.segment, address.requester()) {
        return Err(EduStartError::WrongFunction {
            device: requester,
            function: address,
        });
    }
    let bits = function.address_lines().unwrap_or(DMA_ADDRESS_BITS);
    let mask = DmaMask::from_bits(bits).map_err(|_| EduStartError::AddressLines { bits })?;
    device.set_mask_and_coherent(mask)?;
    claim(device.platform(), function, tree)
}

/// Takes the registers of `function`, whose engine is idle then.
fn claim<P: Platform>(
    platform: P,
    function: &Function<P>,
    tree: &mut ResourceTree,
) -> Result<(Registers<P>, Identification), EduStartError> {
    let window = function.claim_bar(0, DRIVER_NAME, tree)?;
    function.enable_memory()?;
    let identification = window.register::<u32>(ID)?.read();
    let registers = Registers {
        platform,
        function: function.clone(),
        liveness: window.register(LIVENESS)?,
        factorial: window.register(FACTORIAL)?,
        status: window.register(STATUS)?,
        source: window.register(DMA_SOURCE)?,
        destination: window.register(DMA_DESTINATION)?,
        count: window.register(DMA_COUNT)?,
        command: window.register(DMA_COMMAND)?,
        window,
    };
    let identification = Identification::from_bits(identification);
    if identification.magic() != Identification::MAGIC {
        return Err(EduStartError::NotEdu {
            identification: identification.into_bits(),
        });
    }
    registers.wait_for_engine()?;
    Ok((registers, identification))
}

impl<P: Platform> Registers<P> {
    fn transfer(
        &self,
        source: u64,
        destination: u64,
        len_bytes: u64,
        command: DmaCommand,
    ) -> Result<(), EduError> {
        if len_bytes > MAX_TRANSFER_BYTES {
            return Err(EduError::TooLong { len_bytes });
        }
        if len_bytes == 0 {
            return Ok(());
        }
        self.wait_for_engine()?;
        self.source.write_relaxed(source);
        self.destination.write_relaxed(destination);
        self.count.write_relaxed(len_bytes);
        // Ordered: the data to be fetched is in memory before the engine starts.
        self.command.write(command.with_run(true).into_bits());
        self.wait_for_engine()
    }

    /// Waits until no transfer runs. An engine that does not stop loses its leave to reach memory, so that
    /// memory can be taken back from it. One that is gone is not waited for.
    fn wait_for_engine(&self) -> Result<(), EduError> {
        let idle = wait_until(&self.platform, TIMEOUT, || match self.command.read() {
            u64::MAX => Some(Err(EduError::Removed)),
            bits => (!DmaCommand::from_bits(bits).run()).then_some(Ok(())),
        });
        idle.unwrap_or_else(|| {
            self.function.disable_bus_master();
            Err(EduError::TransferTimedOut)
        })
    }
}
