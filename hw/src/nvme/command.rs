//! Opcodes, and the dwords of a command that are specific to it (Base 5, NVM Command Set 3).
//!
//! ```
//! use hw::nvme::command::{QueueDword10, ReadWriteDword12};
//!
//! // Queue 3 with 64 entries; 8 blocks.
//! assert_eq!(QueueDword10::new().with_qid(3).with_qsize(63).into_bits(), 0x003f_0003);
//! assert_eq!(ReadWriteDword12::new().with_nlb(7).into_bits(), 7);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Opcodes of the admin queue (Base figure "Opcodes for Admin Commands").
pub mod admin_opcode {
    /// Delete I/O submission queue.
    pub const DELETE_SUBMISSION_QUEUE: u8 = 0x00;
    /// Create I/O submission queue.
    pub const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    /// Get log page.
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Delete I/O completion queue.
    pub const DELETE_COMPLETION_QUEUE: u8 = 0x04;
    /// Create I/O completion queue.
    pub const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// Abort.
    pub const ABORT: u8 = 0x08;
    /// Set features.
    pub const SET_FEATURES: u8 = 0x09;
    /// Get features.
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous event request.
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
}

/// Opcodes of I/O queues (NVM Command Set figure "Opcodes for NVM Commands").
pub mod io_opcode {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
}

/// Feature ids of set features and get features (Base 5.27.1).
pub mod feature {
    /// Volatile write cache.
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    /// Number of queues: [`NumberOfQueues`](super::NumberOfQueues).
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
}

/// Values of [`IdentifyDword10::cns`] (Base figure "Identify - CNS Values").
pub mod cns {
    /// [`IdentifyNamespace`](crate::nvme::identify::IdentifyNamespace) of the namespace named by NSID.
    pub const NAMESPACE: u8 = 0x00;
    /// [`IdentifyController`](crate::nvme::identify::IdentifyController).
    pub const CONTROLLER: u8 = 0x01;
    /// Ids of the active namespaces above NSID, 1024 of 32 bits, 0 after the last.
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
}

/// Command dword 0: what to do and how its completion is told (Base figure "Command Dword 0").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Dword0 {
    /// Opcode: one of [`admin_opcode`] in the admin queue, one of [`io_opcode`] elsewhere.
    pub opc: u8,
    /// Fused operation; 0 for a normal one.
    #[bits(2)]
    pub fuse: u8,
    #[bits(4)]
    __: u8,
    /// PRP or SGL for data transfer; 0 for PRPs.
    #[bits(2)]
    pub psdt: u8,
    /// Command id: unique among the outstanding commands of its submission queue.
    pub cid: u16,
}

/// Dword 10 of identify (Base 5.17).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IdentifyDword10 {
    /// Controller or namespace structure: one of [`cns`].
    pub cns: u8,
    __: u8,
    /// Controller id.
    pub cntid: u16,
}

/// Dword 10 of the create and delete queue commands (Base 5.4 to 5.7); deletes have no size.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct QueueDword10 {
    /// Queue id.
    pub qid: u16,
    /// Entries, encoded as one less.
    pub qsize: u16,
}

/// Dword 11 of create I/O completion queue (Base 5.4).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateCompletionQueueDword11 {
    /// PRP 1 is the bus address of a contiguous queue, not of a list.
    pub pc: bool,
    /// Completions raise interrupts.
    pub ien: bool,
    #[bits(14)]
    __: u16,
    /// Interrupt vector: index in the MSI-X table.
    pub iv: u16,
}

/// Dword 11 of create I/O submission queue (Base 5.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateSubmissionQueueDword11 {
    /// PRP 1 is the bus address of a contiguous queue, not of a list.
    pub pc: bool,
    /// Priority; only with weighted round robin.
    #[bits(2)]
    pub qprio: u8,
    #[bits(13)]
    __: u16,
    /// Id of the completion queue to use.
    pub cqid: u16,
}

/// Dword 10 of get features and set features (Base 5.15, 5.27).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FeaturesDword10 {
    /// Feature id: one of [`feature`].
    pub fid: u8,
    /// Select (get features).
    #[bits(3)]
    pub sel: FeatureSelect,
    #[bits(20)]
    __: u32,
    /// Save across resets (set features).
    pub sv: bool,
}

/// Which value of a feature get features asks for.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSelect {
    /// The value in use.
    Current = 0,
    /// The value after a reset.
    Default = 1,
    /// The value saved.
    Saved = 2,
    /// What is supported of it.
    SupportedCapabilities = 3,
    /// Reserved.
    #[fallback]
    Reserved = 4,
}

/// Dword 11 of set features, and dword 0 of its completion, for [`feature::NUMBER_OF_QUEUES`] (Base 5.27.1.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NumberOfQueues {
    /// I/O submission queues asked for, or allocated, encoded as one less.
    pub nsq: u16,
    /// I/O completion queues asked for, or allocated, encoded as one less.
    pub ncq: u16,
}

/// Dword 12 of read and write (NVM Command Set 3.2.4, 3.2.6); dwords 10 and 11 hold the first block.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadWriteDword12 {
    /// Number of logical blocks, encoded as one less.
    pub nlb: u16,
    #[bits(4)]
    __: u8,
    /// Directive type of a write.
    #[bits(4)]
    pub dtype: u8,
    /// Storage tag check.
    pub stc: bool,
    __: bool,
    /// Protection information.
    #[bits(4)]
    pub prinfo: u8,
    /// Force unit access: past the volatile write cache.
    pub fua: bool,
    /// Limited retry.
    pub lr: bool,
}
