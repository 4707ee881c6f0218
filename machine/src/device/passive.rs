//! Functions that only exist: the host bridge itself, and a device whose registers fit nowhere.

use std::sync::Arc;

use board::hardware::Width;
use hw::pci::config::class;

use crate::pci::bridge::MODEL_VENDOR;
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
};

/// A function without threads; its registers, if any, read as zero.
pub(crate) struct Passive {
    description: FunctionDescription,
}

impl Passive {
    /// Function 00:00.0, the host bridge as a function.
    pub(crate) fn host_bridge() -> Self {
        Self::of("host bridge", 0x0008, class::HOST_BRIDGE, Vec::new())
    }

    /// A device with one BAR larger than the window it belongs in, and one that would fit.
    pub(crate) fn greedy() -> Self {
        let bars = vec![
            BarDescription {
                index: 0,
                kind: BarKind::Memory32,
                len_bytes: 1 << 30,
            },
            BarDescription {
                index: 1,
                kind: BarKind::Memory32,
                len_bytes: 0x1000,
            },
        ];
        Self::of("greedy", 0x00cc, class::UNASSIGNED, bars)
    }

    fn of(name: &str, device_id: u16, class_code: u32, bars: Vec<BarDescription>) -> Self {
        let description = FunctionDescription {
            name: name.into(),
            vendor_id: MODEL_VENDOR,
            device_id,
            class_code,
            attachment: Attachment::Conventional,
            bars,
            msix: None,
            address_lines: 64,
        };
        Self { description }
    }
}

impl FunctionModel for Passive {
    fn description(&self) -> FunctionDescription {
        self.description.clone()
    }

    fn start(self: Arc<Self>, _port: FunctionPort) {}

    fn read(&self, _bar: usize, _offset: u64, _width: Width) -> u64 {
        0
    }

    fn write(&self, _bar: usize, _offset: u64, _width: Width, _value: u64) {}

    fn stop(&self) {}
}
