//! Device scopes: how the table names a device (8.3.1).

use alloc::vec::Vec;

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// What kind of thing a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One PCI function.
    Endpoint,
    /// A PCI-to-PCI bridge and all that lies behind it.
    SubHierarchy,
    /// An IO APIC, by the requester id of its interrupts.
    IoApic,
    /// An HPET that sends message-signaled interrupts, by their requester id.
    Hpet,
    /// A device found in the ACPI namespace only, by the requester id of its requests.
    Namespace,
}

/// One device, or a bridge with all behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceScope {
    /// What it is.
    pub kind: ScopeKind,
    /// IO APIC id, HPET number or ANDD device number of the kinds that have one; else 0.
    pub enumeration_id: u8,
    /// Number of the bus where the path starts. Bus numbers further down are the running machine's.
    pub start_bus: u8,
    /// Device and function of each step; all but the last are bridges. At least one; devices are below 32,
    /// functions below 8.
    pub path: Vec<(u8, u8)>,
}

/// Bytes before the path.
const PATH_AT: usize = 6;
/// Bytes of one step of the path.
const STEP_BYTES: usize = 2;

/// The scopes that fill `fields`; those of unknown kind are passed over.
pub(super) fn all(fields: &Fields<'_>) -> Result<Vec<DeviceScope>, TableError> {
    let mut scopes = Vec::new();
    let mut rest = *fields;
    while rest.len() != 0 {
        let stated = usize::from(rest.slice(0, 2)?.u8(1)?);
        let least = PATH_AT + STEP_BYTES;
        if stated < least {
            return Err(rest.error(1, Damage::LengthTooSmall { stated, least }));
        }
        let scope = rest.slice(0, stated)?;
        if let Some(kind) = kind(scope.u8(0)?) {
            scopes.push(parse(kind, &scope)?);
        }
        rest = rest.rest(stated)?;
    }
    Ok(scopes)
}

fn kind(code: u8) -> Option<ScopeKind> {
    match code {
        1 => Some(ScopeKind::Endpoint),
        2 => Some(ScopeKind::SubHierarchy),
        3 => Some(ScopeKind::IoApic),
        4 => Some(ScopeKind::Hpet),
        5 => Some(ScopeKind::Namespace),
        _ => None,
    }
}

fn parse(kind: ScopeKind, scope: &Fields<'_>) -> Result<DeviceScope, TableError> {
    let mut path = Vec::new();
    for step in scope.entries(PATH_AT, STEP_BYTES)? {
        let (device, function) = (step.u8(0)?, step.u8(1)?);
        if device >= hw::pci::DEVICES_PER_BUS || function >= hw::pci::FUNCTIONS_PER_DEVICE {
            return Err(step.error(0, Damage::BadPathStep { device, function }));
        }
        path.push((device, function));
    }
    Ok(DeviceScope {
        kind,
        enumeration_id: scope.u8(4)?,
        start_bus: scope.u8(5)?,
        path,
    })
}
