//! Code of a driver that panics in the middle of a call: nothing is given back that a device may still reach.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dmamap::addr::{PhysRange, VirtAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use machine::temper::Temper;
use rig::{EDU, PAGE, Rig, assert_first_fault, buffer_of, impatient, small, try_write};

/// When memory panics, and whether it was given back.
#[derive(Clone, Default)]
struct Fuse {
    /// Questions answered until one makes it panic; 0 for none.
    left: Arc<AtomicU64>,
    dropped: Arc<AtomicBool>,
}

impl Fuse {
    fn light(&self, nth: u64) {
        self.left.store(nth, Ordering::SeqCst);
    }

    fn burn(&self) {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                // Without the message of a panic nobody expects.
                resume_unwind(Box::new("the fuse has burnt down"));
            }
        }
    }

    fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// Memory that panics when it is asked the n-th question.
struct Explosive<B: DmaMemory> {
    inner: B,
    fuse: Fuse,
}

impl<B: DmaMemory> Explosive<B> {
    fn new(inner: B) -> (Self, Fuse) {
        let fuse = Fuse::default();
        let this = Self {
            inner,
            fuse: fuse.clone(),
        };
        (this, fuse)
    }
}

impl<B: DmaMemory> Drop for Explosive<B> {
    fn drop(&mut self) {
        self.fuse.dropped.store(true, Ordering::SeqCst);
    }
}

// SAFETY: the answers it gives are those of the memory it owns.
unsafe impl<B: DmaMemory> DmaMemory for Explosive<B> {
    fn len_bytes(&self) -> u64 {
        self.fuse.burn();
        self.inner.len_bytes()
    }

    fn virt(&self) -> VirtAddr {
        self.fuse.burn();
        self.inner.virt()
    }

    fn pointer(&self) -> NonNull<u8> {
        self.fuse.burn();
        self.inner.pointer()
    }

    fn segment(&self, offset: u64) -> PhysRange {
        self.fuse.burn();
        self.inner.segment(offset)
    }
}

/// Runs `call` with the fuse of `memory` burning down one question later each time, until it does not burn down
/// any more. `call` gets memory and device. Returns how often it did.
fn blow_up_everywhere<B: DmaMemory>(
    rig: &Rig,
    device: &Device<Hosted>,
    mut memory: impl FnMut() -> B,
    mut call: impl FnMut(&Device<Hosted>, Explosive<B>, &Fuse, u64),
) -> u64 {
    for nth in 1.. {
        let (explosive, fuse) = Explosive::new(memory());
        let phys = explosive.inner.segment(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| call(device, explosive, &fuse, nth)));
        let reachable = rig
            .machine
            .audit()
            .leaves
            .iter()
            .any(|leaf| leaf.phys == phys.start().as_u64());
        assert!(
            !(reachable && fuse.is_dropped()),
            "question {nth}: freed while mapped"
        );
        rig.assert_no_findings();
        // The device works on, and no count is off.
        drop(
            device
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap(),
        );
        let figures = device.figures();
        assert_eq!(
            (figures.live_mappings, figures.live_bytes),
            (0, 0),
            "question {nth}"
        );
        if outcome.is_ok() {
            return nth - 1;
        }
        assert_eq!(fuse.left.load(Ordering::SeqCst), 0, "another panic");
    }
    unreachable!("it ends before numbers do")
}

#[test]
fn memory_that_panics_while_it_is_mapped_is_never_freed_while_mapped() {
    for temper in [Temper::Keep, Temper::Forget] {
        let rig = Rig::boot(small().with_temper(temper));
        let device = rig.attach(EDU);
        let kernel = rig.kernel;
        let contiguous = || DmaBuffer::allocate(kernel, 3 * PAGE).unwrap();
        let blown = blow_up_everywhere(&rig, &device, contiguous, |device, memory, fuse, nth| {
            fuse.light(nth);
            let mapping = device.map_single(memory, Bidirectional);
            fuse.light(0);
            drop(mapping.unwrap());
        });
        assert!(blown >= 3, "only {blown} questions are asked");
        let scattered = || ScatteredBuffer::allocate(kernel, 5 * PAGE).unwrap();
        let blown = blow_up_everywhere(&rig, &device, scattered, |device, memory, fuse, nth| {
            fuse.light(nth);
            let mapping = device.map_sg(memory, Bidirectional);
            fuse.light(0);
            drop(mapping.unwrap());
        });
        // Each piece is asked for once, and some things are of the whole.
        assert!(blown >= 6 + 5, "only {blown} questions are asked");
        device.detach().unwrap();
        assert_eq!(rig.machine.audit().leaves, []);
        // What blew up was leaked, and nothing else went wrong.
        assert_eq!(rig.finish_with_losses().frames.disturbed, 0);
    }
}

