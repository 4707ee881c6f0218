//! A computer after boot: what every environment hands a journey.

use dmamap::device::Device;
use dmamap::pci::{Function, Topology};
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::{AttachError, DmaSystem, Protection};
use hw::edu;
use hw::pci::config::class;
use hw::virtio;

/// A machine that was booted: resources known, devices found, IOMMU units at work.
pub struct Computer<P: Platform> {
    pub(crate) platform: P,
    pub(crate) system: &'static DmaSystem<P>,
    pub(crate) topology: Topology<P>,
    pub(crate) resources: ResourceTree,
    pub(crate) protection: Protection,
}

impl<P: Platform> Computer<P> {
    /// The platform it runs on.
    pub fn platform(&self) -> P {
        self.platform
    }

    /// The mapping layer: attaches devices, reports faults.
    pub fn system(&self) -> &'static DmaSystem<P> {
        self.system
    }

    /// The devices.
    pub fn topology(&self) -> &Topology<P> {
        &self.topology
    }

    /// Who holds which physical addresses.
    pub fn resources(&self) -> &ResourceTree {
        &self.resources
    }

    /// As [`resources`](Self::resources), to claim some.
    pub fn resources_mut(&mut self) -> &mut ResourceTree {
        &mut self.resources
    }

    /// The devices, and beside them who holds which addresses, to claim some.
    pub fn topology_and_resources_mut(&mut self) -> (&Topology<P>, &mut ResourceTree) {
        (&self.topology, &mut self.resources)
    }

    /// The NVMe controllers, in the order of their addresses.
    pub fn disks(&self) -> impl Iterator<Item = &Function<P>> {
        self.topology
            .functions()
            .filter(|function| function.class() == class::NVME)
    }

    /// The virtio disks, in the order of their addresses.
    pub fn virtio_disks(&self) -> impl Iterator<Item = &Function<P>> {
        self.virtio_devices(virtio::block::DEVICE_TYPE)
    }

    /// The virtio devices of that type, in the order of their addresses.
    pub fn virtio_devices(&self, device_type: u32) -> impl Iterator<Item = &Function<P>> {
        let ids = (virtio::pci::VENDOR_ID, virtio::pci::device_id(device_type));
        self.topology
            .functions()
            .filter(move |function| (function.vendor(), function.device()) == ids)
    }

    /// The educational devices, in the order of their addresses.
    pub fn edus(&self) -> impl Iterator<Item = &Function<P>> {
        self.topology.functions().filter(|function| {
            (function.vendor(), function.device()) == (edu::VENDOR_ID, edu::DEVICE_ID)
        })
    }

    /// How strongly journeys have memory protected from the devices they attach.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Attaches a device that need not be trusted.
    ///
    /// # Errors
    /// As [`DmaSystem::attach`].
    pub fn attach(&self, function: &Function<P>) -> Result<Device<P>, AttachError> {
        self.system.attach(function, self.protection)
    }

    /// Whether IOMMU units translate for the devices.
    pub fn has_iommu(&self) -> bool {
        self.system.unit_count() > 0
    }
}
