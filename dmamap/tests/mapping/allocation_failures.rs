//! Every allocation fails in turn: an error comes back, and everything taken on the way goes back.
//!
//! One that fails alone may be done without, as there is another way; not so where all fail that follow.

use std::sync::Arc;

use dmamap::addr::{PhysAddr, PhysRange};
use dmamap::buffer::{BufferError, DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::map::{
    AnyDirection, Attributes, CoherentError, CoherentFailure, CoherentOptions, FromDevice,
    MapFailure, ToDevice,
};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use hosted::{FaultInjector, Hosted, Persistence, Resource, ShutdownReport};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::vtd::{CachingMode, Support, VtdConfig};
use machine::{Iommu, Machine, MachineConfig};
use rig::modes::SCALABLE;
use rig::{
    EDU, FIRST_BLOCK_FRAMES, FIRST_LANE_FRAMES, FIRST_LARGE_BLOCK_FRAMES, HEARTBEAT, PAGE, Rig,
    small,
};

type Injector = FaultInjector<Hosted>;

/// Requests that one short mapping makes: for a block of bus addresses, for it to be lent, and for tables.
const MAPPING: u64 = FIRST_BLOCK_FRAMES + FIRST_LANE_FRAMES + 3;

/// A booted machine whose platform can be made to refuse.
struct Failing {
    rig: Rig<Injector>,
    injector: Injector,
}

impl Failing {
    fn boot(config: MachineConfig) -> Self {
        Self::boot_with(config, BootOptions::default())
    }

    fn boot_with(config: MachineConfig, options: BootOptions) -> Self {
        let machine = Machine::boot(config).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let rig = Rig::boot_on(machine, kernel, injector, options).unwrap();
        Self { rig, injector }
    }

    /// Fails each request of `scenario` in turn; afterwards as much is lent as before each time. Returns how
    /// many requests there were.
    fn fail_each(&self, scenario: impl FnMut(&Rig<Injector>)) -> u64 {
        self.sweep(Persistence::Once, scenario)
    }

    /// The same, where all that follow may fail too.
    fn sweep(&self, persistence: Persistence, mut scenario: impl FnMut(&Rig<Injector>)) -> u64 {
        let lent = Lent::now(self.rig.kernel);
        self.injector.sweep(persistence, |nth| {
            scenario(&self.rig);
            assert_eq!(Lent::now(self.rig.kernel), lent, "request {nth} failed");
            self.rig.assert_no_findings();
        })
    }
}

/// What a kernel has lent.
#[derive(Debug, PartialEq)]
struct Lent {
    frames: u64,
    scattered_mappings: usize,
    register_windows: usize,
    interrupts: usize,
}

impl Lent {
    fn now(kernel: Hosted) -> Self {
        let report: ShutdownReport = kernel.report();
        Self {
            frames: report.frames.in_use,
            scattered_mappings: report.scattered_mappings,
            register_windows: report.register_windows,
            interrupts: report.interrupts,
        }
    }
}

/// Units of every kind that take other paths when they start or a device enters, and how they are to translate.
fn kinds_of_unit() -> Vec<(Iommu, BootOptions)> {
    let plain = VtdConfig::default();
    let caching = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..plain.clone()
    };
    let passing = VtdConfig {
        pass_through: Support::Yes,
        ..plain.clone()
    };
    let mut kinds: Vec<_> = [plain.clone(), caching.clone(), passing]
        .map(rig::vtd)
        .into();
    kinds.push(Iommu::Vtd {
        unit: plain,
        walks: Snooping::Off,
    });
    let mut kinds: Vec<_> = kinds
        .into_iter()
        .map(|iommu| (iommu, BootOptions::default()))
        .collect();
    for way in SCALABLE {
        kinds.push((rig::vtd(way.unit(caching.clone())), way.options()));
    }
    kinds
}

