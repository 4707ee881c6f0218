//! Functions that do nothing by themselves: at boot, whoever left them at work, and before the machine goes down.
//!
//! A kernel that starts another in its place (kexec), or died and is looked at by another (kdump), may leave devices that
//! write into memory. They lose bus mastering and their message interrupts, and what was under way is waited for.

use alloc::vec::Vec;

use hw::pci::capability::id;
use hw::pci::msix::{MESSAGE_CONTROL, MessageControl};
use hw::pci::reset::{MSI_CONTROL, MsiControl};

use super::config::FunctionConfig;
use super::found::Found;
use super::reset::{Deadline, PENDING_MS, Transactions, drain};
use super::{Function, PciAddress, Problem};
use crate::platform::Platform;

impl<P: Platform> Function<P> {
    /// Ends the function's own requests and message interrupts. What is under way is to be [waited for](Self::drain).
    pub(crate) fn silence(&self) {
        self.disable_bus_master();
        silence(self.config(), |id| self.capability(id));
    }
}

/// Has each of `devices` end its requests, by `tell`, and waits for what is under way: for all of them together, from when
/// the last was told.
///
/// # Errors
/// The first that does not end them. All are tried.
pub(crate) fn end_requests<P: Platform>(
    platform: P,
    devices: &[&Function<P>],
    tell: impl Fn(&Function<P>),
) -> Result<(), PciAddress> {
    for device in devices {
        tell(device);
    }
    let deadline = Deadline::in_ms(platform, PENDING_MS);
    let mut outcome = Ok(());
    for device in devices {
        if device.drain(deadline) == Transactions::StillPending {
            outcome = outcome.and(Err(device.address()));
        }
    }
    outcome
}

/// [Silences](Function::silence) functions that were found, which are no bus masters any more. One that does not end its requests is a
/// problem.
pub(crate) fn quiesce_found<'a, P: Platform>(
    platform: P,
    found: impl Iterator<Item = &'a Found<P>>,
    problems: &mut Vec<Problem>,
) {
    let deadline = Deadline::in_ms(platform, PENDING_MS);
    for function in found.filter(|function| !function.is_bridge()) {
        let capability = |id| {
            let mut list = function.capabilities.conventional.iter();
            list.find(|(each, _)| *each == id).map(|(_, at)| *at)
        };
        let config = &function.config;
        silence(config, capability);
        if drain(platform, config, capability, deadline) == Transactions::StillPending {
            let address = function.address();
            problems.push(Problem::TransactionsPending { address });
        }
    }
}

/// Switches message interrupts off that are on.
fn silence<P: Platform>(config: &FunctionConfig<P>, capability: impl Fn(u8) -> Option<u16>) {
    if let Some(msix) = capability(id::MSIX) {
        let offset = msix + MESSAGE_CONTROL;
        if MessageControl::from_bits(config.read(offset)).enable() {
            config.modify(offset, |bits: u16| {
                MessageControl::from_bits(bits)
                    .with_enable(false)
                    .into_bits()
            });
        }
    }
    if let Some(msi) = capability(id::MSI) {
        let offset = msi + MSI_CONTROL;
        if MsiControl::from_bits(config.read(offset)).enable() {
            config.modify(offset, |bits: u16| {
                MsiControl::from_bits(bits).with_enable(false).into_bits()
            });
        }
    }
}
