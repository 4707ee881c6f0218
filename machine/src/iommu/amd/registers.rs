//! The register file: what software reads and writes, by dword or by qword (section 3.4).
//!
//! Registers are decoded in slots of 8 bytes; a dword access covers one half of a slot.

use hw::amd::regs::{
    self, Control, DeviceTableBase, ExclusionBase, ExclusionLimit, ExtendedFeatures, IntCapXt,
    MsiHeader, RingBase, RingPointer, Status,
};

use super::interrupt::Interrupt;
use super::log::EventLog;
use super::ring::CommandRing;
use crate::iommu::reporter::Reporter;

/// Everything behind the unit's registers.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) features: ExtendedFeatures,
    pub(super) device_table: DeviceTableBase,
    /// As software wrote it.
    pub(super) control: Control,
    /// What the unit was told and has not yet come to; the last one counts.
    pub(super) switching: Switching,
    /// Conditions only; what runs is computed.
    pub(super) conditions: Status,
    /// What runs, as software saw it last.
    shown: Status,
    pub(super) exclusion_base: ExclusionBase,
    pub(super) exclusion_limit: ExclusionLimit,
    pub(super) ring: CommandRing,
    pub(super) log: EventLog,
    pub(super) interrupt: Interrupt,
    /// Whether the unit's walks snoop, as firmware tells software to say.
    coherent: bool,
    reporter: Reporter,
}

/// How far a change of the control register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switching {
    Done,
    Waiting,
    Started,
}

/// Which half of a slot an access covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    Low,
    High,
    Both,
}

impl Lanes {
    fn mask(self) -> u64 {
        match self {
            Self::Low => LOW,
            Self::High => !LOW,
            Self::Both => !0,
        }
    }

    fn low(self) -> bool {
        self != Self::High
    }

    fn high(self) -> bool {
        self != Self::Low
    }
}

const LOW: u64 = 0xffff_ffff;
/// Bits of the control register that switch something this unit has.
const SWITCHES: Control = Control::new()
    .with_iommuen(true)
    .with_eventlogen(true)
    .with_eventinten(true)
    .with_comwaitinten(true)
    .with_passpw(true)
    .with_respasspw(true)
    .with_coherent(true)
    .with_isoc(true)
    .with_cmdbufen(true);
/// Bits 7:5, how long to wait for devices' own caches.
const INVALIDATION_TIMEOUT: u64 = 0xe0;

/// What a write left for the unit to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    None,
    Some,
}

fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl Registers {
    pub(super) fn new(
        features: ExtendedFeatures,
        coherent: bool,
        interrupt: Interrupt,
        reporter: Reporter,
    ) -> Self {
        Self {
            features,
            device_table: DeviceTableBase::new(),
            control: Control::new(),
            switching: Switching::Done,
            conditions: Status::new(),
            shown: Status::new(),
            exclusion_base: ExclusionBase::new(),
            exclusion_limit: ExclusionLimit::new(),
            ring: CommandRing::default(),
            log: EventLog::default(),
            interrupt,
            coherent,
            reporter,
        }
    }

    fn running(&self) -> Status {
        Status::new()
            .with_cmdbufrun(self.ring.runs())
            .with_eventlogrun(self.log.runs())
    }

    /// `Status`: what runs is shown as it was at the read before, so that a driver which does not wait is told from
    /// one that does.
    fn poll_status(&mut self) -> u64 {
        let running = self.running();
        let shown = std::mem::replace(&mut self.shown, running);
        shown.into_bits() | self.conditions.into_bits()
    }

    /// A condition arose.
    pub(super) fn raise(&mut self, change: impl FnOnce(&mut Status)) {
        change(&mut self.conditions);
        self.interrupt.update(self.conditions, self.control);
    }

    /// The rings are switched as the control register says.
    pub(super) fn switch_rings(&mut self) {
        let on = self.control.iommuen();
        self.ring.switch(on && self.control.cmdbufen());
        self.log.switch(on && self.control.eventlogen());
    }

    /// Software reads a slot.
    pub(super) fn read(&mut self, slot: u64) -> u64 {
        let interrupt = &self.interrupt;
        match slot {
            regs::DEVICE_TABLE_BASE => self.device_table.into_bits(),
            regs::COMMAND_BUFFER_BASE => self.ring.base.into_bits(),
            regs::EVENT_LOG_BASE => self.log.base.into_bits(),
            regs::CONTROL => self.control.into_bits(),
            regs::EXCLUSION_BASE => self.exclusion_base.into_bits(),
            regs::EXCLUSION_LIMIT => self.exclusion_limit.into_bits(),
            regs::EXTENDED_FEATURES => self.features.into_bits(),
            regs::MSI_HEADER if interrupt.has_msi_registers() => {
                halves(interrupt.msi.into_bits(), interrupt.address_low)
            }
            regs::MSI_ADDRESS_HIGH if interrupt.has_msi_registers() => {
                halves(interrupt.address_high, interrupt.data)
            }
            regs::INT_CAP_XT_EVENT if interrupt.has_xt_register() => interrupt.xt.into_bits(),
            regs::COMMAND_HEAD => RingPointer::from_offset(self.ring.head).into_bits(),
            regs::COMMAND_TAIL => RingPointer::from_offset(self.ring.tail).into_bits(),
            regs::EVENT_HEAD => RingPointer::from_offset(self.log.head).into_bits(),
            regs::EVENT_TAIL => RingPointer::from_offset(self.log.tail).into_bits(),
            regs::STATUS => self.poll_status(),
            _ => 0,
        }
    }

    /// Software writes a slot; `value` has its bits in place.
    pub(super) fn write(&mut self, slot: u64, lanes: Lanes, value: u64) -> Work {
        let merged = |old: u64| old & !lanes.mask() | value & lanes.mask();
        let reporter = &self.reporter;
        match slot {
            regs::DEVICE_TABLE_BASE => {
                let value = merged(self.device_table.into_bits());
                if self.control.iommuen() {
                    reporter.illegal("device table base written while the unit is enabled");
                } else {
                    reporter.check_reserved("device table base", value, DeviceTableBase::RESERVED);
                    self.device_table = DeviceTableBase::from_bits(value);
                }
            }
            regs::COMMAND_BUFFER_BASE => {
                let value = merged(self.ring.base.into_bits());
                self.ring.set_base(RingBase::from_bits(value), reporter);
            }
            regs::EVENT_LOG_BASE => {
                let value = merged(self.log.base.into_bits());
                self.log.set_base(RingBase::from_bits(value), reporter);
            }
            regs::CONTROL => {
                let value = merged(self.control.into_bits());
                return self.write_control(Control::from_bits(value));
            }
            regs::EXCLUSION_BASE => {
                let value = merged(self.exclusion_base.into_bits());
                reporter.check_reserved("exclusion base", value, ExclusionBase::RESERVED);
                self.exclusion_base = ExclusionBase::from_bits(value);
                return Work::Some;
            }
            regs::EXCLUSION_LIMIT => {
                let value = merged(self.exclusion_limit.into_bits());
                reporter.check_reserved("exclusion limit", value, ExclusionLimit::RESERVED);
                self.exclusion_limit = ExclusionLimit::from_bits(value);
                return Work::Some;
            }
            regs::MSI_HEADER if self.interrupt.has_msi_registers() => {
                if lanes.low() {
                    let enabled = MsiHeader::from_bits(value as u32).msien();
                    self.interrupt.msi.set_msien(enabled);
                }
                if lanes.high() {
                    self.interrupt.address_low = (value >> 32) as u32 & !3;
                }
            }
            regs::MSI_ADDRESS_HIGH if self.interrupt.has_msi_registers() => {
                if lanes.low() {
                    self.interrupt.address_high = value as u32;
                }
                if lanes.high() {
                    self.interrupt.data = (value >> 32) as u32 & 0xffff;
                }
            }
            regs::INT_CAP_XT_EVENT if self.interrupt.has_xt_register() => {
                let value = merged(self.interrupt.xt.into_bits());
                self.interrupt.xt = IntCapXt::from_bits(value);
            }
            regs::COMMAND_HEAD => self.ring.set_head(merged(self.ring.head), reporter),
            regs::COMMAND_TAIL => {
                self.ring.set_tail(merged(self.ring.tail), reporter);
                return Work::Some;
            }
            regs::EVENT_HEAD => self.log.set_head(merged(self.log.head), reporter),
            regs::EVENT_TAIL => self.log.set_tail(merged(self.log.tail), reporter),
            regs::STATUS => {
                let cleared = value & lanes.mask();
                let rest = self.conditions.into_bits() & !cleared;
                self.conditions = Status::from_bits(rest);
                self.interrupt.update(self.conditions, self.control);
            }
            _ => reporter.illegal(format!(
                "write of {value:#x} to offset {slot:#x}: read only, reserved, or of a function the unit lacks"
            )),
        }
        Work::None
    }

    fn write_control(&mut self, value: Control) -> Work {
        let reporter = &self.reporter;
        let mut known = SWITCHES.into_bits() | INVALIDATION_TIMEOUT;
        if self.interrupt.has_xt_register() {
            known |= Control::new()
                .with_intcapxten(true)
                .with_xten(true)
                .into_bits();
        }
        reporter.check_reserved("control", value.into_bits(), !known);
        let enables = |old: bool, new: bool| new && !old;
        if enables(self.control.iommuen(), value.iommuen()) && value.coherent() != self.coherent {
            reporter.illegal(format!(
                "enabled with Coherent {}, which firmware says is {}",
                value.coherent(),
                self.coherent
            ));
        }
        if enables(self.control.eventlogen(), value.eventlogen()) && self.conditions.eventoverflow()
        {
            reporter.illegal("event log enabled before its overflow was cleared");
        }
        if !value.eventlogen() || !value.iommuen() {
            self.log.note_disabled();
        }
        if !value.cmdbufen() || !value.iommuen() {
            self.ring.note_disabled();
        }
        self.control = value;
        self.interrupt.update(self.conditions, self.control);
        self.switching = Switching::Waiting;
        Work::Some
    }
}
