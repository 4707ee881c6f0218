//! MSI-X: a table of messages in a BAR, masks, and pending bits (PCI Express base specification, 7.7.2).

use std::ops::Range;

use board::hardware::Width;
use hw::pci::msix::{
    ENTRY_ADDRESS, ENTRY_ADDRESS_UPPER, ENTRY_BYTES, ENTRY_DATA, ENTRY_VECTOR_CONTROL,
    MessageControl, VectorControl,
};
use parking_lot::Mutex;

use super::function::MsixDescription;
use crate::bus::DmaPort;

/// A function's message interrupts. Messages are writes through the function's own port, so its bus-master
/// bit and its address lines apply to them.
pub struct Msix {
    description: MsixDescription,
    port: DmaPort,
    state: Mutex<State>,
}

struct State {
    control: MessageControl,
    entries: Vec<[u32; 4]>,
    pending: Vec<u64>,
}

/// A message on its way.
struct Message {
    bus: u64,
    data: u32,
}

impl Msix {
    /// All vectors masked, MSI-X off, as after reset.
    pub(crate) fn new(description: MsixDescription, port: DmaPort) -> Self {
        let vectors = usize::from(description.vectors);
        let mut entry = [0; 4];
        entry[ENTRY_VECTOR_CONTROL as usize / 4] = VectorControl::new().with_mask(true).into_bits();
        let state = State {
            control: MessageControl::new(),
            entries: vec![entry; vectors],
            pending: vec![0; vectors.div_ceil(64)],
        };
        Self {
            description,
            port,
            state: Mutex::new(state),
        }
    }

    /// Raises `vector`: a message now, or a pending bit while it is masked. Nothing while MSI-X is off.
    pub fn raise(&self, vector: u16) {
        let vector = usize::from(vector);
        let message = {
            let mut state = self.state.lock();
            if vector >= state.entries.len() || !state.control.enable() {
                return;
            }
            state.pending[vector / 64] |= 1 << (vector % 64);
            state.take(vector)
        };
        self.send(message);
    }

    /// The function's message control register was written.
    pub(crate) fn set_control(&self, control: MessageControl) {
        let vectors = {
            let mut state = self.state.lock();
            state.control = control;
            state.entries.len()
        };
        for vector in 0..vectors {
            let message = self.state.lock().take(vector);
            self.send(message);
        }
    }

    /// Answers a read at `offset` of BAR `bar` if it is in one of the two structures.
    pub(crate) fn read(&self, bar: usize, offset: u64, width: Width) -> Option<u64> {
        let state = self.state.lock();
        if let Some(at) = self.within(bar, offset, width, self.table()) {
            let dword = |at: u64| {
                u64::from(
                    state.entries[(at / ENTRY_BYTES) as usize][(at % ENTRY_BYTES / 4) as usize],
                )
            };
            return Some(match width {
                Width::Dword if at.is_multiple_of(4) => dword(at),
                Width::Qword if at.is_multiple_of(8) => dword(at) | (dword(at + 4) << 32),
                _ => width.ones(),
            });
        }
        let at = self.within(bar, offset, width, self.pending_bits())?;
        let word = state.pending[(at / 8) as usize];
        Some(match width {
            Width::Dword if at.is_multiple_of(4) => (word >> (8 * (at % 8))) & width.ones(),
            Width::Qword if at.is_multiple_of(8) => word,
            _ => width.ones(),
        })
    }

    /// Takes a write at `offset` of BAR `bar` if it is in one of the two structures.
    pub(crate) fn write(&self, bar: usize, offset: u64, width: Width, value: u64) -> Option<()> {
        if let Some(at) = self.within(bar, offset, width, self.table()) {
            let vector = (at / ENTRY_BYTES) as usize;
            let message = {
                let mut state = self.state.lock();
                let mut store = |at: u64, value: u32| {
                    state.entries[vector][(at % ENTRY_BYTES / 4) as usize] = value;
                };
                match width {
                    Width::Dword if at.is_multiple_of(4) => store(at, value as u32),
                    Width::Qword if at.is_multiple_of(8) => {
                        store(at, value as u32);
                        store(at + 4, (value >> 32) as u32);
                    }
                    _ => {}
                }
                state.take(vector)
            };
            self.send(message);
            return Some(());
        }
        // The pending bits are read-only.
        self.within(bar, offset, width, self.pending_bits())
            .map(|_| ())
    }

    fn send(&self, message: Option<Message>) {
        if let Some(Message { bus, data }) = message
            && let Err(error) = self.port.write(bus, &data.to_le_bytes())
        {
            log::debug!("message {data:#x} to {bus:#x} lost: {error}");
        }
    }

    fn table(&self) -> Range<u64> {
        let start = u64::from(self.description.table_offset);
        start..start + u64::from(self.description.vectors) * ENTRY_BYTES
    }

    fn pending_bits(&self) -> Range<u64> {
        let start = u64::from(self.description.pending_offset);
        start..start + u64::from(self.description.vectors).div_ceil(64) * 8
    }

    fn within(&self, bar: usize, offset: u64, width: Width, range: Range<u64>) -> Option<u64> {
        let inside = bar == self.description.bar
            && range.contains(&offset)
            && offset + width.bytes() <= range.end;
        inside.then(|| offset - range.start)
    }
}

