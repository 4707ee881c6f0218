//! Memory that a devicetree sets aside for devices is theirs from the attach on, and nobody else's.

use dmamap::addr::{BusAddr, DmaMask, PhysAddr, PhysRange};
use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::map::{Bidirectional, CoherentFailure, DeclareError};
use dmamap::system::{DeviceMemoryError, Protection};
use firmware::devicetree::{DeviceMemory, MemoryRange, Purpose};
use firmware::{Devices, Devicetree};
use hosted::Hosted;
use hw::edu;
use journeys::boot::{BootOptions, boot_from_devicetree};
use machine::cache::Snooping;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};
use machine::iommu::smmu::SmmuConfig;
use machine::{Iommu, Machine, MachineConfig, PoolConfig, PoolPurpose, PoolUser};

use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, try_read, try_write};

const RESTRICTED: PoolPurpose = PoolPurpose::Restricted;
const COHERENT: PoolPurpose = PoolPurpose::Coherent;
const ON_BUS_0: PoolUser = PoolUser::Device((EDU.id >> 3) as u8);

fn pool(purpose: PoolPurpose, pages: u64, users: &[PoolUser]) -> PoolConfig {
    PoolConfig {
        purpose,
        len_bytes: pages * PAGE,
        users: users.to_vec(),
    }
}

/// A machine all of whose memory every device reaches, without units, and another educational device behind a port.
fn machine() -> MachineConfig {
    let device = Below::Device(vec![FunctionConfig::new(Model::Edu)]);
    MachineConfig::default()
        .with_ram(32 << 20)
        .with_iommu(Iommu::None)
        .with_port(PortConfig::new(device))
}

/// Boots the machine by its devicetree; tells what that sets aside.
fn boot(config: MachineConfig) -> (Rig, Vec<DeviceMemory>) {
    let machine = Machine::boot(config).expect("the machine is sound");
    let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
    let blob = kernel.devicetree().expect("the machine has a devicetree");
    let set_aside = Devicetree::parse(&blob).unwrap().device_memory().unwrap();
    // SAFETY: the devicetree is the machine's own, which exists for this test alone.
    let computer = unsafe { boot_from_devicetree(kernel, &blob, BootOptions::default()) };
    let computer = computer.expect("the machine boots");
    let rig = Rig {
        machine,
        kernel,
        computer,
    };
    (rig, set_aside)
}

/// Shuts down; what is left are the system's own accounts of the memory set aside, which live as long as it does: a
/// frame for each pool of copies, and ways to coherent memory past the caches.
fn finish(rig: Rig, frames: u64, uncached: usize) {
    assert_eq!(rig.system().faults().total, 0);
    let lost = rig.finish_with_losses();
    assert_eq!(lost.frames.in_use, frames, "{lost:?}");
    assert_eq!(lost.uncached_mappings, uncached, "{lost:?}");
    let others = (
        lost.scattered_mappings,
        lost.register_windows,
        lost.interrupts,
    );
    assert_eq!(others, (0, 0, 0));
}

fn range_of(memory: &DeviceMemory) -> PhysRange {
    let MemoryRange { base, last } = memory.memory;
    PhysRange::new(PhysAddr::new(base), last - base + 1).unwrap()
}

/// The educational device that is not on bus 0.
fn behind_port(rig: &Rig) -> Requester {
    let mut functions = rig.computer.topology().functions();
    let found = functions.find(|one| one.device() == edu::DEVICE_ID && one.requester() != EDU.id);
    let (segment, id) = (0, found.expect("it is there").requester());
    Requester { segment, id }
}

/// Whether all `len_bytes` bytes that the device has at `bus` are in `memory`, or none: each page of them is looked for, as
/// pages may be anywhere.
fn lies_in(device: &Device<Hosted>, bus: BusAddr, len_bytes: u64, memory: PhysRange) -> bool {
    let (first, last) = (bus.as_u64(), bus.as_u64() + len_bytes - 1);
    let pages = (first / PAGE + 1..=last / PAGE).map(|page| page * PAGE);
    let looked: Vec<u64> = [first, last].into_iter().chain(pages).collect();
    let is_inside = |bus: &u64| memory.contains(device.translate(BusAddr::new(*bus)).unwrap());
    let inside = looked.iter().filter(|bus| is_inside(bus)).count();
    assert!(
        [0, looked.len()].contains(&inside),
        "{inside} of {looked:x?}"
    );
    inside > 0
}

