//! Every cache operation that the mapping layer makes and that has something to do is needed: with it left out, data is
//! wrong in at least one temper of the caches.

use std::sync::Arc;

use board::hardware::Hardware;
use board::ram::Ram;
use dmamap::addr::VirtAddr;
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::map::{AnyDirection, Attributes, Bidirectional, FromDevice, ToDevice};
use dmamap::platform::Platform;
use drivers::edu::Edu;
use hosted::{Forget, Forgetful, Hosted, Maintenance};
use machine::Iommu;
use machine::cache::Snooping;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::vtd::VtdConfig;
use machine::temper::Temper;
use parking_lot::Mutex;

use crate::rig::{Rig, TEMPERS, config};
use crate::streaming;

pub(crate) type Kernel = Forgetful<Hosted>;

/// A device on a computer whose other parts need no maintenance: what is left out is left out for the device.
pub(crate) struct Bench {
    pub(crate) rig: Rig,
    pub(crate) edu: Edu<Kernel>,
}

/// What is done with the device; the error says what data was wrong.
type Step = fn(&mut Bench) -> Result<(), String>;

const STEPS: [(&str, Step); 15] = [
    ("to and from", to_and_from),
    ("short transfer", short_transfer),
    ("rest of the frame", rest_of_the_frame),
    ("views", views),
    ("partial views", partial_views),
    ("list", list),
    ("mapped again", mapped_again),
    ("borrowed", borrowed),
    ("coherent", coherent),
    ("raw", raw),
    ("list of buffers", streaming::list_of_buffers),
    ("raw list", streaming::raw_list),
    ("raw syncs", streaming::raw_syncs),
    ("two steps", streaming::two_steps),
    ("two raw steps", streaming::two_raw_steps),
];

/// Operations that have something to do and that no data tells of, by step and number.
///
/// Coherent memory is invalidated when it is freed, as [`Platform::map_frames`] asks of whoever uses the direct map again.
/// Here that is the allocator, whose next client writes before it reads.
///
/// What is mapped again is cleaned as all that the device reads. The CPU has not touched it since the device wrote it: its lines
/// are older than memory, and none is dirty.
const UNSEEN: [(&str, Maintenance, u64); 3] = [
    ("coherent", Maintenance::Invalidate, 3),
    ("coherent", Maintenance::Invalidate, 6),
    ("mapped again", Maintenance::Clean, 3),
];

