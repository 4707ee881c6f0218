//! Bytes of page tables for each GiB, in every format with pages of 4 KiB: tables and the shadows beside them.

use dmamap::addr::{BusAddr, BusRange, FRAME_BYTES, PhysAddr, PhysRange};
use dmamap::pagetable::{
    AmdV1, ArmLpaeStage1, ArmLpaeStage2, Format, Gather, Granule, LeafSizes, PageTable, Permission,
    Replay, Riscv, VtdSecondStage, X86FirstStage,
};
use hosted::Hosted;

use rig::{Rig, small};

const GIB: u64 = 1 << 30;

/// The most bytes of tables for a GiB of 4 KiB pages: 2.01 MiB.
const MOST_BYTES_OF_4K: u64 = (2 << 20) + (2 << 20) / 200;
/// For a GiB of 2 MiB pages.
const MOST_BYTES_OF_2M: u64 = 8 << 10;

/// Maps `count` pages of `2^page_log2` bytes at bus address `at`, none of which lies beside another in memory.
fn map_pages<F: Format>(table: &mut PageTable<Hosted, F>, at: u64, page_log2: u32, count: u64) {
    let page_bytes = 1 << page_log2;
    // Every other page of memory: a table has them one by one.
    let page = |n: u64| PhysRange::new(PhysAddr::new(2 * n * page_bytes), page_bytes).unwrap();
    let pages_at_once = 512;
    for first in (0..count).step_by(pages_at_once) {
        let bus = BusAddr::new(at + (first << page_log2));
        let end = count.min(first + pages_at_once as u64);
        let mut pages = Replay::new((first..end).map(page));
        let mapped = table.map_list(bus, &mut pages, Permission::ReadWrite);
        mapped.unwrap();
    }
}

fn each_gib<F: Format>(name: &str, format: F) {
    let rig = Rig::boot(small());
    let kernel = rig.kernel;
    let before = rig.frames_in_use();
    let mut table = PageTable::new(kernel, format).unwrap();
    let birth = table.frames();
    for (page_log2, most_bytes) in [(12, MOST_BYTES_OF_4K), (21, MOST_BYTES_OF_2M)] {
        // A page in another GiB brings what every GiB shares, and its own tables.
        map_pages(&mut table, GIB, page_log2, 1);
        let one = table.frames();
        map_pages(&mut table, 2 * GIB, page_log2, GIB >> page_log2);
        let bytes = (table.frames() - one) as u64 * FRAME_BYTES;
        println!("{name}, pages of 2^{page_log2}: {bytes} bytes a GiB");
        assert!(bytes <= most_bytes, "{name}, 2^{page_log2}: {bytes} bytes");
        // That page's, and so what all share beneath the root: a table and its shadow for each level.
        let shared = one - birth;
        assert!(shared <= 2 * 4, "{name}: {shared} frames");
        for (at, len_bytes) in [(2 * GIB, GIB), (GIB, 1 << page_log2)] {
            let range = BusRange::new(BusAddr::new(at), len_bytes).unwrap();
            let mut gather = Gather::new(kernel);
            table.unmap(range, &mut gather).unwrap();
            // SAFETY: no unit walks the table.
            unsafe { gather.release() };
        }
        let mut gather = Gather::new(kernel);
        table.reclaim(&mut gather);
        // SAFETY: as above.
        unsafe { gather.release() };
        assert_eq!(table.frames(), birth, "{name}: all came back");
    }
    // SAFETY: as above.
    unsafe { table.free() };
    assert_eq!(rig.frames_in_use(), before, "{name}");
    rig.finish();
}

#[test]
fn a_gib_of_4k_takes_no_more_than_2_01_mib_and_one_of_2m_no_more_than_8_kib_in_every_format() {
    let sizes = LeafSizes::FOUR_KIB.union(LeafSizes::TWO_MIB);
    let vtd = VtdSecondStage::new(4, 46).unwrap();
    each_gib("vtd second stage", vtd.with_leaf_sizes(sizes));
    let x86 = X86FirstStage::new(4, 46).unwrap();
    each_gib("x86 first stage", x86.with_leaf_sizes(sizes));
    let amd = AmdV1::new(4, 48).unwrap();
    each_gib("amd v1", amd.with_leaf_sizes(sizes));
    let four = Granule::FourKib;
    each_gib("arm stage 1", ArmLpaeStage1::new(four, 48, 48).unwrap());
    each_gib("arm stage 2", ArmLpaeStage2::new(four, 48, 48).unwrap());
    let riscv = Riscv::first_stage(4, 56).unwrap();
    each_gib("riscv", riscv.with_leaf_sizes(sizes));
}
