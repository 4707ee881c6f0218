//! What errors say: the device whatever went wrong, and the range and the limit wherever there is one.

use std::fmt::Display;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange, VirtAddr};
use dmamap::bounce::BounceError;
use dmamap::buffer::{DmaMemory, ListError, ScatterList, ScatteredBuffer};
use dmamap::device::{Coherence, Device, ResetError};
use dmamap::iommu::{DomainError, RevokeError, UnitError};
use dmamap::map::{
    AnyDirection, Asked, Attributes, Bidirectional, BufferPool, CoherentOptions, FromDevice,
    MapError, MapFailure, Outside, Permission, PoolLayout, ToDevice, UnmanagedDomain,
};
use dmamap::pagetable::MapError as TableError;
use dmamap::pci::ResetPatience;
use dmamap::platform::{FrameRequest, OutOfFrames};
use dmamap::slab::SlabError;
use dmamap::system::{PeerRefusal, Protection};
use hosted::{Hosted, Resource};
use journeys::boot::BootOptions;
use machine::Iommu;
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;

use rig::{EDU, PAGE, Rig, buffer_of, impatient, small};

/// Errors by the call that gave them, as each reads.
#[derive(Default)]
struct Texts(usize);

impl Texts {
    /// That `error`, which `call` gave, names the device and says `all` of these.
    #[track_caller]
    fn check(&mut self, call: &str, error: impl Display, all: &[&dyn Display]) {
        let text = error.to_string();
        let device = EDU.to_string();
        let said = text.matches(&device).count();
        assert_eq!(said, 1, "{call}: the device once, not {said} times: {text}");
        for part in all {
            let part = part.to_string();
            assert!(text.contains(&part), "{call}: no {part} in: {text}");
        }
        self.0 += 1;
    }
}

