//! Which unit translates for which requester, by the device scopes of the DMAR table (VT-d 8.3).

use alloc::vec::Vec;

use firmware::dmar::{self, DeviceScope, ScopeKind};

use crate::iommu::requester::Requester;
use crate::pci::Topology;
use crate::platform::Platform;

/// The unit of every requester, units being numbered as the table lists them.
pub(crate) struct ScopeMap {
    named: Vec<(Requester, usize)>,
    /// Per segment, the unit of all that no unit names.
    others: Vec<(u16, usize)>,
}

impl ScopeMap {
    /// Resolves the scopes of `units` on the machine as it was enumerated.
    pub(crate) fn new<P: Platform>(units: &[dmar::Unit], topology: &Topology<P>) -> Self {
        let mut map = Self {
            named: Vec::new(),
            others: Vec::new(),
        };
        for (n, unit) in units.iter().enumerate() {
            for scope in &unit.scopes {
                let named = functions_of(unit.segment, scope, topology);
                map.named
                    .extend(named.into_iter().map(|requester| (requester, n)));
            }
            if unit.include_all {
                map.others.push((unit.segment, n));
            }
        }
        map
    }

    /// The number of the unit that translates for `requester`; `None` if none does.
    pub(crate) fn unit_of(&self, requester: Requester) -> Option<usize> {
        let named = self.named.iter().find(|(known, _)| *known == requester);
        let others = self
            .others
            .iter()
            .find(|(segment, _)| *segment == requester.segment);
        named.map(|(_, n)| *n).or(others.map(|(_, n)| *n))
    }
}

/// The requesters a scope names: one function, or a bridge and all behind it. A path that leads nowhere (a
/// device that is not plugged in) names none.
pub(crate) fn functions_of<P: Platform>(
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
