//! Memory as the queues' code sees it: the machine's RAM, mapped once more in the form that rust-vmm's crates use.

use std::fs::File;
use std::sync::Arc;

use board::ram::Ram;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use super::config::VirtioConfigError;

/// What [`virtio_queue`] works on.
pub(crate) type QueueMemory = GuestMemoryMmap<()>;

/// Maps all of `ram`; guest addresses are physical ones.
pub(crate) fn map(ram: &Ram) -> Result<Arc<QueueMemory>, VirtioConfigError> {
    let failed = |error: &dyn std::fmt::Display| VirtioConfigError::Memory(error.to_string());
    let file = ram
        .fd()
        .try_clone_to_owned()
        .map_err(|error| failed(&error))?;
    let file = Arc::new(File::from(file));
    let regions: Vec<_> = ram
        .regions()
        .iter()
        .map(|region| {
            let offset = FileOffset::from_arc(Arc::clone(&file), region.start);
            let len_bytes = (region.end - region.start) as usize;
            (GuestAddress(region.start), len_bytes, Some(offset))
        })
        .collect();
    QueueMemory::from_ranges_with_files(regions)
        .map(Arc::new)
        .map_err(|error| failed(&error))
}
