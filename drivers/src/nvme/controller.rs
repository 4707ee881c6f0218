//! The controller's registers: enable, disable, shut down, and whether it is still well.

use core::time::Duration;

use dmamap::mmio::{Mmio, MmioError, Register};
use dmamap::pci::Function;
use dmamap::platform::Platform;
use hw::nvme::regs::{
    self, AdminQueueAttributes, Capabilities, Configuration, ControllerStatus,
    ShutdownNotification, ShutdownStatus, Version,
};
use hw::nvme::{completion, submission};

use super::command::QueueMemory;
use super::error::{ControllerError, Readiness, StartError};
use super::prp::PAGE_SIZE_LOG2;
use super::queue::Doorbells;
use crate::wait::{as_ms, wait_until};

/// A controller behind its registers. Dropping it cuts it off from memory: it is disabled, or
/// loses its bus mastering.
pub(super) struct Controller<P: Platform> {
    platform: P,
    function: Function<P>,
    registers: Mmio<P>,
    capabilities: Capabilities,
    configuration: Register<P, u32>,
    status: Register<P, u32>,
    ready_timeout: Duration,
}

impl<P: Platform> Controller<P> {
    /// Takes the registers of a controller whose state is unknown.
    pub(super) fn new(
        platform: P,
        function: Function<P>,
        registers: Mmio<P>,
        most_ready_timeout: Duration,
    ) -> Result<Self, StartError> {
        let capabilities = registers.register::<u64>(regs::CAP)?.read();
        if capabilities == u64::MAX {
            return Err(ControllerError::Removed.into());
        }
        let capabilities = Capabilities::from_bits(capabilities);
        let page_size_log2 = 12 + u32::from(capabilities.mpsmin());
        if page_size_log2 > PAGE_SIZE_LOG2 {
            return Err(StartError::PageSize { page_size_log2 });
        }
        let css = capabilities.css();
        if css & Capabilities::CSS_NVM == 0 {
            return Err(StartError::CommandSet { css });
        }
        // CAP.TO may be 0 where the controller is quick.
        let asked_for = Duration::from_millis(u64::from(capabilities.timeout_ms()).max(500));
        Ok(Self {
            platform,
            function,
            ready_timeout: asked_for.min(most_ready_timeout),
            capabilities,
            configuration: registers.register(regs::CC)?,
            status: registers.register(regs::CSTS)?,
            registers,
        })
    }

    /// What the controller can do.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The version of the specification it says it follows.
    pub(super) fn read_version(&self) -> Result<Version, MmioError> {
        Ok(Version::from_bits(
            self.registers.register::<u32>(regs::VS)?.read(),
        ))
    }

    /// The registers that are not a queue's.
    pub(super) fn registers(&self) -> &Mmio<P> {
        &self.registers
    }

    /// The registers, for another owner to take its part.
    pub(super) fn registers_mut(&mut self) -> &mut Mmio<P> {
        &mut self.registers
    }

    /// Gives the doorbells of a queue pair to their owner. The second call for the same queue fails.
    pub(super) fn split_doorbells(&mut self, queue: u16) -> Result<Doorbells<P>, MmioError> {
        let tail_at = regs::submission_doorbell(self.capabilities, queue);
        let head_at = regs::completion_doorbell(self.capabilities, queue);
        let part = self.registers.carve(tail_at, head_at + 4 - tail_at)?;
        Ok(Doorbells {
            tail: part.register(0)?,
            head: part.register(head_at - tail_at)?,
        })
    }

    /// Starts the controller, with its admin queues at these places.
    pub(super) fn enable(
        &self,
        submissions: QueueMemory,
        completions: QueueMemory,
    ) -> Result<(), StartError> {
        let attributes = AdminQueueAttributes::new()
            .with_asqs(submissions.entries.saturating_sub(1) as u16)
            .with_acqs(completions.entries.saturating_sub(1) as u16);
        self.registers
            .register::<u32>(regs::AQA)?
            .write(attributes.into_bits());
        self.registers
            .register::<u64>(regs::ASQ)?
            .write(submissions.at.as_u64());
        self.registers
            .register::<u64>(regs::ACQ)?
            .write(completions.at.as_u64());
        let configuration = Configuration::new()
            .with_en(true)
            .with_iosqes(submission::ENTRY_SIZE_LOG2)
            .with_iocqes(completion::ENTRY_SIZE_LOG2);
        self.configuration.write(configuration.into_bits());
        self.wait_for(Readiness::Ready)?;
        Ok(())
    }

