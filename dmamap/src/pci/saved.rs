//! What a function's reset, or a loss of power, takes from its configuration, and is given back afterwards.
//!
//! | what | where |
//! |---|---|
//! | command, base addresses and expansion ROM; a bridge's bus numbers, windows and control | here |
//! | control of PCI Express and of extended capabilities, message interrupts | `capabilities` |
//!
//! Not bus mastering: who lets the function start requests again knows that it is confined. Nor the entries of an MSI-X
//! table, which belong to whoever claimed it ([`MsixTable::restore`](super::MsixTable::restore)). Nor what nobody here sets:
//! virtual functions (SR-IOV), virtual channels, substates of L1, downstream port containment, precise time and
//! processing hints; and registers of a driver's own.

mod capabilities;

use alloc::vec::Vec;

use hw::pci::bridge::{self, BRIDGE_CONTROL, PREFETCHABLE_BASE_UPPER};
use hw::pci::config::{
    BARS_TYPE0, BARS_TYPE1, CACHE_LINE_SIZE, COMMAND, Command, EXPANSION_ROM, INTERRUPT_LINE,
    LATENCY_TIMER, bar,
};

use capabilities::Controls;

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
    /// Registers of the header that only some have.
    header: Vec<Register>,
    controls: Controls,
}

/// A register and its value.
#[derive(Clone, Copy)]
enum Register {
    Word(u16, u16),
    Dword(u16, u32),
}

impl Register {
    fn word<P: Platform>(config: &FunctionConfig<P>, offset: u16) -> Self {
        Self::Word(offset, config.read(offset))
    }

    fn dword<P: Platform>(config: &FunctionConfig<P>, offset: u16) -> Self {
        Self::Dword(offset, config.read(offset))
    }

    fn restore<P: Platform>(self, config: &FunctionConfig<P>) {
        match self {
            Self::Word(offset, value) => config.write(offset, value),
            Self::Dword(offset, value) => config.write(offset, value),
        }
    }
}

impl SavedConfig {
    /// Reads them.
    pub(crate) fn of<P: Platform>(function: &Function<P>) -> Self {
        let config = function.config();
        let mut header = Vec::new();
        if function.is_bridge() {
            let upper = (0..3).map(|index| PREFETCHABLE_BASE_UPPER + 4 * index);
            header.extend(upper.map(|offset| Register::dword(config, offset)));
            header.push(Register::dword(config, bridge::EXPANSION_ROM));
            header.push(Register::word(config, BRIDGE_CONTROL));
        } else {
            // It decodes once memory is decoded again (7.5.1.2.4).
            header.push(Register::dword(config, EXPANSION_ROM));
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
            header,
            controls: Controls::of(function),
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
        for register in &self.controls.before_bars {
            register.restore(config);
        }
        for (index, &value) in self.bars.iter().enumerate() {
            config.write(bar(index), value);
        }
        for &(offset, value) in &self.bytes {
            config.write(offset, value);
        }
        for register in self.header.iter().chain(&self.controls.after_bars) {
            register.restore(config);
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
