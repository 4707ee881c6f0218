//! MSI-X: interrupts as memory writes of the function (7.7.2).
//!
//! The table lies in one of the function's BARs, often the one with its registers; there it is carved out of the
//! driver's window, so that neither owner reaches into the other's part.

use alloc::boxed::Box;
use core::fmt;

use hw::pci::capability::id;
use hw::pci::msix::{
    ENTRY_ADDRESS, ENTRY_ADDRESS_UPPER, ENTRY_BYTES, ENTRY_DATA, ENTRY_VECTOR_CONTROL, Location,
    MESSAGE_CONTROL, MessageControl, TABLE, VectorControl,
};

use super::config::FunctionConfig;
use super::{ClaimBarError, ConfigError, Function, PciAddress};
use crate::addr::{BusAddr, BusRange, DmaMask};
use crate::mmio::{Mmio, MmioError};
use crate::platform::{Interrupt, Platform};
use crate::resource::ResourceTree;

/// Why a function cannot raise an interrupt by MSI-X.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsixError {
    /// It has no MSI-X capability.
    #[error("{0} has no MSI-X")]
    NotCapable(PciAddress),
    /// The table is not where the capability says: no such BAR, or past its end.
    #[error("{address}: MSI-X table at offset {offset:#x} of BAR {bar} is not there")]
    NoTable {
        /// Which function.
        address: PciAddress,
        /// The BAR named by the capability.
        bar: u8,
        /// The offset named by the capability.
        offset: u32,
    },
    /// The table's BAR cannot be had. Where it is the driver's own, its window is to be given.
    #[error("MSI-X table: {0}")]
    Bar(#[from] ClaimBarError),
    /// The table's part of the window cannot be had.
    #[error("{address}: MSI-X table: {error}")]
    Mmio {
        /// Which function.
        address: PciAddress,
        /// Why.
        error: MmioError,
    },
    /// The function does not answer at its BARs.
    #[error("MSI-X table: {0}")]
    Config(#[from] ConfigError),
    /// The table has fewer entries.
    #[error("{address}: MSI-X table of {entries} entries has no entry {entry}")]
    NoEntry {
        /// Which function.
        address: PciAddress,
        /// Entry asked for.
        entry: u16,
        /// Entries there are.
        entries: u16,
    },
    /// The function cannot write to the interrupt's address.
    #[error("{address}: message address {message} is out of reach of a device with {mask}")]
    MessageOutOfReach {
        /// Which function.
        address: PciAddress,
        /// Where the message goes.
        message: BusAddr,
        /// What the device reaches.
        mask: DmaMask,
    },
}

/// A function's MSI-X table, claimed. All entries are masked at first, and the function raises no interrupt until
/// [`enable`](Self::enable); when dropped, MSI-X is switched off.
pub struct MsixTable<P: Platform> {
    config: FunctionConfig<P>,
    /// Offset of the capability.
    capability: u16,
    table: Mmio<P>,
    entries: u16,
    told: lock_api::Mutex<P::Lock, Told>,
}

/// What the table was last told: a reset or a loss of power takes it from the table.
struct Told {
    control: MessageControl,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy)]
struct Entry {
    address: u64,
    data: u32,
    control: VectorControl,
}

