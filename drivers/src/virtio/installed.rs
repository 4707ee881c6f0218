//! A device in its place: what the crate's driver, the transport below it and whoever wraps it tell each other of it.

use core::time::Duration;

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use lock_api::{Mutex, RawMutex};

use super::error::{Fault, ShareError};

/// How long a device may take for one request, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The device, and how it is doing.
pub(super) struct Installed<P: Platform> {
    pub(super) device: Device<P>,
    pub(super) function: Function<P>,
    condition: Mutex<P::Lock, Condition>,
}

struct Condition {
    timeout: Duration,
    fault: Option<Fault>,
    refusal: Option<ShareError>,
}

impl<P: Platform> Installed<P> {
    pub(super) fn new(device: Device<P>, function: Function<P>) -> Self {
        let condition = Condition {
            timeout: DEFAULT_TIMEOUT,
            fault: None,
            refusal: None,
        };
        Self {
            device,
            function,
            condition: Mutex::const_new(<P::Lock as RawMutex>::INIT, condition),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.condition.lock().timeout
    }

    pub(super) fn set_timeout(&self, timeout: Duration) {
        self.condition.lock().timeout = timeout;
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.condition.lock().fault
    }

    /// Notes why the device is given up; the first reason stays.
    pub(super) fn give_up(&self, fault: Fault) {
        self.condition.lock().fault.get_or_insert(fault);
    }

    /// Notes why a request is not made.
    pub(super) fn refuse(&self, error: ShareError) {
        self.condition.lock().refusal.get_or_insert(error);
    }

    pub(super) fn refusal(&self) -> Option<ShareError> {
        self.condition.lock().refusal
    }

    pub(super) fn take_refusal(&self) -> Option<ShareError> {
        self.condition.lock().refusal.take()
    }
}
