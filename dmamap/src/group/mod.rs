//! Groups: devices that an IOMMU cannot keep from each other.
//!
//! A unit tells devices apart by the id of their requests, and sees only requests that reach it. So functions belong
//! together
//!
//! - whose requests may carry one id (`alias.rs`): those behind a bridge to a conventional bus, those with a quirk
//!   ([`Quirks`]), and those that firmware gave one name at their unit;
//! - of which one's request may reach the other on the way to the unit: below a port without access control services
//!   ([`Acs`]), on a conventional bus, or inside one device.
//!
//! Both are transitive. A group is as trusted as its least trusted member, and shares one domain
//! ([`DmaSystem::attach`](crate::system::DmaSystem::attach)). The root complex is taken to keep its own devices and
//! ports apart: there the units stand.
//!
//! What a function says of its access control services is believed, as nothing else tells: a device of several functions that
//! lies is taken apart although its functions meet. Ports are the machine's.
//!
//! A port of a switch counts as isolating by what it does itself. Where one port of a switch does not isolate, requests that
//! enter there may leave at any other: all below the switch is one group, also what is below ports that isolate.
//!
//! ```
//! # use board as _;
//! use dmamap::group::{Groups, Quirks};
//! use dmamap::pci::Topology;
//! use dmamap::platform::Platform;
//!
//! fn print<P: Platform>(topology: &Topology<P>) {
//!     for group in Groups::of(topology, &Quirks::known()).iter() {
//!         println!("{group}");
//!     }
//! }
//! ```

mod acs;
mod alias;
mod partition;
mod quirk;
mod reason;

use alloc::vec::Vec;
use core::fmt;

pub use acs::Acs;
pub use quirk::{Behaviour, Quirk, Quirks};
pub use reason::Reason;

use crate::iommu::Requester;
use crate::pci::{Function, PciAddress, PortType, Topology};
use crate::platform::Platform;
use partition::Partition;

/// A function in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The function.
    pub address: PciAddress,
    /// The ids its requests may carry, its own first.
    pub ids: Vec<Requester>,
}

/// Functions that an IOMMU cannot keep from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    members: Vec<Member>,
    reasons: Vec<Reason>,
}

impl Group {
    /// Its functions, by address; at least one.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Why they are together; none where there is one.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

impl fmt::Display for Group {
    /// The members on one line, a line for each reason below: `0000:04:00.0 0000:05:00.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for member in &self.members {
            write!(f, "{separator}{}", member.address)?;
            separator = " ";
        }
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

/// The groups of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// The groups of the functions of `topology`, as their ports are set now.
    pub fn of<P: Platform>(topology: &Topology<P>, quirks: &Quirks) -> Self {
        Self::with_streams(topology, quirks, |_| None)
    }

    /// As [`of`](Self::of), where units have names for devices: `stream` says which unit knows an id by what.
    pub(crate) fn with_streams<P: Platform>(
        topology: &Topology<P>,
        quirks: &Quirks,
        stream: impl Fn(Requester) -> Option<(usize, u32)>,
    ) -> Self {
        let functions: Vec<&Function<P>> = topology.functions().collect();
        let ids: Vec<_> = functions
            .iter()
            .map(|function| alias::ids_of(function, quirks))
            .collect();
        let mut partition = Partition::of(functions.len());
        let tree = Tree {
            functions: &functions,
            quirks,
        };
        tree.unite_below_bridges(&mut partition);
        tree.unite_in_devices(&mut partition);
        tree.unite_by_id(&ids, &mut partition);
        tree.unite_by_stream(&ids, stream, &mut partition);
        let mut groups = Vec::new();
        for root in 0..functions.len() {
            if partition.root(root) != root {
                continue;
            }
            let members = partition.members(root).into_iter().map(|member| Member {
                address: functions[member].address(),
                ids: ids[member].clone(),
            });
            groups.push(Group {
                members: members.collect(),
                reasons: partition.reasons(root),
            });
        }
        Self(groups)
    }

    /// All, by the address of their first member.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The group of the function at `address`.
    pub fn group_of(&self, address: PciAddress) -> Option<&Group> {
        let holds = |group: &&Group| group.members.iter().any(|member| member.address == address);
        self.0.iter().find(holds)
    }

    /// The functions whose requests may carry `id`: those to ask when a unit refused a request of that name.
    pub fn carriers_of(&self, id: Requester) -> impl Iterator<Item = PciAddress> {
        let members = self.0.iter().flat_map(|group| &group.members);
        let carriers = members.filter(move |member| member.ids.contains(&id));
        carriers.map(|member| member.address)
    }
}

/// What the system asks by the ids of requests.
impl Groups {
    /// The ids that requests of `device` may carry, its own first.
    pub(crate) fn ids_of(&self, device: Requester) -> Vec<Requester> {
        let mut members = self.0.iter().flat_map(|group| &group.members);
        let member = members.find(|member| member.ids.first() == Some(&device));
        member.map_or([device].into(), |member| member.ids.clone())
    }

    /// Whether a function has this id.
    pub(crate) fn is_function(&self, id: Requester) -> bool {
        let mut members = self.0.iter().flat_map(|group| &group.members);
        members.any(|member| member.ids.first() == Some(&id))
    }

    /// The functions of a group, by the ids they have.
    pub(crate) fn own_ids(&self, group: usize) -> Vec<Requester> {
        let group = self.0.get(group);
        let members = group.into_iter().flat_map(|group| &group.members);
        members
            .filter_map(|member| member.ids.first().copied())
            .collect()
    }
}

