//! The bench: memory, bus, the controller, and its registers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use hw::nvme::regs::{self, Configuration, ControllerStatus};
use hw::pci::msix::MessageControl;

use super::super::{MSIX_BAR, NvmeConfig, NvmeController, REGISTERS_BAR};
use super::driver::Pair;
use super::gatekeeper::{Gatekeeper, Messages};
use super::{ADMIN_QUEUES, MESSAGE, RAM_BYTES, eventually};
use crate::bus::{Bus, DmaPort, Requester};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::Unit;
use crate::pci::function::{FunctionModel, FunctionPort};
use crate::pci::msix::Msix;

pub(super) struct Bench {
    pub(super) controller: Arc<NvmeController>,
    pub(super) ram: Arc<Ram>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) messages: Arc<Messages>,
    pub(super) msix: Arc<Msix>,
    pub(super) findings: Findings,
    pub(super) admin: Pair,
}

impl Bench {
    /// A machine with just this disk, its admin queues set up, enabled.
    pub(super) fn new(config: NvmeConfig) -> Self {
        let mut bench = Self::power_on(config);
        bench.enable(16);
        bench
    }

    pub(super) fn power_on(config: NvmeConfig) -> Self {
        let ram = Ram::new(&[0..RAM_BYTES]).unwrap();
        let interrupts = Arc::new(Interrupts::new());
        let messages = Arc::new(Messages::default());
        interrupts.connect(Arc::clone(&messages) as Arc<dyn InterruptSink>);
        let gatekeeper = Arc::new(Gatekeeper::default());
        let requester = Arc::new(Requester::new(0, 0, config.address_lines, vec![]));
        requester.set_master(true);
        let bus = Arc::new(Bus::new(Arc::clone(&ram), vec![], vec![], interrupts));
        let unit = Arc::clone(&gatekeeper) as Arc<dyn Unit>;
        let dma = DmaPort::new(bus, Some(unit), requester);
        let findings = Findings::new();
        let controller = Arc::new(NvmeController::new(config, findings.clone()).unwrap());
        let description = controller.description().msix.unwrap();
        let msix = Arc::new(Msix::new(description, dma.clone()));
        for vector in 0..description.vectors.min(16) {
            let entry = 16 * u64::from(vector);
            msix.write(MSIX_BAR, entry, Width::Qword, 0xfee0_0000);
            msix.write(
                MSIX_BAR,
                entry + 8,
                Width::Dword,
                (MESSAGE + u32::from(vector)).into(),
            );
            msix.write(MSIX_BAR, entry + 12, Width::Dword, 0);
        }
        msix.set_control(MessageControl::new().with_enable(true));
        Arc::clone(&controller).start(FunctionPort::new(dma, Some(Arc::clone(&msix))));
        let admin = Pair::new(0, ADMIN_QUEUES, 2);
        Self {
            controller,
            ram,
            gatekeeper,
            messages,
            msix,
            findings,
            admin,
        }
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        self.controller.read(REGISTERS_BAR, offset, Width::Dword) as u32
    }

    pub(super) fn write(&self, offset: u64, value: u32) {
        self.controller
            .write(REGISTERS_BAR, offset, Width::Dword, value.into());
    }

    pub(super) fn status(&self) -> ControllerStatus {
        ControllerStatus::from_bits(self.read(regs::CSTS))
    }

    pub(super) fn configuration() -> Configuration {
        Configuration::new()
            .with_en(true)
            .with_iosqes(6)
            .with_iocqes(4)
    }

    /// Fresh admin queues of `entries` entries, then `CC.EN` and waiting for `CSTS.RDY`.
    pub(super) fn enable(&mut self, entries: u32) {
        self.admin = Pair::new(0, ADMIN_QUEUES, entries);
        self.ram.fill(ADMIN_QUEUES, 0x2_0000, 0).unwrap();
        self.write(regs::AQA, (entries - 1) << 16 | (entries - 1));
        self.controller.write(
            REGISTERS_BAR,
            regs::ASQ,
            Width::Qword,
            self.admin.submission,
        );
        self.controller.write(
            REGISTERS_BAR,
            regs::ACQ,
            Width::Qword,
            self.admin.completion,
        );
        self.write(regs::CC, Self::configuration().into_bits());
        self.wait_for(|status| status.rdy());
    }

    pub(super) fn disable(&self) {
        self.write(regs::CC, 0);
        self.wait_for(|status| !status.rdy());
    }

    pub(super) fn wait_for(&self, wanted: impl Fn(ControllerStatus) -> bool) {
        eventually(|| wanted(self.status()).then_some(()));
    }

    pub(super) fn interrupts(&self, vector: usize) -> u64 {
        self.messages.0[vector].load(Ordering::SeqCst)
    }

    pub(super) fn found(&self, kind: FindingKind) -> usize {
        self.findings
            .list()
            .iter()
            .filter(|finding| finding.kind == kind)
            .count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.controller.stop();
    }
}
