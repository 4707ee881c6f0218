//! A unit's own interrupts on their way.
//!
//! Messages are delivered by a thread of their own: a handler may wait for what the sender holds.

use std::sync::mpsc::{self, Receiver, Sender};

use crate::interrupts::Interrupts;

/// An interrupt: a write into the message window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bus: u64,
    pub(super) data: u32,
}

/// Where interrupts are sent. Clones lead to one inbox.
#[derive(Clone, Debug)]
pub(super) struct Outbox(Sender<Outgoing>);

/// Where they arrive.
#[derive(Debug)]
pub(super) struct Inbox(Receiver<Outgoing>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Message(Message),
    /// The machine goes down.
    Stop,
}

/// Both ends.
pub(super) fn mailbox() -> (Outbox, Inbox) {
    let (outbox, inbox) = mpsc::channel();
    (Outbox(outbox), Inbox(inbox))
}

impl Outbox {
    /// Sends; never waits.
    pub(super) fn send(&self, message: Message) {
        // Without a receiver the machine is going down.
        let _ = self.0.send(Outgoing::Message(message));
    }

    /// Ends the thread that delivers.
    pub(super) fn stop(&self) {
        let _ = self.0.send(Outgoing::Stop);
    }
}

impl Inbox {
    /// The thread that delivers: none of the unit's locks is held here.
    pub(super) fn deliver(&self, interrupts: &Interrupts) {
        while let Ok(Outgoing::Message(message)) = self.0.recv() {
            interrupts.deliver(message.bus, message.data);
        }
    }

    /// The next message, if one has arrived.
    #[cfg(test)]
    pub(super) fn next(&self) -> Option<Message> {
        match self.0.try_recv() {
            Ok(Outgoing::Message(message)) => Some(message),
            _ => None,
        }
    }
}
