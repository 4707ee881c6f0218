//! What can be wrong with a table, and where.

use crate::header::Signature;
use crate::memory::Unreadable;

/// Why the tables of a machine could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A pointer leads to where no memory is.
    #[error("{signature} table: physical address {phys:#x} lies outside memory")]
    OutsideMemory {
        /// The table pointed at or, where not even its signature could be read, the list that points.
        signature: Signature,
        /// Physical address the pointer names.
        phys: u64,
        /// The address that could not be read.
        #[source]
        source: Unreadable,
    },
    /// A table is damaged.
    #[error("at physical address {phys:#x}: {error}")]
    Damaged {
        /// Physical address of the table.
        phys: u64,
        /// What is wrong, and where in the table.
        error: TableError,
    },
    /// No memory for a copy of a table.
    #[error("no memory for the {len_bytes} bytes of the {signature} table")]
    OutOfMemory {
        /// The table.
        signature: Signature,
        /// Its length.
        len_bytes: usize,
    },
}

/// A table is damaged: what is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{signature} table, byte {offset:#x}: {damage}")]
pub struct TableError {
    /// The table.
    pub signature: Signature,
    /// Offset from the table's start of the field or structure that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What can be wrong in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes end before the field or structure does.
    #[error("{needed} bytes are needed here but only {available} are left")]
    Truncated {
        /// Bytes that the field or structure has.
        needed: usize,
        /// Bytes from its start to the end of what holds it.
        available: usize,
    },
    /// The table is not the one expected.
    #[error("the signature is {found}, not {expected}")]
    WrongSignature {
        /// What was looked for.
        expected: Signature,
        /// What stands there.
        found: Signature,
    },
    /// The bytes do not add up to 0.
    #[error("the checksum is wrong: the bytes add up to {sum:#04x} instead of 0")]
    Checksum {
        /// Their sum, modulo 256.
        sum: u8,
    },
    /// A length field is below the least that its structure can have; 0 would never end.
    #[error("a length of {stated} is stated, below the least possible of {least}")]
    LengthTooSmall {
        /// What the field says.
        stated: usize,
        /// The least it could say.
        least: usize,
    },
    /// A length field is above any sensible one.
    #[error("a length of {stated} is stated, above the limit of {most}")]
    LengthTooLarge {
        /// What the field says.
        stated: usize,
        /// The most that is accepted.
        most: usize,
    },
    /// The bytes of an array are not a multiple of its entries' size.
    #[error("{len_bytes} bytes of array are not a multiple of the {entry_bytes} bytes of an entry")]
    RaggedArray {
        /// Bytes of the array.
        len_bytes: usize,
        /// Bytes of an entry.
        entry_bytes: usize,
    },
    /// Neither an RSDT nor an XSDT is named.
    #[error("neither an RSDT nor an XSDT is named")]
    NoRootTable,
    /// An address is 0, or not a multiple of what it must be.
    #[error("the address {address:#x} is 0 or no multiple of {align:#x}")]
    BadAddress {
        /// The physical address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// A range ends before it starts, at the wrong place, or past the end of the address space.
    #[error("the range from {base:#x} to {last:#x} is empty, misaligned or too long")]
    BadRange {
        /// First physical address.
        base: u64,
        /// Last physical address, inclusive, as far as it has a number.
        last: u64,
    },
    /// A range of buses ends before it starts.
    #[error("the buses {first:#04x} to {last:#04x} are no range")]
    BadBuses {
        /// First bus.
        first: u8,
        /// Last bus.
        last: u8,
    },
    /// Two entries speak of the same buses.
    #[error("bus {bus:#04x} of segment {segment:#06x} was already described")]
    BusesOverlap {
        /// The segment.
        segment: u16,
        /// The first bus that both have.
        bus: u8,
    },
    /// An address width that no machine has.
    #[error("an address width of {bits} bits is stated; there are 1 to 64")]
    BadAddressWidth {
        /// What the field says.
        bits: u32,
    },
    /// A path step names no possible device.
    #[error(
        "a path has device {device:#x} function {function:#x}; there are 32 devices of 8 functions"
    )]
    BadPathStep {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A structure that must name devices names none.
    #[error("the structure applies to certain devices but names none")]
    NoDeviceScope,
    /// Two units claim all devices of a segment that have no unit of their own.
    #[error("a second unit claims all remaining devices of segment {segment:#06x}")]
    DuplicateIncludeAll {
        /// The segment.
        segment: u16,
    },
    /// Two units have the same registers.
    #[error("a second unit has its registers at {register_base:#x}")]
    DuplicateUnit {
        /// Physical address of the registers.
        register_base: u64,
    },
    /// A name is not text with a zero byte at its end, or is longer than 1 KiB.
    #[error("a name is not ASCII text that a zero byte ends")]
    BadName,
    /// A range of ids ends before it starts or past the last possible id.
    #[error("{count} ids from {first:#x} on are no range")]
    BadIds {
        /// First id.
        first: u32,
        /// Number of ids; 0 where the range ends before it starts.
        count: u64,
    },
    /// A range has a start without an end, or an end without a start.
    #[error("one end of a range of devices has no other end beside it")]
    UnpairedRange,
    /// A segment number that PCI does not have.
    #[error("PCI segment {segment:#x} is named; there are 65536")]
    BadSegment {
        /// The segment.
        segment: u32,
    },
    /// A reference to another structure leads to none that could be meant.
    #[error("a reference to {to:#x} leads to nothing that could be meant")]
    BadReference {
        /// Offset in the table, or phandle, that is referred to.
        to: u64,
    },
    /// More is stated than any machine has; reading on could take arbitrarily long.
    #[error("{stated} are stated, above the limit of {most}")]
    TooMany {
        /// How many are stated.
        stated: usize,
        /// The most that are accepted.
        most: usize,
    },
    /// A token of a devicetree that is unknown or may not stand there.
    #[error("token {token:#x} may not stand here")]
    BadToken {
        /// The token.
        token: u32,
    },
    /// A version of the devicetree format that cannot be read.
    #[error("version {version} is stated; version 17 is read")]
    BadVersion {
        /// The version.
        version: u32,
    },
    /// A number of a devicetree takes more cells than are read, or none.
    #[error("a number of {cells} cells of 32 bits cannot be read here")]
    BadCells {
        /// How many 32-bit cells it takes.
        cells: u32,
    },
    /// A devicetree node lacks a property that it needs.
    #[error("the property {name} is missing")]
    MissingProperty {
        /// Name of the property.
        name: &'static str,
    },
    /// A devicetree node has a property that one of its kind may not have.
    #[error("the property {name} may not stand here")]
    UnfitProperty {
        /// Name of the property.
        name: &'static str,
    },
    /// What is set aside for devices is not memory, or not all of it in one piece.
    #[error("there is no memory all the way from {base:#x} to {last:#x}")]
    NotMemory {
        /// First physical address.
        base: u64,
        /// Last physical address, inclusive.
        last: u64,
    },
    /// Memory that is set aside for devices is reserved for something else too.
    #[error("the memory from {base:#x} to {last:#x} is reserved twice")]
    MemoryShared {
        /// First physical address that both have.
        base: u64,
        /// Last physical address that both have, inclusive.
        last: u64,
    },
    /// An address of a devicetree node that no bus above it passes on.
    #[error("no bus above passes on the address {address:#x}")]
    NotReachable {
        /// The address, on the bus that does not pass it on.
        address: u64,
    },
}
