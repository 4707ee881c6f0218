//! Networks: the crate's raw network driver, with memory for what is received.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;
use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use virtio_drivers::Error;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::DeviceType;

use super::driven::Driven;
use super::error::{InUse, RequestError, VirtioNetError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// Longest frame, in bytes: Ethernet's header, and 1500 bytes behind it.
pub const MAX_FRAME_BYTES: usize = 1514;

/// Bytes of a buffer for a frame that is received and the header before it.
const BUFFER_BYTES: usize = 2048;

/// Entries of each queue: so many frames are kept by the device until they are fetched.
const QUEUE_SIZE: usize = 16;

/// What is received comes when it comes.
const TERMS: Terms = Terms::new().polled(RECEIVE);

/// The queue in which frames are received.
const RECEIVE: u16 = 0;

type Driver<S> = VirtIONetRaw<SlotHal<S>, PciTransport<<S as Slot>::Platform>, QUEUE_SIZE>;

/// A buffer, and where in it the frame is that was received.
type Received = (Box<[u8]>, Range<usize>);

/// A virtio network device at work, in the place of `S`.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
///
/// ```
/// # use board as _;
/// use drivers::virtio::{Slot, VirtioNet, VirtioNetError};
///
/// /// Sends a frame back to where it came from.
/// fn reflect<S: Slot>(net: &mut VirtioNet<S>) -> Result<(), VirtioNetError> {
///     let mut frame = [0; drivers::virtio::MAX_FRAME_BYTES];
///     if let Some(len) = net.receive(&mut frame)? {
///         frame[..12].rotate_left(6);
///         net.send(&frame[..len])?;
///     }
///     Ok(())
/// }
/// ```
pub struct VirtioNet<S: Slot> {
    driven: Driven<S, Driver<S>>,
    /// What the crate was given to receive into, by token. Nobody touches it until the crate is done with it.
    posted: [Option<Box<[u8]>>; QUEUE_SIZE],
    /// A frame that was received and not fetched.
    kept: Option<Received>,
}

impl<S: Slot> VirtioNet<S> {
    /// Takes the network device of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let kind = (DeviceType::Network, TERMS);
        let driven = Driven::start(device, function, tree, kind, Driver::<S>::new)?;
        let mut this = Self {
            driven,
            posted: [const { None }; QUEUE_SIZE],
            kept: None,
        };
        for _ in 0..QUEUE_SIZE {
            if let Err(error) = this.post(vec![0; BUFFER_BYTES].into_boxed_slice()) {
                return Err(VirtioStartFailed {
                    error: error.into(),
                    device: this.stop().ok(),
                });
            }
        }
        Ok(this)
    }

    /// Gives each frame so much time to be sent.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.driven.set_timeout(timeout);
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        self.driven.figures()
    }

    /// The device's address, unless it was given up.
    pub fn mac_address(&self) -> Option<[u8; 6]> {
        self.driven.driver().map(VirtIONetRaw::mac_address)
    }

    /// Sends a frame that begins with Ethernet's header; the device has taken it when this returns.
    ///
    /// # Errors
    /// [`VirtioNetError`].
    pub fn send(&mut self, frame: &[u8]) -> Result<(), VirtioNetError> {
        if !(1..=MAX_FRAME_BYTES).contains(&frame.len()) {
            return Err(VirtioNetError::FrameLength {
                len_bytes: frame.len(),
                most: MAX_FRAME_BYTES,
            });
        }
        Ok(self.driven.call(|driver| driver.send(frame))?)
    }

    /// Fetches a frame that has come by now; its length. Waits for none.
    ///
    /// # Errors
    /// [`VirtioNetError`]. While memory to receive into cannot be lent, the frames that have come are still fetched.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Option<usize>, VirtioNetError> {
        if self.kept.is_none() {
            self.kept = self.take()?;
        }
        let Some((buffer, frame)) = self.kept.take() else {
            return Ok(None);
        };
        let len = frame.len();
        let Some(room) = into.get_mut(..len) else {
            self.kept = Some((buffer, frame));
            return Err(VirtioNetError::NoRoom {
                len_bytes: len,
                room: into.len(),
            });
        };
        room.copy_from_slice(&buffer[frame]);
        match self.post(buffer) {
            // The frame is there; what there is no memory for comes up again when no frame is left.
            Ok(()) | Err(RequestError::Share(_)) => Ok(Some(len)),
            Err(error) => Err(error.into()),
        }
    }

    /// The next frame that was received, in its buffer.
    fn take(&mut self) -> Result<Option<Received>, RequestError> {
        // Buffers that could not be lent come back with nothing, in vain at most once each.
        for _ in 0..=QUEUE_SIZE {
            let answered = self.driven.call(|driver| {
                driver.ack_interrupt();
                Ok(driver.poll_receive())
            })?;
            let Some(token) = answered else {
                return Ok(None);
            };
            let posted = self.posted.get_mut(usize::from(token));
            let unknown = RequestError::Refused(Error::WrongToken);
            let mut buffer = posted.and_then(Option::take).ok_or(unknown)?;
            // SAFETY: the buffer that was given for this token.
            let complete =
                |driver: &mut Driver<S>| unsafe { driver.receive_complete(token, &mut buffer) };
            match self.driven.call(complete) {
                Ok((header, len)) if len > 0 && header + len <= buffer.len() => {
                    return Ok(Some((buffer, header..header + len)));
                }
                // Shorter than the header, or nothing but it.
                Ok(_) | Err(RequestError::Refused(Error::IoError)) => self.post(buffer)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Gives the crate a buffer to receive into.
    fn post(&mut self, mut buffer: Box<[u8]>) -> Result<(), RequestError> {
        let mut token = None;
        let outcome = self.driven.call(|driver| {
            // SAFETY: the buffer is kept where nobody touches it until the request is completed with it in `take`, or the
            // driver dropped. The device never learns where it is: it has a copy.
            token = Some(unsafe { driver.receive_begin(&mut buffer)? });
            Ok(())
        });
        if let Some(place) = token.and_then(|token| self.posted.get_mut(usize::from(token))) {
            *place = Some(buffer);
        }
        outcome
    }

    /// Resets the network device and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(self) -> Result<Device<S::Platform>, InUse> {
        self.driven.stop()
    }
}
