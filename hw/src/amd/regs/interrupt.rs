//! Where the IOMMU's own interrupts go, as its registers say it (section 3.4).

use bitfield_struct::bitfield;

/// `MSI Capability Header`: the mirror of the capability in the IOMMU's configuration space.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiHeader {
    /// 0x05, read only.
    pub msicapid: u8,
    /// Next capability, read only.
    pub msicapptr: u8,
    /// Messages are sent.
    pub msien: bool,
    /// Number of messages the IOMMU could send, as a power of two; read only.
    #[bits(3)]
    pub msimultmesscap: u8,
    /// Number of messages it may send.
    #[bits(3)]
    pub msimultmessen: u8,
    /// Addresses have 64 bits; read only.
    pub msi64en: bool,
    __: u8,
}

/// `XT IOMMU General Interrupt Control` and its siblings: an interrupt by x2APIC destination and vector.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct IntCapXt {
    #[bits(2)]
    __: u8,
    /// The destination is logical.
    pub destmode: bool,
    #[bits(5)]
    __: u8,
    #[bits(24)]
    destination_low: u32,
    /// Vector.
    pub vector: u8,
    /// Delivery mode: clear for fixed, set for arbitrated.
    pub dm: bool,
    #[bits(15)]
    __: u16,
    destination_high: u8,
}

impl IntCapXt {
    /// The destination's APIC id.
    pub const fn destination(self) -> u32 {
        self.destination_low() | (self.destination_high() as u32) << 24
    }

    /// With `apic_id` as destination.
    #[must_use]
    pub const fn with_destination(self, apic_id: u32) -> Self {
        self.with_destination_low(apic_id & 0x00ff_ffff)
            .with_destination_high((apic_id >> 24) as u8)
    }
}
