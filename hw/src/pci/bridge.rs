//! Registers of a type 1 header (7.5.1.3): the buses behind a bridge and the windows it forwards.
//!
//! A window is named by a base and a limit register that hold the upper bits of its first and last address; it
//! is closed while base is above limit. Addresses are bus addresses (A).
//!
//! ```
//! use hw::pci::bridge::{IoWindow, MemoryWindow, PrefetchableWindow};
//!
//! let window = MemoryWindow::new().with_base(0x8010_0000).with_last(0x802f_ffff);
//! assert_eq!(window.into_bits(), 0x8020_8010);
//! assert_eq!((window.base(), window.last()), (0x8010_0000, 0x802f_ffff));
//! assert!(MemoryWindow::CLOSED.base() > MemoryWindow::CLOSED.last());
//! # let _ = (IoWindow::new(), PrefetchableWindow::new());
//! ```

use bitfield_struct::bitfield;

/// Number of the bus the bridge is on, 8 bits; the 32-bit word here is [`BusNumbers`].
pub const PRIMARY_BUS: u16 = 0x18;
/// Number of the bus right behind the bridge, 8 bits.
pub const SECONDARY_BUS: u16 = 0x19;
/// Highest bus number behind the bridge, 8 bits.
pub const SUBORDINATE_BUS: u16 = 0x1a;
/// Secondary latency timer, 8 bits; 0 in PCI Express.
pub const SECONDARY_LATENCY_TIMER: u16 = 0x1b;
/// IO base, 8 bits; with the limit behind it the 16-bit word [`IoWindow`].
pub const IO_BASE: u16 = 0x1c;
/// IO limit, 8 bits.
pub const IO_LIMIT: u16 = 0x1d;
/// Secondary status, 16 bits, laid out as [`Status`](super::config::Status).
pub const SECONDARY_STATUS: u16 = 0x1e;
/// Memory base, 16 bits; with the limit behind it the 32-bit word [`MemoryWindow`].
pub const MEMORY_BASE: u16 = 0x20;
/// Memory limit, 16 bits.
pub const MEMORY_LIMIT: u16 = 0x22;
/// Prefetchable memory base, 16 bits; with the limit behind it the 32-bit word [`PrefetchableWindow`].
pub const PREFETCHABLE_BASE: u16 = 0x24;
/// Prefetchable memory limit, 16 bits.
pub const PREFETCHABLE_LIMIT: u16 = 0x26;
/// Bits 63:32 of the prefetchable base, 32 bits.
pub const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
/// Bits 63:32 of the prefetchable limit, 32 bits.
pub const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
/// Bits 31:16 of the IO base, 16 bits.
pub const IO_BASE_UPPER: u16 = 0x30;
/// Bits 31:16 of the IO limit, 16 bits.
pub const IO_LIMIT_UPPER: u16 = 0x32;
/// Expansion ROM base address of a bridge, 32 bits.
pub const EXPANSION_ROM: u16 = 0x38;
/// Bridge control, 16 bits: [`BridgeControl`].
pub const BRIDGE_CONTROL: u16 = 0x3e;

/// Granule of the memory windows, in bytes.
pub const MEMORY_GRANULE_BYTES: u64 = 1 << 20;
/// Granule of the IO window, in bytes.
pub const IO_GRANULE_BYTES: u64 = 1 << 12;

/// The 32-bit word at [`PRIMARY_BUS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BusNumbers {
    /// The bus the bridge is on.
    pub primary: u8,
    /// The bus right behind the bridge.
    pub secondary: u8,
    /// The highest bus behind the bridge.
    pub subordinate: u8,
    /// Secondary latency timer.
    pub secondary_latency_timer: u8,
}

/// The 32-bit word at [`MEMORY_BASE`]: a window below 4 GiB in granules of 1 MiB (7.5.1.3.8).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MemoryWindow {
    #[bits(4)]
    __: u8,
    #[bits(12)]
    base_granule: u32,
    #[bits(4)]
    __: u8,
    #[bits(12)]
    last_granule: u32,
}

impl MemoryWindow {
    /// A window that forwards nothing.
    pub const CLOSED: Self = Self::new().with_base_granule(0xfff).with_last_granule(0);

