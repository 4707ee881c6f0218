//! virtio devices on PCI, driven by the published crate [`virtio-drivers`](virtio_drivers), unmodified.
//!
//! ```text
//!   VirtioBlock ── requests with an end ──► virtio_drivers::VirtIOBlk
//!                                             │               │
//!                          memory: SlotHal ◄──┘               └──► PciTransport: registers
//!                                  │
//!              Slot ── names ──► Place: the device, what it was lent
//! ```
//!
//! The crate asks its platform for memory through functions without a receiver. Here a platform is a value and the device
//! that memory is mapped for another, so a program defines a type per virtio device that it drives, a [`Slot`], whose
//! [`Place`] holds the device meanwhile ([`virtio_slot!`](crate::virtio_slot)). [`VirtioBlock`] puts it there and takes it out.
//! For the crate's other drivers do the same:
//! [`install`](Place::install) the device, give the driver [`SlotHal`] and a [`PciTransport`], drop the driver,
//! [`remove`](Place::remove) the device.
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
mod error;
mod hal;
mod place;
mod share;
mod structures;
mod transport;

pub use block::{DEFAULT_TIMEOUT, MAX_TRANSFER_BYTES, VirtioBlock};
pub use error::{
    InUse, InstallError, InstallFailed, ShareError, VirtioBlockError, VirtioStartError,
    VirtioStartFailed,
};
pub use hal::SlotHal;
pub use place::{Place, Slot};
pub use transport::PciTransport;
/// The crate, of the version that the adapter fits.
pub use virtio_drivers;
