//! Controller properties: what the CPU reads and writes below the doorbells, and the controller's life.
//!
//! A write of `CC` only asks; the engine does what was asked and then tells so in `CSTS`, as a real controller
//! takes its time. Misuse that the specification leaves undefined is refused and told (NVM Express base
//! specification 2.0, sections 3.1.3, 3.5 and 3.6; PCIe transport 3.1).

use board::hardware::Width;
use hw::nvme::regs::{
    self, AdminQueueAttributes, Capabilities, Configuration, ControllerStatus,
    ShutdownNotification, ShutdownStatus, Version,
};

use super::misuse::{EnableError, RegisterMisuse};

/// `CAP.TO`: a driver must wait this long for `CSTS.RDY` to follow `CC.EN`, in units of 500 ms.
const TIMEOUT_HALF_SECONDS: u8 = 20;

/// `CAP.MPSMAX`: memory pages of up to 64 KiB.
const PAGE_SIZE_MAX: u8 = 4;

/// The revision of the specification that the controller tells.
pub(crate) const VERSION: Version = Version::new().with_mjr(1).with_mnr(2);

/// Low bits of `ASQ` and `ACQ`, reserved.
const QUEUE_BASE_RESERVED: u64 = 0xfff;

/// The admin queues as the registers describe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdminQueues {
    pub(crate) submission_base: u64,
    pub(crate) submission_entries: u32,
    pub(crate) completion_base: u64,
    pub(crate) completion_entries: u32,
}

/// What the controller has to do next, as the registers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing, until something is written.
    Idle,
    /// Stop everything, forget all queues.
    Reset,
    /// Check the configuration and become ready.
    Enable,
    /// Bring everything to stable storage, then stop.
    Shutdown(ShutdownNotification),
    /// Execute commands.
    Commands,
}

/// The registers.
#[derive(Debug)]
pub(crate) struct Registers {
    cap: Capabilities,
    cc: Configuration,
    csts: ControllerStatus,
    interrupt_mask: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
    reset_asked: bool,
    shutdown_asked: bool,
}

impl Registers {
    /// Registers after power-on.
    pub(crate) fn new(queue_entries: u32, doorbell_stride_log2: u8) -> Self {
        let cap = Capabilities::new()
            .with_mqes((queue_entries - 1) as u16)
            .with_cqr(true)
            .with_to(TIMEOUT_HALF_SECONDS)
            .with_dstrd(doorbell_stride_log2)
            .with_css(Capabilities::CSS_NVM)
            .with_mpsmax(PAGE_SIZE_MAX);
        Self {
            cap,
            cc: Configuration::new(),
            csts: ControllerStatus::new(),
            interrupt_mask: 0,
            aqa: 0,
            asq: 0,
            acq: 0,
            reset_asked: false,
            shutdown_asked: false,
        }
    }