#[test]
fn memory_that_panics_while_a_lane_has_it_is_never_freed_while_mapped() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let kernel = rig.kernel;
    let contiguous = || DmaBuffer::allocate(kernel, 3 * PAGE).unwrap();
    let scattered = || ScatteredBuffer::allocate(kernel, 5 * PAGE).unwrap();
    let mut lane = device.lane();
    blow_up_everywhere(&rig, &device, contiguous, |_, memory, fuse, nth| {
        fuse.light(nth);
        let mapping = lane.map_single(memory, Bidirectional);
        fuse.light(0);
        drop(mapping.unwrap());
    });
    let blown = blow_up_everywhere(&rig, &device, scattered, |_, memory, fuse, nth| {
        fuse.light(nth);
        let mapping = lane.map_sg(memory, Bidirectional);
        fuse.light(0);
        drop(lane.unmap_sg(mapping.unwrap()).unwrap());
    });
    assert!(blown >= 4 + 5, "only {blown} questions are asked");
    blow_up_everywhere(&rig, &device, contiguous, |_, memory, fuse, nth| {
        let mapping = lane.map_single(memory, FromDevice).unwrap();
        fuse.light(nth);
        let buffer = lane.unmap(mapping);
        fuse.light(0);
        drop(buffer.unwrap());
    });
    blow_up_everywhere(&rig, &device, contiguous, |_, memory, fuse, nth| {
        let mapping = lane.map_single(memory, FromDevice).unwrap();
        fuse.light(nth);
        let buffer = lane.retire(mapping).finish();
        fuse.light(0);
        drop(buffer.unwrap());
    });
    drop(lane);
    device.detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    // What blew up was leaked, and nothing else went wrong.
    assert_eq!(rig.finish_with_losses().frames.disturbed, 0);
}

#[test]
fn memory_that_panics_while_it_is_unmapped_is_freed_only_when_unmapped() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let kernel = rig.kernel;
    let contiguous = || DmaBuffer::allocate(kernel, 2 * PAGE).unwrap();
    blow_up_everywhere(&rig, &device, contiguous, |device, memory, fuse, nth| {
        let mapping = device.map_single(memory, FromDevice).unwrap();
        fuse.light(nth);
        let buffer = mapping.unmap();
        fuse.light(0);
        drop(buffer.unwrap());
    });
    blow_up_everywhere(&rig, &device, contiguous, |device, memory, fuse, nth| {
        let mapping = device.map_single(memory, FromDevice).unwrap();
        fuse.light(nth);
        drop(mapping);
        fuse.light(0);
    });
    device.detach().unwrap();
    let _ = rig.finish_with_losses();
}

#[test]
fn memory_that_panics_while_its_unmap_is_not_confirmed_is_kept() {
    let rig = Rig::boot_with(small(), impatient(150));
    let device = rig.attach(EDU);
    let mut kept = 0;
    for nth in 1..5 {
        let (memory, fuse) = Explosive::new(DmaBuffer::allocate(rig.kernel, PAGE).unwrap());
        let mapping = device.map_single(memory, FromDevice).unwrap();
        rig.unit(0).hold_queue();
        fuse.light(nth);
        let outcome = catch_unwind(AssertUnwindSafe(|| mapping.unmap().map(drop)));
        assert!(!matches!(outcome, Ok(Ok(()))));
        assert!(
            !fuse.is_dropped(),
            "question {nth}: freed while the device may reach it"
        );
        kept += 1;
        rig.unit(0).release_queue();
    }
    assert!(rig.frames_in_use() >= kept, "memory was given back");
    device.detach().unwrap();
    // With the detach all came back but the memory that blew up when it was asked its length for the quarantine.
    assert_eq!(rig.finish_with_losses().frames.in_use, 1);
}

