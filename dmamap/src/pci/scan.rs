//! Finds functions and numbers buses, depth first.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hw::pci::bridge::{BusNumbers, PRIMARY_BUS};
use hw::pci::config::{
    COMMAND, ClassRevision, Command, DEVICE_ID, EXPANSION_ROM, HEADER_TYPE, HEADER_TYPE0,
    HEADER_TYPE1, HeaderType, REVISION_ID, VENDOR_ID, VENDOR_NONE,
};
use hw::pci::{DEVICES_PER_BUS, FUNCTIONS_PER_DEVICE};

use super::bar::SizedBars;
use super::capability::{Capabilities, PortType};
use super::config::{ConfigSpace, FunctionConfig};
use super::found::{Found, Header};
use super::quiesce::quiesce_found;
use super::{BridgeBuses, DevicePath, PciAddress, Problem};
use crate::platform::Platform;

/// How long functions may ask to be tried again: what PCI Express gives each after a reset (6.6.1). All were
/// reset at one time, so that it suffices for all of them together.
const READY_WITHIN_NS: u64 = 1_000_000_000;

/// Vendor id of a function that is not ready yet (2.3.2).
const VENDOR_NOT_READY: u16 = 0x0001;

/// Finds every function of `first_bus` and of the buses behind it. A bridge comes before what is behind it.
pub(crate) fn scan<P: Platform>(
    platform: P,
    space: &Arc<ConfigSpace<P>>,
    first_bus: u8,
    last_bus: u8,
    problems: &mut Vec<Problem>,
) -> Vec<Found<P>> {
    let mut scan = Scan {
        platform,
        space,
        last_bus,
        highest_bus: first_bus,
        patience_ns: READY_WITHIN_NS,
        found: Vec::new(),
        problems,
    };
    scan.bus(first_bus, None);
    scan.found
}

struct Scan<'a, P: Platform> {
    platform: P,
    space: &'a Arc<ConfigSpace<P>>,
    last_bus: u8,
    /// The highest bus number given out.
    highest_bus: u8,
    /// What is left of [`READY_WITHIN_NS`] once a function used it up.
    patience_ns: u64,
    found: Vec<Found<P>>,
    problems: &'a mut Vec<Problem>,
}

