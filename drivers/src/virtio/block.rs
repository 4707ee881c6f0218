//! Disks: the crate's block driver, with an end to every wait.

use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::mmio::Register;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::virtio::block::{FLUSH, SECTOR_BYTES};
use hw::virtio::feature::Features;
use virtio_drivers::Error;
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use virtio_drivers::transport::{DeviceType, Transport};

use super::error::{InUse, VirtioBlockError, VirtioStartError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::transport::PciTransport;
use crate::wait::wait_until;

/// How long a disk may take for one request, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of one request.
pub const MAX_TRANSFER_BYTES: usize = 128 << 10;

/// A disk that has not answered for so long is told of the request again. The crate looks whether the disk wants to be
/// told without a barrier after its last write, so it may believe an old wish.
const RING_AGAIN_NS: u64 = 10_000_000;

/// The disk's only queue.
const QUEUE: u16 = 0;

/// What the crate would accept and is not to:
/// - flushes, which it waits for without bound. A disk whose driver does not know them writes through: what it has
///   answered is written (VIRTIO 5.2.6.2);
/// - tables of descriptors: one more page to be mapped for each request, and lost by the crate when a request does not end;
/// - event indices: the crate compares them without regard to their overflow.
const WITHHELD: u64 = FLUSH
    | Features::new()
        .with_indirect_desc(true)
        .with_event_idx(true)
        .into_bits();

type Driver<S> = VirtIOBlk<SlotHal<S>, PciTransport<<S as Slot>::Platform>>;

type Doorbell<S> = Register<<S as Slot>::Platform, u16>;

/// A virtio disk at work, in the place of `S`.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
pub struct VirtioBlock<S: Slot> {
    platform: S::Platform,
    function: Function<S::Platform>,
    /// `None` once the disk was given up: the device is reset then, and its queue freed.
    driver: Option<Driver<S>>,
    doorbell: Doorbell<S>,
    timeout: Duration,
    capacity: u64,
    is_read_only: bool,
    /// Why it was given up.
    lost: Option<VirtioBlockError>,
    is_in_place: bool,
}

impl<S: Slot> VirtioBlock<S> {
    /// Takes the disk of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let platform = device.platform();
        if let Err(failed) = S::place().install(device, function) {
            return Err(VirtioStartFailed {
                error: failed.error.into(),
                device: Some(failed.device),
            });
        }
        match bring_up::<S>(platform, function, tree) {
            Ok((driver, doorbell)) => Ok(Self {
                platform,
                function: function.clone(),
                doorbell,
                timeout: DEFAULT_TIMEOUT,
                capacity: driver.capacity(),
                is_read_only: driver.readonly(),
                driver: Some(driver),
                lost: None,
                is_in_place: true,
            }),
            Err(error) => {
                let device = S::place().remove().ok().flatten();
                Err(VirtioStartFailed { error, device })
            }
        }
    }

    /// Its length in sectors of 512 bytes.
    pub fn capacity_sectors(&self) -> u64 {
        self.capacity
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Gives each request so much time.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        let figures = S::place().with_device(Device::figures);
        figures.unwrap_or_default()
    }

    /// Reads the sectors from `first` on.
    ///
    /// # Errors
    /// [`VirtioBlockError`]; what `into` then holds is unknown.
    pub fn read(&mut self, first: u64, into: &mut [u8]) -> Result<(), VirtioBlockError> {
        self.check(first, into.len())?;
        let mut sector = first;
        for part in into.chunks_mut(MAX_TRANSFER_BYTES) {
            self.read_part(sector, part)?;
            sector += part.len() as u64 / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Writes the sectors from `first` on. They are on the medium when this returns.
    ///
    /// # Errors
    /// [`VirtioBlockError`]; what the disk then holds is unknown.
    pub fn write(&mut self, first: u64, bytes: &[u8]) -> Result<(), VirtioBlockError> {
        self.check(first, bytes.len())?;
        if self.is_read_only {
            return Err(VirtioBlockError::ReadOnly);
        }
        let mut sector = first;
        for part in bytes.chunks(MAX_TRANSFER_BYTES) {
            self.write_part(sector, part)?;
            sector += part.len() as u64 / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Resets the disk and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(mut self) -> Result<Device<S::Platform>, InUse> {
        self.driver = None;
        self.is_in_place = false;
        let device = S::place().remove()?;
        // Without a queue there is nothing to keep others from taking the device, but they have no reason to.
        device.ok_or(InUse { live_queues: 0 })
    }

    fn check(&self, first: u64, len_bytes: usize) -> Result<(), VirtioBlockError> {
        if !(len_bytes as u64).is_multiple_of(SECTOR_BYTES) {
            return Err(VirtioBlockError::PartOfSector { len_bytes });
        }
        let sectors = len_bytes as u64 / SECTOR_BYTES;
        match first.checked_add(sectors) {
            // The crate counts sectors in `usize`.
            Some(end) if end <= self.capacity && usize::try_from(end).is_ok() => Ok(()),
            _ => Err(VirtioBlockError::OutOfDisk {
                first,
                sectors,
                capacity: self.capacity,
            }),
        }
    }

    fn read_part(&mut self, sector: u64, into: &mut [u8]) -> Result<(), VirtioBlockError> {
        let (mut request, mut answer) = (BlkReq::default(), BlkResp::default());
        let driver = self.driver()?;
        // SAFETY: nobody accesses the three until the request is completed below, or the driver dropped in `wait`; with it
        // goes the only thing that remembers them. The device never learns where they are: it has copies.
        let begun =
            unsafe { driver.read_blocks_nb(sector as usize, &mut request, into, &mut answer) };
        let token = self.wait(begun)?;
        // SAFETY: the same three.
        let outcome = unsafe {
            self.driver()?
                .complete_read_blocks(token, &request, into, &mut answer)
        };
        outcome.map_err(VirtioBlockError::Refused)
    }

    fn write_part(&mut self, sector: u64, bytes: &[u8]) -> Result<(), VirtioBlockError> {
        let (mut request, mut answer) = (BlkReq::default(), BlkResp::default());
        let driver = self.driver()?;
        // SAFETY: as in `read_part`.
        let begun =
            unsafe { driver.write_blocks_nb(sector as usize, &mut request, bytes, &mut answer) };
        let token = self.wait(begun)?;
        // SAFETY: the same three.
        let outcome = unsafe {
            self.driver()?
                .complete_write_blocks(token, &request, bytes, &mut answer)
        };
        outcome.map_err(VirtioBlockError::Refused)
    }

    fn driver(&mut self) -> Result<&mut Driver<S>, VirtioBlockError> {
        let lost = self.lost.unwrap_or(VirtioBlockError::TimedOut);
        self.driver.as_mut().ok_or(lost)
    }

    /// Waits until the request that was begun, the only one, has ended. A disk that does not end it is given up.
    fn wait(&mut self, begun: Result<u16, Error>) -> Result<u16, VirtioBlockError> {
        let token = begun.map_err(VirtioBlockError::Refused)?;
        if let Some(error) = S::place().failed() {
            return Err(self.give_up(error.into()));
        }
        let (platform, timeout) = (self.platform, self.timeout);
        let (doorbell, function) = (self.doorbell.clone(), self.function.clone());
        let driver = self.driver()?;
        let mut rung_ns = platform.now_ns();
        let answered = wait_until(&platform, timeout, || {
            let now_ns = platform.now_ns();
            if now_ns.saturating_sub(rung_ns) >= RING_AGAIN_NS {
                if !function.is_present() {
                    return Some(Err(VirtioBlockError::Removed));
                }
                doorbell.write(QUEUE);
                rung_ns = now_ns;
            }
            driver.peek_used().map(Ok)
        });
        match answered {
            Some(Ok(answered)) if answered == token => Ok(token),
            Some(Err(removed)) => Err(self.give_up(removed)),
            Some(Ok(_)) => Err(self.give_up(VirtioBlockError::WrongAnswer)),
            None => Err(self.give_up(VirtioBlockError::TimedOut)),
        }
    }

    /// Resets the device, which then has lost all it was told.
    fn give_up(&mut self, error: VirtioBlockError) -> VirtioBlockError {
        self.driver = None;
        *self.lost.get_or_insert(error)
    }
}

fn bring_up<S: Slot>(
    platform: S::Platform,
    function: &Function<S::Platform>,
    tree: &mut ResourceTree,
) -> Result<(Driver<S>, Doorbell<S>), VirtioStartError> {
    let transport = PciTransport::open(platform, function, tree, WITHHELD)?;
    if transport.device_type() != DeviceType::Block {
        return Err(VirtioStartError::WrongType {
            function: function.address(),
            found: transport.device_type(),
        });
    }
    let doorbell = transport
        .doorbell(QUEUE)
        .ok_or(VirtioStartError::NoDoorbell { queue: QUEUE })?;
    let driver = Driver::<S>::new(transport).map_err(|error| match error {
        // These two are the transport's.
        Error::NotReady => VirtioStartError::NotReady,
        Error::Unsupported => VirtioStartError::FeaturesRefused,
        other => VirtioStartError::Driver(other),
    })?;
    Ok((driver, doorbell))
}

impl<S: Slot> Drop for VirtioBlock<S> {
    fn drop(&mut self) {
        self.driver = None;
        if self.is_in_place
            && let Err(error) = S::place().remove()
        {
            log::error!("virtio: {error}");
        }
    }
}
