//! Everything enumeration found.

use alloc::vec::Vec;

use super::found::Found;
use super::{DevicePath, Function, PathError, PciAddress, Problem};
use crate::platform::{MachineId, Platform};

/// The functions behind one host bridge, and what was wrong with some.
pub struct Topology<P: Platform> {
    /// In the order of their addresses; a bridge before what is behind it.
    functions: Vec<Function<P>>,
    problems: Vec<Problem>,
    machine: MachineId,
}

impl<P: Platform> Topology<P> {
    pub(crate) fn new(platform: P, found: Vec<Found<P>>, problems: Vec<Problem>) -> Self {
        let mut functions: Vec<Function<P>> = Vec::with_capacity(found.len());
        for each in found {
            let parent = each
                .parent
                .and_then(|parent| functions.get(parent).cloned());
            functions.push(Function::new(platform, each, parent));
        }
        // Indices of parents are no longer needed.
        functions.sort_by_key(Function::address);
        Self {
            functions,
            problems,
            machine: platform.machine(),
        }
    }

    /// The machine they were found on.
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// All functions, in the order of their addresses.
    pub fn functions(&self) -> impl Iterator<Item = &Function<P>> {
        self.functions.iter()
    }

    /// The bridges among them.
    pub fn bridges(&self) -> impl Iterator<Item = &Function<P>> {
        self.functions().filter(|function| function.is_bridge())
    }

    /// What had to be left out, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The function at `address`.
    pub fn function(&self, address: PciAddress) -> Option<&Function<P>> {
        self.functions()
            .find(|function| function.address() == address)
    }

    /// The function that firmware names by a path, as in the device scopes of DMAR: `path` has the device and
    /// function number of each hop, the first on `start_bus`, each further one on the bus behind the one before.
    ///
    /// # Errors
    /// [`PathError`] if there is nothing at a hop, or no bus behind it.
    pub fn find_path(
        &self,
        segment: u16,
        start_bus: u8,
        path: &[(u8, u8)],
    ) -> Result<&Function<P>, PathError> {
        DevicePath {
            segment,
            start_bus,
            path,
        }
        .resolve(|address| {
            let function = self.function(address)?;
            Some((function, function.buses().map(|buses| buses.secondary)))
        })
    }

    /// Every function behind `bridge`, at any depth.
    pub fn below(&self, bridge: &Function<P>) -> impl Iterator<Item = &Function<P>> {
        let segment = bridge.address().segment;
        let buses = bridge.buses();
        self.functions().filter(move |function| {
            let address = function.address();
            let behind = |bus| buses.is_some_and(|b| b.secondary <= bus && bus <= b.subordinate);
            address.segment == segment && behind(address.bus)
        })
    }
}
