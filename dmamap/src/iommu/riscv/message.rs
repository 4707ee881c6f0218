//! The messages by which a unit tells of faults: from its own table (5.28), which for a PCI function is that of its
//! MSI-X capability.

use hw::riscv::regs::{self, CauseVectors, MessageAddress, VectorControl};

use super::registers::Registers;
use crate::addr::DmaMask;
use crate::mmio::MmioError;
use crate::pci::{MsixError, MsixTable};
use crate::platform::{Interrupt, Platform};

/// The vector of all interrupts.
const VECTOR: u16 = 0;

/// Where the unit finds the message to send.
pub(super) enum Messages<P: Platform> {
    /// In its registers.
    Registers,
    /// In the table of a function, which lies at the same place.
    Msix(MsixTable<P>),
}

/// Why a message cannot be programmed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Registers(#[from] MmioError),
    #[error(transparent)]
    Msix(#[from] MsixError),
}

impl<P: Platform> Messages<P> {
    /// Has every cause of the unit write `interrupt`'s message.
    pub(super) fn program(
        &self,
        registers: &Registers<P>,
        interrupt: Interrupt,
    ) -> Result<(), MessageError> {
        registers.write_u64(regs::ICVEC, CauseVectors::new().into_bits());
        match self {
            Self::Registers => {
                let vector = u64::from(VECTOR);
                let address = MessageAddress::new().with_addr(interrupt.address().as_u64());
                registers
                    .message_register::<u64>(regs::msi_addr(vector))?
                    .write(address.into_bits());
                registers
                    .message_register::<u32>(regs::msi_data(vector))?
                    .write(interrupt.data());
                registers
                    .message_register::<u32>(regs::msi_vec_ctl(vector))?
                    .write(VectorControl::new().into_bits());
            }
            Self::Msix(table) => {
                table.program(VECTOR, &interrupt, DmaMask::ALL)?;
                table.unmask(VECTOR)?;
                table.enable();
            }
        }
        Ok(())
    }
}
