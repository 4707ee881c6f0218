//! The SMMU's entries.

use hw::smmu::context::{ContextDescriptor, DESCRIPTOR_WORDS};
use hw::smmu::page_table::{self, Kind, Table};
use hw::smmu::regs::{self, StreamTableBase, StreamTableConfig, StreamTableFormat};
use hw::smmu::stream::{
    self, ENTRY_BYTES, ENTRY_WORDS, Granule, LEVEL1_BYTES, Level1Descriptor, StreamTableEntry,
};

use crate::support::refusal::Tables;

/// Where the descriptor of the device's array of entries lies, in a stream table of two levels.
pub fn level1_descriptor(tables: &Tables<'_>) -> Option<u64> {
    let base = StreamTableBase::from_bits(tables.register(regs::STRTAB_BASE));
    let config = StreamTableConfig::from_bits(tables.register_u32(regs::STRTAB_BASE_CFG));
    let index = u64::from(tables.requester) >> config.split();
    (config.fmt() == StreamTableFormat::TwoLevel).then(|| base.addr() + index * LEVEL1_BYTES)
}

/// The device's stream table entry, and where it lies. Streams are named as requesters are.
pub fn stream_entry(tables: &Tables<'_>) -> (u64, StreamTableEntry) {
    let stream = u64::from(tables.requester);
    let phys = match level1_descriptor(tables) {
        Some(level1) => {
            let level1 = Level1Descriptor::from_bits(tables.word(level1));
            level1.l2ptr() + stream % u64::from(level1.entries()) * ENTRY_BYTES
        }
        None => {
            let base = StreamTableBase::from_bits(tables.register(regs::STRTAB_BASE));
            base.addr() + stream * ENTRY_BYTES
        }
    };
    let entry = StreamTableEntry::from_words(tables.words::<ENTRY_WORDS>(phys));
    assert!(entry.word0.v(), "the device is attached");
    (phys, entry)
}

/// The device's context descriptor.
fn context(tables: &Tables<'_>, entry: &StreamTableEntry) -> ContextDescriptor {
    let phys = entry.word0.s1_context_ptr();
    ContextDescriptor::from_words(tables.words::<DESCRIPTOR_WORDS>(phys))
}

/// Where the leaf of what is mapped for the device lies.
pub fn leaf(tables: &Tables<'_>) -> u64 {
    let (_, entry) = stream_entry(tables);
    let (granule, root, levels) = match entry.word0.config().translates_stage1() {
        true => {
            let context = context(tables, &entry);
            let granule = context.word0.tg0();
            let bits = 64 - u32::from(context.word0.t0sz());
            let page = granule.size_log2().expect("a granule");
            let levels = (bits - page).div_ceil(page - 3);
            (granule, context.word1.ttb0(), levels)
        }
        false => {
            let (granule, sl0) = (entry.word2.s2tg(), entry.word2.s2sl0());
            let start = stream::stage2_start_level(granule, sl0).expect("a level");
            (granule, entry.word3.s2ttb(), 4 - start)
        }
    };
    assert_eq!(granule, Granule::Size4K, "the smallest");
    let (mut table, mut level) = (root, levels);
    loop {
        let index = tables.bus >> (12 + 9 * (level - 1));
        // The root of stage 2 may be several tables, one after the other.
        let index = if level == levels {
            index
        } else {
            index & 0x1ff
        };
        let phys = table + 8 * index;
        let word = tables.word(phys);
        match page_table::kind(level, word) {
            Kind::Table => (table, level) = (Table::from_bits(word).addr(), level - 1),
            Kind::Page | Kind::Block => return phys,
            kind => panic!("{kind:?} where something is mapped"),
        }
    }
}
