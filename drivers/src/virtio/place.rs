//! Where a device stands while the crate drives it, and the memory the device has of it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;
use core::ptr::NonNull;

use dmamap::addr::DmaMask;
use dmamap::device::Device;
use dmamap::map::Coherent;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use lock_api::{Mutex, RawMutex};
use virtio_drivers::{BufferDirection, PAGE_SIZE};

use super::error::{InUse, InstallError, InstallFailed, ShareError};
use super::share::Share;

/// A page of a queue.
type Page = [u8; PAGE_SIZE];

/// A place for one device. The crate's [`Hal`](virtio_drivers::Hal) has no value of its own, so the device it maps memory
/// for stands in a static: one [`Slot`] names one place.
///
/// A device stays in its place until [`remove`](Self::remove), which waits for nobody: it refuses while a queue lives.
pub struct Place<P: Platform> {
    state: Mutex<P::Lock, State<P>>,
}

struct State<P: Platform> {
    installed: Option<Arc<Installed<P>>>,
    /// Memory of queues: the crate has pointers to it until it gives it back.
    queues: Vec<Coherent<P, Page>>,
    shares: Vec<Share<P>>,
    failed: Option<ShareError>,
}

struct Installed<P: Platform> {
    device: Device<P>,
    function: Function<P>,
}

/// A type that stands for one [`Place`]; [`virtio_slot!`](crate::virtio_slot) makes one.
///
/// Whatever place it names, nothing becomes unsound: a place keeps what is in use. One that names another place each time
/// gets no memory back.
pub trait Slot: 'static {
    /// The platform of the device.
    type Platform: Platform;

    /// The place.
    fn place() -> &'static Place<Self::Platform>;
}

/// Defines a type and the [`Place`](crate::virtio::Place) it stands for: its [`Slot`](crate::virtio::Slot).
///
/// ```
/// # use board as _;
/// use drivers::virtio::Slot;
///
/// drivers::virtio_slot! {
///     /// The disk that the system is on.
///     pub struct RootDisk(hosted::Hosted);
/// }
/// assert!(RootDisk::place().is_empty());
/// ```
#[macro_export]
macro_rules! virtio_slot {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident($platform:ty);) => {
        $(#[$attribute])*
        $visibility struct $name;

        impl $crate::virtio::Slot for $name {
            type Platform = $platform;

            fn place() -> &'static $crate::virtio::Place<$platform> {
                static PLACE: $crate::virtio::Place<$platform> = $crate::virtio::Place::new();
                &PLACE
            }
        }
    };
}

impl<P: Platform> Place<P> {
    /// A place with no device.
    pub const fn new() -> Self {
        let state = State {
            installed: None,
            queues: Vec::new(),
            shares: Vec::new(),
            failed: None,
        };
        Self {
            state: Mutex::const_new(<P::Lock as RawMutex>::INIT, state),
        }
    }

    /// Whether no device stands here.
    pub fn is_empty(&self) -> bool {
        self.state.lock().installed.is_none()
    }

    /// Puts the device of `function` here, with a mask as wide as the function says it drives address lines: 64 bits where
    /// it says nothing, which every virtio device drives.
    ///
    /// # Errors
    /// [`InstallFailed`] with the device.
    pub fn install(
        &self,
        device: Device<P>,
        function: &Function<P>,
    ) -> Result<(), InstallFailed<P>> {
        if let Err(error) = prepare(&device, function) {
            return Err(InstallFailed { error, device });
        }
        let mut state = self.state.lock();
        if state.installed.is_some() {
            drop(state);
            let error = InstallError::Taken;
            return Err(InstallFailed { error, device });
        }
        let function = function.clone();
        state.installed = Some(Arc::new(Installed { device, function }));
        state.failed = None;
        Ok(())
    }

    /// Takes the device out, and back from it what it was still lent for requests that never ended.
    ///
    /// # Errors
    /// [`InUse`] while a queue of the device lives, or somebody maps for it. `None` where no device stands here.
    pub fn remove(&self) -> Result<Option<Device<P>>, InUse> {
        let mut state = self.state.lock();
        let live_queues = state.queues.len();
        if live_queues > 0 {
            return Err(InUse { live_queues });
        }
        let Some(installed) = state.installed.take() else {
            return Ok(None);
        };
        let installed = match Arc::try_unwrap(installed) {
            Ok(installed) => installed,
            Err(installed) => {
                state.installed = Some(installed);
                return Err(InUse { live_queues });
            }
        };
        let shares = take(&mut state.shares);
        drop(state);
        for share in shares {
            end(share);
        }
        Ok(Some(installed.device))
    }

