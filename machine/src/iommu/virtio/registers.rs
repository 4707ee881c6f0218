//! The register file: version 2 of the layout in the memory map (4.2.2), and the device's configuration (5.13.4).

use board::hardware::Width;
use hw::virtio::feature::Features;
use hw::virtio::iommu::{QUEUES, config};
use hw::virtio::mmio;
use hw::virtio::status::{DeviceStatus, InterruptStatus};
use hw::virtio::{DEVICE_TYPE_IOMMU, iommu};

use super::config::{Unattached, VirtioConfig};
use super::queue::Place;
use crate::iommu::reporter::Reporter;

/// "DMAP".
const VENDOR: u32 = 0x5041_4d44;

/// What software can read and write.
#[derive(Debug)]
pub(super) struct Registers {
    reporter: Reporter,
    offered: Features,
    queue_size_max: u16,
    /// The configuration but for its one writable field.
    fixed: [u8; config::CONFIG_BYTES as usize],
    pub(super) status: DeviceStatus,
    pub(super) reset: Reset,
    pub(super) accepted: Features,
    pub(super) interrupts: InterruptStatus,
    /// It outlives a reset of the device (5.13.4).
    pub(super) unattached: Unattached,
    queues: [QueueRegisters; QUEUES as usize],
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct QueueRegisters {
    place: Place,
    ready: bool,
}

/// A reset takes time: it is over at the second look at the status, at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    Over,
    Wanted,
    Seen,
}

/// What a write asks for beside the register's new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The device is to be reset.
    Reset,
    /// The driver is ready.
    Start,
    /// There may be new buffers in a queue.
    Notify(u16),
}

impl Registers {
    pub(super) fn new(config: &VirtioConfig, reporter: Reporter) -> Self {
        Self {
            reporter,
            offered: config.features,
            queue_size_max: config.queue_size_max,
            fixed: fixed_configuration(config),
            status: DeviceStatus::new(),
            reset: Reset::Over,
            accepted: Features::new(),
            interrupts: InterruptStatus::new(),
            unattached: config.at_boot,
            queues: Default::default(),
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
        }
    }

    /// The device as after its reset.
    pub(super) fn finish_reset(&mut self) {
        self.status = DeviceStatus::new();
        self.reset = Reset::Over;
        self.accepted = Features::new();
        self.interrupts = InterruptStatus::new();
        self.queues = Default::default();
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.queue_sel = 0;
    }

    /// Where queue `index` lies, if it is in use.
    pub(super) fn queue(&self, index: u16) -> Option<Place> {
        let queue = self.queues[usize::from(index)];
        queue.ready.then_some(queue.place)
    }

    /// The device has met something it cannot go on from.
    pub(super) fn need_reset(&mut self) {
        self.status.set_device_needs_reset(true);
        self.interrupts.set_config_change(true);
    }

    /// Whether the device works on its queues.
    pub(super) fn is_running(&self) -> bool {
        self.status.driver_ok() && !self.status.device_needs_reset() && self.reset == Reset::Over
    }

    pub(super) fn read(&mut self, offset: u64, width: Width) -> u64 {
        if offset >= mmio::CONFIG {
            return self.read_configuration(offset - mmio::CONFIG, width);
        }
        if width != Width::Dword || !offset.is_multiple_of(4) {
            self.reporter
                .illegal(format!("{width:?} read at offset {offset:#x}"));
            return width.ones();
        }
        let half = |features: Features, sel| match sel {
            0 => features.low(),
            1 => features.high(),
            _ => 0,
        };
        let queue = self.queues.get(self.queue_sel as usize);
        let value = match offset {
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION => mmio::VERSION_2,
            mmio::DEVICE_ID => DEVICE_TYPE_IOMMU,
            mmio::VENDOR_ID => VENDOR,
            mmio::DEVICE_FEATURES => half(self.offered, self.device_features_sel),
            mmio::QUEUE_SIZE_MAX => queue.map_or(0, |_| self.queue_size_max.into()),
            mmio::QUEUE_READY => queue.is_some_and(|queue| queue.ready).into(),
            mmio::INTERRUPT_STATUS => self.interrupts.into_bits().into(),
            mmio::STATUS => {
                if self.reset == Reset::Wanted {
                    self.reset = Reset::Seen;
                }
                self.status.into_bits().into()
            }
            mmio::CONFIG_GENERATION => 0,
            _ => {
                self.reporter
                    .illegal(format!("read of no register at offset {offset:#x}"));
                0
            }
        };
        value.into()
    }

