//! Memory (3.4).

use alloc::vec::Vec;

use super::Devicetree;
use super::node::Node;
use crate::error::TableError;

/// Some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First physical address.
    pub base: u64,
    /// Last physical address, inclusive.
    pub last: u64,
}

impl Devicetree<'_> {
    /// All memory, in the order of the tree. What is reserved of it is not taken out.
    ///
    /// # Errors
    /// If a memory node is damaged.
    pub fn memory(&self) -> Result<Vec<MemoryRange>, TableError> {
        let mut memory = Vec::new();
        let is_memory = |node: &Node<'_>| node.parent == Some(0) && node.is_of_type("memory");
        for (number, _) in self.in_use().filter(|(_, node)| is_memory(node)) {
            memory.extend(self.ranges_of(number)?);
        }
        Ok(memory)
    }

    /// The memory that `reg` of the node names.
    pub(super) fn ranges_of(&self, number: usize) -> Result<Vec<MemoryRange>, TableError> {
        self.registers(number)?
            .map(|span| {
                let span = span?;
                // It cannot overflow: that was checked.
                Ok(MemoryRange {
                    base: span.base,
                    last: span.base + (span.len_bytes - 1),
                })
            })
            .collect()
    }
}
