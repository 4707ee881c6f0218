//! The host bridge's arrows: windows A ↔ B, and, where the bus sees memory at an offset, Y ↔ Z.
//!
//! A [`HostBridge`] is built once from what firmware says (`_CRS`, or a devicetree node's `ranges` and
//! `dma-ranges`) and checked then, so that every later conversion is exact in both directions: no two
//! windows share a physical address, no two windows of one bus space share a bus address, so A → B → A
//! and Y → Z → Y are identities wherever they are defined.
//!
//! ```
//! use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
//! use dmamap::bridge::{HostBridge, Window, WindowKind};
//!
//! let window = Window {
//!     kind: WindowKind::Memory,
//!     bus: BusRange::new(BusAddr::new(0x8000_0000), 0x1000_0000)?,
//!     phys: PhysRange::new(PhysAddr::new(0xc000_0000), 0x1000_0000)?,
//! };
//! let bridge = HostBridge::new(0, 0, 255, vec![window], vec![])?;
//! let a = BusAddr::new(0x8010_0000);
//! let b = bridge.bus_to_phys(a).unwrap();
//! assert_eq!(b, PhysAddr::new(0xc010_0000));
//! assert_eq!(bridge.phys_to_bus(b), Some(a));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use error::{BridgeError, RangeKind};

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::device::Coherence;
use crate::resource::{ResourceError, ResourceTree};

/// What a host-bridge window carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Memory registers, below 4 GiB on the bus; reads may have side effects.
    Memory,
    /// Memory that may be prefetched; may lie above 4 GiB on the bus.
    PrefetchableMemory,
    /// IO ports, which the CPU reaches by memory accesses. A bus address space of its own.
    Io,
}

impl WindowKind {
    /// Whether windows of the two kinds lie in one bus address space, so that an address means the same
    /// in both.
    const fn shares_space_with(self, other: Self) -> bool {
        matches!(self, Self::Io) == matches!(other, Self::Io)
    }
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::PrefetchableMemory => "prefetchable memory",
            Self::Io => "IO",
        })
    }
}

/// A run of physical addresses (B) that the host bridge forwards to bus addresses (A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What lies behind it.
    pub kind: WindowKind,
    /// Where devices' registers answer: A.
    pub bus: BusRange,
    /// Where the CPU reaches them: B.
    pub phys: PhysRange,
}

/// A run of bus addresses (Z) at which devices see memory (Y): one entry of `dma-ranges`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// What a device puts on the bus: Z.
    pub bus: BusRange,
    /// The memory it reaches: Y.
    pub phys: PhysRange,
}

/// What a host bridge does with requests of devices to registers of other devices behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerForwarding {
    /// It is not known to send them down again: they may be lost.
    #[default]
    Unknown,
    /// It sends them to the device.
    Forwarded,
}

/// A PCI host bridge: which buses lie behind it, and both ways through it. Holding one proves that
/// its ranges passed the checks of [`new`](Self::new).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBridge {
    segment: u16,
    first_bus: u8,
    last_bus: u8,
    windows: Vec<Window>,
    inbound: Vec<Inbound>,
    /// The highest bus address that requests keep on their way to memory.
    carries: BusAddr,
    peers: PeerForwarding,
    coherence: Coherence,
}

