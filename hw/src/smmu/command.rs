//! Commands of the command queue, 128 bits each (chapter 4).
//!
//! One type per form of command. Bits 7:0 of every command are its [`Opcode`]; forms that serve several take it
//! as a field.
//!
//! ```
//! use hw::smmu::command::{self, Opcode, Sync, TlbInvalidate};
//!
//! let flush = TlbInvalidate::new()
//!     .with_op(Opcode::TlbiNhVa as u8)
//!     .with_asid(7)
//!     .with_leaf(true)
//!     .with_address(0x1_0000);
//! assert_eq!(flush.to_words(), [0x0007_0000_0000_0012, 0x1_0001]);
//! assert_eq!(command::opcode(Sync::new().to_words()), Some(Opcode::Sync));
//! ```

use bitfield_struct::bitfield;

/// Bytes of one command.
pub const COMMAND_BYTES: u64 = 16;

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What a command is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Opcode {
            $($(#[$doc])* $name = $code,)*
        }

        impl Opcode {
            /// Every command, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The command with this code, or `None` if there is none for non-secure streams.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    /// [`Prefetch`] a stream's configuration (4.2.1).
    PrefetchConfig = 0x01,
    /// [`Prefetch`] a translation (4.2.2).
    PrefetchAddress = 0x02,
    /// [`ConfigInvalidate`] of one stream table entry (4.3.1).
    CfgiSte = 0x03,
    /// [`ConfigInvalidate`] of a range of stream table entries; of everything with range 31 (4.3.2, 4.3.5).
    CfgiSteRange = 0x04,
    /// [`ConfigInvalidate`] of one context descriptor (4.3.3).
    CfgiCd = 0x05,
    /// [`ConfigInvalidate`] of all context descriptors of one stream (4.3.4).
    CfgiCdAll = 0x06,
    /// [`TlbInvalidate`]: stage 1 translations of a VMID (4.4.2).
    TlbiNhAll = 0x10,
    /// [`TlbInvalidate`]: non-global stage 1 translations of an ASID and VMID (4.4.2).
    TlbiNhAsid = 0x11,
    /// [`TlbInvalidate`]: stage 1 translations of addresses, of an ASID and VMID, and global ones (4.4.2).
    TlbiNhVa = 0x12,
    /// [`TlbInvalidate`]: stage 1 translations of addresses, of every ASID of a VMID (4.4.2).
    TlbiNhVaa = 0x13,
    /// [`TlbInvalidate`]: everything of EL2 (4.4.2).
    TlbiEl2All = 0x20,
    /// [`TlbInvalidate`]: stage 1 and stage 2 translations of a VMID (4.4.3).
    TlbiS12Vmall = 0x28,
    /// [`TlbInvalidate`]: stage 2 translations of addresses, of a VMID (4.4.3).
    TlbiS2Ipa = 0x2a,
    /// [`TlbInvalidate`]: everything that is not of EL2 (4.4.4).
    TlbiNsnhAll = 0x30,
    /// Invalidates translations that a device caches itself (4.5.1).
    AtcInv = 0x40,
    /// Answers a page request (4.5.2).
    PriResp = 0x41,
    /// Lets a stalled request go on, or ends it (4.6.1).
    Resume = 0x44,
    /// Ends all stalled requests of a stream (4.6.2).
    StallTerm = 0x45,
    /// [`Sync`] (4.7.3).
    Sync = 0x46,
}

/// The command whose words at offsets 0 and 8 are `words`, or `None` if its code is none of [`Opcode`].
pub const fn opcode([low, _]: [u64; 2]) -> Option<Opcode> {
    Opcode::from_code(low as u8)
}

macro_rules! command_words {
    ($name:ident, $reserved:expr) => {
        impl $name {
            /// Bits that are to be zero, as `[low, high]` words.
            pub const RESERVED: [u64; 2] = $reserved;

            /// The command as it lies in memory: the words at offsets 0 and 8.
            pub const fn to_words(self) -> [u64; 2] {
                let bits = self.into_bits();
                [bits as u64, (bits >> 64) as u64]
            }

            /// The command whose words at offsets 0 and 8 are `words`.
            pub const fn from_words([low, high]: [u64; 2]) -> Self {
                Self::from_bits(low as u128 | (high as u128) << 64)
            }
        }
    };
}

/// Asks the unit to look something up early (4.2).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Prefetch {
    /// [`Opcode`].
    pub op: u8,
    #[bits(3)]
    __: u8,
    /// Substream id valid.
    pub ssv: bool,
    /// Substream id.
    #[bits(20)]
    pub substream: u32,
    /// Stream id.
    pub stream: u32,
    /// `2^size` bytes.
    #[bits(5)]
    pub size: u8,
    #[bits(7)]
    __: u8,
    #[bits(52)]
    address_page: u64,
}
command_words!(Prefetch, [0x0000_0000_0000_0700, 0x0000_0000_0000_0fe0]);

/// Invalidates cached stream table entries and context descriptors (4.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct ConfigInvalidate {
    /// [`Opcode`].
    pub op: u8,
    #[bits(2)]
    __: u8,
    /// Secure stream.
    pub ssec: bool,
    __: bool,
    /// Substream id, of a context descriptor.
    #[bits(20)]
    pub substream: u32,
    /// Stream id.
    pub stream: u32,
    /// Leaf of one entry or descriptor: cached descriptors of the first level may stay. Of a range of entries it
    /// is the lowest bit of [`range`](Self::range).
    pub leaf: bool,
    #[bits(4)]
    range_high: u8,
    #[bits(59)]
    __: u64,
}
command_words!(
    ConfigInvalidate,
    [0x0000_0000_0000_0b00, 0xffff_ffff_ffff_ffe0]
);

