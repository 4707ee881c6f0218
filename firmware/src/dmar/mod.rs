//! DMAR: Intel VT-d's units, the devices behind each, and reserved regions (VT-d specification, chapter 8).
//!
//! A request belongs to the unit that names its device in a scope, and else to the unit of its segment with
//! [`include_all`](Unit::include_all). Search scopes first: that order is what the specification asks of the
//! table, too, but nothing here relies on it.
//!
//! What makes the table ambiguous or leaves it incomplete is an error; types of structures and scopes that a
//! later revision may add are passed over, as the specification asks (8.2).
//!
//! ```
//! use firmware::dmar::ScopeKind;
//! # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs")); }
//! # let bytes = example::dmar();
//! let dmar = firmware::Dmar::parse(&bytes)?;
//! for unit in dmar.units() {
//!     for scope in &unit.scopes {
//!         // Start at `start_bus`; each step but the last is a bridge whose secondary bus comes next.
//!         assert_eq!(scope.kind, ScopeKind::Endpoint);
//!         assert_eq!((scope.start_bus, scope.path.as_slice()), (0, &[(3, 0)][..]));
//!     }
//! }
//! let region = &dmar.reserved_regions()[0];
//! assert_eq!((region.base, region.last), (0x7f00_0000, 0x7f00_0fff));
//! # Ok::<(), firmware::TableError>(())
//! ```

mod describe;
mod scope;
mod structure;

use alloc::string::String;
use alloc::vec::Vec;

pub use scope::{DeviceScope, ScopeKind};

use crate::error::{Damage, TableError};
use crate::header::{Signature, verified};

/// The DMAR table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmar {
    host_address_bits: u32,
    flags: Flags,
    units: Vec<Unit>,
    reserved_regions: Vec<ReservedRegion>,
    root_port_ats: Vec<RootPortAts>,
    affinities: Vec<Affinity>,
    namespace_devices: Vec<NamespaceDevice>,
    integrated_ats: Vec<IntegratedAts>,
}

/// What the platform says for all its units (8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The platform supports interrupt remapping.
    pub const fn interrupt_remapping(self) -> bool {
        self.0 & 1 != 0
    }

    /// Firmware asks not to enable x2APIC.
    pub const fn x2apic_opt_out(self) -> bool {
        self.0 & 2 != 0
    }

    /// Firmware asks for protection against DMA from boot on.
    pub const fn dma_control_opt_in(self) -> bool {
        self.0 & 4 != 0
    }
}

/// One remapping unit: a DRHD structure (8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// PCI segment of its devices.
    pub segment: u16,
    /// Physical address of its registers; a multiple of 4 KiB.
    pub register_base: u64,
    /// Bytes of its register set; a power of two, at least 4 KiB.
    pub register_len: u64,
    /// It translates for all devices of the segment that no other unit names. It may still name IO APICs and
    /// HPETs.
    pub include_all: bool,
    /// The devices it translates for.
    pub scopes: Vec<DeviceScope>,
}

/// Memory that firmware left some devices to use by DMA, and that must stay reachable for them at equal
/// addresses: an RMRR structure (8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// PCI segment of the devices.
    pub segment: u16,
    /// First physical address; a multiple of 4 KiB.
    pub base: u64,
    /// Last physical address, inclusive; one below a multiple of 4 KiB.
    pub last: u64,
    /// The devices; at least one.
    pub scopes: Vec<DeviceScope>,
}

/// Root ports whose devices may use address translation services: an ATSR structure (8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootPortAts {
    /// PCI segment.
    pub segment: u16,
    /// All root ports of the segment.
    pub all_ports: bool,
    /// The root ports, unless it is all.
    pub scopes: Vec<DeviceScope>,
}

/// The node of memory and processors that a unit is close to: an RHSA structure (8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// [`Unit::register_base`] of the unit.
    pub register_base: u64,
    /// Proximity domain, as in SRAT.
    pub proximity_domain: u32,
}

/// The name of a device that is found in the ACPI namespace only: an ANDD structure (8.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceDevice {
    /// The number that [`DeviceScope::enumeration_id`] of a [`ScopeKind::Namespace`] refers to.
    pub device_number: u8,
    /// Path in the namespace.
    pub name: String,
}

/// Integrated devices with address translation caches: an SATC structure (8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegratedAts {
    /// PCI segment.
    pub segment: u16,
    /// The devices work only with their caches enabled.
    pub required: bool,
    /// The devices.
    pub scopes: Vec<DeviceScope>,
}

impl Dmar {
    const WIDTH_AT: usize = 36;
    const FLAGS_AT: usize = 37;
    const STRUCTURES_AT: usize = 48;

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table or one of its structures is damaged, ambiguous or incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::DMAR, Self::STRUCTURES_AT, bytes)?;
        let host_address_bits = u32::from(table.u8(Self::WIDTH_AT)?) + 1;
        if host_address_bits > 64 {
            let damage = Damage::BadAddressWidth {
                bits: host_address_bits,
            };
            return Err(table.error(Self::WIDTH_AT, damage));
        }
        let mut dmar = Self {
            host_address_bits,
            flags: Flags(table.u8(Self::FLAGS_AT)?),
            units: Vec::new(),
            reserved_regions: Vec::new(),
            root_port_ats: Vec::new(),
            affinities: Vec::new(),
            namespace_devices: Vec::new(),
            integrated_ats: Vec::new(),
        };
        let mut rest = table.rest(Self::STRUCTURES_AT)?;
        while rest.len() != 0 {
            let structure = structure::first(&rest)?;
            dmar.add(&structure)?;
            rest = rest.rest(structure.len())?;
        }
        Ok(dmar)
    }

    /// Number of bits of physical addresses that remapping can produce.
    pub fn host_address_bits(&self) -> u32 {
        self.host_address_bits
    }

    /// What the platform says for all units.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// All remapping units, in the order of the table. No two of them have the same registers, and at most one of
    /// each segment has [`Unit::include_all`].
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// All reserved regions.
    pub fn reserved_regions(&self) -> &[ReservedRegion] {
        &self.reserved_regions
    }

    /// Root ports whose devices may use address translation services.
    pub fn root_port_ats(&self) -> &[RootPortAts] {
        &self.root_port_ats
    }

    /// Nodes of the units.
    pub fn affinities(&self) -> &[Affinity] {
        &self.affinities
    }

    /// Names of the devices found in the ACPI namespace only.
    pub fn namespace_devices(&self) -> &[NamespaceDevice] {
        &self.namespace_devices
    }

    /// Integrated devices with address translation caches.
    pub fn integrated_ats(&self) -> &[IntegratedAts] {
        &self.integrated_ats
    }
}