fn computers() -> [(&'static str, Iommu); 3] {
    let walks = Snooping::On;
    let vtd = Iommu::Vtd {
        unit: VtdConfig::default(),
        walks,
    };
    let riscv = Iommu::Riscv {
        unit: RiscvConfig::default(),
        walks,
    };
    [("none", Iommu::None), ("vtd", vtd), ("riscv", riscv)]
}

#[test]
fn each_operation_that_is_left_out_shows() {
    for (name, iommu) in computers() {
        for (what, step) in STEPS {
            let calls = needed_calls(&iommu, step);
            assert!(
                calls.iter().any(|(_, needed)| *needed),
                "{name}: {what}: nothing to leave out"
            );
            for kind in [Maintenance::Clean, Maintenance::Invalidate] {
                let of_kind = calls.iter().filter(|(each, _)| *each == kind);
                for (nth, (_, needed)) in (1..).zip(of_kind) {
                    let shows = TEMPERS.map(|temper| shows(&iommu, temper, step, kind, nth));
                    assert!(
                        !needed || shows.contains(&true) || UNSEEN.contains(&(what, kind, nth)),
                        "{name}: {what}: {kind:?} number {nth} is not missed"
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_is_wrong_with_all_of_them() {
    for (name, iommu) in computers() {
        for (what, step) in STEPS {
            for temper in TEMPERS {
                let mut bench = Bench::new(iommu.clone(), temper);
                step(&mut bench).unwrap_or_else(|wrong| panic!("{name}: {what}: {wrong}"));
                bench.finish();
            }
        }
    }
}

/// The calls of a step, and whether each had something to do: the copies of memory differed in a line of it.
fn needed_calls(iommu: &Iommu, step: Step) -> Vec<(Maintenance, bool)> {
    let mut bench = Bench::new(iommu.clone(), Temper::Keep);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (seen, kernel) = (Arc::clone(&calls), bench.rig.kernel);
    let cached = Arc::clone(bench.rig.machine.ram());
    let memory = Arc::clone(bench.rig.machine.uncached_ram().expect("two copies"));
    bench.rig.platform.watch(move |kind, start, len_bytes| {
        let differ = differ(kernel, &cached, &memory, start, len_bytes);
        seen.lock().push((kind, differ));
    });
    step(&mut bench).expect("nothing is left out");
    let calls = std::mem::take(&mut *calls.lock());
    bench.finish();
    calls
}

fn differ(kernel: Hosted, cached: &Ram, memory: &Ram, start: VirtAddr, len_bytes: usize) -> bool {
    let first = start.as_u64() / 64 * 64;
    let last = start.as_u64() + len_bytes as u64;
    (first..last).step_by(64).any(|line| {
        let phys = kernel.virt_to_phys(VirtAddr::new(line)).expect("memory");
        let (mut ours, mut theirs) = ([0; 64], [0; 64]);
        cached.read(phys.as_u64(), &mut ours).expect("memory");
        memory.read(phys.as_u64(), &mut theirs).expect("memory");
        ours != theirs
    })
}

fn shows(iommu: &Iommu, temper: Temper, step: Step, kind: Maintenance, nth: u64) -> bool {
    let mut bench = Bench::new(iommu.clone(), temper);
    bench.rig.platform.forget(Forget::Nth(kind, nth));
    let outcome = step(&mut bench);
    assert_eq!(bench.rig.platform.forgotten(), 1);
    bench.rig.platform.forget(Forget::Nothing);
    bench.finish();
    outcome.is_err()
}

impl Bench {
    fn new(iommu: Iommu, temper: Temper) -> Self {
        // The device has few address lines.
        let mut rig = Rig::boot(config(iommu, temper).with_ram(64 << 20));
        let function = rig.computer.edus().next().expect("a device").clone();
        let device = rig.attach(&function);
        let edu = Edu::start(device, &function, rig.computer.resources_mut());
        let bench = Self {
            edu: edu.expect("the device comes up"),
            rig,
        };
        // Frames are lent that were used before: memory holds something else of them than the CPU.
        drop((0..8).map(|_| bench.buffer(PAGE, 3)).collect::<Vec<_>>());
        bench
    }

    fn finish(self) {
        let Self { rig, edu } = self;
        edu.stop().detach().expect("the device detaches");
        rig.finish();
    }

    pub(crate) fn buffer(&self, len_bytes: u64, byte: u8) -> DmaBuffer<Kernel> {
        let mut buffer = DmaBuffer::allocate(self.rig.platform, len_bytes).expect("memory");
        buffer.as_mut_slice().fill(byte);
        buffer
    }

    /// What is in the device's buffer.
    fn in_device(&mut self, len_bytes: u64) -> Vec<u8> {
        let buffer = self.buffer(len_bytes, 0xee);
        let mapping = self.edu.device().map_single(buffer, FromDevice).unwrap();
        self.edu.store(&mapping, 0, len_bytes).unwrap();
        mapping.unmap().unwrap().as_slice().to_vec()
    }
}

pub(crate) const PAGE: u64 = 4096;
pub(crate) const OLD: u8 = 0x31;
pub(crate) const NEW: u8 = 0x7d;

pub(crate) fn expect(what: &str, bytes: &[u8], wanted: u8) -> Result<(), String> {
    match bytes.iter().position(|byte| *byte != wanted) {
        None => Ok(()),
        Some(at) => Err(format!("{what}: byte {at} is {:#x}", bytes[at])),
    }
}

fn to_and_from(bench: &mut Bench) -> Result<(), String> {
    for byte in [OLD, NEW] {
        let sent = bench.buffer(PAGE, byte);
        let sent = bench.edu.device().map_single(sent, ToDevice).unwrap();
        bench.edu.fetch(&sent, 0, PAGE).unwrap();
        let received = bench.buffer(PAGE, 0);
        let received = bench.edu.device().map_single(received, FromDevice).unwrap();
        bench.edu.store(&received, 0, PAGE).unwrap();
        expect("arrived", received.unmap().unwrap().as_slice(), byte)?;
        expect("kept", sent.unmap().unwrap().as_slice(), byte)?;
    }
    Ok(())
}

fn short_transfer(bench: &mut Bench) -> Result<(), String> {
    let sent = bench.buffer(300, NEW);
    let sent = bench.edu.device().map_single(sent, ToDevice).unwrap();
    bench.edu.fetch(&sent, 0, 300).unwrap();
    let received = bench.buffer(300, OLD);
    let received = bench.edu.device().map_single(received, FromDevice).unwrap();
    bench.edu.store(&received, 70, 100).unwrap();
    let received = received.unmap().unwrap();
    expect("before", &received.as_slice()[..70], OLD)?;
    expect("arrived", &received.as_slice()[70..170], NEW)?;
    expect("after", &received.as_slice()[170..], OLD)
}

fn rest_of_the_frame(bench: &mut Bench) -> Result<(), String> {
    let sent = bench.buffer(100, NEW);
    let sent = bench.edu.device().map_single(sent, ToDevice).unwrap();
    // SAFETY: behind an IOMMU the rest of the frame is lent too, and without one it is the buffer's.
    unsafe { bench.edu.fetch_at(sent.bus_addr(), PAGE) }.unwrap();
    let seen = bench.in_device(PAGE);
    expect("the buffer", &seen[..100], NEW)?;
    expect("the rest", &seen[100..], 0)
}

fn views(bench: &mut Bench) -> Result<(), String> {
    let buffer = bench.buffer(PAGE, OLD);
    let mut both = bench
        .edu
        .device()
        .map_single(buffer, Bidirectional)
        .unwrap();
    for byte in 1..4 {
        both.sync_for_cpu().write_at(0, &[byte; 1024]).unwrap();
        bench.edu.fetch(&both, 0, 1024).unwrap();
        bench.edu.store(&both, 2048, 1024).unwrap();
        let mut seen = [0; 1024];
        both.sync_for_cpu().read_at(2048, &mut seen).unwrap();
        expect("copied", &seen, byte)?;
    }
    let buffer = both.unmap().unwrap();
    expect("first", &buffer.as_slice()[..1024], 3)?;
    expect("second", &buffer.as_slice()[1024..2048], OLD)?;
    expect("third", &buffer.as_slice()[2048..3072], 3)?;
    expect("fourth", &buffer.as_slice()[3072..], OLD)?;
    let buffer = bench.buffer(PAGE, OLD);
    let mut to = bench.edu.device().map_single(buffer, ToDevice).unwrap();
    let mut view = to.sync_range_for_cpu(0, 512).unwrap();
    view.write_at(0, &[NEW; 512]).unwrap();
    drop(view);
    let buffer = bench.buffer(PAGE, 0);
    let mut from = bench.edu.device().map_single(buffer, FromDevice).unwrap();
    for _ in 0..2 {
        bench.edu.fetch(&to, 0, PAGE).unwrap();
        bench.edu.store(&from, 0, PAGE).unwrap();
        let mut seen = [0; PAGE as usize];
        from.sync_for_cpu().read_at(0, &mut seen).unwrap();
        expect("written", &seen[..512], NEW)?;
        expect("left", &seen[512..], OLD)?;
    }
    let received = from.unmap().unwrap();
    expect("written, unmapped", &received.as_slice()[..512], NEW)?;
    let sent = to.unmap().unwrap();
    expect("sent", &sent.as_slice()[512..], OLD)
}

fn partial_views(bench: &mut Bench) -> Result<(), String> {
    let buffer = bench.buffer(PAGE, OLD);
    let mut both = bench
        .edu
        .device()
        .map_single(buffer, Bidirectional)
        .unwrap();
    let mut view = both.sync_range_for_cpu(100, 200).unwrap();
    view.write_at(0, &[NEW; 200]).unwrap();
    drop(view);
    bench.edu.fetch(&both, 100, 200).unwrap();
    bench.edu.store(&both, 1000, 200).unwrap();
    let mut seen = [0; 200];
    let view = both.sync_range_for_cpu(1000, 200).unwrap();
    view.read_at(0, &mut seen).unwrap();
    drop(view);
    expect("copied", &seen, NEW)?;
    let buffer = both.unmap().unwrap();
    expect("before", &buffer.as_slice()[..100], OLD)?;
    expect("between", &buffer.as_slice()[300..1000], OLD)?;
    expect("copied, unmapped", &buffer.as_slice()[1000..1200], NEW)
}

fn list(bench: &mut Bench) -> Result<(), String> {
    let mut buffer = ScatteredBuffer::allocate(bench.rig.platform, 3 * PAGE).unwrap();
    for (page, bytes) in (1..).zip(buffer.as_mut_slice().chunks_mut(PAGE as usize)) {
        bytes.fill(page);
    }
    let list = bench.edu.device().map_sg(buffer, Bidirectional).unwrap();
    let frames: Vec<_> = list
        .segments()
        .flat_map(|segment| {
            let pages = segment.len_bytes() / PAGE;
            (0..pages).filter_map(move |page| segment.start().checked_add(page * PAGE))
        })
        .collect();
    // The first page is copied over the last.
    // SAFETY: what is read and written is the list's.
    unsafe {
        bench.edu.fetch_at(frames[0], PAGE).unwrap();
        bench.edu.store_at(frames[2], PAGE).unwrap();
    }
    let buffer = list.unmap().unwrap();
    for (bytes, byte) in buffer.as_slice().chunks(PAGE as usize).zip([1, 2, 1]) {
        expect("page", bytes, byte)?;
    }
    Ok(())
}

/// What the device wrote arrives although it only reads, the second time that the memory is mapped.
fn mapped_again(bench: &mut Bench) -> Result<(), String> {
    let sent = bench.buffer(PAGE, NEW);
    let sent = bench.edu.device().map_single(sent, ToDevice).unwrap();
    bench.edu.fetch(&sent, 0, PAGE).unwrap();
    let received = bench.buffer(PAGE, OLD);
    let received = bench.edu.device().map_single(received, FromDevice).unwrap();
    bench.edu.store(&received, 0, PAGE).unwrap();
    let again = received.retire().remap(ToDevice).unwrap();
    bench.edu.fetch(&again, 0, PAGE).unwrap();
    expect("arrived", again.unmap().unwrap().as_slice(), NEW)?;
    expect("sent on", &bench.in_device(PAGE), NEW)?;
    expect("kept", sent.unmap().unwrap().as_slice(), NEW)
}

fn borrowed(bench: &mut Bench) -> Result<(), String> {
    let mut buffer = bench.buffer(PAGE, NEW);
    let Bench { edu, .. } = bench;
    // The driver is borrowed by the call, so memory is looked at where the device would.
    let sent = edu.device().map_within(&mut buffer, ToDevice, |mapping| {
        let mut view = mapping.sync_range_for_cpu(64, 64).unwrap();
        view.write_at(0, &[OLD; 64]).unwrap();
        drop(view);
        let mut seen = [0; 192];
        let phys = buffer_phys(mapping.range().start().as_u64(), edu.device());
        let memory = bench.rig.machine.uncached_ram().expect("two copies");
        memory.read(phys, &mut seen).unwrap();
        seen
    });
    let sent = sent.unwrap();
    expect("first line", &sent[..64], NEW)?;
    expect("second line", &sent[64..128], OLD)?;
    expect("third line", &sent[128..], NEW)
}

fn buffer_phys(bus: u64, device: &dmamap::device::Device<Kernel>) -> u64 {
    let phys = device.translate(dmamap::addr::BusAddr::new(bus));
    phys.expect("it is mapped").as_u64()
}

fn coherent(bench: &mut Bench) -> Result<(), String> {
    for round in 1..3_u8 {
        let shared = bench.edu.device().alloc_coherent::<[u8; 64]>(8).unwrap();
        // SAFETY: the memory is the device's.
        unsafe { bench.edu.fetch_at(shared.bus_addr(), 512) }.unwrap();
        expect("fresh", &bench.in_device(512), 0)?;
        shared.write(1, [round; 64]).unwrap();
        let at = shared.element_bus_addr(1).unwrap();
        // SAFETY: as above.
        unsafe { bench.edu.fetch_at(at, 64) }.unwrap();
        let at = shared.element_bus_addr(5).unwrap();
        // SAFETY: as above.
        unsafe { bench.edu.store_at(at, 64) }.unwrap();
        expect("shared", &shared.read(5).unwrap(), round)?;
        expect("beside it", &shared.read(4).unwrap(), 0)?;
        shared.free().unwrap();
    }
    Ok(())
}

fn raw(bench: &mut Bench) -> Result<(), String> {
    let mut buffer = bench.buffer(2 * PAGE, OLD);
    for byte in [NEW, OLD] {
        buffer.as_mut_slice()[..PAGE as usize].fill(byte);
        let device = bench.edu.device();
        // SAFETY: the buffer is not touched while it is mapped, and the device has finished before it is unmapped.
        unsafe {
            let range = device
                .map_single_raw(buffer.virt(), 2 * PAGE, AnyDirection::Bidirectional)
                .unwrap();
            bench.edu.fetch_at(range.start(), PAGE).unwrap();
            let second = range.start().checked_add(PAGE).unwrap();
            bench.edu.store_at(second, PAGE).unwrap();
            let direction = AnyDirection::Bidirectional;
            let device = bench.edu.device();
            device
                .unmap_phys(range, direction, Attributes::NONE)
                .unwrap();
        }
        expect("copied", buffer.as_slice(), byte)?;
    }
    Ok(())
}
