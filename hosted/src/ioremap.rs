//! Register windows: B → C.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

use board::hardware::Hardware;
use board::mmio::{RegisterWindow, WindowError};
use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::VirtualMapError;
use parking_lot::Mutex;

/// The windows that are open, by the address their first register is at.
#[derive(Default)]
pub(crate) struct Windows {
    open: Mutex<BTreeMap<usize, Open>>,
}

/// A window, and what lies behind it.
struct Open {
    window: RegisterWindow,
    phys: PhysRange,
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
        let open = Open {
            window,
            phys: range,
        };
        self.open.lock().insert(pointer.addr().get(), open);
        Ok(pointer)
    }

    /// Closes the window at `start`; `false` if none of that length is open there.
    pub(crate) fn close(&self, start: NonNull<u8>, len_bytes: u64) -> bool {
        let mut open = self.open.lock();
        let address = start.addr().get();
        if open
            .get(&address)
            .is_none_or(|open| open.window.len_bytes() != len_bytes)
        {
            return false;
        }
        let window = open.remove(&address);
        drop(open);
        // The last window may be the last owner of its hardware: not under the lock.
        drop(window);
        true
    }

    /// Where the register at `phys` is mapped: the lowest address, if at several.
    pub(crate) fn find(&self, phys: PhysAddr) -> Option<VirtAddr> {
        let open = self.open.lock();
        let (start, found) = open.iter().find(|(_, open)| open.phys.contains(phys))?;
        let offset = phys.as_u64() - found.phys.start().as_u64();
        Some(VirtAddr::new(*start as u64 + offset))
    }

    /// Number of open windows.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }
}
