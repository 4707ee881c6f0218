//! A device on a PCI bus (VIRTIO 4.1): vendor capabilities say in which BARs its registers lie.

use alloc::vec::Vec;

use hw::pci::capability::id::VENDOR_SPECIFIC;
use hw::virtio::DEVICE_TYPE_IOMMU;
use hw::virtio::feature::Features;
use hw::virtio::iommu::config::CONFIG_BYTES;
use hw::virtio::iommu::{EVENT_QUEUE, QUEUES};
use hw::virtio::pci::{self as layout, CapabilityHeader, StructureType};
use hw::virtio::status::DeviceStatus;

use super::super::KIND;
use super::super::ring::QueuePlace;
use super::{Transport, missing};
use crate::addr::{DmaMask, PhysAddr};
use crate::iommu::start_error::UnitStartError;
use crate::mmio::{Mmio, Register, RegisterValue};
use crate::pci::{Function, MsixTable};
use crate::platform::{Interrupt, Platform};
use crate::resource::ResourceTree;

/// The name under which its BARs are claimed.
const NAME: &str = "virtio-iommu";

/// The MSI-X entry of the event queue.
const EVENT_ENTRY: u16 = 0;

/// Its structures, and where each queue is notified.
pub(super) struct PciTransport<P: Platform> {
    function: Function<P>,
    base: PhysAddr,
    common: Mmio<P>,
    device: Mmio<P>,
    doorbells: Vec<Register<P, u16>>,
    msix: Option<MsixTable<P>>,
}

/// Where a capability says that a structure is.
#[derive(Clone, Copy)]
struct Location {
    bar: u8,
    offset: u64,
    len_bytes: u64,
    /// Only of notifications.
    multiplier: u32,
}

impl<P: Platform> PciTransport<P> {
    /// Recognises the device, and claims the BARs of its structures.
    pub(super) fn new(
        function: Function<P>,
        tree: &mut ResourceTree,
    ) -> Result<Self, UnitStartError> {
        let location = |kind| find(&function, kind);
        let common = location(StructureType::Common)?;
        let notify = location(StructureType::Notify)?;
        let device = location(StructureType::Device)?;
        let first_bar = common.and_then(|common| function.bar(common.bar)?.phys);
        let unit = first_bar.map_or(PhysAddr::new(0), |bar| bar.start());
        let ids = (function.vendor(), function.device());
        if ids != (layout::VENDOR_ID, layout::device_id(DEVICE_TYPE_IOMMU)) {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        let (Some(common), Some(notify), Some(device)) = (common, notify, device) else {
            return Err(missing(unit, "common, notification or device structure"));
        };

        let mut bars: Vec<(u8, Mmio<P>)> = Vec::new();
        for location in [common, notify, device] {
            if bars.iter().all(|(bar, _)| *bar != location.bar) {
                let window = function.claim_bar(location.bar, NAME, tree)?;
                bars.push((location.bar, window));
            }
        }
        let mut carve = |location: Location| {
            let bar = bars.iter_mut().find(|(bar, _)| *bar == location.bar);
            let (_, window) = bar.expect("all three were claimed");
            window.carve(location.offset, location.len_bytes)
        };
        let (common, device) = (carve(common)?, carve(device)?);
        let (bells, multiplier) = (carve(notify)?, notify.multiplier);
        // The furthest registers are there, so that the others are.
        common.register::<u64>(layout::QUEUE_DEVICE)?;
        device.register::<u32>(CONFIG_BYTES - 4)?;
        let mut doorbells = Vec::new();
        for queue in 0..QUEUES {
            common.register::<u16>(layout::QUEUE_SELECT)?.write(queue);
            let off = common.register::<u16>(layout::QUEUE_NOTIFY_OFF)?.read();
            let offset = layout::notify_offset(off, multiplier)
                .ok_or(missing(unit, "reachable notifications"))?;
            doorbells.push(bells.register(offset)?);
        }
        let table_bar = bars.iter_mut().map(|(_, window)| window);
        let msix = claim_msix(&function, tree, table_bar);
        Ok(Self {
            function,
            base: unit,
            common,
            device,
            doorbells,
            msix,
        })
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.common
            .register(offset)
            .expect("`new` checked the furthest register")
    }

    fn read<T: RegisterValue>(&self, offset: u64) -> T {
        self.register(offset).read()
    }

    fn write<T: RegisterValue>(&self, offset: u64, value: T) {
        self.register(offset).write(value);
    }

    /// Addresses are written in halves, which every device takes (4.1.3.1).
    fn write_address(&self, offset: u64, phys: PhysAddr) {
        self.write(offset, phys.as_u64() as u32);
        self.write(offset + 4, (phys.as_u64() >> 32) as u32);
    }

    fn device_register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.device
            .register(offset)
            .expect("`new` checked the furthest register")
    }
}

