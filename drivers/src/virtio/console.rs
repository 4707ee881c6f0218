//! Consoles: the crate's console driver, of one port.

use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use virtio_drivers::device::console::{Size, VirtIOConsole};
use virtio_drivers::transport::DeviceType;

use super::driven::Driven;
use super::error::{InUse, RequestError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// Most bytes of one request.
const MAX_REQUEST_BYTES: usize = 4096;

/// What is received comes when it comes; an empty answer the crate takes for impossible.
const TERMS: Terms = Terms::new().polled_never_empty(RECEIVE);

/// The queue in which bytes are received.
const RECEIVE: u16 = 0;

type Driver<S> = VirtIOConsole<SlotHal<S>, PciTransport<<S as Slot>::Platform>>;

/// A virtio console at work, in the place of `S`.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
///
/// ```
/// # use board as _;
/// use drivers::virtio::{RequestError, Slot, VirtioConsole};
///
/// /// Sends back what came.
/// fn echo<S: Slot>(console: &mut VirtioConsole<S>) -> Result<(), RequestError> {
///     let mut bytes = [0; 64];
///     let len = console.receive(&mut bytes)?;
///     console.send(&bytes[..len])
/// }
/// ```
pub struct VirtioConsole<S: Slot> {
    driven: Driven<S, Driver<S>>,
}

impl<S: Slot> VirtioConsole<S> {
    /// Takes the console of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let kind = (DeviceType::Console, TERMS);
        let driven = Driven::start(device, function, tree, kind, Driver::<S>::new)?;
        Ok(Self { driven })
    }

    /// Gives each request so much time.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.driven.set_timeout(timeout);
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        self.driven.figures()
    }

    /// How many characters it shows, where it says so.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn size(&mut self) -> Result<Option<Size>, RequestError> {
        self.driven.call(|driver| driver.size())
    }

    /// Sends bytes; the device has taken all when this returns.
    ///
    /// # Errors
    /// [`RequestError`]; how much was sent is unknown.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        for part in bytes.chunks(MAX_REQUEST_BYTES) {
            self.driven.call(|driver| driver.send_bytes(part))?;
        }
        Ok(())
    }

    /// Takes the bytes that have come by now, as many as there is room for; how many. Waits for none.
    ///
    /// # Errors
    /// [`RequestError`]. A console that cannot be lent memory to receive into is stopped.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<usize, RequestError> {
        self.driven.call(|driver| {
            driver.ack_interrupt()?;
            let mut len = 0;
            while len < into.len()
                && let Some(byte) = driver.recv(true)?
            {
                into[len] = byte;
                len += 1;
            }
            Ok(len)
        })
    }

    /// Resets the console and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(self) -> Result<Device<S::Platform>, InUse> {
        self.driven.stop()
    }
}
