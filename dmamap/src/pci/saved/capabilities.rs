//! Control registers of capabilities: those that software sets and a reset clears, sticky ones included, as power may be lost.

use alloc::vec::Vec;

use hw::pci::capability::{ACS_CONTROL, EXPRESS_FLAGS, ExpressFlags, extended_id, id};
use hw::pci::control::{
    LINK_CONTROL, LINK_CONTROL_2, LINK_RETRAIN, ROOT_CONTROL, ResizableBarControl, SLOT_CONTROL,
    SLOT_CONTROL_2, aer, ats, ltr, pasid, pri, resizable_bar,
};
use hw::pci::msix::MESSAGE_CONTROL;
use hw::pci::reset::{DEVICE_CONTROL, DEVICE_CONTROL_2, DeviceControl, MSI_CONTROL, MsiControl};

use super::Register;
use crate::pci::{Function, PortType};
use crate::platform::Platform;

/// Control registers of one function, in the order in which they are written.
#[derive(Default)]
pub(super) struct Controls {
    /// What decides how large base address registers are.
    pub(super) before_bars: Vec<Register>,
    pub(super) after_bars: Vec<Register>,
}

impl Controls {
    /// Reads them.
    pub(super) fn of<P: Platform>(function: &Function<P>) -> Self {
        let mut this = Self::default();
        this.express(function);
        this.extended(function);
        this.messages(function);
        this
    }

    fn word<P: Platform>(&mut self, function: &Function<P>, offset: u16) {
        let register = Register::word(function.config(), offset);
        self.after_bars.push(register);
    }

    fn dword<P: Platform>(&mut self, function: &Function<P>, offset: u16) {
        let register = Register::dword(function.config(), offset);
        self.after_bars.push(register);
    }

    /// Those of the PCI Express capability (7.5.3).
    fn express<P: Platform>(&mut self, function: &Function<P>) {
        let Some(express) = function.capability(id::PCI_EXPRESS) else {
            return;
        };
        let config = function.config();
        let offset = express + DEVICE_CONTROL;
        let control = DeviceControl::from_bits(config.read(offset)).with_initiate_reset(false);
        self.after_bars
            .push(Register::Word(offset, control.into_bits()));
        // Layouts before the second end where what a function of the kind has ends, and something else follows.
        let flags = ExpressFlags::from_bits(config.read(express + EXPRESS_FLAGS));
        let is_second = flags.version() >= 2;
        let kind = function.port_type();
        let has_link = !matches!(
            kind,
            Some(PortType::IntegratedEndpoint | PortType::EventCollector)
        );
        let is_port = matches!(kind, Some(PortType::RootPort | PortType::DownstreamPort));
        let has_slot = is_port && flags.slot();
        if is_second {
            self.word(function, express + DEVICE_CONTROL_2);
        }
        if has_link {
            if is_second {
                // Before what trains the link by it.
                self.word(function, express + LINK_CONTROL_2);
            }
            let offset = express + LINK_CONTROL;
            let control = config.read::<u16>(offset) & !LINK_RETRAIN;
            self.after_bars.push(Register::Word(offset, control));
        }
        if has_slot {
            self.word(function, express + SLOT_CONTROL);
            if is_second {
                self.word(function, express + SLOT_CONTROL_2);
            }
        }
        if matches!(kind, Some(PortType::RootPort | PortType::EventCollector)) {
            self.word(function, express + ROOT_CONTROL);
        }
    }

    /// Those of extended capabilities.
    fn extended<P: Platform>(&mut self, function: &Function<P>) {
        let config = function.config();
        if let Some(at) = function.extended_capability(extended_id::RESIZABLE_BAR) {
            let first = ResizableBarControl::from_bits(config.read(at + resizable_bar::control(0)));
            let bars = u16::from(first.bars()).min(resizable_bar::MAX_BARS);
            let controls = (0..bars).map(|index| at + resizable_bar::control(index));
            self.before_bars
                .extend(controls.map(|offset| Register::dword(config, offset)));
        }
        // What keeps the function apart from others must do so before it is a bus master again.
        if let Some(at) = function.extended_capability(extended_id::ACS) {
            self.word(function, at + ACS_CONTROL);
        }
        if let Some(at) = function.extended_capability(extended_id::AER) {
            self.dword(function, at + aer::UNCORRECTABLE_MASK);
            self.dword(function, at + aer::UNCORRECTABLE_SEVERITY);
            self.dword(function, at + aer::CORRECTABLE_MASK);
            self.dword(function, at + aer::CONTROL);
            let port = function.port_type();
            if matches!(port, Some(PortType::RootPort | PortType::EventCollector)) {
                self.dword(function, at + aer::ROOT_COMMAND);
            }
        }
        if let Some(at) = function.extended_capability(extended_id::LTR) {
            self.dword(function, at + ltr::MAX_LATENCIES);
        }
        // Ids and page requests before translations: neither is changed while those are on (10.5).
        if let Some(at) = function.extended_capability(extended_id::PASID) {
            self.word(function, at + pasid::CONTROL);
        }
        if let Some(at) = function.extended_capability(extended_id::PRI) {
            self.dword(function, at + pri::ALLOCATION);
            let offset = at + pri::CONTROL;
            let control = config.read::<u16>(offset) & !pri::RESET;
            self.after_bars.push(Register::Word(offset, control));
        }
        if let Some(at) = function.extended_capability(extended_id::ATS) {
            self.word(function, at + ats::CONTROL);
        }
    }

    /// Those of message interrupts.
    fn messages<P: Platform>(&mut self, function: &Function<P>) {
        if let Some(msi) = function.capability(id::MSI) {
            let control = MsiControl::from_bits(function.config().read(msi + MSI_CONTROL));
            let fields = 2 + u16::from(control.address_64()) + u16::from(control.maskable());
            for field in 0..fields {
                self.dword(function, msi + 4 + 4 * field);
            }
            // Last, as it enables what the others describe.
            self.after_bars
                .push(Register::Word(msi + MSI_CONTROL, control.into_bits()));
        }
        if let Some(msix) = function.capability(id::MSIX) {
            self.word(function, msix + MESSAGE_CONTROL);
        }
    }
}
