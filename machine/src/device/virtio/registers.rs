//! The structures of a virtio function in its BAR (4.1.4): common configuration, notifications, interrupt status, and the
//! device's own configuration.

use board::hardware::Width;
use hw::virtio::feature::Features;
use hw::virtio::pci as layout;
use hw::virtio::pci::{CAP_BYTES, CAP_NOTIFY_BYTES, StructureType};
use hw::virtio::status::{DeviceStatus, InterruptStatus};

use super::misbehaviour::Misbehaviour;
use super::queue::Placement;

/// The BAR.
pub(super) const BAR: usize = 0;
/// Its size.
pub(super) const BAR_BYTES: u64 = 0x4000;

const COMMON: u64 = 0;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;

/// Bytes from one queue's notification to the next.
const NOTIFY_MULTIPLIER: u32 = 4;

/// Most entries of a queue.
const QUEUE_SIZE_MAX: u16 = 256;

/// What software can read and write.
#[derive(Debug)]
pub(super) struct Registers {
    offered: Features,
    misbehaviour: Misbehaviour,
    config: Vec<u8>,
    generation: u8,
    status: DeviceStatus,
    /// A reset was asked for and is not done.
    resetting: bool,
    accepted: Features,
    interrupts: InterruptStatus,
    queues: Vec<QueueRegisters>,
    device_feature_select: u32,
    driver_feature_select: u32,
    queue_select: u16,
}

#[derive(Clone, Copy, Debug)]
struct QueueRegisters {
    placement: Placement,
    is_enabled: bool,
}

const AT_RESET: QueueRegisters = QueueRegisters {
    placement: Placement {
        size: QUEUE_SIZE_MAX,
        descriptors: 0,
        available: 0,
        used: 0,
    },
    is_enabled: false,
};

/// What a write asks for beside the register's new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The device is to be reset.
    Reset,
    /// There may be new buffers in a queue.
    Notify(u16),
}

/// What a driver must not do, in words.
pub(super) type Misuse = String;

impl Registers {
    pub(super) fn new(
        offered: Features,
        config: Vec<u8>,
        queues: u16,
        misbehaviour: Misbehaviour,
    ) -> Self {
        Self {
            offered,
            misbehaviour,
            config,
            generation: 0,
            status: DeviceStatus::new(),
            resetting: false,
            accepted: Features::new(),
            interrupts: InterruptStatus::new(),
            queues: vec![AT_RESET; queues.into()],
            device_feature_select: 0,
            driver_feature_select: 0,
            queue_select: 0,
        }
    }

    /// The device as after its reset.
    pub(super) fn finish_reset(&mut self) {
        let config = std::mem::take(&mut self.config);
        let queues = self.queues.len() as u16;
        let generation = self.generation;
        *self = Self::new(self.offered, config, queues, self.misbehaviour);
        self.generation = generation;
    }

    /// Where queue `index` lies, if it is in use.
    pub(super) fn queue(&self, index: u16) -> Option<Placement> {
        let queue = self.queues.get(usize::from(index))?;
        queue.is_enabled.then_some(queue.placement)
    }

    /// The device has met something it cannot go on from.
    pub(super) fn need_reset(&mut self) {
        self.status.set_device_needs_reset(true);
        self.interrupts.set_config_change(true);
    }

    /// A buffer was used.
    pub(super) fn used_buffer(&mut self) {
        self.interrupts.set_used_buffer(true);
    }

    /// Whether the device works on its queues.
    pub(super) fn is_running(&self) -> bool {
        self.status.driver_ok() && !self.status.device_needs_reset() && !self.resetting
    }

    /// Whether nothing was done since the last reset.
    pub(super) fn is_reset(&self) -> bool {
        self.status.into_bits() == 0 && !self.resetting
    }

    /// A read inside the BAR.
    pub(super) fn read(&mut self, offset: u64, width: Width) -> Result<u64, Misuse> {
        match offset {
            ..ISR => self.read_common(offset - COMMON, width),
            ISR => {
                let value = self.interrupts.into_bits();
                self.interrupts = InterruptStatus::new();
                Ok(value.into())
            }
            DEVICE..NOTIFY => {
                if self.misbehaviour == Misbehaviour::Unsteady {
                    self.generation = self.generation.wrapping_add(1);
                }
                let start = (offset - DEVICE) as usize;
                let bytes = self.config.get(start..start + width.bytes() as usize);
                let bytes = bytes.ok_or_else(|| format!("configuration read at {start:#x}"))?;
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                Ok(u64::from_le_bytes(word))
            }
            _ => Err(format!("{width:?} read at {offset:#x}")),
        }
    }

