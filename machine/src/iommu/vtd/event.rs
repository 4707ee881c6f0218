//! The unit's two interrupts: of faults (`FE*`) and of completed waits (`IE*`), sent as messages (11.4.7.2).

use std::sync::mpsc::{self, Receiver, Sender};

use hw::vtd::regs::{EventAddress, EventControl};

/// An interrupt on its way: a write into the message window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bus: u64,
    pub(super) data: u32,
}

/// Control, data and address registers of one interrupt.
#[derive(Debug)]
pub(super) struct Event {
    control: EventControl,
    pub(super) data: u32,
    address: EventAddress,
    pub(super) upper_address: u32,
    /// Messages are delivered by a thread of their own: a handler may wait for what the sender holds.
    outbox: Sender<Outgoing>,
}

/// What goes to the thread that delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Message(Message),
    /// The machine goes down.
    Stop,
}

/// The sending ends of one unit's two interrupts, and where their messages arrive.
pub(super) fn pair() -> (Event, Event, Receiver<Outgoing>) {
    let (outbox, inbox) = mpsc::channel();
    (Event::new(outbox.clone()), Event::new(outbox), inbox)
}

impl Event {
    fn new(outbox: Sender<Outgoing>) -> Self {
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

    /// Ends the thread that delivers.
    pub(super) fn stop(&self) {
        let _ = self.outbox.send(Outgoing::Stop);
    }

    fn send(&mut self) {
        self.control.set_ip(false);
        let bus = u64::from(self.upper_address) << 32 | u64::from(self.address.ma());
        // Without a receiver the machine is going down.
        let _ = self.outbox.send(Outgoing::Message(Message {
            bus,
            data: self.data,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_interrupt_is_sent_once_when_unmasked() {
        let (mut event, _other, inbox) = pair();
        event.data = 0x31;
        event.set_address(0xfee0_1003);
        event.raise();
        event.raise();
        assert!(event.control().ip());
        assert!(inbox.try_recv().is_err());
        event.write_control(EventControl::new());
        let message = Message {
            bus: 0xfee0_1000,
            data: 0x31,
        };
        assert_eq!(inbox.try_recv(), Ok(Outgoing::Message(message)));
        assert!(inbox.try_recv().is_err());
        assert!(!event.control().ip());
    }

    #[test]
    fn pending_interrupt_is_dropped_when_serviced() {
        let (mut event, _other, inbox) = pair();
        event.raise();
        event.serviced();
        event.write_control(EventControl::new());
        assert!(inbox.try_recv().is_err());
    }
}
