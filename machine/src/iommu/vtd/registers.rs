//! The register file: what software reads and writes, by dword or by qword (chapter 11).
//!
//! Registers are decoded in slots of 8 bytes; a dword access covers one half of a slot.

use hw::vtd::regs::{
    self, Cap, CompletionStatus, ContextCommand, ContextGranularity, Ecap, EventControl,
    FaultStatus, GlobalCommand, InvalidateAddress, IotlbGranularity, IotlbInvalidate, QueueAddress,
    QueuePointer, RootTableAddress, Version,
};

use super::command::Commands;
use super::event::Event;
use super::fault::FaultLog;
use super::queue::Queue;
use crate::iommu::reporter::Reporter;

/// Everything behind the unit's page of registers.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) cap: Cap,
    pub(super) ecap: Ecap,
    pub(super) commands: Commands,
    pub(super) root_table: RootTableAddress,
    pub(super) context_command: ContextCommand,
    pub(super) invalidate_address: InvalidateAddress,
    pub(super) iotlb_invalidate: IotlbInvalidate,
    pub(super) faults: FaultLog,
    pub(super) completion: CompletionStatus,
    pub(super) completion_event: Event,
    pub(super) queue: Queue,
    reporter: Reporter,
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
/// The slot before a register that lies in the upper half of it.
const UPPER_HALF: u64 = 4;
const FSTS_SLOT: u64 = regs::FSTS_REG - UPPER_HALF;
const PMEN_SLOT: u64 = regs::PMEN_REG - UPPER_HALF;
const ICS_SLOT: u64 = regs::ICS_REG - UPPER_HALF;
const F_BIT: u64 = 1 << 63;

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
        cap: Cap,
        ecap: Ecap,
        faults: FaultLog,
        completion_event: Event,
        reporter: Reporter,
    ) -> Self {
        Self {
            cap,
            ecap,
            commands: Commands::default(),
            root_table: RootTableAddress::new(),
            context_command: ContextCommand::new(),
            invalidate_address: InvalidateAddress::new(),
            iotlb_invalidate: IotlbInvalidate::new(),
            faults,
            completion: CompletionStatus::new(),
            completion_event,
            queue: Queue::default(),
            reporter,
        }
    }

    /// Whether a slot holds two registers of 32 bits, which one access must not touch together.
    pub(super) fn is_pair(slot: u64) -> bool {
        matches!(
            slot,
            regs::VER_REG
                | regs::GCMD_REG
                | FSTS_SLOT
                | regs::FECTL_REG
                | regs::FEADDR_REG
                | PMEN_SLOT
                | regs::PLMBASE_REG
                | ICS_SLOT
                | regs::IECTL_REG
                | regs::IEADDR_REG
        )
    }

    /// The index and half of the fault recording register in a slot.
    fn fault_record(&self, slot: u64) -> Option<(usize, usize)> {
        let word = slot.checked_sub(regs::fault_record(self.cap, 0))? / 8;
        (word / 2 < self.cap.fault_records()).then_some((word as usize / 2, word as usize % 2))
    }

    /// Software reads a slot.
    pub(super) fn read(&mut self, slot: u64, lanes: Lanes) -> u64 {
        if let Some((index, half)) = self.fault_record(slot) {
            return self.faults.record(index)[half];
        }
        if slot == regs::iotlb(self.ecap) {
            return self.iotlb_invalidate.into_bits();
        }
        match slot {
            regs::VER_REG => halves(Version::new().with_max(1).into_bits(), 0),
            regs::CAP_REG => self.cap.into_bits(),
            regs::ECAP_REG => self.ecap.into_bits(),
            // GCMD is write only.
            regs::GCMD_REG if lanes.high() => halves(0, self.commands.poll_status().into_bits()),
            regs::RTADDR_REG => self.root_table.into_bits(),
            regs::CCMD_REG => self.context_command.into_bits(),
            FSTS_SLOT => halves(0, self.faults.status().into_bits()),
            regs::FECTL_REG => read_control(&self.faults.event),
            regs::FEADDR_REG => read_address(&self.faults.event),
            regs::IQH_REG => QueuePointer::from_offset(self.queue.head).into_bits(),
            regs::IQT_REG => QueuePointer::from_offset(self.queue.tail).into_bits(),
            regs::IQA_REG => self.queue.address.into_bits(),
            ICS_SLOT => halves(0, self.completion.into_bits()),
            regs::IECTL_REG => read_control(&self.completion_event),
            regs::IEADDR_REG => read_address(&self.completion_event),
            regs::IQERCD_REG => self.queue.error.into_bits(),
            _ => 0,
        }
    }

    /// Software writes a slot; `value` has its bits in place.
    pub(super) fn write(&mut self, slot: u64, lanes: Lanes, value: u64) -> Work {
        let merged = |old: u64| old & !lanes.mask() | value & lanes.mask();
        let high = (value >> 32) as u32;
        if let Some((index, half)) = self.fault_record(slot) {
            if half == 1 && lanes.high() && value & F_BIT != 0 {
                self.faults.free_record(index);
            }
            return Work::None;
        }
        if slot == regs::iva(self.ecap) {
            let address = merged(self.invalidate_address.into_bits());
            self.reporter.check_reserved("IVA", address, 0xf80);
            self.invalidate_address = InvalidateAddress::from_bits(address);
            return Work::None;
        }
        if slot == regs::iotlb(self.ecap) {
            return self.write_iotlb(IotlbInvalidate::from_bits(merged(
                self.iotlb_invalidate.into_bits(),
            )));
        }
        match slot {
            regs::GCMD_REG if lanes.low() => {
                self.commands.write(GlobalCommand::from_bits(value as u32), &self.reporter);
                return Work::Some;
            }
            regs::RTADDR_REG => {
                self.root_table = RootTableAddress::from_bits(merged(self.root_table.into_bits()));
            }
            regs::CCMD_REG => {
                let command = merged(self.context_command.into_bits());
                return self.write_context_command(ContextCommand::from_bits(command));
            }
            FSTS_SLOT if lanes.high() => {
                self.faults.write_status(FaultStatus::from_bits(high));
                return Work::Some;
            }
            regs::FECTL_REG => write_control(&mut self.faults.event, lanes, value),
            regs::FEADDR_REG => write_address(&mut self.faults.event, lanes, value),
            regs::IQT_REG => {
                self.reporter.check_reserved("IQT", value, !0x7_fff0);
                self.queue.write_tail(QueuePointer::from_bits(merged(self.queue.tail)));
                return Work::Some;
            }
            regs::IQA_REG => self.write_queue_address(merged(self.queue.address.into_bits())),
            ICS_SLOT if lanes.high() => {
                if CompletionStatus::from_bits(high).iwc() {
                    self.completion.set_iwc(false);
                    self.completion_event.serviced();
                }
            }
            regs::IECTL_REG => write_control(&mut self.completion_event, lanes, value),
            regs::IEADDR_REG => write_address(&mut self.completion_event, lanes, value),
            _ => self.reporter.illegal(format!(
                "write of {value:#x} to offset {:#x}: read only, reserved, or of a function the unit lacks",
                if lanes == Lanes::High { slot + UPPER_HALF } else { slot }
            )),
        }
        Work::None
    }

    fn write_queue_address(&mut self, value: u64) {
        if self.queue.enabled {
            self.reporter
                .illegal(format!("IQA {value:#x} written while the queue is enabled"));
            return;
        }
        // Descriptors of 256 bits belong to scalable mode.
        let wide = self.ecap.smts();
        self.reporter
            .check_reserved("IQA", value, if wide { 0x7f8 } else { 0xff8 });
        let address = QueueAddress::from_bits(value);
        self.queue.address = address.with_dw(wide && address.dw());
    }

    fn write_context_command(&mut self, command: ContextCommand) -> Work {
        if self.context_command.icc() {
            self.reporter
                .illegal("CCMD written before the invalidation before was done");
            return Work::None;
        }
        self.context_command = command.with_caig(self.context_command.caig());
        if !command.icc() {
            return Work::None;
        }
        if self.queue.enabled {
            self.reporter
                .illegal("CCMD invalidation while the invalidation queue is enabled");
            self.context_command.set_icc(false);
            self.context_command.set_caig(ContextGranularity::Reserved);
        }
        Work::Some
    }

    fn write_iotlb(&mut self, command: IotlbInvalidate) -> Work {
        if self.iotlb_invalidate.ivt() {
            self.reporter
                .illegal("IOTLB written before the invalidation before was done");
            return Work::None;
        }
        self.iotlb_invalidate = command.with_iaig(self.iotlb_invalidate.iaig());
        if !command.ivt() {
            return Work::None;
        }
        if self.queue.enabled {
            self.reporter
                .illegal("IOTLB invalidation while the invalidation queue is enabled");
            self.iotlb_invalidate.set_ivt(false);
            self.iotlb_invalidate.set_iaig(IotlbGranularity::Reserved);
        }
        Work::Some
    }
}

fn read_control(event: &Event) -> u64 {
    halves(event.control().into_bits(), event.data)
}

fn read_address(event: &Event) -> u64 {
    halves(event.address(), event.upper_address)
}

fn write_control(event: &mut Event, lanes: Lanes, value: u64) {
    if lanes.high() {
        event.data = (value >> 32) as u32;
    }
    if lanes.low() {
        event.write_control(EventControl::from_bits(value as u32));
    }
}

fn write_address(event: &mut Event, lanes: Lanes, value: u64) {
    if lanes.low() {
        event.set_address(value as u32);
    }
    if lanes.high() {
        event.upper_address = (value >> 32) as u32;
    }
}
