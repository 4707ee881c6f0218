//! Records Z → Y: the I/O page tables that a unit walks.
//!
//! # Glossary
//! - **Granule**: the smallest page of a table: 4, 16 or 64 KiB ([`Granule`]).
//! - **Table**: a granule of words of 64 bits, 512, 2048 or 8192 of them; the root may be a part of one or several in
//!   a row ([`Geometry`]).
//! - **Entry**: one word of a table: empty, a link to a table one level down, or a leaf.
//! - **Level**: 1 for tables whose leaves are of a granule, one more for each step towards the **root**. With 4 KiB an
//!   entry of level n covers `2^(12 + 9 (n - 1))` bytes. (Arm's manuals count down to 3 instead, AMD's up from 1.)
//! - **Aperture**: the addresses that can be mapped, from 0 to [`PageTable::aperture_last`]. Where hardware wants the
//!   upper bits to be copies of the highest that is translated (first stages of x86 and RISC-V), that is the
//!   lower half of what the root covers: the upper half would be addresses from the top of 64 bits down.
//! - **Leaf**: an entry that ends the walk: one granule at level 1, and larger above, 2 MiB and 1 GiB with
//!   4 KiB granules, where the unit understands those.
//! - **Run**: aligned leaves side by side that lead to aligned memory side by side and tell the unit so, which may then
//!   remember them as one ([`Span::Run`]).
//! - **Format**: how a vendor writes entries ([`Format`]); the walker is compiled once for each.
//! - **Shadow**: as many words beside each table above level 1 that no hardware sees: for each entry how
//!   many entries the table under it has, and where that table's own shadow is. So the walker knows
//!   when a table is empty without spare bits in the format and without reading its words, and all allocations of
//!   a map are of one size: a single frame where the granule is.
//! - **Gather**: what an unmap leaves to be done: invalidate these addresses, wait, then free these
//!   tables ([`Gather`]).
//!
//! # Formats
//! | | levels | granule | runs |
//! |---|---|---|---|
//! | [`VtdSecondStage`] | 3 to 5 | 4 KiB | |
//! | [`X86FirstStage`] | 4, 5 | 4 KiB | |
//! | [`AmdV1`] | 1 to 6 | 4 KiB | 16 leaves |
//! | [`ArmLpaeStage1`], [`ArmLpaeStage2`] | 1 to 4 | 4, 16, 64 KiB | 16, 32 or 128 leaves |
//! | [`Riscv`], both stages | 3 to 5 | 4 KiB | 64 KiB |
//!
//! # How it works
//! Mapping first goes through the whole request without touching anything: is every address free, how many
//! tables are missing? Then it allocates all of them, and only then it writes. So a map that fails was never
//! visible to a device and has nothing to invalidate; and from its first write on it cannot fail. A new table is
//! linked when it is initialised, and where the unit does not snoop the CPU's caches, after it was written back.
//! Entries are single 64-bit stores: the unit walks concurrently.
//!
//! Unmapping likewise checks first that it would remove whole leaves, whole runs, and nothing else. So an entry only
//! ever goes from empty to valid and from valid to empty, and break-before-make, which Arm asks for, is never
//! owed. Emptied tables stay
//! linked, up to [`KEPT_TABLES`], so that a driver that maps and unmaps in a loop neither allocates nor
//! loses walk caches; [`PageTable::reclaim`] unlinks them. Where an empty table still stands, a leaf that would
//! replace it is mapped as smaller ones: replacing it would need an invalidation at map.
//!
//! Callers hold the domain's lock, and let go of it while they wait for an invalidation. Where a table was
//! unlinked ([`TableChange::Unlinked`]), whoever maps before that wait is over must invalidate too before a device
//! is told of the mapping: a new table may stand in the old one's place, and a unit that still remembers the
//! old one would look there, in vain, and report a fault.
//!
//! ```no_run
//! use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
//! use dmamap::pagetable::{Gather, LeafSizes, PageTable, Permission, VtdSecondStage, WalkCoherence};
//! use dmamap::platform::Platform;
//!
//! fn example<P: Platform>(platform: P) -> Result<(), Box<dyn core::error::Error>> {
//!     let format = VtdSecondStage::new(4, 46)?
//!         .with_leaf_sizes(LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB)
//!         .with_coherence(WalkCoherence::NotSnooped);
//!     let mut table = PageTable::new(platform, format)?;
//!     let (z, y) = (BusAddr::new(0x20_0000), PhysAddr::new(0x8020_0000));
//!     table.map(z, PhysRange::new(y, 0x20_1000)?, Permission::ReadWrite)?;
//!     assert_eq!(table.lookup(z).map(|target| target.leaf_size_log2), Some(21));
//!
//!     let mut gather = Gather::new(platform);
//!     table.unmap(BusRange::new(z, 0x20_1000)?, &mut gather)?;
//!     // … invalidate `gather.range()` in every unit that walks the table, wait, and then:
//!     // SAFETY: no unit walks what was unlinked.
//!     unsafe { gather.release() };
//!     Ok(())
//! }
//! ```

mod amd_v1;
mod arm_lpae;
mod arm_lpae_stage1;
mod arm_lpae_stage2;
mod empty;
mod entry;
mod error;
mod few;
mod format;
mod frame_list;
mod gather;
mod geometry;
mod held;
mod map;
mod near;
mod next_leaf;
mod one_table;
mod page_words;
mod path;
mod phys_list;
mod riscv;
mod shadow;
mod unmap;
mod visit;
mod vtd_second_stage;
mod words;
mod x86_first_stage;

