//! Requests between devices that never come to the host bridge (PCI Express base specification, 6.12).
//!
//! On its way up a request passes buses. In a device with several functions, in a switch, and on a conventional bus it is
//! taken by whoever answers at its address, unless access control services send it up. What a function asks of memory behind
//! its own BAR never leaves it.

use std::sync::Arc;

use super::Space;
use super::endpoint::Hit;
use super::segment::{Node, Segment, SegmentKind};
use crate::bus::Requester;

/// What became of a request on a bus.
enum Passage {
    /// It does not come from here.
    NotFromHere,
    /// It left the bus towards the root.
    Up,
    /// A peer took it.
    Taken(Hit),
}

impl Segment {
    /// The peer, or the function itself, that takes a request of `requester` for all `len_bytes` bytes at `bus` before it is at the host bridge.
    pub(crate) fn peer_of(
        &self,
        requester: &Arc<Requester>,
        bus: u64,
        len_bytes: u64,
    ) -> Option<Hit> {
        match self.passage(requester, bus, len_bytes) {
            Passage::Taken(hit) => Some(hit),
            Passage::NotFromHere | Passage::Up => None,
        }
    }

    fn passage(&self, requester: &Arc<Requester>, bus: u64, len_bytes: u64) -> Passage {
        for from in self.nodes() {
            match from {
                Node::Endpoint(endpoint) if Arc::ptr_eq(endpoint.requester(), requester) => {
                    let own = from.find_bar(Space::Memory, bus, len_bytes);
                    if let Some(hit) = own.filter(|hit| endpoint.memory(hit.bar).is_some()) {
                        return Passage::Taken(hit);
                    }
                }
                Node::Endpoint(_) => continue,
                Node::Bridge(bridge) => match bridge.behind().passage(requester, bus, len_bytes) {
                    Passage::NotFromHere => continue,
                    Passage::Up => {}
                    taken @ Passage::Taken(_) => return taken,
                },
            }
            let mut hearers = self.nodes().iter().filter(|to| self.hears(from, to));
            let taken = hearers.find_map(|to| to.find_bar(Space::Memory, bus, len_bytes));
            return taken.map_or(Passage::Up, Passage::Taken);
        }
        Passage::NotFromHere
    }

    /// Whether `to` sees what `from` asks, here on one bus.
    fn hears(&self, from: &Node, to: &Node) -> bool {
        let (one, other) = (from.device_function(), to.device_function());
        if one == other {
            return false;
        }
        match self.kind() {
            // The root complex's own devices are wired to its units each.
            SegmentKind::Root => false,
            SegmentKind::Conventional => true,
            SegmentKind::Link | SegmentKind::Switch => {
                let in_one_device = one >> 3 == other >> 3;
                let may_meet = in_one_device || self.kind() == SegmentKind::Switch;
                may_meet && !from.redirects()
            }
        }
    }
}

impl Node {
    fn redirects(&self) -> bool {
        match self {
            Self::Endpoint(endpoint) => endpoint.redirects(),
            Self::Bridge(bridge) => bridge.redirects(),
        }
    }
}
