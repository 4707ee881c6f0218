//! What the parts of the suite share: a table on an arena, and a walk as hardware does it.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{Entry, Format, Gather, Leaf, MapError, PageTable, Permission};

use crate::support::Arena;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const PAGE: u64 = 4 * KIB;

pub(crate) type Table<F> = PageTable<Arena, F>;

pub(crate) fn bus(start: u64, len_bytes: u64) -> BusRange {
    BusRange::new(BusAddr::new(start), len_bytes).unwrap()
}

pub(crate) fn phys(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

pub(crate) fn table<F: Format>(format: F) -> (Arena, Table<F>) {
    let arena = Arena::new(512);
    (arena, PageTable::new(arena, format).unwrap())
}

pub(crate) fn map<F: Format>(
    table: &mut Table<F>,
    z: u64,
    y: u64,
    len_bytes: u64,
) -> Result<(), MapError> {
    table.map(BusAddr::new(z), phys(y, len_bytes), Permission::ReadWrite)
}

/// Unmaps what is mapped, and releases at once: the tests' unit remembers nothing.
pub(crate) fn unmap<F: Format>(arena: Arena, table: &mut Table<F>, z: u64, len_bytes: u64) {
    let mut gather = Gather::new(arena);
    table.unmap(bus(z, len_bytes), &mut gather).unwrap();
    let range = gather.range().unwrap();
    assert!(range.covers(bus(z, len_bytes)));
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
}

pub(crate) fn reclaim<F: Format>(arena: Arena, table: &mut Table<F>) {
    let mut gather = Gather::new(arena);
    table.reclaim(&mut gather);
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
}

/// Gives everything back, and checks that it was.
pub(crate) fn finish<F: Format>(arena: Arena, table: Table<F>) {
    assert_eq!(table.frames(), arena.in_use());
    // SAFETY: no unit walks the table.
    unsafe { table.free() };
    assert_eq!(arena.in_use(), 0);
}

pub(crate) fn leaves<F: Format>(table: &Table<F>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    table.for_each_leaf(&mut |leaf| leaves.push(leaf));
    leaves
}

/// Bytes of a leaf of `level`, 1 being 4 KiB.
pub(crate) fn size(level: u32) -> u64 {
    PAGE << (9 * (level - 1))
}

/// Levels that have leaves, lowest first.
pub(crate) fn leaf_levels<F: Format>(format: &F) -> Vec<u32> {
    (1..=format.levels())
        .filter(|level| format.leaf_sizes().at_level(*level))
        .collect()
}

/// The bytes that can be mapped; a little less where all 64 bits can.
pub(crate) fn aperture_bytes<F: Format>(table: &Table<F>) -> u64 {
    table.aperture_last().as_u64().saturating_add(1) / MIB * MIB
}

/// Walks as a unit does that reads `word`; panics on what a unit would report.
pub(crate) fn hardware_walk<F: Format>(
    format: &F,
    root: u64,
    bus: u64,
    word: &dyn Fn(u64) -> u64,
) -> Option<(u64, Permission)> {
    let mut table = root;
    for level in (1..=format.levels()).rev() {
        let index = bus / size(level) % 512;
        match format.decode(level, word(table + index * 8)) {
            Entry::Empty => return None,
            Entry::Table(next) => table = next.as_u64(),
            Entry::Leaf { phys, permission } => {
                return Some((phys.as_u64() + bus % size(level), permission));
            }
            Entry::Reserved => panic!("a reserved entry of level {level} for bus {bus:#x}"),
        }
    }
    panic!("the walk for bus {bus:#x} did not end")
}

/// Calls `visit` with level and address of every table below `table`, and it; panics on reserved entries.
pub(crate) fn hardware_tables<F: Format>(
    format: &F,
    table: u64,
    level: u32,
    word: &dyn Fn(u64) -> u64,
    visit: &mut dyn FnMut(u32, u64),
) {
    visit(level, table);
    for index in 0..512 {
        match format.decode(level, word(table + index * 8)) {
            Entry::Table(next) => {
                hardware_tables(format, next.as_u64(), level - 1, word, visit);
            }
            Entry::Reserved => {
                panic!("a reserved entry in the table of level {level} at {table:#x}")
            }
            Entry::Empty | Entry::Leaf { .. } => {}
        }
    }
}
