//! The driver of virtio-iommu, on the machine model.

#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/virtio.rs"]
mod virtio;
#[path = "../support/waiting.rs"]
mod waiting;

mod faults;
mod leaving;
mod requests;
mod told;
mod units;
