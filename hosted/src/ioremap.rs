//! Register windows: B → C.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

use board::hardware::Hardware;
use board::mmio::{RegisterWindow, WindowError};
use dmamap::addr::PhysRange;
use dmamap::platform::VirtualMapError;
use parking_lot::Mutex;

/// The windows that are open, by the address their first register is at.
#[derive(Default)]
pub(crate) struct Windows {
    open: Mutex<BTreeMap<usize, RegisterWindow>>,
}

impl Windows {
    /// Opens a window onto the registers of `hardware` at `range`.
    pub(crate) fn open(
        &self,
        hardware: Arc<dyn Hardware>,
        range: PhysRange,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = range.len_bytes();
        let window =
            RegisterWindow::new(hardware, range.start().as_u64(), len_bytes).map_err(|error| {
                match error {
                    WindowError::Range { .. } => VirtualMapError::NothingThere(range),
                    WindowError::OutOfAddressSpace { .. } | WindowError::Reserve(_) => {
                        VirtualMapError::OutOfAddressSpace { len_bytes }
                    }
                }
            })?;
        let pointer = window.pointer();
        self.open.lock().insert(pointer.addr().get(), window);
        Ok(pointer)
    }

    /// Closes the window at `start`; `false` if none of that length is open there.
    pub(crate) fn close(&self, start: NonNull<u8>, len_bytes: u64) -> bool {
        let mut open = self.open.lock();
        let address = start.addr().get();
        if open
            .get(&address)
            .is_none_or(|window| window.len_bytes() != len_bytes)
        {
            return false;
        }
        let window = open.remove(&address);
        drop(open);
        // The last window may be the last owner of its hardware: not under the lock.
        drop(window);
        true
    }

    /// Number of open windows.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }
}
