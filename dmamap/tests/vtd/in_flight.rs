//! Requests under way when memory is taken from a device: nothing is given back before they have arrived.

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use hosted::Hosted;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::VtdConfig;
use rig::modes::{WAYS, Way};
use rig::waiting::{an_unlinked_table_hides_nothing, while_under_way};
use rig::{EDU, PAGE, Rig, small};

fn buffer(device: &Device<Hosted>) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), PAGE).unwrap()
}

fn in_every_way() -> impl Iterator<Item = (Way, Access)> {
    let accesses = [Access::Read, Access::Write];
    WAYS.into_iter()
        .flat_map(move |way| accesses.map(|access| (way, access)))
}

fn boot(way: Way) -> Rig {
    let iommu = rig::vtd(way.unit(VtdConfig::default()));
    Rig::boot_with(small().with_iommu(iommu), way.options())
}

#[test]
fn unmapping_waits_for_requests_that_are_under_way() {
    for (way, access) in in_every_way() {
        let rig = boot(way);
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = rig.unit(0).translate(EDU.id, bus, access).unwrap();
        drop(while_under_way(request, move || mapping.unmap().unwrap()));
        drop(device);
        rig.finish();
    }
}

#[test]
fn detaching_waits_for_requests_that_are_under_way() {
    for (way, access) in in_every_way() {
        let rig = boot(way);
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = rig.unit(0).translate(EDU.id, bus, access).unwrap();
        while_under_way(request, move || device.detach().unwrap());
        drop(mapping);
        rig.finish();
    }
}

#[test]
fn a_table_that_is_being_unlinked_does_not_hide_what_is_mapped_meanwhile() {
    for way in WAYS {
        let rig = boot(way);
        let unit = rig.unit(0).clone();
        an_unlinked_table_hides_nothing(rig, unit);
    }
}
