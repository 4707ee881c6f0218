//! The driver of virtio-iommu, on the machine model.

mod faults;
mod leaving;
mod requests;
mod told;
mod units;
