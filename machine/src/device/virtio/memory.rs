//! Memory as a device's queues see it: at bus addresses, through the function's port.
//!
//! rust-vmm's crates work on slices of memory. A slice here is one piece of a request that passed the bus and its IOMMU, and
//! stays in flight until the next is asked for: what the crates do with it in between an invalidation waits for. They do so
//! piece by piece for rings; their readers of buffers collect slices first, so buffers go through the port itself
//! ([`queue`](super::queue)).

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryBackend, Permissions, VolatileSlice};

use crate::bus::{Access, DmaPort, Reached};
use crate::iommu::virtio::memory::QueueMemory;

/// Memory through a port.
pub(super) struct BusMemory {
    port: DmaPort,
    ram: Arc<QueueMemory>,
}

impl BusMemory {
    pub(super) fn new(port: DmaPort, ram: Arc<QueueMemory>) -> Self {
        Self { port, ram }
    }

    /// The port.
    pub(super) fn port(&self) -> &DmaPort {
        &self.port
    }
}

impl fmt::Debug for BusMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusMemory").finish_non_exhaustive()
    }
}

impl GuestMemory for BusMemory {
    type PhysicalMemory = QueueMemory;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.pieces(addr, count, access).all(|piece| piece.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, Self::Bitmap>>> {
        Ok(self.pieces(addr, count, access))
    }
}

impl BusMemory {
    fn pieces(&self, addr: GuestAddress, count: usize, access: Permissions) -> Pieces<'_> {
        Pieces {
            memory: self,
            bus: addr.0,
            left: count,
            access: match access.has_write() {
                true => Access::Write,
                false => Access::Read,
            },
            held: None,
        }
    }
}

/// The slices of a range of bus addresses.
struct Pieces<'a> {
    memory: &'a BusMemory,
    bus: u64,
    left: usize,
    access: Access,
    /// What the last slice is of.
    held: Option<Reached<'a>>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<VolatileSlice<'a, BS<'a, ()>>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.held = None;
        if self.left == 0 {
            return None;
        }
        let port = &self.memory.port;
        let slice = port
            .reach(self.access, self.bus, self.left)
            .map_err(|error| Error::IOError(std::io::Error::other(error)))
            .and_then(|reached| {
                let (phys, len) = (GuestAddress(reached.phys()), reached.len());
                let slice = self.memory.ram.get_slice(phys, len);
                self.held = Some(reached);
                self.bus = self.bus.wrapping_add(len as u64);
                self.left -= len;
                slice
            });
        if slice.is_err() {
            self.left = 0;
        }
        Some(slice)
    }
}

impl FusedIterator for Pieces<'_> {}

impl<'a> GuestMemorySliceIterator<'a, BS<'a, ()>> for Pieces<'a> {}
