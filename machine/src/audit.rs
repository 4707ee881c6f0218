//! What devices can still reach: every leaf of every table that hangs from the IOMMUs' registers.
//!
//! ```
//! use machine::{Machine, MachineConfig};
//!
//! let machine = Machine::boot(MachineConfig::default().with_ram(64 << 20))?;
//! assert_eq!(machine.audit().reachable_bytes(), 0, "no kernel has mapped anything");
//! # Ok::<(), machine::MachineError>(())
//! ```

use std::ops::Range;

use crate::bus::Access;

/// A run of bus addresses that some requester can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The unit whose registers lead to it.
    pub unit: String,
    /// The requester (bus, device, function) whose context leads to it; the first one, if tables are shared.
    pub requester: u16,
    /// First bus address (Z).
    pub bus: u64,
    /// The physical address (Y) it reaches.
    pub phys: u64,
    /// Length of both.
    pub len_bytes: u64,
    /// What is allowed, the most powerful of the two: writing where it may be written.
    pub access: Access,
}

/// The result of [`Machine::audit`](crate::Machine::audit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Leaves that reach memory outside the regions firmware asked for.
    pub leaves: Vec<Leaf>,
    /// Frames that hold tables: root, context and page tables.
    pub table_frames: Vec<u64>,
    /// Physical ranges that firmware asked to keep mapped (RMRR): their leaves are not listed.
    excluded: Vec<Range<u64>>,
}

impl Audit {
    /// An audit that does not list leaves which lie wholly in `excluded` and map it at its own address.
    pub(crate) fn excluding(excluded: Vec<Range<u64>>) -> Self {
        Self {
            excluded,
            ..Self::default()
        }
    }

    /// Adds what a unit found.
    pub fn add_leaf(&mut self, leaf: Leaf) {
        let asked_for = leaf.bus == leaf.phys
            && self
                .excluded
                .iter()
                .any(|range| range.contains(&leaf.phys) && leaf.len_bytes <= range.end - leaf.phys);
        if !asked_for {
            self.leaves.push(leaf);
        }
    }

    /// Bytes that the leaves reach.
    pub fn reachable_bytes(&self) -> u64 {
        self.leaves.iter().map(|leaf| leaf.len_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_firmware_asked_for_is_left_out() {
        let mut audit = Audit::excluding(vec![0x3000..0x5000]);
        for (bus, phys, len_bytes) in [
            (0x3000, 0x3000, 0x2000),
            (0x4000, 0x4000, 0x2000),
            (0x9000, 0x3000, 0x1000),
        ] {
            let unit = "dmar0".to_owned();
            audit.add_leaf(Leaf {
                unit,
                requester: 8,
                bus,
                phys,
                len_bytes,
                access: Access::Write,
            });
        }
        let listed: Vec<u64> = audit.leaves.iter().map(|leaf| leaf.bus).collect();
        assert_eq!(listed, [0x4000, 0x9000]);
        assert_eq!(audit.reachable_bytes(), 0x3000);
    }
}