impl ConfigInvalidate {
    /// The range that means everything (`CMD_CFGI_ALL`).
    pub const ALL: u8 = 31;

    /// Of a range of entries: the `2^(range + 1)` entries around the stream id.
    pub const fn range(self) -> u8 {
        self.range_high() << 1 | self.leaf() as u8
    }

    /// With `2^(range + 1)` entries, `range` being below 32.
    #[must_use]
    pub const fn with_range(self, range: u8) -> Self {
        self.with_leaf(range & 1 != 0)
            .with_range_high(range >> 1 & 0xf)
    }
}

/// Invalidates cached translations (4.4).
///
/// A range (only where [`Idr3::ril`](super::regs::Idr3::ril) is set) is given by a `tg` that is not 0: it is
/// `(num + 1) * 2^scale` granules. The combination of a `tg` with `num`, `scale` and `ttl` all 0 is reserved.
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct TlbInvalidate {
    /// [`Opcode`].
    pub op: u8,
    #[bits(4)]
    __: u8,
    /// Of a range: number of units, less one.
    #[bits(5)]
    pub num: u8,
    #[bits(3)]
    __: u8,
    /// Of a range: log2 of the granules in a unit.
    #[bits(5)]
    pub scale: u8,
    #[bits(7)]
    __: u8,
    /// VMID.
    pub vmid: u16,
    /// ASID.
    pub asid: u16,
    /// Only leaves changed, so that cached entries of higher levels may stay.
    pub leaf: bool,
    #[bits(7)]
    __: u8,
    /// Level hint: 0 none, else the level that all leaves of the range are at.
    #[bits(2)]
    pub ttl: u8,
    /// 0 for a single address, else the granule of the range: 1 is 4 KiB, 2 is 16 KiB, 3 is 64 KiB.
    #[bits(2)]
    pub tg: u8,
    #[bits(52)]
    address_page: u64,
}
command_words!(
    TlbInvalidate,
    [0x0000_0000_fe0e_0f00, 0x0000_0000_0000_00fe]
);

impl TlbInvalidate {
    /// The words of one about `address`, a multiple of 4 KiB (lower bits are dropped), in stage 1 of `asid` or in stage 2 of
    /// `vmid`, the other being 0: only of leaves if `leaf` is set.
    #[inline]
    pub const fn address_words(
        op: Opcode,
        (asid, vmid): (u16, u16),
        leaf: bool,
        address: u64,
    ) -> [u64; 2] {
        let tags = (asid as u64) << Self::ASID_OFFSET | (vmid as u64) << Self::VMID_OFFSET;
        let leaf = (leaf as u64) << (Self::LEAF_OFFSET - 64);
        [op as u64 | tags, leaf | address & !0xfff]
    }

    /// The bits that make of the words of one about an address one about a range: `tg` of 2 bits, `num` and `scale` of 5.
    #[inline]
    pub const fn range_bits(tg: u8, num: u8, scale: u8) -> [u64; 2] {
        let low = (num as u64) << Self::NUM_OFFSET | (scale as u64) << Self::SCALE_OFFSET;
        [low, (tg as u64) << (Self::TG_OFFSET - 64)]
    }

    /// First address: virtual for stage 1, intermediate for stage 2.
    pub const fn address(self) -> u64 {
        self.address_page() << 12
    }

    /// With `address`, a multiple of 4 KiB (lower bits are dropped), as first address.
    #[must_use]
    pub const fn with_address(self, address: u64) -> Self {
        self.with_address_page(address >> 12)
    }
}

/// Waits until all commands before it have completed, and all requests they had to wait for (4.7.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Sync {
    /// [`Opcode::Sync`].
    #[bits(default = 0x46)]
    pub op: u8,
    #[bits(4)]
    __: u8,
    /// Completion signal: 0 none, 1 a message, 2 an event.
    #[bits(2)]
    pub cs: u8,
    __: u8,
    /// Shareability of the message's write.
    #[bits(2)]
    pub msh: u8,
    /// Memory type of the message's write.
    #[bits(4)]
    pub msi_attr: u8,
    #[bits(4)]
    __: u8,
    /// Data of the message.
    pub msi_data: u32,
    #[bits(2)]
    __: u8,
    #[bits(50)]
    msi_address_words: u64,
    #[bits(12)]
    __: u16,
}
command_words!(Sync, [0x0000_0000_f03f_cf00, 0xfff0_0000_0000_0003]);

impl Sync {
    /// No completion signal.
    pub const SIG_NONE: u8 = 0;
    /// A message, or the wired interrupt where its address is 0.
    pub const SIG_IRQ: u8 = 1;
    /// An event.
    pub const SIG_SEV: u8 = 2;

    /// Physical address that the message is written to.
    pub const fn msi_address(self) -> u64 {
        self.msi_address_words() << 2
    }

    /// With the message written to physical address `phys`, a multiple of 4 (lower bits are dropped, and so are
    /// those above bit 51).
    #[must_use]
    pub const fn with_msi_address(self, phys: u64) -> Self {
        self.with_msi_address_words(phys << 12 >> 14)
    }
}
