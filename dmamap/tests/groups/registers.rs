//! Registers of a device that is no PCI function: the FIFO that a DMA engine fills.

use dmamap::addr::{BusAddr, PhysAddr, PhysRange};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Bidirectional, FromDevice, MapFailure};
use dmamap::mmio::Mmio;
use dmamap::platform::MemoryAttribute;
use dmamap::system::{PeerRefusal, Protection};
use drivers::edu::Edu;
use hosted::Hosted;
use machine::device::fifo::{CONTROL, FIFO, FIFO_REGISTERS};
use machine::fabric::Model;
use machine::{Iommu, MachineConfig};

use crate::computers::{EDU_IDS, ISOLATING, attach, device, edu_on, functions, port, units};
use rig::{PAGE, Rig, buffer_of, small, try_write};

/// What the device writes, four bytes at a time.
const WORD: u32 = 0x0909_0909;

fn with_engine(iommu: Iommu) -> MachineConfig {
    let port = port(Some(ISOLATING), device(&[Model::Edu]));
    small().with_iommu(iommu).with_port(port)
}

/// The registers, claimed.
fn claimed(rig: &mut Rig) -> Mmio<Hosted> {
    let start = PhysAddr::new(FIFO_REGISTERS.start);
    let range = PhysRange::new(start, FIFO_REGISTERS.end - FIFO_REGISTERS.start).unwrap();
    let tree = rig.computer.resources_mut();
    // SAFETY: the machine has registers there, and nothing else; they make no requests.
    unsafe { tree.insert_registers("fifo", range) }.unwrap();
    let claim = tree.request("fifo", range).unwrap();
    Mmio::ioremap(rig.kernel, claim, MemoryAttribute::Uncached).unwrap()
}

/// Has the device write [`WORD`] to each of `to`.
fn write_words(rig: &Rig, engine: &mut Edu<Hosted>, to: &[BusAddr]) {
    let pattern = buffer_of(rig.kernel, PAGE, 9);
    let pattern = engine.device().map_single(pattern, Bidirectional).unwrap();
    engine.fetch(&pattern, 0, 16).unwrap();
    drop(pattern.unmap().unwrap());
    for &bus in to {
        try_write(engine, bus, 4);
    }
}

fn trusted(rig: &Rig, protection: Protection) -> Device<Hosted> {
    let function = functions(rig, EDU_IDS).remove(0);
    // SAFETY: the test's device reaches what it is told, and is idle in between.
    unsafe { rig.system().attach_trusted(&function, protection) }.unwrap()
}

#[test]
fn a_trusted_device_fills_a_fifo_of_four_bytes_as_long_as_it_is_mapped() {
    for (name, iommu) in units() {
        let mut rig = Rig::boot(with_engine(iommu));
        let function = functions(&rig, EDU_IDS).remove(0);
        let device = trusted(&rig, Protection::Strict);
        let mut engine = edu_on(&mut rig, &function, device);
        let mut window = claimed(&mut rig);
        let fifo = window.carve(FIFO, 4).unwrap();
        let mapping = engine.device().map_registers(fifo, FromDevice).unwrap();
        let bus = mapping.bus_addr();
        assert_eq!(mapping.range().len_bytes(), 4, "{name}");
        assert_eq!(bus.as_u64() % PAGE, FIFO, "{name}");
        assert_eq!(
            engine.device().translate(bus),
            Some(mapping.phys().start()),
            "{name}"
        );
        let figures = engine.device().figures();
        write_words(&rig, &mut engine, &[bus, bus]);
        assert_eq!(rig.machine.fifo().sent(), [WORD; 2], "{name}");
        // Nothing was copied, and nothing is synced; of the page the device, which is trusted, reaches the rest.
        let now = engine.device().figures();
        assert_eq!(now.bounced_maps, figures.bounced_maps, "{name}");
        let control = BusAddr::new(bus.as_u64() - FIFO + CONTROL);
        write_words(&rig, &mut engine, &[control]);
        assert_eq!(rig.machine.fifo().control(), WORD, "{name}");
        let fifo = mapping.unmap().unwrap();
        assert_eq!(fifo.phys().len_bytes(), 4, "{name}");
        write_words(&rig, &mut engine, &[bus]);
        assert_eq!(
            rig.machine.fifo().sent().len(),
            2,
            "{name}: it still reaches it"
        );
        assert_eq!(engine.device().figures().live_mappings, 0, "{name}");
        engine.stop().detach().unwrap();
        drop((fifo, window, function));
        rig.finish_after_faults();
    }
}

#[test]
fn a_device_that_nobody_vouched_for_is_given_whole_pages_of_registers_or_none() {
    let (_, iommu) = units().into_iter().next().unwrap();
    let mut rig = Rig::boot(with_engine(iommu));
    let function = functions(&rig, EDU_IDS).remove(0);
    let device = attach(&rig, &function);
    let mut engine = edu_on(&mut rig, &function, device);
    let mut window = claimed(&mut rig);
    let fifo = window.carve(FIFO, 4).unwrap();
    let expected = MapFailure::NotWholePages {
        memory: fifo.phys(),
        page_bytes: PAGE,
    };
    let rejected = engine.device().map_registers(fifo, FromDevice).unwrap_err();
    assert_eq!(rejected.error.failure, expected);
    assert!(rejected.buffer.is_some());
    // What was carved out of is not its owner's to give any more.
    let registers = window.phys();
    let divided = engine
        .device()
        .map_registers(window, FromDevice)
        .unwrap_err();
    assert_eq!(divided.error.failure, MapFailure::NotOfPeer { registers });
    drop((rejected, divided));
    let whole = claimed_again(&mut rig);
    let mapping = engine.device().map_registers(whole, FromDevice).unwrap();
    let bus = mapping.bus_addr();
    write_words(&rig, &mut engine, &[BusAddr::new(bus.as_u64() + FIFO)]);
    assert_eq!(rig.machine.fifo().sent(), [WORD]);
    drop(mapping);
    engine.stop().detach().unwrap();
    drop(function);
    rig.finish();
}

