//! A computer of models, booted for one test, and the checks at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dmamap::addr::{BusAddr, BusRange, PhysAddr};
use dmamap::bridge::PeerForwarding;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::iommu::fault::{Access, Fault};
use dmamap::map::Bidirectional;
use dmamap::pagetable::KEPT_TABLES;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::{DmaSystem, Protection, Settings};
use drivers::edu::Edu;
use hosted::{FaultInjector, Hosted, ShutdownReport};
use journeys::Computer;
use journeys::boot::{BootError, BootOptions, IommuUse, MachineDescription, boot};
use machine::cache::Snooping;
use machine::iommu::amd::{AmdConfig, AmdUnit};
use machine::iommu::vtd::{VtdConfig, VtdUnit};
use machine::{Iommu, Machine, MachineConfig};

use crate::patience::StopOnDrop;

/// Bytes of an IOMMU page and of a frame.
pub const PAGE: u64 = 4096;

/// Memory in pages of so many tables that some of them are unlinked when all become empty: they cover 2 MiB each.
pub const MORE_THAN_IS_KEPT: u64 = (KEPT_TABLES as u64 + 4) * (2 << 20);

/// Frames that a domain asks for when it divides bus addresses for the first time: one of blocks and the two of its
/// directory.
pub const FIRST_BLOCK_FRAMES: u64 = 3;

/// Frames that a domain asks for when it lends a CPU's lane a block for the first time: for the record of the block, and the tables
/// by which it is found. Where one of them, or of the block's, is refused, the mapping is none the worse: it is made
/// without a lane.
pub const FIRST_LANE_FRAMES: u64 = 5;

/// The same for a range that is longer than half a block, which comes from a larger block with a table.
pub const FIRST_LARGE_BLOCK_FRAMES: u64 = 2 * FIRST_BLOCK_FRAMES;

/// The educational device, which the first unit translates for.
pub const EDU: Requester = Requester {
    segment: 0,
    id: 3 << 3,
};

/// The device firmware left at work, which the second unit translates for.
pub const HEARTBEAT: Requester = Requester {
    segment: 0,
    id: 5 << 3,
};

/// Where the registers of the units are.
pub const UNITS: [PhysAddr; 2] = [PhysAddr::new(0xfed9_0000), PhysAddr::new(0xfed9_1000)];

/// A booted machine.
pub struct Rig<P: Platform = Hosted> {
    /// What the CPU drives.
    pub machine: Arc<Machine>,
    /// The port that runs on it.
    pub kernel: Hosted,
    /// What the boot made of it.
    pub computer: Computer<P>,
}

/// A machine without disks, small enough to boot fast, its memory on both sides of 4 GiB.
pub fn small() -> MachineConfig {
    MachineConfig::default().with_ram((2 << 30) + (64 << 20))
}

/// Two units like `unit`, whose walks snoop.
pub fn vtd(unit: VtdConfig) -> Iommu {
    Iommu::Vtd {
        unit,
        walks: Snooping::On,
    }
}

/// Where the registers of an AMD-Vi machine's one unit are.
pub const AMD_UNIT: PhysAddr = PhysAddr::new(0xfeb8_0000);

/// One AMD-Vi unit for all devices, whose walks snoop.
pub fn amd(unit: AmdConfig) -> Iommu {
    Iommu::Amd {
        unit,
        walks: Snooping::On,
    }
}

/// Options that wait for hardware no longer than `wait_bound_ms`.
pub fn impatient(wait_bound_ms: u64) -> BootOptions {
    let units = Settings {
        wait_bound_ms,
        ..Settings::default()
    };
    BootOptions {
        units,
        ..BootOptions::default()
    }
}

impl Rig {
    /// Boots it, its IOMMU used where there is one.
    pub fn boot(config: MachineConfig) -> Self {
        Self::boot_with(config, BootOptions::default())
    }

    /// Boots without using the IOMMU, if there is one.
    pub fn boot_without_iommu(config: MachineConfig) -> Self {
        let options = BootOptions {
            iommu: IommuUse::Ignored,
            ..BootOptions::default()
        };
        Self::boot_with(config, options)
    }

    /// Boots it as `options` say.
    pub fn boot_with(config: MachineConfig, options: BootOptions) -> Self {
        Self::boot_knowing(config, options, PeerForwarding::Unknown)
    }

    /// As [`boot_with`](Self::boot_with), `peers` being known of the host bridge.
    pub fn boot_knowing(
        config: MachineConfig,
        options: BootOptions,
        peers: PeerForwarding,
    ) -> Self {
        let machine = Machine::boot(config).expect("the machine is sound");
        let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
        let computer = boot_kernel(kernel, kernel, options, peers).expect("the machine boots");
        Self {
            machine,
            kernel,
            computer,
        }
    }
}

