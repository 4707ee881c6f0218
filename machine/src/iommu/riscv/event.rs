//! The unit's own interrupts: pending bits, the vector of each cause, and the message of each vector (5.18, 5.27,
//! 5.28).

use hw::riscv::regs::{
    CauseVectors, InterruptPending, MSI_CFG_ENTRIES, MessageAddress, VectorControl,
};

use crate::iommu::messages::{Message, Outbox};

/// Which interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    CommandQueue,
    FaultQueue,
}

/// How a pending interrupt is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Message,
    /// Nothing in the machine hears the wires.
    Wire,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) address: MessageAddress,
    pub(super) data: u32,
    pub(super) control: VectorControl,
    /// A message is held back by the mask.
    held: bool,
}

/// `ipsr`, `icvec` and `msi_cfg_tbl`.
#[derive(Debug)]
pub(super) struct Events {
    pending: InterruptPending,
    vectors: CauseVectors,
    /// Vectors a cause can have, less one.
    vector_mask: u8,
    table: [Entry; MSI_CFG_ENTRIES as usize],
    outbox: Outbox,
}

impl Events {
    pub(super) fn new(vectors_log2: u32, outbox: Outbox) -> Self {
        Self {
            pending: InterruptPending::new(),
            vectors: CauseVectors::new(),
            vector_mask: (1 << vectors_log2) - 1,
            table: [Entry::default(); MSI_CFG_ENTRIES as usize],
            outbox,
        }
    }

    pub(super) fn pending(&self) -> InterruptPending {
        self.pending
    }

    pub(super) fn vectors(&self) -> CauseVectors {
        self.vectors
    }

    pub(super) fn set_vectors(&mut self, value: CauseVectors) {
        let mask = self.vector_mask;
        self.vectors = CauseVectors::new()
            .with_civ(value.civ() & mask)
            .with_fiv(value.fiv() & mask)
            .with_pmiv(value.pmiv() & mask)
            .with_piv(value.piv() & mask);
    }

    /// The entry of `vector`, if the unit has it.
    pub(super) fn entry(&mut self, vector: u64) -> Option<&mut Entry> {
        let exists = vector <= self.vector_mask.into();
        self.table.get_mut(vector as usize).filter(|_| exists)
    }

    /// The condition of `source` is there: its bit is set, and a message goes when it was not (5.18).
    pub(super) fn raise(&mut self, source: Source, signal: Signal) {
        let (was_pending, vector) = match source {
            Source::CommandQueue => (self.pending.cip(), self.vectors.civ()),
            Source::FaultQueue => (self.pending.fip(), self.vectors.fiv()),
        };
        match source {
            Source::CommandQueue => self.pending.set_cip(true),
            Source::FaultQueue => self.pending.set_fip(true),
        }
        if was_pending || signal == Signal::Wire {
            return;
        }
        let entry = &mut self.table[usize::from(vector)];
        if entry.control.m() {
            entry.held = true;
        } else {
            send(&self.outbox, entry);
        }
    }

    /// Software wrote `ipsr`: ones clear.
    pub(super) fn clear(&mut self, value: InterruptPending) {
        self.pending.set_cip(self.pending.cip() && !value.cip());
        self.pending.set_fip(self.pending.fip() && !value.fip());
    }

    /// Software wrote the mask of `vector`: without it, what was held back goes.
    pub(super) fn write_control(&mut self, vector: u64, value: VectorControl) {
        let outbox = self.outbox.clone();
        if let Some(entry) = self.entry(vector) {
            entry.control = VectorControl::new().with_m(value.m());
            if entry.held && !value.m() {
                entry.held = false;
                send(&outbox, entry);
            }
        }
    }
}

fn send(outbox: &Outbox, entry: &Entry) {
    outbox.send(Message {
        bus: entry.address.addr(),
        data: entry.data,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::messages::mailbox;

    const MESSAGE: Message = Message {
        bus: 0xfee0_1000,
        data: 0x31,
    };

    fn events() -> (Events, crate::iommu::messages::Inbox) {
        let (outbox, inbox) = mailbox();
        let mut events = Events::new(1, outbox);
        events.set_vectors(CauseVectors::new().with_fiv(1));
        let entry = events.entry(1).expect("two vectors");
        entry.address = MessageAddress::new().with_addr(MESSAGE.bus);
        entry.data = MESSAGE.data;
        (events, inbox)
    }

    #[test]
    fn message_goes_when_the_bit_rises_and_not_while_it_is_up() {
        let (mut events, inbox) = events();
        for _ in 0..3 {
            events.raise(Source::FaultQueue, Signal::Message);
        }
        assert_eq!(inbox.next(), Some(MESSAGE));
        assert_eq!(inbox.next(), None);
        events.clear(InterruptPending::new().with_cip(true));
        events.raise(Source::FaultQueue, Signal::Message);
        assert_eq!(inbox.next(), None, "another bit was cleared");
        events.clear(InterruptPending::new().with_fip(true));
        events.raise(Source::FaultQueue, Signal::Message);
        assert_eq!(inbox.next(), Some(MESSAGE));
    }

    #[test]
    fn masked_message_is_held_back_and_a_wire_sends_none() {
        let (mut events, inbox) = events();
        events.write_control(1, VectorControl::new().with_m(true));
        events.raise(Source::FaultQueue, Signal::Message);
        assert_eq!(inbox.next(), None);
        events.write_control(1, VectorControl::new());
        assert_eq!(inbox.next(), Some(MESSAGE));
        events.clear(InterruptPending::new().with_fip(true));
        events.raise(Source::FaultQueue, Signal::Wire);
        assert!(events.pending().fip());
        assert_eq!(inbox.next(), None);
    }

    #[test]
    fn vectors_beyond_the_units_are_not_taken() {
        let (mut events, _) = events();
        events.set_vectors(CauseVectors::from_bits(0xffff));
        assert_eq!(events.vectors().into_bits(), 0x1111);
        assert!(events.entry(2).is_none());
    }
}
