//! The way of a request, step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use board::hardware::{InboundDescription, InterruptSink, Width, WindowDescription, WindowKind};
use board::ram::Ram;
use parking_lot::Mutex;

use super::{Access, Bus, BusRun, DmaError, DmaPort, Requester, TransferError};
use crate::audit::Audit;
use crate::interrupts::Interrupts;
use crate::iommu::Unit;
use crate::iommu::in_flight::Gate;
use crate::iommu::translator::{InFlight, TranslationFault, Translator};

const WINDOW: WindowDescription = WindowDescription {
    kind: WindowKind::Memory,
    phys: 0xc000_0000,
    bus: 0x8000_0000,
    len_bytes: 0x1000_0000,
};

/// Turns page n into page n + 1, blocks page 9, and remembers who asked for what.
#[derive(Default)]
struct NextPage {
    asked: Mutex<Vec<(u16, u64, Access)>>,
    gate: Gate,
    translates_messages: AtomicBool,
}

impl Translator for NextPage {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        let guard = self.gate.enter();
        self.asked.lock().push((requester, bus, access));
        if bus >> 12 == 9 {
            return Err(TranslationFault {
                requester,
                bus,
                reason: 6,
            });
        }
        Ok(InFlight::translated(bus + 0x1000, guard))
    }
}

impl Unit for NextPage {
    fn power_cycle(&self) {}

    fn read_register(&self, _: u64, width: Width) -> u64 {
        width.ones()
    }
    fn write_register(&self, _: u64, _: Width, _: u64) {}
    fn frames_freed(&self, _: u64, _: u64) {}
    fn audit(&self, _: &mut Audit) {}
    fn translates_messages(&self) -> bool {
        self.translates_messages.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Sink(Mutex<Vec<(u64, u32)>>);

impl InterruptSink for Sink {
    fn deliver(&self, bus: u64, data: u32) {
        self.0.lock().push((bus, data));
    }
}

struct Bench {
    ram: Arc<Ram>,
    unit: Arc<NextPage>,
    sink: Arc<Sink>,
    port: DmaPort,
}

#[derive(PartialEq)]
enum Iommu {
    Absent,
    Present,
}

fn bench(iommu: Iommu, address_lines: u32, inbound: Vec<InboundDescription>) -> Bench {
    let ram = Ram::new(&[0..0x10_0000, 0x20_0000..0x40_0000]).unwrap();
    let interrupts = Arc::new(Interrupts::new());
    let sink = Arc::new(Sink::default());
    interrupts.connect(sink.clone());
    let bus = Arc::new(Bus::new(ram.clone(), vec![WINDOW], inbound, interrupts));
    let requester = Arc::new(Requester::new(3, 0, address_lines, Vec::new()));
    requester.capture_bus(2);
    requester.set_master(true);
    let unit = Arc::new(NextPage::default());
    let translator = (iommu == Iommu::Present).then(|| unit.clone() as Arc<dyn Unit>);
    let port = DmaPort::new(bus, translator, requester);
    Bench {
        ram,
        unit,
        sink,
        port,
    }
}

#[test]
fn a_request_is_cut_at_each_page_and_each_piece_translated() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    let data: Vec<u8> = (0..6000).map(|i| i as u8).collect();
    bench.port.write(0x1f00, &data).unwrap();
    let mut back = vec![0; 6000];
    bench.ram.read(0x2f00, &mut back).unwrap();
    assert_eq!(back, data);
    let who = 0x0218;
    assert_eq!(
        *bench.unit.asked.lock(),
        [
            (who, 0x1f00, Access::Write),
            (who, 0x2000, Access::Write),
            (who, 0x3000, Access::Write)
        ]
    );
    assert_eq!(bench.unit.gate.in_flight(), 0);
    assert_eq!(bench.port.requester().counters().written_bytes, 6000);
}

#[test]
fn a_blocked_piece_ends_the_request_and_is_counted() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    let error = bench.port.read(0x8800, &mut [0; 0x1000]).unwrap_err();
    assert!(
        matches!(
            error,
            DmaError::Blocked(TranslationFault { bus: 0x9000, .. })
        ),
        "{error}"
    );
    let counters = bench.port.requester().counters();
    assert_eq!((counters.read_bytes, counters.refused), (0x800, 1));
    assert_eq!(bench.unit.gate.in_flight(), 0);
}

