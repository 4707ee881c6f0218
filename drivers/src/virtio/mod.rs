//! virtio devices on PCI, driven by the published crate [`virtio-drivers`](virtio_drivers), unmodified: disks
//! ([`VirtioBlock`]), networks ([`VirtioNet`]), consoles ([`VirtioConsole`]), entropy ([`VirtioRng`]) and screens
//! ([`VirtioGpu`]).
//!
//! ```text
//!   VirtioBlock, VirtioNet, ... ── requests, errors with their reasons ──► virtio_drivers::VirtIOBlk, ...
//!                                                                 │               │
//!                                              memory: SlotHal ◄──┘               └──► PciTransport: registers, queues
//!                                                      │                                   │
//!                                  Slot ── names ──► Place: the device, what it was lent ◄─┘
//! ```
//!
//! The crate asks its platform for memory through functions without a receiver. Here a platform is a value and the device
//! that memory is mapped for another, so a program defines a type per virtio device that it drives, a [`Slot`], whose
//! [`Place`] holds the device meanwhile ([`virtio_slot!`](crate::virtio_slot)). The drivers here put it there and take it
//! out. For others of the crate's do the same:
//! [`install`](Place::install) the device, give the driver [`SlotHal`] and a [`PciTransport`], drop the driver,
//! [`remove`](Place::remove) the device.
//!
//! No memory is both the crate's and a device's. What it lends for a request is copied, and so are its queues: the
//! transport tells the device of a request that could be lent whole, and the crate of an answer that is one, and ends the
//! crate's waits, which have no end of their own, when a device has not answered in time. Interrupts are not used: waits
//! look again and again.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::pci::Function;
//! use dmamap::resource::ResourceTree;
//! use drivers::virtio::VirtioBlock;
//! use hosted::Hosted;
//!
//! drivers::virtio_slot! {
//!     struct Disk(Hosted);
//! }
//!
//! /// Copies the first sector to the second.
//! fn copy(
//!     device: Device<Hosted>,
//!     function: &Function<Hosted>,
//!     tree: &mut ResourceTree,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut disk = VirtioBlock::<Disk>::start(device, function, tree)?;
//!     let mut sector = [0; 512];
//!     disk.read(0, &mut sector)?;
//!     disk.write(1, &sector)?;
//!     Ok(disk.stop()?.detach()?)
//! }
//! ```

mod block;
mod config_space;
mod console;
mod driven;
mod error;
mod gpu;
mod hal;
mod installed;
mod memory;
mod net;
mod place;
mod ring;
mod rng;
mod share;
mod structures;
mod terms;
mod transport;

pub use block::{MAX_TRANSFER_BYTES, VirtioBlock};
pub use console::VirtioConsole;
pub use error::{
    Fault, InUse, InstallError, InstallFailed, RequestError, ShareError, VirtioBlockError,
    VirtioGpuError, VirtioNetError, VirtioStartError, VirtioStartFailed,
};
pub use gpu::{PIXEL_BYTES, VirtioGpu};
pub use hal::SlotHal;
pub use installed::DEFAULT_TIMEOUT;
pub use net::{MAX_FRAME_BYTES, VirtioNet};
pub use place::{Place, Slot};
pub use rng::VirtioRng;
pub use terms::Terms;
pub use transport::PciTransport;
/// The crate, of the version that the adapter fits.
pub use virtio_drivers;
