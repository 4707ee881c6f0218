//! What the parts of the suite share: a table on an arena, and a walk as hardware does it.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{Entry, Format, Gather, Leaf, MapError, PageTable, Permission, Span};

use rig::Arena;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// What a valid entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Leaf,
    /// A leaf of a contiguous run.
    RunLeaf,
}

/// Whether a device can be let write without letting it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOnly {
    Expressible,
    ReadsToo,
}

/// A format, and what its manual says of it.
pub(crate) trait Subject: Format + std::fmt::Debug {
    /// Bits that the manual wants to be zero in a valid entry.
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64;

    fn write_only(&self) -> WriteOnly;

    /// What a device may do to which `permission` was given.
    fn granted(&self, permission: Permission) -> Permission {
        match (permission, self.write_only()) {
            (Permission::Write, WriteOnly::ReadsToo) => Permission::ReadWrite,
            _ => permission,
        }
    }
}

pub(crate) type Table<F> = PageTable<Arena, F>;

pub(crate) fn bus(start: u64, len_bytes: u64) -> BusRange {
    BusRange::new(BusAddr::new(start), len_bytes).unwrap()
}

pub(crate) fn phys(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

/// An arena with room for a few hundred tables.
pub(crate) fn arena<F: Format>(format: &F) -> Arena {
    let tables = if page(format) == 4 * KIB { 512 } else { 192 };
    Arena::new(tables * table_frames(format))
}

pub(crate) fn table<F: Format>(format: F) -> (Arena, Table<F>) {
    let arena = arena(&format);
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
    // SAFETY: no frame is lent, and the test is over.
    unsafe { arena.close() };
}

pub(crate) fn leaves<F: Format>(table: &Table<F>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    table.for_each_leaf(&mut |leaf| leaves.push(leaf));
    leaves
}

/// Bytes of the smallest page.
pub(crate) fn page<F: Format>(format: &F) -> u64 {
    1 << format.geometry().granule().size_log2()
}

/// Frames of a table below the root, or of its shadow.
pub(crate) fn table_frames<F: Format>(format: &F) -> usize {
    (page(format) / (4 * KIB)) as usize
}

/// Bytes of a leaf of `level`, 1 being the smallest page.
pub(crate) fn size<F: Format>(format: &F, level: u32) -> u64 {
    let page = page(format);
    page << ((page.ilog2() - 3) * (level - 1))
}

/// Entries of a table of `level`.
pub(crate) fn entries<F: Format>(format: &F, level: u32) -> u64 {
    if level == format.geometry().levels() {
        1 << (format.geometry().input_bits() - size(format, level).ilog2())
    } else {
        page(format) / 8
    }
}

/// Levels that have leaves, lowest first.
pub(crate) fn leaf_levels<F: Format>(format: &F) -> Vec<u32> {
    let large = |level: u32| format.leaf_sizes().contains(size(format, level).ilog2());
    (1..=format.geometry().levels())
        .filter(|level| *level == 1 || large(*level))
        .collect()
}

/// Bytes of a contiguous run of leaves of `level`; none where there are none, or the table is too small for it.
pub(crate) fn run_bytes<F: Format>(format: &F, level: u32) -> Option<u64> {
    let run = 1 << format.run_log2(level);
    let exists = run > 1 && run <= entries(format, level) && leaf_levels(format).contains(&level);
    exists.then(|| run * size(format, level))
}

/// The bytes that can be mapped; a little less where all 64 bits can.
pub(crate) fn aperture_bytes<F: Format>(table: &Table<F>) -> u64 {
    table.aperture_last().as_u64().saturating_add(1) / MIB * MIB
}

fn index<F: Format>(format: &F, level: u32, bus: u64) -> u64 {
    bus / size(format, level) % entries(format, level)
}

/// Walks as a unit does that reads `word`; panics on what a unit would report.
pub(crate) fn hardware_walk<F: Format>(
    format: &F,
    root: u64,
    bus: u64,
    word: &dyn Fn(u64) -> u64,
) -> Option<(u64, Permission)> {
    let mut table = root;
    for level in (1..=format.geometry().levels()).rev() {
        match format.decode(level, word(table + index(format, level, bus) * 8)) {
            Entry::Empty => return None,
            Entry::Table(next) => table = next.as_u64(),
            Entry::Leaf {
                phys,
                permission,
                span,
            } => {
                let bytes = match span {
                    Span::Entry => size(format, level),
                    Span::Run => size(format, level) << format.run_log2(level),
                };
                return Some((phys.as_u64() + bus % bytes, permission));
            }
            Entry::Reserved => panic!("a reserved entry of level {level} for bus {bus:#x}"),
        }
    }
    panic!("the walk for bus {bus:#x} did not end")
}

/// Calls `visit` with level and address of every table from `table` of `level` down; panics on reserved entries,
/// on reserved bits that are set, and on tables that are not aligned to their size.
pub(crate) fn hardware_tables<F: Subject>(
    format: &F,
    table: u64,
    level: u32,
    word: &dyn Fn(u64) -> u64,
    visit: &mut dyn FnMut(u32, u64),
) {
    let bytes = (entries(format, level) * 8).max(4 * KIB);
    assert!(table.is_multiple_of(bytes), "level {level} at {table:#x}");
    visit(level, table);
    for index in 0..entries(format, level) {
        let word_here = word(table + index * 8);
        if word_here == 0 {
            continue;
        }
        let kind = match format.decode(level, word_here) {
            Entry::Empty => continue,
            Entry::Table(next) => {
                hardware_tables(format, next.as_u64(), level - 1, word, visit);
                Kind::Table
            }
            Entry::Reserved => {
                panic!("{word_here:#x} in the table of level {level} at {table:#x} is reserved")
            }
            Entry::Leaf { span, .. } => match span {
                Span::Entry => Kind::Leaf,
                Span::Run => Kind::RunLeaf,
            },
        };
        let forbidden = word_here & format.must_be_zero(level, kind);
        assert_eq!(forbidden, 0, "{word_here:#x} of level {level}");
    }
}

/// Every word of every table that is not empty, by its address.
pub(crate) fn hardware_words<F: Subject>(
    arena: Arena,
    table: &Table<F>,
) -> std::collections::BTreeMap<u64, u64> {
    let mut words = std::collections::BTreeMap::new();
    let (format, root) = (*table.format(), table.root_phys().as_u64());
    let levels = format.geometry().levels();
    let word = |at| arena.word(at);
    hardware_tables(&format, root, levels, &word, &mut |level, at| {
        for at in (0..entries(&format, level)).map(|index| at + index * 8) {
            if arena.word(at) != 0 {
                words.insert(at, arena.word(at));
            }
        }
    });
    words
}