/// The functions as they hang together.
struct Tree<'a, P: Platform> {
    functions: &'a [&'a Function<P>],
    quirks: &'a Quirks,
}

impl<P: Platform> Tree<'_, P> {
    /// Joins what is below each bridge that does not send all requests up.
    fn unite_below_bridges(&self, partition: &mut Partition) {
        for bridge in self.functions {
            let Some(reason) = self.leak_of(bridge) else {
                continue;
            };
            // A switch's port gives the request to the switch, which gives it to any of its ports.
            let turn = match (bridge.port_type(), bridge.parent()) {
                (Some(PortType::DownstreamPort), Some(switch)) => switch,
                _ => bridge,
            };
            partition.unite(self.numbers_from(turn.address()), reason);
        }
    }

    /// Why requests that come from below `bridge` may turn round before they are at the root.
    fn leak_of(&self, bridge: &Function<P>) -> Option<Reason> {
        if !bridge.is_bridge() || self.is_known_to_isolate(bridge) {
            return None;
        }
        match bridge.port_type() {
            Some(PortType::RootPort | PortType::DownstreamPort) => {
                let missing = Acs::read(bridge).map(|acs| acs.missing(bridge.port_type()));
                let isolates = missing.is_some_and(|missing| missing.into_bits() == 0);
                let port = bridge.address();
                (!isolates).then_some(Reason::Port { port, missing })
            }
            // Whether requests turn round in the switch is said by the ports they come in at.
            Some(PortType::UpstreamPort) => None,
            _ => Some(Reason::Bus {
                bridge: bridge.address(),
            }),
        }
    }

    /// Joins functions of one device unless each keeps its requests from the others, and what is below such functions: a
    /// request may turn round inside the device.
    fn unite_in_devices(&self, partition: &mut Partition) {
        for function in self.functions {
            let one = function.address();
            let is_sibling = |other: PciAddress| {
                (other.segment, other.bus, other.device) == (one.segment, one.bus, one.device)
                    && other != one
            };
            let siblings = self
                .functions
                .iter()
                .filter(|each| is_sibling(each.address()));
            for sibling in siblings.take_while(|_| !self.keeps_to_itself(function)) {
                let other = sibling.address();
                let mut reached = self.numbers_from(one).chain(self.numbers_from(other));
                let Some(first) = reached.next() else {
                    continue;
                };
                for each in reached {
                    partition.unite_pair(first, each, Reason::Device { one, other });
                }
            }
        }
    }

    /// The numbers of the function at `top` and of all below it.
    fn numbers_from(&self, top: PciAddress) -> impl Iterator<Item = usize> {
        let numbered = self.functions.iter().enumerate();
        let below = numbered.filter(move |(_, function)| {
            function.address() == top || function.path().any(|above| above.address() == top)
        });
        below.map(|(number, _)| number)
    }

    /// Whether a function of a device with several sends its requests up rather than to the others.
    fn keeps_to_itself(&self, function: &Function<P>) -> bool {
        let says_so = match function.port_type() {
            // Their manuals know no such services.
            None
            | Some(
                PortType::PcieToPciBridge | PortType::PciToPcieBridge | PortType::EventCollector,
            ) => false,
            port => Acs::read(function).is_some_and(|acs| acs.missing(port).into_bits() == 0),
        };
        says_so || self.is_known_to_isolate(function)
    }

    fn is_known_to_isolate(&self, function: &Function<P>) -> bool {
        let mut behaviours = self.quirks.of(function.vendor(), function.device());
        behaviours.any(|behaviour| behaviour == Behaviour::Isolates)
    }

    /// Joins functions whose requests may carry one id.
    fn unite_by_id(&self, ids: &[Vec<Requester>], partition: &mut Partition) {
        let named = ids.iter().enumerate();
        let carried = named.flat_map(|(number, ids)| ids.iter().map(move |&id| (id, number)));
        self.unite_neighbours(carried.collect(), partition, |id, one, other| Reason::Id {
            id,
            one,
            other,
        });
    }

    /// Joins functions that a unit has one name for.
    fn unite_by_stream(
        &self,
        ids: &[Vec<Requester>],
        stream: impl Fn(Requester) -> Option<(usize, u32)>,
        partition: &mut Partition,
    ) {
        let named = ids.iter().enumerate();
        let streams = named.flat_map(|(number, ids)| {
            let streams = ids.iter().filter_map(|&id| stream(id));
            streams
                .map(move |stream| (stream, number))
                .collect::<Vec<_>>()
        });
        let reason = |(_, stream), one, other| Reason::Stream { stream, one, other };
        self.unite_neighbours(streams.collect(), partition, reason);
    }

    /// Joins those with equal names.
    fn unite_neighbours<N: Copy + Ord>(
        &self,
        mut named: Vec<(N, usize)>,
        partition: &mut Partition,
        reason: impl Fn(N, PciAddress, PciAddress) -> Reason,
    ) {
        named.sort_unstable();
        for pair in named.windows(2) {
            let [(name, one), (other_name, other)] = [pair[0], pair[1]];
            if name == other_name && one != other {
                let address = |number: usize| self.functions[number].address();
                partition.unite_pair(one, other, reason(name, address(one), address(other)));
            }
        }
    }
}