/// The registers once more, after who had them let go.
fn claimed_again(rig: &mut Rig) -> Mmio<Hosted> {
    let start = PhysAddr::new(FIFO_REGISTERS.start);
    let range = PhysRange::new(start, PAGE).unwrap();
    let claim = rig.computer.resources_mut().request("fifo", range).unwrap();
    Mmio::ioremap(rig.kernel, claim, MemoryAttribute::Uncached).unwrap()
}

#[test]
fn without_an_iommu_a_fifo_is_where_the_bridge_shows_it() {
    for offset in [0, 1 << 36] {
        let config = with_engine(Iommu::None).with_inbound_offset(offset);
        let mut rig = Rig::boot(config);
        let function = functions(&rig, EDU_IDS).remove(0);
        let device = trusted(&rig, Protection::Identity);
        device.set_mask(dmamap::addr::DmaMask::ALL).unwrap();
        let mut engine = edu_on(&mut rig, &function, device);
        engine
            .device()
            .set_mask(dmamap::addr::DmaMask::ALL)
            .unwrap();
        let mut window = claimed(&mut rig);
        let fifo = window.carve(FIFO, 4).unwrap();
        let phys = fifo.phys();
        // SAFETY: the FIFO is this test's, and makes no requests.
        let raw = unsafe {
            engine
                .device()
                .map_registers_raw(phys, AnyDirection::FromDevice)
        }
        .unwrap();
        let mapping = engine.device().map_registers(fifo, FromDevice).unwrap();
        assert_eq!(mapping.bus_addr().as_u64(), phys.start().as_u64() + offset);
        assert_eq!(mapping.range(), raw);
        write_words(&rig, &mut engine, &[mapping.bus_addr()]);
        assert_eq!(rig.machine.fifo().sent(), [WORD]);
        assert_eq!(engine.device().figures().live_mappings, 2);
        drop(mapping.unmap().unwrap());
        // SAFETY: mapped above.
        unsafe { engine.device().unmap_resource_raw(raw) }.unwrap();
        assert_eq!(engine.device().figures().live_mappings, 0);
        // Not with fewer address lines than that takes.
        let few = dmamap::addr::DmaMask::from_bits(31).unwrap();
        if engine.device().set_mask(few).is_ok() {
            let rejected = engine
                .device()
                .map_registers(window, FromDevice)
                .unwrap_err();
            assert!(rejected.buffer.is_some());
        } else {
            drop(window);
        }
        engine.stop().detach().unwrap();
        drop(function);
        rig.finish();
    }
}

#[test]
fn memory_and_what_is_behind_a_bridge_are_no_registers_of_the_system() {
    let (_, iommu) = units().into_iter().next().unwrap();
    let mut rig = Rig::boot(with_engine(iommu));
    let function = functions(&rig, EDU_IDS).remove(0);
    let device = trusted(&rig, Protection::Strict);
    let refused = |device: &Device<Hosted>, registers| {
        // SAFETY: it is refused.
        unsafe { device.map_registers_raw(registers, AnyDirection::Bidirectional) }
            .unwrap_err()
            .failure
    };
    let range = |start, len| PhysRange::new(PhysAddr::new(start), len).unwrap();
    let ram = range(0x10_0000, 4);
    assert_eq!(refused(&device, ram), MapFailure::IsRam { range: ram });
    // A page of both is no better.
    let both = range(0x9_f000, 0x2000);
    assert_eq!(refused(&device, both), MapFailure::IsRam { range: both });
    let bar = function.bars().iter().flatten().next().unwrap();
    let registers = bar.phys.unwrap();
    let behind = MapFailure::BehindBridge { registers };
    assert_eq!(refused(&device, registers), behind);
    let nothing = range(FIFO_REGISTERS.start, 0);
    assert_eq!(refused(&device, nothing), MapFailure::Empty);
    // Mapped by the raw call, and taken back.
    let fifo = range(FIFO_REGISTERS.start + FIFO, 4);
    // SAFETY: nobody drives the FIFO, which makes no requests.
    let bus = unsafe { device.map_registers_raw(fifo, AnyDirection::FromDevice) }.unwrap();
    assert_eq!(device.translate(bus.start()), Some(fifo.start()));
    // SAFETY: mapped above.
    unsafe { device.unmap_resource_raw(bus) }.unwrap();
    assert_eq!(device.translate(bus.start()), None);
    device.detach().unwrap();
    for (protection, failure) in [
        (Protection::Blocked, MapFailure::Blocked),
        (
            Protection::Identity,
            MapFailure::PeerRefused(PeerRefusal::Identity),
        ),
    ] {
        let device = trusted(&rig, protection);
        assert_eq!(refused(&device, fifo), failure);
        device.detach().unwrap();
    }
    drop((claimed(&mut rig), function));
    rig.finish();
}