impl HostBridge {
    /// The bridge to buses `first_bus` to `last_bus` (inclusive) of a segment. Without inbound ranges
    /// devices see memory where the CPU does (Z = Y).
    ///
    /// # Errors
    /// A [`BridgeError`] for the first range that is empty, of unequal sides, out of reach of its BARs,
    /// or in conflict with another.
    pub fn new(
        segment: u16,
        first_bus: u8,
        last_bus: u8,
        windows: Vec<Window>,
        inbound: Vec<Inbound>,
    ) -> Result<Self, BridgeError> {
        if first_bus > last_bus {
            return Err(BridgeError::BusNumbers {
                first: first_bus,
                last: last_bus,
            });
        }
        for (index, window) in windows.iter().enumerate() {
            let kind = RangeKind::Window(window.kind);
            check_sides(kind, window.bus, window.phys)?;
            if window.kind != WindowKind::PrefetchableMemory
                && window.bus.last().as_u64() > u64::from(u32::MAX)
            {
                return Err(BridgeError::Above4GiB {
                    kind,
                    bus: window.bus,
                });
            }
            for earlier in &windows[..index] {
                check_phys(kind, earlier.phys, window.phys)?;
                if window.kind.shares_space_with(earlier.kind) {
                    check_bus(kind, earlier.bus, window.bus)?;
                }
            }
        }
        for (index, range) in inbound.iter().enumerate() {
            check_sides(RangeKind::Inbound, range.bus, range.phys)?;
            for earlier in &inbound[..index] {
                check_phys(RangeKind::Inbound, earlier.phys, range.phys)?;
                check_bus(RangeKind::Inbound, earlier.bus, range.bus)?;
            }
        }
        Ok(Self {
            segment,
            first_bus,
            last_bus,
            windows,
            inbound,
            carries: BusAddr::new(u64::MAX),
            peers: PeerForwarding::Unknown,
            coherence: Coherence::Snooped,
        })
    }

    /// The same bridge, which carries no address above `last` to memory: a root complex's address size limit (IORT,
    /// "memory address size limit").
    #[must_use]
    pub fn with_bus_limit(mut self, last: BusAddr) -> Self {
        self.carries = last;
        self
    }

    /// The highest bus address at which a device can reach memory through this bridge: of its views of memory, and of what
    /// it carries. `u64::MAX` where nothing limits it.
    pub fn bus_limit(&self) -> BusAddr {
        let seen = self.inbound.iter().map(|view| view.bus.last()).max();
        seen.map_or(self.carries, |seen| seen.min(self.carries))
    }

    /// The same bridge, of which firmware says how its devices meet the CPU's caches (`_CCA`, IORT's memory access
    /// properties, `dma-coherent`). Without that PCI requests snoop.
    #[must_use]
    pub fn with_coherence(self, coherence: Coherence) -> Self {
        Self { coherence, ..self }
    }

    /// How devices behind it meet the CPU's caches.
    pub fn coherence(&self) -> Coherence {
        self.coherence
    }

    /// Whether bus `bus` of `segment` is behind it.
    pub fn leads_to(&self, segment: u16, bus: u8) -> bool {
        self.segment == segment && (self.first_bus..=self.last_bus).contains(&bus)
    }

    /// The same bridge, of which is known what it does with requests of devices to other devices. No register tells: boot
    /// code knows its root complex, or does not.
    #[must_use]
    pub fn with_peer_forwarding(mut self, peers: PeerForwarding) -> Self {
        self.peers = peers;
        self
    }

    /// What it does with requests of devices to other devices.
    pub fn peer_forwarding(&self) -> PeerForwarding {
        self.peers
    }

    /// The PCI segment group.
    pub fn segment(&self) -> u16 {
        self.segment
    }

    /// The root bus.
    pub fn first_bus(&self) -> u8 {
        self.first_bus
    }

    /// The last bus number that may be given out, inclusive.
    pub fn last_bus(&self) -> u8 {
        self.last_bus
    }

    /// The windows to registers, as firmware listed them.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The views of memory, as firmware listed them; none where Z is Y.
    pub fn inbound(&self) -> &[Inbound] {
        &self.inbound
    }

    /// The name its windows have in the resource tree, such as `PCI Bus 0000:00`.
    pub fn name(&self) -> String {
        format!("PCI Bus {:04x}:{:02x}", self.segment, self.first_bus)
    }

    /// Enters the windows into the resource tree, as registers that drivers may claim.
    ///
    /// # Errors
    /// [`ResourceError::Conflict`] if something else lies in a window.
    ///
    /// # Safety
    /// That of [`ResourceTree::insert_registers`] for every window: this bridge exists, and behind its
    /// windows lies no memory.
    pub unsafe fn insert_windows(&self, tree: &mut ResourceTree) -> Result<(), ResourceError> {
        for window in &self.windows {
            // SAFETY: the caller vouches for each window.
            unsafe { tree.insert_registers(&self.name(), window.phys)? };
        }
        Ok(())
    }

