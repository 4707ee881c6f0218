//! Configuration-space registers of type 0 (device) and type 1 (bridge) headers (7.5.1).

use bitfield_struct::bitfield;

/// Vendor id, 16 bits; [`VENDOR_NONE`] where no function answers.
pub const VENDOR_ID: u16 = 0x00;
/// Device id, 16 bits.
pub const DEVICE_ID: u16 = 0x02;
/// Command, 16 bits: [`Command`].
pub const COMMAND: u16 = 0x04;
/// Status, 16 bits: [`Status`].
pub const STATUS: u16 = 0x06;
/// Revision id, 8 bits; the 32-bit word here is [`ClassRevision`].
pub const REVISION_ID: u16 = 0x08;
/// Class code: programming interface, 8 bits.
pub const PROG_IF: u16 = 0x09;
/// Class code: sub-class, 8 bits.
pub const SUB_CLASS: u16 = 0x0a;
/// Class code: base class, 8 bits.
pub const BASE_CLASS: u16 = 0x0b;
/// Cache line size, 8 bits.
pub const CACHE_LINE_SIZE: u16 = 0x0c;
/// Latency timer, 8 bits.
pub const LATENCY_TIMER: u16 = 0x0d;
/// Header type, 8 bits: [`HeaderType`].
pub const HEADER_TYPE: u16 = 0x0e;
/// Built-in self test, 8 bits.
pub const BIST: u16 = 0x0f;
/// First base address register, 32 bits; a type 0 header has [`BARS_TYPE0`], a type 1 header [`BARS_TYPE1`].
pub const BAR0: u16 = 0x10;
/// Subsystem vendor id of a type 0 header, 16 bits.
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
/// Subsystem id of a type 0 header, 16 bits.
pub const SUBSYSTEM_ID: u16 = 0x2e;
/// Expansion ROM base address of a type 0 header, 32 bits.
pub const EXPANSION_ROM: u16 = 0x30;
/// Offset of the first capability, 8 bits; valid where [`Status::capabilities_list`] is set.
pub const CAPABILITIES_POINTER: u16 = 0x34;
/// Interrupt line, 8 bits.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Interrupt pin, 8 bits: 0 for none, 1 to 4 for INTA to INTD.
pub const INTERRUPT_PIN: u16 = 0x3d;

/// Bytes of the header; capabilities lie behind it.
pub const HEADER_BYTES: u16 = 0x40;
/// Bytes of the space that conventional PCI can reach; extended capabilities lie behind it.
pub const CONVENTIONAL_BYTES: u16 = 0x100;

/// What a read of [`VENDOR_ID`] gives where no function answers.
pub const VENDOR_NONE: u16 = 0xffff;

/// Number of base address registers in a type 0 header.
pub const BARS_TYPE0: usize = 6;
/// Number of base address registers in a type 1 header.
pub const BARS_TYPE1: usize = 2;

/// Offset of base address register `index`.
pub const fn bar(index: usize) -> u16 {
    BAR0 + 4 * index as u16
}

/// Command register (7.5.1.1.3).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Command {
    /// The function answers at its IO BARs; a bridge forwards its IO window.
    pub io_space: bool,
    /// The function answers at its memory BARs; a bridge forwards its memory windows.
    pub memory_space: bool,
    /// The function may start requests (DMA, message interrupts); a bridge forwards those from below.
    pub bus_master: bool,
    /// Special cycle enable; 0 in PCI Express.
    pub special_cycles: bool,
    /// Memory write and invalidate; 0 in PCI Express.
    pub memory_write_invalidate: bool,
    /// VGA palette snoop; 0 in PCI Express.
    pub vga_palette_snoop: bool,
    /// Parity error response.
    pub parity_error_response: bool,
    __: bool,
    /// SERR# enable.
    pub serr: bool,
    /// Fast back-to-back enable; 0 in PCI Express.
    pub fast_back_to_back: bool,
    /// Interrupt pin emulation is disabled.
    pub interrupt_disable: bool,
    #[bits(5)]
    __: u8,
}

/// Status register (7.5.1.1.4).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Immediate readiness.
    pub immediate_readiness: bool,
    #[bits(2)]
    __: u8,
    /// An interrupt pin emulation message is pending.
    pub interrupt: bool,
    /// [`CAPABILITIES_POINTER`] is valid.
    pub capabilities_list: bool,
    /// 66 MHz capable; 0 in PCI Express.
    pub capable_66mhz: bool,
    __: bool,
    /// Fast back-to-back capable; 0 in PCI Express.
    pub fast_back_to_back: bool,
    /// Master data parity error; cleared by writing 1.
    pub master_data_parity_error: bool,
    /// DEVSEL timing; 0 in PCI Express.
    #[bits(2)]
    pub devsel: u8,
    /// A request was ended with Completer Abort by this function; cleared by writing 1.
    pub signaled_target_abort: bool,
    /// This function's request got a Completer Abort; cleared by writing 1.
    pub received_target_abort: bool,
    /// This function's request got an Unsupported Request; cleared by writing 1.
    pub received_master_abort: bool,
    /// An error message was sent; cleared by writing 1.
    pub signaled_system_error: bool,
    /// A poisoned packet was received; cleared by writing 1.
    pub detected_parity_error: bool,
}

/// The 32-bit word at [`REVISION_ID`]: revision and class code (7.5.1.1.5, 7.5.1.1.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ClassRevision {
    /// Revision id.
    pub revision: u8,
    /// Programming interface.
    pub prog_if: u8,
    /// Sub-class.
    pub sub_class: u8,
    /// Base class.
    pub base_class: u8,
}

impl ClassRevision {
    /// The 24-bit class code: base class, sub-class, programming interface; see [`class`].
    pub const fn class_code(self) -> u32 {
        self.into_bits() >> 8
    }
}

/// Class codes (PCI Code and ID Assignment Specification) of the functions met here.
pub mod class {
    /// NVM Express I/O controller.
    pub const NVME: u32 = 0x01_08_02;
    /// Base class (bits 23 to 16) of bridges: to the host, to ISA, to further buses.
    pub const BASE_BRIDGE: u32 = 0x06;
    /// Host bridge.
    pub const HOST_BRIDGE: u32 = 0x06_00_00;
    /// PCI-to-PCI bridge; root ports and PCIe-to-PCI bridges too.
    pub const PCI_BRIDGE: u32 = 0x06_04_00;
    /// IOMMU.
    pub const IOMMU: u32 = 0x08_06_00;
    /// System peripheral of no other kind.
    pub const OTHER_SYSTEM_PERIPHERAL: u32 = 0x08_80_00;
    /// Does not fit any defined class.
    pub const UNASSIGNED: u32 = 0xff_00_00;
}

/// Header type register (7.5.1.1.9).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct HeaderType {
    /// Layout of the rest of the header: [`HEADER_TYPE0`] or [`HEADER_TYPE1`].
    #[bits(7)]
    pub layout: u8,
    /// The device has functions besides function 0.
    pub multi_function: bool,
}

/// [`HeaderType::layout`] of a device.
pub const HEADER_TYPE0: u8 = 0;
/// [`HeaderType::layout`] of a bridge.
pub const HEADER_TYPE1: u8 = 1;
