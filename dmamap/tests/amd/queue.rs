//! The command buffer: nothing is given back that the unit did not confirm, and no wait is without end.

use std::time::{Duration, Instant};

use board::hardware::{Hardware, Width};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::Bidirectional;
use hosted::Hosted;
use hw::amd::command::{self, Kind};
use hw::amd::regs::{self, RingBase, RingPointer};
use machine::MachineConfig;
use machine::bus::Access;
use machine::iommu::Unit;
use machine::iommu::amd::{AmdConfig, QueueFault};
use machine::iommu::translator::Translator;
use machine::temper::Temper;

use rig::waiting::{Held, no_invalidation_is_lost, while_under_way};
use rig::{self, AMD_UNIT, EDU, PAGE, Rig, impatient, restart_under_load, small};

/// A bound short enough to be waited for in a test, and long enough for a unit that answers, on a busy host.
const BOUND_MS: u64 = 150;

fn config() -> MachineConfig {
    small().with_iommu(rig::amd(AmdConfig::default()))
}

fn buffer(device: &Device<Hosted>) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), PAGE).unwrap()
}

#[test]
fn unmap_and_detach_do_not_return_before_the_completion_wait_is_done() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(7)] {
        let rig = Rig::boot(config().with_temper(temper));
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let held = Held::new(rig.amd_unit());
        drop(while_under_way(held, move || mapping.unmap().unwrap()));
        let held = Held::new(rig.amd_unit());
        while_under_way(held, move || device.detach().unwrap());
        rig.finish();
    }
}

#[test]
fn unmap_and_detach_wait_for_requests_that_are_under_way() {
    for access in [Access::Read, Access::Write] {
        let rig = Rig::boot(config());
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let other = device.map_single(buffer(&device), Bidirectional).unwrap();
        let request = |bus| rig.amd_unit().translate(EDU.id, bus, access).unwrap();
        let under_way = request(mapping.bus_addr().as_u64());
        drop(while_under_way(under_way, move || mapping.unmap().unwrap()));
        let under_way = request(other.bus_addr().as_u64());
        while_under_way(under_way, move || device.detach().unwrap());
        drop(other);
        rig.finish();
    }
}

#[test]
fn pages_are_forgotten_only_when_the_entry_is_known_to_be() {
    let rig = Rig::boot(config());
    let device = rig.attach(EDU);
    device.detach().unwrap();
    let unit = rig.amd_unit();
    let register = |offset| unit.read_register(offset, Width::Qword);
    let base = RingBase::from_bits(register(regs::COMMAND_BUFFER_BASE)).base();
    let tail = RingPointer::from_bits(register(regs::COMMAND_TAIL)).offset();
    let ram = rig.machine.ram();
    let kinds: Vec<Kind> = (base..base + tail)
        .step_by(regs::RING_ENTRY_BYTES as usize)
        .map(|at| [at, at + 8].map(|at| ram.load_u64(at).unwrap()))
        .map(|words| command::kind(words).unwrap())
        .collect();
    let pairs = || kinds.windows(2);
    let entries = pairs().filter(|pair| pair[0] == Kind::InvalidateDeviceEntry);
    assert!(entries.clone().count() >= 4, "{kinds:?}");
    for pair in entries {
        assert_eq!(pair[1], Kind::CompletionWait, "{kinds:?}");
    }
    rig.finish();
}

#[test]
fn no_invalidation_is_lost_when_the_ring_is_full() {
    let rig = Rig::boot(config());
    let unit = rig.amd_unit().clone();
    // Each takes two commands, an invalidation and its wait; the ring has room for 255.
    no_invalidation_is_lost(rig, &*unit, 160);
}

#[test]
fn a_unit_that_never_completes_is_an_error_that_names_unit_and_command() {
    let rig = Rig::boot_with(config(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
    let held = Held::new(rig.amd_unit());
    let error = mapping.unmap().unwrap_err();
    let timed_out = |command| UnitError::TimedOut {
        unit: AMD_UNIT,
        command,
        bound_ms: BOUND_MS,
    };
    assert_eq!(
        error.error,
        RevokeError::Unit(timed_out("page invalidation"))
    );
    assert!(error.to_string().contains("0xfeb80000"), "{error}");
    assert_eq!(device.figures().quarantined_bytes, PAGE);
    let error = device.detach().unwrap_err().unit_error().unwrap();
    assert_eq!(error, timed_out("device entry invalidation"));
    drop(held);
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_ring_that_stopped_is_a_typed_error_at_once() {
    // The bound is long: the status register, not patience, tells.
    let rig = Rig::boot_with(config(), impatient(20_000));
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..3)
        .map(|_| device.map_single(buffer(&device), Bidirectional).unwrap())
        .collect();
    rig.amd_unit().fail_queue(QueueFault::FetchError);
    let begun = Instant::now();
    for mapping in mappings {
        match mapping.unmap().unwrap_err().error {
            RevokeError::Unit(UnitError::QueueStopped { unit, reason, .. }) => {
                assert_eq!((unit, reason), (AMD_UNIT, "command hardware error"));
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_lost_completion_is_waited_for_no_longer_than_the_bound() {
    let rig = Rig::boot_with(config(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let [first, second] =
        [(); 2].map(|()| device.map_single(buffer(&device), Bidirectional).unwrap());
    // Of the first submission the invalidation is held back until its wait is the next to be lost.
    let unit = rig.amd_unit();
    let before = unit.statistics().page_invalidations;
    let held = Held::new(unit);
    assert!(first.unmap().is_err());
    unit.fail_queue(QueueFault::Lost);
    drop(held);
    // The invalidation was lost, its wait was not: the second one's is another.
    drop(second.unmap().unwrap());
    assert_eq!(unit.statistics().page_invalidations, before + 1);
    drop(device);
    rig.abandon();
}

#[test]
fn others_map_and_unmap_while_the_unit_restarts() {
    let rig = Rig::boot(config());
    restart_under_load(&rig);
    rig.finish_after_faults();
}
