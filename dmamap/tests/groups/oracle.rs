//! Random computers: groups are exactly the functions that meet, found by following each request by hand.

use std::collections::HashSet;
use std::sync::Arc;

use dmamap::group::{Groups, Quirks};
use proptest::prelude::*;

use crate::ISOLATING;
use crate::pci_support::{FakeFunction, FakePci, Id};

/// What a function is to its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conventional,
    Endpoint,
    RootPort,
    Upstream,
    Downstream,
    ToPci,
    ConventionalBridge,
}

/// Access control services: capable and on.
type Services = Option<(u16, u16)>;

#[derive(Clone, Debug)]
struct Spot {
    parent: Option<usize>,
    device: u8,
    function: u8,
    kind: Kind,
    acs: Services,
    /// The function's bus, and the bus behind it.
    bus: u8,
    secondary: u8,
}

const SERVICES: [Services; 6] = [
    Some((ISOLATING, ISOLATING)),
    None,
    Some((ISOLATING, ISOLATING & !4)),
    Some((0b1100, 0b1100)),
    Some((0, 0)),
    Some((1, 1)),
];

/// A computer that a sequence of choices describes; where they run out, the first choice is taken.
struct Builder {
    choices: std::vec::IntoIter<u8>,
    board: Arc<FakePci>,
    ids: Vec<Id>,
    spots: Vec<Spot>,
    last_bus: u8,
}

impl Builder {
    fn choose(&mut self, count: usize) -> usize {
        usize::from(self.choices.next().unwrap_or(0)) % count
    }

    /// Puts devices on the bus behind `parent`, then fills the buses behind their bridges, as enumeration numbers them.
    fn fill(&mut self, parent: Option<usize>, bus: u8, depth: usize) {
        let above = parent.map(|parent| self.spots[parent].kind);
        let kinds: &[Kind] = match above {
            None => &[Kind::RootPort, Kind::Conventional, Kind::ConventionalBridge],
            Some(Kind::RootPort | Kind::Downstream) => {
                &[Kind::Endpoint, Kind::Upstream, Kind::ToPci]
            }
            Some(Kind::Upstream) => &[Kind::Downstream],
            Some(_) => &[Kind::Conventional, Kind::ConventionalBridge],
        };
        let devices = match above {
            None => 1 + self.choose(4),
            Some(Kind::RootPort | Kind::Downstream) => 1,
            Some(_) => 1 + self.choose(3),
        };
        let first = self.spots.len();
        for device in 0..devices {
            let functions = [1, 1, 2, 3][self.choose(4)];
            for function in 0..functions {
                let kind = match depth {
                    0 => kinds[0],
                    _ => kinds[self.choose(kinds.len())],
                };
                let acs = match kind {
                    Kind::Conventional | Kind::ConventionalBridge => None,
                    _ => SERVICES[self.choose(SERVICES.len())],
                };
                let spot = Spot {
                    parent,
                    device: device as u8,
                    function,
                    kind,
                    acs,
                    bus,
                    secondary: 0,
                };
                self.add(spot, functions > 1);
            }
        }
        for bridge in first..self.spots.len() {
            let is_bridge = !matches!(self.spots[bridge].kind, Kind::Conventional | Kind::Endpoint);
            if is_bridge {
                self.last_bus += 1;
                self.spots[bridge].secondary = self.last_bus;
                if depth > 0 {
                    self.fill(Some(bridge), self.last_bus, depth - 1);
                }
            }
        }
    }

    fn add(&mut self, spot: Spot, several: bool) {
        let model = match spot.kind {
            Kind::Conventional => FakeFunction::device(),
            Kind::Endpoint => FakeFunction::device().with_express(0),
            Kind::RootPort => FakeFunction::express_bridge(4),
            Kind::Upstream => FakeFunction::express_bridge(5),
            Kind::Downstream => FakeFunction::express_bridge(6),
            Kind::ToPci => FakeFunction::express_bridge(7),
            Kind::ConventionalBridge => FakeFunction::bare_bridge(),
        };
        let model = match spot.acs {
            Some((capable, on)) => model.with_acs(capable, on),
            None => model,
        };
        let model = if several {
            model.multi_function()
        } else {
            model
        };
        let parent = spot.parent.map(|parent| self.ids[parent]);
        let id = self.board.add(parent, spot.device, spot.function, model);
        self.ids.push(id);
        self.spots.push(spot);
    }
}

/// The computer, followed by hand.
struct Oracle<'a>(&'a [Spot]);