pub use amd_v1::AmdV1;
pub use arm_lpae_stage1::ArmLpaeStage1;
pub use arm_lpae_stage2::ArmLpaeStage2;
pub use empty::KEPT_TABLES;
pub use entry::{Entry, Grant, MemoryType, Permission, Privilege, Span};
pub use error::{FormatError, MapError, UnmapError};
pub(crate) use few::{FewFrames, MOST_FRAMES};
pub use format::{Format, LeafSizes, Privileges, Runs, SnoopControl, WalkCoherence};
pub use gather::{Gather, TableChange};
pub use geometry::{Geometry, Granule, MAX_LEVELS};
pub use held::{HELD, HeldEntries};
pub(crate) use held::{LeafWords, publish, withdraw};
pub(crate) use page_words::PageWords;
pub use phys_list::{PhysList, Replay};
pub use riscv::Riscv;
pub use visit::{Leaf, Target};
pub use vtd_second_stage::VtdSecondStage;
pub use x86_first_stage::X86FirstStage;

use crate::addr::{BusAddr, PhysAddr};
use crate::platform::{OutOfFrames, Platform};
use empty::EmptyTables;
use near::NearTables;
use path::{Node, Path};
use shadow::Tally;
use words::Words;

/// One domain's translation Z → Y, in one format.
///
/// Dropping it leaks its frames, because a unit might still walk them: give them back with
/// [`free`](Self::free).
pub struct PageTable<P: Platform, F: Format> {
    platform: P,
    format: F,
    /// To where the last request ended: all of its tables are linked.
    path: Path<P, F>,
    near: NearTables<P>,
    empty: EmptyTables,
    frames: usize,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// A table in which nothing is mapped.
    ///
    /// # Errors
    /// [`OutOfFrames`] if the frames of the root and its shadow were not to be had.
    ///
    /// # Panics
    /// If `format` breaks the laws of [`Format`] on its geometry or its last physical address.
    pub fn new(platform: P, format: F) -> Result<Self, OutOfFrames> {
        let geometry = format.geometry();
        assert!(geometry.exists(), "no table has the shape {geometry:?}");
        assert!(
            format.last_phys() <= Tally::LAST_PHYS,
            "a table's memory lies below 2^61"
        );
        let request = map::table_request(&format, geometry.levels());
        let table = Words::allocate(platform, request)?;
        let shadow = match Words::allocate(platform, request) {
            Ok(shadow) => shadow,
            Err(error) => {
                // SAFETY: the table is not in use yet.
                unsafe { table.free() };
                return Err(error);
            }
        };
        if format.coherence() == WalkCoherence::NotSnooped {
            table.clean(0..table.len());
        }
        let root = Node {
            table,
            shadow: Some(shadow),
        };
        Ok(Self {
            platform,
            format,
            path: Path::new(platform, root, format),
            near: NearTables::new(&format),
            empty: EmptyTables::new(),
            frames: table.frames() + shadow.frames(),
        })
    }

    /// What a unit is told: the physical address of the root table.
    pub fn root_phys(&self) -> PhysAddr {
        self.path.root().table.phys()
    }

    /// Whether leaves tell privileged requests from others.
    pub fn privileges(&self) -> Privileges {
        self.format.privileges()
    }

    /// Number of levels.
    pub fn levels(&self) -> u32 {
        self.format.geometry().levels()
    }

    /// log2 of the smallest page: addresses and lengths are multiples of it.
    pub fn granule_log2(&self) -> u32 {
        self.format.geometry().granule().size_log2()
    }

    /// The format.
    pub fn format(&self) -> &F {
        &self.format
    }

    /// The last bus address that can be mapped: as many as the input bits can tell apart, from 0 on.
    pub fn aperture_last(&self) -> BusAddr {
        BusAddr::new(self.format.geometry().aperture_last())
    }

    /// Frames held: tables and their shadows. Those in a [`Gather`] are not among them.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Whether every byte of a run is below the end of the aperture.
    fn reaches(&self, bus: BusAddr, len_bytes: u64) -> bool {
        len_bytes == 0
            || bus
                .checked_add(len_bytes - 1)
                .is_some_and(|last| last <= self.aperture_last())
    }

    /// log2 of the bytes that a leaf of `level` stands for, alone or with its run.
    fn span_log2(&self, level: u32, span: Span) -> u32 {
        let entry_log2 = self.format.geometry().size_log2(level);
        match span {
            Span::Entry => entry_log2,
            Span::Run => entry_log2 + self.format.run_log2(level),
        }
    }

    /// Writes modified entries back where the unit does not snoop.
    fn publish(&self, table: Words<P>, entries: core::ops::Range<usize>) {
        if self.format.coherence() == WalkCoherence::NotSnooped {
            table.clean(entries);
        }
    }

    /// Gives every frame back.
    ///
    /// # Safety
    /// No unit walks the table any more, nor has anything of it cached, and none of its requests are in flight.
    pub unsafe fn free(self) {
        let table = core::mem::ManuallyDrop::new(self);
        table.each_table(&mut |node| {
            // SAFETY: no unit uses the tables, and each is met once, after those below it.
            unsafe {
                node.table.free();
                if let Some(shadow) = node.shadow {
                    shadow.free();
                }
            }
        });
    }
}

impl<P: Platform, F: Format> Drop for PageTable<P, F> {
    fn drop(&mut self) {
        log::error!(
            "page table at {} dropped without being freed: {} frames are lost, as a unit may still walk them",
            self.root_phys(),
            self.frames
        );
    }
}
