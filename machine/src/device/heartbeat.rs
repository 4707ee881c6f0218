//! A device that firmware left running: from boot on it counts, once a millisecond, into its direct region.
//!
//! A kernel that switches its IOMMU on without mapping the region (RMRR) stops it, and it says so. Where firmware has
//! no way to tell of the region, it left the device idle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use board::hardware::Width;
use hw::pci::config::class;
use parking_lot::{Condvar, Mutex};

use super::thread::DeviceThread;
use crate::pci::bridge::MODEL_VENDOR;
use crate::pci::endpoint::AtBoot;
use crate::pci::function::{Attachment, FunctionDescription, FunctionModel, FunctionPort};

const PERIOD: Duration = Duration::from_millis(1);

/// How the device is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Beats that reached memory.
    pub beats: u64,
    /// Beats that did not: blocked, or not allowed on the bus.
    pub missed: u64,
}

/// The device.
pub(crate) struct Heartbeat {
    bus: u64,
    at_boot: AtBoot,
    shared: Arc<Shared>,
    thread: OnceLock<DeviceThread>,
}

#[derive(Default)]
struct Shared {
    beats: AtomicU64,
    missed: AtomicU64,
    running: Mutex<Running>,
    stopped: Condvar,
}

#[derive(Default, PartialEq)]
enum Running {
    #[default]
    Yes,
    No,
}

impl Heartbeat {
    /// A device that counts into the word at bus address `bus`, if firmware left it `Running`.
    pub(crate) fn new(bus: u64, at_boot: AtBoot) -> Self {
        Self {
            bus,
            at_boot,
            shared: Arc::default(),
            thread: OnceLock::new(),
        }
    }

    /// What firmware left of it.
    pub(crate) fn at_boot(&self) -> AtBoot {
        self.at_boot
    }

    /// How it is doing.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            beats: self.shared.beats.load(Ordering::Relaxed),
            missed: self.shared.missed.load(Ordering::Relaxed),
        }
    }
}

impl FunctionModel for Heartbeat {
    fn description(&self) -> FunctionDescription {
        FunctionDescription {
            name: "heartbeat".into(),
            vendor_id: MODEL_VENDOR,
            device_id: 0x00bb,
            class_code: class::OTHER_SYSTEM_PERIPHERAL,
            attachment: Attachment::Conventional,
            bars: Vec::new(),
            msix: None,
            address_lines: 64,
        }
    }

    fn start(self: Arc<Self>, port: FunctionPort) {
        if self.at_boot == AtBoot::Idle {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let bus = self.bus;
        let thread = DeviceThread::spawn("heartbeat", move || {
            let mut running = shared.running.lock();
            while *running == Running::Yes {
                let beats = shared.beats.load(Ordering::Relaxed) + 1;
                match port.dma().write(bus, &beats.to_le_bytes()) {
                    Ok(()) => shared.beats.store(beats, Ordering::Relaxed),
                    Err(_) => drop(shared.missed.fetch_add(1, Ordering::Relaxed)),
                }
                shared.stopped.wait_for(&mut running, PERIOD);
            }
        });
        if self.thread.set(thread).is_err() {
            log::error!("heartbeat: started twice");
        }
    }

    fn read(&self, _bar: usize, _offset: u64, width: Width) -> u64 {
        width.ones()
    }

    fn write(&self, _bar: usize, _offset: u64, _width: Width, _value: u64) {}

    fn stop(&self) {
        *self.shared.running.lock() = Running::No;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.get() {
            thread.join();
        }
    }
}