    /// First address.
    pub const fn base(self) -> u32 {
        self.base_granule() << 20
    }

    /// Last address, inclusive.
    pub const fn last(self) -> u32 {
        self.last_granule() << 20 | 0xf_ffff
    }

    /// With `bus`, a multiple of 1 MiB (lower bits are dropped), as first address.
    #[must_use]
    pub const fn with_base(self, bus: u32) -> Self {
        self.with_base_granule(bus >> 20)
    }

    /// With the granule that holds `bus` as the last one.
    #[must_use]
    pub const fn with_last(self, bus: u32) -> Self {
        self.with_last_granule(bus >> 20)
    }
}

/// The 32-bit word at [`PREFETCHABLE_BASE`]: bits 31:20 of the prefetchable window (7.5.1.3.9).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PrefetchableWindow {
    /// 1 where the upper base register exists (64-bit window), else 0; read only.
    #[bits(4)]
    pub base_width: u8,
    #[bits(12)]
    base_granule: u32,
    /// 1 where the upper limit register exists (64-bit window), else 0; read only.
    #[bits(4)]
    pub last_width: u8,
    #[bits(12)]
    last_granule: u32,
}

impl PrefetchableWindow {
    /// A window that forwards nothing, if both upper registers are 0.
    pub const CLOSED: Self = Self::new().with_base_granule(0xfff).with_last_granule(0);

    /// Value of the width fields of a 64-bit window.
    pub const WIDTH_64: u8 = 1;

    /// Bits 31:0 of the first address.
    pub const fn base(self) -> u32 {
        self.base_granule() << 20
    }

    /// Bits 31:0 of the last address, inclusive.
    pub const fn last(self) -> u32 {
        self.last_granule() << 20 | 0xf_ffff
    }

    /// With `bus`, a multiple of 1 MiB (lower bits are dropped), as bits 31:0 of the first address.
    #[must_use]
    pub const fn with_base(self, bus: u32) -> Self {
        self.with_base_granule(bus >> 20)
    }

    /// With the granule that holds `bus`, bits 31:0 of the last address, as the last one.
    #[must_use]
    pub const fn with_last(self, bus: u32) -> Self {
        self.with_last_granule(bus >> 20)
    }
}

/// The 16-bit word at [`IO_BASE`]: bits 15:12 of the IO window (7.5.1.3.6).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct IoWindow {
    /// 1 where the upper base register exists (32-bit IO), else 0; read only.
    #[bits(4)]
    pub base_width: u8,
    #[bits(4)]
    base_granule: u16,
    /// 1 where the upper limit register exists (32-bit IO), else 0; read only.
    #[bits(4)]
    pub last_width: u8,
    #[bits(4)]
    last_granule: u16,
}

impl IoWindow {
    /// A window that forwards nothing, if both upper registers are 0.
    pub const CLOSED: Self = Self::new().with_base_granule(0xf).with_last_granule(0);

    /// Value of the width fields of a window for 32-bit IO addresses.
    pub const WIDTH_32: u8 = 1;

    /// Bits 15:0 of the first IO address.
    pub const fn base(self) -> u16 {
        self.base_granule() << 12
    }

    /// Bits 15:0 of the last IO address, inclusive.
    pub const fn last(self) -> u16 {
        self.last_granule() << 12 | 0xfff
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as bits 15:0 of the first IO address.
    #[must_use]
    pub const fn with_base(self, bus: u16) -> Self {
        self.with_base_granule(bus >> 12)
    }

    /// With the granule that holds `bus`, bits 15:0 of the last IO address, as the last one.
    #[must_use]
    pub const fn with_last(self, bus: u16) -> Self {
        self.with_last_granule(bus >> 12)
    }
}

/// Bridge control register (7.5.1.3.13).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct BridgeControl {
    /// Parity error response.
    pub parity_error_response: bool,
    /// SERR# enable.
    pub serr: bool,
    /// ISA enable.
    pub isa: bool,
    /// VGA enable.
    pub vga: bool,
    /// VGA 16-bit decode.
    pub vga_16bit: bool,
    /// Master abort mode; 0 in PCI Express.
    pub master_abort_mode: bool,
    /// Reset of the secondary bus.
    pub secondary_bus_reset: bool,
    #[bits(9)]
    __: u16,
}
