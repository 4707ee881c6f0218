//! Nodes and properties.

use alloc::string::String;
use alloc::vec::Vec;

use super::Devicetree;
use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::Signature;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) parent: Option<usize>,
    /// Sorted by name.
    pub(super) properties: Vec<Property<'a>>,
    /// Where in the blob its properties start.
    offset: usize,
}

/// A property.
#[derive(Clone, Copy)]
pub(super) struct Property<'a> {
    name: &'a str,
    value: Fields<'a>,
}

impl core::fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} = {:02x?}", self.name, self.value.bytes())
    }
}

impl<'a> Property<'a> {
    pub(super) fn new(name: &'a str, value: Fields<'a>) -> Self {
        Self { name, value }
    }

    pub(super) fn value(&self) -> Fields<'a> {
        self.value
    }

    /// The 32-bit cell of number `index`.
    pub(super) fn cell(&self, index: usize) -> Result<u32, TableError> {
        self.value.be_u32(index.saturating_mul(4))
    }

    /// The texts that make up the value.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.value
            .bytes()
            .split(|byte| *byte == 0)
            .filter(|text| !text.is_empty())
    }
}

impl<'a> Node<'a> {
    pub(super) fn new(name: &'a str, parent: Option<usize>, offset: usize) -> Self {
        Self {
            name,
            parent,
            properties: Vec::new(),
            offset,
        }
    }

    /// Sorts the properties by name, once all are there; of equal ones the first stays the first.
    pub(super) fn sort(&mut self) {
        self.properties.sort_by_key(|property| property.name);
    }

    pub(super) fn property(&self, name: &str) -> Option<Property<'a>> {
        let first = self.properties.partition_point(|one| one.name < name);
        let property = self.properties.get(first).copied()?;
        (property.name == name).then_some(property)
    }

    /// The property, which the node needs.
    pub(super) fn required(&self, name: &'static str) -> Result<Property<'a>, TableError> {
        self.property(name)
            .ok_or(self.error(Damage::MissingProperty { name }))
    }

    /// The error that says `damage` of the node as a whole.
    pub(super) fn error(&self, damage: Damage) -> TableError {
        TableError {
            signature: Signature::DEVICETREE,
            offset: self.offset,
            damage,
        }
    }

    /// The first cell of the property, or `default` where it is missing.
    pub(super) fn cell_or(&self, name: &str, default: u32) -> Result<u32, TableError> {
        self.property(name)
            .map_or(Ok(default), |property| property.cell(0))
    }

    /// Cells of an address on the bus that the node is (2.3.5).
    pub(super) fn address_cells(&self) -> Result<u32, TableError> {
        self.cell_or("#address-cells", 2)
    }

    /// Cells of a length on the bus that the node is (2.3.5).
    pub(super) fn size_cells(&self) -> Result<u32, TableError> {
        self.cell_or("#size-cells", 1)
    }

    pub(super) fn is_compatible(&self, with: &str) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.texts().any(|text| text == with.as_bytes()))
    }

    pub(super) fn is_of_type(&self, device_type: &str) -> bool {
        self.property("device_type")
            .is_some_and(|list| list.texts().any(|text| text == device_type.as_bytes()))
    }
}

impl<'a> Devicetree<'a> {
    /// All nodes that are in use, with their numbers: neither they nor what is above them is disabled (2.3.4).
    pub(super) fn in_use(&self) -> impl Iterator<Item = (usize, &Node<'a>)> {
        let mut used: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let above = node.parent.and_then(|parent| used.get(parent).copied());
            let okay = node
                .property("status")
                .is_none_or(|status| matches!(status.texts().next(), None | Some(b"okay" | b"ok")));
            used.push(okay && above.unwrap_or(true));
        }
        self.nodes
            .iter()
            .enumerate()
            .zip(used)
            .filter_map(|(numbered, used)| used.then_some(numbered))
    }

    /// The node and all above it, up to the root.
    pub(super) fn up_from(&self, number: usize) -> impl Iterator<Item = &Node<'a>> {
        core::iter::successors(self.nodes.get(number), |node| self.nodes.get(node.parent?))
    }

    /// The number of the node that the phandle in cell `index` of `property` names.
    pub(super) fn referred(
        &self,
        property: &Property<'_>,
        index: usize,
    ) -> Result<usize, TableError> {
        let phandle = property.cell(index)?;
        self.phandles
            .binary_search_by_key(&phandle, |(phandle, _)| *phandle)
            .ok()
            .and_then(|found| self.phandles.get(found))
            .map(|(_, number)| *number)
            .ok_or(
                property
                    .value()
                    .error(index * 4, Damage::BadReference { to: phandle.into() }),
            )
    }

    /// The node's full name.
    pub(super) fn path(&self, number: usize) -> String {
        let mut names: Vec<&str> = self.up_from(number).map(|node| node.name).collect();
        names.reverse();
        match names.as_slice() {
            [_] => "/".into(),
            names => names.join("/"),
        }
    }

    /// Whether requests of the node's device see the CPU's caches; `None` if neither it nor a bus above it says.
    pub(super) fn coherence(&self, number: usize) -> Option<bool> {
        self.up_from(number).find_map(|node| {
            let coherent = node.property("dma-coherent").map(|_| true);
            coherent.or(node.property("dma-noncoherent").map(|_| false))
        })
    }
}
