//! Every allocation of every other call that maps fails in turn: frames, slots, handles and bus addresses are as before.
//!
//! One that fails alone may be done without, as there is another way; not so where all fail that follow.
//!
//! The plain calls are in `allocation_failures`; coherent memory, lists and spans, and deferred unmaps have tests beside theirs.

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysRange};
use dmamap::bridge::PeerForwarding;
use dmamap::buffer::{BufferError, DmaBuffer, PackedFrames, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{
    AnyDirection, Attributes, Bidirectional, BufferPool, FromDevice, MapError, Permission,
    ToDevice, UnmanagedDomain,
};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use hosted::{FaultInjector, Hosted, Persistence};
use hw::pci::capability::AcsFlags;
use journeys::boot::BootOptions;
use machine::fabric::{Below, FunctionConfig, Model, PeerForwarding as Forwarding, PortConfig};
use machine::{Iommu, Machine, MachineConfig};

use rig::{EDU, PAGE, Rig, boot_kernel, buffer_of, small};

type Kernel = FaultInjector<Hosted>;

/// What is lent, held and chosen next.
#[derive(Debug, PartialEq)]
struct State {
    frames: u64,
    scattered_mappings: usize,
    register_windows: usize,
    domain_frames: usize,
    live_mappings: u64,
    live_bytes: u64,
    quarantined_bytes: u64,
    slots: u64,
    transient: u64,
    leaves: usize,
    /// Where an IOMMU translates: else it is memory's own.
    next: Option<BusAddr>,
}

struct Failing {
    rig: Rig<Kernel>,
    injector: Kernel,
    device: Device<Kernel>,
    /// What the next bus address is asked with.
    probe: PhysRange,
}

impl Failing {
    fn boot(config: MachineConfig, protection: Protection) -> Self {
        let machine = Machine::boot(config.with_peer_forwarding(Forwarding::Forwarded)).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let (options, peers) = (BootOptions::default(), PeerForwarding::Forwarded);
        let computer = boot_kernel(kernel, injector, options, peers);
        let rig = Rig {
            machine,
            kernel,
            computer: computer.unwrap(),
        };
        let device = match rig.computer.has_iommu() {
            true => rig.system().attach(&rig.function(EDU), protection).unwrap(),
            false => rig.attach_trusted(EDU, protection),
        };
        let probe = kernel.allocate_frames(FrameRequest::new(1)).unwrap();
        Self {
            rig,
            injector,
            device,
            probe,
        }
    }

    fn state(&self) -> State {
        // Lanes keep addresses to choose from.
        self.device.reclaim().unwrap();
        let direction = AnyDirection::Bidirectional;
        // SAFETY: nobody refers to the frame, and the device makes no requests.
        let next = unsafe { self.device.map_phys(self.probe, direction) }.unwrap();
        // SAFETY: just mapped.
        unsafe { self.device.unmap_phys(next, direction, Attributes::NONE) }.unwrap();
        self.device.reclaim().unwrap();
        self.rig.system().reclaim_bounce();
        let (report, figures) = (self.rig.kernel.report(), self.device.figures());
        let pool = self.device.bounce_figures();
        State {
            frames: report.frames.in_use,
            scattered_mappings: report.scattered_mappings,
            register_windows: report.register_windows,
            domain_frames: self.device.domain_frames(),
            live_mappings: figures.live_mappings,
            live_bytes: figures.live_bytes,
            quarantined_bytes: figures.quarantined_bytes,
            slots: pool.slots_in_use,
            transient: pool.transient,
            leaves: self.rig.machine.audit().leaves.len(),
            next: self.rig.computer.has_iommu().then_some(next.start()),
        }
    }

    /// Fails each request of `call` in turn, which tells whether it came through, first alone and then with all that follow. Of the
    /// latter it must not come through without at least so many.
    fn each_fails(&self, least: u64, mut call: impl FnMut(&Device<Kernel>) -> bool) {
        // Once before, for what is kept as long as the device is attached.
        assert!(call(&self.device));
        let before = self.state();
        let [_once, exhausted] = [Persistence::Once, Persistence::ForEver].map(|persistence| {
            let mut failed = 0;
            self.injector.sweep(persistence, |nth| {
                let injected = self.injector.injected();
                let worked = call(&self.device);
                let missed = self.injector.injected() != injected;
                assert!(worked || missed, "request {nth} was granted");
                failed += u64::from(!worked);
                // Looking makes requests, too.
                self.injector.relent();
                assert_eq!(self.state(), before, "request {nth} failed");
                self.rig.assert_no_findings();
            });
            failed
        });
        assert!(exhausted >= least, "it failed only {exhausted} times");
    }

    fn finish(self) {
        self.device.detach().unwrap();
        // SAFETY: nothing refers to it.
        unsafe { self.rig.kernel.free_frames(self.probe) };
        self.rig.finish();
    }
}

/// Maps and unmaps two pieces of `frames` that do not lie side by side.
fn raw_list(device: &Device<Kernel>, frames: PhysRange) -> bool {
    let pieces = [
        frames.slice(100, 3000).unwrap(),
        frames.slice(2 * PAGE + 8, PAGE).unwrap(),
    ];
    let mut told = [BusRange::new(BusAddr::new(0), 0).unwrap(); 8];
    let direction = AnyDirection::Bidirectional;
    // SAFETY: the frames outlive the mapping, and nobody refers to them.
    match unsafe { device.map_sg_raw(&pieces, &mut told, direction) } {
        Ok(used) => {
            let told = &told[..used];
            // SAFETY: mapped above.
            unsafe { device.unmap_sg_raw(&pieces, told, direction, Attributes::NONE) }.unwrap();
            true
        }
        Err(error) => {
            assert!(!error.leaves_memory_reachable());
            false
        }
    }
}

fn list(device: &Device<Kernel>, kernel: Kernel) -> bool {
    let mut list = ScatterList::with_room(3).unwrap();
    for _ in 0..3 {
        match DmaBuffer::allocate(kernel, PAGE + 1) {
            Ok(buffer) => list.push(buffer).unwrap(),
            Err(_) => return false,
        }
    }
    match device.map_sgtable(list, Bidirectional) {
        Ok(mapping) => mapping.unmap().unwrap().len() == 3,
        Err(refused) => {
            assert_eq!(refused.buffer.expect("it comes back").len(), 3);
            false
        }
    }
}

fn single(device: &Device<Kernel>, kernel: Kernel, len_bytes: u64, how: Attributes) -> bool {
    let Ok(buffer) = DmaBuffer::allocate(kernel, len_bytes) else {
        return false;
    };
    match device.map_single_attrs(buffer, Bidirectional, how) {
        Ok(mapping) => mapping.unmap().is_ok(),
        Err(refused) => {
            refused.buffer.expect("it comes back");
            false
        }
    }
}

#[test]
fn borrowed_memory_and_pools_of_buffers() {
    let failing = Failing::boot(small(), Protection::Strict);
    let mut buffer = buffer_of(failing.injector, 3 * PAGE, 7);
    failing.each_fails(3, |device| {
        let outcome = device.map_within(&mut buffer, ToDevice, |mapping| mapping.bus_addr());
        assert!(outcome.is_ok() || device.figures().live_mappings == 0);
        outcome.is_ok()
    });
    assert!(buffer.as_slice().iter().all(|&byte| byte == 7));
    drop(buffer);
    failing.each_fails(4, |device| {
        match BufferPool::allocate(device, 5, 3000, FromDevice) {
            Ok(pool) => pool.take().is_some() && pool.free().is_ok(),
            Err(_) => false,
        }
    });
    let frames = failing.injector;
    failing.each_fails(1, |device| {
        let packed = PackedFrames::new(frames, 200);
        match packed.allocate() {
            Ok(block) => match device.map_single(block, Bidirectional) {
                Ok(mapping) => mapping.unmap().is_ok(),
                Err(refused) => {
                    refused.buffer.expect("it comes back");
                    false
                }
            },
            Err(BufferError::OutOfFrames(_)) => false,
            Err(other) => panic!("{other}"),
        }
    });
    failing.finish();
}

#[test]
fn registers_of_a_peer() {
    let memory = Below::Device(vec![FunctionConfig::new(Model::Memory)]);
    let port = PortConfig::new(memory).with_acs(AcsFlags::ISOLATING);
    let mut failing = Failing::boot(small().with_port(port), Protection::Strict);
    let peer = {
        let mut functions = failing.rig.computer.topology().functions();
        let ids = (0x1b36, 0x00dd);
        let peer = functions.find(|one| (one.vendor(), one.device()) == ids);
        peer.unwrap().clone()
    };
    let whole = peer.bar(0).unwrap().phys.unwrap();
    failing.each_fails(3, |device| {
        // SAFETY: nobody drives the peer, which makes no requests.
        match unsafe { device.map_resource_raw(&peer, whole, AnyDirection::Bidirectional) } {
            // SAFETY: mapped above.
            Ok(range) => unsafe { device.unmap_resource_raw(range) }.is_ok(),
            Err(MapError { .. }) => false,
        }
    });
    peer.enable_memory().unwrap();
    let resources = failing.rig.computer.resources_mut();
    let mut window = Some(peer.claim_bar(0, "peer", resources).unwrap());
    failing.each_fails(3, |device| {
        let given = window.take().unwrap();
        let (back, worked) = match device.map_resource(&peer, given, Bidirectional) {
            Ok(mapping) => (mapping.unmap().unwrap(), true),
            Err(refused) => (refused.buffer.expect("it comes back"), false),
        };
        window = Some(back);
        worked
    });
    drop((window, peer));
    failing.finish();
}

#[test]
fn addresses_of_the_callers_own() {
    let failing = Failing::boot(small(), Protection::Strict);
    let Failing {
        rig,
        injector,
        device,
        probe,
    } = failing;
    device.detach().unwrap();
    let function = rig.function(EDU);
    let lent = rig.frames_in_use();
    let mut failed = 0;
    let requests = injector.fail_each_in_turn(|nth| {
        match rig.system().attach(&function, Protection::Strict) {
            Ok(device) => {
                let domain = UnmanagedDomain::of(device).map_err(|refused| refused.reason);
                let domain = domain.unwrap();
                let bus = BusAddr::new(0x7654_3000);
                // SAFETY: nobody refers to the frame, which outlives the domain.
                match unsafe { domain.map(bus, probe, Permission::ReadWrite) } {
                    Ok(()) => {
                        assert_eq!(domain.lookup(bus).map(|one| one.0), Some(probe.start()));
                        domain.unmap(BusRange::new(bus, PAGE).unwrap()).unwrap();
                    }
                    Err(_) => {
                        failed += 1;
                        assert_eq!(domain.lookup(bus), None);
                        // Nor are the addresses taken.
                        injector.relent();
                        // SAFETY: as above.
                        unsafe { domain.map(bus, probe, Permission::ReadWrite) }.unwrap();
                        domain.unmap(BusRange::new(bus, PAGE).unwrap()).unwrap();
                    }
                }
                domain.detach().unwrap();
            }
            Err(_) => failed += 1,
        }
        assert_eq!(rig.frames_in_use(), lent, "request {nth} failed");
        assert_eq!(rig.machine.audit().leaves, []);
        rig.assert_no_findings();
    });
    assert!(requests >= 6, "only {requests} requests can fail");
    assert_eq!(failed, requests);
    // SAFETY: nothing refers to it.
    unsafe { rig.kernel.free_frames(probe) };
    drop(function);
    rig.finish();
}

#[test]
fn copies_of_every_kind_of_mapping_on_every_route() {
    let few = DmaMask::from_bits(30).unwrap();
    let direct = || small().with_iommu(Iommu::None);
    // Memory that stays mapped; pages of their own for what asks for them; what the device cannot reach.
    for (config, protection, how) in [
        (small(), Protection::Bounce, Attributes::NONE),
        (
            small(),
            Protection::Strict,
            Attributes::NONE.at_least(Protection::Bounce),
        ),
        (
            direct(),
            Protection::Strict,
            Attributes::NONE.at_least(Protection::Bounce),
        ),
    ] {
        let failing = Failing::boot(config, protection);
        let kernel = failing.injector;
        failing.device.set_mask(few).unwrap();
        for len_bytes in [100, PAGE + 1, 3 << 20] {
            failing.each_fails(1, |device| single(device, kernel, len_bytes, how));
        }
        failing.each_fails(3, |device| list(device, kernel));
        let frames = kernel
            .inner()
            .allocate_frames(FrameRequest::new(4))
            .unwrap();
        failing.each_fails(0, |device| raw_list(device, frames));
        // SAFETY: nothing refers to them.
        unsafe { kernel.inner().free_frames(frames) };
        failing.each_fails(5, |device| {
            let Ok(buffer) = ScatteredBuffer::allocate(kernel, 5 * PAGE) else {
                return false;
            };
            match device.map_sg_attrs(buffer, FromDevice, how) {
                Ok(mapping) => mapping.unmap().is_ok(),
                Err(refused) => {
                    refused.buffer.expect("it comes back");
                    false
                }
            }
        });
        failing.finish();
    }
}
