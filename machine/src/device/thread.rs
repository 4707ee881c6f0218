//! A device's thread, joined once by whoever stops the device.

use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// The handle of a running thread.
#[derive(Debug)]
pub(crate) struct DeviceThread {
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl DeviceThread {
    /// Runs `body`, which ends when its device is stopped. If the host gives no thread the device is dead,
    /// as hardware may be: the log says so.
    pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Self {
        let handle = thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .inspect_err(|error| log::error!("{name}: the host gives no thread: {error}"));
        Self {
            handle: Mutex::new(handle.ok()),
        }
    }

    /// Waits until the thread has ended. The device must have told it to.
    pub(crate) fn join(&self) {
        let handle = self.handle.lock().take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            log::error!("a device's thread panicked");
        }
    }
}
