//! Coherent memory on the device itself, behind its BAR.

use board::hardware::{Hardware, Width};
use dmamap::addr::{BusAddr, DmaMask};
use dmamap::device::Device;
use dmamap::map::DeclareError;
use dmamap::pci::Function;
use dmamap::platform::MemoryAttribute;
use dmamap::system::Protection;
use drivers::edu::Edu;
use hosted::Hosted;
use machine::cache::Snooping;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};
use machine::iommu::vtd::VtdConfig;
use machine::{Iommu, MachineConfig};

use rig::{EDU, PAGE, Rig, small, try_read, try_write, vtd};

/// The BAR that is memory.
const MEMORY_BAR: u8 = 2;

fn with_memory(config: MachineConfig) -> MachineConfig {
    let device = Below::Device(vec![FunctionConfig::new(Model::EduWithMemory)]);
    config.with_port(PortConfig::new(device))
}

fn device_with_memory(rig: &Rig) -> Function<Hosted> {
    let mut functions = rig.computer.topology().functions();
    let has_memory = |one: &&Function<Hosted>| {
        one.device() == hw::edu::DEVICE_ID && one.bar(MEMORY_BAR).is_some()
    };
    functions.find(has_memory).expect("it is there").clone()
}

fn attach(rig: &Rig, function: &Function<Hosted>) -> Device<Hosted> {
    let device = match rig.computer.has_iommu() {
        true => rig.system().attach(function, Protection::Strict).unwrap(),
        // SAFETY: the models do what their drivers say, and these tests' drivers unmap when a transfer is over.
        false => unsafe { rig.system().attach_trusted(function, Protection::Strict) }.unwrap(),
    };
    // The windows for such BARs lie above 4 GiB.
    let mask = DmaMask::from_bits(48).unwrap();
    device.set_coherent_mask(mask).unwrap();
    device
}

/// Has the device's coherent memory come from its BAR.
fn declare(
    rig: &mut Rig,
    device: &Device<Hosted>,
    function: &Function<Hosted>,
) -> Result<(), DeclareError> {
    let (attribute, tree) = (
        MemoryAttribute::WriteCombining,
        rig.computer.resources_mut(),
    );
    let window = function.claim_bar_as(MEMORY_BAR, "memory of edu", attribute, tree);
    // SAFETY: the model's memory, which only its driver and the device use.
    unsafe { device.declare_coherent_bar(window.unwrap()) }
}

#[test]
fn memory_behind_a_bar_is_the_devices_coherent_memory() {
    for config in [
        small().with_iommu(vtd(VtdConfig::default())),
        small().with_iommu(Iommu::None),
        small().with_devices(Snooping::Off),
    ] {
        let mut rig = Rig::boot(with_memory(config));
        let function = device_with_memory(&rig);
        let bar = function.bar(MEMORY_BAR).unwrap();
        let (bus, phys) = (bar.bus, bar.phys.unwrap());
        let device = attach(&rig, &function);
        let mut edu = Edu::start(device, &function, rig.computer.resources_mut()).unwrap();
        declare(&mut rig, edu.device(), &function).unwrap();
        let lent = rig.frames_in_use();

        let words = edu.device().alloc_coherent::<u64>(512).unwrap();
        let large = edu.device().alloc_coherent::<u64>(5 * 512).unwrap();
        assert_eq!(large.bus_addr().as_u64() % (8 * PAGE), 0);
        for memory in [&words, &large] {
            assert!(bus.start() <= memory.bus_addr() && memory.range().last() <= bus.last());
            assert_eq!((0..memory.len()).find(|&n| memory.read(n) != Ok(0)), None);
        }
        assert_eq!(rig.frames_in_use(), lent, "nothing came from the platform");
        assert_eq!(rig.machine.audit().leaves, [], "nothing is mapped");

        // The device reaches it without leaving itself, and the CPU where the bridge has it.
        words.write(7, 0xfeed).unwrap();
        try_read(&mut edu, words.element_bus_addr(7).unwrap(), 8);
        let target = large.element_bus_addr(2000).unwrap();
        try_write(&mut edu, target, 8);
        assert_eq!(large.read(2000), Ok(0xfeed));
        let offset = target.as_u64() - bus.start().as_u64();
        let seen = rig
            .machine
            .read(phys.start().as_u64() + offset, Width::Qword);
        assert_eq!(seen, 0xfeed);

        let refused = edu.device().release_coherent_memory();
        assert!(
            matches!(refused, Err(DeclareError::InUse { .. })),
            "{refused:?}"
        );
        drop((words, large));
        edu.device().release_coherent_memory().unwrap();
        // The window and its claim went with the declaration.
        declare(&mut rig, edu.device(), &function).unwrap();
        drop((edu, function));
        rig.finish();
    }
}

#[test]
fn only_memory_behind_the_devices_own_bars_is_declared() {
    let mut rig = Rig::boot(with_memory(small()));
    let function = device_with_memory(&rig);
    let other = rig.attach(EDU);
    let refused = declare(&mut rig, &other, &function);
    let registers = function.bar(MEMORY_BAR).unwrap().phys.unwrap();
    let device = EDU;
    assert_eq!(refused, Err(DeclareError::NotItsOwn { device, registers }));

    let device = attach(&rig, &function);
    let tree = rig.computer.resources_mut();
    let mut window = function
        .claim_bar(MEMORY_BAR, "memory of edu", tree)
        .unwrap();
    let part = window.carve(PAGE, PAGE).unwrap();
    // SAFETY: it is refused.
    let divided = unsafe { device.declare_coherent_bar(window) };
    assert!(
        matches!(divided, Err(DeclareError::NotItsOwn { .. })),
        "{divided:?}"
    );
    // SAFETY: the model's memory, which only its driver and the device use.
    unsafe { device.declare_coherent_bar(part) }.unwrap();
    let start = function.bar(MEMORY_BAR).unwrap().bus.start();
    let page = device.alloc_coherent::<u8>(1).unwrap();
    assert_eq!(page.bus_addr(), BusAddr::new(start.as_u64() + PAGE));
    let full = device.alloc_coherent::<u8>(1).map(drop);
    assert!(full.is_err());
    drop((page, device, other, function));
    rig.finish();
}
