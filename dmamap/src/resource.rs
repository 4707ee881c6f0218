//! The tree of claims on physical addresses: owns B, and prints as `/proc/iomem` does.
//!
//! Two kinds of node: *regions* say what lies where (RAM, a bridge's window, a BAR) and nest; *claims* are
//! leaves by which a driver holds registers for itself. A [`Claim`] is what [`Mmio`](crate::mmio::Mmio) is
//! made from, so registers that nobody holds are registers that nobody reaches.
//!
//! Only addresses that a kernel's boot code vouched for as registers
//! ([`insert_registers`](ResourceTree::insert_registers)) can be claimed: safe code cannot come to hold RAM
//! as if it were a device.
//!
//! ```
//! use dmamap::addr::{PhysAddr, PhysRange};
//! use dmamap::resource::ResourceTree;
//!
//! let range = |start, len| PhysRange::new(PhysAddr::new(start), len);
//! let mut tree = ResourceTree::new();
//! tree.insert("System RAM", range(0, 0xa_0000)?)?;
//! // SAFETY: an example machine; these registers are never touched.
//! unsafe { tree.insert_registers("PCI Bus 0000:00", range(0xc000_0000, 0x1000_0000)?)? };
//! let claim = tree.request("nvme", range(0xc000_0000, 0x4000)?)?;
//! assert_eq!(
//!     tree.to_string(),
//!     "00000000-0009ffff : System RAM\n\
//!      c0000000-cfffffff : PCI Bus 0000:00\n  \
//!        c0000000-c0003fff : nvme\n",
//! );
//! assert!(tree.request("other", range(0xc000_3000, 0x1000)?).is_err());
//! tree.release(claim);
//! assert!(tree.request("other", range(0xc000_3000, 0x1000)?).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;

use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{Ordering, fence};

pub use error::ResourceError;

use crate::addr::PhysRange;
use crate::platform::MachineId;

/// A driver's exclusive hold on registers.
///
/// Holding one proves that the range consists of device registers and that no other claim, hence no other
/// [`Mmio`](crate::mmio::Mmio), reaches them. It moves and is never copied. The hold ends when the claim is
/// dropped (or given to [`ResourceTree::release`]); a claim that is leaked holds for ever.
#[derive(Debug)]
#[must_use = "dropping a claim releases it"]
pub struct Claim {
    range: PhysRange,
    machine: MachineId,
    /// The tree's node holds the weak side: it counts as released once this is gone.
    _held: Arc<()>,
}

impl Claim {
    /// The physical addresses (B) held.
    pub fn range(&self) -> PhysRange {
        self.range
    }

    /// The machine that has them.
    pub fn machine(&self) -> MachineId {
        self.machine
    }
}

/// What a node of the tree stands for.
#[derive(Debug)]
enum Kind {
    /// RAM, or anything else that is described but cannot be claimed.
    Described,
    /// Registers that can be claimed.
    Registers,
    /// A claim, held as long as its other side lives.
    Claimed(Weak<()>),
}

#[derive(Debug)]
struct Node {
    name: String,
    range: PhysRange,
    kind: Kind,
    /// In ascending order, without overlap, all within `range`.
    children: Vec<Node>,
}

impl Node {
    fn is_released(&self) -> bool {
        match &self.kind {
            Kind::Claimed(held) if held.strong_count() == 0 => {
                // What the holder did before it let go happened before anyone takes its place.
                fence(Ordering::Acquire);
                true
            }
            _ => false,
        }
    }

    fn is_region(&self) -> bool {
        !matches!(self.kind, Kind::Claimed(_))
    }

    fn conflict(&self, wanted: &str, range: PhysRange) -> ResourceError {
        ResourceError::Conflict {
            wanted: wanted.to_string(),
            range,
            holder: self.name.clone(),
            held: self.range,
        }
    }
}

/// One line of the tree, for printing in another form than `/proc/iomem`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// How many regions it is nested in.
    pub depth: usize,
    /// What it covers.
    pub range: PhysRange,
    /// Its name.
    pub name: &'a str,
}

/// What lies at which physical address of one machine, and who holds it.
#[derive(Debug, Default)]
pub struct ResourceTree {
    machine: MachineId,
    roots: Vec<Node>,
}

impl ResourceTree {
    /// A tree that knows of nothing yet, of the [only machine](MachineId::ONLY) there is.
    pub const fn new() -> Self {
        Self::of(MachineId::ONLY)
    }

    /// A tree that knows of nothing yet, of a machine as [`Platform::machine`](crate::platform::Platform::machine) names it:
    /// what is claimed in it is mapped on that machine alone.
    pub const fn of(machine: MachineId) -> Self {
        Self {
            machine,
            roots: Vec::new(),
        }
    }

    /// Enters a region: into the innermost region that covers it, above those it covers. Inside
    /// [registers](Self::insert_registers) it is registers too.
    ///
    /// # Errors
    /// [`ResourceError::Conflict`] if it would cover part of another node, or lie within a claim.
    pub fn insert(&mut self, name: &str, range: PhysRange) -> Result<(), ResourceError> {
        self.insert_region(name, range, Kind::Described)
    }