impl State {
    /// Takes the message of `vector` if it is pending and may go.
    fn take(&mut self, vector: usize) -> Option<Message> {
        let entry = self.entries[vector];
        let field = |offset: u64| entry[offset as usize / 4];
        let bit = 1 << (vector % 64);
        let masked = !self.control.enable()
            || self.control.function_mask()
            || VectorControl::from_bits(field(ENTRY_VECTOR_CONTROL)).mask();
        if masked || self.pending[vector / 64] & bit == 0 {
            return None;
        }
        self.pending[vector / 64] &= !bit;
        let bus = u64::from(field(ENTRY_ADDRESS_UPPER)) << 32 | u64::from(field(ENTRY_ADDRESS));
        Some(Message {
            bus,
            data: field(ENTRY_DATA),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use board::hardware::InterruptSink;
    use board::ram::Ram;

    use super::*;
    use crate::bus::{Bus, Requester};
    use crate::interrupts::Interrupts;

    const ADDRESS: u64 = 0xfee0_3000;

    #[derive(Default)]
    struct Sink(Mutex<Vec<(u64, u32)>>);

    impl InterruptSink for Sink {
        fn deliver(&self, bus: u64, data: u32) {
            self.0.lock().push((bus, data));
        }
    }

    struct Bench {
        msix: Msix,
        sink: Arc<Sink>,
        requester: Arc<Requester>,
    }

    impl Bench {
        /// 70 vectors, the table at 0 and the pending bits at 0x800; MSI-X is on and all are masked.
        fn new() -> Self {
            let interrupts = Arc::new(Interrupts::new());
            let sink = Arc::new(Sink::default());
            interrupts.connect(sink.clone());
            let ram = Ram::new(&[0..4096]).unwrap();
            let bus = Arc::new(Bus::new(ram, Vec::new(), Vec::new(), interrupts));
            let requester = Arc::new(Requester::new(1, 0, 64, Vec::new()));
            requester.set_master(true);
            let port = DmaPort::new(bus, None, requester.clone());
            let description = MsixDescription {
                vectors: 70,
                bar: 2,
                table_offset: 0,
                pending_offset: 0x800,
            };
            let msix = Msix::new(description, port);
            msix.set_control(MessageControl::new().with_enable(true));
            Self {
                msix,
                sink,
                requester,
            }
        }

        fn program(&self, vector: u64, data: u64, control: u64) {
            self.msix.write(2, vector * 16, Width::Qword, ADDRESS);
            self.msix.write(2, vector * 16 + 8, Width::Dword, data);
            self.msix.write(2, vector * 16 + 12, Width::Dword, control);
        }

        fn pending(&self, word: u64) -> u64 {
            self.msix.read(2, 0x800 + 8 * word, Width::Qword).unwrap()
        }

        fn delivered(&self) -> Vec<(u64, u32)> {
            std::mem::take(&mut self.sink.0.lock())
        }
    }

    #[test]
    fn a_raised_vector_writes_its_message() {
        let bench = Bench::new();
        bench.program(3, 0x41, 0);
        bench.msix.raise(3);
        assert_eq!(bench.delivered(), [(ADDRESS, 0x41)]);
        assert_eq!(bench.msix.read(2, 0x30, Width::Dword), Some(ADDRESS));
        assert_eq!(bench.msix.read(2, 0x38, Width::Qword), Some(0x41));
    }

    #[test]
    fn a_masked_vector_waits_in_its_pending_bit_and_comes_once() {
        let bench = Bench::new();
        bench.program(65, 7, 1);
        bench.msix.raise(65);
        bench.msix.raise(65);
        assert_eq!((bench.delivered(), bench.pending(1)), (vec![], 2));
        bench.program(65, 7, 0);
        assert_eq!(
            (bench.delivered(), bench.pending(1)),
            (vec![(ADDRESS, 7)], 0)
        );
    }

    #[test]
    fn the_function_mask_holds_all_vectors_back() {
        let bench = Bench::new();
        bench.program(0, 1, 0);
        let enabled = MessageControl::new().with_enable(true);
        bench.msix.set_control(enabled.with_function_mask(true));
        bench.msix.raise(0);
        assert_eq!(bench.delivered(), []);
        bench.msix.set_control(enabled);
        assert_eq!(bench.delivered(), [(ADDRESS, 1)]);
    }

    #[test]
    fn switched_off_or_beyond_the_table_nothing_happens() {
        let bench = Bench::new();
        bench.msix.raise(70);
        bench.program(0, 1, 0);
        bench.msix.set_control(MessageControl::new());
        bench.msix.raise(0);
        assert_eq!((bench.delivered(), bench.pending(0)), (vec![], 0));
    }

    #[test]
    fn a_function_that_is_no_bus_master_sends_no_message() {
        let bench = Bench::new();
        bench.program(0, 1, 0);
        bench.requester.set_master(false);
        bench.msix.raise(0);
        assert_eq!(bench.delivered(), []);
        assert_eq!(bench.requester.counters().refused, 1);
    }

    #[test]
    fn accesses_elsewhere_are_the_models() {
        let bench = Bench::new();
        assert_eq!(bench.msix.read(0, 0, Width::Dword), None);
        assert_eq!(bench.msix.read(2, 70 * 16, Width::Dword), None);
        assert_eq!(bench.msix.write(2, 0x810, Width::Dword, 0), None);
        assert_eq!(
            bench.msix.read(2, 1, Width::Byte),
            Some(0xff),
            "no register is that narrow"
        );
    }
}