/// Maps memory by every safe call, and allocates some: whether all of it lies in `memory`, or none.
fn all_lie_in(rig: &Rig, device: &Device<Hosted>, memory: PhysRange) -> bool {
    let mut answers = Vec::new();
    let mapping = device.map_single(buffer_of(rig.kernel, 2 * PAGE, 1), Bidirectional);
    let mapping = mapping.unwrap();
    answers.push(lies_in(device, mapping.bus_addr(), 2 * PAGE, memory));
    let mut list = ScatterList::with_room(2).unwrap();
    list.push(buffer_of(rig.kernel, PAGE, 2)).unwrap();
    list.push(buffer_of(rig.kernel, 2 * PAGE, 3)).unwrap();
    let list = device.map_sgtable(list, Bidirectional).unwrap();
    for segment in list.segments() {
        answers.push(lies_in(
            device,
            segment.start(),
            segment.len_bytes(),
            memory,
        ));
    }
    let shared = device.alloc_coherent::<u64>(1000).unwrap();
    answers.push(lies_in(device, shared.bus_addr(), 8000, memory));
    drop((mapping, list, shared));
    let first = answers[0];
    assert!(answers.iter().all(|&answer| answer == first), "{answers:?}");
    first
}

#[test]
fn a_device_whose_tree_names_a_restricted_pool_does_all_its_dma_inside_it() {
    let config = machine().with_pool(pool(RESTRICTED, 32, &[ON_BUS_0]));
    let (mut rig, set_aside) = boot(config);
    let memory = range_of(&set_aside[0]);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    assert!(all_lie_in(&rig, &device, memory));
    let other = rig.attach_trusted(behind_port(&rig), Protection::Strict);
    assert!(!all_lie_in(&rig, &other, memory));
    let heartbeat = rig.attach_trusted(HEARTBEAT, Protection::Strict);
    assert!(!all_lie_in(&rig, &heartbeat, memory));
    drop(heartbeat);

    // What the device writes is in the pool until the unmap, and the driver's buffer as it was.
    let mut edu = rig.edu_on(device);
    let source = edu
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 0x77), Bidirectional);
    let source = source.unwrap();
    let buffer = buffer_of(rig.kernel, PAGE, 0);
    let driver_sees = buffer.phys(0).unwrap();
    let target = edu.device().map_single(buffer, Bidirectional).unwrap();
    try_read(&mut edu, source.bus_addr(), 64);
    try_write(&mut edu, target.bus_addr(), 64);
    let bytes_at = |phys: PhysAddr| {
        let mut bytes = [0; 64];
        let ram = board::hardware::Hardware::ram(&*rig.machine);
        ram.read(phys.as_u64(), &mut bytes).unwrap();
        bytes
    };
    let device_sees = edu.device().translate(target.bus_addr()).unwrap();
    assert!(memory.contains(device_sees));
    assert_eq!(bytes_at(device_sees), [0x77; 64]);
    assert_eq!(bytes_at(driver_sees), [0; 64]);
    let buffer: DmaBuffer<Hosted> = target.unmap().unwrap();
    assert_eq!(buffer.as_slice()[..64], [0x77; 64]);
    drop((source, buffer, edu, other));
    finish(rig, 1, 0);
}

#[test]
fn a_pool_of_the_host_bridge_is_shared_by_all_that_have_none_themselves() {
    let config = machine()
        .with_pool(pool(RESTRICTED, 16, &[ON_BUS_0]))
        .with_pool(pool(RESTRICTED, 8, &[PoolUser::AllDevices]));
    let (rig, set_aside) = boot(config);
    let [own, common] = [&set_aside[0], &set_aside[1]].map(range_of);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    assert!(all_lie_in(&rig, &device, own));
    let [one, two] = [behind_port(&rig), HEARTBEAT]
        .map(|requester| rig.attach_trusted(requester, Protection::Strict));
    assert!(all_lie_in(&rig, &one, common) && all_lie_in(&rig, &two, common));
    // Each frame of it is lent once.
    let mut live = Vec::new();
    for device in [&one, &two].into_iter().cycle() {
        match device.map_single(buffer_of(rig.kernel, PAGE, 5), Bidirectional) {
            Ok(mapping) => live.push((device.translate(mapping.bus_addr()).unwrap(), mapping)),
            Err(_) => break,
        }
    }
    let mut frames: Vec<_> = live.iter().map(|(frame, _)| *frame).collect();
    frames.sort();
    frames.dedup();
    assert_eq!(frames.len(), live.len());
    assert_eq!(frames.len(), 8);
    drop(live);
    drop((device, one, two));
    finish(rig, 2, 0);
}

