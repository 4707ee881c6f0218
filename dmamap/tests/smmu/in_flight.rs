//! Requests under way when memory is taken from a device: nothing is given back before they have arrived.

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use hosted::Hosted;
use machine::bus::Access;
use machine::iommu::translator::Translator;

use super::{STAGES, boot, model};
use rig::waiting::{an_unlinked_table_hides_nothing, while_under_way};
use rig::{EDU, PAGE};

fn buffer(device: &Device<Hosted>) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), PAGE).unwrap()
}

#[test]
fn unmapping_and_detaching_wait_for_requests_that_are_under_way() {
    for stage in STAGES {
        for access in [Access::Read, Access::Write] {
            let rig = boot(stage);
            let unit = model(&rig);
            let device = rig.attach(EDU);
            let one = device.map_single(buffer(&device), Bidirectional).unwrap();
            let other = device.map_single(buffer(&device), Bidirectional).unwrap();
            let bus = |mapping: &dmamap::map::Mapping<_, _, _>| mapping.bus_addr().as_u64();
            let request = unit.translate(EDU.id, bus(&one), access).unwrap();
            drop(while_under_way(request, move || one.unmap().unwrap()));
            let request = unit.translate(EDU.id, bus(&other), access).unwrap();
            while_under_way(request, move || device.detach().unwrap());
            drop(other);
            rig.finish();
        }
    }
}

#[test]
fn a_table_that_is_being_unlinked_does_not_hide_what_is_mapped_meanwhile() {
    for stage in STAGES {
        let rig = boot(stage);
        let unit = model(&rig);
        an_unlinked_table_hides_nothing(rig, unit);
    }
}
