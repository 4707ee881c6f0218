//! Where a virtio function has its registers: vendor capabilities say it (VIRTIO 4.1.4).

use alloc::vec::Vec;

use dmamap::mmio::Mmio;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::pci::capability::id::VENDOR_SPECIFIC;
use hw::virtio::pci::{self as layout, CapabilityHeader, StructureType};

use super::error::VirtioStartError;

/// The name under which the BARs are held in the resource tree.
const DRIVER_NAME: &str = "virtio";

/// The parts of the function's BARs that are its structures.
pub(super) struct Structures<P: Platform> {
    pub(super) common: Mmio<P>,
    pub(super) isr: Mmio<P>,
    pub(super) notify: Mmio<P>,
    pub(super) notify_multiplier: u32,
    /// Not every type of device has a configuration.
    pub(super) device: Option<Mmio<P>>,
}

/// Where a capability says that a structure is.
#[derive(Clone, Copy)]
struct Location {
    bar: u8,
    offset: u64,
    len_bytes: u64,
    capability: u16,
}

impl<P: Platform> Structures<P> {
    /// Finds them and claims their BARs in `tree`.
    pub(super) fn claim(
        function: &Function<P>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartError> {
        let needed = |kind, name| {
            let missing = VirtioStartError::NoStructure {
                function: function.address(),
                name,
            };
            find(function, kind)?.ok_or(missing)
        };
        let common = needed(StructureType::Common, "common configuration")?;
        let notify = needed(StructureType::Notify, "notification")?;
        let isr = needed(StructureType::Isr, "interrupt status")?;
        let device = find(function, StructureType::Device)?;
        let multiplier_at = notify.capability + layout::CAP_NOTIFY_OFF_MULTIPLIER;
        let notify_multiplier = function.read_config(multiplier_at)?;

        let mut bars: Vec<(u8, Mmio<P>)> = Vec::new();
        let mut carve = |location: Location| -> Result<Mmio<P>, VirtioStartError> {
            let claimed = bars.iter().position(|(bar, _)| *bar == location.bar);
            let at = match claimed {
                Some(at) => at,
                None => {
                    let window = function.claim_bar(location.bar, DRIVER_NAME, tree)?;
                    bars.push((location.bar, window));
                    bars.len() - 1
                }
            };
            Ok(bars[at].1.carve(location.offset, location.len_bytes)?)
        };
        let structures = Self {
            common: carve(common)?,
            isr: carve(isr)?,
            notify: carve(notify)?,
            notify_multiplier,
            device: device.map(carve).transpose()?,
        };
        // The furthest registers are there, so that the others are.
        structures.common.register::<u64>(layout::QUEUE_DEVICE)?;
        structures.isr.register::<u8>(0)?;
        Ok(structures)
    }
}

/// The first usable structure of `kind` (4.1.4): later ones are alternatives the device likes less.
fn find<P: Platform>(
    function: &Function<P>,
    kind: StructureType,
) -> Result<Option<Location>, VirtioStartError> {
    for (id, capability) in function.capabilities() {
        if id != VENDOR_SPECIFIC {
            continue;
        }
        let header = CapabilityHeader::from_bits(function.read_config(capability)?);
        if StructureType::from_code(header.structure()) != Some(kind) {
            continue;
        }
        let needed = match kind {
            StructureType::Notify => layout::CAP_NOTIFY_BYTES,
            _ => layout::CAP_BYTES,
        };
        let bar: u8 = function.read_config(capability + layout::CAP_BAR)?;
        if header.len_bytes() < needed || function.bar(bar).is_none() {
            continue;
        }
        let word = |at| function.read_config::<u32>(capability + at).map(u64::from);
        return Ok(Some(Location {
            bar,
            offset: word(layout::CAP_OFFSET)?,
            len_bytes: word(layout::CAP_LENGTH)?,
            capability,
        }));
    }
    Ok(None)
}
