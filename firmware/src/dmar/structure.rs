//! The remapping structures that follow the table's header (8.2 to 8.8), one reader each.

use alloc::vec::Vec;

use super::scope::{self, DeviceScope};
use super::{Affinity, Dmar, IntegratedAts, NamespaceDevice, ReservedRegion, RootPortAts, Unit};
use crate::error::{Damage, TableError};
use crate::fields::Fields;

const PAGE_BYTES: u64 = 4096;

/// Bytes of the type and length that each structure starts with.
const PREFIX_BYTES: usize = 4;

/// The structure at the start of `rest`, cut to its stated length.
pub(super) fn first<'a>(rest: &Fields<'a>) -> Result<Fields<'a>, TableError> {
    let stated = usize::from(rest.slice(0, PREFIX_BYTES)?.u16(2)?);
    if stated < PREFIX_BYTES {
        return Err(rest.error(
            2,
            Damage::LengthTooSmall {
                stated,
                least: PREFIX_BYTES,
            },
        ));
    }
    rest.slice(0, stated)
}

/// What kind of structure it is, and where its scopes, name or end come.
const UNIT: (u16, usize) = (0, 16);
const RESERVED_REGION: (u16, usize) = (1, 24);
const ROOT_PORT_ATS: (u16, usize) = (2, 8);
const AFFINITY: (u16, usize) = (3, 20);
const NAMESPACE_DEVICE: (u16, usize) = (4, 8);
const INTEGRATED_ATS: (u16, usize) = (5, 8);

impl Dmar {
    /// Adds what `structure` says.
    pub(super) fn add(&mut self, structure: &Fields<'_>) -> Result<(), TableError> {
        let code = structure.u16(0)?;
        let known = [
            UNIT,
            RESERVED_REGION,
            ROOT_PORT_ATS,
            AFFINITY,
            NAMESPACE_DEVICE,
            INTEGRATED_ATS,
        ];
        let Some(kind) = known.into_iter().find(|kind| kind.0 == code) else {
            return Ok(());
        };
        let (stated, least) = (structure.len(), kind.1);
        if stated < least {
            return Err(structure.error(2, Damage::LengthTooSmall { stated, least }));
        }
        let variable = structure.rest(least)?;
        match kind {
            UNIT => self.add_unit(structure, scope::all(&variable)?)?,
            RESERVED_REGION => self.add_reserved_region(structure, scope::all(&variable)?)?,
            ROOT_PORT_ATS => self.root_port_ats.push(RootPortAts {
                segment: structure.u16(6)?,
                all_ports: structure.u8(4)? & 1 != 0,
                scopes: scope::all(&variable)?,
            }),
            AFFINITY => self.affinities.push(Affinity {
                register_base: page_address(structure, 8)?,
                proximity_domain: structure.u32(16)?,
            }),
            NAMESPACE_DEVICE => self.namespace_devices.push(NamespaceDevice {
                device_number: structure.u8(7)?,
                name: variable.name()?,
            }),
            _ => self.integrated_ats.push(IntegratedAts {
                segment: structure.u16(6)?,
                required: structure.u8(4)? & 1 != 0,
                scopes: scope::all(&variable)?,
            }),
        }
        Ok(())
    }

    fn add_unit(
        &mut self,
        structure: &Fields<'_>,
        scopes: Vec<DeviceScope>,
    ) -> Result<(), TableError> {
        let unit = Unit {
            segment: structure.u16(6)?,
            register_base: page_address(structure, 8)?,
            // Bits 3:0 give the number of pages; revisions before 3.4 have 0 there, for one.
            register_len: PAGE_BYTES << (structure.u8(5)? & 0xf),
            include_all: structure.u8(4)? & 1 != 0,
            scopes,
        };
        if unit
            .register_base
            .checked_add(unit.register_len - 1)
            .is_none()
        {
            let damage = Damage::BadRange {
                base: unit.register_base,
                last: u64::MAX,
            };
            return Err(structure.error(8, damage));
        }
        for other in &self.units {
            if other.register_base == unit.register_base {
                let damage = Damage::DuplicateUnit {
                    register_base: unit.register_base,
                };
                return Err(structure.error(8, damage));
            }
            if other.include_all && unit.include_all && other.segment == unit.segment {
                let damage = Damage::DuplicateIncludeAll {
                    segment: unit.segment,
                };
                return Err(structure.error(4, damage));
            }
        }
        self.units.push(unit);
        Ok(())
    }

    fn add_reserved_region(
        &mut self,
        structure: &Fields<'_>,
        scopes: Vec<DeviceScope>,
    ) -> Result<(), TableError> {
        let region = ReservedRegion {
            segment: structure.u16(6)?,
            base: structure.u64(8)?,
            last: structure.u64(16)?,
            scopes,
        };
        let ReservedRegion { base, last, .. } = region;
        if base % PAGE_BYTES != 0 {
            return Err(structure.error(
                8,
                Damage::BadAddress {
                    address: base,
                    align: PAGE_BYTES,
                },
            ));
        }
        if last < base || last % PAGE_BYTES != PAGE_BYTES - 1 {
            return Err(structure.error(16, Damage::BadRange { base, last }));
        }
        if region.scopes.is_empty() {
            return Err(structure.error(24, Damage::NoDeviceScope));
        }
        self.reserved_regions.push(region);
        Ok(())
    }
}

/// The address at `at`, which must be that of a page and not 0.
fn page_address(structure: &Fields<'_>, at: usize) -> Result<u64, TableError> {
    let address = structure.u64(at)?;
    if address == 0 || !address.is_multiple_of(PAGE_BYTES) {
        return Err(structure.error(
            at,
            Damage::BadAddress {
                address,
                align: PAGE_BYTES,
            },
        ));
    }
    Ok(address)
}