#[test]
fn a_boot_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    for (iommu, options) in kinds_of_unit() {
        let machine: Arc<Machine> = Machine::boot(small().with_iommu(iommu)).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let mut failed = Vec::new();
        let requests = injector.fail_each_in_turn(|nth| {
            let before = injector.injected();
            match Rig::boot_on(machine.clone(), kernel, injector, options) {
                Err(_) => failed.push(injector.last_injected().unwrap()),
                Ok(rig) => {
                    if injector.injected() != before {
                        // Without an interrupt a unit's faults are read when somebody asks.
                        let missed = injector.last_injected().unwrap();
                        assert_eq!(missed, Resource::Interrupt, "request {nth} went unnoticed");
                        failed.push(missed);
                    }
                    // SAFETY: no driver gave a device anything to do.
                    unsafe { rig.system().shutdown() }.unwrap();
                }
            }
            let lent = Lent::now(kernel);
            let nothing = Lent {
                frames: 0,
                scattered_mappings: 0,
                register_windows: 0,
                interrupts: 0,
            };
            assert_eq!(lent, nothing, "request {nth} failed");
            assert_eq!(machine.findings(), [], "request {nth} failed");
        });
        assert_eq!(failed.len() as u64, requests);
        for resource in [
            Resource::Frames,
            Resource::RegisterWindow,
            Resource::Interrupt,
        ] {
            assert!(
                failed.contains(&resource),
                "{resource:?} is never asked for: {failed:?}"
            );
        }
        // Whatever the failures left in the hardware, the last boot worked; a device works now too.
        let mut rig = Rig::boot_on(machine, kernel, injector, options).unwrap();
        let mut edu = rig.edu();
        let target = edu
            .device()
            .map_single(buffer(edu.device(), 1), FromDevice)
            .unwrap();
        edu.store(&target, 0, PAGE).unwrap();
        drop((target, edu));
        rig.finish();
    }
}

