//! A device that is memory behind a BAR, as disks have for queues in themselves: what other devices may write to.

use std::sync::Arc;

use board::hardware::Width;
use hw::pci::config::class;
use parking_lot::Mutex;

use crate::pci::bridge::MODEL_VENDOR;
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
};

/// Bytes of the memory.
const LEN_BYTES: u64 = 0x1_0000;

/// The device.
pub(crate) struct DeviceMemory {
    bytes: Mutex<Vec<u8>>,
}

impl DeviceMemory {
    /// All zeros.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Mutex::new(vec![0; LEN_BYTES as usize]),
        }
    }
}

impl FunctionModel for DeviceMemory {
    fn description(&self) -> FunctionDescription {
        FunctionDescription {
            name: "memory".into(),
            vendor_id: MODEL_VENDOR,
            device_id: 0x00dd,
            class_code: class::UNASSIGNED,
            attachment: Attachment::Express,
            bars: vec![BarDescription {
                index: 0,
                kind: BarKind::PrefetchableMemory64,
                len_bytes: LEN_BYTES,
            }],
            msix: None,
            address_lines: 64,
        }
    }

    fn start(self: Arc<Self>, _port: FunctionPort) {}

    fn read(&self, _bar: usize, offset: u64, width: Width) -> u64 {
        let bytes = self.bytes.lock();
        let (start, len) = (offset as usize, width.bytes() as usize);
        let mut word = [0; 8];
        word[..len].copy_from_slice(&bytes[start..start + len]);
        u64::from_le_bytes(word)
    }

    fn write(&self, _bar: usize, offset: u64, width: Width, value: u64) {
        let mut bytes = self.bytes.lock();
        let (start, len) = (offset as usize, width.bytes() as usize);
        bytes[start..start + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn stop(&self) {}
}
