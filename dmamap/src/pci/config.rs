//! Configuration space behind ECAM: 4 KiB of registers for each function.
//!
//! Single accesses need no lock; read-modify-write of a shared register does, and takes the one of its segment.

use alloc::sync::Arc;

use hw::pci::config::{COMMAND, Command, HEADER_BYTES};
use hw::pci::{ECAM_BUS_BYTES, ECAM_FUNCTION_BYTES, ecam_offset};

use super::{Guarded, PciAddress};
use crate::mmio::{Mmio, RegisterValue};
use crate::platform::Platform;

/// Why a configuration register cannot be accessed, or a function not be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such register: past the end, or not at a multiple of its size.
    #[error("{address}: no configuration register of {len_bytes} bytes at {offset:#x}")]
    NoRegister {
        /// Which function.
        address: PciAddress,
        /// Offset asked for.
        offset: u16,
        /// Bytes of the register.
        len_bytes: u64,
    },
    /// The header's registers decide where a function answers and whether it does DMA: they are written
    /// by this layer alone.
    #[error("{address}: the header register at {offset:#x} is not for drivers to write")]
    HeaderRegister {
        /// Which function.
        address: PciAddress,
        /// Offset asked for.
        offset: u16,
    },
    /// What the register does reaches beyond the function, or undoes what this layer promises of it: see
    /// [`write_config_guarded`](super::Function::write_config_guarded).
    #[error(
        "{address}: the register at {offset:#x} decides about {guarded}: not for safe code to write"
    )]
    GuardedRegister {
        /// Which function.
        address: PciAddress,
        /// Offset asked for.
        offset: u16,
        /// What it decides.
        guarded: Guarded,
    },
    /// The function is an IOMMU unit: its driver alone writes its registers.
    #[error("{address} is an IOMMU unit: its registers are its driver's alone")]
    Unit {
        /// Which function.
        address: PciAddress,
    },
    /// A BAR that has no address would answer at address 0.
    #[error("{address}: BAR {index} has no address, so decoding stays off")]
    BarUnassigned {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
    },
}

/// The configuration space of the buses behind one host bridge.
pub(crate) struct ConfigSpace<P: Platform> {
    registers: Mmio<P>,
    segment: u16,
    first_bus: u8,
    read_modify_write: lock_api::Mutex<P::Lock, ()>,
}

impl<P: Platform> ConfigSpace<P> {
    /// Configuration space whose first byte is that of the first function of `first_bus`.
    pub(crate) fn new(registers: Mmio<P>, segment: u16, first_bus: u8) -> Self {
        Self {
            registers,
            segment,
            first_bus,
            read_modify_write: lock_api::Mutex::new(()),
        }
    }

    /// The last bus with configuration space, or `None` if there is not even one bus.
    pub(crate) fn last_bus(&self) -> Option<u8> {
        let buses = self.registers.len_bytes() / ECAM_BUS_BYTES;
        let last = u64::from(self.first_bus) + buses.checked_sub(1)?;
        Some(u8::try_from(last).unwrap_or(u8::MAX))
    }

    pub(crate) fn segment(&self) -> u16 {
        self.segment
    }
}

/// The configuration registers of one function.
pub(crate) struct FunctionConfig<P: Platform> {
    space: Arc<ConfigSpace<P>>,
    address: PciAddress,
}

impl<P: Platform> Clone for FunctionConfig<P> {
    fn clone(&self) -> Self {
        Self {
            space: Arc::clone(&self.space),
            address: self.address,
        }
    }
}

impl<P: Platform> FunctionConfig<P> {
    pub(crate) fn new(space: &Arc<ConfigSpace<P>>, address: PciAddress) -> Self {
        Self {
            space: Arc::clone(space),
            address,
        }
    }

    pub(crate) fn address(&self) -> PciAddress {
        self.address
    }

    /// The registers of another function behind the same host bridge.
    pub(crate) fn at(&self, address: PciAddress) -> Self {
        Self::new(&self.space, address)
    }

    /// Reads a register; all ones where nothing answers, or where there is no register.
    pub(crate) fn read<T: RegisterValue>(&self, register: u16) -> T {
        self.space
            .registers
            .register(self.offset(register))
            .map_or(T::ONES, |r| r.read())
    }

    /// Writes a register; lost where nothing answers, or where there is no register.
    pub(crate) fn write<T: RegisterValue>(&self, register: u16, value: T) {
        if let Ok(r) = self.space.registers.register(self.offset(register)) {
            r.write(value);
        }
    }

    /// Reads, changes and writes a register, alone.
    pub(crate) fn modify<T: RegisterValue>(&self, register: u16, change: impl FnOnce(T) -> T) {
        let _alone = self.space.read_modify_write.lock();
        self.write(register, change(self.read(register)));
    }

    pub(crate) fn modify_command(&self, change: impl FnOnce(Command) -> Command) {
        self.modify(COMMAND, |bits: u16| {
            change(Command::from_bits(bits)).into_bits()
        });
    }

    /// Checks a register a driver asks for.
    pub(crate) fn check<T: RegisterValue>(&self, offset: u16) -> Result<(), ConfigError> {
        let inside = u64::from(offset) + T::LEN_BYTES <= ECAM_FUNCTION_BYTES;
        match inside && u64::from(offset).is_multiple_of(T::LEN_BYTES) {
            true => Ok(()),
            false => Err(ConfigError::NoRegister {
                address: self.address,
                offset,
                len_bytes: T::LEN_BYTES,
            }),
        }
    }

    /// Checks a register a driver wants to write.
    pub(crate) fn check_write<T: RegisterValue>(&self, offset: u16) -> Result<(), ConfigError> {
        self.check::<T>(offset)?;
        match offset < HEADER_BYTES {
            true => Err(ConfigError::HeaderRegister {
                address: self.address,
                offset,
            }),
            false => Ok(()),
        }
    }

    /// Where the register lies in the space; past its end for a bus before its first.
    fn offset(&self, register: u16) -> u64 {
        let PciAddress {
            bus,
            device,
            function,
            ..
        } = self.address;
        match bus.checked_sub(self.space.first_bus) {
            Some(bus) => ecam_offset(bus, device, function, register),
            None => u64::MAX,
        }
    }
}
