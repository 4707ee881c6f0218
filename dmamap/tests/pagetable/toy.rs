//! A format made up for tests.

use dmamap::addr::PhysAddr;
use dmamap::pagetable::{Entry, Format, LeafSizes, Permission, WalkCoherence};

const PRESENT: u64 = 1 << 2;
const LEAF: u64 = 1 << 4;
const READ: u64 = 1 << 5;
const WRITE: u64 = 1 << 6;
/// In a leaf above level 1: says that this is on purpose.
const LARGE: u64 = 1 << 9;
const ADDRESS: u64 = 0x0fff_ffff_ffff_f000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy {
    levels: u32,
    leaf_sizes: LeafSizes,
    coherence: WalkCoherence,
}

impl Toy {
    pub(crate) fn new(levels: u32, leaf_sizes: LeafSizes, coherence: WalkCoherence) -> Self {
        Self {
            levels,
            leaf_sizes,
            coherence,
        }
    }
}

// SAFETY: the laws are what the suite checks.
unsafe impl Format for Toy {
    fn levels(&self) -> u32 {
        self.levels
    }

    fn leaf_sizes(&self) -> LeafSizes {
        self.leaf_sizes
    }

    fn coherence(&self) -> WalkCoherence {
        self.coherence
    }

    fn last_phys(&self) -> PhysAddr {
        PhysAddr::new((1 << 60) - 1)
    }

    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission) -> u64 {
        let read = if permission.reads() { READ } else { 0 };
        let write = if permission.writes() { WRITE } else { 0 };
        let large = if level > 1 { LARGE } else { 0 };
        PRESENT | LEAF | read | write | large | phys.as_u64()
    }

    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        PRESENT | phys.as_u64()
    }

    fn decode(&self, level: u32, word: u64) -> Entry {
        if word & PRESENT == 0 {
            return Entry::Empty;
        }
        let phys = PhysAddr::new(word & ADDRESS);
        if word & LEAF == 0 {
            let valid = level > 1 && word & !(ADDRESS | PRESENT) == 0;
            return if valid {
                Entry::Table(phys)
            } else {
                Entry::Reserved
            };
        }
        let large = if level > 1 { LARGE } else { 0 };
        let permission = match (word & READ != 0, word & WRITE != 0) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            (false, true) => Permission::Write,
            (false, false) => return Entry::Reserved,
        };
        let exact = self.leaf(level, phys, permission) == word && word & LARGE == large;
        let exists = level == 1 || self.leaf_sizes.at_level(level);
        if exact && exists {
            Entry::Leaf { phys, permission }
        } else {
            Entry::Reserved
        }
    }
}
