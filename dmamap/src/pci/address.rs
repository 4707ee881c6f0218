//! Which function: by number, and by the path firmware knows.

use core::fmt;

use hw::pci::requester_id;

/// A function's place: segment, bus, device, function. Prints as `0000:01:00.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Segment group: the host bridges' domain.
    pub segment: u16,
    /// Bus, as enumeration numbered it.
    pub bus: u8,
    /// Device on the bus: 0 to 31.
    pub device: u8,
    /// Function of the device: 0 to 7.
    pub function: u8,
}

impl PciAddress {
    /// The id the function's requests carry: bus, device and function in 16 bits. An IOMMU knows it by this.
    pub const fn requester(self) -> u16 {
        requester_id(self.bus, self.device, self.function)
    }

    /// The function whose requests carry `id`.
    pub const fn from_requester(segment: u16, id: u16) -> Self {
        Self {
            segment,
            bus: (id >> 8) as u8,
            device: (id >> 3) as u8 & 0x1f,
            function: id as u8 & 7,
        }
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            bus,
            device,
            function,
        } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A function as firmware names it before buses are numbered: from a bus of the host bridge, hop by hop through
/// bridges. Each hop is a device and a function number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePath<'a> {
    /// Segment group.
    pub segment: u16,
    /// The bus the first hop is on.
    pub start_bus: u8,
    /// Device and function of every bridge on the way, and of the function itself.
    pub path: &'a [(u8, u8)],
}

/// Why a path leads to no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has no hop.
    #[error("an empty path names no function")]
    Empty,
    /// Nothing answers at a hop.
    #[error("no function at {0}")]
    NoFunction(PciAddress),
    /// A hop before the last one is not a bridge, or one that got no bus behind it.
    #[error("{0} leads to no further bus")]
    NoBridge(PciAddress),
}

impl DevicePath<'_> {
    /// Follows the path. `look_up` gives a function and, if it is a bridge with a bus behind it, that bus's number.
    pub(crate) fn resolve<F>(
        &self,
        look_up: impl Fn(PciAddress) -> Option<(F, Option<u8>)>,
    ) -> Result<F, PathError> {
        let (last, bridges) = self.path.split_last().ok_or(PathError::Empty)?;
        let address = |bus, &(device, function): &(u8, u8)| PciAddress {
            segment: self.segment,
            bus,
            device,
            function,
        };
        let mut bus = self.start_bus;
        for hop in bridges {
            let at = address(bus, hop);
            let (_, secondary) = look_up(at).ok_or(PathError::NoFunction(at))?;
            bus = secondary.ok_or(PathError::NoBridge(at))?;
        }
        let at = address(bus, last);
        look_up(at)
            .map(|(function, _)| function)
            .ok_or(PathError::NoFunction(at))
    }
}