#[test]
fn views_and_lists_that_panic_leave_the_mapping_whole() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let (memory, fuse) = Explosive::new(ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap());
    let mut list = device.map_sg(memory, Bidirectional).unwrap();
    for nth in 1..4 {
        fuse.light(nth);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(list.sync_for_cpu())));
        fuse.light(nth);
        let _ = catch_unwind(AssertUnwindSafe(|| list.sync_range_for_cpu(1, 7).map(drop)));
        fuse.light(nth);
        let _ = catch_unwind(AssertUnwindSafe(|| list.segments().count()));
    }
    fuse.light(0);
    let segments: u64 = list.segments().map(|segment| segment.len_bytes()).sum();
    assert_eq!(segments, 3 * PAGE);
    drop(list.unmap().unwrap());
    assert!(fuse.is_dropped());
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_closure_that_panics_leaves_nothing_mapped() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(4)] {
        let mut rig = Rig::boot(small().with_temper(temper));
        let mut edu = rig.edu();
        let mut borrowed = buffer_of(rig.kernel, PAGE, 0xc3);
        let mut bus = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            edu.device()
                .map_within(&mut borrowed, Bidirectional, |mapping| {
                    bus = Some(mapping.bus_addr());
                    mapping.sync_for_cpu().write_at(0, &[1, 2, 3]).unwrap();
                    resume_unwind(Box::new("the driver has a bug"))
                })
        }));
        assert!(outcome.is_err());
        let bus = bus.expect("the closure ran");
        assert_eq!(rig.machine.audit().leaves, []);
        assert_eq!(edu.device().figures().live_mappings, 0);
        assert_eq!(borrowed.as_slice()[..4], [1, 2, 3, 0xc3]);
        borrowed.as_mut_slice().fill(0xc3);
        try_write(&mut edu, bus, 64);
        assert_first_fault(
            rig.system(),
            EDU,
            bus,
            Access::Write,
            FaultReason::WriteNotPermitted,
        );
        assert_eq!(borrowed.as_slice(), [0xc3; PAGE as usize]);
        drop((borrowed, edu));
        rig.finish_after_faults();
    }
}

#[test]
fn borrowed_memory_is_the_devices_inside_the_closure_and_no_longer() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let mut borrowed = buffer_of(rig.kernel, PAGE, 0x11);
    let bus = edu
        .device()
        .map_within(&mut borrowed, Bidirectional, |mapping| {
            assert_eq!(mapping.range().len_bytes(), PAGE);
            assert_eq!(rig.machine.audit().reachable_bytes(), PAGE);
            mapping.bus_addr()
        })
        .unwrap();
    // When the call has returned it is over.
    assert_eq!(rig.machine.audit().leaves, []);
    try_write(&mut edu, bus, 64);
    assert_first_fault(
        rig.system(),
        EDU,
        bus,
        Access::Write,
        FaultReason::WriteNotPermitted,
    );
    assert_eq!(borrowed.as_slice(), [0x11; PAGE as usize]);
    drop((borrowed, edu));
    rig.finish_after_faults();
}

/// Names the case in the child's environment.
const CASE: &str = "FATAL_CASE";

/// Runs `case` in a child that is this very test, and expects `message` as its last words: it must not go on.
fn expect_fatal(test: &str, message: &str, case: impl FnOnce()) {
    if std::env::var_os(CASE).is_some() {
        case();
        return;
    }
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args([&format!("panics::{test}"), "--exact"])
        .env(CASE, test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "it went on");
    assert!(said.contains(message), "it said: {said}");
}

#[test]
fn borrowed_memory_that_a_device_may_keep_stops_the_kernel() {
    let message = "borrowed memory may still be reachable by a device";
    expect_fatal(
        "borrowed_memory_that_a_device_may_keep_stops_the_kernel",
        message,
        || {
            let rig = Rig::boot_with(small(), impatient(150));
            let device = rig.attach(EDU);
            let mut borrowed = buffer_of(rig.kernel, PAGE, 1);
            let _ = device.map_within(&mut borrowed, FromDevice, |_| rig.unit(0).hold_queue());
        },
    );
}

#[test]
fn borrowed_memory_that_panics_while_it_is_mapped_stops_the_kernel() {
    let message = "panicked half way";
    expect_fatal(
        "borrowed_memory_that_panics_while_it_is_mapped_stops_the_kernel",
        message,
        || {
            let rig = Rig::boot(small());
            let device = rig.attach(EDU);
            let (mut memory, fuse) = Explosive::new(buffer_of(rig.kernel, PAGE, 1));
            fuse.light(3);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                device.map_within(&mut memory, FromDevice, |_| ())
            }));
        },
    );
}
