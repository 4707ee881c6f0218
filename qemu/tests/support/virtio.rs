//! A computer with a virtio disk, and the disk at work in a slot.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]

use std::fs::File;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::system::Protection;
use drivers::virtio::{Slot, VirtioBlock};
use hosted::Hosted;
use qemu::{Disk, Medium};

use super::Rig;
use rig::disks::bytes_at;

pub fn boot(board: &str, file: &File, medium: Medium) -> Option<Rig> {
    let file = file.try_clone().expect("a file can be shared");
    Rig::boot(board, |config| config.with_disk(Disk::virtio(file, medium)))
}

pub fn function(rig: &Rig) -> Function<Hosted> {
    let found = rig.computer.virtio_disks().next();
    found.expect("the computer has the disk").clone()
}

pub fn attach(rig: &Rig) -> Device<Hosted> {
    let (system, function) = (rig.computer.system(), function(rig));
    let attached = match rig.computer.has_iommu() {
        true => system.attach(&function, Protection::Strict),
        // SAFETY: QEMU's disk keeps to the addresses its driver gives it, which are of live mappings.
        false => unsafe { system.attach_trusted(&function, Protection::Identity) },
    };
    attached.expect("the disk attaches")
}

pub fn start<S: Slot<Platform = Hosted>>(rig: &mut Rig) -> VirtioBlock<S> {
    let (device, function) = (attach(rig), function(rig));
    VirtioBlock::start(device, &function, rig.computer.resources_mut()).expect("the disk starts")
}

pub fn assert_nothing_is_lent(figures: Figures) {
    let left = (
        figures.live_mappings,
        figures.live_bytes,
        figures.quarantined_bytes,
    );
    assert_eq!((left, figures.maps - figures.unmaps), ((0, 0, 0), 0));
}

/// Stops a disk that has had its requests answered, and checks that it was left nothing.
pub fn stop<S: Slot<Platform = Hosted>>(disk: VirtioBlock<S>, rig: Rig) {
    let device = disk.stop().expect("nobody else uses it");
    assert_nothing_is_lent(device.figures());
    assert!(S::place().is_empty());
    device.detach().expect("it is detached");
    rig.finish();
}

pub fn test_bytes(at: u64, len_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes as usize];
    bytes_at(at, &mut bytes);
    bytes
}
