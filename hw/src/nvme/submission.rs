//! Entries of submission queues (Base 3.3.3.1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 64;
/// log2 of [`ENTRY_BYTES`], as `CC.IOSQES` takes it.
pub const ENTRY_SIZE_LOG2: u8 = 6;

/// One command as it lies in a submission queue.
///
/// ```
/// use hw::nvme::SubmissionEntry;
/// use hw::nvme::command::{Dword0, io_opcode};
/// use zerocopy::IntoBytes;
///
/// let read = SubmissionEntry {
///     cdw0: Dword0::new().with_opc(io_opcode::READ).with_cid(7).into_bits(),
///     nsid: 1,
///     prp1: 0x1000,
///     ..SubmissionEntry::default()
/// };
/// assert_eq!(read.as_bytes()[..8], [0x02, 0, 7, 0, 1, 0, 0, 0]);
/// assert_eq!(read.as_bytes().len(), 64);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SubmissionEntry {
    /// Command dword 0: [`Dword0`](super::command::Dword0).
    pub cdw0: u32,
    /// Namespace id.
    pub nsid: u32,
    /// Command dword 2.
    pub cdw2: u32,
    /// Command dword 3.
    pub cdw3: u32,
    /// Metadata pointer: a bus address.
    pub mptr: u64,
    /// First physical region page: a bus address, which may start inside a memory page (Base 4.1.1).
    pub prp1: u64,
    /// Second physical region page, or where the PRP list lies: a bus address.
    pub prp2: u64,
    /// Command dword 10.
    pub cdw10: u32,
    /// Command dword 11.
    pub cdw11: u32,
    /// Command dword 12.
    pub cdw12: u32,
    /// Command dword 13.
    pub cdw13: u32,
    /// Command dword 14.
    pub cdw14: u32,
    /// Command dword 15.
    pub cdw15: u32,
}

const _: () = assert!(size_of::<SubmissionEntry>() == ENTRY_BYTES as usize);