#[test]
fn coherent_memory_of_the_tree_is_the_devices_coherent_memory() {
    for snooping in [Snooping::On, Snooping::Off] {
        let config = machine()
            .with_devices(snooping)
            .with_pool(pool(COHERENT, 8, &[ON_BUS_0]));
        let (mut rig, set_aside) = boot(config);
        let memory = range_of(&set_aside[0]);
        for _ in 0..2 {
            let device = rig.attach_trusted(EDU, Protection::Strict);
            let words = device.alloc_coherent::<u64>(1024).unwrap();
            assert!(lies_in(&device, words.bus_addr(), 2 * PAGE, memory));
            assert!((0..words.len()).all(|n| words.read(n) == Ok(0)));
            // Other mappings are as ever.
            let mapping = device.map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional);
            let mapping = mapping.unwrap();
            assert!(!lies_in(&device, mapping.bus_addr(), PAGE, memory));
            drop(mapping);
            // Both sides see each other's stores at once.
            let mut edu = rig.edu_on(device);
            words.write(7, 0xfeed).unwrap();
            try_read(&mut edu, words.element_bus_addr(7).unwrap(), 8);
            try_write(&mut edu, words.element_bus_addr(1000).unwrap(), 8);
            assert_eq!(words.read(1000), Ok(0xfeed));
            let full = edu.device().alloc_coherent::<u64>(8 * 512).map(drop);
            let declared = full.as_ref().err().map(|error| error.failure);
            assert!(
                matches!(declared, Some(CoherentFailure::Declared(_))),
                "{full:?}"
            );
            let again = edu.device().alloc_coherent::<u64>(512).unwrap();
            drop((words, again));
            // It is firmware's to give: the next driver has it again.
            edu.stop().detach().unwrap();
        }
        let other = rig.attach_trusted(behind_port(&rig), Protection::Strict);
        let elsewhere = other.alloc_coherent::<u64>(512).unwrap();
        assert!(!lies_in(&other, elsewhere.bus_addr(), PAGE, memory));
        drop((elsewhere, other));
        // The system keeps its way to the memory as long as it lives.
        finish(rig, 0, usize::from(snooping == Snooping::Off));
    }
}

#[test]
fn what_a_unit_confines_needs_no_memory_of_its_own() {
    let (unit, walks) = (SmmuConfig::default(), Snooping::On);
    let config = machine()
        .with_iommu(Iommu::Smmu { unit, walks })
        .with_pool(pool(RESTRICTED, 16, &[ON_BUS_0]))
        .with_pool(pool(COHERENT, 16, &[ON_BUS_0]));
    let (rig, set_aside) = boot(config);
    let device = rig.attach(EDU);
    for memory in &set_aside {
        assert!(!all_lie_in(&rig, &device, range_of(memory)));
    }
    let none = DeclareError::NotDeclared { device: EDU };
    assert_eq!(device.release_coherent_memory(), Err(none));
    drop(device);
    finish(rig, 1, 0);
}

#[test]
fn memory_comes_before_the_driver_and_in_whole_frames() {
    let (rig, set_aside) = boot(machine().with_pool(pool(COHERENT, 8, &[ON_BUS_0])));
    let memory = &set_aside[0];
    let with = |purpose, base: u64, last: u64, users: &[Devices]| DeviceMemory {
        purpose,
        memory: MemoryRange { base, last },
        users: users.to_vec(),
        ..memory.clone()
    };
    let MemoryRange { base, last } = memory.memory;
    let hand_over = |memory: DeviceMemory| {
        // SAFETY: memory of the tree's, which nobody uses.
        unsafe { rig.system().adopt_device_memory(&[memory]) }
    };
    let one = &memory.users[..];
    let part = with(Purpose::Coherent, base + 64, last, one);
    let error = DeviceMemoryError::NotFrames {
        memory: range_of(&part),
    };
    assert_eq!(hand_over(part), Err(error));
    let nothing = with(Purpose::Restricted, base + 64, base + 128, one);
    assert!(matches!(
        hand_over(nothing),
        Err(DeviceMemoryError::Pool { .. })
    ));
    let all = with(Purpose::Coherent, 0, u64::MAX, one);
    assert!(matches!(
        hand_over(all),
        Err(DeviceMemoryError::TooLong { .. })
    ));
    // Ends before it begins, and nobody's.
    assert_eq!(hand_over(with(Purpose::Coherent, last, base, one)), Ok(()));
    assert_eq!(
        hand_over(with(Purpose::Restricted, base, last, &[])),
        Ok(())
    );

    let device = rig.attach_trusted(EDU, Protection::Strict);
    device
        .set_coherent_mask(DmaMask::from_bits(28).unwrap())
        .unwrap();
    let segment = [Devices::Segment { segment: 0 }];
    let late = DeviceMemoryError::AlreadyAttached { device: EDU };
    for users in [one, &segment] {
        for purpose in [Purpose::Restricted, Purpose::Coherent] {
            assert_eq!(hand_over(with(purpose, base, last, users)), Err(late));
        }
    }
    drop(device);
    finish(rig, 0, 0);
}
