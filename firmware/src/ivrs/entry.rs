//! Device entries: the devices behind a unit (5.2.2.3 to 5.2.2.8).

use alloc::string::String;
use alloc::vec::Vec;

use super::settings::Settings;
use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// Some devices and how their interrupts are to be treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Which devices.
    pub devices: Selected,
    /// What is to pass the unit unchanged.
    pub settings: Settings,
    /// They must not keep translations of their own.
    pub ats_disabled: bool,
}

/// The devices of an entry. Where entries contradict each other the later one counts, but any outweighs
/// [`All`](Self::All).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All devices of the segment.
    All,
    /// Requester ids, both ends included; for a select entry they are the same.
    Range {
        /// First requester id.
        first: u16,
        /// Last requester id.
        last: u16,
    },
    /// Requester ids, both ends included, whose requests reach the unit under another one.
    Alias {
        /// First requester id.
        first: u16,
        /// Last requester id.
        last: u16,
        /// The requester id that the unit sees.
        alias: u16,
    },
    /// An interrupt controller or timer.
    Special {
        /// What it is.
        kind: SpecialKind,
        /// IO APIC id or HPET number.
        handle: u8,
        /// The requester id of its interrupts.
        requester: u16,
    },
    /// A device found in the ACPI namespace only.
    Acpi {
        /// The requester id that the unit sees.
        requester: u16,
        /// The name it is found by.
        name: AcpiName,
    },
}

/// What is special about a special device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialKind {
    /// An IO APIC.
    IoApic,
    /// An HPET.
    Hpet,
}

/// How the ACPI namespace identifies a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiName {
    /// Hardware id, up to the first zero byte.
    pub hid: String,
    /// Compatible id, up to the first zero byte; empty if there is none.
    pub cid: String,
    /// Unique id.
    pub uid: Uid,
}

/// Unique id of a device in the ACPI namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uid {
    /// There is none.
    None,
    /// A number.
    Number(u64),
    /// Text; for most devices their path.
    Text(String),
}

const PAD: u8 = 0;
const ALL: u8 = 1;
const SELECT: u8 = 2;
const RANGE_START: u8 = 3;
const RANGE_END: u8 = 4;
const PAD_8: u8 = 64;
const ALIAS_SELECT: u8 = 66;
const ALIAS_RANGE_START: u8 = 67;
const EXTENDED_SELECT: u8 = 70;
const EXTENDED_RANGE_START: u8 = 71;
const SPECIAL: u8 = 72;
const ACPI: u8 = 240;

/// Bytes of an ACPI entry before its unique id.
const UID_AT: usize = 22;

/// The entries that fill `fields`; those of unknown type are passed over by the length their type implies.
pub(super) fn all(fields: &Fields<'_>) -> Result<Vec<DeviceEntry>, TableError> {
    let mut entries = Vec::new();
    let mut rest = *fields;
    while rest.len() != 0 {
        let entry = first(&rest)?;
        rest = rest.rest(entry.len())?;
        let last = match entry.u8(0)? {
            RANGE_START | ALIAS_RANGE_START | EXTENDED_RANGE_START => {
                let end = range_end(&entry, &mut rest)?;
                let last = end.u16(1)?;
                if last < entry.u16(1)? {
                    let first = entry.u16(1)?.into();
                    return Err(end.error(1, Damage::BadIds { first, count: 0 }));
                }
                last
            }
            RANGE_END => return Err(entry.error(0, Damage::UnpairedRange)),
            _ => entry.u16(1)?,
        };
        entries.extend(parse(&entry, last)?);
    }
    Ok(entries)
}

/// The entry at the start of `rest`. The upper bits of its type imply its length (5.2.2.3).
fn first<'a>(rest: &Fields<'a>) -> Result<Fields<'a>, TableError> {
    let len = match rest.u8(0)? {
        0..=63 => 4,
        64..=127 => 8,
        128..=191 => 16,
        192..=239 => 32,
        ACPI.. => UID_AT + usize::from(rest.slice(0, UID_AT)?.u8(21)?),
    };
    rest.slice(0, len)
}

/// The end of the range that `start` starts, which only padding may precede; it is taken off `rest`.
fn range_end<'a>(start: &Fields<'a>, rest: &mut Fields<'a>) -> Result<Fields<'a>, TableError> {
    while rest.len() != 0 {
        let next = first(rest)?;
        *rest = rest.rest(next.len())?;
        match next.u8(0)? {
            PAD | PAD_8 => {}
            RANGE_END => return Ok(next),
            _ => break,
        }
    }
    Err(start.error(0, Damage::UnpairedRange))
}

fn parse(entry: &Fields<'_>, last: u16) -> Result<Option<DeviceEntry>, TableError> {
    let first = entry.u16(1)?;
    let mut ats_disabled = false;
    let devices = match entry.u8(0)? {
        ALL => Selected::All,
        SELECT | RANGE_START => Selected::Range { first, last },
        ALIAS_SELECT | ALIAS_RANGE_START => Selected::Alias {
            first,
            last,
            alias: entry.u16(5)?,
        },
        EXTENDED_SELECT | EXTENDED_RANGE_START => {
            ats_disabled = entry.u32(4)? & 1 << 31 != 0;
            Selected::Range { first, last }
        }
        SPECIAL => match special(entry)? {
            Some(special) => special,
            None => return Ok(None),
        },
        ACPI => Selected::Acpi {
            requester: first,
            name: AcpiName {
                hid: id(entry, 4)?,
                cid: id(entry, 12)?,
                uid: uid(entry)?,
            },
        },
        _ => return Ok(None),
    };
    Ok(Some(DeviceEntry {
        devices,
        settings: Settings(entry.u8(3)?),
        ats_disabled,
    }))
}

fn special(entry: &Fields<'_>) -> Result<Option<Selected>, TableError> {
    let kind = match entry.u8(7)? {
        1 => SpecialKind::IoApic,
        2 => SpecialKind::Hpet,
        _ => return Ok(None),
    };
    Ok(Some(Selected::Special {
        kind,
        handle: entry.u8(4)?,
        requester: entry.u16(5)?,
    }))
}

/// The eight bytes of text at `at`, up to the first zero byte.
fn id(entry: &Fields<'_>, at: usize) -> Result<String, TableError> {
    text(&entry.slice(at, 8)?)
}

fn uid(entry: &Fields<'_>) -> Result<Uid, TableError> {
    let bytes = entry.rest(UID_AT)?;
    match entry.u8(20)? {
        1 => bytes.u64(0).map(Uid::Number),
        2 => text(&bytes).map(Uid::Text),
        _ => Ok(Uid::None),
    }
}

fn text(fields: &Fields<'_>) -> Result<String, TableError> {
    let bytes = fields.bytes();
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    match core::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.into()),
        _ => Err(fields.error(0, Damage::BadName)),
    }
}
