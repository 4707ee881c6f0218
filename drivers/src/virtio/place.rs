//! Where a device stands while the crate drives it, and the memory the device has of it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::take;
use core::ptr::NonNull;
use core::time::Duration;

use dmamap::addr::DmaMask;
use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use lock_api::{Mutex, RawMutex};
use virtio_drivers::BufferDirection;

use super::error::{Fault, InUse, InstallError, InstallFailed, ShareError};
use super::installed::Installed;
use super::memory::{CratePages, Memory};
use super::share::Share;

/// A place for one device. The crate's [`Hal`](virtio_drivers::Hal) has no value of its own, so the device it maps memory
/// for stands in a static: one [`Slot`] names one place.
///
/// A device stays in its place until [`remove`](Self::remove), which waits for nobody: it refuses while a queue lives.
pub struct Place<P: Platform> {
    state: Mutex<P::Lock, State<P>>,
}

struct State<P: Platform> {
    installed: Option<Arc<Installed<P>>>,
    /// Memory that the crate allocated, and has pointers to until it gives it back.
    allocated: Vec<Allocated<P>>,
    shares: Vec<Share<P>>,
}

/// Memory that the crate allocated.
struct Allocated<P: Platform> {
    bus: u64,
    pages: usize,
    crates: Arc<CratePages>,
    /// `None` where a queue of the transport has it, which keeps it until the device was reset.
    memory: Option<Memory<P>>,
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
            allocated: Vec::new(),
            shares: Vec::new(),
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
        state.installed = Some(Arc::new(Installed::new(device, function.clone())));
        Ok(())
    }

    /// Takes the device out, and back from it what it was still lent for requests that never ended.
    ///
    /// # Errors
    /// [`InUse`] while a queue of the device lives, or somebody maps for it. `None` where no device stands here.
    pub fn remove(&self) -> Result<Option<Device<P>>, InUse> {
        let mut state = self.state.lock();
        let live_queues = state.allocated.len();
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

    /// Why the device was given up since it was installed. It was reset then, and is told nothing more.
    pub fn fault(&self) -> Option<Fault> {
        self.installed()?.fault()
    }

    /// Why memory could not be lent to the device for its last request, which it was not told of. Said once.
    pub fn take_refusal(&self) -> Option<ShareError> {
        self.installed()?.take_refusal()
    }

    /// Gives each request so much time, of those that the crate waits for.
    pub fn set_timeout(&self, timeout: Duration) {
        if let Some(installed) = self.installed() {
            installed.set_timeout(timeout);
        }
    }

    /// Calls `use_device` with the device that stands here.
    pub fn with_device<R>(&self, use_device: impl FnOnce(&Device<P>) -> R) -> Option<R> {
        self.installed()
            .map(|installed| use_device(&installed.device))
    }

    pub(super) fn installed(&self) -> Option<Arc<Installed<P>>> {
        self.state.lock().installed.clone()
    }

    /// Zeroed memory for the crate: Z of what the device sees of it and X of what the crate does, or `None`. It lives until
    /// [`free`](Self::free).
    pub(super) fn allocate(
        &self,
        pages: usize,
        direction: BufferDirection,
    ) -> Option<(u64, NonNull<u8>)> {
        let installed = self.installed()?;
        let memory = match Memory::allocate(&installed.device, pages, direction) {
            Ok(memory) => memory,
            Err(error) => {
                log::error!("virtio: no memory for the device: {error}");
                return None;
            }
        };
        let (bus, pointer) = (memory.bus(), memory.pointer());
        if bus == 0 {
            // Without an IOMMU a device can have memory there; the crate takes that for a failure.
            log::error!("virtio: memory at bus address 0 cannot be the crate's");
            return None;
        }
        let mut state = self.state.lock();
        state.allocated.try_reserve(1).ok()?;
        state.allocated.push(Allocated {
            bus,
            pages,
            crates: memory.crate_pages(),
            memory: Some(memory),
        });
        Some((bus, pointer))
    }

    /// Takes memory back from the crate; `false` if there is none such.
    pub(super) fn free(&self, bus: u64, pointer: NonNull<u8>, pages: usize) -> bool {
        let mut state = self.state.lock();
        let mut all = state.allocated.iter();
        let wanted = (bus, pointer, pages);
        let Some(found) =
            all.position(|each| (each.bus, each.crates.pointer(), each.pages) == wanted)
        else {
            return false;
        };
        let allocated = state.allocated.swap_remove(found);
        drop(state);
        drop(allocated);
        true
    }

    /// The owner's pointer to `len_bytes` bytes that the crate has at X `start`, all in one piece of memory.
    pub(super) fn crate_bytes(&self, start: usize, len_bytes: usize) -> Option<NonNull<[u8]>> {
        let state = self.state.lock();
        let mut all = state.allocated.iter();
        all.find_map(|each| each.crates.bytes(start, len_bytes))
    }

    /// The memory at `bus`, for a queue to keep.
    pub(super) fn take_memory(&self, bus: u64) -> Option<Memory<P>> {
        let mut state = self.state.lock();
        let mut all = state.allocated.iter_mut();
        all.find(|each| each.bus == bus)?.memory.take()
    }

    /// Shows the device what the crate has written to memory that is of no queue.
    pub(super) fn copy_out(&self) {
        let mut taken = take(&mut self.state.lock().allocated);
        for memory in taken.iter_mut().filter_map(|each| each.memory.as_mut()) {
            if memory.direction() != BufferDirection::DeviceToDriver {
                memory.copy_out();
            }
        }
        // Nobody allocates meanwhile: the crate's driver, of which this is a part, is one at a time.
        let mut state = self.state.lock();
        taken.append(&mut state.allocated);
        state.allocated = taken;
    }

    /// Lends a copy of `bytes` to the device: Z, or `None`.
    pub(super) fn share(&self, bytes: &[u8], direction: BufferDirection) -> Option<u64> {
        let installed = self.installed()?;
        if installed.fault().is_some() {
            // It is told nothing more.
            return None;
        }
        match self.try_share(&installed, bytes, direction) {
            Ok(bus) => Some(bus),
            Err(error) => {
                log::warn!("virtio: a request is not made: {error}");
                installed.refuse(error);
                None
            }
        }
    }

    fn try_share(
        &self,
        installed: &Installed<P>,
        bytes: &[u8],
        direction: BufferDirection,
    ) -> Result<u64, ShareError> {
        let share = Share::begin(&installed.device, bytes, direction)?;
        let bus = share.bus_addr().as_u64();
        let mut state = self.state.lock();
        let refused = match bus {
            0 => Some(ShareError::AtZero),
            _ => state
                .shares
                .try_reserve(1)
                .err()
                .map(|_| ShareError::OutOfMemory),
        };
        if let Some(error) = refused {
            drop(state);
            end(share);
            return Err(error);
        }
        state.shares.push(share);
        Ok(bus)
    }

    /// Takes back what was lent at `bus`, and copies into `bytes` what the device wrote.
    pub(super) fn unshare(&self, bus: u64, bytes: &mut [u8], direction: BufferDirection) {
        let mut state = self.state.lock();
        let mut shares = state.shares.iter();
        let Some(found) = shares.position(|share| share.bus_addr().as_u64() == bus) else {
            drop(state);
            if bus != 0 {
                log::error!("virtio: nothing is lent at {bus:#x}");
            }
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
