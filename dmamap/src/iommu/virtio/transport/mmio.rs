//! A device in the memory map: version 2 of the register layout (VIRTIO 4.2.2).

use hw::virtio::DEVICE_TYPE_IOMMU;
use hw::virtio::feature::Features;
use hw::virtio::iommu::config::CONFIG_BYTES;
use hw::virtio::mmio;
use hw::virtio::status::DeviceStatus;

use super::super::KIND;
use super::super::ring::QueuePlace;
use super::{Transport, missing};
use crate::addr::PhysAddr;
use crate::iommu::start_error::UnitStartError;
use crate::mmio::{Mmio, Register, RegisterValue};
use crate::platform::{Interrupt, Platform};

/// Its register window.
pub(super) struct MmioTransport<P: Platform> {
    mmio: Mmio<P>,
}

impl<P: Platform> MmioTransport<P> {
    /// Recognises the device behind `window`.
    pub(super) fn new(window: Mmio<P>) -> Result<Self, UnitStartError> {
        let unit = window.phys().start();
        window.register::<u8>(mmio::CONFIG + CONFIG_BYTES - 1)?;
        let this = Self { mmio: window };
        if this.read(mmio::MAGIC_VALUE) != mmio::MAGIC
            || this.read(mmio::DEVICE_ID) != DEVICE_TYPE_IOMMU
        {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        if this.read(mmio::VERSION) != mmio::VERSION_2 {
            return Err(missing(unit, "registers of version 2"));
        }
        Ok(this)
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.mmio
            .register(offset)
            .expect("`new` checked the furthest register")
    }

    fn read(&self, offset: u64) -> u32 {
        self.register(offset).read()
    }

    fn write(&self, offset: u64, value: u32) {
        self.register(offset).write(value);
    }

    fn write_address(&self, low: u64, high: u64, phys: PhysAddr) {
        self.write(low, phys.as_u64() as u32);
        self.write(high, (phys.as_u64() >> 32) as u32);
    }
}

impl<P: Platform> Transport<P> for MmioTransport<P> {
    fn base(&self) -> PhysAddr {
        self.mmio.phys().start()
    }

    fn status(&self) -> DeviceStatus {
        DeviceStatus::from_bits(self.read(mmio::STATUS) as u8)
    }

    fn set_status(&self, status: DeviceStatus) {
        self.write(mmio::STATUS, status.into_bits().into());
    }

    fn offered(&self) -> Features {
        let half = |index| {
            self.write(mmio::DEVICE_FEATURES_SEL, index);
            self.read(mmio::DEVICE_FEATURES)
        };
        Features::from_halves(half(0), half(1))
    }

    fn accept(&self, features: Features) {
        for (index, half) in [(0, features.low()), (1, features.high())] {
            self.write(mmio::DRIVER_FEATURES_SEL, index);
            self.write(mmio::DRIVER_FEATURES, half);
        }
    }

    fn queue_size_max(&self, index: u16) -> u16 {
        self.write(mmio::QUEUE_SEL, index.into());
        let size = self.read(mmio::QUEUE_SIZE_MAX);
        size.min(hw::virtio::queue::SIZE_MAX.into()) as u16
    }

    fn enable_queue(&self, index: u16, place: QueuePlace) {
        self.write(mmio::QUEUE_SEL, index.into());
        self.write(mmio::QUEUE_SIZE, place.size.into());
        self.write_address(
            mmio::QUEUE_DESC_LOW,
            mmio::QUEUE_DESC_HIGH,
            place.descriptors,
        );
        self.write_address(
            mmio::QUEUE_DRIVER_LOW,
            mmio::QUEUE_DRIVER_HIGH,
            place.available,
        );
        self.write_address(mmio::QUEUE_DEVICE_LOW, mmio::QUEUE_DEVICE_HIGH, place.used);
        self.write(mmio::QUEUE_READY, 1);
    }

    fn notify(&self, index: u16) {
        self.write(mmio::QUEUE_NOTIFY, index.into());
    }

    fn config_u8(&self, offset: u64) -> u8 {
        self.register(mmio::CONFIG + offset).read()
    }

    fn set_config_u8(&self, offset: u64, value: u8) {
        self.register(mmio::CONFIG + offset).write(value);
    }

    fn config_u32(&self, offset: u64) -> u32 {
        self.read(mmio::CONFIG + offset)
    }

    fn can_interrupt(&self) -> bool {
        // It has a wire, and no port lends those.
        false
    }

    fn set_interrupt(&self, _interrupt: &Interrupt) -> bool {
        false
    }

    fn silence(&self) {}

    fn start_dma(&self) {}

    fn stop_dma(&self) {}
}
