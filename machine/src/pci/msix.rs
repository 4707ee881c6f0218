//! MSI-X: a table of messages in a BAR, masks, and pending bits (PCI Express base specification, 7.7.2).

use std::ops::Range;

use board::hardware::Width;
use hw::pci::msix::{
    ENTRY_ADDRESS, ENTRY_ADDRESS_UPPER, ENTRY_BYTES, ENTRY_DATA, ENTRY_VECTOR_CONTROL,
    MessageControl, VectorControl,
};
use parking_lot::Mutex;

use super::function::MsixDescription;
use crate::bus::DmaPort;

/// A function's message interrupts. Messages are writes through the function's own port, so its bus-master
/// bit and its address lines apply to them.
pub struct Msix {
    description: MsixDescription,
    port: DmaPort,
    state: Mutex<State>,
}

struct State {
    control: MessageControl,
    entries: Vec<[u32; 4]>,
    pending: Vec<u64>,
}

/// A message on its way.
struct Message {
    bus: u64,
    data: u32,
}

impl Msix {
    /// All vectors masked, MSI-X off, as after reset.
    pub(crate) fn new(description: MsixDescription, port: DmaPort) -> Self {
        let vectors = usize::from(description.vectors);
        let mut entry = [0; 4];
        entry[ENTRY_VECTOR_CONTROL as usize / 4] = VectorControl::new().with_mask(true).into_bits();
        let state = State {
            control: MessageControl::new(),
            entries: vec![entry; vectors],
            pending: vec![0; vectors.div_ceil(64)],
        };
        Self {
            description,
            port,
            state: Mutex::new(state),
        }
    }

    /// Raises `vector`: a message now, or a pending bit while it is masked. Nothing while MSI-X is off.
    pub fn raise(&self, vector: u16) {
        let vector = usize::from(vector);
        let message = {
            let mut state = self.state.lock();
            if vector >= state.entries.len() || !state.control.enable() {
                return;
            }
            state.pending[vector / 64] |= 1 << (vector % 64);
            state.take(vector)
        };
        self.send(message);
    }

    /// As after reset.
    pub(crate) fn reset(&self) {
        let fresh = Self::new(self.description, self.port.clone());
        *self.state.lock() = fresh.state.into_inner();
    }

    /// The function's message control register was written.
    pub(crate) fn set_control(&self, control: MessageControl) {
        let vectors = {
            let mut state = self.state.lock();
            state.control = control;
            state.entries.len()
        };
        for vector in 0..vectors {
            let message = self.state.lock().take(vector);
            self.send(message);
        }
    }

    /// Answers a read at `offset` of BAR `bar` if it is in one of the two structures.
    pub(crate) fn read(&self, bar: usize, offset: u64, width: Width) -> Option<u64> {
        let state = self.state.lock();
        if let Some(at) = self.within(bar, offset, width, self.table()) {
            let dword = |at: u64| {
                u64::from(
                    state.entries[(at / ENTRY_BYTES) as usize][(at % ENTRY_BYTES / 4) as usize],
                )
            };
            return Some(match width {
                Width::Dword if at.is_multiple_of(4) => dword(at),
                Width::Qword if at.is_multiple_of(8) => dword(at) | (dword(at + 4) << 32),
                _ => width.ones(),
            });
        }
        let at = self.within(bar, offset, width, self.pending_bits())?;
        let word = state.pending[(at / 8) as usize];
        Some(match width {
            Width::Dword if at.is_multiple_of(4) => (word >> (8 * (at % 8))) & width.ones(),
            Width::Qword if at.is_multiple_of(8) => word,
            _ => width.ones(),
        })
    }

    /// Takes a write at `offset` of BAR `bar` if it is in one of the two structures.
    pub(crate) fn write(&self, bar: usize, offset: u64, width: Width, value: u64) -> Option<()> {
        if let Some(at) = self.within(bar, offset, width, self.table()) {
            let vector = (at / ENTRY_BYTES) as usize;
            let message = {
                let mut state = self.state.lock();
                let mut store = |at: u64, value: u32| {
                    state.entries[vector][(at % ENTRY_BYTES / 4) as usize] = value;
                };
                match width {
                    Width::Dword if at.is_multiple_of(4) => store(at, value as u32),
                    Width::Qword if at.is_multiple_of(8) => {
                        store(at, value as u32);
                        store(at + 4, (value >> 32) as u32);
                    }
                    _ => {}
                }
                state.take(vector)
            };
            self.send(message);
            return Some(());
        }
        // The pending bits are read-only.
        self.within(bar, offset, width, self.pending_bits())
            .map(|_| ())
    }

    fn send(&self, message: Option<Message>) {
        if let Some(Message { bus, data }) = message
            && let Err(error) = self.port.write(bus, &data.to_le_bytes())
        {
            log::debug!("message {data:#x} to {bus:#x} lost: {error}");
        }
    }

    fn table(&self) -> Range<u64> {
        let start = u64::from(self.description.table_offset);
        start..start + u64::from(self.description.vectors) * ENTRY_BYTES
    }

    fn pending_bits(&self) -> Range<u64> {
        let start = u64::from(self.description.pending_offset);
        start..start + u64::from(self.description.vectors).div_ceil(64) * 8
    }

    fn within(&self, bar: usize, offset: u64, width: Width, range: Range<u64>) -> Option<u64> {
        let inside = bar == self.description.bar
            && range.contains(&offset)
            && offset + width.bytes() <= range.end;
        inside.then(|| offset - range.start)
    }
}

impl State {
    /// Takes the message of `vector` if it is pending and may go.
    fn take(&mut self, vector: usize) -> Option<Message> {
        let entry = self.entries[vector];
        let field = |offset: u64| entry[offset as usize / 4];
        let bit = 1 << (vector % 64);
        let masked = !self.control.enable()
            || self.control.function_mask()
            || VectorControl::from_bits(field(ENTRY_VECTOR_CONTROL)).mask();
        if masked || self.pending[vector / 64] & bit == 0 {
            return None;
        }
        self.pending[vector / 64] &= !bit;
        let bus = u64::from(field(ENTRY_ADDRESS_UPPER)) << 32 | u64::from(field(ENTRY_ADDRESS));
        Some(Message {
            bus,
            data: field(ENTRY_DATA),
        })
    }
}

#[cfg(test)]
mod tests;
