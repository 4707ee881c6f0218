//! The unit's two interrupts: of faults (`FE*`) and of completed waits (`IE*`), sent as messages (11.4.7.2).

use hw::vtd::regs::{EventAddress, EventControl};

use crate::iommu::messages::{Message, Outbox};

/// Control, data and address registers of one interrupt.
#[derive(Debug)]
pub(super) struct Event {
    control: EventControl,
    pub(super) data: u32,
    address: EventAddress,
    pub(super) upper_address: u32,
    outbox: Outbox,
}

impl Event {
    /// As after reset: masked.
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            control: EventControl::new().with_im(true),
            data: 0,
            address: EventAddress::new(),
            upper_address: 0,
            outbox,
        }
    }

    pub(super) fn control(&self) -> EventControl {
        self.control
    }

    pub(super) fn address(&self) -> u32 {
        self.address.into_bits()
    }

    pub(super) fn set_address(&mut self, value: u32) {
        self.address = EventAddress::new().with_ma(value);
    }

    /// An interrupt condition arose.
    pub(super) fn raise(&mut self) {
        if self.control.im() {
            self.control.set_ip(true);
        } else {
            self.send();
        }
    }

    /// Software wrote the control register: only the mask is writable, and clearing it sends what is pending.
    pub(super) fn write_control(&mut self, value: EventControl) {
        self.control.set_im(value.im());
        if self.control.ip() && !self.control.im() {
            self.send();
        }
    }

    /// Software cleared every condition: an interrupt still held back is not sent any more.
    pub(super) fn serviced(&mut self) {
        self.control.set_ip(false);
    }

    fn send(&mut self) {
        self.control.set_ip(false);
        let bus = u64::from(self.upper_address) << 32 | u64::from(self.address.ma());
        self.outbox.send(Message {
            bus,
            data: self.data,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::messages::mailbox;

    #[test]
    fn masked_interrupt_is_sent_once_when_unmasked() {
        let (outbox, inbox) = mailbox();
        let mut event = Event::new(outbox);
        event.data = 0x31;
        event.set_address(0xfee0_1003);
        event.raise();
        event.raise();
        assert!(event.control().ip());
        assert_eq!(inbox.next(), None);
        event.write_control(EventControl::new());
        let message = Message {
            bus: 0xfee0_1000,
            data: 0x31,
        };
        assert_eq!(inbox.next(), Some(message));
        assert_eq!(inbox.next(), None);
        assert!(!event.control().ip());
    }

    #[test]
    fn pending_interrupt_is_dropped_when_serviced() {
        let (outbox, inbox) = mailbox();
        let mut event = Event::new(outbox);
        event.raise();
        event.serviced();
        event.write_control(EventControl::new());
        assert_eq!(inbox.next(), None);
    }
}
