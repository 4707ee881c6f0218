//! One function, as drivers meet it.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::pci::config::{BARS_TYPE0, ClassRevision};

use super::capability::Capabilities;
use super::config::FunctionConfig;
use super::found::Found;
use super::{Bar, ConfigError, PciAddress, PortType};
use crate::mmio::{Mmio, MmioError, RegisterValue};
use crate::platform::{MemoryAttribute, Platform};
use crate::resource::{ResourceError, ResourceTree};

/// The buses behind a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeBuses {
    /// The bus right behind it.
    pub secondary: u8,
    /// The highest bus behind it.
    pub subordinate: u8,
}

/// Why a BAR cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimBarError {
    /// The function has no such BAR, or one that could not be sized.
    #[error("{address} has no BAR {index}")]
    NoBar {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
    },
    /// No address could be given to it; [`Topology::problems`](super::Topology::problems) says why.
    #[error("{address}: BAR {index} has no address")]
    Unassigned {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
    },
    /// Another driver has it.
    #[error("{address}: {error}")]
    Resource {
        /// Which function.
        address: PciAddress,
        /// Who has it.
        error: ResourceError,
    },
    /// It cannot be mapped.
    #[error("{address}: {error}")]
    Mmio {
        /// Which function.
        address: PciAddress,
        /// Why.
        error: MmioError,
    },
}

/// A function found by enumeration.
///
/// Clones are handles of the same function. Having one is not having the device: its registers belong to whoever
/// claims them.
pub struct Function<P: Platform> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Platform> {
    platform: P,
    config: FunctionConfig<P>,
    vendor: u16,
    device: u16,
    class: ClassRevision,
    bars: [Option<Bar>; BARS_TYPE0],
    memory_blocked: Option<u8>,
    io_blocked: Option<u8>,
    is_bridge: bool,
    buses: Option<BridgeBuses>,
    capabilities: Capabilities,
    parent: Option<Function<P>>,
    /// It was started as an IOMMU unit.
    unit: AtomicBool,
}