    /// Why memory could not be lent to the device, since it was installed. The device then lost its leave to reach memory.
    pub fn failed(&self) -> Option<ShareError> {
        self.state.lock().failed
    }

    /// Calls `use_device` with the device that stands here.
    pub fn with_device<R>(&self, use_device: impl FnOnce(&Device<P>) -> R) -> Option<R> {
        self.installed()
            .map(|installed| use_device(&installed.device))
    }

    fn installed(&self) -> Option<Arc<Installed<P>>> {
        self.state.lock().installed.clone()
    }

    /// Zeroed memory for a queue: Z and X, or `None`. It lives until [`free_queue`](Self::free_queue).
    pub(super) fn allocate_queue(&self, pages: usize) -> Option<(u64, NonNull<u8>)> {
        let installed = self.installed()?;
        let memory = match installed.device.alloc_coherent::<Page>(pages) {
            Ok(memory) => memory,
            Err(error) => {
                log::error!("virtio: no memory for a queue: {error}");
                return None;
            }
        };
        let (bus, pointer) = (memory.bus_addr().as_u64(), memory.pointer());
        if bus == 0 {
            // Without an IOMMU a device can have memory there; the crate takes that for a failure.
            log::error!("virtio: memory at bus address 0 cannot be a queue");
            return None;
        }
        self.state.lock().queues.push(memory);
        Some((bus, pointer))
    }

    /// Takes a queue's memory back; `false` if there is none such.
    pub(super) fn free_queue(&self, bus: u64, pointer: NonNull<u8>, pages: usize) -> bool {
        let mut state = self.state.lock();
        let found = state.queues.iter().position(|memory| {
            (memory.bus_addr().as_u64(), memory.pointer(), memory.len()) == (bus, pointer, pages)
        });
        let Some(found) = found else {
            return false;
        };
        let memory = state.queues.swap_remove(found);
        drop(state);
        if let Err(error) = memory.free() {
            log::error!("virtio: {error}");
        }
        true
    }

    /// Lends a copy of `bytes` to the device: Z, or `None`. A device that could not be lent what the crate is about to
    /// tell it of loses its leave to reach memory before it is told.
    pub(super) fn share(&self, bytes: &[u8], direction: BufferDirection) -> Option<u64> {
        let installed = self.installed()?;
        match Share::begin(&installed.device, bytes, direction) {
            Ok(share) => {
                let bus = share.bus_addr().as_u64();
                self.state.lock().shares.push(share);
                Some(bus)
            }
            Err(error) => {
                installed.function.disable_bus_master();
                log::error!("virtio: the device is stopped: {error}");
                self.state.lock().failed.get_or_insert(error);
                None
            }
        }
    }

    /// Takes back what was lent at `bus`, and copies into `bytes` what the device wrote.
    pub(super) fn unshare(&self, bus: u64, bytes: &mut [u8], direction: BufferDirection) {
        let mut state = self.state.lock();
        let mut shares = state.shares.iter();
        let Some(found) = shares.position(|share| share.bus_addr().as_u64() == bus) else {
            drop(state);
            log::error!("virtio: nothing is lent at {bus:#x}");
            return;
        };
        let mut share = state.shares.swap_remove(found);
        drop(state);
        if direction != BufferDirection::DriverToDevice {
            share.copy_back(bytes);
        }
        end(share);
    }
}

impl<P: Platform> Default for Place<P> {
    fn default() -> Self {
        Self::new()
    }
}

fn prepare<P: Platform>(device: &Device<P>, function: &Function<P>) -> Result<(), InstallError> {
    let (requester, address) = (device.requester(), function.address());
    if (requester.segment, requester.id) != (address.segment, address.requester()) {
        return Err(InstallError::WrongFunction {
            device: requester,
            function: address,
        });
    }
    let mask = match function.address_lines() {
        Some(bits) => DmaMask::from_bits(bits).map_err(|_| InstallError::AddressLines { bits })?,
        None => DmaMask::ALL,
    };
    device.set_mask_and_coherent(mask)?;
    Ok(())
}

fn end<P: Platform>(share: Share<P>) {
    let len_bytes = share.len_bytes();
    if let Err(error) = share.end() {
        // The bytes were copied before; the pages are kept.
        log::error!("virtio: {len_bytes} bytes are lost: {error}");
    }
}
