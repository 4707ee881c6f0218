//! What can go wrong with a virtio device: with its place, at its start, and with its requests.

mod place;
mod request;
mod start;

pub use place::{InUse, InstallError, InstallFailed, ShareError};
pub use request::{Fault, RequestError, VirtioBlockError, VirtioGpuError, VirtioNetError};
pub use start::{VirtioStartError, VirtioStartFailed};
