//! Which unit translates for which requester, by firmware's description resolved on the machine as it was
//! enumerated.

use alloc::vec::Vec;

use firmware::dmar::{DeviceScope, ScopeKind};
use firmware::{Devices, IommuDescription, Stream};

use crate::iommu::requester::Requester;
use crate::iommu::stream::StreamRange;
use crate::pci::Topology;
use crate::platform::Platform;

/// The unit that stands before a requester, and what it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The unit's number.
    pub(crate) unit: usize,
    /// The number that requests carry there.
    pub(crate) stream: u32,
}

/// The unit of every requester, units being numbered as the description lists them.
pub(crate) struct ScopeMap {
    /// The first that contains a requester counts.
    ranges: Vec<(StreamRange, usize)>,
}

impl ScopeMap {
    /// Resolves who is behind which unit.
    pub(crate) fn new<P: Platform>(description: &IommuDescription, topology: &Topology<P>) -> Self {
        let mut ranges = Vec::new();
        for assignment in &description.assignments {
            let devices = ranges_of(&assignment.devices, topology);
            ranges.extend(devices.into_iter().map(|(segment, first, last)| {
                let range = StreamRange {
                    segment,
                    first,
                    last,
                    stream: assignment.stream,
                };
                (range, assignment.unit)
            }));
        }
        Self { ranges }
    }

    /// What stands before `requester`; `None` if nothing does.
    pub(crate) fn behind(&self, requester: Requester) -> Option<Behind> {
        let (range, unit) = self
            .ranges
            .iter()
            .find(|(range, _)| range.contains(requester))?;
        Some(Behind {
            unit: *unit,
            stream: range.stream_of(requester),
        })
    }
}

/// The requesters among `devices`, as runs of one segment. What is not on PCI has none.
fn ranges_of<P: Platform>(devices: &Devices, topology: &Topology<P>) -> Vec<(u16, u16, u16)> {
    match devices {
        Devices::Requesters {
            segment,
            first,
            last,
        } => [(*segment, *first, *last)].into(),
        Devices::Segment { segment } => [(*segment, 0, u16::MAX)].into(),
        Devices::Scope { segment, scope } => functions_of(*segment, scope, topology)
            .into_iter()
            .map(|one| (one.segment, one.id, one.id))
            .collect(),
        Devices::Named(_) => Vec::new(),
    }
}

/// The requesters among `devices` that there are: of a set, those that were enumerated.
pub(crate) fn requesters_of<P: Platform>(
    devices: &Devices,
    topology: &Topology<P>,
) -> Vec<Requester> {
    if let Devices::Scope { segment, scope } = devices {
        return functions_of(*segment, scope, topology);
    }
    let ranges: Vec<_> = ranges_of(devices, topology)
        .into_iter()
        .map(|(segment, first, last)| StreamRange {
            segment,
            first,
            last,
            stream: Stream::Requester,
        })
        .collect();
    let all = topology.functions().map(|function| Requester {
        segment: function.address().segment,
        id: function.requester(),
    });
    all.filter(|one| ranges.iter().any(|range| range.contains(*one)))
        .collect()
}

/// The requesters a DMAR scope names (VT-d 8.3.1): one function, or a bridge and all behind it. A path that leads
/// nowhere (a device that is not plugged in) names none.
fn functions_of<P: Platform>(
    segment: u16,
    scope: &DeviceScope,
    topology: &Topology<P>,
) -> Vec<Requester> {
    let requester = |id| Requester { segment, id };
    match scope.kind {
        // These raise interrupts only, which are not remapped yet.
        ScopeKind::IoApic | ScopeKind::Hpet => Vec::new(),
        // It may be no PCI function at all: its path is its requester id.
        ScopeKind::Namespace => match scope.path.as_slice() {
            [(device, function)] => {
                let id = hw::pci::requester_id(scope.start_bus, *device, *function);
                [requester(id)].into()
            }
            _ => resolve(segment, scope, topology)
                .map(|one| requester(one.requester()))
                .into_iter()
                .collect(),
        },
        ScopeKind::Endpoint => resolve(segment, scope, topology)
            .map(|one| requester(one.requester()))
            .into_iter()
            .collect(),
        ScopeKind::SubHierarchy => match resolve(segment, scope, topology) {
            Some(bridge) => core::iter::once(bridge)
                .chain(topology.below(bridge))
                .map(|one| requester(one.requester()))
                .collect(),
            None => Vec::new(),
        },
    }
}

fn resolve<'t, P: Platform>(
    segment: u16,
    scope: &DeviceScope,
    topology: &'t Topology<P>,
) -> Option<&'t crate::pci::Function<P>> {
    match topology.find_path(segment, scope.start_bus, &scope.path) {
        Ok(function) => Some(function),
        Err(error) => {
            log::warn!("DMAR scope on segment {segment:04x}: {error}; ignored");
            None
        }
    }
}
