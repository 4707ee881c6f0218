//! Turning a unit on and off (VIRTIO 3.1.1, 5.13.5): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::virtio::feature::Features;
use hw::virtio::iommu::config::BYPASS;
use hw::virtio::iommu::{EVENT_QUEUE, REQUEST_QUEUE};
use hw::virtio::queue::AvailableFlags;
use hw::virtio::status::DeviceStatus;

use super::config::Config;
use super::device_table::{DeviceTable, Target};
use super::fault::{self, EventQueue};
use super::queue::{self, Asker, Queue};
use super::record::{Joining, Records};
use super::transport::{self, Transport};
use super::{ALL, KIND, Running, VirtioUnit};
use crate::iommu::bound::Bound;
use crate::iommu::fault_event::FaultEvent;
use crate::iommu::setup::UnitSetup;
use crate::iommu::start_error::UnitStartError;
use crate::iommu::unit::UnitError;
use crate::platform::Platform;

const ACKNOWLEDGED: DeviceStatus = DeviceStatus::new().with_acknowledge(true);
const DRIVEN: DeviceStatus = ACKNOWLEDGED.with_driver(true);
const AGREED: DeviceStatus = DRIVEN.with_features_ok(true);
const READY: DeviceStatus = AGREED.with_driver_ok(true);

/// What this driver understands of `offered`. Not BYPASS: accepting it would let endpoints without a domain pass.
fn understood(offered: Features) -> Features {
    let ours = Features::new()
        .with_input_range(true)
        .with_domain_range(true)
        .with_map_unmap(true)
        .with_probe(true)
        .with_bypass_config(true)
        .with_version_1(true)
        .with_access_platform(true)
        .with_order_platform(true);
    Features::from_bits(offered.into_bits() & ours.into_bits())
}

impl<P: Platform> VirtioUnit<P> {
    /// Prepares the unit of `setup`: its queues work and nobody is attached. What endpoints without a domain reach stays
    /// as it is until [`block`](Self::block), so that reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(setup: UnitSetup<'_, P>) -> Result<Arc<Self>, UnitStartError> {
        let platform = setup.platform;
        let transport = transport::open(setup.place, setup.tree)?;
        let unit = transport.base();
        let bound = Bound::new(platform, unit, setup.settings.wait_bound_ms);
        let missing = |feature| transport::missing(unit, feature);

        reset(&*transport, &bound)?;
        let features = understood(transport.offered());
        if !features.version_1() {
            return Err(missing("version 1 of the interface (VERSION_1)"));
        }
        if !features.map_unmap() {
            return Err(missing("mappings (MAP_UNMAP)"));
        }
        let config = Config::read(&*transport, features).map_err(missing)?;
        let entries = |index, max: u16| transport.queue_size_max(index).min(max);
        let request_entries = floor_power_of_two(entries(REQUEST_QUEUE, queue::ENTRIES_MAX));
        let event_entries = floor_power_of_two(entries(EVENT_QUEUE, fault::ENTRIES_MAX));
        if request_entries < queue::ENTRIES_MIN || event_entries == 0 {
            return Err(missing("request and event queues of a useful size"));
        }
        // As firmware left it: it is so again when the unit is off.
        let found_bypass = features
            .bypass_config()
            .then(|| transport.config_u8(BYPASS));

