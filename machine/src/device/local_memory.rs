//! Memory on a device, behind a prefetchable BAR: its CPU may map it, and the device reaches it without the link.

use std::sync::Arc;

use board::hardware::Width;
use board::ram::Ram;

use crate::pci::function::{BarDescription, BarKind};

/// Bytes of the memory.
const LEN_BYTES: u64 = 0x1_0000;

/// 64 KiB of memory.
pub(crate) struct LocalMemory {
    bytes: Arc<Ram>,
}

impl LocalMemory {
    /// All zeros.
    pub(crate) fn new() -> Self {
        let bytes = Ram::new(&[0..LEN_BYTES]).expect("the host has 64 KiB for a device's memory");
        Self { bytes }
    }

    /// The BAR it is behind.
    pub(crate) const fn bar(index: usize) -> BarDescription {
        BarDescription {
            index,
            kind: BarKind::PrefetchableMemory64,
            len_bytes: LEN_BYTES,
        }
    }

    pub(crate) fn bytes(&self) -> &Arc<Ram> {
        &self.bytes
    }

    pub(crate) fn read(&self, offset: u64, width: Width) -> u64 {
        let mut word = [0; 8];
        match self.bytes.read(offset, &mut word[..width.bytes() as usize]) {
            Ok(()) => u64::from_le_bytes(word),
            Err(_) => width.ones(),
        }
    }

    pub(crate) fn write(&self, offset: u64, width: Width, value: u64) {
        let word = value.to_le_bytes();
        if let Err(error) = self.bytes.write(offset, &word[..width.bytes() as usize]) {
            log::debug!("a device's memory: {error}");
        }
    }
}
