//! A device that is memory behind a BAR, as disks have for queues in themselves: what other devices may write to.

use std::sync::Arc;

use board::hardware::Width;
use board::ram::Ram;
use hw::pci::config::class;

use super::local_memory::LocalMemory;
use crate::pci::bridge::MODEL_VENDOR;
use crate::pci::function::{Attachment, FunctionDescription, FunctionModel, FunctionPort};

/// The device.
pub(crate) struct DeviceMemory {
    memory: LocalMemory,
}

impl DeviceMemory {
    /// All zeros.
    pub(crate) fn new() -> Self {
        Self {
            memory: LocalMemory::new(),
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
            bars: vec![LocalMemory::bar(0)],
            msix: None,
            address_lines: 64,
        }
    }

    fn memory(&self, _bar: usize) -> Option<&Arc<Ram>> {
        Some(self.memory.bytes())
    }

    fn start(self: Arc<Self>, _port: FunctionPort) {}

    fn read(&self, _bar: usize, offset: u64, width: Width) -> u64 {
        self.memory.read(offset, width)
    }

    fn write(&self, _bar: usize, offset: u64, width: Width, value: u64) {
        self.memory.write(offset, width, value);
    }

    fn stop(&self) {}
}
