//! A format made up for tests.

use dmamap::addr::PhysAddr;
use dmamap::pagetable::{
    Entry, Format, Geometry, LeafSizes, Permission, Runs, Span, WalkCoherence,
};

use crate::subject::{Kind, Subject, WriteOnly};

const PRESENT: u64 = 1 << 2;
const LEAF: u64 = 1 << 4;
const READ: u64 = 1 << 5;
const WRITE: u64 = 1 << 6;
/// In a leaf of a run.
const RUN: u64 = 1 << 7;
/// In a leaf above level 1: says that this is on purpose.
const LARGE: u64 = 1 << 9;
const ADDRESS: u64 = 0x0fff_ffff_ffff_f000;

const RUN_LOG2: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy {
    geometry: Geometry,
    leaf_sizes: LeafSizes,
    runs: Runs,
    coherence: WalkCoherence,
}

impl Toy {
    pub(crate) fn new(
        geometry: Geometry,
        leaf_sizes: LeafSizes,
        runs: Runs,
        coherence: WalkCoherence,
    ) -> Self {
        Self {
            geometry,
            leaf_sizes,
            runs,
            coherence,
        }
    }
}

impl Subject for Toy {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        let page = |log2: u32| (1u64 << log2) - 0x1000;
        let always = 0xf000_0000_0000_0d0b;
        match kind {
            Kind::Table => always | LEAF | READ | WRITE | RUN | LARGE,
            // Entries of a run say where they lead themselves.
            Kind::Leaf | Kind::RunLeaf => {
                let level_bits = if level == 1 { LARGE } else { 0 };
                always | level_bits | page(self.geometry.size_log2(level))
            }
        }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::Expressible
    }
}

// SAFETY: the laws are what the suite checks.
unsafe impl Format for Toy {
    fn geometry(&self) -> Geometry {
        self.geometry
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

    fn run_log2(&self, _level: u32) -> u32 {
        match self.runs {
            Runs::Hinted => RUN_LOG2,
            Runs::Plain => 0,
        }
    }

    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission, span: Span) -> u64 {
        let read = if permission.reads() { READ } else { 0 };
        let write = if permission.writes() { WRITE } else { 0 };
        let large = if level > 1 { LARGE } else { 0 };
        let run = if span == Span::Run { RUN } else { 0 };
        PRESENT | LEAF | read | write | large | run | phys.as_u64()
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
        let size_log2 = self.geometry.size_log2(level);
        let permission = match (word & READ != 0, word & WRITE != 0) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            (false, true) => Permission::Write,
            (false, false) => return Entry::Reserved,
        };
        let (span, span_log2) = if word & RUN != 0 {
            (Span::Run, size_log2 + RUN_LOG2)
        } else {
            (Span::Entry, size_log2)
        };
        let exact = self.leaf(level, phys.align_down(size_log2), permission, span) == word;
        let exists = level == 1 || self.leaf_sizes.contains(size_log2);
        if exact && exists && (span == Span::Entry || self.runs == Runs::Hinted) {
            Entry::Leaf {
                phys: phys.align_down(span_log2),
                permission,
                span,
            }
        } else {
            Entry::Reserved
        }
    }
}