impl<P: Platform> Function<P> {
    pub(crate) fn new(platform: P, found: Found<P>, parent: Option<Self>) -> Self {
        let inner = Inner {
            platform,
            memory_blocked: found.memory_blocked(),
            io_blocked: found.io_blocked(),
            is_bridge: found.is_bridge(),
            buses: found.buses(),
            config: found.config,
            vendor: found.vendor,
            device: found.device,
            class: found.class,
            bars: found.bars.bars,
            capabilities: found.capabilities,
            parent,
            unit: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Its place.
    pub fn address(&self) -> PciAddress {
        self.inner.config.address()
    }

    /// The id its requests carry, by which an IOMMU knows it.
    pub fn requester(&self) -> u16 {
        self.address().requester()
    }

    /// Vendor id.
    pub fn vendor(&self) -> u16 {
        self.inner.vendor
    }

    /// Device id.
    pub fn device(&self) -> u16 {
        self.inner.device
    }

    /// Class code in 24 bits: base class, sub-class, programming interface. Values in
    /// [`hw::pci::config::class`].
    pub fn class(&self) -> u32 {
        self.inner.class.class_code()
    }

    /// Revision id.
    pub fn revision(&self) -> u8 {
        self.inner.class.revision()
    }

    /// The bridge it is behind; `None` on the root bus.
    pub fn parent(&self) -> Option<&Self> {
        self.inner.parent.as_ref()
    }

    /// The bridges above it, the nearest first.
    pub fn path(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(self.parent(), |bridge| bridge.parent())
    }

    /// Whether it is a bridge to further buses.
    pub fn is_bridge(&self) -> bool {
        self.inner.is_bridge
    }

    /// The buses behind it; `None` unless it is a bridge that got some.
    pub fn buses(&self) -> Option<BridgeBuses> {
        self.inner.buses
    }

    /// What it is to its PCI Express link; `None` in conventional PCI.
    pub fn port_type(&self) -> Option<PortType> {
        self.inner.capabilities.port_type
    }

    /// How many address lines it drives, where it tells
    /// ([`AddressLines`](hw::pci::capability::AddressLines)): 1 to 64.
    pub fn address_lines(&self) -> Option<u32> {
        self.inner.capabilities.address_lines
    }

    /// Its base address registers, by index; `None` for those not implemented, not usable, or the upper half of
    /// the one before.
    pub fn bars(&self) -> &[Option<Bar>] {
        &self.inner.bars
    }

    /// Base address register `index`.
    pub fn bar(&self, index: u8) -> Option<&Bar> {
        self.inner.bars.get(usize::from(index))?.as_ref()
    }

    /// Offset of the first capability with this [id](hw::pci::capability::id).
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities()
            .find(|&(each, _)| each == id)
            .map(|(_, offset)| offset)
    }

    /// Offset of the first extended capability with this [id](hw::pci::capability::extended_id): ATS,
    /// PASID, PRI, ACS.
    pub fn extended_capability(&self, id: u16) -> Option<u16> {
        self.extended_capabilities()
            .find(|&(each, _)| each == id)
            .map(|(_, offset)| offset)
    }

    /// Ids and offsets of all capabilities.
    pub fn capabilities(&self) -> impl Iterator<Item = (u8, u16)> {
        self.inner.capabilities.conventional.iter().copied()
    }

    /// Ids and offsets of all extended capabilities.
    pub fn extended_capabilities(&self) -> impl Iterator<Item = (u16, u16)> {
        self.inner.capabilities.extended.iter().copied()
    }

    /// Reads a configuration register; all ones if the function is gone.
    ///
    /// # Errors
    /// [`ConfigError::NoRegister`].
    pub fn read_config<T: RegisterValue>(&self, offset: u16) -> Result<T, ConfigError> {
        self.inner.config.check::<T>(offset)?;
        Ok(self.inner.config.read(offset))
    }

    /// Writes a configuration register behind the header that concerns the function alone.
    ///
    /// # Errors
    /// [`ConfigError::NoRegister`], [`ConfigError::HeaderRegister`], [`ConfigError::GuardedRegister`],
    /// [`ConfigError::Unit`].
    pub fn write_config<T: RegisterValue>(&self, offset: u16, value: T) -> Result<(), ConfigError> {
        self.check_safe_write::<T>(offset)?;
        self.inner.config.write(offset, value);
        Ok(())
    }

    /// As [`write_config`](Self::write_config), of [guarded](super::Guarded) registers too.
    ///
    /// # Errors
    /// [`ConfigError::NoRegister`], [`ConfigError::HeaderRegister`].
    ///
    /// # Safety
    /// The caller drives the function, or whoever does agrees, and vouches for what the value has the hardware do:
    /// - message interrupts go where an [`Interrupt`](crate::platform::Interrupt) says that is lent to the caller, with its
    ///   data, and to nowhere else;
    /// - as long as a unit translates, no function comes to reach a peer, or to translate addresses itself, that did not when
    ///   the units were started; and none appears that was not there when functions were enumerated;
    /// - base addresses stay where enumeration put them;
    /// - no register is accessed through it that somebody else claimed;
    /// - a function that is a running IOMMU unit goes on as its driver told it.
    pub unsafe fn write_config_guarded<T: RegisterValue>(
        &self,
        offset: u16,
        value: T,
    ) -> Result<(), ConfigError> {
        self.inner.config.check_write::<T>(offset)?;
        self.inner.config.write(offset, value);
        Ok(())
    }

    /// Reads, changes and writes a configuration register behind the header, alone among such changes of its
    /// segment; one that concerns the function alone.
    ///
    /// # Errors
    /// As [`write_config`](Self::write_config).
    pub fn modify_config<T: RegisterValue>(
        &self,
        offset: u16,
        change: impl FnOnce(T) -> T,
    ) -> Result<(), ConfigError> {
        self.check_safe_write::<T>(offset)?;
        self.inner.config.modify(offset, change);
        Ok(())
    }

    /// As [`modify_config`](Self::modify_config), of [guarded](super::Guarded) registers too.
    ///
    /// # Errors
    /// [`ConfigError::NoRegister`], [`ConfigError::HeaderRegister`].
    ///
    /// # Safety
    /// As [`write_config_guarded`](Self::write_config_guarded).
    pub unsafe fn modify_config_guarded<T: RegisterValue>(
        &self,
        offset: u16,
        change: impl FnOnce(T) -> T,
    ) -> Result<(), ConfigError> {
        self.inner.config.check_write::<T>(offset)?;
        self.inner.config.modify(offset, change);
        Ok(())
    }

    /// Lets the function answer at its memory BARs.
    ///
    /// # Errors
    /// [`ConfigError::BarUnassigned`] if one of them has no address.
    pub fn enable_memory(&self) -> Result<(), ConfigError> {
        self.check_decodable(self.inner.memory_blocked)?;
        self.inner
            .config
            .modify_command(|command| command.with_memory_space(true));
        Ok(())
    }

    /// Lets the function answer at its IO BARs.
    ///
    /// # Errors
    /// [`ConfigError::BarUnassigned`] if one of them has no address.
    pub fn enable_io(&self) -> Result<(), ConfigError> {
        self.check_decodable(self.inner.io_blocked)?;
        self.inner
            .config
            .modify_command(|command| command.with_io_space(true));
        Ok(())
    }

    /// Whether the function may start requests of its own. Reads the function.
    pub fn read_bus_master(&self) -> BusMaster {
        let bits = self.inner.config.read(hw::pci::config::COMMAND);
        match hw::pci::config::Command::from_bits(bits).bus_master() {
            true => BusMaster::On,
            false => BusMaster::Off,
        }
    }

    /// Lets the function start requests of its own, DMA and message interrupts, and the bridges above it pass
    /// them on.
    ///
    /// # Safety
    /// Until bus mastering is off again, every memory access the function can make is confined by a domain of
    /// an IOMMU that owns what it maps, or the caller vouches for the device and for all that its driver tells
    /// it.
    pub unsafe fn enable_bus_master(&self) {
        for each in self.path().chain([self]) {
            each.inner
                .config
                .modify_command(|command| command.with_bus_master(true));
        }
    }

    /// Ends the function's own requests. Those under way may still arrive; bridges above go on for others.
    pub fn disable_bus_master(&self) {
        self.inner
            .config
            .modify_command(|command| command.with_bus_master(false));
    }

    /// Claims and maps BAR `index` for the driver `name`: A, by way of B, to C. Decoding is switched with
    /// [`enable_memory`](Self::enable_memory) or [`enable_io`](Self::enable_io).
    ///
    /// # Errors
    /// [`ClaimBarError`]: no such BAR, no address, held by another driver, or not mappable.
    pub fn claim_bar(
        &self,
        index: u8,
        name: &str,
        tree: &mut ResourceTree,
    ) -> Result<Mmio<P>, ClaimBarError> {
        self.claim_bar_as(index, name, MemoryAttribute::Uncached, tree)
    }

    /// The same, with accesses as `attribute` says: memory behind a prefetchable BAR may be
    /// [write-combined](MemoryAttribute::WriteCombining) (`ioremap_wc`).
    ///
    /// # Errors
    /// As [`claim_bar`](Self::claim_bar).
    pub fn claim_bar_as(
        &self,
        index: u8,
        name: &str,
        attribute: MemoryAttribute,
        tree: &mut ResourceTree,
    ) -> Result<Mmio<P>, ClaimBarError> {
        let address = self.address();
        let bar = self
            .bar(index)
            .ok_or(ClaimBarError::NoBar { address, index })?;
        let phys = bar
            .phys
            .ok_or(ClaimBarError::Unassigned { address, index })?;
        let claim = tree
            .request(name, phys)
            .map_err(|error| ClaimBarError::Resource { address, error })?;
        Mmio::ioremap(self.inner.platform, claim, attribute)
            .map_err(|error| ClaimBarError::Mmio { address, error })
    }

    /// Checks a register that safe code wants to write.
    fn check_safe_write<T: RegisterValue>(&self, offset: u16) -> Result<(), ConfigError> {
        self.inner.config.check_write::<T>(offset)?;
        let address = self.address();
        if self.is_unit() {
            return Err(ConfigError::Unit { address });
        }
        match self.guarded::<T>(offset) {
            Some(guarded) => Err(ConfigError::GuardedRegister {
                address,
                offset,
                guarded,
            }),
            None => Ok(()),
        }
    }

    /// From now on the function is an IOMMU unit: no safe call writes its registers or resets it, not even once it is stopped.
    pub(crate) fn start_as_unit(&self) {
        self.inner.unit.store(true, Ordering::Release);
    }

    pub(crate) fn was_started_as_unit(&self) -> bool {
        self.inner.unit.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> &FunctionConfig<P> {
        &self.inner.config
    }

    pub(crate) fn platform(&self) -> P {
        self.inner.platform
    }

    fn check_decodable(&self, blocked: Option<u8>) -> Result<(), ConfigError> {
        let address = self.address();
        blocked.map_or(Ok(()), |index| {
            Err(ConfigError::BarUnassigned { address, index })
        })
    }
}

/// Whether a function may start requests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusMaster {
    /// It does DMA and raises message interrupts.
    On,
    /// It only answers.
    Off,
}

impl<P: Platform> Clone for Function<P> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<P: Platform> fmt::Display for Function<P> {
    /// Address, class, vendor and device: `0000:01:00.0 class 010802 1b36:0010`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, vendor, device) = (self.class(), self.vendor(), self.device());
        write!(
            f,
            "{} class {class:06x} {vendor:04x}:{device:04x}",
            self.address()
        )
    }
}

impl<P: Platform> fmt::Debug for Function<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({self})")
    }
}
