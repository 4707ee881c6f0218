//! QEMU's virtio-iommu: the statuses of requests it refuses, as the driver tells them, and what its event queue says.
//!
//! The driver asks for nothing that is refused, so its requests are altered on their way.

mod support;

#[path = "support/altered.rs"]
mod altered;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use altered::Altered;
use board::hardware::Hardware;
use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::{Access, Fault, FaultReason};
use dmamap::iommu::{DomainError, RevokeError, UnitError};
use dmamap::map::{Bidirectional, FromDevice, MapFailure, ToDevice};
use dmamap::system::{AttachError, Protection};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::virtio::iommu::request::{Attach, AttachFlags, Detach, Map, RequestType, Unmap};
use journeys::boot::{BootOptions, MachineDescription, boot};
use journeys::unmap_blocks_device::unmap_blocks_device;
use journeys::{Computer, IsolationError};
use qemu::Qemu;

const BOARDS: [&str; 2] = ["q35-virtio", "arm-virtio"];

const FRAME: u64 = 4096;
/// Bytes of the mapping that is unmapped in part.
const TEN_PAGES: u64 = 10 * FRAME;

/// A domain of nobody's: ids are given from 1 on.
const NOBODYS: u32 = 0x7ffe;

/// An address of the device's 28 bits where nothing is mapped.
const UNMAPPED: BusAddr = BusAddr::new(0x0666_0000);

/// What a device holds, and what memory holds.
const SENT: u8 = 0xa5;
const KEPT: u8 = 0x5a;
/// Bytes it moves.
const LEN: u64 = 64;

/// A booted computer with two educational devices, whose requests can be altered.
struct Rig {
    qemu: Arc<Qemu>,
    altered: Arc<Altered>,
    kernel: Hosted,
    computer: Computer<Hosted>,
    unit: PhysAddr,
}

