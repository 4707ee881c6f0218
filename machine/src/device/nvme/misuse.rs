//! What a driver can do wrong with the registers.

use board::hardware::Width;

/// A register access that the specification forbids or leaves undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterMisuse {
    /// Neither an aligned dword nor an aligned quadword.
    #[error("{width:?} access at {offset:#x}: only aligned 32 and 64-bit accesses are defined")]
    Access { offset: u64, width: Width },
    /// Nothing can be written here.
    #[error("{value:#x} written to the read-only or reserved register at {offset:#x}")]
    NotWritable { offset: u64, value: u32 },
    /// The admin queues were moved under the controller's feet.
    #[error("the admin queue register at {offset:#x} was written while CC.EN is 1")]
    AdminQueueInUse { offset: u64 },
    /// Enabled before `CSTS.RDY` told the end of the reset.
    #[error("CC.EN was set while CSTS.RDY is still 1 from before the reset")]
    EnabledDuringReset,
    /// `CC.MPS`, `CC.AMS` or `CC.CSS` changed while the controller is enabled.
    #[error("CC.MPS, CC.AMS or CC.CSS changed while CC.EN is 1: {from:#x} to {to:#x}")]
    ConfigurationInUse { from: u32, to: u32 },
}

/// Why an enabled controller cannot start; it tells `CSTS.CFS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnableError {
    /// An admin queue has fewer than two entries.
    #[error("AQA {0:#010x} gives an admin queue fewer than 2 entries")]
    AdminQueueSize(u32),
    /// An admin queue is not aligned to a memory page of `CC.MPS`.
    #[error("admin queue at {base:#x} is not aligned to a memory page of {page_bytes:#x} bytes")]
    AdminQueueBase { base: u64, page_bytes: u64 },
    /// A field of `CC` asks for what `CAP` does not offer.
    #[error("CC {0:#010x} selects a page size, command set or arbitration that CAP does not offer")]
    Configuration(u32),
}
