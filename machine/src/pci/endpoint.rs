//! The configuration around a device's model: identity, command, BARs, capabilities.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use board::hardware::Width;
use board::ram::Ram;
use hw::pci::capability::{
    ACS_BYTES, ACS_CONTROL, AcsFlags, AddressLines, EXPRESS_BYTES, ExpressFlags, extended_id, id,
    port_type,
};
use hw::pci::config::{
    CACHE_LINE_SIZE, COMMAND, Command, DEVICE_ID, HEADER_TYPE, HeaderType, INTERRUPT_LINE,
    REVISION_ID, STATUS, SUBSYSTEM_ID, SUBSYSTEM_VENDOR_ID, VENDOR_ID,
};
use hw::pci::msix::{Location, MESSAGE_CONTROL, MessageControl};
use parking_lot::Mutex;

use super::config_space::ConfigSpace;
use super::controls::{self, Controls};
use super::function::{Attachment, FunctionDescription, FunctionModel, FunctionPort};
use super::msix::Msix;
use super::reset::{Comeback, ResetRegisters, Resets};
use super::{STATUS_ERRORS, Space, bar};
use crate::bus::{DmaPort, Requester};
use crate::findings::{FindingKind, Findings};

/// A function with a type 0 header.
pub(crate) struct Endpoint {
    model: Arc<dyn FunctionModel>,
    description: FunctionDescription,
    requester: Arc<Requester>,
    msix: Option<(u16, Arc<Msix>)>,
    acs: Option<u16>,
    config: Mutex<ConfigSpace>,
    /// The configuration after a reset.
    fresh: ConfigSpace,
    reset_registers: ResetRegisters,
    resets: Resets,
    away: Mutex<Away>,
    is_removed: AtomicBool,
    findings: Findings,
}

/// Whether a function answers.
#[derive(Clone, Copy, Debug)]
enum Away {
    No,
    Until(Instant),
    ForEver,
}

/// Vendor id of a function that asks to be tried again (PCI Express base specification, 2.3.2).
const VENDOR_NOT_READY: u64 = 0xffff_0001;
/// What a function is in its device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InDevice {
    /// Whether the device has others.
    pub(crate) functions: Functions,
    /// Its access control services, if any.
    pub(crate) acs: Option<AcsFlags>,
}

/// How many functions a device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Functions {
    #[default]
    One,
    Several,
}

/// What firmware left of a function when it handed the computer over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtBoot {
    /// As after reset.
    Idle,
    /// At work: a bus master.
    Running,
}

/// Where an access meets a function.
pub(crate) struct Hit {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) bar: usize,
    pub(crate) offset: u64,
}

