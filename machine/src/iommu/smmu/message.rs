//! Messages by which the unit signals its interrupts: `*_IRQ_CFG0` to `*_IRQ_CFG2` (6.3.20 to 6.3.22).

use hw::smmu::regs::{MessageAddress, MessageAttributes};

use crate::iommu::messages::{Message, Outbox};

/// One interrupt: whether it is on, and where its message goes.
#[derive(Debug)]
pub(super) struct Interrupt {
    pub(super) enabled: bool,
    pub(super) address: MessageAddress,
    pub(super) data: u32,
    pub(super) attributes: MessageAttributes,
    outbox: Outbox,
}

impl Interrupt {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            enabled: false,
            address: MessageAddress::new(),
            data: 0,
            attributes: MessageAttributes::new(),
            outbox,
        }
    }

    /// Its condition arose. An interrupt that is off is lost; one without address goes by a wire that this machine
    /// does not have.
    pub(super) fn raise(&self) {
        if self.enabled && self.address.addr() != 0 {
            self.outbox.send(Message {
                bus: self.address.addr(),
                data: self.data,
            });
        }
    }
}