    pub(super) fn write(&mut self, offset: u64, width: Width, value: u64) -> Effect {
        if offset >= mmio::CONFIG {
            self.write_configuration(offset - mmio::CONFIG, width, value);
            return Effect::None;
        }
        if width != Width::Dword || !offset.is_multiple_of(4) {
            self.reporter
                .illegal(format!("{width:?} write at offset {offset:#x}"));
            return Effect::None;
        }
        let value = value as u32;
        if self.reset != Reset::Over {
            self.reporter.illegal(format!(
                "{value:#x} written to offset {offset:#x} before the status showed the end of a reset"
            ));
            return Effect::None;
        }
        match offset {
            mmio::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            mmio::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            mmio::DRIVER_FEATURES => self.accept(value),
            mmio::QUEUE_SEL => self.queue_sel = value,
            mmio::QUEUE_NOTIFY => return self.notify(value),
            mmio::INTERRUPT_ACK => {
                let left = self.interrupts.into_bits() & !(value as u8);
                self.interrupts = InterruptStatus::from_bits(left);
            }
            mmio::STATUS => return self.write_status(value),
            _ => self.write_queue(offset, value),
        }
        Effect::None
    }

    fn accept(&mut self, value: u32) {
        if self.status.features_ok() {
            self.reporter
                .illegal("features changed after FEATURES_OK".to_owned());
            return;
        }
        let (low, high) = (self.accepted.low(), self.accepted.high());
        self.accepted = match self.driver_features_sel {
            0 => Features::from_halves(value, high),
            1 => Features::from_halves(low, value),
            _ => self.accepted,
        };
    }

