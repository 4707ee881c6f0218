//! What a device sees and does at any bus address, mapped for it or not.

use dmamap::addr::BusAddr;
use dmamap::device::Device;
use dmamap::map::Coherent;
use drivers::edu::{Edu, MAX_TRANSFER_BYTES};
use hosted::Hosted;

use rig::Rig;

/// The educational device, and coherent memory by way of which its own buffer is read and written.
pub(crate) struct Spy {
    pub(crate) edu: Edu<Hosted>,
    window: Coherent<Hosted, u8>,
}

impl Spy {
    pub(crate) fn on(rig: &mut Rig, device: Device<Hosted>) -> Self {
        let edu = rig.edu_on(device);
        let window = edu
            .device()
            .alloc_coherent::<u8>(MAX_TRANSFER_BYTES as usize)
            .expect("there is memory within the mask");
        Self { edu, window }
    }

    pub(crate) fn device(&self) -> &Device<Hosted> {
        self.edu.device()
    }

    /// What the device reads at `bus`.
    pub(crate) fn peek(&mut self, bus: BusAddr, len_bytes: u64) -> Vec<u8> {
        let mut seen = Vec::new();
        while (seen.len() as u64) < len_bytes {
            let done = seen.len() as u64;
            let len = (len_bytes - done).min(MAX_TRANSFER_BYTES);
            // SAFETY: the device is confined, or a test looks at what it reaches without.
            unsafe {
                self.edu
                    .fetch_at(bus.checked_add(done).expect("an address"), len)
                    .expect("the device answers");
                self.edu
                    .store_at(self.window.bus_addr(), len)
                    .expect("the device answers");
            }
            seen.extend((0..len as usize).map(|n| self.window.read(n).expect("within")));
        }
        seen
    }

    /// Has the device write `bytes` at `bus`.
    pub(crate) fn poke(&mut self, bus: BusAddr, bytes: &[u8]) {
        for (n, piece) in bytes.chunks(MAX_TRANSFER_BYTES as usize).enumerate() {
            for (n, &byte) in piece.iter().enumerate() {
                self.window.write(n, byte).expect("within");
            }
            let at = bus
                .checked_add(n as u64 * MAX_TRANSFER_BYTES)
                .expect("an address");
            let len = piece.len() as u64;
            // SAFETY: as in `peek`; writes go where a test looks for them.
            unsafe {
                self.edu
                    .fetch_at(self.window.bus_addr(), len)
                    .expect("the device answers");
                self.edu.store_at(at, len).expect("the device answers");
            }
        }
    }

    /// Frees the window and detaches the device.
    pub(crate) fn stop(self) {
        let Self { edu, window } = self;
        window.free().expect("the device lost it");
        edu.stop().detach().expect("the device is detached");
    }
}