    fn read_common(&self, offset: u64, width: Width) -> Result<u64, Misuse> {
        let half = |features: Features, select| match select {
            0 => u64::from(features.low()),
            1 => u64::from(features.high()),
            _ => 0,
        };
        let queue = self.queues.get(usize::from(self.queue_select)).copied();
        let placement = queue.map_or(Placement::default(), |queue| queue.placement);
        let address = |address: u64, at: u64| match (width, offset - at) {
            (Width::Qword, 0) => Some(address),
            (Width::Dword, 0) => Some(address & 0xffff_ffff),
            (Width::Dword, 4) => Some(address >> 32),
            _ => None,
        };
        let value = match (offset, width) {
            (layout::DEVICE_FEATURE_SELECT, Width::Dword) => {
                Some(self.device_feature_select.into())
            }
            (layout::DEVICE_FEATURE, Width::Dword) => {
                Some(half(self.offered, self.device_feature_select))
            }
            (layout::DRIVER_FEATURE_SELECT, Width::Dword) => {
                Some(self.driver_feature_select.into())
            }
            (layout::DRIVER_FEATURE, Width::Dword) => {
                Some(half(self.accepted, self.driver_feature_select))
            }
            (layout::CONFIG_MSIX_VECTOR | layout::QUEUE_MSIX_VECTOR, Width::Word) => {
                Some(layout::NO_VECTOR.into())
            }
            (layout::NUM_QUEUES, Width::Word) => Some(self.queues.len() as u64),
            // A reset is done when this reads 0, and not before.
            (layout::DEVICE_STATUS, Width::Byte) => {
                let bits = self.status.into_bits() | u8::from(self.resetting);
                Some(bits.into())
            }
            (layout::CONFIG_GENERATION, Width::Byte) => Some(self.generation.into()),
            (layout::QUEUE_SELECT, Width::Word) => Some(self.queue_select.into()),
            (layout::QUEUE_SIZE, Width::Word) => Some(placement.size.into()),
            (layout::QUEUE_ENABLE, Width::Word) => {
                Some(queue.is_some_and(|queue| queue.is_enabled).into())
            }
            (layout::QUEUE_NOTIFY_OFF, Width::Word) => Some(self.queue_select.into()),
            (layout::QUEUE_DESC..layout::QUEUE_DRIVER, _) => {
                address(placement.descriptors, layout::QUEUE_DESC)
            }
            (layout::QUEUE_DRIVER..layout::QUEUE_DEVICE, _) => {
                address(placement.available, layout::QUEUE_DRIVER)
            }
            (layout::QUEUE_DEVICE..layout::COMMON_BYTES, _) => {
                address(placement.used, layout::QUEUE_DEVICE)
            }
            _ => None,
        };
        value.ok_or_else(|| format!("{width:?} read at {offset:#x} of the common configuration"))
    }

    /// A write inside the BAR.
    pub(super) fn write(
        &mut self,
        offset: u64,
        width: Width,
        value: u64,
    ) -> Result<Effect, Misuse> {
        match offset {
            ..ISR => self.write_common(offset - COMMON, width, value),
            NOTIFY.. => self.notify(offset - NOTIFY, width, value),
            _ => Err(format!("{width:?} write at {offset:#x}")),
        }
    }

    fn notify(&self, offset: u64, width: Width, value: u64) -> Result<Effect, Misuse> {
        let index = offset / u64::from(NOTIFY_MULTIPLIER);
        let is_right = width == Width::Word && value == index;
        if !is_right || !offset.is_multiple_of(NOTIFY_MULTIPLIER.into()) {
            return Err(format!("{value:#x} written to notify at {offset:#x}"));
        }
        let index = index as u16;
        match self.queue(index) {
            Some(_) if self.status.driver_ok() => Ok(Effect::Notify(index)),
            _ => Err(format!("queue {index} was notified, and is not in use")),
        }
    }