#[test]
fn address_lines_that_are_missing_are_really_dropped() {
    let bench = bench(Iommu::Absent, 20, Vec::new());
    bench.port.write(0xabc0_1000, &[7]).unwrap();
    assert_eq!(bench.ram.load_u8(0x1000).unwrap(), 7);
}

#[test]
fn aligned_dwords_to_the_message_window_are_interrupts_and_pass_no_iommu() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    bench
        .port
        .write(0xfee0_1004, &0x41_u32.to_le_bytes())
        .unwrap();
    assert_eq!(*bench.sink.0.lock(), [(0xfee0_1004, 0x41)]);
    assert!(bench.unit.asked.lock().is_empty());
    for (bus, len) in [(0xfee0_0000, 8), (0xfee0_0002, 4), (0xfeef_ffff, 1)] {
        let error = bench.port.write(bus, &vec![0; len]).unwrap_err();
        assert_eq!(
            error,
            DmaError::Message {
                bus,
                len_bytes: len as u64
            }
        );
    }
    let error = bench.port.read(0xfee0_0000, &mut [0; 4]).unwrap_err();
    assert!(matches!(error, DmaError::Message { .. }));
    assert_eq!(bench.sink.0.lock().len(), 1);
    assert_eq!(bench.port.requester().counters().refused, 4);
}

#[test]
fn other_devices_registers_are_refused() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    for bus in [0x8000_0000, 0x8fff_fffc, 0x7fff_fffe] {
        let error = bench.port.write(bus, &[0; 4]).unwrap_err();
        assert!(
            matches!(
                error,
                DmaError::PeerToPeer { .. } | DmaError::Unclaimed { .. }
            ),
            "{error}"
        );
    }
    assert_eq!(
        bench.port.write(0x8000_0000, &[0]),
        Err(DmaError::PeerToPeer { bus: 0x8000_0000 })
    );
}

#[test]
fn where_no_memory_is_nobody_answers() {
    let bench = bench(Iommu::Absent, 64, Vec::new());
    assert_eq!(
        bench.port.write(0x10_0000, &[0]),
        Err(DmaError::Unclaimed { phys: 0x10_0000 })
    );
    assert_eq!(bench.port.requester().counters().refused, 1);
}

#[test]
fn inbound_ranges_shift_what_no_iommu_translated() {
    let range = InboundDescription {
        bus: 0x1_0000_0000,
        phys: 0,
        len_bytes: 0x40_0000,
    };
    let bench = bench(Iommu::Absent, 64, vec![range]);
    bench.port.write(0x1_0020_0000, &[9]).unwrap();
    assert_eq!(bench.ram.load_u8(0x20_0000).unwrap(), 9);
    assert_eq!(
        bench.port.write(0x20_0000, &[9]),
        Err(DmaError::NotInbound { bus: 0x20_0000 })
    );
}

#[test]
fn translated_requests_do_not_pass_the_inbound_ranges() {
    let range = InboundDescription {
        bus: 0x1_0000_0000,
        phys: 0,
        len_bytes: 0x40_0000,
    };
    let bench = bench(Iommu::Present, 64, vec![range]);
    bench.port.write(0x1000, &[9]).unwrap();
    assert_eq!(bench.ram.load_u8(0x2000).unwrap(), 9);
}