    /// Capabilities.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.cap
    }

    /// The configuration as last written.
    pub(crate) fn configuration(&self) -> Configuration {
        self.cc
    }

    /// Bytes of a memory page (`CC.MPS`).
    pub(crate) fn page_bytes(&self) -> u64 {
        1 << (12 + u32::from(self.cc.mps()))
    }

    /// A CPU read below the doorbells.
    pub(crate) fn read(&self, offset: u64, width: Width) -> Result<u64, RegisterMisuse> {
        match width {
            Width::Dword if offset.is_multiple_of(4) => Ok(self.load(offset).into()),
            Width::Qword if offset.is_multiple_of(8) => {
                Ok(u64::from(self.load(offset)) | u64::from(self.load(offset + 4)) << 32)
            }
            _ => Err(RegisterMisuse::Access { offset, width }),
        }
    }

    /// A CPU write below the doorbells. What was right of it is done even if an error is returned.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        width: Width,
        value: u64,
    ) -> Result<(), RegisterMisuse> {
        match width {
            Width::Dword if offset.is_multiple_of(4) => self.store(offset, value as u32),
            Width::Qword if offset.is_multiple_of(8) => {
                let low = self.store(offset, value as u32);
                low.and(self.store(offset + 4, (value >> 32) as u32))
            }
            _ => Err(RegisterMisuse::Access { offset, width }),
        }
    }

    fn load(&self, offset: u64) -> u32 {
        let low_or_high = |quad: u64| (quad >> (8 * (offset & 4))) as u32;
        match offset & !4 {
            regs::CAP => return low_or_high(self.cap.into_bits()),
            regs::ASQ => return low_or_high(self.asq),
            regs::ACQ => return low_or_high(self.acq),
            _ => {}
        }
        match offset {
            regs::VS => VERSION.into_bits(),
            // Both read as the mask (3.1.3.3, 3.1.3.4).
            regs::INTMS | regs::INTMC => self.interrupt_mask,
            regs::CC => self.cc.into_bits(),
            regs::CSTS => self.csts.into_bits(),
            regs::AQA => self.aqa,
            _ => 0,
        }
    }

    fn store(&mut self, offset: u64, value: u32) -> Result<(), RegisterMisuse> {
        match offset {
            regs::INTMS => self.interrupt_mask |= value,
            regs::INTMC => self.interrupt_mask &= !value,
            regs::CC => return self.configure(Configuration::from_bits(value)),
            // Only NSSRO can be cleared, and subsystem reset is not supported.
            regs::CSTS | regs::NSSR => {}
            regs::AQA | regs::ASQ..=0x37 if self.cc.en() => {
                return Err(RegisterMisuse::AdminQueueInUse { offset });
            }
            regs::AQA => self.aqa = value,
            regs::ASQ..=0x2f => {
                self.asq = replace_half(self.asq, offset, value) & !QUEUE_BASE_RESERVED
            }
            regs::ACQ..=0x37 => {
                self.acq = replace_half(self.acq, offset, value) & !QUEUE_BASE_RESERVED
            }
            _ => return Err(RegisterMisuse::NotWritable { offset, value }),
        }
        Ok(())
    }

    fn configure(&mut self, new: Configuration) -> Result<(), RegisterMisuse> {
        let old = std::mem::replace(&mut self.cc, new);
        match (old.en(), new.en()) {
            (true, false) => self.reset_asked = true,
            (false, true) if self.reset_asked => return Err(RegisterMisuse::EnabledDuringReset),
            (true, true) => {
                if (old.mps(), old.ams(), old.css()) != (new.mps(), new.ams(), new.css()) {
                    let (from, to) = (old.into_bits(), new.into_bits());
                    self.cc = new
                        .with_mps(old.mps())
                        .with_ams(old.ams())
                        .with_css(old.css());
                    return Err(RegisterMisuse::ConfigurationInUse { from, to });
                }
                if old.shn() != new.shn() && new.shn() != ShutdownNotification::None {
                    self.shutdown_asked = true;
                    self.csts.set_shst(ShutdownStatus::Occurring);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is to be done now.
    pub(crate) fn duty(&self) -> Duty {
        if self.reset_asked {
            Duty::Reset
        } else if !self.cc.en() || self.csts.cfs() {
            Duty::Idle
        } else if !self.csts.rdy() {
            Duty::Enable
        } else if self.shutdown_asked {
            Duty::Shutdown(self.cc.shn())
        } else if self.csts.shst() != ShutdownStatus::Normal {
            Duty::Idle
        } else {
            Duty::Commands
        }
    }

    /// Whether the command being executed, if any, is not to be completed any more.
    pub(crate) fn reset_asked(&self) -> bool {
        self.reset_asked
    }

    /// The function was reset: all is as after power-on, and what the controller is doing is to be given up.
    pub(crate) fn function_reset(&mut self) {
        *self = Self {
            cap: self.cap,
            reset_asked: true,
            cc: Configuration::new(),
            csts: ControllerStatus::new(),
            interrupt_mask: 0,
            aqa: 0,
            asq: 0,
            acq: 0,
            shutdown_asked: false,
        };
    }

    /// The reset is done: status is as after power-on, the admin queue registers keep their values.
    pub(crate) fn reset_done(&mut self) {
        self.csts = ControllerStatus::new();
        self.interrupt_mask = 0;
        self.reset_asked = false;
        self.shutdown_asked = false;
    }

    /// Checks what the driver configured and becomes ready, or stops with the fatal status.
    pub(crate) fn enable(&mut self) -> Result<AdminQueues, EnableError> {
        let queues = self.admin_queues();
        match queues {
            Ok(_) => self.csts.set_rdy(true),
            Err(_) => self.csts.set_cfs(true),
        }
        queues
    }

    fn admin_queues(&self) -> Result<AdminQueues, EnableError> {
        let cc = self.cc;
        if cc.mps() > PAGE_SIZE_MAX || cc.ams() != 0 || cc.css() != 0 {
            return Err(EnableError::Configuration(cc.into_bits()));
        }
        let aqa = AdminQueueAttributes::from_bits(self.aqa);
        if aqa.asqs() == 0 || aqa.acqs() == 0 {
            return Err(EnableError::AdminQueueSize(self.aqa));
        }
        let page_bytes = self.page_bytes();
        if let Some(base) = [self.asq, self.acq]
            .into_iter()
            .find(|base| !base.is_multiple_of(page_bytes))
        {
            return Err(EnableError::AdminQueueBase { base, page_bytes });
        }
        Ok(AdminQueues {
            submission_base: self.asq,
            submission_entries: u32::from(aqa.asqs()) + 1,
            completion_base: self.acq,
            completion_entries: u32::from(aqa.acqs()) + 1,
        })
    }

    /// The shutdown is done.
    pub(crate) fn shutdown_done(&mut self) {
        self.shutdown_asked = false;
        self.csts.set_shst(ShutdownStatus::Complete);
    }

    /// Whether the fatal status is told.
    pub(crate) fn is_fatal(&self) -> bool {
        self.csts.cfs()
    }

    /// The controller cannot go on; only a reset helps.
    pub(crate) fn fatal(&mut self) {
        self.csts.set_cfs(true);
    }
}

/// `quad` with the half that a dword access at `offset` reaches replaced.
fn replace_half(quad: u64, offset: u64, value: u32) -> u64 {
    let shift = 8 * (offset & 4);
    quad & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift
}

#[cfg(test)]
mod tests;