        let requests = Queue::new(platform, request_entries, config.probe_size)?;
        let events = match EventQueue::new(platform, event_entries) {
            Ok(events) => events,
            Err(error) => {
                // SAFETY: the unit is in its reset state and was never told of the queue.
                unsafe { requests.free() };
                return Err(error.into());
            }
        };
        let this = Arc::new(Self {
            platform,
            transport,
            bound,
            features,
            config,
            found_bypass,
            host_address_bits: setup.host_address_bits,
            streams: setup.streams,
            records: Records::new(),
            devices: DeviceTable::new(),
            running: ManuallyDrop::new(Running { requests, events }),
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
        });
        if this.transport.can_interrupt() {
            this.event.open(platform, Arc::downgrade(&this), setup.log);
        }
        if let Err(error) = this.connect() {
            this.turn_off()?;
            return Err(error.into());
        }
        Ok(this)
    }

    /// Agrees with the unit, which was reset, on features, and gives it its queues.
    fn connect(&self) -> Result<(), UnitError> {
        let transport = &*self.transport;
        transport.set_status(ACKNOWLEDGED);
        transport.set_status(DRIVEN);
        transport.accept(self.features);
        transport.set_status(AGREED);
        if !transport.status().features_ok() {
            transport.set_status(DRIVEN.with_failed(true));
            return Err(UnitError::Unsupported {
                unit: self.bound.unit(),
                feature: "agreement on the features it offered",
            });
        }
        transport.start_dma();
        transport.enable_queue(REQUEST_QUEUE, self.running.requests.place());
        transport.enable_queue(EVENT_QUEUE, self.running.events.place());
        let interrupt = self.event.interrupt();
        let interrupts = interrupt.is_some_and(|interrupt| transport.set_interrupt(&interrupt));
        self.running
            .events
            .reset(AvailableFlags::new().with_no_interrupt(!interrupts));
        transport.set_status(READY);
        transport.notify(EVENT_QUEUE);
        Ok(())
    }

    /// From now on endpoints without a domain reach nothing. A unit without the field to say so blocks them since its
    /// features were agreed on.
    pub(super) fn block(&self) -> Result<(), UnitError> {
        if self.found_bypass.is_none() {
            return Ok(());
        }
        self.transport.set_config_u8(BYPASS, 0);
        self.bound
            .until("bypass disable", || self.transport.config_u8(BYPASS) == 0)
    }

    /// Resets the unit, attaches everybody again and maps what is mapped.
    pub(super) fn restart_all(&self) -> Result<(), UnitError> {
        self.running.requests.hold();
        reset(&*self.transport, &self.bound)?;
        self.running.requests.reset();
        self.connect()?;
        // The field outlives a reset of the device, but not the power.
        self.block()?;
        let mut replayed = Vec::new();
        for entry in self.devices.snapshot() {
            self.send_attach(Asker::Replay, &entry)?;
            if let Target::Record(record) = &entry.target
                && !replayed.contains(&entry.domain)
            {
                // Since the queue is held nobody but this tells the unit anything.
                record.forget_told();
                self.send_maps(Asker::Replay, entry.domain, record, ALL, Joining::Leaves)?;
                replayed.push(entry.domain);
            }
        }
        self.running.requests.cover();
        Ok(())
    }

    /// Ends all the unit does; endpoints without a domain reach what they reached before it was prepared.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        let transport = &*self.transport;
        transport.silence();
        if let Some(found) = self.found_bypass
            && transport.status().features_ok()
        {
            transport.set_config_u8(BYPASS, found);
        }
        reset(transport, &self.bound)?;
        transport.stop_dma();
        self.off.store(true, Ordering::Release);
        Ok(())
    }
}

/// Resets the device, whatever it was doing: it has let go of all queues when this returns (VIRTIO 2.4).
fn reset<P: Platform>(transport: &dyn Transport<P>, bound: &Bound<P>) -> Result<(), UnitError> {
    transport.set_status(DeviceStatus::new());
    bound.until("device reset", || transport.status() == DeviceStatus::new())
}

/// The greatest power of 2 up to `entries`; 0 if that is 0.
fn floor_power_of_two(entries: u16) -> u16 {
    entries.checked_ilog2().map_or(0, |log2| 1 << log2)
}

impl<P: Platform> Drop for VirtioUnit<P> {
    fn drop(&mut self) {
        self.event.free_interrupt(self.platform);
        if !self.off.load(Ordering::Acquire) {
            // It may still use its queues: they are lost, not reused.
            log::error!(
                "{}: {KIND} unit dropped while on: its queues are kept",
                self.bound.unit()
            );
            return;
        }
        // SAFETY: taken once, here; nothing uses the unit after `drop`.
        let Running { requests, events } = unsafe { ManuallyDrop::take(&mut self.running) };
        // SAFETY: the device's status confirmed its reset in `turn_off`.
        unsafe {
            requests.free();
            events.free();
        }
    }
}
