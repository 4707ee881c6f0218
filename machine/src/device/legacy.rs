//! A conventional PCI device behind two bridges, without DMA: IO ports, memory registers, a frame buffer.
//!
//! All three are plain storage, so that a test sees whether a write arrived where it was sent.

use std::sync::Arc;

use board::hardware::Width;
use hw::pci::config::class;
use parking_lot::Mutex;

use crate::pci::bridge::MODEL_VENDOR;
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
};

const BARS: [BarDescription; 3] = [
    BarDescription {
        index: 0,
        kind: BarKind::Io,
        len_bytes: 32,
    },
    BarDescription {
        index: 1,
        kind: BarKind::Memory32,
        len_bytes: 0x1000,
    },
    BarDescription {
        index: 2,
        kind: BarKind::PrefetchableMemory64,
        len_bytes: 1 << 20,
    },
];

/// The device.
pub(crate) struct Legacy {
    storage: [Mutex<Vec<u8>>; BARS.len()],
}

impl Legacy {
    pub(crate) fn new() -> Self {
        Self {
            storage: BARS.map(|bar| Mutex::new(vec![0; bar.len_bytes as usize])),
        }
    }
}

impl FunctionModel for Legacy {
    fn description(&self) -> FunctionDescription {
        FunctionDescription {
            name: "legacy".into(),
            vendor_id: MODEL_VENDOR,
            device_id: 0x00aa,
            class_code: class::UNASSIGNED,
            attachment: Attachment::Conventional,
            bars: BARS.to_vec(),
            msix: None,
            address_lines: 64,
        }
    }

    fn start(self: Arc<Self>, _port: FunctionPort) {}

    fn read(&self, bar: usize, offset: u64, width: Width) -> u64 {
        let storage = self.storage[bar].lock();
        let start = offset as usize;
        let mut word = [0; 8];
        let len = width.bytes() as usize;
        word[..len].copy_from_slice(&storage[start..start + len]);
        u64::from_le_bytes(word)
    }

    fn write(&self, bar: usize, offset: u64, width: Width, value: u64) {
        let mut storage = self.storage[bar].lock();
        let start = offset as usize;
        let len = width.bytes() as usize;
        storage[start..start + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn stop(&self) {}
}
