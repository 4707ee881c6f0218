//! The register file: what software reads and writes, 32 bits at a time; a 64-bit register may be accessed whole
//! (6.2).

use hw::smmu::regs::{
    self, CommandConsumer, Cr0, Cr1, Cr2, Gbpa, IrqCtrl, MessageAddress, MessageAttributes,
    QueueBase, QueueIndex, StreamTableBase, StreamTableConfig,
};

use super::config::Identification;
use super::event_queue::EventQueue;
use super::gerror::GlobalErrors;
use super::handshake::{Handshake, Turn};
use super::message::Interrupt;
use super::queue::Queue;
use crate::findings::FindingKind;
use crate::iommu::messages::Outbox;
use crate::iommu::reporter::Reporter;

/// Everything behind the unit's two pages of registers.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) identification: Identification,
    /// [`Cr0`].
    pub(super) cr0: Handshake,
    pub(super) cr1: Cr1,
    pub(super) cr2: Cr2,
    /// [`Gbpa`], without its `UPDATE` bit.
    pub(super) gbpa: Handshake,
    /// [`IrqCtrl`].
    pub(super) irq_ctrl: Handshake,
    pub(super) errors: GlobalErrors,
    pub(super) stream_table: StreamTableBase,
    pub(super) stream_table_config: StreamTableConfig,
    pub(super) queue: Queue,
    pub(super) events: EventQueue,
    /// The stream table registers were written since the unit was last on.
    pub(super) stream_table_changed: bool,
    reporter: Reporter,
}

/// What a write left for the unit to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    None,
    Some,
}

/// One half of a 64-bit register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Low,
    High,
}

fn merged(old: u64, half: Half, value: u32) -> u64 {
    match half {
        Half::Low => old & !0xffff_ffff | u64::from(value),
        Half::High => old & 0xffff_ffff | u64::from(value) << 32,
    }
}

/// Bits of address registers that are to be zero, as this model's addresses have 52 bits.
const ADDRESS_RESERVED: u64 = 0xbff0_0000_0000_0000;

impl Registers {
    pub(super) fn new(
        identification: Identification,
        gbpa: Gbpa,
        outbox: &Outbox,
        reporter: Reporter,
    ) -> Self {
        Self {
            identification,
            cr0: Handshake::new(0),
            cr1: Cr1::new(),
            cr2: Cr2::new(),
            gbpa: Handshake::new(gbpa.into_bits()),
            irq_ctrl: Handshake::new(0),
            errors: GlobalErrors::new(Interrupt::new(outbox.clone())),
            stream_table: StreamTableBase::new(),
            stream_table_config: StreamTableConfig::new(),
            queue: Queue::default(),
            events: EventQueue::new(Interrupt::new(outbox.clone())),
            stream_table_changed: true,
            reporter,
        }
    }

    /// Whether a 64-bit register begins at `offset`.
    pub(super) fn is_wide(offset: u64) -> bool {
        matches!(
            offset,
            regs::GERROR_IRQ_CFG0
                | regs::STRTAB_BASE
                | regs::CMDQ_BASE
                | regs::EVENTQ_BASE
                | regs::EVENTQ_IRQ_CFG0
                | regs::PRIQ_BASE
        )
    }

    /// The 64-bit register that `offset` is a half of.
    fn wide(&self, offset: u64) -> Option<(u64, Half)> {
        let (start, half) = if Self::is_wide(offset) {
            (offset, Half::Low)
        } else if Self::is_wide(offset.wrapping_sub(4)) {
            (offset - 4, Half::High)
        } else {
            return None;
        };
        Some((start, half))
    }

    fn wide_value(&self, start: u64) -> u64 {
        match start {
            regs::GERROR_IRQ_CFG0 => self.errors.interrupt.address.into_bits(),
            regs::STRTAB_BASE => self.stream_table.into_bits(),
            regs::CMDQ_BASE => self.queue.base.into_bits(),
            regs::EVENTQ_BASE => self.events.base.into_bits(),
            regs::EVENTQ_IRQ_CFG0 => self.events.interrupt.address.into_bits(),
            _ => 0,
        }
    }

