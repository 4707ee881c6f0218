//! VT-d's entries, of legacy and of scalable mode.

use hw::vtd::pasid::{self, DirectoryEntry};
use hw::vtd::regs::{self, RootTableAddress, TranslationTableMode};
use hw::vtd::root;
use hw::vtd::scalable::{self, Half};
use hw::vtd::second_stage;

use crate::support::refusal::Tables;

/// Where the entries lie that lead to what is mapped for the device.
#[derive(Debug)]
pub struct Places {
    /// The word of the root entry for the device.
    pub root: u64,
    /// The context entry.
    pub context: u64,
    /// The entries of PASID 0 in directory and table, in scalable mode.
    pub pasid: Option<(u64, u64)>,
    /// The leaf.
    pub leaf: u64,
}

/// `RTADDR_REG`.
pub fn root_table(tables: &Tables<'_>) -> RootTableAddress {
    RootTableAddress::from_bits(tables.register(regs::RTADDR_REG))
}

impl Places {
    /// Walks from the root table.
    pub fn find(tables: &Tables<'_>) -> Self {
        let register = root_table(tables);
        match register.ttm() {
            TranslationTableMode::Legacy => Self::legacy(tables, register.rta()),
            _ => Self::scalable(tables, register.rta()),
        }
    }

    fn legacy(tables: &Tables<'_>, table: u64) -> Self {
        let root = table + root::root_index(tables.requester) as u64 * root::ENTRY_BYTES;
        let table = root::RootEntry::from_words(tables.words(root)).ctp();
        let context = table + root::context_index(tables.requester) as u64 * root::ENTRY_BYTES;
        let entry = root::ContextEntry::from_words(tables.words(context));
        Self {
            root,
            context,
            pasid: None,
            leaf: leaf(tables, entry.ssptptr(), entry.aw().levels()),
        }
    }

    fn scalable(tables: &Tables<'_>, table: u64) -> Self {
        let index = scalable::root_index(tables.requester) as u64;
        let root = table + index * scalable::ROOT_ENTRY_BYTES;
        let half = Half::of(tables.requester);
        let table = scalable::RootEntry::from_words(tables.words(root)).table(half);
        let index = scalable::context_index(tables.requester) as u64;
        let context =
            table.expect("the device is attached") + index * scalable::CONTEXT_ENTRY_BYTES;
        let entry = scalable::ContextEntry::from_words(tables.words(context));
        let directory = entry.pasiddirptr();
        let pasid = DirectoryEntry::from_bits(tables.word(directory)).smptblptr();
        let entry = pasid::Entry::from_words(tables.words(pasid));
        let (top, levels) = match entry.pgtt() {
            pasid::Translation::FirstStage => (entry.fsptptr(), entry.fspm().levels()),
            _ => (entry.ssptptr(), entry.aw().levels()),
        };
        Self {
            root: match half {
                Half::Lower => root,
                Half::Upper => root + 8,
            },
            context,
            pasid: Some((directory, pasid)),
            leaf: leaf(tables, top, levels),
        }
    }
}

/// Where the leaf of what is mapped for the device lies. Entries of both stages have their address in the same bits, and
/// bit 0 in each that is present.
fn leaf(tables: &Tables<'_>, top: u64, levels: Option<u32>) -> u64 {
    let mut table = top;
    for level in (1..=levels.expect("a depth")).rev() {
        let index = second_stage::index(tables.bus, level) as u64;
        let phys = table + index * second_stage::ENTRY_BYTES;
        let entry = second_stage::Entry::from_bits(tables.word(phys));
        assert!(entry.r(), "level {level} of what is mapped");
        if level == 1 || entry.ps() {
            return phys;
        }
        table = entry.addr();
    }
    unreachable!("level 1 has leaves only")
}