#[test]
fn without_bus_master_nothing_leaves_the_function() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    bench.port.requester().set_master(false);
    assert_eq!(
        bench.port.read(0x1000, &mut [0]),
        Err(DmaError::BusMasterOff)
    );
    assert_eq!(
        bench.port.write(0xfee0_0000, &[0; 4]),
        Err(DmaError::BusMasterOff)
    );
    assert!(bench.unit.asked.lock().is_empty());
}

#[test]
fn a_bridge_that_is_no_bus_master_forwards_nothing() {
    let bridge = Arc::new(Requester::new(1, 0, 64, Vec::new()));
    let function = Requester::new(0, 0, 64, vec![bridge.clone()]);
    function.set_master(true);
    assert!(!function.is_master());
    bridge.set_master(true);
    assert!(function.is_master());
}

#[test]
fn files_move_to_and_from_pages_all_in_flight_at_once() {
    use std::io::Write;
    let bench = bench(Iommu::Present, 64, Vec::new());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[5; 0x3000]).unwrap();
    let runs = [
        BusRun {
            bus: 0x4000,
            len_bytes: 0x1800,
        },
        BusRun {
            bus: 0x2_0000,
            len_bytes: 0x1000,
        },
    ];
    assert_eq!(bench.port.write_from_file(&runs, &file, 0).unwrap(), 0x2800);
    assert_eq!(bench.ram.load_u8(0x5000 + 0x17ff).unwrap(), 5);
    assert_eq!(bench.ram.load_u8(0x5000 + 0x1800).unwrap(), 0);
    assert_eq!(bench.ram.load_u8(0x2_1fff).unwrap(), 5);
    let copy = tempfile::tempfile().unwrap();
    assert_eq!(bench.port.read_to_file(&runs, &copy, 0).unwrap(), 0x2800);
    assert_eq!(copy.metadata().unwrap().len(), 0x2800);

    let blocked = [BusRun {
        bus: 0x8000,
        len_bytes: 0x2000,
    }];
    let error = bench.port.write_from_file(&blocked, &file, 0).unwrap_err();
    assert!(matches!(error, TransferError::Dma(DmaError::Blocked(_))));
    assert_eq!(bench.ram.load_u8(0x9000).unwrap(), 0, "nothing was moved");
    assert_eq!(bench.unit.gate.in_flight(), 0);
}

#[test]
fn a_unit_that_translates_messages_decides_which_writes_are_messages() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    bench
        .unit
        .translates_messages
        .store(true, Ordering::Relaxed);
    // Page 0xfedff becomes the first of the window; what the device took for the window is past RAM.
    bench.port.write(0xfedf_f010, &7_u32.to_le_bytes()).unwrap();
    assert_eq!(*bench.sink.0.lock(), [(0xfee0_0010, 7)]);
    assert_eq!(
        bench.port.write(0xfeef_f010, &7_u32.to_le_bytes()),
        Err(DmaError::Unclaimed { phys: 0xfef0_0010 })
    );
    assert_eq!(
        bench.port.write(0xfedf_f010, &[0; 8]),
        Err(DmaError::Message {
            bus: 0xfee0_0010,
            len_bytes: 8
        })
    );
    assert!(matches!(
        bench.port.read(0xfedf_f010, &mut [0; 4]),
        Err(DmaError::Unclaimed { .. })
    ));
    bench.port.write(0x1000, &[1; 4]).unwrap();
    assert_eq!(bench.sink.0.lock().len(), 1);
    let counters = bench.port.requester().counters();
    assert_eq!((counters.written_bytes, counters.refused), (4, 3));
    assert_eq!(bench.unit.gate.in_flight(), 0);
}

#[test]
fn a_message_that_is_not_translated_raises_no_interrupt_through_a_page_that_leads_to_the_window() {
    let bench = bench(Iommu::Present, 64, Vec::new());
    assert_eq!(
        bench.port.write(0xfedf_f010, &7_u32.to_le_bytes()),
        Err(DmaError::Unclaimed { phys: 0xfee0_0010 })
    );
    assert_eq!(*bench.sink.0.lock(), []);
}
