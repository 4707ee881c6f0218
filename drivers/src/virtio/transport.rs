//! The crate's transport, over the registers of a PCI function that were claimed.
//!
//! The crate has one of its own. It is not used, as it finds the length of BARs by writing to them, which no driver here
//! may, reaches registers by address instead of by claim, waits for a reset without bound, and does not accept
//! `VIRTIO_F_ACCESS_PLATFORM`: a device that offers this feature refuses to work without it (VIRTIO 6.1, 6.2).

use core::time::Duration;

use dmamap::mmio::{Mmio, Register, RegisterValue};
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::virtio::feature::Features;
use hw::virtio::pci as layout;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::config_space;
use super::error::VirtioStartError;
use super::structures::Structures;
use crate::wait::wait_until;

/// How long a device may take to reset.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the configuration is read that changes while it is read.
const CONFIG_ATTEMPTS: usize = 16;

/// What stands below the device's own features: the crate knows nothing of it.
const ADDED: Features = Features::new().with_access_platform(true);

/// A virtio device on a PCI bus, as the crate wants it. Dropping it resets the device; one that does not reset loses its
/// leave to reach memory.
pub struct PciTransport<P: Platform> {
    platform: P,
    function: Function<P>,
    device_type: DeviceType,
    structures: Structures<P>,
    withheld: u64,
    /// The device did not do its part at the beginning: nothing more is begun with it.
    fault: Option<Error>,
}

impl<P: Platform> PciTransport<P> {
    /// Claims the registers of `function` in `tree` and resets the device. `withheld` are features, by bit, that the
    /// crate is not told of.
    ///
    /// # Errors
    /// [`VirtioStartError`]. A device that does not offer `VIRTIO_F_ACCESS_PLATFORM` is refused: it reaches memory by
    /// physical address, past every IOMMU, while what the crate tells it are bus addresses.
    pub fn open(
        platform: P,
        function: &Function<P>,
        tree: &mut ResourceTree,
        withheld: u64,
    ) -> Result<Self, VirtioStartError> {
        let device_type = device_type(function)?;
        let structures = Structures::claim(function, tree)?;
        function.enable_memory()?;
        let mut this = Self {
            platform,
            function: function.clone(),
            device_type,
            structures,
            withheld,
            fault: None,
        };
        if !this.reset() {
            return Err(VirtioStartError::NotReady);
        }
        this.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let offered = this.offered();
        if !offered.version_1() {
            return Err(VirtioStartError::Legacy);
        }
        if !offered.access_platform() {
            return Err(VirtioStartError::PastIommu);
        }
        Ok(this)
    }

    /// The register that tells the device of new buffers in `queue`, which is written to it (4.1.4.4).
    pub(super) fn doorbell(&self, queue: u16) -> Option<Register<P, u16>> {
        self.write(layout::QUEUE_SELECT, queue);
        let off = self.read(layout::QUEUE_NOTIFY_OFF);
        let offset = layout::notify_offset(off, self.structures.notify_multiplier)?;
        self.structures.notify.register(offset).ok()
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        let register = self.structures.common.register(offset);
        register.expect("the furthest register was checked when it was claimed")
    }

    fn read<T: RegisterValue>(&self, offset: u64) -> T {
        self.register(offset).read()
    }

    fn write<T: RegisterValue>(&self, offset: u64, value: T) {
        self.register(offset).write(value);
    }

    /// Addresses are written in halves, which every device takes (4.1.3.1).
    fn write_address(&self, offset: u64, address: PhysAddr) {
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }

    fn offered(&self) -> Features {
        let half = |index: u32| {
            self.write(layout::DEVICE_FEATURE_SELECT, index);
            self.read(layout::DEVICE_FEATURE)
        };
        Features::from_halves(half(0), half(1))
    }

