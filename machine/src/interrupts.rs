//! Messages on their way to the CPU: writes into the message window.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::InterruptSink;
use parking_lot::RwLock;

/// The bus addresses a write to which raises an interrupt (Intel SDM, volume 3, "Message Signalled
/// Interrupts").
pub const MESSAGE_WINDOW: Range<u64> = 0xfee0_0000..0xfef0_0000;

/// Where messages go: the sink the kernel connected. Messages before that are lost.
#[derive(Default)]
pub struct Interrupts {
    sink: RwLock<Option<Arc<dyn InterruptSink>>>,
}

impl Interrupts {
    /// Nothing connected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on messages go to `sink`.
    pub fn connect(&self, sink: Arc<dyn InterruptSink>) {
        *self.sink.write() = Some(sink);
    }

    /// Forgets the sink, and what it kept alive.
    pub fn disconnect(&self) {
        let sink = self.sink.write().take();
        drop(sink);
    }

    /// Delivers the message `data`, written to `bus`. IOMMU units call this for their own interrupts, which
    /// pass no IOMMU; devices' messages come from the bus.
    pub fn deliver(&self, bus: u64, data: u32) {
        let sink = self.sink.read().clone();
        match sink {
            Some(sink) => sink.deliver(bus, data),
            None => log::debug!("message {data:#x} to {bus:#x} lost: no interrupt sink connected"),
        }
    }
}
