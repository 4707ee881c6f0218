//! The RISC-V IOMMU's entries.

use hw::riscv::directory::{ContextFormat, DeviceContext, DirectoryEntry, ENTRY_BYTES};
use hw::riscv::page_table::Entry;
use hw::riscv::regs::{self, Capabilities, Ddtp};

use crate::support::refusal::Tables;

/// Where the device's context lies, and its words. Devices are named as requesters are.
pub fn context(tables: &Tables<'_>) -> (u64, DeviceContext) {
    let capabilities = Capabilities::from_bits(tables.register(regs::CAPABILITIES));
    let format = match capabilities.msi_flat() {
        true => ContextFormat::Extended,
        false => ContextFormat::Base,
    };
    let directory = Ddtp::from_bits(tables.register(regs::DDTP));
    let levels = directory.iommu_mode().levels().expect("the unit is on");
    let device = u32::from(tables.requester);
    let mut table = directory.root();
    for level in (1..levels).rev() {
        let phys = table + format.index(device, level) as u64 * ENTRY_BYTES;
        let entry = DirectoryEntry::from_bits(tables.word(phys));
        assert!(entry.v(), "the device is attached");
        table = entry.table();
    }
    let phys = table + format.index(device, 0) as u64 * format.context_bytes();
    let [tc, iohgatp, ta, fsc] = tables.words(phys);
    let context = DeviceContext::from_words([tc, iohgatp, ta, fsc, 0, 0, 0, 0]);
    assert!(context.tc.v(), "the device is attached");
    (phys, context)
}

/// Where the leaf of what is mapped for the device lies.
pub fn leaf(tables: &Tables<'_>) -> u64 {
    let (_, context) = context(tables);
    let (mut table, levels) = match context.fsc.mode().levels() {
        Some(levels) => (context.fsc.root(), levels),
        None => {
            let levels = context.iohgatp.mode().levels();
            (
                context.iohgatp.root(),
                levels.expect("one stage translates"),
            )
        }
    };
    for level in (1..=levels).rev() {
        let index = tables.bus >> (12 + 9 * (level - 1));
        // The root of the second stage has more entries.
        let index = if level == levels {
            index
        } else {
            index & 0x1ff
        };
        let phys = table + 8 * index;
        let entry = Entry::from_bits(tables.word(phys));
        assert!(entry.v(), "level {level} of what is mapped");
        if entry.is_leaf() {
            return phys;
        }
        table = entry.addr();
    }
    panic!("no leaf where something is mapped");
}