impl<P: Platform> Function<P> {
    /// Takes the MSI-X table for the driver `name`: from `window` where that is the table's BAR, else by claiming
    /// that BAR. Lets the function answer at its memory BARs.
    ///
    /// # Errors
    /// [`MsixError`] if the function has no (usable) MSI-X or somebody else has the table.
    pub fn claim_msix(
        &self,
        name: &str,
        tree: &mut ResourceTree,
        window: Option<&mut Mmio<P>>,
    ) -> Result<MsixTable<P>, MsixError> {
        let address = self.address();
        let capability = self
            .capability(id::MSIX)
            .ok_or(MsixError::NotCapable(address))?;
        let config = self.config().clone();
        let control = MessageControl::from_bits(config.read(capability + MESSAGE_CONTROL));
        let location = Location::from_bits(config.read(capability + TABLE));
        let (bar, offset) = (location.bar(), location.offset());
        let entries = control.entries();
        let len_bytes = u64::from(entries) * ENTRY_BYTES;
        let missing = MsixError::NoTable {
            address,
            bar,
            offset,
        };
        let whole = self
            .bar(bar)
            .filter(|bar| !bar.kind.is_io())
            .ok_or(missing.clone())?;
        let phys = whole.phys.ok_or(ClaimBarError::Unassigned {
            address,
            index: bar,
        })?;
        let range = phys.slice(u64::from(offset), len_bytes).ok_or(missing)?;
        self.enable_memory()?;
        let table = match window {
            Some(window) if window.phys().covers(range) => window.carve(
                range.start().as_u64() - window.phys().start().as_u64(),
                len_bytes,
            ),
            _ => self
                .claim_bar(bar, name, tree)?
                .carve(u64::from(offset), len_bytes),
        }
        .map_err(|error| MsixError::Mmio { address, error })?;
        let table = MsixTable {
            config,
            capability,
            table,
            entries,
            told: lock_api::Mutex::new(Told {
                control: MessageControl::new(),
                entries: alloc::vec![Entry::MASKED; usize::from(entries)].into(),
            }),
        };
        table.set_control(|control| control.with_enable(false).with_function_mask(true));
        for entry in 0..entries {
            table.mask(entry)?;
        }
        Ok(table)
    }
}

impl<P: Platform> MsixTable<P> {
    /// Number of interrupts the function can raise.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Makes `entry` raise `interrupt`, and leaves it masked. `reach` is what the device's address lines reach.
    ///
    /// # Errors
    /// [`MsixError::NoEntry`]; [`MsixError::MessageOutOfReach`] if the device cannot put the message's
    /// address on the bus.
    pub fn program(
        &self,
        entry: u16,
        interrupt: &Interrupt,
        reach: DmaMask,
    ) -> Result<(), MsixError> {
        let address = interrupt.address();
        let message = BusRange::new(address, 4);
        if !message.is_ok_and(|message| reach.covers(message)) {
            return Err(MsixError::MessageOutOfReach {
                address: self.config.address(),
                message: interrupt.address(),
                mask: reach,
            });
        }
        let mut told = self.told.lock();
        let told = self.entry_of(&mut told, entry)?;
        (told.address, told.data) = (address.as_u64(), interrupt.data());
        told.control = told.control.with_mask(true);
        self.write_entry(entry, *told)
    }

    /// Writes an entry while it is masked (7.7.2.7). Under the lock of what the table is told, as that is what it holds then.
    fn write_entry(&self, entry: u16, told: Entry) -> Result<(), MsixError> {
        self.write_vector_control(entry, |now| now.with_mask(true))?;
        self.write_message(entry, told.address, told.data)?;
        match told.control.mask() {
            true => Ok(()),
            false => self.write_vector_control(entry, |now| now.with_mask(false)),
        }
    }

    fn write_message(&self, entry: u16, address: u64, data: u32) -> Result<(), MsixError> {
        let [low, high] = [address as u32, (address >> 32) as u32];
        self.field(entry, ENTRY_ADDRESS)?.write(low);
        self.field(entry, ENTRY_ADDRESS_UPPER)?.write(high);
        self.field(entry, ENTRY_DATA)?.write(data);
        Ok(())
    }