impl Oracle<'_> {
    fn spot(&self, number: usize) -> &Spot {
        &self.0[number]
    }

    fn is_below(&self, number: usize, top: usize) -> bool {
        let above = |at: &usize| self.spot(*at).parent;
        std::iter::successors(Some(number), above).any(|at| at == top)
    }

    fn from(&self, top: usize) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(move |&number| self.is_below(number, top))
    }

    fn siblings(&self, number: usize) -> impl Iterator<Item = usize> {
        let place = |at: usize| (self.spot(at).parent, self.spot(at).device);
        (0..self.0.len()).filter(move |&at| at != number && place(at) == place(number))
    }

    /// Whether a request that comes by here goes on up, whatever address it has.
    fn sends_up(&self, number: usize) -> bool {
        let Some((capable, on)) = self.spot(number).acs else {
            return false;
        };
        let each = |flags: u16| on & flags == flags;
        match self.spot(number).kind {
            Kind::Downstream => each(ISOLATING),
            Kind::RootPort => each(1) && each(capable & ISOLATING),
            Kind::Endpoint | Kind::Upstream => each(capable & ISOLATING),
            Kind::ToPci | Kind::Conventional | Kind::ConventionalBridge => false,
        }
    }

    /// All that a request of `number`, or of what may be plugged in behind it, may arrive at before it meets an IOMMU at the
    /// root.
    fn reached(&self, number: usize) -> Vec<usize> {
        let mut reached = Vec::new();
        if self.spot(number).kind == Kind::Downstream && !self.sends_up(number) {
            let switch = self.spot(number).parent.expect("a port of a switch");
            reached.extend(self.from(switch));
        }
        let mut at = number;
        loop {
            if !self.sends_up(at) {
                for sibling in self.siblings(at) {
                    reached.extend(self.from(sibling));
                }
            }
            let Some(bridge) = self.spot(at).parent else {
                return reached;
            };
            match self.spot(bridge).kind {
                Kind::RootPort if !self.sends_up(bridge) => reached.extend(self.from(bridge)),
                Kind::Downstream if !self.sends_up(bridge) => {
                    let switch = self.spot(bridge).parent.expect("a port of a switch");
                    reached.extend(self.from(switch));
                }
                Kind::ToPci | Kind::ConventionalBridge => reached.extend(self.from(bridge)),
                _ => {}
            }
            at = bridge;
        }
    }

    fn ids(&self, number: usize) -> Vec<u16> {
        let own = |spot: &Spot| {
            u16::from(spot.bus) << 8 | u16::from(spot.device) << 3 | u16::from(spot.function)
        };
        let mut ids = vec![own(self.spot(number))];
        let mut at = number;
        while let Some(bridge) = self.spot(at).parent {
            match self.spot(bridge).kind {
                Kind::ToPci => ids.push(u16::from(self.spot(bridge).secondary) << 8),
                Kind::ConventionalBridge => ids.push(own(self.spot(bridge))),
                _ => {}
            }
            at = bridge;
        }
        ids
    }

    /// Whether each two are in one group: by all ways over others.
    fn together(&self) -> Vec<Vec<bool>> {
        let count = self.0.len();
        let reaches = |one: usize| {
            let mut reaches = vec![false; count];
            for other in self.reached(one) {
                reaches[other] = true;
            }
            reaches
        };
        let reaches: Vec<_> = (0..count).map(reaches).collect();
        let ids: Vec<_> = (0..count).map(|one| self.ids(one)).collect();
        let meet = |one: usize, other: usize| {
            one == other
                || reaches[one][other]
                || reaches[other][one]
                || ids[one].iter().any(|id| ids[other].contains(id))
        };
        let row = |one| (0..count).map(|other| meet(one, other)).collect();
        let mut together: Vec<Vec<bool>> = (0..count).map(row).collect();
        for over in 0..count {
            let beyond = together[over].clone();
            for row in together.iter_mut().filter(|row| row[over]) {
                for (known, more) in row.iter_mut().zip(&beyond) {
                    *known |= more;
                }
            }
        }
        together
    }
}

fn check(choices: Vec<u8>) -> Result<(), TestCaseError> {
    let mut builder = Builder {
        choices: choices.into_iter(),
        board: FakePci::new(),
        ids: Vec::new(),
        spots: Vec::new(),
        last_bus: 0,
    };
    builder.fill(None, 0, 4);
    let spots = builder.spots;
    let found = builder.board.enumerate();
    prop_assert_eq!(found.addresses().len(), spots.len());
    let groups = Groups::of(&found.topology, &Quirks::none());
    let address = |spot: &Spot| {
        found
            .function(spot.bus, spot.device, spot.function)
            .address()
    };
    let addresses: Vec<_> = spots.iter().map(address).collect();
    let together = Oracle(&spots).together();
    let mut members = 0;
    for group in groups.iter() {
        members += group.members().len();
        prop_assert_eq!(group.reasons().is_empty(), group.members().len() == 1);
    }
    prop_assert_eq!(members, spots.len());
    for (one, spot) in spots.iter().enumerate() {
        let group = groups.group_of(addresses[one]).unwrap();
        let members: HashSet<_> = group.members().iter().map(|each| each.address).collect();
        for (other, address) in addresses.iter().enumerate() {
            let is_member = members.contains(address);
            prop_assert_eq!(
                is_member,
                together[one][other],
                "{:?} {}\n{}",
                spot,
                one,
                group
            );
        }
        let member = group
            .members()
            .iter()
            .find(|each| each.address == addresses[one]);
        let mut ids: Vec<u16> = member.unwrap().ids.iter().map(|id| id.id).collect();
        let mut expected = Oracle(&spots).ids(one);
        for ids in [&mut ids, &mut expected] {
            ids.sort_unstable();
            ids.dedup();
        }
        prop_assert_eq!(ids, expected);
    }
    Ok(())
}

#[test]
fn a_port_that_leaks_is_its_switchs_even_with_nothing_behind_it() {
    let choices = [
        6, 0, 184, 228, 15, 5, 34, 13, 7, 72, 106, 0, 108, 132, 0, 84, 48, 112, 0, 0, 0, 1,
    ];
    check(choices.to_vec()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_group_is_all_that_meet_before_an_iommu(choices in prop::collection::vec(any::<u8>(), 0..120)) {
        check(choices)?;
    }
}
