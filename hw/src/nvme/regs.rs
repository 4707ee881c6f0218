//! Controller properties at the start of BAR 0 (Base 3.1.3) and the doorbells (PCIe Transport 3.1.2).
//!
//! ```
//! use hw::nvme::regs::{self, Capabilities};
//!
//! let cap = Capabilities::from_bits(0x0000_0020_1400_03ff);
//! assert_eq!(cap.queue_entries_max(), 1024);
//! assert_eq!(regs::submission_doorbell(cap, 1), 0x1008);
//! assert_eq!(regs::completion_doorbell(cap, 1), 0x100c);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Controller capabilities, 64 bits: [`Capabilities`].
pub const CAP: u64 = 0x00;
/// Version, 32 bits: [`Version`].
pub const VS: u64 = 0x08;
/// Interrupt mask set, 32 bits; not used with MSI-X.
pub const INTMS: u64 = 0x0c;
/// Interrupt mask clear, 32 bits; not used with MSI-X.
pub const INTMC: u64 = 0x10;
/// Controller configuration, 32 bits: [`Configuration`].
pub const CC: u64 = 0x14;
/// Controller status, 32 bits: [`ControllerStatus`].
pub const CSTS: u64 = 0x1c;
/// NVM subsystem reset, 32 bits.
pub const NSSR: u64 = 0x20;
/// Admin queue attributes, 32 bits: [`AdminQueueAttributes`].
pub const AQA: u64 = 0x24;
/// Admin submission queue, 64 bits: its bus address, a multiple of the memory page size.
pub const ASQ: u64 = 0x28;
/// Admin completion queue, 64 bits: its bus address, a multiple of the memory page size.
pub const ACQ: u64 = 0x30;
/// First doorbell.
pub const DOORBELLS: u64 = 0x1000;

/// Offset of the tail doorbell of submission queue `queue`, 32 bits wide.
pub const fn submission_doorbell(cap: Capabilities, queue: u16) -> u64 {
    DOORBELLS + 2 * queue as u64 * cap.doorbell_stride_bytes()
}

/// Offset of the head doorbell of completion queue `queue`, 32 bits wide.
pub const fn completion_doorbell(cap: Capabilities, queue: u16) -> u64 {
    DOORBELLS + (2 * queue as u64 + 1) * cap.doorbell_stride_bytes()
}

/// `CAP`: controller capabilities (Base 3.1.3.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Capabilities {
    /// Maximum queue entries supported, encoded as one less. See [`Capabilities::queue_entries_max`].
    pub mqes: u16,
    /// Queues must be physically (here: bus-) contiguous.
    pub cqr: bool,
    /// Arbitration mechanisms supported.
    #[bits(2)]
    pub ams: u8,
    #[bits(5)]
    __: u8,
    /// Time-out, in units of 500 ms: the longest `CSTS.RDY` may take to follow `CC.EN`.
    pub to: u8,
    /// Doorbell stride, encoded: doorbells are `4 << dstrd` bytes apart.
    #[bits(4)]
    pub dstrd: u8,
    /// NVM subsystem reset is supported.
    pub nssrs: bool,
    /// Command sets supported; bit 0 is the NVM command set.
    pub css: u8,
    /// Boot partitions are supported.
    pub bps: bool,
    /// Controller power scope.
    #[bits(2)]
    pub cps: u8,
    /// Smallest memory page size, encoded: `2^(12 + mpsmin)` bytes.
    #[bits(4)]
    pub mpsmin: u8,
    /// Largest memory page size, encoded: `2^(12 + mpsmax)` bytes.
    #[bits(4)]
    pub mpsmax: u8,
    /// Persistent memory region is supported.
    pub pmrs: bool,
    /// Controller memory buffer is supported.
    pub cmbs: bool,
    /// NVM subsystem shutdown is supported.
    pub nsss: bool,
    /// Controller ready modes supported.
    #[bits(2)]
    pub crms: u8,
    #[bits(3)]
    __: u8,
}

impl Capabilities {
    /// Bit of `css` that stands for the NVM command set.
    pub const CSS_NVM: u8 = 1 << 0;

    /// Most entries a queue may have.
    pub const fn queue_entries_max(self) -> u32 {
        self.mqes() as u32 + 1
    }

    /// Bytes from one doorbell to the next.
    pub const fn doorbell_stride_bytes(self) -> u64 {
        4 << self.dstrd()
    }

    /// Longest time `CSTS.RDY` may take to follow `CC.EN`, in milliseconds.
    pub const fn timeout_ms(self) -> u32 {
        self.to() as u32 * 500
    }
}

/// `VS`: version of the specification that the controller implements (Base 3.1.3.2).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Version {
    /// Tertiary version.
    pub ter: u8,
    /// Minor version.
    pub mnr: u8,
    /// Major version.
    pub mjr: u16,
}

/// `CC`: controller configuration (Base 3.1.3.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Configuration {
    /// Enable.
    pub en: bool,
    #[bits(3)]
    __: u8,
    /// Command set selected; 0 is the NVM command set.
    #[bits(3)]
    pub css: u8,
    /// Memory page size, encoded: `2^(12 + mps)` bytes.
    #[bits(4)]
    pub mps: u8,
    /// Arbitration mechanism selected; 0 is round robin.
    #[bits(3)]
    pub ams: u8,
    /// Shutdown notification.
    #[bits(2)]
    pub shn: ShutdownNotification,
    /// Size of I/O submission queue entries, encoded: `2^iosqes` bytes.
    #[bits(4)]
    pub iosqes: u8,
    /// Size of I/O completion queue entries, encoded: `2^iocqes` bytes.
    #[bits(4)]
    pub iocqes: u8,
    /// Controller ready independent of media.
    pub crime: bool,
    #[bits(7)]
    __: u8,
}

/// `CC.SHN`: whether the host announces a shutdown.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownNotification {
    /// No shutdown.
    None = 0,
    /// Normal shutdown.
    Normal = 1,
    /// Abrupt shutdown.
    Abrupt = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// `CSTS`: controller status (Base 3.1.3.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ControllerStatus {
    /// Ready: commands are processed.
    pub rdy: bool,
    /// Controller fatal status.
    pub cfs: bool,
    /// Shutdown status.
    #[bits(2)]
    pub shst: ShutdownStatus,
    /// NVM subsystem reset occurred; cleared by writing 1.
    pub nssro: bool,
    /// Processing paused.
    pub pp: bool,
    /// Shutdown type.
    pub st: bool,
    #[bits(25)]
    __: u32,
}

/// `CSTS.SHST`: how far a shutdown got.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownStatus {
    /// None was asked for.
    Normal = 0,
    /// In progress.
    Occurring = 1,
    /// Done.
    Complete = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// `AQA`: sizes of the admin queues (Base 3.1.3.8).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AdminQueueAttributes {
    /// Entries of the admin submission queue, encoded as one less.
    #[bits(12)]
    pub asqs: u16,
    #[bits(4)]
    __: u8,
    /// Entries of the admin completion queue, encoded as one less.
    #[bits(12)]
    pub acqs: u16,
    #[bits(4)]
    __: u8,
}
