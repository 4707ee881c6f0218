//! The unit's one interrupt: of the event log, and of completion waits that ask for it.

use hw::amd::regs::{Control, IntCapXt, MsiHeader, Status};

use super::config::EventInterrupt;
use crate::iommu::messages::{Message, Outbox};

/// Message registers, and what they are told.
#[derive(Debug)]
pub(super) struct Interrupt {
    kind: EventInterrupt,
    pub(super) msi: MsiHeader,
    pub(super) address_low: u32,
    pub(super) address_high: u32,
    pub(super) data: u32,
    pub(super) xt: IntCapXt,
    /// A condition holds: no further message until there is none.
    asserted: bool,
    outbox: Outbox,
}

/// Where an x2APIC destination is in the message window.
const MESSAGE_BASE: u64 = 0xfee0_0000;

impl Interrupt {
    pub(super) fn new(kind: EventInterrupt, outbox: Outbox) -> Self {
        Self {
            kind,
            // The ids and sizes of an MSI capability with one message and 64 address bits.
            msi: MsiHeader::new().with_msicapid(5).with_msi64en(true),
            address_low: 0,
            address_high: 0,
            data: 0,
            xt: IntCapXt::new(),
            asserted: false,
            outbox,
        }
    }

    /// Whether the message registers exist.
    pub(super) fn has_msi_registers(&self) -> bool {
        self.kind == EventInterrupt::MsiRegisters
    }

    /// Whether the x2APIC interrupt register exists.
    pub(super) fn has_xt_register(&self) -> bool {
        self.kind == EventInterrupt::IntCapXt
    }

    /// Something in `status` or `control` changed: a condition that did not hold before sends a message.
    pub(super) fn update(&mut self, status: Status, control: Control) {
        let event = status.eventlogint() || status.eventoverflow();
        let asserted =
            control.eventinten() && event || control.comwaitinten() && status.comwaitint();
        if asserted && !self.asserted {
            self.send(control);
        }
        self.asserted = asserted;
    }

    fn send(&self, control: Control) {
        let message = match self.kind {
            EventInterrupt::MsiRegisters if self.msi.msien() => Message {
                bus: u64::from(self.address_high) << 32 | u64::from(self.address_low),
                data: self.data,
            },
            EventInterrupt::IntCapXt if control.intcapxten() => Message {
                bus: MESSAGE_BASE
                    | u64::from(self.xt.destination() & 0xff) << 12
                    | u64::from(self.xt.destmode()) << 2,
                data: u32::from(self.xt.vector()) | u32::from(self.xt.dm()) << 8,
            },
            _ => return,
        };
        self.outbox.send(message);
    }
}
