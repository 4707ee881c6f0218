//! The flattened format: header, reservations and the list of tokens (chapter 5).

use alloc::vec::Vec;

use super::memory::MemoryRange;
use super::node::{Node, Property};
use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::Signature;

/// What a blob holds.
pub(super) struct Blob<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) reservations: Vec<MemoryRange>,
}

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

const HEADER_BYTES: usize = 40;
/// Longest blob that is read: what Linux takes on Arm.
const BLOB_BYTES_MAX: usize = 2 << 20;
/// Longest name that is read; the specification has 31 letters, boards in use have more.
const NAME_BYTES_MAX: usize = 256;
/// Most nodes above a node; addresses are translated through all of them.
const DEPTH_MAX: usize = 24;

impl<'a> Blob<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        let header = Fields::new(Signature::DEVICETREE, bytes).slice(0, HEADER_BYTES)?;
        let magic = header.be_u32(0)?;
        if magic != MAGIC {
            return Err(header.error(0, Damage::BadToken { token: magic }));
        }
        let len = header.be_u32(4)? as usize;
        if len > BLOB_BYTES_MAX {
            let (stated, most) = (len, BLOB_BYTES_MAX);
            return Err(header.error(4, Damage::LengthTooLarge { stated, most }));
        }
        let blob = Fields::new(Signature::DEVICETREE, bytes).sized(len, 4, HEADER_BYTES)?;
        let (version, compatible) = (blob.be_u32(20)?, blob.be_u32(24)?);
        if version < VERSION || compatible > VERSION {
            return Err(blob.error(20, Damage::BadVersion { version }));
        }
        let part = |offset_at: usize, len_at: usize| {
            let offset = blob.be_u32(offset_at)? as usize;
            blob.slice(offset, blob.be_u32(len_at)? as usize)
        };
        let strings = part(12, 32)?;
        let mut nodes = nodes(&part(8, 36)?, &strings)?;
        for node in &mut nodes {
            node.sort();
        }
        Ok(Self {
            nodes,
            reservations: reservations(&blob.rest(blob.be_u32(16)? as usize)?)?,
        })
    }
}

/// The list of reservations at the start of `fields`, which an empty one ends (5.3).
fn reservations(fields: &Fields<'_>) -> Result<Vec<MemoryRange>, TableError> {
    let mut list = Vec::new();
    let mut at = 0;
    loop {
        let (base, len_bytes) = (fields.be_u64(at)?, fields.be_u64(at + 8)?);
        if (base, len_bytes) == (0, 0) {
            return Ok(list);
        }
        if len_bytes != 0 {
            list.push(MemoryRange {
                base,
                last: fields.last_of(at, base, len_bytes)?,
            });
        }
        at += 16;
    }
}

/// The nodes that `tokens` describe (5.4).
fn nodes<'a>(tokens: &Fields<'a>, strings: &Fields<'a>) -> Result<Vec<Node<'a>>, TableError> {
    let mut nodes: Vec<Node<'a>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    loop {
        let token = tokens.be_u32(at)?;
        let wrong = tokens.error(at, Damage::BadToken { token });
        at += 4;
        match token {
            NOP => {}
            BEGIN_NODE => {
                // There is one root.
                if open.is_empty() != nodes.is_empty() {
                    return Err(wrong);
                }
                if open.len() >= DEPTH_MAX {
                    let (stated, most) = (open.len() + 1, DEPTH_MAX);
                    return Err(tokens.error(at, Damage::TooMany { stated, most }));
                }
                let name = name(tokens, at)?;
                at = (at + name.len() + 1).next_multiple_of(4);
                open.push(nodes.len());
                let parent = open.len().checked_sub(2).and_then(|above| open.get(above));
                nodes.push(Node::new(name, parent.copied(), tokens.offset() + at));
            }
            END_NODE => {
                open.pop().ok_or(wrong)?;
            }
            PROPERTY => {
                // Properties come before children, thus belong to the newest node.
                let node = nodes
                    .len()
                    .checked_sub(1)
                    .filter(|last| open.last() == Some(last))
                    .and_then(|last| nodes.get_mut(last))
                    .ok_or(wrong)?;
                let (len, name_at) = (tokens.be_u32(at)?, tokens.be_u32(at + 4)?);
                let value = tokens.slice(at + 8, len as usize)?;
                at = (at + 8 + value.len()).next_multiple_of(4);
                let name = name(strings, name_at as usize)?;
                node.properties.push(Property::new(name, value));
            }
            END if open.is_empty() && !nodes.is_empty() => return Ok(nodes),
            _ => return Err(wrong),
        }
    }
}

/// The text at `at`, up to the first zero byte.
fn name<'a>(fields: &Fields<'a>, at: usize) -> Result<&'a str, TableError> {
    let bytes = fields.rest(at)?.bytes();
    let bytes = bytes.get(..NAME_BYTES_MAX).unwrap_or(bytes);
    bytes
        .iter()
        .position(|byte| *byte == 0)
        .and_then(|end| bytes.get(..end))
        .and_then(|name| core::str::from_utf8(name).ok())
        .filter(|name| name.is_ascii())
        .ok_or(fields.error(at, Damage::BadName))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtoolkit::fdt::{Fdt, FdtNode};
    use dtoolkit::{Node as _, Property as _};

    const TREES: [&[u8]; 5] = [
        include_bytes!("../../tests/qemu/virt-smmuv3.dtb"),
        include_bytes!("../../tests/qemu/virt-aarch64-virtio-iommu.dtb"),
        include_bytes!("../../tests/qemu/virt-riscv-iommu-sys.dtb"),
        include_bytes!("../../tests/qemu/virt-riscv-iommu-pci.dtb"),
        include_bytes!("../../tests/qemu/virt-riscv-virtio-iommu.dtb"),
    ];

    /// Compares `expected` and all below it with the nodes from `at` on, and gives the number of the next one.
    fn compare(
        expected: FdtNode<'_>,
        parent: Option<usize>,
        nodes: &[Node<'_>],
        at: usize,
    ) -> usize {
        let node = &nodes[at];
        assert_eq!((node.name, node.parent), (expected.name(), parent));
        assert_eq!(node.properties.len(), expected.properties().count());
        for property in expected.properties() {
            let read = node.property(property.name()).unwrap();
            assert_eq!(
                read.value().bytes(),
                property.value(),
                "{}",
                property.name()
            );
        }
        expected
            .children()
            .fold(at + 1, |next, child| compare(child, Some(at), nodes, next))
    }

    #[test]
    fn an_independent_reader_finds_the_same_nodes_and_properties() {
        for bytes in TREES {
            let blob = Blob::parse(bytes).unwrap();
            let expected = Fdt::new(bytes).unwrap();
            let end = compare(expected.root(), None, &blob.nodes, 0);
            assert_eq!(end, blob.nodes.len());
            assert!(end > 30);
        }
    }
}
