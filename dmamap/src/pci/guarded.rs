//! Configuration registers that are not for whoever has a [`Function`] to write: what they do reaches beyond the function, or
//! decides what this layer promises of it.
//!
//! A function's IOMMU confines its requests, not what its configuration space has other hardware do. So these are written
//! by this layer, which knows what it promised, or by an `unsafe` call, whose caller does.

use core::fmt;

use hw::pci::ECAM_FUNCTION_BYTES;
use hw::pci::capability::{EXTENDED_BASE, extended_id, id};
use hw::pci::config::class;
use hw::virtio::pci::{CapabilityHeader, StructureType, VENDOR_ID};

use super::Function;
use crate::mmio::RegisterValue;
use crate::platform::Platform;

/// What a guarded register decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// Which address message interrupts are written to, and what: a write like any other of the function's.
    Interrupts,
    /// Links, resets, and whose name requests carry (PCI Express, advanced features).
    Express,
    /// Power: a function that comes back from D3 has forgotten its configuration.
    Power,
    /// Which functions are kept from each other, on which groups rest (access control services, multicast).
    Isolation,
    /// Whether the function translates addresses itself, and under which names (ATS, page requests, PASID); or answers at
    /// others and keeps memory in a cache of its own (CXL, by a designated vendor's capability).
    Translation,
    /// What further functions there are (virtual functions).
    Functions,
    /// Where its registers are on the bus.
    Addresses,
    /// A window onto registers behind its base addresses, past whoever claimed them (virtio, serial ATA).
    Window,
    /// An IOMMU, whether it is on.
    Unit,
    /// Anything of a bridge: of the host's where configuration space and memory are, of others what passes them.
    Bridge,
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupts => "message interrupts",
            Self::Express => "PCI Express control",
            Self::Power => "power management",
            Self::Isolation => "isolation from other functions",
            Self::Translation => "address translation by the device",
            Self::Functions => "virtual functions",
            Self::Addresses => "addresses on the bus",
            Self::Window => "a window onto claimed registers",
            Self::Unit => "an IOMMU",
            Self::Bridge => "what is behind a bridge",
        })
    }
}

/// What registers of a capability decide, and how many bytes it has at most; `None` for those anybody may write.
fn of_capability(capability: u8) -> Option<(Guarded, u16)> {
    Some(match capability {
        id::POWER_MANAGEMENT => (Guarded::Power, 8),
        id::MSI => (Guarded::Interrupts, 24),
        id::MSIX => (Guarded::Interrupts, 12),
        // How long one is depends on its kind.
        id::HYPERTRANSPORT => (Guarded::Interrupts, EXTENDED_BASE),
        id::SECURE_DEVICE => (Guarded::Unit, 28),
        id::PCI_EXPRESS => (Guarded::Express, 0x3c),
        // The pair of index and data may be in it, behind two words that say so.
        id::SATA => (Guarded::Window, 16),
        id::ADVANCED_FEATURES => (Guarded::Express, 8),
        // As many entries as it likes.
        id::ENHANCED_ALLOCATION => (Guarded::Addresses, EXTENDED_BASE),
        _ => return None,
    })
}

/// As [`of_capability`].
fn of_extended_capability(capability: u16) -> Option<(Guarded, u16)> {
    Some(match capability {
        // The vector of egress control has up to 256 bits.
        extended_id::ACS => (Guarded::Isolation, 8 + 32),
        extended_id::MULTICAST => (Guarded::Isolation, 0x30),
        extended_id::ARI => (Guarded::Express, 8),
        extended_id::ATS => (Guarded::Translation, 8),
        extended_id::PRI => (Guarded::Translation, 16),
        extended_id::PASID => (Guarded::Translation, 8),
        // It says itself how long it is: up to the next one.
        extended_id::DESIGNATED_VENDOR => (Guarded::Translation, ECAM_FUNCTION_BYTES as u16),
        extended_id::SRIOV => (Guarded::Functions, 0x40),
        extended_id::MRIOV => (Guarded::Functions, 0x100),
        extended_id::RESIZABLE_BAR | extended_id::VF_RESIZABLE_BAR => {
            (Guarded::Addresses, 4 + 6 * 8)
        }
        _ => return None,
    })
}

impl<P: Platform> Function<P> {
    /// What the register of type `T` at `offset` decides, if it is guarded: any byte of it. Reads the function.
    pub(crate) fn guarded<T: RegisterValue>(&self, offset: u16) -> Option<Guarded> {
        // What a bridge's own registers do stands in no list: those of a host's move configuration space.
        let bridge = self.is_any_bridge().then_some(Guarded::Bridge);
        self.guarded_by_capability::<T>(offset).or(bridge)
    }

    /// Whether this is a bridge to further buses, or calls itself one to anything: the host, ISA.
    fn is_any_bridge(&self) -> bool {
        self.is_bridge() || self.class() >> 16 == class::BASE_BRIDGE
    }

    fn guarded_by_capability<T: RegisterValue>(&self, offset: u16) -> Option<Guarded> {
        let end = u64::from(offset) + T::LEN_BYTES;
        let hit = |&(start, len, guarded): &(u16, u16, Guarded)| {
            let start = u64::from(start);
            (start < end && u64::from(offset) < start + u64::from(len)).then_some(guarded)
        };
        self.guarded_registers().find_map(|each| hit(&each))
    }

    /// Offsets, lengths and what is decided there. None reaches into the next capability.
    fn guarded_registers(&self) -> impl Iterator<Item = (u16, u16, Guarded)> {
        let starts = || {
            let conventional = self.capabilities().map(|(_, offset)| offset);
            conventional.chain(self.extended_capabilities().map(|(_, offset)| offset))
        };
        let bounded = move |(offset, (guarded, len)): (u16, (Guarded, u16))| {
            let area_end = match offset < EXTENDED_BASE {
                true => EXTENDED_BASE,
                false => ECAM_FUNCTION_BYTES as u16,
            };
            let later = starts().filter(|&other| other > offset);
            let next = later.min().unwrap_or(area_end).min(area_end);
            (offset, len.min(next - offset), guarded)
        };
        let conventional = self.capabilities().filter_map(|(capability, offset)| {
            let window = || (capability == id::VENDOR_SPECIFIC).then(|| self.window_at(offset))?;
            Some((offset, of_capability(capability).or_else(window)?))
        });
        let extended = self
            .extended_capabilities()
            .filter_map(|(capability, offset)| Some((offset, of_extended_capability(capability)?)));
        conventional.chain(extended).map(bounded)
    }

    /// Whether the vendor's capability at `offset` is virtio's window onto base addresses (virtio 1.2, 4.1.4.9).
    fn window_at(&self, offset: u16) -> Option<(Guarded, u16)> {
        let header = CapabilityHeader::from_bits(self.config().read(offset));
        let is_window = header.structure() == StructureType::Pci as u8;
        (self.vendor() == VENDOR_ID && is_window).then_some((Guarded::Window, 20))
    }

    /// Whether this is an IOMMU unit: one that was started, or calls itself one.
    pub(crate) fn is_unit(&self) -> bool {
        // The programming interface says of which vendor's kind.
        self.was_started_as_unit() || self.class() >> 8 == class::IOMMU >> 8
    }
}
