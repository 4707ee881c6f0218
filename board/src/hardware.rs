//! What a computer in a process offers the kernel that runs on it.

use std::sync::Arc;

use crate::ram::Ram;

/// How many bytes one register access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
    /// 64 bits.
    Qword,
}

impl Width {
    /// Number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// All bits an access of this width can carry: what a read returns where nothing answers.
    pub const fn ones(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// What a write-back of the CPU's caches does to memory as non-snooping hardware sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOperation {
    /// Dirty lines are written to memory.
    Clean,
    /// Lines are dropped, so that the next read comes from memory.
    Invalidate,
}

/// Whether accesses of hardware to memory see and update the CPU's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snooping {
    /// They do: every store is seen.
    #[default]
    On,
    /// They do not: only what reached memory is seen.
    Off,
}

/// What a host-bridge window carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Memory registers below 4 GiB on the bus, reads may have side effects.
    Memory,
    /// Memory that may be prefetched; may lie above 4 GiB on the bus.
    PrefetchableMemory,
    /// IO ports, reached through memory accesses of the CPU.
    Io,
}

/// A run of physical addresses that a host bridge forwards to bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowDescription {
    /// What lies behind it.
    pub kind: WindowKind,
    /// First physical address (B).
    pub phys: u64,
    /// The bus address (A) that the first physical address becomes.
    pub bus: u64,
    /// Length of both.
    pub len_bytes: u64,
}

/// A run of bus addresses at which devices see memory (`dma-ranges`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundDescription {
    /// First bus address (Z).
    pub bus: u64,
    /// The physical address (Y) it reaches.
    pub phys: u64,
    /// Length of both.
    pub len_bytes: u64,
}

/// What a host's firmware says in `_CRS` and `_CCA` (ACPI) or a devicetree node about one PCI host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBridgeDescription {
    /// PCI segment group.
    pub segment: u16,
    /// First bus behind the bridge.
    pub first_bus: u8,
    /// Last bus behind the bridge, inclusive.
    pub last_bus: u8,
    /// Where the CPU reaches registers.
    pub windows: Vec<WindowDescription>,
    /// Where devices see memory, IOMMU aside.
    pub inbound: Vec<InboundDescription>,
    /// Whether the devices behind it snoop (`_CCA`, `dma-coherent`).
    pub snooping: Snooping,
}

/// Where hardware delivers interrupts: writes of devices into the message window.
pub trait InterruptSink: Send + Sync {
    /// A device wrote `data` to the message address `bus`.
    fn deliver(&self, bus: u64, data: u32);
}

/// Memory on a device, behind its BAR.
#[derive(Clone, Debug)]
pub struct DeviceMemory {
    /// The memory; its addresses count from the BAR's beginning.
    pub memory: Arc<Ram>,
    /// The first byte of it that was asked for.
    pub offset: u64,
}

/// A computer: memory, registers behind physical addresses, interrupts, and what firmware tells of it.
///
/// Addresses are plain numbers named by their kind (`phys`, `bus`): hardware knows no types.
pub trait Hardware: Send + Sync + 'static {
    /// The board's name, for messages.
    fn name(&self) -> &str;

    /// The memory, as a CPU sees it.
    fn ram(&self) -> &Arc<Ram>;

    /// The memory beneath the CPU's caches, of the same layout, where it can differ from what a CPU sees: what
    /// hardware that does not snoop reaches, and a CPU through an uncached mapping. `None` where a CPU
    /// and all hardware always see the same.
    fn uncached_ram(&self) -> Option<&Arc<Ram>> {
        None
    }

    /// Physical address of the ACPI root pointer, where the board has ACPI.
    fn rsdp(&self) -> Option<u64>;

    /// The flattened devicetree, where firmware describes the board by one.
    fn devicetree(&self) -> Option<Vec<u8>> {
        None
    }

    /// The PCI host bridges.
    fn host_bridges(&self) -> Vec<HostBridgeDescription>;

    /// Physical ranges firmware keeps in RAM for itself (tables, direct regions): not for the frame allocator.
    fn reserved_ram(&self) -> Vec<std::ops::Range<u64>>;

    /// A CPU read of a register; all ones where nothing answers.
    fn read(&self, phys: u64, width: Width) -> u64;

    /// A CPU write of a register; lost where nothing answers.
    fn write(&self, phys: u64, width: Width, value: u64);

    /// The memory that lies at `len_bytes` physical addresses from `phys` on, outside [`ram`](Self::ram): a CPU may map it instead
    /// of asking for each word. `None` where there are registers, or nothing.
    fn device_memory(&self, phys: u64, len_bytes: u64) -> Option<DeviceMemory> {
        let _ = (phys, len_bytes);
        None
    }

    /// The bus addresses a device writes to raise interrupts; empty where nobody would notice.
    fn message_window(&self) -> std::ops::Range<u64>;

    /// From now on interrupts go to `sink`.
    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>);

    /// The CPU maintains its caches over RAM: every line that holds a byte of the range. A line that also holds bytes
    /// outside the range is written back before it is dropped.
    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64);

    /// The kernel freed and poisoned these frames: whoever still reaches them is at fault.
    fn frames_freed(&self, phys: u64, len_bytes: u64);

    /// Someone waits for the hardware: a board with a clock of its own steps it.
    fn idle(&self) {}
}