fn buffer(device: &Device<Injector>, pages: u64) -> DmaBuffer<Injector> {
    // Not through the injector's count: the buffer is not what is to fail.
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

#[test]
fn attaching_fails_cleanly() {
    for (iommu, options) in kinds_of_unit() {
        for requester in [EDU, HEARTBEAT] {
            for protection in [Protection::Strict, Protection::Identity] {
                attaching_fails_cleanly_with(iommu.clone(), options, requester, protection);
            }
        }
    }
}

fn attaching_fails_cleanly_with(
    iommu: Iommu,
    options: BootOptions,
    requester: Requester,
    protection: Protection,
) {
    let failing = Failing::boot_with(small().with_iommu(iommu), options);
    let function = failing.rig.function(requester);
    // A bus's context table is allocated with its first device, and stays.
    drop(failing.rig.attach(EDU));
    drop(failing.rig.attach(EDU));
    let mut failures = 0;
    let requests = failing.fail_each(|rig| {
        // SAFETY: the device is given nothing to do.
        match unsafe { rig.system().attach_trusted(&function, protection) } {
            Ok(device) => device.detach().unwrap(),
            Err(_) => failures += 1,
        }
        rig.system()
            .attach(&function, Protection::Blocked)
            .unwrap()
            .detach()
            .unwrap();
        assert_eq!(rig.machine.audit().leaves, []);
    });
    assert_eq!(failures, requests);
    drop(function);
    failing.rig.finish();
}

#[test]
fn the_first_device_of_a_bus_fails_cleanly() {
    // There the context table is asked for as well; it is kept for the next try.
    let disk = machine::device::nvme::NvmeConfig::new(
        tempfile::tempfile().unwrap(),
        PAGE,
        machine::device::nvme::Medium::ReadOnly,
    );
    let failing = Failing::boot(small().with_disk(disk));
    let function = failing.rig.computer.disks().next().unwrap().clone();
    let before = failing.rig.frames_in_use();
    let requests = failing.injector.fail_each_in_turn(|_| {
        if let Ok(device) = failing.rig.system().attach(&function, Protection::Strict) {
            device.detach().unwrap();
        }
        drop(
            failing
                .rig
                .system()
                .attach(&function, Protection::Blocked)
                .unwrap(),
        );
        let kept = failing.rig.frames_in_use() - before;
        assert!(kept <= 1, "{kept} frames are kept");
        failing.rig.assert_no_findings();
    });
    assert!(requests > 3, "{requests}");
    drop(function);
    failing.rig.finish();
}

#[test]
fn mapping_fails_cleanly_and_returns_the_buffer() {
    let failing = Failing::boot(small());
    let device = failing.rig.attach(EDU);
    let held = Lent::now(failing.rig.kernel);
    // Every time with tables and records that are not there yet.
    for persistence in [Persistence::Once, Persistence::ForEver] {
        let (mut worked, mut failures) = (Vec::new(), 0);
        let requests = failing.injector.sweep(persistence, |nth| {
            let free = device.domain_frames();
            let frames = failing.rig.frames_in_use();
            // The buffer is allocated from the kernel itself, so that only the mapping's requests are counted.
            let buffer = Unfailing::allocate(&failing, 3);
            match device.map_single(buffer, ToDevice) {
                Ok(mapping) => {
                    worked.push(nth);
                    drop(mapping.unmap().unwrap());
                }
                Err(rejected) => {
                    failures += 1;
                    assert!(
                        matches!(rejected.error.failure, MapFailure::Domain(_)),
                        "{rejected}"
                    );
                    assert!(!rejected.error.leaves_memory_reachable());
                    drop(rejected.buffer.expect("it comes back"));
                    device.reclaim().unwrap();
                    assert_eq!(device.domain_frames(), free, "request {nth} failed");
                    assert_eq!(failing.rig.frames_in_use(), frames, "request {nth} failed");
                }
            }
            let figures = device.figures();
            assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
            assert_eq!(figures.maps, figures.unmaps);
            assert_eq!(failing.rig.machine.audit().leaves, []);
            device.reclaim().unwrap();
            assert_eq!(device.domain_frames(), free, "request {nth} failed");
        });
        // One that fails alone is done without: without a lane, or with a block for the tree.
        let (all_worked, none_worked) = ((1..=requests + 1).collect(), vec![requests + 1]);
        let (expected, least) = match persistence {
            Persistence::Once => (all_worked, 0),
            Persistence::ForEver => (none_worked, MAPPING),
        };
        assert_eq!(worked, expected, "{persistence:?}");
        assert_eq!(failures, requests + 1 - worked.len() as u64);
        assert!(
            failures >= least,
            "only {failures} of {requests} are missed"
        );
    }
    device.reclaim().unwrap();
    assert_eq!(Lent::now(failing.rig.kernel), held);
    device.detach().unwrap();
    failing.rig.finish();
}

/// A buffer whose allocation does not count.
struct Unfailing {
    frames: PhysRange,
    kernel: Hosted,
}

impl Unfailing {
    fn allocate(failing: &Failing, pages: usize) -> Self {
        let kernel = failing.rig.kernel;
        let frames = kernel.allocate_frames(FrameRequest::new(pages)).unwrap();
        Self { frames, kernel }
    }
}

impl Drop for Unfailing {
    fn drop(&mut self) {
        // SAFETY: nothing else refers to them.
        unsafe { self.kernel.free_frames(self.frames) };
    }
}

// SAFETY: the frames are this value's alone, whole, and reached by nobody.
unsafe impl dmamap::buffer::DmaMemory for Unfailing {
    fn len_bytes(&self) -> u64 {
        self.frames.len_bytes()
    }

    fn virt(&self) -> dmamap::addr::VirtAddr {
        dmamap::addr::VirtAddr::from_ptr(self.pointer().as_ptr())
    }

    fn pointer(&self) -> std::ptr::NonNull<u8> {
        self.kernel.frame_pointer(self.frames.start())
    }

    fn segment(&self, offset: u64) -> PhysRange {
        let offset = offset.min(self.frames.len_bytes());
        self.frames
            .slice(offset, self.frames.len_bytes() - offset)
            .unwrap()
    }
}

#[test]
fn coherent_memory_and_lists_fail_cleanly() {
    let failing = Failing::boot(small());
    let device = failing.rig.attach(EDU);
    for persistence in [Persistence::Once, Persistence::ForEver] {
        let mut failures = 0;
        let requests = failing.sweep(persistence, |_| {
            // Frames from anywhere would stand in for those in a row.
            let options = CoherentOptions::NONE.force_contiguous();
            match device.alloc_attrs::<u64>(3000, options) {
                Ok(coherent) => coherent.free().unwrap(),
                Err(CoherentError {
                    failure: CoherentFailure::Buffer(_) | CoherentFailure::Map(_),
                    ..
                }) => failures += 1,
                Err(other) => panic!("{other}"),
            }
            device.reclaim().unwrap();
        });
        let expected = match persistence {
            // The frames themselves.
            Persistence::Once => 1,
            Persistence::ForEver => requests,
        };
        assert_eq!(failures, expected, "{persistence:?}");
        assert!(requests > MAPPING, "only {requests} requests can fail");

        let mut worked = 0;
        let requests = failing.sweep(persistence, |rig| {
            let scattered = match ScatteredBuffer::allocate(rig.computer.platform(), 5 * PAGE) {
                Ok(scattered) => scattered,
                Err(BufferError::OutOfFrames(_) | BufferError::Virtual(_)) => return,
                Err(other) => panic!("{other}"),
            };
            match device.map_sg(scattered, FromDevice) {
                Ok(list) => {
                    worked += 1;
                    drop(list.unmap().unwrap());
                }
                Err(rejected) => assert!(rejected.buffer.is_some(), "{rejected}"),
            }
            device.reclaim().unwrap();
        });
        // Five pages and their mapping side by side; and nothing fails at last.
        let expected = match persistence {
            Persistence::Once => requests + 1 - 6,
            Persistence::ForEver => 1,
        };
        assert_eq!(worked, expected, "{persistence:?}");
        let least = 6 + MAPPING;
        assert!(requests >= least, "only {requests} requests can fail");
    }
    device.detach().unwrap();
    failing.rig.finish();
}

#[test]
fn a_lane_fails_cleanly() {
    let failing = Failing::boot(small());
    for protection in [Protection::Strict, Protection::Deferred] {
        let function = failing.rig.function(EDU);
        let device = failing.rig.system().attach(&function, protection).unwrap();
        for persistence in [Persistence::Once, Persistence::ForEver] {
            let mut worked = 0;
            let requests = failing.sweep(persistence, |_| {
                let mut lane = device.lane();
                for pages in [1, 5, 1] {
                    match lane.map_single(Unfailing::allocate(&failing, pages), FromDevice) {
                        Ok(mapping) => {
                            worked += 1;
                            match pages {
                                1 => drop(lane.retire(mapping).finish().unwrap()),
                                _ => drop(lane.unmap(mapping).unwrap()),
                            }
                        }
                        Err(rejected) => assert!(rejected.buffer.is_some(), "{rejected}"),
                    }
                }
                // A block for it must be lent anew.
                lane.shrink();
                if let Ok(mapping) = lane.map_single(Unfailing::allocate(&failing, 2), FromDevice) {
                    drop(lane.unmap(mapping).unwrap());
                }
                drop(lane);
                device.flush().unwrap();
                device.reclaim().unwrap();
            });
            assert!(requests >= MAPPING, "only {requests} requests can fail");
            assert!(worked >= 3, "only {worked} mappings worked");
        }
        device.detach().unwrap();
    }
    failing.rig.finish();
}

#[test]
fn a_large_list_that_runs_out_of_tables_is_undone() {
    let failing = Failing::boot(small());
    let device = failing.rig.attach(EDU);
    let kernel = failing.rig.kernel;
    // 20 MiB in pieces of a page each on tables that are not there yet.
    let frames: Vec<PhysRange> = (0..5120)
        .map(|_| kernel.allocate_frames(FrameRequest::new(1)).unwrap())
        .collect();
    let pieces: Vec<PhysRange> = frames.iter().rev().step_by(1).copied().collect();
    let free = device.domain_frames();
    let lent = failing.rig.frames_in_use();
    let mut segments = [dmamap::addr::BusRange::new(dmamap::addr::BusAddr::new(0), 0).unwrap()];
    device.set_max_segment_bytes(u64::MAX).unwrap();
    let direction = AnyDirection::ToDevice;
    let mut worked = Vec::new();
    let requests = failing.injector.fail_each_in_turn(|nth| {
        // SAFETY: the frames stay lent until after the unmap, and nobody refers to them.
        match unsafe { device.map_sg_raw(&pieces, &mut segments, direction) } {
            Ok(used) => {
                assert_eq!(used, 1);
                worked.push(nth);
                let none = Attributes::NONE;
                // SAFETY: mapped above.
                unsafe { device.unmap_sg_raw(&pieces, &segments, direction, none) }.unwrap();
            }
            Err(_) => {
                // The block stays for the next range, and no table does.
                let block = FIRST_LARGE_BLOCK_FRAMES as usize;
                assert_eq!(device.domain_frames(), free + block, "request {nth} failed");
            }
        }
        assert_eq!(failing.rig.machine.audit().leaves, []);
        device.reclaim().unwrap();
        assert_eq!(device.domain_frames(), free, "request {nth} failed");
        assert_eq!(failing.rig.frames_in_use(), lent, "request {nth} failed");
    });
    // The block is the first that frames are asked for; and nothing fails at last.
    let done_without = (1..=FIRST_LARGE_BLOCK_FRAMES).chain([requests + 1]);
    assert_eq!(worked, done_without.collect::<Vec<_>>());
    assert!(requests >= FIRST_LARGE_BLOCK_FRAMES + 10, "{requests}");
    for piece in frames {
        // SAFETY: nothing refers to it any more.
        unsafe { kernel.free_frames(piece) };
    }
    device.detach().unwrap();
    failing.rig.finish();
}

#[test]
fn the_bus_address_of_a_failed_mapping_is_the_next_ones() {
    let failing = Failing::boot(small());
    let device = failing.rig.attach(EDU);
    let first = device
        .map_single(Unfailing::allocate(&failing, 1), ToDevice)
        .unwrap();
    let bus = first.bus_addr();
    drop(first.unmap().unwrap());
    device.reclaim().unwrap();
    failing.injector.fail_each_in_turn(|_| {
        let _ = device.map_single(Unfailing::allocate(&failing, 1), ToDevice);
        failing.injector.relent();
        device.reclaim().unwrap();
        let next = device
            .map_single(Unfailing::allocate(&failing, 1), ToDevice)
            .unwrap();
        assert_eq!(next.bus_addr(), bus);
        drop(next.unmap().unwrap());
        device.reclaim().unwrap();
    });
    device.detach().unwrap();
    failing.rig.finish();
}

#[test]
fn a_buffer_that_cannot_be_had_is_an_error_not_an_abort() {
    let rig = Rig::boot(small());
    for len_bytes in [0, 1 << 40, 1 << 50, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
        assert!(
            DmaBuffer::allocate(rig.kernel, len_bytes).is_err(),
            "{len_bytes:#x}"
        );
        assert!(
            ScatteredBuffer::allocate(rig.kernel, len_bytes).is_err(),
            "{len_bytes:#x}"
        );
    }
    let last = PhysAddr::new(u64::MAX);
    for align_log2 in [40, 63, 64, u32::MAX] {
        let buffer = DmaBuffer::allocate_within(rig.kernel, PAGE, last, align_log2);
        assert!(buffer.is_err(), "2^{align_log2}");
    }
    assert!(DmaBuffer::allocate_within(rig.kernel, PAGE, PhysAddr::new(PAGE - 2), 12).is_err());
    let device = rig.attach(EDU);
    for count in [0, 1 << 40, usize::MAX / 8, usize::MAX] {
        assert!(device.alloc_coherent::<u64>(count).is_err(), "{count:#x}");
    }
    drop(device);
    rig.finish();
}
