//! Screens: the crate's driver of graphics adapters, in two dimensions.

use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use hw::virtio::gpu::EDID;
use virtio_drivers::Error;
use virtio_drivers::device::gpu::VirtIOGpu;
use virtio_drivers::transport::DeviceType;

use super::driven::Driven;
use super::error::{Fault, InUse, RequestError, VirtioGpuError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// Bytes of a pixel: blue, green, red, and one that is not shown.
pub const PIXEL_BYTES: usize = 4;

/// Most pixels of a picture in either direction.
const MOST: u32 = 8192;

/// Pixels of a cursor in either direction.
const CURSOR_PIXELS: usize = 64;

/// The display's own description is not asked for.
const TERMS: Terms = Terms::new().withhold(EDID);

type Driver<S> = VirtIOGpu<SlotHal<S>, PciTransport<<S as Slot>::Platform>>;

/// A virtio graphics adapter at work, in the place of `S`: one picture on its first screen.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
///
/// ```
/// # use board as _;
/// use drivers::virtio::{Slot, VirtioGpu, VirtioGpuError};
///
/// /// Shows white.
/// fn white<S: Slot>(gpu: &mut VirtioGpu<S>) -> Result<(), VirtioGpuError> {
///     let (width, height) = gpu.resolution()?;
///     gpu.set_up(width, height)?.fill(0xff);
///     gpu.flush()
/// }
/// ```
pub struct VirtioGpu<S: Slot> {
    driven: Driven<S, Driver<S>>,
    picture: Option<Picture>,
}

/// Which memory of the crate's the picture is, while it has some: X and how long, but no pointer. What was derived from a
/// reference of the crate's would be of no use after others looked at the memory, which each flush does.
#[derive(Clone, Copy)]
struct Picture {
    start: usize,
    len_bytes: usize,
}

impl<S: Slot> VirtioGpu<S> {
    /// Takes the adapter of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let kind = (DeviceType::GPU, TERMS);
        let driven = Driven::start(device, function, tree, kind, Driver::<S>::new)?;
        Ok(Self {
            driven,
            picture: None,
        })
    }

    /// Gives each request so much time.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.driven.set_timeout(timeout);
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        self.driven.figures()
    }

    /// The pixels of a row and the rows that the first screen wants.
    ///
    /// # Errors
    /// [`VirtioGpuError`]; the numbers are checked only by [`set_up`](Self::set_up).
    pub fn resolution(&mut self) -> Result<(u32, u32), VirtioGpuError> {
        Ok(self.driven.call(|driver| driver.resolution())?)
    }

    /// Begins a picture, in place of the last one, and shows it on the first screen: its pixels, row by row, of
    /// [`PIXEL_BYTES`] each. What is written there is seen after [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`VirtioGpuError`]. An adapter that has done only part of it is stopped.
    pub fn set_up(&mut self, width: u32, height: u32) -> Result<&mut [u8], VirtioGpuError> {
        // The crate multiplies without a look.
        if !(1..=MOST).contains(&width) || !(1..=MOST).contains(&height) {
            return Err(VirtioGpuError::Resolution {
                width,
                height,
                most: MOST,
            });
        }
        self.picture = None;
        let set_up = |driver: &mut Driver<S>| {
            let pixels = driver.change_resolution(width, height)?;
            let len = width as usize * height as usize * PIXEL_BYTES;
            let pixels = pixels.get_mut(..len).ok_or(Error::DmaError)?;
            Ok(Picture {
                start: pixels.as_ptr().addr(),
                len_bytes: pixels.len(),
            })
        };
        match self.driven.call(set_up) {
            Ok(picture) => self.picture = Some(picture),
            Err(error) => {
                // The crate does not know how far it got.
                return Err(self.driven.give_up(Fault::from_half_done(error)).into());
            }
        }
        self.pixels()
    }

    /// The picture's pixels.
    ///
    /// # Errors
    /// [`VirtioGpuError::NoPicture`] before [`set_up`](Self::set_up), or after the adapter was stopped.
    pub fn pixels(&mut self) -> Result<&mut [u8], VirtioGpuError> {
        let picture = self.driven.driver().and(self.picture);
        let Picture { start, len_bytes } = picture.ok_or(VirtioGpuError::NoPicture)?;
        let mut pixels = S::place()
            .crate_bytes(start, len_bytes)
            .ok_or(VirtioGpuError::NoPicture)?;
        // SAFETY: the crate's driver, which is alive, keeps this memory until its next `change_resolution`, before which the
        // picture is forgotten; no device reaches it, the crate makes no other reference to it, and the transport copies
        // from it only while `self` is borrowed for another call. The pointer is the memory's own, as the transport's is.
        Ok(unsafe { pixels.as_mut() })
    }

    /// Shows what was written to the picture.
    ///
    /// # Errors
    /// [`VirtioGpuError`].
    pub fn flush(&mut self) -> Result<(), VirtioGpuError> {
        self.picture.ok_or(VirtioGpuError::NoPicture)?;
        Ok(self.driven.call(|driver| driver.flush())?)
    }

    /// Shows a cursor of 64 by 64 pixels, its point at `x` and `y` of the first screen. The crate does this once.
    ///
    /// # Errors
    /// [`VirtioGpuError`].
    pub fn set_up_cursor(&mut self, pixels: &[u8], x: u32, y: u32) -> Result<(), VirtioGpuError> {
        let needed = CURSOR_PIXELS * CURSOR_PIXELS * PIXEL_BYTES;
        if pixels.len() != needed {
            return Err(VirtioGpuError::CursorSize {
                len_bytes: pixels.len(),
                needed,
            });
        }
        let set_up = |driver: &mut Driver<S>| driver.setup_cursor(pixels, x, y, 0, 0);
        Ok(self.driven.call(set_up)?)
    }

    /// Moves the cursor.
    ///
    /// # Errors
    /// [`VirtioGpuError`].
    pub fn move_cursor(&mut self, x: u32, y: u32) -> Result<(), VirtioGpuError> {
        Ok(self.driven.call(|driver| driver.move_cursor(x, y))?)
    }

    /// Resets the adapter and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(self) -> Result<Device<S::Platform>, InUse> {
        self.driven.stop()
    }
}

impl Fault {
    /// Why a device is given up of which several requests were asked, the first of which it may have done.
    fn from_half_done(error: RequestError) -> Self {
        match error {
            RequestError::Stopped(fault) => fault,
            RequestError::Share(error) => Self::Share(error),
            RequestError::Refused(error) => Self::HalfDone(error),
        }
    }
}