fn phys(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

/// A machine whose root complex passes on addresses of so many bits.
fn path_of(bits: u8) -> machine::MachineConfig {
    let unit = SmmuConfig {
        root_complex_bits: bits,
        ..SmmuConfig::default()
    };
    let walks = Snooping::On;
    small().with_iommu(Iommu::Smmu { unit, walks })
}

fn map_phys(
    device: &Device<Hosted>,
    memory: PhysRange,
    attributes: Attributes,
) -> Result<BusRange, MapError> {
    // SAFETY: it is refused, or nothing is done with it.
    unsafe { device.map_phys_attrs(memory, AnyDirection::ToDevice, attributes) }
}

#[test]
fn mappings_that_are_refused_say_which_device_which_bytes_and_what_limit() {
    let mut texts = Texts::default();
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let blocked = rig.system().attach(&function, Protection::Blocked).unwrap();
    let buffer = buffer_of(rig.kernel, 3 * PAGE, 1);
    let first = buffer.segment(0).start();
    let refused = blocked.map_single(buffer, ToDevice).unwrap_err();
    texts.check("map_single", refused, &[&"0x3000 bytes", &first]);
    blocked.detach().unwrap();

    // SAFETY: nothing depends on what a device that does nothing sees.
    unsafe { rig.system().set_coherence(EDU, Coherence::NotSnooped) };
    let device = rig.attach(EDU);
    let coherent = Attributes::NONE.require_coherent();
    let mut list = ScatterList::with_room(2).unwrap();
    for _ in 0..2 {
        list.push(buffer_of(rig.kernel, 2 * PAGE, 1)).unwrap();
    }
    let first = list.entries()[0].buffer().segment(0).start();
    let refused = device.map_sgtable_attrs(list, ToDevice, coherent);
    let refused = refused.map(drop).unwrap_err();
    texts.check("map_sgtable_attrs", refused, &[&"0x4000 bytes", &first]);
    device.detach().unwrap();
    // SAFETY: as above.
    unsafe { rig.system().set_coherence(EDU, Coherence::Snooped) };

    let device = rig.attach(EDU);
    device.set_mask(bits(20)).unwrap();
    let long = buffer_of(rig.kernel, 1 << 20, 0);
    let refused = device.map_single(long, ToDevice).unwrap_err();
    // No address above the mask, and how wide the widest gap is.
    let all: [&dyn Display; 3] = [&"0x100000 bytes", &bits(20).last(), &"the widest gap has"];
    texts.check("map_single", refused, &all);
    let scattered = ScatteredBuffer::allocate(rig.kernel, 2 * PAGE).unwrap();
    let piece = scattered.segment(0);
    if piece.len_bytes() < 2 * PAGE {
        let refused = device.map_single(scattered, ToDevice).unwrap_err();
        texts.check("map_single", refused, &[&"0x2000 bytes", &piece]);
    }
    let refused = map_phys(&device, phys(0x5000, 0), Attributes::NONE).unwrap_err();
    texts.check("map_phys", refused, &[&PhysAddr::new(0x5000)]);
    // SAFETY: refused.
    let refused = unsafe {
        device.map_page(
            PhysAddr::new(u64::MAX - 0xfff),
            8,
            PAGE,
            AnyDirection::ToDevice,
        )
    };
    texts.check(
        "map_page",
        refused.unwrap_err(),
        &[&"0x1000 bytes", &"0xff8"],
    );
    let stranger = VirtAddr::from_ptr(std::ptr::from_ref(&texts).cast::<u8>());
    // SAFETY: refused.
    let refused = unsafe { device.map_single_raw(stranger, 16, AnyDirection::ToDevice) };
    texts.check(
        "map_single_raw",
        refused.unwrap_err(),
        &[&stranger, &"0x10 bytes"],
    );
    // SAFETY: refused.
    let refused =
        unsafe { device.map_sg_raw(&[phys(0x5000, 64)], &mut [], AnyDirection::ToDevice) };
    texts.check(
        "map_sg_raw",
        refused.unwrap_err(),
        &[&"0 segments", &"0x40 bytes"],
    );

    let mut span = device
        .iova_try_alloc(
            PhysAddr::new(0),
            2 * PAGE,
            ScatterList::with_room(2).unwrap(),
            ToDevice,
        )
        .unwrap();
    let buffer = buffer_of(rig.kernel, 3 * PAGE, 1);
    let first = buffer.segment(0).start();
    let refused = span.link(buffer).unwrap_err();
    texts.check("link", refused, &[&first, &"0x3000 bytes", &"0x2000 bytes"]);
    drop(span);

    let mut mapping = device
        .map_single(buffer_of(rig.kernel, 0x100, 1), Bidirectional)
        .unwrap();
    let refused = mapping.sync_range_for_cpu(0xf0, 0x20).map(drop);
    let all: [&dyn Display; 3] = [&"0x20 bytes", &"0xf0", &"0x100"];
    texts.check("sync_range_for_cpu", refused.unwrap_err(), &all);
    let mut view = mapping.sync_for_cpu();
    texts.check(
        "read_at",
        view.read_at(0xf0, &mut [0; 0x20]).unwrap_err(),
        &all,
    );
    texts.check(
        "write_at",
        view.write_at(0xf0, &[0; 0x20]).unwrap_err(),
        &all,
    );
    drop(view);
    drop(mapping);
    let words = device.alloc_coherent::<u64>(0x20).unwrap();
    texts.check(
        "read",
        words.read(0x20).unwrap_err(),
        &[&"0x8 bytes", &"0x100"],
    );
    texts.check("write_at", words.write_at(3, 1_u64).unwrap_err(), &[&"0x3"]);
    drop(words);
    device.detach().unwrap();
    drop(function);
    rig.finish();
    assert!(texts.0 >= 14, "{}", texts.0);
}

#[test]
fn where_the_path_is_the_limit_that_is_what_is_blamed() {
    let mut texts = Texts::default();
    let rig = Rig::boot(path_of(33));
    let device = rig.attach_trusted(EDU, Protection::Identity);
    let beyond = phys(1 << 40, PAGE);
    let range = BusRange::new(BusAddr::new(1 << 40), PAGE).unwrap();
    for (mask, limit, blamed) in [
        (bits(30), bits(30).last(), "mask"),
        (DmaMask::ALL, bits(33).last(), "path"),
        (bits(33), bits(33).last(), "path"),
    ] {
        device.set_mask(mask).unwrap();
        let refused = map_phys(&device, beyond, Attributes::NONE).unwrap_err();
        let limits: [&dyn Display; 3] = [&range, &blamed, &"0x1000 bytes"];
        texts.check("map_phys", refused, &limits);
        match refused.failure {
            MapFailure::BeyondMask { mask, .. } => assert_eq!(mask.last(), limit),
            MapFailure::BeyondPath { limit: found, .. } => {
                assert_eq!(found, limit);
                texts.check("map_phys", refused, &[&limit]);
            }
            other => panic!("{other}"),
        }
    }
    device.detach().unwrap();
    rig.finish();

    // A path that carries one page of addresses, which is never used.
    let rig = Rig::boot(path_of(12));
    let device = rig.attach(EDU);
    let refused = device.set_mask(DmaMask::ALL).unwrap_err();
    texts.check("set_mask", refused, &[&"path", &bits(12).last()]);
    let refused = device.set_mask(bits(11)).unwrap_err();
    texts.check("set_mask", refused, &[&"mask", &bits(11)]);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn memory_that_cannot_be_allocated_says_for_which_device_and_how_much() {
    let mut texts = Texts::default();
    let rig = Rig::boot_failing(small(), BootOptions::default());
    let injector = rig.injector();
    let device = rig.attach(EDU);
    let limit = bits(32).last();
    let quiet = CoherentOptions::NONE.no_warn();
    let atomic = device.create_atomic_pool(PAGE).unwrap();
    injector.exhaust_from(Resource::Frames, 1);
    // The platform's own error has a limit, too: where it was asked for memory. This is where the device may have it.
    let of_the_device = format!("0x3000 bytes at or below bus {limit}");
    let all: [&dyn Display; 1] = [&of_the_device];
    let refused = device.alloc_attrs::<u8>(3 << 12, quiet).map(drop);
    texts.check("alloc_attrs", refused.unwrap_err(), &all);
    let refused = device.alloc_opaque(3 << 12, quiet).map(drop);
    texts.check("alloc_opaque", refused.unwrap_err(), &all);
    let refused = device.alloc_noncoherent(3 << 12, FromDevice).map(drop);
    texts.check("alloc_noncoherent", refused.unwrap_err(), &all);
    let refused = device.alloc_noncontiguous(3 << 12, FromDevice).map(drop);
    texts.check("alloc_noncontiguous", refused.unwrap_err(), &all);
    let refused = BufferPool::allocate(&device, 7, 0x500, ToDevice).map(drop);
    texts.check(
        "BufferPool::allocate",
        refused.unwrap_err(),
        &[&"7 blocks", &"0x500 bytes"],
    );
    let pool = device
        .create_pool::<u64>("rings", PoolLayout::of(8))
        .unwrap();
    let refused = pool.alloc(&device).map(drop);
    texts.check(
        "DmaPool::alloc",
        refused.unwrap_err(),
        &[&"rings", &"0x1000 bytes"],
    );
    injector.relent();
    drop(pool);

    let refused = device.alloc_attrs::<u8>(0, quiet).map(drop);
    texts.check("alloc_attrs", refused.unwrap_err(), &[&"0x0 bytes"]);
    let refused = device.alloc_attrs::<()>(4, quiet).map(drop);
    texts.check(
        "alloc_attrs",
        refused.unwrap_err(),
        &[&"elements of 0 bytes"],
    );
    let refused = device.alloc_attrs::<u64>(usize::MAX, quiet).map(drop);
    texts.check(
        "alloc_attrs",
        refused.unwrap_err(),
        &[&format_args!("{:#x}", u64::MAX)],
    );
    let refused = BufferPool::allocate(&device, 0, 0x500, ToDevice).map(drop);
    texts.check(
        "BufferPool::allocate",
        refused.unwrap_err(),
        &[&"0 blocks", &u32::MAX],
    );
    let refused = device.create_pool::<u64>("none", PoolLayout::of(0));
    texts.check("create_pool", refused.map(drop).unwrap_err(), &[&"none"]);
    texts.check(
        "atomic alloc",
        atomic.alloc::<()>(1).map(drop).unwrap_err(),
        &[&"0 bytes"],
    );
    let refused = atomic.alloc::<u8>(0x3000).map(drop);
    texts.check(
        "atomic alloc",
        refused.unwrap_err(),
        &[&"0x3000", &"0x1000"],
    );
    atomic.destroy().unwrap();
    device.detach().unwrap();
    rig.finish();
    assert_eq!(texts.0, 13);
}

#[test]
fn what_is_not_confirmed_and_what_is_misplaced_says_of_which_device() {
    let mut texts = Texts::default();
    let rig = Rig::boot_with(small(), impatient(150));
    let mut device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer_of(rig.kernel, 2 * PAGE, 1), ToDevice)
        .unwrap();
    let range = mapping.range();
    rig.machine.vtd_units().for_each(|unit| unit.hold_queue());
    texts.check("unmap", mapping.unmap().map(drop).unwrap_err(), &[&range]);
    texts.check("recover", device.recover().unwrap_err(), &[&"150 ms"]);
    texts.check("flush", device.flush().unwrap_err(), &[&"150 ms"]);
    let refused = device.reset(ResetPatience::default()).unwrap_err();
    assert!(matches!(refused, ResetError::Unit(_)));
    texts.check("reset", refused, &[&"150 ms"]);
    rig.machine
        .vtd_units()
        .for_each(|unit| unit.release_queue());
    device.recover().unwrap();
    device.detach().unwrap();

    let domain = UnmanagedDomain::of(rig.attach(EDU)).unwrap();
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let window = BusAddr::new(0xfee0_0000);
    // SAFETY: refused.
    let refused = unsafe { domain.map(window, buffer.segment(0), Permission::Read) };
    texts.check(
        "UnmanagedDomain::map",
        refused.unwrap_err(),
        &[&window, &"0x1000 bytes"],
    );
    let refused = domain.unmap(BusRange::new(window, PAGE).unwrap());
    texts.check(
        "UnmanagedDomain::unmap",
        refused.unwrap_err(),
        &[&window, &"0x1000 bytes"],
    );
    domain.detach().unwrap();
    drop(buffer);
    rig.finish();
}

/// What `failure` must say beside the device and the bytes asked for: its numbers. A failure that is added is to be added here.
fn numbers(failure: &MapFailure) -> Vec<String> {
    let text = |part: &dyn Display| part.to_string();
    let hex = |number: u64| format!("{number:#x}");
    match failure {
        MapFailure::Blocked
        | MapFailure::NotCoherent
        | MapFailure::NotTranslated
        | MapFailure::Empty
        | MapFailure::Suspended => vec![],
        MapFailure::BeyondMask { range, mask } => vec![text(range), text(mask)],
        MapFailure::BeyondPath { range, limit } => vec![text(range), text(limit)],
        MapFailure::CrossesBoundary { memory, boundary } => vec![text(memory), hex(*boundary)],
        MapFailure::NotOnBus { memory }
        | MapFailure::WouldBounce { memory }
        | MapFailure::NotRam { memory } => vec![text(memory)],
        MapFailure::NotContiguous { first } => vec![text(first)],
        MapFailure::NotWholePages { memory, page_bytes } => vec![text(memory), hex(*page_bytes)],
        MapFailure::InteriorEdge {
            memory,
            offset,
            page_bytes,
        } => vec![text(memory), hex(*offset), hex(*page_bytes)],
        MapFailure::OutsideSpan(outside) | MapFailure::PieceOutOfBounds(outside) => vec![
            hex(outside.offset),
            hex(outside.len_bytes),
            hex(outside.whole_bytes),
        ],
        MapFailure::List(error) => vec![text(error)],
        MapFailure::Bounce(error) => vec![text(error)],
        MapFailure::TooLong {
            len_bytes,
            max_bytes,
        } => vec![hex(*len_bytes), hex(*max_bytes)],
        MapFailure::NotDmaMemory { virt } => vec![text(virt)],
        MapFailure::TooManySegments { room } => vec![text(room)],
        MapFailure::NotUndone { error } => vec![text(error)],
        MapFailure::IsRam { range } => vec![text(range)],
        MapFailure::NotOfPeer { registers } | MapFailure::BehindBridge { registers } => {
            vec![text(registers)]
        }
        MapFailure::PeerRefused(why) => vec![text(why)],
        MapFailure::NotRevoked(error) => vec![text(error)],
        MapFailure::NoRecord(error) => vec![text(error)],
        MapFailure::Domain(error) => vec![text(error)],
    }
}

#[test]
fn every_failure_of_a_mapping_reads_with_device_range_and_limit() {
    let memory = phys(0x7_6000, 0x3000);
    let range = BusRange::new(BusAddr::new(0x98_7000), 0x3000).unwrap();
    let outside = Outside {
        offset: 0x11,
        len_bytes: 0x22,
        whole_bytes: 0x33,
    };
    let unit = UnitError::Asleep {
        unit: PhysAddr::new(0xfed9_0000),
    };
    let no_frames = OutOfFrames(FrameRequest::new(3));
    let error = RevokeError::from(unit);
    let exhausted = BounceError::Exhausted {
        len_bytes: 0x44,
        last: PhysAddr::new(0x5555),
    };
    let failures = [
        MapFailure::Blocked,
        MapFailure::BeyondMask {
            range,
            mask: bits(22),
        },
        MapFailure::BeyondPath {
            range,
            limit: BusAddr::new(0x3f_ffff),
        },
        MapFailure::CrossesBoundary {
            memory,
            boundary: 0xffff,
        },
        MapFailure::NotCoherent,
        MapFailure::NotOnBus { memory },
        MapFailure::NotContiguous { first: memory },
        MapFailure::NotWholePages {
            memory,
            page_bytes: 0x1_0000,
        },
        MapFailure::NotTranslated,
        MapFailure::InteriorEdge {
            memory,
            offset: 0x66,
            page_bytes: PAGE,
        },
        MapFailure::OutsideSpan(outside),
        MapFailure::List(ListError::Full { room: 9 }),
        MapFailure::WouldBounce { memory },
        MapFailure::NotRam { memory },
        MapFailure::Bounce(exhausted),
        MapFailure::Empty,
        MapFailure::TooLong {
            len_bytes: 0x77,
            max_bytes: 0x70,
        },
        MapFailure::NotDmaMemory {
            virt: VirtAddr::new(0x8_8888),
        },
        MapFailure::PieceOutOfBounds(outside),
        MapFailure::TooManySegments { room: 7 },
        MapFailure::Suspended,
        MapFailure::NotUndone { error },
        MapFailure::IsRam { range: memory },
        MapFailure::NotOfPeer { registers: memory },
        MapFailure::BehindBridge { registers: memory },
        MapFailure::PeerRefused(PeerRefusal::Identity),
        MapFailure::NotRevoked(error),
        MapFailure::NoRecord(SlabError::OutOfFrames(no_frames)),
        MapFailure::Domain(DomainError::Table(TableError::OutOfFrames(no_frames))),
    ];
    let mut texts = Texts::default();
    let asked = Asked::from(PhysAddr::new(0xabc_d000), 0x1234);
    for failure in failures {
        let device = EDU;
        let error = MapError {
            device,
            asked,
            failure,
        };
        texts.check("", error, &[&"0x1234 bytes", &PhysAddr::new(0xabc_d000)]);
        for number in numbers(&failure) {
            texts.check("", error, &[&number]);
        }
    }
    // None is there twice, so these are as many as there are.
    let kinds: std::collections::HashSet<_> = failures.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), failures.len());
    assert_eq!(asked.first(), Some(PhysAddr::new(0xabc_d000)));
    let bare = Asked::bytes(asked.len_bytes());
    assert_eq!(
        (bare.to_string().as_str(), bare.first()),
        ("0x1234 bytes", None)
    );
}
