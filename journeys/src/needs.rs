//! What a journey needs of a computer.

use core::fmt;

use dmamap::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use dmamap::bridge::{HostBridge, PeerForwarding};
use dmamap::iommu::Requester;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use hw::edu::DMA_ADDRESS_BITS;
use hw::virtio;

use crate::computer::Computer;

/// A set of things a journey needs.
///
/// ```
/// # use board as _;
/// use journeys::Needs;
///
/// let needs = Needs::EDU.and(Needs::IOMMU);
/// assert!(needs.contains(Needs::EDU));
/// assert!(!needs.contains(Needs::DISK));
/// assert_eq!(needs.to_string(), "an educational device, an IOMMU");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs(u32);

impl Needs {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// An NVMe controller.
    pub const DISK: Self = Self(1 << 0);
    /// QEMU's educational device.
    pub const EDU: Self = Self(1 << 1);
    /// An IOMMU in front of every device.
    pub const IOMMU: Self = Self(1 << 2);
    /// Memory above 4 GiB.
    pub const HIGH_MEMORY: Self = Self(1 << 3);

    /// Bus addresses that some device behind an IOMMU may not be given.
    pub const RESERVED: Self = Self(1 << 4);

    /// A virtio network device whose network sends everything back.
    pub const LOOPED_NET: Self = Self(1 << 5);
    /// A virtio console that is sent back what it sends.
    pub const LOOPED_CONSOLE: Self = Self(1 << 6);
    /// A virtio entropy device.
    pub const VIRTIO_RNG: Self = Self(1 << 7);
    /// A virtio graphics adapter.
    pub const VIRTIO_GPU: Self = Self(1 << 8);
    /// A virtio disk that can be written.
    pub const VIRTIO_DISK: Self = Self(1 << 9);
    /// Memory at bus addresses of 28 bits, as the educational device drives them, or an IOMMU, which puts all memory there.
    pub const NEAR_MEMORY: Self = Self(1 << 10);
    /// A disk that can be pulled out, as [`Computer::set_removable`] says.
    pub const REMOVABLE: Self = Self(1 << 11);
    /// A host bridge that is known to pass requests of devices on to other devices.
    pub const PEERS: Self = Self(1 << 12);

    const NAMES: [(Self, &'static str); 13] = [
        (Self::DISK, "an NVMe disk"),
        (Self::EDU, "an educational device"),
        (Self::IOMMU, "an IOMMU"),
        (Self::HIGH_MEMORY, "memory above 4 GiB"),
        (Self::RESERVED, "reserved bus addresses"),
        (
            Self::LOOPED_NET,
            "a virtio network device on a network that sends back",
        ),
        (Self::LOOPED_CONSOLE, "a virtio console that sends back"),
        (Self::VIRTIO_RNG, "a virtio entropy device"),
        (Self::VIRTIO_GPU, "a virtio graphics adapter"),
        (Self::VIRTIO_DISK, "a virtio disk"),
        (Self::NEAR_MEMORY, "memory that 28 address lines reach"),
        (Self::REMOVABLE, "a disk that can be pulled out"),
        (
            Self::PEERS,
            "a host bridge known to pass requests to other devices",
        ),
    ];

    /// Both these needs and `others`.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of `others` are among these needs.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What of these needs `computer` has not.
    ///
    /// # Errors
    /// [`Unmet`] unless it has all.
    pub fn check<P: Platform>(self, computer: &Computer<P>) -> Result<(), Unmet> {
        let lacking = Self(self.0 & !Self::of(computer).0);
        if lacking == Self::NOTHING {
            Ok(())
        } else {
            Err(Unmet { lacking })
        }
    }

    /// None of these needs is met.
    pub(crate) const fn unmet(self) -> Unmet {
        Unmet { lacking: self }
    }

    /// All needs that `computer` meets.
    pub fn of<P: Platform>(computer: &Computer<P>) -> Self {
        let mut met = Self::NOTHING;
        let mut add = |need: Self, is_met: bool| {
            if is_met {
                met = met.and(need);
            }
        };
        add(Self::DISK, computer.disks().next().is_some());
        add(Self::EDU, computer.edus().next().is_some());
        add(Self::IOMMU, computer.has_iommu());
        let has_virtio = |kind| computer.virtio_devices(kind).next().is_some();
        // What they are connected to nobody can ask them.
        add(Self::LOOPED_NET, has_virtio(virtio::net::DEVICE_TYPE));
        add(
            Self::LOOPED_CONSOLE,
            has_virtio(virtio::console::DEVICE_TYPE),
        );
        add(Self::VIRTIO_RNG, has_virtio(virtio::entropy::DEVICE_TYPE));
        add(Self::VIRTIO_GPU, has_virtio(virtio::gpu::DEVICE_TYPE));
        add(Self::VIRTIO_DISK, has_virtio(virtio::block::DEVICE_TYPE));
        add(Self::NEAR_MEMORY, has_near_memory(computer));
        add(Self::REMOVABLE, computer.removable.is_some());
        let mut bridges = computer.system().bridges().iter();
        let forwards = |bridge: &HostBridge| bridge.peer_forwarding() == PeerForwarding::Forwarded;
        add(Self::PEERS, bridges.any(forwards));
        let mut last = PhysAddr::new(0);
        computer
            .platform()
            .memory_map(&mut |range| last = last.max(range.last()));
        add(Self::HIGH_MEMORY, last.as_u64() >= 1 << 32);
        let reserved = |function: &Function<P>| {
            let device = Requester {
                segment: function.address().segment,
                id: function.requester(),
            };
            let regions = computer.system().reserved_regions(device);
            regions.is_ok_and(|regions| !regions.is_empty())
        };
        add(
            Self::RESERVED,
            computer.topology().functions().any(reserved),
        );
        met
    }
}

/// Whether the educational device reaches some memory.
fn has_near_memory<P: Platform>(computer: &Computer<P>) -> bool {
    if computer.has_iommu() {
        return true;
    }
    let bridges = computer.system().bridges();
    let is_near = |memory: PhysRange| {
        let mut seen = bridges
            .iter()
            .filter_map(|bridge| bridge.memory_to_bus(memory));
        seen.any(|bus| bus.last().as_u64() < 1 << DMA_ADDRESS_BITS)
    };
    let mut found = false;
    computer.platform().memory_map(&mut |range| {
        let first = PhysRange::new(range.start(), FRAME_BYTES.min(range.len_bytes()));
        found |= first.is_ok_and(is_near);
    });
    found
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(need, _)| self.contains(*need));
        let Some((_, first)) = names.next() else {
            return f.write_str("nothing");
        };
        f.write_str(first)?;
        names.try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}

/// A journey cannot be made on this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this computer lacks {lacking}")]
pub struct Unmet {
    /// What it lacks.
    pub lacking: Needs,
}
