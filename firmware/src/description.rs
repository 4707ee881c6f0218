//! What every kind of table says in the end: which units there are, who is behind each, and which memory is
//! reserved for whom.
//!
//! DMAR, IVRS, IORT, RIMT, VIOT and devicetrees say it in six languages; a kernel needs it in one.
//! [`IommuDescription`] is what units are built from.

use alloc::vec::Vec;

use crate::dmar::DeviceScope;

/// The IOMMUs of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IommuDescription {
    /// The units, numbered by their place here.
    pub units: Vec<UnitDescription>,
    /// Who is behind which unit. The first that names a device counts; a device that none names is behind
    /// no unit.
    pub assignments: Vec<Assignment>,
    /// Bus addresses that are special for some devices.
    pub reserved: Vec<ReservedRegion>,
    /// Bits of a physical address on this machine, where the table says so.
    pub host_address_bits: Option<u32>,
}

impl IommuDescription {
    /// Adds what another table of the same machine says. Its units are numbered after those already here, and units
    /// that are for all remaining devices of a segment still come last.
    ///
    /// ```
    /// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/virt-smmuv3.iort.bin"));
    /// let one = firmware::Iort::parse(bytes)?.description();
    /// let mut both = one.clone();
    /// both.join(one);
    /// assert_eq!((both.units.len(), both.assignments[1].unit), (2, 1));
    /// # Ok::<(), firmware::TableError>(())
    /// ```
    pub fn join(&mut self, other: Self) {
        let before = self.units.len();
        self.units.extend(other.units);
        self.assignments
            .extend(other.assignments.into_iter().map(|mut assignment| {
                assignment.unit += before;
                assignment
            }));
        self.assignments
            .sort_by_key(|one| matches!(one.devices, Devices::Segment { .. }));
        self.reserved.extend(other.reserved);
        self.host_address_bits = self.host_address_bits.or(other.host_address_bits);
    }

    /// Gives each unit that is no PCI function the segment of the first devices on PCI that are behind it.
    pub(crate) fn name_segments(&mut self) {
        // The first counts, thus comes last.
        for assignment in self.assignments.iter().rev() {
            if let Some(segment) = assignment.devices.segment()
                && let Some(unit) = self.units.get_mut(assignment.unit)
                && let UnitPlace::Registers { .. } = unit.place
            {
                unit.segment = segment;
            }
        }
    }
}

/// One IOMMU unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitDescription {
    /// Who built it.
    pub kind: UnitKind,
    /// Where it is.
    pub place: UnitPlace,
    /// PCI segment of the devices behind it; of the first of them, if a unit of this kind can have several. For a unit
    /// that is a PCI function it is its own; for one that has only devices that are not on PCI, 0.
    pub segment: u16,
    /// Whether its walks see the CPU's caches, where the table says so.
    pub walks: Option<Walks>,
}

/// The kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// Intel VT-d (DMAR).
    Vtd,
    /// AMD-Vi (IVRS).
    AmdVi,
    /// Arm SMMUv3 (IORT, devicetree `arm,smmu-v3`).
    SmmuV3,
    /// RISC-V IOMMU (RIMT, devicetree `riscv,iommu` and `riscv,pci-iommu`).
    Riscv,
    /// virtio-iommu (VIOT, devicetree `virtio,mmio` and `virtio,pci-iommu`).
    Virtio,
}

/// Where a unit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitPlace {
    /// Its registers lie at a physical address.
    Registers {
        /// First physical address.
        phys: u64,
        /// Bytes of its registers, as far as the table tells, else as many as units of the kind have.
        len_bytes: u64,
    },
    /// It is a PCI function, and its registers lie behind a BAR of it.
    Function {
        /// PCI segment.
        segment: u16,
        /// Bus in bits 15:8, device in 7:3, function in 2:0.
        requester: u16,
    },
}

/// Whether a unit's walks see what lies in the CPU's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walks {
    /// They do.
    Snoop,
    /// They read memory.
    DoNotSnoop,
}

/// Devices that are behind one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The devices.
    pub devices: Devices,
    /// Number of the unit, an index into [`IommuDescription::units`].
    pub unit: usize,
    /// How the unit names them.
    pub stream: Stream,
}

/// How a unit names the requests of a device (source id, device id, stream id, endpoint id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// By its requester id.
    Requester,
    /// The first of the devices by this number, each other one by as much more as its requester id is greater.
    From(u32),
    /// All by this one number: they are aliases of each other.
    One(u32),
}

/// A set of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// What a DMAR scope names. Its path must be resolved on the running machine.
    Scope {
        /// PCI segment.
        segment: u16,
        /// The scope.
        scope: DeviceScope,
    },
    /// Requester ids, both ends included.
    Requesters {
        /// PCI segment.
        segment: u16,
        /// The first requester id.
        first: u16,
        /// The last requester id.
        last: u16,
    },
    /// Every PCI device of a segment.
    Segment {
        /// PCI segment.
        segment: u16,
    },
    /// A device that is not on PCI, by its name in the ACPI namespace or its devicetree path. It makes requests
    /// under the numbers of all assignments that name it, of which the first does not outweigh the others.
    Named(alloc::string::String),
}

impl Devices {
    /// Their PCI segment; `None` if they are not on PCI.
    pub fn segment(&self) -> Option<u16> {
        match self {
            Self::Scope { segment, .. }
            | Self::Requesters { segment, .. }
            | Self::Segment { segment } => Some(*segment),
            Self::Named(_) => None,
        }
    }

    /// Those of the `count` requester ids from `first` on that PCI has, of `segment`; `None` if it has none of them.
    pub(crate) fn requesters(segment: u16, first: u32, count: u64) -> Option<Self> {
        let last = (u64::from(first) + count.checked_sub(1)?).min(u16::MAX.into());
        Some(Self::Requesters {
            segment,
            first: first.try_into().ok()?,
            last: last.try_into().ok()?,
        })
    }
}

/// Addresses firmware keeps for itself or for the devices it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// For whom they are special.
    pub devices: Devices,
    /// First address.
    pub base: u64,
    /// Last address, inclusive.
    pub last: u64,
    /// What is special about them.
    pub kind: ReservedKind,
}

/// What is special about reserved addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKind {
    /// The devices use the memory there at equal bus addresses, and must not lose it (RMRR, unity map, RMR).
    Direct(DirectAccess),
    /// The unit lets requests to these bus addresses through untranslated (exclusion range).
    Untranslated,
    /// Nothing may be mapped at these bus addresses.
    Unmappable,
}

/// How devices access direct memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectAccess {
    /// They read.
    Read,
    /// They write.
    Write,
    /// Both.
    ReadWrite,
}