impl Rig {
    fn boot(board: &str) -> Option<Self> {
        let qemu = support::start(board, |config| config.with_edu().with_edu())?;
        let altered = Altered::new(qemu.clone());
        let kernel = Hosted::boot(altered.clone()).expect("the kernel boots");
        let mut bridges = kernel.host_bridges().expect("the bridge is sound");
        let description = MachineDescription {
            rsdp: kernel.rsdp().expect("the board has ACPI"),
            host_bridge: bridges.remove(0),
        };
        // SAFETY: the description is the board's own, which exists for this rig alone.
        let computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default()) };
        let computer = computer.unwrap_or_else(|error| panic!("{board}: {error}"));
        let unit = PhysAddr::new(altered.follow(&computer));
        Some(Self {
            qemu,
            altered,
            kernel,
            computer,
            unit,
        })
    }

    /// What the driver says of a refused request.
    fn refused(&self, command: &'static str, reason: &'static str) -> UnitError {
        UnitError::Refused {
            unit: self.unit,
            command,
            reason,
        }
    }

    fn try_start(&mut self, number: usize) -> Result<Edu<Hosted>, AttachError> {
        let mut functions = self.computer.edus();
        let function = functions.nth(number).expect("it is there").clone();
        drop(functions);
        let system = self.computer.system();
        let device = system.attach(&function, Protection::Strict)?;
        let edu = Edu::start(device, &function, self.computer.resources_mut());
        Ok(edu.expect("it comes up"))
    }

    /// Attaches the first device, which holds a pattern then.
    fn start(&mut self) -> Edu<Hosted> {
        self.start_number(0)
    }

    fn start_number(&mut self, number: usize) -> Edu<Hosted> {
        let mut edu = self.try_start(number).expect("it attaches");
        let sent = edu.device().map_single(self.buffer(FRAME, SENT), ToDevice);
        edu.fetch(&sent.expect("it maps"), 0, LEN)
            .expect("it is read");
        edu
    }

    fn buffer(&self, len_bytes: u64, pattern: u8) -> DmaBuffer<Hosted> {
        let mut buffer = DmaBuffer::allocate(self.kernel, len_bytes).expect("there is memory");
        buffer.as_mut_slice().fill(pattern);
        buffer
    }

    /// The first fault of `edu`, the only device that was refused.
    fn fault(&self, edu: &Edu<Hosted>) -> Fault {
        let report = self.computer.system().faults();
        let [fault] = report.first_per_requester[..] else {
            panic!("{report:?}");
        };
        assert_eq!(report.overflows, 0);
        assert_eq!(fault.requester, edu.device().requester());
        assert_eq!(fault.unit, self.unit);
        fault
    }

    /// The unit works as ever, everything ends, and `kept_frames` were never given back.
    fn finish(mut self, kept_frames: u64) {
        assert!(self.altered.is_done(), "no request was altered");
        let refused: Result<_, IsolationError> = unmap_blocks_device(&mut self.computer);
        refused.expect("the device is blocked");
        // SAFETY: every device was detached, and QEMU's devices obey their bus-master bit.
        unsafe { self.computer.system().shutdown() }.expect("the units stop");
        drop(self.computer);
        assert_eq!(self.qemu.failure(), None);
        let mut report = self.kernel.shutdown();
        assert_eq!(report.frames.in_use, kept_frames);
        report.frames.in_use = 0;
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

fn map_of(words: &[u32]) -> Map {
    Map::from_words(words.try_into().expect("it is that long"))
}

fn attach_of(words: &[u32]) -> Attach {
    Attach::from_words(words.try_into().expect("it is that long"))
}

fn unmap_of(words: &[u32]) -> Unmap {
    Unmap::from_words(words.try_into().expect("it is that long"))
}

/// Maps memory while MAP is altered so that the unit refuses it for `reason`: the memory comes back.
fn map_is_refused(
    board: &str,
    reason: &'static str,
    alter: impl FnOnce(&mut Map, BusAddr) + Send + 'static,
) {
    let Some(mut rig) = Rig::boot(board) else {
        return;
    };
    let edu = rig.start();
    // What is there already, so that tables and what the allocator keeps are too.
    let known = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), Bidirectional)
        .expect("it maps");
    let (figures, domain_frames) = (edu.device().figures(), edu.device().domain_frames());
    let frames = rig.kernel.frames().in_use;

    let known_bus = known.bus_addr();
    rig.altered.alter_next(RequestType::Map, move |words| {
        let mut map = map_of(words);
        alter(&mut map, known_bus);
        words.copy_from_slice(&map.to_words());
    });
    let rejected = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), Bidirectional);
    let rejected = rejected.expect_err("the unit refuses it");
    assert_eq!(rejected.error.device, edu.device().requester());
    let refused = DomainError::Unit(rig.refused("MAP", reason));
    assert_eq!(
        rejected.error.failure,
        MapFailure::Domain(refused),
        "{board}"
    );
    assert!(!rejected.error.leaves_memory_reachable());
    let buffer = rejected.buffer.expect("nothing reaches it");
    drop(buffer);
    assert_eq!(edu.device().figures(), figures, "{board}");
    assert_eq!(edu.device().domain_frames(), domain_frames, "{board}");
    assert_eq!(rig.kernel.frames().in_use, frames, "{board}");

    // The addresses were given back, and the unit maps them.
    let mut edu = edu;
    is_reached(&rig, &mut edu);
    known.unmap().expect("it comes back");
    edu.stop().detach().expect("it is detached");
    rig.finish(0);
}

/// What is mapped now the device reaches.
fn is_reached(rig: &Rig, edu: &mut Edu<Hosted>) {
    let lent = edu
        .device()
        .map_single(rig.buffer(FRAME, KEPT), FromDevice)
        .expect("it maps");
    let faults = rig.computer.system().faults().total;
    edu.store(&lent, 0, LEN).expect("it is written");
    assert!(holds(&lent.unmap().expect("it comes back"), SENT));
    assert_eq!(rig.computer.system().faults().total, faults);
}

fn holds(buffer: &DmaBuffer<Hosted>, pattern: u8) -> bool {
    buffer.as_slice()[..LEN as usize]
        .iter()
        .all(|&byte| byte == pattern)
}

#[test]
fn a_map_over_another_is_invalid() {
    for board in BOARDS {
        map_is_refused(board, "invalid parameters", |map, known| {
            (map.virt_start, map.virt_end) = (known.as_u64(), known.as_u64() + FRAME - 1);
        });
    }
}

#[test]
fn a_map_in_an_unknown_domain_has_no_entry() {
    for board in BOARDS {
        map_is_refused(board, "no such domain or endpoint", |map, _| {
            map.domain = NOBODYS;
        });
    }
}

