//! What stands before a device, and what firmware says of it.

mod altered;

mod bus_master;
mod device_memory;
mod firmware_says;
mod gone;
mod interrupted;
mod one_machine;
mod power;
mod reserved;
mod scopes;
mod untranslated;

/// The first disk.
const DISK: dmamap::iommu::Requester = dmamap::iommu::Requester {
    segment: 0,
    id: 1 << 8,
};
