//! What a PCI function's model is to the machine: a [`FunctionModel`] answers register accesses and lives on
//! its own threads; configuration space, BARs, MSI-X and the way to memory are the machine's.
//!
//! The order of a model's life: it is made; [`description`](FunctionModel::description) is asked once;
//! [`start`](FunctionModel::start) hands it its [`FunctionPort`]; register accesses come, from any CPU
//! thread; [`stop`](FunctionModel::stop) ends and joins its threads.

use std::sync::Arc;

use board::hardware::Width;
use board::ram::Ram;

use super::msix::Msix;
use crate::bus::DmaPort;

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes two BARs. Reads have side effects.
    Memory64,
    /// Memory anywhere that may be prefetched; takes two BARs.
    PrefetchableMemory64,
    /// IO ports.
    Io,
}

/// A BAR a model asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarDescription {
    /// Its index, 0 to 5; a 64-bit one also takes the next.
    pub index: usize,
    /// What it decodes.
    pub kind: BarKind,
    /// Its size: a power of two, at least 16 (memory) or 4 (IO).
    pub len_bytes: u64,
}

/// Where a function's MSI-X structures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixDescription {
    /// Number of vectors, 1 to 2048.
    pub vectors: u16,
    /// The memory BAR that holds both structures. The machine answers accesses to them.
    pub bar: usize,
    /// Offset of the table (16 bytes a vector) in the BAR, a multiple of 8.
    pub table_offset: u32,
    /// Offset of the pending bits in the BAR, a multiple of 8.
    pub pending_offset: u32,
}

/// How the function is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A PCI Express endpoint below a root port: 4096 bytes of configuration space and the PCI Express capability.
    Express,
    /// A conventional PCI function: 256 bytes.
    Conventional,
}

/// What a model tells of its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDescription {
    /// For messages and findings: "nvme".
    pub name: String,
    /// Vendor id.
    pub vendor_id: u16,
    /// Device id.
    pub device_id: u16,
    /// Base class, subclass, programming interface: 24 bits.
    pub class_code: u32,
    /// How it is attached.
    pub attachment: Attachment,
    /// Its BARs.
    pub bars: Vec<BarDescription>,
    /// Its message interrupts, if any.
    pub msix: Option<MsixDescription>,
    /// How many address lines it drives, 12 to 64: the machine drops the higher bits of its requests. Told to
    /// the driver in the "address lines" capability if fewer than 64.
    pub address_lines: u32,
}

/// A function's connections, given to its model at start. Clones are the same connections.
#[derive(Clone)]
pub struct FunctionPort {
    dma: DmaPort,
    msix: Option<Arc<Msix>>,
}

impl FunctionPort {
    /// Joins a function's way to memory and its message interrupts.
    pub fn new(dma: DmaPort, msix: Option<Arc<Msix>>) -> Self {
        Self { dma, msix }
    }

    /// The way to memory.
    pub fn dma(&self) -> &DmaPort {
        &self.dma
    }

    /// Raises MSI-X vector `vector`: a write through the function's own port, now or, while masked, when
    /// it is unmasked. Nothing happens if MSI-X is off or there is no such vector.
    pub fn raise(&self, vector: u16) {
        if let Some(msix) = &self.msix {
            msix.raise(vector);
        }
    }
}

/// A model of one PCI function.
pub trait FunctionModel: Send + Sync + 'static {
    /// What the function is; asked once, before anything else.
    fn description(&self) -> FunctionDescription;

    /// Vendor-specific capabilities, each without the two bytes of its header; asked once, after the description.
    fn vendor_capabilities(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The memory behind BAR `bar`, where that is memory and no registers: the CPU may map it, and the function reaches it
    /// without leaving the device. [`read`](Self::read) and [`write`](Self::write) reach the same.
    fn memory(&self, bar: usize) -> Option<&Arc<Ram>> {
        let _ = bar;
        None
    }

    /// The machine is wired: from now on the model may use `port`, from threads of its own.
    fn start(self: Arc<Self>, port: FunctionPort);

    /// A CPU read at `offset` of BAR `bar`, inside it. May have side effects; must not block on the CPU.
    fn read(&self, bar: usize, offset: u64, width: Width) -> u64;

    /// A CPU write at `offset` of BAR `bar`, inside it. Must not block on the CPU: work is for the threads.
    fn write(&self, bar: usize, offset: u64, width: Width, value: u64);

    /// The function was reset: it forgets what it was told, and begins nothing of what it had still to do. A request on its
    /// way may still arrive.
    fn reset(&self) {}

    /// Ends and joins the model's threads. May be called more than once; after it the port is not used.
    fn stop(&self);
}