/// Unmaps ten pages while UNMAP is altered so that the unit refuses it for `reason`: they are kept, for the device still
/// reaches them.
fn unmap_is_refused(board: &str, reason: &'static str, alter: fn(&mut Unmap)) {
    let Some(mut rig) = Rig::boot(board) else {
        return;
    };
    let mut edu = rig.start();
    let frames = rig.kernel.frames().in_use;
    let mapping = edu
        .device()
        .map_single(rig.buffer(TEN_PAGES, KEPT), FromDevice)
        .expect("it maps");
    let lent = rig.kernel.frames().in_use - frames;
    let (bus, phys, requester) = (mapping.bus_addr(), mapping.phys(), edu.device().requester());
    rig.altered.alter_next(RequestType::Unmap, move |words| {
        let mut unmap = unmap_of(words);
        let whole = (bus.as_u64(), bus.as_u64() + TEN_PAGES - 1);
        assert_eq!((unmap.virt_start, unmap.virt_end), whole);
        alter(&mut unmap);
        words.copy_from_slice(&unmap.to_words());
    });
    let quarantined = mapping.unmap().expect_err("the unit refuses it");
    assert!(rig.altered.is_done());
    assert_eq!(quarantined.device, requester, "{board}");
    assert_eq!(quarantined.range.start(), bus, "{board}");
    assert_eq!(quarantined.range.len_bytes(), TEN_PAGES, "{board}");
    let refused = RevokeError::Unit(rig.refused("UNMAP", reason));
    assert_eq!(quarantined.error, refused, "{board}");
    let figures = edu.device().figures();
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    assert_eq!(figures.quarantined_bytes, TEN_PAGES, "{board}");

    // The first and the last page: nothing of it was unmapped, and nobody else has it.
    for at in [0, TEN_PAGES - FRAME] {
        // SAFETY: the unit confines the device, which reaches memory that is kept for good.
        unsafe { edu.store_at(BusAddr::new(bus.as_u64() + at), LEN) }.expect("it is written");
        let word = rig.qemu.ram().load_u64(phys.start().as_u64() + at);
        assert_eq!(word.expect("it is RAM").to_ne_bytes(), [SENT; 8], "{board}");
    }
    assert_eq!(rig.computer.system().faults().total, 0, "{board}");
    // What is mapped next is elsewhere, and taken back.
    is_reached(&rig, &mut edu);
    edu.stop().detach().expect("it is detached");
    rig.finish(lent);
}

#[test]
fn an_unmap_of_a_part_is_out_of_range() {
    for board in BOARDS {
        unmap_is_refused(board, "out-of-range parameters", |unmap| {
            unmap.virt_end = unmap.virt_start + TEN_PAGES / 2 - 1;
        });
        unmap_is_refused(board, "out-of-range parameters", |unmap| {
            unmap.virt_start += TEN_PAGES / 2;
        });
    }
}

#[test]
fn an_unmap_in_an_unknown_domain_has_no_entry() {
    for board in BOARDS {
        unmap_is_refused(board, "no such domain or endpoint", |unmap| {
            unmap.domain = NOBODYS;
        });
    }
}

#[test]
fn an_attach_of_an_unknown_endpoint_has_no_entry() {
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let frames = rig.kernel.frames().in_use;
        rig.altered.alter_next(RequestType::Attach, |words| {
            let attach = Attach {
                endpoint: NOBODYS,
                ..attach_of(words)
            };
            words.copy_from_slice(&attach.to_words());
        });
        let refused = rig.try_start(0).err().expect("the unit refuses it");
        let AttachError::Domain { error, .. } = refused else {
            panic!("{board}: {refused}");
        };
        let expected = rig.refused("ATTACH", "no such domain or endpoint");
        assert_eq!(error, DomainError::Unit(expected), "{board}");
        assert_eq!(rig.kernel.frames().in_use, frames, "{board}");
        let mut edu = rig.start();
        is_reached(&rig, &mut edu);
        edu.stop().detach().expect("it is detached");
        rig.finish(0);
    }
}

/// What QEMU tells of an access that is not mapped, and of one that a mapping does not grant. Only of the latter it says
/// whether the device wrote.
#[test]
fn the_event_queue_tells_of_what_no_mapping_grants() {
    const MAPPING: FaultReason = FaultReason {
        code: 2,
        text: "no mapping grants the access",
    };
    for board in BOARDS {
        for (writes, is_mapped, access) in [
            (false, false, Access::Unknown),
            (true, false, Access::Unknown),
            (true, true, Access::Write),
        ] {
            let Some(mut rig) = Rig::boot(board) else {
                return;
            };
            let mut edu = rig.start();
            let lent = edu
                .device()
                .map_single(rig.buffer(FRAME, KEPT), ToDevice)
                .expect("it maps");
            let bus = match is_mapped {
                true => lent.bus_addr(),
                false => UNMAPPED,
            };
            // SAFETY: the unit confines the device to what is mapped.
            let done = unsafe {
                match writes {
                    true => edu.store_at(bus, LEN),
                    false => edu.fetch_at(bus, LEN),
                }
            };
            done.expect("the device answers");
            let fault = rig.fault(&edu);
            let told = (fault.reason, fault.address, fault.access);
            assert_eq!(told, (MAPPING, bus, access), "{board}");
            assert!(holds(&lent.unmap().expect("it comes back"), KEPT));
            edu.stop().detach().expect("it is detached");
            rig.finish(0);
        }
    }
}

