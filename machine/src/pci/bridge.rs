//! Bridges: root ports, the ports of switches, and the PCIe-to-PCI bridge. All forward by bus numbers and windows, as
//! programmed.

use std::sync::Arc;

use board::hardware::Width;
use hw::pci::bridge::{
    BRIDGE_CONTROL, BridgeControl, BusNumbers, IO_BASE, IO_BASE_UPPER, IO_LIMIT_UPPER, IoWindow,
    MEMORY_BASE, MemoryWindow, PREFETCHABLE_BASE, PREFETCHABLE_BASE_UPPER,
    PREFETCHABLE_LIMIT_UPPER, PRIMARY_BUS, PrefetchableWindow, SECONDARY_STATUS,
};
use hw::pci::capability::{AcsFlags, port_type};
use hw::pci::config::{
    CACHE_LINE_SIZE, COMMAND, Command, DEVICE_ID, HEADER_TYPE, HEADER_TYPE1, INTERRUPT_LINE,
    REVISION_ID, STATUS, VENDOR_ID, class,
};
use parking_lot::Mutex;

use super::config_space::ConfigSpace;
use super::controls;
use super::endpoint::{acs_capability, express_capability, redirects};
use super::segment::Segment;
use super::{STATUS_ERRORS, Space};
use crate::bus::Requester;

/// Vendor id of the models that copy no existing device (Red Hat's, as QEMU's generic bridges have).
pub(crate) const MODEL_VENDOR: u16 = 0x1b36;

/// What kind of bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeKind {
    /// A root port; decodes 32-bit IO addresses, as the ports of switches do.
    RootPort,
    /// The port of a switch towards the root.
    UpstreamPort,
    /// A port of a switch away from the root.
    DownstreamPort,
    /// To a conventional bus; decodes 16-bit IO addresses.
    ExpressToPci,
}

impl BridgeKind {
    fn device_id(self) -> u16 {
        match self {
            Self::RootPort => 0x000c,
            Self::UpstreamPort => 0x000a,
            Self::DownstreamPort => 0x000b,
            Self::ExpressToPci => 0x000e,
        }
    }
}

/// A function with a type 1 header and the bus behind it.
pub(crate) struct Bridge {
    kind: BridgeKind,
    requester: Arc<Requester>,
    acs: Option<u16>,
    config: Mutex<ConfigSpace>,
    /// The configuration after a reset.
    fresh: ConfigSpace,
    behind: Segment,
}

impl Bridge {
    /// A bridge to `behind`, with nothing programmed; `acs` are the access control services it has, if any.
    pub(crate) fn new(
        kind: BridgeKind,
        requester: Arc<Requester>,
        behind: Segment,
        acs: Option<AcsFlags>,
    ) -> Self {
        let mut config = ConfigSpace::express();
        config.set(VENDOR_ID, &MODEL_VENDOR.to_le_bytes());
        config.set(DEVICE_ID, &kind.device_id().to_le_bytes());
        config.set(REVISION_ID, &(class::PCI_BRIDGE << 8).to_le_bytes());
        config.set(HEADER_TYPE, &[HEADER_TYPE1]);
        let command = Command::new()
            .with_io_space(true)
            .with_memory_space(true)
            .with_bus_master(true)
            .with_parity_error_response(true)
            .with_serr(true)
            .with_interrupt_disable(true);
        config.allow(COMMAND, &command.into_bits().to_le_bytes());
        config.allow_clear(STATUS, &STATUS_ERRORS.to_le_bytes());
        config.allow_clear(SECONDARY_STATUS, &STATUS_ERRORS.to_le_bytes());
        config.allow(CACHE_LINE_SIZE, &[0xff]);
        config.allow(INTERRUPT_LINE, &[0xff]);
        let bus_numbers = BusNumbers::new()
            .with_primary(0xff)
            .with_secondary(0xff)
            .with_subordinate(0xff);
        config.allow(PRIMARY_BUS, &bus_numbers.into_bits().to_le_bytes());
        windows(&mut config, kind);
        let control = BridgeControl::new()
            .with_parity_error_response(true)
            .with_serr(true)
            .with_secondary_bus_reset(true);
        config.allow(BRIDGE_CONTROL, &control.into_bits().to_le_bytes());
        let port_type = match kind {
            BridgeKind::RootPort => port_type::ROOT_PORT,
            BridgeKind::UpstreamPort => port_type::UPSTREAM_PORT,
            BridgeKind::DownstreamPort => port_type::DOWNSTREAM_PORT,
            BridgeKind::ExpressToPci => port_type::PCIE_TO_PCI_BRIDGE,
        };
        let express = express_capability(&mut config, port_type);
        let acs = acs.map(|flags| acs_capability(&mut config, flags));
        controls::link(&mut config, express, port_type);
        controls::errors(&mut config);
        Self {
            kind,
            requester,
            fresh: config.clone(),
            acs,
            config: Mutex::new(config),
            behind,
        }
    }

    pub(crate) fn behind(&self) -> &Segment {
        &self.behind
    }

    pub(crate) fn requester(&self) -> &Arc<Requester> {
        &self.requester
    }

