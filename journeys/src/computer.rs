//! A computer after boot: what every environment hands a journey.

use alloc::boxed::Box;

use dmamap::bounce::Forced;
use dmamap::device::Device;
use dmamap::pci::{Function, PciAddress, Topology};
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
    pub(crate) removable: Option<Removable>,
}

/// A device that can be pulled out, and the hand that does it.
pub(crate) struct Removable {
    pub(crate) address: PciAddress,
    pub(crate) pull_out: Box<dyn FnOnce() + Send + Sync>,
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

    /// Attaches a device as [`attach`](Self::attach) does where units translate; where none does the device is trusted.
    ///
    /// # Errors
    /// As [`DmaSystem::attach`].
    ///
    /// # Safety
    /// Where no unit translates ([`has_iommu`](Self::has_iommu)), the caller vouches for the device as
    /// [`DmaSystem::attach_trusted`] says: it keeps to the memory that its driver tells it of.
    pub unsafe fn attach_or_trust(&self, function: &Function<P>) -> Result<Device<P>, AttachError> {
        match self.has_iommu() {
            true => self.attach(function),
            // SAFETY: the caller vouches for the device.
            false => unsafe { self.system.attach_trusted(function, Protection::Identity) },
        }
    }

    /// Whether what `device` counted is what the computer's protection does with its mappings: copies them, leaves them to
    /// flushes, or neither. True of a device that nothing was taken back from.
    ///
    /// So a device that was attached in another way by mistake does not pass for one that was not.
    pub fn treats_as_asked(&self, device: &Device<P>) -> bool {
        let (figures, flushed) = (device.figures(), device.flush_figures());
        let copied = figures.bounced_maps > 0;
        let left_to_flushes = flushed.retired > 0 && flushed.flushes > 0;
        let forced = self.system.bounce_settings().forced == Forced::Always;
        match (self.has_iommu(), self.protection) {
            _ if figures.unmaps == 0 => true,
            (true, Protection::Bounce) => copied && flushed.retired == 0,
            (true, Protection::Deferred) => left_to_flushes,
            (true, _) => flushed.retired == 0,
            (false, _) => (copied || !forced) && flushed.retired == 0,
        }
    }

    /// Makes known that `function` can be pulled out, and how: once, by the journey that shows what becomes of its driver.
    /// Nobody needs the device afterwards.
    pub fn set_removable(
        &mut self,
        function: &Function<P>,
        pull_out: impl FnOnce() + Send + Sync + 'static,
    ) {
        self.removable = Some(Removable {
            address: function.address(),
            pull_out: Box::new(pull_out),
        });
    }

    /// Whether IOMMU units translate for the devices.
    pub fn has_iommu(&self) -> bool {
        self.system.unit_count() > 0
    }
}