/// The first usable structure of `kind` (4.1.4): later ones are alternatives the device likes less.
fn find<P: Platform>(
    function: &Function<P>,
    kind: StructureType,
) -> Result<Option<Location>, UnitStartError> {
    for (id, at) in function.capabilities() {
        if id != VENDOR_SPECIFIC {
            continue;
        }
        let header = CapabilityHeader::from_bits(function.read_config(at)?);
        if StructureType::from_code(header.structure()) != Some(kind) {
            continue;
        }
        let notify = kind == StructureType::Notify;
        let needed = if notify {
            layout::CAP_NOTIFY_BYTES
        } else {
            layout::CAP_BYTES
        };
        let bar: u8 = function.read_config(at + layout::CAP_BAR)?;
        if header.len_bytes() < needed || function.bar(bar).is_none() {
            continue;
        }
        let multiplier = if notify {
            function.read_config(at + layout::CAP_NOTIFY_OFF_MULTIPLIER)?
        } else {
            0
        };
        return Ok(Some(Location {
            bar,
            offset: function.read_config::<u32>(at + layout::CAP_OFFSET)?.into(),
            len_bytes: function.read_config::<u32>(at + layout::CAP_LENGTH)?.into(),
            multiplier,
        }));
    }
    Ok(None)
}

/// The MSI-X table, which may lie in a BAR of the structures. Without it faults are read when somebody asks.
fn claim_msix<'a, P: Platform + 'a>(
    function: &Function<P>,
    tree: &mut ResourceTree,
    windows: impl Iterator<Item = &'a mut Mmio<P>>,
) -> Option<MsixTable<P>> {
    let mut claimed = function.claim_msix(NAME, tree, None);
    for window in windows {
        if claimed.is_err() {
            claimed = function.claim_msix(NAME, tree, Some(window));
        }
    }
    claimed
        .inspect_err(|error| log::info!("{NAME} raises no interrupts: {error}"))
        .ok()
}

impl<P: Platform> Transport<P> for PciTransport<P> {
    fn base(&self) -> PhysAddr {
        self.base
    }

    fn status(&self) -> DeviceStatus {
        DeviceStatus::from_bits(self.read(layout::DEVICE_STATUS))
    }

    fn set_status(&self, status: DeviceStatus) {
        self.write(layout::DEVICE_STATUS, status.into_bits());
    }

    fn offered(&self) -> Features {
        let half = |index: u32| {
            self.write(layout::DEVICE_FEATURE_SELECT, index);
            self.read(layout::DEVICE_FEATURE)
        };
        Features::from_halves(half(0), half(1))
    }

    fn accept(&self, features: Features) {
        for (index, half) in [(0_u32, features.low()), (1, features.high())] {
            self.write(layout::DRIVER_FEATURE_SELECT, index);
            self.write(layout::DRIVER_FEATURE, half);
        }
    }

    fn queue_size_max(&self, index: u16) -> u16 {
        if index >= self.read(layout::NUM_QUEUES) {
            return 0;
        }
        self.write(layout::QUEUE_SELECT, index);
        self.read(layout::QUEUE_SIZE)
    }

    fn enable_queue(&self, index: u16, place: QueuePlace) {
        self.write(layout::QUEUE_SELECT, index);
        self.write(layout::QUEUE_SIZE, place.size);
        self.write(layout::QUEUE_MSIX_VECTOR, layout::NO_VECTOR);
        self.write_address(layout::QUEUE_DESC, place.descriptors);
        self.write_address(layout::QUEUE_DRIVER, place.available);
        self.write_address(layout::QUEUE_DEVICE, place.used);
        self.write(layout::QUEUE_ENABLE, 1_u16);
    }

    fn notify(&self, index: u16) {
        self.doorbells[usize::from(index)].write(index);
    }

    fn config_u8(&self, offset: u64) -> u8 {
        self.device_register(offset).read()
    }

    fn set_config_u8(&self, offset: u64, value: u8) {
        self.device_register(offset).write(value);
    }

    fn config_u32(&self, offset: u64) -> u32 {
        self.device_register(offset).read()
    }

    fn can_interrupt(&self) -> bool {
        self.msix.is_some()
    }

    fn set_interrupt(&self, interrupt: &Interrupt) -> bool {
        let Some(msix) = &self.msix else {
            return false;
        };
        let all_lines = DmaMask::from_bits(64).expect("64 lines are possible");
        if msix.program(EVENT_ENTRY, interrupt, all_lines).is_err() {
            return false;
        }
        msix.enable();
        self.write(layout::QUEUE_SELECT, EVENT_QUEUE);
        self.write(layout::QUEUE_MSIX_VECTOR, EVENT_ENTRY);
        // A device that has no room for the vector says so (4.1.5.1.2.2).
        self.read::<u16>(layout::QUEUE_MSIX_VECTOR) == EVENT_ENTRY
            && msix.unmask(EVENT_ENTRY).is_ok()
    }

    fn silence(&self) {
        if let Some(msix) = &self.msix {
            msix.disable();
        }
    }

    fn start_dma(&self) {
        // SAFETY: the unit is what confines the others, and `start_units`' caller vouches that it is one; the driver
        // tells it of frames it holds, and gives them back after its reset.
        unsafe { self.function.enable_bus_master() };
    }

    fn stop_dma(&self) {
        self.function.disable_bus_master();
    }
}