    /// Software reads 32 bits.
    pub(super) fn read(&mut self, offset: u64) -> u32 {
        if let Some((start, half)) = self.wide(offset) {
            let value = self.wide_value(start);
            return match half {
                Half::Low => value as u32,
                Half::High => (value >> 32) as u32,
            };
        }
        let Identification {
            idr0,
            idr1,
            idr3,
            idr5,
        } = self.identification;
        match offset {
            regs::IDR0 => idr0.into_bits(),
            regs::IDR1 => idr1.into_bits(),
            regs::IDR3 => idr3.into_bits(),
            regs::IDR5 => idr5.into_bits(),
            // SMMUv3.2: the first with IDR3.RIL.
            regs::AIDR => 2,
            regs::CR0 => self.cr0.wanted(),
            regs::CR0ACK => self.cr0.poll(),
            regs::CR1 => self.cr1.into_bits(),
            regs::CR2 => self.cr2.into_bits(),
            regs::GBPA => {
                let shown = Gbpa::from_bits(self.gbpa.poll());
                shown.with_update(self.gbpa.is_pending()).into_bits()
            }
            regs::IRQ_CTRL => self.irq_ctrl.wanted(),
            regs::IRQ_CTRLACK => self.irq_ctrl.poll(),
            regs::GERROR => self.errors.gerror(),
            regs::GERRORN => self.errors.gerrorn(),
            regs::GERROR_IRQ_CFG1 => self.errors.interrupt.data,
            regs::GERROR_IRQ_CFG2 => self.errors.interrupt.attributes.into_bits(),
            regs::STRTAB_BASE_CFG => self.stream_table_config.into_bits(),
            regs::CMDQ_PROD => self.queue.producer.into_bits(),
            regs::CMDQ_CONS => self.queue.consumer.into_bits(),
            regs::EVENTQ_IRQ_CFG1 => self.events.interrupt.data,
            regs::EVENTQ_IRQ_CFG2 => self.events.interrupt.attributes.into_bits(),
            regs::EVENTQ_PROD => self.events.producer.into_bits(),
            regs::EVENTQ_CONS => self.events.consumer.into_bits(),
            _ => 0,
        }
    }

