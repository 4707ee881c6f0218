//! Messages, masks and pending bits.

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
