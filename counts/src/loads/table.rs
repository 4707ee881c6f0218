//! A page table in the format of a VT-d unit: map and unmap one range, where the tables stand already.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{Gather, LeafSizes, PageTable, Permission, VtdSecondStage};

use super::Paths;
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::Plain;

/// Where the range is that is mapped.
const BUS: u64 = 0x10_0000_0000;

struct Case {
    name: &'static str,
    len_bytes: u64,
    /// Physical, and no memory: nothing walks the table.
    phys: u64,
}

const CASES: [Case; 4] = [
    Case {
        name: "page table map and unmap 4K",
        len_bytes: 4 << 10,
        phys: 0x20_0000_0000,
    },
    Case {
        name: "page table map and unmap 64K",
        len_bytes: 64 << 10,
        phys: 0x20_0000_0000,
    },
    Case {
        name: "page table map and unmap 1M of 4K",
        len_bytes: 1 << 20,
        phys: 0x20_0000_0000,
    },
    Case {
        name: "page table map and unmap 2M",
        len_bytes: 2 << 20,
        phys: 0x20_0000_0000,
    },
];

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    if !paths.want(&CASES.map(|case| case.name)) {
        return Ok(());
    }
    let booted = Booted::get()?;
    for case in CASES {
        walk(paths, booted.platform(), &case)?;
    }
    Ok(())
}

fn walk(paths: &mut Paths<'_>, platform: Plain, case: &Case) -> Result<(), CountsError> {
    let format = VtdSecondStage::new(4, 46).map_err(CountsError::set_up("a format"))?;
    let format = format.with_leaf_sizes(LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB);
    let table = PageTable::new(platform, format);
    let mut table = table.map_err(CountsError::set_up("a page table"))?;
    let phys = |address| PhysRange::new(PhysAddr::new(address), case.len_bytes);
    let bus = |address| BusRange::new(BusAddr::new(address), case.len_bytes);
    let failed = CountsError::set_up::<dmamap::addr::AddrError>;
    let (range, memory) = (
        bus(BUS).map_err(failed("a range"))?,
        phys(case.phys).map_err(failed("a range"))?,
    );
    // A neighbour keeps the tables there.
    let neighbour = BusAddr::new(BUS + (2 << 20) + (16 << 20));
    let small = PhysRange::new(PhysAddr::new(0x30_0000_0000), 4096).map_err(failed("a range"))?;
    let beside = BusAddr::new(BUS + (1 << 20));
    table
        .map(neighbour, small, Permission::ReadWrite)
        .map_err(CountsError::set_up("a neighbour"))?;
    if case.len_bytes <= 1 << 20 {
        table
            .map(beside, small, Permission::ReadWrite)
            .map_err(CountsError::set_up("a neighbour"))?;
    }
    let walked = paths.walk(case.name, || {
        table
            .map(range.start(), memory, Permission::ReadWrite)
            .map_err(|error| error.to_string())?;
        let mut gather = Gather::new(platform);
        let unmapped = table.unmap(range, &mut gather);
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
        unmapped.map_err(|error| error.to_string())
    });
    // SAFETY: no unit walks it.
    unsafe { table.free() };
    walked
}