    /// Writes everything the table was told once more, after the function was reset or lost its power: addresses, data,
    /// masks, and whether MSI-X is on. What others tell it meanwhile holds.
    ///
    /// # Errors
    /// [`MsixError::Config`] where the function cannot answer at its memory BARs.
    pub fn restore(&self) -> Result<(), MsixError> {
        {
            let _told = self.told.lock();
            self.write_control(|now| now.with_enable(false).with_function_mask(true));
        }
        for index in 0..self.entries {
            // The lock is held for one entry at a time, as interrupt handlers wait for it, and until the entry is written, as
            // somebody may mask it.
            let mut told = self.told.lock();
            let entry = *self.entry_of(&mut told, index)?;
            self.write_entry(index, entry)?;
        }
        let told = self.told.lock();
        let (enable, mask) = (told.control.enable(), told.control.function_mask());
        self.write_control(|now| now.with_enable(enable).with_function_mask(mask));
        Ok(())
    }

    /// Holds back the interrupts of `entry`; the function remembers them.
    ///
    /// # Errors
    /// [`MsixError::NoEntry`].
    pub fn mask(&self, entry: u16) -> Result<(), MsixError> {
        self.set_vector_control(entry, |control| control.with_mask(true))
    }

    /// Lets the interrupts of `entry` through.
    ///
    /// # Errors
    /// [`MsixError::NoEntry`].
    pub fn unmask(&self, entry: u16) -> Result<(), MsixError> {
        self.set_vector_control(entry, |control| control.with_mask(false))
    }

    /// Switches MSI-X on. Messages are DMA: they also need bus mastering.
    pub fn enable(&self) {
        self.set_control(|control| control.with_enable(true).with_function_mask(false));
    }

    /// Switches MSI-X off.
    pub fn disable(&self) {
        self.set_control(|control| control.with_enable(false).with_function_mask(true));
    }

    fn set_control(&self, change: impl Fn(MessageControl) -> MessageControl) {
        let mut told = self.told.lock();
        told.control = change(told.control);
        self.write_control(change);
    }

    fn write_control(&self, change: impl FnOnce(MessageControl) -> MessageControl) {
        self.config
            .modify(self.capability + MESSAGE_CONTROL, |bits: u16| {
                change(MessageControl::from_bits(bits)).into_bits()
            });
    }

    fn set_vector_control(
        &self,
        entry: u16,
        change: impl Fn(VectorControl) -> VectorControl,
    ) -> Result<(), MsixError> {
        let mut told = self.told.lock();
        let told = self.entry_of(&mut told, entry)?;
        told.control = change(told.control);
        self.write_vector_control(entry, change)
    }

    fn write_vector_control(
        &self,
        entry: u16,
        change: impl FnOnce(VectorControl) -> VectorControl,
    ) -> Result<(), MsixError> {
        let register = self.field(entry, ENTRY_VECTOR_CONTROL)?;
        let before = VectorControl::from_bits(register.read());
        register.write(change(before).into_bits());
        // The read makes sure that the write has arrived.
        register.read();
        Ok(())
    }

    /// What an entry was told.
    fn entry_of<'t>(&self, told: &'t mut Told, entry: u16) -> Result<&'t mut Entry, MsixError> {
        let entries = &mut told.entries;
        entries
            .get_mut(usize::from(entry))
            .ok_or_else(|| self.no_entry(entry))
    }

    fn no_entry(&self, entry: u16) -> MsixError {
        MsixError::NoEntry {
            address: self.config.address(),
            entry,
            entries: self.entries,
        }
    }

    fn field(&self, entry: u16, field: u64) -> Result<crate::mmio::Register<P, u32>, MsixError> {
        if entry >= self.entries {
            return Err(self.no_entry(entry));
        }
        self.table
            .register(u64::from(entry) * ENTRY_BYTES + field)
            .map_err(|error| MsixError::Mmio {
                address: self.config.address(),
                error,
            })
    }
}

impl Entry {
    /// As after a reset.
    const MASKED: Self = Self {
        address: 0,
        data: 0,
        control: VectorControl::new().with_mask(true),
    };
}

impl<P: Platform> Drop for MsixTable<P> {
    fn drop(&mut self) {
        self.disable();
    }
}

impl<P: Platform> fmt::Debug for MsixTable<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MsixTable({}, {} entries)",
            self.config.address(),
            self.entries
        )
    }
}
