//! How physical memory is read.

/// Reads physical memory; lent by whoever can.
///
/// A closure `Fn(u64, &mut [u8]) -> Result<(), Unreadable>` is one.
pub trait PhysicalMemory {
    /// Fills `into` with the bytes from physical address `phys` on.
    ///
    /// # Errors
    /// [`Unreadable`] if any of these bytes cannot be read. The address comes from firmware and may be
    /// anything: the bytes may lie outside memory or wrap round the end of the address space.
    fn read(&self, phys: u64, into: &mut [u8]) -> Result<(), Unreadable>;
}

impl<F> PhysicalMemory for F
where
    F: Fn(u64, &mut [u8]) -> Result<(), Unreadable>,
{
    fn read(&self, phys: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        self(phys, into)
    }
}

/// There is no memory to read at a physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("physical address {phys:#x} cannot be read")]
pub struct Unreadable {
    /// The first address asked for.
    pub phys: u64,
}
