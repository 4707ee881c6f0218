//! The functions on one bus, and which of them an access is for.

use std::sync::Arc;

use board::hardware::Width;

use super::Space;
use super::bridge::Bridge;
use super::endpoint::{Endpoint, Hit};
use crate::findings::{FindingKind, Findings};

/// A function on a bus.
#[derive(Clone)]
pub(crate) enum Node {
    Endpoint(Arc<Endpoint>),
    Bridge(Arc<Bridge>),
}

/// What a bus is made of: who on it may hear a request on its way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// The root complex's: requests go to the host bridge.
    Root,
    /// A link: nobody but the port at its other end.
    Link,
    /// The inside of a switch: ports give requests to each other, unless they redirect them.
    Switch,
    /// Wires that all devices on it share.
    Conventional,
}

/// One bus: the host bridge's, or the one behind a bridge.
#[derive(Clone)]
pub(crate) struct Segment {
    kind: SegmentKind,
    nodes: Vec<Node>,
    findings: Findings,
}

/// The address of a configuration register on the way down.
#[derive(Clone, Copy)]
pub(crate) struct ConfigAddress {
    pub(crate) bus: u8,
    pub(crate) device_function: u8,
    pub(crate) register: u16,
}

impl Segment {
    pub(crate) fn new(kind: SegmentKind, nodes: Vec<Node>, findings: Findings) -> Self {
        Self {
            kind,
            nodes,
            findings,
        }
    }

    pub(super) fn kind(&self) -> SegmentKind {
        self.kind
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A configuration read on its way down; this bus has number `own`. All ones where nobody answers.
    pub(crate) fn read_config(&self, own: u8, address: ConfigAddress, width: Width) -> u64 {
        match self.find_function(own, address) {
            Some((_, Node::Endpoint(endpoint))) => endpoint.read_config(address.register, width),
            Some((_, Node::Bridge(bridge))) => bridge.read_config(address.register, width),
            None => width.ones(),
        }
    }

    /// A configuration write on its way down. Lost where nobody answers.
    pub(crate) fn write_config(&self, own: u8, address: ConfigAddress, width: Width, value: u64) {
        match self.find_function(own, address) {
            Some((bus, Node::Endpoint(endpoint))) => {
                endpoint.write_config(bus, address.register, width, value);
            }
            Some((bus, Node::Bridge(bridge))) => {
                bridge.write_config(bus, address.register, width, value)
            }
            None => {}
        }
    }

    /// The function that answers, and the bus number it is reached by.
    fn find_function(&self, own: u8, address: ConfigAddress) -> Option<(u8, &Node)> {
        if address.bus == own {
            let node = self
                .nodes
                .iter()
                .find(|node| node.device_function() == address.device_function)?;
            return Some((own, node));
        }
        let mut forwarding = self
            .bridges()
            .filter_map(|bridge| Some((bridge, bridge.forwards_bus(address.bus)?)));
        let (bridge, secondary) = forwarding.next()?;
        if let Some((other, _)) = forwarding.next() {
            self.report(&format!(
                "bridges {:#04x} and {:#04x} (device and function) both forward bus {}",
                bridge.requester().device_function(),
                other.requester().device_function(),
                address.bus
            ));
        }
        bridge.behind().find_function(secondary, address)
    }

    /// The BAR that answers to all `len_bytes` bytes at `bus`.
    pub(crate) fn find_bar(&self, space: Space, bus: u64, len_bytes: u64) -> Option<Hit> {
        let nodes = self.nodes.iter();
        let mut hits = nodes.filter_map(|node| node.find_bar(space, bus, len_bytes));
        let hit = hits.next()?;
        if let Some(other) = hits.next() {
            self.report(&format!(
                "{} and {} both answer at bus {bus:#x}",
                hit.endpoint.name(),
                other.endpoint.name()
            ));
        }
        Some(hit)
    }

    /// Resets every function on this bus and behind it.
    pub(crate) fn reset(&self) {
        for node in &self.nodes {
            match node {
                Node::Endpoint(endpoint) => endpoint.reset(),
                Node::Bridge(bridge) => bridge.reset(),
            }
        }
    }

    /// Takes the power from every function on this bus and behind it for a moment.
    pub(crate) fn power_cycle(&self) {
        for node in &self.nodes {
            match node {
                Node::Endpoint(endpoint) => endpoint.power_cycle(),
                Node::Bridge(bridge) => bridge.power_cycle(),
            }
        }
    }

    /// All endpoints on this bus and behind it.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let nodes = self.nodes.iter().flat_map(|node| match node {
            Node::Endpoint(endpoint) => vec![Arc::clone(endpoint)],
            Node::Bridge(bridge) => bridge.behind().endpoints(),
        });
        nodes.collect()
    }

    fn bridges(&self) -> impl Iterator<Item = &Bridge> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Bridge(bridge) => Some(&**bridge),
            Node::Endpoint(_) => None,
        })
    }

    fn report(&self, detail: &str) {
        self.findings
            .report("bus", FindingKind::RoutingConflict, detail.to_owned());
    }
}

impl Node {
    /// The BAR of the function, or behind it, that answers to all `len_bytes` bytes at `bus`.
    pub(super) fn find_bar(&self, space: Space, bus: u64, len_bytes: u64) -> Option<Hit> {
        match self {
            Self::Endpoint(endpoint) => {
                let (bar, offset) = endpoint.decode(space, bus, len_bytes)?;
                Some(Hit {
                    endpoint: Arc::clone(endpoint),
                    bar,
                    offset,
                })
            }
            Self::Bridge(bridge) => {
                let forwards = bridge.forwards(space, bus, len_bytes);
                forwards.then(|| bridge.behind().find_bar(space, bus, len_bytes))?
            }
        }
    }

    pub(super) fn device_function(&self) -> u8 {
        match self {
            Self::Endpoint(endpoint) => endpoint.requester().device_function(),
            Self::Bridge(bridge) => bridge.requester().device_function(),
        }
    }
}
