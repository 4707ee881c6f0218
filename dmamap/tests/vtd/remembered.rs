//! What a unit remembers of a device's earlier life does not outlive it.

use std::sync::Arc;

use board::hardware::Hardware;
use dmamap::addr::BusRange;
use dmamap::buffer::ScatteredBuffer;
use dmamap::map::ToDevice;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::{CachingMode, VtdConfig, VtdUnit};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

fn reaches(unit: &Arc<VtdUnit>, requester: u16, bus: u64) -> bool {
    unit.translate(requester, bus, Access::Read).is_ok()
}

/// With a unit that remembers what is not there, too.
fn remembering() -> Rig {
    let unit = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    Rig::boot(small().with_iommu(rig::vtd(unit)))
}

#[test]
fn that_a_device_was_unknown_is_forgotten_when_it_is_attached() {
    let rig = remembering();
    let unit = rig.unit(0);
    // The first device of a bus; then one whose context table is there already, having been attached before.
    for _ in 0..3 {
        assert!(!reaches(unit, EDU.id, PAGE));
        let device = rig.attach(EDU);
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        assert!(reaches(unit, EDU.id, mapping.bus_addr().as_u64()));
        drop((mapping, device));
    }
    rig.finish_after_faults();
}

#[test]
fn that_nothing_was_there_is_forgotten_when_a_run_or_a_list_is_mapped() {
    let rig = remembering();
    let (unit, device) = (rig.unit(0), rig.attach(EDU));
    let mut met = Vec::new();
    for _ in 0..3 {
        let run = buffer_of(rig.kernel, 4 * PAGE, 1);
        let run = device.map_single(run, ToDevice).unwrap();
        let pieces = ScatteredBuffer::allocate(rig.kernel, 4 * PAGE).unwrap();
        let pieces = device.map_sg(pieces, ToDevice).unwrap();
        let all = pieces.segments().chain([run.range()]);
        let pages = |range: BusRange| {
            let offsets = (0..range.len_bytes()).step_by(PAGE as usize);
            offsets.map(move |at| range.start().as_u64() + at)
        };
        let pages: Vec<_> = all.flat_map(pages).collect();
        for &page in &pages {
            assert!(reaches(unit, EDU.id, page));
        }
        drop((run, pieces));
        for &page in &pages {
            assert!(!reaches(unit, EDU.id, page));
        }
        met.push(pages);
    }
    // The same addresses: else this tested less than it says.
    assert_eq!(met[1], met[2]);
    drop(device);
    rig.finish_after_faults();
}

#[test]
fn a_unit_follows_a_device_from_one_table_to_the_other() {
    let rig = Rig::boot(small());
    let unit = rig.unit(1);
    let region = rig.machine.reserved_ram()[0].start;
    for _ in 0..3 {
        // The table that was made for what firmware reserved, and then the driver's.
        assert!(reaches(unit, HEARTBEAT.id, region));
        let device = rig.attach(HEARTBEAT);
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        assert!(reaches(unit, HEARTBEAT.id, mapping.bus_addr().as_u64()));
        assert!(reaches(unit, HEARTBEAT.id, region));
        drop((mapping, device));
    }
    rig.finish();
}