    /// Resets the device; it has let go of all queues when this returns `true` (2.4).
    fn reset(&mut self) -> bool {
        self.write(layout::DEVICE_STATUS, 0_u8);
        let is_reset = || (self.read::<u8>(layout::DEVICE_STATUS) == 0).then_some(());
        let done = wait_until(&self.platform, RESET_TIMEOUT, is_reset).is_some();
        if !done {
            self.function.disable_bus_master();
            self.fault = Some(Error::NotReady);
            log::error!(
                "{}: the device does not reset; its bus mastering is off",
                self.function.address()
            );
        }
        done
    }

    fn config(&self) -> Result<&Mmio<P>, Error> {
        match (self.fault, &self.structures.device) {
            (Some(fault), _) => Err(fault),
            (None, Some(config)) => Ok(config),
            (None, None) => Err(Error::ConfigSpaceMissing),
        }
    }
}

/// What the function's id says it is; transitional devices, which have ids of their own, are none of this (4.1.2).
fn device_type<P: Platform>(function: &Function<P>) -> Result<DeviceType, VirtioStartError> {
    let code = function.device().wrapping_sub(layout::device_id(0));
    match DeviceType::try_from(code) {
        Ok(device_type) if function.vendor() == layout::VENDOR_ID => Ok(device_type),
        _ => Err(VirtioStartError::NotVirtio {
            function: function.address(),
            vendor: function.vendor(),
            device: function.device(),
        }),
    }
}

impl<P: Platform> Transport for PciTransport<P> {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.offered().into_bits() & !self.withheld
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        let added = ADDED.into_bits() & self.offered().into_bits();
        let accepted = Features::from_bits(driver_features | added);
        for (index, half) in [(0_u32, accepted.low()), (1, accepted.high())] {
            self.write(layout::DRIVER_FEATURE_SELECT, index);
            self.write(layout::DRIVER_FEATURE, half);
        }
    }

    /// Also 0 where the queue cannot be used: where nobody could tell the device of its buffers, or after a fault.
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let exists = queue < self.read(layout::NUM_QUEUES);
        if self.fault.is_some() || !exists || self.doorbell(queue).is_none() {
            return 0;
        }
        self.read::<u16>(layout::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        if let Some(doorbell) = self.doorbell(queue) {
            doorbell.write(queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.read::<u8>(layout::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        if status.is_empty() {
            self.reset();
            return;
        }
        self.write(layout::DEVICE_STATUS, status.bits() as u8);
        let agrees = |found: DeviceStatus| found.contains(DeviceStatus::FEATURES_OK);
        if agrees(status) && !agrees(self.get_status()) {
            // The device refuses the features (3.1.1). The crate does not look, so what it asks next fails.
            self.fault = Some(Error::Unsupported);
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.write(layout::QUEUE_SELECT, queue);
        self.write(layout::QUEUE_SIZE, size as u16);
        self.write(layout::QUEUE_MSIX_VECTOR, layout::NO_VECTOR);
        self.write_address(layout::QUEUE_DESC, descriptors);
        self.write_address(layout::QUEUE_DRIVER, driver_area);
        self.write_address(layout::QUEUE_DEVICE, device_area);
        self.write(layout::QUEUE_ENABLE, 1_u16);
    }

    /// On PCI only a reset ends a queue (4.1.4.3.2), which is what dropping the transport does.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(layout::QUEUE_SELECT, queue);
        self.read::<u16>(layout::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let status = self.structures.isr.register::<u8>(0);
        let bits = status.map_or(0, |status| status.read());
        InterruptStatus::from_bits_retain(bits.into())
    }

    fn read_config_generation(&self) -> u32 {
        self.read::<u8>(layout::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        config_space::read(self.config()?, offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        config_space::write(self.config()?, offset, value)
    }

    /// As the crate's, with an end: a configuration that goes on changing is [`Error::NotReady`].
    fn read_consistent<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        for _ in 0..CONFIG_ATTEMPTS {
            let before = self.read_config_generation();
            let result = read();
            if before == self.read_config_generation() {
                return result;
            }
        }
        Err(Error::NotReady)
    }
}

impl<P: Platform> Drop for PciTransport<P> {
    fn drop(&mut self) {
        self.reset();
    }
}
