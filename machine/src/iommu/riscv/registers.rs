//! The register file: what software reads and writes, by dword or by qword (chapter 5).
//!
//! Registers are decoded in slots of 8 bytes; a dword access covers one half of a slot.

use hw::riscv::fault::FaultRecord;
use hw::riscv::regs::{
    self, Capabilities, CauseVectors, CommandQueueControl, Ddtp, FaultQueueControl, Features,
    InterruptGeneration, InterruptPending, MSI_CFG_ENTRIES, MSI_CFG_ENTRY_BYTES, MSI_CFG_TBL,
    MessageAddress, QueueBase, VectorControl,
};

use super::ddtp::DirectoryPointer;
use super::event::{Events, Signal, Source};
use super::fault::{FaultQueue, Logged};
use super::queue::{Queue, Switch};
use crate::cache::MemoryView;
use crate::iommu::reporter::Reporter;
use crate::temper::Dice;

/// Everything behind the unit's page of registers.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) capabilities: Capabilities,
    pub(super) features: Features,
    pub(super) ddtp: DirectoryPointer,
    pub(super) queue: Queue,
    pub(super) faults: FaultQueue,
    pub(super) events: Events,
    reporter: Reporter,
    /// What registers hold that the manual leaves open.
    dice: Dice,
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
const IPSR_SLOT: u64 = regs::IPSR - UPPER_HALF;
const MSI_CFG_END: u64 = MSI_CFG_TBL + MSI_CFG_ENTRIES * MSI_CFG_ENTRY_BYTES;
/// Bits of `cqb` and `fqb` that are reserved.
const QUEUE_RESERVED: u64 = 0xffc0_0000_0000_03e0;
/// Bits of `cqcsr` and `fqcsr` that are reserved, those for custom use left out.
const CQCSR_RESERVED: u64 = 0x0ffc_f0fc;
const FQCSR_RESERVED: u64 = 0x0ffc_fcfc;

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
        capabilities: Capabilities,
        ddtp: DirectoryPointer,
        events: Events,
        reporter: Reporter,
        seed: u64,
    ) -> Self {
        Self {
            capabilities,
            features: Features::new().with_wsi(capabilities.igs() == InterruptGeneration::Wsi),
            ddtp,
            queue: Queue::default(),
            faults: FaultQueue::default(),
            events,
            reporter,
            dice: Dice::new(seed),
        }
    }

    /// Whether a slot holds two registers of 32 bits, which one access must not touch together.
    pub(super) fn is_pair(slot: u64) -> bool {
        matches!(
            slot,
            regs::FCTL
                | regs::CQH
                | regs::FQH
                | regs::PQH
                | regs::CQCSR
                | IPSR_SLOT
                | regs::IOCOUNTOVF
        ) || (MSI_CFG_TBL..MSI_CFG_END).contains(&slot) && slot % MSI_CFG_ENTRY_BYTES == 8
    }

    fn signal(&self) -> Signal {
        if self.features.wsi() {
            Signal::Wire
        } else {
            Signal::Message
        }
    }

    /// Raises the interrupts whose conditions are there (5.18).
    pub(super) fn raise_conditions(&mut self) {
        let signal = self.signal();
        if self.queue.condition() {
            self.events.raise(Source::CommandQueue, signal);
        }
        if self.faults.condition() {
            self.events.raise(Source::FaultQueue, signal);
        }
    }

    /// Records a fault in memory, and says so (3.2).
    pub(super) fn log_fault(&mut self, memory: &MemoryView, fault: FaultRecord) -> Logged {
        let logged = self.faults.log(memory, fault);
        if logged == Logged::Recorded && self.faults.control.fie() {
            self.events.raise(Source::FaultQueue, self.signal());
        }
        self.raise_conditions();
        logged
    }

    /// The entry of the message table in a slot, and which half of it.
    fn message(slot: u64) -> Option<(u64, u64)> {
        let offset = slot
            .checked_sub(MSI_CFG_TBL)
            .filter(|_| slot < MSI_CFG_END)?;
        Some((offset / MSI_CFG_ENTRY_BYTES, offset % MSI_CFG_ENTRY_BYTES))
    }

    /// Software reads a slot.
    pub(super) fn read(&mut self, slot: u64, lanes: Lanes) -> u64 {
        if let Some((vector, half)) = Self::message(slot) {
            return match (self.message_entry(vector), half) {
                (None, _) => 0,
                (Some(entry), 0) => entry.address.into_bits(),
                (Some(entry), _) => halves(entry.data, entry.control.into_bits()),
            };
        }
        match slot {
            regs::CAPABILITIES => self.capabilities.into_bits(),
            regs::FCTL => halves(self.features.into_bits(), 0),
            regs::DDTP => self.ddtp.poll().into_bits(),
            regs::CQB => self.queue.base.into_bits(),
            regs::CQH => halves(self.queue.head, self.queue.tail),
            regs::FQB => self.faults.base.into_bits(),
            regs::FQH => halves(self.faults.head, self.faults.tail),
            regs::CQCSR => {
                let (mut low, mut high) = (0, 0);
                if lanes.low() {
                    low = self.queue.poll().into_bits();
                }
                if lanes.high() {
                    high = self.faults.poll().into_bits();
                }
                halves(low, high)
            }
            IPSR_SLOT => halves(0, self.events.pending().into_bits()),
            regs::ICVEC => self.events.vectors().into_bits(),
            _ => 0,
        }
    }

    fn message_entry(&mut self, vector: u64) -> Option<&mut super::event::Entry> {
        // Where the unit signals by wires alone the table is hardwired to 0 (5.28).
        let by_wire = self.capabilities.igs() == InterruptGeneration::Wsi;
        self.events.entry(vector).filter(|_| !by_wire)
    }

    /// Software writes a slot; `value` has its bits in place.
    pub(super) fn write(&mut self, slot: u64, lanes: Lanes, value: u64) -> Work {
        let merged = |old: u64| old & !lanes.mask() | value & lanes.mask();
        let (low, high) = (value as u32, (value >> 32) as u32);
        if let Some((vector, half)) = Self::message(slot) {
            self.write_message(vector, half, lanes, merged, value);
            return Work::None;
        }
        match slot {
            regs::FCTL if lanes.low() => self.write_features(Features::from_bits(low)),
            regs::DDTP => {
                // Two accesses write the upper half first (5); the lower one, with the mode, acts.
                let value = Ddtp::from_bits(merged(self.ddtp.poll().into_bits()));
                if lanes.low() {
                    self.ddtp.write(value, &self.reporter);
                    return Work::Some;
                }
                self.ddtp.write_upper(value);
            }
            regs::CQB => self.write_command_base(merged(self.queue.base.into_bits())),
            regs::CQH if lanes == Lanes::High => {
                self.queue.write_tail(high);
                return Work::Some;
            }
            regs::FQB => self.write_fault_base(merged(self.faults.base.into_bits())),
            regs::FQH if lanes == Lanes::Low => {
                self.faults.head = low & self.faults.index_mask();
            }
            regs::CQCSR if lanes == Lanes::Low => return self.write_command_control(low),
            regs::CQCSR if lanes == Lanes::High => return self.write_fault_control(high),
            IPSR_SLOT if lanes == Lanes::High => {
                self.reporter.check_reserved("ipsr", high.into(), 0xffff_00f0);
                self.events.clear(InterruptPending::from_bits(high));
                self.raise_conditions();
            }
            regs::ICVEC => {
                let vectors = merged(self.events.vectors().into_bits());
                self.events.set_vectors(CauseVectors::from_bits(vectors));
            }
            _ => self.reporter.illegal(format!(
                "write of {value:#x} to offset {:#x}: read only, reserved, or of a function the unit lacks",
                if lanes == Lanes::High { slot + UPPER_HALF } else { slot }
            )),
        }
        Work::None
    }

    fn write_message(
        &mut self,
        vector: u64,
        half: u64,
        lanes: Lanes,
        merged: impl Fn(u64) -> u64,
        value: u64,
    ) {
        let Some(entry) = self.message_entry(vector) else {
            self.reporter
                .illegal(format!("message of vector {vector}, which the unit lacks"));
            return;
        };
        if half == 0 {
            let address = MessageAddress::from_bits(merged(entry.address.into_bits()));
            entry.address = MessageAddress::new().with_addr(address.addr());
            return;
        }
        if lanes.low() {
            entry.data = value as u32;
        }
        if lanes.high() {
            let control = VectorControl::from_bits((value >> 32) as u32);
            self.events.write_control(vector, control);
        }
    }

    /// Only `WSI` can be written, where there is a choice (5.4).
    fn write_features(&mut self, value: Features) {
        if self.capabilities.igs() != InterruptGeneration::Both
            || value.wsi() == self.features.wsi()
        {
            return;
        }
        if self.queue.on || self.faults.on || !self.ddtp.is_off() {
            self.reporter
                .illegal("fctl changed while the unit or a queue is on");
        }
        self.features.set_wsi(value.wsi());
    }

    fn write_command_base(&mut self, value: u64) {
        self.reporter.check_reserved("cqb", value, QUEUE_RESERVED);
        if self.queue.on || self.queue.switch.is_busy() {
            self.reporter
                .illegal(format!("cqb {value:#x} written while the queue is on"));
            return;
        }
        self.queue.base = QueueBase::from_bits(value);
        // The tail is any index of the queue now (5.6).
        self.queue.tail = self.dice.next_u64() as u32 & self.queue.index_mask() | 1;
    }

    fn write_fault_base(&mut self, value: u64) {
        self.reporter.check_reserved("fqb", value, QUEUE_RESERVED);
        if self.faults.on || self.faults.switch.is_busy() {
            self.reporter
                .illegal(format!("fqb {value:#x} written while the queue is on"));
            return;
        }
        self.faults.base = QueueBase::from_bits(value);
        // The head is any index of the queue now (5.9).
        self.faults.head = self.dice.next_u64() as u32 & self.faults.index_mask() | 1;
    }

    fn write_command_control(&mut self, value: u32) -> Work {
        self.reporter
            .check_reserved("cqcsr", value.into(), CQCSR_RESERVED);
        if self.queue.switch.is_busy() {
            self.reporter.illegal("cqcsr written while it is busy");
            return Work::None;
        }
        let value = CommandQueueControl::from_bits(value);
        self.queue.clear(value);
        self.queue.control.set_cie(value.cie());
        if value.cqen() != self.queue.control.cqen() {
            self.queue.control.set_cqen(value.cqen());
            self.queue.switch.ask(Switch::from_bit(value.cqen()));
        }
        self.raise_conditions();
        Work::Some
    }

    fn write_fault_control(&mut self, value: u32) -> Work {
        self.reporter
            .check_reserved("fqcsr", value.into(), FQCSR_RESERVED);
        if self.faults.switch.is_busy() {
            self.reporter.illegal("fqcsr written while it is busy");
            return Work::None;
        }
        let value = FaultQueueControl::from_bits(value);
        self.faults.clear(value);
        self.faults.control.set_fie(value.fie());
        if value.fqen() != self.faults.control.fqen() {
            if value.fqen() && self.faults.head != 0 {
                self.reporter.illegal(format!(
                    "fault queue enabled with its head at {:#x}",
                    self.faults.head
                ));
            }
            self.faults.control.set_fqen(value.fqen());
            self.faults.switch.ask(Switch::from_bit(value.fqen()));
        }
        self.raise_conditions();
        Work::Some
    }
}
