//! A board without devices that notes what it is asked.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use board::hardware::{CacheOperation, Hardware, HostBridgeDescription, InterruptSink, Width};
use board::ram::Ram;

/// RAM of the fake board: 1 MiB with a hole, and 4 MiB above 4 GiB.
pub(crate) const RAM: [Range<u64>; 3] = [
    0..0x8_0000,
    0x9_0000..0x10_0000,
    1 << 32..(1 << 32) + (4 << 20),
];

/// What firmware keeps.
pub(crate) const RESERVED: Range<u64> = 0x7_f000..0x8_0000;

/// Where the fake registers are.
pub(crate) const REGISTERS: u64 = 0xfed9_0000;

/// What the kernel did to the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Write(u64, Width, u64),
    Cache(CacheOperation, u64, u64),
    /// With the first byte of the frames at that moment.
    Freed(u64, u64, u8),
}

pub(crate) struct FakeBoard {
    ram: Arc<Ram>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) bridges: Mutex<Vec<HostBridgeDescription>>,
    sink: Mutex<Option<Arc<dyn InterruptSink>>>,
}

impl FakeBoard {
    pub(crate) fn new() -> Arc<Self> {
        let ram = Ram::new(&RAM).unwrap();
        Arc::new(Self {
            ram,
            events: Mutex::default(),
            bridges: Mutex::default(),
            sink: Mutex::default(),
        })
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// What a device does to raise an interrupt.
    pub(crate) fn write_message(&self, bus: u64, data: u32) {
        let sink = self.sink.lock().unwrap().clone();
        sink.unwrap().deliver(bus, data);
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl Hardware for FakeBoard {
    fn name(&self) -> &str {
        "fake board"
    }

    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn rsdp(&self) -> Option<u64> {
        Some(RESERVED.start)
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        self.bridges.lock().unwrap().clone()
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        vec![RESERVED]
    }

    /// Registers hold their own addresses.
    fn read(&self, phys: u64, width: Width) -> u64 {
        phys & width.ones()
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        self.note(Event::Write(phys, width, value));
    }

    fn message_window(&self) -> Range<u64> {
        0xfee0_0000..0xfef0_0000
    }

    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>) {
        *self.sink.lock().unwrap() = Some(sink);
    }

    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        self.note(Event::Cache(operation, phys, len_bytes));
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.note(Event::Freed(
            phys,
            len_bytes,
            self.ram.load_u8(phys).unwrap(),
        ));
    }
}
