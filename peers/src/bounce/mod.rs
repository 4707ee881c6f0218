//! What a mapping costs that is a copy, beside the copy alone.
//!
//! A computer of models boots, and all memory that is mapped for a device of it is copied. A map is the whole call,
//! [`map_single`](dmamap::device::Device::map_single): the device is held, slots are found, the buffer is copied in. An unmap copies out. The peer is
//! [`core::ptr::copy_nonoverlapping`] between memory of the same computer, of the same length, in the same order: what is beyond it is
//! the price of the call.
//!
//! - [`Copies`] is what both have in common; [`Ours`] maps, [`Plain`] copies
//! - [`Kernel`] is the computer, [`Undisturbed`](crate::undisturbed::Undisturbed) its platform
//! - [`copies`] is the load
//!
//! ```
//! use peers::bounce::{Before, Copies, Kernel, Plain};
//!
//! let kernel = Kernel::boot()?;
//! let mut plain = Plain::new(&kernel, 4096, 2, Before::Nothing)?;
//! assert!(plain.copy_in() && plain.copy_out());
//! # Ok::<(), peers::PeersError>(())
//! ```

mod kernel;
mod loads;
mod ours;
mod plain;

pub use kernel::Kernel;
pub use loads::{Extent, copies};
pub use ours::Ours;
pub use plain::{Before, Plain};

/// Buffers that are copied to memory a device reaches, and back.
pub trait Copies {
    /// The name in the figures.
    fn peer(&self) -> &'static str;

    /// Copies all buffers in, one after another; whether all were.
    fn copy_in(&mut self) -> bool;

    /// Copies all back, in the same order; whether all were.
    fn copy_out(&mut self) -> bool;

    /// Puts `value` into every byte of every buffer, while nothing is copied in.
    fn fill(&mut self, value: u8);

    /// Puts `value` into every byte of the copies, as a device would.
    fn overwrite(&mut self, value: u8);

    /// Whether every byte of every buffer is `value`, while nothing is copied in.
    fn holds(&self, value: u8) -> bool;
}