    fn write_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            if self.status == DeviceStatus::new() {
                // There is nothing to stop: the status, which reads 0, is true.
                self.finish_reset();
                return Effect::None;
            }
            self.reset = Reset::Wanted;
            return Effect::Reset;
        }
        let new = DeviceStatus::from_bits(value as u8);
        let old = self.status;
        if old.into_bits() & !new.into_bits() & !NEEDS_RESET != 0 {
            self.reporter.illegal(format!(
                "status {value:#x} takes back bits of {:#x}",
                old.into_bits()
            ));
            return Effect::None;
        }
        let steps = [
            (new.driver(), new.acknowledge()),
            (new.features_ok(), new.driver()),
            (new.driver_ok(), old.features_ok()),
        ];
        if steps.iter().any(|(step, before)| *step && !before) {
            self.reporter
                .illegal(format!("status {value:#x} leaves a step out"));
            return Effect::None;
        }
        let starts = new.driver_ok() && !old.driver_ok();
        self.status = new.with_device_needs_reset(old.device_needs_reset());
        if new.features_ok() && !old.features_ok() {
            self.agree();
        }
        if starts { Effect::Start } else { Effect::None }
    }

    /// The driver has said which features it takes. It is refused by not showing FEATURES_OK.
    fn agree(&mut self) {
        let beyond = self.accepted.into_bits() & !self.offered.into_bits();
        if beyond != 0 {
            self.reporter.illegal(format!(
                "features {beyond:#x} accepted that were not offered"
            ));
        }
        if beyond != 0 || !self.accepted.version_1() {
            self.status.set_features_ok(false);
        }
    }

    fn notify(&mut self, value: u32) -> Effect {
        let index = value as u16;
        if value >= QUEUES.into() {
            self.reporter
                .illegal(format!("queue {value:#x} notified, which does not exist"));
            return Effect::None;
        }
        if !self.status.driver_ok() {
            self.reporter
                .illegal(format!("queue {index} notified before DRIVER_OK"));
            return Effect::None;
        }
        Effect::Notify(index)
    }

    fn write_queue(&mut self, offset: u64, value: u32) {
        let started = self.status.driver_ok() || !self.status.features_ok();
        let reporter = &self.reporter;
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else {
            reporter.illegal(format!(
                "offset {offset:#x} written for queue {}, which does not exist",
                self.queue_sel
            ));
            return;
        };
        if started || queue.ready {
            reporter.illegal(format!(
                "offset {offset:#x} written for queue {} at a time when it cannot be configured",
                self.queue_sel
            ));
            return;
        }
        let low = |address: u64| address & !0xffff_ffff | u64::from(value);
        let high = |address: u64| address & 0xffff_ffff | u64::from(value) << 32;
        let place = &mut queue.place;
        match offset {
            mmio::QUEUE_SIZE => {
                if value > self.queue_size_max.into() || !value.is_power_of_two() {
                    reporter.illegal(format!("a queue of {value} entries"));
                } else {
                    place.size = value as u16;
                }
            }
            mmio::QUEUE_READY => {
                if place.size == 0 {
                    reporter.illegal("a queue of no size made ready".to_owned());
                } else {
                    queue.ready = value & 1 != 0;
                }
            }
            mmio::QUEUE_DESC_LOW => place.descriptors = low(place.descriptors),
            mmio::QUEUE_DESC_HIGH => place.descriptors = high(place.descriptors),
            mmio::QUEUE_DRIVER_LOW => place.available = low(place.available),
            mmio::QUEUE_DRIVER_HIGH => place.available = high(place.available),
            mmio::QUEUE_DEVICE_LOW => place.used = low(place.used),
            mmio::QUEUE_DEVICE_HIGH => place.used = high(place.used),
            _ => reporter.illegal(format!("write to no register at offset {offset:#x}")),
        }
    }

    /// The width a field is accessed with: its own, 64 bits in halves (4.2.2.2).
    fn check_width(&self, at: u64, width: Width) -> bool {
        let natural = if at >= config::BYPASS {
            Width::Byte
        } else {
            Width::Dword
        };
        let fits = at.is_multiple_of(natural.bytes()) && at < config::CONFIG_BYTES;
        if !fits || width != natural {
            self.reporter
                .illegal(format!("{width:?} access to the configuration at {at:#x}"));
            return false;
        }
        true
    }

    fn read_configuration(&self, at: u64, width: Width) -> u64 {
        if !self.check_width(at, width) {
            return width.ones();
        }
        if at == config::BYPASS {
            return (self.offered.bypass_config() && self.unattached == Unattached::Passes).into();
        }
        let bytes = &self.fixed[at as usize..][..width.bytes() as usize];
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write_configuration(&mut self, at: u64, width: Width, value: u64) {
        if !self.check_width(at, width) {
            return;
        }
        let writable = at == config::BYPASS && self.accepted.bypass_config();
        if !writable || !self.status.features_ok() || value > 1 {
            self.reporter.illegal(format!(
                "{value:#x} written to the configuration at {at:#x}"
            ));
            return;
        }
        self.unattached = if value == 1 {
            Unattached::Passes
        } else {
            Unattached::Blocked
        };
    }

    /// Whether endpoints without a domain reach memory (5.13.6.2).
    pub(super) fn unattached_pass(&self) -> bool {
        if self.offered.bypass_config() {
            self.unattached == Unattached::Passes
        } else {
            self.accepted.bypass()
        }
    }

    /// The name of queue `index` in findings.
    pub(super) fn queue_name(index: u16) -> &'static str {
        match index {
            iommu::REQUEST_QUEUE => "request queue",
            _ => "event queue",
        }
    }
}

/// `DEVICE_NEEDS_RESET`, which is the device's to set.
const NEEDS_RESET: u8 = DeviceStatus::new()
    .with_device_needs_reset(true)
    .into_bits();

fn fixed_configuration(config: &VirtioConfig) -> [u8; config::CONFIG_BYTES as usize] {
    let mut bytes = [0; config::CONFIG_BYTES as usize];
    let mut put = |at: u64, value: &[u8]| {
        bytes[at as usize..][..value.len()].copy_from_slice(value);
    };
    put(config::PAGE_SIZE_MASK, &config.page_size_mask.to_le_bytes());
    if config.features.input_range() {
        let range = &config.input_range;
        put(config::INPUT_RANGE_START, &range.start().to_le_bytes());
        put(config::INPUT_RANGE_END, &range.end().to_le_bytes());
    }
    if config.features.domain_range() {
        let range = &config.domain_range;
        put(config::DOMAIN_RANGE_START, &range.start().to_le_bytes());
        put(config::DOMAIN_RANGE_END, &range.end().to_le_bytes());
    }
    if config.features.probe() {
        put(config::PROBE_SIZE, &config.probe_size.to_le_bytes());
    }
    bytes
}