impl Rig<FaultInjector<Hosted>> {
    /// Boots a machine whose kernel refuses requests on purpose, as the injector is told. None yet.
    pub fn boot_failing(config: MachineConfig, options: BootOptions) -> Self {
        let machine = Machine::boot(config).expect("the machine is sound");
        let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
        let injector = FaultInjector::new(kernel);
        Self::boot_on(machine, kernel, injector, options).expect("the machine boots")
    }

    /// What tells the kernel what to refuse.
    pub fn injector(&self) -> FaultInjector<Hosted> {
        self.computer.platform()
    }
}

impl<P: Platform> Rig<P> {
    /// Boots `kernel`'s machine through `platform`, which may be the kernel in a wrapper.
    pub fn boot_on(
        machine: Arc<Machine>,
        kernel: Hosted,
        platform: P,
        options: BootOptions,
    ) -> Result<Self, BootError> {
        let computer = boot_kernel(kernel, platform, options, PeerForwarding::Unknown)?;
        Ok(Self {
            machine,
            kernel,
            computer,
        })
    }

    /// What devices are attached to.
    pub fn system(&self) -> &'static DmaSystem<P> {
        self.computer.system()
    }

    /// The model of unit `index`.
    pub fn unit(&self, index: usize) -> &Arc<VtdUnit> {
        self.machine
            .vtd_units()
            .nth(index)
            .expect("the machine has that unit")
    }

    /// The model of an AMD-Vi machine's one unit.
    pub fn amd_unit(&self) -> &Arc<AmdUnit> {
        self.machine
            .amd_units()
            .next()
            .expect("the machine has an AMD-Vi unit")
    }

    /// The function with this requester id.
    pub fn function(&self, requester: Requester) -> Function<P> {
        let mut functions = self.computer.topology().functions();
        functions
            .find(|one| one.requester() == requester.id)
            .expect("it is there")
            .clone()
    }

    /// Attaches a device so that it reaches only what is mapped.
    pub fn attach(&self, requester: Requester) -> Device<P> {
        let function = self.function(requester);
        self.system()
            .attach(&function, Protection::Strict)
            .expect("the device attaches")
    }

    /// Attaches a device that is trusted.
    pub fn attach_trusted(&self, requester: Requester, protection: Protection) -> Device<P> {
        let function = self.function(requester);
        // SAFETY: the models do what their drivers say, and these tests' drivers unmap when a transfer is over.
        unsafe { self.system().attach_trusted(&function, protection) }.expect("the device attaches")
    }

    /// The educational device at work, confined by its unit.
    pub fn edu(&mut self) -> Edu<P> {
        let device = self.attach(EDU);
        self.edu_on(device)
    }

    /// The educational device at work, as it was attached.
    pub fn edu_on(&mut self, device: Device<P>) -> Edu<P> {
        let function = self.function(EDU);
        Edu::start(device, &function, self.computer.resources_mut()).expect("the device works")
    }

    /// Frames lent by the kernel now.
    pub fn frames_in_use(&self) -> u64 {
        self.kernel.frames().in_use
    }

    /// Asserts that no model complains.
    pub fn assert_no_findings(&self) {
        let findings: Vec<String> = self
            .machine
            .findings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(findings.is_empty(), "the models found: {findings:#?}");
    }

    /// Shuts everything down; checks that nothing was lost, no device refused, and no model complains.
    pub fn finish(self) {
        assert_eq!(self.system().faults().first_per_requester, []);
        assert_eq!(self.system().faults().total, 0);
        self.finish_after_faults();
    }

    /// As [`finish`](Self::finish), where devices were to be refused.
    pub fn finish_after_faults(self) {
        let report = self.finish_with_losses();
        assert!(report.is_clean(), "not given back: {report:?}");
    }

    /// As [`finish_after_faults`](Self::finish_after_faults), where memory was to be lost; returns what was.
    pub fn finish_with_losses(self) -> ShutdownReport {
        self.finish_by(shut_down)
    }

    /// As [`finish_with_losses`](Self::finish_with_losses), the units stopped by `stop`.
    pub fn finish_by(self, stop: impl FnOnce(&Computer<P>)) -> ShutdownReport {
        self.assert_no_findings();
        let Self {
            machine,
            kernel,
            computer,
        } = self;
        // Before the units are off: then they lead nowhere.
        assert_eq!(machine.audit().leaves, [], "a device still reaches memory");
        stop(&computer);
        drop(computer);
        machine.shutdown();
        kernel.shutdown()
    }

    /// Ends a machine whose units cannot be shut down any more.
    pub fn abandon(self) {
        self.machine.shutdown();
        self.kernel.shutdown();
    }
}

