//! Entries of completion queues (Base 3.3.3.2).

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::status::StatusField;

/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 16;
/// log2 of [`ENTRY_BYTES`], as `CC.IOCQES` takes it.
pub const ENTRY_SIZE_LOG2: u8 = 4;

/// One completion as it lies in a completion queue.
///
/// The phase bit in [`dw3`](Self::dw3) says whether the entry is new; the other words are read after it.
///
/// ```
/// use hw::nvme::CompletionEntry;
///
/// let entry = CompletionEntry { dw0: 0, dw1: 0, dw2: 0x0001_0002, dw3: 0x0001_0007 };
/// assert_eq!((entry.queue().sqid(), entry.queue().sqhd()), (1, 2));
/// assert_eq!((entry.result().cid(), entry.result().p()), (7, true));
/// assert!(entry.result().sf().is_success());
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CompletionEntry {
    /// Specific to the command.
    pub dw0: u32,
    /// Specific to the command.
    pub dw1: u32,
    /// Submission queue head and id: [`CompletionQueueDword`].
    pub dw2: u32,
    /// Command id, phase and status: [`CompletionResultDword`].
    pub dw3: u32,
}

const _: () = assert!(size_of::<CompletionEntry>() == ENTRY_BYTES as usize);

impl CompletionEntry {
    /// `dw2` as its fields.
    pub const fn queue(&self) -> CompletionQueueDword {
        CompletionQueueDword::from_bits(self.dw2)
    }

    /// `dw3` as its fields.
    pub const fn result(&self) -> CompletionResultDword {
        CompletionResultDword::from_bits(self.dw3)
    }
}

/// Dword 2 of a completion: how far the controller got in which submission queue.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CompletionQueueDword {
    /// Submission queue head: the entries before it may be reused.
    pub sqhd: u16,
    /// Submission queue id.
    pub sqid: u16,
}

/// Dword 3 of a completion: which command, with what result.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CompletionResultDword {
    /// Command id.
    pub cid: u16,
    /// Phase: inverted each time the controller passes the end of the queue, 1 at first.
    pub p: bool,
    /// Status field.
    #[bits(15)]
    pub sf: StatusField,
}
