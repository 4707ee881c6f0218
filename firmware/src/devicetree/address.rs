//! Addresses on a bus, and what they are for the CPU (2.3.6 and 2.3.8).

use super::Devicetree;
use super::node::{Node, Property};
use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// One entry of a property that is a list of numbers of several cells each.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    fields: Fields<'a>,
}

impl<'a> Property<'a> {
    /// The entries of `cells` cells each.
    pub(super) fn entries(
        &self,
        cells: u32,
    ) -> Result<impl Iterator<Item = Entry<'a>> + use<'a>, TableError> {
        // No entry read here is longer: four cells, two addresses, a length.
        if cells == 0 || cells > 16 {
            return Err(self.value().error(0, Damage::BadCells { cells }));
        }
        let entries = self.value().entries(0, cells as usize * 4)?;
        Ok(entries.map(|fields| Entry { fields }))
    }
}

impl Entry<'_> {
    /// The cell of number `at`.
    pub(super) fn cell(&self, at: u32) -> Result<u32, TableError> {
        self.fields.be_u32(at as usize * 4)
    }

    /// The number of `cells` cells from cell `at` on.
    pub(super) fn number(&self, at: u32, cells: u32) -> Result<u64, TableError> {
        self.fields.be_cells(at as usize * 4, cells)
    }

    /// Checks that the `count` ids from `first` on, which is cell `at`, are a range.
    pub(super) fn check_ids(&self, at: u32, first: u32, count: u32) -> Result<(), TableError> {
        self.fields.check_ids(at as usize * 4, first, count.into())
    }

    /// Last address of the `len_bytes` from `base` on, which starts at cell `at`.
    pub(super) fn last_of(&self, at: u32, base: u64, len_bytes: u64) -> Result<u64, TableError> {
        self.fields.last_of(at as usize * 4, base, len_bytes)
    }
}

/// Most ranges of one bus; each address is looked for in all of them.
const RANGES_MAX: usize = 128;

/// Number of addresses from `base` on.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) base: u64,
    pub(super) len_bytes: u64,
}

impl Devicetree<'_> {
    /// The ranges of `reg` of the node, as the CPU sees them. Those without a length are left out.
    pub(super) fn registers(
        &self,
        number: usize,
    ) -> Result<impl Iterator<Item = Result<Span, TableError>>, TableError> {
        let node = self.nodes.get(number);
        let bus = node.and_then(|node| node.parent);
        let (address, size) = match bus.and_then(|bus| self.nodes.get(bus)) {
            Some(bus) => (bus.address_cells()?, bus.size_cells()?),
            None => (2, 1),
        };
        let entries = match node {
            Some(node) => {
                let reg = node.required("reg")?;
                Some(reg.entries(address.saturating_add(size))?)
            }
            None => None,
        };
        Ok(entries
            .into_iter()
            .flatten()
            .filter_map(move |entry| self.register(&entry, address, size, bus).transpose()))
    }

    /// The first range of `reg` of the node, which it needs.
    pub(super) fn first_register(&self, number: usize) -> Result<Span, TableError> {
        match (self.registers(number)?.next(), self.nodes.get(number)) {
            (None, Some(node)) => Err(node.error(Damage::MissingProperty { name: "reg" })),
            (first, _) => first.unwrap_or(Ok(Span::default())),
        }
    }

    fn register(
        &self,
        entry: &Entry<'_>,
        address: u32,
        size: u32,
        bus: Option<usize>,
    ) -> Result<Option<Span>, TableError> {
        let span = Span {
            base: entry.number(0, address)?,
            len_bytes: entry.number(address, size)?,
        };
        if span.len_bytes == 0 {
            return Ok(None);
        }
        entry.last_of(0, span.base, span.len_bytes)?;
        let base = self.seen_by_cpu(bus, span)?;
        entry.last_of(0, base, span.len_bytes)?;
        Ok(Some(Span { base, ..span }))
    }

    /// What the CPU sees the addresses on bus `bus` as: translated by each bus up to the root.
    pub(super) fn seen_by_cpu(&self, bus: Option<usize>, span: Span) -> Result<u64, TableError> {
        let mut span = span;
        let mut bus = bus.and_then(|bus| self.nodes.get(bus));
        while let Some(node) = bus {
            let Some(above) = node.parent.and_then(|parent| self.nodes.get(parent)) else {
                break;
            };
            span.base = passed_up(node, above, span)?;
            bus = Some(above);
        }
        Ok(span.base)
    }
}

/// Where bus `node` passes the addresses on to bus `above`.
fn passed_up(node: &Node<'_>, above: &Node<'_>, span: Span) -> Result<u64, TableError> {
    let address = span.base;
    let nowhere = || node.error(Damage::NotReachable { address });
    let ranges = node.property("ranges").ok_or_else(nowhere)?;
    // Without entries both buses have the same addresses.
    if ranges.value().len() == 0 {
        return Ok(address);
    }
    let (own, size) = (node.address_cells()?, node.size_cells()?);
    let parent = above.address_cells()?;
    let cells = own.saturating_add(parent).saturating_add(size);
    let stated = ranges.entries(cells)?.count();
    if stated > RANGES_MAX {
        let most = RANGES_MAX;
        return Err(ranges.value().error(0, Damage::TooMany { stated, most }));
    }
    for entry in ranges.entries(cells)? {
        let base = entry.number(0, own)?;
        let to = entry.number(own, parent)?;
        let len_bytes = entry.number(own.saturating_add(parent), size)?;
        let within = address
            .checked_sub(base)
            .filter(|offset| *offset < len_bytes && span.len_bytes <= len_bytes - offset);
        if let Some(offset) = within {
            return to.checked_add(offset).ok_or_else(nowhere);
        }
    }
    Err(nowhere())
}