impl<P: Platform> Scan<'_, P> {
    /// Finds what is on `bus`, then what is behind the bridges there. As deep as there are bus numbers.
    fn bus(&mut self, bus: u8, parent: Option<usize>) {
        let first = self.found.len();
        let port = parent.and_then(|parent| self.found[parent].capabilities.port_type);
        // At the end of a link there is only device 0 (7.3.1); others may be its echo.
        let devices = if port.is_some_and(PortType::has_link_below) {
            1
        } else {
            DEVICES_PER_BUS
        };
        for device in 0..devices {
            self.device(bus, device, parent);
        }
        for bridge in first..self.found.len() {
            if self.found[bridge].is_bridge() {
                self.behind(bridge);
            }
        }
    }

    fn device(&mut self, bus: u8, device: u8, parent: Option<usize>) {
        for function in 0..FUNCTIONS_PER_DEVICE {
            let address = PciAddress {
                segment: self.space.segment(),
                bus,
                device,
                function,
            };
            let config = FunctionConfig::new(self.space, address);
            let header = self.function(config, parent);
            // Without function 0 there is no device; other functions only if it says so.
            if function == 0 && !header.is_some_and(|header| header.multi_function()) {
                return;
            }
        }
    }

    /// Looks at one function; gives its header type if there is one.
    fn function(&mut self, config: FunctionConfig<P>, parent: Option<usize>) -> Option<HeaderType> {
        let address = config.address();
        let vendor = self.vendor(&config)?;
        let header_type = HeaderType::from_bits(config.read(HEADER_TYPE));
        let header = match header_type.layout() {
            HEADER_TYPE0 => Header::Device,
            HEADER_TYPE1 => Header::Bridge(None),
            layout => {
                self.problems
                    .push(Problem::UnknownHeader { address, layout });
                switch_off(&config);
                return Some(header_type);
            }
        };
        if header == Header::Device {
            config.write(EXPANSION_ROM, 0u32);
        } else {
            config.write(hw::pci::bridge::EXPANSION_ROM, 0u32);
            // Numbers left by firmware would let two bridges answer for one bus.
            write_numbers(&config, BusNumbers::new());
        }
        self.found.push(Found {
            vendor,
            device: config.read(DEVICE_ID),
            class: ClassRevision::from_bits(config.read(REVISION_ID)),
            header,
            parent,
            capabilities: Capabilities::read(&config, self.problems),
            bars: SizedBars::default(),
            config,
        });
        Some(header_type)
    }

    /// The vendor id, once the function is ready to tell it.
    fn vendor(&mut self, config: &FunctionConfig<P>) -> Option<u16> {
        let start_ns = self.platform.now_ns();
        loop {
            match config.read(VENDOR_ID) {
                VENDOR_NONE | 0 => return None,
                VENDOR_NOT_READY => {}
                vendor => return Some(vendor),
            }
            let waited_ns = self.platform.now_ns().saturating_sub(start_ns);
            if waited_ns >= self.patience_ns {
                self.patience_ns = 0;
                let address = config.address();
                self.problems.push(Problem::NotReady { address, waited_ns });
                return None;
            }
            self.platform.relax();
        }
    }

    /// Numbers the bus behind a bridge and finds what is there.
    fn behind(&mut self, bridge: usize) {
        let config = self.found[bridge].config.clone();
        let address = config.address();
        let Some(secondary) = self
            .highest_bus
            .checked_add(1)
            .filter(|bus| *bus <= self.last_bus)
        else {
            let last_bus = self.last_bus;
            self.problems
                .push(Problem::BusNumbersExhausted { address, last_bus });
            return;
        };
        // While looking behind it, the bridge passes on everything that may turn up there.
        let open = BusNumbers::new()
            .with_primary(address.bus)
            .with_secondary(secondary)
            .with_subordinate(self.last_bus);
        if !write_numbers(&config, open) {
            write_numbers(&config, BusNumbers::new());
            self.problems.push(Problem::BusNumbersRefused { address });
            return;
        }
        self.highest_bus = secondary;
        self.bus(secondary, Some(bridge));
        let subordinate = self.highest_bus;
        write_numbers(&config, open.with_subordinate(subordinate));
        self.found[bridge].header = Header::Bridge(Some(BridgeBuses {
            secondary,
            subordinate,
        }));
    }
}

/// Writes a bridge's bus numbers; whether it keeps them.
fn write_numbers<P: Platform>(config: &FunctionConfig<P>, numbers: BusNumbers) -> bool {
    let timer = BusNumbers::from_bits(config.read(PRIMARY_BUS)).secondary_latency_timer();
    let numbers = numbers.with_secondary_latency_timer(timer);
    config.write(PRIMARY_BUS, numbers.into_bits());
    let kept = BusNumbers::from_bits(config.read(PRIMARY_BUS));
    kept.with_secondary_latency_timer(timer) == numbers
}

/// Ends what a function does by itself and what it answers to.
fn switch_off<P: Platform>(config: &FunctionConfig<P>) {
    config.modify_command(|command| {
        command
            .with_io_space(false)
            .with_memory_space(false)
            .with_bus_master(false)
    });
}

/// Switches bus mastering off but for functions that firmware keeps at work, and the bridges on their way.
pub(crate) fn stop_bus_masters<P: Platform>(
    platform: P,
    found: &[Found<P>],
    kept: &[DevicePath<'_>],
    problems: &mut Vec<Problem>,
) {
    let mut stays = alloc::vec![false; found.len()];
    for path in kept {
        let look_up = |address| {
            let index = found
                .iter()
                .position(|function| function.address() == address)?;
            Some((index, found[index].buses().map(|buses| buses.secondary)))
        };
        match path.resolve(look_up) {
            Ok(function) => {
                let mut way = core::iter::successors(Some(function), |&at| found[at].parent);
                way.by_ref().for_each(|at| stays[at] = true);
            }
            Err(error) => problems.push(Problem::KeptNotFound(error)),
        }
    }
    for (function, _) in found.iter().zip(&stays).filter(|(_, stays)| !**stays) {
        let command = Command::from_bits(function.config.read(COMMAND));
        if command.bus_master() {
            function
                .config
                .modify_command(|command| command.with_bus_master(false));
        }
    }
    let others = found.iter().zip(stays).filter(|(_, stays)| !stays);
    quiesce_found(platform, others.map(|(function, _)| function), problems);
}