impl Endpoint {
    /// Puts `model` behind a configuration space, with `port` as its way to memory.
    pub(crate) fn new(
        model: Arc<dyn FunctionModel>,
        description: FunctionDescription,
        port: DmaPort,
        at_boot: AtBoot,
        in_device: InDevice,
        resets: Resets,
        findings: Findings,
    ) -> Self {
        let mut config = match description.attachment {
            Attachment::Express => ConfigSpace::express(),
            Attachment::Conventional => ConfigSpace::conventional(),
        };
        header(&mut config, &description);
        for description in &description.bars {
            bar::install(&mut config, description);
        }
        let express = (description.attachment == Attachment::Express)
            .then(|| express_capability(&mut config, port_type::ENDPOINT));
        let reset_registers = ResetRegisters::install(&mut config, express, resets.kind);
        if in_device.functions == Functions::Several {
            let header = HeaderType::new().with_multi_function(true);
            config.set(HEADER_TYPE, &header.into_bits().to_le_bytes());
        }
        let acs = in_device
            .acs
            .map(|flags| acs_capability(&mut config, flags));
        if let (Controls::All, Some(express)) = (resets.controls, express) {
            controls::endpoint(&mut config, express);
        }
        let msix = description.msix.map(|msix| {
            let mut body = Vec::with_capacity(10);
            let control = MessageControl::new().with_table_size(msix.vectors - 1);
            body.extend(control.into_bits().to_le_bytes());
            for offset in [msix.table_offset, msix.pending_offset] {
                let location = Location::new().with_bar(msix.bar as u8).with_offset(offset);
                body.extend(location.into_bits().to_le_bytes());
            }
            let offset = config.add_capability(id::MSIX, &body);
            let writable = MessageControl::new()
                .with_enable(true)
                .with_function_mask(true);
            config.allow(
                offset + MESSAGE_CONTROL,
                &writable.into_bits().to_le_bytes(),
            );
            (offset, Arc::new(Msix::new(msix, port.clone())))
        });
        if description.address_lines < 64 {
            config.add_capability(
                id::VENDOR_SPECIFIC,
                &[AddressLines::BYTES, description.address_lines as u8],
            );
        }
        for body in model.vendor_capabilities() {
            config.add_capability(id::VENDOR_SPECIFIC, &body);
        }
        let requester = Arc::clone(port.requester());
        let fresh = config.clone();
        if at_boot == AtBoot::Running {
            let command = Command::new().with_bus_master(true);
            config.set(COMMAND, &command.into_bits().to_le_bytes());
            requester.set_master(true);
        }
        let function_port =
            FunctionPort::new(port, msix.as_ref().map(|(_, msix)| Arc::clone(msix)));
        Arc::clone(&model).start(function_port);
        Self {
            model,
            description,
            requester,
            msix,
            acs,
            config: Mutex::new(config),
            fresh,
            reset_registers,
            resets,
            away: Mutex::new(Away::No),
            is_removed: AtomicBool::new(false),
            findings,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.description.name
    }

    pub(crate) fn requester(&self) -> &Arc<Requester> {
        &self.requester
    }

    pub(crate) fn read_config(&self, offset: u16, width: Width) -> u64 {
        if self.is_removed() {
            return width.ones();
        }
        if self.is_away() {
            return match offset {
                VENDOR_ID => VENDOR_NOT_READY & width.ones(),
                _ => width.ones(),
            };
        }
        let mut config = self.config.lock();
        self.reset_registers
            .show_pending(&mut config, self.requester.pending());
        config.read(offset, width)
    }

    /// A configuration write that reached the function on `bus`.
    pub(crate) fn write_config(&self, bus: u8, offset: u16, width: Width, value: u64) {
        if self.is_removed() || self.is_away() {
            return;
        }
        self.requester.capture_bus(bus);
        let (control, resets) = {
            let mut config = self.config.lock();
            let resets = self.reset_registers.starts(&config, offset, width, value);
            config.write(offset, width, value);
            self.requester
                .set_master(Command::from_bits(config.word(COMMAND)).bus_master());
            let control = self
                .msix
                .as_ref()
                .map(|(at, _)| config.word(at + MESSAGE_CONTROL));
            (control, resets)
        };
        if resets {
            return self.reset();
        }
        // A message that waited may go out now: not under the lock.
        if let Some((control, (_, msix))) = control.zip(self.msix.as_ref()) {
            msix.set_control(MessageControl::from_bits(control));
        }
    }

    /// Resets the function.
    pub(crate) fn reset(&self) {
        self.requester.set_master(false);
        let pending = self.requester.pending();
        if pending > 0 {
            let detail = format!("reset while {pending} requests wait for their completions");
            self.findings
                .report(self.name(), FindingKind::ProtocolViolation, detail);
        }
        self.forget();
        *self.away.lock() = match self.resets.comeback {
            Comeback::After(time) => Away::Until(Instant::now() + time),
            Comeback::Never => Away::ForEver,
        };
    }

    /// The function has power again after it had none: it is as after a reset, and answers.
    pub(crate) fn power_cycle(&self) {
        self.requester.set_master(false);
        self.forget();
    }

    fn forget(&self) {
        self.config.lock().clone_from(&self.fresh);
        if let Some((_, msix)) = &self.msix {
            msix.reset();
        }
        self.model.reset();
    }

    /// Pulls the function out: nothing answers, and it makes no requests any more.
    pub(crate) fn remove(&self) {
        self.requester.remove();
        self.is_removed.store(true, Ordering::Release);
    }

    fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    fn is_away(&self) -> bool {
        match *self.away.lock() {
            Away::No => false,
            Away::Until(then) => Instant::now() < then,
            Away::ForEver => true,
        }
    }

    /// Whether requests to other functions of the device go up instead.
    pub(crate) fn redirects(&self) -> bool {
        redirects(&self.config.lock(), self.acs)
    }

    /// The BAR that decodes all `len_bytes` bytes at `bus`, and the offset in it.
    pub(crate) fn decode(&self, space: Space, bus: u64, len_bytes: u64) -> Option<(usize, u64)> {
        if self.is_removed() || self.is_away() {
            return None;
        }
        let enabled = {
            let config = self.config.lock();
            let command = Command::from_bits(config.word(COMMAND));
            match space {
                Space::Memory => command.memory_space(),
                Space::Io => command.io_space(),
            }
        };
        enabled.then(|| self.bar_at(space, bus, len_bytes))?
    }

    /// The memory that has all `len_bytes` bytes at `bus`, whether it decodes or not, and the offset in it.
    pub(crate) fn memory_at(&self, bus: u64, len_bytes: u64) -> Option<(&Arc<Ram>, u64)> {
        if self.is_removed() {
            return None;
        }
        let (bar, offset) = self.bar_at(Space::Memory, bus, len_bytes)?;
        Some((self.memory(bar)?, offset))
    }

    fn bar_at(&self, space: Space, bus: u64, len_bytes: u64) -> Option<(usize, u64)> {
        let config = self.config.lock();
        self.description
            .bars
            .iter()
            .filter(|bar| bar::space(bar.kind) == space)
            .find_map(|bar| {
                let offset = bus.checked_sub(bar::base(&config, bar))?;
                let inside = offset < bar.len_bytes && len_bytes <= bar.len_bytes - offset;
                inside.then_some((bar.index, offset))
            })
    }

    /// The memory behind BAR `bar`, if that is memory.
    pub(crate) fn memory(&self, bar: usize) -> Option<&Arc<Ram>> {
        self.model.memory(bar)
    }

    pub(crate) fn read(&self, bar: usize, offset: u64, width: Width) -> u64 {
        let msix = self
            .msix
            .as_ref()
            .and_then(|(_, msix)| msix.read(bar, offset, width));
        msix.unwrap_or_else(|| self.model.read(bar, offset, width) & width.ones())
    }

    pub(crate) fn write(&self, bar: usize, offset: u64, width: Width, value: u64) {
        let value = value & width.ones();
        let msix = self
            .msix
            .as_ref()
            .and_then(|(_, msix)| msix.write(bar, offset, width, value));
        if msix.is_none() {
            self.model.write(bar, offset, width, value);
        }
    }

    /// Ends and joins the model's threads.
    pub(crate) fn stop(&self) {
        self.model.stop();
    }
}

fn header(config: &mut ConfigSpace, description: &FunctionDescription) {
    config.set(VENDOR_ID, &description.vendor_id.to_le_bytes());
    config.set(DEVICE_ID, &description.device_id.to_le_bytes());
    config.set(
        REVISION_ID,
        &(description.class_code << 8 | 1).to_le_bytes(),
    );
    config.set(SUBSYSTEM_VENDOR_ID, &description.vendor_id.to_le_bytes());
    config.set(SUBSYSTEM_ID, &description.device_id.to_le_bytes());
    let has = |space| {
        description
            .bars
            .iter()
            .any(|bar| bar::space(bar.kind) == space)
    };
    let command = Command::new()
        .with_io_space(has(Space::Io))
        .with_memory_space(has(Space::Memory))
        .with_bus_master(true)
        .with_parity_error_response(true)
        .with_serr(true)
        .with_interrupt_disable(true);
    config.allow(COMMAND, &command.into_bits().to_le_bytes());
    config.allow_clear(STATUS, &STATUS_ERRORS.to_le_bytes());
    config.allow(CACHE_LINE_SIZE, &[0xff]);
    config.allow(INTERRUPT_LINE, &[0xff]);
}

/// Adds access control services that can do `flags` and do nothing yet; returns where.
pub(super) fn acs_capability(config: &mut ConfigSpace, flags: AcsFlags) -> u16 {
    let mut body = [0; ACS_BYTES as usize - 4];
    body[..2].copy_from_slice(&flags.into_bits().to_le_bytes());
    let offset = config.add_extended_capability(extended_id::ACS, &body);
    config.allow(offset + ACS_CONTROL, &flags.into_bits().to_le_bytes());
    offset
}

/// Whether the access control services at `acs` send requests to peers up.
pub(super) fn redirects(config: &ConfigSpace, acs: Option<u16>) -> bool {
    acs.is_some_and(|offset| {
        AcsFlags::from_bits(config.word(offset + ACS_CONTROL)).request_redirect()
    })
}

/// Adds a PCI Express capability, version 2, of a function of this [`port_type`]; returns its offset.
pub(super) fn express_capability(config: &mut ConfigSpace, port_type: u8) -> u16 {
    let mut body = [0; EXPRESS_BYTES as usize - 2];
    let flags = ExpressFlags::new()
        .with_version(2)
        .with_port_type(port_type);
    body[..2].copy_from_slice(&flags.into_bits().to_le_bytes());
    config.add_capability(id::PCI_EXPRESS, &body)
}
