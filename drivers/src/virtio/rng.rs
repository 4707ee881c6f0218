//! Entropy: the crate's driver of random number generators.

use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use virtio_drivers::Error;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;

use super::driven::Driven;
use super::error::{InUse, RequestError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// Most bytes of one request.
const MAX_REQUEST_BYTES: usize = 4096;

type Driver<S> = VirtIORng<SlotHal<S>, PciTransport<<S as Slot>::Platform>>;

/// A virtio entropy device at work, in the place of `S`.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
///
/// ```
/// # use board as _;
/// use drivers::virtio::{RequestError, Slot, VirtioRng};
///
/// /// A key, as good as the device is.
/// fn key<S: Slot>(rng: &mut VirtioRng<S>) -> Result<[u8; 32], RequestError> {
///     let mut key = [0; 32];
///     rng.fill(&mut key)?;
///     Ok(key)
/// }
/// ```
pub struct VirtioRng<S: Slot> {
    driven: Driven<S, Driver<S>>,
}

impl<S: Slot> VirtioRng<S> {
    /// Takes the generator of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let kind = (DeviceType::EntropySource, Terms::new());
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

    /// Fills `into` with random bytes, in as many requests as the device makes of it.
    ///
    /// # Errors
    /// [`RequestError`]; what `into` then holds is not to be used.
    pub fn fill(&mut self, into: &mut [u8]) -> Result<(), RequestError> {
        let mut rest = into;
        while !rest.is_empty() {
            let most = rest.len().min(MAX_REQUEST_BYTES);
            let part = &mut rest[..most];
            let got = self.driven.call(|driver| driver.request_entropy(part))?;
            if got == 0 {
                // A device has to give something (5.4.6.2).
                return Err(RequestError::Refused(Error::IoError));
            }
            rest = &mut rest[got.min(most)..];
        }
        Ok(())
    }

    /// Resets the generator and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(self) -> Result<Device<S::Platform>, InUse> {
        self.driven.stop()
    }
}