/// An endpoint that the unit has forgotten, as it does when it is detached: it knows nothing of it, not even that. A
/// restart tells it again.
#[test]
fn the_event_queue_tells_of_endpoints_it_does_not_know() {
    const UNKNOWN: FaultReason = FaultReason {
        code: 0,
        text: "an internal error, or an error that cannot be told",
    };
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let mut edu = rig.start();
        let endpoint = edu.device().requester().id.into();
        rig.altered.alter_next(RequestType::Map, move |words| {
            let domain = map_of(words).domain;
            // The unit reads no more than a request of that kind has.
            words[..Detach::WORDS].copy_from_slice(&Detach { domain, endpoint }.to_words());
        });
        let lent = edu
            .device()
            .map_single(rig.buffer(FRAME, KEPT), FromDevice)
            .expect("the unit did what it was asked");
        let bus = lent.bus_addr();
        edu.store(&lent, 0, LEN).expect("the device answers");
        let fault = rig.fault(&edu);
        let told = (fault.reason, fault.address, fault.access);
        assert_eq!(told, (UNKNOWN, bus, Access::Unknown), "{board}");
        let faults = rig.computer.system().faults().total;

        // SAFETY: the only device is quiet.
        unsafe { rig.computer.system().restart_units() }.expect("the unit answers");
        edu.store(&lent, 0, LEN).expect("it is written");
        assert_eq!(rig.computer.system().faults().total, faults, "{board}");
        assert!(holds(&lent.unmap().expect("it comes back"), SENT));
        edu.stop().detach().expect("it is detached");
        rig.finish(0);
    }
}

/// An endpoint that lost its domain: asked to put it into a domain of another kind, QEMU takes it out of its own before
/// it finds that it cannot. The driver, who asked for a mapping, is refused that and its undoing, and keeps the memory.
#[test]
fn the_event_queue_tells_of_endpoints_without_a_domain() {
    const DOMAIN: FaultReason = FaultReason {
        code: 1,
        text: "the endpoint is not attached to a domain",
    };
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let others = Arc::new(AtomicU32::new(0));
        let told = others.clone();
        rig.altered.alter_next(RequestType::Attach, move |words| {
            told.store(attach_of(words).domain, Ordering::SeqCst);
        });
        let mut other = rig.start_number(1);
        let mut edu = rig.start();
        let attach = Attach {
            domain: others.load(Ordering::SeqCst),
            endpoint: edu.device().requester().id.into(),
            flags: AttachFlags::new().with_bypass(true),
        };
        rig.altered.alter_next(RequestType::Map, move |words| {
            assert_ne!(map_of(words).domain, attach.domain);
            words[..Attach::WORDS].copy_from_slice(&attach.to_words());
        });
        let buffer = rig.buffer(FRAME, KEPT);
        let rejected = edu.device().map_single(buffer, FromDevice);
        let rejected = rejected.expect_err("the unit refuses it");
        let unconfirmed = DomainError::Unconfirmed {
            cause: rig.refused("MAP", "invalid parameters"),
            undo: RevokeError::Unit(rig.refused("UNMAP", "no such domain or endpoint")),
        };
        let failure = MapFailure::Domain(unconfirmed);
        assert_eq!(rejected.error.failure, failure, "{board}");
        assert!(rejected.buffer.is_none(), "{board}: nobody took it away");
        let figures = edu.device().figures();
        assert_eq!(figures.live_mappings, 0, "{board}");
        assert_eq!(figures.quarantined_bytes, FRAME, "{board}");

        // SAFETY: the unit confines the device to nothing.
        unsafe { edu.fetch_at(UNMAPPED, LEN) }.expect("the device answers");
        let fault = rig.fault(&edu);
        let told = (fault.reason, fault.address, fault.access);
        assert_eq!(told, (DOMAIN, UNMAPPED, Access::Unknown), "{board}");
        // The other's domain is as it was.
        is_reached(&rig, &mut other);
        other.stop().detach().expect("it is detached");
        edu.stop().detach().expect("it is detached");
        rig.finish(1);
    }
}