    /// Enters a region of registers: its addresses can be claimed, and so reached by safe code.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Safety
    /// On the machine that the tree [is of](Self::of) device registers answer at every address of `range`, or nothing does;
    /// it holds no memory. No other tree of that machine offers these addresses.
    /// Accesses to them, of whatever value, do not break memory safety by themselves: what a device then does
    /// to memory is for its IOMMU domain to confine, or for whoever turned its bus mastering on to vouch for.
    pub unsafe fn insert_registers(
        &mut self,
        name: &str,
        range: PhysRange,
    ) -> Result<(), ResourceError> {
        self.insert_region(name, range, Kind::Registers)
    }

    /// Claims `range` for the driver `name` (`request_region`).
    ///
    /// # Errors
    /// [`ResourceError::Conflict`] names who holds any of it; [`ResourceError::NotRegisters`] where nobody
    /// declared registers.
    pub fn request(&mut self, name: &str, range: PhysRange) -> Result<Claim, ResourceError> {
        self.check_and_prune(name, range)?;
        let (parent, siblings) = innermost(&mut self.roots, range);
        if let Some(other) = siblings.iter().find(|node| node.range.overlaps(range)) {
            return Err(other.conflict(name, range));
        }
        if !matches!(parent, Some(Kind::Registers)) {
            return Err(ResourceError::NotRegisters {
                wanted: name.to_string(),
                range,
            });
        }
        let held = Arc::new(());
        let kind = Kind::Claimed(Arc::downgrade(&held));
        add(
            siblings,
            Node {
                name: name.to_string(),
                range,
                kind,
                children: Vec::new(),
            },
        );
        Ok(Claim {
            range,
            machine: self.machine,
            _held: held,
        })
    }

    /// Ends a claim (`release_region`). Dropping it does the same.
    pub fn release(&mut self, claim: Claim) {
        drop(claim);
        prune(&mut self.roots);
    }

    /// The name and range of a claim that holds any of `range`.
    pub fn holder(&self, range: PhysRange) -> Option<Entry<'_>> {
        let mut entries = Vec::new();
        collect(&self.roots, 0, &mut entries);
        let claims = entries.into_iter().filter(|(node, _)| !node.is_region());
        let mut held = claims.filter(|(node, _)| node.range.overlaps(range));
        held.next().map(|(node, depth)| Entry {
            depth,
            range: node.range,
            name: &node.name,
        })
    }

    /// All lines, outer before inner, in ascending order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut entries = Vec::new();
        collect(&self.roots, 0, &mut entries);
        entries.into_iter().map(|(node, depth)| Entry {
            depth,
            range: node.range,
            name: &node.name,
        })
    }

    fn insert_region(
        &mut self,
        name: &str,
        range: PhysRange,
        kind: Kind,
    ) -> Result<(), ResourceError> {
        self.check_and_prune(name, range)?;
        let (parent, siblings) = innermost(&mut self.roots, range);
        let kind = match parent {
            Some(Kind::Registers) => Kind::Registers,
            _ => kind,
        };
        let astride = |node: &&Node| node.range.overlaps(range) && !range.covers(node.range);
        if let Some(other) = siblings.iter().find(astride) {
            return Err(other.conflict(name, range));
        }
        let children = siblings
            .extract_if(.., |node| range.covers(node.range))
            .collect();
        add(
            siblings,
            Node {
                name: name.to_string(),
                range,
                kind,
                children,
            },
        );
        Ok(())
    }

    fn check_and_prune(&mut self, name: &str, range: PhysRange) -> Result<(), ResourceError> {
        prune(&mut self.roots);
        match range.is_empty() {
            true => Err(ResourceError::Empty {
                wanted: name.to_string(),
                range,
            }),
            false => Ok(()),
        }
    }
}

/// The children of the innermost region that covers `range`, and that region's kind; the roots if there
/// is none.
fn innermost(siblings: &mut Vec<Node>, range: PhysRange) -> (Option<&Kind>, &mut Vec<Node>) {
    let covers = |node: &Node| node.is_region() && node.range.covers(range);
    let Some(index) = siblings.iter().position(covers) else {
        return (None, siblings);
    };
    let node = &mut siblings[index];
    match innermost(&mut node.children, range) {
        (Some(kind), children) => (Some(kind), children),
        (None, children) => (Some(&node.kind), children),
    }
}

fn add(siblings: &mut Vec<Node>, node: Node) {
    let at = siblings.partition_point(|other| other.range.start() < node.range.start());
    siblings.insert(at, node);
}

fn prune(siblings: &mut Vec<Node>) {
    siblings.retain(|node| !node.is_released());
    siblings
        .iter_mut()
        .for_each(|node| prune(&mut node.children));
}

fn collect<'a>(siblings: &'a [Node], depth: usize, into: &mut Vec<(&'a Node, usize)>) {
    for node in siblings.iter().filter(|node| !node.is_released()) {
        into.push((node, depth));
        collect(&node.children, depth + 1, into);
    }
}

impl fmt::Display for ResourceTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().try_for_each(|entry| {
            let (start, last) = (entry.range.start(), entry.range.last());
            let indent = 2 * entry.depth;
            writeln!(f, "{:indent$}{start:08x}-{last:08x} : {}", "", entry.name)
        })
    }
}

#[cfg(test)]
mod tests;