/// Boots the computer that `kernel` runs on through `platform`, which may be the kernel in a wrapper, `peers` being known of
/// its host bridge.
pub fn boot_kernel<P: Platform>(
    kernel: Hosted,
    platform: P,
    options: BootOptions,
    peers: PeerForwarding,
) -> Result<Computer<P>, BootError> {
    let mut bridges = kernel.host_bridges().expect("the bridge is sound");
    let description = MachineDescription {
        rsdp: kernel.rsdp().expect("the computer has ACPI"),
        host_bridge: bridges.remove(0).with_peer_forwarding(peers),
    };
    // SAFETY: the description is the computer's own, which exists for this test alone.
    unsafe { boot(platform, &description, &kernel, options) }
}

/// Silences the devices, which nobody drives any more, and stops the units.
pub fn shut_down<P: Platform>(computer: &Computer<P>) {
    let silenced = computer.system().quiesce(computer.topology());
    silenced.expect("nobody is at work");
    // SAFETY: no device is attached, or they would not have been silenced, and devices obey their bus-master bit.
    unsafe { computer.system().shutdown() }.expect("the units stop");
}

/// Restarts the units again and again while others map, unmap and detach; then what lived through it is still mapped.
/// The devices make no requests.
pub fn restart_under_load(rig: &Rig) {
    let device = rig.attach(EDU);
    let kept = buffer_of(rig.kernel, 3 * PAGE, 1);
    let kept = device.map_single(kept, Bidirectional).unwrap();
    let target = device.translate(kept.bus_addr());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = StopOnDrop(&done);
        let workers: Vec<_> = (1..3)
            .map(|pages| {
                let (device, done) = (&device, &done);
                scope.spawn(move || {
                    let mut rounds = 0;
                    while rounds < 20 || !done.load(Ordering::SeqCst) {
                        let buffer = buffer_of(rig.kernel, pages * PAGE, 2);
                        let mapping = device.map_single(buffer, Bidirectional);
                        let mapping = mapping.unwrap_or_else(|error| panic!("map: {error}"));
                        let unmapped = mapping.unmap();
                        drop(unmapped.unwrap_or_else(|error| panic!("unmap: {error}")));
                        rounds += 1;
                    }
                })
            })
            .collect();
        for _ in 0..25 {
            let other = rig.attach(HEARTBEAT);
            let detaching = scope.spawn(move || other.detach().unwrap());
            // SAFETY: the device is idle, and the heartbeat's requests may be refused.
            unsafe { rig.system().restart_units() }.expect("the units restart");
            detaching.join().unwrap();
        }
        drop(stop);
        for worker in workers {
            worker.join().unwrap();
        }
    });
    assert_eq!(device.translate(kept.bus_addr()), target);
    drop(kept.unmap().unwrap());
    device.detach().unwrap();
}

/// A buffer of `len_bytes` bytes that are all `pattern`.
pub fn buffer_of<P: Platform>(platform: P, len_bytes: u64, pattern: u8) -> DmaBuffer<P> {
    let mut buffer = DmaBuffer::allocate(platform, len_bytes).expect("there is memory");
    buffer.as_mut_slice().fill(pattern);
    buffer
}

/// Lets the device write its own buffer's first `len_bytes` bytes to a bus address, mapped or not.
pub fn try_write<P: Platform>(edu: &mut Edu<P>, bus: BusAddr, len_bytes: u64) {
    // SAFETY: these tests attach the device so that its unit confines it, or give it what is mapped.
    unsafe { edu.store_at(bus, len_bytes) }.expect("the device answers");
}

/// Lets the device read from a bus address, mapped or not.
pub fn try_read<P: Platform>(edu: &mut Edu<P>, bus: BusAddr, len_bytes: u64) {
    // SAFETY: as in `try_write`.
    unsafe { edu.fetch_at(bus, len_bytes) }.expect("the device answers");
}

/// The first fault of `requester`, if it was refused.
pub fn first_fault<P: Platform>(system: &DmaSystem<P>, requester: Requester) -> Option<Fault> {
    let faults = system.faults().first_per_requester;
    faults
        .into_iter()
        .find(|fault| fault.requester == requester)
}

/// Asserts that the device was refused, and how the first time.
pub fn assert_first_fault<P: Platform>(
    system: &DmaSystem<P>,
    requester: Requester,
    bus: BusAddr,
    access: Access,
    reason: hw::vtd::fault::FaultReason,
) {
    let fault = first_fault(system, requester).expect("the device was refused");
    let page = bus.align_down(12);
    assert_eq!((fault.address, fault.access), (page, access), "{fault}");
    assert_eq!(fault.reason.code, u16::from(reason.code()), "{fault}");
}

/// Whether two runs of bus addresses share a page.
pub fn share_a_page(one: BusRange, other: BusRange) -> bool {
    let first = |range: BusRange| range.start().as_u64() / PAGE;
    let last = |range: BusRange| range.last().as_u64() / PAGE;
    first(one) <= last(other) && first(other) <= last(one)
}