    /// Software writes 32 bits.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> Work {
        if let Some((start, half)) = self.wide(offset) {
            self.write_wide(start, merged(self.wide_value(start), half, value));
            return Work::None;
        }
        let cr0 = Cr0::from_bits(self.cr0.wanted());
        let irqs = IrqCtrl::from_bits(self.irq_ctrl.wanted());
        match offset {
            regs::CR0 => return self.write_cr0(Cr0::from_bits(value)),
            regs::CR1 => {
                self.guard("CR1", cr0.smmuen() || cr0.cmdqen() || cr0.eventqen());
                self.reporter.check_reserved("CR1", value.into(), 0xffff_f000);
                self.cr1 = Cr1::from_bits(value);
            }
            regs::CR2 => {
                self.guard("CR2", cr0.smmuen() || cr0.cmdqen() || cr0.eventqen());
                self.reporter.check_reserved("CR2", value.into(), 0xffff_fff0);
                self.cr2 = Cr2::from_bits(value);
            }
            regs::GBPA => return self.write_gbpa(Gbpa::from_bits(value)),
            regs::IRQ_CTRL => {
                self.reporter.check_reserved("IRQ_CTRL", value.into(), !0b111);
                let turn = self.irq_ctrl.change(value);
                self.in_turn("IRQ_CTRL", turn);
                return Work::Some;
            }
            regs::GERRORN => {
                self.errors.acknowledge(value, &self.reporter);
                return Work::Some;
            }
            regs::GERROR_IRQ_CFG1 | regs::GERROR_IRQ_CFG2 => {
                self.guard("GERROR_IRQ_CFG", irqs.gerror_irqen());
                set_message(&mut self.errors.interrupt, offset == regs::GERROR_IRQ_CFG2, value);
            }
            regs::EVENTQ_IRQ_CFG1 | regs::EVENTQ_IRQ_CFG2 => {
                self.guard("EVENTQ_IRQ_CFG", irqs.eventq_irqen());
                set_message(&mut self.events.interrupt, offset == regs::EVENTQ_IRQ_CFG2, value);
            }
            regs::STRTAB_BASE_CFG => {
                self.guard("STRTAB_BASE_CFG", cr0.smmuen());
                self.stream_table_config = StreamTableConfig::from_bits(value);
                self.stream_table_changed = true;
            }
            regs::CMDQ_PROD => return self.write_producer(QueueIndex::from_bits(value)),
            regs::CMDQ_CONS => {
                self.guard("CMDQ_CONS", cr0.cmdqen());
                self.queue.consumer = CommandConsumer::from_bits(value);
            }
            regs::EVENTQ_PROD => {
                self.guard("EVENTQ_PROD", cr0.eventqen());
                self.events.producer = QueueIndex::from_bits(value);
            }
            regs::EVENTQ_CONS => {
                self.reporter.check_reserved("EVENTQ_CONS", value.into(), 0x7ff0_0000);
                self.events.consumer = QueueIndex::from_bits(value);
            }
            _ => self.reporter.illegal(format!(
                "write of {value:#x} to offset {offset:#x}: read only, reserved, or of a function the unit lacks"
            )),
        }
        Work::None
    }

    /// Software writes 64 bits.
    pub(super) fn write_wide(&mut self, start: u64, value: u64) {
        let cr0 = Cr0::from_bits(self.cr0.wanted());
        let irqs = IrqCtrl::from_bits(self.irq_ctrl.wanted());
        self.reporter
            .check_reserved("address register", value, ADDRESS_RESERVED);
        match start {
            regs::GERROR_IRQ_CFG0 => {
                self.guard("GERROR_IRQ_CFG0", irqs.gerror_irqen());
                self.errors.interrupt.address = self.message_address(value);
            }
            regs::EVENTQ_IRQ_CFG0 => {
                self.guard("EVENTQ_IRQ_CFG0", irqs.eventq_irqen());
                self.events.interrupt.address = self.message_address(value);
            }
            regs::STRTAB_BASE => {
                self.guard("STRTAB_BASE", cr0.smmuen());
                self.stream_table = StreamTableBase::from_bits(value);
                self.stream_table_changed = true;
            }
            regs::CMDQ_BASE => {
                self.guard("CMDQ_BASE", cr0.cmdqen());
                let base = QueueBase::from_bits(value);
                self.queue.base = self.limited(base, self.identification.idr1.cmdqs(), "CMDQ_BASE");
            }
            regs::EVENTQ_BASE => {
                self.guard("EVENTQ_BASE", cr0.eventqen());
                let base = QueueBase::from_bits(value);
                let limit = self.identification.idr1.eventqs();
                self.events.base = self.limited(base, limit, "EVENTQ_BASE");
            }
            _ => self.reporter.illegal(format!(
                "write of {value:#x} to offset {start:#x}: of a function the unit lacks"
            )),
        }
    }

    /// Without messages the registers that configure them are not there.
    fn message_address(&self, value: u64) -> MessageAddress {
        if self.identification.idr0.msi() {
            MessageAddress::from_bits(value)
        } else {
            MessageAddress::new()
        }
    }

    /// A queue larger than the unit's largest is as large as that (6.3.25).
    fn limited(&self, base: QueueBase, limit: u8, name: &str) -> QueueBase {
        if base.log2size() > limit {
            self.reporter.illegal(format!(
                "{name}: 2^{} entries, and the unit's largest queue has 2^{limit}",
                base.log2size()
            ));
        }
        let log2 = base.log2size().min(limit);
        let alignment = (16_u64 << log2).max(32);
        if !base.addr().is_multiple_of(alignment) {
            self.reporter.illegal(format!(
                "{name}: {:#x} is not aligned to the queue's size",
                base.addr()
            ));
        }
        base.with_log2size(log2)
    }

    fn write_cr0(&mut self, value: Cr0) -> Work {
        let bits = value.into_bits();
        self.reporter
            .check_reserved("CR0", bits.into(), 0xffff_fe20);
        if value.priqen() || value.atschk() || value.vmw() != 0 {
            self.reporter.illegal(format!(
                "CR0 {bits:#x}: the unit does not have this function"
            ));
        }
        let turn = self.cr0.change(bits);
        self.in_turn("CR0", turn);
        Work::Some
    }

    fn write_gbpa(&mut self, value: Gbpa) -> Work {
        if !value.update() {
            self.reporter
                .illegal("GBPA written without UPDATE: the write is ignored");
            return Work::None;
        }
        let turn = self.gbpa.write(value.with_update(false).into_bits());
        self.in_turn("GBPA", turn);
        Work::Some
    }

    fn write_producer(&mut self, value: QueueIndex) -> Work {
        self.reporter
            .check_reserved("CMDQ_PROD", value.into_bits().into(), 0xfff0_0000);
        self.queue.producer = value;
        if self.queue.enabled && self.queue.is_overrun() {
            self.reporter.report(
                FindingKind::DoorbellOutOfRange,
                format!(
                    "CMDQ_PROD {:#x}: {} commands in a queue of 2^{}",
                    value.into_bits(),
                    self.queue.pending(),
                    self.queue.base.log2size()
                ),
            );
        }
        self.queue.hooks.tail_written();
        Work::Some
    }

    fn in_turn(&self, name: &str, turn: Turn) {
        if turn == Turn::TooEarly {
            self.reporter.illegal(format!(
                "{name} written before the write before it was acknowledged"
            ));
        }
    }

    /// A register that may only be written while what it is about is off.
    fn guard(&self, name: &str, in_use: bool) {
        if in_use {
            self.reporter
                .illegal(format!("{name} written while what it is about is on"));
        }
    }
}

fn set_message(interrupt: &mut Interrupt, is_attributes: bool, value: u32) {
    if is_attributes {
        interrupt.attributes = MessageAttributes::from_bits(value);
    } else {
        interrupt.data = value;
    }
}
