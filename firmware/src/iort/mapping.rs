//! Id mappings: the edges of the graph (table 4 of the manual).

use alloc::vec::Vec;

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// A range of ids of one node, and what another node knows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// First of this node's ids; means nothing if `single`.
    pub first: u32,
    /// Number of ids; 1 if `single`.
    pub count: u64,
    /// What the other node knows the first id by; the others follow it.
    pub to_first: u32,
    /// Number of the other node, an index into [`nodes`](super::Iort::nodes).
    pub to: usize,
    /// This node has no ids of its own, or these are about its own requests: all are known by `to_first`.
    pub single: bool,
}

const BYTES: usize = 20;
const COUNT_AT: usize = 8;
const OFFSET_AT: usize = 12;

/// The mappings of `node`; `nodes` has the offsets of all nodes, in order.
pub(super) fn all(node: &Fields<'_>, nodes: &[usize]) -> Result<Vec<IdMapping>, TableError> {
    let count = node.u32(COUNT_AT)? as usize;
    node.list(node.u32(OFFSET_AT)? as usize, count, BYTES)?
        .map(|entry| parse(&entry, nodes))
        .collect()
}

fn parse(entry: &Fields<'_>, nodes: &[usize]) -> Result<IdMapping, TableError> {
    let single = entry.u32(16)? & 1 != 0;
    let (first, to_first) = (entry.u32(0)?, entry.u32(8)?);
    // The field holds one less.
    let count = match single {
        true => 1,
        false => u64::from(entry.u32(4)?) + 1,
    };
    entry.check_ids(0, first, count)?;
    entry.check_ids(8, to_first, count)?;
    let to = entry.u32(12)?;
    let node = nodes
        .binary_search(&(to as usize))
        .map_err(|_| entry.error(12, Damage::BadReference { to: to.into() }))?;
    Ok(IdMapping {
        first,
        count,
        to_first,
        to: node,
        single,
    })
}