    /// Stops the controller: once this returns it uses no memory.
    pub(super) fn disable(&self) -> Result<(), ControllerError> {
        let configuration = Configuration::from_bits(self.configuration.read());
        if configuration.into_bits() == u32::MAX {
            return Err(ControllerError::Removed);
        }
        let status = self.read_status()?;
        if configuration.en() && !status.rdy() && !status.cfs() {
            // EN may not be cleared before RDY followed it (Base 3.1.3.5). If it never does, the wait below
            // tells whether clearing helped.
            let _ = self.wait_for(Readiness::Ready);
        }
        let stopped = configuration
            .with_en(false)
            .with_shn(ShutdownNotification::None);
        self.configuration.write(stopped.into_bits());
        self.wait_for(Readiness::Disabled)
    }

    /// Makes sure that the controller uses no memory: disables it, and where it does not obey, takes its
    /// leave to make requests on the bus away until it is attached again.
    pub(super) fn cut_off(&self) -> Result<(), ControllerError> {
        let disabled = self.disable();
        if let Err(error) = &disabled {
            log::warn!(
                "{}: {error}; its bus mastering is switched off",
                self.function.address()
            );
            self.function.disable_bus_master();
        }
        disabled
    }

    /// Announces a normal shutdown and waits until the controller is done with it.
    pub(super) fn notify_shutdown(&self, timeout: Duration) -> Result<(), ControllerError> {
        let configuration = Configuration::from_bits(self.configuration.read());
        let announced = configuration.with_shn(ShutdownNotification::Normal);
        self.configuration.write(announced.into_bits());
        let done = wait_until(&self.platform, timeout, || match self.read_status() {
            Ok(status) if status.shst() == ShutdownStatus::Complete => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        let waited_ms = as_ms(timeout);
        done.unwrap_or(Err(ControllerError::ShutdownTimedOut { waited_ms }))
    }

    /// Whether the controller still works.
    pub(super) fn check_health(&self) -> Result<(), ControllerError> {
        let status = self.read_status()?;
        // A controller that dropped out of readiness by itself was reset behind our back.
        if status.cfs() || !status.rdy() {
            return Err(ControllerError::Fatal {
                csts: status.into_bits(),
            });
        }
        Ok(())
    }

    fn read_status(&self) -> Result<ControllerStatus, ControllerError> {
        match self.status.read() {
            u32::MAX => Err(ControllerError::Removed),
            bits => Ok(ControllerStatus::from_bits(bits)),
        }
    }

    fn wait_for(&self, expected: Readiness) -> Result<(), ControllerError> {
        let reached = wait_until(&self.platform, self.ready_timeout, || {
            match (self.read_status(), expected) {
                (Err(error), _) => Some(Err(error)),
                (Ok(status), Readiness::Ready) if status.cfs() => {
                    Some(Err(ControllerError::Fatal {
                        csts: status.into_bits(),
                    }))
                }
                (Ok(status), Readiness::Ready) if status.rdy() => Some(Ok(())),
                (Ok(status), Readiness::Disabled) if !status.rdy() => Some(Ok(())),
                (Ok(_), _) => None,
            }
        });
        let waited_ms = as_ms(self.ready_timeout);
        reached.unwrap_or(Err(ControllerError::NotReady {
            expected,
            waited_ms,
        }))
    }
}

impl<P: Platform> Drop for Controller<P> {
    fn drop(&mut self) {
        // Logged there; whoever needs the error called it before.
        let _ = self.cut_off();
    }
}
