//! The crate's transport, over the registers of a PCI function that were claimed.
//!
//! The crate has one of its own. It is not used, as it finds the length of BARs by writing to them, which no driver here
//! may, reaches registers by address instead of by claim, waits for a reset without bound, frees queues that the device
//! still uses, and does not accept `VIRTIO_F_ACCESS_PLATFORM`: a device that offers this feature refuses to work without
//! it (VIRTIO 6.1, 6.2).
//!
//! Memory and registers are ordered here and in [`ring`](super::ring), by the platform's barriers and
//! [`Register`]'s ordered accesses. The crate's own fences are between CPUs only, which on some (RISC-V) order nothing
//! between memory and a device.

use core::time::Duration;

use alloc::sync::Arc;
use alloc::vec::Vec;

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
use super::error::{Fault, VirtioStartError};
use super::installed::Installed;
use super::place::Place;
use super::ring::Ring;
use super::structures::Structures;
use super::terms::{Terms, Waiting};
use crate::wait::wait_until;

/// How long a device may take to reset.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the configuration is read that changes while it is read.
const CONFIG_ATTEMPTS: usize = 16;

/// How often a device that is waited for is asked whether it still is one.
const HEALTH_NS: u64 = 10_000_000;

/// What a register of 8 bits says where no device is.
const NOBODY: u8 = 0xff;

/// What stands below the device's own features: the crate knows nothing of it.
const ADDED: Features = Features::new().with_access_platform(true);

/// A virtio device on a PCI bus, as the crate wants it. Dropping it resets the device; one that does not reset loses its
/// leave to reach memory.
///
/// The device has queues of its own, and what the crate and it write to theirs is copied when the crate
/// [notifies](Transport::notify) and when it [acknowledges an interrupt](Transport::ack_interrupt), which is how a driver
/// without interrupts looks for answers. Notifying waits for the answer where the crate would (see [`Terms`]): its own
/// waits have no end. A device that fails is reset, [`Place::fault`] says why, and the crate's wait ends.
pub struct PciTransport<P: Platform> {
    platform: P,
    place: &'static Place<P>,
    installed: Arc<Installed<P>>,
    device_type: DeviceType,
    structures: Structures<P>,
    terms: Terms,
    rings: Vec<AtWork<P>>,
    /// Whether the device has let go of all it was told.
    is_reset: bool,
}

/// A queue that the device was told of.
struct AtWork<P: Platform> {
    queue: u16,
    /// The register that tells the device of new requests.
    doorbell: Register<P, u16>,
    ring: Ring<P>,
}