    pub(crate) fn read_config(&self, offset: u16, width: Width) -> u64 {
        self.config.lock().read(offset, width)
    }

    /// A configuration write that reached the bridge on `bus`.
    pub(crate) fn write_config(&self, bus: u8, offset: u16, width: Width, value: u64) {
        self.requester.capture_bus(bus);
        let released = {
            let mut config = self.config.lock();
            let held = |config: &ConfigSpace| {
                BridgeControl::from_bits(config.word(BRIDGE_CONTROL)).secondary_bus_reset()
            };
            let before = held(&config);
            config.write(offset, width, value);
            self.requester
                .set_master(Command::from_bits(config.word(COMMAND)).bus_master());
            let numbers = BusNumbers::from_bits(config.dword(PRIMARY_BUS));
            self.requester.capture_secondary(numbers.secondary());
            before && !held(&config)
        };
        if released {
            self.behind.reset();
        }
    }

    /// Resets the bridge, and with it all behind it.
    pub(crate) fn reset(&self) {
        self.forget();
        self.behind.reset();
    }

    /// As after it had no power.
    pub(crate) fn power_cycle(&self) {
        self.forget();
        self.behind.power_cycle();
    }

    fn forget(&self) {
        self.requester.set_master(false);
        self.config.lock().clone_from(&self.fresh);
        self.requester.capture_secondary(0);
    }

    /// Whether requests that came from below and are for a peer go up instead.
    pub(crate) fn redirects(&self) -> bool {
        redirects(&self.config.lock(), self.acs)
    }

    /// The number of the bus behind, if configuration requests for `bus` go through the bridge.
    pub(crate) fn forwards_bus(&self, bus: u8) -> Option<u8> {
        let numbers = BusNumbers::from_bits(self.config.lock().dword(PRIMARY_BUS));
        let programmed = numbers.secondary() != 0;
        (programmed && (numbers.secondary()..=numbers.subordinate()).contains(&bus))
            .then_some(numbers.secondary())
    }

    /// Whether one of the bridge's open windows holds all `len_bytes` bytes at `bus`.
    pub(crate) fn forwards(&self, space: Space, bus: u64, len_bytes: u64) -> bool {
        let config = self.config.lock();
        let command = Command::from_bits(config.word(COMMAND));
        let Some(last) = bus.checked_add(len_bytes - 1) else {
            return false;
        };
        let holds = |(first, window_last): (u64, u64)| first <= bus && last <= window_last;
        match space {
            Space::Io => command.io_space() && holds(self.io_window(&config)),
            Space::Memory => {
                command.memory_space()
                    && (holds(memory_window(&config)) || holds(prefetchable_window(&config)))
            }
        }
    }

    fn io_window(&self, config: &ConfigSpace) -> (u64, u64) {
        let window = IoWindow::from_bits(config.word(IO_BASE));
        let upper = |offset| match self.kind {
            BridgeKind::ExpressToPci => 0,
            _ => u64::from(config.word(offset)) << 16,
        };
        (
            upper(IO_BASE_UPPER) | u64::from(window.base()),
            upper(IO_LIMIT_UPPER) | u64::from(window.last()),
        )
    }
}

fn memory_window(config: &ConfigSpace) -> (u64, u64) {
    let window = MemoryWindow::from_bits(config.dword(MEMORY_BASE));
    (window.base().into(), window.last().into())
}

fn prefetchable_window(config: &ConfigSpace) -> (u64, u64) {
    let window = PrefetchableWindow::from_bits(config.dword(PREFETCHABLE_BASE));
    let upper = |offset| u64::from(config.dword(offset)) << 32;
    (
        upper(PREFETCHABLE_BASE_UPPER) | u64::from(window.base()),
        upper(PREFETCHABLE_LIMIT_UPPER) | u64::from(window.last()),
    )
}

/// The window registers: which widths exist, and their address bits.
fn windows(config: &mut ConfigSpace, kind: BridgeKind) {
    let io = IoWindow::new().with_base(0xffff).with_last(0xffff);
    config.allow(IO_BASE, &io.into_bits().to_le_bytes());
    if kind != BridgeKind::ExpressToPci {
        let width = IoWindow::WIDTH_32;
        let io = IoWindow::new()
            .with_base_width(width)
            .with_last_width(width);
        config.set(IO_BASE, &io.into_bits().to_le_bytes());
        config.allow(IO_BASE_UPPER, &[0xff; 4]);
    }
    let memory = MemoryWindow::new().with_base(u32::MAX).with_last(u32::MAX);
    config.allow(MEMORY_BASE, &memory.into_bits().to_le_bytes());
    let width = PrefetchableWindow::WIDTH_64;
    let prefetchable = PrefetchableWindow::new()
        .with_base_width(width)
        .with_last_width(width);
    config.set(PREFETCHABLE_BASE, &prefetchable.into_bits().to_le_bytes());
    let prefetchable = PrefetchableWindow::new()
        .with_base(u32::MAX)
        .with_last(u32::MAX);
    config.allow(PREFETCHABLE_BASE, &prefetchable.into_bits().to_le_bytes());
    config.allow(PREFETCHABLE_BASE_UPPER, &[0xff; 8]);
}
