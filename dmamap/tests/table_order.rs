//! In what order a page table reaches memory, also where a processor would not keep it by itself.

#[path = "pci_support/mod.rs"]
mod pci_support;

use dmamap::addr::{BusAddr, FRAME_BYTES, PhysAddr, PhysRange};
use dmamap::pagetable::{PageTable, Permission, VtdSecondStage, WalkCoherence};
use hosted::{Hosted, PlatformCall, Tracer};
use pci_support::FakePci;

#[test]
fn a_new_table_is_in_memory_before_the_link_to_it() {
    let kernel = Hosted::boot(FakePci::new()).unwrap();
    for levels in 3..=5 {
        let tracer = Tracer::new(kernel, 256);
        let format = VtdSecondStage::new(levels, 46)
            .unwrap()
            .with_coherence(WalkCoherence::NotSnooped);
        let mut table = PageTable::new(tracer, format).unwrap();
        tracer.take();
        let memory = PhysRange::new(PhysAddr::new(0x10_0000), FRAME_BYTES).unwrap();
        let bus = BusAddr::new(0x20_0000);
        table.map(bus, memory, Permission::ReadWrite).unwrap();

        // What is left of the calls: whole tables (T), their links and the leaf (w), barriers (|).
        let calls: String = tracer
            .take()
            .into_iter()
            .filter_map(|call| match call {
                PlatformCall::CleanCache(_, _, len) if len == FRAME_BYTES as usize => Some('T'),
                PlatformCall::CleanCache(..) => Some('w'),
                PlatformCall::WriteBarrier | PlatformCall::FullBarrier => Some('|'),
                _ => None,
            })
            .collect();
        assert_eq!(calls, "T|w".repeat(levels as usize - 1) + "w");
        // SAFETY: no unit walks the table.
        unsafe { table.free() };
    }
}