    /// A → B: where the CPU reaches registers that answer at memory address `bus`.
    pub fn bus_to_phys(&self, bus: BusAddr) -> Option<PhysAddr> {
        self.outward(WindowKind::Memory, bus)
    }

    /// A → B for an IO port.
    pub fn io_to_phys(&self, port: BusAddr) -> Option<PhysAddr> {
        self.outward(WindowKind::Io, port)
    }

    /// B → A: the bus memory address that an access of the CPU to `phys` becomes.
    pub fn phys_to_bus(&self, phys: PhysAddr) -> Option<BusAddr> {
        self.outward_back(WindowKind::Memory, phys)
    }

    /// B → A for an IO port.
    pub fn phys_to_io(&self, phys: PhysAddr) -> Option<BusAddr> {
        self.outward_back(WindowKind::Io, phys)
    }

    /// Y → Z: where a device reaches `memory`, all of it; `None` where no inbound range covers it.
    pub fn memory_to_bus(&self, memory: PhysRange) -> Option<BusRange> {
        if self.inbound.is_empty() {
            return BusRange::new(BusAddr::new(memory.start().as_u64()), memory.len_bytes()).ok();
        }
        let range = self
            .inbound
            .iter()
            .find(|range| range.phys.covers(memory))?;
        let offset = memory.start().as_u64() - range.phys.start().as_u64();
        range.bus.slice(offset, memory.len_bytes())
    }

    /// Z → Y: the memory a device reaches at `bus`; `None` where no inbound range covers it.
    pub fn bus_to_memory(&self, bus: BusRange) -> Option<PhysRange> {
        if self.inbound.is_empty() {
            return PhysRange::new(PhysAddr::new(bus.start().as_u64()), bus.len_bytes()).ok();
        }
        let range = self.inbound.iter().find(|range| range.bus.covers(bus))?;
        let offset = bus.start().as_u64() - range.bus.start().as_u64();
        range.phys.slice(offset, bus.len_bytes())
    }

    fn outward(&self, space: WindowKind, bus: BusAddr) -> Option<PhysAddr> {
        let mut windows = self
            .windows
            .iter()
            .filter(|window| window.kind.shares_space_with(space));
        let window = windows.find(|window| window.bus.contains(bus))?;
        window
            .phys
            .start()
            .checked_add(bus.as_u64() - window.bus.start().as_u64())
    }

    fn outward_back(&self, space: WindowKind, phys: PhysAddr) -> Option<BusAddr> {
        let mut windows = self
            .windows
            .iter()
            .filter(|window| window.kind.shares_space_with(space));
        let window = windows.find(|window| window.phys.contains(phys))?;
        window
            .bus
            .start()
            .checked_add(phys.as_u64() - window.phys.start().as_u64())
    }
}

fn check_sides(kind: RangeKind, bus: BusRange, phys: PhysRange) -> Result<(), BridgeError> {
    if bus.len_bytes() != phys.len_bytes() {
        return Err(BridgeError::UnequalLengths { kind, phys, bus });
    }
    if phys.is_empty() {
        return Err(BridgeError::Empty {
            kind,
            phys: phys.start(),
        });
    }
    Ok(())
}

fn check_phys(kind: RangeKind, first: PhysRange, second: PhysRange) -> Result<(), BridgeError> {
    match first.overlaps(second) {
        true => Err(BridgeError::PhysOverlap {
            kind,
            first,
            second,
        }),
        false => Ok(()),
    }
}

fn check_bus(kind: RangeKind, first: BusRange, second: BusRange) -> Result<(), BridgeError> {
    match first.overlaps(second) {
        true => Err(BridgeError::BusOverlap {
            kind,
            first,
            second,
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