impl<P: Platform> PciTransport<P> {
    /// Claims in `tree` the registers of the device that stands in `place`, and resets it.
    ///
    /// # Errors
    /// [`VirtioStartError`]. A device that does not offer `VIRTIO_F_ACCESS_PLATFORM` is refused: it reaches memory by
    /// physical address, past every IOMMU, while what the crate tells it are bus addresses.
    pub fn open(
        place: &'static Place<P>,
        tree: &mut ResourceTree,
        terms: Terms,
    ) -> Result<Self, VirtioStartError> {
        let installed = place.installed().ok_or(VirtioStartError::NotInstalled)?;
        let device_type = device_type(&installed.function)?;
        let structures = Structures::claim(&installed.function, tree)?;
        installed.function.enable_memory()?;
        let mut this = Self {
            platform: installed.device.platform(),
            place,
            installed,
            device_type,
            structures,
            terms,
            rings: Vec::new(),
            is_reset: false,
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
    fn doorbell(&self, queue: u16) -> Option<Register<P, u16>> {
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
        let is_reset = || match self.read::<u8>(layout::DEVICE_STATUS) {
            0 => Some(true),
            NOBODY => Some(false),
            _ => None,
        };
        let done = wait_until(&self.platform, RESET_TIMEOUT, is_reset).unwrap_or(false);
        if !done {
            self.installed.function.disable_bus_master();
            self.installed.give_up(Fault::NotReset);
            log::error!(
                "{}: the device does not reset; its bus mastering is off",
                self.installed.function.address()
            );
        }
        self.is_reset = true;
        done
    }

    /// Gives the device up: it has let go of all it was told, and where the crate waits for it, the wait ends.
    fn give_up(&mut self, fault: Fault) {
        log::error!("{}: {fault}", self.installed.function.address());
        self.installed.give_up(fault);
        if !self.is_reset {
            self.reset();
        }
        self.end_waits();
    }

    fn end_waits(&mut self) {
        for at_work in &mut self.rings {
            if at_work.ring.waiting == Waiting::ForEach {
                at_work.ring.end_all();
            }
        }
    }

    /// Tells the device of the crate's new requests in a queue, and waits for the answers where the crate would.
    fn pass_on(&mut self, index: usize) -> Result<(), Fault> {
        self.place.copy_out();
        let AtWork {
            ring,
            doorbell,
            queue,
        } = &mut self.rings[index];
        let outcome = ring.pass_on();
        if outcome.refused && !ring.survives_refusal() {
            let why = self.installed.refusal();
            return Err(why.map_or(Fault::WrongAnswer { queue: *queue }, Fault::Share));
        }
        if outcome.ring {
            doorbell.write(*queue);
        }
        match ring.waiting {
            Waiting::ForEach => self.wait(index),
            Waiting::Never => Ok(()),
        }
    }

    fn wait(&mut self, index: usize) -> Result<(), Fault> {
        let platform = self.platform;
        let mut looked_ns = platform.now_ns();
        let queue = self.rings[index].queue;
        let status = self.register::<u8>(layout::DEVICE_STATUS);
        let AtWork { ring, doorbell, .. } = &mut self.rings[index];
        let answered = wait_until(&platform, self.installed.timeout(), || {
            if let Err(fault) = ring.take_answers() {
                return Some(Err(fault));
            }
            if !ring.is_busy() {
                return Some(Ok(()));
            }
            let now_ns = platform.now_ns();
            if now_ns.saturating_sub(looked_ns) >= HEALTH_NS {
                looked_ns = now_ns;
                // A device that overheard it is told again.
                doorbell.write(queue);
                return health(status.read()).err().map(Err);
            }
            None
        });
        answered.unwrap_or(Err(Fault::TimedOut { queue }))
    }

    /// What the device has answered by now; whether something was.
    fn take_answers(&mut self) -> Result<bool, Fault> {
        let mut new = 0;
        for at_work in &mut self.rings {
            new += usize::from(at_work.ring.take_answers()?);
        }
        Ok(new > 0)
    }

    /// The queue whose descriptors, available and used ring lie at those bus addresses.
    fn ring(
        &self,
        queue: u16,
        size: u32,
        (descriptors, available, used): (PhysAddr, PhysAddr, PhysAddr),
    ) -> Option<AtWork<P>> {
        let doorbell = self.doorbell(queue)?;
        let size = u16::try_from(size).ok()?;
        let available = available.checked_sub(descriptors)?;
        let driver_area = self.place.take_memory(descriptors)?;
        let device_area = self.place.take_memory(used)?;
        let terms = self.terms.of_queue(queue);
        let driver_area = (driver_area, available);
        let ring = Ring::new(
            self.platform,
            (queue, size),
            terms,
            driver_area,
            device_area,
        )?;
        Some(AtWork {
            queue,
            doorbell,
            ring,
        })
    }

    fn config(&self) -> Result<&Mmio<P>, Error> {
        match (self.installed.fault(), &self.structures.device) {
            (Some(_), _) => Err(Error::NotReady),
            (None, Some(config)) => Ok(config),
            (None, None) => Err(Error::ConfigSpaceMissing),
        }
    }
}

/// Whether a device with such a status can go on.
fn health(status: u8) -> Result<(), Fault> {
    match status {
        NOBODY => Err(Fault::Gone),
        _ if hw::virtio::status::DeviceStatus::from_bits(status).device_needs_reset() => {
            Err(Fault::NeedsReset)
        }
        _ => Ok(()),
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
        self.offered().into_bits() & !self.terms.withheld()
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
        if self.installed.fault().is_some() || !exists || self.doorbell(queue).is_none() {
            return 0;
        }
        self.read::<u16>(layout::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        let Some(index) = self.rings.iter().position(|each| each.queue == queue) else {
            return;
        };
        if self.installed.fault().is_some() {
            return self.end_waits();
        }
        if let Err(fault) = self.pass_on(index) {
            self.give_up(fault);
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
        if self.installed.fault().is_some() {
            return;
        }
        self.is_reset = false;
        self.write(layout::DEVICE_STATUS, status.bits() as u8);
        let agrees = |found: DeviceStatus| found.contains(DeviceStatus::FEATURES_OK);
        if agrees(status) && !agrees(self.get_status()) {
            // The device refuses the features (3.1.1). The crate does not look, so what it asks next fails.
            self.give_up(Fault::FeaturesRefused);
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
        let parts = (descriptors, driver_area, device_area);
        let Some(ring) = self.ring(queue, size, parts) else {
            return self.give_up(Fault::NoQueue { queue });
        };
        self.rings.push(ring);
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

    /// Also passes on what the device has answered.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        if self.installed.fault().is_some() {
            return InterruptStatus::empty();
        }
        let status = self.structures.isr.register::<u8>(0);
        let bits = status.map_or(0, |status| status.read());
        let looked = match bits {
            NOBODY => health(self.read(layout::DEVICE_STATUS)),
            _ => Ok(()),
        };
        match looked.and_then(|()| self.take_answers()) {
            Ok(true) => {
                InterruptStatus::from_bits_truncate(bits.into()) | InterruptStatus::QUEUE_INTERRUPT
            }
            Ok(false) => InterruptStatus::from_bits_truncate(bits.into()),
            Err(fault) => {
                self.give_up(fault);
                InterruptStatus::empty()
            }
        }
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
        self.installed.give_up(Fault::Unsteady);
        Err(Error::NotReady)
    }
}

impl<P: Platform> Drop for PciTransport<P> {
    fn drop(&mut self) {
        if !self.is_reset {
            self.reset();
        }
    }
}
