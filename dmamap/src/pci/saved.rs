//! What a function's reset, or a loss of power, takes from its configuration, and is given back afterwards.
//!
//! Not bus mastering: who lets the function start requests again knows that it is confined. Nor the entries of an MSI-X
//! table, which belong to whoever claimed it ([`MsixTable::restore`](super::MsixTable::restore)).

use alloc::vec::Vec;

use hw::pci::bridge::{BRIDGE_CONTROL, PREFETCHABLE_BASE_UPPER};
use hw::pci::capability::{ACS_CONTROL, EXPRESS_FLAGS, ExpressFlags, extended_id, id};
use hw::pci::config::{
    BARS_TYPE0, BARS_TYPE1, CACHE_LINE_SIZE, COMMAND, Command, INTERRUPT_LINE, LATENCY_TIMER, bar,
};
use hw::pci::msix::MESSAGE_CONTROL;
use hw::pci::reset::{DEVICE_CONTROL, DEVICE_CONTROL_2, DeviceControl, MSI_CONTROL, MsiControl};

use super::config::FunctionConfig;
use super::{BusMaster, Function, Topology};
use crate::platform::Platform;

/// Values of registers of one function.
pub(crate) struct SavedConfig {
    command: Command,
    /// A bridge's bus numbers and windows lie where a device has its upper BARs.
    bars: [u32; BARS_TYPE0],
    /// How many of them must be as before.
    kept_bars: usize,
    bytes: [(u16, u8); 3],
    words: Vec<(u16, u16)>,
    dwords: Vec<(u16, u32)>,
}

impl SavedConfig {
    /// Reads them.
    pub(crate) fn of<P: Platform>(function: &Function<P>) -> Self {
        let config = function.config();
        let (mut words, mut dwords) = (Vec::new(), Vec::new());
        let mut save_word = |offset: u16| words.push((offset, config.read::<u16>(offset)));
        if let Some(express) = function.capability(id::PCI_EXPRESS) {
            save_word(express + DEVICE_CONTROL);
            let flags = ExpressFlags::from_bits(config.read(express + EXPRESS_FLAGS));
            // Layouts before the second end earlier, and something else follows.
            if flags.version() >= 2 {
                save_word(express + DEVICE_CONTROL_2);
            }
            let control = DeviceControl::from_bits(words[0].1);
            words[0].1 = control.with_initiate_reset(false).into_bits();
        }
        if let Some(acs) = function.extended_capability(extended_id::ACS) {
            // What keeps the function apart from others must do so before it is a bus master again.
            let offset = acs + ACS_CONTROL;
            words.push((offset, config.read(offset)));
        }
        if let Some(msi) = function.capability(id::MSI) {
            let control = MsiControl::from_bits(config.read(msi + MSI_CONTROL));
            let fields = 2 + u16::from(control.address_64()) + u16::from(control.maskable());
            dwords.extend((0..fields).map(|field| {
                let offset = msi + 4 + 4 * field;
                (offset, config.read::<u32>(offset))
            }));
            // Last, as it enables what the others describe.
            words.push((msi + MSI_CONTROL, control.into_bits()));
        }
        if let Some(msix) = function.capability(id::MSIX) {
            let offset = msix + MESSAGE_CONTROL;
            words.push((offset, config.read(offset)));
        }
        if function.is_bridge() {
            let upper = (0..3).map(|index| PREFETCHABLE_BASE_UPPER + 4 * index);
            dwords.extend(upper.map(|offset| (offset, config.read::<u32>(offset))));
            words.push((BRIDGE_CONTROL, config.read(BRIDGE_CONTROL)));
        }
        Self {
            kept_bars: match function.is_bridge() {
                true => BARS_TYPE1,
                false => BARS_TYPE0,
            },
            command: Command::from_bits(config.read(COMMAND)),
            bars: core::array::from_fn(|index| config.read(bar(index))),
            bytes: [CACHE_LINE_SIZE, LATENCY_TIMER, INTERRUPT_LINE]
                .map(|offset| (offset, config.read(offset))),
            words,
            dwords,
        }
    }

    /// Writes them, BARs while nothing is decoded.
    ///
    /// # Errors
    /// The offset of the first base address register that does not keep its address: decoding stays off then.
    pub(crate) fn restore<P: Platform>(
        &self,
        config: &FunctionConfig<P>,
        master: BusMaster,
    ) -> Result<(), u16> {
        let command = self.command.with_bus_master(master == BusMaster::On);
        config.modify_command(|_| {
            self.command
                .with_bus_master(false)
                .with_io_space(false)
                .with_memory_space(false)
        });
        for (index, &value) in self.bars.iter().enumerate() {
            config.write(bar(index), value);
        }
        for &(offset, value) in &self.bytes {
            config.write(offset, value);
        }
        for &(offset, value) in &self.dwords {
            config.write(offset, value);
        }
        for &(offset, value) in &self.words {
            config.write(offset, value);
        }
        for (index, &value) in self.bars.iter().enumerate().take(self.kept_bars) {
            if config.read::<u32>(bar(index)) != value {
                return Err(bar(index));
            }
        }
        config.modify_command(|_| command);
        Ok(())
    }

    /// Whether the function was a bus master.
    pub(crate) fn bus_master(&self) -> BusMaster {
        match self.command.bus_master() {
            true => BusMaster::On,
            false => BusMaster::Off,
        }
    }
}

/// The configuration of all functions of a topology that were there.
pub(crate) struct SavedTopology<P: Platform>(Vec<(Function<P>, SavedConfig)>);

impl<P: Platform> Topology<P> {
    pub(crate) fn save(&self) -> SavedTopology<P> {
        let present = self.functions().filter(|function| function.is_present());
        let saved = present.map(|function| (function.clone(), SavedConfig::of(function)));
        SavedTopology(saved.collect())
    }
}

impl<P: Platform> SavedTopology<P> {
    /// The functions, a bridge before what is behind it, and what was saved of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Function<P>, SavedConfig)> {
        self.0.iter()
    }
}
