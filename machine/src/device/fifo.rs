//! A transmitter that is no PCI function: a word written to its FIFO is sent, and nothing else of it is for DMA.
//!
//! What a DMA engine feeds (an audio codec, a serial port): four bytes at one address, whatever the length of the transfer.
//! It has a page of registers to itself, and more than one register there.
//!
//! | offset | register |
//! |---|---|
//! | 0x00 | control: a word that holds what was written |
//! | 0x10 | FIFO: a word written is sent; it reads as how many were |
//!
//! ```
//! use machine::device::fifo::{Fifo, FIFO_REGISTERS};
//!
//! assert_eq!(FIFO_REGISTERS.end - FIFO_REGISTERS.start, 0x1000);
//! assert_eq!(Fifo::default().sent(), []);
//! ```

use std::ops::Range;

use parking_lot::Mutex;

/// Where its registers are.
pub const FIFO_REGISTERS: Range<u64> = 0xfe00_0000..0xfe00_1000;

/// Offset of the FIFO.
pub const FIFO: u64 = 0x10;

/// Offset of the control word.
pub const CONTROL: u64 = 0;

/// The transmitter.
#[derive(Default)]
pub struct Fifo {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    control: u32,
    sent: Vec<u32>,
}

impl Fifo {
    /// All that was sent, in order.
    pub fn sent(&self) -> Vec<u32> {
        self.state.lock().sent.clone()
    }

    /// What was last written to the control word.
    pub fn control(&self) -> u32 {
        self.state.lock().control
    }

    /// What a read of `len` bytes at `offset` gives: ones where it is no register.
    pub(crate) fn read(&self, offset: u64, len: usize) -> u64 {
        let state = self.state.lock();
        match (offset, len) {
            (CONTROL, 4) => state.control.into(),
            (FIFO, 4) => state.sent.len() as u64,
            _ => u64::MAX,
        }
    }

    /// Takes a write at `offset`. Only whole words at a register's own address mean something.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        match (offset, <[u8; 4]>::try_from(bytes)) {
            (CONTROL, Ok(word)) => state.control = u32::from_le_bytes(word),
            (FIFO, Ok(word)) => state.sent.push(u32::from_le_bytes(word)),
            _ => log::debug!(
                "{} bytes at {offset:#x} of the FIFO are ignored",
                bytes.len()
            ),
        }
    }
}