    fn write_common(&mut self, offset: u64, width: Width, value: u64) -> Result<Effect, Misuse> {
        let misuse = |what: &str| Err(format!("{value:#x} written to {what}"));
        let is_negotiated = self.status.features_ok();
        match (offset, width) {
            (layout::DEVICE_FEATURE_SELECT, Width::Dword) => {
                self.device_feature_select = value as u32;
            }
            (layout::DRIVER_FEATURE_SELECT, Width::Dword) => {
                self.driver_feature_select = value as u32;
            }
            (layout::DRIVER_FEATURE, Width::Dword) => {
                if is_negotiated {
                    return misuse("the driver's features after they were agreed on");
                }
                let (low, high) = (self.accepted.low(), self.accepted.high());
                self.accepted = match self.driver_feature_select {
                    0 => Features::from_halves(value as u32, high),
                    1 => Features::from_halves(low, value as u32),
                    _ => return Ok(Effect::None),
                };
            }
            (layout::DEVICE_STATUS, Width::Byte) => return self.write_status(value as u8),
            (layout::QUEUE_SELECT, Width::Word) => self.queue_select = value as u16,
            // There are no vectors, which reading them back says.
            (layout::CONFIG_MSIX_VECTOR | layout::QUEUE_MSIX_VECTOR, Width::Word) => {}
            _ => return self.write_queue(offset, width, value),
        }
        Ok(Effect::None)
    }

    fn write_status(&mut self, value: u8) -> Result<Effect, Misuse> {
        if value == 0 {
            self.resetting = true;
            return Ok(Effect::Reset);
        }
        let mut wanted = DeviceStatus::from_bits(value);
        if self.resetting || self.status.into_bits() & !value & 0x8f != 0 {
            return Err(format!("status {value:#x} written over {:?}", self.status));
        }
        let refused = self.accepted.into_bits() & !self.offered.into_bits() != 0
            || !self.accepted.version_1()
            || self.offered.access_platform() && !self.accepted.access_platform()
            || self.misbehaviour == Misbehaviour::RefusesFeatures;
        if wanted.features_ok() && !self.status.features_ok() && refused {
            wanted.set_features_ok(false);
        }
        if wanted.driver_ok() && !wanted.features_ok() {
            return Err(format!("status {value:#x}: no features were agreed on"));
        }
        wanted.set_device_needs_reset(self.status.device_needs_reset());
        self.status = wanted;
        Ok(Effect::None)
    }

    fn write_queue(&mut self, offset: u64, width: Width, value: u64) -> Result<Effect, Misuse> {
        let misuse = |what: &str| Err(format!("{value:#x} written {what}"));
        if !self.status.features_ok() {
            return misuse("to a queue before features were agreed on");
        }
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
            return misuse("to a queue that does not exist");
        };
        if queue.is_enabled {
            return misuse("to a queue in use");
        }
        let Placement {
            size,
            descriptors,
            available,
            used,
        } = &mut queue.placement;
        let (address, at) = match offset {
            layout::QUEUE_SIZE if width == Width::Word => {
                *size = value as u16;
                return Ok(Effect::None);
            }
            layout::QUEUE_ENABLE if width == Width::Word && value == 1 => {
                if !size.is_power_of_two() || *size > QUEUE_SIZE_MAX {
                    return misuse("to use a queue of an impossible size");
                }
                queue.is_enabled = true;
                return Ok(Effect::None);
            }
            layout::QUEUE_DESC..layout::QUEUE_DRIVER => (descriptors, layout::QUEUE_DESC),
            layout::QUEUE_DRIVER..layout::QUEUE_DEVICE => (available, layout::QUEUE_DRIVER),
            layout::QUEUE_DEVICE..layout::COMMON_BYTES => (used, layout::QUEUE_DEVICE),
            _ => return misuse("to no register"),
        };
        match (width, offset - at) {
            (Width::Qword, 0) => *address = value,
            (Width::Dword, 0) => *address = *address & !0xffff_ffff | value,
            (Width::Dword, 4) => *address = *address & 0xffff_ffff | value << 32,
            _ => return misuse("to part of an address"),
        }
        Ok(Effect::None)
    }
}

/// The capabilities that say where the structures are, without the two bytes of their headers.
pub(super) fn capabilities(config_bytes: usize) -> Vec<Vec<u8>> {
    let capability = |kind: StructureType, offset: u64, len_bytes: u64| {
        let len = match kind {
            StructureType::Notify => CAP_NOTIFY_BYTES,
            _ => CAP_BYTES,
        };
        let mut body = vec![len, kind.code(), BAR as u8, 0, 0, 0];
        body.extend((offset as u32).to_le_bytes());
        body.extend((len_bytes as u32).to_le_bytes());
        if kind == StructureType::Notify {
            body.extend(NOTIFY_MULTIPLIER.to_le_bytes());
        }
        body
    };
    let mut all = vec![
        capability(StructureType::Common, COMMON, layout::COMMON_BYTES),
        capability(StructureType::Isr, ISR, 4),
        capability(StructureType::Notify, NOTIFY, BAR_BYTES - NOTIFY),
    ];
    if config_bytes > 0 {
        all.push(capability(
            StructureType::Device,
            DEVICE,
            config_bytes as u64,
        ));
    }
    all
}
