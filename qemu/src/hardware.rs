//! The computer as the CPU reaches it.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{
    CacheOperation, Hardware, HostBridgeDescription, InboundDescription, InterruptSink, Width,
};
use board::ram::Ram;

use crate::memory_map::PORTS;
use crate::{Architecture, Qemu};

impl Hardware for Qemu {
    fn name(&self) -> &str {
        self.board().name()
    }

    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn rsdp(&self) -> Option<u64> {
        Some(self.rsdp)
    }

    fn devicetree(&self) -> Option<Vec<u8>> {
        self.read_devicetree()
            .inspect_err(|error| log::error!("{error}"))
            .ok()
            .flatten()
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        vec![HostBridgeDescription {
            segment: 0,
            first_bus: 0,
            last_bus: 255,
            windows: self.map.windows.clone(),
            // Devices see memory where the CPU does.
            inbound: Vec::<InboundDescription>::new(),
            snooping: board::hardware::Snooping::On,
        }]
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        vec![self.map.firmware.clone()]
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        let answer = match self.port(phys) {
            Some(port) => self
                .qtest
                .read_port(port, width)
                .unwrap_or(Ok(width.ones())),
            None => self.qtest.read(phys, width),
        };
        // The first failure was reported; from then on nobody answers.
        answer.unwrap_or(width.ones())
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        self.pace.begin_anew();
        let _ = match self.port(phys) {
            Some(port) => self.qtest.write_port(port, width, value),
            None => self.qtest.write(phys, width, value),
        };
    }

    /// None: a message that a device writes reaches QEMU's interrupt controller, which has no CPU to tell.
    fn message_window(&self) -> Range<u64> {
        0..0
    }

    fn connect_interrupts(&self, _sink: Arc<dyn InterruptSink>) {}

    /// QEMU's devices are coherent.
    fn maintain_cache(&self, _operation: CacheOperation, _phys: u64, _len_bytes: u64) {}

    fn frames_freed(&self, _phys: u64, _len_bytes: u64) {}

    fn idle(&self) {
        let _ = self.qtest.step_clock(self.pace.step_ns());
    }
}

impl Qemu {
    /// The IO port behind `phys`, on machines whose ports are no memory.
    fn port(&self, phys: u64) -> Option<u16> {
        let ports = self.board().architecture() == Architecture::X86_64 && PORTS.contains(&phys);
        ports.then(|| (phys - PORTS.start) as u16)
    }
}
